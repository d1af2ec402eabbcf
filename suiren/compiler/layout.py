"""Images stay channels-last inside a program: permutations move on to where they cost nothing.

PyTorch's images are [N, C, H, W]; kernels of convolutions want [N, H, W, C], and the
decompositions permute before and after each. Here the graph is made once more, and the
permutation of a convolution's result is not applied: it is remembered (:class:`Laid`), and
elementwise work, reductions, slices, paddings and reshapes that allow it are done in the memory's
own order. Where the next convolution permutes back, the two cancel; only what leaves the program,
or meets an operation that goes by the order of elements, is really moved.

Convolutions become what code is generated for on the way: see :mod:`suiren.compiler.convolution`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from suiren.compiler import convolution
from suiren.compiler.graph import Graph
from suiren.compiler.node import ELEMENTWISE, Node
from suiren.compiler.target import Target

CONVOLUTIONS = {
    "conv": convolution.conv,
    "conv_input_gradient": convolution.input_gradient,
    "conv_weight_gradient": convolution.weight_gradient,
}
_FREE = frozenset(["conv", "conv_input_gradient"])  # whose results may be permuted later


class Laid:
    """An array of the old graph: ``node`` of the new one with its dimensions in another order.

    ``order[d]`` is the dimension of ``node`` that is dimension ``d``; None: the same order.
    ``free``: a permutation of it need not be carried out at once.
    """

    __slots__ = ("node", "order", "free")

    def __init__(self, node: Node, order: tuple[int, ...] | None = None, free: bool = False):
        if order == tuple(range(node.ndim)):
            order = None
        self.node = node
        self.order = order
        self.free = free


def lay_out(graph: Graph, target: Target) -> Graph:
    """The graph with convolutions and layouts chosen; itself, where there are none."""
    if not any(node.op in CONVOLUTIONS for node in graph.nodes):
        return graph
    return _Layout(graph, target).new


class _Layout:
    def __init__(self, graph: Graph, target: Target):
        self.new = Graph()
        self.target = target
        self.laid: dict[Node, Laid] = {}
        ends = [*graph.outputs, *graph.checks]
        for node in _below(ends):
            self.new.source = node.source
            self.laid[node] = self._again(node)
        self.new.outputs = [self.plain(node) for node in graph.outputs]
        self.new.checks = [self.plain(node) for node in graph.checks]

    # ---- arrangements

    def plain(self, node: Node) -> Node:
        """An array of the old graph with its dimensions in their own order."""
        return self.arranged(self.laid[node], None)

    def arranged(self, laid: Laid, order: tuple[int, ...] | None) -> Node:
        """The node that, in this order, is the array."""
        if laid.order == order:
            return laid.node
        dims = list(laid.order or range(laid.node.ndim))
        if order is not None:
            dims = [dims[order.index(d)] for d in range(len(dims))]
        return self._permuted(laid.node, tuple(dims))

    def _permuted(self, node: Node, dims: tuple[int, ...]) -> Node:
        """``permute``, of what costs nothing carried through to its sources."""
        g = self.new
        shape = tuple([node.shape[d] for d in dims])
        if dims == tuple(range(node.ndim)):
            return node
        if node.op == "iota":
            return g.iota(shape, dims.index(node.attributes[0]), node.dtype)
        if node.op == "expand":
            inner = node.inputs[0]
            return g.expand(self._permuted(inner, dims) if inner.ndim else inner, shape)
        if node.op in ELEMENTWISE and _is_cheap(node):
            inputs = [self._permuted(i, dims) for i in node.inputs]
            return g.make(node.op, inputs, node.attributes, shape, node.dtype)
        return g.permute(node, dims)

    def _order(self, inputs: Sequence[Node]) -> tuple[int, ...] | None:
        """In which order to compute something: the one in which large operands lie."""
        votes: dict[tuple[int, ...] | None, int] = {}
        for x in inputs:
            laid = self.laid[x]
            if not _is_cheap(laid.node):
                votes[laid.order] = votes.get(laid.order, 0) + 1
        if set(votes) - {None}:
            votes.pop(None, None)
        return max(votes, key=lambda order: votes[order]) if votes else None

    # ---- nodes

    def _again(self, node: Node) -> Laid:
        g, op = self.new, node.op
        if op in CONVOLUTIONS:
            a, b = (self.plain(x) for x in node.inputs)
            return Laid(CONVOLUTIONS[op](g, a, b, node, self.target), None, op in _FREE)
        if op in ELEMENTWISE:
            order = self._order(node.inputs)
            inputs = [self.arranged(self.laid[x], order) for x in node.inputs]
            found = g.make(op, inputs, node.attributes, inputs[0].shape, node.dtype)
            return Laid(found, order)
        special = getattr(self, f"_{op}", None)
        if special is not None:
            return special(node)
        inputs = [self.plain(x) for x in node.inputs]
        if op == "matmul":
            return Laid(g.matmul(inputs[0], inputs[1], node.dtype))
        return Laid(g.make(op, inputs, node.attributes, node.shape, node.dtype))

    def _permute(self, node: Node) -> Laid:
        x = self.laid[node.inputs[0]]
        dims = node.attributes[0]
        if x.order is None and not x.free:
            return Laid(self.new.permute(x.node, dims))
        order = x.order or tuple(range(x.node.ndim))
        return Laid(x.node, tuple([order[d] for d in dims]), x.free)

    def _expand(self, node: Node) -> Laid:
        x = self.laid[node.inputs[0]]
        return Laid(self.new.expand(x.node, _ordered(node.shape, x.order)), x.order)

    def _slice(self, node: Node) -> Laid:
        x = self.laid[node.inputs[0]]
        return Laid(self.new.slice(x.node, _ordered(node.attributes[0], x.order)), x.order)

    def _pad(self, node: Node) -> Laid:
        x = self.laid[node.inputs[0]]
        sides, value = node.attributes
        return Laid(self.new.pad(x.node, _ordered(sides, x.order), value), x.order)

    def _take(self, node: Node) -> Laid:
        x, dim = self.laid[node.inputs[0]], node.attributes[0]
        index = self.plain(node.inputs[1])
        if x.order is None or not index.ndim:
            return Laid(self.new.take(self.plain(node.inputs[0]), index, dim, True))
        at, more = x.order[dim], index.ndim - 1
        order = [d + more * (d > at) for d in x.order]
        order[dim : dim + 1] = range(at, at + more + 1)
        return Laid(self.new.take(x.node, index, at, True), tuple(order))

    def _concat(self, node: Node) -> Laid:
        order = self._order(node.inputs)
        dim = node.attributes[0]
        parts = [self.arranged(self.laid[x], order) for x in node.inputs]
        return Laid(self.new.concat(parts, order[dim] if order else dim), order)

    def _reduce(self, node: Node) -> Laid:
        x = self.laid[node.inputs[0]]
        kind, dims = node.attributes
        if x.order is None:
            return Laid(self.new.reduce(kind, x.node, dims, True))
        dims = [x.order[d] for d in dims]
        whole = x.node
        if whole.op == "reduce" and whole.attributes[0] == kind:
            # sums of sums over what are neighbours here are one
            joined = sorted({*dims, *whole.attributes[1]})
            if joined == list(range(joined[0], joined[-1] + 1)):
                whole, dims = whole.inputs[0], joined
        return Laid(self.new.reduce(kind, whole, dims, True), x.order)

    def _reshape(self, node: Node) -> Laid:
        x = self.laid[node.inputs[0]]
        order = x.order or tuple(range(x.node.ndim))
        found = _reshaped(x.node.shape, order, node.inputs[0].shape, node.shape)
        if found is None:
            return Laid(self.new.reshape(self.plain(node.inputs[0]), node.shape))
        shape, order = found
        return Laid(self.new.reshape(x.node, shape), order, x.free)


def _ordered(items: Sequence, order: tuple[int, ...] | None) -> tuple:
    """What belongs to dimensions, in the order in which these lie."""
    if order is None:
        return tuple(items)
    found = list(items)
    for item, d in zip(items, order, strict=True):
        found[d] = item
    return tuple(found)


def _reshaped(
    own: Sequence[int], order: tuple[int, ...], shape: Sequence[int], wanted: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The reshape of an array ``own``, seen in an order as ``shape``, to one seen as ``wanted``.

    None where dimensions that do not lie side by side become one.
    """
    pieces: list[tuple[int, list[int]]] = []  # (where it lies, dimensions of the result)
    for before, after in _groups(shape, wanted):
        places = [order[d] for d in before]
        if any(b != a + 1 for a, b in zip(places, places[1:], strict=False)):
            return None
        if not places:
            if pieces:
                pieces[-1][1].extend(after)
            else:
                pieces.append((-1, list(after)))
            continue
        pieces.append((places[0], list(after)))
    lying = [d for _, dims in sorted(pieces, key=lambda piece: piece[0]) for d in dims]
    found = [0] * len(wanted)
    for at, d in enumerate(lying):
        found[d] = at
    return tuple([wanted[d] for d in lying]), tuple(found)


def _groups(shape: Sequence[int], wanted: Sequence[int]) -> list[tuple[range, range]]:
    """The shortest runs of dimensions of two shapes that have one product."""
    found = []
    i = j = 0
    while i < len(shape) or j < len(wanted):
        a, b = i, j
        if i < len(shape) and j < len(wanted) and shape[i] == wanted[j]:
            a, b = i + 1, j + 1
        elif j < len(wanted) and wanted[j] == 1:
            b = j + 1
        elif i < len(shape) and shape[i] == 1:
            a = i + 1
        else:
            a, b = i + 1, j + 1
            while prod(shape[i:a]) != prod(wanted[j:b]):
                if prod(shape[i:a]) < prod(wanted[j:b]):
                    a += 1
                else:
                    b += 1
        found.append((range(i, a), range(j, b)))
        i, j = a, b
    return found


def _is_cheap(node: Node) -> bool:
    """Whether it can be computed in any order for nothing: constants, indices, small arrays."""
    if node.op in ("constant", "number", "iota"):
        return True
    if node.op == "expand":
        return node.inputs[0].numel * 8 <= node.numel or _is_cheap(node.inputs[0])
    return node.op in ELEMENTWISE and all(_is_cheap(i) for i in node.inputs)


def _below(ends: Sequence[Node]) -> list[Node]:
    """The nodes that these are computed from, in order."""
    seen: set[Node] = set()
    todo = list(ends)
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(node.inputs)
    return sorted(seen, key=lambda node: node.index)
