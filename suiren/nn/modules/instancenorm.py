"""Instance normalization layers. Source: PyTorch, "Normalization layers"; arXiv:1607.08022."""

from __future__ import annotations

import warnings
from typing import Any

from suiren.nn import functional as F
from suiren.nn.modules.batchnorm import _LazyNormBase, _NormBase
from suiren.tensor import Tensor

__all__ = [
    "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LazyInstanceNorm1d",
    "LazyInstanceNorm2d", "LazyInstanceNorm3d",
]


class _InstanceNorm(_NormBase):
    # Axes of an input without batch; one more with.
    _unbatched_dim: int

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _check_input_dim(self, input: Tensor) -> None:
        axes = self._unbatched_dim
        if input.dim() not in (axes, axes + 1):
            raise ValueError(
                f"expected {axes}D or {axes + 1}D input (got {input.dim()}D input)")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        axis = input.dim() - self._unbatched_dim
        if input.shape[axis] != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={axis} to match num_features "
                    f"({self.num_features}), but got: {input.shape[axis]}.")
            warnings.warn(
                f"input's size at dim={axis} does not match num_features. You can silence this "
                "warning by not passing in num_features, which is not used because affine=False",
                stacklevel=2)
        if axis == 0:
            return self._normalize(input.unsqueeze(0)).squeeze(0)
        return self._normalize(input)

    def _normalize(self, input: Tensor) -> Tensor:
        return F.instance_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats,
            self.momentum if self.momentum is not None else 0.0, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """Normalize each channel of each sample of (batch, channels, length) over its length.

    Without weight and bias unless `affine`; running statistics only with `track_running_stats`.
    """

    _unbatched_dim = 2


class InstanceNorm2d(_InstanceNorm):
    """Normalize each channel of each sample of (batch, channels, height, width)."""

    _unbatched_dim = 3


class InstanceNorm3d(_InstanceNorm):
    """Normalize each channel of each sample of (batch, channels, depth, height, width)."""

    _unbatched_dim = 4


class _LazyInstanceNorm(_LazyNormBase):
    def initialize_parameters(self, input: Tensor) -> None:
        # The channels are the axis after the batch, if there is a batch.
        if input.dim() == self._unbatched_dim:
            input = input.unsqueeze(0)
        super().initialize_parameters(input)


class LazyInstanceNorm1d(_LazyInstanceNorm, _InstanceNorm):
    """InstanceNorm1d that takes num_features from its first input."""

    cls_to_become = InstanceNorm1d
    _unbatched_dim = 2


class LazyInstanceNorm2d(_LazyInstanceNorm, _InstanceNorm):
    """InstanceNorm2d that takes num_features from its first input."""

    cls_to_become = InstanceNorm2d
    _unbatched_dim = 3


class LazyInstanceNorm3d(_LazyInstanceNorm, _InstanceNorm):
    """InstanceNorm3d that takes num_features from its first input."""

    cls_to_become = InstanceNorm3d
    _unbatched_dim = 4
