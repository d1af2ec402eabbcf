"""Element types and the rules by which operators combine them.

The lowest layer: it knows nothing of tensors. A :class:`dtype` names how an element is stored;
:func:`promote_types` and :func:`result_type` follow the type promotion rules described on
PyTorch's "Tensor Attributes" page (categories bool < integer < floating < complex; tensors with
dimensions outrank zero-dimensional tensors, which outrank Python numbers).
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

BOOL, INTEGER, FLOATING, COMPLEX = range(4)


class dtype:
    """How an element is stored; compared by identity, printed as ``torch.float32``."""

    __slots__ = (
        "name",
        "alias",
        "itemsize",
        "category",
        "is_floating_point",
        "is_complex",
        "is_signed",
        "letter_name",
        "_numpy",
    )

    def __init__(
        self,
        name: str,
        alias: str | None,
        itemsize: builtins.int,
        category: builtins.int,
        legacy: str,
    ):
        self.name = name
        self.alias = alias
        self.itemsize = itemsize
        self.category = category
        self.is_floating_point = category == FLOATING
        self.is_complex = category == COMPLEX
        self.is_signed = name != "bool" and not name.startswith("uint")
        self.letter_name = legacy  # "Float", "Long": the names of PyTorch's error messages
        self._numpy: np.dtype | None = None

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype that holds such elements (bfloat16 comes from ml_dtypes)."""
        if self._numpy is None:
            if self.name == "bfloat16":
                import ml_dtypes

                self._numpy = np.dtype(ml_dtypes.bfloat16)
            else:
                self._numpy = np.dtype(self.name)
        return self._numpy

    @property
    def is_half(self) -> builtins.bool:
        """True for the 16-bit floating types, whose arithmetic is done in float32."""
        return self.category == FLOATING and self.itemsize == 2

    def to_real(self) -> dtype:
        """The floating type of the real and imaginary parts of a complex type."""
        return {complex64: float32, complex128: float64}.get(self, self)

    def to_complex(self) -> dtype:
        """The complex type whose parts are of this floating type."""
        return {float64: complex128, complex128: complex128}.get(self, complex64)

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self):
        return (by_name, (self.name,))

    def __deepcopy__(self, memo) -> dtype:
        return self

    def __copy__(self) -> dtype:
        return self


float16 = half = dtype("float16", "half", 2, FLOATING, "Half")
bfloat16 = dtype("bfloat16", None, 2, FLOATING, "BFloat16")
float32 = float = dtype("float32", "float", 4, FLOATING, "Float")
float64 = double = dtype("float64", "double", 8, FLOATING, "Double")
int8 = dtype("int8", None, 1, INTEGER, "Char")
int16 = short = dtype("int16", "short", 2, INTEGER, "Short")
int32 = int = dtype("int32", "int", 4, INTEGER, "Int")
int64 = long = dtype("int64", "long", 8, INTEGER, "Long")
uint8 = dtype("uint8", None, 1, INTEGER, "Byte")
uint16 = dtype("uint16", None, 2, INTEGER, "UInt16")
uint32 = dtype("uint32", None, 4, INTEGER, "UInt32")
uint64 = dtype("uint64", None, 8, INTEGER, "UInt64")
bool = dtype("bool", None, 1, BOOL, "Bool")
complex64 = cfloat = dtype("complex64", "cfloat", 8, COMPLEX, "ComplexFloat")
complex128 = cdouble = dtype("complex128", "cdouble", 16, COMPLEX, "ComplexDouble")

ALL = (
    float16, bfloat16, float32, float64, int8, int16, int32, int64,
    uint8, uint16, uint32, uint64, bool, complex64, complex128,
)  # fmt: skip
_NAMES = {d.name: d for d in ALL}
_of_numpy: dict[Any, dtype] = {}  # found before: NumPy takes microseconds to tell a name
PYTHON_NUMBERS = {
    builtins.bool: bool,
    builtins.int: int64,
    builtins.float: float32,
    complex: complex64,
}


def by_name(name: str) -> dtype:
    """The dtype that is called so."""
    return _NAMES[name]


def from_numpy(numpy_dtype: np.dtype) -> dtype:
    """The dtype of a NumPy dtype; raises TypeError for those that tensors cannot hold."""
    found = _of_numpy.get(numpy_dtype)
    if found is not None:
        return found
    found = _NAMES.get(np.dtype(numpy_dtype).name)
    if found is None:
        held = ", ".join(d.name for d in ALL)
        raise TypeError(
            f"can't convert np.ndarray of type numpy.{np.dtype(numpy_dtype).name}. "
            f"The only supported types are: {held}; convert the array with astype() first."
        )
    _of_numpy[numpy_dtype] = found
    return found


_default = float32


def get_default_dtype() -> dtype:
    """The floating type of tensors made from Python floats. Source: torch.get_default_dtype."""
    return _default


def set_default_dtype(d: dtype, /) -> None:
    """Sets the floating type of tensors made from Python floats.

    Raises TypeError unless ``d`` is a floating type. Source: torch.set_default_dtype.

    >>> import suiren as torch
    >>> torch.set_default_dtype(torch.float64); torch.tensor(0.5).dtype
    torch.float64
    >>> torch.set_default_dtype(torch.float32)
    """
    global _default
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(
            f"only floating-point types are supported as the default type, got {d}; "
            "use float16, bfloat16, float32 or float64"
        )
    if d is not _default:
        _default = d
        for forget in on_default_change:
            forget()


on_default_change: list = []  # callbacks of caches whose entries depend on the default


def default_complex() -> dtype:
    """The complex type that goes with the default floating type."""
    return _default.to_complex()


def of_number(kind: type) -> dtype:
    """The dtype that a Python number of this class counts as in promotion."""
    if kind is builtins.float:
        return _default
    if kind is builtins.int:
        return int64
    if kind is builtins.bool:
        return bool
    if kind is complex:
        return default_complex()
    raise TypeError(f"expected a Python number, got {kind.__name__}")


_SIGNED = {1: int8, 2: int16, 4: int32, 8: int64}
_WIDE_UNSIGNED = (uint16, uint32, uint64)


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that holds what both hold. Source: torch.promote_types.

    >>> import suiren as torch
    >>> torch.promote_types(torch.int32, torch.float32)
    torch.float32
    """
    if type1 is type2:
        return type1
    low, high = (type1, type2) if type1.category <= type2.category else (type2, type1)
    if low.category != high.category:
        if high.category == COMPLEX and low is float64:
            return complex128
        return high
    if low.category == INTEGER:
        return _promote_integers(low, high)
    if low.itemsize == high.itemsize:  # float16 with bfloat16: neither holds the other
        return float32
    return low if low.itemsize > high.itemsize else high


def _promote_integers(a: dtype, b: dtype) -> dtype:
    if a in _WIDE_UNSIGNED or b in _WIDE_UNSIGNED:
        raise RuntimeError(
            "Promotion for uint16, uint32, uint64 types is not supported, "
            f"attempted to promote {a.letter_name} and {b.letter_name}; convert one with .to()"
        )
    if a.is_signed == b.is_signed:
        return a if a.itemsize >= b.itemsize else b
    unsigned, signed = (a, b) if b.is_signed else (b, a)
    if signed.itemsize > unsigned.itemsize:
        return signed
    return _SIGNED[2 * unsigned.itemsize]


def combine_categories(higher: dtype | None, lower: dtype | None) -> dtype | None:
    """Promotion between a group of higher rank (more dimensions) and one of lower rank.

    The lower group only matters when it is of a higher category.
    """
    if higher is None:
        return lower
    if lower is None or higher.category >= lower.category:
        return higher
    if higher.is_floating_point:  # lower is complex: keep the width of the higher group
        return higher.to_complex()
    return promote_types(higher, lower)


def can_cast(from_: dtype, to: dtype) -> builtins.bool:
    """Whether PyTorch writes results of the first type into a tensor of the second.

    Source: torch.can_cast (a result may not lose its category: float into int is refused).
    """
    if from_.category > to.category:
        return False
    return not (from_.category == INTEGER and to.category == BOOL)


class finfo:
    """Limits of a floating type: bits, eps, max, min, tiny. Source: torch.finfo."""

    def __init__(self, type: dtype | None = None):
        type = type or _default
        if not (type.is_floating_point or type.is_complex):
            raise TypeError(
                f"torch.finfo() requires a floating point input type, got {type}. "
                "Use torch.iinfo to handle integer types."
            )
        real = type.to_real()
        limits: Any
        if real is bfloat16:
            import ml_dtypes

            limits = ml_dtypes.finfo(real.numpy)
        else:
            limits = np.finfo(real.numpy)
        self.dtype = real.name
        self.bits = 8 * real.itemsize
        self.eps = limits.eps.item()
        self.max = limits.max.item()
        self.min = limits.min.item()
        self.tiny = self.smallest_normal = limits.tiny.item()
        # NumPy's is rounded to the type; PyTorch prints the power of ten
        self.resolution = {float16: 1e-3, bfloat16: 1e-2, float32: 1e-6, float64: 1e-15}[real]

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer type: bits, max, min. Source: torch.iinfo."""

    def __init__(self, type: dtype):
        if type.category != INTEGER:
            raise TypeError(
                f"torch.iinfo() requires an integer input type, got {type}. "
                "Use torch.finfo to handle floating types."
            )
        limits = np.iinfo(type.numpy)
        self.dtype = type.name
        self.bits = 8 * type.itemsize
        self.max = builtins.int(limits.max)
        self.min = builtins.int(limits.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"
