"""Random numbers: draws of 1,000 to 10 million, dropout, and models with their initial values.

Both libraries draw the same numbers from the same seeds. Suiren's kernels are loaded before the
clock starts. The models are built from ``nn`` layers in the shapes of well-known ones, so that
PyTorch alone is enough to compare with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sidebyside import main


def work(torch: Any, smoke: bool) -> dict[str, float]:
    """Seconds of each draw."""
    largest = 10_000 if smoke else 10_000_000
    torch.manual_seed(0)
    found: dict[str, float] = {}
    calls = draws(torch)
    for call in calls.values():  # compiled, loaded
        call(300_000)
        call(300_000)
    for name, call in calls.items():
        size = 1_000
        while size <= largest:
            found[f"{name} {size:,}"] = best(lambda c=call, n=size: c(n), 3 if smoke else 9)
            size *= 100 if name.count(" ") else 10
    for name, build in models(torch, smoke).items():
        found[name] = best(build, 1 if smoke else 3)
    return found


def draws(torch: Any) -> dict[str, Callable[[int], Any]]:
    """Functions of a size; names of several words are measured at fewer sizes."""
    double = torch.float64
    halves: dict[int, Any] = {}

    def probabilities(n: int) -> Any:
        if n not in halves:
            halves[n] = torch.full((n,), 0.5)
        return halves[n]

    return {
        "rand": lambda n: torch.rand(n).numpy(),
        "randn": lambda n: torch.randn(n).numpy(),
        "randperm": lambda n: torch.randperm(n).numpy(),
        "bernoulli": lambda n: torch.bernoulli(probabilities(n)).numpy(),
        "dropout": lambda n: torch.nn.functional.dropout(probabilities(n)).numpy(),
        "randn, float64": lambda n: torch.randn(n, dtype=double).numpy(),
        "uniform_ in place": lambda n: torch.empty(n).uniform_(-1, 1).numpy(),
        "randint of 10": lambda n: torch.randint(10, (n,)).numpy(),
        "exponential_ of float32": lambda n: torch.empty(n).exponential_().numpy(),
        "geometric_ of float32": lambda n: torch.empty(n).geometric_(0.2).numpy(),
    }


def models(torch: Any, smoke: bool) -> dict[str, Callable[[], Any]]:
    """Constructors of models; what they draw is the work."""
    nn = torch.nn

    def convolutional(widths: list[tuple[int, int]], classifier: list[tuple[int, int]]) -> Any:
        layers = []
        for inputs, outputs in widths:
            conv = nn.Conv2d(inputs, outputs, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(outputs)]
        for inputs, outputs in classifier:
            linear = nn.Linear(inputs, outputs)
            nn.init.normal_(linear.weight, 0, 0.01)
            layers.append(linear)
        return nn.Sequential(*layers)

    stages = [(64, 64)] * 4
    for width in (128, 256, 512):
        stages += [(width // 2, width), *[(width, width)] * 3]
    vgg = [(3, 64), (64, 128), (128, 256), (256, 256), (256, 512), *[(512, 512)] * 3]

    def transformer() -> Any:
        layers = [nn.TransformerEncoderLayer(768, 12, 3072) for _ in range(12)]
        for layer in layers:
            nn.init.trunc_normal_(layer.linear1.weight, std=0.02)
        return layers

    found = {"a network like resnet18": lambda: convolutional(stages, [(512, 1000)])}
    if not smoke:
        head = [(25088, 4096), (4096, 4096), (4096, 1000)]
        found["a network like vgg11"] = lambda: convolutional(vgg, head)
        found["a transformer like vit_b_16"] = transformer
    return found


def best(call: Callable[[], Any], rounds: int) -> float:
    """The shortest of some runs; small ones are repeated within a run."""
    started = time.perf_counter()
    call()
    repeats = max(1, min(1000, int(0.005 / (time.perf_counter() - started))))
    shortest = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        shortest = min(shortest, (time.perf_counter() - started) / repeats)
    return shortest


if __name__ == "__main__":
    main(work, "us", rounds=3)
