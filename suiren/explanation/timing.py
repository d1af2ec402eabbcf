"""The time of each kernel and of each step of the host, taken while a program runs.

Kernels are timed by the runtime's own clock (``runtime.run_timed``): each is then complete before
the next begins, which changes no result. What the interpreter computes is timed operation by
operation. Times are nanoseconds of ``time.perf_counter_ns``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import numpy as np

# A program that is timed has other functions set on it: one run at a time.
_lock = threading.RLock()


@dataclass
class Times:
    """What was measured in one run of a program: (what, begin, end)."""

    kernels: list[tuple[int, int, int]] = field(default_factory=list)  # by number
    host: list[tuple[Any, int, int]] = field(default_factory=list)  # by operator
    interpreted: list[tuple[Any, int, int]] = field(default_factory=list)  # by operator
    begin: int = 0
    end: int = 0


def timed(program: Any, run: Callable[[], Any]) -> tuple[Any, Times]:
    """``run()``, which runs this Program, and the times of what it did."""
    times = Times()
    native, interpretation = program.native, program.interpretation
    with _lock:
        if native is not None:
            native.prepared.off = True  # all steps are run and timed
            native.run_steps = _timing_steps(native, times)
            native._host = _timing_host(native._host, times)
        interpretation._execute = _timing_operations(interpretation._execute, times)
        times.begin = perf_counter_ns()
        try:
            result = run()
        finally:
            times.end = perf_counter_ns()
            del interpretation._execute
            if native is not None:
                native.prepared.off = False
                del native.run_steps, native._host
    return result, times


def _timing_steps(native: Any, times: Times) -> Callable[[int, int], None]:
    from suiren.compiler import runtime

    kernels = len(native.image.steps) - native.image.counted  # what counts runs is no work

    def run_steps(table: int, count: int) -> None:
        clock = np.zeros(count + 1, np.int64)
        began = perf_counter_ns()
        runtime.run_timed(table, count, clock.ctypes.data)
        first = (table - native.table.ctypes.data) // 32
        clock += began - clock[0]  # the runtime's clock may begin elsewhere
        for number in range(min(count, kernels - first)):
            times.kernels.append((first + number, int(clock[number]), int(clock[number + 1])))

    return run_steps


def _timing_host(original: Callable, times: Times) -> Callable:
    def host(call: Any, *arguments: Any) -> None:
        began = perf_counter_ns()
        original(call, *arguments)
        times.host.append((call.operator, began, perf_counter_ns()))

    return host


def _timing_operations(original: Callable, times: Times) -> Callable:
    def execute(step: Any, slots: Any) -> None:
        began = perf_counter_ns()
        original(step, slots)
        times.interpreted.append((step.operator, began, perf_counter_ns()))

    return execute
