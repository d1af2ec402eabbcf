"""The Dirichlet distribution. Source: torch.distributions.dirichlet.Dirichlet."""

from __future__ import annotations

from typing import Any

import suiren as torch
from suiren.distributions import constraints
from suiren.distributions.distribution import Distribution
from suiren.distributions.gamma import standard_gamma
from suiren.tensor import Tensor

__all__ = ["Dirichlet"]


class Dirichlet(Distribution):
    """Probabilities of n outcomes; ``concentration`` has them in its last dimension.

    Samples are gamma samples over their sum, and their gradient is that of this computation. It
    has the same mean as PyTorch's, sample by sample the two differ.

    >>> from suiren.distributions import Dirichlet
    >>> Dirichlet(torch.tensor([1.0, 3.0])).mean
    tensor([0.2500, 0.7500])
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: Tensor, validate_args: bool | None = None):
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        shape = concentration.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> Tensor:
        less = (self.concentration - 1).clamp(min=0.0)
        mode = less / less.sum(-1, True)
        flat = (self.concentration < 1).all(dim=-1)
        peak = torch.nn.functional.one_hot(mode.nan_to_num().argmax(-1), mode.shape[-1])
        return torch.where(flat.unsqueeze(-1), peak.to(mode.dtype), mode)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        gammas = standard_gamma(self.concentration.expand(self._extended_shape(sample_shape)))
        tiny = torch.finfo(gammas.dtype).tiny
        return (gammas / gammas.sum(-1, True)).clamp(min=tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_value(value)
        a = self.concentration
        return (
            torch.xlogy(a - 1.0, value).sum(-1)
            + torch.lgamma(a.sum(-1))
            - torch.lgamma(a).sum(-1)
        )

    def entropy(self) -> Tensor:
        a = self.concentration
        count, total = a.size(-1), a.sum(-1)
        return (
            torch.lgamma(a).sum(-1)
            - torch.lgamma(total)
            - (count - total) * torch.digamma(total)
            - ((a - 1.0) * torch.digamma(a)).sum(-1)
        )
