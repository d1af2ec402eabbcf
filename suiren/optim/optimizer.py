"""The base class of all optimizers: parameter groups, state, hooks, saving and loading.

Sits on tensors and autograd; the algorithms are in the files beside it and derive from
`suiren.optim.groupwise.GroupwiseOptimizer`, users' own optimizers derive from `Optimizer`.
Follows the behaviour of PyTorch's `torch.optim.Optimizer`, whose `state_dict()` can be loaded
here and the other way round.

Every `step()` ends with a flush of the trace, so that forward pass, backward pass and update
of a training loop repeat as the same programs.
"""

from __future__ import annotations

import copy
import functools
import itertools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from suiren.hooks import RemovableHandle, add_hook
from suiren.optim.hooks import (
    global_step_post_hooks,
    global_step_pre_hooks,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from suiren.optim.state_numbers import StateNumbers, number_tensor
from suiren.tensor import Tensor
from suiren.trace import flush

__all__ = [
    "Optimizer",
    "ParamsT",
    "register_optimizer_step_post_hook",
    "register_optimizer_step_pre_hook",
    "required",
]

ParamsT = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]
StateDict = dict[str, Any]
Hooks = OrderedDict[int, Callable[..., Any]]


class _RequiredParameter:
    """Stands in `defaults` for an option that every parameter group must give itself."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _RequiredParameter()


class Optimizer:
    """Updates parameters in place from their gradients; base class of all optimizers.

    Args:
        params: tensors, or (name, tensor) pairs, or dicts, one for each parameter group, with
            the key "params" and the options in which the group differs from `defaults`.
        defaults: options of groups that do not give their own.

    Attributes:
        param_groups: the groups, dicts of "params" (a list of tensors) and every option.
        state: what the algorithm remembers of each parameter, a dict for each tensor.
        defaults: as given.

    A subclass defines `step(closure=None)`; hooks and the final flush are put around it when
    the class is made. A subclass that shows numbers as 0-d tensors lists their names in
    `state_numbers`; options that older checkpoints may lack are in `added_options`.

    Raises:
        TypeError: `params` is a single tensor, a set, or holds something else than tensors.
        ValueError: no parameters, a tensor that is not a leaf, a tensor in two groups, an option
            without value, names given to some parameters only.

    Source: https://docs.pytorch.org/docs/stable/optim.html

    Example:
        >>> class Descent(suiren.optim.Optimizer):
        ...     def __init__(self, params, lr=0.1):
        ...         super().__init__(params, {"lr": lr})
        ...     @suiren.no_grad()
        ...     def step(self, closure=None):
        ...         for group in self.param_groups:
        ...             for p in group["params"]:
        ...                 p -= group["lr"] * p.grad
    """

    state_numbers: tuple[str, ...] = ()
    added_options: dict[str, Any] = {}

    _numbers: StateNumbers
    _state: defaultdict[Any, dict[str, Any]]
    _stepping: bool
    _opt_called: bool  # set by the first step; schedulers ask whether it is there
    _optimizer_step_pre_hooks: Hooks
    _optimizer_step_post_hooks: Hooks
    _optimizer_state_dict_pre_hooks: Hooks
    _optimizer_state_dict_post_hooks: Hooks
    _optimizer_load_state_dict_pre_hooks: Hooks
    _optimizer_load_state_dict_post_hooks: Hooks

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        step = cls.__dict__.get("step")
        if step is not None and not getattr(step, "hooked", False):
            # The subclass's own step, as written, inside what every step does.
            cls.step = cls.profile_hook_step(step)  # type: ignore[method-assign]

    def __new__(cls, *args: Any, **kwargs: Any) -> Optimizer:
        # Not in __init__, because copying and unpickling need these as well and do not call it.
        self = super().__new__(cls)
        self._numbers = StateNumbers(cls.state_numbers)
        self._state = defaultdict(dict)
        self._stepping = False
        self._optimizer_step_pre_hooks = OrderedDict()
        self._optimizer_step_post_hooks = OrderedDict()
        self._optimizer_state_dict_pre_hooks = OrderedDict()
        self._optimizer_state_dict_post_hooks = OrderedDict()
        self._optimizer_load_state_dict_pre_hooks = OrderedDict()
        self._optimizer_load_state_dict_post_hooks = OrderedDict()
        return self

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or "
                f"dicts, but it is one tensor of shape {tuple(params.shape)}; put it into a list"
            )
        self.param_groups: list[dict[str, Any]] = []
        groups: list[Any] = list(params)
        if not groups:
            raise ValueError(
                "optimizer got an empty parameter list; a generator such as model.parameters() "
                "is empty once it has been used up"
            )
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)
        flush()  # initial values: the first step is then the same work as those that follow

    # ---- State

    @property
    def state(self) -> defaultdict[Any, dict[str, Any]]:
        """What the algorithm remembers: a dict for each parameter that has been updated."""
        self._numbers.publish(self._state)
        self._numbers.watched = True
        return self._state

    @state.setter
    def state(self, state: defaultdict[Any, dict[str, Any]]) -> None:
        self._state = state
        self._numbers.forget()

    def __getstate__(self) -> dict[str, Any]:
        self._numbers.publish(self._state)
        return {
            "defaults": self.defaults,
            "state": self._state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._numbers.watched = False
        for name, value in state.items():
            setattr(self, name, value)
        for group in self.param_groups:
            for name, value in self.added_options.items():
                group.setdefault(name, value)
        for entry in self._state.values():  # plain numbers in checkpoints of old
            for name in self.state_numbers:
                if name in entry and not isinstance(entry[name], Tensor):
                    entry[name] = number_tensor(entry[name])

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            if i > 0:
                lines.append("")
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])

    # ---- Stepping

    @staticmethod
    def profile_hook_step(step: Callable[..., Any]) -> Callable[..., Any]:
        """Puts around a class's `step` what every step does: hooks, number keeping, the flush."""

        @functools.wraps(step)
        def stepped(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
            if self._stepping:  # a subclass's step() that calls super().step()
                return step(self, *args, **kwargs)
            self._opt_called = True  # learning-rate schedulers ask for it
            for hook in _both(global_step_pre_hooks, self._optimizer_step_pre_hooks):
                replaced = hook(self, args, kwargs)
                if replaced is None:
                    continue
                if not (isinstance(replaced, tuple) and len(replaced) == 2):
                    raise RuntimeError(
                        f"a step pre-hook of {type(self).__name__} returned {replaced!r}; "
                        "it must return None or a tuple of (new_args, new_kwargs)"
                    )
                args, kwargs = replaced
            watched = self._numbers.watched
            if watched:
                self._numbers.collect(self._state)
            self._stepping = True
            try:
                result = step(self, *args, **kwargs)
            finally:
                self._stepping = False
            if watched:
                self._numbers.publish(self._state)
            for hook in _both(global_step_post_hooks, self._optimizer_step_post_hooks):
                hook(self, args, kwargs)
            flush()
            return result

        stepped.hooked = True  # type: ignore[attr-defined]  # a mark that __init_subclass__ reads
        return stepped

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Performs one update of all parameters from their gradients.

        Args:
            closure: evaluates the model anew and returns the loss; optional for most
                optimizers. It must clear the gradients, compute the loss and call `backward()`.

        Returns:
            What `closure` returned, or None.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not define step(); a subclass of Optimizer has to"
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of all parameters.

        Args:
            set_to_none: drop the gradients (less memory, and parameters that take no part in
                the next loss are not updated); False fills them with zeros instead.
        """
        for group in self.param_groups:
            for param in group["params"]:
                grad = param.grad
                if grad is None:
                    continue
                if set_to_none:
                    param.grad = None
                elif grad.grad_fn is not None:  # made by backward(create_graph=True)
                    grad.detach_().zero_()
                else:
                    grad.requires_grad_(False).zero_()

    # ---- Parameter groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters, such as layers that are to be trained from now on.

        Args:
            param_group: the key "params" (a tensor, or a list of tensors or of (name, tensor)
                pairs) and options that differ from the defaults. The dict itself becomes the
                group.
        """
        if not isinstance(param_group, dict):
            raise TypeError(
                f"param_group must be a dict, but got {type(param_group)}; "
                "write {'params': [...], 'lr': ...}"
            )
        params = param_group["params"]
        if isinstance(params, Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections: the order of "
                "a set changes from run to run, and with it the saved state; use a list"
            )
        else:
            params = list(params)
        params, names = _split_names(params)
        param_group["params"] = params
        if names is not None:
            param_group["param_names"] = names
        for param in params:
            self._check_param(param)
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    "parameter group didn't specify a value of required optimization parameter "
                    f"{name}"
                )
            param_group.setdefault(name, default)
        self._check_membership(param_group)
        self.param_groups.append(param_group)

    def _check_param(self, param: Any) -> None:
        if not isinstance(param, Tensor):
            raise TypeError(
                "optimizer can only optimize Tensors, but one of the params is "
                f"{type(param).__name__}"
            )
        if not (self.defaults.get("differentiable") or param.is_leaf or param.retains_grad):
            raise ValueError(
                f"can't optimize a non-leaf Tensor: one of shape {tuple(param.shape)} is the "
                "result of an operation, so it gets no .grad; pass the tensor it is made from"
            )

    def _check_membership(self, param_group: dict[str, Any]) -> None:
        ids = {id(param) for param in param_group["params"]}
        if len(ids) != len(param_group["params"]):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; they are "
                "updated as often as they are listed; in future, this will cause an error",
                stacklevel=4,
            )
        named = "param_names" in param_group
        for group in self.param_groups:
            if ("param_names" in group) != named:
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param "
                    f"group {'with' if named else 'without'} names to the optimizer"
                )
            if not ids.isdisjoint(map(id, group["params"])):
                raise ValueError("some parameters appear in more than one parameter group")

    # ---- Saving and loading

    def state_dict(self) -> StateDict:
        """The optimizer's memory as a dict that can be saved, in PyTorch's layout.

        Returns:
            "state": for each updated parameter, by its number, the entries of its state
            (the tensors themselves, not copies); "param_groups": the options of each group,
            and under "params" the numbers of its parameters, counted through all groups.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        self._numbers.publish(self._state)
        number_of: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                number_of.setdefault(id(param), len(number_of))
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [number_of[id(param)] for param in group["params"]]
            groups.append(packed)
        state = {
            number_of[id(key)] if isinstance(key, Tensor) else key: entry
            for key, entry in self._state.items()
        }
        state_dict: StateDict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            replaced = hook(self, state_dict)
            if replaced is not None:
                state_dict = replaced
        return state_dict

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Takes over the memory and the options from `state_dict`, PyTorch's or Suiren's.

        Parameters are matched by their order. State tensors take their parameter's dtype and
        device; a tensor that has both already is used itself, not copied, so deep-copy the dict
        when another optimizer goes on with it.

        Raises:
            ValueError: the number of groups, or of parameters in a group, differs.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            replaced = hook(self, state_dict)
            if replaced is not None:
                state_dict = replaced
        saved_groups = copy.deepcopy(state_dict["param_groups"])
        self._check_groups_match(saved_groups)
        param_of = dict(
            zip(
                itertools.chain.from_iterable(group["params"] for group in saved_groups),
                itertools.chain.from_iterable(group["params"] for group in self.param_groups),
                strict=True,
            )
        )
        group_of = {
            number: saved for saved in saved_groups for number in saved["params"]
        }
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for key, entry in state_dict["state"].items():
            if key in param_of:
                state[param_of[key]] = self._adapt(entry, param_of[key], group_of[key])
            else:
                state[key] = entry
        groups = []
        for group, saved in zip(self.param_groups, saved_groups, strict=True):
            saved["params"] = group["params"]
            if "param_names" in group and "param_names" not in saved:
                saved["param_names"] = group["param_names"]
            groups.append(saved)
        self.__setstate__({"state": state, "param_groups": groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def _check_groups_match(self, saved_groups: list[dict[str, Any]]) -> None:
        if len(saved_groups) != len(self.param_groups):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(saved_groups)}, where the optimizer has {len(self.param_groups)}"
            )
        for i, (group, saved) in enumerate(zip(self.param_groups, saved_groups, strict=True)):
            if len(group["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size "
                    f"of optimizer's group: group {i} has {len(saved['params'])} parameters, "
                    f"where the optimizer's has {len(group['params'])}"
                )

    def _adapt(self, value: Any, param: Tensor, group: dict[str, Any], key: str = "") -> Any:
        """`value` of a saved state with its tensors brought to the dtype and device of `param`."""
        if isinstance(value, Tensor):
            if key == "step" and key not in self.state_numbers:
                return value
            if key in self.state_numbers:  # our own: two optimizers must not count in one tensor
                return value.detach().clone()
            if param.is_floating_point():
                return value.to(dtype=param.dtype, device=param.device)
            return value.to(device=param.device)
        if isinstance(value, dict):
            return {k: self._adapt(v, param, group, key=k) for k, v in value.items()}
        if isinstance(value, (list, tuple, set)):
            return type(value)(self._adapt(v, param, group) for v in value)
        return value

    # ---- Hooks

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Registers `hook(optimizer, args, kwargs)`, called before each `step()`.

        It may return None or a pair of new (args, kwargs) for `step`.
        """
        return add_hook(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Registers `hook(optimizer, args, kwargs)`, called after each `step()`."""
        return add_hook(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Registers `hook(optimizer)`, called when `state_dict()` begins."""
        return add_hook(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Registers `hook(optimizer, state_dict)`, which may return another state dict."""
        return add_hook(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Registers `hook(optimizer, state_dict)`, which may return another one to be loaded."""
        return add_hook(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Registers `hook(optimizer)`, called when `load_state_dict()` is done."""
        return add_hook(self._optimizer_load_state_dict_post_hooks, hook, prepend)


def _both(common: OrderedDict[int, Any], own: OrderedDict[int, Any]) -> tuple[Any, ...]:
    """The hooks to call, common ones first; a copy, for a hook may remove itself."""
    if not common and not own:
        return ()
    return (*common.values(), *own.values())


def _split_names(params: list[Any]) -> tuple[list[Any], list[str] | None]:
    """(name, tensor) pairs taken apart; (params, None) if there are no pairs."""
    pairs = [isinstance(param, tuple) for param in params]
    if not any(pairs):
        return params, None
    if not all(pairs):
        raise ValueError(
            "all optimizer params should be with/without names. Some param names are missing"
        )
    return [param for _, param in params], [name for name, _ in params]
