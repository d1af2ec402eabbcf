"""Matrix multiplication on the CPU: from three loops to the library, timed against NumPy.

You learn how many operations a product takes (2 n³), how much the loops cost that Python runs one
number at a time, and what a good library reaches. Takes ten seconds.
"""

import time

import numpy as np
import torch
from common import options, pyplot, save


def three_loops(a, b):
    """The definition, number by number, over Python's lists."""
    a, b = a.tolist(), b.tolist()
    rows, inner, columns = len(a), len(b), len(b[0])
    result = [[0.0] * columns for _ in range(rows)]
    for i in range(rows):
        for j in range(columns):
            total = 0.0
            for k in range(inner):
                total += a[i][k] * b[k][j]
            result[i][j] = total
    return torch.tensor(result)


def row_by_row(a, b):
    """A row of the result is the sum of the rows of b, weighted by a row of a."""
    return torch.stack([(row.unsqueeze(1) * b).sum(dim=0) for row in a])


def broadcast(a, b):
    """All products at once, then their sums: no loop, but n³ numbers in memory."""
    return (a.unsqueeze(2) * b.unsqueeze(0)).sum(dim=1)


def matmul(a, b):
    return a @ b


def numpy(a, b):
    return torch.from_numpy(a.numpy() @ b.numpy())


# How to multiply, and the largest matrix for which it is worth waiting.
WAYS = {
    "three loops": (three_loops, 128),
    "row by row": (row_by_row, 256),
    "broadcast": (broadcast, 256),
    "torch a @ b": (matmul, 2048),
    "NumPy a @ b": (numpy, 2048),
}


def seconds(way, a, b):
    """The best time of a few; `item` makes sure that the result is there."""
    best, spent = float("inf"), 0.0
    while spent < 0.2:
        start = time.perf_counter()
        result = way(a, b)
        result[0, 0].item()
        best = min(best, time.perf_counter() - start)
        spent += time.perf_counter() - start
    return best, result


def main():
    arguments = options(__doc__).parse_args()
    sizes = [16, 32, 64] if arguments.quick else [16, 32, 64, 128, 256, 512, 1024, 2048]
    torch.manual_seed(0)
    speeds = {name: [] for name in WAYS}
    worst = 0.0
    print("Thousand million operations per second:")
    print(f"{'size':>6} " + " ".join(f"{name:>12}" for name in WAYS))
    for size in sizes:
        a, b = torch.rand(size, size), torch.rand(size, size)
        exact = a.double().numpy() @ b.double().numpy()
        for name, (way, largest) in WAYS.items():
            if size <= largest:
                best, result = seconds(way, a, b)
                speeds[name].append(2 * size**3 / best / 1e9)
                error = np.abs(result.double().numpy() - exact).max() / np.abs(exact).max()
                worst = max(worst, float(error))
        row = [speeds[name][-1] if size <= WAYS[name][1] else None for name in WAYS]
        print(f"{size:>6} " + " ".join(f"{s:12.4f}" if s else f"{'-':>12}" for s in row))
    print(f"Largest relative error of all: {worst:.0e}")

    plot = pyplot()
    if plot:
        figure, axes = plot.subplots(figsize=(7, 4.2))
        for name, values in speeds.items():
            axes.loglog(sizes[: len(values)], values, "o-", label=name, base=10)
        axes.set(title="matrix products: thousand million operations a second", xlabel="size")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.legend()
        save(figure, arguments.pictures, __file__)
    print(f"Result: error below 1e-5 {worst < 1e-5}, sizes {len(sizes)}")


if __name__ == "__main__":
    main()
