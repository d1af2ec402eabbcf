"""Copies operands into the order in which the microkernel reads them.

b is packed into panels: for each step of k, ``columns`` elements of consecutive columns, aligned.
a keeps its direction (its elements are read one by one), converted and with a row length that
does not put all rows into the same sets of the cache; where neither stride is 1 it becomes rows.
"""

from __future__ import annotations

from collections.abc import Callable

from suiren.compiler.codegen.emitter import Emitter, Int, Operand
from suiren.compiler.codegen.matmul.operands import Reader, positive_left, transposed
from suiren.compiler.codegen.matmul.product import SIZES, Matrix
from suiren.compiler.codegen.matmul.tiles import Tile, rounded


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


def panel(
    b: Emitter, reader: Reader, k: int, n: int, column: Int, to: Operand, tile: Tile, masked: bool
) -> None:
    """Packs the panel of b that begins at ``column``: ``rounded(k, lanes)`` rows of room.

    Columns past n hold copies or nothing: what is computed with them is thrown away.
    """
    matrix, compute = reader.matrix, reader.compute
    width, columns = tile.lanes, tile.columns
    ragged = n % columns != 0

    def place(p: Int, j: Int) -> Operand:
        return b.pointer(to, b.iadd(b.imul(p, columns), j), compute)

    def scalars() -> None:
        with b.loop(0, columns) as j:
            source = b.imin(b.iadd(column, j), n - 1) if ragged else b.iadd(column, j)
            with b.loop(0, k) as p:
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

        unroll = next(u for u in (4, 3, 2, 1) if k % u == 0)
        with b.loop(0, k, unroll) as p:
            for u in range(unroll):
                step(b.iadd(p, u))

    def squares() -> None:
        with b.loop(0, k, width) as some:
            p = some if k % width == 0 else b.imin(some, k - width)
            for v in range(tile.vectors):
                lines = []
                for j in range(width):
                    source = b.iadd(column, v * width + j)
                    if ragged:
                        source = b.imin(source, n - 1)
                    lines.append(reader.read(p, source, width))
                for i, value in enumerate(transposed(b, lines)):
                    b.store(value, place(b.iadd(p, i), v * width), SIZES[compute] * width)

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


def layout(matrix: Matrix, rows: int, k: int, tile: Tile, compute: str) -> tuple[int, int, int]:
    """Row stride, column stride and number of elements of a block of a when packed."""
    by_columns = matrix.row_stride == 1 and matrix.column_stride != 1
    length, count = (rows, k) if by_columns else (k, rows)
    stride = rounded(length, tile.lanes)
    if stride * SIZES[compute] % 512 == 0:
        stride += 64 // SIZES[compute]
    size = stride * count + tile.lanes
    return (1, stride, size) if by_columns else (stride, 1, size)


def block(
    b: Emitter, reader: Reader, rows: int, first: Int, k: int, to: Operand,
    strides: tuple[int, int], tile: Tile, masked: bool, lines: tuple[Int, Int] | None = None,
) -> None:  # fmt: skip
    """Packs ``rows`` rows of a from ``first`` on; ``lines``: only these lines of the packed block.

    (A line is what is contiguous in it: a row, or a column if it is kept by columns.)
    """
    compute = reader.compute
    row_stride, column_stride = strides
    by_columns = row_stride == 1 and column_stride != 1
    direct = reader.matrix.column_stride == 1 or by_columns
    begin, end = lines or (0, k if by_columns else rows)
    with b.loop(begin, end) as i:

        def coordinates(j: Int, i: Int = i) -> tuple[Int, Int]:
            return (b.iadd(first, j), i) if by_columns else (b.iadd(first, i), j)

        def read(j: Int, width: int, mask: Operand | None) -> Operand:
            return reader.read(*coordinates(j), width, mask)

        def write(j: Int, value: Operand, i: Int = i) -> None:
            stride = column_stride if by_columns else row_stride
            b.store(value, b.pointer(to, b.iadd(b.imul(i, stride), j), compute))

        count = rows if by_columns else k
        if direct:
            line(b, count, tile.lanes, masked, read, write)
        else:
            with b.loop(0, count) as j:
                write(j, read(j, 0, None))
