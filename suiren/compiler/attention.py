"""Attention in a graph, softmax(q k + mask) v however it was written, made one node; its gradient.

After lowering, attention is two products with scaling, a mask and a softmax between them, and
its gradient five products: with a matrix of scores for each head between any two. Where nobody
else looks at these matrices they become

``attend``           inputs q (..., L, E), k (..., E, S), v (..., S, F) and the scales and masks;
``attend_gradient``  the gradients by q, k and v, from the same, the gradient of the result, and
                     two numbers of each row of scores that the forward pass kept;
``attended``         further results of these two: part 1, 2.

whose kernels (:mod:`suiren.compiler.codegen.attention`) keep a few rows of scores in the cache and
leave out what a mask hides. The idea is that of FlashAttention (Dao et al. 2022, arXiv:2205.14135);
rows are kept whole here, so that no sum is rescaled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from suiren import dtypes
from suiren.compiler.graph import Graph
from suiren.compiler.index import Affine, NotAffine, TooCoarse, ravel, unravel
from suiren.compiler.node import Node, base_of, constant_of, is_uniform
from suiren.compiler.operands import Operand, Variables, element, reachable, users_of
from suiren.compiler.rewriting import Copy, ordered

KERNELS = frozenset(["attend", "attend_gradient"])
LONGEST = 8192  # columns of a row of scores
WIDEST = 256  # of a head
FEWEST_HEADS = 4  # the gradient's kernel has a task for each

# What is done to scores, one after the other: ("mul" | "div", node of one number),
# ("add", array), ("fill" | "keep", array of truth values, number): where it holds, or does not.
Change = tuple


@dataclass(eq=False)
class Forward:
    """What is found of one attention; nodes of the old graph."""

    result: Node
    q: Node
    k: Node
    v: Node
    changes: list[Change]
    batch: tuple[int, ...]
    safe: bool  # a row without any finite score gives zeros
    weights: Node
    backward: Backward | None = None


@dataclass(eq=False)
class Backward:
    """Its gradient."""

    forward: Forward
    grad: Node
    changes: list[Change]
    by_q: Node
    by_k: Node
    by_v: Node


def recognise(graph: Graph) -> Graph:
    """The graph with attention as nodes of its own; itself, where there is none."""
    if sum(node.op == "matmul" for node in graph.nodes) < 2:
        return graph
    if not any(node.op == "exp" for node in graph.nodes):
        return graph
    finder = _Finder(graph)
    found = [x for x in map(finder.forward, graph.nodes) if x is not None]
    if not found:
        return graph
    return _Rewriter(graph, found).graph()


class _Finder:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.kept = {*graph.outputs, *graph.checks}
        nodes = reachable(graph)
        self.used = set(nodes)
        self.users = users_of(nodes)

    def forward(self, node: Node) -> Forward | None:
        """Attention whose last product this is."""
        if node.op != "matmul" or node not in self.used:
            return None
        if node.dtype not in (dtypes.float32, dtypes.float64):
            return None
        weights = base_of(node.inputs[0])
        softmax = _softmax(weights)
        if softmax is None or not _same_matrices(node.inputs[0], weights):
            return None
        scores, safe, inside = softmax
        changed = _changes(scores)
        if changed is None:
            return None
        product, changes, between = changed
        k, v = product.inputs[1], node.inputs[1]
        rows, columns = weights.shape[-2:]
        if not (8 <= rows and 16 <= columns <= LONGEST):
            return None
        if max(k.shape[-2], v.shape[-1]) > WIDEST:
            return None
        found = Forward(
            node, product.inputs[0], k, v, changes, tuple(weights.shape[:-2]), safe, weights
        )
        if not self._only_within([product, *between, *inside], weights):
            return None
        users = set(self._ends(weights))
        if users == {node}:
            return found
        found.backward = self._backward(found, users)
        return found if found.backward is not None else None

    def _only_within(self, nodes: Sequence[Node], end: Node) -> bool:
        """Whether nobody else looks at these, which lead to ``end``."""
        own = {*nodes, end}
        return all(
            x not in self.kept and all(user in own for user in self.users.get(x, ()))
            for x in nodes
        )

    def _ends(self, node: Node) -> Iterator[Node | None]:
        """Who uses an array, reshaped or permuted; None for the outside."""
        if node in self.kept:
            yield None
        for user in self.users.get(node, ()):
            if user.op in ("reshape", "permute"):
                yield from self._ends(user)
            else:
                yield user

    def _backward(self, forward: Forward, users: set[Node | None]) -> Backward | None:
        weights = forward.weights
        rest = users - {forward.result}
        products = [x for x in rest if x is not None and x.op == "matmul"]
        scaled = [x for x in rest if x is not None and x.op == "mul"]
        if len(rest) != 3 or len(products) != 1 or len(scaled) != 2:
            return None
        # grad * w - w * sum(grad * w)
        taken = [x for x in self._ends(scaled[0])], [x for x in self._ends(scaled[1])]
        direct = scaled[0] if len(taken[0]) == 2 else scaled[1]
        summed = scaled[1] if direct is scaled[0] else scaled[0]
        total = _other(summed, weights)
        total = total.inputs[0] if total is not None and total.op == "expand" else None
        if total is None or not _is_row_reduction(total, "sum") or total.inputs[0] is not direct:
            return None
        slope = next((x for x in self._ends(summed)), None)
        if slope is None or slope.op != "sub" or slope.inputs != (direct, summed):
            return None
        by_weights = _other(direct, weights)
        if by_weights is None:
            return None
        product = base_of(by_weights)
        if product.op != "matmul" or not _same_matrices(by_weights, product):
            return None
        grad, v = product.inputs
        if v is not self._turned(forward.v):
            return None
        by_v = products[0]
        if by_v.inputs != (self._turned(forward.result.inputs[0]), grad):
            return None
        down = self._down(slope)
        if down is None:
            return None
        changes, between, by_scores = down
        ends = set(self._ends(by_scores))
        by_q = next((x for x in ends if x is not None and x.op == "matmul"
                     and x.inputs == (by_scores, self._turned(forward.k))), None)  # fmt: skip
        by_k = next((x for x in ends if x is not None and x.op == "matmul"
                     and x.inputs == (self._turned(forward.q), by_scores)), None)  # fmt: skip
        if by_q is None or by_k is None or len(ends) != 2:
            return None
        inside = [product, direct, total, summed, slope, *between]
        inside += [x for x in (by_weights, summed.inputs[1], summed.inputs[0]) if x is not weights]
        allowed = {*inside, by_q, by_k, by_scores, weights}
        for x in dict.fromkeys(inside):
            if x in self.kept or not all(
                user in allowed or user.op in ("reshape", "permute")
                for user in self.users.get(x, ())
            ):
                return None
        if prod(forward.batch) < FEWEST_HEADS:
            return None
        return Backward(forward, grad, changes, by_q, by_k, by_v)

    def _turned(self, x: Node) -> Node:
        """The transposed matrices: the graph hands out an equal node only once."""
        return x.transpose(x.ndim - 2, x.ndim - 1)

    def _down(self, slope: Node) -> tuple[list[Change], list[Node], Node] | None:
        """From the gradient of softmax's input to that of the product: what is done to it."""
        changes: list[Change] = []
        between: list[Node] = []
        node = slope
        while True:
            users = self.users.get(node, ())
            if node in self.kept or not users:
                return None
            if all(user.op in ("matmul", "permute") for user in users):
                return changes, between, node
            if len(users) != 1:
                return None
            (user,) = users
            if user.op == "reshape":
                if not _same_matrices(user, node):
                    return None
            else:
                step = _change(user, node)
                if step is None or step[0] == "add":
                    return None
                changes.append(step)
            between.append(node)
            node = user


def _softmax(weights: Node) -> tuple[Node, bool, list[Node]] | None:
    """(its input, whether rows of nothing give zeros, the nodes between) of a softmax."""
    if weights.op != "mul" or weights.ndim < 2:
        return None
    top, scale = weights.inputs
    if top.op != "exp" or scale.op != "expand" or scale.inputs[0].op != "div":
        return None
    one, total = scale.inputs[0].inputs
    inside = [top, scale, scale.inputs[0]]
    safe = total.op == "where"
    if safe:
        inside += [total, total.inputs[0]]
        if not _is_number(total.inputs[1], 1):
            return None
        total = total.inputs[2]
        if total is not inside[-1].inputs[0] or not _compares(inside[-1], 0):
            return None
    if not _is_number(one, 1) or not _is_row_reduction(total, "sum") or total.inputs[0] is not top:
        return None
    shifted = top.inputs[0]
    if shifted.op != "sub" or shifted.inputs[1].op != "expand":
        return None
    scores, largest = shifted.inputs[0], shifted.inputs[1].inputs[0]
    inside += [total, shifted, shifted.inputs[1]]
    if safe:
        if largest.op != "where" or not _is_number(largest.inputs[1], 0):
            return None
        inside += [largest, largest.inputs[0]]
        largest = largest.inputs[2]
        if largest is not inside[-1].inputs[0] or not _compares(inside[-1], float("-inf")):
            return None
    inside.append(largest)
    if not _is_row_reduction(largest, "max") or largest.inputs[0] is not scores:
        return None
    return scores, safe, inside


def _compares(node: Node, value: float) -> bool:
    return node.op == "eq" and _is_number(node.inputs[1], value)


def _is_number(node: Node, value: float) -> bool:
    node = base_of(node)
    while node.op in ("expand", "reshape"):
        node = node.inputs[0]
    return node.op == "constant" and constant_of(node) == value


def _is_row_reduction(node: Node, kind: str) -> bool:
    return (
        node.op == "reduce" and node.attributes[0] == kind
        and node.attributes[1] == (node.inputs[0].ndim - 1,)
    )  # fmt: skip


def _same_matrices(x: Node, y: Node) -> bool:
    return x.ndim >= 2 and y.ndim >= 2 and x.shape[-2:] == y.shape[-2:]


def _other(node: Node, one: Node) -> Node | None:
    """The other operand of a commutative node."""
    a, b = node.inputs
    return b if a is one else a if b is one else None


def _change(node: Node, inner: Node) -> Change | None:
    """What a node does to one of its operands, elementwise."""
    if node.op in ("mul", "div") and node.inputs[0] is inner and is_one_number(node.inputs[1]):
        return node.op, node.inputs[1]
    if node.op == "mul" and node.inputs[1] is inner and is_one_number(node.inputs[0]):
        return "mul", node.inputs[0]
    if node.op == "add" and inner in node.inputs:
        other = _other(node, inner)
        return None if other is None or is_one_number(other) else ("add", other)
    if node.op == "where" and not is_one_number(node.inputs[0]):
        condition, a, b = node.inputs
        if b is inner and is_one_number(a):
            return "fill", condition, a
        if a is inner and is_one_number(b):
            return "keep", condition, b
    return None


def number_of(node: Node) -> Node:
    """The one number behind an array that is the same everywhere."""
    while node.op in ("expand", "reshape"):
        node = node.inputs[0]
    return node


def is_one_number(node: Node) -> bool:
    """Whether an array is one number everywhere, known without reading a buffer."""
    return is_uniform(number_of(node))


def _changes(scores: Node) -> tuple[Node, list[Change], list[Node]] | None:
    """The product under scores, what is done to it, and the nodes between."""
    changes: list[Change] = []
    between: list[Node] = []
    node = scores
    while node.op != "matmul":
        between.append(node)
        if node.op == "reshape":
            inner: Node | None = node.inputs[0]
            if not _same_matrices(node, node.inputs[0]):
                return None
        elif node.op in ("mul", "div", "where", "add"):
            inner = next((x for x in node.inputs if _leads_to_product(x)), None)
            step = None if inner is None else _change(node, inner)
            if step is None:
                return None
            changes.append(step)
        else:
            return None
        assert inner is not None
        node = inner
    return node, changes[::-1], between


def _leads_to_product(node: Node) -> bool:
    for _ in range(8):
        if node.op == "matmul":
            return True
        if node.op == "reshape":
            node = node.inputs[0]
        elif node.op in ("mul", "div", "where", "add"):
            inner = [x for x in node.inputs if x.op in ("matmul", "reshape", "mul", "div", "where",
                                                        "add")]  # fmt: skip
            return any(_leads_to_product(x) for x in inner)
        else:
            return False
    return False


# ---- the graph made once more


class _Rewriter:
    """Copies a graph in its order, with the nodes that were found in place of others."""

    def __init__(self, graph: Graph, found: list[Forward]):
        self.old = graph
        self.by_result: dict[Node, Forward | Backward] = {}
        for forward in found:
            self.by_result[forward.result] = forward
            if forward.backward is not None:
                own = forward.backward
                self.by_result.update(dict.fromkeys((own.by_q, own.by_k, own.by_v), own))

    def graph(self) -> Graph:
        copy = Copy(self.old)
        order = self._order()
        if order is None:
            return self.old
        for item in order:
            if isinstance(item, Forward):
                copy.new.source = item.result.source
                self._forward(copy.new, item, copy.made)
            elif isinstance(item, Backward):
                copy.new.source = item.by_q.source
                self._backward(copy.new, item, copy.made)
            else:
                copy.node(item)
        return copy.finished()

    def _needs(self, item: Any) -> list[Any]:
        """What has to be there before: nodes, or what was found in their place."""
        if isinstance(item, Forward):
            nodes = [item.q, item.k, item.v, *_arrays(item.changes)]
        elif isinstance(item, Backward):
            nodes = [item.grad, item.forward.result, *_arrays(item.changes)]
        else:
            nodes = list(item.inputs)
        return [self.by_result.get(x, x) for x in nodes]

    def _order(self) -> list[Any] | None:
        """All that is needed, in the old order as far as possible; None if it goes in circles."""
        todo = [self.by_result.get(x, x) for x in (*self.old.outputs, *self.old.checks)]
        needs: dict[Any, set[Any]] = {}
        while todo:
            item = todo.pop()
            if item not in needs:
                needs[item] = set(self._needs(item))
                todo.extend(needs[item])
        return ordered(needs, _place)

    def _forward(self, new: Graph, item: Forward, made: dict[Node, Node]) -> None:
        steps, extra = _described(item.changes, made)
        inputs = [made[x] for x in (item.q, item.k, item.v)] + extra
        result = item.result
        found = new.make(
            "attend", inputs, (steps, item.batch, item.safe), result.shape, result.dtype
        )
        made[result] = found

    def _backward(self, new: Graph, item: Backward, made: dict[Node, Node]) -> None:
        forward = item.forward
        steps, extra = _described(forward.changes, made)
        back, more = _described(item.changes, made, len(extra))
        attend = made[forward.result]
        rows = forward.weights.shape[-2]
        shape = (prod(forward.batch), rows)
        kept = [new.make("attended", (attend,), (i,), shape, attend.dtype) for i in (1, 2)]
        q, k, v, grad = (made[x] for x in (forward.q, forward.k, forward.v, item.grad))
        by_q = new.make(
            "attend_gradient", (q, k, v, grad, *kept, *extra, *more),
            (steps, back, forward.batch, forward.safe), q.shape, q.dtype,
        )  # fmt: skip
        turned = (*k.shape[:-2], k.shape[-1], k.shape[-2])
        by_k = new.make("attended", (by_q,), (1,), turned, k.dtype)
        made[item.by_q] = by_q
        made[item.by_k] = by_k.transpose(k.ndim - 2, k.ndim - 1)
        made[item.by_v] = new.make("attended", (by_q,), (2,), v.shape, v.dtype)


def _place(item: Any) -> int:
    if isinstance(item, Forward):
        return item.result.index
    if isinstance(item, Backward):
        return max(item.by_q.index, item.by_k.index, item.by_v.index)
    return int(item.index)


def _arrays(changes: Sequence[Change]) -> list[Node]:
    return [x for change in changes for x in change[1:]]


def _described(
    changes: Sequence[Change], made: dict[Node, Node], first: int = 0
) -> tuple[tuple, list[Node]]:
    """(kind, number of each operand among the extra inputs) of changes; these inputs."""
    steps: list[tuple] = []
    extra: list[Node] = []
    for kind, *operands in changes:
        steps.append((kind, *range(first + len(extra), first + len(extra) + len(operands))))
        extra += [made[x] for x in operands]
    return tuple(steps), extra


# ---- how the operands lie


def operands(node: Node) -> tuple[tuple[int, ...], list[Operand]]:
    """The batch sizes (finer than the heads' own, if need be), and each array as it lies.

    In the order of the node's inputs: q, k, v, for gradients that of the result, and masks; numbers
    and what the kernel of the forward pass kept are left out (see :func:`arrays_of`).
    """
    backward = node.op == "attend_gradient"
    batch = node.attributes[2 if backward else 1]
    q, k, v = node.inputs[:3]
    rows, columns = q.shape[-2], k.shape[-1]
    sizes = [*batch, rows, columns, q.shape[-1], v.shape[-1]]
    n = len(batch)
    L, S, E, F = range(n, n + 4)
    wanted = [(q, (L, E)), (k, (E, S)), (v, (S, F))]
    if backward:
        wanted.append((node.inputs[3], (L, F)))
    wanted += [(x, (L, S)) for x in arrays_of(node)]
    return _as_they_lie(sizes, n, wanted)


def arrays_of(node: Node) -> list[Node]:
    """The masks among the extra inputs: all that is not one number."""
    return [x for x in extra_inputs(node) if not is_one_number(x)]


def extra_inputs(node: Node) -> tuple[Node, ...]:
    """Numbers and masks."""
    return node.inputs[6:] if node.op == "attend_gradient" else node.inputs[3:]


def _as_they_lie(
    sizes: list[int], batch: int, wanted: list[tuple[Node, tuple[int, int]]]
) -> tuple[tuple[int, ...], list[Operand]]:
    direct = [True] * len(wanted)  # whether to look through movement
    variables = Variables(sizes)
    number = 0
    while True:
        try:
            views = []
            for number, (x, dims) in enumerate(wanted):
                views.append(_view(x, dims, batch, variables, direct[number]))
            break
        except TooCoarse as need:
            variables.split(need)
        except NotAffine:
            assert direct[number], wanted[number]
            direct[number] = False
    outer = variables.before(batch)
    found = []
    for (x, dims), (base, flat) in zip(wanted, views, strict=True):
        strides = [variables.stride(flat, dim) for dim in dims]
        if None in strides:
            base, flat = _view(x, dims, batch, variables, False)
            strides = [variables.stride(flat, dim) for dim in dims]
        row, column = strides
        assert row is not None and column is not None
        steps = tuple([flat.coefficient(v) for v in outer])
        found.append(Operand(base, steps, row, column, flat.const))
    return tuple([variables.sizes[v] for v in outer]), found


def _view(
    x: Node, dims: tuple[int, int], batch: int, variables: Variables, direct: bool
) -> tuple[Node, Affine]:
    """The array behind x, and which element of it these variables are at."""
    sizes = variables.sizes
    own = [prod(sizes[v] for v in variables.of(dim)) for dim in range(batch)]
    head = ravel(tuple([variables.along(dim) for dim in range(batch)]), own)
    row, column = (variables.along(dim) for dim in dims)
    return element(x, (*unravel(head, x.shape[:-2], sizes), row, column), sizes, direct)


__all__ = ["KERNELS", "arrays_of", "extra_inputs", "number_of", "operands", "recognise"]
