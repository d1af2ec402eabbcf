"""Kernels that walk in order: adding by index, and running sums.

Where places may coincide, or each result needs the one before, the work along that dimension is
done by one task from the beginning to the end; tasks share out the other dimensions. The order of
additions, and so every bit, is the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from suiren import dtypes
from suiren.compiler.codegen import arithmetic
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, Variable, vector
from suiren.compiler.codegen.kernel import Kernel
from suiren.compiler.codegen.loops import MAX_TASKS, TASK_WORK
from suiren.compiler.codegen.reductions import join
from suiren.compiler.fuse import Group
from suiren.compiler.node import Node, NotNative, base_of
from suiren.compiler.target import Target
from suiren.dtypes import dtype

TOGETHER = 8  # rows whose running sums take turns


def kernels(group: Group, target: Target) -> list[Kernel]:
    """The kernel of a ``scatter``, ``scatter_along`` or ``scan``."""
    node = group.roots[0]
    for x in node.inputs:
        if base_of(x).op in ("constant", "number"):
            raise NotNative(f"{node.op} of a number")
    if node.op == "scan":
        return [_scan(node, target)]
    return [_scatter(node, target)]


class _Split:
    """[outer, along, inner]: tasks share (outer, a chunk of inner); along is walked in order."""

    def __init__(self, b: Emitter, outer: int, along: int, inner: int, width: int):
        self.b = b
        self.outer = outer
        self.inner = inner
        self.width = width if inner > 1 else 0
        lanes = max(1, self.width)
        work = outer * along * inner * 4.0
        wanted = int(min(MAX_TASKS, max(1, work // TASK_WORK)))
        # whole vectors, several of them where there are enough
        pieces = min(max(1, wanted // outer), max(1, inner // (4 * lanes)))
        each = -(-inner // pieces)
        self.chunk = -(-each // lanes) * lanes
        self.chunks = -(-inner // self.chunk)
        units = outer * self.chunks
        self.per_task = -(-units // min(units, wanted))
        self.tasks = -(-units // self.per_task)
        self.units = units
        self.work = work

    def range(self) -> tuple[Int, Int]:
        """The units of this task."""
        if self.tasks == 1:
            return 0, self.units
        first = self.b.imul(self.b.task, self.per_task)
        return first, self.b.imin(self.b.iadd(first, self.per_task), self.units)

    def walk(self, body: Callable[[Int, Int, Int], None]) -> None:
        """``body(outer index, first and end of the inner chunk)`` for what this task does."""
        b = self.b
        first, end = self.range()
        with b.loop(first, end) as unit:
            begin = b.imul(b.imod(unit, self.chunks), self.chunk)
            stop = b.imin(b.iadd(begin, self.chunk), self.inner) if self.chunks > 1 else self.inner
            body(b.idiv(unit, self.chunks), begin, stop)

    def vectors(self, begin: Int, end: Int, body: Callable[[Int, Operand | None], None]) -> None:
        """``body(first index, mask)`` along the inner chunk."""
        b, w = self.b, self.width
        if not w:
            body(0, None)
            return
        with b.loop(begin, end, w) as j:
            whole = self.inner % w == 0
            body(j, None if whole else b.tail_mask(b.imin(b.isub(end, j), w), w))


def _load(b: Emitter, base: Operand, at: Int, kind: dtype, width: int, mask) -> Operand:
    scalar = arithmetic.STORED[kind]
    pointer = b.pointer(base, at, scalar)
    type = vector(scalar, width)
    found = b.load(pointer, type) if mask is None else b.masked_load(pointer, type, mask)
    return arithmetic.from_memory(b, found, kind)


def _store(b: Emitter, value: Operand, base: Operand, at: Int, kind: dtype, mask) -> None:
    pointer = b.pointer(base, at, arithmetic.STORED[kind])
    value = arithmetic.to_memory(b, value, kind)
    if mask is None:
        b.store(value, pointer)
    else:
        b.masked_store(value, pointer, mask)


def _joined(b: Emitter, how: str, kind: dtype, x: Operand, y: Operand) -> Operand:
    """What becomes of an element at which another one arrives."""
    how = {"add": "sum"}.get(how, how)
    if kind.is_half:
        wide = [arithmetic.cast(b, v, kind, dtypes.float32) for v in (x, y)]
        return arithmetic.cast(b, join(b, how, dtypes.float32, *wide), dtypes.float32, kind)
    return join(b, how, kind, x, y)


def _scatter(node: Node, target: Target) -> Kernel:
    _, index, values = node.inputs
    how, dim = node.attributes
    kind, bound = node.dtype, node.shape[dim]
    along = node.op == "scatter_along"
    outer, inner = prod(node.shape[:dim]), prod(node.shape[dim + 1 :])
    count = index.shape[dim] if along else index.numel
    keys: list[Any] = [node, base_of(index), base_of(values)]
    b = Emitter(target.function_attributes)
    b.fused = target.fma
    split = _Split(b, outer, count, inner, target.lanes(max(4, kind.itemsize)))
    result, where, what = (b.buffer(slot) for slot in range(3))

    def place(at: Int) -> Operand:
        chosen = _load(b, where, at, index.dtype, 0, None)
        wide = arithmetic.cast(b, chosen, index.dtype, dtypes.int64)
        # wrong ones are reported elsewhere
        return b.intrinsic("llvm.umin", "i64", wide, b.const("i64", bound - 1))

    def put(source: Int, to: Int, width: int, mask: Operand | None) -> None:
        value = _load(b, what, source, kind, width, mask)
        if how != "set":
            value = _joined(b, how, kind, _load(b, result, to, kind, width, mask), value)
        _store(b, value, result, to, kind, mask)

    def body(o: Int, begin: Int, end: Int) -> None:
        with b.loop(0, count) as i:
            row = b.iadd(b.imul(o, count), i)
            if along:
                with b.loop(begin, end) as j:
                    at = b.iadd(b.imul(row, inner), j)
                    to = b.iadd(b.imul(b.iadd(b.imul(o, bound), place(at)), inner), j)
                    put(at, to, 0, None)
                return
            to_row = b.imul(b.iadd(b.imul(o, bound), place(i)), inner)
            from_row = b.imul(row, inner)
            split.vectors(
                begin, end,
                lambda j, mask: put(
                    b.iadd(from_row, j), b.iadd(to_row, j), split.width, mask
                ),
            )  # fmt: skip

    split.walk(body)
    return Kernel(node.op, b.module(), split.tasks, keys, work=split.work)


def _scan(node: Node, target: Target) -> Kernel:
    x = node.inputs[0]
    how, dim, wide, backwards = node.attributes
    kind = node.dtype
    if kind.is_half:
        raise NotNative(f"scan of {kind.name}")
    outer, count = prod(node.shape[:dim]), node.shape[dim]
    inner = prod(node.shape[dim + 1 :])
    keys: list[Any] = [node, base_of(x)]
    b = Emitter(target.function_attributes)
    b.fused = target.fma
    split = _Split(b, outer, count, inner, target.lanes(max(4, kind.itemsize)))
    result, source = b.buffer(0), b.buffer(1)

    def columns(starts: list[Int], mask: Operand | None) -> None:
        """Columns beside each other: each waits for the sum before, so that several take turns."""
        totals: list[Variable] = []

        def step(i: Int) -> None:
            moved = b.imul(b.isub(count - 1, i) if backwards else i, inner)
            places = [b.iadd(start, moved) for start in starts]
            loaded = [_load(b, source, at, kind, split.width, mask) for at in places]
            for c, new in enumerate(loaded):
                new = arithmetic.cast(b, new, kind, wide)
                if c == len(totals):
                    totals.append(b.variable(new))
                else:
                    totals[c].set(join(b, how, wide, totals[c].get(), new))
            for total, at in zip(totals, places, strict=True):
                value = arithmetic.cast(b, total.get(), wide, kind)
                _store(b, value, result, at, kind, mask)

        step(0)
        with b.loop(1, count) as i:
            step(i)

    def body(o: Int, begin: Int, end: Int) -> None:
        first = b.imul(o, count * inner)
        split.vectors(begin, end, lambda j, mask: columns([b.iadd(first, j)], mask))

    if inner > 1:
        split.walk(body)
    else:
        first, end = split.range()
        whole = b.iadd(first, b.imul(b.idiv(b.isub(end, first), TOGETHER), TOGETHER))
        with b.loop(first, whole, TOGETHER) as o:
            columns([b.imul(b.iadd(o, c), count) for c in range(TOGETHER)], None)
        with b.loop(whole, end) as o:
            columns([b.imul(o, count)], None)
    return Kernel("scan_" + how, b.module(), split.tasks, keys, work=split.work)
