"""Large elementwise and reduction expressions, against the time to stream the same bytes once.

What bounds them is memory: the last rows are NumPy copying an array (on one thread) and PyTorch or
Suiren adding two, so that the expressions can be seen against one pass over their operands.
"""

from __future__ import annotations

import time

from sidebyside import main


def work(torch, smoke: bool) -> dict[str, float]:
    """Seconds for one evaluation."""
    expressions = {
        "8 operations": lambda x, y: ((x * 2 + 1).relu() * y - 0.5 + x).abs(),
        "sum of 3 operations": lambda x, y: ((x - y) * (x - y)).sum(),
        "mean, variance of rows": lambda x, y: (x * y).view(-1, 1000).var(1),
        "sigmoid, tanh": lambda x, y: (x.sigmoid() * y).tanh(),
        "softmax of rows": lambda x, y: torch.softmax(x.view(-1, 1000), 1),
        "one addition": lambda x, y: x + y,
    }
    found = {}
    for size in (1_000,) if smoke else (1_000_000, 20_000_000):
        x, y = torch.rand(size) + 0.0, torch.rand(size) + 0.0
        for name, expression in expressions.items():
            times = []
            for _ in range(3 if smoke else 12 if size > 1e7 else 60):
                started = time.perf_counter()
                result = expression(x, y)
                result.view(-1)[0].item()
                times.append(time.perf_counter() - started)
                del result
            found[f"{name}, {size:,}"] = sorted(times[2:])[len(times[2:]) // 2]
    return found


if __name__ == "__main__":
    main(work, unit="ms", rounds=3)
