"""Settings of the whole process that PyTorch programs make: threads, precision, determinism.

Results never depend on the number of threads, and every operation is deterministic, so most of
these are remembered and change nothing; compiled programs run on as many threads as are set here.
Source: the PyTorch pages of the functions' names.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from suiren.compiler import runtime
from suiren.device import default_device, set_default
from suiren.device import device as _device

_interop_threads: int | None = None
_precision = "highest"
_deterministic = (False, False)  # on, warn only
_warn_always = False


def _positive(n: int, name: str) -> int:
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"{name} expects an int, but got {type(n).__name__}")
    if n <= 0:
        raise RuntimeError(f"{name} expects a positive integer, got {n}")
    return n


def set_num_threads(n: int, /) -> None:
    """Sets how many threads one operation may use. Source: torch.set_num_threads."""
    runtime.set_num_threads(_positive(n, "set_num_threads"))


def get_num_threads() -> int:
    """How many threads one operation may use: the number of cores, if nobody has set it.

    SUIREN_NUM_THREADS, or else OMP_NUM_THREADS, in the environment sets it too.
    Source: torch.get_num_threads.
    """
    return runtime.get_num_threads()


def set_num_interop_threads(n: int, /) -> None:
    """Sets the number of threads between operations. Source: torch.set_num_interop_threads."""
    global _interop_threads
    _interop_threads = _positive(n, "set_num_interop_threads")


def get_num_interop_threads() -> int:
    """The number of threads between operations. Source: torch.get_num_interop_threads."""
    return _interop_threads or _processors()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def set_float32_matmul_precision(precision: str) -> None:
    """Remembers "highest", "high" or "medium"; products are computed in float32 always.

    Source: torch.set_float32_matmul_precision.
    """
    global _precision
    if precision not in ("highest", "high", "medium"):
        warnings.warn(
            f"{precision} is not one of 'highest', 'high', and 'medium'; the current "
            "setFloat32MatmulPrecision call has no effect.",
            UserWarning,
            stacklevel=2,
        )
        return
    _precision = precision


def get_float32_matmul_precision() -> str:
    """What :func:`set_float32_matmul_precision` was given last."""
    return _precision


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Remembers the wish; all algorithms are deterministic. Source: the page of that name."""
    global _deterministic
    _deterministic = (bool(mode), bool(warn_only))


def are_deterministic_algorithms_enabled() -> bool:
    """Whether :func:`use_deterministic_algorithms` was switched on."""
    return _deterministic[0]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether it was switched on with ``warn_only``."""
    return _deterministic[0] and _deterministic[1]


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """0 or "default", 1 or "warn", 2 or "error". Source: the page of that name."""
    levels = {"default": 0, "warn": 1, "error": 2}
    level = levels.get(debug_mode, debug_mode) if isinstance(debug_mode, str) else debug_mode
    if level not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1 or 2, got {debug_mode!r}")
    use_deterministic_algorithms(level > 0, warn_only=level == 1)


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2; see :func:`set_deterministic_debug_mode`."""
    return 0 if not _deterministic[0] else 1 if _deterministic[1] else 2


def set_default_device(device: Any) -> None:
    """Sets where this thread makes tensors: on the CPU or on "meta"; None is the CPU.

    Raises what making a tensor there raises for other devices. Source: torch.set_default_device.
    """
    set_default(device)


def get_default_device() -> _device:
    """Where this thread makes tensors when nothing else is said.

    Source: torch.get_default_device.
    """
    return default_device()


def set_warn_always(b: bool, /) -> None:
    """Remembers whether warnings repeat. Source: torch.set_warn_always."""
    global _warn_always
    _warn_always = bool(b)


def is_warn_always_enabled() -> bool:
    """What :func:`set_warn_always` was given last."""
    return _warn_always


def set_flush_denormal(mode: bool, /) -> bool:
    """False: denormal numbers are kept. Source: torch.set_flush_denormal."""
    return False


__all__ = [
    "are_deterministic_algorithms_enabled", "get_default_device", "get_deterministic_debug_mode",
    "get_float32_matmul_precision", "get_num_interop_threads", "get_num_threads",
    "is_deterministic_algorithms_warn_only_enabled", "is_warn_always_enabled",
    "set_default_device", "set_deterministic_debug_mode", "set_float32_matmul_precision",
    "set_flush_denormal",
    "set_num_interop_threads", "set_num_threads", "set_warn_always",
    "use_deterministic_algorithms",
]  # fmt: skip
