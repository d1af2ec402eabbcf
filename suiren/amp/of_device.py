"""What `torch.cpu.amp` and `torch.cuda.amp` share: older names that carry the device's type."""

from __future__ import annotations

import warnings
from typing import ClassVar

from suiren.amp import grad_scaler


def old_name(name: str, instead: str) -> None:
    """Warns whoever called the caller."""
    warnings.warn(
        f"torch.{name} is an old name: write torch.amp.{instead}", FutureWarning, stacklevel=3
    )


class GradScaler(grad_scaler.GradScaler):
    """``torch.amp.GradScaler`` for the device's type, with a FutureWarning."""

    _kind: ClassVar[str]

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        old_name(f"{self._kind}.amp.GradScaler", f"GradScaler('{self._kind}', ...)")
        super().__init__(
            self._kind, init_scale, growth_factor, backoff_factor, growth_interval, enabled
        )
