"""Lazy modules: layers that learn the sizes they need from their first input.

A lazy layer holds uninitialized parameters. Before its first forward a pre-hook gives them shape
and values (`initialize_parameters`), and the layer becomes an ordinary one of `cls_to_become`.
Source: PyTorch, torch.nn.modules.lazy.LazyModuleMixin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import suiren
from suiren.hooks import RemovableHandle
from suiren.nn.parameter import is_lazy


class LazyModuleMixin:
    """Put before the layer's own class in the bases; see LazyLinear for an example."""

    cls_to_become: type | None = None

    if TYPE_CHECKING:  # of the Module that comes after it in the bases
        _parameters: dict[str, Any]
        _buffers: dict[str, Any]
        _get_name: Callable[[], str]
        _register_load_state_dict_pre_hook: Callable[..., RemovableHandle]
        register_forward_pre_hook: Callable[..., RemovableHandle]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._load_hook = self._register_load_state_dict_pre_hook(_take_shapes, with_module=True)
        self._initialize_hook = self.register_forward_pre_hook(
            LazyModuleMixin._infer_parameters, with_kwargs=True)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the uninitialized parameters their shapes, seeing the arguments of forward."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer still has no shape."""
        tensors = [*self._parameters.values(), *self._buffers.values()]
        return any(is_lazy(tensor) for tensor in tensors)

    def _infer_parameters(self, args: Any, kwargs: Any = None) -> None:
        """The forward pre-hook: initialize, then turn into the ordinary class."""
        self.initialize_parameters(*args, **(kwargs or {}))
        if self.has_uninitialized_params():
            raise RuntimeError(
                f"module {self._get_name()} has not been fully initialized: "
                "initialize_parameters left a parameter or buffer without a shape"
            )
        self._initialize_hook.remove()
        self._load_hook.remove()
        del self._initialize_hook
        del self._load_hook
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become

    def _replicate_for_data_parallel(self) -> Any:
        raise RuntimeError(
            "Modules with uninitialized parameters can't be used with `DataParallel`: "
            "call the module on an input first"
        )


def _take_shapes(
    module: Any, state_dict: dict[str, Any], prefix: str, local_metadata: Any, strict: bool,
    missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
) -> None:
    """Before loading: uninitialized parameters take the shapes of the values to come."""
    own = {**module._parameters, **module._buffers}
    for name, tensor in own.items():
        key = prefix + name
        if key not in state_dict or not is_lazy(tensor):
            continue
        given = state_dict[key]
        if not is_lazy(given):
            with suiren.no_grad():
                tensor.materialize(given.shape)
