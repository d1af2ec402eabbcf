"""`torch.cuda`: the answers of a PyTorch without CUDA.

``is_available()`` is False and ``device_count()`` 0, seeding does nothing, and what needs a device
raises. Source: PyTorch's torch.cuda page.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from suiren.cuda import amp  # noqa: F401


def is_available() -> bool:
    """False: Suiren computes on the CPU."""
    return False


def is_initialized() -> bool:
    """False: there is nothing to initialise."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False: there is no CUDA device."""
    return False


def device_count() -> int:
    """0: there is no CUDA device."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing: there is no CUDA device to seed."""
    int(seed)


manual_seed_all = manual_seed


def empty_cache() -> None:
    """Nothing: there is no cache of device memory."""


def memory_allocated(device: Any = None) -> int:
    """0: there is no device memory."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def reset_peak_memory_stats(device: Any = None) -> None:
    """Nothing: there is no device memory."""


def _absent(name: str) -> Any:
    def raises(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(
            f"Torch not compiled with CUDA enabled: torch.cuda.{name} needs a device; "
            "ask torch.cuda.is_available() first"
        )

    raises.__name__ = name
    raises.__doc__ = "Raises AssertionError: there is no CUDA device."
    return raises


for _name in ("init", "current_device", "set_device", "get_device_name", "get_device_properties",
              "get_device_capability", "synchronize", "current_stream", "default_stream",
              "get_rng_state", "get_rng_state_all", "set_rng_state", "seed", "mem_get_info",
              "Stream", "Event"):  # fmt: skip
    globals()[_name] = _absent(_name)


@contextlib.contextmanager
def device(device: Any) -> Iterator[None]:
    """Selects no device; for None or a negative index, as in PyTorch without CUDA."""
    yield


@contextlib.contextmanager
def stream(stream: Any) -> Iterator[None]:
    """Nothing: there are no streams."""
    yield
