"""Sweeps the compiler's elementary functions over hundreds of millions of numbers.

    python tools/check_mathematics.py                 # float32: every 16th pattern; float64: random
    python tools/check_mathematics.py exp log --step 1 --random 100000000

Outside of the test run: a full sweep of a float32 function (``--step 1``: all 2^32 patterns) takes
about ten minutes. float64 is compared with NumPy's long double (80 bits on x86), erf and erfc with
the C library's long double functions. Prints the largest error of each function in units of the
last place, and where it is; ends with status 1 if one is above 2.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from vector_functions import (  # noqa: E402
    BOUNDS,
    LEAST,
    REFERENCES,
    apply,
    errors,
    long_double,
    samples,
)

from suiren.compiler.codegen import mathematics  # noqa: E402

CHUNK = 1 << 20


def reference(name: str, dtype: np.dtype) -> Callable[..., np.ndarray]:
    wide = np.float64 if dtype == np.float32 else np.longdouble
    function = REFERENCES[name]
    if name in ("erf", "erfc"):
        wide, function = np.longdouble, long_double(name + "l")
    return lambda *arrays: function(*[a.astype(wide) for a in arrays])


def inputs(
    name: str, dtype: np.dtype, step: int, random: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Chunks of operands."""
    rng = np.random.default_rng(0)
    operands = mathematics.FUNCTIONS[name].operands
    if dtype == np.float32 and operands == 1:
        for start in range(0, 2**32, CHUNK * step):
            patterns = np.arange(start, min(start + CHUNK * step, 2**32), step, np.uint64)
            # another phase in each chunk, so that low bits vary
            patterns += np.uint64(rng.integers(0, step))
            yield (patterns.astype(np.uint32).view(np.float32),)
        return
    for _ in range(max(1, random // CHUNK)):
        x = samples(dtype, CHUNK, rng)
        yield (x, rng.permutation(x))[:operands]


def check(name: str, dtype: np.dtype, step: int, random: int) -> float:
    function = reference(name, dtype)
    worst, where, count, start = -1.0, (), 0, time.perf_counter()
    with np.errstate(all="ignore"):
        for arrays in inputs(name, dtype, step, random):
            result = apply(name, *arrays)
            least = LEAST[name](arrays[0].astype(np.longdouble)) if name in LEAST else 0.0
            off = errors(result, function(*arrays), least)
            i = int(off.argmax())
            if off[i] > worst:
                worst, where = float(off[i]), tuple(float(a[i]) for a in arrays)
            count += result.size
    seconds = time.perf_counter() - start
    print(
        f"{name:12} {dtype}  {worst:6.3f} at {', '.join(map(repr, where))}"
        f"  ({count:,} numbers, {seconds:.0f} s)",
        flush=True,
    )
    return worst


def _more(name: str, kind: str) -> int:
    """What a function is allowed above two units in the last place."""
    return BOUNDS.get(name, 2) - 2 if kind == "float64" else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="functions; all by default")
    parser.add_argument("--types", nargs="*", default=["float32", "float64"])
    parser.add_argument("--step", type=int, default=16, help="take every so-manieth float32")
    parser.add_argument("--random", type=int, default=4_000_000, help="numbers where not all fit")
    given = parser.parse_args()
    worst = [
        check(name, np.dtype(kind), given.step, given.random) - _more(name, kind)
        for kind in given.types
        for name in given.names or mathematics.FUNCTIONS
        if (name, kind) != ("erfinv", "float64")  # itself the reference of float32's
    ]
    return int(max(worst) > 2)


if __name__ == "__main__":
    sys.exit(main())
