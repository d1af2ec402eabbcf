"""What a group computes, worked out down to the addresses it reads.

:class:`Resolver` follows the roots of a group through the graph once more and makes of it a graph
of :class:`Term`: loads with their offsets as :class:`Affine` expressions of the loop variables,
index values, arithmetic. Movement is gone; padding has become conditions. Neighbouring variables
whose part in every expression is the same are then made one (:meth:`Resolver.coarsen`): an
elementwise chain over contiguous arrays ends with a single loop, whatever its shape was.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from suiren.compiler.fuse import DEAR, Group, input_index
from suiren.compiler.index import ZERO, Affine, Index, ravel, through
from suiren.compiler.node import ELEMENTWISE, MOVEMENT, Node, constant_of
from suiren.dtypes import dtype

Guard = tuple[Affine, int, int]  # low <= expression < high, or nothing may be read


class Term:
    """A value in the loops. ``op`` is that of a node, or ``load``, ``root``, ``pad``, ``index``."""

    __slots__ = (
        "op", "inputs", "dtype", "node", "at", "guards", "step", "bound", "inside",
        "level",
    )  # fmt: skip

    def __init__(self, op: str, inputs: Sequence[Term], kind: dtype, node: Node | None = None):
        self.op = op
        self.inputs = tuple(inputs)
        self.dtype = kind
        self.node = node  # of a load: what is read; of a root: which
        self.at: Affine = ZERO  # of a load or index
        self.guards: tuple[Guard, ...] = ()
        self.step = 0  # of take: elements between neighbours along the dimension
        self.bound = 0  # of take: the size of the dimension
        self.inside = False  # whether it differs within a row
        self.level = 0  # walks of the row that have to be over before

    @property
    def dear(self) -> bool:
        """Whether to keep it rather than to compute it again."""
        return self.op in DEAR


class Root:
    """A root of the group: the term it is, and where it is stored."""

    __slots__ = ("node", "term", "place", "full")

    def __init__(self, node: Node, term: Term, place: Affine, full: bool):
        self.node = node
        self.term = term  # of a reduction: its input
        self.place = place  # the number of the element, in row-major order
        self.full = full  # computed at every place, not once a row


class Resolver:
    """The terms of a group; ``sizes``, ``rows`` and ``kept`` may be coarser than the group's."""

    def __init__(self, group: Group):
        self.group = group
        self.sizes = list(group.sizes)
        self.rows = group.rows
        self.kept_rows = _leading(group) if group.kept is not None else None
        self.terms: dict[tuple, Term] = {}
        self.own = {root: group.index[root] for root in group.roots}
        self.roots = [self._root(root) for root in group.roots]

    def _root(self, node: Node) -> Root:
        total = prod(self.group.sizes)
        place = self._place(node)
        if node is self.group.product:
            return Root(node, self._term("root", (), node.dtype, node, place, ()), place, True)
        if node.op == "reduce":
            x = node.inputs[0]
            term = self.resolve(x, input_index(self.group, node), ())
            return Root(node, term, place, x.numel == total)
        term = self.resolve_root(node)
        return Root(node, term, place, node.numel == total and self.group.rows != len(self.sizes))

    def _place(self, node: Node) -> Affine:
        """Where a root's element lies in its buffer, or in the larger one it is a part of."""
        at = self.group.index[node]
        if node not in self.group.targets:
            return ravel(at, node.shape)
        target, region = self.group.targets[node]
        moved = [
            own.times(step).plus(start)
            for own, (start, step) in zip(at, region, strict=True)
        ]
        return ravel(tuple(moved), target.shape)

    def resolve_root(self, node: Node) -> Term:
        return self._compute(node, self.group.index[node], ())

    def resolve(self, node: Node, at: Index, guards: tuple[Guard, ...]) -> Term:
        """The value of a node at a place."""
        if node in self.own:
            # known when it is needed: kept in a register, or loaded from the row's scratch
            return self._term("root", (), node.dtype, node, ravel(at, node.shape), ())
        if node in self.group.reads:
            return self._term("load", (), node.dtype, node, ravel(at, node.shape), guards)
        return self._compute(node, at, guards)

    def _compute(self, node: Node, at: Index, guards: tuple[Guard, ...]) -> Term:
        sizes = self.group.sizes
        if node.op in ("constant", "number"):
            return self._term(node.op, (), node.dtype, node, ZERO, ())
        if node.op == "iota":
            return self._term("index", (), node.dtype, None, at[node.attributes[0]], ())
        if node.op in ELEMENTWISE:
            inputs = tuple([self.resolve(i, at, guards) for i in node.inputs])
            return self._term(node.op, inputs, node.dtype, None, ZERO, ())
        if node.op == "pad":
            inner = through(node, at, sizes)
            more = []
            for own, n in zip(inner, node.inputs[0].shape, strict=True):
                low, high = own.bounds(sizes)
                if low < 0 or high >= n:
                    more.append((own, 0, n))
            x = self.resolve(node.inputs[0], inner, guards + tuple(more))
            if not more:
                return x
            found = self._term("pad", (x,), node.dtype, node, ZERO, tuple(more))
            return found
        if node.op == "reshape":
            base = node.inputs[0]  # the elements lie alike: see fuse.walk
            if base in self.own:
                return self._term("root", (), base.dtype, base, ravel(at, node.shape), ())
            if base in self.group.reads:
                return self._term("load", (), base.dtype, base, ravel(at, node.shape), guards)
        if node.op in MOVEMENT:
            return self.resolve(node.inputs[0], through(node, at, sizes), guards)
        if node.op in ("take", "take_along"):
            return self._taken(node, at, guards)
        raise AssertionError(f"{node} is not computed in place")

    def _taken(self, node: Node, at: Index, guards: tuple[Guard, ...]) -> Term:
        x, chosen = node.inputs
        dim = node.attributes[0]
        while x.op == "reshape":  # the elements lie alike; offsets are worked out in node's shape
            x = x.inputs[0]
        shape = node.inputs[0].shape
        step = prod(shape[dim + 1 :])
        if node.op == "take":
            index = self.resolve(chosen, at[dim : dim + chosen.ndim], guards)
            fixed = (*at[:dim], ZERO, *at[dim + chosen.ndim :])
        else:
            index = self.resolve(chosen, at, guards)
            fixed = (*at[:dim], ZERO, *at[dim + 1 :])
        found = self._term("take", (index,), node.dtype, x, ravel(fixed, shape), guards)
        found.step, found.bound = step, shape[dim]
        return found

    def _term(self, op, inputs, kind, node, at, guards) -> Term:
        key = (op, inputs, kind, node, at, guards)
        found = self.terms.get(key)
        if found is None:
            found = Term(op, inputs, kind, node)
            found.at, found.guards = at, guards
            self.terms[key] = found
        return found

    # ---- coarser variables

    def coarsen(self) -> None:
        """Makes neighbouring variables one where every expression allows it."""
        if self.group.product is not None:
            self._levels()
            return
        expressions: list[Affine] = [root.place for root in self.roots]
        for term in self.terms.values():
            if term.op in ("load", "take", "index", "root"):
                expressions.append(term.at)
            expressions.extend(guard[0] for guard in term.guards)
        fixed = {self.rows, self.kept_rows}
        for v in range(len(self.sizes) - 2, -1, -1):
            if v + 1 in fixed:
                continue
            inner = self.sizes[v + 1]
            if all(e.coefficient(v) == e.coefficient(v + 1) * inner for e in expressions):
                self._merge(v)
                expressions = [_merged(e, v) for e in expressions]
        self._levels()

    def _merge(self, v: int) -> None:
        self.sizes[v : v + 2] = [self.sizes[v] * self.sizes[v + 1]]
        if self.rows is not None and self.rows > v:
            self.rows -= 1
        if self.kept_rows is not None and self.kept_rows > v:
            self.kept_rows -= 1
        for term in self.terms.values():
            term.at = _merged(term.at, v)
            term.guards = tuple([(_merged(e, v), low, high) for e, low, high in term.guards])
        for root in self.roots:
            root.place = _merged(root.place, v)

    # ---- what depends on what

    def _levels(self) -> None:
        rows = self.rows
        if rows is None:
            self.rows = rows = max(0, len(self.sizes) - 1)
        group = self.group
        inner = set(group.inner)
        levels: dict[Node, int] = {}
        inside: dict[Node, bool] = {}
        done: set[int] = set()

        def varies(e: Affine) -> bool:
            return any(v >= rows for v, _ in e.terms)

        def settle(term: Term) -> None:
            stack = [term]
            while stack:
                t = stack[-1]
                if id(t) in done:
                    stack.pop()
                    continue
                waiting = [i for i in t.inputs if id(i) not in done]
                if waiting:
                    stack.extend(waiting)
                    continue
                stack.pop()
                done.add(id(t))
                if t.op == "root" and t.node in levels:
                    t.level, t.inside = levels[t.node], inside[t.node]
                    continue
                t.level = max([i.level for i in t.inputs], default=0)
                t.inside = (
                    any(i.inside for i in t.inputs)
                    or varies(t.at)
                    or any(varies(g[0]) for g in t.guards)
                )

        for root in sorted(self.roots, key=lambda r: r.node.index):
            if root.node is group.product:
                levels[root.node], inside[root.node] = 0, True
            settle(root.term)
            if root.node in inner:
                levels[root.node], inside[root.node] = root.term.level + 1, False
            elif root.node is not group.product:
                # a value that is the same along the row may still be a root of every place
                levels[root.node], inside[root.node] = root.term.level, root.term.inside


def _leading(group: Group) -> int:
    """How many variables make up the rows that late results keep."""
    done = 1
    for at, size in enumerate(group.sizes):
        if done == group.kept:
            return at
        done *= size
    return len(group.sizes)


def _merged(e: Affine, v: int) -> Affine:
    terms = []
    for var, c in e.terms:
        if var == v:
            continue
        terms.append((var if var < v else var - 1, c))
    return Affine(e.const, tuple(terms))


def value_of_constant(term: Term) -> object:
    """The number of a constant term."""
    assert term.node is not None
    return constant_of(term.node)
