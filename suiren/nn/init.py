"""Filling tensors with initial values, in place and without recording gradients.

The draws come in PyTorch's order from the default generator (or the one given), so that equal
seeds give equal weights. Source: PyTorch, "torch.nn.init"; the papers are named per function.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import suiren
from suiren.tensor import Tensor

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
    "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_",
    "xavier_uniform_", "zeros_",
]

_LINEAR = (
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d",
)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance of activations through this nonlinearity.

    param: the negative slope of "leaky_relu" (default 0.01).

        >>> calculate_gain("tanh")
        1.6666666666666667
    """
    if nonlinearity in _LINEAR or nonlinearity == "sigmoid":
        return 1
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        if param is None:
            slope = 0.01
        elif isinstance(param, (int, float)) and not isinstance(param, bool):
            slope = param
        else:
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4  # found by experiment in PyTorch, not derived
    raise ValueError(f"Unsupported nonlinearity {nonlinearity}")


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs feed an output and how many outputs an input feeds, for a weight."""
    if tensor.dim() < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    outputs, inputs, *window = tensor.shape
    places = math.prod(window)
    return inputs * places, outputs * places


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return fan_in if mode == "fan_in" else fan_out


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Fill from the uniform distribution over [a, b)."""
    with suiren.no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Fill from the normal distribution."""
    with suiren.no_grad():
        return tensor.normal_(mean, std, generator=generator)


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """Fill from the normal distribution cut off at a and b (values, not deviations).

    By rejection, as PyTorch does it: from the normal distribution itself if at least 0.3 of it
    lies between a and b, else from the uniform one. Each round draws for all elements anew and
    keeps what is accepted where nothing was before, so the draws do not depend on the values.
    """

    def below(x: float) -> float:
        return (1.0 + math.erf((x - mean) / std / math.sqrt(2.0))) / 2.0

    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.", stacklevel=2)
    with suiren.no_grad():
        if below(b) - below(a) >= 0.3:
            return _keep_normal_between(tensor, mean, std, a, b, generator)
        return _keep_uniform_by_density(tensor, mean, std, a, b, generator)


def _keep_normal_between(
    tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any
) -> Tensor:
    tensor.normal_(mean, std, generator=generator)
    outside = (tensor < a) | (tensor > b)
    while not tensor.is_meta and bool(outside.any()):
        again = suiren.empty_like(tensor).normal_(mean, std, generator=generator)
        tensor.copy_(suiren.where(outside, again, tensor))
        outside = (tensor < a) | (tensor > b)
    return tensor


def _keep_uniform_by_density(
    tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any
) -> Tensor:
    # The largest density in [a, b], which is accepted always, is at the place closest to the mean.
    closest = min(max(mean, a), b)
    peak = ((closest - mean) / std) ** 2
    waiting = suiren.ones_like(tensor, dtype=suiren.bool)
    while not tensor.is_meta and bool(waiting.any()):
        proposed = suiren.empty_like(tensor).uniform_(a, b, generator=generator)
        chance = ((peak - ((proposed - mean) / std) ** 2) / 2).exp()
        accepted = suiren.empty_like(tensor).uniform_(generator=generator) <= chance
        tensor.copy_(suiren.where(waiting & accepted, proposed, tensor))
        waiting = waiting & accepted.logical_not()
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value."""
    with suiren.no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    with suiren.no_grad():
        return tensor.zero_()


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with suiren.no_grad():
        rows, columns = tensor.shape
        return tensor.copy_(suiren.eye(rows, columns, dtype=tensor.dtype, device=tensor.device))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution's weight so that as many channels as possible pass unchanged.

    tensor: (channels out, channels in, d1, ...) with 3 to 5 axes; channels out divisible by groups.
    """
    if tensor.dim() not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    outputs, inputs, *window = tensor.shape
    if outputs % groups:
        raise ValueError("dim 0 must be divisible by groups")
    per_group = outputs // groups
    middle = tuple(size // 2 for size in window)
    with suiren.no_grad():
        tensor.zero_()
        for group in range(groups):
            for channel in range(min(per_group, inputs)):
                tensor[(group * per_group + channel, channel, *middle)] = 1
        return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform with variance 2 / (fan_in + fan_out) times gain ** 2. Glorot and Bengio 2010."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    std = gain * math.sqrt(2.0 / float(fan_in + fan_out))
    bound = math.sqrt(3.0) * std  # a uniform distribution over [-b, b] has deviation b / sqrt(3)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with variance 2 / (fan_in + fan_out) times gain ** 2. Glorot and Bengio 2010."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator)


def _kaiming_deviation(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float | None:
    """gain / sqrt(fan); None, with a warning, for a tensor that has no elements to draw."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return None
    return calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Uniform with variance gain ** 2 / fan; a is leaky_relu's slope. He et al. 2015."""
    std = _kaiming_deviation(tensor, a, mode, nonlinearity)
    if std is None:
        return tensor
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Normal with variance gain ** 2 / fan; a is leaky_relu's slope. He et al. 2015."""
    std = _kaiming_deviation(tensor, a, mode, nonlinearity)
    return tensor if std is None else normal_(tensor, 0.0, std, generator)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """A (semi-)orthogonal matrix times gain; axes after the first are flattened.

    Saxe et al. 2013, arXiv:1312.6120.
    """
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    with suiren.no_grad():
        draws = suiren.empty((rows, columns), dtype=tensor.dtype, device=tensor.device)
        draws.normal_(0, 1, generator=generator)
        if rows < columns:
            draws = draws.t()
        q, r = suiren.linalg.qr(draws)
        # The sign of r's diagonal makes the result uniformly distributed (arXiv:math-ph/0609050).
        q = q * r.diagonal().sign()
        if rows < columns:
            q = q.t()
        tensor.copy_(q.reshape(tensor.shape))
        return tensor.mul_(gain)


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None
) -> Tensor:
    """A normal matrix with this share of each column set to zero. Martens 2010."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with suiren.no_grad():
        tensor.normal_(0, std, generator=generator)
        for column in range(columns):
            # The rows are drawn from the default generator, whatever `generator` is.
            chosen = suiren.randperm(rows, device=tensor.device)[:zeros]
            tensor[chosen, column] = 0
        return tensor


def _old_name(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function under the name it had before the underscore, with a FutureWarning."""
    new = function.__name__

    def renamed(*args: Any, **kwargs: Any) -> Tensor:
        warnings.warn(
            f"`nn.init.{new[:-1]}` is now deprecated in favor of `nn.init.{new}`.",
            FutureWarning, stacklevel=2)
        return function(*args, **kwargs)

    renamed.__name__ = new[:-1]
    renamed.__doc__ = f"The old name of {new}."
    return renamed


uniform = _old_name(uniform_)
normal = _old_name(normal_)
constant = _old_name(constant_)
eye = _old_name(eye_)
dirac = _old_name(dirac_)
xavier_uniform = _old_name(xavier_uniform_)
xavier_normal = _old_name(xavier_normal_)
kaiming_uniform = _old_name(kaiming_uniform_)
kaiming_normal = _old_name(kaiming_normal_)
orthogonal = _old_name(orthogonal_)
sparse = _old_name(sparse_)
