"""Whole training steps inside ``torch.compile``: replayed here, PyTorch's best of three there.

    python benchmarks/replay.py            PyTorch eager, in the ratio
    python benchmarks/replay.py --compile  and torch.compile of the step and of the loss (minutes)
    python benchmarks/replay.py --python   what a replay costs in Python alone, by python_cost.py

The first steps, in which a step is watched and compiled, are not counted.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from sidebyside import main

CASES = {"y = wx + b, 10,000 points": 1000, "MLP 784-256-128-10, batch 64, SGD": 200,
         "MLP 784-256-128-10, batch 64, Adam": 200}  # fmt: skip


def _line(torch, wrap):
    torch.manual_seed(0)
    x = torch.rand(10_000, 1)
    y = 10 * x + 4 + torch.randn(10_000, 1)
    w = torch.zeros(1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    loss_of = wrap(lambda: ((w * x + b - y) ** 2).mean())

    def step():
        loss_of().backward()
        with torch.no_grad():
            w.sub_(0.01 * w.grad)
            b.sub_(0.01 * b.grad)
        w.grad.zero_()
        b.grad.zero_()

    return step


def _mlp(torch, wrap, optimizer):
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    x, y = torch.randn(64, 784), torch.randint(0, 10, (64,))
    opt = optimizer(model.parameters())
    loss_of = wrap(lambda: nn.functional.cross_entropy(model(x), y))

    def step():
        opt.zero_grad()
        loss_of().backward()
        opt.step()

    return step


def steps(torch, wrap: Callable) -> dict[str, Callable]:
    """The steps by name; ``wrap`` is put around the function that computes the loss."""
    first, second, third = CASES
    return {
        first: _line(torch, wrap),
        second: _mlp(torch, wrap, lambda p: torch.optim.SGD(p, lr=0.1)),
        third: _mlp(torch, wrap, lambda p: torch.optim.Adam(p, lr=1e-3)),
    }


def _seconds(step: Callable, count: int) -> float:
    for _ in range(min(20, count)):
        step()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def work(torch, smoke: bool) -> dict[str, float]:
    """Seconds per training step."""
    ways = []
    if torch.__name__ == "suiren":
        ways = [{name: torch.compile(step) for name, step in steps(torch, _as_it_is).items()}]
    else:
        ways = [steps(torch, _as_it_is)]
        if os.environ.get("BENCHMARK_TORCH_COMPILE"):
            ways.append(steps(torch, torch.compile))
            ways.append({n: torch.compile(s) for n, s in steps(torch, _as_it_is).items()})
    found: dict[str, float] = {}
    for way in ways:
        for name, step in way.items():
            seconds = _seconds(step, 2 if smoke else CASES[name])
            found[name] = min(seconds, found.get(name, seconds))
    return found


def _as_it_is(function: Callable) -> Callable:
    return function


def python_cost() -> None:
    """Prints microseconds of Python for each replayed step: nothing is computed."""
    import statistics

    import python_cost as cost

    import suiren

    cost.compute_once()
    print(f"{'':42}{'median us':>12}{'least us':>12}")
    for name, step in steps(suiren, _as_it_is).items():
        compiled = suiren.compile(step)
        for _ in range(10):
            compiled()
        times = cost.measure(compiled, 40, 25)
        print(f"{name:42}{statistics.median(times):12.1f}{min(times):12.1f}")


if __name__ == "__main__":
    if "--compile" in sys.argv:
        sys.argv.remove("--compile")
        os.environ["BENCHMARK_TORCH_COMPILE"] = "1"
    if "--python" in sys.argv:
        python_cost()
    else:
        main(work, unit="us", rounds=3)
