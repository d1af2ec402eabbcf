"""`torch.accelerator`: there is none. Source: PyTorch's torch.accelerator page."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["current_accelerator", "current_device_index", "device_count", "empty_cache",
           "is_available", "synchronize"]  # fmt: skip


def is_available() -> bool:
    """False: Suiren computes on the CPU."""
    return False


def device_count() -> int:
    """0."""
    return 0


def current_accelerator(check_available: bool = False) -> None:
    """None."""
    return None


def empty_cache() -> None:
    """Nothing: there is no device memory."""


def _no_accelerator(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises RuntimeError: there is no accelerator."""
    raise RuntimeError(
        "there is no accelerator on this machine; ask torch.accelerator.is_available() first"
    )


current_device_index = set_device_index = synchronize = _no_accelerator
