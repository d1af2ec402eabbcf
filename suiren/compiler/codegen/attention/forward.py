"""softmax(q k) v, a block of rows of q at a time."""

from __future__ import annotations

from suiren.compiler.codegen.attention.pieces import ROWS, TASKS, AttentionKernel
from suiren.compiler.codegen.emitter import Int, Variable
from suiren.compiler.codegen.matmul.tasks import share
from suiren.compiler.codegen.matmul.tiles import parts
from suiren.compiler.codegen.reductions import horizontal


class Attention(AttentionKernel):
    """softmax(q k) v."""

    def _plan(self) -> None:
        self._place("panels", self.inner * self.columns)
        self._place("values", self.outer * self.columns)
        self._place("queries", self.inner * ROWS)
        self._place("weights", self.stride * ROWS)
        self._place("largest", ROWS)
        self._place("factors", ROWS)

    def _tasks(self, wide: bool) -> int:
        blocks = parts(self.L, ROWS)
        self.shares = 1
        if self.heads < TASKS and self._flops() > 1e6:
            self.shares = max(1, min(parts(TASKS, self.heads), blocks // 4))
        count = self.heads * self.shares
        return count if not wide else min(count, TASKS)

    def _flops(self) -> float:
        return 2.0 * self.heads * self.L * self.S * (self.E + self.F)

    def _write(self, tasks: int) -> None:
        b = self.b
        blocks = parts(self.L, ROWS)
        self.to = self._result(self.node)
        self.kept = [self._result(self.parts.get(i)) for i in (1, 2)]
        with share(b, self.task, tasks, self.heads * self.shares) as number:
            self._enter_head(b.idiv(number, self.shares))
            some = b.imod(number, self.shares)
            self._panels(self.k, self.E, self.space.panels)
            self._rows(self.v, 0, self.columns, self.S, self.F, self.space.values)
            first = b.idiv(b.imul(some, blocks), self.shares)
            last = b.idiv(b.imul(b.iadd(some, 1), blocks), self.shares)
            with b.loop(first, last) as block:
                self._one_block(b.imul(block, ROWS))

    def _one_block(self, row: Int) -> None:
        b = self.b
        rows = self._block(row)
        steps = self.node.attributes[0]
        self._block_rows(self.q, row, self.E, self.space.queries)
        hiding = self._hiding(steps)
        begin: Int = 0
        end: Int = self.columns
        if hiding is None:
            self._scored(steps, row, rows, begin, end)
        else:
            # If what is hidden counts after all (a row that sees nothing), all is done again.
            low, high = (b.variable(x) for x in self._visible(hiding, row, rows))
            again = b.variable(b.const("i1", 1))
            with b.loop(0, 2):
                with b.when(again.get()):
                    begin, end = low.get(), high.get()
                    self._scored(steps, row, rows, begin, end)
                    fine = self._hidden_is_nothing(hiding, self.space.largest, rows)
                    fewer = b.icmp("ne", b.int(b.isub(end, begin)), b.int(self.columns))
                    wrong = b.binary("xor", fine, b.const("i1", 1))
                    again.set(b.binary("and", wrong, fewer))
                    low.set(b.select(again.get(), b.int(0), begin))
                    high.set(b.select(again.get(), b.int(self.columns), end))
            begin, end = low.get(), high.get()
        with b.loop(0, rows) as i:
            self._exponentials(i, begin, end)
        for kept, values in zip(self.kept, (self.space.largest, self.space.factors), strict=True):
            if kept is not None:
                start = b.iadd(b.imul(self.head, self.L), row)
                with b.loop(0, rows) as i:
                    self._put(self._element(values, i), kept, b.iadd(start, i))
        self._result_rows(row, rows, begin, end)

    def _scored(self, steps: tuple, row: Int, rows: Int, begin: Int, end: Int) -> None:
        """Scores, and the largest of each row."""
        b = self.b
        space = self.space
        self._scores(
            steps, space.queries, space.panels, self.E, space.weights, row, begin, end
        )
        with b.loop(0, rows) as i:
            low = b.const(self.type, float("-inf"))
            found = [b.variable(low), b.variable(low)]
            with b.loop(begin, end, self.step) as column:
                for v, one in enumerate(found):
                    x = self._load(self.space.weights, i, b.iadd(column, v * self.lanes))
                    one.set(self._function("max", one.get(), x))
            x = self._function("max", found[0].get(), found[1].get())
            self._put(horizontal(b, "max", self.kind, x), self.space.largest, i)

    def _exponentials(self, i: Int, begin: Int, end: Int) -> None:
        b = self.b
        largest = self._element(self.space.largest, i)
        if self.safe:
            none = b.fcmp("oeq", largest, b.const(self.compute, float("-inf")))
            largest = b.select(none, b.const(self.compute, 0), largest)
            self._put(largest, self.space.largest, i)
        largest = b.splat(largest, self.lanes)
        zero = b.const(self.type, 0)
        sums: list[Variable] = [b.variable(zero), b.variable(zero)]
        with b.loop(begin, end, self.step) as column:
            for v, one in enumerate(sums):
                at = self._in_block(self.space.weights, i, b.iadd(column, v * self.lanes))
                x = b.load(at, self.type, self.size * self.lanes)
                x = self._function("exp", b.fsub(x, largest))
                b.store(x, at, self.size * self.lanes)
                one.set(b.fadd(one.get(), x))
        total = horizontal(b, "sum", self.kind, b.fadd(sums[0].get(), sums[1].get()))
        one_ = b.const(self.compute, 1)
        if self.safe:
            nothing = b.fcmp("oeq", total, b.const(self.compute, 0))
            total = b.select(nothing, one_, total)
        self._put(b.fdiv(one_, total), self.space.factors, i)

    def _result_rows(self, row: Int, rows: Int, begin: Int, end: Int) -> None:
        b = self.b
        if self.to is None:
            return
        with b.loop(0, ROWS, self.tile_rows) as i:
            for start, vectors in self._chunks(self.F):
                at_a = self._in_block(self.space.weights, i, begin)
                at_b = b.pointer(
                    self.space.values, b.iadd(b.imul(begin, self.outer), start), self.compute
                )
                sums = self._multiply(
                    b.isub(end, begin), at_a, (self.stride, 1), at_b, self.outer, vectors
                )
                for r, line in enumerate(sums):
                    own = b.iadd(i, r)
                    with self._if_there(own, rows):
                        factor = b.splat(self._element(self.space.factors, own), self.lanes)
                        to = b.iadd(b.iadd(b.imul(self.head, self.L), row), own)
                        for v, value in enumerate(line):
                            column = start + v * self.lanes
                            self._store(b.fmul(value, factor), self.to, to, column, self.F)
