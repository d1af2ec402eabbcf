"""Kernels that are written once for many groups: unrolled loops have hundreds of equal products.

What a kernel's text depends on is described with arrays and numbers by their places in its table of
arguments, and with offsets that differ from one step of such a loop to the next as numbers that the
kernel looks up. Groups of one description share a text; only their tables differ.

Products always look such offsets up. Loops do it where three groups or more of a program differ in
nothing else (:class:`LoopTemplates`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from suiren.compiler.codegen.expression import Resolver
from suiren.compiler.codegen.kernel import Kernel
from suiren.compiler.codegen.loops import LoopNest, buffer_of
from suiren.compiler.fuse import Group
from suiren.compiler.graph import Graph
from suiren.compiler.index import Affine
from suiren.compiler.node import Node
from suiren.compiler.target import Target

# description -> what stands in the table, and the kernels
Templates: TypeAlias = dict[tuple, tuple[list[Any], list[Kernel]]]


def origin_of(graph: Graph, number: int) -> Node:
    """A table with this number, for kernels to look up."""
    return graph.table(np.array([number], np.int64))


def described(resolver: Resolver, origins: dict[int, Any], own: Sequence[Any]) -> tuple:
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
        guards: tuple = tuple([(offset(e), low, high) for e, low, high in term.guards])
        if guards and term.op == "load" and term.node is not None:
            guards = (*guards, term.node.numel)  # where reading across has to end
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
        if isinstance(old, tuple) and old[0] in ("scratch", "partial"):
            return (old[0], instead[old[1]], *old[2:])
        return instead[old]

    scratch = tuple([(key(old), size) for old, size in kernel.scratch])
    return replace(
        kernel, keys=[key(old) for old in kernel.keys], scratch=scratch,
        level={instead[node]: level for node, level in kernel.level.items()},
        read_until={instead[node]: level for node, level in kernel.read_until.items()},
    )  # fmt: skip


class LoopTemplates:
    """The loop nests of a program, each kind written once."""

    def __init__(self, groups: Sequence[Group], target: Target):
        self._nests: dict[Group, tuple[LoopNest, list[Any], tuple, tuple[int, ...]]] = {}
        self._known: Templates = {}
        offsets: dict[tuple, list[tuple[int, ...]]] = {}
        for group in groups:
            nest = LoopNest(group, target)
            found = _offsets(nest)
            own, form = _form(nest, {const: ("origin", i) for i, const in enumerate(found)})
            self._nests[group] = nest, own, form, found
            offsets.setdefault(form, []).append(found)
        # written with offsets to be looked up
        self._general = {
            form for form, found in offsets.items() if len(found) > 2 and len(set(found)) > 1
        }

    def kernels(self, group: Group) -> list[Kernel]:
        """The kernels of a group without a product: see :meth:`LoopNest.kernels`."""
        nest, own, form, offsets = self._nests.pop(group)
        if offsets and form in self._general:
            graph = group.roots[0].graph
            nest.origins = {const: origin_of(graph, const) for const in offsets}
            tables = {("origin", i): nest.origins[const] for i, const in enumerate(offsets)}
            own = [tables.get(key, key) for key in own]
        elif offsets:
            own, form = _form(nest, {})
        known = self._known.get(form)
        if known is not None:
            return [same(kernel, dict(zip(known[0], own, strict=True))) for kernel in known[1]]
        made = nest.kernels()
        self._known[form] = own, made
        return made


def _offsets(nest: LoopNest) -> tuple[int, ...]:
    """The constant parts of offsets, each once."""
    places = [term.at for term in nest.resolver.terms.values() if term.op == "load"]
    places += [root.place for root in nest.roots]
    return tuple(dict.fromkeys([place.const for place in places if place.const]))


def _form(nest: LoopNest, origins: dict[int, Any]) -> tuple[list[Any], tuple]:
    """What a nest's table may point at, and the description of its text."""
    group, resolver = nest.group, nest.resolver
    own: list[Any] = [root.node for root in nest.roots]
    own += [buffer_of(group, node) for node in group.stores]
    for term in resolver.terms.values():
        if term.op in ("load", "take"):
            own.append(term.node)
        elif term.op == "number":
            assert term.node is not None
            own.append(("number", term.node.attributes[0]))
    own = list(dict.fromkeys([*own, *origins.values()]))
    roots = tuple([
        (root.node.shape, root.node in group.inner, root.node in group.late,
         root.node.inputs[0].shape if root.node.op == "reduce" else ())
        for root in nest.roots
    ])  # fmt: skip
    kept = group.rows, group.kept, resolver.kept_rows
    return own, (kept, roots, described(resolver, origins, own))


__all__ = ["LoopTemplates", "Templates", "described", "origin_of", "same"]
