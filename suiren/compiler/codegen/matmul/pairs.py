"""Products of bfloat16 by pairs: where one instruction multiplies and adds two steps of k.

A product (see ``codegen/bfloat16.py`` for the instruction) is planned as one of half as many steps,
whose elements are pairs, held as i32: of a, neighbours in a row; of b, neighbours in a column.
Tiles, packing and tasks are those of all products; here the elements are read. Rows of a that lie
together are rows of pairs already; all else is packed by pairs on the way.
"""

from __future__ import annotations

from dataclasses import replace

from suiren.compiler.codegen.bfloat16 import joined
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, like, vector
from suiren.compiler.codegen.matmul.operands import Reader, positive_left
from suiren.compiler.codegen.matmul.product import Load, Matrix, Product
from suiren.compiler.codegen.matmul.tiles import parts
from suiren.compiler.target import Target


def suits(product: Product, target: Target) -> bool:
    """Whether a product should be computed by pairs."""
    a, b = product.a, product.b
    return (
        target.bfloat16_pairs
        and product.compute == "float"
        and a.scalar == b.scalar == "bfloat"
        and not (a.load or b.load)
        and product.k >= 4
        and min(product.m, product.n) >= 4
        and max(product.m, product.n) >= 16
    )


def paired(product: Product) -> Product:
    """The product with pairs for elements."""
    k = product.k
    return replace(
        product, k=parts(k, 2), a=_paired(product.a, k),
        b=_paired(product.b.transposed(), k).transposed(), pairs=True,
    )  # fmt: skip


def _paired(matrix: Matrix, k: int) -> Matrix:
    """A matrix of rows of k elements as one of rows of pairs."""
    steps = (matrix.offset, matrix.row_stride, *matrix.batch_strides)
    if matrix.column_stride == 1 and k % 2 == 0 and all(step % 2 == 0 for step in steps):
        return replace(
            matrix, scalar="i32", offset=matrix.offset // 2, row_stride=matrix.row_stride // 2,
            batch_strides=tuple([step // 2 for step in matrix.batch_strides]),
        )  # fmt: skip
    return replace(matrix, scalar="i32", load=_reading(matrix, k))


def _reading(matrix: Matrix, k: int) -> Load:
    """Reads pairs of a matrix whose rows have k elements."""

    def load(
        b: Emitter, batch: tuple[Int, ...], row: Int, pair: Int, width: int, mask: Operand | None
    ) -> Operand:
        reader = Reader(b, matrix, batch, "bfloat")
        first = b.imul(pair, 2)
        if width and matrix.column_stride == 1:
            type = vector("i16", 2 * width)
            address = reader.address(row, first)
            if mask is None and k % 2 == 0:
                value = b.load(address, type)
            else:
                value = b.masked_load(
                    address, type, b.tail_mask(positive_left(b, k, first), 2 * width)
                )
            return b.make(f"bitcast {value} to <{width} x i32>", vector("i32", width))
        second = b.iadd(first, 1)
        inside = None
        if k % 2:
            inside = b.icmp("slt", b.int(second), b.int(k))
            second = b.imin(second, k - 1)
        type = vector("i16", width)
        low, high = (
            b.load(address, type) if mask is None else b.masked_load(address, type, mask)
            for address in (reader.address(row, first), reader.address(row, second))
        )
        if inside is not None:
            high = b.select(inside, high, b.const(like(high.type, "i16"), 0))
        return joined(b, low, high)

    return load
