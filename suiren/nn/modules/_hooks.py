"""Registering hooks on modules, on one or on all of them.

A hook is a function of the user's that runs around a module's call: before it (may replace the
inputs), after it (may replace the result), or around its backward pass. `HooksMixin` holds the
registration methods of `Module`; `module.py` calls the hooks and `_backward_hooks.py` wires the
backward ones into the graph. Behaviour follows the PyTorch page "Module" and, for the global
hooks, `torch.nn.modules.module.register_module_*`.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from suiren.hooks import RemovableHandle, add_hook
from suiren.nn.modules._fields import ModuleFields


class GlobalHooks:
    """The hooks that run for every module of the process."""

    def __init__(self) -> None:
        self.forward_pre: OrderedDict = OrderedDict()
        self.forward: OrderedDict = OrderedDict()
        self.forward_with_kwargs: OrderedDict = OrderedDict()
        self.forward_always: OrderedDict = OrderedDict()
        self.backward_pre: OrderedDict = OrderedDict()
        self.backward: OrderedDict = OrderedDict()
        self.backward_is_full: bool | None = None
        self.buffer_registration: OrderedDict = OrderedDict()
        self.module_registration: OrderedDict = OrderedDict()
        self.parameter_registration: OrderedDict = OrderedDict()


global_hooks = GlobalHooks()


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Run `hook(module, args)` before the forward of every module."""
    return add_hook(global_hooks.forward_pre, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Run `hook(module, args, result)` after the forward of every module."""
    flags = []
    if with_kwargs:
        flags.append(global_hooks.forward_with_kwargs)
    if always_call:
        flags.append(global_hooks.forward_always)
    return add_hook(global_hooks.forward, hook, flags=tuple(flags))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Run `hook(module, grad_output)` before the backward of every module."""
    return add_hook(global_hooks.backward_pre, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Run `hook(module, grad_input, grad_output)` after the backward of every module."""
    if global_hooks.backward_is_full is False:
        raise RuntimeError(_MIXED_HOOKS.format(scope="as a global Module hook"))
    global_hooks.backward_is_full = True
    return add_hook(global_hooks.backward, hook)


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """The older form of `register_module_full_backward_hook`; prefer that one."""
    if global_hooks.backward_is_full is True:
        raise RuntimeError(_MIXED_HOOKS.format(scope="as a global Module hook"))
    global_hooks.backward_is_full = False
    return add_hook(global_hooks.backward, hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Run `hook(module, name, buffer)` when a buffer is registered; its result replaces it."""
    return add_hook(global_hooks.buffer_registration, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Run `hook(module, name, submodule)` when a module is registered; its result replaces it."""
    return add_hook(global_hooks.module_registration, hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Run `hook(module, name, parameter)` when a parameter is registered; may replace it."""
    return add_hook(global_hooks.parameter_registration, hook)


_MIXED_HOOKS = (
    "Cannot use both regular backward hooks and full backward hooks {scope}. "
    "Please use only one of them."
)


class HooksMixin(ModuleFields):
    """The registration methods of `Module`, and the empty dictionaries behind them."""

    # Set per instance in Module.__init__.
    _HOOK_FIELDS = (
        "_backward_pre_hooks",
        "_backward_hooks",
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_load_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
    )

    def register_forward_pre_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
    ) -> RemovableHandle:
        """Run `hook(module, args)` before each forward; a result other than None replaces args.

        With `with_kwargs` it is `hook(module, args, kwargs)`, and returns both or None.
        With `prepend` it runs before the hooks that are already there.
        """
        flags = (self._forward_pre_hooks_with_kwargs,) if with_kwargs else ()
        return add_hook(self._forward_pre_hooks, hook, prepend, flags)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Run `hook(module, args, result)` after each forward; a result replaces the module's.

        With `with_kwargs` it is `hook(module, args, kwargs, result)`. With `always_call` it runs
        even when the call raises. With `prepend` it runs before the hooks already there.
        """
        flags = []
        if with_kwargs:
            flags.append(self._forward_hooks_with_kwargs)
        if always_call:
            flags.append(self._forward_hooks_always_called)
        return add_hook(self._forward_hooks, hook, prepend, tuple(flags))

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Run `hook(module, grad_output)` when the gradients of the result are known.

        A result other than None replaces `grad_output` for what follows.
        """
        return add_hook(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Run `hook(module, grad_input, grad_output)` when the gradients of the inputs are known.

        Both are tuples with None where there is no gradient; a result replaces `grad_input`.
        """
        if self._is_full_backward_hook is False:
            raise RuntimeError(_MIXED_HOOKS.format(scope="on a single Module"))
        self._is_full_backward_hook = True
        return add_hook(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The older form of `register_full_backward_hook`; prefer that one.

        It sees the gradients around the last operation of the module only.
        """
        if self._is_full_backward_hook is True:
            raise RuntimeError(_MIXED_HOOKS.format(scope="on a single Module"))
        self._is_full_backward_hook = False
        return add_hook(self._backward_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Run `hook(module, prefix, keep_vars)` before state_dict() collects this module."""
        return add_hook(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Run `hook(module, state_dict, prefix, local_metadata)` after state_dict() is done.

        It may change the dictionary in place but must return None.
        """
        hook._from_public_api = True  # type: ignore[attr-defined]  # a mark on the user's function
        return add_hook(self._state_dict_hooks, hook)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """As the post hook above, but its result, if any, replaces the dictionary."""
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was "
                "previously registered via register_state_dict_post_hook"
            )
        return add_hook(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Run `hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)` before load_state_dict() copies into this module."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        return add_hook(
            self._load_state_dict_pre_hooks, _LoadHook(hook, self if with_module else None))

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Run `hook(module, incompatible_keys)` after load_state_dict(); may change the lists."""
        return add_hook(self._load_state_dict_post_hooks, hook)


class _LoadHook:
    """A load hook, with the module it is to be given as first argument (held weakly) or none."""

    def __init__(self, hook: Callable[..., Any], module: Any) -> None:
        self.hook = hook
        self.with_module = module is not None
        self.module = weakref.ref(module) if self.with_module else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.module is None:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError(
                "load_state_dict: a load hook's module no longer exists; the hook was registered "
                "on another module than the one being loaded"
            )
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        # Weak references are not picklable; an owned reference is, and is weakened again on load.
        module = None if self.module is None else self.module()
        return {"hook": self.hook, "with_module": self.with_module, "module": module}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.with_module:
            self.module = weakref.ref(state["module"])
