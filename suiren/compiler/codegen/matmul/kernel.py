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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.matmul import dots, pack
from suiren.compiler.codegen.matmul.microkernel import multiply
from suiren.compiler.codegen.matmul.operands import Reader, positive_left, transposed
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


def plan(
    product: Product, target: Target, finish: Finish, scratch_slot: int, short: bool = False
) -> Plan:
    """The kernels that compute a product and hand its rows, vector by vector, to ``finish``.

    ``short``: finish writes but a few instructions, so that it may be written many times.
    """
    if not (product.m and product.n and product.batches):
        return Plan((), ())
    if not (product.a.load or product.b.load):
        finish = without_ones(finish, product.batch)
    product, finish = folded(normal(product), finish)
    return _Planner(target, scratch_slot, short).plan(normal(product), finish)


@dataclass
class _Grid:
    """The tasks: so many shares of the batches, the row panels and the column panels."""

    batches: int
    rows: int
    columns: int

    @property
    def tasks(self) -> int:
        return self.batches * self.rows * self.columns


@dataclass(frozen=True)
class _Packed:
    """Where a part has put a: the slot, the strides of the batches and the layout of one."""

    slot: int
    strides: tuple[int, ...]
    form: pack.Layout


class _Planner:
    """Collects parts and scratch buffers."""

    def __init__(self, target: Target, slot: int, short: bool):
        self.short = short
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
        turning = 0.5 * product.m * product.n
        flipped_cost = flipped_cost * product.k + _packing(product.transposed()) + turning
        dot = dots.cost(product, target)
        if dot < min(cost, flipped_cost):
            part = dots.part(product, target, finish, barrier, _dot_tasks(product))
            self.parts.append(part)
            return
        if flipped_cost < 0.97 * cost:
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
        panels = rows = None
        if a_pack == "shared":
            rows = self._shared_a(product, tile)
            barrier = True
        if b_pack == "shared":
            panels = self._shared_b(product, tile)
            barrier = True
        b = Emitter(self.target.function_attributes)
        writer = _Writer(b, product, tile, finish, flipped, self.short, self.target)
        writer.write(grid, a_pack == "local", b_pack == "local", rows, panels)
        m, n = (product.n, product.m) if flipped else (product.m, product.n)
        name = f"matmul_{product.batches}x{m}x{n}x{product.k}_{compute}"
        self.parts.append(Part(name, b.module(), grid.tasks, barrier, product.flops))

    def _shared_a(self, product: Product, tile: Tile) -> _Packed:
        """A part that packs a."""
        matrix, compute, m, k = product.a, product.compute, product.m, product.k
        sizes = _distinct(product, matrix)
        form = pack.layout(matrix, m, k, tile, compute)
        strides, total = _packed_strides(sizes, form.size)
        slot = self.buffer(total * SIZES[compute])
        lines = parts(k, pack.STEPS) if form.panel else m
        batches = total // form.size
        wanted = _pack_tasks(total)
        groups = min(batches, wanted)
        shares = min(lines, parts(wanted, groups))
        b = Emitter(self.target.function_attributes)
        task = _index(b, groups * shares)
        with _share(b, b.idiv(task, shares), groups, batches) as index:
            reader = Reader(b, matrix, _unravelled(b, index, sizes), compute)
            to = b.pointer(b.buffer(slot), b.imul(index, form.size), compute)
            some = b.imod(task, shares)
            begin = b.idiv(b.imul(some, lines), shares)
            end = b.idiv(b.imul(b.iadd(some, 1), lines), shares)
            masked = self.target.masked
            if form.panel:
                with b.loop(begin, end) as line:
                    steps = pack.in_steps(b, line, k)
                    _panels(b, reader, m, 0, parts(m, tile.rows), steps, to, form, tile, masked)
            else:
                pack.row_lines(b, reader, 0, begin, end, k, to, form, tile, masked)
        self.parts.append(Part("matmul_pack_a", b.module(), groups * shares, False, 0))
        return _Packed(slot, strides, form)

    def _shared_b(self, product: Product, tile: Tile) -> tuple[int, tuple[int, ...], int]:
        """A part that packs b: the slot, the batch strides and the size of a panel (elements)."""
        matrix, compute = product.b, product.compute
        sizes = _distinct(product, matrix)
        size = rounded(product.k, tile.lanes) * tile.columns
        count = parts(product.n, tile.columns)
        strides, total = _packed_strides(sizes, size * count)
        slot = self.buffer(total * SIZES[compute])
        batches = total // (size * count)
        k, n, masked = product.k, product.n, self.target.masked
        by_steps = matrix.column_stride == 1
        lines = parts(k, pack.STEPS) if by_steps else count
        tasks = min(batches * lines, _pack_tasks(total))
        b = Emitter(self.target.function_attributes)
        with _share(b, _index(b, tasks), tasks, batches * lines) as index:
            number, some = b.idiv(index, lines), b.imod(index, lines)
            reader = Reader(b, matrix, _unravelled(b, number, sizes), compute)
            steps = pack.in_steps(b, some, k) if by_steps else (0, k)
            with b.loop(0, count) if by_steps else _once(some) as q:
                place = b.imul(b.iadd(b.imul(number, count), q), size)
                to = b.pointer(b.buffer(slot), place, compute)
                pack.panel(b, reader, k, n, b.imul(q, tile.columns), to, tile, masked, steps)
        self.parts.append(Part("matmul_pack_b", b.module(), tasks, False, 0))
        return slot, strides, size


class _Writer:
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
        self.short_rows = product.m % tile.rows != 0
        self.ragged = product.n % tile.columns != 0

    def write(
        self, grid: _Grid, local_a: bool, local_b: bool, rows: _Packed | None,
        panels: tuple[int, tuple[int, ...], int] | None,
    ) -> None:  # fmt: skip
        """The whole kernel; ``rows``, ``panels``: a and b where another part has packed them."""
        b, product, tile = self.b, self.product, self.tile
        compute, k, masked = product.compute, product.k, self.target.masked
        down, across = parts(product.m, tile.rows), parts(product.n, tile.columns)
        task = _index(b, grid.tasks)
        share_j = b.imod(task, grid.columns)
        task = b.idiv(task, grid.columns)
        share_i = b.imod(task, grid.rows)
        share_b = b.idiv(task, grid.rows)
        p0 = b.idiv(b.imul(share_i, down), grid.rows)
        p1 = b.idiv(b.imul(b.iadd(share_i, 1), down), grid.rows)
        form = rows.form if rows else None
        block = panel = None
        if local_b:
            panel = b.stack(compute, rounded(k, tile.lanes) * tile.columns)
        if local_a:
            most = min(parts(down, grid.rows) * tile.rows, product.m)
            form = pack.layout(product.a, most, k, tile, compute)
            block = b.stack(compute, form.size)
        self.area = b.stack(compute, rounded(tile.rows, tile.lanes) * tile.columns + tile.lanes)
        with _share(b, share_b, grid.batches, product.batches) as index:
            batch = _unravelled(b, index, product.batch)
            a = Reader(b, product.a, batch, compute)
            right = Reader(b, product.b, batch, compute)
            first_row: Int = 0
            if block is not None and form is not None:
                # Of all the task's rows; begun early where it would pass the end.
                first_row = b.imin(b.imul(p0, tile.rows), product.m - most)
                if form.panel:
                    _panels(b, a, product.m, p0, p1, (0, k), block, form, tile, masked)
                else:
                    pack.row_lines(b, a, first_row, 0, most, k, block, form, tile, masked)
            elif rows:
                block = b.pointer(b.buffer(rows.slot), _dot(b, batch, rows.strides), compute)
            with _share(b, share_j, grid.columns, across) as q:
                column = b.imul(q, tile.columns)
                masks: list[Operand | None] = [None] * tile.vectors
                stride = tile.columns
                if panel is not None:
                    pack.panel(b, right, k, product.n, column, panel, tile, masked)
                    at_b = panel
                elif panels is not None:
                    slot, strides, size = panels
                    offset = b.iadd(b.imul(q, size), _dot(b, batch, strides))
                    at_b = b.pointer(b.buffer(slot), offset, compute)
                else:
                    at_b = right.address(0, column)
                    stride = product.b.row_stride
                    if self.ragged:
                        masks = self._masks(column)
                with b.loop(p0, p1) if grid.rows > 1 or down > 1 else _once(0) as p:
                    wanted = b.imul(p, tile.rows)
                    row = wanted
                    if self.short_rows:
                        row = b.imin(wanted, product.m - tile.rows)
                    if block is not None and form is not None:
                        number = b.isub(p, p0) if local_a else p
                        place = form.place(b.isub(row, first_row), number, b)
                        at_a = b.pointer(block, place, compute)
                        a_strides = (form.row_stride, form.column_stride)
                    else:
                        at_a = a.address(row, 0)
                        a_strides = (product.a.row_stride, product.a.column_stride)
                    sums = multiply(
                        b, tile, k, compute, at_a, a_strides, at_b, stride, masks,
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
        with b.loop(0, columns) as j:
            for start in range(0, tile.rows, width):
                begin = b.iadd(first, start)
                left = positive_left(b, tile.rows, begin)
                whole = isinstance(left, int) and left >= width
                mask = None if whole else b.tail_mask(left, width)
                place = b.pointer(self.area, b.iadd(b.imul(j, line), begin), compute)
                value = b.load(place, type)
                self.finish(b, value, batch, b.iadd(column, j), b.iadd(row, begin), mask)


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
        # Rows (or columns) at distances of 4096 bytes share a set of the first cache and push each
        # other out. Otherwise reading in place loses less than a tenth.
        stride = matrix.row_stride if matrix.column_stride == 1 else matrix.column_stride
        aliased = stride * size % 4096 == 0 and product.k >= 64 and product.n >= 128
        by_columns = matrix.row_stride == 1 and product.k > 128 and product.n >= 512
        strided = 1 not in (matrix.row_stride, matrix.column_stride)
        if not (aliased or by_columns or strided):
            return ""
    rows = parts(down, grid.rows) * tile.rows
    local = pack.layout(matrix, rows, product.k, tile, product.compute).size * size
    if local <= STACK // 2 and grid.columns <= 2:
        return "local"
    return "shared"


def _b_packing(product: Product, tile: Tile, grid: _Grid, target: Target) -> str:
    """"" (read in place), "local" or "shared"."""
    matrix, size = product.b, SIZES[product.compute]
    needed = (
        matrix.load is not None
        or matrix.scalar != product.compute
        or matrix.column_stride != 1
        or (product.n % tile.lanes != 0 and not target.masked)
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


def _grid(product: Product, tile: Tile) -> _Grid:
    """The tasks. They depend on the shape alone: never on how many threads there are."""
    down, across = parts(product.m, tile.rows), parts(product.n, tile.columns)
    flops = product.flops
    if flops < SMALL:
        return _Grid(1, 1, 1)
    wanted = max(2, min(MANY, flops // TASK))
    batches = parts(product.batches, parts(product.batches, wanted))
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


def _panels(
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


def _pack_tasks(elements: int) -> int:
    """Tasks for packing so many elements."""
    return max(1, min(MANY, elements // 16_000))


def _distinct(product: Product, matrix: Matrix) -> tuple[int, ...]:
    """The batch's sizes, with 1 where the matrix is the same along a dimension."""
    return tuple(
        1 if stride == 0 and not matrix.load else size
        for size, stride in zip(product.batch, matrix.batch_strides, strict=True)
    )


def _dot(b: Emitter, indices: tuple[Int, ...], strides: tuple[int, ...]) -> Int:
    total: Int = 0
    for one, stride in zip(indices, strides, strict=True):
        total = b.iadd(total, b.imul(one, stride))
    return total


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
