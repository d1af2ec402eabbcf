"""What a training step costs in Python alone: recording, autograd, optimizer, flush bookkeeping.

Each program is run for real once; afterwards the arrays of that one run stand in for computing, so
what is left is the time that no compiler can take away. The three steps are those of
``training.py``. Times are of the processor (``time.process_time``), in microseconds: the median of
many rounds, and the least of them, which other work on the machine disturbs least.

    python benchmarks/python_cost.py              # the table
    python benchmarks/python_cost.py --profile    # and where the time goes, by function

What recording single operations costs is in ``recording.py``.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import statistics
import time
from collections.abc import Callable

from training import _line, _mlp

import suiren as torch
from suiren.trace import program


def compute_once() -> None:
    """From now on a program computes when it is run first, and then gives the same arrays again."""
    run = program.Program.run
    computed: dict[program.Program, tuple] = {}

    def repeated(self, inputs, *rest, **options):
        found = computed.get(self)
        if found is None:
            found = computed[self] = run(self, inputs, *rest, **options)
        inputs.clear()
        return list(found[0]), found[1]

    program.Program.run = repeated


def steps_by_name() -> dict[str, Callable]:
    """The training steps, by name."""
    return {
        "y = wx + b, manual update": _line(torch),
        "MLP, SGD": _mlp(torch, lambda p: torch.optim.SGD(p, lr=0.1)),
        "MLP, SGD with momentum": _mlp(
            torch, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4)),
        "MLP, Adam": _mlp(torch, lambda p: torch.optim.Adam(p, lr=1e-3)),
    }  # fmt: skip


def measure(step: Callable, rounds: int, count: int) -> list[float]:
    """Microseconds a step, once for each round."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(count):
            step()
        times.append((time.process_time() - started) / count * 1e6)
    return times


def profile(step: Callable, lines: int = 45) -> None:
    """Prints where the time of a step goes."""
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(500):
        step()
    profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", default="", help="steps whose name holds this")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    rounds, count = (2, 2) if options.smoke else (40, 25)
    compute_once()
    print(f"{'':36}{'median us':>12}{'least us':>12}")
    for name, step in steps_by_name().items():
        if options.only not in name:
            continue
        for _ in range(5):
            step()
        gc.collect()
        times = measure(step, rounds, count)
        print(f"{name:36}{statistics.median(times):12.1f}{min(times):12.1f}")
        if options.profile:
            profile(step)


if __name__ == "__main__":
    main()
