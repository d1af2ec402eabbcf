"""Arithmetic on operands of the emitter, written as formulas.

A :class:`Value` is an :class:`~suiren.compiler.codegen.emitter.Operand` that knows its emitter, so
that ``x * x + 1.0`` appends two instructions. Numbers of Python become constants of the other
operand's type. Beside it: the exact sums and products of two numbers, as a rounded result and its
error (Dekker 1971, Knuth's TwoSum), with which the double-length parts are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from suiren.compiler.codegen.emitter import Emitter, Operand, element, lanes, like, vector


class Format(NamedTuple):
    """What a binary floating-point type is made of."""

    integer: str  # the integer type of its bits
    mantissa: int  # bits below the leading one
    bias: int
    tiny: float  # the smallest normal number
    magic: float  # 1.5 * 2^mantissa: adding it leaves the nearest integer in the lowest bits


FORMATS = {
    "float": Format("i32", 23, 127, 2.0**-126, 1.5 * 2.0**23),
    "double": Format("i64", 52, 1023, 2.0**-1022, 1.5 * 2.0**52),
}
INFINITY = float("inf")
NAN = float("nan")


class Value:
    """An operand with operators: of floats, integers, or (results of comparisons) single bits."""

    __slots__ = ("b", "operand")

    def __init__(self, b: Emitter, operand: Operand):
        self.b = b
        self.operand = operand

    # ---- types

    @property
    def type(self) -> str:
        return self.operand.type

    @property
    def scalar(self) -> str:
        """The type of one element."""
        return element(self.operand.type)

    @property
    def floating(self) -> bool:
        return self.scalar in FORMATS

    @property
    def format(self) -> Format:
        return FORMATS[self.scalar]

    def constant(self, value: float | int) -> Value:
        """A constant of this value's type."""
        return Value(self.b, self.b.const(self.type, value))

    def _other(self, other: Value | float | int) -> Operand:
        return other.operand if isinstance(other, Value) else self.b.const(self.type, other)

    def _binary(self, floats: str, integers: str, other: Value | float | int) -> Value:
        name = floats if self.floating else integers
        return Value(self.b, self.b.binary(name, self.operand, self._other(other)))

    def _reversed(self, floats: str, integers: str, other: float | int) -> Value:
        name = floats if self.floating else integers
        return Value(self.b, self.b.binary(name, self._other(other), self.operand))

    # ---- arithmetic

    def __add__(self, other: Value | float | int) -> Value:
        return self._binary("fadd", "add", other)

    def __sub__(self, other: Value | float | int) -> Value:
        return self._binary("fsub", "sub", other)

    def __mul__(self, other: Value | float | int) -> Value:
        return self._binary("fmul", "mul", other)

    def __truediv__(self, other: Value | float | int) -> Value:
        return self._binary("fdiv", "", other)

    def __radd__(self, other: float | int) -> Value:
        return self._reversed("fadd", "add", other)

    def __rsub__(self, other: float | int) -> Value:
        return self._reversed("fsub", "sub", other)

    def __rmul__(self, other: float | int) -> Value:
        return self._reversed("fmul", "mul", other)

    def __rtruediv__(self, other: float | int) -> Value:
        return self._reversed("fdiv", "", other)

    def __neg__(self) -> Value:
        return Value(self.b, self.b.fneg(self.operand))

    def __abs__(self) -> Value:
        return self._intrinsic("llvm.fabs")

    def _intrinsic(self, name: str) -> Value:
        return Value(self.b, self.b.intrinsic(name, self.type, self.operand))

    def sqrt(self) -> Value:
        return self._intrinsic("llvm.sqrt")

    def floor(self) -> Value:
        return self._intrinsic("llvm.floor")

    def ceil(self) -> Value:
        return self._intrinsic("llvm.ceil")

    def truncated(self) -> Value:
        return self._intrinsic("llvm.trunc")

    def rounded(self) -> Value:
        """The nearest integer, halves to the even one."""
        return self._intrinsic("llvm.roundeven")

    def with_sign_of(self, other: Value) -> Value:
        return Value(
            self.b, self.b.intrinsic("llvm.copysign", self.type, self.operand, other.operand)
        )

    # ---- comparisons: false where an operand is NaN, except ``ne``

    def _compare(self, floats: str, integers: str, other: Value | float | int) -> Value:
        make = self.b.fcmp if self.floating else self.b.icmp
        condition = floats if self.floating else integers
        return Value(self.b, make(condition, self.operand, self._other(other)))

    def __lt__(self, other: Value | float | int) -> Value:
        return self._compare("olt", "slt", other)

    def __le__(self, other: Value | float | int) -> Value:
        return self._compare("ole", "sle", other)

    def __gt__(self, other: Value | float | int) -> Value:
        return self._compare("ogt", "sgt", other)

    def __ge__(self, other: Value | float | int) -> Value:
        return self._compare("oge", "sge", other)

    def eq(self, other: Value | float | int) -> Value:
        return self._compare("oeq", "eq", other)

    def ne(self, other: Value | float | int) -> Value:
        return self._compare("une", "ne", other)

    def is_nan(self) -> Value:
        return Value(self.b, self.b.fcmp("uno", self.operand, self.operand))

    # ---- bits

    def bits(self) -> Value:
        """The bits of floats, as integers."""
        return Value(self.b, self.b.convert("bitcast", self.operand, self.format.integer))

    def floats(self) -> Value:
        """Integers of 32 or 64 bits taken as the bits of floats."""
        scalar = "float" if self.scalar == "i32" else "double"
        return Value(self.b, self.b.convert("bitcast", self.operand, scalar))

    def __and__(self, other: Value | int) -> Value:
        return self._binary("", "and", other)

    def __or__(self, other: Value | int) -> Value:
        return self._binary("", "or", other)

    def __xor__(self, other: Value | int) -> Value:
        return self._binary("", "xor", other)

    def __invert__(self) -> Value:
        return self._binary("", "xor", -1)

    def __lshift__(self, other: Value | int) -> Value:
        return self._binary("", "shl", other)

    def __rshift__(self, other: Value | int) -> Value:
        """Copies of the sign come in from the left."""
        return self._binary("", "ashr", other)

    def unsigned_shift(self, other: Value | int) -> Value:
        """Zeros come in from the left."""
        return self._binary("", "lshr", other)

    def convert(self, instruction: str, scalar: str) -> Value:
        """``sitofp``, ``fpext``, ``fptrunc``, ``zext``, ``trunc``, ... lane by lane."""
        return Value(self.b, self.b.convert(instruction, self.operand, scalar))


def where(condition: Value, a: Value | float | int, b: Value | float | int) -> Value:
    """``a`` where the condition holds, else ``b``; one of the two is a Value."""
    model = a if isinstance(a, Value) else b
    assert isinstance(model, Value)
    emitter = condition.b
    return Value(
        emitter, emitter.select(condition.operand, model._other(a), model._other(b))
    )


def fma(a: Value, b: Value | float, c: Value | float) -> Value:
    """a * b + c: rounded once where the target can, else as a product and a sum."""
    if not a.b.fused:
        return a * b + c
    return Value(a.b, a.b.fma(a.operand, a._other(b), a._other(c)))


def polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """The sum of ``coefficients[i] * x^i`` by Horner's rule."""
    total: Value | float = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = fma(x, total, c)
    return total if isinstance(total, Value) else x.constant(total)


def at_most(x: Value, limit: float) -> Value:
    """The smaller of the two; NaN stays NaN (one instruction of x86 in this form)."""
    return where(x.constant(limit) < x, limit, x)


def at_least(x: Value, limit: float) -> Value:
    """The larger of the two; NaN stays NaN."""
    return where(x.constant(limit) > x, limit, x)


def sign_bit(x: Value) -> Value:
    """The sign bits of floats, as integers with all other bits clear."""
    return x.bits() & (-1 << (int(x.format.integer[1:]) - 1))


def power_of_two(n: Value, scalar: str) -> Value:
    """2^n for integers n in the range of normal numbers."""
    format = FORMATS[scalar]
    return ((n + format.bias) << format.mantissa).floats()


def any_lane(condition: Value) -> Operand:
    """Whether the condition holds in at least one lane, as a scalar bit."""
    width = lanes(condition.type)
    if not width:
        return condition.operand
    b = condition.b
    return b.intrinsic("llvm.vector.reduce.or", "i1", condition.operand, suffix=f"v{width}i1")


# ---- pairs: a rounded number and what it lacks

Pair = tuple[Value, Value]


def fast_two_sum(a: Value, b: Value) -> Pair:
    """a + b exactly, for |a| >= |b| (or a = 0)."""
    total = a + b
    return total, b - (total - a)


def two_sum(a: Value, b: Value) -> Pair:
    """a + b exactly, whichever is larger."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a: Value, b: Value) -> Pair:
    """a * b exactly, unless it overflows or its low half is below the denormals."""
    product = a * b
    if a.b.fused:
        return product, fma(a, b, -product)
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    low = a_high * b_high - product
    return product, ((low + a_high * b_low) + a_low * b_high) + a_low * b_low


def _halves(a: Value) -> Pair:
    """A number as a sum of two with half as many bits (by clearing bits: it cannot overflow)."""
    high = (a.bits() & (-1 << (a.format.mantissa + 2) // 2)).floats()
    return high, a - high


def product_remainder(a: Value, b: Value, c: Value) -> Value:
    """c - a * b for a product that is close to c: the error of a quotient or a root."""
    if a.b.fused:
        return fma(-a, b, c)
    high, low = two_product(a, b)
    return (c - high) - low


__all__ = [
    "FORMATS", "INFINITY", "NAN", "Format", "Pair", "Value", "any_lane", "at_least", "at_most",
    "fast_two_sum", "fma", "lanes", "like", "polynomial", "power_of_two", "product_remainder",
    "sign_bit", "two_product", "two_sum", "vector", "where",
]  # fmt: skip
