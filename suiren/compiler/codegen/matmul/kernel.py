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

from dataclasses import replace

from suiren.compiler.codegen.emitter import Emitter, vector
from suiren.compiler.codegen.matmul import dots, pack, pairs, streams
from suiren.compiler.codegen.matmul.choices import (
    FETCHED,
    MANY,
    a_packing,
    b_packing,
    chunks_of,
    dot_tasks,
    grid_of,
    pack_tasks,
    packing_cost,
)
from suiren.compiler.codegen.matmul.operands import Reader
from suiren.compiler.codegen.matmul.product import (
    SIZES,
    Fetch,
    Finish,
    Part,
    Plan,
    Product,
    folded,
    normal,
    store_finish,
    without_ones,
)
from suiren.compiler.codegen.matmul.tasks import (
    column_ranges,
    distinct,
    index_of,
    once,
    packed_strides,
    share,
    unravelled,
)
from suiren.compiler.codegen.matmul.tiles import Tile, choose, parts, rounded
from suiren.compiler.codegen.matmul.writer import Packed, Writer, pack_panels
from suiren.compiler.target import Target


def plan(
    product: Product, target: Target, finish: Finish, scratch_slot: int, short: bool = False,
    fetch: Fetch | None = None,
) -> Plan:  # fmt: skip
    """The kernels that compute a product and hand its rows, vector by vector, to ``finish``.

    ``short``: finish writes but a few instructions, so that it may be written many times.
    ``fetch`` asks for the memory that it will write to, of a product without batches.
    """
    if not (product.m and product.n and product.batches):
        return Plan((), ())
    if not (product.a.load or product.b.load):
        finish = without_ones(finish, product.batch)
    product, finish = folded(normal(product), finish)
    large = product.m * product.n * SIZES[product.compute] >= FETCHED and product.batches == 1
    planner = _Planner(target, scratch_slot, short, fetch if large else None)
    return planner.plan(normal(product), finish)


class _Planner:
    """Collects parts and scratch buffers."""

    def __init__(self, target: Target, slot: int, short: bool, fetch: Fetch | None):
        self.short = short
        self.fetch = fetch
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
        chunks = chunks_of(product, self.target)
        if chunks > 1:
            self._in_chunks(product, finish, chunks)
        else:
            self._whole(product, finish, False)
        return Plan(tuple(self.parts), tuple(self.scratch))

    # ---- k in chunks

    def _in_chunks(self, product: Product, finish: Finish, chunks: int) -> None:
        """Sums of chunks of k go to a buffer; a last part adds them up in order."""
        length = parts(product.k, chunks)
        if pairs.suits(product, self.target):
            length = rounded(length, 2)
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
        with share(b, index_of(b, tasks), tasks, rows) as i:
            batch = unravelled(b, b.idiv(i, product.m), product.batch)
            for column, end in column_ranges(product.n, width, self.target.masked):
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
        if pairs.suits(product, target):
            product = pairs.paired(product)
        m, n, k, compute = product.m, product.n, product.k, product.compute
        tile, cost = choose(m, n, k, target, compute)
        other, flipped_cost = choose(n, m, k, target, compute)
        cost = product.batches * cost + packing_cost(product)
        flipped_cost = product.batches * (flipped_cost + 0.5 * m * n)
        flipped_cost += packing_cost(product.transposed())
        dot = dots.cost(product, target)
        if dot < min(cost, flipped_cost) and not product.pairs:
            part = dots.part(product, target, finish, barrier, dot_tasks(product))
            self.parts.append(part)
            return
        flipped = flipped_cost < 0.97 * cost
        for turned in (flipped, not flipped):
            chosen = product.transposed() if turned else product
            if streams.suits(chosen) and not product.pairs:
                part = streams.part(chosen, target, finish, turned)
                self.parts.append(replace(part, barrier=barrier))
                return
        if flipped:
            self._tiled(product.transposed(), other, finish, True, barrier)
        else:
            self._tiled(product, tile, finish, False, barrier)

    def _tiled(
        self, product: Product, tile: Tile, finish: Finish, flipped: bool, barrier: bool
    ) -> None:
        grid = grid_of(product, tile)
        compute = product.compute
        a_pack = a_packing(product, tile, grid)
        b_pack = b_packing(product, tile, grid, self.target)
        panels = rows = None
        if a_pack == "shared":
            rows = self._shared_a(product, tile)
            barrier = True
        if b_pack == "shared":
            panels = self._shared_b(product, tile)
            barrier = True
        b = Emitter(self.target.function_attributes)
        writer = Writer(b, product, tile, finish, flipped, self.short, self.target)
        writer.fetch = None if flipped else self.fetch
        writer.write(grid, a_pack == "local", b_pack == "local", rows, panels)
        m, n = (product.n, product.m) if flipped else (product.m, product.n)
        k = 2 * product.k if product.pairs else product.k
        kind = "bfloat" if product.pairs else compute
        name = f"matmul_{product.batches}x{m}x{n}x{k}_{kind}"
        self.parts.append(Part(name, b.module(), grid.tasks, barrier, product.flops))

    def _shared_a(self, product: Product, tile: Tile) -> Packed:
        """A part that packs a."""
        matrix, compute, m, k = product.a, product.element, product.m, product.k
        sizes = distinct(product, matrix)
        form = pack.layout(matrix, m, k, tile, compute)
        strides, total = packed_strides(sizes, form.size)
        slot = self.buffer(total * SIZES[compute])
        lines = parts(k, pack.STEPS) if form.panel else m
        batches = total // form.size
        wanted = pack_tasks(total)
        groups = min(batches, wanted)
        shares = min(lines, parts(wanted, groups))
        b = Emitter(self.target.function_attributes)
        task = index_of(b, groups * shares)
        with share(b, b.idiv(task, shares), groups, batches) as index:
            reader = Reader(b, matrix, unravelled(b, index, sizes), compute)
            to = b.pointer(b.buffer(slot), b.imul(index, form.size), compute)
            some = b.imod(task, shares)
            begin = b.idiv(b.imul(some, lines), shares)
            end = b.idiv(b.imul(b.iadd(some, 1), lines), shares)
            masked = self.target.masked
            if form.panel:
                with b.loop(begin, end) as line:
                    steps = pack.in_steps(b, line, k)
                    pack_panels(b, reader, m, 0, parts(m, tile.rows), steps, to, form, tile, masked)
            else:
                pack.row_lines(b, reader, 0, begin, end, k, to, form, tile, masked)
        self.parts.append(Part("matmul_pack_a", b.module(), groups * shares, False, 0))
        return Packed(slot, strides, form)

    def _shared_b(self, product: Product, tile: Tile) -> tuple[int, tuple[int, ...], int]:
        """A part that packs b: the slot, the batch strides and the size of a panel (elements)."""
        matrix, compute = product.b, product.element
        sizes = distinct(product, matrix)
        size = rounded(product.k, tile.lanes) * tile.columns
        count = parts(product.n, tile.columns)
        strides, total = packed_strides(sizes, size * count)
        slot = self.buffer(total * SIZES[compute])
        batches = total // (size * count)
        k, n, masked = product.k, product.n, self.target.masked
        by_steps = matrix.column_stride == 1
        lines = parts(k, pack.STEPS) if by_steps else count
        tasks = min(batches * lines, pack_tasks(total))
        b = Emitter(self.target.function_attributes)
        with share(b, index_of(b, tasks), tasks, batches * lines) as index:
            number, some = b.idiv(index, lines), b.imod(index, lines)
            reader = Reader(b, matrix, unravelled(b, number, sizes), compute)
            steps = pack.in_steps(b, some, k) if by_steps else (0, k)
            with b.loop(0, count) if by_steps else once(some) as q:
                place = b.imul(b.iadd(b.imul(number, count), q), size)
                to = b.pointer(b.buffer(slot), place, compute)
                pack.panel(b, reader, k, n, b.imul(q, tile.columns), to, tile, masked, steps)
        self.parts.append(Part("matmul_pack_b", b.module(), tasks, False, 0))
        return slot, strides, size
