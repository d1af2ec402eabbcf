"""Anomaly detection: remembers where each operation was recorded and looks for NaN gradients.

Source: PyTorch's torch.autograd page, "Anomaly detection".
"""

from __future__ import annotations

import warnings
from typing import Any

from suiren.autograd.graph import _anomaly

__all__ = [
    "detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "set_detect_anomaly",
]  # fmt: skip


class set_detect_anomaly:
    """Switches anomaly detection on or off, at once; back at the end when used with ``with``.

    While on, an error in the backward pass of an operation, or a NaN that it returns
    (``check_nan``), comes with the line of the forward pass. It is slow: gradients are computed
    node by node. Source: torch.autograd.set_detect_anomaly.
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        self._previous = (_anomaly.on, _anomaly.check_nan)
        _anomaly.on, _anomaly.check_nan = bool(mode), bool(check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: Any) -> None:
        _anomaly.on, _anomaly.check_nan = self._previous


class detect_anomaly:
    """Context in which anomalies are detected; see :class:`set_detect_anomaly`.

    Source: torch.autograd.detect_anomaly.
    """

    def __init__(self, check_nan: bool = True):
        self._check_nan = check_nan
        self._previous = (False, True)
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self._previous = (_anomaly.on, _anomaly.check_nan)
        _anomaly.on, _anomaly.check_nan = True, self._check_nan

    def __exit__(self, *exception: Any) -> None:
        _anomaly.on, _anomaly.check_nan = self._previous


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on. Source: torch.is_anomaly_enabled."""
    return _anomaly.on


def is_anomaly_check_nan_enabled() -> bool:
    """Whether it looks for NaN. Source: torch.is_anomaly_check_nan_enabled."""
    return _anomaly.check_nan
