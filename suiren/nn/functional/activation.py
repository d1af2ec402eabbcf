"""Activations that are compositions of others. Source: PyTorch, "torch.nn.functional"."""

from __future__ import annotations

from typing import Any

import suiren
from suiren.nn.functional import _from_ops as ops
from suiren.tensor import Tensor


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)) elementwise."""
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent elementwise."""
    return input.tanh()


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6) elementwise."""
    return ops.hardtanh(input, 0.0, 6.0, inplace)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x) elementwise."""
    return input - input.tanh()


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|) elementwise."""
    return input / (input.abs() + 1)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """softmax(-x) along `dim`, optionally converted to `dtype` first."""
    return ops.softmax(-input, dim, _stacklevel, dtype)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A sample from the Gumbel-softmax distribution with temperature `tau`.

    logits: (..., classes, ...) unnormalized log probabilities, classes along `dim`.
    hard: return one-hot vectors, differentiated as if they were the soft sample.

    Sources: Jang et al. 2017, arXiv:1611.01144; PyTorch, F.gumbel_softmax.
    """
    if eps != 1e-10:
        import warnings

        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    noise = -suiren.empty_like(logits).exponential_().log()
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = suiren.zeros_like(logits).scatter_(dim, index, 1.0)
    # Value of the one-hot vector, gradient of the soft sample.
    return one_hot - soft.detach() + soft
