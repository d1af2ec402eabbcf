"""skip_init: a module with unset parameters. Source: PyTorch, torch.nn.utils.skip_init."""

from __future__ import annotations

from typing import Any

from suiren.nn.modules.module import Module
from suiren.random import get_rng_state, set_rng_state


def skip_init(module_cls: type, *args: Any, **kwargs: Any) -> Module:
    """Construct the module without initializing its parameters, and without random draws.

    The module's constructor must take `device`; RuntimeError otherwise.
    """
    import inspect

    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    # What the constructor draws is recorded, dropped by to_empty and so never computed.
    state = get_rng_state()
    try:
        made = module_cls(*args, **kwargs)
    finally:
        set_rng_state(state)
    return made.to_empty(device=kwargs.get("device") or "cpu")
