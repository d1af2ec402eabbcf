"""`torch.amp`: mixed precision. Autocast for CUDA is off without CUDA; for the CPU it is to come.

Programs written for a GPU enter ``autocast("cuda")`` and scale their losses with ``GradScaler``:
where there is no CUDA both switch themselves off with a warning, as in PyTorch. Source: PyTorch's
torch.amp page.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from suiren import dtypes
from suiren.dtypes import dtype as _dtype


class autocast:
    """A context manager and decorator in which operations may choose lower precision.

    Raises NotImplementedError for an enabled ``autocast("cpu")``, which Suiren lacks so far.
    """

    def __init__(
        self,
        device_type: str,
        dtype: _dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ):
        if not isinstance(device_type, str):
            raise ValueError(
                f"Expected `device_type` of type `str`, got: `{type(device_type).__name__}`"
            )
        self.device = device_type
        self.fast_dtype = dtype or dtypes.bfloat16
        if enabled and device_type != "cpu":
            warnings.warn(
                f"User provided device_type of '{device_type}', but {device_type.upper()} is not "
                "available. Disabling",
                UserWarning,
                stacklevel=2,
            )
            enabled = False
        if enabled:
            raise NotImplementedError(
                "autocast on the CPU is not supported yet; pass enabled=False, or convert the "
                "model with .to(torch.bfloat16)"
            )
        self.enabled = enabled

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *exception: Any) -> None:
        return None

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return called


def is_autocast_available(device_type: str) -> bool:
    """Whether ``autocast`` of this device changes anything: of none so far."""
    return False


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """False: autocast is never on."""
    return False


class GradScaler:
    """Scales losses so that float16 gradients do not vanish; without a GPU it is switched off.

    Switched off, ``scale`` returns its argument, ``step`` calls the optimizer, and the rest does
    nothing. Raises NotImplementedError for an enabled scaler of the CPU.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ):
        if enabled and device != "cpu":
            warnings.warn(
                f"torch.{device}.amp.GradScaler is enabled, but {device.upper()} is not available. "
                "Disabling.",
                UserWarning,
                stacklevel=2,
            )
            enabled = False
        if enabled:
            raise NotImplementedError(
                "GradScaler on the CPU is not supported; bfloat16 and float32 need no scaling"
            )
        self._enabled = enabled

    def scale(self, outputs: Any) -> Any:
        """The outputs, unchanged."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing: gradients are not scaled."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step(...)``."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Nothing: there is no scale."""

    def get_scale(self) -> float:
        """1.0: losses are not scaled."""
        return 1.0

    def is_enabled(self) -> bool:
        """False: the scaler is switched off."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Empty, as that of any scaler that is switched off."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: there is no state."""


def custom_fwd(
    fwd: Callable | None = None, *, device_type: str = "cuda", cast_inputs: Any = None
) -> Callable:
    """A decorator for ``Function.forward``; without autocast it changes nothing.

    Source: torch.amp.custom_fwd.
    """
    return fwd if fwd is not None else lambda function: function


def custom_bwd(bwd: Callable | None = None, *, device_type: str = "cuda") -> Callable:
    """A decorator for ``Function.backward``; without autocast it changes nothing.

    Source: torch.amp.custom_bwd.
    """
    return bwd if bwd is not None else lambda function: function
