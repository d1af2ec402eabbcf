"""Loops that Python unrolled: what their steps do with one weight is done for all steps at once.

Between lowering and fusing. A recurrent network in a Python loop arrives as hundreds of small
products. Three things are true of them whatever the loop computes:

- *Sums*. A weight's gradient is a sum over the steps, ``a1 @ b1 + a2 @ b2 + ...``: one product
  whose k runs through all steps, ``[a1 a2 ...] @ [b1; b2; ...]``. Where one operand is the same in
  some of them, the others are added first. So with a bias's gradient, a sum of sums over rows.
- *Products with one weight* of arrays that do not depend on each other's results, ``x1 @ w``,
  ``x2 @ w``: one product ``[x1; x2; ...] @ w``, of which each step takes its rows.
- *Concatenations* of what was computed alike from parts of one array are computed from it.

Arrays put together are not copied: who computes a part writes it where it belongs (``fuse.py``),
and parts that were cut out of one array are that array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from suiren import dtypes
from suiren.compiler.graph import Graph
from suiren.compiler.node import ELEMENTWISE, Node, base_of
from suiren.compiler.operands import reachable, users_of
from suiren.compiler.rewriting import Copy, ordered

FEWEST = 4  # steps that are worth it
LONG = 512  # products with so many rows, or sums of so long products, are efficient by themselves
LARGEST = 64 << 20  # bytes of what is put together
_SUMMED = frozenset([dtypes.float32, dtypes.float64])  # half types round at each addition


def gather(graph: Graph) -> Graph:
    """The graph with the products of unrolled loops put together; itself, where there are none."""
    products = sum(node.op == "matmul" for node in graph.nodes)
    pieces = max([len(node.inputs) for node in graph.nodes if node.op == "concat"], default=0)
    if max(products, pieces) < FEWEST:
        return graph
    return _together(_summed(graph))


# ---- arrays put together


def joined(parts: Sequence[Node], dim: int, fresh: set[Node] | None = None) -> Node | None:
    """The parts one after the other where that is an array already; None where it is not.

    ``fresh``: nodes that nobody else wants, elementwise ones among them may be computed again.
    """
    first = parts[0]
    g, op = first.graph, first.op
    if any(p.op != op or p.shape != first.shape or p.dtype is not first.dtype for p in parts):
        return None
    shape = list(first.shape)
    shape[dim] *= len(parts)
    if op == "expand":
        x = first.inputs[0]
        if all(p.inputs[0] is x for p in parts) and x.shape[dim] == 1:
            return g.expand(x, shape)
        return None
    if op == "slice":
        return _rejoined(parts, dim)
    if op == "reshape":
        inner = [p.inputs[0] for p in parts]
        before = inner[0].shape
        if dim == 0 and before:  # it is their elements one after the other
            found = joined(inner, 0, fresh)
        elif before == (*first.shape[:dim], 1, *first.shape[dim:]):
            found = joined(inner, dim, fresh)
        else:
            return None
        return None if found is None else g.reshape(found, shape)
    if op == "permute":
        order = first.attributes[0]
        if any(p.attributes != first.attributes for p in parts):
            return None
        found = joined([p.inputs[0] for p in parts], order[dim], fresh)
        return None if found is None else g.permute(found, order)
    if fresh is None or op not in ELEMENTWISE or not fresh.issuperset(parts):
        return None
    if any(p.attributes != first.attributes for p in parts):
        return None
    inputs = []
    for place in range(len(first.inputs)):
        found = joined([p.inputs[place] for p in parts], dim, fresh)
        if found is None:
            return None
        inputs.append(found)
    return g.make(op, inputs, first.attributes, shape, first.dtype)


def _rejoined(parts: Sequence[Node], dim: int) -> Node | None:
    """Neighbouring parts that were cut out of one array."""
    base = parts[0].inputs[0]
    ranges = parts[0].attributes[0]
    begin, count, step = ranges[dim]
    if step != 1:
        return None
    at = begin
    for part in parts:
        own = part.attributes[0]
        if part.inputs[0] is not base or own[dim] != (at, count, 1):
            return None
        if own[:dim] != ranges[:dim] or own[dim + 1 :] != ranges[dim + 1 :]:
            return None
        at += count
    return base.graph.slice(base, (*ranges[:dim], (begin, at - begin, 1), *ranges[dim + 1 :]))


def together(parts: Sequence[Node], dim: int) -> Node:
    """The parts one after the other, of what they were before they were moved where it can be."""
    known = joined(parts, dim)
    if known is not None:
        return known
    first = parts[0]
    g = first.graph
    alike = all(p.op == first.op and p.shape == first.shape for p in parts)
    shape = list(first.shape)
    shape[dim] *= len(parts)
    if alike and first.op == "permute" and len({p.attributes for p in parts}) == 1:
        order = first.attributes[0]
        return g.permute(together([p.inputs[0] for p in parts], order[dim]), order)
    if dim == 0 and alike and first.op == "reshape":
        inner = [p.inputs[0] for p in parts]
        if inner[0].ndim and len({x.shape for x in inner}) == 1:
            return g.reshape(together(inner, 0), shape)
    return g.concat(parts, dim)


def _moved(x: Node) -> Node:
    """What is behind reshapes and permutations."""
    while x.op in ("reshape", "permute"):
        x = x.inputs[0]
    return x


def _cut(x: Node) -> tuple[Node, int, int] | None:
    """The array that x is cut out of along one dimension, which one, and where it begins."""
    x = _moved(x)
    if x.op != "slice":
        return None
    base = x.inputs[0]
    cut = [d for d, (_, count, _) in enumerate(x.attributes[0]) if count != base.shape[d]]
    return (base, cut[0], x.attributes[0][cut[0]][0]) if len(cut) == 1 else None


def _in_order(steps: Sequence[tuple[Node, ...]]) -> list[tuple[Node, ...]]:
    """By where one of the arrays of each step lies in an array, else in the order of the steps."""
    for arrays in zip(*steps, strict=True):
        places = [_cut(x) for x in arrays]
        if None not in places and len({place[:2] for place in places if place}) == 1:
            order = [(place[2], i) for i, place in enumerate(places) if place]
            return [steps[i] for _, i in sorted(order)]
    return sorted(steps, key=lambda step: [_moved(x).index for x in step])


# ---- sums


def _summed(graph: Graph) -> Graph:
    """Sums of products and of sums over rows, each as one; the graph itself if there are none."""
    nodes = reachable(graph)
    sums = _Sums(graph, nodes)
    if not sums.leaves:
        return graph
    copy = Copy(graph)
    for node in nodes:
        if node in sums.leaves:
            copy.new.source = node.source
            copy.made[node] = sums.total(copy, sums.leaves[node])
        else:
            copy.node(node)
    return copy.finished()


class _Sums:
    """The trees of additions of a graph, those of which many terms can be made one."""

    def __init__(self, graph: Graph, nodes: Sequence[Node]):
        self.users = users_of(list(nodes))
        self.outside = {*graph.outputs, *graph.checks}
        self.leaves: dict[Node, list[Node]] = {}
        inside: set[Node] = set()
        for node in reversed(nodes):
            if node.op == "add" and node not in inside and node.dtype in _SUMMED:
                leaves = list(self._leaves(node, inside))
                if len(leaves) >= FEWEST and self._worth(leaves):
                    self.leaves[node] = leaves
        # the place of operands among those of the other steps: sums over rows follow it
        self.places: dict[Node, int] = {}
        for leaves in self.leaves.values():
            for kind, found in self._kinds(leaves).items():
                if kind is not None and kind[0] == "matmul":
                    pairs = [base_of(leaf).inputs for leaf in found]
                    for place, pair in enumerate(_in_order(pairs)):
                        self.places.update((_moved(x), place) for x in pair)

    def _leaves(self, root: Node, inside: set[Node]) -> Iterator[Node]:
        """What a tree of additions adds up, in order; its own nodes go into ``inside``."""
        todo = [*reversed(root.inputs)]
        while todo:
            node = todo.pop()
            if node.op == "add" and self._alone(node):
                inside.add(node)
                todo.extend(reversed(node.inputs))
            else:
                yield node

    def _alone(self, node: Node) -> bool:
        return len(self.users[node]) == 1 and node not in self.outside

    def _kind(self, leaf: Node) -> tuple | None:
        """Leaves of one kind can be made one; None for those that are none of these."""
        base = base_of(leaf)
        if not self._alone(leaf) or not self._alone(base):
            return None
        if base.op == "matmul":
            return ("matmul", base.inputs[0].dtype, *(x.shape for x in base.inputs))
        if base.op == "reduce" and base.attributes[0] == "sum" and base.attributes[1][0] == 0:
            return ("reduce", base.attributes[1], base.inputs[0].shape)
        return None

    def _worth(self, leaves: Sequence[Node]) -> bool:
        return any(kind and len(found) >= FEWEST for kind, found in self._kinds(leaves).items())

    def _kinds(self, leaves: Sequence[Node]) -> dict[tuple | None, list[Node]]:
        kinds: dict[tuple | None, list[Node]] = {}
        for leaf in leaves:
            kinds.setdefault(self._kind(leaf), []).append(leaf)
        return kinds

    def total(self, copy: Copy, leaves: Sequence[Node]) -> Node:
        """The sum, the leaves of a kind at once."""
        g = copy.new
        rest: list[Node] = []
        terms: list[Node] = []
        for kind, found in self._kinds(leaves).items():
            if kind is None or len(found) < FEWEST:
                rest += found
            elif kind[0] == "matmul":
                products = _sum_of_products(g, [copy.inputs(base_of(leaf)) for leaf in found])
                terms += [g.reshape(x, found[0].shape) for x in products]
            else:
                x = together([copy.made[x] for x in self._rows(found)], 0)
                terms.append(g.reduce("sum", x, kind[1]).reshape(*found[0].shape))
        rest.sort(key=lambda leaf: leaf.index)
        return _added([*[copy.made[leaf] for leaf in rest], *terms])

    def _rows(self, sums: Sequence[Node]) -> list[Node]:
        """What sums over rows add up, in the order of the steps."""
        parts = [base_of(leaf).inputs[0] for leaf in sums]
        if all(_moved(x) in self.places for x in parts):
            return sorted(parts, key=lambda x: self.places[_moved(x)])
        return [x for x, in _in_order([(x,) for x in parts])]


def _total(terms: Sequence[Node]) -> Node:
    """The sum of the terms, of what they were before all of them were moved alike."""
    first = terms[0]
    moved = first.op in ("permute", "reshape") and len({(x.op, x.attributes) for x in terms}) == 1
    if len(terms) > 1 and moved:
        inner = [x.inputs[0] for x in terms]
        if len({x.shape for x in inner}) == 1:
            g = first.graph
            return g.make(first.op, (_total(inner),), first.attributes, first.shape, first.dtype)
    return _added(sorted(terms, key=lambda x: x.index))


def _added(terms: Sequence[Node]) -> Node:
    total = terms[0]
    for term in terms[1:]:
        total = total.graph.make("add", (total, term), (), total.shape, total.dtype)
    return total


def _sum_of_products(g: Graph, pairs: Sequence[tuple[Node, ...]]) -> list[Node]:
    """Products whose sum is that of the products of these pairs, as few as it takes."""
    if pairs[0][0].dtype in _SUMMED:
        for which in (1, 0):
            same: dict[Node, list[Node]] = {}
            for pair in pairs:
                same.setdefault(pair[which], []).append(pair[1 - which])
            sums = [(x, _total(others)) for x, others in same.items()]
            pairs = [(total, x) if which else (x, total) for x, total in sums]
    a, b = pairs[0]
    nbytes = sum(a.nbytes + b.nbytes for a, b in pairs)
    if len(pairs) < FEWEST or a.shape[-1] >= LONG or nbytes > LARGEST:
        return [g.matmul(a, b) for a, b in pairs]
    pairs, k = _in_order(pairs), a.ndim - 1
    return [g.matmul(together([a for a, _ in pairs], k), together([b for _, b in pairs], k - 1))]


# ---- products with one weight


def _together(graph: Graph) -> Graph:
    """Products of several arrays with one, each as one, and what then comes of one array."""
    nodes = reachable(graph)
    units = _independent(nodes)
    if not units and not any(node.op == "concat" for node in nodes):
        return graph
    users = users_of(nodes)
    outside = {*graph.outputs, *graph.checks}
    unit_of = {product: unit for unit in units for product in unit}
    copy = Copy(graph)
    fresh: set[Node] = set()
    for item in _ordered(nodes, unit_of):
        if isinstance(item, tuple):
            copy.new.source = item[0].source
            _make_together(copy, item)
        elif item.op == "concat":
            copy.new.source = item.source
            copy.made[item] = _concatenated(copy.inputs(item), item.attributes[0], fresh)
        else:
            made = copy.node(item)
            if item not in outside and len(users[item]) == 1:
                fresh.add(made)
    return copy.finished()


def _concatenated(parts: Sequence[Node], dim: int, fresh: set[Node]) -> Node:
    if len(parts) >= FEWEST and len({x.shape for x in parts}) == 1:
        return joined(parts, dim, fresh) or together(parts, dim)
    return parts[0].graph.concat(parts, dim)


def _independent(nodes: Sequence[Node]) -> list[tuple[Node, ...]]:
    """Sets of products with the same second operand that can be computed at one time."""
    products = [node for node in nodes if node.op == "matmul" and node.ndim == 2]
    alike: dict[tuple, list[Node]] = {}
    for node in products:
        a, b = node.inputs
        if a.shape[0] < LONG:
            alike.setdefault((b, a.shape, a.dtype, node.dtype), []).append(node)
    alike = {key: found for key, found in alike.items() if len(found) >= FEWEST}
    if not alike:
        return []
    bits = {node: 1 << i for i, node in enumerate(products)}
    needs: dict[Node, int] = {}  # the products that a node is computed from
    for node in nodes:
        own = 0
        for x in node.inputs:
            own |= needs[x] | bits.get(x, 0)
        needs[node] = own
    before = {node: needs[node] for node in products}
    found = []
    for members in alike.values():
        for unit in _levels(members, before, bits):
            nbytes = sum(node.nbytes + node.inputs[0].nbytes for node in unit)
            if FEWEST <= len(unit) and nbytes <= LARGEST and _merge(unit, before, bits):
                found.append(tuple(unit))
    return found


def _levels(
    members: Sequence[Node], before: dict[Node, int], bits: dict[Node, int]
) -> list[list[Node]]:
    """Those that need none of the others, those that need only these, and so on."""
    levels: list[list[Node]] = []
    masks: list[int] = []
    for node in members:
        level = len(masks)
        while level and not before[node] & masks[level - 1]:
            level -= 1
        if level == len(masks):
            levels.append([])
            masks.append(0)
        levels[level].append(node)
        masks[level] |= bits[node]
    return levels


def _merge(unit: Sequence[Node], before: dict[Node, int], bits: dict[Node, int]) -> bool:
    """Notes in ``before`` that these are computed together; False if one needs another."""
    mask = needed = 0
    for node in unit:
        mask |= bits[node]
        needed |= before[node]
    if needed & mask:
        return False
    for node, own in before.items():
        if own & mask:
            before[node] = own | needed
    for node in unit:
        before[node] = needed
    return True


def _ordered(nodes: Sequence[Node], unit_of: dict[Node, tuple]) -> list[Node | tuple]:
    """All nodes, those of a unit as one when all of them can be computed; else in their order."""
    needs: dict[Node | tuple, set[Node | tuple]] = {}
    for node in nodes:
        item = unit_of.get(node, node)
        if item not in needs:
            members = item if isinstance(item, tuple) else (item,)
            needs[item] = {unit_of.get(x, x) for member in members for x in member.inputs}
    found = ordered(needs, _place)
    if found is None:
        raise AssertionError("products that need each other were put together")
    return found


def _place(item: Node | tuple[Node, ...]) -> int:
    return item[0].index if isinstance(item, tuple) else item.index


def _make_together(copy: Copy, unit: tuple[Node, ...]) -> None:
    """One product for the unit, and the rows of each of its members."""
    g = copy.new
    b = copy.made[unit[0].inputs[1]]
    member_of = {copy.made[node.inputs[0]]: node for node in unit}
    parts = [x for x, in _in_order([(x,) for x in member_of])]
    rows, n, kind = parts[0].shape[0], b.shape[1], unit[0].dtype
    inside = _steps_inside(parts)
    if inside is not None:
        base, dim = inside
        whole = g.reshape(base, (base.numel // base.shape[-1], base.shape[-1]))
        product = g.make("matmul", (whole, b), (), (whole.shape[0], n), kind)
        product = g.reshape(product, (*base.shape[:-1], n))
        for part in parts:
            ranges = [(0, size, 1) for size in product.shape]
            ranges[dim] = (_cut(part)[2], 1, 1)  # type: ignore[index]
            copy.made[member_of[part]] = g.reshape(g.slice(product, ranges), (rows, n))
        return
    a = together(parts, 0)
    product = g.make("matmul", (a, b), (), (rows * len(parts), n), kind)
    for number, part in enumerate(parts):
        ranges = [(number * rows, rows, 1), (0, n, 1)]
        copy.made[member_of[part]] = g.slice(product, ranges)


def _steps_inside(parts: Sequence[Node]) -> tuple[Node, int] | None:
    """The array of which these are most places along a dimension that is not the first one."""
    found = [_cut(x) for x in parts if x.op == "reshape" and x.inputs[0].op == "slice"]
    if len(found) != len(parts) or found[0] is None:
        return None
    base, dim, _ = found[0]
    if not 0 < dim < base.ndim - 1 or any(x is None or x[:2] != (base, dim) for x in found):
        return None
    if any(x.inputs[0].shape[dim] != 1 or x.shape[1] != base.shape[-1] for x in parts):
        return None
    return (base, dim) if 2 * len(parts) >= base.shape[dim] else None


__all__ = ["gather", "joined", "together"]
