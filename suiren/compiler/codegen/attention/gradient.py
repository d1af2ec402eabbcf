"""The gradients of attention by q, k and v, a block of rows of q at a time."""

from __future__ import annotations

from suiren.compiler.codegen.attention.pieces import ROWS, TASKS, AttentionKernel
from suiren.compiler.codegen.emitter import Int, Operand
from suiren.compiler.codegen.matmul.product import Matrix
from suiren.compiler.codegen.matmul.tasks import share
from suiren.compiler.codegen.matmul.tiles import parts, rounded
from suiren.compiler.codegen.reductions import horizontal
from suiren.compiler.fuse import Group
from suiren.compiler.target import Target


class Gradient(AttentionKernel):
    """The gradients by q, k and v."""

    def __init__(self, group: Group, target: Target):
        super().__init__(group, target)
        self.grad = self._matrix(self.views[3])
        k, v = self.k, self.v
        self.by_columns = Matrix(k.slot, k.offset, k.column_stride, k.row_stride, k.batch_strides,
                                 k.scalar)  # fmt: skip
        self.v_turned = Matrix(v.slot, v.offset, v.column_stride, v.row_stride, v.batch_strides,
                               v.scalar)  # fmt: skip

    def _plan(self) -> None:
        self._place("panels", self.inner * self.columns)
        self._place("v_panels", self.outer * self.columns)
        self._place("key_rows", self.inner * self.columns)
        self._place("by_k", self.inner * self.columns)
        self._place("by_v", self.outer * self.columns)
        self._place("queries", self.inner * ROWS)
        self._place("slopes", self.outer * ROWS)
        self._place("weights", self.stride * ROWS)
        self._place("products", self.stride * ROWS)

    def _tasks(self, wide: bool) -> int:
        return min(self.heads, TASKS) if wide else self.heads

    def _flops(self) -> float:
        return 2.0 * self.heads * self.L * self.S * (3 * self.E + 2 * self.F)

    def _write(self, tasks: int) -> None:
        b = self.b
        largest, factors = (b.buffer(self.slot(x)) for x in self.node.inputs[4:6])
        results = [self._result(x) for x in (self.node, self.parts.get(1), self.parts.get(2))]
        with share(b, self.task, tasks, self.heads) as head:
            self._enter_head(head)
            start = b.imul(head, self.L)
            self.largest = b.pointer(largest, start, self.compute)
            self.factors = b.pointer(factors, start, self.compute)
            self._panels(self.k, self.E, self.space.panels)
            self._panels(self.v_turned, self.F, self.space.v_panels)
            self._rows(self.by_columns, 0, self.columns, self.S, self.E, self.space.key_rows)
            for array, width in ((self.space.by_k, self.inner), (self.space.by_v, self.outer)):
                with b.loop(0, width * self.columns, self.lanes) as j:
                    b.store(b.const(self.type, 0), b.pointer(array, j, self.compute))
            with b.loop(0, parts(self.L, ROWS)) as block:
                self._one_block(b.imul(block, ROWS), results[0])
            for array, to, width in ((self.space.by_k, results[1], self.E),
                                     (self.space.by_v, results[2], self.F)):  # fmt: skip
                if to is not None:
                    self._copy_out(array, to, width)

    def _copy_out(self, array: Operand, to: Operand, width: int) -> None:
        b = self.b
        with b.loop(0, self.S) as row:
            for column in range(0, width, self.lanes):
                at = b.iadd(b.imul(row, rounded(width, self.lanes)), column)
                value = b.load(b.pointer(array, at, self.compute), self.type)
                own = b.iadd(b.imul(self.head, self.S), row)
                self._store(value, to, own, column, width)

    def _one_block(self, row: Int, to: Operand | None) -> None:
        b = self.b
        rows = self._block(row)
        steps, back = self.node.attributes[:2]
        self._block_rows(self.q, row, self.E, self.space.queries)
        self._block_rows(self.grad, row, self.F, self.space.slopes)
        hiding = self._hiding(steps)
        begin: Int = 0
        end: Int = self.columns
        if hiding is not None:
            low, high = self._visible(hiding, row, rows)
            largest = b.pointer(self.largest, row, self.compute)
            fine = self._hidden_is_nothing(hiding, largest, rows)
            for step in back:
                if step[0] in ("fill", "keep"):  # what is hidden has no gradient
                    fill = self.numbers[self.extra[step[2]]]
                    zero = b.fcmp("oeq", fill, b.const(self.compute, 0))
                    fine = b.binary("and", fine, zero)
            begin = b.select(fine, low, b.int(0))
            end = b.select(fine, high, b.int(self.columns))
        own = self.space
        self._scores(steps, own.queries, own.panels, self.E, own.weights, row, begin, end)
        self._scores(None, own.slopes, own.v_panels, self.F, own.products, row, begin, end)
        with b.loop(0, rows) as i:
            self._row(i, b.iadd(row, i), back, begin, end)
        for block, right, width, sums in (
            (self.space.weights, self.space.slopes, self.F, self.space.by_v),
            (self.space.products, self.space.queries, self.E, self.space.by_k),
        ):
            self._add_columns(block, right, width, sums, rows, begin, end)
        if to is not None:
            self._by_queries(row, rows, begin, end, to)

    def _row(self, i: Int, row: Int, back: tuple, begin: Int, end: Int) -> None:
        """Weights again, and the gradient of the scores, where the products lay."""
        b = self.b
        align = self.size * self.lanes
        largest = b.splat(self._element(self.largest, row), self.lanes)
        factor = b.splat(self._element(self.factors, row), self.lanes)
        zero = b.const(self.type, 0)
        sums = [b.variable(zero), b.variable(zero)]
        with b.loop(begin, end, self.step) as column:
            for v, one in enumerate(sums):
                at = b.iadd(column, v * self.lanes)
                place = self._in_block(self.space.weights, i, at)
                x = b.load(place, self.type, align)
                x = b.fmul(self._function("exp", b.fsub(x, largest)), factor)
                b.store(x, place, align)
                other = self._in_block(self.space.products, i, at)
                scaled = b.fmul(b.load(other, self.type, align), x)
                b.store(scaled, other, align)
                one.set(b.fadd(one.get(), scaled))
        total = horizontal(b, "sum", self.kind, b.fadd(sums[0].get(), sums[1].get()))
        total = b.splat(total, self.lanes)
        with b.loop(begin, end, self.step) as column:
            for v in range(2):
                at = b.iadd(column, v * self.lanes)
                tail = self._tail(at)
                place = self._in_block(self.space.products, i, at)
                scaled = b.load(place, self.type, align)
                x = b.fsub(scaled, b.fmul(self._load(self.space.weights, i, at), total))
                x = self._change(back, x, row, at, tail)
                if tail is not None:
                    x = b.select(tail, x, zero)
                b.store(x, place, align)

    def _add_columns(
        self, block: Operand, right: Operand, width: int, sums: Operand, rows: Int, begin: Int,
        end: Int,
    ) -> None:  # fmt: skip
        """The block, transposed, times rows of q or of the gradient, added to what is there."""
        b = self.b
        across = rounded(width, self.lanes)
        with b.loop(begin, end, self.tile_rows) as column:
            for start, vectors in self._chunks(width):
                at_a = b.pointer(block, column, self.compute)
                at_b = b.pointer(right, start, self.compute)
                found = self._multiply(
                    rows, at_a, (1, self.stride), at_b, across, vectors, 1
                )
                for r, line in enumerate(found):
                    for v, value in enumerate(line):
                        at = b.iadd(b.imul(b.iadd(column, r), across), start + v * self.lanes)
                        place = b.pointer(sums, at, self.compute)
                        b.store(b.fadd(b.load(place, self.type), value), place)

    def _by_queries(self, row: Int, rows: Int, begin: Int, end: Int, to: Operand) -> None:
        b = self.b
        with b.loop(0, ROWS, self.tile_rows) as i:
            for start, vectors in self._chunks(self.E):
                at_a = self._in_block(self.space.products, i, begin)
                at_b = b.pointer(
                    self.space.key_rows, b.iadd(b.imul(begin, self.inner), start), self.compute
                )
                found = self._multiply(
                    b.isub(end, begin), at_a, (self.stride, 1), at_b, self.inner, vectors
                )
                for r, line in enumerate(found):
                    own = b.iadd(i, r)
                    with self._if_there(own, rows):
                        place = b.iadd(b.iadd(b.imul(self.head, self.L), row), own)
                        for v, value in enumerate(line):
                            self._store(value, to, place, start + v * self.lanes, self.E)
