"""Matrix products: the compiler's kernels beside torch.matmul, on all threads.

    python benchmarks/matmul.py [--smoke] [--bfloat16]

Suiren's side is the kernels alone, without the way there (tracing, dispatch): what remains is a
call of the native runtime. The shapes: squares; a layer of an MLP and its gradients; the layers of
a transformer and theirs (nt: the weight as nn.Linear keeps it; dx, dw: its gradients); batched and
attention's; thin ones.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import sidebyside

# batch, m, k, n, and which operand lies transposed in memory
SHAPES = {
    "square 512": ((), 512, 512, 512, ""),
    "square 1024": ((), 1024, 1024, 1024, ""),
    "square 1024 nt": ((), 1024, 1024, 1024, "b"),
    "square 1024 tn": ((), 1024, 1024, 1024, "a"),
    "square 2048": ((), 2048, 2048, 2048, ""),
    "square 4096": ((), 4096, 4096, 4096, ""),
    "mlp": ((), 64, 784, 256, ""),
    "mlp nt": ((), 64, 784, 256, "b"),
    "mlp dx": ((), 64, 256, 784, ""),
    "mlp dw": ((), 784, 64, 256, "a"),
    "mlp dw nt": ((), 256, 64, 784, "a"),
    "mlp head nt": ((), 64, 256, 10, "b"),
    "mlp head dx": ((), 64, 10, 256, ""),
    "mlp head dw": ((), 10, 64, 256, "a"),
    "batched 64": ((64,), 64, 64, 64, ""),
    "attention qk": ((64,), 128, 32, 128, "b"),
    "attention pv": ((64,), 128, 128, 32, ""),
    "attention dv": ((64,), 128, 128, 32, "a"),
    "transformer 768 nt": ((), 1024, 256, 768, "b"),
    "transformer 768 nn": ((), 1024, 256, 768, ""),
    "transformer 768 dx": ((), 1024, 768, 256, ""),
    "transformer 768 dw": ((), 768, 1024, 256, "a"),
    "transformer 1024 nt": ((), 1024, 256, 1024, "b"),
    "transformer 1024 nn": ((), 1024, 256, 1024, ""),
    "transformer 1024 dx": ((), 1024, 1024, 256, ""),
    "transformer 1024 dw": ((), 1024, 1024, 256, "a"),
    "transformer 256 nt": ((), 1024, 256, 256, "b"),
    "transformer 256 dw": ((), 256, 1024, 256, "a"),
    "matrix vector 1024": ((), 1024, 1024, 1, ""),
    "matrix vector 4096": ((), 4096, 4096, 1, ""),
    "vector matrix 1024": ((), 1, 1024, 1024, ""),
    "vector matrix 4096": ((), 1, 4096, 4096, ""),
    "vector matrix nt 4096": ((), 1, 4096, 4096, "b"),
    "8 rows nt": ((), 8, 1024, 1024, "b"),
    "8 rows": ((), 8, 1024, 1024, ""),
    "8 columns": ((), 4096, 256, 8, ""),
    "dot": ((), 1, 1000000, 1, ""),
    "long k": ((), 16, 100000, 16, "b"),
}


def operands(shape: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Random matrices, lying in memory as the shape says."""
    batch, m, k, n, turned = shape
    generator = np.random.default_rng(0)
    pair = []
    for name, size in (("a", (m, k)), ("b", (k, n))):
        if name in turned:
            size = size[::-1]
        array = generator.standard_normal((*batch, *size), dtype=np.float32)
        pair.append(array.swapaxes(-1, -2) if name in turned else array)
    return pair[0], pair[1]


def work(library: object, smoke: bool, bfloat16: bool) -> dict[str, float]:
    """Seconds of each product."""
    times = {}
    for name, shape in SHAPES.items():
        call = product(library, *operands(shape), bfloat16)
        call()
        start = time.perf_counter()
        call()
        once = time.perf_counter() - start
        count = 1 if smoke else max(1, min(200, int(0.005 / once)))
        rounds = []
        for _ in range(1 if smoke else 15 if once < 0.1 else 3):
            start = time.perf_counter()
            for _ in range(count):
                call()
            rounds.append((time.perf_counter() - start) / count)
        times[name] = statistics.median(rounds)
    return times


def product(library, a: np.ndarray, b: np.ndarray, bfloat16: bool):
    """A function that multiplies the two with that library, into memory it has already."""
    if library.__name__ == "torch":
        kind = library.bfloat16 if bfloat16 else library.float32
        left, right = (library.from_numpy(x).to(kind) for x in (a, b))
        out = library.empty(left.shape[:-1] + right.shape[-1:], dtype=kind)
        return lambda: library.matmul(left, right, out=out)
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from matmul_harness import Runner

    if not bfloat16:
        return Runner(a, b)
    a, b = (narrow(x) for x in (a, b))
    return Runner(a, b, out=np.empty(a.shape[:-1] + b.shape[-1:], np.uint16))


def narrow(x: np.ndarray) -> np.ndarray:
    """Numbers cut off to bfloat16, as the harness has them: in uint16, lying as they lay."""
    return (x.view(np.uint32) >> 16).astype(np.uint16, order="K")


if __name__ == "__main__":
    sidebyside.main(work, bfloat16="operands and results in bfloat16, not float32")
