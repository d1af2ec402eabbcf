"""Normal numbers in IR: Box and Muller's pairs, float32 by Cephes' polynomials, float64 by libm."""

from __future__ import annotations

import math

from suiren import random_kernels as constants
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, lanes, like
from suiren.compiler.codegen.random.words import Writer


def _log32(b: Emitter, x: Operand) -> Operand:
    """``random_kernels._log32``."""
    real, whole = x.type, like(x.type, "i32")

    def c(value: float) -> Operand:
        return b.const(real, value)

    bits = b.convert("bitcast", x, "i32")
    exponent = b.binary("sub", b.binary("lshr", bits, b.const(whole, 23)), b.const(whole, 126))
    power = b.convert("sitofp", exponent, "float")
    digits = b.binary("or", b.binary("and", bits, b.const(whole, 0x007FFFFF)),
                      b.const(whole, 0x3F000000))  # fmt: skip
    mantissa = b.convert("bitcast", digits, "float")
    small = b.fcmp("olt", mantissa, c(float(constants._SQRT_HALF)))
    power = b.select(small, b.fsub(power, c(1.0)), power)
    x = b.fadd(b.fsub(mantissa, c(1.0)), b.select(small, mantissa, c(0.0)))
    square = b.fmul(x, x)
    first, *others = constants._LOG_POLYNOMIAL
    y = c(first)
    for coefficient in others:
        y = b.fma(y, x, c(coefficient))
    y = b.fmul(y, x)
    y = b.fma(y, square, b.fmul(power, c(float(constants._LOG_TWO_LOW))))
    y = b.fsub(y, b.fmul(square, c(0.5)))
    return b.fma(power, c(constants._LOG_TWO_HIGH), b.fadd(x, y))


def _sin_cos32(b: Emitter, x: Operand) -> tuple[Operand, Operand]:
    """``random_kernels._sin_cos32``."""
    real, whole = x.type, like(x.type, "i32")

    def c(value: float) -> Operand:
        return b.const(real, value)

    def n(value: int) -> Operand:
        return b.const(whole, value)

    octant = b.convert("fptosi", b.fmul(x, c(float(constants._FOUR_OVER_PI))), "i32")
    octant = b.binary("and", b.binary("add", octant, n(1)), n(-2))
    turns = b.convert("sitofp", octant, "float")
    for part in constants._QUARTER_PI_PARTS:
        x = b.fma(turns, c(part), x)
    square = b.fmul(x, x)

    def polynomial(coefficients: list[float]) -> Operand:
        first, *others = coefficients
        y = c(first)
        for coefficient in others:
            y = b.fma(y, square, c(coefficient))
        return b.fmul(y, square)

    cosine = b.fma(polynomial(constants._COS_POLYNOMIAL), square, b.fmul(square, c(-0.5)))
    cosine = b.fadd(cosine, c(1.0))
    sine = b.fma(polynomial(constants._SIN_POLYNOMIAL), x, x)
    straight = b.icmp("eq", b.binary("and", octant, n(2)), n(0))
    sine, cosine = b.select(straight, sine, cosine), b.select(straight, cosine, sine)

    def signed(value: Operand, sign: Operand) -> Operand:
        flip = b.binary("shl", b.binary("and", sign, n(4)), n(29))
        bits = b.binary("xor", b.convert("bitcast", value, "i32"), flip)
        return b.convert("bitcast", bits, "float")

    turned = b.binary("xor", b.binary("sub", octant, n(2)), n(-1))
    return signed(sine, octant), signed(cosine, turned)


def normal32(b: Writer) -> None:
    """p0: mean; p1: standard deviation. ``count`` is a multiple of 16."""
    out, count = b.argument("out"), b.argument("count", "i64")
    mean, std = b.argument("p0", "float"), b.argument("p1", "float")
    most = 2 if b.narrow >= 16 else 1  # blocks of 16 at once: 8 pairs each

    def chunk(scratch: Operand, start: Int, length: Operand) -> None:
        def blocks(i: Int, number: int) -> None:
            u = [b.u32(scratch, b.iadd(i, 8 * k), 8) for k in range(2 * number)]
            if number == 2:
                first = b.shuffle(u[0], u[2], range(16))
                second = b.shuffle(u[1], u[3], range(16))
            else:
                first, second = u
            type = first.type
            logarithm = _log32(b, b.fsub(b.const(type, 1.0), first))
            radius = b.intrinsic("llvm.sqrt", type, b.fmul(b.const(type, -2.0), logarithm))
            angle = b.fmul(b.const(type, float(constants._TWO_PI_32)), second)
            sine, cosine = _sin_cos32(b, angle)
            spread, middle = b.splat(std, lanes(type)), b.splat(mean, lanes(type))
            x = b.fma(b.fmul(radius, cosine), spread, middle)
            y = b.fma(b.fmul(radius, sine), spread, middle)
            place = b.pointer(out, b.iadd(start, i), "float")
            if number == 1:
                b.store(x, place)
                b.store(y, b.pointer(place, 8, "float"))
                return
            low, high = [*range(8), *range(16, 24)], [*range(8, 16), *range(24, 32)]
            b.store(b.shuffle(x, y, low), place)
            b.store(b.shuffle(x, y, high), b.pointer(place, 16, "float"))

        whole = b.binary("and", length, b.const("i64", -16 * most))
        with b.loop(0, whole, 16 * most) as i:
            blocks(i, most)
        if most > 1:
            with b.loop(whole, length, 16) as i:
                blocks(i, 1)

    b.chunks(count, 1, chunk)


def normal64(b: Writer) -> None:
    """p0: mean; p1: standard deviation; p2: address of libm's log, cos, sin. Blocks of 16."""
    out, count = b.argument("out"), b.argument("count", "i64")
    mean, std = b.argument("p0", "double"), b.argument("p1", "double")
    table = b.argument("p2")
    log, cos, sin = (b.load(b.pointer(table, k, "ptr"), "ptr", 8) for k in range(3))

    def chunk(scratch: Operand, start: Int, length: Operand) -> None:
        with b.loop(0, length, 16) as block, b.loop(0, 8) as k:
            i = b.iadd(block, k)
            first, second = b.u64(scratch, i, 0), b.u64(scratch, b.iadd(i, 8), 0)
            logarithm = b.function(log, b.fsub(b.const("double", 1.0), first))
            radius = b.intrinsic("llvm.sqrt", "double", b.fmul(b.const("double", -2.0), logarithm))
            angle = b.fmul(b.const("double", 2.0 * math.pi), second)
            place = b.pointer(out, b.iadd(start, i), "double")
            x, y = b.fmul(radius, b.function(cos, angle)), b.fmul(radius, b.function(sin, angle))
            b.store(b.fma(x, std, mean), place)
            b.store(b.fma(y, std, mean), b.pointer(place, 8, "double"))

    b.chunks(count, 2, chunk)


def pairs(b: Writer) -> None:
    """Standard normals one by one; p2: address of libm's log1p, cos, sin. ``count`` is even."""
    out, count = b.argument("out"), b.argument("count", "i64")
    table = b.argument("p2")
    log1p, cos, sin = (b.load(b.pointer(table, k, "ptr"), "ptr", 8) for k in range(3))

    def chunk(scratch: Operand, start: Int, length: Operand) -> None:
        with b.loop(0, length, 2) as i:
            first, second = b.u64(scratch, i, 0), b.u64(scratch, b.iadd(i, 1), 0)
            logarithm = b.function(log1p, b.fneg(second))
            radius = b.intrinsic("llvm.sqrt", "double", b.fmul(b.const("double", -2.0), logarithm))
            angle = b.fmul(b.const("double", 2.0 * math.pi), first)
            place = b.pointer(out, b.iadd(start, i), "double")
            b.store(b.fmul(radius, b.function(cos, angle)), place)
            b.store(b.fmul(radius, b.function(sin, angle)), b.pointer(place, 1, "double"))

    b.chunks(count, 2, chunk)


def exp_of(b: Writer) -> None:
    """In place ``exp(x * p1 + p0)``, nothing drawn; p2: address of libm's exp."""
    out, count = b.argument("out"), b.argument("count", "i64")
    mean, std = b.argument("p0", "double"), b.argument("p1", "double")
    exp = b.load(b.argument("p2"), "ptr", 8)
    with b.loop(0, count) as i:
        place = b.pointer(out, i, "double")
        b.store(b.function(exp, b.fma(b.load(place, "double"), std, mean)), place)
