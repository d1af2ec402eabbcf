"""Handles of hooks: what registering a function gives back, by which it is taken out again.

Used by tensors, graph nodes, modules and optimizers alike. Behaviour: PyTorch's
`torch.utils.hooks.RemovableHandle`.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class RemovableHandle:
    """What registering a hook returns; `remove()` takes the hook out again.

    Works as a context manager too: the hook is removed at the end of the `with`.

    Source: PyTorch, torch.utils.hooks.RemovableHandle.
    """

    _next_id = 0  # numbers are unique over all dictionaries of hooks

    def __init__(self, hooks: dict[int, Any], *, extra_dict: Any = None) -> None:
        self._hooks = weakref.ref(hooks)
        self.id = RemovableHandle._next_id
        RemovableHandle._next_id += 1
        if extra_dict is None:
            extra_dict = ()
        elif isinstance(extra_dict, dict):
            extra_dict = (extra_dict,)
        self._extras = tuple(weakref.ref(extra) for extra in extra_dict)

    def remove(self) -> None:
        """Take the hook out; calling it again does nothing."""
        for reference in (self._hooks, *self._extras):
            hooks = reference()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __getstate__(self) -> tuple[Any, ...]:
        # Copies of a module copy its hooks; the handle's copy must belong to those.
        return self._hooks(), self.id, tuple(reference() for reference in self._extras)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        hooks, self.id, extras = state
        self._hooks = weakref.ref(OrderedDict() if hooks is None else hooks)
        self._extras = tuple(weakref.ref(OrderedDict() if x is None else x) for x in extras)
        RemovableHandle._next_id = max(RemovableHandle._next_id, self.id + 1)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


class Hooks(OrderedDict):
    """Hooks in order of registration (a class of its own: plain dicts take no weak references)."""


def add_hook(
    hooks: Any, hook: Callable[..., Any], prepend: bool = False, flags: tuple[Any, ...] = ()
) -> RemovableHandle:
    """Adds ``hook`` to ``hooks``, as the first one if ``prepend``, and returns its handle.

    flags: dictionaries that get True under the hook's number, and lose it when it is removed.
    """
    handle = RemovableHandle(hooks, extra_dict=flags)
    hooks[handle.id] = hook
    for flag in flags:
        flag[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle
