"""`torch.xpu`: there is none. Source: PyTorch's torch.xpu page."""

from __future__ import annotations


def is_available() -> bool:
    """False: Suiren computes on the CPU."""
    return False


def is_initialized() -> bool:
    """False: there is nothing to initialise."""
    return False


def device_count() -> int:
    """0."""
    return 0


def empty_cache() -> None:
    """Nothing: there is no device memory."""


def manual_seed(seed: int) -> None:
    """Nothing: there is no device to seed."""
    int(seed)


manual_seed_all = manual_seed
