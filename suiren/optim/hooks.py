"""Hooks of optimizers: handles that remove them again, and the hooks common to all optimizers.

Sits below `suiren.optim.optimizer`, which calls the hooks. Behaviour: PyTorch's
`torch.utils.hooks.RemovableHandle` and `torch.optim.optimizer.register_optimizer_step_*_hook`.
"""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

_numbers = itertools.count()


class RemovableHandle:
    """A key to one registered hook: `remove()` takes the hook out of its dictionary.

    It is a context manager too and removes the hook on leaving the block. The dictionary is
    held weakly, so that a handle kept by the user does not keep an optimizer alive.

    Example:
        >>> handle = optimizer.register_step_post_hook(lambda *_: print("stepped"))
        >>> handle.remove()
    """

    def __init__(self, hooks: OrderedDict[int, Callable[..., Any]]) -> None:
        self.id = next(_numbers)
        self._hooks = weakref.ref(hooks)

    def remove(self) -> None:
        """Removes the hook; doing so twice is harmless."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


def add_hook(
    hooks: OrderedDict[int, Callable[..., Any]], hook: Callable[..., Any], prepend: bool = False
) -> RemovableHandle:
    """Adds `hook` to `hooks`, as the first one if `prepend`, and returns its handle."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


global_step_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
global_step_post_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Registers `hook(optimizer, args, kwargs)` to run before `step()` of every optimizer.

    It may return None or a pair of new (args, kwargs).
    """
    return add_hook(global_step_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Registers `hook(optimizer, args, kwargs)` to run after `step()` of every optimizer."""
    return add_hook(global_step_post_hooks, hook)
