"""Writes the terms of a group as instructions, each where it is cheapest.

What is the same in the whole kernel is computed before its loops, what is the same along a row once
a row, and the rest as vectors. A term that is asked for twice is written once. The loops themselves
belong to ``loops`` and ``epilogue``, which set where in them the writer is: the values of the
variables, the vector's first index and its mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from suiren import dtypes
from suiren.compiler.codegen import arithmetic
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.expression import Guard, Term, value_of_constant
from suiren.compiler.codegen.kernel import Slots
from suiren.compiler.codegen.strided import is_near, near
from suiren.compiler.index import Affine
from suiren.compiler.node import Node


class Writer:
    """Values of terms at the place where the loops are; see the module's text."""

    def __init__(
        self, b: Emitter, sizes: list[int], rows: int, width: int, slot: Slots | None = None
    ):
        self.b = b
        self.sizes = sizes
        self.rows = rows
        self.width = width  # lanes; 0: nothing is walked inside a row, all is scalar
        # what the kernel reads and writes -> entry of its table
        self.slot = Slots() if slot is None else slot
        self.known: dict[Node, Operand] = {}  # roots at this place
        self.term_of: dict[Node, Term] = {}  # how roots that are not known are computed
        self.written: frozenset[Node] = frozenset()  # buffers that this kernel writes to
        self.variables: list[Int] = [0] * len(sizes)
        self.base: Int = 0  # of the vector, along the last variable
        self.mask: Operand | None = None
        # where offsets begin: the number itself, or one that is looked up when the kernel runs
        self.origin: Callable[[int], Int] = lambda const: const
        self.saved: Callable[[Term], Operand | None] = lambda term: None
        self.top = b.section()  # written once, before all loops
        self.row = self.top  # written once a row
        self.of_kernel: dict[Any, Operand] = {}
        self.fixed: dict[int, bool] = {}  # whether a term is the same everywhere in the kernel
        self.of_row: dict[Any, Operand] = {}
        self.of_place: dict[Any, Operand] = {}

    # ---- where we are

    @property
    def last(self) -> int:
        """The variable that vectors run along."""
        return len(self.sizes) - 1

    def enter_row(self) -> None:
        """The loops are at the beginning of a row."""
        self.row = self.b.section()
        self.of_row = {}
        self.known = {}

    def enter_walk(self) -> None:
        """A new walk of the row begins: what it needs of the row can be written here."""
        self.row = self.b.section()

    def enter_place(self, base: Int, mask: Operand | None) -> None:
        """The loops are at a vector of places."""
        self.base, self.mask = base, mask
        self.of_place = {}

    # ---- buffers and offsets

    def buffer(self, key: Any) -> Operand:
        """The address of a buffer, loaded once."""
        found = self.of_kernel.get(("buffer", key))
        if found is None:
            with self.b.writing(self.top):
                found = self.b.buffer(self.slot(key))
            self.of_kernel["buffer", key] = found
        return found

    def offset(self, e: Affine) -> Int:
        """The value of an index expression at this place (of a vector: of its first lane)."""
        outer = Affine(e.const, tuple([(v, c) for v, c in e.terms if v < self.rows]))
        found = self._outer(outer)
        for v, c in e.terms:
            if v >= self.rows:
                at = self.base if v == self.last and self.width else self.variables[v]
                found = self.b.iadd(found, self.b.imul(at, c))
        return found

    def _outer(self, e: Affine) -> Int:
        if not e.terms:
            return self.origin(e.const)
        key = ("offset", e)
        known = self.of_row.get(key)
        if known is None:
            with self.b.writing(self.row):
                found = self.origin(e.const)
                for v, c in e.terms:
                    found = self.b.iadd(found, self.b.imul(self.variables[v], c))
            known = self.b.int(found)
            self.of_row[key] = known
        return known

    def lanes_of(self, e: Affine) -> Operand:
        """The value of an index expression in each lane, as i64."""
        b = self.b
        at = b.splat(b.int(self.offset(e)), self.width)
        c = e.coefficient(self.last)
        if c == 0:
            return at
        steps = b.constants(vector("i64", self.width), [i * c for i in range(self.width)])
        return b.binary("add", at, steps)

    # ---- values

    def lanes(self, term: Term) -> Operand:
        """The term as a vector (as a scalar, if the kernel has no vectors)."""
        found = self.value(term)
        if not self.width or term.inside:
            return found
        if term.op == "constant":
            return arithmetic.constant(self.b, term.dtype, value_of_constant(term), self.width)
        place, memo = (
            (self.top, self.of_kernel) if self._in_kernel(term) else (self.row, self.of_row)
        )
        known = memo.get(("splat", id(term)))
        if known is None:
            with self.b.writing(place):
                known = self.b.splat(found, self.width)
            memo["splat", id(term)] = known
        return known

    def value(self, term: Term) -> Operand:
        """The term: a vector if it differs within the row, else a scalar."""
        if term.op == "root":
            assert term.node is not None
            if term.node in self.known:
                return self.known[term.node]
            found = self.saved(term) if term.inside else None
            return self.value(self.term_of[term.node]) if found is None else found
        if term.op == "constant":
            return arithmetic.constant(self.b, term.dtype, value_of_constant(term))
        if term.inside:
            memo, place = self.of_place, None
        elif self._in_kernel(term):
            memo, place = self.of_kernel, self.top
        else:
            memo, place = self.of_row, self.row
        found = memo.get(id(term))
        if found is not None:
            return found
        if term.inside:
            found = self.saved(term)
        if found is None:
            inputs = [self._operand(i, term) for i in term.inputs]
            if place is None:
                found = self._compute(term, inputs)
            else:
                with self.b.writing(place):
                    found = self._compute(term, inputs)
        memo[id(term)] = found
        return found

    def _operand(self, term: Term, user: Term) -> Operand:
        if user.inside and user.op not in ("take",):
            return self.lanes(term)
        return self.value(term)

    def _in_kernel(self, term: Term) -> bool:
        """Whether the term is the same everywhere in the kernel."""
        fixed = self.fixed.get(id(term))
        if fixed is None:
            fixed = (
                not term.inside
                and term.op not in ("root", "index")
                and not term.at.terms
                and not any(e.terms for e, _, _ in term.guards)
                and term.node not in self.written
                and all(self._in_kernel(i) for i in term.inputs)
            )
            self.fixed[id(term)] = fixed
        return fixed

    def _compute(self, term: Term, inputs: list[Operand]) -> Operand:
        b, op = self.b, term.op
        width = self.width if term.inside else 0
        if op == "number":
            kind = arithmetic.HELD[term.dtype]
            assert term.node is not None
            return b.number(self.slot(("number", term.node.attributes[0])), kind)
        if op == "load":
            return self._load(term, width)
        if op == "take":
            return self._take(term, inputs[0], width)
        if op == "index":
            found = self.lanes_of(term.at) if width else b.int(self.offset(term.at))
            return arithmetic.cast(b, found, dtypes.int64, term.dtype)
        if op == "where":
            return b.select(*inputs)
        if op == "pad":
            assert term.node is not None
            inside = self._allowed(term.guards, width)
            assert inside is not None
            fill = arithmetic.constant(b, term.dtype, term.node.attributes[1], width)
            return b.select(inside, inputs[0], fill)
        if op == "cast":
            return arithmetic.cast(b, inputs[0], term.inputs[0].dtype, term.dtype)
        return arithmetic.apply(b, op, term.inputs[0].dtype, inputs)

    # ---- reading

    def _allowed(self, guards: tuple[Guard, ...], width: int) -> Operand | None:
        """Where all guards hold: a truth value for each lane (of one, if width is 0)."""
        b = self.b
        found: Operand | None = None
        for e, low, high in guards:
            if width:
                at = self.lanes_of(e.plus(-low))
            else:
                at = b.int(self.offset(e.plus(-low)))
            one = b.icmp("ult", at, b.const(at.type, high - low))
            found = one if found is None else b.binary("and", found, one)
        return found

    def _load(self, term: Term, width: int) -> Operand:
        assert term.node is not None
        base = self.buffer(term.node)
        found = self._read(base, term.at, term.guards, term.dtype, width)
        return arithmetic.from_memory(self.b, found, term.dtype)

    def _read(self, base: Operand, at: Affine, guards, kind, width: int) -> Operand:
        b = self.b
        scalar = arithmetic.STORED[kind]
        allowed = self._allowed(guards, width)
        offset = self.offset(at)
        if not width:
            if allowed is not None:
                offset = b.select(allowed, b.int(offset), b.const("i64", 0))
            return b.load(b.pointer(base, offset, scalar), scalar)
        step = at.coefficient(self.last)
        mask = self.mask
        if allowed is not None:
            mask = allowed if mask is None else b.binary("and", mask, allowed)
        type = vector(scalar, width)
        if step == 0 and allowed is None:
            return b.splat(b.load(b.pointer(base, offset, scalar), scalar), width)
        pointer = b.pointer(base, offset, scalar)
        if step == 1:
            return b.load(pointer, type) if mask is None else b.masked_load(pointer, type, mask)
        if is_near(step, scalar, width):
            found = near(b, pointer, step, scalar, width, mask)
            if found is not None:
                return found
        steps = b.constants(vector("i64", width), [i * step for i in range(width)])
        return b.gather(pointer, steps, scalar, mask)

    def _take(self, term: Term, index: Operand, width: int) -> Operand:
        assert term.node is not None
        b = self.b
        apart = width > 0 and term.inputs[0].inside  # a row of its own for each lane
        # half the work where the number of an element fits
        short = apart and term.node.numel < 1 << 31
        kind = dtypes.int32 if short else dtypes.int64
        row = arithmetic.cast(b, index, term.inputs[0].dtype, kind)
        limit = b.const(row.type, term.bound - 1)
        row = b.intrinsic("llvm.umin", row.type, row, limit)  # wrong ones are reported elsewhere
        moved = b.binary("mul", row, b.const(row.type, term.step)) if term.step != 1 else row
        base, scalar = self.buffer(term.node), arithmetic.STORED[term.dtype]
        if not apart:
            base = b.pointer(base, moved, scalar)
            found = self._read(base, term.at, term.guards, term.dtype, width)
        else:
            allowed = self._allowed(term.guards, width)
            mask = self.mask
            if allowed is not None:
                mask = allowed if mask is None else b.binary("and", mask, allowed)
            # what lanes have in common goes to the address, so that their own part is small
            base = b.pointer(base, self.offset(term.at), scalar)
            step = term.at.coefficient(self.last)
            if step:
                own = b.constants(moved.type, [i * step for i in range(width)])
                moved = b.binary("add", moved, own)
            found = b.gather(base, moved, scalar, mask)
        return arithmetic.from_memory(b, found, term.dtype)

    # ---- writing

    def store(self, value: Operand, kind, key: Any, place: Affine) -> None:
        """Writes a vector (or scalar) to its place in a buffer."""
        b = self.b
        value = arithmetic.to_memory(b, value, kind)
        pointer = b.pointer(self.buffer(key), self.offset(place), arithmetic.STORED[kind])
        step = place.coefficient(self.last)
        if self.width and value.type[0] == "<" and step != 1:
            steps = b.constants(vector("i64", self.width), [i * step for i in range(self.width)])
            b.scatter(value, pointer, steps, self.mask)
        elif self.width and value.type[0] == "<" and self.mask is not None:
            b.masked_store(value, pointer, self.mask)
        else:
            b.store(value, pointer)
