"""What this machine can do at best, measured: bytes streamed and operations done a second.

Streaming is a kernel of Suiren's own that reads 64 MB and writes 64 MB; arithmetic is a loop of
fused multiply-adds on independent registers (multiplications and additions apart on a processor
without them). Both run on as many threads as programs do, a few times; the best time counts.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from time import perf_counter

import numpy as np

STREAM_BYTES = 64 << 20
REPEATS = 20  # at most; and no longer than
SECONDS = 0.15
ROUNDS = 20_000  # of the loop of multiply-adds
CHAINS = 12  # independent sums: more than the latency of an instruction times two units


@dataclass(frozen=True)
class Peaks:
    """Measured limits of this machine at so many threads."""

    gigabytes: float  # read and written a second
    gigaflops: float  # operations a second in float32
    gigaflops64: float  # in float64
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.gigabytes:.1f} GB/s, {self.gigaflops:.0f} GFLOP/s in float32, "
            f"{self.gigaflops64:.0f} in float64, on {self.threads} "
            f"thread{'s' if self.threads > 1 else ''}"
        )


def peaks() -> Peaks:
    """The limits, measured at the first call for this number of threads (a third of a second)."""
    from suiren.compiler import runtime

    return _measured(runtime.get_num_threads())


@functools.cache
def _measured(threads: int) -> Peaks:
    return Peaks(_stream(), _multiply_add("float"), _multiply_add("double"), threads)


def _best(address: int, arguments: list[int], tasks: int) -> float:
    """Seconds that a kernel takes at best."""
    from suiren.compiler import runtime

    table = np.array([address, 0, tasks, 0], np.uint64)
    slots = np.array(arguments or [0], np.uint64)  # a kernel's table points at cells
    cells = np.array([slots.ctypes.data + 8 * i for i in range(len(slots))], np.uint64)
    table[1] = cells.ctypes.data
    clock = np.zeros(2, np.int64)
    best = float("inf")
    end = perf_counter() + SECONDS
    for number in range(REPEATS):
        if number > 3 and perf_counter() > end:
            break
        runtime.run_timed(table.ctypes.data, 1, clock.ctypes.data)
        best = min(best, float(clock[1] - clock[0]))
    return max(best, 1.0) * 1e-9


def _stream() -> float:
    from suiren import dtypes
    from suiren.compiler import machine_code
    from suiren.compiler.fuse import Fusion
    from suiren.compiler.graph import Graph
    from suiren.compiler.plan import Plan
    from suiren.compiler.target import host

    graph = Graph()
    x = graph.input(0, (STREAM_BYTES // 4,), dtypes.float32)
    graph.outputs = [-x]
    step = Plan(graph, Fusion(graph), host()).steps[0]
    assert step.kernel is not None
    (loaded,) = machine_code.load([step.kernel.text])
    arrays = {x: np.zeros(x.shape, np.float32), graph.outputs[0]: np.zeros(x.shape, np.float32)}
    addresses = [arrays[key].ctypes.data for key in step.kernel.keys]
    return 2 * STREAM_BYTES / _best(loaded.address, addresses, step.kernel.tasks) / 1e9


def _multiply_add(scalar: str) -> float:
    from suiren.compiler import machine_code, runtime
    from suiren.compiler.target import host

    target = host()
    lanes = target.lanes(4 if scalar == "float" else 8)
    type = f"<{lanes} x {scalar}>"
    name = f"llvm.fma.v{lanes}f{32 if scalar == 'float' else 64}"
    lines = [f"define void @kernel(ptr %args, i64 %task) {target.function_attributes} {{", "entry:"]
    # a factor and a term that LLVM does not know
    lines += [
        "  %slot = load ptr, ptr %args", f"  %one = load {scalar}, ptr %slot",
        f"  %first = insertelement {type} poison, {scalar} %one, i64 0",
        f"  %x = shufflevector {type} %first, {type} poison, <{lanes} x i32> zeroinitializer",
        "  br label %loop", "loop:", "  %i = phi i64 [ 0, %entry ], [ %next, %loop ]",
    ]  # fmt: skip
    for c in range(CHAINS):
        lines.append(f"  %a{c} = phi {type} [ %x, %entry ], [ %b{c}, %loop ]")
    for c in range(CHAINS):
        if target.fma:
            lines.append(f"  %b{c} = call {type} @{name}({type} %a{c}, {type} %x, {type} %x)")
        else:
            lines.append(f"  %m{c} = fmul {type} %a{c}, %x")
            lines.append(f"  %b{c} = fadd {type} %m{c}, %x")
    lines += [
        "  %next = add i64 %i, 1", f"  %more = icmp ult i64 %next, {ROUNDS}",
        "  br i1 %more, label %loop, label %done", "done:",
    ]  # fmt: skip
    total = "%b0"
    for c in range(1, CHAINS):
        lines.append(f"  %s{c} = fadd {type} {total}, %b{c}")
        total = f"%s{c}"
    # the sums are stored where nobody looks, or the loop would be left out
    lines += [
        f"  %out = alloca {type}", f"  store volatile {type} {total}, ptr %out", "  ret void", "}",
        f"declare {type} @{name}({type}, {type}, {type})",
    ]  # fmt: skip
    (loaded,) = machine_code.load(["\n".join(lines)])
    tasks = 8 * runtime.get_num_threads()
    number = np.array([1e-3], np.float32 if scalar == "float" else np.float64)
    bits = number.view(np.uint32 if scalar == "float" else np.uint64)
    seconds = _best(loaded.address, [int(bits[0])], tasks)
    return 2.0 * CHAINS * ROUNDS * lanes * tasks / seconds / 1e9
