"""A compiled program: the steps of a plan bound to memory, ready to run again and again.

Kernels find their buffers through *cells*, one for each buffer or number: a run fills in the cells
of its inputs and outputs with one call and starts the table of steps with another. Between native
stretches the host computes what has no native form, by the operators' NumPy meaning.
"""

from __future__ import annotations

import logging
import struct
import sys
import threading
from typing import Any

import numpy as np

from suiren.compiler import machine_code, memory, runtime
from suiren.compiler.fuse import Fusion
from suiren.compiler.graph import LEAVES, Graph, Node, base_of
from suiren.compiler.layout import lay_out
from suiren.compiler.lower import lower
from suiren.compiler.memory import arena, pool
from suiren.compiler.plan import Plan
from suiren.compiler.target import host
from suiren.trace.meta import Meta

log = logging.getLogger("suiren.compiler")


_COUNT = """define void @kernel(ptr %args, i64 %task) {} {{
  %runs = load i64, ptr %args
  %more = add i64 %runs, 1
  store i64 %more, ptr %args
  ret void
}}
"""


class HostMustRun(Exception):
    """A check failed (an index out of bounds, say): the interpreter is to run and report."""


class NativeProgram:
    """The compiled form of a flushed trace; ``run`` is what ``Program`` calls."""

    run_steps = staticmethod(runtime.run)  # who takes the time of kernels sets another one

    def __init__(self, entries: tuple, input_keys: tuple, wanted: tuple):
        self.graph: Graph = lay_out(lower(entries, input_keys, wanted), host())
        self.graph.checks = list(dict.fromkeys(map(_without_reshape, self.graph.checks)))
        # an output in another shape is the same memory
        self.shapes = [node.shape for node in self.graph.outputs]
        self.graph.outputs = [_without_reshape(node) for node in self.graph.outputs]
        self.fusion = Fusion(self.graph)
        self.plan = Plan(self.graph, self.fusion, host())
        self.lock = threading.Lock()
        self._bind(input_keys)

    # ---- binding, once

    def _bind(self, input_keys: tuple) -> None:
        plan = self.plan
        texts = [step.kernel.text for step in plan.steps if step.kernel is not None]
        if plan.donations:
            texts.append(_COUNT.format(host().function_attributes))
        self.kernels = machine_code.load(texts)
        self.cells: dict[Any, int] = {}
        self.formats: list[str] = []
        nodes = {n.attributes[0]: n for n in self.graph.nodes if n.op == "input"}
        numbers = {n.attributes[0]: n for n in self.graph.nodes if n.op == "number"}
        self.slot_order = [slot for slot, _ in input_keys]
        for slot, kind in input_keys:
            if isinstance(kind, Meta) and slot in nodes:
                self._cell(nodes[slot], "Q")
            elif slot in numbers and kind in (int, bool, float):
                self._cell(("number", slot), "d" if kind is float else "q")
        self.output_nodes = list(dict.fromkeys(
            n for n in self.graph.outputs if n.op not in LEAVES and n.op != "part"
        ))  # fmt: skip
        for node in self.output_nodes:
            self._cell(node, "Q")
        for check in self.graph.checks:
            self._cell(check, "Q")
        self.dynamic = len(self.cells)
        self.packer = struct.Struct("=" + "".join(self.formats))
        self.parts = [
            n for n in self.graph.nodes if n.op == "part" and n in self.fusion.group_of
        ]
        for node in self.parts:
            self._cell(node, "Q")
        self.tables = {n: _contents(n) for n in self.graph.nodes if n.op == "table"}
        for node in self.tables:
            self._cell(node, "Q")
        self.fixed = [key for key in plan.offsets if key not in self.cells]
        for key in self.fixed:
            self._cell(key, "Q")
        self.first_fixed = self.cells[self.fixed[0]] if self.fixed else 0
        self.fixed_offsets = np.array([plan.offsets[key] for key in self.fixed], np.uint64)
        self.cell_values = np.zeros(max(1, len(self.cells)), np.uint64)
        for node, array in self.tables.items():
            self.cell_values[self.cells[node]] = array.ctypes.data
        self.bound_to = -1
        self._tables()
        self._donations()

    def _cell(self, key: Any, kind: str) -> None:
        if key not in self.cells:
            self.cells[key] = len(self.cells)
            self.formats.append(kind)

    def _tables(self) -> None:
        """The arguments of each step, the table of steps, and the segments between host calls."""
        base = self.cell_values.ctypes.data
        rows: list[list[int]] = []
        arguments: list[int] = []
        starts: list[int] = []
        for step in self.plan.steps:
            if step.kernel is None:
                continue
            starts.append(len(arguments))
            arguments += [base + 8 * self.cells[key] for key in step.kernel.keys]
        self.arguments = np.array(arguments or [0], np.uint64)
        at = self.arguments.ctypes.data
        self.segments: list[tuple[int, int] | Node] = []
        native = iter(self.kernels)
        count = 0
        for step in self.plan.steps:
            if step.kernel is None:
                self.segments.append(step.group.roots[0])
                continue
            if not self.segments or isinstance(self.segments[-1], Node):
                self.segments.append((len(rows), 0))
            segment = self.segments[-1]
            assert isinstance(segment, tuple)
            self.segments[-1] = (segment[0], segment[1] + 1)
            rows.append(
                [next(native).address, at + 8 * starts[count], step.kernel.tasks, int(step.barrier)]
            )
            count += 1
        # counts the runs that came to their end, where outputs write over inputs
        self.finished = np.zeros(1, np.int64)
        if self.plan.donations and isinstance(self.segments[-1], tuple):
            first, length = self.segments[-1]
            self.segments[-1] = (first, length + 1)
            rows.append([self.kernels[-1].address, self.finished.ctypes.data, 1, 1])
        self.table = np.array(rows or [[0] * 4], np.uint64)
        self.table_address = self.table.ctypes.data

    def _donations(self) -> None:
        """For each output: the position of the input it may take the memory of, and where read."""
        order = {slot: i for i, slot in enumerate(self.slot_order)}
        self.donors = [
            order[self.plan.donations[node].attributes[0]] if node in self.plan.donations else -1
            for node in self.output_nodes
        ] + [-1] * len(self.graph.checks)
        self.input_positions: list[tuple[int, bool]] = []  # (position, is a number)
        for key in list(self.cells)[: self.dynamic]:
            if isinstance(key, tuple):
                self.input_positions.append((order[key[1]], True))
            elif key.op == "input":
                self.input_positions.append((order[key.attributes[0]], False))
        where_given = {at: i for i, (at, _) in enumerate(self.input_positions)}
        self.donor_cells = [where_given.get(donor, -1) for donor in self.donors]
        self.metas = [
            _shape_and_type(node) for node in (*self.output_nodes, *self.graph.checks)
        ]
        shown = dict(zip(self.graph.outputs[::-1], self.shapes[::-1], strict=True))
        for i, node in enumerate(self.output_nodes):
            self.metas[i] = (shown[node], node.dtype.numpy)
        where = {node: i for i, node in enumerate(self.output_nodes)}
        self.reshaped = [
            (i, shape)
            for i, (node, shape) in enumerate(zip(self.graph.outputs, self.shapes, strict=True))
            if shape != (shown[node] if node in where else node.shape)
        ]
        self.results: list[tuple[str, Any]] = []
        for node in self.graph.outputs:
            if node in where:
                self.results.append(("made", where[node]))
            elif node.op == "input" or node.op == "number":
                self.results.append(("given", order[node.attributes[0]]))
            elif node.op == "part":
                self.results.append(("part", node))
            elif node.op == "table":
                self.results.append(("constant", self.tables[node]))
            else:
                array = np.full(node.shape, node.attributes[1], node.dtype.numpy)
                self.results.append(("constant", array))

    # ---- running

    def run(
        self, inputs: list[tuple[int, Any]], own: bool
    ) -> tuple[list[Any], BaseException | None]:
        """The wanted buffers; ``inputs`` is emptied. Raises HostMustRun where a check fails.

        When this raises, the inputs are as they were. An interrupt that comes when outputs have
        already taken the place of inputs is handed back beside the buffers.
        """
        with self.lock:
            return self._run(inputs, own)

    @staticmethod
    def failed_check(problem: Exception) -> bool:
        """Whether a run ended because one of the graph's checks does not hold."""
        return isinstance(problem, HostMustRun)

    def expected(self, problem: Exception) -> bool:
        """Whether a run may end so: the interpreter then reports what is wrong."""
        return self.failed_check(problem) or any(
            isinstance(segment, Node) for segment in self.segments
        )

    def _run(
        self, inputs: list[tuple[int, Any]], own: bool
    ) -> tuple[list[Any], BaseException | None]:
        given = [what for _, what in inputs]
        addresses, known = pool.addresses, memory.given
        keep: list[Any] = []  # copies of inputs, alive until the run is over
        packed: list[Any] = []
        for position, is_number in self.input_positions:
            what = given[position]
            if is_number:
                packed.append(what)
            else:
                buffer = what.buffer
                key = id(buffer)
                packed.append(addresses.get(key) or known.get(key) or _address(buffer, keep))
        what = buffer = None
        made: list[Any] = []
        for i, (kind, donor) in enumerate(zip(self.metas, self.donors, strict=True)):
            if donor >= 0 and not own:
                buffer = self._donated(given, donor)
                if buffer is not None:
                    made.append(buffer if buffer.shape == kind[0] else buffer.reshape(kind[0]))
                    packed.append(packed[self.donor_cells[i]])
                    continue
            buffer = pool.take(kind)
            made.append(buffer)
            packed.append(addresses.get(id(buffer)) or buffer.ctypes.data)
        buffer = None
        base = arena.address(self.plan.arena_size)
        cells = self.cell_values
        if base != self.bound_to and self.fixed:
            first = self.first_fixed
            cells[first : first + len(self.fixed)] = self.fixed_offsets + np.uint64(base)
            self.bound_to = base
        self.packer.pack_into(cells, 0, *packed)  # type: ignore[arg-type]  # NumPy's own stubs
        parts: dict[Node, Any] = {}
        table = self.table_address
        runs = self.finished[0]
        interrupt: BaseException | None = None
        try:
            for segment in self.segments:
                if isinstance(segment, Node):
                    self._host(segment, given, made, parts)
                else:
                    self.run_steps(table + 32 * segment[0], segment[1])
        except BaseException as problem:
            if self.finished[0] == runs:
                raise
            interrupt = problem
        for array in made[len(self.output_nodes) :]:
            if array.any():
                raise HostMustRun
        results: list[Any] = []
        for origin, which in self.results:
            if origin == "made":
                results.append(made[which])
            elif origin == "given":
                what = given[which]
                array = np.asarray(getattr(what, "buffer", what))
                results.append(np.array(array) if own else array)
            elif origin == "part":
                array = parts[which]
                results.append(np.array(array) if own else array)
            else:
                results.append(which.copy())
        inputs.clear()
        for i, shape in self.reshaped:
            results[i] = results[i].reshape(shape)
        return results, interrupt

    @staticmethod
    def _donated(given: list[Any], at: int) -> Any:
        """The array of this input, if the program alone holds it: it may be written over."""
        remembered = id(given[at].buffer) in pool.addresses
        if (
            sys.getrefcount(given[at]) <= _VALUE_HELD
            and sys.getrefcount(given[at].buffer) <= _BUFFER_HELD + remembered
        ):
            buffer = given[at].buffer
            mine = buffer.base is None or remembered  # no view of somebody else's memory
            if mine and buffer.flags.c_contiguous and buffer.flags.writeable:
                return buffer
        return None

    # ---- host steps

    def _host(self, call: Node, given: list[Any], made: list[Any], parts: dict) -> None:
        operator, attributes, results = call.attributes
        arrays = [self._array(node, given, made, parts) for node in call.inputs]
        metas = [
            node.dtype if node.op in ("number", "none") else _meta_of(node) for node in call.inputs
        ]
        if operator.consumes is not None:
            at = operator.consumes
            arrays[at] = np.array(arrays[at], order="C")
        kinds = [
            arrays[i].__class__ if not isinstance(m, Meta) else m for i, m in enumerate(metas)
        ]
        with np.errstate(all="ignore"):
            found = operator.evaluate_for(kinds, results)(*arrays, *attributes)
        found = found if len(results) > 1 else (found,)
        for node in self.parts:
            if node.inputs[0] is call:
                array = np.ascontiguousarray(found[node.attributes[0]]).reshape(node.shape)
                if any(_shares(array, x) for x in arrays):
                    array = array.copy()  # the arena's memory will be written over
                parts[node] = array
                self.cell_values[self.cells[node]] = array.ctypes.data

    def _array(self, node: Node, given: list[Any], made: list[Any], parts: dict) -> Any:
        if node.op == "none":
            return None
        if node.op == "number":
            return given[self.slot_order.index(node.attributes[0])]
        shape = node.shape
        if 0 in shape:
            return np.empty(shape, node.dtype.numpy)
        node = base_of(node)
        if node.op == "input":
            array = given[self.slot_order.index(node.attributes[0])].buffer
        elif node.op == "part":
            array = parts[node]
        elif node.op == "table":
            array = self.tables[node]
        elif node.op == "number":
            at = self.slot_order.index(node.attributes[0])
            array = np.asarray(given[at], node.dtype.numpy)
        elif node.op == "constant":
            array = np.full(node.shape, node.attributes[1], node.dtype.numpy)
        elif node in self.output_nodes:
            array = made[self.output_nodes.index(node)]
        else:
            array = arena.view(self.plan.offsets[node], node.shape, node.dtype.numpy)
        return array.reshape(shape)


def _meta_of(node: Node) -> Meta:
    from suiren.trace.meta import meta

    return meta(node.shape, node.dtype)


def _without_reshape(node: Node) -> Node:
    while node.op == "reshape" and node.inputs[0].op not in LEAVES:
        node = node.inputs[0]
    return node


def _contents(table: Node) -> np.ndarray:
    return np.frombuffer(table.attributes[0], table.dtype.numpy).reshape(table.shape)


def _shares(a: Any, b: Any) -> bool:
    return isinstance(b, np.ndarray) and np.may_share_memory(a, b)


def _shape_and_type(node: Node) -> tuple[tuple[int, ...], Any]:
    return node.shape, node.dtype.numpy


def _address(buffer: Any, keep: list[Any]) -> int:
    """Where the elements of an input lie in row-major order; a copy of them if need be."""
    if buffer.__class__ is not np.ndarray or not buffer.flags.c_contiguous:
        buffer = np.ascontiguousarray(buffer)
        keep.append(buffer)
        return buffer.ctypes.data
    return memory.given.of(buffer)


class _Held:
    __slots__ = ("buffer",)

    def __init__(self) -> None:
        self.buffer = np.empty(1)


def _held_counts() -> tuple[int, int]:
    """The reference counts of a Value and its array when only a program's inputs hold them."""
    inputs = [(0, _Held())]
    given = [what for _, what in inputs]
    at = 0
    return sys.getrefcount(given[at]), sys.getrefcount(given[at].buffer)


_VALUE_HELD, _BUFFER_HELD = _held_counts()
