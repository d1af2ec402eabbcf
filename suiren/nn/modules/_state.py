"""state_dict() and load_state_dict(): a module's values by name, out and in.

`StateMixin` is the part of `Module` that deals with them. Names are the attribute paths joined
by dots; the order is that of registration, a module's own before its children's. Error texts
are PyTorch's, because programs and people look for them. Source: PyTorch, "Module".
"""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from typing import Any

import suiren
from suiren.nn.modules._fields import ModuleFields
from suiren.nn.parameter import Parameter, is_lazy
from suiren.tensor import Tensor

_EXTRA_STATE = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What load_state_dict returns: the names it missed and those it did not expect."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class StateMixin(ModuleFields):
    """The methods of `Module` that save and load its state."""

    _version = 1

    def get_extra_state(self) -> Any:
        """Whatever else belongs to the state; define it together with set_extra_state."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called: "
            f"{type(self).__name__} must define get_extra_state to be asked for it"
        )

    def set_extra_state(self, state: Any) -> None:
        """Take back what get_extra_state returned; called by load_state_dict."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called: "
            f"{type(self).__name__} must define set_extra_state to be given it"
        )

    # ---- out

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "",
                   keep_vars: bool = False) -> Any:
        """All parameters and persistent buffers by their full names, in registration order.

        The tensors share memory with the module's and are detached, unless `keep_vars`.

            >>> list(nn.Linear(2, 3).state_dict())
            ['weight', 'bias']
        """
        if args:  # positional use is old but still found in the wild
            if destination is None:
                destination = args[0]
            if len(args) > 1 and prefix == "":
                prefix = args[1]
            if len(args) > 2 and keep_vars is False:
                keep_vars = args[2]
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            replacement = hook(self, destination, prefix, local_metadata)
            if not getattr(hook, "_from_public_api", False):
                if replacement is not None:
                    destination = replacement
            elif replacement is not None:
                raise RuntimeError("state_dict post-hook must return None")
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Enter this module's own tensors, not its children's; layers may extend it."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                destination[prefix + name] = _saved(parameter, keep_vars)
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = _saved(buffer, keep_vars)
        if _defines_extra_state(self):
            destination[prefix + _EXTRA_STATE] = self.get_extra_state()

    # ---- in

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy values by name into this module and its children.

        strict: names must match exactly, else RuntimeError lists what is missing or unexpected.
        assign: put the given tensors themselves in place of the module's instead of copying.
        Returns the lists `missing_keys` and `unexpected_keys`. Shapes must always agree.

            >>> model = nn.Linear(2, 3)
            >>> model.load_state_dict(nn.Linear(2, 3).state_dict())
            <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing_keys: list[str] = []
        unexpected_keys: list[str] = []
        error_msgs: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        state: Any = OrderedDict(state_dict)
        if metadata is not None:
            state._metadata = metadata

        def load(module: Any, local_state: Any, prefix: str) -> None:
            local_metadata = {} if metadata is None else dict(metadata.get(prefix[:-1], {}))
            if assign:
                local_metadata["assign_to_params_buffers"] = assign
            module._load_from_state_dict(
                local_state, prefix, local_metadata, True, missing_keys, unexpected_keys,
                error_msgs)
            for name, child in module._modules.items():
                if child is not None:
                    child_prefix = f"{prefix}{name}."
                    child_state = {
                        key: value for key, value in local_state.items()
                        if key.startswith(child_prefix)}
                    load(child, child_state, child_prefix)
            incompatible = _IncompatibleKeys(missing_keys, unexpected_keys)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, incompatible) is not None:
                    raise AssertionError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are not "
                        "expected to return new values, if incompatible_keys need to be modified, "
                        "it should be done inplace."
                    )

        load(self, state, "")
        if strict:
            if unexpected_keys:
                error_msgs.insert(
                    0, f"Unexpected key(s) in state_dict: {_quoted(unexpected_keys)}. ")
            if missing_keys:
                error_msgs.insert(0, f"Missing key(s) in state_dict: {_quoted(missing_keys)}. ")
        if error_msgs:
            lines = "\n\t".join(error_msgs)
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{lines}")
        return _IncompatibleKeys(missing_keys, unexpected_keys)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load this module's own tensors, not its children's; layers may extend it.

        Trouble is appended to the lists instead of raised, so that all of it is reported at once.
        """
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
                 error_msgs)
        persistent = {
            name: buffer for name, buffer in self._buffers.items()
            if name not in self._non_persistent_buffers_set}
        members: dict[str, Tensor | None] = {**self._parameters, **persistent}
        own = {name: tensor for name, tensor in members.items() if tensor is not None}
        assign = local_metadata.get("assign_to_params_buffers", False)
        for name, tensor in own.items():
            key = prefix + name
            if key in state_dict:
                self._load_tensor(name, key, tensor, state_dict[key], assign, error_msgs)
            elif strict:
                missing_keys.append(key)

        extra_key = prefix + _EXTRA_STATE
        if type(self).set_extra_state is not StateMixin.set_extra_state:
            if extra_key in state_dict:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                missing_keys.append(extra_key)
        elif strict and extra_key in state_dict:
            unexpected_keys.append(extra_key)
        if strict:
            for key in state_dict:
                if not key.startswith(prefix) or key == extra_key:
                    continue
                first, *rest = key[len(prefix):].split(".", 1)
                known = first in self._modules if rest else first in own
                if not known:
                    unexpected_keys.append(key)

    def _load_tensor(
        self, name: str, key: str, tensor: Tensor, given: Any, assign: bool,
        error_msgs: list[str],
    ) -> None:
        """One value into one parameter or buffer of this module."""
        if not isinstance(given, Tensor):
            error_msgs.append(
                f'While copying the parameter named "{key}", expected torch.Tensor or '
                f"Tensor-like object from checkpoint but received {type(given)}")
            return
        uninitialized = is_lazy(tensor)
        if not uninitialized and tensor.dim() == 0 and tuple(given.shape) == (1,):
            given = given[0]  # old checkpoints kept scalars as one-element vectors
        if not uninitialized and tuple(given.shape) != tuple(tensor.shape):
            error_msgs.append(
                f"size mismatch for {key}: copying a param with shape {given.shape} from "
                f"checkpoint, the shape in current model is {tensor.shape}.")
            return
        if tensor.is_meta and not given.is_meta and not assign:
            import warnings

            warnings.warn(
                f"for {key}: copying from a non-meta parameter in the checkpoint to a meta "
                "parameter in the current model, which is a no-op. (Did you mean to pass "
                "`assign=True` to assign items in the state dictionary to their corresponding "
                "key in the module instead of copying them in place?)",
                stacklevel=2)
        try:
            with suiren.no_grad():
                if assign:
                    setattr(self, name, _to_assign(given, tensor))
                else:
                    tensor.copy_(given)
        except Exception as error:
            error_msgs.append(
                f'While copying the parameter named "{key}", whose dimensions in the model are '
                f"{tensor.shape} and whose dimensions in the checkpoint are {given.shape}, an "
                f"exception occurred : {error.args}.")


def _saved(tensor: Tensor, keep_vars: bool) -> Tensor:
    # An uninitialized one has nothing to detach: it is its own record.
    return tensor if keep_vars or is_lazy(tensor) else tensor.detach()


def _to_assign(given: Tensor, tensor: Tensor) -> Tensor:
    """The given tensor in the role of the present one: a parameter stays a parameter."""
    if isinstance(tensor, Parameter):
        if not isinstance(given, Parameter):
            return Parameter(given, requires_grad=tensor.requires_grad)
        return given.requires_grad_(tensor.requires_grad)
    return given


def _defines_extra_state(module: Any) -> bool:
    return type(module).get_extra_state is not StateMixin.get_extra_state


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
