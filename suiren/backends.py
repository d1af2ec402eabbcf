"""`torch.backends`: what other libraries could compute with, and their switches.

Suiren computes by itself, so every backend answers that it is not there. The switches keep what
they are set to and change nothing: ``cudnn.benchmark = True`` runs as in PyTorch without CUDA.
Source: PyTorch's torch.backends page.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import Any


class _Backend:
    """A backend that is absent: its switches are attributes of their PyTorch defaults."""

    def __init__(self, **switches: Any):
        self._names = tuple(switches)
        self.__dict__.update(switches)

    def is_available(self) -> bool:
        """Whether the backend can be used."""
        return False

    def is_built(self) -> bool:
        """Whether the backend was built in."""
        return False

    def version(self) -> None:
        """None: there is no such library."""
        return None

    @contextlib.contextmanager
    def flags(self, **switches: Any) -> Iterator[None]:
        """Sets switches for the length of a ``with`` block."""
        before = {name: getattr(self, name) for name in switches if name in self._names}
        self.__dict__.update(switches)
        try:
            yield
        finally:
            self.__dict__.update(before)


class _Cuda(_Backend):
    """Switches of torch.backends.cuda, and its attention backends."""

    matmul: _Backend

    def flash_sdp_enabled(self) -> bool:
        """What :meth:`enable_flash_sdp` was given last."""
        return self.__dict__.get("_flash", True)

    def enable_flash_sdp(self, enabled: bool) -> None:
        """Remembers the wish; attention has one implementation here."""
        self._flash = enabled

    def mem_efficient_sdp_enabled(self) -> bool:
        """What :meth:`enable_mem_efficient_sdp` was given last."""
        return self.__dict__.get("_efficient", True)

    def enable_mem_efficient_sdp(self, enabled: bool) -> None:
        """Remembers the wish; attention has one implementation here."""
        self._efficient = enabled

    def math_sdp_enabled(self) -> bool:
        """What :meth:`enable_math_sdp` was given last."""
        return self.__dict__.get("_math", True)

    def enable_math_sdp(self, enabled: bool) -> None:
        """Remembers the wish; attention has one implementation here."""
        self._math = enabled


class _Cpu:
    """What the processor can do."""

    def get_cpu_capability(self) -> str:
        """The kind of processor, as Python names it."""
        return platform.machine() or "DEFAULT"


cudnn = _Backend(
    enabled=True, benchmark=False, deterministic=False, allow_tf32=True, benchmark_limit=10
)
cuda = _Cuda(preferred_linalg_library="default")
cuda.matmul = _Backend(
    allow_tf32=False,
    allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
)
mps = _Backend()
mkl = _Backend()
mkldnn = _Backend(enabled=True, deterministic=False, allow_tf32=True)
openmp = _Backend()
opt_einsum = _Backend(enabled=False, strategy=None)
nnpack = _Backend()
cusparselt = _Backend()
xeon = _Backend()
quantized = _Backend(engine="none", supported_engines=[])
cpu = _Cpu()
