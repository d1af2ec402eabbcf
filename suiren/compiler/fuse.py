"""From the graph to groups: what is computed together in one loop nest.

Nodes that have to lie in memory or that end a loop are *roots*: outputs, reductions, operands of
products and of host calls, and dear intermediate results with several users. Everything else is
computed where it is needed. Roots are taken in order, and each joins a group that already computes
or reads what it needs, if it can be walked by that group's loop variables; else it begins a group.

A group's variables are split in two: the *rows*, which are shared out among threads, and what is
*inside* a row, walked by vector instructions. Reductions over the inside are known as soon as the
row has been walked once, so what depends on them (the subtraction in softmax, say) can go on in a
second walk of the same row, while it lies in the first-level cache. Reductions over the rows
(*late* ones) are known when the group has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

from suiren.compiler import attention
from suiren.compiler.graph import Graph
from suiren.compiler.index import (
    ZERO,
    Affine,
    Index,
    NotAffine,
    TooCoarse,
    identity,
    ravel,
    split,
    through,
)
from suiren.compiler.node import ELEMENTWISE, IN_MEMORY, LEAVES, MOVEMENT, Node, base_of
from suiren.compiler.operands import product_operands, reachable, users_of

# Nodes that a step of their own computes: others read them from memory.
OWN_STEP = frozenset(
    """host part scatter scatter_along scan concat update none correlate winograd_weight
    depthwise_sums attend attend_gradient attended""".split()
)
# the rest of the group is an epilogue
PRODUCTS = frozenset(["matmul", "convolve", "winograd", "depthwise"])
PIECED = frozenset(["concat", "update"])  # written piece by piece, each by a group of its own
ORDERED = frozenset(["scatter", "scatter_along", "scan"])  # kernels of their own: codegen.scatter
# whose operands lie in memory in whatever shape
THROUGH_RESHAPES = ORDERED | frozenset(
    """take take_along host convolve winograd winograd_weight correlate depthwise
    depthwise_sums""".split()
)
REPEATED = 4  # times that something dear may be computed for want of a place to lie,
FEW_REPEATED = 1024  # if it is more than so many elements
DEAR = frozenset(
    """exp exp2 expm1 log log1p log2 log10 pow tanh sigmoid erf erfc erfinv sin cos tan asin acos
    atan sinh cosh asinh acosh atanh div sqrt rsqrt fmod remainder lgamma digamma atan2
    log_sigmoid take take_along""".split()
)
MAX_DEPTH = 60  # of what is computed in place: deeper expressions are cut by storing
MAX_ROOTS = 40  # in a group
MAX_OPERATIONS = 400


ANYWHERE = Affine(-1)  # the offset of elements read by computed index


class Misfit(Exception):
    """The root cannot be part of this group."""


class Group:
    """Roots computed by one loop nest; see the module's text."""

    def __init__(self, number: int, shape: Sequence[int]):
        self.number = number
        self.sizes = [n for n in shape if n != 1]
        self.rows: int | None = None  # how many of the variables are rows; None: not decided
        self.kept: int | None = None  # late results keep these first rows (the A of [A, K, B])
        self.roots: list[Node] = []
        self.product: Node | None = None  # a matmul whose epilogue this is
        self.inner: list[Node] = []  # reductions known after a walk of the row
        self.late: list[Node] = []  # reductions known when the group has ended
        self.reads: dict[Node, set[Affine]] = {}
        self.before: set[Group] = set()  # groups that have to run before
        self.bit = 1 << number  # one that is this group's own,
        self.above = 0  # and those of all that it waits for, however long the way
        self.stores: list[Node] = []
        self.operations = 0
        self.index: dict[Node, Index] = {}  # of the roots: where they are known, in the loops
        # roots that are parts of something larger: what they are written into, and where:
        # (first, step) in each dimension
        self.targets: dict[Node, tuple[Node, tuple[tuple[int, int], ...]]] = {}

    def __repr__(self) -> str:
        kind = "matmul" if self.product else "loops"
        return (
            f"{kind} {self.sizes} rows={self.rows} "
            f"stores {', '.join(f'n{n.index}' for n in self.stores)}"
        )

    def comes_before(self, others: Iterable[Group]) -> bool:
        """Whether one of these waits for this group, however long the way."""
        return any(other.above & self.bit for other in others)


class Fusion:
    """The groups of a graph (``groups``, in an order in which they can run)."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.used = reachable(graph)
        self.users = users_of(self.used)
        self.groups: list[Group] = []
        self.group_of: dict[Node, Group] = {}
        self.readers: dict[Node, list[Group]] = {}
        self.roots = self._choose_roots()
        for node in self.used:
            if node in self.roots:
                self._place(node)
        self._decide_stores()
        self.groups = self._ordered()

    # ---- roots

    def _choose_roots(self) -> set[Node]:
        roots = set(self.graph.outputs) | set(self.graph.checks)
        depth: dict[Node, int] = {}
        cost: dict[Node, float] = {}
        for node in self.used:
            if node.op in OWN_STEP or node.op in PRODUCTS:
                roots.add(node)
                if node.op not in PIECED:
                    roots.update(self._bases(node))
            elif node.op == "reduce":
                roots.add(node)
            elif node.op in ("take", "take_along"):
                roots.update(self._bases(node, 1))
            inside = [i for i in node.inputs if i not in roots]
            depth[node] = 1 + max([depth.get(i, 0) for i in inside], default=0)
            # what it takes to compute the node again, sharing within it not counted
            own = 8 if node.op in DEAR else 0 if node.op in MOVEMENT else 1
            # (and what is the same along a row counts for as little as it is computed)
            cost[node] = min(
                1000, own + sum(cost.get(i, 0) * i.numel / max(node.numel, 1) for i in inside)
            )
            if node.op not in ELEMENTWISE or node in roots:
                continue
            many = len(self.users.get(node, ())) > 1 or self._is_repeated(node)
            dear = cost[node] > 6 or self._narrows_product(node)
            if depth[node] > MAX_DEPTH or (many and dear and node.numel > 1):
                roots.add(node)
        return {node for node in roots if node.op not in LEAVES and node.op != "none"}

    def _is_repeated(self, node: Node) -> bool:
        """Whether each row of a larger array would compute this again: vectors run along it."""
        return node.numel > FEW_REPEATED and any(
            user.op == "expand"
            and user.numel >= REPEATED * node.numel
            and user.inputs[0].shape[-1:] == user.shape[-1:]
            for user in self.users.get(node, ())
        )

    def _narrows_product(self, node: Node) -> bool:
        """Whether a product that nothing else wants is made a half type: half as much to store."""
        if node.op != "cast" or not node.dtype.is_half:
            return False
        x = node.inputs[0]
        while len(self.users[x]) == 1:
            if x.op in PRODUCTS:
                return True
            inside = [i for i in x.inputs if i.op != "expand"]
            if x.op not in ELEMENTWISE or len(inside) != 1:
                break
            x = inside[0]
        return False

    def _bases(self, node: Node, count: int | None = None) -> Iterator[Node]:
        """The operands that have to lie in memory, free movement taken off."""
        if node.op == "matmul":
            _, a, b = product_operands(node)
            yield from (a.base, b.base)
            return
        if node.op in attention.KERNELS:
            yield from (x.base for x in attention.operands(node)[1])
            if node.op == "attend_gradient":
                yield from node.inputs[4:6]
            return
        operands = node.inputs[1:] if node.op.startswith("scatter") else node.inputs[:count]
        for operand in operands:
            if node.op in THROUGH_RESHAPES:
                operand = base_of(operand)
            yield operand

    # ---- groups

    def _place(self, root: Node) -> None:
        if root.op == "attended":  # by the kernel of its input
            group = self.group_of[root.inputs[0]]
            group.roots.append(root)
            self.group_of[root] = group
            return
        if root.op in OWN_STEP:
            group = self._begin(root.shape)
            group.roots.append(root)
            self._wait(group, {self.group_of[b] for b in self._needed(root)})
            if root.op in PIECED or root.op.startswith("scatter"):
                self._wait(group, self._parts(root))
            self.group_of[root] = group
            return
        if root.op in PRODUCTS:
            group = self._begin(root.shape)
            group.sizes = list(root.shape)
            group.product = root
            group.rows = len(group.sizes) - 1
            group.roots.append(root)
            group.index[root] = identity(root.shape, group.sizes)
            self.group_of[root] = group
            self._wait(group, {self.group_of[b] for b in self._needed(root)})
            return
        for group in self._candidates(root):
            try:
                self._join(group, root)
                return
            except (Misfit, NotAffine):
                continue
        shape = root.inputs[0].shape if root.op == "reduce" else root.shape
        group = self._begin(shape)
        try:
            self._join(group, root)
        except NotAffine as problem:
            # a reshape that no variables make affine: its input has to be stored
            self.groups.remove(group)
            inner = self._stubborn(root)
            if inner is None:
                raise AssertionError(f"{root} cannot be walked: {problem}") from problem
            self.roots.add(inner)
            self._place(inner)
            self._place(root)

    def _parts(self, root: Node) -> set[Group]:
        """The groups that write a concatenation's parts, or an array and what replaces some."""
        parts: list[tuple[Node, list[tuple[int, int]]]] = []
        if root.op == "concat":
            dim, at = root.attributes[0], 0
            for part in root.inputs:
                parts.append((part, [(at if d == dim else 0, 1) for d in range(root.ndim)]))
                at += part.shape[dim]
        else:
            parts.append((root.inputs[0], [(0, 1)] * root.ndim))
        if root.op == "update":
            region = [(first, step) for first, _, step in root.attributes[0]]
            parts.append((root.inputs[1], region))
        written: set[Group] = set()
        for part, region in parts:
            # a node of its own: the part may be stored elsewhere too
            copy = Node(self.graph, "copy", (part,), (), part.shape, part.dtype, root.index)
            target = root, tuple(region)
            group = self._piece(copy, target) if root.op == "concat" else None
            if group is None:
                group = self._begin(part.shape)
                group.targets[copy] = target
                try:
                    self._join(group, copy)
                except NotAffine:
                    self.roots.add(part)
                    self._place(part)
                    self._join(group, copy)
            if root.op == "update":
                self._wait(group, written)
            written.add(group)
        return written

    def _piece(self, copy: Node, target: tuple) -> Group | None:
        """The group that computes a part, if it can write it straight to where it belongs."""
        for group in self._candidates(copy):
            group.targets[copy] = target
            try:
                self._join(group, copy)
                return group
            except (Misfit, NotAffine):
                del group.targets[copy]
        return None

    def _stubborn(self, root: Node) -> Node | None:
        """The innermost reshape's input under this root that is not stored yet."""
        found = None
        todo = list(root.inputs) if root.op != "reshape" else [root]
        seen = set()
        while todo:
            node = todo.pop()
            if node in seen or node in self.group_of or node.op in LEAVES:
                continue
            seen.add(node)
            if node.op == "reshape" and not self._is_stored(node.inputs[0]):
                if found is None or node.inputs[0].index < found.index:
                    found = node.inputs[0]
            elif node.op == "reshape" and node is not root:
                if found is None or node.index < found.index:
                    found = node
            todo.extend(node.inputs)
        return found

    def _is_stored(self, node: Node) -> bool:
        return node in self.group_of or node.op in LEAVES

    def _begin(self, shape: Sequence[int]) -> Group:
        group = Group(len(self.groups), shape)
        self.groups.append(group)
        return group

    def _candidates(self, root: Node) -> list[Group]:
        needed = self._needed(root)
        groups = {self.group_of[n] for n in needed if n.op not in OWN_STEP}
        found = sorted(groups, key=lambda g: -g.number)
        size = root.inputs[0].numel if root.op == "reduce" else root.numel
        for leaf in sorted(self._leaves(root), key=lambda node: node.index):
            if leaf.numel * 2 >= size and leaf.numel > 256:
                for group in self.readers.get(leaf, ())[-3:]:
                    if group not in groups:
                        groups.add(group)
                        found.append(group)
        return found[:6]

    def _needed(self, root: Node) -> set[Node]:
        """The roots that a root is computed from."""
        found: set[Node] = set()
        seen: set[Node] = set()
        todo = list(root.inputs)
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in self.group_of:
                found.add(node)
            else:
                todo.extend(node.inputs)
        return found

    def _leaves(self, root: Node) -> set[Node]:
        found: set[Node] = set()
        seen: set[Node] = set()
        todo = list(root.inputs)
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in self.group_of or node.op in IN_MEMORY:
                found.add(node)
            else:
                todo.extend(node.inputs)
        return found

    def _wait(self, group: Group, others: set[Group]) -> None:
        """``others`` have to run before the group."""
        group.before |= others
        more = 0
        for other in others:
            more |= other.bit | other.above
        if more & ~group.above:
            for other in self.groups:
                if other is group or other.above & group.bit:
                    other.above |= more

    def _join(self, group: Group, root: Node) -> None:
        """Makes ``root`` part of the group, or raises Misfit and leaves the group as it was."""
        if any(r.op in OWN_STEP for r in group.roots):
            raise Misfit("a step of its own")
        if any(target.op != "concat" for target, _ in group.targets.values()) and group.roots:
            raise Misfit("a part that others may write over")
        if len(group.roots) >= MAX_ROOTS or group.operations > MAX_OPERATIONS:
            raise Misfit("the group is large enough")
        needed = self._needed(root)
        others = {self.group_of[n] for n in needed} - {group}
        if group.comes_before(others):
            raise Misfit("it needs something that comes after the group")
        if any(n in group.late for n in needed if self.group_of[n] is group):
            raise Misfit("it needs a result that is known when the group has ended")
        if root.numel == 1 and root.op != "reduce" and group.roots and others - group.before:
            raise Misfit("the group would have to wait, for one number")
        saved = (group.sizes, group.rows, group.kept, group.inner, group.late, group.index,
                 group.reads, group.operations)  # fmt: skip
        group.inner, group.late = list(group.inner), list(group.late)
        try:
            self._shape_for(group, root)
            group.roots.append(root)
            try:
                self._walk_all(group)
                # what was stored meanwhile is read from there by the group's other roots too
                others |= {self.group_of[x] for x in group.reads if x in self.group_of} - {group}
                if group.comes_before(others):
                    raise Misfit("it reads something that comes after the group")
            except BaseException:
                group.roots.pop()
                raise
        except (Misfit, NotAffine):
            (group.sizes, group.rows, group.kept, group.inner, group.late, group.index,
             group.reads, group.operations) = saved  # fmt: skip
            raise
        self.group_of[root] = group
        self._wait(group, others)
        for leaf in group.reads:
            readers = self.readers.setdefault(leaf, [])
            if group not in readers:
                readers.append(group)

    def _shape_for(self, group: Group, root: Node) -> None:
        """Decides rows and inside of the group for this root."""
        total = prod(group.sizes)
        if root.op != "reduce":
            if root.numel == total:
                return
            if group.rows is not None and root.numel == self._row_count(group):
                return
            raise Misfit("another number of elements")
        if group.product is not None:
            raise Misfit("a reduction of a product")
        a, k, b = _around(root)
        size = a * k * b
        if size != total:
            # of one number for each row: over all rows
            if group.rows is not None and a == b == 1 and size == self._row_count(group):
                group.late.append(root)
                return
            raise Misfit("another number of elements")
        if a == b == 1:
            if group.rows is None and not group.roots and total <= 4096:
                group.rows = 0
            if group.rows == 0:
                group.inner.append(root)
            else:
                group.late.append(root)
        elif b == 1:
            self._split_at(group, a)
            group.inner.append(root)
        else:
            self._split_at(group, a * k)
            if any(_around(r)[0] != a for r in group.late if _around(r)[2] != 1):
                raise Misfit("late results of another shape")
            if a > 1:
                self._boundary(group, a)
            group.kept = a
            group.late.append(root)

    def _row_count(self, group: Group) -> int:
        return prod(group.sizes[: group.rows])

    def _split_at(self, group: Group, count: int) -> None:
        at = self._boundary(group, count)
        if group.rows is not None and prod(group.sizes[: group.rows]) != count:
            raise Misfit("other rows")
        group.rows = at

    def _boundary(self, group: Group, count: int) -> int:
        """How many variables make up the first ``count`` places; splits one if it must."""
        done = 1
        for at, size in enumerate(group.sizes):
            if done == count:
                return at
            if done * size > count:
                if count % done or (done * size) % count:
                    raise Misfit("the dimensions do not nest")
                self._refine(group, at, done * size // count)
                return at + 1
            done *= size
        return len(group.sizes)

    def _refine(self, group: Group, var: int, inner: int) -> None:
        group.sizes = split(group.sizes, var, inner)
        if group.rows is not None and var < group.rows:
            group.rows += 1

    def _walk_all(self, group: Group) -> None:
        for _ in range(64):
            try:
                walk(group, self.group_of)
                return
            except TooCoarse as need:
                if group.product is not None and need.var >= len(group.sizes) - 2:
                    raise Misfit("the sides of a product stay whole") from None
                self._refine(group, need.var, need.inner)
        raise Misfit("too many variables")

    # ---- what is written

    def _decide_stores(self) -> None:
        outside = set(self.graph.outputs) | set(self.graph.checks)
        for node in self.used:
            if node.op in OWN_STEP | PRODUCTS and node.op not in PIECED:
                outside.update(self._bases(node))
        for group in self.groups:
            outside.update(group.reads)
        for group in self.groups:
            group.stores = [
                r for r in group.roots
                if r in outside or r.op in OWN_STEP or r in group.targets
            ]  # fmt: skip

    def _ordered(self) -> list[Group]:
        found: list[Group] = []
        state: dict[Group, bool] = {}

        def visit(group: Group) -> None:
            todo = [(group, False)]
            while todo:
                at, done = todo.pop()
                if done:
                    found.append(at)
                    continue
                if at in state:
                    continue
                state[at] = True
                todo.append((at, True))
                todo.extend(
                    (g, False)
                    for g in sorted(at.before, key=lambda g: -g.number)
                    if g not in state
                )

        for group in sorted(self.groups, key=lambda g: max(r.index for r in g.roots)):
            visit(group)
        place = {group: number for number, group in enumerate(found)}
        for group in found:
            if any(place[before] >= place[group] for before in group.before):
                raise AssertionError(f"{group} waits for a group that waits for it")
        return found


def walk(group: Group, stored: dict[Node, Group]) -> None:
    """Follows every root of a group through the graph: what it reads, and where.

    Raises TooCoarse, NotAffine or Misfit where the group's variables do not do.
    """
    sizes = group.sizes
    index: dict[Node, Index] = {}
    for root in group.roots:
        index[root] = root_index(group, root)
    reads: dict[Node, set[Affine]] = {}
    seen: set[tuple[Node, Index]] = set()
    own = set(group.roots)

    def take(node: Node) -> None:
        if node.op in ("take", "take_along"):
            base = base_of(node.inputs[0])
            if base in own:
                raise Misfit("elements are taken from what the group computes")
            reads.setdefault(base, set()).add(ANYWHERE)

    for root in group.roots:
        if root is group.product:
            continue
        if root.op == "reduce":
            todo = [(root.inputs[0], input_index(group, root))]
        else:
            todo = [(root, index[root])]
        while todo:
            node, at = todo.pop()
            if (node, at) in seen and node is not root:
                continue
            seen.add((node, at))
            flat = None
            if node.op == "reshape" and (node is root or node not in stored and node not in own):
                base = node.inputs[0]
                if base in own or base in stored or base.op in IN_MEMORY:
                    # the elements lie alike: no need to know the index in the other shape
                    flat, node = ravel(at, node.shape), base
            if node in own and node is not root:
                if at != index[node] if flat is None else flat != ravel(index[node], node.shape):
                    raise Misfit("a root is needed at another place than it is computed")
                if node in group.late:
                    raise Misfit("a late result")
            elif node is not root and (node in stored or node.op in IN_MEMORY):
                reads.setdefault(node, set()).add(ravel(at, node.shape) if flat is None else flat)
            elif node.op == "reduce" or node.op in PRODUCTS or node.op in OWN_STEP:
                raise Misfit(f"{node.op} is not stored")
            else:
                take(node)
                todo.extend(steps(node, at, sizes))
    group.index, group.reads, group.operations = index, reads, len(seen)


def steps(node: Node, at: Index, sizes: Sequence[int]) -> list[tuple[Node, Index]]:
    """The inputs of a node computed in place, each at the place where it is needed."""
    if node.op in ELEMENTWISE:
        return [(i, at) for i in node.inputs]
    if node.op in MOVEMENT:
        return [(node.inputs[0], through(node, at, sizes))]
    if node.op == "take":
        x, chosen = node.inputs
        dim = node.attributes[0]
        return [(chosen, at[dim : dim + chosen.ndim])]
    if node.op == "take_along":
        return [(node.inputs[1], at)]
    return []


def root_index(group: Group, root: Node) -> Index:
    """Where in the loops a root's elements are computed."""
    sizes = group.sizes
    if root.op == "reduce":
        a, k, b = _around(root)
        full = a * k * b == prod(sizes)
        inside = identity(root.inputs[0].shape, sizes if full else sizes[: group.rows])
        run = root.attributes[1]
        return tuple([ZERO if d in run else own for d, own in enumerate(inside)])
    if root.numel == prod(sizes):
        return identity(root.shape, sizes)
    return identity(root.shape, sizes[: group.rows])


def input_index(group: Group, root: Node) -> Index:
    """Where a reduction reads its input."""
    x = root.inputs[0]
    sizes = group.sizes
    return identity(x.shape, sizes if x.numel == prod(sizes) else sizes[: group.rows])


def _around(root: Node) -> tuple[int, int, int]:
    """The sizes before, in and after the dimensions that a reduction is over."""
    shape, run = root.inputs[0].shape, root.attributes[1]
    return (
        prod(shape[: run[0]]), prod(shape[run[0] : run[-1] + 1]), prod(shape[run[-1] + 1 :])
    )  # fmt: skip
