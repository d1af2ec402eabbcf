"""`torch.cuda.amp`: older names of ``torch.amp`` for CUDA, which is not there.

Source: PyTorch's torch.amp page.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from suiren import amp, dtypes
from suiren.amp import of_device
from suiren.dtypes import dtype as _dtype

__all__ = ["GradScaler", "amp_definitely_not_available", "autocast", "custom_bwd", "custom_fwd"]


def amp_definitely_not_available() -> bool:
    """True: there is no CUDA."""
    return True


class autocast(amp.autocast):
    """``torch.amp.autocast("cuda", ...)``: switched off without CUDA."""

    def __init__(
        self, enabled: bool = True, dtype: _dtype = dtypes.float16, cache_enabled: bool = True
    ):
        of_device.old_name("cuda.amp.autocast", "autocast('cuda', ...)")
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(of_device.GradScaler):
    """``torch.amp.GradScaler("cuda", ...)``: switched off without CUDA."""

    _kind = "cuda"


def custom_fwd(fwd: Callable | None = None, *, cast_inputs: Any = None) -> Callable:
    """``torch.amp.custom_fwd(device_type="cuda")``."""
    of_device.old_name("cuda.amp.custom_fwd", "custom_fwd(..., device_type='cuda')")
    return functools.partial(amp.custom_fwd, device_type="cuda", cast_inputs=cast_inputs)(fwd)


def custom_bwd(bwd: Callable) -> Callable:
    """``torch.amp.custom_bwd(device_type="cuda")``."""
    of_device.old_name("cuda.amp.custom_bwd", "custom_bwd(..., device_type='cuda')")
    return amp.custom_bwd(bwd, device_type="cuda")
