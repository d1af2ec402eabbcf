"""Who reads what, and how it lies: users of nodes, operands of products as strided arrays.

An operand of a product need not be stored as it is written: movement of a stored array (a slice of
some rows, permuted, say) is read from there, with strides of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from suiren.compiler.graph import Graph
from suiren.compiler.index import (
    ZERO,
    Affine,
    Index,
    NotAffine,
    TooCoarse,
    ravel,
    split,
    through,
)
from suiren.compiler.node import Node


class Operand:
    """An operand of a product as it lies in memory: strides and offset count elements."""

    __slots__ = ("base", "batch", "row", "column", "offset")

    def __init__(self, base: Node, batch: tuple[int, ...], row: int, column: int, offset: int):
        self.base = base
        self.batch = batch
        self.row = row
        self.column = column
        self.offset = offset


def product_operands(node: Node) -> tuple[tuple[int, ...], Operand, Operand]:
    """The batch sizes of a matmul (finer than its own, if need be) and its two operands.

    An operand that is a strided view of a stored array is read from there; else it is one itself.
    """
    known = node.graph.facts.get(("operands", node))
    if known is None:
        known = node.graph.facts["operands", node] = _operands(node)
    return known


def _operands(node: Node) -> tuple[tuple[int, ...], Operand, Operand]:
    a, b = node.inputs
    for allow in ((True, True), (True, False), (False, True), (False, False)):
        found = _strided(node, a, b, allow)
        if found is not None:
            return found
    raise AssertionError(node)


def _strided(node: Node, a: Node, b: Node, allow: tuple[bool, bool]):
    batch = node.ndim - 2
    m, n, k = batch, batch + 1, batch + 2
    variables = Variables([*node.shape, a.shape[-1]])
    wanted = ((a, (m, k), allow[0]), (b, (k, n), allow[1]))
    while True:
        try:
            views = []
            for x, own, direct in wanted:
                place = tuple([variables.along(dim) for dim in (*range(batch), *own)])
                views.append(element(x, place, variables.sizes, direct))
            break
        except TooCoarse as need:
            variables.split(need)
        except NotAffine:
            return None
    outer = variables.before(batch)
    operands = []
    for (base, flat), (_, own, _) in zip(views, wanted, strict=True):
        row, column = (variables.stride(flat, dim) for dim in own)
        if row is None or column is None:
            return None
        steps = tuple([flat.coefficient(v) for v in outer])
        operands.append(Operand(base, steps, row, column, flat.const))
    return tuple([variables.sizes[v] for v in outer]), operands[0], operands[1]


class Variables:
    """What walks the dimensions of a product: one variable each, or several where one is split."""

    def __init__(self, sizes: list[int]):
        self.sizes = sizes
        self.owner = list(range(len(sizes)))  # the dimension that a variable is part of

    def split(self, need: TooCoarse) -> None:
        """Makes a variable finer."""
        self.sizes = split(self.sizes, need.var, need.inner)
        self.owner.insert(need.var, self.owner[need.var])

    def of(self, dim: int) -> list[int]:
        """The variables of a dimension, outermost first."""
        return [v for v, d in enumerate(self.owner) if d == dim]

    def before(self, dim: int) -> list[int]:
        """The variables of all dimensions before this one."""
        return [v for v, d in enumerate(self.owner) if d < dim]

    def along(self, dim: int) -> Affine:
        """The index along a dimension."""
        found, step = ZERO, 1
        for v in reversed(self.of(dim)):
            if self.sizes[v] > 1:
                found = found + Affine(0, ((v, step),))
            step *= self.sizes[v]
        return found

    def stride(self, flat: Affine, dim: int) -> int | None:
        """The distance of neighbours along a dimension; None if it is not always the same."""
        *outer, last = self.of(dim)
        inner, step = flat.coefficient(last), self.sizes[last]
        for v in reversed(outer):
            if flat.coefficient(v) != inner * step:
                return None
            step *= self.sizes[v]
        return inner


def element(x: Node, place: Index, sizes: list[int], direct: bool) -> tuple[Node, Affine]:
    """The array behind a chain of movement (x itself if not ``direct``), and which element of it.

    ``place``: where in x.
    """
    while direct and x.op in ("reshape", "permute", "expand", "slice"):
        if x.inputs[0].op in ("constant", "number"):
            break
        place = through(x, place, sizes)
        x = x.inputs[0]
    return x, ravel(place, x.shape)


def reachable(graph: Graph) -> list[Node]:
    """The nodes that a graph's ends are computed from, in its order."""
    seen = with_ancestors([*graph.outputs, *graph.checks])
    return [node for node in graph.nodes if node in seen]


def with_ancestors(ends: Sequence[Node]) -> set[Node]:
    """These nodes and everything that they were computed from."""
    seen: set[Node] = set()
    todo = list(ends)
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(node.inputs)
    return seen


def users_of(nodes: list[Node]) -> dict[Node, list[Node]]:
    """For each node that is an operand of some of these: which."""
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        for i in set(node.inputs):
            users.setdefault(i, []).append(node)
    return users
