"""What every module holds besides the user's attributes, told to type checkers.

`Module.__init__` fills these fields. They are declared here and not in `module.py` because the
parts that `Module` is put together from, in `_state.py`, `_hooks.py` and `_conversion.py`, use
them too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from suiren.nn.parameter import Parameter
from suiren.tensor import Tensor

Hooks = OrderedDict[int, Callable[..., Any]]
HookFlags = OrderedDict[int, bool]


class ModuleFields:
    """Declarations only: parameters, buffers and submodules by name, hooks by their number."""

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]  # Module or None
    _non_persistent_buffers_set: set[str]
    _is_full_backward_hook: bool | None  # None: no backward hook has been registered yet
    _backward_pre_hooks: Hooks
    _backward_hooks: Hooks
    _forward_hooks: Hooks
    _forward_hooks_with_kwargs: HookFlags
    _forward_hooks_always_called: HookFlags
    _forward_pre_hooks: Hooks
    _forward_pre_hooks_with_kwargs: HookFlags
    _state_dict_hooks: Hooks
    _state_dict_pre_hooks: Hooks
    _load_state_dict_pre_hooks: Hooks
    _load_state_dict_post_hooks: Hooks
