"""Sums over all places of image times gradient: what a convolution's weight gets.

The batch is shared out in parts with sums of their own, by shape alone; a second kernel adds them
up in order and brings them into the weight's layout. Where the weight is large there is one part,
and each task brings its own sums there, out of the cache.
Within a part, units of some rows (or some images) are copied into the second-level cache and all
tiles of the weight go over them: a tile's sums are loaded, grow in registers over the unit's
places, and are stored again.
"""

from __future__ import annotations

from suiren import dtypes
from suiren.compiler.codegen import bfloat16
from suiren.compiler.codegen.convolution import winograd_weights
from suiren.compiler.codegen.convolution.pieces import (
    Image,
    Pair,
    divisor,
    partner,
    repeat,
    rows_together,
    steps,
)
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.kernel import Kernel, Slots
from suiren.compiler.codegen.matmul.operands import positive_left, transposed
from suiren.compiler.codegen.matmul.tasks import share
from suiren.compiler.convolution import Axis, Block
from suiren.compiler.fuse import Group
from suiren.compiler.node import base_of
from suiren.compiler.target import Target

TASKS = 16  # wanted: with fewer parts, the image's channels are shared out too
SUMS = 320 * 1024  # bytes of sums that a task has by itself
PLACES = 1024  # in a unit, at most: their gradient has to stay in the cache as well


def sums(group: Group, target: Target) -> list[Kernel]:
    """The kernels of a ``correlate`` node."""
    if group.roots[0].attributes[-1]:
        return winograd_weights.Sums(group, target).kernels()
    written = _Sums(group, target)
    kernels = [written.kernel()]
    return kernels if written.whole else [*kernels, written.together_kernel()]


class _Sums:
    def __init__(self, group: Group, target: Target):
        node = group.roots[0]
        self.node, self.target = node, target
        rows, columns, groups, c, o, block, self.parts, _ = node.attributes
        self.rows: Axis = rows
        self.columns: Axis = columns
        self.groups, self.c, self.o = groups, c, o
        self.block: Block = block
        self.scalar = "double" if node.dtype is dtypes.float64 else "float"
        self.size = node.dtype.itemsize
        # how both operands lie in memory, and what is multiplied: numbers, or pairs of images
        self.held, self.element = ("i16", "i32") if block.pairs else (self.scalar, self.scalar)
        self.blocks = -(-c // block.channels)
        self.partial = ("scratch", node, 0)
        self.all = node.inputs[0].shape[0]
        self.images = -(-self.all // 2) if block.pairs else self.all
        self.across = -(-o // block.columns)
        self.shares = min(self.blocks, -(-TASKS // (self.parts * groups)))
        self.own = -(-self.blocks // self.shares)  # blocks of channels in a task, at most
        self.tasks = self.parts * groups * self.shares
        # sums lie as [block of channels, block of results, row tap, column tap, channel, result]
        self.line = columns.taps * block.channels * block.columns
        self.one = rows.taps * self.line
        self._units()
        self.once = self.units == self.parts  # each sum is complete when it is first stored
        # a task has all of its sums itself, and room for them
        rest = 1 if self.once else self.own * self.across
        self.whole = self.parts == 1 and rest * self.one * self.size <= SUMS
        self._tiles()

    def _units(self) -> None:
        """How many rows, or whole images, are gone over at a time."""
        rows, columns = self.rows, self.columns
        self.together = rows_together(rows, columns, self.block, self.own, self.size)
        most = max(1, PLACES // columns.count)
        if self.together > most:
            self.together = -(-rows.count // -(-rows.count // most))
        self.bands = -(-rows.count // self.together)
        self.several = 1
        if self.bands == 1:
            wide = (columns.count - 1) * columns.stride + columns.span
            high = (rows.count - 1) * rows.stride + rows.span
            bytes_ = wide * high * self.block.channels * self.own * self.size
            several = min(192 * 1024 // bytes_, PLACES // (rows.count * columns.count))
            self.several = max(1, min(several, self.images // self.parts))
        self.units = -(-self.images // self.several) * self.bands

    def _tiles(self) -> None:
        """Rows of a tile are (row tap, column tap, channel)."""
        block, columns = self.block, self.columns
        most = max(1, (self.target.vector_registers - 1 - block.vectors) // block.vectors)
        most = min(most, 14)
        self.joined = columns.tap_step == 1
        line = block.channels * (columns.taps if self.joined else 1)
        count = -(-line // most)
        short, longer = divmod(line, count)
        self.widths = [(short + 1, longer, 0), (short, count - longer, longer * (short + 1))]
        self.deep = min(self.rows.taps, most // line) if count == 1 and self.joined else 1

    # ---- the kernel

    def kernel(self) -> Kernel:
        b = self.b = Emitter(self.target.function_attributes)
        block = self.block
        slot = Slots()
        grad, x = (base_of(operand) for operand in self.node.inputs)
        self.grad = b.buffer(slot(grad))
        source = b.buffer(slot(x))
        result = b.buffer(slot(self.node if self.whole else self.partial))
        self.image = Image(
            b, self.rows, self.columns, block, self.c, self.element, self.together, self.own,
            self.several, self.held,
        )  # fmt: skip
        wide = self.groups * self.o
        places = self.several * self.together * self.columns.count
        self.direct = self.o % block.columns == 0 and wide * self.size <= 256 and not block.pairs
        if not self.direct:
            self.area = b.stack(self.element, places * block.columns)
        task = b.task if self.tasks > 1 else 0
        number = b.imod(task, self.shares)
        task = b.idiv(task, self.shares)
        which = b.imod(task, self.groups)
        part = b.idiv(task, self.groups)
        begin = b.idiv(b.imul(number, self.blocks), self.shares)
        end = b.idiv(b.imul(b.iadd(number, 1), self.blocks), self.shares)
        own = b.isub(end, begin)
        if self.whole:
            rest = self.one if self.once else self.own * self.across * self.one
            to = b.stack(self.scalar, rest)
        else:
            start = b.iadd(b.imul(b.iadd(b.imul(part, self.groups), which), self.blocks), begin)
            to = b.pointer(result, b.imul(start, self.across * self.one), self.scalar)
        if not self.once:
            self._clear(to, b.imul(own, self.across * self.one))
        with share(b, part, self.parts, self.units) as unit:
            band = b.imod(unit, self.bands)
            image = b.imul(b.idiv(unit, self.bands), self.several)
            first = b.imul(band, self.together)
            high: Int = self.rows.count
            if self.bands > 1:
                high = b.imin(self.together, b.isub(self.rows.count, first))
            several: Int = self.several
            if self.images % self.several:
                several = b.imin(self.several, b.isub(self.images, image))
            pixel = self.c * self.groups
            with b.loop(0, several) as i:
                other = self._partner(b.iadd(image, i), self.rows.size * self.columns.size * pixel)
                self.image.copy(
                    source, b.iadd(image, i), first, own, begin, pixel, b.imul(which, self.c), i,
                    other,
                )  # fmt: skip
            place = b.iadd(b.imul(image, self.rows.count), first)
            place = b.imul(place, self.columns.count)
            with b.loop(0, self.across) as j:
                column = b.imul(j, block.columns)
                at = b.iadd(b.imul(place, wide), b.iadd(b.imul(which, self.o), column))
                pointer = b.pointer(self.grad, at, self.held)
                step = wide
                if not self.direct:
                    count = b.imul(high, self.columns.count)
                    one = self.rows.count * self.columns.count * wide
                    with b.loop(0, several) as i:
                        other = self._partner(b.iadd(image, i), one)
                        own_pointer = b.pointer(pointer, b.imul(i, one), self.held)
                        self._copy(own_pointer, b.imul(i, count), count, wide, column, other)
                    pointer, step = self.area, block.columns
                with b.loop(0, own) as i:
                    own_to = to if self.whole and self.once else self._sums_of(to, i, j)
                    self._block(pointer, step, own_to, i, several, high)
                    if self.whole and self.once:
                        self._turn_block(to, result, which, b.iadd(begin, i), j)
        if self.whole and not self.once:
            with b.loop(0, own) as i:
                with b.loop(0, self.across) as j:
                    self._turn_block(self._sums_of(to, i, j), result, which, b.iadd(begin, i), j)
        flops = 2.0 * self.all * self.rows.count * self.columns.count
        flops *= self.one * self.across
        name = f"correlate_{self.rows.taps}x{self.columns.taps}x{self.c}x{self.o}"
        size = self.parts * self.groups * self.blocks * self.across * self.one * self.size
        return Kernel(
            name, b.module(), self.tasks, list(slot), work=flops * self.blocks * self.groups,
            scratch=() if self.whole else ((self.partial, size),),
        )  # fmt: skip

    def _sums_of(self, to: Operand, i: Int, j: Int) -> Operand:
        """Where a block of channels and one of results lie among the sums from ``to`` on."""
        b = self.b
        return b.pointer(to, b.imul(b.iadd(b.imul(i, self.across), j), self.one), self.scalar)

    def together_kernel(self) -> Kernel:
        """Adds up the parts and brings them into the weight's order."""
        b = self.b = Emitter(self.target.function_attributes)
        block, lanes = self.block, self.block.lanes
        source, result = b.buffer(0), b.buffer(1)
        vectors = -(-self.o // lanes)
        units = self.groups * self.blocks * vectors
        size = self.groups * self.blocks * self.across * self.one  # elements of a part
        tasks = max(1, min(16, units, size * self.parts // 50_000))
        with share(b, b.task if tasks > 1 else 0, tasks, units) as unit:
            column = b.imod(unit, vectors)
            unit = b.idiv(unit, vectors)
            j = b.idiv(column, block.vectors)
            at = b.imul(b.imod(column, block.vectors), lanes)
            own = b.pointer(self._sums_of(source, unit, j), at, self.scalar)
            which, number = b.idiv(unit, self.blocks), b.imod(unit, self.blocks)
            self._turn(own, size, result, which, number, b.imul(column, lanes))
        return Kernel("together", b.module(), tasks, [self.partial, self.node])

    def _turn_block(
        self, source: Operand, result: Operand, which: Int, number: Int, j: Int
    ) -> None:
        """The same for one block of channels and one of results, complete at ``source``."""
        b, lanes = self.b, self.block.lanes
        with b.loop(0, self.block.vectors) as v:
            first = b.iadd(b.imul(j, self.block.columns), b.imul(v, lanes))
            own = b.pointer(source, b.imul(v, lanes), self.scalar)
            if self.o % self.block.columns == 0:
                self._turn(own, 0, result, which, number, first)
            else:
                with b.when(b.icmp("slt", b.int(first), b.int(self.o))):
                    self._turn(own, 0, result, which, number, first)

    def _turn(
        self, source: Operand, size: int, result: Operand, which: Int, number: Int, first: Int
    ) -> None:
        """Turns [tap, channel, result] into [result, channel, tap], a vector of results.

        ``size``: elements of a part. Squares of as many elements as a vector has lanes are
        transposed in registers.
        """
        b, block, scalar, lanes = self.b, self.block, self.scalar, self.block.lanes
        taps = self.rows.taps * self.columns.taps
        channels: Int = block.channels
        if self.c % block.channels:
            channels = b.imin(block.channels, b.isub(self.c, b.imul(number, block.channels)))
        count = b.imul(channels, taps)
        line = self.c * taps
        row = b.imul(b.iadd(b.imul(which, self.o), first), line)
        to = b.pointer(result, b.iadd(row, b.imul(number, block.channels * taps)), scalar)
        with b.loop(0, count, lanes) as at:
            places = []
            for u in range(lanes):
                j = b.imin(b.iadd(at, u), b.isub(count, 1))
                place = b.iadd(b.imul(b.imod(j, taps), block.channels), b.idiv(j, taps))
                places.append(b.imul(place, block.columns))
            square = self._added(source, places, size)
            left = b.isub(count, at)
            whole = isinstance(count, int) and count % lanes == 0
            some = None if whole else b.tail_mask(left, lanes)
            for r, value in enumerate(transposed(b, square)):
                place = b.pointer(to, b.iadd(at, r * line), scalar)
                if self.o % lanes == 0 or r == 0:
                    self._store(value, place, some)
                    continue
                with b.when(b.icmp("slt", b.int(b.iadd(first, r)), b.int(self.o))):
                    self._store(value, place, some)

    def _added(self, source: Operand, places: list[Int], one: int) -> list[Operand]:
        """The vectors at these places, added up over all parts."""
        b, scalar, type = self.b, self.scalar, vector(self.scalar, self.block.lanes)

        def read(at: Operand) -> list[Operand]:
            return [b.load(b.pointer(at, place, scalar), type) for place in places]

        def more(values: list[Operand]) -> list[Operand]:
            at = b.pointer(values[-1], one, scalar)
            new = read(at)
            return [*(b.fadd(x, y) for x, y in zip(values, new, strict=False)), at]

        start = [*read(source), source]
        return repeat(b, self.parts - 1, start, more)[:-1] if self.parts > 1 else start[:-1]

    def _store(self, value: Operand, to: Operand, mask: Operand | None) -> None:
        if mask is None:
            self.b.store(value, to)
        else:
            self.b.masked_store(value, to, mask)

    def _clear(self, to: Operand, count: Int) -> None:
        b, lanes = self.b, self.block.lanes
        whole = b.imul(b.idiv(count, lanes), lanes)
        with b.loop(0, whole, lanes) as i:
            b.store(b.const(vector(self.scalar, lanes), 0), b.pointer(to, i, self.scalar))
        with b.loop(whole, count) as i:
            b.store(b.const(self.scalar, 0), b.pointer(to, i, self.scalar))

    def _mask(self, column: Int, v: int) -> Operand | None:
        if self.o % self.block.columns == 0:
            return None
        at = self.b.iadd(column, v * self.block.lanes)
        return self.b.tail_mask(positive_left(self.b, self.o, at), self.block.lanes)

    def _partner(self, image: Int, size: int) -> Pair | None:
        return partner(self.b, image, self.all, size) if self.block.pairs else None

    def _copy(
        self, source: Operand, first: Int, count: Int, step: int, column: Int, other: Pair | None
    ) -> None:
        """A block of the gradient's channels, place after place."""
        b, block = self.b, self.block
        type = vector(self.held, block.lanes)
        masks = [self._mask(column, v) for v in range(block.vectors)]
        with b.loop(0, count) as i:
            for v, mask in enumerate(masks):
                at = b.pointer(source, b.iadd(b.imul(i, step), v * block.lanes), self.held)
                value = b.load(at, type) if mask is None else b.masked_load(at, type, mask)
                if other is not None:
                    value = other.joined(b, value, at, mask)
                to = b.iadd(b.imul(b.iadd(first, i), block.columns), v * block.lanes)
                b.store(value, b.pointer(self.area, to, self.element))

    def _block(
        self, grad: Operand, step: int, to: Operand, number: Int, several: Int, high: Int
    ) -> None:
        """All tiles of one block of the image's channels."""
        b, block, scalar, image = self.b, self.block, self.scalar, self.image
        element = self.element
        x = b.pointer(image.memory, b.imul(number, image.block_size), element)

        def tiles(down: Int, deep: int) -> None:
            own_x = b.pointer(x, b.imul(down, self.rows.tap_step * image.row_size), element)
            own_to = b.pointer(to, b.imul(down, self.line), scalar)
            with b.loop(0, 1 if self.joined else self.columns.taps) as tap:
                moved = b.imul(tap, self.columns.tap_step * block.channels)
                tap_x = b.pointer(own_x, moved, element)
                tap_to = b.pointer(own_to, b.imul(tap, block.channels * block.columns), scalar)
                for width, count, start in self.widths:
                    if count and width:
                        with b.loop(0, count) as i:
                            at = b.iadd(b.imul(i, width), start)
                            self._tile(
                                b.pointer(tap_x, at, element), grad, step,
                                b.pointer(tap_to, b.imul(at, block.columns), scalar), deep, width,
                                several, high,
                            )  # fmt: skip

        taps, deep = self.rows.taps, self.deep
        with b.loop(0, taps // deep) as i:
            tiles(b.imul(i, deep), deep)
        if taps % deep:
            tiles(taps - taps % deep, taps % deep)

    def _tile(
        self, x: Operand, grad: Operand, step: int, to: Operand, deep: int, width: int,
        several: Int, high: Int,
    ) -> None:  # fmt: skip
        b, block, scalar, image = self.b, self.block, self.scalar, self.image
        lanes, vectors = block.lanes, block.vectors
        type, element = vector(scalar, lanes), self.element
        entries = [
            (d * self.rows.tap_step * image.row_size + e, d * self.line + e * block.columns)
            for d in range(deep)
            for e in range(width)
        ]
        targets = [
            b.pointer(to, place + v * lanes, scalar) for _, place in entries for v in range(vectors)
        ]
        zero = b.const(type, 0)
        starts = [zero if self.once else b.load(target, type) for target in targets]
        pixel = self.columns.stride * block.channels

        def multiply(values: list[Operand], n: int) -> list[Operand]:
            *own, at_x, at_g = values
            for u in range(n):
                right = [
                    b.load(
                        b.pointer(at_g, u * step + v * lanes, element), vector(element, lanes)
                    )
                    for v in range(vectors)
                ]
                for e, (moved, _) in enumerate(entries):
                    number = b.load(b.pointer(at_x, u * pixel + moved, element), element)
                    left = b.splat(number, lanes)
                    for v in range(vectors):
                        s = e * vectors + v
                        own[s] = self._multiply_add(left, right[v], own[s])
            at_x, at_g = b.pointer(at_x, n * pixel, element), b.pointer(at_g, n * step, element)
            return [*own, at_x, at_g]

        def nested(inner, moved: int):
            def body(values: list[Operand]) -> list[Operand]:
                at_x = values[-2]
                *own, _, at_g = inner(values)
                return [*own, b.pointer(at_x, moved, element), at_g]

            return body

        count = self.columns.count
        unroll = divisor(count, max(1, min(8, 56 // len(starts))))

        def line(values: list[Operand]) -> list[Operand]:
            return steps(b, count, unroll, values, multiply)

        def picture(values: list[Operand]) -> list[Operand]:
            return repeat(b, high, values, nested(line, self.rows.stride * image.row_size))

        found = repeat(b, several, [*starts, x, grad], nested(picture, image.image_size))
        for value, target in zip(found, targets, strict=False):
            b.store(value, target)

    def _multiply_add(self, x: Operand, y: Operand, z: Operand) -> Operand:
        if self.block.pairs:
            return bfloat16.dot(self.b, x, y, z)
        if self.target.fma:
            return self.b.fma(x, y, z)
        return self.b.fadd(self.b.fmul(x, y), z)


__all__ = ["sums"]
