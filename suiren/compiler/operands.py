"""Who reads what, and how it lies: users of nodes, operands of products as strided arrays.

An operand of a product need not be stored as it is written: movement of a stored array (a slice of
some rows, permuted, say) is read from there, with strides of its own.
"""

from __future__ import annotations

from suiren.compiler.graph import Graph, Node
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
    # variables: those of the batch, then m, n, k; each may be split into several
    sizes = [*node.shape, a.shape[-1]]
    owner = list(range(len(sizes)))  # the dimension that a variable is part of
    while True:
        try:
            m, n, k = batch, batch + 1, batch + 2
            views = [
                _view(x, [*range(batch), *own], sizes, owner, through_it)
                for x, own, through_it in ((a, (m, k), allow[0]), (b, (k, n), allow[1]))
            ]
            break
        except TooCoarse as need:
            sizes = split(sizes, need.var, need.inner)
            owner.insert(need.var, owner[need.var])
        except NotAffine:
            return None
    outer = [v for v, dim in enumerate(owner) if dim < batch]
    operands = []
    for (base, flat), dims in zip(views, ((m, k), (k, n)), strict=True):
        strides = []
        for dim in dims:
            own = [v for v, d in enumerate(owner) if d == dim]
            inner = flat.coefficient(own[-1])
            step = sizes[own[-1]]
            for v in reversed(own[:-1]):
                if flat.coefficient(v) != inner * step:
                    return None
                step *= sizes[v]
            strides.append(inner)
        steps = tuple([flat.coefficient(v) for v in outer])
        operands.append(Operand(base, steps, strides[0], strides[1], flat.const))
    return tuple([sizes[v] for v in outer]), operands[0], operands[1]


def _view(x: Node, dims: list[int], sizes, owner, through_it: bool) -> tuple[Node, Affine]:
    """The array behind a chain of movement, and the number of its element at these variables."""
    index = []
    for dim in dims:
        at, step = ZERO, 1
        for v in reversed([v for v, d in enumerate(owner) if d == dim]):
            if sizes[v] > 1:
                at = at + Affine(0, ((v, step),))
            step *= sizes[v]
        index.append(at)
    place: Index = tuple(index)
    while through_it and x.op in ("reshape", "permute", "expand", "slice"):
        if x.inputs[0].op in ("constant", "number"):
            break
        place = through(x, place, sizes)
        x = x.inputs[0]
    return x, ravel(place, x.shape)


def reachable(graph: Graph) -> list[Node]:
    """The nodes that a graph's ends are computed from, in its order."""
    seen: set[Node] = set()
    todo = [*graph.outputs, *graph.checks]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(node.inputs)
    return [node for node in graph.nodes if node in seen]


def users_of(nodes: list[Node]) -> dict[Node, list[Node]]:
    """For each node that is an operand of some of these: which."""
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        for i in set(node.inputs):
            users.setdefault(i, []).append(node)
    return users
