"""Copies operands into the order in which the microkernel reads them.

b is packed into panels: for each step of k, ``columns`` elements of consecutive columns, aligned.
a keeps its direction (its elements are read one by one): contiguous rows stay rows, converted and
of a length that does not put all of them into the same sets of the cache; contiguous columns become
panels of as many rows as a tile has. Where neither stride is 1 it becomes rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from suiren.compiler.codegen.emitter import Emitter, Int, Operand
from suiren.compiler.codegen.matmul.operands import Reader, positive_left, transposed
from suiren.compiler.codegen.matmul.product import SIZES, Matrix
from suiren.compiler.codegen.matmul.tiles import Tile, parts, rounded


def line(
    b: Emitter,
    count: int,
    width: int,
    masked: bool,
    read: Callable[[Int, int, Operand | None], Operand],
    write: Callable[[Int, Operand], None],
) -> None:
    """Copies ``count`` elements that are contiguous on both sides.

    With masks a whole vector is written at the end: leave room for it.
    """
    whole = count // width * width
    group = 4 * width
    grouped = whole // group * group
    with b.loop(0, grouped, group) as i:
        values = [read(b.iadd(i, j * width), width, None) for j in range(4)] if grouped else []
        for j, value in enumerate(values):
            write(b.iadd(i, j * width), value)
    for i in range(grouped, whole, width):
        write(i, read(i, width, None))
    if whole < count and masked:
        write(whole, read(whole, width, b.tail_mask(count - whole, width)))
    elif whole < count:
        with b.loop(whole, count) as i:
            write(i, read(i, 0, None))


# Where rows of the source are longer than a panel is wide, several panels are packed side by side,
# so many steps of k at a time: memory then is read in long runs, and from the first cache.
STEPS = 8


def in_steps(b: Emitter, index: Int, k: int) -> tuple[Int, Int]:
    """The ``index``-th range of STEPS steps."""
    begin = b.imul(index, STEPS)
    return begin, b.imin(b.iadd(begin, STEPS), k) if k % STEPS else b.iadd(begin, STEPS)


def panel(
    b: Emitter, reader: Reader, k: int, n: int, column: Int, to: Operand, tile: Tile, masked: bool,
    steps: tuple[Int, Int] | None = None,
) -> None:  # fmt: skip
    """Packs the panel of b that begins at ``column``: ``rounded(k, lanes)`` rows of room.

    ``steps``: only these (see ``in_steps``; where b's columns are neighbours).
    Columns past n hold copies or nothing: what is computed with them is thrown away.
    """
    matrix, compute = reader.matrix, reader.compute
    width, columns = tile.lanes, tile.columns
    ragged = n % columns != 0
    begin, end = steps or (0, k)

    def place(p: Int, j: Int) -> Operand:
        return b.pointer(to, b.iadd(b.imul(p, columns), j), compute)

    def scalars() -> None:
        with b.loop(0, columns) as j:
            source = b.imin(b.iadd(column, j), n - 1) if ragged else b.iadd(column, j)
            with b.loop(begin, end) as p:
                b.store(reader.read(p, source, 0), place(p, j))

    def rows() -> None:
        masks: list[Operand | None] = [None] * tile.vectors
        if ragged and masked:
            masks = [
                b.tail_mask(positive_left(b, n, b.iadd(column, v * width)), width)
                for v in range(tile.vectors)
            ]

        def step(p: Int) -> None:
            for v, mask in enumerate(masks):
                value = reader.read(p, b.iadd(column, v * width), width, mask)
                b.store(value, place(p, v * width), SIZES[compute] * width)

        unroll = next(u for u in (4, 2, 1) if k % u == 0)
        with b.loop(begin, end, unroll) as p:
            for u in range(unroll):
                step(b.iadd(p, u))

    def squares() -> None:
        with b.loop(0, k, width) as some:
            p = some if k % width == 0 else b.imin(some, k - width)
            with b.loop(0, columns, width) as start:
                lines = []
                for j in range(width):
                    source = b.iadd(b.iadd(column, start), j)
                    if ragged:
                        source = b.imin(source, n - 1)
                    lines.append(reader.read(p, source, width))
                for i, value in enumerate(transposed(b, lines)):
                    b.store(value, place(b.iadd(p, i), start), SIZES[compute] * width)

    if matrix.row_stride == 1 and matrix.column_stride != 1 and k >= width:
        squares()
    elif matrix.column_stride != 1:
        scalars()
    elif masked or not ragged:
        rows()
    else:
        inside = b.icmp("sle", b.int(b.iadd(column, columns)), b.int(n))
        with b.when(inside):
            ragged = False
            rows()
        with b.when(b.binary("xor", inside, b.const("i1", 1))):
            ragged = True
            scalars()


@dataclass(frozen=True)
class Layout:
    """How a block of a lies when packed: rows of even length, or panels of a tile's rows.

    In panels the rows of a tile are neighbours: ``row_stride`` 1. ``panel`` is the number of
    elements of one (0: no panels), with room behind it, since whole vectors are written.
    """

    row_stride: int
    column_stride: int
    panel: int
    size: int

    def place(self, row: Int, index: Int, b: Emitter) -> Int:
        """Where a panel begins, given its first row and its number in the block."""
        return b.imul(index, self.panel) if self.panel else b.imul(row, self.row_stride)


def layout(matrix: Matrix, rows: int, k: int, tile: Tile, compute: str) -> Layout:
    """The layout for a block of so many rows (in panels: a number that panels may pass)."""
    if matrix.row_stride == 1 and matrix.column_stride != 1:
        panel = rounded(k * tile.rows + tile.lanes, 64 // SIZES[compute])
        return Layout(1, tile.rows, panel, panel * parts(rows, tile.rows))
    stride = rounded(k, tile.lanes)
    if stride * SIZES[compute] % 512 == 0:
        stride += 64 // SIZES[compute]
    return Layout(stride, 1, 0, stride * rows + tile.lanes)


def row_lines(
    b: Emitter, reader: Reader, first: Int, begin: Int, end: Int, k: int, to: Operand,
    form: Layout, tile: Tile, masked: bool,
) -> None:  # fmt: skip
    """Packs rows ``first + begin`` to ``first + end`` of a, as rows."""
    with b.loop(begin, end) as i:

        def read(j: Int, width: int, mask: Operand | None, i: Int = i) -> Operand:
            return reader.read(b.iadd(first, i), j, width, mask)

        def write(j: Int, value: Operand, i: Int = i) -> None:
            index = b.iadd(b.imul(i, form.row_stride), j)
            b.store(value, b.pointer(to, index, reader.compute))

        if reader.matrix.column_stride == 1:
            line(b, k, tile.lanes, masked, read, write)
        else:
            with b.loop(0, k) as j:
                write(j, read(j, 0, None))


def row_panel(
    b: Emitter, reader: Reader, row: Int, steps: tuple[Int, Int], to: Operand, tile: Tile,
    masked: bool,
) -> None:  # fmt: skip
    """Packs the panel of a's rows from ``row`` on: its columns one after another."""
    whole = masked or reader.matrix.load is not None

    def step(p: Int, last: bool) -> None:
        for start in range(0, tile.rows, tile.lanes):
            count = min(tile.lanes, tile.rows - start)
            width, mask = count, None
            if count < tile.lanes and whole:
                width, mask = tile.lanes, b.tail_mask(count, tile.lanes)
            value = reader.read(b.iadd(row, start), p, width, mask)
            place = b.pointer(to, b.iadd(b.imul(p, tile.rows), start), reader.compute)
            if mask is None or not last:
                b.store(value, place)
            else:
                b.masked_store(value, place, mask)

    # Vectors are stored whole (under a mask it takes several times as long): what is too much is
    # written over by the next steps, but not behind the last ones, where another task may write.
    begin, end = steps
    tail = parts(rounded(tile.rows, tile.lanes) - tile.rows, tile.rows)
    middle = b.isub(end, tail)
    if isinstance(middle, int) and isinstance(begin, int):
        middle = max(begin, middle)
    else:
        middle = b.intrinsic("llvm.smax", "i64", b.int(begin), b.int(middle))
    with b.loop(begin, middle) as p:
        step(p, False)
    with b.loop(middle, end) as p:
        step(p, True)
