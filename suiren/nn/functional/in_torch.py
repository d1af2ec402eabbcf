"""Functions of nn.functional that torch's own namespace has with other arguments.

There a reduction is a number (0 none, 1 mean, 2 sum) and some defaults differ. ``suiren`` fetches
these on first use. Source: PyTorch's native functions of these names.
"""

from __future__ import annotations

from collections.abc import Sequence

from suiren.nn.functional import distance, loss, margin_loss, normalization
from suiren.nn.functional.shuffle import channel_shuffle, conv_tbc, native_channel_shuffle
from suiren.tensor import Tensor

_REDUCTIONS = ("none", "mean", "sum")


def _name(reduction: int) -> str:
    if reduction not in (0, 1, 2):
        raise RuntimeError(f"reduction must be 0 (none), 1 (mean) or 2 (sum), got {reduction}")
    return _REDUCTIONS[reduction]


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1
) -> Tensor:
    """nn.functional.cosine_embedding_loss, the reduction as a number."""
    return margin_loss.cosine_embedding_loss(
        input1, input2, target, margin, reduction=_name(reduction))


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, reduction: int = 1
) -> Tensor:
    """nn.functional.hinge_embedding_loss, the reduction as a number."""
    return margin_loss.hinge_embedding_loss(input, target, margin, reduction=_name(reduction))


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, reduction: int = 1
) -> Tensor:
    """nn.functional.margin_ranking_loss, the reduction as a number."""
    return margin_loss.margin_ranking_loss(
        input1, input2, target, margin, reduction=_name(reduction))


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, swap: bool = False, reduction: int = 1,
) -> Tensor:
    """nn.functional.triplet_margin_loss, the reduction as a number."""
    return margin_loss.triplet_margin_loss(
        anchor, positive, negative, margin, p, eps, swap, reduction=_name(reduction))


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool, full: bool, eps: float, reduction: int
) -> Tensor:
    """nn.functional.poisson_nll_loss, the reduction as a number."""
    return loss.poisson_nll_loss(
        input, target, log_input, full, eps=eps, reduction=_name(reduction))


def instance_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float,
    cudnn_enabled: bool = False,
) -> Tensor:
    """nn.functional.instance_norm with its arguments in another order."""
    return normalization.instance_norm(
        input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """nn.functional.rms_norm."""
    return normalization.rms_norm(input, normalized_shape, weight, eps)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """nn.functional.pairwise_distance."""
    return distance.pairwise_distance(x1, x2, p, eps, keepdim)


__all__ = [
    "channel_shuffle", "conv_tbc", "cosine_embedding_loss", "hinge_embedding_loss",
    "instance_norm", "margin_ranking_loss", "native_channel_shuffle", "pairwise_distance",
    "poisson_nll_loss", "rms_norm", "triplet_margin_loss",
]  # fmt: skip
