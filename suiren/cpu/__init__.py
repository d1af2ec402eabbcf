"""`torch.cpu`: the device that there is. Source: PyTorch's torch.cpu page."""

from __future__ import annotations

from typing import Any

from suiren.cpu import amp

__all__ = ["amp", "current_device", "device_count", "is_available", "synchronize"]


def is_available() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1."""
    return 1


def current_device() -> str:
    """"cpu"."""
    return "cpu"


def synchronize(device: Any = None) -> None:
    """Computes what is recorded and not computed yet."""
    from suiren.trace import flush

    flush()
