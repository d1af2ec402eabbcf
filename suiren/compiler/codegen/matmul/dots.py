"""Products whose operands are both contiguous along k and whose result is small or thin.

Vectors run along k; a tile of rows x columns sums is kept, and each sum's lanes are added at the
end. Matrix times vector with rows in memory, vector times the transpose of a matrix, dot products.
"""

from __future__ import annotations

import math

from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.matmul.operands import Reader, multiply_add, positive_left, total
from suiren.compiler.codegen.matmul.product import SIZES, Finish, Part, Product
from suiren.compiler.codegen.matmul.tasks import index_of, share, unravelled
from suiren.compiler.codegen.matmul.tiles import parts
from suiren.compiler.target import Target


def cost(product: Product, target: Target) -> float:
    """Cycles, roughly; infinite where it cannot be done."""
    a, b = product.a, product.b
    if a.column_stride != 1 or b.row_stride != 1 or product.k < 2 or a.load or b.load:
        return math.inf
    rows, columns = shape(product, target)
    lanes = target.lanes(SIZES[product.compute])
    tiles = parts(product.m, rows) * parts(product.n, columns)
    steps = parts(product.k, lanes) * (rows * columns + 0.5 * (rows + columns))
    return float(product.batches * tiles * (steps + 8 * rows * columns))


def shape(product: Product, target: Target) -> tuple[int, int]:
    """Rows and columns of a tile of sums."""
    most = 16 if target.vector_registers >= 32 else 8
    if product.m == 1:
        return 1, min(product.n, most // 2)
    if product.n == 1:
        return min(product.m, most // 2), 1
    columns = min(product.n, 4)
    return min(product.m, most // columns), columns


def part(product: Product, target: Target, finish: Finish, barrier: bool, tasks: int) -> Part:
    """The kernel; tasks are shares of all tiles of all batches."""
    compute, k = product.compute, product.k
    width = target.lanes(SIZES[compute])
    rows, columns = shape(product, target)
    down, across = parts(product.m, rows), parts(product.n, columns)
    count = product.batches * down * across
    tasks = min(tasks, count)
    b = Emitter(target.function_attributes)
    stride = 2 * max(width, columns)
    area = b.stack(compute, rows * stride)
    with share(b, index_of(b, tasks), tasks, count) as index:
        j, rest = b.imod(index, across), b.idiv(index, across)
        i, rest = b.imod(rest, down), b.idiv(rest, down)
        batch = unravelled(b, rest, product.batch)
        left, right = (Reader(b, x, batch, compute) for x in (product.a, product.b))
        wanted_row, wanted_column = b.imul(i, rows), b.imul(j, columns)
        row = b.imin(wanted_row, product.m - rows)
        column = b.imin(wanted_column, product.n - columns)
        sums = _sums(b, left, right, row, column, rows, columns, k, width, target)
        for r in range(rows):
            for c in range(columns):
                b.store(sums[r][c], b.pointer(area, r * stride + c, compute))
        skip = b.isub(wanted_column, column)
        with b.loop(b.isub(wanted_row, row), rows) as at:
            for start in range(0, columns, width):
                place = b.pointer(area, b.iadd(b.imul(at, stride), b.iadd(skip, start)), compute)
                value = b.load(place, vector(compute, width))
                mask = b.tail_mask(positive_left(b, columns - start, skip), width)
                finish(b, value, batch, b.iadd(row, at), b.iadd(wanted_column, start), mask)
    name = f"matmul_dots_{product.batches}x{product.m}x{product.n}x{k}_{compute}"
    return Part(name, b.module(), tasks, barrier, product.flops)


def _sums(
    b: Emitter, left: Reader, right: Reader, row: Int, column: Int, rows: int, columns: int,
    k: int, width: int, target: Target,
) -> list[list[Operand]]:  # fmt: skip
    compute = left.compute
    type = vector(compute, width)
    add = "add" if compute[0] == "i" else "fadd"
    copies = max(1, min(8 // (rows * columns), k // width))
    zero = b.const(type, 0)
    places = [
        [[b.variable(zero) for _ in range(copies)] for _ in range(columns)] for _ in range(rows)
    ]

    def step(p: Int, copy: int, mask: Operand | None) -> None:
        rights = [right.read(p, b.iadd(column, c), width, mask) for c in range(columns)]
        for r in range(rows):
            value = left.read(b.iadd(row, r), p, width, mask)
            for c in range(columns):
                place = places[r][c][copy]
                place.set(multiply_add(b, value, rights[c], place.get(), target.fma))

    group = width * copies
    whole = k // group * group
    with b.loop(0, whole, group) as p:
        if whole:
            for copy in range(copies):
                step(b.iadd(p, copy * width), copy, None)
    for p in range(whole, k, width):
        mask = b.tail_mask(k - p, width) if k - p < width else None
        step(p, 0, mask)
    sums: list[list[Operand]] = []
    for line in places:
        sums.append([])
        for copy_places in line:
            value = copy_places[0].get()
            for other in copy_places[1:]:
                value = b.binary(add, value, other.get())
            sums[-1].append(total(b, value))
    return sums
