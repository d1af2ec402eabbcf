"""What the losses share: the `reduction` argument and its two deprecated predecessors."""

from __future__ import annotations

import warnings

from suiren.tensor import Tensor


def reduction_name(
    reduction: str, size_average: bool | None = None, reduce: bool | None = None,
    stacklevel: int = 4,
) -> str:
    """The reduction to use, translating `size_average` and `reduce` with a warning.

    stacklevel: of the warning; 4 in losses that are decorated with in_float32.
    """
    if size_average is None and reduce is None:
        return reduction
    average = size_average is None or size_average
    chosen = "none" if reduce is False else "mean" if average else "sum"
    warnings.warn(
        "size_average and reduce args will be deprecated, please use "
        f"reduction='{chosen}' instead.",
        stacklevel=stacklevel,
    )
    return chosen


def check_reduction(reduction: str) -> None:
    """Raise ValueError for anything but 'none', 'mean' and 'sum'."""
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """Loss of any shape to itself ('none'), its mean or its sum (shape ())."""
    check_reduction(reduction)
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    return loss
