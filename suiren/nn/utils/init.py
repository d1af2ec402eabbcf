"""skip_init: a module with unset parameters. Source: PyTorch, torch.nn.utils.skip_init."""

from __future__ import annotations

from typing import Any

from suiren.nn.modules.module import Module


def skip_init(module_cls: type, *args: Any, **kwargs: Any) -> Module:
    """Construct the module on the meta device, then give it memory without initializing it.

    The module's constructor must take `device`; RuntimeError otherwise.
    """
    import inspect

    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    device = kwargs.pop("device", "cpu")
    return module_cls(*args, device="meta", **kwargs).to_empty(device=device)
