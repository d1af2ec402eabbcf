"""Integers near numbers, and remainders of divisions."""

from __future__ import annotations

from suiren.compiler.codegen.mathematics.values import (
    INFINITY,
    NAN,
    Value,
    any_lane,
    power_of_two,
    product_remainder,
    where,
)


def floor(x: Value) -> Value:
    return x.floor()


def ceil(x: Value) -> Value:
    return x.ceil()


def trunc(x: Value) -> Value:
    return x.truncated()


def round(x: Value) -> Value:
    """Halves go to the even neighbour."""
    return x.rounded()


def fmod(x: Value, y: Value) -> Value:
    """x less the multiple of y towards zero: exact, with the sign of x.

    Long division: a quotient below 2^52 is one step (its rounding may make it one too large,
    which shows as a negative remainder). Lanes with larger ones take more steps, in a loop that
    is left at once where there are none. Float computes in double, where a step is as long.
    """
    if x.scalar == "float":
        wide = fmod(x.convert("fpext", "double"), y.convert("fpext", "double"))
        # the sign at last: LLVM takes that of a double for a half through a library
        return abs(wide).convert("fptrunc", "float").with_sign_of(x)
    b = x.b
    divisor = abs(y)
    valid = (divisor > 0.0) & (abs(x) < INFINITY)
    divisor = where(valid, divisor, 1.0)
    start = where(valid & (divisor < INFINITY), abs(x), 0.0)
    remainder = b.variable(_divide_once(start, divisor).operand)
    again, body, done = b.labels("again", "divide", "divided")
    b.jump(again)
    b.label(again)
    rest = Value(b, remainder.get())
    b.branch(any_lane(rest >= divisor), body, done)
    b.label(body)
    remainder.set(_divide_once(rest, divisor).operand)
    b.jump(again)
    b.label(done)
    rest = where(abs(y).eq(INFINITY), abs(x), Value(b, remainder.get()))
    rest = where(valid, rest, NAN).with_sign_of(x)
    return where(y.is_nan(), y, rest)


def _exponent(x: Value) -> Value:
    """The biased exponent of doubles that are not negative; below 1 for denormals."""
    small = x < x.format.tiny
    exponent = where(small, x * 2.0**54, x).bits().unsigned_shift(52)
    return where(small, exponent - 54, exponent)


def _divide_once(x: Value, y: Value) -> Value:
    """x less a multiple of y such that at least 50 bits of the quotient are done with."""
    # y 2^k with a quotient below 2^51; the power in three factors, for it can be beyond the range
    k = _exponent(x) - _exponent(y) - 50
    multiple = y
    for _ in range(3):
        part = where(k < 1000, where(k > 0, k, 0), 1000)
        multiple = multiple * power_of_two(part, "double")
        k = k - part
    quotient = (x / multiple).truncated()
    rest = product_remainder(quotient, multiple, x)
    return where(rest < 0.0, rest + multiple, rest)


def remainder(x: Value, y: Value) -> Value:
    """As Python's %: fmod, moved by y where its sign is not that of y."""
    rest = fmod(x, y)
    opposite = (rest < 0.0) ^ (y < 0.0)
    return where(rest.ne(0.0) & opposite, rest + y, rest)
