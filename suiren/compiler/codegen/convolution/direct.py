"""The direct convolution: tiles of places by vectors of result channels."""

from __future__ import annotations

from collections.abc import Callable

from suiren import dtypes
from suiren.compiler.codegen import bfloat16
from suiren.compiler.codegen.convolution.pieces import (
    Image,
    divisor,
    finish_channels,
    repeat,
    rows_together,
    steps,
)
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.kernel import Kernel, Slots
from suiren.compiler.codegen.products import Epilogue
from suiren.compiler.convolution import Axis, Block
from suiren.compiler.fuse import Group
from suiren.compiler.node import base_of
from suiren.compiler.target import Target

FEW_TASKS = 8  # with fewer, the result channels are shared out as well


def kernels(group: Group, target: Target) -> list[Kernel]:
    """A kernel for each phase of the result of the group's convolution."""
    node = group.product
    assert node is not None
    rows, columns = node.attributes[:2]
    made = []
    for row in rows:
        for column in columns:
            made.append(_Phase(group, target, row, column).kernel())
    for kernel in made:
        kernel.barrier = False
    return made


class _Phase:
    """Writes the kernel of one phase."""

    def __init__(self, group: Group, target: Target, rows: Axis, columns: Axis):
        node = group.product
        assert node is not None
        self.group, self.node, self.target = group, node, target
        self.rows, self.columns = rows, columns
        _, _, self.groups, self.c, self.o, self.block = node.attributes
        block: Block = self.block
        self.scalar = "double" if node.dtype is dtypes.float64 else "float"
        self.size = node.dtype.itemsize
        # how the image lies in memory, and what the weight's elements are: numbers, or pairs
        self.held, self.element = ("i16", "i32") if block.pairs else (self.scalar, self.scalar)
        self.images = node.shape[0]
        self.parts = -(-self.c // block.channels)
        self.blocks = -(-self.o // block.columns)
        self.tap = block.channels * block.columns  # elements of the weight for one tap
        if block.pairs:
            kh, line = node.inputs[1].shape[3:5]
            self.tap //= 2  # (of no meaning where pairs are not all of one tap)
            self.line = line * block.columns
        else:
            kh, kw = node.inputs[1].shape[3:5]
            self.line = kw * self.tap
        self.part = kh * self.line
        most = min((target.vector_registers - 1 - block.vectors) // block.vectors, 28)
        self._tile(max(1, most))
        self._tasks()

    def _tile(self, most: int) -> None:
        """Rows of a tile, and the widths of the tiles side by side."""
        wide = self.columns.count
        self.deep = max(1, min(most // wide, self.rows.count))
        count = -(-wide // most)
        short, longer = divmod(wide, count)
        self.widths = [(short + 1, longer, 0), (short, count - longer, longer * (short + 1))]

    def _tasks(self) -> None:
        size = 2 if self.block.pairs else self.size
        rows = rows_together(self.rows, self.columns, self.block, self.parts, size)
        if self.deep > 1 and rows < self.rows.count:
            rows = max(self.deep, rows // self.deep * self.deep)
        elif self.deep > 1:
            count = -(-self.rows.count // self.deep)  # tiles of rows, as equal as they can be
            self.deep = -(-self.rows.count // count)
        self.together = rows
        self.bands = -(-self.rows.count // rows)
        tasks = self.images * self.bands * self.groups
        self.shares = min(self.blocks, -(-FEW_TASKS // tasks))
        self.tasks = tasks * self.shares

    # ---- the kernel

    def kernel(self) -> Kernel:
        b = self.b = Emitter(self.target.function_attributes)
        b.fused = self.target.fma
        slot = Slots()
        x, w = (base_of(operand) for operand in self.node.inputs)
        self.epilogue = Epilogue(self.group, slot, self.node.shape[:2])
        source, weight = b.buffer(slot(x)), b.buffer(slot(w))
        for key in self.epilogue.prepare(self.target):
            slot(key)
        block = self.block
        self.image = Image(
            b, self.rows, self.columns, block, self.c, self.held, self.together, self.parts
        )
        pixels = max(self.deep, 1) * max(width for width, count, _ in self.widths if count)
        self.area = b.stack(self.scalar, pixels * block.columns)
        task = b.task if self.tasks > 1 else 0
        share = b.imod(task, self.shares)
        task = b.idiv(task, self.shares)
        which = b.imod(task, self.groups)
        task = b.idiv(task, self.groups)
        band = b.imod(task, self.bands)
        image = b.idiv(task, self.bands)
        first = b.imul(band, self.together)
        taps = self.rows.taps * self.columns.taps
        if taps:
            self.image.copy(
                source, image, first, self.parts, 0, self.c * self.groups, b.imul(which, self.c)
            )
        begin = b.idiv(b.imul(share, self.blocks), self.shares)
        end = b.idiv(b.imul(b.iadd(share, 1), self.blocks), self.shares)
        whole = self.parts * self.part
        start = self.rows.weight_first * self.line + self.columns.weight_first * self.tap
        with b.loop(begin, end) as i:
            number = b.iadd(b.imul(which, self.blocks), i)
            at = b.pointer(weight, b.iadd(b.imul(number, whole), start), self.element)
            column = b.imul(i, block.columns)
            self._rows(at, image, first, which, column)
        flops = 2.0 * self.images * self.rows.count * self.columns.count * taps * self.c
        name = f"convolve_{taps}x{self.c}x{self.o}"
        return Kernel(name, b.module(), self.tasks, list(slot), work=flops * self.o * self.groups)

    def _rows(self, weight: Operand, image: Int, first: Int, which: Int, column: Int) -> None:
        """All tiles of a band of rows, for one block of result channels."""
        b, deep, total = self.b, self.deep, self.rows.count
        count: Int = total if self.bands == 1 else b.imin(self.together, b.isub(total, first))
        whole = b.idiv(count, deep)
        if not isinstance(whole, int) or whole:
            with b.loop(0, whole) as i:
                self._across(weight, image, first, b.imul(i, deep), deep, which, column)
        rest = total % deep
        if rest:
            done = total - (self.bands - 1) * self.together - rest
            if self.bands == 1:
                self._across(weight, image, first, done, rest, which, column)
            else:
                with b.when(b.icmp("eq", b.int(b.iadd(first, done)), b.int(total - rest))):
                    self._across(weight, image, first, done, rest, which, column)

    def _across(
        self, weight: Operand, image: Int, first: Int, row: Int, deep: int, which: Int, column: Int
    ) -> None:
        b = self.b
        for width, count, start in self.widths:
            if count and width:
                with b.loop(0, count) as i:
                    left = b.iadd(b.imul(i, width), start)
                    sums = self._sums(weight, row, left, deep, width)
                    self._finish(sums, image, b.iadd(first, row), left, deep, width, which, column)

    def _sums(
        self, weight: Operand, row: Int, left: Int, deep: int, width: int
    ) -> list[list[Operand]]:
        """The tile's sums: [place][vector]."""
        b, block, image = self.b, self.block, self.image
        held, element, together = self.held, self.element, 2 if self.block.pairs else 1
        lanes, vectors = block.lanes, block.vectors
        type = vector(element, lanes)
        rows, columns = self.rows, self.columns
        zero = b.const(vector(self.scalar, lanes), 0)
        if not rows.taps or not columns.taps:
            return [[zero] * vectors for _ in range(deep * width)]
        places = [
            r * rows.stride * image.row_size + c * columns.stride * block.channels
            for r in range(deep)
            for c in range(width)
        ]
        corner = b.iadd(
            b.imul(row, rows.stride * image.row_size),
            b.imul(left, columns.stride * block.channels),
        )
        at = b.pointer(image.memory, corner, held)
        joined = columns.tap_step == columns.weight_step == 1
        numbers = block.channels * (columns.taps if joined else 1)
        count = numbers // together
        unroll = max(1, count) if count <= 6 else divisor(count, 4)

        def whole(at: Operand) -> Operand:
            return bfloat16.load_pairs(b, at) if block.pairs else b.load(at, held)

        def multiply(values: list[Operand], n: int, read: Callable = whole) -> list[Operand]:
            *sums, x, w = values
            for u in range(n):
                right = [
                    b.load(b.pointer(w, u * block.columns + v * lanes, element), type)
                    for v in range(vectors)
                ]
                for p, place in enumerate(places):
                    left = b.pointer(x, place + u * together, held)
                    value = b.splat(read(left), lanes)
                    for v in range(vectors):
                        s = p * vectors + v
                        sums[s] = self._multiply_add(value, right[v], sums[s])
            x, w = b.pointer(x, n * together, held), b.pointer(w, n * block.columns, element)
            return [*sums, x, w]

        def nested(inner, x_step: int, w_step: int):
            def body(values: list[Operand]) -> list[Operand]:
                x, w = values[-2:]
                sums = inner(values)[:-2]
                return [*sums, b.pointer(x, x_step, held), b.pointer(w, w_step, element)]

            return body

        def taps(values: list[Operand]) -> list[Operand]:
            values = steps(b, count, unroll, values, multiply)
            if numbers % together == 0:
                return values
            return multiply(values, 1, lambda at: bfloat16.last_pairs(b, at))

        def across(values: list[Operand]) -> list[Operand]:
            if joined:
                return taps(values)
            step = nested(taps, columns.tap_step * block.channels, columns.weight_step * self.tap)
            return repeat(b, columns.taps, values, step)

        def down(values: list[Operand]) -> list[Operand]:
            step = nested(across, rows.tap_step * image.row_size, rows.weight_step * self.line)
            return repeat(b, rows.taps, values, step)

        start = [zero] * (len(places) * vectors)
        through = nested(down, image.block_size, self.part)
        found = repeat(b, self.parts, [*start, at, weight], through)[:-2]
        return [found[i : i + vectors] for i in range(0, len(found), vectors)]

    def _multiply_add(self, x: Operand, y: Operand, z: Operand) -> Operand:
        if self.block.pairs:
            return bfloat16.dot(self.b, x, y, z)
        if self.target.fma:
            return self.b.fma(x, y, z)
        return self.b.fadd(self.b.fmul(x, y), z)

    # ---- results

    def _finish(
        self, sums: list[list[Operand]], image: Int, row: Int, left: Int, deep: int, width: int,
        which: Int, column: Int,
    ) -> None:  # fmt: skip
        """Lays the sums down, and hands them one by one to the epilogue."""
        b, block, scalar = self.b, self.block, self.scalar
        lanes = block.lanes
        for p, line in enumerate(sums):
            for v, value in enumerate(line):
                place = b.pointer(self.area, p * block.columns + v * lanes, scalar)
                b.store(value, place, self.size * lanes)
        with b.loop(0, deep) as r:
            with b.loop(0, width) as c:
                start = b.imul(b.iadd(b.imul(r, width), c), block.columns)
                for v in range(block.vectors):
                    at = b.pointer(self.area, b.iadd(start, v * lanes), scalar)
                    value = b.load(at, vector(scalar, lanes), self.size * lanes)
                    finish_channels(
                        b, self.target, self.epilogue.finish, self.o, lanes, value,
                        (image, self._place(self.rows, b.iadd(row, r))),
                        self._place(self.columns, b.iadd(left, c)),
                        b.iadd(column, v * lanes), b.imul(which, self.o), block.columns,
                    )  # fmt: skip

    def _place(self, axis: Axis, number: Int) -> Int:
        return self.b.iadd(self.b.imul(number, axis.step), axis.first)


__all__ = ["kernels"]
