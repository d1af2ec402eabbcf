"""Functions from before those of autocast took a device type; each warns with what to write.

``suiren`` fetches them on first use. Source: the PyTorch functions of these names.
"""

from __future__ import annotations

import warnings

from suiren.amp.autocast_mode import (
    get_autocast_dtype,
    is_autocast_enabled,
    set_autocast_dtype,
    set_autocast_enabled,
)
from suiren.dtypes import dtype as _dtype


def _old(name: str, instead: str) -> None:
    warnings.warn(
        f"torch.{name} is an old name: write torch.{instead}", DeprecationWarning, stacklevel=3
    )


def is_autocast_cpu_enabled() -> bool:
    """``is_autocast_enabled("cpu")``."""
    _old("is_autocast_cpu_enabled()", "is_autocast_enabled('cpu')")
    return is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """``set_autocast_enabled("cpu", enabled)``."""
    _old("set_autocast_cpu_enabled(...)", "set_autocast_enabled('cpu', ...)")
    set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> _dtype:
    """``get_autocast_dtype("cpu")``."""
    _old("get_autocast_cpu_dtype()", "get_autocast_dtype('cpu')")
    return get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype: _dtype) -> None:
    """``set_autocast_dtype("cpu", dtype)``."""
    _old("set_autocast_cpu_dtype(...)", "set_autocast_dtype('cpu', ...)")
    set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> _dtype:
    """``get_autocast_dtype("cuda")``."""
    _old("get_autocast_gpu_dtype()", "get_autocast_dtype('cuda')")
    return get_autocast_dtype("cuda")


def set_autocast_gpu_dtype(dtype: _dtype) -> None:
    """``set_autocast_dtype("cuda", dtype)``."""
    _old("set_autocast_gpu_dtype(...)", "set_autocast_dtype('cuda', ...)")
    set_autocast_dtype("cuda", dtype)


def is_autocast_ipu_enabled() -> bool:
    """``is_autocast_enabled("ipu")``."""
    _old("is_autocast_ipu_enabled()", "is_autocast_enabled('ipu')")
    return is_autocast_enabled("ipu")


def set_autocast_ipu_enabled(enabled: bool) -> None:
    """``set_autocast_enabled("ipu", enabled)``."""
    _old("set_autocast_ipu_enabled(...)", "set_autocast_enabled('ipu', ...)")
    set_autocast_enabled("ipu", enabled)


def get_autocast_ipu_dtype() -> _dtype:
    """``get_autocast_dtype("ipu")``."""
    _old("get_autocast_ipu_dtype()", "get_autocast_dtype('ipu')")
    return get_autocast_dtype("ipu")


def set_autocast_ipu_dtype(dtype: _dtype) -> None:
    """``set_autocast_dtype("ipu", dtype)``."""
    _old("set_autocast_ipu_dtype(...)", "set_autocast_dtype('ipu', ...)")
    set_autocast_dtype("ipu", dtype)


def is_autocast_xla_enabled() -> bool:
    """``is_autocast_enabled("xla")``."""
    _old("is_autocast_xla_enabled()", "is_autocast_enabled('xla')")
    return is_autocast_enabled("xla")


def set_autocast_xla_enabled(enabled: bool) -> None:
    """``set_autocast_enabled("xla", enabled)``."""
    _old("set_autocast_xla_enabled(...)", "set_autocast_enabled('xla', ...)")
    set_autocast_enabled("xla", enabled)


def get_autocast_xla_dtype() -> _dtype:
    """``get_autocast_dtype("xla")``."""
    _old("get_autocast_xla_dtype()", "get_autocast_dtype('xla')")
    return get_autocast_dtype("xla")


def set_autocast_xla_dtype(dtype: _dtype) -> None:
    """``set_autocast_dtype("xla", dtype)``."""
    _old("set_autocast_xla_dtype(...)", "set_autocast_dtype('xla', ...)")
    set_autocast_dtype("xla", dtype)
