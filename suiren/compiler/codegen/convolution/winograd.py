"""Convolutions of 3x3 by Winograd's minimal filtering: four results of 16 multiplications.

F(2x2, 3x3) of "Fast Algorithms for Convolutional Neural Networks" (Lavin & Gray, 2015): squares of
4x4 places, two apart, and the kernel are transformed by additions; each of the 16 places of the
squares is then a matrix product over channels; additions make 2x2 results of the products. The
constants are 1 and 1/2, so that rounding stays that of a direct convolution, about.

A task transforms the squares of a band of rows once and goes over all blocks of result channels;
everything between stays in the second-level cache.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from suiren import dtypes
from suiren.compiler.codegen.convolution.pieces import Image, repeat, steps
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.loops import Kernel
from suiren.compiler.codegen.matmul.operands import positive_left
from suiren.compiler.codegen.matmul.tasks import share
from suiren.compiler.codegen.products import Epilogue
from suiren.compiler.convolution import Axis, Block
from suiren.compiler.fuse import Group
from suiren.compiler.graph import base_of
from suiren.compiler.target import Target

SQUARES = 384 * 1024  # bytes of transformed squares in a task,
LEAST = 14  # but so many squares at least, for each reading of the weight
FEW_TASKS = 8


def kernels(group: Group, target: Target) -> list[Kernel]:
    """The transformation of the weight, and the convolution."""
    written = Winograd(group, target)
    return [written.weight_kernel(), written.kernel()]


class Winograd:
    """Writes the kernels of a ``winograd`` node."""

    def __init__(self, group: Group, target: Target):
        node = group.product
        assert node is not None
        self.group, self.node, self.target = group, node, target
        rows, columns, self.c, self.o, block, self.turned = node.attributes
        self.block: Block = block
        self.scalar = "double" if node.dtype is dtypes.float64 else "float"
        self.size = node.dtype.itemsize
        self.images, self.height, self.width, _ = node.shape
        self.parts = self.c // block.channels
        self.blocks = -(-self.o // block.columns)
        self.down, self.across = -(-self.height // 2), -(-self.width // 2)
        self.rows: Axis = replace(rows, count=2 * self.down)
        self.columns: Axis = replace(columns, count=2 * self.across)
        self.line = self.c * block.columns  # elements of the weight for one of the 16 places
        self.weight = ("scratch", node, 0)
        one = self.c * 16 * self.size * self.across
        most = max(1, SQUARES // one, -(-LEAST // self.across))
        most = min(self.down, most)
        self.together = -(-self.down // -(-self.down // most))  # rows of squares in a task
        self.bands = -(-self.down // self.together)
        self.squares = self.together * self.across
        tasks = self.images * self.bands
        self.shares = min(self.blocks, -(-FEW_TASKS // tasks))
        self.tasks = tasks * self.shares
        most = max(1, (target.vector_registers - 1 - block.vectors) // block.vectors)
        count = -(-self.squares // min(most, 14))
        short, longer = divmod(self.squares, count)
        self.widths = [(short + 1, longer, 0), (short, count - longer, longer * (short + 1))]

    # ---- the weight

    def weight_kernel(self) -> Kernel:
        """[block, place, channel, column] of the transformed weight."""
        b = self.b = Emitter(self.target.function_attributes)
        block, scalar, lanes = self.block, self.scalar, self.block.lanes
        w = base_of(self.node.inputs[1])
        source, result = b.buffer(0), b.buffer(1)
        per_result, per_channel = (9, self.o * 9) if self.turned else (self.c * 9, 9)
        units = self.blocks * self.c
        tasks = max(1, min(32, units // 64))
        index = b.constants(vector("i64", lanes), [i * per_result for i in range(lanes)])
        half = b.const(vector(scalar, lanes), 0.5)
        with share(b, b.task if tasks > 1 else 0, tasks, units) as unit:
            number, channel = b.idiv(unit, self.c), b.imod(unit, self.c)
            for v in range(block.vectors):
                column = b.iadd(b.imul(number, block.columns), v * lanes)
                mask = None
                if self.o % block.columns:
                    mask = b.tail_mask(positive_left(b, self.o, column), lanes)
                at = b.iadd(b.imul(column, per_result), b.imul(channel, per_channel))
                taps = []
                for t in range(9):
                    place = b.pointer(source, b.iadd(at, 8 - t if self.turned else t), scalar)
                    taps.append(b.gather(place, index, scalar, mask))

                def spread(x: list[Operand]) -> list[Operand]:
                    ends = b.fadd(x[0], x[2])
                    plus, minus = b.fadd(ends, x[1]), b.fsub(ends, x[1])
                    return [x[0], b.fmul(plus, half), b.fmul(minus, half), x[2]]

                lines = [spread(taps[3 * i : 3 * i + 3]) for i in range(3)]
                square = [spread([line[j] for line in lines]) for j in range(4)]  # [j][i]
                to = b.iadd(b.imul(number, 16 * self.line), b.imul(channel, block.columns))
                for i in range(4):
                    for j in range(4):
                        own = b.iadd(to, (4 * i + j) * self.line + v * lanes)
                        b.store(square[j][i], b.pointer(result, own, scalar), self.size * lanes)
        size = self.blocks * 16 * self.line * self.size
        return Kernel(
            "winograd_weight", b.module(), tasks, [w, self.weight],
            scratch=((self.weight, size),),
        )  # fmt: skip

    # ---- the convolution

    def kernel(self) -> Kernel:
        b = self.b = Emitter(self.target.function_attributes)
        b.fused = self.target.fma
        keys: list[Any] = []

        def slot(key: Any) -> int:
            if key not in keys:
                keys.append(key)
            return keys.index(key)

        block, scalar = self.block, self.scalar
        self.epilogue = Epilogue(self.group, slot, self.node.shape[:2])
        source = b.buffer(slot(base_of(self.node.inputs[0])))
        weight = b.buffer(slot(self.weight))
        for key in self.epilogue.prepare(self.target):
            slot(key)
        self.image = Image(
            b, self.rows, self.columns, block, self.c, scalar, self.size, 2 * self.together, 1
        )
        # the transformed squares: [place][part][square][channel]; the products: [place][square]
        self.part = self.squares * block.channels
        self.squared = b.stack(scalar, 16 * self.parts * self.part)
        self.products = b.stack(scalar, 16 * self.squares * block.columns)
        self.area = b.stack(scalar, 4 * block.columns)
        task = b.task if self.tasks > 1 else 0
        number = b.imod(task, self.shares)
        task = b.idiv(task, self.shares)
        band, image = b.imod(task, self.bands), b.idiv(task, self.bands)
        first = b.imul(band, self.together)
        high: Int = self.down
        if self.bands > 1:
            high = b.imin(self.together, b.isub(self.down, first))
        with b.loop(0, self.parts) as part:
            self.image.copy(source, image, b.imul(first, 2), 1, part, self.c, 0)
            to = b.pointer(self.squared, b.imul(part, self.part), scalar)
            transform(
                b, self.image, self.together, self.across, block, scalar, to,
                self.parts * self.part,
            )  # fmt: skip
        begin = b.idiv(b.imul(number, self.blocks), self.shares)
        end = b.idiv(b.imul(b.iadd(number, 1), self.blocks), self.shares)
        with b.loop(begin, end) as i:
            at = b.pointer(weight, b.imul(i, 16 * self.line), scalar)
            with b.loop(0, 16) as place:
                self._multiply(at, place)
            with b.loop(0, high) as r:
                with b.loop(0, self.across) as c:
                    self._results(image, r, first, c, b.imul(i, block.columns))
        flops = 2.0 * 9 * self.images * self.height * self.width * self.c * self.o
        return Kernel(
            f"winograd_{self.c}x{self.o}", b.module(), self.tasks, keys, work=flops
        )

    def _multiply(self, weight: Operand, place: Int) -> None:
        """The product over channels at one place of all squares."""
        b, block, scalar = self.b, self.block, self.scalar
        lanes, vectors = block.lanes, block.vectors
        type = vector(scalar, lanes)
        w = b.pointer(weight, b.imul(place, self.line), scalar)
        x = b.pointer(self.squared, b.imul(place, self.parts * self.part), scalar)
        to = b.pointer(self.products, b.imul(place, self.squares * block.columns), scalar)
        for width, count, start in self.widths:
            if not count or not width:
                continue

            def multiply(values: list[Operand], n: int, width: int = width) -> list[Operand]:
                *sums, at_x, at_w = values
                for u in range(n):
                    right = [
                        b.load(b.pointer(at_w, u * block.columns + v * lanes, scalar), type,
                               self.size * lanes)
                        for v in range(vectors)
                    ]  # fmt: skip
                    for p in range(width):
                        element = b.pointer(at_x, p * block.channels + u, scalar)
                        left = b.splat(b.load(element, scalar), lanes)
                        for v in range(vectors):
                            s = p * vectors + v
                            sums[s] = self._multiply_add(left, right[v], sums[s])
                step = b.pointer(at_w, n * block.columns, scalar)
                return [*sums, b.pointer(at_x, n, scalar), step]

            def parts(values: list[Operand]) -> list[Operand]:
                at_x = values[-2]
                *sums, _, at_w = steps(b, block.channels, 4, values, multiply)  # noqa: B023
                return [*sums, b.pointer(at_x, self.part, scalar), at_w]

            with b.loop(0, count) as i:
                square = b.iadd(b.imul(i, width), start)
                at = b.pointer(x, b.imul(square, block.channels), scalar)
                values = [b.const(type, 0)] * (width * vectors) + [at, w]
                *sums, _, _ = repeat(b, self.parts, values, parts)
                for s, value in enumerate(sums):
                    p = b.iadd(b.imul(square, block.columns), s * lanes)
                    b.store(value, b.pointer(to, p, scalar), self.size * lanes)

    def _results(self, image: Int, row: Int, first: Int, column: Int, channel: Int) -> None:
        """The 2x2 results of a square, handed to the epilogue."""
        b, block, scalar = self.b, self.block, self.scalar
        lanes = block.lanes
        type = vector(scalar, lanes)
        square = b.iadd(b.imul(row, self.across), column)

        def folded(x: list[Operand]) -> list[Operand]:
            return [b.fadd(b.fadd(x[0], x[1]), x[2]), b.fsub(b.fsub(x[1], x[2]), x[3])]

        for v in range(block.vectors):
            lines = []
            for i in range(4):
                line = []
                for j in range(4):
                    at = b.iadd(
                        b.imul(square, block.columns),
                        (4 * i + j) * self.squares * block.columns + v * lanes,
                    )
                    pointer = b.pointer(self.products, at, scalar)
                    line.append(b.load(pointer, type, self.size * lanes))
                lines.append(folded(line))
            for j in range(2):
                for i, value in enumerate(folded([line[j] for line in lines])):
                    own = (2 * i + j) * block.columns + v * lanes
                    b.store(value, b.pointer(self.area, own, scalar), self.size * lanes)
        y: Int = b.imul(b.iadd(first, row), 2)
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
                        value, (image, b.iadd(y, down)), b.iadd(x, across),
                        b.iadd(channel, v * lanes),
                    )  # fmt: skip

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
        if self.target.fma:
            return self.b.fma(x, y, z)
        return self.b.fadd(self.b.fmul(x, y), z)


def transform(
    b: Emitter, image: Image, high: Int, across: int, block: Block, scalar: str, to: Operand,
    step: int,
) -> None:  # fmt: skip
    """All squares of an image, ``B' d B``: one after the other, the 16 places ``step`` apart."""
    type = vector(scalar, block.lanes)

    def turned(x: list[Operand]) -> list[Operand]:
        return [b.fsub(x[0], x[2]), b.fadd(x[1], x[2]), b.fsub(x[2], x[1]), b.fsub(x[1], x[3])]

    with b.loop(0, high) as r:
        with b.loop(0, across) as c:
            corner = b.iadd(b.imul(r, 2 * image.row_size), b.imul(c, 2 * block.channels))
            square = b.imul(b.iadd(b.imul(r, across), c), block.channels)
            for v in range(0, block.channels, block.lanes):
                lines = []
                for i in range(4):
                    line = []
                    for j in range(4):
                        at = b.iadd(corner, i * image.row_size + j * block.channels + v)
                        line.append(b.load(b.pointer(image.memory, at, scalar), type))
                    lines.append(turned(line))
                for j in range(4):
                    for i, value in enumerate(turned([line[j] for line in lines])):
                        at = b.iadd(square, (4 * i + j) * step + v)
                        b.store(value, b.pointer(to, at, scalar))


__all__ = ["kernels", "transform"]
