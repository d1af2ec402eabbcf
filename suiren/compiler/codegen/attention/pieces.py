"""What the kernels of attention have in common: scratch memory, packing, masks, small products."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

from suiren import dtypes
from suiren.compiler import attention
from suiren.compiler.codegen import arithmetic
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.kernel import Kernel, Slots
from suiren.compiler.codegen.matmul import pack
from suiren.compiler.codegen.matmul.microkernel import multiply
from suiren.compiler.codegen.matmul.operands import Reader, positive_left
from suiren.compiler.codegen.matmul.product import SIZES, Matrix
from suiren.compiler.codegen.matmul.tasks import unravelled
from suiren.compiler.codegen.matmul.tiles import Tile, parts, rounded
from suiren.compiler.fuse import Group
from suiren.compiler.node import Node
from suiren.compiler.target import Target

ROWS = 32  # of a block of queries
STACK = 192 * 1024  # what a task may have there; else it gets a part of the arena
TASKS = 32  # where heads are fewer, or each needs a part of the arena


class Mask:
    """A mask (or what is added to scores) as it lies, and its address for the present head."""

    def __init__(self, node: Node, matrix: Matrix):
        self.node = node
        self.matrix = matrix
        self.base: Operand | None = None


class AttentionKernel:
    """What both kernels are made of."""

    def __init__(self, group: Group, target: Target):
        self.group, self.target = group, target
        self.node = node = group.roots[0]
        self.parts: dict[int, Node] = {r.attributes[0]: r for r in group.roots[1:]}
        self.kind = node.dtype
        self.compute = "double" if node.dtype is dtypes.float64 else "float"
        self.size = SIZES[self.compute]
        self.lanes = target.lanes(self.size)
        self.type = vector(self.compute, self.lanes)
        self.tile_rows = 8 if target.vector_registers >= 32 else 4
        self.tile = Tile(self.tile_rows, 2, self.lanes)
        self.step = self.tile.columns  # of columns that are computed or left out together
        q, k, v = node.inputs[:3]
        self.L, self.E, self.S, self.F = q.shape[-2], q.shape[-1], k.shape[-1], v.shape[-1]
        self.columns = rounded(self.S, self.step)
        self.stride = self.columns + self.lanes  # of rows of scores, in the scratch block
        self.inner, self.outer = rounded(self.E, self.lanes), rounded(self.F, self.lanes)
        self.batch, self.views = attention.operands(node)
        self.heads = 1
        for n in self.batch:
            self.heads *= n
        self.safe = node.attributes[-1]
        b = self.b = Emitter(target.function_attributes)
        b.fused = target.fma
        self.slot = Slots()
        self.q, self.k, self.v = (self._matrix(x) for x in self.views[:3])
        arrays = attention.arrays_of(node)
        lying = self.views[len(self.views) - len(arrays) :]
        self.masks = {
            x: Mask(x, self._matrix(y)) for x, y in zip(arrays, lying, strict=True)
        }
        self.extra = attention.extra_inputs(node)
        self.numbers: dict[Node, Operand] = {}
        for x in self.extra:
            if x not in self.masks:
                self.numbers[x] = self._number(attention.number_of(x), self.kind)
        self.scratch = 0  # bytes
        self.places: dict[str, int] = {}
        self.space = SimpleNamespace()  # where these arrays lie

    # ---- the table of arguments

    def _matrix(self, x: Any) -> Matrix:
        scalar = arithmetic.STORED[x.base.dtype]
        return Matrix(self.slot(x.base), x.offset, x.row, x.column, x.batch, scalar)

    def _number(self, node: Node, kind: Any) -> Operand:
        """The value of an expression of numbers, in a type."""
        b = self.b
        if node.op == "constant":
            return arithmetic.constant(b, kind, node.attributes[1])
        if node.op == "number":
            held = b.number(self.slot(("number", node.attributes[0])), arithmetic.HELD[node.dtype])
            return arithmetic.cast(b, held, node.dtype, kind)
        if node.op in ("reshape", "expand"):
            return self._number(attention.number_of(node), kind)
        if node.op == "cast":
            inner = node.inputs[0]
            held = self._number(inner, inner.dtype)
            return arithmetic.cast(b, held, inner.dtype, kind)
        inputs = [self._number(x, x.dtype) for x in node.inputs]
        found = arithmetic.apply(b, node.op, node.inputs[-1].dtype, inputs)
        return arithmetic.cast(b, found, node.dtype, kind)

    def _result(self, node: Node | None) -> Operand | None:
        """Where a result lies, if anybody wants it."""
        if node is None or node not in self.group.stores:
            return None
        return self.b.buffer(self.slot(node))

    # ---- scratch memory

    def _place(self, name: str, count: int) -> None:
        """Room for an array of so many elements, aligned."""
        self.places[name] = self.scratch
        self.scratch += rounded(count * self.size, 64)

    def kernel(self) -> Kernel:
        """The kernel's text, and what it needs."""
        b = self.b
        self._plan()
        wide = self.scratch > STACK
        tasks = self._tasks(wide)
        slot = None
        if wide:
            base = b.pointer(
                b.buffer(self.slot(("scratch", self.node, 0))),
                b.imul(b.task if tasks > 1 else 0, self.scratch), "i8",
            )  # fmt: skip
            slot = ("scratch", self.node, 0)
        else:
            base = b.stack("i8", self.scratch)
        for own, at in self.places.items():
            setattr(self.space, own, b.pointer(base, at, "i8"))
        self.task: Int = b.task if tasks > 1 else 0
        self._write(tasks)
        name = f"{self.node.op}_{self.heads}x{self.L}x{self.S}x{self.E}_{self.compute}"
        made = Kernel(name, b.module(), tasks, list(self.slot), True, self._flops())
        if slot is not None:
            made.scratch = ((slot, self.scratch * tasks),)
        return made

    def _plan(self) -> None:
        raise NotImplementedError

    def _tasks(self, wide: bool) -> int:
        raise NotImplementedError

    def _write(self, tasks: int) -> None:
        raise NotImplementedError

    def _flops(self) -> float:
        raise NotImplementedError

    # ---- packing

    def _enter_head(self, head: Int) -> None:
        b = self.b
        self.head = head
        self.at = unravelled(b, head, self.batch)
        for mask in self.masks.values():
            index: Int = mask.matrix.offset
            for one, stride in zip(self.at, mask.matrix.batch_strides, strict=True):
                index = b.iadd(index, b.imul(one, stride))
            mask.base = b.pointer(b.buffer(mask.matrix.slot), index, mask.matrix.scalar)

    def _reader(self, matrix: Matrix) -> Reader:
        return Reader(self.b, matrix, self.at, self.compute)

    def _panels(self, matrix: Matrix, depth: int, to: Operand) -> None:
        """(depth x S) as panels of ``step`` columns."""
        b, reader = self.b, self._reader(matrix)
        with b.loop(0, self.columns, self.step) as column:
            place = b.pointer(to, b.imul(column, rounded(depth, self.lanes)), self.compute)
            pack.panel(b, reader, depth, self.S, column, place, self.tile, self.target.masked)

    def _rows(
        self, matrix: Matrix, first: Int, room: int, whole: int, width: int, to: Operand
    ) -> None:
        """``room`` rows from ``first`` on, of ``whole``; those that are not there are zeros."""
        b = self.b
        form = pack.Layout(rounded(width, self.lanes), 1, 0, 0)
        last: Int = room if whole % room == 0 else b.imin(room, b.isub(whole, first))
        pack.row_lines(
            b, self._reader(matrix), first, 0, last, width, to, form, self.tile, self.target.masked
        )
        if isinstance(last, int) and last >= room:
            return
        with b.loop(last, room) as row:
            with b.loop(0, form.row_stride, self.lanes) as j:
                at = b.pointer(to, b.iadd(b.imul(row, form.row_stride), j), self.compute)
                b.store(b.const(self.type, 0), at)

    def _block_rows(self, matrix: Matrix, first: Int, width: int, to: Operand) -> None:
        """A block of queries."""
        self._rows(matrix, first, ROWS, self.L, width, to)

    # ---- masks

    def _read_mask(self, mask: Mask, row: Int, column: Int, tail: Operand | None) -> Operand:
        b, matrix, w = self.b, mask.matrix, self.lanes
        assert mask.base is not None
        at = b.iadd(b.imul(row, matrix.row_stride), b.imul(column, matrix.column_stride))
        pointer = b.pointer(mask.base, at, matrix.scalar)
        type = vector(matrix.scalar, w)
        if matrix.column_stride == 0:
            found = b.splat(b.load(pointer, matrix.scalar), w)
        elif matrix.column_stride == 1:
            found = b.load(pointer, type) if tail is None else b.masked_load(pointer, type, tail)
        else:
            steps = b.constants(vector("i64", w), [i * matrix.column_stride for i in range(w)])
            found = b.gather(pointer, steps, matrix.scalar, tail)
        return arithmetic.from_memory(b, found, mask.node.dtype)

    def _tail(self, column: Int) -> Operand | None:
        """The lanes that are columns, where the last block may have too many."""
        if self.columns == self.S:
            return None
        return self.b.tail_mask(positive_left(self.b, self.S, column), self.lanes)

    def _change(
        self, steps: tuple, value: Operand, row: Int, column: Int, tail: Operand | None
    ) -> Operand:
        """What is done to scores, or to their gradient."""
        b = self.b
        for kind, *numbers in steps:
            x = self.extra[numbers[0]]
            if kind in ("mul", "div"):
                factor = b.splat(self.numbers[x], self.lanes)
                value = b.fmul(value, factor) if kind == "mul" else b.fdiv(value, factor)
                continue
            found = self._read_mask(self.masks[x], row, column, tail)
            if kind == "add":
                value = b.fadd(value, found)
                continue
            fill = b.splat(self.numbers[self.extra[numbers[1]]], self.lanes)
            fill_first = kind == "fill"
            value = b.select(found, fill if fill_first else value, value if fill_first else fill)
        return value

    def _clamped(self, row: Int) -> Int:
        return self.b.imin(row, self.L - 1) if self.L % ROWS else row

    # ---- which columns a block of rows sees

    def _hiding(self, steps: tuple) -> tuple | None:
        """The last step, if it may hide columns."""
        if steps and steps[-1][0] in ("fill", "keep", "add"):
            mask = self.masks[self.extra[steps[-1][1]]]
            if mask.matrix.column_stride == 1:
                return steps[-1]
        return None

    def _visible(self, step: tuple, first_row: Int, rows: Int) -> tuple[Operand, Operand]:
        """The first and the last column (a multiple of ``step``) that some row sees."""
        b, w = self.b, self.lanes
        mask = self.masks[self.extra[step[1]]]
        none = b.const(vector("i1", w), 0)
        begin, end = b.variable(b.int(self.columns)), b.variable(b.int(0))
        with b.loop(0, self.columns, self.step) as column:
            seen = b.variable(none)
            with b.loop(0, rows) as i:
                for v in range(2):
                    at = b.iadd(column, v * w)
                    tail = self._tail(at)
                    found = self._read_mask(mask, b.iadd(first_row, i), at, tail)
                    if step[0] == "add":
                        found = b.fcmp("une", found, b.const(found.type, float("-inf")))
                    elif step[0] == "fill":
                        found = b.binary("xor", found, b.const(found.type, 1))
                    if tail is not None:
                        found = b.binary("and", found, tail)
                    seen.set(b.binary("or", seen.get(), found))
            some = b.intrinsic(
                "llvm.vector.reduce.or", "i1", seen.get(), suffix=f"v{w}i1"
            )
            with b.when(some):
                at = b.int(column)
                begin.set(b.intrinsic("llvm.smin", "i64", begin.get(), at))
                end.set(b.int(b.iadd(at, self.step)))
        nothing = b.icmp("eq", end.get(), b.int(0))
        first = b.select(nothing, b.int(0), begin.get())
        return first, b.select(nothing, b.int(self.columns), end.get())

    def _hidden_is_nothing(self, step: tuple, largest: Operand, rows: Int) -> Operand:
        """Whether exp(hidden score - largest) is zero in each row: then it may be left out."""
        b = self.b
        far = b.const(self.compute, 104 if self.compute == "float" else 746)
        fill = b.const(self.compute, float("-inf"))
        if step[0] != "add":
            fill = self.numbers[self.extra[step[2]]]
        found = b.variable(b.const("i1", 1))
        with b.loop(0, rows) as i:
            one = b.load(b.pointer(largest, i, self.compute), self.compute)
            above = b.fcmp("ogt", b.fsub(one, fill), far)
            found.set(b.binary("and", found.get(), above))
        return found.get()

    # ---- pieces of the computation

    def _scores(
        self, steps: tuple | None, left: Operand, panels: Operand, depth: int, to: Operand,
        first_row: Int, begin: Int, end: Int,
    ) -> None:  # fmt: skip
        """A block of rows times panels, changed, into a scratch block."""
        b = self.b
        across = rounded(depth, self.lanes)
        with b.loop(0, ROWS, self.tile_rows) as i:
            with b.loop(begin, end, self.step) as column:
                at_a = b.pointer(left, b.imul(i, across), self.compute)
                at_b = b.pointer(panels, b.imul(column, across), self.compute)
                sums = self._multiply(depth, at_a, (across, 1), at_b, self.step, 2)
                for v in range(2):
                    at = b.iadd(column, v * self.lanes)
                    tail = self._tail(at) if steps is not None else None
                    for r, line in enumerate(sums):
                        value, row = line[v], b.iadd(i, r)
                        if steps is not None:
                            place = self._clamped(b.iadd(first_row, row))
                            value = self._change(steps, value, place, at, tail)
                        if tail is not None:
                            low = b.const(self.type, float("-inf"))
                            value = b.select(tail, value, low)
                        b.store(value, self._in_block(to, row, at), self.size * self.lanes)

    def _multiply(
        self, k: Int, a: Operand, strides: tuple[int, int], panel: Operand, panel_stride: int,
        vectors: int, unroll: int = 4,
    ) -> list[list[Operand]]:  # fmt: skip
        tile = Tile(self.tile_rows, vectors, self.lanes)
        return multiply(
            self.b, tile, k, self.compute, self.compute, a, strides, panel, panel_stride,
            [None] * vectors, True, self.target.fma, unroll,
        )  # fmt: skip

    def _in_block(self, block: Operand, row: Int, column: Int) -> Operand:
        b = self.b
        return b.pointer(block, b.iadd(b.imul(row, self.stride), column), self.compute)

    def _load(self, block: Operand, row: Int, column: Int) -> Operand:
        return self.b.load(self._in_block(block, row, column), self.type, self.size * self.lanes)

    def _chunks(self, width: int) -> list[tuple[int, int]]:
        """(first element, vectors) of pieces of a row of a head."""
        whole = parts(width, self.lanes)
        return [(v * self.lanes, min(2, whole - v)) for v in range(0, whole, 2)]

    def _function(self, name: str, *operands: Operand) -> Operand:
        return arithmetic.apply(self.b, name, self.kind, list(operands))

    def _element(self, array: Operand, at: Int) -> Operand:
        return self.b.load(self.b.pointer(array, at, self.compute), self.compute)

    def _put(self, value: Operand, array: Operand, at: Int) -> None:
        self.b.store(value, self.b.pointer(array, at, self.compute))

    def _store(self, value: Operand, to: Operand, row: Int, column: int, width: int) -> None:
        """A vector of a row of a result, of which there are ``width`` elements a row."""
        b = self.b
        pointer = b.pointer(to, b.iadd(b.imul(row, width), column), self.compute)
        left = width - column
        if left >= self.lanes:
            b.store(value, pointer)
        else:
            b.masked_store(value, pointer, b.tail_mask(left, self.lanes))

    def _if_there(self, row: Int, rows: Int) -> AbstractContextManager:
        if isinstance(rows, int) and rows == ROWS:
            return nullcontext()
        return self.b.when(self.b.icmp("slt", self.b.int(row), self.b.int(rows)))

    def _block(self, first_row: Int) -> Int:
        """How many rows a block has."""
        if self.L % ROWS == 0:
            return ROWS
        return self.b.imin(ROWS, self.b.isub(self.L, first_row))
