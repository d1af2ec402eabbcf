"""Loop nests: a group of elementwise work and reductions as one kernel.

The rows are shared out in tasks. In each row the inside is walked once for every level: reductions
of one walk are known in the next, which finds the row in the first-level cache; dear values needed
again (the exponentials of softmax) are kept in a scratch row. A group without rows is one flat
loop, cut in chunks. Late reductions are added up by each task for itself, and a second kernel adds
the tasks' results in order: the split is by shape, so the bits do not depend on the number of
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

from suiren import dtypes
from suiren.compiler.codegen import arithmetic, transposing
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.expression import Resolver, Root, Term
from suiren.compiler.codegen.kernel import Kernel
from suiren.compiler.codegen.reductions import BLOCK, Accumulators, combine, join, neutral
from suiren.compiler.codegen.values import Writer
from suiren.compiler.fuse import Group
from suiren.compiler.index import Affine
from suiren.compiler.node import Node
from suiren.compiler.target import Target

TASK_WORK = 180_000  # in element operations: some four microseconds
MAX_TASKS = 128
MAX_PARTIALS = 32  # tasks of a kernel whose results have to be put together
SCRATCH_BYTES = 32 * 1024  # of values kept for later walks of a row
UNROLL = 4  # accumulators of a reduction along vectors


class LoopNest:
    """Writes one group; see the module's text."""

    def __init__(self, group: Group, target: Target):
        self.group = group
        self.target = target
        self.resolver = Resolver(group)
        self.resolver.coarsen()
        self.sizes = self.resolver.sizes
        assert self.resolver.rows is not None
        self.rows: int = self.resolver.rows
        self.roots = self.resolver.roots
        self.stored = set(group.stores)
        self.row_count = prod(self.sizes[: self.rows])
        self.inside = prod(self.sizes[self.rows :])
        self.inner = [r for r in self.roots if r.node in group.inner]
        self.late = [r for r in self.roots if r.node in group.late]
        self.plain = [r for r in self.roots if r.node.op != "reduce"]
        self.width = self._width() if self.inside > 1 else 0
        self.flat = self.rows == 0 and not self.inner and self.inside > 1
        self.squares = transposing.squares(self)
        self.work = self._work()
        self._divide()
        self.blocks: dict[Node, Operand] = {}  # columns of the present block of rows
        self.kept_terms: dict[int, tuple[Operand, int]] = {}
        self.walking = 0  # the level of the present walk of a row
        self.origins: dict[int, Node] = {}  # constant parts of offsets that are looked up

    # ---- sizes

    def _width(self) -> int:
        sizes = [
            t.dtype.itemsize for t in self.resolver.terms.values()
            if t.inside and t.dtype.category >= dtypes.FLOATING and t.dtype.itemsize >= 4
        ] or [4]  # fmt: skip
        width = self.target.vector_bytes // max(sizes)
        while width > 4 and width // 2 >= self.inside:
            width //= 2
        return width

    def _work(self) -> float:
        each = 2.0 * len(self.roots)
        for term in self.resolver.terms.values():
            each += 12 if term.dear else 3 if term.op in ("load", "take") else 1
        return each * self.row_count * self.inside

    def _divide(self) -> None:
        """Decides tasks: of rows, or of chunks of the flat loop."""
        limit = MAX_PARTIALS if self.late else MAX_TASKS
        wanted = int(min(limit, max(1, self.work // TASK_WORK)))
        if wanted < 2:
            wanted = 1
        self.kept = prod(self.sizes[: self.resolver.kept_rows or 0])
        columns = any(_after(r.node) > 1 for r in self.late)
        units = self.row_count
        if self.flat:
            lanes_ = max(1, self.width)
            self.chunk = -(-self.inside // wanted)
            self.chunk = -(-self.chunk // lanes_) * lanes_
            self.tasks = -(-self.inside // self.chunk)
            return
        if columns and self.kept > 1:
            units = self.kept
        if self.squares is not None:
            units = self.squares.units
        self.chunk = -(-units // min(wanted, units))
        self.tasks = -(-units // self.chunk)

    # ---- the kernel

    def kernels(self) -> list[Kernel]:
        """The loops, and the adding up of partial results."""
        b = Emitter(self.target.function_attributes)
        b.fused = self.target.fma
        self.b = b
        self.accumulators = Accumulators(b)
        self.writer = Writer(b, self.sizes, self.rows, self.width)
        targets = {target for target, _ in self.group.targets.values()}
        self.writer.written = frozenset(self.stored | {r.node for r in self.late} | targets)
        self.writer.saved = self._load_kept
        if self.origins:
            held = {const: b.held(self.writer.slot(x)) for const, x in self.origins.items()}
            self.writer.origin = lambda const: held.get(const, const)
        self.writer.term_of = {r.node: r.term for r in self.plain}
        self.levels = 1 + max((self._level(r) for r in self.roots), default=0)
        self._plan_kept()
        begin = b.imul(b.task, self.chunk) if self.tasks > 1 else 0
        if self.tasks > 1:
            total = self.inside if self.flat else self._units()
            end = b.imin(b.iadd(begin, self.chunk), total)
        else:
            end = self.inside if self.flat else self._units()
        self._begin_totals()
        if self.flat:
            self._flat(begin, end)
        elif self.squares is not None:
            self.squares.write(begin, end)
        elif self.kept > 1 and self._columns():
            with b.loop(begin, end) as kept:
                self.decode(kept, range(self.resolver.kept_rows or 0))
                self._row_loop(0, self.row_count // self.kept, self.resolver.kept_rows or 0)
        else:
            self._row_loop(begin, end, 0)
        self._end_totals()
        name = "+".join(dict.fromkeys(r.node.op for r in self.roots))
        first = Kernel(name, b.module(), self.tasks, list(self.writer.slot), work=self.work)
        first.level = {r.node: self._level(r) for r in self.roots}
        first.read_until = self._read_until()
        parts = [first]
        partial = [r for r in self.late if self._is_partial(r)]
        if partial:
            first.scratch = tuple(
                (("partial", r.node), self.tasks * r.node.numel * r.node.dtype.itemsize)
                for r in partial
            )
            parts.append(combine([r.node for r in partial], self.tasks, self.target))
        return parts

    def _read_until(self) -> dict[Node, int]:
        found: dict[Node, int] = {}
        terms = {r.node: r.term for r in self.plain}
        for level in range(self.levels):
            todo = [r.term for r in self.roots if self._level(r) == level]
            seen: set[int] = set()
            while todo:
                term = todo.pop()
                if id(term) in seen:
                    continue
                seen.add(id(term))
                if term.op in ("load", "take"):
                    found[term.node] = level  # type: ignore[index]
                elif term.op == "root" and term.node in terms:
                    todo.append(terms[term.node])
                todo.extend(term.inputs)
        return found

    def _units(self) -> int:
        if self.squares is not None:
            return self.squares.units
        return self.kept if self.kept > 1 and self._columns() else self.row_count

    def _columns(self) -> list[Root]:
        return [r for r in self.late if _after(r.node) > 1]

    def _is_partial(self, root: Root) -> bool:
        """Whether every task has a result of its own for this late reduction."""
        return self.tasks > 1 and not (_after(root.node) > 1 and self.kept > 1)

    @staticmethod
    def _level(root: Root) -> int:
        return root.term.level

    # ---- rows

    def decode(self, number: Int, variables: Sequence[int]) -> None:
        """These variables from their joint number, the last one changing fastest."""
        b = self.b
        for v in reversed(variables[1:]):
            self.writer.variables[v] = b.imod(number, self.sizes[v])
            number = b.idiv(number, self.sizes[v])
        for v in variables[:1]:
            self.writer.variables[v] = number

    def _row_loop(self, begin: Int, end: Int, first: int) -> None:
        b = self.b
        if transposing.gathers(self):
            transposing.strips(self, begin, end)
            return
        self._clear_columns()
        if not self._in_blocks():
            with b.loop(begin, end) as row:
                self._one_row(row, first)
            return
        self._row_blocks(begin, end, first, 2 if self._row_number() > BLOCK * BLOCK else 1)

    def _row_blocks(self, begin: Int, end: Int, first: int, depth: int) -> None:
        """The rows by blocks of blocks; the columns of each are added up by themselves."""
        b = self.b
        if not depth:
            with b.loop(begin, end) as row:
                self._one_row(row, first)
            return
        outer = self.blocks
        own = {
            r.node: b.stack(arithmetic.STORED[r.node.dtype], self.inside) for r in self._columns()
        }
        with b.loop(begin, end, BLOCK**depth) as start:
            self.blocks = own
            self._clear_columns()
            self._row_blocks(start, b.imin(b.iadd(start, BLOCK**depth), end), first, depth - 1)
            self.blocks = outer
            if depth == 1:
                self._settle(self.late)
            self._every_column(lambda root: self._add_to_column(root, own[root.node]))

    def _row_number(self) -> int:
        """How many rows a task adds up."""
        return self.row_count // self.kept if self.kept > 1 else self.chunk

    def _in_blocks(self) -> bool:
        columns = self._columns()
        bytes_ = sum(self.inside * r.node.dtype.itemsize for r in columns)
        settled = any(self.accumulators.is_settled(r.node) for r in self.late)
        long = self._row_number() > 2 * BLOCK
        return (bool(columns) or settled) and long and bytes_ <= SCRATCH_BYTES

    def _one_row(self, row: Int, first: int) -> None:
        self.decode(row, range(first, self.rows))
        self.writer.enter_row()
        for level in range(self.levels):
            if level:
                self.writer.enter_walk()
            self._row_values(level)
            self._walk(level)
        if self.inside >= 8 * UNROLL * max(1, self.width):  # else after some rows
            self._settle([r for r in self.late if r.full])

    def _row_values(self, level: int) -> None:
        """What is computed once a row: roots of rows, and late reductions of such values."""
        writer = self.writer
        for root in self.plain:
            if root.full or self._level(root) != level:
                continue
            value = writer.value(root.term)
            writer.known[root.node] = value
            if root.node in self.stored:
                with self._scalar():
                    writer.store(value, root.node.dtype, self._key(root), root.place)
        for root in self.late:
            if not root.full and self._level(root) == level:
                self.accumulators.add(root.node, 0, writer.value(root.term))

    @contextmanager
    def _scalar(self) -> Iterator[None]:
        mask, self.writer.mask = self.writer.mask, None
        yield
        self.writer.mask = mask

    def _walk(self, level: int) -> None:
        """One walk of the row: everything of this level that differs inside it."""
        self.walking = level
        plain = [r for r in self.plain if r.full and self._level(r) == level]
        stores = [r for r in plain if r.node in self.stored]
        inner = [r for r in self.inner if self._level(r) == level]
        late = [r for r in self.late if r.full and self._level(r) == level]
        if not (stores or inner or late):
            return
        unroll = self._unroll(level)
        many = self.inside > 2 * BLOCK * unroll * max(1, self.width)
        for root in inner:
            self.accumulators.begin(root.node, unroll, self.width, many)

        def place(u: int) -> None:
            self._place(level, stores, inner, late, u)

        if not self.width:
            self.writer.enter_place(0, None)
            place(0)
        else:
            self._inner_loops(self.rows, place, unroll, [*inner, *late])
        self._finish_inner(inner, level)

    def _unroll(self, level: int) -> int:
        counted = [r for r in (*self.inner, *self.late) if self._level(r) == level and r.full]
        if not counted or not self.width:
            return 1
        n = self.sizes[-1]
        few = len(self.resolver.terms) < 40
        return UNROLL if few and n >= 2 * UNROLL * self.width else 1

    def _inner_loops(self, v: int, place: Any, unroll: int, sums: Sequence[Root] = ()) -> None:
        if v < len(self.sizes) - 1:
            with self.b.loop(0, self.sizes[v]) as i:
                self.writer.variables[v] = i
                self._inner_loops(v + 1, place, unroll, sums)
                self._settle(sums)
            return
        self._vectors(0, self.sizes[v], place, unroll, sums)

    def _vectors(
        self, begin: Int, end: Int, place: Any, unroll: int, sums: Sequence[Root] = ()
    ) -> None:
        """The last variable from begin (a multiple of the lanes) to end, by vectors."""
        b, writer, w = self.b, self.writer, self.width
        count = b.isub(end, begin)

        def run(first: Int, last: Int) -> None:
            with b.loop(first, last, w * unroll) as i:
                for u in range(unroll):
                    writer.enter_place(b.iadd(i, u * w), None)
                    place(u)

        if unroll > 1:
            whole = b.iadd(begin, b.imul(b.idiv(count, w * unroll), w * unroll))
            block = BLOCK * w * unroll
            many = self.sizes[-1] > 2 * block
            if many and any(self.accumulators.is_settled(r.node) for r in sums):
                with b.loop(begin, whole, block) as start:
                    run(start, b.imin(b.iadd(start, block), whole))
                    self._settle(sums)
            else:
                run(begin, whole)
            begin = whole
        rest = b.iadd(begin, b.imul(b.idiv(b.isub(end, begin), w), w))
        if not (isinstance(rest, int) and isinstance(begin, int) and rest == begin):
            with b.loop(begin, rest, w) as i:
                writer.enter_place(i, None)
                place(0)
        left = b.isub(end, rest)
        if isinstance(left, int):
            if left:
                writer.enter_place(rest, b.tail_mask(left, w))
                place(0)
        elif self.sizes[-1] % w:
            with b.when(b.icmp("sgt", b.int(left), b.const("i64", 0))):
                writer.enter_place(rest, b.tail_mask(left, w))
                place(0)

    def _place(self, level: int, stores, inner, late, u: int) -> None:
        """Everything of one walk at one vector of places."""
        writer = self.writer
        values = []
        for root in stores:
            value = writer.lanes(root.term)
            # what is the same along the row stays a scalar for those who use it
            writer.known[root.node] = value if root.term.inside else writer.value(root.term)
            values.append(value)
        for root in inner:
            self._accumulate(root, u)
        for root in late:
            if _after(root.node) > 1:
                self._add_to_column(root)
            else:
                self._accumulate(root, u)
        self._keep(level)
        # written when all is read: a result may take the memory of an input
        for root, value in zip(stores, values, strict=True):
            writer.store(value, root.node.dtype, self._key(root), root.place)
            del writer.known[root.node]  # a value of this place only

    def _key(self, root: Root) -> Node:
        """The buffer a root is written to: its own, or that of which it is a part."""
        return buffer_of(self.group, root.node)

    # ---- reductions

    def _accumulate(self, root: Root, u: int) -> None:
        value = self.writer.lanes(root.term)
        self.accumulators.add(root.node, u, value, self.writer.mask if self.width else None)

    def _finish_inner(self, inner: list[Root], level: int) -> None:
        for root in inner:
            found = self.accumulators.gathered(root.node, self._unroll(level))
            self.writer.known[root.node] = found
            if root.node in self.stored:
                with self._scalar():
                    self.writer.store(found, root.node.dtype, root.node, root.place)

    def _settle(self, roots: Sequence[Root]) -> None:
        self.accumulators.settle([root.node for root in roots])

    # ---- late reductions

    def _begin_totals(self) -> None:
        for root in self.late:
            if _after(root.node) > 1:
                continue
            unroll, width = (UNROLL, self.width) if root.full else (1, 0)
            rows = self._row_number()
            count = rows if self.flat else rows * (self.inside if root.full else 1)
            many = count > 2 * BLOCK * unroll * max(1, width)
            self.accumulators.begin(root.node, unroll, width, many)

    def _end_totals(self) -> None:
        for root in self.late:
            if _after(root.node) > 1:
                continue
            unroll = UNROLL if root.full else 1
            found = self.accumulators.gathered(root.node, unroll)
            self._store_late(root, found, 0)

    def _late_key(self, root: Root) -> tuple[Any, Int]:
        """The buffer a late result goes to, and where this task's part begins."""
        if self._is_partial(root):
            return ("partial", root.node), self.b.imul(self.b.task, root.node.numel)
        return root.node, 0

    def _store_late(self, root: Root, value: Operand, at: Int) -> None:
        key, start = self._late_key(root)
        scalar = arithmetic.STORED[root.node.dtype]
        pointer = self.b.pointer(self.writer.buffer(key), self.b.iadd(start, at), scalar)
        self.b.store(arithmetic.to_memory(self.b, value, root.node.dtype), pointer)

    def _column_pointer(self, root: Root, block: Operand | None = None) -> Operand:
        """Where a column is added up: in the present block of rows, or where it will lie."""
        scalar = arithmetic.STORED[root.node.dtype]
        block = block or self.blocks.get(root.node)
        if block is not None:
            inside = tuple([(v, c) for v, c in root.place.terms if v >= self.rows])
            return self.b.pointer(block, self.writer.offset(Affine(0, inside)), scalar)
        key, start = self._late_key(root)
        at = self.b.iadd(start, self.writer.offset(root.place))
        return self.b.pointer(self.writer.buffer(key), at, scalar)

    def _clear_columns(self) -> None:
        """Each column begins with nothing."""

        def clear(root: Root) -> None:
            start = neutral(root.node)
            self._write(arithmetic.constant(self.b, root.node.dtype, start, self.width), root)

        self._every_column(clear)

    def _every_column(self, body: Callable[[Root], None]) -> None:
        """``body`` at each place of the columns, outside of the rows that are added up."""
        columns = self._columns()
        if not columns:
            return
        saved = list(self.writer.variables)
        for v in range(self.resolver.kept_rows or 0, self.rows):
            self.writer.variables[v] = 0
        self.writer.enter_row()

        def place(u: int) -> None:
            for root in columns:
                body(root)

        if self.width:
            self._inner_loops(self.rows, place, 1)
        else:
            self.writer.enter_place(0, None)
            place(0)
        self.writer.variables[:] = saved

    def _write(self, value: Operand, root: Root) -> None:
        b, pointer = self.b, self._column_pointer(root)
        value = arithmetic.to_memory(b, value, root.node.dtype)
        if self.writer.mask is not None and self.width:
            b.masked_store(value, pointer, self.writer.mask)
        else:
            b.store(value, pointer)

    def _read(self, root: Root, block: Operand | None = None) -> Operand:
        b, pointer, mask = self.b, self._column_pointer(root, block), self.writer.mask
        type = vector(arithmetic.STORED[root.node.dtype], self.width)
        found = b.load(pointer, type) if mask is None else b.masked_load(pointer, type, mask)
        return arithmetic.from_memory(b, found, root.node.dtype)

    def _add_to_column(self, root: Root, block: Operand | None = None) -> None:
        """Adds this place's value, or what a block of rows came to."""
        value = self.writer.lanes(root.term) if block is None else self._read(root, block)
        node = root.node
        self._write(join(self.b, node.attributes[0], node.dtype, self._read(root), value), root)

    # ---- what is kept for later walks

    def _plan_kept(self) -> None:
        """Which dear terms a later walk of the row needs again: they get a scratch row."""
        self.keep_at: dict[int, list[Term]] = {}
        if self.levels < 2 or not self.width:
            return
        computed: dict[int, int] = {}  # term -> the walk that first computes it
        chosen: dict[int, Term] = {}
        for level in range(self.levels):
            todo = [r.term for r in self.roots if r.full and self._level(r) == level
                    and (r.node in self.stored or r.node.op == "reduce")]  # fmt: skip
            seen: set[int] = set()
            while todo:
                term = todo.pop()
                if id(term) in seen or not term.inside:
                    continue
                seen.add(id(term))
                first = computed.setdefault(id(term), level)
                if first < level and (term.dear or term.op == "root"):
                    chosen[id(term)] = term
                    continue
                if term.op == "root":
                    todo.extend(r.term for r in self.roots if r.node is term.node)
                todo.extend(term.inputs)
        size = 0
        for term in chosen.values():
            count = -(-self.inside // self.width) * self.width
            bytes_ = count * max(1, term.dtype.itemsize)
            if size + bytes_ > SCRATCH_BYTES or len(self.sizes) - self.rows != 1:
                continue
            size += bytes_
            place = self.b.stack(arithmetic.STORED[term.dtype], count)
            self.kept_terms[id(term)] = (place, computed[id(term)])
            self.keep_at.setdefault(computed[id(term)], []).append(term)

    def _keep(self, level: int) -> None:
        for term in self.keep_at.get(level, ()):
            value = self.writer.lanes(term)
            place, _ = self.kept_terms[id(term)]
            pointer = self.b.pointer(place, self.writer.base, arithmetic.STORED[term.dtype])
            self.b.store(arithmetic.to_memory(self.b, value, term.dtype), pointer)

    def _load_kept(self, term: Term) -> Operand | None:
        kept = self.kept_terms.get(id(term))
        if kept is None or kept[1] >= self.walking:
            return None
        scalar = arithmetic.STORED[term.dtype]
        pointer = self.b.pointer(kept[0], self.writer.base, scalar)
        found = self.b.load(pointer, vector(scalar, self.width))
        return arithmetic.from_memory(self.b, found, term.dtype)

    # ---- without rows

    def _flat(self, begin: Int, end: Int) -> None:
        stores = [r for r in self.plain if r.node in self.stored]
        late = list(self.late)
        self.writer.row = self.writer.top

        def place(u: int) -> None:
            self._place(0, stores, [], late, u)

        self._vectors(begin, end, place, self._unroll(0) if late else 1, late)


def buffer_of(group: Group, root: Node) -> Node:
    """The buffer that a root of the group is written to."""
    return group.targets[root][0] if root in group.targets else root


def _after(node: Node) -> int:
    """How many neighbours' results a reduction makes at once: the B of [A, K, B]."""
    return prod(node.inputs[0].shape[node.attributes[1][-1] + 1 :])
