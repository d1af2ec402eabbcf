"""Few rows (up to four) times a large matrix that lies in rows: memory is all that counts.

The matrix is read in long runs, four of its rows at a time, each multiplied into the sums of a
segment of columns, which stay in the first cache. (Tiles in registers would read it in short pieces
from far apart, which neither prefetching nor the translation of addresses can follow: measured, a
vector times 4096 x 4096 took 2.5 times as long.) So k is what is split into tasks, see ``chunks``.
"""

from __future__ import annotations

from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.matmul.operands import Reader, multiply_add
from suiren.compiler.codegen.matmul.product import SIZES, Finish, Part, Product
from suiren.compiler.codegen.matmul.tasks import index_of, share, unravelled
from suiren.compiler.codegen.matmul.tiles import parts, rounded
from suiren.compiler.target import Target

# Matrices of at least this many bytes, in rows of at least so many.
LARGE = 128 * 1024
ROW = 2048
# Sums that are kept at a time.
_SEGMENT = 4096


def suits(product: Product) -> bool:
    """Whether a product is of this kind."""
    if product.m > 4 or product.b.column_stride != 1 or product.k < 8:
        return False
    row = product.n * SIZES[product.b.scalar]
    return row >= ROW and product.k * row >= LARGE


def chunks(product: Product) -> int:
    """Into how many chunks k is best cut: by the bytes that are read."""
    size = product.k * product.n * SIZES[product.b.scalar] * product.batches
    segments = product.batches * parts(product.n, _SEGMENT // product.m)
    return max(1, min(16, size // (2 * LARGE), product.k // 32) // segments)


def part(product: Product, target: Target, finish: Finish, flipped: bool) -> Part:
    """The kernel; a task is a segment of columns of one batch."""
    compute, m, n, k = product.compute, product.m, product.n, product.k
    width = target.lanes(SIZES[compute])
    segment = min(_SEGMENT // m, rounded(n, width))
    segments = parts(n, segment)
    tasks = product.batches * segments if product.flops >= 200_000 else 1
    b = Emitter(target.function_attributes)
    sums = b.stack(compute, m * segment)
    type = vector(compute, width)
    size = SIZES[compute] * width
    zero = b.const(type, 0)

    def place(r: int, j: Int) -> Operand:
        return b.pointer(sums, b.iadd(r * segment, j), compute)

    with share(b, index_of(b, tasks), tasks, product.batches * segments) as index:
        batch = unravelled(b, b.idiv(index, segments), product.batch)
        column = b.imul(b.imod(index, segments), segment)
        left, right = (Reader(b, x, batch, compute) for x in (product.a, product.b))
        count = b.imin(b.isub(n, column), segment) if n % segment else segment
        whole = b.imul(b.idiv(count, width), width)
        ragged = n % width != 0
        with b.loop(0, segment, width) as j:
            for r in range(m):
                b.store(zero, place(r, j), size)

        def run(p: Int, steps: int) -> None:
            values = [
                [b.splat(left.read(r, b.iadd(p, u), 0), width) for u in range(steps)]
                for r in range(m)
            ]

            def at(j: Int, mask: Operand | None) -> None:
                some = [b.load(place(r, j), type, size) for r in range(m)]
                for u in range(steps):
                    value = right.read(b.iadd(p, u), b.iadd(column, j), width, mask)
                    for r in range(m):
                        some[r] = multiply_add(b, values[r][u], value, some[r], target.fma)
                for r in range(m):
                    b.store(some[r], place(r, j), size)

            with b.loop(0, whole, width) as j:
                at(j, None)
            if ragged:
                with b.when(b.icmp("slt", b.int(whole), b.int(count))):
                    at(whole, b.tail_mask(n % width, width))

        group = 4
        with b.loop(0, k // group * group, group) as p:
            run(p, group)
        if k % group:
            run(k // group * group, k % group)

        def end(j: Int, mask: Operand | None) -> None:
            for r in range(m):
                value = b.load(place(r, j), type, size)
                finish(b, value, batch, r, b.iadd(column, j), mask)

        if flipped:
            with b.loop(0, count) as j:
                value = b.const(type, 0)
                for r in range(m):
                    one = b.load(place(r, j), compute)
                    value = b.make(f"insertelement {value}, {one}, i64 {r}", type)
                finish(b, value, batch, b.iadd(column, j), 0, b.tail_mask(m, width))
        else:
            with b.loop(0, whole, width) as j:
                end(j, None)
            if ragged:
                with b.when(b.icmp("slt", b.int(whole), b.int(count))):
                    end(whole, b.tail_mask(n % width, width))
    name = f"matmul_rows_{product.batches}x{m}x{n}x{k}_{compute}"
    return Part(name, b.module(), tasks, False, product.flops)
