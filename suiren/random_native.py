"""The door between the random streams and their compiled kernels.

Streams lie below the compiler and know only this: :func:`kernel` may give a function that draws
faster than NumPy does, the same numbers. What finds such functions is installed from above
(``suiren/random.py``); without it, without llvmlite and with SUIREN_JIT=0, NumPy draws everything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

# Finds a kernel by its name: a function of the address of its arguments and 0, and the address of
# libm's functions that it calls; or None.
Found = tuple[Callable[[int, int], None], int] | None
provider: Callable[[str], Found] | None = None

# A kernel is loaded for a draw of LARGE when there have been as many numbers as make importing
# llvmlite worth its time, or it is imported already. Once loaded it also makes small draws.
_LARGE, _MANY, _FEW = 2_048, 262_144, 16
_kernels: dict[str, Any] = {}
_drawn = 0


def kernel(name: str, count: int) -> Found:
    """The compiled form of ``name`` if it is to be used for this many numbers."""
    global _drawn
    if count < _FEW:
        return None
    if name in _kernels:
        return _kernels[name]
    _drawn += count
    if count < _LARGE or (_drawn < _MANY and "llvmlite" not in sys.modules):
        return None
    found = _kernels[name] = provider(name) if provider is not None else None
    return found
