"""Kernels that are written once for many groups: unrolled loops have hundreds of equal products.

What a kernel's text depends on is described with arrays and numbers by their places in its table of
arguments, and with offsets that differ from one step of such a loop to the next as numbers that the
kernel looks up. Groups of one description share a text; only their tables differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from suiren.compiler.codegen.expression import Resolver
from suiren.compiler.codegen.kernel import Kernel
from suiren.compiler.codegen.loops import buffer_of
from suiren.compiler.graph import Graph
from suiren.compiler.index import Affine
from suiren.compiler.node import Node

# description -> what stands in the table, and the kernels
Templates: TypeAlias = dict[tuple, tuple[list[Any], list[Kernel]]]


def origin_of(graph: Graph, number: int) -> Node:
    """A table with this number, for kernels to look up."""
    return graph.table(np.array([number], np.int64))


def described(resolver: Resolver, origins: dict[int, Node], own: Sequence[Any]) -> tuple:
    """What a group computes, arrays and numbers by their place in ``own``.

    ``origins``: the tables that hold constant parts of offsets.
    """
    places = {key: i for i, key in enumerate(own)}
    group = resolver.group
    terms = {id(term): i for i, term in enumerate(resolver.terms.values())}

    def offset(e: Affine) -> tuple:
        table = origins.get(e.const)
        return ("at", places[table], e.terms) if table is not None else (e.const, e.terms)

    def which(node: Node | None) -> Any:
        if node is None or node.op == "constant" or node.op == "pad":
            return None if node is None else (node.op, node.attributes)
        if node.op == "number":
            return places["number", node.attributes[0]]
        return places.get(node, -1) if node not in numbers else ("root", numbers[node])

    numbers = {root.node: i for i, root in enumerate(resolver.roots)}
    found: list[tuple] = [(tuple(resolver.sizes), tuple(group.sizes), resolver.rows)]
    for term in resolver.terms.values():
        inputs = tuple([terms[id(x)] for x in term.inputs])
        guards = tuple([(e.const, e.terms, low, high) for e, low, high in term.guards])
        found.append(
            (term.op, inputs, term.dtype.name, which(term.node), offset(term.at), guards,
             term.step, term.bound, term.inside, term.level)
        )  # fmt: skip
    for root in resolver.roots:
        node = root.node
        stored = places[buffer_of(group, node)] if node in group.stores else None
        found.append(
            (node.op, node.attributes if node.op == "reduce" else (), node.dtype.name,
             terms[id(root.term)], offset(root.place), root.full, stored)
        )  # fmt: skip
    return tuple(found)


def same(kernel: Kernel, instead: dict[Any, Any]) -> Kernel:
    """The kernel for other arrays and numbers."""

    def key(old: Any) -> Any:
        if isinstance(old, tuple) and old[0] == "scratch":
            return (old[0], instead[old[1]], *old[2:])
        return instead[old]

    scratch = tuple([(key(old), size) for old, size in kernel.scratch])
    return replace(kernel, keys=[key(old) for old in kernel.keys], scratch=scratch)


__all__ = ["Templates", "described", "origin_of", "same"]
