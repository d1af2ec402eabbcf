"""Compiled code on disk, and the way from LLVM's text to functions: suiren/compiler."""

import ctypes
import gc
import logging
import os
import subprocess
import sys
import threading

import pytest
from compiling import for_target

from suiren.compiler import disk_cache, target

if not target.available():
    pytest.skip(target.unavailable(), allow_module_level=True)

from suiren.compiler import machine_code
from suiren.compiler.disk_cache import DiskCache
from suiren.compiler.target import AVX2, AVX512, NEON, SSE2

ADD = """
define void @kernel(ptr %args, i64 %task) nounwind {{
  %old = load i64, ptr %args
  %new = add i64 %old, {number}
  store i64 %new, ptr %args
  ret void
}}
"""


def adding(number):
    return ADD.format(number=number)


def call(kernel, start=0):
    cell = ctypes.c_int64(start)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(kernel.address)(
        ctypes.addressof(cell), 0
    )
    return cell.value


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A disk cache in a fresh folder, which machine_code uses during the test."""
    cache = DiskCache(str(tmp_path / "kernels"))
    monkeypatch.setattr(disk_cache, "of_process", lambda: cache)
    return cache


# ---- files


def test_what_was_put_is_found_by_another_cache(tmp_path):
    DiskCache(str(tmp_path)).put("aa", b"code")
    other = DiskCache(str(tmp_path))
    assert other.get("aa") == b"code"
    assert other.get("bb") is None
    assert (other.hits, other.misses) == (1, 1)


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "renamed"])
def test_damaged_files_are_dropped(tmp_path, damage):
    cache = DiskCache(str(tmp_path))
    cache.put("aa", b"code" * 10)
    path = tmp_path / "aa"
    data = path.read_bytes()
    name = "aa"
    if damage == "renamed":
        name = "bb"
        path.rename(tmp_path / name)
    else:
        new = {"empty": b"", "cut": data[:-1], "changed": data[:-1] + b"x"}[damage]
        path.write_bytes(new)
    assert cache.get(name) is None
    assert not (tmp_path / name).exists()


def test_a_folder_that_cannot_be_made_is_ignored_with_one_warning(tmp_path, caplog):
    file = tmp_path / "file"
    file.write_bytes(b"")
    cache = DiskCache(str(file / "kernels"))
    with caplog.at_level(logging.WARNING, "suiren.compiler"):
        for _ in range(3):
            cache.put("aa", b"code")
            assert cache.get("aa") is None
    assert len(caplog.records) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_read_and_not_written(tmp_path, caplog):
    DiskCache(str(tmp_path)).put("aa", b"code")
    tmp_path.chmod(0o500)
    try:
        cache = DiskCache(str(tmp_path))
        cache.put("bb", b"code")
        cache.put("cc", b"code")
        assert cache.get("aa") == b"code"
        assert cache.get("bb") is None
    finally:
        tmp_path.chmod(0o700)
    assert len(caplog.records) == 1


def test_a_failing_write_is_ignored_with_one_warning(tmp_path, caplog, monkeypatch):
    cache = DiskCache(str(tmp_path))
    cache.put("aa", b"code")

    def full(source, place):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.put("bb", b"code")
    cache.put("cc", b"code")
    assert cache.get("aa") == b"code"
    assert os.listdir(tmp_path) == ["aa"]
    assert len(caplog.records) == 1


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_everybody_may_write_to_is_not_trusted(tmp_path, caplog):
    DiskCache(str(tmp_path)).put("aa", b"code")
    tmp_path.chmod(0o777)
    assert DiskCache(str(tmp_path)).get("aa") is None


def test_the_total_size_is_bounded_and_the_oldest_files_go(tmp_path):
    cache = DiskCache(str(tmp_path), max_bytes=10_000)
    for i in range(20):
        cache.put(f"{i:02}", bytes(1000))
        os.utime(tmp_path / f"{i:02}", (1_000_000 + i, 1_000_000 + i))
    cache.get("03")  # reading marks it as used now
    cache.shrink()
    left = sorted(os.listdir(tmp_path))
    assert left == ["03", "12", "13", "14", "15", "16", "17", "18", "19"]


def test_the_number_of_files_is_bounded_too(tmp_path, monkeypatch):
    cache = DiskCache(str(tmp_path), max_files=6)
    for i in range(9):
        cache.put(f"{i:02}", b"code")
        os.utime(tmp_path / f"{i:02}", (1_000_000 + i, 1_000_000 + i))
    monkeypatch.setattr(disk_cache, "DROPPED_AT_ONCE", 2)
    cache.shrink()
    assert sorted(os.listdir(tmp_path)) == ["02", "03", "04", "05", "06", "07", "08"]
    cache.shrink()
    cache.shrink()
    assert sorted(os.listdir(tmp_path)) == ["03", "04", "05", "06", "07", "08"]


def test_a_write_looks_at_the_whole_folder_by_chance(tmp_path, monkeypatch):
    # the first write of each process did: half a second, where the folder held many files
    cache = DiskCache(str(tmp_path), max_files=8)
    monkeypatch.setattr(os, "urandom", lambda n: b"\1" * n)
    for i in range(10):
        cache.put(f"{i:02}", b"code")
    assert len(os.listdir(tmp_path)) == 10
    monkeypatch.setattr(os, "urandom", lambda n: b"\0" * n)
    cache.put("10", b"code")
    assert len(os.listdir(tmp_path)) == 8


def test_files_of_writers_that_died_are_cleaned_up(tmp_path):
    cache = DiskCache(str(tmp_path))
    cache.put("aa", b"code")
    for name, age in (("bb.1.2.tmp", 1_000_000), ("cc.1.2.tmp", None)):
        (tmp_path / name).write_bytes(b"half")
        if age:
            os.utime(tmp_path / name, (age, age))
    cache.shrink()
    assert sorted(os.listdir(tmp_path)) == ["aa", "cc.1.2.tmp"]


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    for name in ("SUIREN_CACHE", "SUIREN_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert disk_cache.default_folder() == str(tmp_path / "suiren" / "kernels")
    monkeypatch.setenv("SUIREN_CACHE_DIR", str(tmp_path / "own"))
    assert disk_cache.default_folder() == str(tmp_path / "own")
    monkeypatch.setenv("SUIREN_CACHE", "0")
    assert disk_cache.default_folder() is None
    off = DiskCache(None)
    off.put("aa", b"code")
    assert off.get("aa") is None


# ---- kernels


def test_equal_texts_share_one_kernel_and_different_ones_do_not(cache):
    first, second, third = machine_code.load([adding(1), adding(2), adding(1)])
    assert first is third and first is not second
    assert machine_code.load([adding(1)])[0] is first
    assert (call(first), call(second)) == (1, 2)


def test_code_is_freed_with_the_last_kernel_of_its_call_and_found_on_disk_again(cache):
    kernels = machine_code.load([adding(3), adding(4)])
    library = kernels[0]._code
    digests = {kernel.digest for kernel in kernels}
    assert all(kernel._code is library for kernel in kernels)
    del kernels
    gc.collect()
    assert digests.isdisjoint(machine_code._loaded)
    hits = cache.hits
    assert call(machine_code.load([adding(3)])[0]) == 3
    assert cache.hits == hits + 1


def test_a_damaged_file_is_compiled_again(cache):
    kernel = machine_code.load([adding(5)])[0]
    path = os.path.join(cache.folder, kernel.digest)
    del kernel
    with open(path, "r+b") as file:
        file.truncate(100)
    assert call(machine_code.load([adding(5)])[0]) == 5
    assert os.path.getsize(path) > 100


def test_what_code_depends_on_is_in_the_digest(monkeypatch):
    def digest(machine):
        return machine_code._digest("text", "kernel", machine)

    assert len({digest(machine) for machine in (AVX512, AVX2, SSE2, NEON)}) == 4
    before = digest(AVX2)
    monkeypatch.setattr(machine_code, "PIPELINE", -1)
    assert digest(AVX2) != before


@pytest.mark.parametrize("way", ["_Parallel", "_Locked"])
def test_both_ways_to_compile_give_the_same_code(way, cache, monkeypatch):
    machine_code._compiler()  # LLVM learns its targets
    compiler = getattr(machine_code, way)()
    code = compiler.compile(adding(6), target.host(), "kernel", "name", "object")
    assert code == machine_code._compiler().compile(
        adding(6), target.host(), "kernel", "name", "object"
    )
    monkeypatch.setattr(machine_code, "_compiler", lambda: compiler)
    kernels = machine_code.load([adding(n) for n in range(100, 110)])
    assert [call(kernel) for kernel in kernels] == list(range(100, 110))
    assert "add" in machine_code.optimised_ir(adding(6))
    assert "@kernel" in machine_code.optimised_ir(adding(6))


@pytest.mark.parametrize("way", ["_Parallel", "_Locked"])
@pytest.mark.parametrize(
    "text",
    [
        "define void @kernel(ptr %args, i64 %task) {",
        "define void @kernel(ptr %args, i64 %task) { ret void }\n@x = external nonsense",
        # parses, but a value is used before it is defined: only the verifier sees it
        "define void @kernel(ptr %args, i64 %task) {\n  %a = add i64 %b, 1\n"
        "  %b = add i64 %a, 1\n  ret void\n}",
    ],
)
def test_wrong_texts_are_refused_with_the_text(way, text, monkeypatch):
    machine_code._compiler()  # LLVM learns its targets
    compiler = getattr(machine_code, way)()
    monkeypatch.setattr(machine_code, "_compiler", lambda: compiler)
    with pytest.raises(machine_code.CompileError, match="(?s)LLVM refused.*    1 define void"):
        machine_code.load([text, adding(7)])


def test_libc_can_be_called_also_where_it_is_far(cache):
    text = """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define void @kernel(ptr %args, i64 %task) nounwind {
  call void @llvm.memset.p0.i64(ptr %args, i8 1, i64 %task, i1 false)
  ret void
}
"""
    kernel = machine_code.load([text])[0]
    memory = ctypes.create_string_buffer(1000)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(kernel.address)(
        ctypes.addressof(memory), 999
    )
    assert memory.raw == b"\1" * 999 + b"\0"


def test_a_function_of_another_name(cache):
    text = adding(8).replace("@kernel", "@other")
    assert call(machine_code.load([text], "other")[0]) == 8
    with pytest.raises(machine_code.CompileError):
        machine_code.load([text + "\n"])


def test_several_threads_may_load_at_once(cache):
    results = {}

    def work(name):
        results[name] = [
            call(machine_code.load([adding(1000 + 10 * name + i)])[0]) for i in range(10)
        ]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [1000 + 10 * n + i for i in range(10)] for n in range(4)}


def test_two_processes_share_a_folder(tmp_path):
    script = f"""
import ctypes
from suiren.compiler import machine_code
ADD = {ADD!r}
kernels = machine_code.load([ADD.format(number=n) for n in range(40)])
for n, kernel in enumerate(kernels):
    cell = ctypes.c_int64(0)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(kernel.address)(
        ctypes.addressof(cell), 0)
    assert cell.value == n
print(machine_code.statistics.compiled, machine_code.statistics.from_disk)
"""
    environment = {**os.environ, "SUIREN_CACHE_DIR": str(tmp_path)}
    environment.pop("SUIREN_CACHE", None)

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
        )

    both = [start(), start()]
    outputs = [process.communicate(timeout=120)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all(sum(map(int, output)) == 40 for output in outputs)
    third = start()
    assert third.communicate(timeout=120)[0].split() == ["0", "40"]


# ---- targets


def test_the_host_can_be_restricted():
    host = target.host()
    for wish, width in (("sse2", 16), ("avx512", 64), ("avx2", 32)):
        with for_target(wish):
            found = target.host()
        assert found.vector_bytes <= host.vector_bytes
        if host.triple.startswith("x86_64"):
            assert found.vector_bytes == min(host.vector_bytes, width)
    with for_target("z80"):
        with pytest.raises(ValueError, match="z80.*avx512-bf16, avx512, avx2, sse2"):
            target.host()


def saxpy(lanes, machine):
    """y += 3 x over one vector for each task."""
    vector = f"<{lanes} x float>"
    return f"""
declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})
define void @kernel(ptr %args, i64 %task) {machine.function_attributes} {{
  %x = load ptr, ptr %args
  %second = getelementptr i8, ptr %args, i64 8
  %y = load ptr, ptr %second
  %x.place = getelementptr {vector}, ptr %x, i64 %task
  %y.place = getelementptr {vector}, ptr %y, i64 %task
  %a = load {vector}, ptr %x.place, align 4
  %b = load {vector}, ptr %y.place, align 4
  %c = call {vector} @llvm.fma.v{lanes}f32({vector} %a, {vector} splat (float 3.0), {vector} %b)
  store {vector} %c, ptr %y.place, align 4
  ret void
}}
"""


@pytest.mark.parametrize(
    "machine, instruction, register",
    [(NEON, "fmla", "v0.4s"), (AVX512, "vfmadd", "zmm"), (AVX2, "vfmadd", "ymm")],
)
def test_other_machines_get_their_own_vector_instructions(machine, instruction, register):
    text = saxpy(machine.lanes(4), machine)
    assembly = machine_code.assembly(text, machine)
    assert instruction in assembly and register in assembly
    magic = machine_code.object_code(text, machine)[:20]
    assert magic[:4] == b"\x7fELF"
    assert magic[18] == (183 if machine is NEON else 62)  # e_machine: AArch64, x86-64


def test_plain_x86_has_no_fused_multiplication():
    text = saxpy(4, SSE2).replace("llvm.fma.", "llvm.fmuladd.")
    assembly = machine_code.assembly(text, SSE2)
    assert "mulps" in assembly and "addps" in assembly and "ymm" not in assembly
