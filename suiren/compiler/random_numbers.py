"""Loads the kernels of the random streams: from names to functions that ctypes calls.

Above :mod:`suiren.compiler.codegen.random`, which writes them. ``suiren/random.py`` gives
:func:`find` to the streams, which call it when they first have many numbers to draw.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

from suiren.compiler import machine_code, target
from suiren.compiler.codegen import random as codegen

_kept: list[Any] = []  # kernels and tables, for as long as the process runs


def find(name: str) -> tuple[Callable[[int, int], None], int] | None:
    """The kernel of this name and the address of its table of libm's functions (0: it has none).

    The kernel is called with the address of its arguments and 0, and runs without the GIL. None
    where it cannot be had: nothing can be compiled here, or there is no fused multiply-add.
    """
    if not target.available():
        return None
    host = target.host()
    if name in codegen.FUSED and not host.fma:
        return None
    functions = codegen.LIBM.get(name, ())
    table = (ctypes.c_void_p * max(1, len(functions)))()
    if functions:
        library = _libm()
        for place, function in enumerate(functions):
            if library is None or not hasattr(library, function):
                return None
            table[place] = ctypes.cast(getattr(library, function), ctypes.c_void_p)
    loaded = machine_code.load([codegen.text(name, host)])[0]
    _kept.extend((loaded, table))
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(loaded.address)
    return run, ctypes.addressof(table) if functions else 0


def _libm() -> Any:
    """The library whose functions Python's ``math`` calls; None if it is not found."""
    names: tuple[str | None, ...] = (None, "libm.so.6", "libm.dylib")
    if os.name == "nt":
        names = ("ucrtbase",)
    for name in names:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(library, "log1p"):
            return library
    return None
