"""The compiler's functions as functions of NumPy arrays, and how far their results are off."""

import ctypes
import functools

import numpy as np

from suiren.compiler import machine_code, target
from suiren.compiler.codegen import mathematics
from suiren.compiler.codegen.emitter import Emitter, vector

TYPES = {np.dtype("float32"): "float", np.dtype("float64"): "double"}
NAMES = {"float": np.dtype("float32"), "double": np.dtype("float64")}


def text(name: str, scalar: str, width: int, fused: bool = True, repeat: int = 1) -> str:
    """A kernel that applies a function to ``count`` elements, ``count`` a multiple of the width.

    The table of arguments: result, operands, count.
    """
    function = mathematics.FUNCTIONS[name]
    b = Emitter(target.host().function_attributes)
    b.fused = fused
    arrays = [b.load(b.pointer(b.args, i, "ptr"), "ptr") for i in range(function.operands + 1)]
    count = b.load(b.pointer(b.args, function.operands + 1, "i64"), "i64")
    with b.loop(0, count, width or 1) as i:
        operands = [
            b.load(b.pointer(array, i, scalar), vector(scalar, width)) for array in arrays[1:]
        ]
        b.store(function(b, *operands), b.pointer(arrays[0], i, scalar))
    return b.module()


@functools.cache
def kernel(name: str, scalar: str, width: int, fused: bool = True):
    return machine_code.load([text(name, scalar, width, fused)])[0]


def run(code, result: np.ndarray, *operands: np.ndarray) -> None:
    """Calls a kernel of :func:`text` on contiguous arrays."""
    arrays = [result, *operands]
    table = (ctypes.c_int64 * (len(arrays) + 1))(*[a.ctypes.data for a in arrays], result.size)
    entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(code.address)
    entry(ctypes.addressof(table), 0)


def apply(
    name: str, *operands: np.ndarray, width: int | None = None, fused: bool = True
) -> np.ndarray:
    """The function of the compiler on arrays of float32 or float64 of any length."""
    scalar = TYPES[operands[0].dtype]
    if width is None:
        width = 16 if scalar == "float" else 8
    count = operands[0].size
    padded = -(-count // (width or 1)) * (width or 1)
    full = [np.concatenate([a, np.ones(padded - count, a.dtype)]) for a in operands]
    result = np.empty(padded, operands[0].dtype)
    run(kernel(name, scalar, width, fused), result, *full)
    return result[:count]


def spacing(reference: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The distance between numbers of ``dtype`` at ``reference`` (in a longer type)."""
    info = np.finfo(dtype)
    _, exponent = np.frexp(np.abs(reference))
    exponent = np.maximum(exponent, info.minexp + 1)
    return np.ldexp(np.ones_like(reference), exponent - 1 - info.nmant)


def errors(result: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Units in the last place between results and a reference in a longer type.

    Infinite where one is NaN or infinite and the other is not, or a zero has the wrong sign.
    """
    dtype = result.dtype
    wide = result.astype(reference.dtype)
    with np.errstate(all="ignore"):
        rounded = reference.astype(dtype)
        off = np.abs(wide - reference) / spacing(
            np.where(np.isfinite(reference), reference, 1), dtype
        )
        # a result at the edge of overflow may go either way within the bound
        largest = np.finfo(dtype).max
        edge = np.isinf(result) & (np.abs(reference) > largest * (1 - 2.0 ** -info_bits(dtype)))
        edge &= np.sign(wide) == np.sign(reference)
    same = (result == rounded) | (np.isnan(result) & np.isnan(rounded)) | edge
    same &= (result != 0) | (reference != 0) | (np.signbit(result) == np.signbit(reference))
    strange = ~np.isfinite(result) | ~np.isfinite(rounded) | ((result == 0) & (reference == 0))
    return np.where(strange, np.where(same, 0, np.inf), off.astype(np.float64))


def info_bits(dtype: np.dtype) -> int:
    return np.finfo(dtype).nmant
