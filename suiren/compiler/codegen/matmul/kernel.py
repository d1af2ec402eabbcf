"""Plans matrix products and writes their kernels.

A product's result is cut into panels of columns and, across, panels of rows; where they meet is a
tile that the microkernel computes over all of k and hands to ``finish``: no partial result ever
goes to memory, except where k is split because the result alone is too small to keep several
threads busy (:func:`_split`). Tasks are rectangles of tiles of some batches.

- The last panel of rows begins early rather than being short, and the rows that the one before it
  has computed already are not finished twice: one microkernel for all heights.
- b is read in place, or packed into panels: by the task itself on its stack (``local``: no barrier,
  some packing done several times), or once for all in a part of its own (``shared``).
- The product may be computed transposed (``flipped``) when that saves packing or fits better: tiles
  then are transposed on the stack before they are finished.
- Products of few elements and long contiguous k are dot products, see ``dots``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.matmul import dots, pack
from suiren.compiler.codegen.matmul.microkernel import multiply
from suiren.compiler.codegen.matmul.operands import Reader, positive_left
from suiren.compiler.codegen.matmul.product import (
    SIZES,
    Finish,
    Matrix,
    Part,
    Plan,
    Product,
    folded,
    normal,
    store_finish,
    without_ones,
)
from suiren.compiler.codegen.matmul.tiles import Tile, choose, parts, rounded
from suiren.compiler.target import Target

# Work of less than this (multiplications and additions) is not worth a second thread.
SMALL = 500_000
# A task should be at least this much, and a product have at most so many tasks by default.
TASK = 1_000_000
MANY = 64
# What a task may pack on its stack.
STACK = 256 * 1024


def plan(product: Product, target: Target, finish: Finish, scratch_slot: int) -> Plan:
    """The kernels that compute a product and hand its rows, vector by vector, to ``finish``."""
    if not (product.m and product.n and product.batches):
        return Plan((), ())
    if not (product.a.load or product.b.load):
        finish = without_ones(finish, product.batch)
    product, finish = folded(normal(product), finish)
    return _Planner(target, scratch_slot).plan(normal(product), finish)


@dataclass
class _Grid:
    """The tasks: so many shares of the batches, the row panels and the column panels."""

    batches: int
    rows: int
    columns: int

    @property
    def tasks(self) -> int:
        return self.batches * self.rows * self.columns


class _Planner:
    """Collects parts and scratch buffers."""

    def __init__(self, target: Target, slot: int):
        self.target = target
        self.slot = slot
        self.parts: list[Part] = []
        self.scratch: list[tuple[int, int]] = []

    def buffer(self, size: int) -> int:
        """The slot of a new scratch buffer of so many bytes."""
        slot = self.slot + len(self.scratch)
        self.scratch.append((slot, size))
        return slot

    def plan(self, product: Product, finish: Finish) -> Plan:
        chunks = _split(product, self.target)
        if chunks > 1:
            self._in_chunks(product, finish, chunks)
        else:
            self._whole(product, finish, False)
        return Plan(tuple(self.parts), tuple(self.scratch))

    # ---- k in chunks

    def _in_chunks(self, product: Product, finish: Finish, chunks: int) -> None:
        """Sums of chunks of k go to a buffer; a last part adds them up in order."""
        length = parts(product.k, chunks)
        whole, rest = divmod(product.k, length)
        chunks = whole + bool(rest)
        row = rounded(product.n, self.target.lanes(SIZES[product.compute]))
        one = product.m * row
        batch_strides: list[int] = []
        for size in reversed(product.batch):
            batch_strides.insert(0, one)
            one *= size
        slot = self.buffer(chunks * one * SIZES[product.compute])
        a, b = product.a, product.b
        main = replace(
            product,
            batch=(whole, *product.batch),
            k=length,
            a=replace(a, batch_strides=(length * a.column_stride, *a.batch_strides)),
            b=replace(b, batch_strides=(length * b.row_stride, *b.batch_strides)),
        )
        store = store_finish(slot, product.compute, row, (one, *batch_strides))
        self._whole(main, store, False)
        if rest:
            last = replace(
                product,
                k=rest,
                a=replace(a, offset=a.offset + whole * length * a.column_stride),
                b=replace(b, offset=b.offset + whole * length * b.row_stride),
            )
            store = store_finish(slot, product.compute, row, tuple(batch_strides), whole * one)
            self._whole(last, store, False)
        self._combine(product, finish, slot, chunks, row, one)

    def _combine(
        self, product: Product, finish: Finish, slot: int, chunks: int, row: int, one: int
    ) -> None:
        compute = product.compute
        width = self.target.lanes(SIZES[compute])
        rows = product.batches * product.m
        tasks = max(1, min(MANY, rows, rows * product.n * chunks // 100_000))
        b = Emitter(self.target.function_attributes)
        base = b.buffer(slot)
        with _share(b, _index(b, tasks), tasks, rows) as i:
            batch = _unravelled(b, b.idiv(i, product.m), product.batch)
            for column, end in _columns(product.n, width, self.target.masked):
                with b.loop(column, end, width) as j:
                    mask = None
                    if end - column < width:
                        mask = b.tail_mask(end - column, width)
                    at = b.pointer(base, b.iadd(b.imul(i, row), j), compute)
                    value = b.load(at, vector(compute, width))
                    for c in range(1, chunks):
                        more = b.load(b.pointer(at, c * one, compute), vector(compute, width))
                        value = b.binary("add" if compute[0] == "i" else "fadd", value, more)
                    finish(b, value, batch, b.imod(i, product.m), j, mask)
        flops = rows * product.n * chunks
        self.parts.append(Part("matmul_combine", b.module(), tasks, True, flops))

    # ---- one product, all of k

    def _whole(self, product: Product, finish: Finish, barrier: bool) -> None:
        target = self.target
        tile, cost = choose(product.m, product.n, target, product.compute)
        cost = cost * product.k + _packing(product)
        other, flipped_cost = choose(product.n, product.m, target, product.compute)
        turning = 1.0 * product.m * product.n
        flipped_cost = flipped_cost * product.k + _packing(product.transposed()) + turning
        dot = dots.cost(product, target)
        if dot < min(cost, flipped_cost):
            part = dots.part(product, target, finish, barrier, _dot_tasks(product))
            self.parts.append(part)
            return
        if flipped_cost < 0.9 * cost:
            self._tiled(product.transposed(), other, finish, True, barrier)
        else:
            self._tiled(product, tile, finish, False, barrier)

    def _tiled(
        self, product: Product, tile: Tile, finish: Finish, flipped: bool, barrier: bool
    ) -> None:
        grid = _grid(product, tile)
        compute = product.compute
        a_pack = _a_packing(product, tile, grid)
        b_pack = _b_packing(product, tile, grid, self.target)
        panels = None
        if a_pack == "shared":
            product = replace(product, a=self._shared_a(product, tile))
            a_pack, barrier = "", True
        if b_pack == "shared":
            panels = self._shared_b(product, tile)
            barrier = True
        b = Emitter(self.target.function_attributes)
        writer = _Writer(b, product, tile, finish, flipped, self.target)
        writer.write(grid, a_pack, b_pack, panels)
        m, n = (product.n, product.m) if flipped else (product.m, product.n)
        name = f"matmul_{product.batches}x{m}x{n}x{product.k}_{compute}"
        self.parts.append(Part(name, b.module(), grid.tasks, barrier, product.flops))

    def _shared_a(self, product: Product, tile: Tile) -> Matrix:
        """A part that packs a, and the matrix it makes."""
        matrix, compute = product.a, product.compute
        sizes = tuple(
            1 if stride == 0 and not matrix.load else size
            for size, stride in zip(product.batch, matrix.batch_strides, strict=True)
        )
        row_stride, column_stride, one = pack.layout(
            matrix, product.m, product.k, tile, compute
        )
        strides, total = _packed_strides(sizes, one)
        slot = self.buffer(total * SIZES[compute])
        by_columns = row_stride == 1 and column_stride != 1
        lines = product.k if by_columns else product.m
        batches = total // one
        shares = max(1, min(lines, MANY, total // 50_000) // batches)
        shares = max(1, min(shares, lines))
        groups = min(batches, MANY)
        b = Emitter(self.target.function_attributes)
        task = _index(b, groups * shares)
        with _share(b, b.idiv(task, shares), groups, batches) as index:
            batch = _unravelled(b, index, sizes)
            to = b.pointer(b.buffer(slot), b.imul(index, one), compute)
            some = b.imod(task, shares)
            begin = b.idiv(b.imul(some, lines), shares)
            end = b.idiv(b.imul(b.iadd(some, 1), lines), shares)
            pack.block(
                b, Reader(b, matrix, batch, compute), product.m, 0, product.k, to,
                (row_stride, column_stride), tile, self.target.masked, (begin, end),
            )  # fmt: skip
        self.parts.append(Part("matmul_pack_a", b.module(), groups * shares, False, 0))
        return Matrix(slot, 0, row_stride, column_stride, strides, compute)

    def _shared_b(self, product: Product, tile: Tile) -> tuple[int, tuple[int, ...], int]:
        """A part that packs b: the slot, the batch strides and the size of a panel (elements)."""
        matrix, compute = product.b, product.compute
        sizes = tuple(
            1 if stride == 0 and not matrix.load else size
            for size, stride in zip(product.batch, matrix.batch_strides, strict=True)
        )
        size = rounded(product.k, tile.lanes) * tile.columns
        count = parts(product.n, tile.columns)
        strides, total = _packed_strides(sizes, size * count)
        slot = self.buffer(total * SIZES[compute])
        batches = total // (size * count)
        tasks = max(1, min(batches * count, MANY, total // 50_000))
        b = Emitter(self.target.function_attributes)
        with _share(b, _index(b, tasks), tasks, batches * count) as index:
            batch = _unravelled(b, b.idiv(index, count), sizes)
            column = b.imul(b.imod(index, count), tile.columns)
            to = b.pointer(b.buffer(slot), b.imul(index, size), compute)
            reader = Reader(b, matrix, batch, compute)
            pack.panel(
                b, reader, product.k, product.n, column, to, tile, self.target.masked
            )
        self.parts.append(Part("matmul_pack_b", b.module(), tasks, False, 0))
        return slot, strides, size


class _Writer:
    """Writes the kernel of tiles of one product."""

    def __init__(
        self, b: Emitter, product: Product, tile: Tile, finish: Finish, flipped: bool,
        target: Target,
    ):  # fmt: skip
        self.b = b
        self.product = product
        self.tile = tile
        self.finish = finish
        self.flipped = flipped
        self.target = target
        self.short_rows = product.m % tile.rows != 0
        self.ragged = product.n % tile.columns != 0

    def write(
        self, grid: _Grid, a_pack: str, b_pack: str,
        panels: tuple[int, tuple[int, ...], int] | None,
    ) -> None:  # fmt: skip
        b, product, tile = self.b, self.product, self.tile
        compute, k = product.compute, product.k
        down, across = parts(product.m, tile.rows), parts(product.n, tile.columns)
        task = _index(b, grid.tasks)
        share_j = b.imod(task, grid.columns)
        task = b.idiv(task, grid.columns)
        share_i = b.imod(task, grid.rows)
        share_b = b.idiv(task, grid.rows)
        local_a = local_b = None
        if b_pack == "local":
            local_b = b.stack(compute, rounded(k, tile.lanes) * tile.columns)
        most = parts(down, grid.rows)
        if a_pack == "local":
            row_stride, column_stride, size = pack.layout(
                product.a, most * tile.rows, k, tile, compute
            )
            local_a = b.stack(compute, size)
            a_strides = (row_stride, column_stride)
        else:
            a_strides = (product.a.row_stride, product.a.column_stride)
        self.area = b.stack(compute, tile.rows * tile.columns + tile.lanes)
        masked = self.target.masked
        with _share(b, share_b, grid.batches, product.batches) as index:
            batch = _unravelled(b, index, product.batch)
            a = Reader(b, product.a, batch, compute)
            right = Reader(b, product.b, batch, compute)
            p0 = b.idiv(b.imul(share_i, down), grid.rows)
            p1 = b.idiv(b.imul(b.iadd(share_i, 1), down), grid.rows)
            first_row: Int = 0
            if local_a is not None:
                # The block of all the task's rows; begun early where it would pass the end.
                rows = min(most * tile.rows, product.m)
                first_row = b.imin(b.imul(p0, tile.rows), product.m - rows)
                pack.block(b, a, rows, first_row, k, local_a, a_strides, tile, masked)
            with _share(b, share_j, grid.columns, across) as q:
                column = b.imul(q, tile.columns)
                masks: list[Operand | None] = [None] * tile.vectors
                stride = tile.columns
                if local_b is not None:
                    pack.panel(b, right, k, product.n, column, local_b, tile, masked)
                    at_b = local_b
                elif panels is not None:
                    slot, strides, size = panels
                    offset = b.imul(q, size)
                    for one, step in zip(batch, strides, strict=True):
                        offset = b.iadd(offset, b.imul(one, step))
                    at_b = b.pointer(b.buffer(slot), offset, compute)
                else:
                    at_b = right.address(0, column)
                    stride = product.b.row_stride
                    if self.ragged:
                        masks = [
                            b.tail_mask(
                                positive_left(b, product.n, b.iadd(column, v * tile.lanes)),
                                tile.lanes,
                            )
                            for v in range(tile.vectors)
                        ]
                packed = local_b is not None or panels is not None
                with b.loop(p0, p1) if grid.rows > 1 or down > 1 else _once(0) as p:
                    wanted = b.imul(p, tile.rows)
                    row = wanted
                    if self.short_rows:
                        row = b.imin(wanted, product.m - tile.rows)
                    if local_a is not None:
                        index_a = b.imul(b.isub(row, first_row), a_strides[0])
                        at_a = b.pointer(local_a, index_a, compute)
                    else:
                        at_a = a.address(row, 0)
                    sums = multiply(
                        b, tile, k, compute, at_a, a_strides, at_b, stride, masks, packed,
                        self.target.fma,
                    )  # fmt: skip
                    self._end(sums, batch, row, b.isub(wanted, row), column)

    def _end(
        self, sums: list[list[Operand]], batch: tuple[Int, ...], row: Int, first: Int, column: Int
    ) -> None:
        """Finishes a tile whose first ``first`` rows are another's."""
        b, tile, compute = self.b, self.tile, self.product.compute
        size = SIZES[compute] * tile.lanes
        for r, line in enumerate(sums):
            for v, value in enumerate(line):
                place = b.pointer(self.area, r * tile.columns + v * tile.lanes, compute)
                b.store(value, place, size)
        if self.flipped:
            self._end_flipped(batch, row, first, column)
            return
        with b.loop(first, tile.rows) as at:
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

    def _end_flipped(self, batch: tuple[Int, ...], row: Int, first: Int, column: Int) -> None:
        """The rows of the tile are columns of the result."""
        b, tile, compute = self.b, self.tile, self.product.compute
        columns: Int = tile.columns
        if self.ragged:
            columns = b.imin(columns, b.isub(self.product.n, column))
        steps = b.constants(
            vector("i64", tile.lanes), [i * tile.columns for i in range(tile.lanes)]
        )
        for start in range(0, tile.rows, tile.lanes):
            # Lanes are rows of the tile from ``begin`` on.
            begin = b.iadd(first, start)
            left = positive_left(b, tile.rows, begin)
            mask = b.tail_mask(left, tile.lanes)
            whole = isinstance(left, int) and left >= tile.lanes
            with b.loop(0, columns) as j:
                at = b.pointer(self.area, b.iadd(b.imul(begin, tile.columns), j), compute)
                value = b.gather(at, steps, compute, None if whole else mask)
                self.finish(
                    b, value, batch, b.iadd(column, j), b.iadd(row, begin),
                    None if whole else mask,
                )  # fmt: skip


# ---- choices


def _packing(product: Product) -> float:
    """Cycles for packing b, roughly, where it cannot be read in place."""
    work = product.batches * product.k * product.n
    if product.b.column_stride == 1:
        return 0.0 if product.b.scalar == product.compute and not product.b.load else 0.1 * work
    return (0.4 if product.b.row_stride == 1 else 2.0) * work


def _a_packing(product: Product, tile: Tile, grid: _Grid) -> str:
    """"" (read in place), "local" or "shared"."""
    matrix, size = product.a, SIZES[product.compute]
    down, across = parts(product.m, tile.rows), parts(product.n, tile.columns)
    needed = matrix.load is not None or matrix.scalar != product.compute
    if not needed:
        if across <= 2:
            return ""
        # Rows whose distance puts them into the same sets of the first cache push each other out.
        lines = min(tile.rows, 16) if matrix.column_stride == 1 else product.k
        stride = matrix.row_stride if matrix.column_stride == 1 else matrix.column_stride
        sets = {i * stride * size // 64 % 64 for i in range(min(lines, 64))}
        strided = 1 not in (matrix.row_stride, matrix.column_stride)
        if not strided and (len(sets) * 6 >= min(lines, 64) or product.k < 64):
            return ""
    rows = parts(down, grid.rows) * tile.rows
    local = pack.layout(matrix, rows, product.k, tile, product.compute)[2] * size
    if local <= STACK // 2 and grid.columns <= 2:
        return "local"
    return "shared"


def _b_packing(product: Product, tile: Tile, grid: _Grid, target: Target) -> str:
    """"" (read in place), "local" or "shared"."""
    matrix, size = product.b, SIZES[product.compute]
    down = parts(product.m, tile.rows)
    needed = (
        matrix.load is not None
        or matrix.scalar != product.compute
        or matrix.column_stride != 1
        or (product.n % tile.lanes != 0 and not target.masked)
    )
    if not needed:
        stride = matrix.row_stride * size
        if down <= 4 or (product.k * tile.columns * size <= target.l1 // 2 and stride % 2048):
            return ""
        if down <= 8 and stride % 1024:
            return ""
    local = rounded(product.k, tile.lanes) * tile.columns * size
    if local <= STACK and (grid.rows == 1 or product.m // grid.rows >= 256):
        return "local"
    return "shared"


def _grid(product: Product, tile: Tile) -> _Grid:
    """The tasks. They depend on the shape alone: never on how many threads there are."""
    down, across = parts(product.m, tile.rows), parts(product.n, tile.columns)
    flops = product.flops
    if flops < SMALL:
        return _Grid(1, 1, 1)
    wanted = max(2, min(MANY, flops // TASK))
    batches = min(product.batches, wanted)
    rest = parts(wanted, batches)
    if rest == 1:
        return _Grid(batches, 1, 1)
    # Column panels first: tasks of one panel pack it once. Rows when there are many.
    columns = min(across, rest)
    rows = min(down, parts(rest, columns))
    if product.m >= 512:
        # Near-square blocks, so that a task's rows of a stay in the second cache.
        block = max(4 * tile.rows, 384 * 1024 // (SIZES[product.compute] * max(1, product.k)))
        rows = min(down, max(rows, parts(product.m, block)))
        columns = min(across, max(parts(wanted, rows), 1))
    return _Grid(batches, rows, columns)


def _split(product: Product, target: Target) -> int:
    """Into how many chunks k is cut."""
    if product.a.load or product.b.load or product.flops < 4 * SMALL or product.k < 2048:
        return 1
    tile, _ = choose(product.m, product.n, target, product.compute)
    tiles = parts(product.m, tile.rows) * parts(product.n, tile.columns) * product.batches
    if tiles >= 8:
        return 1
    wanted = min(16, parts(16, tiles), product.k // 512, max(1, product.flops // SMALL))
    return max(1, wanted)


def _dot_tasks(product: Product) -> int:
    if product.flops < SMALL // 2:
        return 1
    return int(max(2, min(MANY, product.flops // (TASK // 4))))


# ---- small helpers of the writers


def _index(b: Emitter, tasks: int) -> Int:
    return b.task if tasks > 1 else 0


@contextmanager
def _once(value: Int) -> Iterator[Int]:
    yield value


@contextmanager
def _share(b: Emitter, index: Int, shares: int, count: int) -> Iterator[Int]:
    """The ``index``-th of ``shares`` nearly equal ranges of ``range(count)``."""
    if shares == count:
        yield index
        return
    begin = b.idiv(b.imul(index, count), shares)
    end = b.idiv(b.imul(b.iadd(index, 1), count), shares)
    with b.loop(begin, end) as i:
        yield i


def _unravelled(b: Emitter, index: Int, sizes: tuple[int, ...]) -> tuple[Int, ...]:
    """The indices that a number in row-major order stands for."""
    indices: list[Int] = []
    for i, size in reversed(list(enumerate(sizes))):
        indices.insert(0, 0 if size == 1 else index if i == 0 else b.imod(index, size))
        index = b.idiv(index, size)
    return tuple(indices)


def _packed_strides(sizes: tuple[int, ...], one: int) -> tuple[tuple[int, ...], int]:
    """Row-major strides (0 for sizes of one) of things of ``one`` elements, and the total."""
    strides: list[int] = []
    for size in reversed(sizes):
        strides.insert(0, 0 if size == 1 else one)
        one *= size
    return tuple(strides), one


def _columns(n: int, width: int, masked: bool) -> list[tuple[int, int]]:
    """Ranges of columns: the whole vectors, and the rest."""
    whole = n // width * width
    return [(i, j) for i, j in ((0, whole), (whole, n)) if i < j]
