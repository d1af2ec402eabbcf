"""The hooks common to all optimizers.

Sits below `suiren.optim.optimizer`, which calls the hooks. Behaviour: PyTorch's
`torch.utils.hooks.RemovableHandle` and `torch.optim.optimizer.register_optimizer_step_*_hook`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from suiren.hooks import RemovableHandle, add_hook

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
