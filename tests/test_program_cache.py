"""Whole programs on disk, found and run without LLVM: image, program_cache, linker, executable."""

import logging
import os
import shutil
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from suiren.compiler import executable, identity, image, linker, target

if not target.available():
    pytest.skip(target.unavailable(), allow_module_level=True)

import suiren as torch
from suiren.compiler import disk_cache, machine_code, program_cache
from suiren.compiler.disk_cache import DiskCache
from suiren.compiler.target import AVX2, AVX512, NEON
from suiren.operator import OPERATORS
from suiren.trace import program, recorder

PROGRAMS_FROM_DISK = True  # see conftest.py

needs_loader = pytest.mark.skipif(
    executable.machine() is None or identity.machine() is None,
    reason="programs are kept on disk only where code can be loaded without LLVM",
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A disk cache in a fresh folder; programs are compiled at first sight and checked."""
    cache = DiskCache(str(tmp_path / "cache"))
    monkeypatch.setattr(disk_cache, "of_process", lambda: cache)
    monkeypatch.setattr(program, "COMPILE_AT", 1)
    monkeypatch.setattr(program, "CHECK", True)
    recorder.flush()
    program.programs.clear()
    yield cache
    recorder.flush()
    program.programs.clear()


def found_programs():
    return machine_code.statistics.programs


def twice(work):
    """The work's results compiled, and again from the disk; how many programs were found there."""
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        program.programs.clear()
        before = found_programs()
        results.append([np.array(x.detach().numpy()) for x in work()])
        recorder.flush()
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return found_programs() - before


# ---- every kind of program


def elementwise():
    x = torch.arange(1000).reshape(10, 100) / 7
    yield x.exp() + 1
    yield x.exp().sum(1)


def numbers_as_inputs():
    x = torch.ones(64)
    for factor in (2.0, 3.0, -0.0, float("nan")):
        yield x * factor + 7
    yield x.to(torch.int64) * 5 + True


def several_outputs_and_views():
    x = torch.arange(24.0).reshape(4, 6) * 2
    y = x.T * 3
    a, b = y.split(3)
    flat = (x + y.T).reshape(-1)
    yield from (y, a, b, flat, flat.view(6, 4), x)


def constants_and_empty():
    x = torch.ones(3) * 2
    yield torch.zeros(4, 2, dtype=torch.float64) + 0
    yield torch.full((2,), True) & True
    yield x[:0] * 2
    yield x.sum()


def tables():
    x = torch.rand(2, 3, 9, 9)
    yield torch.nn.functional.interpolate(x * 2, size=(5, 7), mode="bilinear")
    yield torch.nn.functional.adaptive_avg_pool2d(x * 2, 4)


def half_types():
    x = torch.linspace(-3, 3, 50)
    for kind in (torch.bfloat16, torch.float16):
        yield (x.to(kind).exp() * 2).float()


def host_steps():
    x = torch.randn(8, 8) + 8 * torch.eye(8)
    y = torch.linalg.inv(x * 1.5)
    values, order = (y + 1).flatten().sort(descending=True)
    yield y @ x
    yield values * 2
    yield order + 1
    yield x.cumsum(0)
    yield torch.fft.fft(x[0] * 2).real


def checked_indices():
    x = torch.randn(10, 4)
    i = torch.tensor([3, 1, 9]) * 1
    yield x[i] * 2
    yield x.index_add(0, i, torch.ones(3, 4))


def random_numbers():
    yield torch.rand(300) * 2
    yield torch.randn(5000) + torch.nn.functional.dropout(torch.ones(5000), 0.3)
    yield torch.randperm(50) + 1


def training():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(4 * 36, 3),
    )  # fmt: skip
    x, y = torch.randn(4, 1, 8, 8), torch.tensor([0, 2, 1, 1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):  # parameters take the place of the old ones: donated inputs
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    yield loss
    yield from model.parameters()


@needs_loader
@pytest.mark.parametrize(
    "work",
    [elementwise, numbers_as_inputs, several_outputs_and_views, constants_and_empty, tables,
     half_types, host_steps, checked_indices, random_numbers, training],
)  # fmt: skip
def test_a_program_from_the_disk_gives_the_same_bits(work, cache):
    assert twice(lambda: list(work())) > 0


@needs_loader
def test_a_check_that_fails_is_reported_by_a_program_from_the_disk(cache):
    x, good = torch.randn(10, 4), torch.tensor([1, 2, 3])
    for index in (good, good, good + 40):
        program.programs.clear()
        found = x[index * 1]
        if index is not good:
            with pytest.raises(IndexError, match="out of"):
                found.numpy()
        else:
            found.numpy()
    assert found_programs() > 0


@needs_loader
def test_donation_writes_over_the_input_and_spares_what_is_held(cache):
    for _ in range(2):
        program.programs.clear()
        w = torch.zeros(50_000)
        w.numpy()
        held = w + 0
        held.numpy()
        w.add_(1)
        recorder.flush()
        assert held.sum().item() == 0 and w.sum().item() == 50_000


@needs_loader
def test_a_program_from_the_disk_can_be_explained_and_listed(cache, capsys):
    def work():
        x = torch.arange(4096.0).reshape(64, 64) / 100
        return (x.softmax(1) + 1).sum(0)

    first = str(torch.explain(work))
    program.programs.clear()
    before = found_programs()
    torch.set_log("trace,graph,kernels,llvm")
    try:
        again = torch.explain(work)
    finally:
        torch.set_log("")
    assert found_programs() > before
    assert [k.code for k in again.kernels] and "softmax" in str(again) and "softmax" in first
    listed = capsys.readouterr().err
    for name in ("trace", "graph", "kernels", "llvm"):
        assert f"==== {name}" in listed
    assert "define void @kernel" in listed


# ---- what is kept, and what is not


@needs_loader
def test_operators_of_others_are_not_kept(cache):
    from suiren.ops.elementwise import elementwise as define

    @define("same", where=())
    class thrice_for_this_test:
        def evaluate(input):
            return input * 3

        def decompose(g, input):
            return input * 3

    work = thrice_for_this_test
    assert work.operator.module == __name__
    assert twice(lambda: [work(torch.arange(10.0) + 1)]) == 0


@needs_loader
def test_the_name_of_a_program_tells_apart_what_differs(monkeypatch):
    def named(work):
        work()
        names = []
        monkeypatch.setattr(program_cache, "find", lambda key: names.append(key))
        program.programs.clear()
        with program.compiled_at_once():
            recorder.flush()
        monkeypatch.undo()
        return program_cache._name(names[0])

    x = torch.ones(4, 6)
    x.numpy()
    kept = []
    works = [
        lambda: kept.append(x.sum(0)),
        lambda: kept.append(x.sum(1)),
        lambda: kept.append(x.sum(1, keepdim=True)),
        lambda: kept.append(x.amax(1)),
        lambda: kept.append(x * 2),
        lambda: kept.append(x * 2.0),
        lambda: kept.append(x.to(torch.float64)),
        lambda: kept.append(x.to(torch.int32)),
        lambda: kept.append(x.cumsum(0)),
        lambda: kept.append(x.cumsum(1)),
    ]
    names = [named(work) for work in works]
    assert None not in names and len(set(names)) == len(names)
    assert named(works[0]) == names[0]


def test_keys_that_are_not_plain_are_refused():
    with pytest.raises(program_cache._NotPlain, match="object"):
        program_cache._plain((1, object()))
    attributes = [
        (1,), (True,), (1.0,), (0.0,), (-0.0,), (1 + 0j,), ("1",), (b"1",), ((1,),), (slice(1),),
        (torch.float32,), ("float32",), (torch.Size([1]),),
    ]  # fmt: skip
    operator = OPERATORS["sum"]
    described = {
        program_cache._described(((operator, one, (), ()),), (), ())
        for one in attributes
    }
    assert len(described) == len(attributes)


@needs_loader
@pytest.mark.parametrize("damage", ["cut", "changed", "foreign", "old form", "wrong image"])
def test_files_that_cannot_be_used_are_ignored_with_one_line(damage, cache, caplog, monkeypatch):
    kept = {}
    put = DiskCache.put
    monkeypatch.setattr(
        DiskCache, "put", lambda self, n, d: (kept.__setitem__(n, d), put(self, n, d))
    )
    work = lambda: [torch.arange(10.0) * 3 + 1]  # noqa: E731
    twice(work)
    names = [n for n, d in kept.items() if image.FORM in d[:20] and n in os.listdir(cache.folder)]
    assert names
    for name in names:
        path, data = Path(cache.folder, name), kept[name]
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-7])
        elif damage == "changed":
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        elif damage == "foreign":
            path.write_bytes(b"#!/bin/sh\n")
        elif damage == "old form":  # whole, but of another version
            put(cache, name, data[:16] + b"00" + data[18:])
        else:
            put(cache, name, struct.pack("<QQ", 10**6, 3) + data[16:])
    program.programs.clear()
    before = found_programs()
    with caplog.at_level(logging.INFO, "suiren.compiler"):
        (result,) = work()
        assert result.tolist() == [3.0 * i + 1 for i in range(10)]
    assert found_programs() == before
    assert len(caplog.records) == len(names)
    assert twice(work) > 0  # and the file is written anew


def test_an_image_is_plain_data_and_nothing_else_is_read():
    made = image.Image(
        ((0, False),), "Q", (((2, 3), "float32"),), 1, (((0, 0),),), 0,
        (((2,), "int64", bytes(16)),), (0, 64), 128,
        (image.Step(0, 1, False, (0, 1)),), ((0, 1),), (), (("made", 0),), (), False, (),
    )  # fmt: skip
    assert image.load(made.dump()) == made
    for data in (b"", b"00" + made.dump()[2:], image.FORM, image.FORM + b"i\1\0\0\0"):
        with pytest.raises(ValueError, match="image"):
            image.load(data)
    with pytest.raises(ValueError, match="marshal"):
        made._replace(outputs=object()).dump()


# ---- processes


SCRIPT = """
import sys
import suiren as torch
from suiren.compiler import machine_code
torch.manual_seed(3)
model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Tanh(), torch.nn.Linear(30, 4))
x, y = torch.randn(16, 20), torch.randint(0, 4, (16,))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for _ in range(4):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    torch.linalg.inv(x[:16, :16] + 9 * torch.eye(16)).numpy()
print(loss.item().hex(), [p.double().sum().item().hex() for p in model.parameters()])
print(machine_code.statistics.programs, machine_code.statistics.compiled,
      "llvmlite" in sys.modules, "suiren.compiler.lower" in sys.modules)
"""


def start(folder, package=None, script=SCRIPT, **more):
    environment = {**os.environ, "SUIREN_CACHE_DIR": str(folder), "SUIREN_JIT": "1", **more}
    for name in ("SUIREN_CACHE", "SUIREN_CHECK"):
        environment.pop(name, None)
    if package is not None:
        environment["PYTHONPATH"] = str(package)
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=str(folder),
    )  # fmt: skip


def finish(process):
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    results, counts = out.splitlines()
    return results, counts.split(), error


@needs_loader
def test_a_second_process_imports_no_llvm_and_gives_the_same_bits(tmp_path):
    results, counts, _ = finish(start(tmp_path))
    assert counts[2:] == ["True", "True"] and int(counts[0]) == 0 and int(counts[1]) > 0
    again, counts, _ = finish(start(tmp_path))
    assert again == results
    assert counts[1:] == ["0", "False", "False"] and int(counts[0]) > 0
    other, counts, _ = finish(start(tmp_path, SUIREN_TARGET="sse2"))
    assert int(counts[0]) == 0  # another machine as far as code goes


@needs_loader
def test_two_processes_at_once_and_a_checked_one(tmp_path):
    both = [start(tmp_path), start(tmp_path)]
    first, second = (finish(process) for process in both)
    assert first[0] == second[0]
    third = finish(start(tmp_path, SUIREN_CHECK="1"))
    assert third[0] == first[0]


@needs_loader
def test_an_edit_of_the_sources_makes_programs_anew(tmp_path):
    package = tmp_path / "site"
    own = Path(torch.__file__).parent
    shutil.copytree(own, package / "suiren", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path / "cache"
    folder.mkdir()
    finish(start(folder, package))
    assert finish(start(folder, package))[1][1:3] == ["0", "False"]
    file = package / "suiren" / "ops" / "softmax.py"
    file.write_text(file.read_text("utf-8") + "\n# edited\n", "utf-8")
    results, counts, _ = finish(start(folder, package))
    assert counts[0] == "0" and counts[2] == "True"


@needs_loader
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_read(tmp_path):
    results, _, _ = finish(start(tmp_path))
    tmp_path.chmod(0o500)
    try:
        again, counts, error = finish(start(tmp_path))
    finally:
        tmp_path.chmod(0o700)
    assert again == results and counts[2] == "False"
    assert error.count("\n") <= 1


def test_without_a_folder_everything_runs(tmp_path):
    results, counts, _ = finish(start(tmp_path, script=SCRIPT, SUIREN_CACHE="0"))
    assert counts[0] == "0"


@needs_loader
def test_a_forked_child_and_threads_run_programs_from_the_disk(tmp_path):
    script = """
    import os, threading
    import suiren as torch
    def work():
        return (torch.arange(200_000.0) * 2 + 1).exp2().log2().sum().item()
    results = [work()]
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(3)]
    [t.start() for t in threads]; [t.join() for t in threads]
    assert len(results) == 4 and len(set(map(str, results))) == 1
    if os.fork() == 0:
        os._exit(0 if str(work()) == str(results[0]) else 1)
    print(os.wait()[1] == 0)
    print(0)
    """
    assert finish(start(tmp_path, script=script))[0] == "True"
    assert finish(start(tmp_path, script=script))[0] == "True"


# ---- the linker

CALLS = """
@table = private constant [4 x i64] [i64 11, i64 22, i64 33, i64 44]
declare double @fmod(double, double)
define internal i64 @helper(i64 %x) noinline nounwind {{
  %place = getelementptr [4 x i64], ptr @table, i64 0, i64 %x
  %found = load i64, ptr %place
  ret i64 %found
}}
define void @kernel(ptr %args, i64 %task) {0} {{
  %x = call i64 @helper(i64 %task)
  store i64 %x, ptr %args
  %place = getelementptr i8, ptr %args, i64 8
  %a = load double, ptr %place
  %rest = call double @fmod(double %a, double 3.5)
  store double %rest, ptr %place
  ret void
}}
"""


def called(address, cells, task):
    import ctypes

    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)(cells.ctypes.data, task)


@needs_loader
def test_constants_helpers_and_functions_of_the_system_are_linked():
    text = CALLS.format(target.host().function_attributes)
    unit = linker.link(machine_code.object_code(text), "kernel")
    assert [name for name, _ in unit.imports] == ["fmod"]
    whole, entries = linker.join([unit, unit, unit])
    mapping = executable.load(whole)
    assert mapping is not None
    for number, entry in enumerate(entries):
        cells = np.array([0, 0], np.int64)
        cells[1:].view(np.float64)[0] = 8.25
        called(mapping.address + entry, cells, number)
        assert cells[0] == 11 * (number + 1)
        assert cells[1:].view(np.float64)[0] == 8.25 % 3.5


@needs_loader
def test_a_function_that_is_nowhere_is_reported():
    text = CALLS.format(target.host().function_attributes).replace("fmod", "no_such_function")
    unit = linker.link(machine_code.object_code(text), "kernel")
    with pytest.raises(LookupError, match="no_such_function"):
        executable.load(unit)
    with pytest.raises(machine_code.CompileError, match="no_such_function"):
        machine_code.load([text])


@pytest.mark.parametrize("machine", [NEON, AVX512, AVX2], ids=lambda machine: machine.name)
def test_objects_of_other_machines_are_linked(machine):
    unit = linker.link(
        machine_code.object_code(CALLS.format(machine.function_attributes), machine), "kernel"
    )
    assert [name for name, _ in unit.imports] == ["fmod"]
    table = struct.pack("<4q", 11, 22, 33, 44)
    assert unit.code.count(table) == 1
    if machine is not NEON:
        return
    # the helper's ADRP and ADD, or ADRP and LDR, name the table's place
    at = unit.code.index(table)
    words = struct.unpack(f"<{len(unit.code) // 4}I", unit.code[: len(unit.code) // 4 * 4])
    targets = set()
    for place, word in enumerate(words[:-1]):
        if word & 0x9F000000 == 0x90000000:  # ADRP
            pages = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
            base = (4 * place // 4096 + pages) * 4096
            follow = words[place + 1]
            if follow & 0xFFC00000 == 0x91000000:  # ADD
                targets.add(base + (follow >> 10 & 0xFFF))
            elif follow & 0xFFC00000 in (0xFD400000, 0xF9400000):  # LDR of eight bytes
                targets.add(base + 8 * (follow >> 10 & 0xFFF))
    assert at in targets
    calls = {
        4 * place + 4 * ((word & 0x3FFFFFF) - (word & 0x2000000) * 2)
        for place, word in enumerate(words) if word >> 26 == 0b100101
    }  # fmt: skip
    stub = dict(unit.imports)["fmod"] - 8
    assert stub in calls and unit.code[stub : stub + 8] == linker._JUMPS[linker.AARCH64]


@needs_loader
@pytest.mark.parametrize(
    "text",
    [
        # data that is written to
        "@state = internal global i64 5\n"
        "define void @kernel(ptr %args, i64 %task) {\n  %x = load i64, ptr @state\n"
        "  %y = add i64 %x, %task\n  store i64 %y, ptr @state\n  store i64 %y, ptr %args\n"
        "  ret void\n}",
    ],
)
def test_what_is_not_understood_goes_to_the_other_linker(text):
    with pytest.raises(linker.NotLinkable):
        linker.link(machine_code.object_code(text), "kernel")
    (kernel,) = machine_code.load([text])
    assert kernel.unit is None
    cells = np.zeros(1, np.int64)
    called(kernel.address, cells, 4)
    assert cells[0] == 9


def test_what_is_no_object_is_refused():
    good = machine_code.object_code(CALLS.format(AVX2.function_attributes), AVX2)
    for data in (b"", b"MZ", good[:64], good[:200], b"\x7fELF\x01" + good[5:]):
        with pytest.raises(linker.NotLinkable):
            linker.link(data, "kernel")
    with pytest.raises(linker.NotLinkable, match="no function"):
        linker.link(good, "other")


def test_where_code_cannot_be_loaded_llvm_does_it(cache, monkeypatch):
    monkeypatch.setattr(executable, "load", lambda unit: None)
    assert twice(lambda: list(elementwise())) == 0
