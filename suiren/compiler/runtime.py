"""Runs compiled programs: one native call walks a table of steps on all threads.

    run(table_address, count)                        # returns when every task is done
    run_timed(table_address, count, times_address)   # and writes down when each step was done
    set_num_threads(n); get_num_threads()

A step is four 8-byte words: the kernel's address, its argument's address, the number of tasks,
flags (bit 0: all earlier steps must be complete before this one begins). Kernels are called as
``kernel(args, task)`` for each task in 0..tasks-1. A step of one task runs on the calling thread.

The driver itself is LLVM IR (``runtime_ir.py``, which explains how threads share work). The workers
are Python threads parked in one long call of it, so that the GIL is free; they start with the first
program that has a step of several tasks. When several Python threads run programs at once, one gets
the workers and the others run theirs alone: which thread does a task never changes its result.

Sits above ``machine_code`` and below the programs of ``suiren/trace``.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from suiren.compiler import runtime_ir as layout

# How long a thread spins before it sleeps: at a barrier, and between programs. Waking one takes
# about 60 microseconds (half of that in the thread that wakes), so spinning as long costs at most
# twice the best choice. Between programs it is longer: steps of small models come every 0.1 to
# 0.3 ms.
SPIN_NANOSECONDS = 50_000
IDLE_SPIN_NANOSECONDS = 200_000

_lock = threading.Lock()
_threads: int | None = None  # None: not decided yet
_run: Callable[[int, int, int | None], int] | None = None  # the driver, with its pool
_pool: _Pool | None = None
# Pools are never freed: a daemon thread may still look at one while the interpreter goes down.
_kept: list[Any] = []


def run(table: int, count: int) -> None:
    """Runs the table of ``count`` steps at this address; returns when all is done.

    The GIL is released meanwhile. The table, its kernels and what they use must stay alive.
    """
    native = _run or _prepare()
    while native(table, count, None):  # again when another thread has just changed their number
        _start_workers()


def run_timed(table: int, count: int, times: int) -> None:
    """As :func:`run`, each step complete before the next begins; writes when.

    ``times``: address of ``count + 1`` int64. Entry 0 gets the time at the start, entry i + 1 the
    time when step i was complete, in nanoseconds of a clock that never goes back.
    """
    native = _run or _prepare()
    while native(table, count, times):
        _start_workers()


def set_num_threads(n: int) -> None:
    """Sets how many threads run a program, the calling one among them; at most 256 are used."""
    global _threads
    with _lock:
        _threads = n
        if _pool is not None:
            _pool.resize(n)


def get_num_threads() -> int:
    """What was set; else SUIREN_NUM_THREADS or OMP_NUM_THREADS; else the number of cores."""
    global _threads
    if _threads is None:
        _threads = _default_threads()
    return _threads


def _default_threads() -> int:
    """Raises ValueError when SUIREN_NUM_THREADS is no positive number."""
    if wish := os.environ.get("SUIREN_NUM_THREADS", "").strip():
        if not wish.isdecimal() or int(wish) < 1:
            raise ValueError(f"SUIREN_NUM_THREADS is {wish!r}; it must be a positive number")
        return int(wish)
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        return int(first)
    return max(1, min(_cores(), _quota()))


def _cores() -> int:
    """Cores that this process may use; hardware threads of one core count once.

    Two threads on a core share its multipliers: for dense arithmetic the second gains nothing.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    processors = os.sched_getaffinity(0)
    groups = set()
    for processor in processors:
        path = f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
        try:
            with open(path, encoding="ascii") as file:
                groups.add(file.read())
        except OSError:
            return len(processors)
    return len(groups)


def _quota() -> int:
    """How many processors' time the container is granted, rounded up; a large number if all."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            granted, period = file.read().split()
        if granted != "max":
            return max(1, math.ceil(int(granted) / int(period)))
    except (OSError, ValueError):
        pass
    return sys.maxsize


class _Pool:
    """The memory that threads share, and the workers."""

    def __init__(self, threads: int, first_step: int = 1):
        memory = ctypes.create_string_buffer(layout.POOL_BYTES + 128)
        _keep_for_ever(memory)
        self.address = (ctypes.addressof(memory) + 127) & ~127
        self.workers: dict[int, threading.Thread] = {}
        functions = _driver()
        # CFUNCTYPE calls release the GIL.
        word, address = ctypes.c_int64, ctypes.c_void_p
        native_run = ctypes.CFUNCTYPE(word, address, address, word, address)(functions[0])
        self._work = ctypes.CFUNCTYPE(None, address, word)(functions[1])
        self._limit = ctypes.CFUNCTYPE(None, address, word)(functions[2])
        self.run: Callable[[int, int, int | None], int] = functools.partial(
            native_run, self.address
        )
        _operating_system(self)
        self.write(layout.SPIN, SPIN_NANOSECONDS)
        self.write(layout.IDLE_SPIN, IDLE_SPIN_NANOSECONDS)
        self.write(layout.NEXT, first_step)
        for cell in range(layout.MAX_THREADS):
            spent = ((first_step - 1) << 32 | 0xFFFFFFFF) & (2**64 - 1)
            self.write(layout.CELLS + cell * layout.CELL_BYTES, spent)
        self.threads = 1
        self.resize(threads)

    def write(self, place: int, value: int) -> None:
        """Sets one 8-byte word of the pool."""
        ctypes.c_uint64.from_address(self.address + place).value = value

    def resize(self, threads: int) -> None:
        """Ends the workers beyond this number; further ones start when they are first needed."""
        self.threads = min(threads, layout.MAX_THREADS)
        self.write(layout.STARTED, 0)
        self._limit(self.address, self.threads)
        for number in [n for n in self.workers if n >= self.threads]:
            # One that is busy with another thread's program ends after it; we need not wait.
            self.workers.pop(number).join(timeout=0.2)

    def start(self) -> None:
        """Starts the workers that are missing. With fewer, programs run all the same."""
        for number in range(1, self.threads):
            if number in self.workers:
                continue
            worker = threading.Thread(
                target=self._work, args=(self.address, number), name=f"suiren {number}",
                daemon=True,
            )  # fmt: skip
            try:
                worker.start()
            except RuntimeError as error:  # no more threads, or the interpreter is ending
                import logging

                log = logging.getLogger("suiren.compiler")
                log.warning("programs run on %d threads: %s", number, error)
                break
            self.workers[number] = worker
        self.write(layout.STARTED, 1)

    def stop(self) -> None:
        """Ends the workers; what runs from now on runs on its own thread."""
        self._limit(self.address, 0)
        end = time.monotonic() + 1.0
        for worker in self.workers.values():
            worker.join(timeout=max(0.0, end - time.monotonic()))
        self.workers.clear()


def _prepare() -> Callable[[int, int, int | None], int]:
    """The driver, compiled and with its pool, but no workers yet."""
    global _pool, _run
    with _lock:
        if _run is None:
            _pool = _Pool(get_num_threads())
            _run = _pool.run
        return _run


def _start_workers() -> None:
    with _lock:
        if _pool is not None:
            _pool.start()


@functools.cache
def _driver() -> tuple[int, int, int]:
    """The addresses of the driver's three functions; see ``runtime_ir.text``."""
    from suiren.compiler import machine_code, target

    kernel = machine_code.load([layout.text(target.host().triple)])[0]
    _keep_for_ever(kernel)
    table = (ctypes.c_uint64 * 3)()
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(kernel.address)(
        ctypes.addressof(table), 0
    )
    return (table[0], table[1], table[2])


def _keep_for_ever(thing: Any) -> None:
    """Not freed even when the interpreter clears its modules."""
    _kept.append(thing)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _operating_system(pool: _Pool) -> None:
    """Gives the pool its mutex, its two condition variables and the clock."""
    mutex, idle, barrier = (pool.address + layout.SYSTEM + 256 * n for n in range(3))
    pool.write(layout.MUTEX, mutex)
    pool.write(layout.IDLE_CONDITION, idle)
    pool.write(layout.BARRIER_CONDITION, barrier)
    if sys.platform == "win32":
        # Locks and conditions that are all zeros are initialised.
        library: Any = ctypes.WinDLL("kernel32")
        names = ("AcquireSRWLockExclusive", "ReleaseSRWLockExclusive",
                 "SleepConditionVariableSRW", "WakeConditionVariable",
                 "WakeAllConditionVariable", "QueryPerformanceCounter")  # fmt: skip
        frequency = ctypes.c_int64()
        library.QueryPerformanceFrequency(ctypes.byref(frequency))
        clock_argument = 10**9 // frequency.value
    else:
        library = ctypes.CDLL(None)
        names = ("pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait",
                 "pthread_cond_signal", "pthread_cond_broadcast", "clock_gettime")  # fmt: skip
        clock_argument = time.CLOCK_MONOTONIC
        library.pthread_mutex_init(ctypes.c_void_p(mutex), None)
        library.pthread_cond_init(ctypes.c_void_p(idle), None)
        library.pthread_cond_init(ctypes.c_void_p(barrier), None)
    places = (layout.LOCK, layout.UNLOCK, layout.WAIT, layout.SIGNAL, layout.BROADCAST,
              layout.CLOCK)  # fmt: skip
    for place, name in zip(places, names, strict=True):
        address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        assert address is not None
        pool.write(place, address)
    pool.write(layout.CLOCK_ARGUMENT, clock_argument)


def _forget() -> None:
    """In a forked child: the workers exist in the parent alone, and locks may be held by them."""
    global _lock, _pool, _run
    _lock = threading.Lock()
    _pool = None
    _run = None


def _stop() -> None:
    """At exit: no thread may be in code that is about to be unloaded."""
    with _lock:
        if _pool is not None:
            _pool.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
atexit.register(_stop)
