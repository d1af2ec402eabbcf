"""What passes share that make a graph once more: the copy, and an order for it.

Used by ``attention`` and ``unrolled``, where several nodes become one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from suiren.compiler.graph import Graph
from suiren.compiler.node import Node

_Item = TypeVar("_Item", bound=Hashable)


class Copy:
    """A graph made again, node by node: ``made`` has the new ones by the old ones."""

    def __init__(self, old: Graph):
        self.old = old
        self.new = Graph()
        self.made: dict[Node, Node] = {}

    def node(self, node: Node) -> Node:
        """The node as it was, of what its inputs became."""
        self.new.source = node.source
        inputs = self.inputs(node)
        made = self.new.make(node.op, inputs, node.attributes, node.shape, node.dtype)
        self.made[node] = made
        return made

    def inputs(self, node: Node) -> tuple[Node, ...]:
        """What its inputs became."""
        return tuple([self.made[x] for x in node.inputs])

    def finished(self) -> Graph:
        """The new graph, with what became of results and checks."""
        self.new.source = None
        self.new.outputs = [self.made[x] for x in self.old.outputs]
        self.new.checks = [self.made[x] for x in self.old.checks]
        return self.new


def ordered(
    needs: Mapping[_Item, Iterable[_Item]], place: Callable[[_Item], int]
) -> list[_Item] | None:
    """The items, each after all that it needs, else by their places; None if they go in circles.

    >>> ordered({"a": ["c"], "b": [], "c": []}, "abc".index)
    ['b', 'c', 'a']
    """
    users: dict[_Item, list[_Item]] = {}
    waiting: dict[_Item, int] = {}
    for item, own in needs.items():
        waiting[item] = 0
        for x in own:
            waiting[item] += 1
            users.setdefault(x, []).append(item)
    # items themselves cannot be compared: they are numbered in the order in which they get ready
    ready = [(place(x), n, x) for n, x in enumerate(waiting) if not waiting[x]]
    heapq.heapify(ready)
    count, found = len(waiting), []
    while ready:
        _, _, item = heapq.heappop(ready)
        found.append(item)
        for user in users.get(item, ()):
            waiting[user] -= 1
            if not waiting[user]:
                count += 1
                heapq.heappush(ready, (place(user), count, user))
    return found if len(found) == len(waiting) else None


__all__ = ["Copy", "ordered"]
