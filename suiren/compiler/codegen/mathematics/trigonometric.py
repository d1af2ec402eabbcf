"""sin, cos and tan, for all finite arguments.

x = n pi / 2 + r, |r| <= pi / 4: up to 2^17 (float) and 2^30 (double) by Cody and Waite's reduction,
pi / 2 in three parts. Beyond, where a vector has such elements at all (the one branch of this
package), by Payne and Hanek's: x's integer significand times those 192 bits of 2 / pi that decide
x mod 2 pi. sin(r) and cos(r) are polynomials; n mod 4 says which, with which sign.
"""

from __future__ import annotations

from collections.abc import Callable

from suiren.compiler.codegen.emitter import Operand, lanes, literal
from suiren.compiler.codegen.mathematics.tables import COS, SIN
from suiren.compiler.codegen.mathematics.values import (
    INFINITY,
    Pair,
    Value,
    any_lane,
    fast_two_sum,
    fma,
    polynomial,
    product_remainder,
    two_product,
    two_sum,
    where,
)

TWO_OVER_PI = 0.6366197723675814
# pi / 2 as a sum of three floats, and of three doubles
HALF_PI = {
    "float": (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    "double": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}
LIMIT = {"float": 2.0**17, "double": 2.0**30}

BITS = 1184  # of 2 / pi in the table below
Reduction = tuple[Value, Value, Value]  # r, what r lacks, n mod 4 as integers


def _two_over_pi() -> int:
    """2 / pi * 2^BITS, rounded down, from Machin's formula for pi in integers."""
    unit = 1 << (BITS + 64)

    def arctan_of_inverse(n: int) -> int:
        total, term, k = 0, unit // n, 0
        while term:
            total += (-term if k % 2 else term) // (2 * k + 1)
            term //= n * n
            k += 1
        return total

    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    return (2 * unit << BITS) // pi


def _table(x: Value) -> Operand:
    """The bits of 2 / pi as words of 32, the lowest first, as a constant of the module."""
    name = "@two_over_pi"
    if not any(line.startswith(name) for line in x.b.globals):
        number = _two_over_pi()
        words = [number >> (32 * i) & 0xFFFFFFFF for i in range(BITS // 32 + 4)]
        text = ", ".join(f"i32 {literal('i32', w)}" for w in words)
        x.b.globals.append(f"{name} = private constant [{len(words)} x i32] [{text}]")
    return Operand(name, "ptr")


def _look_up(table: Operand, index: Value) -> Value:
    """table[index], 32 bits, as integers of 64."""
    b = index.b
    if lanes(index.type):
        word = b.gather(table, index.operand, "i32")
    else:
        word = b.load(b.pointer(table, index.operand, "i32"), "i32")
    return Value(b, word).convert("zext", "i64")


def _reduce_huge(x: Value) -> Reduction:
    """Payne and Hanek's reduction of doubles from 2^17 on."""
    bits = x.bits()
    significand = (bits & ((1 << 52) - 1)) | (1 << 52)
    k = (bits.unsigned_shift(52) & 2047) - (1023 + 52)  # |x| = significand * 2^k
    # 192 bits of 2 / pi: those above are multiples of 4 in the product
    lowest = (BITS + 2 - 192) - k
    table, word, shift = _table(x), lowest.unsigned_shift(5), lowest & 31
    words = [_look_up(table, word + i) for i in range(7)]
    low32 = (1 << 32) - 1
    chunk = [
        (words[i] | (words[i + 1] << 32)).unsigned_shift(shift) & low32 for i in range(6)
    ]
    # their product with the significand, mod 2^192, in limbs of 32 bits
    m_low, m_high = significand & low32, significand.unsigned_shift(32)
    carry: Value | int = 0
    limbs = []
    for i in range(6):
        a = m_low * chunk[i] + carry
        if i:
            c = m_high * chunk[i - 1] + (a & low32)
            limbs.append(c & low32)
            carry = a.unsigned_shift(32) + c.unsigned_shift(32)
        else:
            limbs.append(a & low32)
            carry = a.unsigned_shift(32)
    # two bits before the point, 62 and 64 behind it
    high, low = limbs[5] << 32 | limbs[4], limbs[3] << 32 | limbs[2]
    fraction = (high << 2) >> 2
    quadrant = (high - fraction).unsigned_shift(62)
    upper = (fraction >> 32).convert("sitofp", "double") * 2.0**32
    first, second = fast_two_sum(upper, (fraction & low32).convert("sitofp", "double"))
    second = second + low.unsigned_shift(11).convert("sitofp", "double") * 2.0**-53
    first, second = fast_two_sum(first * 2.0**-62, second * 2.0**-62)
    # times pi / 2
    half_pi, half_pi_low, _ = HALF_PI["double"]
    r, r_low = two_product(first, x.constant(half_pi))
    r, r_low = fast_two_sum(r, r_low + fma(first, half_pi_low, second * half_pi))
    negative = x < 0.0
    return (
        where(negative, -r, r),
        where(negative, -r_low, r_low),
        where(negative, 0 - quadrant, quadrant) & 3,
    )


def _reduce_float(x: Value) -> tuple[Value, Value]:
    """r (with half a unit of error) and n of floats up to 2^17, with fused multiply-adds."""
    magic = x.format.magic
    moved = fma(x, TWO_OVER_PI, magic)
    n = moved - magic
    r = x
    for part in HALF_PI["float"]:
        r = fma(n, -part, r)
    return r, moved.bits() & 3


def _reduce_double(x: Value) -> Reduction:
    magic = x.format.magic
    first, second, third = HALF_PI["double"]
    moved = fma(x, TWO_OVER_PI, magic)
    n = moved - magic
    if x.b.fused:
        near, rest = fma(n, -first, x), None  # exact: the leading bits cancel
    else:
        product, low = two_product(n, x.constant(first))
        near, rest = two_sum(x - product, -low)
    product, low = two_product(n, x.constant(second))
    r, lost = two_sum(near, -product)
    lost = (lost if rest is None else lost + rest) - low
    lost = fma(n, -third, lost)
    return (*fast_two_sum(r, lost), moved.bits() & 3)


def _with_huge(x: Value, reduction: Reduction) -> Reduction:
    """The reduction, replaced in the lanes that hold huge numbers, if there are any."""
    b = x.b
    a = abs(x)
    huge = (a > LIMIT[x.scalar]) & (a < INFINITY)
    variables = [b.variable(part.operand) for part in reduction]
    with b.when(any_lane(huge)):
        wide = where(huge, x, 2.0**20)
        wide = wide.convert("fpext", "double")
        for variable, part, old in zip(variables, _reduce_huge(wide), reduction, strict=True):
            kind = old.scalar
            if kind in ("float", "i32"):
                part = part.convert("fptrunc" if kind == "float" else "trunc", kind)
            variable.set(where(huge, part, old).operand)
    r, low, quadrant = (Value(b, variable.get()) for variable in variables)
    return r, low, quadrant


def _sin_cos(x: Value) -> tuple[Value, Value, Value]:
    """sin(r), cos(r) and n mod 4."""
    if x.scalar == "float":
        r, n = _reduce_float(x)
        r, _, n = _with_huge(x, (r, r, n))
        z = r * r
        sin = fma(r * z, polynomial(z, SIN["float"]), r)
        return sin, fma(z * z, polynomial(z, COS["float"]), fma(z, -0.5, 1.0)), n
    r, low, n = _with_huge(x, _reduce_double(x))
    (sin, sin_low), (cos, cos_low) = _sin_cos_pairs(r, low)
    return sin + sin_low, cos + cos_low, n


def _sin_cos_pairs(r: Value, low: Value) -> tuple[Pair, Pair]:
    """sin and cos of r + low, each as a sum not yet carried out."""
    z = r * r
    sin_low = fma(r * z, polynomial(z, SIN["double"]), low)
    half = z * 0.5
    cos = 1.0 - half
    cos_low = ((1.0 - cos) - half) + fma(z * z, polynomial(z, COS["double"]), -(r * low))
    return (r, sin_low), (cos, cos_low)


def _signed(value: Value, n: Value) -> Value:
    """Negated where bit 1 of n is set."""
    top = int(n.scalar[1:]) - 1
    return (value.bits() ^ ((n & 2) << (top - 1))).floats()


def _through_double(function: Callable[[Value], Value], x: Value) -> Value:
    return function(x.convert("fpext", "double")).convert("fptrunc", "float")


def sin(x: Value) -> Value:
    if x.scalar == "float" and not x.b.fused:
        return _through_double(sin, x)
    s, c, n = _sin_cos(x)
    y = _signed(where((n & 1).eq(0), s, c), n)
    return where(abs(x) < 2.0 ** -(x.format.mantissa // 2 + 2), x, y)


def cos(x: Value) -> Value:
    if x.scalar == "float" and not x.b.fused:
        return _through_double(cos, x)
    s, c, n = _sin_cos(x)
    return _signed(where((n & 1).eq(0), c, s), n + 1)


def tan(x: Value) -> Value:
    """sin / cos or -cos / sin: a quotient of sums to double length; float through double."""
    if x.scalar == "float":
        return _through_double(tan, x)
    r, low, n = _with_huge(x, _reduce_double(x))
    (s, s_low), (c, c_low) = (fast_two_sum(*pair) for pair in _sin_cos_pairs(r, low))
    odd = (n & 1).ne(0)
    above, above_low = where(odd, -c, s), where(odd, -c_low, s_low)
    below, below_low = where(odd, s, c), where(odd, s_low, c_low)
    quotient = above / below
    error = (product_remainder(quotient, below, above) + above_low) - quotient * below_low
    return where(abs(x) < 2.0**-28, x, quotient + error / below)
