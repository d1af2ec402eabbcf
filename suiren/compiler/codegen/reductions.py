"""Reductions inside loops: what they begin with, how they go on, and where numbers are added up.

Below ``loops.py``, which says when. Thousands of numbers added one after the other lose digits:
sums are added up in blocks, and each is settled, added to its total, when a block is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from suiren import dtypes
from suiren.compiler.codegen import arithmetic
from suiren.compiler.codegen.emitter import Emitter, Operand, Variable, lanes, vector
from suiren.compiler.codegen.kernel import Kernel
from suiren.compiler.node import Node
from suiren.compiler.target import Target
from suiren.dtypes import dtype

BLOCK = 64  # rows added up one after the other


class Accumulators:
    """The variables that reductions are added up in, several for each: a vector of one by one."""

    def __init__(self, b: Emitter):
        self.b = b
        self.parts: dict[tuple[Node, int], Variable] = {}
        self.totals: dict[tuple[Node, int], Variable] = {}

    def begin(self, node: Node, count: int, width: int, many: bool) -> None:
        """So many new variables; with totals behind them if ``many`` numbers are to come."""
        start = arithmetic.constant(self.b, node.dtype, neutral(node), width)
        is_float = node.dtype.category >= dtypes.FLOATING
        for u in range(count):
            self.parts[node, u] = self.b.variable(start)
            if many and is_float and node.attributes[0] == "sum":
                self.totals[node, u] = self.b.variable(start)

    def add(self, node: Node, u: int, value: Operand, mask: Operand | None = None) -> None:
        """One more value, where the mask holds."""
        part = self.parts[node, u]
        before = part.get()
        if mask is not None:
            rest = arithmetic.constant(self.b, node.dtype, neutral(node), lanes(value.type))
            value = self.b.select(mask, value, rest)
        part.set(self._join(node, before, value))

    def is_settled(self, node: Node) -> bool:
        """Whether there are totals."""
        return (node, 0) in self.totals

    def settle(self, nodes: Sequence[Node]) -> None:
        """A block of these is over."""
        for (node, u), total in self.totals.items():
            if node in nodes:
                part = self.parts[node, u]
                total.set(self._join(node, total.get(), part.get()))
                part.set(arithmetic.constant(self.b, node.dtype, 0, lanes(part.type)))

    def gathered(self, node: Node, count: int) -> Operand:
        """All that was added, joined to one number."""
        self.settle([node])
        found = self.totals if self.is_settled(node) else self.parts
        parts = [found[node, u].get() for u in range(count)]
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self._join(node, a, x) for a, x in pairs]
        return horizontal(self.b, node.attributes[0], node.dtype, parts[0])

    def _join(self, node: Node, a: Operand, x: Operand) -> Operand:
        return join(self.b, node.attributes[0], node.dtype, a, x)


def neutral(node: Node) -> object:
    """What a reduction begins with."""
    kind, element = node.attributes[0], node.dtype
    if kind == "sum":
        return 0
    if kind == "prod":
        return 1
    if element is dtypes.bool:
        return kind == "min"
    if element.category >= dtypes.FLOATING:
        return float("-inf") if kind == "max" else float("inf")
    bound = dtypes.iinfo(element)
    return bound.min if kind == "max" else bound.max


def join(b: Emitter, kind: str, element: dtype, a: Operand, x: Operand) -> Operand:
    """One step of a reduction."""
    if element is dtypes.bool:
        return b.binary("or" if kind in ("max", "sum") else "and", a, x)
    name = {"sum": "add", "prod": "mul"}.get(kind, kind)
    return arithmetic.apply(b, name, element, [a, x])


def horizontal(b: Emitter, kind: str, element: dtype, x: Operand) -> Operand:
    """The lanes of a vector joined, halves with halves."""
    count = lanes(x.type)
    if not count:
        return x
    while count > 1:
        half = count // 2
        low = b.shuffle(x, x, range(half))
        high = b.shuffle(x, x, range(half, count))
        x = join(b, kind, element, low, high)
        count = half
    return b.extract(x, 0)


def combine(nodes: Sequence[Node], tasks: int, target: Target) -> Kernel:
    """The kernel that puts the tasks' results together, in their order."""
    b = Emitter(target.function_attributes)
    b.fused = target.fma
    keys: list[Any] = []
    for node in nodes:
        keys += [("partial", node), node]
        source, result = b.buffer(len(keys) - 2), b.buffer(len(keys) - 1)
        scalar, n = arithmetic.STORED[node.dtype], node.numel
        width = min(16, target.vector_bytes // max(4, node.dtype.itemsize)) if n >= 4 else 0
        with b.loop(0, n, max(1, width)) as j:
            whole = not width or n % width == 0
            mask = None if whole else b.tail_mask(b.isub(n, j), width)
            type = vector(scalar, width)
            start = arithmetic.constant(b, node.dtype, neutral(node), width)
            total = b.variable(start)
            with b.loop(0, tasks) as t:
                pointer = b.pointer(source, b.iadd(b.imul(t, n), j), scalar)
                x = b.load(pointer, type) if mask is None else b.masked_load(pointer, type, mask)
                x = arithmetic.from_memory(b, x, node.dtype)
                total.set(join(b, node.attributes[0], node.dtype, total.get(), x))
            value = arithmetic.to_memory(b, total.get(), node.dtype)
            pointer = b.pointer(result, j, scalar)
            if mask is None:
                b.store(value, pointer)
            else:
                b.masked_store(value, pointer, mask)
    return Kernel("combine", b.module(), 1, keys)
