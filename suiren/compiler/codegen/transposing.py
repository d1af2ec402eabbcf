"""Loop nests that read across: what lies side by side in memory belongs to different rows.

Matrices and images are transposed so, and weights packed. Vectors along a row would have to be
gathered, an element from each line of the cache. Instead squares of as many rows as a vector has
lanes are read along memory and transposed in registers; then the rows are gone through one by one,
as ever. Some squares that lie side by side in memory follow each other, so that whole lines are
read while they are in the cache, and pages are changed seldom.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from suiren.compiler.codegen import arithmetic
from suiren.compiler.codegen.emitter import Int, Operand, vector
from suiren.compiler.codegen.expression import Root, Term
from suiren.compiler.codegen.matmul.operands import transposed
from suiren.compiler.codegen.strided import is_near
from suiren.compiler.index import Affine

if TYPE_CHECKING:
    from suiren.compiler.codegen.loops import LoopNest

FEWEST = 4  # rows that have to lie side by side: a vector of fewer is gathered
SQUARES = 32  # along memory, one after the other
UNITS = 32  # with fewer, long rows are cut as well
COLUMNS = 32  # vectors of a row, where it is cut
STRIP = 16  # rows gone through together where vectors are gathered
FEW_TERMS = 10  # of which all rows of a square are written out


@dataclass(frozen=True)
class Run:
    """Rows that lie side by side in what is read.

    ``variables``: the first changes fastest; ``sign``: whether memory goes up with them.
    """

    variables: tuple[int, ...]
    sign: int
    count: int

    def fits(self, at: Affine, sizes: list[int]) -> bool:
        """Whether what is read at this index lies so."""
        step = self.sign
        for v in self.variables:
            if at.coefficient(v) != step:
                return False
            step *= sizes[v]
        return True


def find_run(at: Affine, sizes: list[int], rows: int) -> Run:
    """The rows that lie side by side in an array read at this index."""
    variables: list[int] = []
    step = next((c for v, c in at.terms if abs(c) == 1 and v < rows), 1)
    sign = step
    while True:
        own = next((v for v, c in at.terms if c == step and v < rows and v not in variables), None)
        if own is None:
            return Run(tuple(variables), sign, abs(step))
        variables.append(own)
        step *= sizes[own]


class Squares:
    """The loops of a nest that reads across; ``units`` of them are shared out."""

    def __init__(self, nest: LoopNest, run: Run, loads: list[Term], width: int = 0):
        self.nest, self.run, self.loads = nest, run, loads
        # lanes, and the variable that vectors go along
        self.width, self.along = width or nest.width, len(nest.sizes) - 1 - bool(width)
        self.length = nest.sizes[self.along]
        self.outer = [v for v in range(self.along) if v not in run.variables]
        self.rows = min(run.count, SQUARES * self.width)  # of a unit
        self.bands = -(-run.count // self.rows)
        others = prod(nest.sizes[v] for v in self.outer) * self.bands
        self.columns = self.length if others >= UNITS else COLUMNS * self.width
        self.cuts = -(-self.length // self.columns)
        self.units = others * self.cuts

    def write(self, begin: Int, end: Int) -> None:
        """The units from ``begin`` on."""
        b, writer, width = self.nest.b, self.nest.writer, self.width
        with b.loop(begin, end) as unit:
            cut = b.imod(unit, self.cuts)
            unit = b.idiv(unit, self.cuts)
            band = b.imod(unit, self.bands)
            self.nest.decode(b.idiv(unit, self.bands), self.outer)
            writer.enter_row()
            first, left = b.imul(band, self.rows), b.imul(cut, self.columns)
            high = self._extent(first, self.rows, self.run.count, self.bands)
            wide = self._extent(left, self.columns, self.length, self.cuts)

            def down(column: Int, lanes: int) -> None:
                for start, stop, count in self._parts(high, self.run.count):
                    with b.loop(start, stop, width) as row:
                        self._square(b.iadd(first, row), count, b.iadd(left, column), lanes)

            for start, stop, lanes in self._parts(wide, self.length):
                with b.loop(start, stop, width) as column:
                    down(column, lanes)

    def _extent(self, start: Int, most: int, total: int, number: int) -> Int:
        b = self.nest.b
        return total if number == 1 else b.imin(most, b.isub(total, start))

    def _parts(self, extent: Int, total: int) -> list[tuple[Int, Int, int]]:
        """Where whole vectors begin and end, then the same of the rest, with its lanes."""
        b, width = self.nest.b, self.width
        whole = b.imul(b.idiv(extent, width), width)
        parts = [(0, whole, width), (whole, extent, total % width)]
        return [
            (start, stop, lanes) for start, stop, lanes in parts
            if lanes and not (isinstance(start, int) and start == stop)
        ]  # fmt: skip

    def _square(self, row: Int, count: int, column: Int, lanes: int) -> None:
        """``count`` rows of one vector, of which so many lanes are there."""
        b, nest, writer, width = self.nest.b, self.nest, self.nest.writer, self.width
        writer.enter_place(column, None)
        lines = [transposed(b, self._lines(term, row, count, lanes)) for term in self.loads]
        mask = None if lanes == width else b.tail_mask(lanes, width)
        stores = _stored(nest)

        def one(i: Int, values: list[Operand]) -> None:
            nest.decode(b.iadd(row, i), self.run.variables[::-1])
            writer.enter_row()
            nest._row_values(0)
            writer.enter_place(column, mask)
            for term, value in zip(self.loads, values, strict=True):
                writer.of_place[id(term)] = arithmetic.from_memory(b, value, term.dtype)
            nest._place(0, stores, [], [], 0)

        before = writer.row, writer.of_row
        if len(nest.resolver.terms) <= FEW_TERMS:
            for i in range(count):
                one(i, [line[i] for line in lines])
        else:
            self._one_by_one(lines, count, one)
        writer.row, writer.of_row = before

    def _one_by_one(self, lines: list[list[Operand]], count: int, one: Callable) -> None:
        """The rows of a square in a loop: kernels of many terms would be too long."""
        b, width = self.nest.b, self.width
        kinds = [arithmetic.STORED[term.dtype] for term in self.loads]
        areas = [b.stack(kind, width * width) for kind in kinds]
        for kind, area, line in zip(kinds, areas, lines, strict=True):
            for i, value in enumerate(line[:count]):
                b.store(value, b.pointer(area, i * width, kind))
        with b.loop(0, count) as number:
            at = b.imul(number, width)
            one(number, [
                b.load(b.pointer(area, at, kind), vector(kind, width))
                for kind, area in zip(kinds, areas, strict=True)
            ])  # fmt: skip

    def _lines(
        self, term: Term, row: Int, count: int, lanes: int, beside: Int = 0
    ) -> list[Operand]:
        """What lies side by side in memory from a row on, for each lane of a vector.

        ``beside``: how far from there, and from where the writer is.
        """
        b, writer, width = self.nest.b, self.nest.writer, self.width
        assert term.node is not None
        scalar, last = arithmetic.STORED[term.dtype], len(self.nest.sizes) - 1
        apart = self.run.variables if self.along == last else (*self.run.variables, last - 1, last)
        own = [(v, c) for v, c in term.at.terms if v not in apart]
        offset = b.iadd(writer.offset(Affine(term.at.const, tuple(own))), beside)
        # where memory goes down, the last row comes first
        if self.run.sign > 0:
            offset = b.iadd(offset, row)
        else:
            offset = b.isub(offset, b.iadd(row, count - 1))
        step, size = term.at.coefficient(self.along), term.node.numel
        some = None if count == width else b.tail_mask(count, width)
        found = []
        for u in range(width):
            at = b.iadd(offset, step * min(u, lanes - 1))
            mask = some
            if term.guards:  # some places may not be there
                places = b.binary("add", b.splat(b.int(at), width), b.counting(width))
                mask = b.icmp("ult", places, b.const(places.type, size))
                mask = mask if some is None else b.binary("and", mask, some)
            pointer = b.pointer(writer.buffer(term.node), at, scalar)
            if mask is None:
                found.append(b.load(pointer, vector(scalar, width)))
            else:
                found.append(b.masked_load(pointer, vector(scalar, width), mask))
        if self.run.sign < 0:
            found = [b.shuffle(x, x, self._turned(count)) for x in found]
        return found

    def _turned(self, count: int) -> list[int]:
        return [count - 1 - i for i in range(count)] + [-1] * (self.width - count)


class Pairs(Squares):
    """The same where neighbours come from places apart, two by two: weights for pairs of channels.

    What is read is stored as it is, the two of each pair side by side.
    """

    def _square(self, row: Int, count: int, column: Int, lanes: int) -> None:
        b, nest, writer, width = self.nest.b, self.nest, self.nest.writer, self.width
        (term,), (root,) = self.loads, _stored(nest)
        last, scalar = len(nest.sizes) - 1, arithmetic.STORED[term.dtype]
        start = b.imul(column, term.at.coefficient(self.along))
        sides = [
            transposed(b, self._lines(term, row, count, lanes, b.iadd(start, parity)))
            for parity in (0, term.at.coefficient(last))
        ]
        place = Affine(root.place.const, tuple([t for t in root.place.terms if t[0] < self.along]))
        mask = None if lanes == width else b.tail_mask(2 * lanes, 2 * width)
        before = writer.row, writer.of_row
        for i in range(count):
            nest.decode(b.iadd(row, i), self.run.variables[::-1])
            writer.enter_row()
            at = b.iadd(writer.offset(place), b.imul(column, 2))
            to = b.pointer(writer.buffer(nest._key(root)), at, scalar)
            order = [side * width + j for j in range(width) for side in (0, 1)]
            both = b.shuffle(sides[0][i], sides[1][i], order)
            if mask is None:
                b.store(both, to)
            else:
                b.masked_store(both, to, mask)
        writer.row, writer.of_row = before


def _pairs(nest: LoopNest) -> Pairs | None:
    """The squares of a nest that brings numbers of two bytes together by pairs."""
    last, stored = len(nest.sizes) - 1, _stored(nest)
    if nest.sizes[-1:] != [2] or nest.rows < 2 or len(_across(nest)) != 1 or len(stored) != 1:
        return None
    term, place = stored[0].term, stored[0].place
    if term.op != "load" or term.guards or term.dtype.itemsize != 2:
        return None
    width = nest.target.vector_bytes // 4
    run = find_run(term.at, nest.sizes, last - 1)
    if (
        term.at.coefficient(last - 1) in (0, 1) or nest.sizes[last - 1] < width
        or (place.coefficient(last), place.coefficient(last - 1)) != (1, 2)
        or run.count < FEWEST
    ):  # fmt: skip
        return None
    return Pairs(nest, run, [term], width)


def squares(nest: LoopNest) -> Squares | None:
    """The squares of a nest that reads across enough rows at once; None for any other."""
    found = _pairs(nest)
    if found is not None:
        return found
    loads = _across(nest)
    runs = [find_run(t.at, nest.sizes, nest.rows) for t in loads]
    best = max(runs, key=lambda run: run.count, default=None)
    if best is None or best.count < FEWEST:
        return None
    return Squares(nest, best, [t for t in loads if best.fits(t.at, nest.sizes)])


def gathers(nest: LoopNest) -> bool:
    """Whether vectors are gathered from lines of memory that the next rows need as well."""
    return bool(_across(nest)) and nest.row_count >= STRIP


def strips(nest: LoopNest, begin: Int, end: Int) -> None:
    """Strips of some rows by one vector: what is read stays in the first-level cache."""
    b, w, n = nest.b, nest.width, nest.sizes[-1]

    def rows(first: Int, stop: Int, column: Int, mask: Operand | None) -> None:
        with b.loop(first, stop) as row:
            nest.decode(row, range(nest.rows))
            nest.writer.enter_row()
            nest._row_values(0)
            nest.writer.enter_place(column, mask)
            nest._place(0, _stored(nest), [], [], 0)

    with b.loop(begin, end, STRIP) as first:
        stop = b.imin(b.iadd(first, STRIP), end)
        with b.loop(0, n // w * w, w) as column:
            rows(first, stop, column, None)
        if n % w:
            rows(first, stop, n // w * w, b.tail_mask(n % w, w))


def _across(nest: LoopNest) -> list[Term]:
    """What is read across, in a nest that may be walked in any order."""
    if nest.inner or nest.late or not nest.width or len(nest.sizes) - nest.rows != 1:
        return []
    if not all(root.full for root in nest.plain if root.node in nest.stored):
        return []  # these are stored once a row
    last, width = len(nest.sizes) - 1, nest.width

    def is_across(term: Term) -> bool:
        step = term.at.coefficient(last)
        if term.op != "load" or not term.inside or step in (0, 1):
            return False
        near = is_near(step, arithmetic.STORED[term.dtype], width)
        return not near or nest.sizes[-1] < width

    return [t for t in nest.resolver.terms.values() if is_across(t)]


def _stored(nest: LoopNest) -> list[Root]:
    return [root for root in nest.plain if root.node in nest.stored]
