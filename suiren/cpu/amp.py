"""`torch.cpu.amp`: older names of ``torch.amp`` for the CPU. Source: PyTorch's torch.amp page."""

from __future__ import annotations

from suiren import amp, dtypes
from suiren.amp import of_device
from suiren.dtypes import dtype as _dtype

__all__ = ["GradScaler", "autocast"]


class autocast(amp.autocast):
    """``torch.amp.autocast("cpu", ...)``, with a FutureWarning."""

    def __init__(
        self, enabled: bool = True, dtype: _dtype = dtypes.bfloat16, cache_enabled: bool = True
    ):
        of_device.old_name("cpu.amp.autocast", "autocast('cpu', ...)")
        super().__init__("cpu", dtype, enabled, cache_enabled)


class GradScaler(of_device.GradScaler):
    """``torch.amp.GradScaler("cpu", ...)``, with a FutureWarning."""

    _kind = "cpu"
