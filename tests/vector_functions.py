"""The compiler's functions as functions of NumPy arrays, and how far their results are off."""

import ctypes
import functools
import math
from collections.abc import Callable

import numpy as np

from suiren.compiler import machine_code, target
from suiren.compiler.codegen import mathematics
from suiren.compiler.codegen.emitter import Emitter, vector

TYPES = {np.dtype("float32"): "float", np.dtype("float64"): "double"}
NAMES = {"float": np.dtype("float32"), "double": np.dtype("float64")}


def text(
    name: str, scalar: str, width: int, fused: bool = True, target_of: target.Target | None = None
) -> str:
    """A kernel that applies a function to ``count`` elements, ``count`` a multiple of the width.

    The table of arguments: result, operands, count.
    """
    function = mathematics.FUNCTIONS[name]
    b = Emitter((target_of or target.host()).function_attributes)
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


def errors(
    result: np.ndarray, reference: np.ndarray, least: np.ndarray | float = 0.0
) -> np.ndarray:
    """Units in the last place between results and a reference in a longer type.

    Infinite where one is NaN or infinite and the other is not, or a zero has the wrong sign. Units
    are those of numbers at ``least`` where the reference is smaller: the size of what cancels.
    """
    dtype = result.dtype
    info = np.finfo(dtype)
    with np.errstate(all="ignore"):
        wide = result.astype(reference.dtype)
        rounded = reference.astype(dtype)
        finite = np.isfinite(reference)
        size = np.fmax(np.abs(np.where(finite, reference, 1)), least)
        off = np.abs(wide - reference) / spacing(size, dtype)
        # near the edge of overflow the bound allows either side
        edge = np.isinf(result) & (np.abs(reference) > info.max * (1 - 2.0**-info.nmant))
        edge &= np.sign(wide) == np.sign(reference)
        same = (result == rounded) | (np.isnan(result) & np.isnan(rounded)) | edge
        zeros = (result == 0) & (reference == 0)
        same &= ~zeros | (np.signbit(result) == np.signbit(reference))
        strange = ~np.isfinite(result) | ~np.isfinite(rounded) | zeros
        return np.where(strange, np.where(same, 0, np.inf), off.astype(np.float64))


# ---- references, to be called with a longer type than the one under test


def _remainder(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rest = np.fmod(x, y)
    return np.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0) + np.log1p(np.exp(-np.abs(x)))


def _each(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    return np.vectorize(lambda x: function(float(x)), otypes=[np.float64])


def long_double(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function of the C library on x86's long double, as a function of arrays."""
    text = f"""
    declare x86_fp80 @{name}(x86_fp80)
    define void @kernel(ptr %arrays, i64 %count) {{
    entry:
      %source = load ptr, ptr %arrays
      %second = getelementptr ptr, ptr %arrays, i64 1
      %target = load ptr, ptr %second
      br label %body
    body:
      %i = phi i64 [ 0, %entry ], [ %next, %body ]
      %from = getelementptr [16 x i8], ptr %source, i64 %i
      %x = load x86_fp80, ptr %from
      %y = call x86_fp80 @{name}(x86_fp80 %x)
      %to = getelementptr [16 x i8], ptr %target, i64 %i
      store x86_fp80 %y, ptr %to
      %next = add i64 %i, 1
      %more = icmp slt i64 %next, %count
      br i1 %more, label %body, label %done
    done:
      ret void
    }}
    """
    (code,) = machine_code.load([text])

    def function(x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x, np.longdouble)
        result = np.zeros_like(x)
        arrays = (ctypes.c_void_p * 2)(x.ctypes.data, result.ctypes.data)
        entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(code.address)
        entry(ctypes.addressof(arrays), x.size)
        return result

    return function


def _lgamma(x: np.ndarray) -> np.ndarray:
    if np.finfo(np.longdouble).nmant != 63:
        return _each(lambda x: math.inf if math.isinf(x) or x <= 0 == x % 1 else math.lgamma(x))(x)
    return long_double("lgammal")(x).astype(x.dtype)


def _digamma(x: np.ndarray) -> np.ndarray:
    """Recurrence, asymptotic series and reflection in the longest type there is."""
    kind, x = x.dtype, x.astype(np.longdouble)
    pi = np.longdouble("3.14159265358979323846264338327950288")
    a = np.where(x < 0, 1 - x, x)
    found = np.zeros_like(a)
    for _ in range(20):
        found = found - np.where(a < 20, 1 / a, 0)
        a = np.where(a < 20, a + 1, a)
    numbers = [(1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6), (-3617, 510)]
    tail, power = np.zeros_like(a), np.ones_like(a)
    for k, (above, below) in enumerate(numbers, 1):
        power = power / (a * a)
        tail = tail + np.longdouble(above) / below / (2 * k) * power
    found = found + np.log(a) - 0.5 / a - tail
    r = x - np.rint(x)
    turned = found - pi * np.sin(pi * (0.5 - np.abs(r))) / np.sin(pi * r)
    return np.where(x < 0, np.where(r == 0, np.nan, turned), found).astype(kind)


# the size of the terms that cancel, where a function is a small difference of larger ones
LEAST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "lgamma": lambda x: np.where(x < -0.5, np.abs(_lgamma(np.abs(x))) + 1, 0),
    # (near the positive root the reference itself is no better than this)
    "digamma": lambda x: np.where(
        x < 0, 2 * np.abs(_digamma(1 - x)) + np.abs(_digamma(x)), np.longdouble(0.01)
    ),
}
# how many units in the last place a float64 may be off, where it is more than 2
BOUNDS = {"lgamma": 3, "digamma": 4}


REFERENCES: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "softplus": _softplus,
    "log_sigmoid": lambda x: 0 - _softplus(-x),
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": _each(math.erf),
    "erfc": _each(math.erfc),
    # float32 against the compiler's float64; that against recorded values (a test of its own)
    "erfinv": lambda x: apply("erfinv", x.astype(np.float64)),
    "lgamma": _lgamma,
    "digamma": _digamma,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "pow": np.power,
    "atan2": np.arctan2,
    "fmod": np.fmod,
    "remainder": _remainder,
}


def samples(dtype: np.dtype, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random bit patterns, numbers of every size that matters, and the special ones."""
    integer = np.uint32 if dtype == np.float32 else np.uint64
    parts = [rng.integers(0, 2 ** (8 * dtype.itemsize), count // 2, integer).view(dtype)]
    scales = (1e-3, 0.1, 0.5, 1, 2, 5, 20, 100, 700, 1e5)
    parts += [rng.standard_normal(count // 30) * scale for scale in scales]
    parts += [center + rng.standard_normal(count // 30) * 0.01 for center in (-1, 1)]
    parts.append(rng.uniform(-1, 1, count - sum(map(len, parts))))
    info = np.finfo(dtype)
    ends = [info.max, info.tiny, info.smallest_subnormal, info.eps, 0, 0.5, 1, 2, 3, np.inf]
    parts.append(np.array([sign * x for x in ends for sign in (1, -1)] + [np.nan]))
    with np.errstate(over="ignore"):
        return np.concatenate([part.astype(dtype) for part in parts])
