"""Convolutions by Winograd's minimal filtering: see ``filtering``.

Squares of places, two apart, and the kernel are transformed by additions; each place of the squares
is then a matrix product over channels; additions make 2x2 results of the products. For 3x3 taps
there are 16 products instead of 36, for 2x2 taps 9 instead of 16.

A convolution with strides is the sum of one without for each *parity* of the image's places (a 4x4
kernel with stride 2 has 2x2 taps for each of four parities): parities are more channels. An input
gradient with strides is a convolution for each phase of its result.

A task transforms the squares of a band of rows, or of several images, once and goes over all blocks
of result channels; everything between stays in the second-level cache. Transforming the weight is a
node of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from suiren import dtypes
from suiren.compiler.codegen import bfloat16
from suiren.compiler.codegen.convolution import filtering
from suiren.compiler.codegen.convolution.pieces import Image, repeat, steps
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.kernel import Kernel, Slots
from suiren.compiler.codegen.matmul.operands import positive_left, transposed
from suiren.compiler.codegen.matmul.product import SIZES
from suiren.compiler.codegen.matmul.tasks import share
from suiren.compiler.codegen.products import Epilogue
from suiren.compiler.convolution import Axis, Block, Squares
from suiren.compiler.fuse import Group
from suiren.compiler.node import base_of
from suiren.compiler.target import Target

SQUARES = 384 * 1024  # bytes of transformed squares in a task,
LEAST = 14  # but so many squares at least, for each reading of the weight
FEW_TASKS = 8


def weight_kernels(group: Group, target: Target) -> list[Kernel]:
    """The transformation of a weight, for all phases of the result at once.

    For each phase [block, place, channels of the image, parity, channel (or pair), column].
    """
    node = group.roots[0]
    phases, c, o, block, turned = node.attributes
    b = Emitter(target.function_attributes)
    scalar, lanes = "double" if node.dtype is dtypes.float64 else "float", block.lanes
    held, element, several = form_of(block, scalar)
    w = base_of(node.inputs[0])
    _, _, kh, kw = node.inputs[0].shape
    source, result = b.buffer(0), b.buffer(1)
    size = kh * kw
    per_result, per_channel = (size, o * size) if turned else (c * size, size)
    blocks = -(-o // block.columns)
    tasks = max(1, min(32, blocks * c // 64))
    count = c // several
    with share(b, b.task if tasks > 1 else 0, tasks, blocks * count) as unit:
        number, channel = b.idiv(unit, count), b.imul(b.imod(unit, count), several)
        own, inner = b.idiv(channel, block.channels), b.imod(channel, block.channels)
        for v in range(block.vectors):
            column = b.iadd(b.imul(number, block.columns), v * lanes)
            mask = None
            if o % block.columns:
                mask = b.tail_mask(positive_left(b, o, column), lanes)
            at = b.iadd(b.imul(column, per_result), b.imul(channel, per_channel))
            rows = [b.pointer(source, b.iadd(at, k * per_channel), held) for k in range(several)]
            if held == "i16":
                index = b.constants(vector("i64", lanes), [i * per_result for i in range(lanes)])
                taps = [_pairs(b, row, index, mask, size) for row in rows]
            else:
                last: Int = lanes - 1 if mask is None else b.isub(o - 1, column)
                taps = [_taps(b, row, per_result, last, size, scalar, lanes) for row in rows]
            taps = [own[:: -1 if turned else 1] for own in taps]
            first = 0
            for squares in phases:
                line = squares.channels(count) * block.columns
                start = b.iadd(b.imul(number, squares.places * line), first + v * lanes)
                first += blocks * squares.places * line
                for p, (down, across) in enumerate(squares.parities):
                    places = [[i * kw + j for j in squares.columns.own_taps(across)]
                              for i in squares.rows.own_taps(down)]  # fmt: skip
                    made = [
                        filtering.both(b, [[tap[t] for t in row] for row in places],
                                       filtering.weight)
                        for tap in taps
                    ]  # fmt: skip
                    part = b.iadd(b.imul(own, squares.parts), p)
                    to = b.imul(part, block.channels // several)
                    to = b.iadd(to, b.idiv(inner, several))
                    to = b.iadd(start, b.imul(to, block.columns))
                    for q, values in enumerate(zip(*made, strict=True)):
                        place = b.pointer(result, b.iadd(to, q * line), element)
                        value = as_held(b, values, element)
                        b.store(value, place, SIZES[element] * lanes)
    return [Kernel("winograd_weight", b.module(), tasks, [w, node])]


def _taps(
    b: Emitter, source: Operand, step: int, last: Int, count: int, scalar: str, lanes: int
) -> list[Operand]:
    """The numbers of a kernel, of a result channel in each lane: rows of numbers, transposed.

    That takes less than gathering them. Lanes past the last channel have that one again.
    """
    rows = [b.pointer(source, b.imul(b.imin(r, last), step), scalar) for r in range(lanes)]
    type = vector(scalar, lanes)
    taps: list[Operand] = []
    for t in range(0, count, lanes):
        places = [b.pointer(row, t, scalar) for row in rows]
        if count - t >= lanes:
            square = [b.load(place, type) for place in places]
        else:
            mask = b.tail_mask(count - t, lanes)
            square = [b.masked_load(place, type, mask) for place in places]
        taps += transposed(b, square)
    return taps[:count]


def _pairs(
    b: Emitter, source: Operand, index: Operand, mask: Operand | None, count: int
) -> list[Operand]:
    """The same of bfloat16, by pairs; the last begins early where it would pass the end."""
    taps: list[Operand] = []
    for t in range(0, count, 2):
        pairs = b.pointer(source, min(t, count - 2), "i16")
        found = bfloat16.parted(b, bfloat16.gathered(b, pairs, index, mask))
        taps += found if t <= count - 2 else found[1:]
    return taps


def form_of(block: Block, scalar: str) -> tuple[str, str, int]:
    """How numbers lie in memory, what is multiplied, and how many channels of the image that is."""
    return ("i16", "i32", 2) if block.pairs else (scalar, scalar, 1)


def as_held(b: Emitter, values: Sequence[Operand], held: str) -> Operand:
    """A number as it is kept to be multiplied: as it is, as bfloat16, or two as a pair."""
    if held == "i16":
        return bfloat16.rounded(b, values[0])
    return bfloat16.rounded_pairs(b, *values) if held == "i32" else values[0]


def kernels(group: Group, target: Target) -> list[Kernel]:
    """A kernel for each phase of the result."""
    node = group.product
    assert node is not None
    phases, c, o, block = node.attributes
    made, first = [], 0
    several = 2 if block.pairs else 1
    for squares in phases:
        made.append(_Phase(group, target, squares, first).kernel())
        made[-1].barrier = False
        line = squares.channels(c // several) * block.columns
        first += -(-o // block.columns) * squares.places * line
    return made


class _Phase:
    """Writes the kernel of one phase; its weight begins at ``first``."""

    def __init__(self, group: Group, target: Target, squares: Squares, first: int):
        node = group.product
        assert node is not None
        self.group, self.node, self.target, self.first = group, node, target, first
        _, self.c, self.o, self.block = node.attributes
        block: Block = self.block
        self.filter = squares
        self.scalar = "double" if node.dtype is dtypes.float64 else "float"
        self.size = node.dtype.itemsize
        self.images = node.shape[0]
        self.height, self.width = squares.rows.count, squares.columns.count
        self.parts = self.c // block.channels * squares.parts
        self.blocks = -(-self.o // block.columns)
        self.down, self.across = -(-self.height // 2), -(-self.width // 2)
        self.rows: Axis = replace(squares.rows, count=2 * self.down)
        self.columns: Axis = replace(squares.columns, count=2 * self.across)
        self.held, self.element, self.pair = form_of(block, self.scalar)
        # elements of the weight for one of the places
        self.line = squares.channels(self.c // self.pair) * block.columns
        # (pairs take half of this: the rest of the cache is for their products, in float)
        one = squares.channels(self.c) * squares.places * self.size
        most = max(1, LEAST, SQUARES // one)
        rows = min(self.down, max(1, -(-LEAST // self.across), SQUARES // one // self.across))
        self.together = -(-self.down // -(-self.down // rows))  # rows of squares in a task
        self.bands = -(-self.down // self.together)
        self.several = 1
        if self.bands == 1:
            several = min(max(1, most // (self.down * self.across)), self.images)
            self.several = -(-self.images // -(-self.images // several))
            even = next(n for n in range(several, 0, -1) if self.images % n == 0)
            if 4 * even >= 3 * several:  # tasks of one size, for threads to share
                self.several = even
        self.units = -(-self.images // self.several)
        self.high = self.several * self.together  # rows of squares, of all images
        self.squares = self.high * self.across
        tasks = self.units * self.bands
        self.shares = min(self.blocks, -(-FEW_TASKS // tasks))
        self.tasks = tasks * self.shares
        most = max(1, (target.vector_registers - 1 - block.vectors) // block.vectors)
        count = -(-self.squares // min(most, 14))
        short, longer = divmod(self.squares, count)
        self.widths = [(short + 1, longer, 0), (short, count - longer, longer * (short + 1))]

    def kernel(self) -> Kernel:
        b = self.b = Emitter(self.target.function_attributes)
        b.fused = self.target.fma
        slot = Slots()
        block, scalar, squares = self.block, self.scalar, self.filter
        places = squares.places
        self.epilogue = Epilogue(self.group, slot, self.node.shape[:2])
        source = b.buffer(slot(base_of(self.node.inputs[0])))
        weight = b.buffer(slot(base_of(self.node.inputs[1])))
        for key in self.epilogue.prepare(self.target):
            slot(key)
        self.image = Image(
            b, self.rows, self.columns, block, self.c, scalar, 2 * self.together, 1,
            source=self.held,
        )  # fmt: skip
        # the transformed squares: [place][part][square][channel]; the products: [place][square]
        self.part = self.squares * block.channels
        self.squared = b.stack(self.held, places * self.parts * self.part)
        self.products = b.stack(scalar, places * self.squares * block.columns)
        self.area = b.stack(scalar, 4 * block.columns)
        task = b.task if self.tasks > 1 else 0
        number = b.imod(task, self.shares)
        task = b.idiv(task, self.shares)
        band, unit = b.imod(task, self.bands), b.idiv(task, self.bands)
        image = b.imul(unit, self.several)
        several: Int = self.several
        if self.images % self.several:
            several = b.imin(self.several, b.isub(self.images, image))
        first = b.imul(band, self.together)
        high: Int = self.down
        if self.bands > 1:
            high = b.imin(self.together, b.isub(self.down, first))
        with b.loop(0, several) as i:
            square = b.imul(b.imul(i, self.together), self.across)
            with b.loop(0, self.c // block.channels) as own:
                self.image.copy(source, b.iadd(image, i), b.imul(first, 2), 1, own, self.c, 0)
                part = b.iadd(b.imul(own, squares.parts * self.part),
                              b.imul(square, block.channels))  # fmt: skip
                corners = [
                    (self.image.at(i, j), p * self.part)
                    for p, (i, j) in enumerate(squares.parities)
                ]
                transform(
                    b, self.image, squares, self.together, self.across,
                    b.pointer(self.squared, part, self.held), self.parts * self.part, corners,
                    self.held,
                )  # fmt: skip
        begin = b.idiv(b.imul(number, self.blocks), self.shares)
        end = b.idiv(b.imul(b.iadd(number, 1), self.blocks), self.shares)
        with b.loop(begin, end) as i:
            at = b.iadd(b.imul(i, places * self.line), self.first)
            at = b.pointer(weight, at, self.element)
            with b.loop(0, places) as place:
                self._multiply(at, place)
            with b.loop(0, several) as own:
                line = b.imul(own, self.together)
                with b.loop(0, high) as r:
                    with b.loop(0, self.across) as c:
                        square = b.iadd(b.imul(b.iadd(line, r), self.across), c)
                        self._results(
                            b.iadd(image, own), square, b.iadd(first, r), c,
                            b.imul(i, block.columns),
                        )  # fmt: skip
        taps = self.rows.taps * self.columns.taps
        flops = 2.0 * taps * self.images * self.height * self.width * self.c * self.o
        return Kernel(
            f"winograd_{taps}x{self.c}x{self.o}", b.module(), self.tasks, list(slot), work=flops
        )

    def _multiply(self, weight: Operand, place: Int) -> None:
        """The product over channels at one place of all squares."""
        b, block, scalar = self.b, self.block, self.scalar
        lanes, vectors = block.lanes, block.vectors
        held, element, pair = self.held, self.element, self.pair
        type = vector(scalar, lanes)
        w = b.pointer(weight, b.imul(place, self.line), element)
        x = b.pointer(self.squared, b.imul(place, self.parts * self.part), held)
        to = b.pointer(self.products, b.imul(place, self.squares * block.columns), scalar)
        for width, count, start in self.widths:
            if not count or not width:
                continue

            def multiply(values: list[Operand], n: int, width: int = width) -> list[Operand]:
                *sums, at_x, at_w = values
                for u in range(n):
                    right = [
                        b.load(b.pointer(at_w, u * block.columns + v * lanes, element),
                               vector(element, lanes), self.size * lanes)
                        for v in range(vectors)
                    ]  # fmt: skip
                    for p in range(width):
                        own = b.pointer(at_x, p * block.channels + u * pair, held)
                        left = b.splat(b.load(own, element), lanes)
                        for v in range(vectors):
                            s = p * vectors + v
                            sums[s] = self._multiply_add(left, right[v], sums[s])
                step = b.pointer(at_w, n * block.columns, element)
                return [*sums, b.pointer(at_x, n * pair, held), step]

            def parts(values: list[Operand]) -> list[Operand]:
                at_x = values[-2]
                count = block.channels // pair
                *sums, _, at_w = steps(b, count, 4, values, multiply)  # noqa: B023
                return [*sums, b.pointer(at_x, self.part, held), at_w]

            with b.loop(0, count) as i:
                square = b.iadd(b.imul(i, width), start)
                at = b.pointer(x, b.imul(square, block.channels), held)
                values = [b.const(type, 0)] * (width * vectors) + [at, w]
                *sums, _, _ = repeat(b, self.parts, values, parts)
                for s, value in enumerate(sums):
                    p = b.iadd(b.imul(square, block.columns), s * lanes)
                    b.store(value, b.pointer(to, p, scalar), self.size * lanes)

    def _results(self, image: Int, square: Int, row: Int, column: Int, channel: Int) -> None:
        """The 2x2 results of a square, handed to the epilogue."""
        b, block, scalar = self.b, self.block, self.scalar
        lanes = block.lanes
        type = vector(scalar, lanes)
        side = self.filter.columns.side
        for v in range(block.vectors):
            lines = []
            for i in range(self.filter.rows.side):
                line = []
                for j in range(side):
                    at = b.iadd(
                        b.imul(square, block.columns),
                        (side * i + j) * self.squares * block.columns + v * lanes,
                    )
                    pointer = b.pointer(self.products, at, scalar)
                    line.append(b.load(pointer, type, self.size * lanes))
                lines.append(line)
            found = filtering.both(b, lines, filtering.result)
            for number, value in enumerate(found):
                own = number * block.columns + v * lanes
                b.store(value, b.pointer(self.area, own, scalar), self.size * lanes)
        y: Int = b.imul(row, 2)
        x: Int = b.imul(column, 2)
        high: Int = 2 if self.height % 2 == 0 else b.imin(2, b.isub(self.height, y))
        wide: Int = 2 if self.width % 2 == 0 else b.imin(2, b.isub(self.width, x))
        with b.loop(0, high) as down:
            with b.loop(0, wide) as across:
                start = b.imul(b.iadd(b.imul(down, 2), across), block.columns)
                for v in range(block.vectors):
                    place = b.pointer(self.area, b.iadd(start, v * lanes), scalar)
                    value = b.load(place, type, self.size * lanes)
                    self._call(
                        value, (image, self._place(self.rows, b.iadd(y, down))),
                        self._place(self.columns, b.iadd(x, across)),
                        b.iadd(channel, v * lanes),
                    )  # fmt: skip

    def _place(self, axis: Axis, number: Int) -> Int:
        return self.b.iadd(self.b.imul(number, axis.step), axis.first)

    def _call(self, value: Operand, batch: tuple[Int, ...], place: Int, column: Int) -> None:
        """The epilogue for a vector that may pass the last channel."""
        b, lanes, finish = self.b, self.block.lanes, self.epilogue.finish
        if self.o % self.block.columns == 0:
            finish(b, value, batch, place, column, None)
            return
        mask = b.tail_mask(positive_left(b, self.o, column), lanes)
        if self.target.masked or self.o < lanes:
            finish(b, value, batch, place, column, mask)
            return
        whole = b.icmp("sle", b.int(b.iadd(column, lanes)), b.int(self.o))
        with b.when(whole):
            finish(b, value, batch, place, column, None)
        with b.when(b.binary("xor", whole, b.const("i1", 1))):
            finish(b, value, batch, place, column, mask)

    def _multiply_add(self, x: Operand, y: Operand, z: Operand) -> Operand:
        if self.block.pairs:
            return bfloat16.dot(self.b, x, y, z)
        if self.target.fma:
            return self.b.fma(x, y, z)
        return self.b.fadd(self.b.fmul(x, y), z)


def transform(
    b: Emitter, image: Image, squares: Squares, high: Int, across: int, to: Operand, step: int,
    corners: Sequence[tuple[Int, Int]], held: str,
) -> None:  # fmt: skip
    """All squares of an image, ``B' d B``: one after the other, the places ``step`` apart.

    ``corners``: where the first square begins in the image, and where its places go; one for each
    parity. ``held``: how they are kept; pairs are made with the next image of the copy.
    """
    starts = (0, image.image_size) if held == "i32" else (0,)
    block, scalar = image.block, image.scalar
    type = vector(scalar, block.lanes)
    rows, columns = squares.rows, squares.columns
    down, right = rows.stride * image.row_size, columns.stride * block.channels
    with b.loop(0, high) as r:
        with b.loop(0, across) as c:
            corner = b.iadd(b.imul(r, 2 * down), b.imul(c, 2 * right))
            square = b.imul(b.iadd(b.imul(r, across), c), block.channels)
            for first, result in corners:
                source = b.pointer(image.memory, b.iadd(corner, first), scalar)
                place = b.pointer(to, b.iadd(square, result), held)
                for v in range(0, block.channels, block.lanes):
                    made = [
                        filtering.both(
                            b,
                            [[b.load(b.pointer(source, start + i * down + j * right + v, scalar),
                                     type)
                              for j in range(columns.side)]
                             for i in range(rows.side)],
                            filtering.image,
                        )
                        for start in starts
                    ]  # fmt: skip
                    for number, values in enumerate(zip(*made, strict=True)):
                        at = b.pointer(place, number * step + v, held)
                        b.store(as_held(b, values, held), at)


__all__ = ["as_held", "form_of", "kernels", "transform", "weight_kernels"]
