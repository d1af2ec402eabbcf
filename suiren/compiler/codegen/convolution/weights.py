"""Sums over all places of image times gradient: what a convolution's weight gets.

The batch is shared out in parts with sums of their own, by shape alone; a second kernel adds them
up in order and brings them into the weight's layout.
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
from suiren.compiler.graph import base_of
from suiren.compiler.target import Target

TASKS = 16  # wanted: with fewer parts, the image's channels are shared out too
PLACES = 1024  # in a unit, at most: their gradient has to stay in the cache as well


def sums(group: Group, target: Target) -> list[Kernel]:
    """The kernels of a ``correlate`` node."""
    if group.roots[0].attributes[-1]:
        return winograd_weights.Sums(group, target).kernels()
    written = _Sums(group, target)
    return [written.kernel(), written.together_kernel()]


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
        self._units()
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
        source, result = b.buffer(slot(x)), b.buffer(slot(self.partial))
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
        self.line = self.columns.taps * block.channels * self.o
        self.one = self.rows.taps * self.line
        start = b.imul(b.iadd(b.imul(b.iadd(b.imul(part, self.groups), which), self.blocks),
                              begin), self.one)  # fmt: skip
        to = b.pointer(result, start, self.scalar)
        self._clear(to, b.imul(own, self.one))
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
                    self._block(pointer, step, to, i, column, several, high)
        flops = 2.0 * self.all * self.rows.count * self.columns.count * self.one
        name = f"correlate_{self.rows.taps}x{self.columns.taps}x{self.c}x{self.o}"
        size = self.parts * self.groups * self.blocks * self.one * self.size
        return Kernel(
            name, b.module(), self.tasks, list(slot), work=flops * self.blocks * self.groups,
            scratch=((self.partial, size),),
        )  # fmt: skip

    def together_kernel(self) -> Kernel:
        """Adds up the parts and turns [tap, channel, result] into [result, channel, tap].

        Squares of as many elements as a vector has lanes are transposed in registers.
        """
        b = self.b = Emitter(self.target.function_attributes)
        block, scalar, lanes = self.block, self.scalar, self.block.lanes
        source, result = b.buffer(0), b.buffer(1)
        taps = self.rows.taps * self.columns.taps
        units = self.groups * self.blocks * -(-self.o // lanes)
        one = self.groups * self.blocks * self.one  # elements of a part
        tasks = max(1, min(16, units, one * self.parts // 50_000))
        with share(b, b.task if tasks > 1 else 0, tasks, units) as unit:
            first = b.imul(b.imod(unit, -(-self.o // lanes)), lanes)
            unit = b.idiv(unit, -(-self.o // lanes))
            from_block = b.pointer(source, b.iadd(b.imul(unit, self.one), first), scalar)
            which, number = b.idiv(unit, self.blocks), b.imod(unit, self.blocks)
            channels: Int = block.channels
            if self.c % block.channels:
                channels = b.imin(
                    block.channels, b.isub(self.c, b.imul(number, block.channels))
                )
            count = b.imul(channels, taps)
            line = self.c * taps
            row = b.imul(b.iadd(b.imul(which, self.o), first), line)
            to = b.pointer(result, b.iadd(row, b.imul(number, block.channels * taps)), scalar)
            mask = None
            if self.o % lanes:
                mask = b.tail_mask(positive_left(b, self.o, first), lanes)
            with b.loop(0, count, lanes) as at:
                places = []
                for u in range(lanes):
                    j = b.imin(b.iadd(at, u), b.isub(count, 1))
                    place = b.iadd(b.imul(b.imod(j, taps), block.channels), b.idiv(j, taps))
                    places.append(b.imul(place, self.o))
                square = self._added(from_block, places, one, mask)
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
        return Kernel("together", b.module(), tasks, [self.partial, self.node])

    def _added(
        self, source: Operand, places: list[Int], one: int, mask: Operand | None
    ) -> list[Operand]:
        """The vectors at these places, added up over all parts."""
        b, scalar, type = self.b, self.scalar, vector(self.scalar, self.block.lanes)

        def read(at: Operand) -> list[Operand]:
            pointers = [b.pointer(at, place, scalar) for place in places]
            if mask is None:
                return [b.load(p, type) for p in pointers]
            return [b.masked_load(p, type, mask) for p in pointers]

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
        self, grad: Operand, step: int, to: Operand, number: Int, column: Int, several: Int,
        high: Int,
    ) -> None:  # fmt: skip
        """All tiles of one block of the image's channels."""
        b, block, scalar, image = self.b, self.block, self.scalar, self.image
        element = self.element
        x = b.pointer(image.memory, b.imul(number, image.block_size), element)
        to = b.pointer(to, b.iadd(b.imul(number, self.one), column), scalar)
        masks = [self._mask(column, v) for v in range(block.vectors)]

        def tiles(down: Int, deep: int) -> None:
            own_x = b.pointer(x, b.imul(down, self.rows.tap_step * image.row_size), element)
            own_to = b.pointer(to, b.imul(down, self.line), scalar)
            with b.loop(0, 1 if self.joined else self.columns.taps) as tap:
                moved = b.imul(tap, self.columns.tap_step * block.channels)
                tap_x = b.pointer(own_x, moved, element)
                tap_to = b.pointer(own_to, b.imul(tap, block.channels * self.o), scalar)
                for width, count, start in self.widths:
                    if count and width:
                        with b.loop(0, count) as i:
                            at = b.iadd(b.imul(i, width), start)
                            self._tile(
                                b.pointer(tap_x, at, element), grad, step,
                                b.pointer(tap_to, b.imul(at, self.o), scalar), deep, width, masks,
                                several, high,
                            )  # fmt: skip

        taps, deep = self.rows.taps, self.deep
        with b.loop(0, taps // deep) as i:
            tiles(b.imul(i, deep), deep)
        if taps % deep:
            tiles(taps - taps % deep, taps % deep)

    def _tile(
        self, x: Operand, grad: Operand, step: int, to: Operand, deep: int, width: int,
        masks: list[Operand | None], several: Int, high: Int,
    ) -> None:  # fmt: skip
        b, block, scalar, image = self.b, self.block, self.scalar, self.image
        lanes, vectors = block.lanes, block.vectors
        type, element = vector(scalar, lanes), self.element
        entries = [
            (d * self.rows.tap_step * image.row_size + e, d * self.line + e * self.o)
            for d in range(deep)
            for e in range(width)
        ]
        starts = []
        for _, place in entries:
            for v, mask in enumerate(masks):
                at = b.pointer(to, place + v * lanes, scalar)
                starts.append(b.load(at, type) if mask is None else b.masked_load(at, type, mask))
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
        values = iter(found)
        for _, place in entries:
            for v, mask in enumerate(masks):
                at = b.pointer(to, place + v * lanes, scalar)
                if mask is None:
                    b.store(next(values), at)
                else:
                    b.masked_store(next(values), at, mask)

    def _multiply_add(self, x: Operand, y: Operand, z: Operand) -> Operand:
        if self.block.pairs:
            return bfloat16.dot(self.b, x, y, z)
        if self.target.fma:
            return self.b.fma(x, y, z)
        return self.b.fadd(self.b.fmul(x, y), z)


__all__ = ["sums"]
