"""The native runtime: tables of steps on several threads. The kernels are written by hand."""

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace

import numpy as np
import pytest

from suiren.compiler import disk_cache, target

if not target.available():
    pytest.skip(target.unavailable(), allow_module_level=True)

from suiren.compiler import machine_code, runtime
from suiren.compiler import runtime_ir as layout
from suiren.compiler.target import NEON

BARRIER = 1

# out[task] = sum(in) + task; args = {in, out, length of in}. Reads all that earlier steps wrote.
SUM_ALL = """
define void @kernel(ptr %args, i64 %task) nounwind {
entry:
  %in = load ptr, ptr %args
  %out.place = getelementptr i8, ptr %args, i64 8
  %out = load ptr, ptr %out.place
  %length.place = getelementptr i8, ptr %args, i64 16
  %length = load i64, ptr %length.place
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i.next, %loop ]
  %sum = phi i64 [ %task, %entry ], [ %sum.next, %loop ]
  %place = getelementptr i64, ptr %in, i64 %i
  %item = load i64, ptr %place
  %sum.next = add i64 %sum, %item
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %length
  br i1 %more, label %loop, label %end
end:
  %to = getelementptr i64, ptr %out, i64 %task
  store i64 %sum.next, ptr %to
  ret void
}
"""

# counts[task] += 1, not atomically: a task that is done twice at once or by two threads shows.
COUNT = """
define void @kernel(ptr %args, i64 %task) nounwind {
  %counts = load ptr, ptr %args
  %place = getelementptr i64, ptr %counts, i64 %task
  %old = load i64, ptr %place
  %new = add i64 %old, 1
  store i64 %new, ptr %place
  ret void
}
"""

# Waits until args[0] tasks have come here: needs as many threads.
MEET = """
define void @kernel(ptr %args, i64 %task) nounwind {
entry:
  %here = getelementptr i8, ptr %args, i64 8
  %before = atomicrmw add ptr %here, i64 1 seq_cst
  %wanted = load i64, ptr %args
  br label %loop
loop:
  %now = load atomic i64, ptr %here seq_cst, align 8
  %enough = icmp sge i64 %now, %wanted
  br i1 %enough, label %end, label %loop
end:
  ret void
}
"""


class Program:
    """A table of steps and all that it points to."""

    def __init__(self):
        self.kept = []
        self.rows = []

    def add(self, text, args, tasks, flags=BARRIER):
        kernel = machine_code.load([text])[0]
        words = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in args]
        block = np.array(words, np.int64)
        self.kept += [kernel, block, *args]
        self.rows.append([kernel.address, block.ctypes.data, tasks, flags])
        return self

    def run(self, call=runtime.run, *more):
        table = np.array(self.rows, np.int64).reshape(-1, 4)
        call(table.ctypes.data, len(table), *more)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp() / "kernels"
    cache = disk_cache.DiskCache(str(folder))
    monkeypatch.setattr(disk_cache, "of_process", lambda: cache)


@pytest.fixture(params=[1, 2, 3, 8])
def threads(request):
    before = runtime.get_num_threads()
    runtime.set_num_threads(request.param)
    yield request.param
    runtime.set_num_threads(before)


@pytest.fixture
def two_threads():
    before = runtime.get_num_threads()
    runtime.set_num_threads(2)
    yield
    runtime.set_num_threads(before)


def chain(steps, width):
    """A program whose every step reads all of the step before; the arrays, and what is expected."""
    arrays = [np.arange(width, dtype=np.int64)]
    expected = [arrays[0].copy()]
    program = Program()
    for _ in range(steps):
        arrays.append(np.zeros(width, np.int64))
        program.add(SUM_ALL, [arrays[-2], arrays[-1], width], width)
        expected.append(expected[-1].sum() + np.arange(width, dtype=np.int64))
    return program, arrays, expected


def test_every_task_is_done_once(threads):
    for tasks in (0, 1, 2, 3, 5, 64, 1000):
        counts = np.zeros(max(tasks, 1), np.int64)
        Program().add(COUNT, [counts], tasks).run()
        assert (counts[:tasks] == 1).all()


def test_a_step_after_a_barrier_sees_all_of_the_steps_before(threads):
    program, arrays, expected = chain(20, 13)
    for _ in range(50):
        for array in arrays[1:]:
            array[:] = -1
        program.run()
        for array, right in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(array, right)


def test_steps_without_barriers_between_them(threads):
    counts = [np.zeros(n, np.int64) for n in (1, 7, 1, 40, 2)]
    program = Program()
    for array in counts:
        program.add(COUNT, [array], len(array), 0)
    total = np.zeros(1, np.int64)
    program.add(SUM_ALL, [counts[3], total, 40], 1)
    for n in range(1, 200):
        program.run()
        assert all((array == n).all() for array in counts)
        assert total[0] == 40 * n


def test_tables_of_no_steps_and_of_many(threads):
    Program().run()
    program, arrays, expected = chain(layout.MAX_STEPS * 2 + 5, 3)
    program.run()
    for array, right in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, right)
    times = np.zeros(len(arrays), np.int64)
    program.run(runtime.run_timed, times.ctypes.data)
    assert (np.diff(times) >= 0).all() and times[0] > 0


def test_times_are_stamped_before_and_after_each_step(threads):
    program, arrays, expected = chain(6, 9)
    program.rows = [[kernel, args, tasks, 0] for kernel, args, tasks, _ in program.rows]
    program.rows.append([*program.rows[0][:2], 1, 0])
    times = np.zeros(9, np.int64)
    times[8] = -5
    program.run(runtime.run_timed, times.ctypes.data)  # completes each step before the next
    np.testing.assert_array_equal(arrays[-1], expected[-1])
    assert (np.diff(times[:8]) >= 0).all() and times[0] > 0
    assert times[8] == -5


def test_several_threads_work_on_one_step(two_threads):
    program = Program().add(MEET, [2, 0], 2)
    block = program.kept[1]
    for n in range(1, 20):
        block[0] = 2 * n
        program.run()
        assert block[1] == 2 * n  # on one thread the program would never end


def test_small_tables_many_times(two_threads):
    counts = np.zeros(6, np.int64)
    program = Program().add(COUNT, [counts], 6).add(COUNT, [counts], 6).add(COUNT, [counts], 1)
    table = np.array(program.rows, np.int64)
    address = table.ctypes.data
    for _ in range(20_000):
        runtime.run(address, 3)
    assert counts[0] == 60_000 and (counts[1:] == 40_000).all()


def test_more_threads_than_cores_many_times():
    before = runtime.get_num_threads()
    runtime.set_num_threads(2 * (os.cpu_count() or 1) + 1)
    try:
        program, arrays, expected = chain(4, 11)
        for _ in range(500):
            arrays[-1][:] = 0
            program.run()
            np.testing.assert_array_equal(arrays[-1], expected[-1])
    finally:
        runtime.set_num_threads(before)


def test_the_number_of_threads_changes_between_programs():
    before = runtime.get_num_threads()
    program, arrays, expected = chain(3, 10)
    try:
        for n in (1, 4, 2, 3, 1, 2, 5, 300, 2):
            runtime.set_num_threads(n)
            assert runtime.get_num_threads() == n
            for _ in range(20):
                arrays[-1][:] = 0
                program.run()
                np.testing.assert_array_equal(arrays[-1], expected[-1])
        names = [t.name for t in threading.enumerate() if t.name.startswith("suiren ")]
        assert len(names) <= 1
    finally:
        runtime.set_num_threads(before)


def test_the_step_numbers_may_wrap_around():
    """Cells hold 32 bits of a number that grows for ever."""
    for first in (2**28 - 50, 2**32 - 50, 2**31 - 50, 5 * 2**32 - 7):
        pool = runtime._Pool(3, first)
        pool.start()
        counts = np.zeros(2, np.int64)  # the third thread's range is empty
        wide = np.zeros(9, np.int64)
        program = Program().add(COUNT, [counts], 2).add(COUNT, [wide], 9)
        table = np.array(program.rows, np.int64)
        for _ in range(100):
            assert pool.run(table.ctypes.data, 2, None) == 0
        assert (counts == 100).all() and (wide == 100).all()
        pool.stop()


def test_programs_of_several_python_threads_at_once(two_threads):
    failures = []

    def work(width):
        program, arrays, expected = chain(5, width)
        for _ in range(400):
            arrays[-1][:] = 0
            program.run()
            if (arrays[-1] != expected[-1]).any():
                failures.append(width)

    workers = [threading.Thread(target=work, args=(7 + n,)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


def test_without_workers_the_caller_does_everything(two_threads, monkeypatch, caplog):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    pool = runtime._Pool(4)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    counts = np.zeros(10, np.int64)
    program = Program().add(COUNT, [counts], 10)
    table = np.array(program.rows, np.int64)
    assert pool.run(table.ctypes.data, 1, None) == 1  # the workers are to be started first
    pool.start()
    assert pool.run(table.ctypes.data, 1, None) == 0
    assert (counts == 1).all()
    assert "can't start new thread" in caplog.text


def test_the_number_of_threads_changes_while_another_thread_runs_programs(two_threads):
    """Once a program was not run when the number changed between starting workers and running."""
    done = threading.Event()

    def change():
        n = 0
        while not done.is_set():
            n += 1
            runtime.set_num_threads(2 + n % 3)

    changer = threading.Thread(target=change)
    changer.start()
    counts = np.zeros(5, np.int64)
    program = Program().add(COUNT, [counts], 5)
    try:
        for n in range(1, 300):
            program.run()
            assert (counts == n).all()
    finally:
        done.set()
        changer.join()


@pytest.mark.parametrize("triple", ["aarch64-unknown-linux-gnu", "x86_64-pc-windows-msvc",
                                    "arm64-apple-macosx11.0.0", "riscv64-unknown-linux-gnu"])
def test_the_driver_compiles_for_other_machines(triple):
    machine = replace(NEON, triple=triple)
    if not triple.startswith(("aarch64", "arm64")):
        machine = replace(machine, cpu="", features="")
    assembly = machine_code.assembly(layout.text(triple), machine)
    if triple.startswith(("aarch64", "arm64")):
        # loads that acquire, stores that release, and no calls to helpers for atomics
        assert "ldar" in assembly and "stlr" in assembly and "__aarch64" not in assembly


def test_the_number_of_threads_follows_the_environment(monkeypatch):
    for name in ("SUIREN_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert 1 <= runtime._default_threads() <= (os.cpu_count() or 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert runtime._default_threads() == 3
    monkeypatch.setenv("SUIREN_NUM_THREADS", "5")
    assert runtime._default_threads() == 5
    monkeypatch.setenv("SUIREN_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="many"):
        runtime._default_threads()


# ---- other processes

SCRIPT = f"""
import ctypes, os, sys, threading, time
import numpy as np
from suiren.compiler import machine_code, runtime
kernel = machine_code.load([{COUNT!r}])[0]
counts = np.zeros(8, np.int64)
args = np.array([counts.ctypes.data])
table = np.array([[kernel.address, args.ctypes.data, 8, 1]])
address = table.ctypes.data
def run(times=100):
    for _ in range(times):
        runtime.run(address, 1)
runtime.set_num_threads(3)
run()
"""


def script(body, *flags):
    code = SCRIPT + textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    "body",
    [
        "",
        "time.sleep(0.01)",
        "raise SystemExit(0)",
        "import atexit; atexit.register(run)",
        "threading.Thread(target=run, args=(20000,)).start()",
        "threading.Thread(target=run, args=(10**9,), daemon=True).start(); time.sleep(0.05)",
        # what is finalized last still runs programs
        """
        class Late:
            def __del__(self):
                run()
        late = Late()
        """,
    ],
)
def test_the_interpreter_ends_cleanly(body):
    result = script(body)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_starts_workers_of_its_own_when_it_needs_them():
    result = script(
        """
        def workers():
            return sum(t.name.startswith("suiren ") for t in threading.enumerate())
        assert workers() == 2, workers()
        for parallel in (False, True):
            child = os.fork()
            if child == 0:
                assert workers() == 0
                if parallel:
                    run()
                    assert workers() == 2 and (counts == 200).all()
                    loaded = machine_code.load([machine_code_text.replace("1", "2")])
                else:
                    table[0, 2] = 1
                    run()
                    assert workers() == 0 and counts[0] == 200 and counts[1] == 100
                sys.exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        run()
        assert (counts == 200).all() and workers() == 2
        """.replace("machine_code_text", repr(COUNT)),
        "-W", "ignore::DeprecationWarning",
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")


def test_calling_from_ctypes_needs_no_table_of_ours(two_threads):
    """The table is read during the call alone: it may lie in any memory."""
    counts = np.zeros(4, np.int64)
    program = Program().add(COUNT, [counts], 4)
    rows = np.array(program.rows, np.int64)
    for n in range(1, 200):
        memory = ctypes.create_string_buffer(rows.tobytes(), rows.nbytes)
        runtime.run(ctypes.addressof(memory), 1)
        ctypes.memset(memory, 255, rows.nbytes)
        del memory
        assert (counts == n).all()
