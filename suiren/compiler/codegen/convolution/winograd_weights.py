"""The gradient of a convolution by its weight, by the transpose of Winograd's algorithm.

With the result written as ``A' [(G w G') * (B' d B)] A`` for each square d of the image, the
weight's gradient is ``G' [sum over squares of (A y A') * (B' d B)] G``, y being 2x2 places of the
result's gradient: at each place of the squares a matrix product over all of them. With strides the
image's parities are more channels, as in ``winograd``. As in ``weights`` the batch is shared out in
parts, and units of squares stay in the second-level cache while all tiles go over them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from suiren import dtypes
from suiren.compiler.codegen import bfloat16
from suiren.compiler.codegen.convolution import filtering
from suiren.compiler.codegen.convolution.pieces import (
    Image,
    Pair,
    divisor,
    partner,
    repeat,
    steps,
)
from suiren.compiler.codegen.convolution.winograd import as_held, form_of, transform
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.kernel import Kernel, Slots
from suiren.compiler.codegen.matmul.operands import positive_left, transposed
from suiren.compiler.codegen.matmul.tasks import share
from suiren.compiler.convolution import Axis, Block, Squares
from suiren.compiler.fuse import Group
from suiren.compiler.node import base_of
from suiren.compiler.target import Target

TASKS = 16
MOST_SQUARES = 112  # in a unit
UNIT = 512 * 1024  # bytes of transformed squares of image and gradient in a unit


class Sums:
    """Writes the kernels of a ``correlate`` node that goes by squares."""

    def __init__(self, group: Group, target: Target):
        node = group.roots[0]
        self.node, self.target = node, target
        rows, columns, _, self.c, self.o, block, self.parts, _ = node.attributes
        self.block: Block = block
        self.scalar = "double" if node.dtype is dtypes.float64 else "float"
        self.size = node.dtype.itemsize
        # how both operands lie in memory, and what is multiplied: numbers, or pairs of images
        self.held, self.element, pair = form_of(block, self.scalar)
        self.all, self.height, self.width, _ = node.inputs[0].shape
        self.images = -(-self.all // pair)
        self.down, self.across = -(-self.height // 2), -(-self.width // 2)
        self.rows: Axis = replace(rows, count=2 * self.down)
        self.columns: Axis = replace(columns, count=2 * self.across)
        self.filter = squares = Squares(rows, columns)
        self.places = squares.places
        # blocks of channels, each with the parities of the places
        self.blocks = self.c // block.channels * squares.parts
        self.shares = min(max(1, self.blocks // 4), -(-TASKS // self.parts))
        self.own = -(-self.blocks // self.shares)
        self.tasks = self.parts * self.shares
        self.partial = ("scratch", node, 0)
        # sums of a block of channels: [place, channel, o]
        self.one = self.places * block.channels * self.o
        most = self.places * (self.own * block.channels + block.columns) * self.size
        most = min(MOST_SQUARES, UNIT // most)
        together = max(1, min(self.down, most // self.across))
        self.together = -(-self.down // -(-self.down // together))
        self.bands = -(-self.down // self.together)
        self.several = 1
        if self.bands == 1:
            several = most // (self.down * self.across)
            self.several = max(1, min(several, self.images // self.parts))
        self.units = -(-self.images // self.several) * self.bands
        self.squares = self.several * self.together * self.across
        most = max(1, min((target.vector_registers - 1 - block.vectors) // block.vectors, 14))
        count = -(-block.channels // most)
        short, longer = divmod(block.channels, count)
        self.widths = [(short + 1, longer, 0), (short, count - longer, longer * (short + 1))]

    def kernels(self) -> list[Kernel]:
        """The sums in the transformed space, and the weight's gradient."""
        return [self._sums(), self._together()]

    def _sums(self) -> Kernel:
        b = self.b = Emitter(self.target.function_attributes)
        b.fused = self.target.fma
        block, scalar, squares = self.block, self.scalar, self.filter
        slot = Slots()
        grad, x = (base_of(operand) for operand in self.node.inputs)
        self.grad = b.buffer(slot(grad))
        source, result = b.buffer(slot(x)), b.buffer(slot(self.partial))
        self.image = Image(
            b, self.rows, self.columns, block, self.c, scalar, 2 * self.together, 1,
            2 if block.pairs else 1, self.held,
        )  # fmt: skip
        self.part = self.squares * block.channels
        # [place][part][square][channel] and [place][square][column]
        self.squared = b.stack(self.element, self.places * self.own * self.part)
        self.line = self.squares * block.columns
        self.turned = b.stack(self.element, self.places * self.line)
        task = b.task if self.tasks > 1 else 0
        number, part = b.imod(task, self.shares), b.idiv(task, self.shares)
        begin = b.idiv(b.imul(number, self.blocks), self.shares)
        end = b.idiv(b.imul(b.iadd(number, 1), self.blocks), self.shares)
        own = b.isub(end, begin)
        start = b.imul(b.iadd(b.imul(part, self.blocks), begin), self.one)
        to = b.pointer(result, start, scalar)
        type = vector(scalar, block.lanes)
        with b.loop(0, b.imul(own, self.one // block.lanes)) as i:
            b.store(b.const(type, 0), b.pointer(to, b.imul(i, block.lanes), scalar))
        with share(b, part, self.parts, self.units) as unit:
            band = b.imod(unit, self.bands)
            image = b.imul(b.idiv(unit, self.bands), self.several)
            first = b.imul(band, self.together)
            high: Int = self.down
            if self.bands > 1:
                high = b.imin(self.together, b.isub(self.down, first))
            several: Int = self.several
            if self.images % self.several:
                several = b.imin(self.several, b.isub(self.images, image))
            with b.loop(0, several) as i:
                at = b.imul(b.imul(i, high), self.across)
                with b.loop(0, own) as p:
                    one = b.iadd(begin, p)
                    channels, parity = b.idiv(one, squares.parts), b.imod(one, squares.parts)
                    new = b.binary("or", b.icmp("eq", b.int(p), b.int(0)),
                                   b.icmp("eq", b.int(parity), b.int(0)))  # fmt: skip
                    with b.when(new):
                        row = b.imul(first, 2)
                        self.image.copy(source, b.iadd(image, i), row, 1, channels, self.c, 0)
                        if block.pairs:
                            self._copy_other(source, b.iadd(image, i), row, channels)
                    place = b.iadd(b.imul(p, self.part), b.imul(at, block.channels))
                    across = self.columns.stride
                    corner = self.image.at(b.idiv(parity, across), b.imod(parity, across))
                    transform(
                        b, self.image, squares, high, self.across,
                        b.pointer(self.squared, place, self.element), self.own * self.part,
                        [(corner, 0)], self.element,
                    )  # fmt: skip
            lines = b.imul(several, high)
            with b.loop(0, -(-self.o // block.columns)) as j:
                column = b.imul(j, block.columns)
                with b.loop(0, several) as i:
                    self._turn(b.iadd(image, i), first, high, b.imul(i, high), column)
                with b.loop(0, self.places) as place:
                    with b.loop(0, own) as p:
                        self._tiles(to, p, place, column, lines)
        taps = self.rows.taps * self.columns.taps
        flops = 2.0 * taps * self.all * self.height * self.width * self.c * self.o
        size = self.parts * self.blocks * self.one * self.size
        return Kernel(
            f"correlate_squares_{taps}x{self.c}x{self.o}", b.module(), self.tasks, list(slot),
            work=flops, scratch=((self.partial, size),),
        )  # fmt: skip

    def _mask(self, column: Int, v: int) -> Operand | None:
        if self.o % self.block.columns == 0:
            return None
        at = self.b.iadd(column, v * self.block.lanes)
        return self.b.tail_mask(positive_left(self.b, self.o, at), self.block.lanes)

    def _turn(self, image: Int, first: Int, high: Int, line: Int, column: Int) -> None:
        """2x2 places of the gradient as squares: A y A'."""
        b, block = self.b, self.block
        others: list[Pair | None] = [None]
        if block.pairs:
            others.append(partner(b, image, self.all, self.height * self.width * self.o))

        with b.loop(0, high) as r:
            with b.loop(0, self.across) as c:
                y, x = b.imul(b.iadd(first, r), 2), b.imul(c, 2)
                square = b.iadd(b.imul(b.iadd(line, r), self.across), c)
                for v in range(block.vectors):
                    mask = self._mask(column, v)
                    made = []
                    for other in others:
                        lines = [
                            [self._read(image, b.iadd(y, i), b.iadd(x, j),
                                        b.iadd(column, v * block.lanes), mask, other)
                             for j in (0, 1)]
                            for i in (0, 1)
                        ]  # fmt: skip
                        made.append(filtering.both(
                            b, lines, filtering.gradient(self.filter.columns.side),
                            filtering.gradient(self.filter.rows.side),
                        ))  # fmt: skip
                    for place, values in enumerate(zip(*made, strict=True)):
                        at = b.iadd(
                            b.imul(square, block.columns), place * self.line + v * block.lanes
                        )
                        pointer = b.pointer(self.turned, at, self.element)
                        value = as_held(b, values, self.element)
                        b.store(value, pointer, self.size * block.lanes)

    def _read(
        self, image: Int, y: Int, x: Int, column: Int, mask: Operand | None, other: Pair | None
    ) -> Operand:
        """A vector of the gradient of an image or of the other of its pair, zero past its ends."""
        b = self.b
        inside: Operand | None = None
        if self.height % 2:
            inside = b.icmp("slt", b.int(y), b.int(self.height))
            y = b.imin(y, self.height - 1)
        if self.width % 2:
            more = b.icmp("slt", b.int(x), b.int(self.width))
            inside = more if inside is None else b.binary("and", inside, more)
            x = b.imin(x, self.width - 1)
        line = b.iadd(b.imul(image, self.height), y)
        at = b.iadd(b.imul(b.iadd(b.imul(line, self.width), x), self.o), column)
        pointer = b.pointer(self.grad, at, self.held)
        type = vector(self.held, self.block.lanes)
        if other is not None:
            value = other.second(b, pointer, self.block.lanes, mask)
        else:
            value = b.load(pointer, type) if mask is None else b.masked_load(pointer, type, mask)
        if inside is not None:
            value = b.select(inside, value, b.const(type, 0))
        return bfloat16.widened(b, value) if self.block.pairs else value

    def _copy_other(self, source: Operand, image: Int, row: Int, channels: Int) -> None:
        """The second image of a pair, behind the first; zeros where there is none."""
        b, size = self.b, self.rows.size * self.columns.size * self.c
        other = partner(b, image, self.all, size)
        moved = b.pointer(source, other.distance, self.held)
        self.image.copy(moved, image, row, 1, channels, self.c, 0, 1)
        if other.there is not None:
            with b.when(b.binary("xor", other.there, b.const("i1", 1))):
                self.image.clear(1)

    def _tiles(self, to: Operand, part: Int, place: Int, column: Int, lines: Int) -> None:
        """The sums of one block of channels at one place: over all squares of the unit."""
        b, block, scalar = self.b, self.block, self.scalar
        at = b.iadd(b.imul(part, self.part), b.imul(place, self.own * self.part))
        x = b.pointer(self.squared, at, self.element)
        z = b.pointer(self.turned, b.imul(place, self.line), self.element)
        start = b.iadd(b.imul(part, self.one), b.imul(place, block.channels * self.o))
        to = b.pointer(to, b.iadd(start, column), scalar)
        masks = [self._mask(column, v) for v in range(block.vectors)]
        for width, count, start_at in self.widths:
            if count and width:
                with b.loop(0, count) as i:
                    own = b.iadd(b.imul(i, width), start_at)
                    self._tile(
                        b.pointer(x, own, self.element), z,
                        b.pointer(to, b.imul(own, self.o), scalar), width, masks, lines,
                    )  # fmt: skip

    def _tile(
        self, x: Operand, z: Operand, to: Operand, width: int, masks: list[Operand | None],
        lines: Int,
    ) -> None:  # fmt: skip
        b, block, scalar = self.b, self.block, self.scalar
        lanes, vectors = block.lanes, block.vectors
        type, kind = vector(scalar, lanes), self.element
        places = [(b.pointer(to, e * self.o + v * lanes, scalar), masks[v])
                  for e in range(width) for v in range(vectors)]  # fmt: skip
        starts = [
            b.load(at, type) if mask is None else b.masked_load(at, type, mask)
            for at, mask in places
        ]

        def multiply(values: list[Operand], n: int) -> list[Operand]:
            *own, at_x, at_z = values
            for u in range(n):
                right = [
                    b.load(b.pointer(at_z, u * block.columns + v * lanes, kind),
                           vector(kind, lanes), self.size * lanes)
                    for v in range(vectors)
                ]  # fmt: skip
                for e in range(width):
                    element = b.pointer(at_x, u * block.channels + e, kind)
                    left = b.splat(b.load(element, kind), lanes)
                    for v in range(vectors):
                        s = e * vectors + v
                        own[s] = self._multiply_add(left, right[v], own[s])
            return [
                *own, b.pointer(at_x, n * block.channels, kind),
                b.pointer(at_z, n * block.columns, kind),
            ]  # fmt: skip

        unroll = divisor(self.across, 4)
        found = repeat(
            b, lines, [*starts, x, z],
            lambda values: steps(b, self.across, unroll, values, multiply),
        )  # fmt: skip
        for value, (at, mask) in zip(found, places, strict=False):
            if mask is None:
                b.store(value, at)
            else:
                b.masked_store(value, at, mask)

    def _multiply_add(self, x: Operand, y: Operand, z: Operand) -> Operand:
        if self.block.pairs:
            return bfloat16.dot(self.b, x, y, z)
        if self.target.fma:
            return self.b.fma(x, y, z)
        return self.b.fadd(self.b.fmul(x, y), z)

    # ---- the weight

    def _together(self) -> Kernel:
        """The parts added up, G' m G, and channels brought behind results."""
        b = self.b = Emitter(self.target.function_attributes)
        block, scalar, lanes = self.block, self.scalar, self.block.lanes
        type = vector(scalar, lanes)
        source, result = b.buffer(0), b.buffer(1)
        across = -(-self.o // lanes)
        units = self.blocks // self.filter.parts * across
        part = self.blocks * self.one
        tasks = max(1, min(16, units, part * self.parts // 50_000))
        squares = self.filter
        taps = squares.rows.taps * squares.columns.taps
        area = b.stack(scalar, block.channels * taps * lanes)
        sides = squares.rows.side, squares.columns.side

        with share(b, b.task if tasks > 1 else 0, tasks, units) as unit:
            number, first = b.idiv(unit, across), b.imul(b.imod(unit, across), lanes)
            mask = None
            if self.o % lanes:
                mask = b.tail_mask(positive_left(b, self.o, first), lanes)
            with b.loop(0, block.channels * squares.parts) as one:
                c, parity = b.imod(one, block.channels), b.idiv(one, block.channels)
                at = b.iadd(b.imul(number, squares.parts), parity)
                at = b.iadd(b.imul(at, self.one), b.iadd(b.imul(c, self.o), first))
                start = b.pointer(source, at, scalar)

                def read(at: Operand, mask: Operand | None = mask) -> list[Operand]:
                    pointers = [
                        b.pointer(at, p * block.channels * self.o, scalar)
                        for p in range(self.places)
                    ]
                    if mask is None:
                        return [b.load(p, type) for p in pointers]
                    return [b.masked_load(p, type, mask) for p in pointers]

                def more(values: list[Operand], read: Any = read) -> list[Operand]:
                    at = b.pointer(values[-1], part, scalar)
                    return [*(b.fadd(x, y) for x, y in zip(values, read(at), strict=False)), at]

                sums = read(start)
                if self.parts > 1:
                    sums = repeat(b, self.parts - 1, [*sums, start], more)[:-1]
                lines = [sums[sides[1] * i : sides[1] * (i + 1)] for i in range(sides[0])]
                found = filtering.both(b, lines, filtering.weight_gradient)
                y = b.idiv(parity, squares.columns.stride)
                x = b.imod(parity, squares.columns.stride)
                tap = b.iadd(b.iadd(b.imul(c, taps), b.imul(y, squares.columns.taps)), x)
                to = b.pointer(area, b.imul(tap, lanes), scalar)
                for i in range(sides[0] - 1):
                    for j in range(sides[1] - 1):
                        line = i * squares.rows.stride * squares.columns.taps
                        own = (line + j * squares.columns.stride) * lanes
                        value = found[i * (sides[1] - 1) + j]
                        b.store(value, b.pointer(to, own, scalar))
            row = b.iadd(b.imul(first, self.c * taps), b.imul(number, block.channels * taps))
            to = b.pointer(result, row, scalar)
            with b.loop(0, block.channels * taps, lanes) as at:
                square = [
                    b.load(b.pointer(area, b.imul(b.iadd(at, u), lanes), scalar), type)
                    for u in range(lanes)
                ]
                for r, value in enumerate(transposed(b, square)):
                    place = b.pointer(to, b.iadd(at, r * self.c * taps), scalar)
                    if self.o % lanes == 0 or r == 0:
                        b.store(value, place)
                        continue
                    with b.when(b.icmp("slt", b.int(b.iadd(first, r)), b.int(self.o))):
                        b.store(value, place)
        return Kernel("together", b.module(), tasks, [self.partial, self.node])


__all__ = ["Sums"]
