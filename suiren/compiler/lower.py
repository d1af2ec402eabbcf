"""From the entries of a trace to a graph.

Each operator is replaced by its ``decompose``, written next to its other meanings in ``ops``; an
elementwise operator whose name is a kind of node needs none. Half types are computed in float32 and
rounded after each operator, as PyTorch does. What has no native form (or no native form for these
shapes and types) becomes a ``host`` node, by the operator's NumPy meaning.
"""

from __future__ import annotations

from typing import Any

from suiren import dtypes
from suiren.compiler.graph import Graph
from suiren.compiler.node import ELEMENTWISE, Node, NotNative
from suiren.trace.meta import Meta

# Types that kernels know; complex numbers stay with NumPy.
NATIVE = frozenset(
    [
        dtypes.float32, dtypes.float64, dtypes.float16, dtypes.bfloat16, dtypes.bool,
        dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64,
        dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64,
    ]
)  # fmt: skip


def lower(entries: tuple, input_keys: tuple, wanted: tuple) -> Graph:
    """The graph of a flushed trace; its outputs are those of the wanted slots."""
    graph = Graph()
    slots: dict[int, Any] = {}
    for slot, kind in input_keys:
        if isinstance(kind, Meta):
            slots[slot] = graph.input(slot, tuple(kind.shape), kind.dtype)
        elif kind is type(None):
            slots[slot] = None
        else:
            slots[slot] = _Number(slot, kind)
    slot = 0
    for position, (operator, attributes, arguments, results) in enumerate(entries):
        while slot in slots:
            slot += 1
        graph.source = (position, operator.name)
        found = lower_entry(graph, operator, attributes, [slots[s] for s in arguments], results)
        for node in found:
            slots[slot] = node
            slot += 1
    graph.source = None
    graph.outputs = [_node(graph, slots[s]) for s in wanted]
    return graph


class _Number:
    """A Python number among the inputs; complex ones have no node."""

    __slots__ = ("slot", "kind")

    def __init__(self, slot: int, kind: type):
        self.slot = slot
        self.kind = kind


def _node(graph: Graph, x: Any) -> Any:
    return graph.number(x.slot, x.kind) if isinstance(x, _Number) else x


def lower_entry(
    graph: Graph, operator: Any, attributes: tuple, arguments: list, results: tuple[Meta, ...]
) -> list[Node]:
    """The nodes of one entry's results."""
    checks = len(graph.checks)
    try:
        return _natively(graph, operator, attributes, arguments, results)
    except NotNative:
        del graph.checks[checks:]
    return graph.host(operator, attributes, [_host_input(graph, x) for x in arguments], results)


def _host_input(graph: Graph, x: Any) -> Node:
    if x is None:
        return graph.make("none", (), (), (), dtypes.bool)
    if isinstance(x, _Number):
        # the Python number itself, whatever its kind: the host step takes it from the inputs
        return graph.make("number", (), (x.slot,), (), _kind_of(x))
    return x


def _kind_of(x: _Number) -> Any:
    return {float: dtypes.float64, complex: dtypes.complex128}.get(x.kind, dtypes.int64)


def _natively(graph, operator, attributes, arguments, results) -> list[Node]:
    if any(m.dtype not in NATIVE for m in results):
        raise NotNative("the type of a result")
    nodes = [_node(graph, x) for x in arguments]
    if any(isinstance(x, Node) and x.dtype not in NATIVE for x in nodes):
        raise NotNative("the type of an argument")
    if operator.widen:
        nodes = [
            x.cast(dtypes.float32) if isinstance(x, Node) and x.dtype.is_half else x for x in nodes
        ]
    if operator.decompose is not None:
        found = operator.decompose(graph, *nodes, *attributes)
    elif operator.name in ELEMENTWISE and not attributes and operator.widen:
        found = graph.map(operator.name, *nodes)
    else:
        raise NotNative(operator.name)
    found = list(found) if isinstance(found, (tuple, list)) else [found]
    return [_as_promised(graph, x, m, operator) for x, m in zip(found, results, strict=True)]


def _as_promised(graph: Graph, x: Node, promised: Meta, operator: Any) -> Node:
    shape = tuple(promised.shape)
    if x.op == "number":  # a tensor now: it keeps its type, and the host gets an array
        x = graph.make("cast", (x,), (), (), x.dtype)
    if x.shape != shape:
        x = graph.expand(x, shape)  # a number among numbers, say
    if x.dtype is not promised.dtype:
        if not operator.widen and x.op != "constant":
            raise NotNative(f"{operator.name} made {x.dtype.name} of {promised.dtype.name}")
        x = x.cast(promised.dtype)
    return x


__all__ = ["NATIVE", "lower", "lower_entry"]
