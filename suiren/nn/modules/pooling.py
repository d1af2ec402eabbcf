"""Pooling layers. Source: PyTorch, "Pooling layers"; the arithmetic is in nn.functional."""

from __future__ import annotations

from typing import Any

from suiren.nn import functional as F
from suiren.nn._sizes import _pair, _single, _triple
from suiren.nn.modules.module import Module
from suiren.tensor import Tensor

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d",
    "FractionalMaxPool2d", "FractionalMaxPool3d", "LPPool1d", "LPPool2d", "LPPool3d", "MaxPool1d",
    "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
]


class _MaxPoolNd(Module):
    """The largest value of each window; with return_indices also where it was."""

    _function: str
    return_indices: bool
    ceil_mode: bool

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        return_indices: bool = False, ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        pool = getattr(F, self._function)
        return pool(
            input, self.kernel_size, self.stride, self.padding, self.dilation,
            ceil_mode=self.ceil_mode, return_indices=self.return_indices)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPoolNd):
    """The largest value of each window of (batch, channels, length) or (channels, length).

    stride defaults to kernel_size; padding counts as minus infinity; ceil_mode rounds the output
    length up; return_indices also returns where the maxima were, for MaxUnpool1d.
    Source: PyTorch, torch.nn.MaxPool1d.
    """

    _function = "max_pool1d"


class MaxPool2d(_MaxPoolNd):
    """The largest value of each window of (..., channels, height, width); see MaxPool1d.

        >>> nn.MaxPool2d(2)(suiren.arange(16.0).view(1, 1, 4, 4))
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]])
    """

    _function = "max_pool2d"


class MaxPool3d(_MaxPoolNd):
    """The largest value of each box of (..., channels, depth, height, width); see MaxPool1d."""

    _function = "max_pool3d"


class _MaxUnpoolNd(Module):
    _function: str
    _spread: Any

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = self._spread(kernel_size)
        self.stride = self._spread(stride if stride is not None else kernel_size)
        self.padding = self._spread(padding)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        unpool = getattr(F, self._function)
        return unpool(
            input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpoolNd):
    """Puts the values of MaxPool1d back at their indices; zeros elsewhere."""

    _function = "max_unpool1d"
    _spread = staticmethod(_single)


class MaxUnpool2d(_MaxUnpoolNd):
    """Puts the values of MaxPool2d back at their indices; zeros elsewhere."""

    _function = "max_unpool2d"
    _spread = staticmethod(_pair)


class MaxUnpool3d(_MaxUnpoolNd):
    """Puts the values of MaxPool3d back at their indices; zeros elsewhere."""

    _function = "max_unpool3d"
    _spread = staticmethod(_triple)


class _AvgPoolNd(Module):
    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPoolNd):
    """The mean of each window of (batch, channels, length) or (channels, length).

    count_include_pad: whether the zeros of the padding count. Source: torch.nn.AvgPool1d.
    """

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _single(kernel_size)
        self.stride = _single(stride if stride is not None else kernel_size)
        self.padding = _single(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad)


class _AvgPoolWithDivisor(_AvgPoolNd):
    _function: str

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        pool = getattr(F, self._function)
        return pool(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override)


class AvgPool2d(_AvgPoolWithDivisor):
    """The mean of each window of (..., channels, height, width); see AvgPool1d.

    divisor_override: divide the sum by this instead of by the window's size.
    """

    _function = "avg_pool2d"


class AvgPool3d(_AvgPoolWithDivisor):
    """The mean of each box of (..., channels, depth, height, width); see AvgPool2d."""

    _function = "avg_pool3d"


class FractionalMaxPool2d(Module):
    """Max pooling over windows at random, evenly spread places; Graham 2014, arXiv:1412.6071.

    Exactly one of output_size and output_ratio (between 0 and 1) must be given.
    """

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        _set_fractional(
            self, _pair, kernel_size, output_size, output_ratio, return_indices, _random_samples)

    def forward(self, input: Tensor) -> Any:
        return F.fractional_max_pool2d(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            _random_samples=self._random_samples)


class FractionalMaxPool3d(Module):
    """FractionalMaxPool2d with depth."""

    def __init__(
        self, kernel_size: Any, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        if (isinstance(kernel_size, int) and kernel_size <= 0) or (
                isinstance(kernel_size, (tuple, list)) and not all(k > 0 for k in kernel_size)):
            raise ValueError(f"kernel_size must greater than zero for all dimensions, but got "
                             f"{kernel_size}")
        _set_fractional(
            self, _triple, kernel_size, output_size, output_ratio, return_indices,
            _random_samples)

    def forward(self, input: Tensor) -> Any:
        return F.fractional_max_pool3d(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            _random_samples=self._random_samples)


def _set_fractional(
    module: Any, spread: Any, kernel_size: Any, output_size: Any, output_ratio: Any,
    return_indices: bool, samples: Tensor | None,
) -> None:
    name = type(module).__name__
    module.kernel_size = spread(kernel_size)
    module.return_indices = return_indices
    module.register_buffer("_random_samples", samples)
    module.output_size = None if output_size is None else spread(output_size)
    module.output_ratio = None if output_ratio is None else spread(output_ratio)
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output size, or a pooling ratio")
    if output_size is not None and output_ratio is not None:
        raise ValueError("only one of output_size and output_ratio may be specified")
    if module.output_ratio is not None and not all(0 < r < 1 for r in module.output_ratio):
        raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")


class _LPPoolNd(Module):
    _function: str

    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        pool = getattr(F, self._function)
        return pool(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPoolNd):
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., channels, length)."""

    _function = "lp_pool1d"


class LPPool2d(_LPPoolNd):
    """(sum of x ** norm_type) ** (1 / norm_type) of each window of (..., height, width)."""

    _function = "lp_pool2d"


class LPPool3d(_LPPoolNd):
    """(sum of x ** norm_type) ** (1 / norm_type) of each box of (..., depth, height, width)."""

    _function = "lp_pool3d"


class _AdaptiveMaxPoolNd(Module):
    _function: str

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return getattr(F, self._function)(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """Max pooling with windows such that the result has output_size places."""

    _function = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """Max pooling to a given (height, width); None keeps the input's."""

    _function = "adaptive_max_pool2d"


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """Max pooling to a given (depth, height, width); None keeps the input's."""

    _function = "adaptive_max_pool3d"


class _AdaptiveAvgPoolNd(Module):
    _function: str

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, self._function)(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """Average pooling with windows such that the result has output_size places."""

    _function = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """Average pooling to a given (height, width); None keeps the input's.

        >>> nn.AdaptiveAvgPool2d((1, None))(suiren.zeros(2, 3, 5, 7)).shape
        torch.Size([2, 3, 1, 7])
    """

    _function = "adaptive_avg_pool2d"


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """Average pooling to a given (depth, height, width); None keeps the input's."""

    _function = "adaptive_avg_pool3d"
