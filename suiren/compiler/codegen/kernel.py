"""What every code generator makes: a kernel, with the table of arguments that it is called with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from suiren.compiler.node import Node


@dataclass
class Kernel:
    """A kernel's text, and what its table of arguments points at, in order."""

    name: str
    text: str
    tasks: int
    keys: list[Any]  # a Node; ("number", slot); ("partial", Node)
    barrier: bool = True  # between it and the kernel before it in the same group
    work: float = 0.0
    scratch: tuple[tuple[Any, int], ...] = ()  # buffers of its own: (key, bytes)
    # the walk of a row in which a root is stored, and the last one in which an array is read
    level: dict[Node, int] = field(default_factory=dict)
    read_until: dict[Node, int] = field(default_factory=dict)


class Slots:
    """The table while the kernel is being written: each key that is asked for gets the next entry.

    >>> slot = Slots()
    >>> slot("x"), slot("y"), slot("x"), list(slot)
    (0, 1, 0, ['x', 'y'])
    """

    def __init__(self) -> None:
        self._entries: dict[Any, int] = {}

    def __call__(self, key: Any) -> int:
        """The entry of a buffer or number."""
        return self._entries.setdefault(key, len(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Any]:
        """What the table points at, in order."""
        return iter(self._entries)
