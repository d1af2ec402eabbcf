"""`torch.nn.parallel`: one device, so a module is called as it is.

Source: PyTorch's torch.nn.parallel page.
"""

from __future__ import annotations

from typing import Any

from suiren.nn.modules.data_parallel import DataParallel
from suiren.nn.modules.module import Module

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel"]


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Any = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """``module(*inputs)``. Source: torch.nn.parallel.data_parallel."""
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*arguments, **(module_kwargs or {}))


class DistributedDataParallel(Module):
    """Raises NotImplementedError: there is one process."""

    def __init__(self, module: Module, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "DistributedDataParallel: Suiren trains in one process; use the module as it is"
        )
