"""IR of the random streams: Mersenne Twister, uniforms, normals, masks, whole numbers, shuffles.

One kernel a distribution; :mod:`suiren.compiler.random_numbers` loads and calls them. They give
what the NumPy code of ``suiren/random_kernels.py`` and ``suiren/mt19937.py`` gives, bit for bit;
the reasons are told there. The one liberty: where that code imitates a fused multiply-add in wider
arithmetic (wrong about once in 10**9), these use it.

A kernel draws words into a scratch array of :data:`words.CHUNK` words, which stays in the first
cache, and makes numbers of them. float64 functions whose last bit shows are libm's, called by
address. Where a result is rounded to float32 or to an integer, ours are used eight lanes at a time,
and the few results that are so near a boundary that an error could show are taken from libm.

Slots of the table of arguments, eight bytes each: see :data:`words.SLOTS`.
"""

from __future__ import annotations

from collections.abc import Callable

from suiren.compiler.codegen.random import distributions, normals
from suiren.compiler.codegen.random.words import Writer
from suiren.compiler.target import Target

KERNELS: dict[str, Callable[[Writer], None]] = {
    "unit32": lambda b: distributions.uniform(b, "float", True),
    "unit64": lambda b: distributions.uniform(b, "double", True),
    "uniform32": lambda b: distributions.uniform(b, "float", False),
    "uniform64": lambda b: distributions.uniform(b, "double", False),
    "mask1": lambda b: distributions.mask(b, 1),
    "mask2": lambda b: distributions.mask(b, 2),
    "mask4": lambda b: distributions.mask(b, 4),
    "mask8": lambda b: distributions.mask(b, 8),
    "normal32": normals.normal32,
    "normal64": normals.normal64,
    "pairs": normals.pairs,
    "exp of": normals.exp_of,
    "exponential32": distributions.exponential32,
    "exponential64": distributions.exponential64,
    "geometric": distributions.geometric,
    "cauchy": distributions.cauchy,
    "integers": distributions.integers,
    "wide integers": distributions.wide_integers,
    "shuffle": distributions.shuffle,
}
# Those that call libm, and what they find at p2.
LIBM: dict[str, tuple[str, ...]] = {
    "normal64": ("log", "cos", "sin"),
    "pairs": ("log1p", "cos", "sin"),
    "exp of": ("exp",),
    "exponential32": ("log1p",),
    "exponential64": ("log1p",),
    "geometric": ("log",),
    "cauchy": ("tan",),
}
# Those that need fused multiply-add as an instruction (as a library call it would be slower).
FUSED = ("uniform32", "uniform64", "normal32", "normal64", "exp of", "cauchy")


def text(name: str, target: Target) -> str:
    """The module of the kernel of this name; KeyError if there is none."""
    write = KERNELS[name]
    b = Writer(target)
    write(b)
    return b.finished()
