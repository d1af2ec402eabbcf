"""Uniforms, masks, whole numbers, shuffles and functions of one uniform, in IR."""

from __future__ import annotations

import math
from collections.abc import Callable

from suiren.compiler.codegen import mathematics
from suiren.compiler.codegen.emitter import Int, Operand, vector
from suiren.compiler.codegen.random.words import Writer

_TINY = 2.0**-1074


# ---- uniforms


def uniform(b: Writer, scalar: str, unit: bool) -> None:
    """p0: the first; p1: the width of the range; p2: its end, which becomes the first."""
    out, count = b.argument("out"), b.argument("count", "i64")
    double = scalar == "double"
    numbers = {}
    if not unit:
        numbers = {p: b.argument(p, scalar) for p in ("p0", "p1", "p2")}
    at_once = b.wide if double else b.narrow
    vectors = {p: b.splat(x, at_once) for p, x in numbers.items()}

    def chunk(scratch: Operand, start: Int, length: Operand) -> None:
        def some(i: Int, width: int) -> None:
            value = (b.u64 if double else b.u32)(scratch, i, width)
            if not unit:
                p = vectors if width else numbers
                value = b.fma(value, p["p1"], p["p0"])
                value = b.select(b.fcmp("oeq", value, p["p2"]), p["p0"], value)
            b.store(value, b.pointer(out, b.iadd(start, i), scalar))

        b.each(length, at_once, some)

    b.chunks(count, 2 if double else 1, chunk)


# ---- yes or no


def mask(b: Writer, size: int) -> None:
    """p0: as i64, below which of 2**53 numbers an element is kept; p1: the bits that it gets."""
    out, count = b.argument("out"), b.argument("count", "i64")
    scalar = f"i{8 * size}"
    limit, one = b.argument("p0", "i64"), b.argument("p1", "i64")
    one = one if size == 8 else b.convert("trunc", one, scalar)
    limits, ones = b.splat(limit, b.wide), b.splat(one, b.wide)

    def chunk(scratch: Operand, start: Int, length: Operand) -> None:
        def some(i: Int, width: int) -> None:
            pair = b.pair(scratch, i, width)
            high = b.binary("shl", pair, b.const(pair.type, 32))
            low = b.binary("lshr", pair, b.const(pair.type, 32))
            number = b.binary("and", b.binary("or", high, low),
                              b.const(pair.type, (1 << 53) - 1))  # fmt: skip
            kept = b.icmp("ult", number, limits if width else limit)
            value = ones if width else one
            value = b.select(kept, value, b.const(value.type, 0))
            b.store(value, b.pointer(out, b.iadd(start, i), scalar))

        b.each(length, b.wide, some)

    b.chunks(count, 2, chunk)


# ---- functions of one u64


def _checked(
    b: Writer,
    scalar: str,
    ours: Callable[[Operand], Operand],
    exact: Callable[[Operand], Operand],
    rounded: Callable[[Operand], Operand],
) -> None:
    """``rounded(exact(u))``; with ``ours`` where 8 units of its last place do not matter."""
    out, count = b.argument("out"), b.argument("count", "i64")

    def chunk(scratch: Operand, start: Int, length: Operand) -> None:
        def scalars(i: Int) -> None:
            value = rounded(exact(b.u64(scratch, i, 0)))
            b.store(value, b.pointer(out, b.iadd(start, i), scalar))

        whole = b.binary("and", length, b.const("i64", -b.wide))
        with b.loop(0, whole, b.wide) as i:
            value = ours(b.u64(scratch, i, b.wide))
            less = rounded(b.fmul(value, b.const(value.type, 1 - 2.0**-50)))
            more = rounded(b.fmul(value, b.const(value.type, 1 + 2.0**-50)))
            b.store(more, b.pointer(out, b.iadd(start, i), scalar))
            differ = b.fcmp("une", less, more)
            any_bit = b.intrinsic("llvm.vector.reduce.or", "i1", differ,
                                  suffix=f"v{b.wide}i1")  # fmt: skip
            with b.when(any_bit), b.loop(0, b.wide) as k:
                scalars(b.iadd(i, k))
        with b.loop(whole, length) as i:
            scalars(i)

    b.chunks(count, 2, chunk)


def exponential32(b: Writer) -> None:
    """p0: -1 / lambda; p2: address of libm's log1p."""
    factor, log1p = b.argument("p0", "double"), b.load(b.argument("p2"), "ptr", 8)
    factors = b.splat(factor, b.wide)
    function = mathematics.FUNCTIONS["log1p"]
    _checked(
        b,
        "float",
        lambda u: b.fmul(factors, function(b, b.fneg(u))),
        lambda u: b.fmul(factor, b.function(log1p, b.fneg(u))),
        lambda y: b.convert("fptrunc", y, "float"),
    )


def geometric(b: Writer) -> None:
    """p0: log1p(-p); p2: address of libm's log."""
    scale, log = b.argument("p0", "double"), b.load(b.argument("p2"), "ptr", 8)
    scales = b.splat(scale, b.wide)
    function = mathematics.FUNCTIONS["log"]

    def at_least(u: Operand) -> Operand:
        tiny = b.const(u.type, _TINY)
        return b.select(b.fcmp("ogt", u, tiny), u, tiny)

    def ceiling(y: Operand) -> Operand:
        return mathematics.FUNCTIONS["ceil"](b, y)

    _checked(
        b,
        "double",
        lambda u: b.fdiv(function(b, at_least(u)), scales),
        lambda u: b.fdiv(b.function(log, at_least(u)), scale),
        ceiling,
    )


def _by_libm(b: Writer, write: Callable[[Operand, Operand], Operand]) -> None:
    """``write(u, address)`` one by one, in float64; p2: address of libm's function."""
    out, count = b.argument("out"), b.argument("count", "i64")
    address = b.load(b.argument("p2"), "ptr", 8)

    def chunk(scratch: Operand, start: Int, length: Operand) -> None:
        with b.loop(0, length) as i:
            value = write(b.u64(scratch, i, 0), address)
            b.store(value, b.pointer(out, b.iadd(start, i), "double"))

    b.chunks(count, 2, chunk)


def exponential64(b: Writer) -> None:
    """p0: -1 / lambda; p2: address of libm's log1p."""
    factor = b.argument("p0", "double")
    _by_libm(b, lambda u, log1p: b.fmul(factor, b.function(log1p, b.fneg(u))))


def cauchy(b: Writer) -> None:
    """p0: median; p1: sigma; p2: address of libm's tan."""
    median, sigma = b.argument("p0", "double"), b.argument("p1", "double")

    def one(u: Operand, tan: Operand) -> Operand:
        half = b.fsub(u, b.const("double", 0.5))
        angle = b.fmul(b.const("double", math.pi), half)
        return b.fma(b.function(tan, angle), sigma, median)

    _by_libm(b, one)


# ---- whole numbers


def integers(b: Writer) -> None:
    """p0: low; p1: the number of values, at most 2**32 (i64). One word each; i64 results."""
    out, count = b.argument("out"), b.argument("count", "i64")
    low = b.argument("p0", "i64")
    values = b.make(f"uitofp {b.argument('p1', 'i64')} to double", "double")
    lows, counts = b.splat(low, b.wide), b.splat(values, b.wide)

    def chunk(scratch: Operand, start: Int, length: Operand) -> None:
        def some(i: Int, width: int) -> None:
            word = b.load(b.pointer(scratch, i, "i32"), vector("i32", width), 4)
            number = b.exact(b.convert("zext", word, "i64"))
            left = b.remainder(number, counts if width else values)
            value = b.binary("add", b.whole(left), lows if width else low)
            b.store(value, b.pointer(out, b.iadd(start, i), "i64"), 8)

        b.each(length, b.wide, some)

    b.chunks(count, 1, chunk)


def wide_integers(b: Writer) -> None:
    """p0: low; p1: the number of values (i64, unsigned, not 0). Two words each; i64 results."""
    out, count = b.argument("out"), b.argument("count", "i64")
    low, values = b.argument("p0", "i64"), b.argument("p1", "i64")

    def chunk(scratch: Operand, start: Int, length: Operand) -> None:
        with b.loop(0, length) as i:
            pair = b.pair(scratch, i, 0)
            number = b.binary("or", b.binary("shl", pair, b.int(32)),
                              b.binary("lshr", pair, b.int(32)))  # fmt: skip
            value = b.binary("add", b.binary("urem", number, values), low)
            b.store(value, b.pointer(out, b.iadd(start, i), "i64"), 8)

    b.chunks(count, 2, chunk)


def shuffle(b: Writer) -> None:
    """Fisher and Yates' swaps in ``out``, i32: ``count`` of them among ``count + 1`` slots."""
    out, count = b.argument("out"), b.argument("count", "i64")
    ahead = b.exact(b.counting(b.wide))

    def chunk(scratch: Operand, start: Int, length: Operand) -> None:
        left = b.exact(b.int(b.isub(b.iadd(count, 1), start)))  # slots from ``start`` on

        def targets(i: Int, width: int) -> None:
            place = b.pointer(scratch, i, "i32")
            word = b.load(place, vector("i32", width), 4)
            number = b.exact(b.convert("zext", word, "i64"))
            slots = b.splat(b.fsub(left, b.exact(b.int(i))), width)
            slots = b.fsub(slots, ahead) if width else slots
            offset = b.convert("trunc", b.whole(b.remainder(number, slots)), "i32")
            b.store(offset, place, 4)

        b.each(length, b.wide, targets)
        first = b.pointer(out, start, "i32")
        with b.loop(0, length) as i:
            offset = b.load(b.pointer(scratch, i, "i32"), "i32", 4)
            here = b.pointer(first, i, "i32")
            there = b.pointer(here, b.convert("zext", offset, "i64"), "i32")
            x, y = b.load(here, "i32", 4), b.load(there, "i32", 4)
            b.store(y, here, 4)
            b.store(x, there, 4)

    b.chunks(count, 1, chunk)
