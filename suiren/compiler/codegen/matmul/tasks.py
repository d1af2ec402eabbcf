"""What parts of plans are written with: shares of work, indices, strides of what is packed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from suiren.compiler.codegen.emitter import Emitter, Int
from suiren.compiler.codegen.matmul.product import Matrix, Product


def index_of(b: Emitter, tasks: int) -> Int:
    return b.task if tasks > 1 else 0


@contextmanager
def once(value: Int) -> Iterator[Int]:
    yield value


@contextmanager
def share(b: Emitter, index: Int, shares: int, count: int) -> Iterator[Int]:
    """The ``index``-th of ``shares`` nearly equal ranges of ``range(count)``."""
    if shares == count:
        yield index
        return
    begin = b.idiv(b.imul(index, count), shares)
    end = b.idiv(b.imul(b.iadd(index, 1), count), shares)
    with b.loop(begin, end) as i:
        yield i


def distinct(product: Product, matrix: Matrix) -> tuple[int, ...]:
    """The batch's sizes, with 1 where the matrix is the same along a dimension."""
    return tuple(
        1 if stride == 0 and not matrix.load else size
        for size, stride in zip(product.batch, matrix.batch_strides, strict=True)
    )


def dot(b: Emitter, indices: tuple[Int, ...], strides: tuple[int, ...]) -> Int:
    total: Int = 0
    for one, stride in zip(indices, strides, strict=True):
        total = b.iadd(total, b.imul(one, stride))
    return total


def unravelled(b: Emitter, index: Int, sizes: tuple[int, ...]) -> tuple[Int, ...]:
    """The indices that a number in row-major order stands for."""
    indices: list[Int] = []
    for i, size in reversed(list(enumerate(sizes))):
        indices.insert(0, 0 if size == 1 else index if i == 0 else b.imod(index, size))
        index = b.idiv(index, size)
    return tuple(indices)


def packed_strides(sizes: tuple[int, ...], one: int) -> tuple[tuple[int, ...], int]:
    """Row-major strides (0 for sizes of one) of things of ``one`` elements, and the total."""
    strides: list[int] = []
    for size in reversed(sizes):
        strides.insert(0, 0 if size == 1 else one)
        one *= size
    return tuple(strides), one


def column_ranges(n: int, width: int, masked: bool) -> list[tuple[int, int]]:
    """Ranges of columns: the whole vectors, and the rest."""
    whole = n // width * width
    return [(i, j) for i, j in ((0, whole), (whole, n)) if i < j]
