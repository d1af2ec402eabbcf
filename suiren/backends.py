"""`torch.backends`: what other libraries could compute with, and their switches.

Suiren computes by itself, so every backend answers that it is not there. The switches keep what
they are set to and change nothing: ``cudnn.benchmark = True`` runs as in PyTorch without CUDA.
They are modules, as in PyTorch: ``import torch.backends.cudnn as cudnn``.
Source: PyTorch's torch.backends page.
"""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

__path__: list[str] = []  # a package whose modules are all made here


class _Backend(ModuleType):
    """A backend that is absent: its switches are attributes of their PyTorch defaults."""

    def __init__(self, name: str, **switches: Any):
        super().__init__(f"{__name__}.{name}", self.__doc__)
        sys.modules[self.__name__] = self
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
    "cudnn", enabled=True, benchmark=False, deterministic=False, allow_tf32=True, benchmark_limit=10
)
cuda = _Cuda("cuda", preferred_linalg_library="default")
cuda.matmul = _Backend(
    "cuda.matmul",
    allow_tf32=False,
    allow_fp16_reduced_precision_reduction=True,
    allow_bf16_reduced_precision_reduction=True,
)
mps = _Backend("mps")
mkl = _Backend("mkl")
mkldnn = _Backend("mkldnn", enabled=True, deterministic=False, allow_tf32=True)
openmp = _Backend("openmp")
opt_einsum = _Backend("opt_einsum", enabled=False, strategy=None)
nnpack = _Backend("nnpack")
cusparselt = _Backend("cusparselt")
xeon = _Backend("xeon")
quantized = _Backend("quantized", engine="none", supported_engines=[])
cpu = _Cpu()
