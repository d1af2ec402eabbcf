"""Distances and normalization by length. Source: PyTorch, "Distance functions"."""

from __future__ import annotations

from suiren.tensor import Tensor


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis.

    x1, x2: (batch, n) or (n), broadcast against each other. Result: (batch) or ().
    """
    return (x1 - x2 + eps).norm(p, -1, keepdim)


def normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """input divided by its p-norm along `dim`, which counts as at least eps. Same shape.

        >>> F.normalize(suiren.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """
    length = input.norm(p, dim, keepdim=True).clamp_min(eps)
    if out is not None:
        return out.copy_(input / length)
    return input / length
