"""DataParallel where there is one device: the wrapped module, called as it is.

PyTorch's DataParallel spreads a batch over several GPUs and without any just calls the module;
the latter is all there is here. Source: PyTorch, torch.nn.DataParallel.
"""

from __future__ import annotations

from typing import Any

from suiren.nn.modules.module import Module

__all__ = ["DataParallel"]


class DataParallel(Module):
    """Calls `module`; device_ids must be None or name at most one device.

    NotImplementedError if several devices are asked for.
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise NotImplementedError(
                f"DataParallel: got device_ids={list(device_ids)}, but a batch cannot be spread "
                "over several devices; leave device_ids out")
        self.module = module
        self.device_ids: list[Any] = []
        self.output_device = output_device
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)
