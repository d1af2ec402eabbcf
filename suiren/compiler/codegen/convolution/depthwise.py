"""Convolutions that keep channels apart: each result channel has taps over one image channel.

There is little to compute for each byte here, so nothing is copied: vectors of channels are read
from the image as it lies (channels-last), a tile of neighbouring places keeps its sums in
registers, and each vector read serves all taps that fall on it. Sums of a row wait on the stack,
until the epilogue takes them in the order of memory. Rows are gone over by channels, which the
machine cannot foresee: each tile asks for what the next row will need in its place.

Columns near the border, where some taps meet no place of the image, are ranges of their own with
the taps that are left: the code for the inside has neither masks nor comparisons. Of rows the taps'
range is worked out for each.

With ``spread`` > 1 as many neighbouring result channels read one channel of the image (a channel
multiplier); with ``planes`` > 1 a result channel adds up as many neighbouring channels (its
input gradient). The weight is [row tap, column tap, plane, result channel].
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from suiren import dtypes
from suiren.compiler.codegen.convolution.pieces import finish_channels
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.kernel import Kernel, Slots
from suiren.compiler.codegen.matmul.operands import multiply_add, positive_left
from suiren.compiler.codegen.matmul.tasks import share
from suiren.compiler.codegen.products import Epilogue
from suiren.compiler.convolution import Axis
from suiren.compiler.fuse import Group
from suiren.compiler.node import base_of
from suiren.compiler.target import Target

MOST_TASKS = 64
TASK_WORK = 400_000  # multiplications that are worth a task
FEW_TASKS = 8  # with fewer, the channels are shared out as well
PLACES = 8  # in a tile, at most
TAPS = 8  # in a row that are taken together, at most
LINE = 256  # places whose sums wait for the epilogue,
AREA = 48 * 1024  # and the bytes that they may take
FAR_AHEAD = 4  # lines of the cache asked for with each vector, at most


@dataclass(frozen=True)
class Run:
    """Neighbouring results of an axis for which the same taps meet places of the image."""

    first: int
    count: int
    low: int
    high: int


def runs(axis: Axis) -> list[Run]:
    """The results of an axis, by the taps that count."""
    found: list[Run] = []
    for i in range(axis.count):
        start = axis.stride * i + axis.offset
        taps = [t for t in range(axis.taps) if 0 <= start + axis.tap_step * t < axis.size]
        low, high = (taps[0], taps[-1] + 1) if taps else (0, 0)
        if found and (found[-1].low, found[-1].high) == (low, high):
            found[-1] = Run(found[-1].first, found[-1].count + 1, low, high)
        else:
            found.append(Run(i, 1, low, high))
    return found


def tap_range(b: Emitter, axis: Axis, start: Int) -> tuple[Int, Int]:
    """The taps of a result whose first tap lies at ``start`` that meet places of the image."""
    if axis.offset >= 0 and (
        axis.stride * (axis.count - 1) + axis.offset + axis.span <= axis.size
    ):
        return 0, axis.taps
    step = axis.tap_step
    low = b.idiv(b.iadd(positive_left(b, 0, start), step - 1), step)
    high = b.idiv(b.iadd(positive_left(b, axis.size, start), step - 1), step)
    return low, b.imin(high, axis.taps)


class Channels:
    """Reads vectors of the image for vectors of result channels."""

    def __init__(
        self, b: Emitter, results: int, spread: int, planes: int, scalar: str, lanes: int
    ):
        self.b, self.scalar, self.lanes = b, scalar, lanes
        self.results, self.spread, self.planes = results, spread, planes
        self.count = results // spread * planes  # of the image
        self.type = vector(scalar, lanes)
        self.own = lanes // spread * planes  # channels of the image for a vector
        self.mask: Operand | None = None
        self.index: Operand | None = None

    def enter(self, number: Int) -> None:
        """Before the vector of this number is read anywhere: what all its reads share."""
        b, lanes, spread = self.b, self.lanes, self.spread
        self.mask = self.index = None
        if lanes % spread:
            wide = vector("i64", lanes)
            first = b.splat(b.int(b.imul(number, lanes)), lanes)
            result = b.binary("add", first, b.counting(lanes))
            index = b.binary("udiv", result, b.const(wide, spread))
            last = b.const(wide, self.count - 1)
            self.index = b.intrinsic("llvm.umin", wide, index, last)
            return
        self.first = b.imul(number, self.own)
        if self.count % self.own:
            self.mask = b.tail_mask(positive_left(b, self.count, self.first), self.own)

    def read(self, place: Operand) -> list[Operand]:
        """The vectors, one a plane, from the first channel of a place on."""
        b, lanes = self.b, self.lanes
        if self.index is not None:
            return [b.gather(place, self.index, self.scalar)]
        at = b.pointer(place, self.first, self.scalar)
        if self.own == 1:
            return [b.splat(b.load(at, self.scalar), lanes)]
        type = vector(self.scalar, self.own)
        if self.mask is None:
            value = b.load(at, type)
        else:
            value = b.masked_load(at, type, self.mask)
        if self.spread > 1:
            return [b.shuffle(value, value, [i // self.spread for i in range(lanes)])]
        if self.planes == 1:
            return [value]
        return [
            b.shuffle(value, value, range(plane, self.own, self.planes))
            for plane in range(self.planes)
        ]


def kernels(group: Group, target: Target) -> list[Kernel]:
    """The kernel of a group with a ``depthwise`` node."""
    return [_Depthwise(group, target).kernel()]


class _Depthwise:
    def __init__(self, group: Group, target: Target):
        node = group.product
        assert node is not None
        self.group, self.node, self.target = group, node, target
        self.rows: tuple[Axis, ...] = node.attributes[0]
        self.columns: tuple[Axis, ...] = node.attributes[1]
        self.spread, self.planes = node.attributes[2:]
        self.scalar = "double" if node.dtype is dtypes.float64 else "float"
        self.lanes = target.lanes(node.dtype.itemsize)
        self.images, _, _, self.results = node.shape
        self.vectors = -(-self.results // self.lanes)
        _, self.taps, _, self.padded = node.inputs[1].shape  # column taps, padded channels
        most = max(axis.taps for axis in self.columns)
        most = target.vector_registers - 2 - min(most, TAPS) - self.planes
        self.places = max(1, min(PLACES, most))
        self._tasks()

    def _tasks(self) -> None:
        taps = sum(row.taps * column.taps for row in self.rows for column in self.columns)
        phases = len(self.rows) * len(self.columns)
        self.work = 2.0 * self.node.numel * taps / phases * self.planes
        high = max(axis.count for axis in self.rows)
        wanted = int(max(1, min(MOST_TASKS, self.work // TASK_WORK)))
        self.together = -(-high // min(high, -(-wanted // self.images)))
        self.bands = -(-high // self.together)
        self.units = self.images * self.bands
        self.parts = min(wanted, self.units)
        self.shares = 1
        if self.parts < min(wanted, FEW_TASKS):
            self.shares = min(self.vectors, -(-min(wanted, FEW_TASKS) // self.parts))
        self.tasks = self.parts * self.shares

    def kernel(self) -> Kernel:
        b = self.b = Emitter(self.target.function_attributes)
        b.fused = self.target.fma
        slot = Slots()
        x, w = (base_of(operand) for operand in self.node.inputs)
        self.epilogue = Epilogue(self.group, slot, self.node.shape[:2])
        self.image, self.weight = b.buffer(slot(x)), b.buffer(slot(w))
        for key in self.epilogue.prepare(self.target):
            slot(key)
        self.channels = Channels(
            b, self.results, self.spread, self.planes, self.scalar, self.lanes
        )
        self.wide = self.node.shape[2]
        wide = min(LINE, self.wide)
        room = AREA // (wide * self.lanes * self.node.dtype.itemsize)
        self.chunk = max(1, min(self.vectors, room))  # vectors of channels in the area
        self.area = b.stack(self.scalar, wide * self.chunk * self.lanes)
        task = b.task if self.tasks > 1 else 0
        number, part = b.imod(task, self.shares), b.idiv(task, self.shares)
        begin = b.idiv(b.imul(number, self.vectors), self.shares)
        end = b.idiv(b.imul(b.iadd(number, 1), self.vectors), self.shares)
        high = max(axis.count for axis in self.rows)
        with share(b, part, self.parts, self.units) as unit:
            image = b.idiv(unit, self.bands)
            first = b.imul(b.imod(unit, self.bands), self.together)
            last: Int = high
            if self.bands > 1:
                last = b.imin(b.iadd(first, self.together), high)
            with b.loop(first, last) as i:
                for axis in self.rows:
                    if axis.count == high:
                        self._row(axis, image, i, begin, end)
                        continue
                    with b.when(b.icmp("slt", b.int(i), b.int(axis.count))):
                        self._row(axis, image, i, begin, end)
        taps = f"{max(a.taps for a in self.rows)}x{max(a.taps for a in self.columns)}"
        name = f"depthwise_{taps}x{self.results}"
        return Kernel(name, b.module(), self.tasks, list(slot), work=self.work)

    def _row(self, axis: Axis, image: Int, number: Int, begin: Int, end: Int) -> None:
        """A row of results, of all phases that lie in it."""
        b = self.b
        start = b.iadd(b.imul(number, axis.stride), axis.offset)
        low, high = tap_range(b, axis, start)
        place = b.iadd(b.imul(number, axis.step), axis.first)
        above = b.imul(image, axis.size)
        with b.loop(begin, end, self.chunk) as first:
            last = b.imin(b.iadd(first, self.chunk), end) if self.vectors > self.chunk else end
            lines = [_Line(self, axis, own, (start, low, high), above) for own in self.columns]
            if self.wide <= LINE:
                self._whole(lines, image, place, first, last)
            else:
                self._pieces(lines, image, place, first, last)

    def _whole(self, lines: list[_Line], image: Int, row: Int, first: Int, last: Int) -> None:
        """A row that is finished together, whatever phases its columns have."""
        with self.b.loop(first, last) as j:
            for line in lines:
                line.enter(j, self.b.isub(j, first))
                for run in runs(line.columns):
                    line.sums(run, 0, run.count, run.first)
        self._finish((0, 1, self.wide), image, row, first, last)

    def _pieces(self, lines: list[_Line], image: Int, row: Int, first: Int, last: Int) -> None:
        """A long row: some places after others, one phase after the other."""
        b = self.b
        for line in lines:
            columns, line.apart = line.columns, (0, 1)
            for run in runs(columns):
                with _several(b, run.count, LINE) as (moved, some):
                    with b.loop(first, last) as j:
                        line.enter(j, b.isub(j, first))
                        line.sums(run, moved, some, 0)
                    left = b.imul(b.iadd(moved, run.first), columns.step)
                    places = (b.iadd(left, columns.first), columns.step, some)
                    self._finish(places, image, row, first, last)

    def _finish(
        self, places: tuple[Int, int, Int], image: Int, row: Int, first: Int, last: Int
    ) -> None:
        """Hands sums to the epilogue: (the first place of the row, the step, how many)."""
        b, lanes, size = self.b, self.lanes, self.node.dtype.itemsize
        left, step, count = places
        with b.loop(0, count) as i:
            place = b.iadd(left, b.imul(i, step))
            with b.loop(first, last) as j:
                at = b.iadd(b.imul(i, self.chunk), b.isub(j, first))
                pointer = b.pointer(self.area, b.imul(at, lanes), self.scalar)
                value = b.load(pointer, vector(self.scalar, lanes), size * lanes)
                finish_channels(
                    b, self.target, self.epilogue.finish, self.results, lanes, value,
                    (image, row), place, b.imul(j, lanes),
                )  # fmt: skip


class _Line:
    """Writes the sums of one vector of channels for a row of results."""

    def __init__(
        self, kernel: _Depthwise, rows: Axis, columns: Axis, taps: tuple[Int, Int, Int], above: Int
    ):
        self.kernel, self.rows, self.columns = kernel, rows, columns
        self.start, self.low, self.high = taps
        self.above = above
        self.apart = (columns.first, columns.step)  # places of the area: the first, and the step
        self.pixel = kernel.channels.count
        self.number: Int = 0
        self.weight = kernel.weight

    def enter(self, number: Int, place: Int) -> None:
        """Before the sums of the vector of this number, which has this place in the area."""
        kernel, b = self.kernel, self.kernel.b
        kernel.channels.enter(number)
        self.number = place
        self.weight = b.pointer(kernel.weight, b.imul(number, kernel.lanes), kernel.scalar)

    def _ask_ahead(self, column: Int, width: int) -> None:
        """Asks for what the next row needs that this one did not, as wide as a tile."""
        kernel, b, rows, columns = self.kernel, self.kernel.b, self.rows, self.columns
        own, size = kernel.channels.own, kernel.node.dtype.itemsize
        lines = rows.stride * columns.stride * -(-own * size // 64)
        first = rows is kernel.rows[0] and columns is kernel.columns[0]
        if not first or kernel.channels.index is not None or lines > FAR_AHEAD:
            return
        for i in range(rows.stride):
            row = b.iadd(self.above, b.iadd(self.start, rows.span + i))
            place = b.imul(b.iadd(b.imul(row, columns.size), column), self.pixel)
            at = b.pointer(kernel.image, b.iadd(place, kernel.channels.first), kernel.scalar)
            for j in range(columns.stride * width):
                for k in range(0, own, 64 // size):
                    b.prefetch(b.pointer(at, j * self.pixel + k, kernel.scalar))

    def sums(self, run: Run, moved: Int, count: Int, at: int) -> None:
        """A run's sums, from its place ``moved`` on, into the area from ``at`` on."""
        b, places = self.kernel.b, self.kernel.places
        if isinstance(count, int):
            pieces = -(-count // places)
            short, longer = divmod(count, pieces)
            widths = [(short + 1, longer, 0), (short, pieces - longer, longer * (short + 1))]
        else:  # the last of several lines
            whole = b.idiv(count, places)
            with b.loop(0, whole) as i:
                self._tile(run, b.iadd(moved, b.imul(i, places)), b.imul(i, places), places)
            with b.loop(b.imul(whole, places), count) as i:
                self._tile(run, b.iadd(moved, i), i, 1)
            return
        for width, number, first in widths:
            if number and width:
                with b.loop(0, number) as i:
                    own = b.iadd(b.imul(i, width), first)
                    self._tile(run, b.iadd(moved, own), b.iadd(own, at), width)

    def _tile(self, run: Run, left: Int, at: Int, width: int) -> None:
        """The sums of ``width`` places from the run's place ``left`` on."""
        kernel, b, columns = self.kernel, self.kernel.b, self.columns
        scalar, lanes, planes = kernel.scalar, kernel.lanes, kernel.planes
        type = vector(scalar, lanes)
        zero = b.const(type, 0)
        sums = [b.variable(zero) for _ in range(width)]
        column = b.iadd(b.imul(b.iadd(left, run.first), columns.stride), columns.offset)
        self._ask_ahead(column, width)
        if run.high > run.low:
            with b.loop(self.low, self.high) as t:
                row = b.iadd(self.above, b.iadd(self.start, b.imul(t, self.rows.tap_step)))
                place = b.iadd(b.imul(row, columns.size), column)
                image = b.pointer(kernel.image, b.imul(place, self.pixel), scalar)
                tap = b.iadd(b.imul(t, self.rows.weight_step), self.rows.weight_first)
                line = b.imul(tap, kernel.taps * planes * kernel.padded)
                weight = b.pointer(self.weight, line, scalar)
                values = [total.get() for total in sums]
                for low in range(run.low, run.high, TAPS):
                    high = min(low + TAPS, run.high)
                    values = self._taps(image, weight, values, low, high)
                for total, value in zip(sums, values, strict=True):
                    total.set(value)
        for i, total in enumerate(sums):
            first, step = self.apart
            number = b.iadd(b.imul(b.iadd(at, i), step), first)
            number = b.iadd(b.imul(number, kernel.chunk), self.number)
            place = b.pointer(kernel.area, b.imul(number, lanes), scalar)
            b.store(total.get(), place, kernel.node.dtype.itemsize * lanes)

    def _taps(
        self, image: Operand, weight: Operand, sums: list[Operand], low: int, high: int
    ) -> list[Operand]:
        """The sums with the taps low..high-1 of a row added: each place is read once."""
        kernel, b, columns = self.kernel, self.kernel.b, self.columns
        scalar, planes = kernel.scalar, kernel.planes
        type = vector(scalar, kernel.lanes)
        factors = {}
        for t in range(low, high):
            tap = (columns.weight_first + columns.weight_step * t) * planes
            for plane in range(planes):
                at = b.pointer(weight, (tap + plane) * kernel.padded, scalar)
                factors[t, plane] = b.load(at, type)
        sums = list(sums)
        for offset, met in meetings(columns, len(sums), low, high):
            values = kernel.channels.read(b.pointer(image, offset * self.pixel, scalar))
            for i, t in met:
                for plane, value in enumerate(values):
                    sums[i] = multiply_add(
                        b, value, factors[t, plane], sums[i], kernel.target.fma
                    )
        return sums


def meetings(
    axis: Axis, width: int, low: int, high: int
) -> list[tuple[int, list[tuple[int, int]]]]:
    """Places of the image, from that of a tile's first tap on: (result, tap) that meet there."""
    found: dict[int, list[tuple[int, int]]] = {}
    for i in range(width):
        for t in range(low, high):
            found.setdefault(axis.stride * i + axis.tap_step * t, []).append((i, t))
    return sorted(found.items())


@contextmanager
def _several(b: Emitter, count: int, most: int) -> Iterator[tuple[Int, Int]]:
    """``count`` places, ``most`` at a time: (how many were before, how many now)."""
    if count <= most:
        yield 0, count
        return
    with b.loop(0, count, most) as moved:
        yield moved, b.imin(most, b.isub(count, moved))


__all__ = ["Channels", "Run", "kernels", "meetings", "runs", "tap_range"]
