"""LayerNorm, GroupNorm, RMSNorm and the local response norms.

Source: PyTorch, "Normalization layers".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import suiren
from suiren.autograd.function import Function
from suiren.nn import functional as F
from suiren.nn import init
from suiren.nn.modules.module import Module
from suiren.nn.parameter import Parameter
from suiren.tensor import Tensor

__all__ = ["CrossMapLRN2d", "GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class LocalResponseNorm(Module):
    """Divide by a power of the mean square over `size` neighbouring channels; see F."""

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """The older LocalResponseNorm of (batch, channels, height, width), with PyTorch's flaws.

    Its running sum over channels never drops the first one: from channel (size + 1) // 2 on, the
    square of channel 0 counts although it is outside the window. Its gradient knows nothing of
    that, and takes its sum over the channels (size + 1) // 2 below to (size - 1) // 2 - 1 above.
    Use LocalResponseNorm in new models.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__(size, alpha, beta, k)

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() != 4:
            raise ValueError(
                f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
        return _CrossMapNorm.apply(input, self.size, self.alpha, self.beta, self.k)


class _CrossMapNorm(Function):
    """input / scale ** beta, with scale = k + alpha / size * (sum of squares over channels)."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, size: int, alpha: float, beta: float, k: float
    ) -> Tensor:
        reach = (size + 1) // 2  # the window has 2 * reach - 1 channels
        total = _sum_over_channels(input * input, reach - 1, reach - 1)
        channels = input.shape[1]
        if channels > reach:
            late = (suiren.arange(channels, device=input.device) >= reach).view(1, -1, 1, 1)
            total = total + input[:, :1] * input[:, :1] * late
        scale = k + alpha / size * total
        output = input * scale.pow(-beta)
        ctx.save_for_backward(input, output, scale)
        ctx.size, ctx.alpha, ctx.beta = size, alpha, beta
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        input, output, scale = ctx.saved_tensors
        below = min(ctx.size - (ctx.size - 1) // 2, ctx.size - 1)
        total = _sum_over_channels(grad * output / scale, below, ctx.size - 1 - below)
        factor = 2 * ctx.alpha * ctx.beta / ctx.size
        return grad * scale.pow(-ctx.beta) - factor * input * total, None, None, None, None


def _sum_over_channels(input: Tensor, below: int, above: int) -> Tensor:
    """At each channel the sum of those from `below` before to `above` after it."""
    width = below + above + 1
    planes = input.flatten(2).unsqueeze(1)  # batch, 1, channels, places
    padded = F.pad(planes, (0, 0, below, above))
    return (F.avg_pool2d(padded, (width, 1), stride=1) * width).reshape(input.shape)


class LayerNorm(Module):
    """Normalize over the last axes: y = (x - mean) / sqrt(var + eps) * weight + bias.

    input: (..., *normalized_shape); weight, bias: normalized_shape, starting at 1 and 0.
    Source: Ba et al. 2016, arXiv:1607.06450; PyTorch, torch.nn.LayerNorm.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5,
        elementwise_affine: bool = True, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine

        def unset() -> Parameter:
            return Parameter(suiren.empty(self.normalized_shape, device=device, dtype=dtype))

        self.register_parameter("weight", unset() if elementwise_affine else None)
        self.register_parameter("bias", unset() if elementwise_affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.elementwise_affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """Normalize each of num_groups groups of channels of each sample.

    input: (batch, channels, ...); weight, bias: (channels), starting at 1 and 0.
    Source: Wu and He 2018, arXiv:1803.08494; PyTorch, torch.nn.GroupNorm.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups != 0:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine

        def unset() -> Parameter:
            return Parameter(suiren.empty(num_channels, device=device, dtype=dtype))

        self.register_parameter("weight", unset() if affine else None)
        self.register_parameter("bias", unset() if affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """Divide by the root mean square over the last axes, times weight (starting at 1).

    Source: Zhang and Sennrich 2019, arXiv:1910.07467; PyTorch, torch.nn.RMSNorm.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None,
        elementwise_affine: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        if elementwise_affine:
            self.weight = Parameter(
                suiren.empty(self.normalized_shape, device=device, dtype=dtype))
        else:
            self.register_parameter("weight", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.elementwise_affine:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}"
        )
