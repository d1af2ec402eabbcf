"""What is decided about a product: its tasks, what is packed where, whether k is split.

By shape and target alone, never by the number of threads: results have the same bits on any number.
The numbers were measured on a Zen 4 with 32 KB, 1 MB and 32 MB of cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from suiren.compiler.codegen.matmul import dots, pack, streams
from suiren.compiler.codegen.matmul.product import SIZES, Product
from suiren.compiler.codegen.matmul.tiles import Tile, choose, parts, rounded
from suiren.compiler.target import Target

# Work of less than this (multiplications and additions) is not worth a second thread.
SMALL = 500_000
# A task should be at least this much, and a product have at most so many tasks by default.
TASK = 1_000_000
MANY = 64
# Results of so many bytes are not in the second cache when they are written: a tile's memory is
# asked for before the tile is computed (2 to 3 % of a product of 1024x256x1024).
FETCHED = 2 << 20
# What a task may pack on its stack.
STACK = 256 * 1024


@dataclass
class Grid:
    """The tasks: so many shares of the batches, the row panels and the column panels."""

    batches: int
    rows: int
    columns: int

    @property
    def tasks(self) -> int:
        return self.batches * self.rows * self.columns


def packing_cost(product: Product) -> float:
    """Cycles for packing b, roughly, where it cannot be read in place."""
    work = product.batches * product.k * product.n
    if product.b.column_stride == 1:
        return 0.0 if product.b.scalar == product.element and not product.b.load else 0.1 * work
    return (0.4 if product.b.row_stride == 1 else 2.0) * work


def a_packing(product: Product, tile: Tile, grid: Grid) -> str:
    """"" (read in place), "local" or "shared"."""
    matrix, size = product.a, SIZES[product.compute]
    down, across = parts(product.m, tile.rows), parts(product.n, tile.columns)
    needed = matrix.load is not None or matrix.scalar != product.element
    if not needed:
        if across <= 2:
            return ""
        # Rows (or columns) at distances of 4096 bytes share a set of the first cache and push each
        # other out. Otherwise reading in place loses less than a tenth.
        stride = matrix.row_stride if matrix.column_stride == 1 else matrix.column_stride
        aliased = stride * size % 4096 == 0 and product.k >= 64 and product.n >= 128
        few = tile.rows * size < 32  # of a line of the cache
        by_columns = matrix.row_stride == 1 and product.k > 128
        by_columns = by_columns and product.n >= (128 if few else 512)
        strided = 1 not in (matrix.row_stride, matrix.column_stride)
        if not (aliased or by_columns or strided):
            return ""
    rows = parts(down, grid.rows) * tile.rows
    local = pack.layout(matrix, rows, product.k, tile, product.compute).size * size
    if local <= STACK // 2 and grid.columns <= 2:
        return "local"
    return "shared"


def b_packing(product: Product, tile: Tile, grid: Grid, target: Target) -> str:
    """"" (read in place), "local" or "shared"."""
    matrix, size = product.b, SIZES[product.compute]
    needed = (
        matrix.load is not None
        or matrix.scalar != product.element
        or matrix.column_stride != 1
        or (product.n % tile.columns != 0 and not target.masked)
    )
    if not needed:
        aliased = matrix.row_stride * size % 4096 == 0
        if product.k * tile.columns * size <= target.l1 // 2 and not aliased:
            return ""
        if product.m < (64 if aliased else 192):
            return ""
    local = rounded(product.k, tile.lanes) * tile.columns * size
    if local <= STACK and (grid.rows == 1 or product.m // grid.rows >= 256):
        return "local"
    return "shared"




def grid_of(product: Product, tile: Tile) -> Grid:
    """The tasks. They depend on the shape alone: never on how many threads there are."""
    down, across = parts(product.m, tile.rows), parts(product.n, tile.columns)
    flops = product.flops
    if flops < SMALL:
        return Grid(1, 1, 1)
    wanted = max(2, min(MANY, flops // TASK))
    batches = parts(product.batches, parts(product.batches, wanted))
    rest = wanted // batches
    if rest == 1:
        return Grid(batches, 1, 1)
    # Column panels first: tasks of one panel pack it once. Rows when there are many.
    columns = min(across, rest)
    rows = min(down, parts(rest, columns))
    if product.m >= 512:
        # Near-square blocks, so that a task's rows of a stay in the second cache.
        block = max(4 * tile.rows, 384 * 1024 // (SIZES[product.compute] * max(1, product.k)))
        rows = min(down, max(rows, parts(product.m, block)))
        columns = min(across, max(parts(wanted, rows), 1))
    return Grid(batches, rows, columns)


def chunks_of(product: Product, target: Target) -> int:
    """Into how many chunks k is cut."""
    if product.a.load or product.b.load:
        return 1
    for turned in (product, product.transposed()):
        if streams.suits(turned) and dots.cost(product, target) == math.inf:
            return streams.chunks(turned)
    if product.flops < 4 * SMALL or product.k < 2048:
        return 1
    tile, _ = choose(product.m, product.n, product.k, target, product.compute)
    tiles = parts(product.m, tile.rows) * parts(product.n, tile.columns) * product.batches
    if tiles >= 8:
        return 1
    wanted = min(16, parts(16, tiles), product.k // 512, max(1, product.flops // SMALL))
    return max(1, wanted)


def dot_tasks(product: Product) -> int:
    if product.flops < SMALL // 2:
        return 1
    return int(max(2, min(MANY, product.flops // (TASK // 4))))


def pack_tasks(elements: int) -> int:
    """Tasks for packing so many elements."""
    return max(1, min(MANY, elements // 16_000))
