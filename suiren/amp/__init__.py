"""`torch.amp`: mixed precision. Products in 16 bits where that is enough, float32 elsewhere.

``autocast_mode.py`` switches it on and off, ``grad_scaler.py`` keeps float16 gradients from
vanishing; which functions compute in what is in ``suiren/autocasting.py``. Source: PyTorch's
torch.amp page.
"""

from suiren.amp.autocast_mode import (
    autocast,
    custom_bwd,
    custom_fwd,
    is_autocast_available,
)
from suiren.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
