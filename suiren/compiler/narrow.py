"""Half types that need not be widened: what a graph leaves out while it is made.

Half types are computed in float32, so decompositions widen them first. Products read them as they
are, though, and what only chooses among numbers, as relu does, makes numbers of the same type:
there the casts are taken off. ``graph.py`` asks here.
"""

from __future__ import annotations

from suiren import dtypes
from suiren.compiler.node import Node, base_of, constant_of
from suiren.dtypes import dtype

CHOOSING = frozenset(["max", "min", "neg", "abs"])


def operands(a: Node, b: Node) -> tuple[Node, Node]:
    """Two operands of a product without the casts that widen both from one half type."""
    first, second = _unwidened(a), _unwidened(b)
    if first is None or second is None or first.dtype is not second.dtype:
        return a, b
    return first, second


def chosen(x: Node, kind: dtype) -> Node | None:
    """x, a float32 chosen among numbers of a half type, in that type; None if it is not."""
    if not kind.is_half or x.op not in CHOOSING:
        return None
    inputs = [held for i in x.inputs if (held := _held(i, kind)) is not None]
    if len(inputs) < len(x.inputs):
        return None
    return x.graph.make(x.op, inputs, (), x.shape, kind)


def _unwidened(x: Node) -> Node | None:
    """The array of a half type that x is in float32, moved as x is; None if there is none."""
    if x.dtype is not dtypes.float32:
        return None
    if x.op == "cast":
        return x.inputs[0] if x.inputs[0].dtype.is_half else None
    if x.op not in ("reshape", "permute", "expand", "slice", "copy"):
        return None
    inner = _unwidened(x.inputs[0])
    if inner is None:
        return None
    return x.graph.make(x.op, (inner,), x.attributes, x.shape, inner.dtype)


def _held(x: Node, kind: dtype) -> Node | None:
    """x, a float32, in a half type that holds it exactly; None if that is not known."""
    found = _unwidened(x)
    if found is not None:
        return found if found.dtype is kind else None
    inner = base_of(x.inputs[0] if x.op == "expand" else x)
    if inner.op != "constant":
        return None
    value = constant_of(inner)
    half = x.graph.constant(value, kind)
    return x.graph.full(x.shape, value, kind) if constant_of(half) == value else None


__all__ = ["chosen", "operands"]
