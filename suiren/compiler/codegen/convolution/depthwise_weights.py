"""What the weight of a convolution that keeps channels apart gets: sums over all places.

Each tap of each channel is a sum of image times gradient. A task takes a part of the batch, and
goes over it by units of some rows that stay in the second-level cache; in a unit, the taps of a
vector of channels are added up in registers, and then added to the task's own sums in memory. A
second kernel adds these up, in order.
"""

from __future__ import annotations

from collections.abc import Iterator

from suiren import dtypes
from suiren.compiler.codegen.convolution.depthwise import (
    FEW_TASKS,
    PLACES,
    TASK_WORK,
    Channels,
    meetings,
    runs,
)
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, Variable, vector
from suiren.compiler.codegen.kernel import Kernel, Slots
from suiren.compiler.codegen.matmul.operands import multiply_add, positive_left
from suiren.compiler.codegen.matmul.tasks import share
from suiren.compiler.convolution import Axis
from suiren.compiler.fuse import Group
from suiren.compiler.node import base_of
from suiren.compiler.target import Target

PARTS = 16  # of the batch, each with sums of its own
UNIT = 256 * 1024  # bytes of image and gradient in a unit
TERMS = 1024  # added up one after the other, at most

Taps = list[tuple[int, int, int]]  # (row tap, first column tap, the one after the last)


class Sums:
    """Writes the kernels of a ``depthwise_sums`` node."""

    def __init__(self, group: Group, target: Target):
        node = group.roots[0]
        self.node, self.target = node, target
        self.rows: Axis = node.attributes[0]
        self.columns: Axis = node.attributes[1]
        self.spread: int = node.attributes[2]
        self.scalar = "double" if node.dtype is dtypes.float64 else "float"
        self.size = node.dtype.itemsize
        self.lanes = target.lanes(self.size)
        self.images = node.inputs[0].shape[0]
        self.results = node.shape[0]
        self.vectors = -(-self.results // self.lanes)
        self.taps = self.rows.taps * self.columns.taps
        self.one = self.taps * self.vectors * self.lanes  # elements of a part
        self.partial = ("scratch", node, 0)
        self.channels = self.results // self.spread
        self._tasks()

    def _tasks(self) -> None:
        rows, columns = self.rows, self.columns
        places = self.images * rows.count * columns.count
        self.work = 2.0 * places * self.results * self.taps
        line = columns.count * self.results + columns.size * self.channels * rows.stride
        together = min(UNIT // (line * self.size), TERMS // columns.count, rows.count)
        self.together = -(-rows.count // -(-rows.count // max(1, together)))
        self.bands = -(-rows.count // self.together)
        self.units = self.images * self.bands
        wanted = int(max(1, min(PARTS, self.work // TASK_WORK)))
        self.parts = min(wanted, self.units)
        self.shares = 1
        if self.parts < min(wanted, FEW_TASKS):
            self.shares = min(self.vectors, -(-min(wanted, FEW_TASKS) // self.parts))

    def kernels(self) -> list[Kernel]:
        """The parts' sums, and the adding up."""
        return [self._sums(), self._together()]

    def _pieces(self) -> Iterator[Taps]:
        """Taps whose sums have room in the registers together."""
        room = self.target.vector_registers - 6
        across = self.columns.taps
        if across > room:
            for i in range(self.rows.taps):
                for low in range(0, across, room):
                    yield [(i, low, min(low + room, across))]
            return
        for first in range(0, self.rows.taps, room // across):
            last = min(first + room // across, self.rows.taps)
            yield [(i, 0, across) for i in range(first, last)]

    def _sums(self) -> Kernel:
        b = self.b = Emitter(self.target.function_attributes)
        b.fused = self.target.fma
        slot = Slots()
        grad, x = (base_of(operand) for operand in self.node.inputs)
        self.grad, self.image, result = (b.buffer(slot(k)) for k in (grad, x, self.partial))
        lanes, type = self.lanes, vector(self.scalar, self.lanes)
        self.source = Channels(b, self.results, self.spread, 1, self.scalar, lanes)
        tasks = self.parts * self.shares
        task = b.task if tasks > 1 else 0
        number, part = b.imod(task, self.shares), b.idiv(task, self.shares)
        begin = b.idiv(b.imul(number, self.vectors), self.shares)
        end = b.idiv(b.imul(b.iadd(number, 1), self.vectors), self.shares)
        own = b.pointer(result, b.imul(part, self.one), self.scalar)
        step = self.taps * lanes
        with b.loop(b.imul(begin, self.taps), b.imul(end, self.taps)) as i:
            b.store(b.const(type, 0), b.pointer(own, b.imul(i, lanes), self.scalar))
        with share(b, part, self.parts, self.units) as unit:
            image = b.idiv(unit, self.bands)
            first = b.imul(b.imod(unit, self.bands), self.together)
            last: Int = self.rows.count
            if self.bands > 1:
                last = b.imin(b.iadd(first, self.together), self.rows.count)
            self._ask(image, first, last)
            with b.loop(begin, end) as j:
                self.source.enter(j)
                to = b.pointer(own, b.imul(j, step), self.scalar)
                for taps in self._pieces():
                    self._unit(image, first, last, j, to, taps)
        name = f"depthwise_sums_{self.rows.taps}x{self.columns.taps}x{self.results}"
        size = self.parts * self.one * self.size
        return Kernel(
            name, b.module(), tasks, list(slot), work=self.work, scratch=((self.partial, size),)
        )

    def _ask(self, image: Int, first: Int, last: Int) -> None:
        """Asks for all of a unit in the order of memory, before it is gone over by channels."""
        b, rows, columns = self.b, self.rows, self.columns
        step = 64 // self.size
        start = b.iadd(b.imul(first, rows.stride), rows.offset)
        high = b.imul(b.isub(last, first), rows.stride)
        for base, row, count, size, wide in (
            (self.grad, first, b.isub(last, first), rows.count, columns.count * self.results),
            (self.image, start, high, rows.size, columns.size * self.channels),
        ):
            at = b.imul(b.iadd(b.imul(image, size), row), wide)
            with b.loop(0, b.imul(count, wide), step) as i:
                b.prefetch(b.pointer(base, b.iadd(at, i), self.scalar))

    def _unit(
        self, image: Int, first: Int, last: Int, number: Int, to: Operand, taps: Taps
    ) -> None:
        """The sums of some taps of a vector of channels over a unit, added to the task's."""
        b, scalar, lanes = self.b, self.scalar, self.lanes
        type = vector(scalar, lanes)
        sums = {
            (i, t): b.variable(b.const(type, 0)) for i, low, high in taps for t in range(low, high)
        }
        mask = None
        if self.results % lanes:
            mask = b.tail_mask(positive_left(b, self.results, b.imul(number, lanes)), lanes)
        with b.loop(first, last) as y:
            line = b.iadd(b.imul(image, self.rows.count), y)
            at = b.imul(b.imul(line, self.columns.count), self.results)
            grad = b.pointer(self.grad, b.iadd(at, b.imul(number, lanes)), scalar)
            start = b.iadd(b.imul(y, self.rows.stride), self.rows.offset)
            for i, low, high in taps:
                row = b.iadd(start, i * self.rows.tap_step)
                above = b.imul(b.iadd(b.imul(image, self.rows.size), row), self.columns.size)
                own = [sums[i, t] for t in range(low, high)]
                if self._always(i):
                    self._row(grad, above, own, low, mask)
                    continue
                with b.when(b.icmp("ult", b.int(row), b.int(self.rows.size))):
                    self._row(grad, above, own, low, mask)
        for (i, t), total in sums.items():
            at = b.pointer(to, (i * self.columns.taps + t) * lanes, scalar)
            b.store(b.fadd(b.load(at, type), total.get()), at)

    def _always(self, tap: int) -> bool:
        """Whether this row tap meets a place of the image for all results."""
        rows = self.rows
        start = rows.offset + tap * rows.tap_step
        return start >= 0 and start + (rows.count - 1) * rows.stride < rows.size

    def _row(
        self, grad: Operand, above: Int, sums: list[Variable], first: int, mask: Operand | None
    ) -> None:
        """A row of places, for the column taps from ``first`` on."""
        b = self.b
        for run in runs(self.columns):
            low, high = max(run.low, first), min(run.high, first + len(sums))
            if low >= high:
                continue
            own = sums[low - first : high - first]
            whole, rest = divmod(run.count, PLACES)
            with b.loop(0, whole) as k:
                left = b.iadd(b.imul(k, PLACES), run.first)
                self._places(grad, above, own, left, PLACES, low, high, mask)
            if rest:
                left = whole * PLACES + run.first
                self._places(grad, above, own, left, rest, low, high, mask)

    def _places(
        self, grad: Operand, above: Int, sums: list[Variable], left: Int, width: int, low: int,
        high: int, mask: Operand | None,
    ) -> None:  # fmt: skip
        b, columns, scalar = self.b, self.columns, self.scalar
        type = vector(scalar, self.lanes)
        grads = []
        for i in range(width):
            at = b.pointer(grad, b.imul(b.iadd(left, i), self.results), scalar)
            grads.append(b.load(at, type) if mask is None else b.masked_load(at, type, mask))
        place = b.iadd(above, b.iadd(b.imul(left, columns.stride), columns.offset))
        image = b.pointer(self.image, b.imul(place, self.channels), scalar)
        values = [total.get() for total in sums]
        for offset, met in meetings(columns, width, low, high):
            (x,) = self.source.read(b.pointer(image, offset * self.channels, scalar))
            for i, t in met:
                values[t - low] = multiply_add(b, x, grads[i], values[t - low], self.target.fma)
        for total, value in zip(sums, values, strict=True):
            total.set(value)

    def _together(self) -> Kernel:
        """The parts added up, and taps brought behind channels."""
        b = Emitter(self.target.function_attributes)
        scalar, lanes, taps = self.scalar, self.lanes, self.taps
        type, index = vector(scalar, lanes), vector("i64", lanes)
        source, result = b.buffer(0), b.buffer(1)
        tasks = max(1, min(16, self.vectors, self.one * self.parts // 50_000))
        with share(b, b.task if tasks > 1 else 0, tasks, self.vectors) as j:
            first = b.imul(j, lanes)
            mask = None
            if self.results % lanes:
                mask = b.tail_mask(positive_left(b, self.results, first), lanes)
            with b.loop(0, taps) as t:
                at = b.pointer(source, b.imul(b.iadd(b.imul(j, taps), t), lanes), scalar)
                total = b.load(at, type)
                for part in range(1, self.parts):
                    total = b.fadd(total, b.load(b.pointer(at, part * self.one, scalar), type))
                to = b.pointer(result, b.iadd(b.imul(first, taps), t), scalar)
                places = b.binary("mul", b.counting(lanes), b.const(index, taps))
                b.scatter(total, to, places, mask)
        return Kernel("together", b.module(), tasks, [self.partial, self.node])


__all__ = ["Sums"]
