"""NumPy's elementary functions, rounded better in float32.

NumPy's own float32 `exp`, `tanh`, `pow`, ... are off by an ulp or two for a tenth to half of all
arguments; PyTorch's rarely are. That is the difference between printing 162754.7812 and
162754.7969 for exp(12). Small float32 arrays are therefore computed in float64 and rounded, which
agrees with PyTorch in 90 to 99.9 % of all bits. Large ones keep NumPy's vectorised float32
functions: double precision takes some twenty times as long there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

# Elements. Up to here the conversion costs less than a tenth of a millisecond.
SMALL = 4096


def rounded(function: Callable) -> Callable:
    """The function of arrays and numbers, computed in double precision for small float32 arrays."""

    @functools.wraps(function)
    def computed(*arguments: Any) -> Any:
        first = arguments[0]
        if not isinstance(first, (np.ndarray, np.generic)):
            first = arguments[-1]
        if getattr(first, "dtype", None) != np.float32 or np.size(first) > SMALL:
            return function(*arguments)
        wide = [x.astype(np.float64) if isinstance(x, np.ndarray | np.generic) else x
                for x in arguments]  # fmt: skip
        return function(*wide).astype(np.float32)

    return computed


exp = rounded(np.exp)
exp2 = rounded(np.exp2)
expm1 = rounded(np.expm1)
log = rounded(np.log)
log2 = rounded(np.log2)
log10 = rounded(np.log10)
log1p = rounded(np.log1p)
sin = rounded(np.sin)
cos = rounded(np.cos)
tan = rounded(np.tan)
arctan = rounded(np.arctan)
sinh = rounded(np.sinh)
cosh = rounded(np.cosh)
tanh = rounded(np.tanh)
power = rounded(np.power)
