"""Pairs of bfloat16 in vector registers: what AVX-512-BF16 does with them, and how they are made.

A pair is held as an i32, its first number in the low half. ``vdpbf16ps`` adds to each float32 the
products of two pairs; only targets with ``bfloat16_pairs`` have it. It rounds each of its two sums
by itself, to nearest with ties to even, and takes subnormal numbers (below 1.2e-38) for zero; the
products of bfloat16 are exact in float32.
"""

from __future__ import annotations

from suiren.compiler.codegen.emitter import Emitter, Operand, vector


def dot(b: Emitter, x: Operand, y: Operand, z: Operand) -> Operand:
    """z plus both products of each pair of x and y: vectors of 16 i32, and of float."""
    x, y = (b.make(f"bitcast {v} to <32 x bfloat>", "<32 x bfloat>") for v in (x, y))
    return b.intrinsic("llvm.x86.avx512bf16.dpbf16ps", z.type, z, x, y, suffix="512")


def joined(b: Emitter, low: Operand, high: Operand) -> Operand:
    """Pairs of the i16 of two vectors (or of two scalars)."""
    low, high = b.convert("zext", low, "i32"), b.convert("zext", high, "i32")
    return b.binary("or", low, b.binary("shl", high, b.const(high.type, 16)))


def parted(b: Emitter, pairs: Operand) -> tuple[Operand, Operand]:
    """The first and the second numbers of pairs, widened to float."""
    low = b.binary("shl", pairs, b.const(pairs.type, 16))
    high = b.binary("and", pairs, b.const(pairs.type, -(1 << 16)))
    return b.convert("bitcast", low, "float"), b.convert("bitcast", high, "float")


def widened(b: Emitter, x: Operand) -> Operand:
    """i16 as float."""
    x = b.convert("zext", x, "i32")
    return b.convert("bitcast", b.binary("shl", x, b.const(x.type, 16)), "float")


def rounded(b: Emitter, x: Operand) -> Operand:
    """16 float as i16, rounded to nearest (subnormal numbers to zero)."""
    found = b.intrinsic("llvm.x86.avx512bf16.cvtneps2bf16", "<16 x bfloat>", x, suffix="512")
    return b.make(f"bitcast {found} to <16 x i16>", "<16 x i16>")


def rounded_pairs(b: Emitter, low: Operand, high: Operand) -> Operand:
    """Pairs of the numbers of two vectors of 16 float, rounded to nearest."""
    name = "llvm.x86.avx512bf16.cvtne2ps2bf16"
    found = b.intrinsic(name, "<32 x bfloat>", high, low, suffix="512")
    found = b.make(f"bitcast {found} to <32 x i16>", "<32 x i16>")
    found = b.shuffle(found, found, [i // 2 + 16 * (i % 2) for i in range(32)])
    return b.make(f"bitcast {found} to <16 x i32>", "<16 x i32>")


def load_pairs(b: Emitter, address: Operand, width: int = 0) -> Operand:
    """Pairs that lie at an address of i16."""
    return b.load(address, vector("i32", width), 2)


def last_pairs(b: Emitter, address: Operand) -> Operand:
    """A number with zero behind it."""
    return b.convert("zext", b.load(address, "i16"), "i32")


def gathered(b: Emitter, base: Operand, index: Operand, mask: Operand | None) -> Operand:
    """The pairs that begin at ``base[index]``, base an address of i16."""
    places = b.binary("mul", index, b.const(index.type, 2))
    return b.gather(base, places, "i32", mask, step="i8", align=2)
