"""The autograd graph behind what a replayed call returns.

When a compiled function returns something that can still be differentiated (a model is compiled,
``backward()`` comes outside), the nodes that the watched call made are kept as *templates*:
operator, attributes, edges, and where each saved value comes from. A replay makes such nodes again,
without asking any operator; the walk over them is then itself replayed by ``autograd/replay.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from suiren.autograd import graph
from suiren.autograd.graph import AccumulateGrad, OperatorNode, Saved
from suiren.storage import Storage
from suiren.tensor import Tensor
from suiren.trace import Value


class _Constant:
    """The counter of what nobody can write to."""

    version = 0


class Template:
    """One node. ``edges`` are None, ("node", n, i), ("leaf", place) or ("given", place)."""

    def __init__(self, node: OperatorNode, edges: list[Any], saved: list[Any], results: list[Any]):
        self.node_class = type(node)
        self.kind = node.kind
        self.operator = node.operator
        self.attributes = node.attributes
        self.metas = node.metas
        self.needs = node.needs
        self.results = node.results
        self.label = node.label
        self.edges = edges
        self.saved = saved
        self.saved_results = results

    def settle(self, settled: Callable[[tuple], tuple]) -> None:
        """Replaces Values by where they come from."""
        for kept in (*self.saved, *self.saved_results):
            if kept is not None and kept[0] == "saved":
                kept[1] = settled(kept[1])

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Template) and self._key() == other._key()

    __hash__ = object.__hash__

    def _key(self) -> tuple:
        return (
            self.node_class, id(self.kind), self.operator, self.attributes, self.label, self.edges,
            self.saved, self.saved_results,
        )  # fmt: skip


class Unknown(Exception):
    """The graph has something in it that cannot be made again."""


class History:
    """Takes down the graph behind the results of a watched call."""

    def __init__(
        self, start: int, places: dict[int, int], tensors: list[Tensor], given: int,
        versions: dict[int, tuple[int, int]],
    ) -> None:  # fmt: skip
        self.start = start  # sequence numbers of the call's own nodes are larger
        self.places = places
        self.given = {
            (t._grad_fn, t._output_index): i
            for i, t in enumerate(tensors[:given]) if t._grad_fn is not None
        }  # fmt: skip
        self.versions = versions  # of storages that were there: id -> (place, version before)
        self.results: dict[int, int] = {}  # storages of results: id -> number
        self.roots: list[Any] = []
        # Storages of the call's own that Saved tensors look at the version of, and how many do.
        self.counters: dict[int, tuple[list[Storage], list[Saved]]] = {}

    def templates(self) -> tuple[list[Template], dict[Any, int]]:
        """The nodes in the order in which they were made, and their numbers."""
        todo, seen = list(self.roots), set(self.roots)
        for node in todo:
            for edge in node.edges:
                if edge is not None and edge[0] not in seen and edge[0].sequence > self.start:
                    if not isinstance(edge[0], AccumulateGrad):
                        seen.add(edge[0])
                        todo.append(edge[0])
        todo.sort(key=lambda node: node.sequence)
        numbers = {node: i for i, node in enumerate(todo)}
        return [self._template(node, numbers) for node in todo], numbers

    def _template(self, node: Any, numbers: dict[Any, int]) -> Template:
        if (
            not isinstance(node, OperatorNode) or node.kind is None or node.hooked or node.released
            or node.traceback is not None or "_metadata" in node.__dict__
        ):  # fmt: skip
            raise Unknown("the graph behind a result has custom functions or hooks")
        edges = [None if edge is None else self._edge(edge, numbers) for edge in node.edges]
        return Template(
            node, edges,
            [self._saved(kept, numbers) for kept in node.saved],
            [self._saved(kept, numbers) for kept in node.saved_results],
        )  # fmt: skip

    def idle(self) -> set[Value]:
        """Results that are held because something saved looks whether they are written to."""
        return {
            held[0].value for held, saved in self.counters.values()
            if held[0].value is not None and _holders(held) == _ONE + len(saved)
        }  # fmt: skip

    def _edge(self, edge: Any, numbers: dict[Any, int]) -> tuple:
        target, index = edge
        if isinstance(target, AccumulateGrad):
            place = self.places.get(id(target._variable()))
            if place is None:
                raise Unknown("a tensor that is not in sight takes part")
            return ("leaf", place)
        number = numbers.get(target)
        if number is not None:
            return ("node", number, index)
        place = self.given.get((target, index))
        if place is None:
            raise Unknown("a result of earlier operations that is no argument takes part")
        return ("given", place)

    def _saved(self, kept: Any, numbers: dict[Any, int]) -> Any:
        if kept is None:
            return None
        if kept.__class__ is not Saved:
            return ["number", kept.__class__, repr(kept), _Number(kept)]
        if kept.unpacking is not None or kept.value.__class__ is not Value:
            raise Unknown("saved tensors are packed by hooks")
        counter = kept.counter
        owner = self.versions.get(id(counter))
        number = self.results.get(id(counter))
        clock: tuple
        if owner is not None:
            clock = ("known", owner[0], kept.version - owner[1])
        elif number is not None:
            clock = ("result", number, kept.version)
        elif counter.version == kept.version:
            clock = ("never",)
            if counter.__class__ is Storage:
                self.counters.setdefault(id(counter), ([counter], []))[1].append(kept)
        else:
            raise Unknown("a saved tensor was written to")
        leaf = None
        if kept.leaf is not None:
            leaf = self.places.get(id(kept.leaf))
            if leaf is None:
                raise Unknown("a tensor that is not in sight is saved")
        node: tuple | None = None
        if kept.node is not None:
            node = self._edge((kept.node, kept.index), numbers)
        return ["saved", ("value", kept.value), kept.meta, clock, node, kept.index, leaf, kept.own]


def _holders(held: list[Storage]) -> int:
    return sys.getrefcount(held[0])


_ONE = _holders([object.__new__(Storage)])


class _Number:
    def __init__(self, what: Any) -> None:
        self.what = what

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Number)

    __hash__ = object.__hash__


class HistoryWriter:
    """Writes the lines that make the nodes again; see ``replay.py``."""

    def __init__(self, writer: Any, space: dict[str, Any]) -> None:
        self.writer = writer
        space.update(
            new=object.__new__, Saved=Saved, sequence=graph._sequence, never=_Constant,
            accumulator=graph.accumulator,
        )  # fmt: skip

    def write(self, templates: list[Template], written: dict[int, int]) -> None:
        """``written``: how often the call wrote to a place, by the count of versions."""
        name, lines = self.writer.name, self.writer.lines
        self.written = written
        for i, t in enumerate(templates):
            n = f"n_{i}"
            saved = [self._saved(kept) for kept in t.saved]
            results = [self._saved(kept) for kept in t.saved_results]
            edges = "".join(self._edge(edge) + ", " for edge in t.edges)
            lines.append(f"{n} = new({name(t.node_class)})")
            lines.append(f"{n}.sequence = next(sequence)")
            for field in ("kind", "operator", "attributes", "metas", "needs", "results"):
                lines.append(f"{n}.{field} = {name(getattr(t, field))}")
            lines.append(f"{n}.edges = ({edges})")
            if t.label is not None:
                lines.append(f"{n}.label = {t.label!r}")
            if saved:
                lines.append(f"{n}.saved = [{', '.join(saved)}]")
            if results:
                lines.append(f"{n}.saved_results = [{', '.join(results)}]")

    def _edge(self, edge: Any) -> str:
        if edge is None:
            return "None"
        if edge[0] == "node":
            return f"(n_{edge[1]}, {edge[2]})"
        t = self.writer.tensors[edge[1]]
        if edge[0] == "leaf":
            return f"({t}._accumulator or accumulator({t}), 0)"
        return f"({t}._grad_fn, {t}._output_index)"

    def _saved(self, kept: Any) -> str:
        if kept is None:
            return "None"
        if kept[0] == "number":
            return self.writer.name(kept[3].what)
        _, value, meta, clock, node, index, leaf, own = kept
        self.count = getattr(self, "count", -1) + 1
        s, lines, name = f"s_{self.count}", self.writer.lines, self.writer.name
        lines.append(f"{s} = new(Saved)")
        lines.append(f"{s}.meta = {name(meta)}")
        lines.append(f"{s}.value = {self.writer.value(value)}")
        if clock[0] == "never":
            lines.append(f"{s}.counter = never; {s}.version = 0")
        elif clock[0] == "result":
            lines.append(f"{s}.counter = r{clock[1]}._storage; {s}.version = {clock[2]}")
        else:
            storage = self.writer.storage(clock[1])
            since = self.written.get(clock[1], 0) - clock[2]
            lines.append(f"{s}.counter = {storage}; {s}.version = {storage}.version - {since}")
        if node is not None:
            lines.append(f"{s}.node = {self._edge(node)}[0]")
        if index:
            lines.append(f"{s}.index = {index}")
        if leaf is not None:
            lines.append(f"{s}.leaf = {self.writer.tensors[leaf]}")
        if own:
            lines.append(f"{s}.own = True")
        return s
