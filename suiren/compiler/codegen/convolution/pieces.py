"""What both kernels are written with: repetition in registers, copies of images, tiles."""

from __future__ import annotations

from collections.abc import Callable

from suiren.compiler.codegen import bfloat16
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.emitter import lanes as lanes_of
from suiren.compiler.codegen.matmul.operands import positive_left
from suiren.compiler.convolution import Axis, Block
from suiren.compiler.target import Target

STACK = 192 * 1024  # bytes of image that a task copies for itself


def repeat(
    b: Emitter, count: Int, values: list[Operand], body: Callable[[list[Operand]], list[Operand]]
) -> list[Operand]:
    """``values = body(values)``, ``count`` (at least one) times; the values stay in registers.

    Written by hand as phis: nothing for LLVM to find out.
    """
    if isinstance(count, int) and count == 1:
        return body(values)
    again, done = b.labels("again", "repeated")
    before = b._block
    b.jump(again)
    b.label(again)
    hole = len(b.lines)
    names = [Operand(b.fresh(), value.type) for value in values]
    left = Operand(b.fresh(), "i64")
    after = body(names)
    fewer = b.make(f"add nsw i64 {left.text}, -1", "i64")
    go = b.icmp("ne", fewer, b.int(0))
    last = b._block
    b.branch(go, again, done)
    start = b.int(count).text
    b.lines[hole:hole] = [
        f"  {left.text} = phi i64 [ {start}, %{before} ], [ {fewer.text}, %{last} ]",
        *[
            f"  {name.text} = phi {name.type} [ {value.text}, %{before} ], [ {end.text}, %{last} ]"
            for name, value, end in zip(names, values, after, strict=True)
        ],
    ]
    b.label(done)
    return after


def steps(b: Emitter, count: int, unroll: int, values: list[Operand], step: Callable) -> list:
    """``values = step(values, n)`` for n steps at a time, ``count`` steps in all."""
    rounds, rest = divmod(count, unroll)
    if rounds:
        values = repeat(b, rounds, values, lambda own: step(own, unroll))
    return step(values, rest) if rest else values


def divisor(count: int, most: int) -> int:
    """The largest divisor up to ``most``, unless it is very small."""
    found = next(n for n in range(min(most, count), 0, -1) if count % n == 0)
    return found if 2 * found > most or found == count else min(most, count)


class Image:
    """A task's copy of rows of the image: [blocks of channels][image][row][column][channel].

    ``source`` is how numbers lie in the image, ``scalar`` how in the copy: i16 are bfloat16, and
    may be copied, widened to float, or joined to pairs (i32) with those of another image.
    """

    def __init__(
        self, b: Emitter, rows: Axis, columns: Axis, block: Block, channels: int, scalar: str,
        count: int, blocks: int, images: int = 1, source: str = "",
    ):  # fmt: skip
        self.b = b
        self.rows, self.columns = rows, columns
        self.block = block
        self.channels = channels  # of one group
        self.scalar = scalar
        self.source = source or scalar
        self.lanes = block.lanes if scalar != "i16" else 2 * block.lanes
        self.high = (count - 1) * rows.stride + max(rows.span, 1)
        self.wide = (columns.count - 1) * columns.stride + max(columns.span, 1)
        self.row_size = self.wide * block.channels
        self.image_size = self.high * self.row_size
        self.block_size = images * self.image_size
        self.size = blocks * self.block_size
        self.memory = b.stack(scalar, self.size + self.lanes)
        self.other: Pair | None = None

    def at(self, row: Int, column: Int) -> Int:
        """Where a place lies in a block of channels."""
        b = self.b
        return b.iadd(b.imul(row, self.row_size), b.imul(column, self.block.channels))

    def copy(
        self, source: Operand, image: Int, first: Int, blocks: Int, block: Int, pixel: int,
        channel: Int, to_image: Int = 0, other: Pair | None = None,
    ) -> None:  # fmt: skip
        """Copies what results from row ``first`` on need, of an image's channels from a block on.

        ``pixel``: elements from a place of the image to the next; ``channel``: where the group's
        channels begin. ``other``: the image to make pairs with.
        """
        b, rows, columns = self.b, self.rows, self.columns
        self.other = other
        start = b.iadd(b.imul(first, rows.stride), rows.offset)
        with b.loop(0, blocks) as i:
            own = b.imul(b.iadd(block, i), self.block.channels)
            at = b.iadd(channel, own)
            with b.loop(0, self.high) as j:
                row = b.iadd(start, j)
                to = b.iadd(b.imul(i, self.block_size), b.imul(to_image, self.image_size))
                to = b.iadd(to, b.imul(j, self.row_size))
                to_row = b.pointer(self.memory, to, self.scalar)
                inside = b.icmp("ult", b.int(row), b.int(rows.size))
                with b.when(inside):
                    line = b.iadd(b.imul(image, rows.size), row)
                    self._row(b.pointer(source, b.iadd(b.imul(
                        b.imul(line, columns.size), pixel), at), self.source), to_row, own, pixel)
                with b.when(b.binary("xor", inside, b.const("i1", 1))):
                    self._zero(to_row, 0, self.wide)

    def clear(self, image: int) -> None:
        """Zeros for an image (where there is one block of channels)."""
        at = self.b.pointer(self.memory, image * self.image_size, self.scalar)
        self._zero(at, 0, self.high * self.wide)

    def _row(self, source: Operand, to: Operand, own: Int, pixel: int) -> None:
        """A row: zeros, places of the image, zeros."""
        b, columns, size = self.b, self.columns, self.block.channels
        before = min(max(0, -columns.offset), self.wide)
        end = min(self.wide, columns.size - columns.offset)
        self._zero(to, 0, before)
        if end > before:
            source = b.pointer(source, (before + columns.offset) * pixel, self.source)
            at = b.pointer(to, before * size, self.scalar)
            if size == pixel:
                self._move(source, at, (end - before) * size)
            else:
                with b.loop(0, end - before) as i:
                    self._place(
                        b.pointer(source, b.imul(i, pixel), self.source),
                        b.pointer(at, b.imul(i, size), self.scalar),
                        own,
                    )
        self._zero(to, max(end, before), self.wide)

    def _place(self, source: Operand, to: Operand, own: Int) -> None:
        """The channels of one place, zeros where they end."""
        b, size, lanes = self.b, self.block.channels, self.lanes
        if self.channels % size == 0:
            self._move(source, to, size)
            return
        for i in range(0, size, lanes):
            some = min(lanes, size - i)
            left = b.isub(self.channels - i, own)
            if not isinstance(left, int):
                left = b.intrinsic("llvm.smax", "i64", left, b.int(0))
            mask = b.tail_mask(left if not isinstance(left, int) else max(left, 0), lanes)
            if some < lanes:
                mask = b.binary("and", mask, b.tail_mask(some, lanes))
            value = self._load(b.pointer(source, i, self.source), lanes, mask)
            self._put(value, b.pointer(to, i, self.scalar), some)

    def _move(self, source: Operand, to: Operand, count: int) -> None:
        b, lanes = self.b, self.lanes
        whole = count // lanes * lanes
        if whole:
            with b.loop(0, whole, lanes) as i:
                value = self._load(b.pointer(source, i, self.source), lanes)
                b.store(value, b.pointer(to, i, self.scalar))
        rest = count - whole
        if rest:
            source = b.pointer(source, whole, self.source)
            to = b.pointer(to, whole, self.scalar)
            at = 0
            while rest:
                while lanes > rest:
                    lanes //= 2
                value = self._load(b.pointer(source, at, self.source), lanes if lanes > 1 else 0)
                b.store(value, b.pointer(to, at, self.scalar))
                at, rest = at + lanes, rest - lanes

    def _load(self, source: Operand, width: int, mask: Operand | None = None) -> Operand:
        """Numbers of the image, as they lie in the copy."""
        value = _loaded(self.b, source, self.source, width, mask)
        if self.other is not None:
            return self.other.joined(self.b, value, source, mask)
        return value if self.source == self.scalar else bfloat16.widened(self.b, value)

    def _put(self, value: Operand, to: Operand, count: int) -> None:
        """The first lanes of a vector; what lies behind them is written later."""
        if count == self.lanes:
            self.b.store(value, to)
        else:
            self.b.masked_store(value, to, self.b.tail_mask(count, self.lanes))

    def _zero(self, to: Operand, first: int, end: int) -> None:
        b, lanes = self.b, self.lanes
        count = (end - first) * self.block.channels
        if count <= 0:
            return
        to = b.pointer(to, first * self.block.channels, self.scalar)
        whole = count // lanes * lanes
        zero = b.const(vector(self.scalar, lanes), 0)
        if whole:
            with b.loop(0, whole, lanes) as i:
                b.store(zero, b.pointer(to, i, self.scalar))
        if count - whole:
            with b.loop(whole, count) as i:
                b.store(b.const(self.scalar, 0), b.pointer(to, i, self.scalar))


class Pair:
    """The image that another makes pairs with: so many elements behind it, if it is there."""

    def __init__(self, distance: Int, there: Operand | None):
        self.distance = distance
        self.there = there  # i1; None: it is

    def second(
        self, b: Emitter, first: Operand, width: int, mask: Operand | None = None
    ) -> Operand:
        """What lies there as ``first`` (an address) lies in the other image; else zeros."""
        value = _loaded(b, b.pointer(first, self.distance, "i16"), "i16", width, mask)
        if self.there is None:
            return value
        return b.select(self.there, value, b.const(value.type, 0))

    def joined(self, b: Emitter, value: Operand, first: Operand, mask: Operand | None) -> Operand:
        """Pairs of what was loaded at ``first`` and what lies in this image."""
        return bfloat16.joined(b, value, self.second(b, first, lanes_of(value.type), mask))


def partner(b: Emitter, image: Int, images: int, size: int) -> Pair:
    """The image half the batch (rounded up) behind one of the first half."""
    half = -(-images // 2)
    if images % 2 == 0:
        return Pair(half * size, None)
    there = b.icmp("slt", b.int(b.iadd(image, half)), b.int(images))
    distance = b.select(there, b.int(half * size), b.int(0))
    return Pair(distance, there)


def _loaded(
    b: Emitter, address: Operand, scalar: str, width: int, mask: Operand | None
) -> Operand:
    type = vector(scalar, width)
    return b.load(address, type) if mask is None else b.masked_load(address, type, mask)


def rows_together(rows: Axis, columns: Axis, block: Block, blocks: int, size: int) -> int:
    """How many rows of results a task takes, so that its copy of the image is not too large."""
    wide = (columns.count - 1) * columns.stride + max(columns.span, 1)
    line = wide * block.channels * blocks * size
    most = (STACK // line - max(rows.span, 1)) // rows.stride + 1
    most = max(1, min(rows.count, most))
    return -(-rows.count // -(-rows.count // most))


def finish_channels(
    b: Emitter, target: Target, finish: Callable, count: int, lanes: int, value: Operand,
    batch: tuple[Int, ...], place: Int, channel: Int, before: Int = 0, together: int = 0,
) -> None:  # fmt: skip
    """The epilogue for a vector of channels from ``channel`` on, that may pass the last of them.

    ``before`` channels of other groups lie before these ``count``; vectors come in blocks of
    ``together`` channels.
    """
    at = b.iadd(before, channel)
    if count % (together or lanes) == 0:
        finish(b, value, batch, place, at, None)
        return
    if target.masked or count < lanes:
        mask = b.tail_mask(positive_left(b, count, channel), lanes)
        finish(b, value, batch, place, at, mask)
        return
    whole = b.icmp("sle", b.int(b.iadd(channel, lanes)), b.int(count))
    with b.when(whole):
        finish(b, value, batch, place, at, None)
    with b.when(b.binary("xor", whole, b.const("i1", 1))):
        mask = b.tail_mask(positive_left(b, count, channel), lanes)
        finish(b, value, batch, place, at, mask)
