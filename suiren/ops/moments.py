"""What normalizations have in common: means and variances, and gradients through them.

Each for arrays, and for nodes of a graph; :func:`composed_gradient` is written with operators. Used
by ``normalization.py`` and ``group_normalization.py``. Moments are found in two passes (the
variance from differences to the mean), partial sums are added in float64.
"""

from __future__ import annotations

from math import prod

import numpy as np

from suiren import dtypes
from suiren.dtypes import dtype


def summed(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Sums over axes, kept as ones: pairwise within the last axes, then in float64."""
    count = 0
    while count < len(axes) and axes[len(axes) - 1 - count] == x.ndim - 1 - count:
        count += 1
    inner = tuple(range(x.ndim - count, x.ndim))
    if inner:
        x = np.add.reduce(x, axis=inner, keepdims=True)
    outer = tuple([a for a in axes if a not in inner])
    return np.add.reduce(x, axis=outer, keepdims=True, dtype=np.float64) if outer else x


def moments(x: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences to the mean, the mean and the variance (not corrected), both in x's dtype."""
    count = prod([x.shape[a] for a in axes])
    with np.errstate(all="ignore"):
        mean = (summed(x, axes) / np.float64(count)).astype(x.dtype)
        centred = x - mean
        variance = (summed(centred * centred, axes) / np.float64(count)).astype(x.dtype)
    return centred, mean, variance


def inverse_root(variance: np.ndarray, eps: float) -> np.ndarray:
    """One by the standard deviation."""
    kind = variance.dtype.type
    return kind(1) / np.sqrt(variance + kind(eps))


def affine(x, weight, bias):
    """Scaled and shifted, arrays or nodes; both may be None."""
    if weight is not None:
        x = x * weight
    if bias is not None:
        x = x + bias
    return x


def gradient_by_input(grad, normal, inverse, axes) -> np.ndarray:
    """Through the normalization; grad is the gradient of its result, before scale and shift."""
    count = grad.dtype.type(prod([grad.shape[a] for a in axes]))
    mean = (summed(grad, axes) / count).astype(grad.dtype)
    along = (summed(grad * normal, axes) / count).astype(grad.dtype)
    return (grad - mean - normal * along) * inverse


def per_channel(x: np.ndarray | None, ndim: int) -> np.ndarray | None:
    """One number for each channel, to be broadcast with an input of so many dimensions."""
    return None if x is None else x.reshape(-1, *(1,) * (ndim - 2))


def lowered_moments(x, axes):
    """As :func:`moments`, for nodes of a graph."""
    count = float(prod([x.shape[a] for a in axes]))
    mean = x.sum(axes, True) / count
    centred = x - mean
    return centred, mean, (centred * centred).sum(axes, True) / count


def lowered_gradient(grad, normal, inverse, axes):
    """As :func:`gradient_by_input`, for nodes of a graph."""
    count = float(prod([grad.shape[a] for a in axes]))
    mean, along = grad.sum(axes, True) / count, (grad * normal).sum(axes, True) / count
    return (grad - mean - normal * along) * inverse


def lowered_channels(x, ndim: int):
    """As :func:`per_channel`, for nodes of a graph."""
    return None if x is None else x.reshape(x.numel, *(1,) * (ndim - 2))


def composed_gradient(grad, input, axes, eps, mean=None, variance=None):
    """The normalized input and its gradient with operators, to be differentiated again."""
    count = prod([input._meta.shape[a] for a in axes])
    if mean is None:
        mean = input.sum(axes, True) / count
        centred = input - mean
        variance = (centred * centred).sum(axes, True) / count
        inverse = (variance + eps).rsqrt()
        normal = centred * inverse
        return normal, (
            grad - grad.sum(axes, True) / count - normal * ((grad * normal).sum(axes, True) / count)
        ) * inverse
    inverse = (variance + eps).rsqrt()
    return (input - mean) * inverse, grad * inverse


def kind_of_moments(kind: dtype) -> dtype:
    """Those of half types are float32, as PyTorch keeps them."""
    return dtypes.float32 if kind.is_half else kind
