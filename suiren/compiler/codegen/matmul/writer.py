"""Writes the kernel that computes tiles: the loops around the microkernel, and what comes after."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.matmul import pack
from suiren.compiler.codegen.matmul.choices import Grid
from suiren.compiler.codegen.matmul.microkernel import multiply
from suiren.compiler.codegen.matmul.operands import Reader, positive_left, transposed
from suiren.compiler.codegen.matmul.product import SIZES, Fetch, Finish, Product
from suiren.compiler.codegen.matmul.tasks import dot, index_of, once, share, unravelled
from suiren.compiler.codegen.matmul.tiles import Tile, parts, rounded
from suiren.compiler.target import Target


@dataclass(frozen=True)
class Packed:
    """Where a part has put a: the slot, the strides of the batches and the layout of one."""

    slot: int
    strides: tuple[int, ...]
    form: pack.Layout


class Writer:
    """Writes the kernel of tiles of one product."""

    def __init__(
        self, b: Emitter, product: Product, tile: Tile, finish: Finish, flipped: bool,
        short: bool, target: Target,
    ):  # fmt: skip
        self.b = b
        self.product = product
        self.tile = tile
        self.finish = finish
        self.flipped = flipped
        # Written out for each row of the tile, or once in a loop over rows laid down on the stack.
        self.unrolled = short and not flipped and product.k <= 512
        self.target = target
        self.fetch: Fetch | None = None
        self.short_rows = product.m % tile.rows != 0
        self.ragged = product.n % tile.columns != 0

    def write(
        self, grid: Grid, local_a: bool, local_b: bool, rows: Packed | None,
        panels: tuple[int, tuple[int, ...], int] | None,
    ) -> None:  # fmt: skip
        """The whole kernel; ``rows``, ``panels``: a and b where another part has packed them."""
        b, product, tile = self.b, self.product, self.tile
        compute, element = product.compute, product.element
        k, masked = product.k, self.target.masked
        down, across = parts(product.m, tile.rows), parts(product.n, tile.columns)
        task = index_of(b, grid.tasks)
        share_j = b.imod(task, grid.columns)
        task = b.idiv(task, grid.columns)
        share_i = b.imod(task, grid.rows)
        share_b = b.idiv(task, grid.rows)
        p0 = b.idiv(b.imul(share_i, down), grid.rows)
        p1 = b.idiv(b.imul(b.iadd(share_i, 1), down), grid.rows)
        form = rows.form if rows else None
        block = panel = None
        if local_b:
            panel = b.stack(element, rounded(k, tile.lanes) * tile.columns)
        if local_a:
            most = min(parts(down, grid.rows) * tile.rows, product.m)
            form = pack.layout(product.a, most, k, tile, element)
            block = b.stack(element, form.size)
        self.area = b.stack(compute, rounded(tile.rows, tile.lanes) * tile.columns + tile.lanes)
        with share(b, share_b, grid.batches, product.batches) as index:
            batch = unravelled(b, index, product.batch)
            a = Reader(b, product.a, batch, element)
            right = Reader(b, product.b, batch, element)
            first_row: Int = 0
            if block is not None and form is not None:
                # Of all the task's rows; begun early where it would pass the end.
                first_row = b.imin(b.imul(p0, tile.rows), product.m - most)
                if form.panel:
                    pack_panels(b, a, product.m, p0, p1, (0, k), block, form, tile, masked)
                else:
                    pack.row_lines(b, a, first_row, 0, most, k, block, form, tile, masked)
            elif rows:
                block = b.pointer(b.buffer(rows.slot), dot(b, batch, rows.strides), element)
            with share(b, share_j, grid.columns, across) as q:
                column = b.imul(q, tile.columns)
                masks: list[Operand | None] = [None] * tile.vectors
                stride = tile.columns
                if panel is not None:
                    pack.panel(b, right, k, product.n, column, panel, tile, masked)
                    at_b = panel
                elif panels is not None:
                    slot, strides, size = panels
                    offset = b.iadd(b.imul(q, size), dot(b, batch, strides))
                    at_b = b.pointer(b.buffer(slot), offset, element)
                else:
                    at_b = right.address(0, column)
                    stride = product.b.row_stride
                    if self.ragged:
                        masks = self._masks(column)
                with b.loop(p0, p1) if grid.rows > 1 or down > 1 else once(0) as p:
                    wanted = b.imul(p, tile.rows)
                    row = wanted
                    if self.short_rows:
                        row = b.imin(wanted, product.m - tile.rows)
                    if block is not None and form is not None:
                        number = b.isub(p, p0) if local_a else p
                        place = form.place(b.isub(row, first_row), number, b)
                        at_a = b.pointer(block, place, element)
                        a_strides = (form.row_stride, form.column_stride)
                    else:
                        at_a = a.address(row, 0)
                        a_strides = (product.a.row_stride, product.a.column_stride)
                    if self.fetch is not None:
                        for r in range(tile.rows):
                            for v in range(tile.vectors):
                                at = b.iadd(column, v * tile.lanes)
                                self.fetch(b, b.iadd(row, r), at)
                    sums = multiply(
                        b, tile, k, compute, element, at_a, a_strides, at_b, stride, masks,
                        local_b or panels is not None, self.target.fma,
                    )  # fmt: skip
                    self._end(sums, batch, row, b.isub(wanted, row), column)

    def _masks(self, column: Int) -> list[Operand | None]:
        """For the vectors of b from a column on."""
        b, width = self.b, self.tile.lanes
        return [
            b.tail_mask(positive_left(b, self.product.n, b.iadd(column, v * width)), width)
            for v in range(self.tile.vectors)
        ]

    def _end(
        self, sums: list[list[Operand]], batch: tuple[Int, ...], row: Int, first: Int, column: Int
    ) -> None:
        """Finishes a tile whose first ``first`` rows are another's."""
        b, tile, compute = self.b, self.tile, self.product.compute
        if self.unrolled:
            for r, line in enumerate(sums):
                own: AbstractContextManager = nullcontext()
                if self.short_rows and r < tile.rows - 1:
                    own = b.when(b.icmp("sle", b.int(first), b.int(r)))
                with own:
                    for v, value in enumerate(line):
                        self._call(value, batch, b.iadd(row, r), b.iadd(column, v * tile.lanes))
            return
        if self.flipped:
            self._end_flipped(sums, batch, row, first, column)
            return
        size = SIZES[compute] * tile.lanes
        for r, line in enumerate(sums):
            for v, value in enumerate(line):
                place = b.pointer(self.area, r * tile.columns + v * tile.lanes, compute)
                b.store(value, place, size)
        with b.loop(first, tile.rows) as at:
            at = b.opaque(at)
            for v in range(tile.vectors):
                index = b.iadd(b.imul(at, tile.columns), v * tile.lanes)
                place = b.pointer(self.area, index, compute)
                value = b.load(place, vector(compute, tile.lanes), size)
                self._call(value, batch, b.iadd(row, at), b.iadd(column, v * tile.lanes))

    def _call(self, value: Operand, batch: tuple[Int, ...], row: Int, column: Int) -> None:
        """finish for a vector that may pass the last column."""
        b, n, width = self.b, self.product.n, self.tile.lanes
        if not self.ragged:
            self.finish(b, value, batch, row, column, None)
            return
        mask = b.tail_mask(positive_left(b, n, column), width)
        if self.target.masked or n < width:
            self.finish(b, value, batch, row, column, mask)
            return
        whole = b.icmp("sle", b.int(b.iadd(column, width)), b.int(n))
        with b.when(whole):
            self.finish(b, value, batch, row, column, None)
        with b.when(b.binary("xor", whole, b.const("i1", 1))):
            self.finish(b, value, batch, row, column, mask)

    def _end_flipped(
        self, sums: list[list[Operand]], batch: tuple[Int, ...], row: Int, first: Int, column: Int
    ) -> None:
        """The rows of the tile are columns of the result: it is transposed on the way."""
        b, tile, compute = self.b, self.tile, self.product.compute
        width = tile.lanes
        type = vector(compute, width)
        line = rounded(tile.rows, width)
        for start in range(0, tile.rows, width):
            for v in range(tile.vectors):
                square = [sums[r][v] for r in range(start, min(start + width, tile.rows))]
                square += [Operand("poison", type)] * (width - len(square))
                for j, value in enumerate(transposed(b, square)):
                    place = b.pointer(self.area, (v * width + j) * line + start, compute)
                    b.store(value, place, SIZES[compute] * width)
        columns: Int = tile.columns
        if self.ragged:
            columns = b.imin(columns, b.isub(self.product.n, column))
        with b.loop(0, columns) as at:
            at = b.opaque(at)
            for start in range(0, tile.rows, width):
                begin = b.iadd(first, start)
                left = positive_left(b, tile.rows, begin)
                whole = isinstance(left, int) and left >= width
                mask = None if whole else b.tail_mask(left, width)
                place = b.pointer(self.area, b.iadd(b.imul(at, line), begin), compute)
                value = b.load(place, type)
                self.finish(b, value, batch, b.iadd(column, at), b.iadd(row, begin), mask)


def pack_panels(
    b: Emitter, reader: Reader, m: int, begin: Int, end: Int, steps: tuple[Int, Int], to: Operand,
    form: pack.Layout, tile: Tile, masked: bool,
) -> None:  # fmt: skip
    """Packs panels of a, some steps of each, into a block that starts with the first of them."""
    with b.loop(begin, end) as p:
        row = b.imul(p, tile.rows)
        if m % tile.rows:
            row = b.imin(row, m - tile.rows)
        place = b.pointer(to, b.imul(b.isub(p, begin), form.panel), reader.compute)
        pack.row_panel(b, reader, row, steps, place, tile, masked)
