"""Padding layers. Source: PyTorch, "Padding layers".

padding: one number for all sides, or (left, right), and top and bottom, front and back after it.
"""

from __future__ import annotations

from typing import Any

from suiren.nn import functional as F
from suiren.nn._sizes import _ntuple
from suiren.nn.modules.module import Module
from suiren.tensor import Tensor

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
    "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]


class _PadNd(Module):
    _axes: int
    _mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = _ntuple(2 * self._axes, "padding")(padding)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPadNd(_PadNd):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Pad the last axis with a value."""

    _axes = 1


class ConstantPad2d(_ConstantPadNd):
    """Pad the last two axes with a value."""

    _axes = 2


class ConstantPad3d(_ConstantPadNd):
    """Pad the last three axes with a value."""

    _axes = 3


class ZeroPad1d(ConstantPad1d):
    """Pad the last axis with zeros."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    extra_repr = _PadNd.extra_repr


class ZeroPad2d(ConstantPad2d):
    """Pad the last two axes with zeros."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    extra_repr = _PadNd.extra_repr


class ZeroPad3d(ConstantPad3d):
    """Pad the last three axes with zeros."""

    def __init__(self, padding: Any) -> None:
        super().__init__(padding, 0.0)

    extra_repr = _PadNd.extra_repr


class ReflectionPad1d(_PadNd):
    """Pad the last axis with its mirror image, the edge not repeated."""

    _axes, _mode = 1, "reflect"


class ReflectionPad2d(_PadNd):
    """Pad the last two axes with their mirror image, the edge not repeated."""

    _axes, _mode = 2, "reflect"


class ReflectionPad3d(_PadNd):
    """Pad the last three axes with their mirror image, the edge not repeated."""

    _axes, _mode = 3, "reflect"


class ReplicationPad1d(_PadNd):
    """Pad the last axis with its edge values."""

    _axes, _mode = 1, "replicate"


class ReplicationPad2d(_PadNd):
    """Pad the last two axes with their edge values."""

    _axes, _mode = 2, "replicate"


class ReplicationPad3d(_PadNd):
    """Pad the last three axes with their edge values."""

    _axes, _mode = 3, "replicate"


class _CircularPadNd(_PadNd):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (self._axes + 1, self._axes + 2):
            raise ValueError(
                f"expected {self._axes + 1}D or {self._axes + 2}D input "
                f"(got {input.dim()}D input)")
        return super().forward(input)


class CircularPad1d(_CircularPadNd):
    """Pad the last axis with values from its other end."""

    _axes = 1


class CircularPad2d(_CircularPadNd):
    """Pad the last two axes with values from their other ends."""

    _axes = 2


class CircularPad3d(_CircularPadNd):
    """Pad the last three axes with values from their other ends."""

    _axes = 3
