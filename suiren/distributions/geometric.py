"""The geometric distribution. Source: torch.distributions.geometric.Geometric."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import suiren as torch
from suiren.distributions import constraints
from suiren.distributions.distribution import Distribution
from suiren.distributions.utils import (
    all_numbers,
    broadcast_all,
    logits_to_probs,
    probs_to_logits,
)
from suiren.tensor import Tensor

__all__ = ["Geometric"]


class Geometric(Distribution):
    """Failures before the first success, each trial of probability ``probs``.

    >>> from suiren.distributions import Geometric
    >>> Geometric(torch.tensor([0.25])).mean
    tensor([3.])
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ):
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        given = logits if probs is None else probs
        (tensor,) = broadcast_all(given)
        vars(self)["logits" if probs is None else "probs"] = tensor
        shape = () if all_numbers(given) else tensor.size()
        super().__init__(shape, validate_args=validate_args)
        if self._validate_args and probs is not None and not bool((tensor > 0).all()):
            raise ValueError(f"Geometric: probs must be positive, got\n{tensor}")

    @cached_property
    def logits(self) -> Tensor:
        """Log-odds of success."""
        return probs_to_logits(self.probs, is_binary=True)

    @cached_property
    def probs(self) -> Tensor:
        """Probabilities of success."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def mean(self) -> Tensor:
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> Tensor:
        return torch.zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(sample_shape)
        tiny = torch.finfo(self.probs.dtype).tiny
        with torch.no_grad():
            u = self.probs.new_empty(shape).uniform_(tiny, 1)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_value(value)
        value, probs = broadcast_all(value, self.probs)
        probs = probs.masked_fill((probs == 1) & (value == 0), 0.0)
        return value * (-probs).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        cross = torch.nn.functional.binary_cross_entropy_with_logits(
            self.logits, self.probs, reduction="none"
        )
        return cross / self.probs
