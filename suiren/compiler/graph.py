"""The graph that the compiler works on: it makes nodes (``node.py``) and holds them in order.

A :class:`Graph` hands out an equal node twice only once and leaves out what does nothing: a product
with one, a permutation back, sums of padded parts that lie side by side. Printing a graph shows one
node a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.compiler import narrow
from suiren.compiler.node import (
    COMPARISONS,
    REDUCTIONS,
    Node,
    NotNative,
    base_of,
    constant_of,
    is_constant,
    is_number,
    is_uniform,
)
from suiren.dtypes import dtype

_MAY_BE_EMPTY = frozenset(["input", "expand", "host", "part"])


class _Bytes(bytes):
    """The contents of a table, printed as their number."""

    def __repr__(self) -> str:
        return f"{len(self)} bytes"

    __str__ = __repr__


class Graph:
    """Makes nodes; holds them in the order in which they can be computed."""

    NotNative = NotNative
    # kinds of nodes that no code is generated for yet: what needs them runs on the host
    not_generated: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.outputs: list[Node] = []
        self.checks: list[Node] = []  # truth values that must hold, else the host reports
        # what a decomposition wants another one to know about its result
        self.facts: dict[Any, Any] = {}
        self.source: Any = None  # what is being lowered now: shown by listings
        self._known: dict[tuple, Node] = {}
        # sums of padded parts: the dimension, and (first index, part) for each
        self._pieces: dict[Node, tuple[int, list[tuple[int, Node]]]] = {}

    def __repr__(self) -> str:
        ends = ", ".join(f"n{node.index}" for node in self.outputs)
        return "\n".join([*map(repr, self.nodes), f"return {ends}"])

    def make(
        self, op: str, inputs: Sequence[Node], attributes: tuple, shape: Sequence[int], kind: dtype
    ) -> Node:
        """The one node of this description."""
        if op in self.not_generated:
            raise NotNative(f"no code is generated for {op}")
        inputs, shape = tuple(inputs), tuple(shape)
        if 0 in shape and op not in _MAY_BE_EMPTY:
            return self.full(shape, 0, kind)  # nothing is made of nothing
        key = (op, tuple([i.index for i in inputs]), attributes, shape, kind)
        found = self._known.get(key)
        if found is None:
            found = Node(self, op, inputs, attributes, shape, kind, len(self.nodes))
            self.nodes.append(found)
            self._known[key] = found
        return found

    # ---- leaves

    def input(self, slot: int, shape: Sequence[int], kind: dtype) -> Node:
        """A buffer given to the program."""
        return self.make("input", (), (slot,), shape, kind)

    def number(self, slot: int, kind: type) -> Node:
        """A Python number given to the program at each run."""
        held = {bool: dtypes.int64, int: dtypes.int64, float: dtypes.float64}.get(kind)
        if held is None:
            raise NotNative(f"a number of {kind.__name__}")
        return self.make("number", (), (slot,), (), held)

    def constant(self, value: Any, kind: dtype) -> Node:
        """The same number in every run."""
        value = np.asarray(value).astype(kind.numpy).item()
        # repr keeps -0.0 and NaN apart in the table of known nodes
        return self.make("constant", (), (repr(value), value), (), kind)

    def full(self, shape: Sequence[int], value: Any, kind: dtype) -> Node:
        """A constant in every place."""
        return self.expand(self.constant(value, kind), shape)

    def table(self, values: np.ndarray) -> Node:
        """An array that is known now, of some kilobytes: it is kept with the program."""
        values = np.ascontiguousarray(values)
        kind = dtypes.from_numpy(values.dtype)
        if not values.size:
            return self.full(values.shape, 0, kind)
        return self.make("table", (), (_Bytes(values.tobytes()),), values.shape, kind)

    def iota(self, shape: Sequence[int], dim: int, kind: dtype = dtypes.int64) -> Node:
        """The index along ``dim`` in every place."""
        return self.make("iota", (), (dim,), shape, kind)

    # ---- elementwise

    def map(self, name: str, *operands: Any) -> Node:
        """Arithmetic by name, broadcast; Python numbers and run-time numbers are converted."""
        typed = [x for x in operands if isinstance(x, Node) and not is_number(x)]
        kind = (typed or [x for x in operands if isinstance(x, Node)])[0].dtype
        nodes = [self._operand(x, kind) for x in operands]
        for node in nodes:
            if node.dtype is not kind:
                raise NotNative(f"{name} of {kind.name} and {node.dtype.name}")
        _check_type(name, kind)
        folded = self._fold(name, nodes)
        if folded is not None:
            return folded
        shape = np.broadcast_shapes(*[node.shape for node in nodes])
        nodes = [self.expand(node, shape) for node in nodes]
        result = dtypes.bool if name in COMPARISONS else kind
        found = self.make(name, nodes, (), shape, result)
        return self._pieced(found) if found.op == "add" else found

    def _pieced(self, total: Node) -> Node:
        """A sum of parts padded with zeros that fill each other's gaps is the parts side by side.

        Such is the gradient of what was split, unbound or read step by step.
        """
        a, b = (self._pieces.get(x) or _padded_piece(x) for x in total.inputs)
        if a is None or b is None or a[0] != b[0]:
            return total
        dim = a[0]
        pieces = sorted([*a[1], *b[1]], key=lambda piece: piece[0])
        end = 0
        whole = True
        for first, x in pieces:
            if first < end:
                return total  # they overlap
            whole = whole and first == end
            end = first + x.shape[dim]
        self._pieces[total] = dim, pieces
        if whole and end == total.shape[dim]:
            return self.concat([x for _, x in pieces], dim)
        return total

    def _operand(self, x: Any, kind: dtype) -> Node:
        if not isinstance(x, Node):
            return self.constant(x, kind)
        return self.cast(x, kind) if is_number(x) else x

    def _fold(self, name: str, nodes: list[Node]) -> Node | None:
        if name in ("mul", "div") and is_constant(nodes[1], 1):
            return nodes[0]
        if name == "mul" and is_constant(nodes[0], 1):
            return nodes[1]
        if name == "sub" and is_constant(nodes[1], 0):
            return nodes[0]
        if name == "neg" and nodes[0].op == "neg":
            return nodes[0].inputs[0]
        return None

    def where(self, condition: Node, a: Any, b: Any) -> Node:
        """``a`` where the truth value holds, else ``b``; all broadcast."""
        typed = [x for x in (a, b) if isinstance(x, Node)]
        typed.sort(key=is_number)
        kind = typed[0].dtype
        nodes = [self._operand(x, kind) for x in (a, b)]
        if nodes[0].dtype is not nodes[1].dtype:
            raise NotNative(f"where of {nodes[0].dtype.name} and {nodes[1].dtype.name}")
        shape = np.broadcast_shapes(condition.shape, *[node.shape for node in nodes])
        nodes = [self.expand(node, shape) for node in (condition, *nodes)]
        return self.make("where", nodes, (), shape, kind)

    def cast(self, x: Node, kind: dtype) -> Node:
        """The elements converted as NumPy's astype does."""
        if x.dtype is kind:
            return x
        if x.op == "constant":
            return self.constant(constant_of(x), kind)
        if x.op == "expand" and x.inputs[0].numel < x.numel:
            return self.expand(self.cast(x.inputs[0], kind), x.shape)
        return narrow.chosen(x, kind) or self.make("cast", (x,), (), x.shape, kind)

    # ---- movement

    def reshape(self, x: Node, shape: Sequence[int]) -> Node:
        shape = tuple(shape)
        x = base_of(x)
        if x.shape == shape:
            return x
        if prod(shape) != x.numel:
            raise ValueError(f"{x} cannot be reshaped to {shape}")
        if x.op == "expand" and is_uniform(x):
            return self.expand(x.inputs[0], shape)
        return self.make("reshape", (x,), (), shape, x.dtype)

    def permute(self, x: Node, dims: Sequence[int]) -> Node:
        dims = tuple(dims)
        if x.op == "permute":
            dims = tuple([x.attributes[0][d] for d in dims])
            x = x.inputs[0]
        if dims == tuple(range(x.ndim)):
            return x
        shape = tuple([x.shape[d] for d in dims])
        if x.op == "expand" and is_uniform(x):
            return self.expand(x.inputs[0], shape)
        if x.op == "matmul" and dims == (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2):
            a, b = x.inputs  # a transposed product is the product of the transposed
            return self.matmul(b.transpose(-2, -1), a.transpose(-2, -1))
        if [d for d in dims if x.shape[d] != 1] == sorted(d for d in dims if x.shape[d] != 1):
            return self.reshape(x, shape)  # only sizes of one move
        return self.make("permute", (x,), (dims,), shape, x.dtype)

    def expand(self, x: Node, shape: Sequence[int]) -> Node:
        shape = tuple(shape)
        if x.shape == shape:
            return x
        while x.op == "expand" and x.ndim <= len(shape):
            x = x.inputs[0]
        if x.ndim < len(shape):
            x = self.reshape(x, (1,) * (len(shape) - x.ndim) + x.shape)
        if x.shape == shape:
            return x
        return self.make("expand", (x,), (), shape, x.dtype)

    def slice(self, x: Node, ranges: Sequence[tuple[int, int, int]]) -> Node:
        """(first, count, step) for each dimension; steps may be negative."""
        ranges = tuple(ranges)
        if all(r == (0, n, 1) for r, n in zip(ranges, x.shape, strict=True)):
            return x
        shape = tuple([count for _, count, _ in ranges])
        if is_uniform(x):
            return self.expand(x.inputs[0] if x.op == "expand" else x, shape)
        if x.op == "concat":
            part, ranges = _within_part(x, ranges)
            if part is not x:
                return self.slice(part, ranges)
        backwards = self._scanned_backwards(x, ranges)
        return backwards or self.make("slice", (x,), (ranges,), shape, x.dtype)

    def pad(self, x: Node, sides: Sequence[tuple[int, int]], value: Any = 0) -> Node:
        """(before, after) places more in each dimension, filled with a number."""
        sides = tuple(sides)
        if not any(a or b for a, b in sides):
            return x
        shape = tuple([n + a + b for n, (a, b) in zip(x.shape, sides, strict=True)])
        return self.make("pad", (x,), (sides, value), shape, x.dtype)

    def concat(self, parts: Sequence[Node], dim: int) -> Node:
        """The parts one after the other along a dimension."""
        parts = [p for p in parts if p.shape[dim]] or [parts[0]]
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[dim] = sum(p.shape[dim] for p in parts)
        return self.make("concat", parts, (dim,), shape, parts[0].dtype)

    def update(self, base: Node, values: Node, ranges: Sequence[tuple[int, int, int]]) -> Node:
        """``base`` with ``values`` in the places (first, count, step) of each dimension."""
        ranges = tuple(ranges)
        if values.dtype is not base.dtype:
            raise NotNative(f"{values.dtype.name} into {base.dtype.name}")
        values = self.expand(values, [count for _, count, _ in ranges])
        if values.numel == 0:
            return base
        if values.shape == base.shape and all(step == 1 for _, _, step in ranges):
            return values
        return self.make("update", (base, values), (ranges,), base.shape, base.dtype)

    # ---- reductions

    def reduce(self, kind: str, x: Node, dims: Any = None, keepdim: bool = False) -> Node:
        """``kind`` over dimensions: each run of neighbours is a node, the innermost first."""
        if dims is None:
            dims = range(x.ndim)
        elif isinstance(dims, int):
            dims = (dims,)
        dims = sorted({d % max(x.ndim, 1) for d in dims}) if x.ndim else []
        kept = tuple([1 if d in dims else n for d, n in enumerate(x.shape)])
        if kept == x.shape:
            found = x
        elif x.numel == 0:
            start = REDUCTIONS[kind]
            if start is None:
                raise NotNative(f"{kind} of nothing")
            found = self.full(kept, start, x.dtype)
        else:
            found = x
            for run in reversed(_runs(dims, x.shape)):
                shape = [1 if d in run else n for d, n in enumerate(found.shape)]
                if shape != list(found.shape):
                    found = self.make("reduce", (found,), (kind, run), shape, x.dtype)
        if keepdim:
            return found
        return self.reshape(found, [n for d, n in enumerate(x.shape) if d not in dims])

    # ---- by index, products, the host

    def take(self, x: Node, index: Node, dim: int, checked: bool = False) -> Node:
        """``result[..., i, ...] = x[..., index[i], ...]``: ``index`` takes the place of ``dim``.

        Indices must lie in [0, size) or the program reports through the host (``checked`` says
        that it is known already); ``index`` may have any number of dimensions.
        """
        shape = x.shape[:dim] + index.shape + x.shape[dim + 1 :]
        if not checked:
            self.check_range(index, 0, x.shape[dim])
        return self.make("take", (self._stored(x), index), (dim,), shape, x.dtype)

    def take_along(self, x: Node, index: Node, dim: int, checked: bool = False) -> Node:
        """``result[i, j] = x[index[i, j], j]``: one index for each result.

        Away from ``dim``, ``index`` has the sizes of ``x``.
        """
        if not checked:
            self.check_range(index, 0, x.shape[dim])
        return self.make("take_along", (self._stored(x), index), (dim,), index.shape, x.dtype)

    def scatter(
        self, how: str, base: Node, index: Node, values: Node, dim: int, checked: bool = False
    ) -> Node:
        """``result = base``, then ``result[..., index[i], ...] += values[..., i, ...]``.

        ``index`` has one dimension; ``values`` the shape of ``base`` with ``len(index)`` elements
        along ``dim``. ``how`` is "add", "mul", "max", "min", or "set" for ``=`` (of equal indices
        the last one stays).
        """
        if not checked:
            self.check_range(index, 0, base.shape[dim])
        if not values.numel:
            return base
        base, index, values = map(self._stored, (base, index, values))
        return self.make("scatter", (base, index, values), (how, dim), base.shape, base.dtype)

    def scatter_add(self, base: Node, index: Node, values: Node, dim: int) -> Node:
        """``base`` with slices added to it: see :meth:`scatter`."""
        return self.scatter("add", base, index, values, dim)

    def scatter_along(
        self, how: str, base: Node, index: Node, values: Node, dim: int, checked: bool = False
    ) -> Node:
        """``result = base``, then ``result[index[i, j], j] += values[i, j]``: one index for each.

        ``index`` and ``values`` have one shape, away from ``dim`` that of ``base``; ``how`` as in
        :meth:`scatter`.
        """
        if not checked:
            self.check_range(index, 0, base.shape[dim])
        if not values.numel:
            return base
        base, index, values = map(self._stored, (base, index, values))
        sizes = [list(x.shape) for x in (base, index, values)]
        bound, count, _ = [x.pop(dim) for x in sizes]
        if sizes != [sizes[0]] * 3 or values.shape[dim] != count or not bound:
            raise ValueError(f"scatter_along of {index} and {values} into {base} at {dim}")
        return self.make("scatter_along", (base, index, values), (how, dim), base.shape, base.dtype)

    def scan(self, kind: str, x: Node, dim: int, wide: dtype | None = None) -> Node:
        """Running reduction: ``result[i] = kind(x[0], ..., x[i])`` along ``dim``.

        ``wide``: the type in which it is accumulated, that of x by default. Reversed before and
        after, it runs from the end.
        """
        if x.shape[dim] <= 1 or not x.numel:
            return x
        if x.dtype.is_half:
            raise NotNative(f"scan of {x.dtype.name}")
        attributes = (kind, dim, wide or x.dtype, False)
        return self.make("scan", (self._stored(x),), attributes, x.shape, x.dtype)

    def _scanned_backwards(self, x: Node, ranges: tuple) -> Node | None:
        """A scan of a reversed array, reversed again by these ranges."""
        if x.op != "scan" or x.inputs[0].op != "slice" or x.inputs[0].attributes[0] != ranges:
            return None
        kind, dim, wide, _ = x.attributes
        whole = [(0, n, 1) for n in x.shape]
        whole[dim] = (x.shape[dim] - 1, x.shape[dim], -1)
        if ranges != tuple(whole):
            return None
        given = self._stored(x.inputs[0].inputs[0])
        return self.make("scan", (given,), (kind, dim, wide, True), x.shape, x.dtype)

    def _stored(self, x: Node) -> Node:
        """The array, which is going to be read from memory: constants do not lie there."""
        if base_of(x).op in ("constant", "number"):
            return self.make("copy", (x,), (), x.shape, x.dtype)
        return x

    def check_range(self, index: Node, low: int, high: int) -> None:
        """The host runs the program, and reports, unless all of ``index`` is in [low, high)."""
        if index.numel:
            self.check((index >= low) & (index < high))

    def check(self, condition: Node) -> None:
        """The host runs the program, and reports, unless these truth values all hold."""
        failed = self.cast(~condition, dtypes.int32)
        self.checks.append(self.reduce("max", failed))

    def matmul(self, a: Node, b: Node, kind: dtype | None = None) -> Node:
        """Products of matrices (..., m, k) and (..., k, n); batch dimensions must be equal.

        ``kind``: the type of the result, float32 may be made of half types. What is a half type
        widened to float32 is multiplied as it is: products are computed in float32 at least.
        """
        kind = kind or a.dtype
        a, b = narrow.operands(a, b)
        if a.dtype is not b.dtype or a.dtype.category != dtypes.FLOATING:
            raise NotNative(f"matmul of {a.dtype.name} and {b.dtype.name}")
        batch = a.shape[:-2]
        if b.shape[:-2] != batch or a.shape[-1] != b.shape[-2]:
            raise ValueError(f"matmul of {list(a.shape)} and {list(b.shape)}")
        shape = (*batch, a.shape[-2], b.shape[-1])
        if 0 in (*a.shape, *b.shape):
            return self.full(shape, 0, kind)
        return self.make("matmul", (a, b), (), shape, kind)

    def conv(
        self, x: Node, w: Node, stride: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int], groups: int,
    ) -> Node:  # fmt: skip
        """Convolution of [N, H, W, C] with the weight [O, C / groups, KH, KW]: [N, OH, OW, O]."""
        _check_floating("conv", x, w)
        spatial = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(
                x.shape[1:3], w.shape[2:], stride, padding, dilation, strict=True
            )
        ]
        numbers = (tuple(stride), tuple(padding), tuple(dilation), groups)
        shape = (x.shape[0], *spatial, w.shape[0])
        return self.make("conv", (x, w), numbers, shape, x.dtype)

    def conv_input_gradient(
        self, grad: Node, w: Node, spatial: Sequence[int], stride: Sequence[int],
        padding: Sequence[int], dilation: Sequence[int], groups: int,
    ) -> Node:  # fmt: skip
        """The gradient of :meth:`conv` by x, which is ``spatial`` high and wide."""
        _check_floating("conv_input_gradient", grad, w)
        numbers = (tuple(stride), tuple(padding), tuple(dilation), groups)
        shape = (grad.shape[0], *spatial, w.shape[1] * groups)
        return self.make("conv_input_gradient", (grad, w), numbers, shape, grad.dtype)

    def conv_weight_gradient(
        self, grad: Node, x: Node, kernel: Sequence[int], stride: Sequence[int],
        padding: Sequence[int], dilation: Sequence[int], groups: int,
    ) -> Node:  # fmt: skip
        """The gradient of :meth:`conv` by its weight, [O, C / groups, *kernel]."""
        _check_floating("conv_weight_gradient", grad, x)
        numbers = (tuple(stride), tuple(padding), tuple(dilation), groups)
        shape = (grad.shape[3], x.shape[3] // groups, *kernel)
        return self.make("conv_weight_gradient", (grad, x), numbers, shape, x.dtype)

    def host(
        self, operator: Any, attributes: tuple, inputs: Sequence[Node], results: tuple
    ) -> list[Node]:
        """An operator computed by its NumPy meaning; one node for each result."""
        call = self.make("host", inputs, (operator, attributes, results), (), results[0].dtype)
        return [
            self.make("part", (call,), (i,), tuple(m.shape), m.dtype)
            for i, m in enumerate(results)
        ]


def _runs(dims: Sequence[int], shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Neighbouring dimensions together (sizes of one between them do not part them)."""
    runs: list[list[int]] = []
    for d in dims:
        if runs and all(shape[i] == 1 for i in range(runs[-1][-1] + 1, d)):
            runs[-1].append(d)
        else:
            runs.append([d])
    return [tuple(run) for run in runs]


def _check_floating(name: str, a: Node, b: Node) -> None:
    """Raises NotNative unless images can be convolved."""
    if a.dtype is not b.dtype or a.dtype not in (dtypes.float32, dtypes.float64):
        raise NotNative(f"{name} of {a.dtype.name} and {b.dtype.name}")
    if 0 in (*a.shape, *b.shape):
        raise NotNative(f"{name} of nothing")


def _within_part(x: Node, ranges: tuple) -> tuple[Node, tuple]:
    """The part of a concatenation in which all of a slice lies, and the slice of it."""
    (dim,) = x.attributes
    first, count, step = ranges[dim]
    last = first + (count - 1) * step
    start = 0
    for part in x.inputs:
        stop = start + part.shape[dim]
        if count and start <= first < stop and start <= last < stop:
            return part, (*ranges[:dim], (first - start, count, step), *ranges[dim + 1 :])
        start = stop
    return x, ranges


def _padded_piece(x: Node) -> tuple[int, list[tuple[int, Node]]] | None:
    """(dimension, [(first index, part)]) of a part padded with zeros along one dimension."""
    if x.op != "pad" or x.attributes[1] != 0:
        return None
    dims = [d for d, sides in enumerate(x.attributes[0]) if any(sides)]
    if len(dims) != 1 or min(x.attributes[0][dims[0]]) < 0:
        return None
    return dims[0], [(x.attributes[0][dims[0]][0], x.inputs[0])]


_FOR_TRUTH = frozenset(["and", "or", "xor", "not", "eq", "ne"])
_FOR_INTEGERS = frozenset(
    """neg abs sign add sub mul min max floor_div trunc_div fmod remainder and or xor not shl shr
    eq ne lt le gt ge""".split()
)


def _check_type(name: str, kind: dtype) -> None:
    """Raises NotNative unless this arithmetic has a meaning for the type."""
    if kind is dtypes.bool:
        known = name in _FOR_TRUTH
    elif kind.category < dtypes.FLOATING:
        known = name in _FOR_INTEGERS
    else:
        known = name not in ("and", "or", "xor", "not", "shl", "shr")
    if not known:
        raise NotNative(f"{name} of {kind.name}")
