"""`torch.distributions.utils`: parameters brought to one shape, probabilities and log-odds."""

from __future__ import annotations

from typing import Any

import suiren as torch
from suiren.tensor import Tensor

__all__ = ["broadcast_all", "clamp_probs", "logits_to_probs", "probs_to_logits", "standard_normal"]


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """The values as tensors of one shape; numbers take the dtype of the first tensor.

    Raises ValueError for what is neither a tensor nor a number.
    """
    if not all(isinstance(v, (Tensor, int, float)) for v in values):
        raise ValueError("Input arguments must all be numbers or tensors")
    given = [v for v in values if isinstance(v, Tensor)]
    make = given[0].new_tensor if given else torch.tensor
    kind = given[0].dtype if given else torch.get_default_dtype()
    return torch.broadcast_tensors(
        *[v if isinstance(v, Tensor) else make(v, dtype=kind) for v in values]
    )


def all_numbers(*values: Any) -> bool:
    """Whether no parameter is a tensor: the batch shape is then ()."""
    return all(isinstance(v, (int, float)) for v in values)


def standard_normal(shape: Any, dtype: Any, device: Any = None) -> Tensor:
    """Normal numbers of mean 0 and deviation 1."""
    return torch.empty(shape, dtype=dtype, device=device).normal_()


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept away from 0 and 1 by the dtype's eps, so that their logs are finite."""
    eps = torch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Logs of probabilities, or log-odds of those of one of two outcomes."""
    kept = clamp_probs(probs)
    return torch.log(kept) - torch.log1p(-kept) if is_binary else torch.log(kept)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Sigmoid of log-odds, or softmax over the last dimension."""
    return torch.sigmoid(logits) if is_binary else torch.softmax(logits, dim=-1)
