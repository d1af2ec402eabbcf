"""From a trace to an image: the compiler's stages in order, and the tables that a run needs.

Above all of them and below ``program.py``, which asks for it only when a program is not on disk:
a process that finds its programs there imports none of this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from suiren.compiler.attention import recognise
from suiren.compiler.fuse import Fusion
from suiren.compiler.graph import Graph
from suiren.compiler.image import Call, Image, Source, Step, Weight
from suiren.compiler.layout import lay_out
from suiren.compiler.lower import lower
from suiren.compiler.node import LEAVES, Node, base_of
from suiren.compiler.packing import packed_weights
from suiren.compiler.plan import Plan
from suiren.compiler.target import host
from suiren.compiler.unrolled import gather
from suiren.trace.meta import Meta

_COUNT = """define void @kernel(ptr %args, i64 %task) {} {{
  %runs = load i64, ptr %args
  %more = add i64 %runs, 1
  store i64 %more, ptr %args
  ret void
}}
"""


class Compilation:
    """What the stages made of a trace: for the tables here, and for people who want to look."""

    def __init__(self, entries: tuple, input_keys: tuple, wanted: tuple):
        self.entries = entries
        self.input_keys = input_keys
        lowered = lay_out(lower(entries, input_keys, wanted), host())
        self.graph: Graph = gather(recognise(lowered))
        self.graph.checks = list(dict.fromkeys(map(_without_reshape, self.graph.checks)))
        # an output in another shape is the same memory
        self.shapes = [node.shape for node in self.graph.outputs]
        self.graph.outputs = [_without_reshape(node) for node in self.graph.outputs]
        self.fusion = Fusion(self.graph)
        self.plan = Plan(self.graph, self.fusion, host())

    def texts(self) -> list[str]:
        """The text of each kernel in order, and of the one that counts runs."""
        texts = [step.kernel.text for step in self.plan.steps if step.kernel is not None]
        if self.plan.donations:
            texts.append(_COUNT.format(host().function_attributes))
        return texts

    def image(self, kernels: list[int]) -> Image:
        """The tables; ``kernels`` has a number for each text, the same for equal code."""
        return _Binder(self, kernels).image()


class _Binder:
    def __init__(self, made: Compilation, kernels: list[int]):
        self.made = made
        self.graph = made.graph
        self.plan = made.plan
        self.kernels = kernels
        self.order = {slot: i for i, (slot, _) in enumerate(made.input_keys)}
        self.cells: dict[Any, int] = {}
        self.formats: list[str] = []
        self._cells()

    def _cell(self, key: Any, kind: str) -> None:
        if key not in self.cells:
            self.cells[key] = len(self.cells)
            self.formats.append(kind)

    def _cells(self) -> None:
        nodes = {n.attributes[0]: n for n in self.graph.nodes if n.op == "input"}
        numbers = {n.attributes[0]: n for n in self.graph.nodes if n.op == "number"}
        self.inputs: list[tuple[int, bool]] = []
        for position, (slot, kind) in enumerate(self.made.input_keys):
            if isinstance(kind, Meta) and slot in nodes:
                self._cell(nodes[slot], "Q")
                self.inputs.append((position, False))
            elif slot in numbers and kind in (int, bool, float):
                self._cell(("number", slot), "d" if kind is float else "q")
                self.inputs.append((position, True))
        self.outputs = list(dict.fromkeys(
            n for n in self.graph.outputs if n.op not in LEAVES and n.op != "part"
        ))  # fmt: skip
        for node in (*self.outputs, *self.graph.checks):
            self._cell(node, "Q")
        self.dynamic = len(self.cells)
        group_of = self.made.fusion.group_of
        self.parts = [n for n in self.graph.nodes if n.op == "part" and n in group_of]
        for node in self.parts:
            self._cell(node, "Q")
        self.tables = [n for n in self.graph.nodes if n.op == "table"]
        for node in self.tables:
            self._cell(node, "Q")
        fixed = [key for key in self.plan.offsets if key not in self.cells]
        self.offsets = tuple([self.plan.offsets[key] for key in fixed])
        for key in fixed:
            self._cell(key, "Q")

    def image(self) -> Image:
        steps, segments, calls = self._steps()
        where_given = {at: i for i, (at, _) in enumerate(self.inputs)}
        donors: list[tuple[tuple[int, int], ...]] = [() for _ in self.graph.checks]
        donors[:0] = [
            tuple([
                (at, where_given[at])
                for at in [self.order[x.attributes[0]] for x in self.plan.donations.get(node, ())]
            ])
            for node in self.outputs
        ]  # fmt: skip
        shown = dict(zip(self.graph.outputs[::-1], self.made.shapes[::-1], strict=True))
        made = [(shown[node], node.dtype.name) for node in self.outputs]
        made += [(node.shape, node.dtype.name) for node in self.graph.checks]
        where = {node: i for i, node in enumerate(self.outputs)}
        pairs = zip(self.graph.outputs, self.made.shapes, strict=True)
        reshaped = [
            (i, shape)
            for i, (node, shape) in enumerate(pairs)
            if shape != (shown[node] if node in where else node.shape)
        ]
        return Image(
            tuple(self.inputs), "".join(self.formats[: self.dynamic]), tuple(made),
            len(self.outputs), tuple(donors), len(self.parts),
            tuple([(x.shape, x.dtype.name, bytes(x.attributes[0])) for x in self.tables]),
            self.offsets, self.plan.arena_size, steps, segments, calls,
            tuple([self._result(node, where) for node in self.graph.outputs]), tuple(reshaped),
            bool(self.plan.donations), tuple(self._weights()),
        )  # fmt: skip

    def _steps(self) -> tuple[tuple[Step, ...], tuple[tuple[int, int], ...], tuple[Call, ...]]:
        """The table of steps, and the segments between calls of the host."""
        steps: list[Step] = []
        segments: list[tuple[int, int]] = []
        calls: list[Call] = []
        for step in self.plan.steps:
            if step.kernel is None:
                segments.append((len(calls), 0))
                calls.append(self._call(step.group.roots[0]))
                continue
            if not segments or not segments[-1][1]:
                segments.append((len(steps), 0))
            first, count = segments.pop()
            segments.append((first, count + 1))
            cells = tuple([self.cells[key] for key in step.kernel.keys])
            steps.append(
                Step(self.kernels[len(steps)], step.kernel.tasks, bool(step.barrier), cells)
            )
        if self.plan.donations:
            first, count = segments.pop()
            segments.append((first, count + 1))
            steps.append(Step(self.kernels[-1], 1, True, ()))
        return tuple(steps), tuple(segments), tuple(calls)

    def _weights(self) -> Iterator[Weight]:
        for found in packed_weights(self.plan):
            digest = hashlib.sha256("\0".join(found.texts).encode()).hexdigest()
            position = self.order[found.input.attributes[0]]
            size = self.plan.sizes[found.node]
            yield Weight(position, self.cells[found.node], size, found.steps, digest)

    def _call(self, call: Node) -> Call:
        operator, attributes, results = call.attributes
        position = call.source[0]
        entry = self.made.entries[position]
        assert entry[0] is operator and entry[1] == attributes and entry[3] == results
        parts = [
            (node.attributes[0], node.shape, number)
            for number, node in enumerate(self.parts)
            if node.inputs[0] is call
        ]
        sources = tuple([Source(*self._source(x), x.shape, x.dtype.name) for x in call.inputs])
        return Call(position, sources, tuple(parts))

    def _source(self, node: Node) -> tuple[str, Any]:
        if node.op == "none":
            return "none", None
        if node.op == "number":
            return "number", self.order[node.attributes[0]]
        if 0 in node.shape:
            return "empty", None
        node = base_of(node)
        if node.op == "input":
            return "input", self.order[node.attributes[0]]
        if node.op == "part":
            return "part", self.parts.index(node)
        if node.op == "table":
            return "table", self.tables.index(node)
        if node.op == "number":
            return "scalar", self.order[node.attributes[0]]
        if node.op == "constant":
            return "constant", node.attributes[1]
        if node in self.outputs:
            return "made", self.outputs.index(node)
        return "arena", self.plan.offsets[node]

    def _result(self, node: Node, where: dict[Node, int]) -> tuple[str, Any]:
        if node in where:
            return "made", where[node]
        if node.op in ("input", "number"):
            return "given", self.order[node.attributes[0]]
        if node.op == "part":
            return "part", self.parts.index(node)
        if node.op == "table":
            return "table", self.tables.index(node)
        return "constant", (node.shape, node.attributes[1], node.dtype.name)


def _without_reshape(node: Node) -> Node:
    while node.op == "reshape" and node.inputs[0].op not in LEAVES:
        node = node.inputs[0]
    return node
