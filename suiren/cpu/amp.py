"""`torch.cpu.amp`: older names of ``torch.amp`` for the CPU. Source: PyTorch's torch.amp page."""

from __future__ import annotations

import warnings

from suiren import amp, dtypes
from suiren.dtypes import dtype as _dtype

__all__ = ["GradScaler", "autocast"]


class autocast(amp.autocast):
    """``torch.amp.autocast("cpu", ...)``, with a FutureWarning."""

    def __init__(
        self, enabled: bool = True, dtype: _dtype = dtypes.bfloat16, cache_enabled: bool = True
    ):
        warnings.warn(
            "torch.cpu.amp.autocast is an old name: write torch.amp.autocast('cpu', ...)",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__("cpu", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """``torch.amp.GradScaler("cpu", ...)``, with a FutureWarning."""

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        warnings.warn(
            "torch.cpu.amp.GradScaler is an old name: write torch.amp.GradScaler('cpu', ...)",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__(
            "cpu", init_scale, growth_factor, backoff_factor, growth_interval, enabled
        )
