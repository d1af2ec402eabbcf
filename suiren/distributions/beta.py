"""The beta distribution. Source: torch.distributions.beta.Beta."""

from __future__ import annotations

from typing import Any

import suiren as torch
from suiren.distributions import constraints
from suiren.distributions.dirichlet import Dirichlet
from suiren.distributions.distribution import Distribution
from suiren.distributions.utils import all_numbers, broadcast_all
from suiren.tensor import Tensor

__all__ = ["Beta"]


class Beta(Distribution):
    """Numbers in [0, 1]; density proportional to ``x**(a - 1) * (1 - x)**(b - 1)``.

    >>> from suiren.distributions import Beta
    >>> Beta(1.0, 3.0).mean
    tensor(0.2500)
    """

    arg_constraints = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.unit_interval
    has_rsample = True

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ):
        both = torch.stack(broadcast_all(concentration1, concentration0), -1)
        plain = all_numbers(concentration1, concentration0)
        self._dirichlet = Dirichlet(both, validate_args=validate_args)
        shape = () if plain else both.shape[:-1]
        super().__init__(shape, validate_args=validate_args)

    @property
    def concentration1(self) -> Tensor:
        """The exponent of x, plus 1."""
        return self._dirichlet.concentration[..., 0]

    @property
    def concentration0(self) -> Tensor:
        """The exponent of 1 - x, plus 1."""
        return self._dirichlet.concentration[..., 1]

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        return self._dirichlet.mode[..., 0]

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.pow(2) * (total + 1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._dirichlet.rsample(sample_shape).select(-1, 0)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_value(value)
        return self._dirichlet.log_prob(torch.stack([value, 1.0 - value], -1))

    def entropy(self) -> Tensor:
        return self._dirichlet.entropy()

    def __repr__(self) -> str:
        return "Beta()"
