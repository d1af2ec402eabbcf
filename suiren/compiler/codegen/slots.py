"""The table of arguments of a kernel while the kernel is being written: who has which entry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class Slots:
    """Gives each buffer or number that is asked for the next entry of the table.

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
