"""The Poisson distribution. Source: torch.distributions.poisson.Poisson."""

from __future__ import annotations

from typing import Any

import suiren as torch
from suiren.distributions import constraints
from suiren.distributions.distribution import Distribution
from suiren.distributions.utils import all_numbers, broadcast_all
from suiren.tensor import Tensor

__all__ = ["Poisson"]


class Poisson(Distribution):
    """Counts of events of which ``rate`` are expected.

    >>> from suiren.distributions import Poisson
    >>> Poisson(2.0).log_prob(torch.tensor(0.0))
    tensor(-2.)
    """

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate: Any, validate_args: bool | None = None):
        (self.rate,) = broadcast_all(rate)
        shape = () if all_numbers(rate) else self.rate.size()
        super().__init__(shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        return self.rate

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            return torch.poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_value(value)
        rate, value = broadcast_all(self.rate, value)
        return value.xlogy(rate) - rate - (value + 1).lgamma()
