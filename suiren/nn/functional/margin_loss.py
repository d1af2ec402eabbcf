"""Losses that ask for a margin between scores or distances. Source: PyTorch, "Loss functions"."""

from __future__ import annotations

from collections.abc import Callable

import suiren
from suiren.autocasting import in_float32
from suiren.nn.functional import _from_ops as ops
from suiren.nn.functional._reduction import check_reduction, reduce_loss, reduction_name
from suiren.nn.functional.distance import pairwise_distance
from suiren.tensor import Tensor

# Keeps the cosine of a zero vector finite.
_TINY = 1e-12


@in_float32
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin); target 1 if input1 should rank higher."""
    reduction = reduction_name(reduction, size_average, reduce)
    check_reduction(reduction)
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} ")
    loss = (-target * (input1 - input2) + margin).clamp_min(0)
    return reduce_loss(loss, reduction)


@in_float32
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1; any shape."""
    reduction = reduction_name(reduction, size_average, reduce)
    check_reduction(reduction)
    zero = suiren.zeros_like(input)
    apart = suiren.where(target == 1, zero, (margin - input).clamp_min(0))
    together = suiren.where(target == -1, zero, input)
    return reduce_loss(apart + together, reduction)


@in_float32
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos where target is 1, max(0, cos - margin) where it is -1.

    input1, input2: (batch, n) with target (batch), or (n) with target ().
    """
    reduction = reduction_name(reduction, size_average, reduce)
    check_reduction(reduction)
    if target.dim() > 1:
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if input1.dim() != target.dim() + 1 or input2.dim() != target.dim() + 1:
        raise RuntimeError(
            f"{target.dim()}D target tensor expects {target.dim() + 1}D input tensors, but found "
            f"inputs with sizes {list(input1.shape)} and {list(input2.shape)}.")
    axis = target.dim()
    product = (input1 * input2).sum(axis)
    square1 = (input1 * input1).sum(axis) + _TINY
    square2 = (input2 * input2).sum(axis) + _TINY
    cosine = product / (square1 * square2).sqrt()
    zero = suiren.zeros_like(cosine)
    together = suiren.where(target == 1, 1 - cosine, zero)
    apart = suiren.where(target == -1, (cosine - margin).clamp_min(0), zero)
    return reduce_loss(together + apart, reduction)


@in_float32
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Mean over the wrong classes of max(0, margin - right score + wrong score) ** p.

    input: (batch, classes) or (classes); target: (batch) or () class indices; weight: (classes)
    factor by the right class; p: 1 or 2.
    """
    reduction = reduction_name(reduction, size_average, reduce)
    check_reduction(reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if input.dim() > 2 or (input.dim() > 0 and input.shape[-1] == 0):
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}")
    rows = input if input.dim() == 2 else input.reshape(1, -1)  # batch, classes
    batch, classes = rows.shape
    if weight is not None and weight.dim() != 1:
        raise ValueError("multi_margin_loss: weight must be one-dimensional")
    if target.dtype != suiren.int64:
        raise RuntimeError(
            f"multi_margin_loss: expected scalar type Long but found {target.dtype}; "
            "convert the target with target.long()")
    if target.dim() > 1 or target.numel() != batch:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of "
            f"input samples (batch size). Expected target size [{batch}], but got "
            f"{list(target.shape)}. Input has shape {list(input.shape)}.")
    right = target.reshape(batch, 1)
    # relu, not clamp: no gradient flows where the margin is met exactly
    excess = ops.relu(margin - rows.gather(1, right) + rows)
    terms = excess if p == 1 else excess * excess
    if weight is not None:
        if weight.numel() != classes:
            raise RuntimeError(
                f"inconsistent weight size, expected {classes} but got {list(weight.shape)}")
        terms = terms * weight[right.squeeze(1)].unsqueeze(1)
    wrong = suiren.arange(classes, device=input.device) != right
    loss = (terms * wrong).sum(1) / classes  # batch
    return reduce_loss(loss if input.dim() == 2 else loss.squeeze(0), reduction)


@in_float32
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Sum over pairs of a right and a wrong class of max(0, 1 - right + wrong), over classes.

    input: (batch, classes) or (classes); target: the same shape, int64: the right classes first,
    then -1, after which nothing is read.
    """
    reduction = reduction_name(reduction, size_average, reduce)
    check_reduction(reduction)
    if input.dim() > 2 or (input.dim() > 0 and input.shape[-1] == 0):
        raise RuntimeError(
            "Expected non-empty vector or matrix with optional 0-dim batch size, but got: "
            f"{list(input.shape)}")
    if tuple(target.shape) != tuple(input.shape):
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: "
            f"{list(input.shape)}")
    classes = input.shape[-1] if input.dim() else 1
    rows = input.reshape(-1, classes)  # batch, classes
    labels = target.reshape(-1, classes)
    listed = (labels >= 0).long().cumprod(1)  # 1 up to the first -1
    places = labels.clamp_min(0)
    is_right = suiren.zeros_like(labels).scatter_add(1, places, listed) > 0
    right = rows.gather(1, places).unsqueeze(2)  # batch, listed classes, 1
    excess = ops.relu(1 - right + rows.unsqueeze(1))  # batch, listed classes, classes
    counted = listed.unsqueeze(2) * is_right.logical_not().unsqueeze(1)
    loss = (excess * counted).sum((1, 2)) / classes  # batch
    return reduce_loss(loss if input.dim() == 2 else loss.squeeze(0), reduction)


@in_float32
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, distance to the positive - distance to the negative + margin).

    All three: (batch, n) or (n). `swap` takes the positive's distance to the negative if smaller.
    Source: Balntas et al. 2016; PyTorch, F.triplet_margin_loss.
    """
    reduction = reduction_name(reduction, size_average, reduce)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap,
        reduction=reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """As triplet_margin_loss, with a distance function of two tensors of one's own."""
    check_reduction(reduction)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {anchor.dim()}D, positive {positive.dim()}D, and "
            f"negative {negative.dim()}D inputs")
    distance = pairwise_distance if distance_function is None else distance_function
    to_positive = distance(anchor, positive)
    to_negative = distance(anchor, negative)
    if swap:
        to_negative = suiren.minimum(to_negative, distance(positive, negative))
    return reduce_loss((margin + to_positive - to_negative).clamp_min(0), reduction)
