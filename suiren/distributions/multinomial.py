"""The multinomial distribution. Source: torch.distributions.multinomial.Multinomial."""

from __future__ import annotations

from typing import Any

import suiren as torch
from suiren.distributions import constraints
from suiren.distributions.categorical import Categorical
from suiren.distributions.distribution import Distribution
from suiren.tensor import Tensor

__all__ = ["Multinomial"]


class _Counts(constraints.Constraint):
    """Whole numbers that sum to a total over the last dimension."""

    is_discrete = True
    event_dim = 1

    def __init__(self, total: int):
        self.total = total

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & (value.sum(-1) <= self.total)


class Multinomial(Distribution):
    """How often each class comes in ``total_count`` draws; parameters as Categorical's.

    >>> from suiren.distributions import Multinomial
    >>> Multinomial(4, torch.tensor([0.5, 0.5])).mean
    tensor([2., 2.])
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs, logits, validate_args=validate_args)
        super().__init__(
            self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args
        )

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._categorical.probs

    @property
    def logits(self) -> Tensor:
        """Logs of the probabilities."""
        return self._categorical.logits

    @property
    def support(self) -> constraints.Constraint:
        return _Counts(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = self._categorical.sample((self.total_count, *sample_shape))
        rows = torch.nn.functional.one_hot(drawn, self._event_shape[-1])
        return rows.sum(0).to(self.probs.dtype)

    def entropy(self) -> Tensor:
        # each count alone is binomial: E[log count!] is a sum over its values
        n = self.total_count
        count = torch.arange(n + 1.0, dtype=self.probs.dtype, device=self.probs.device)
        count = count.view((-1,) + (1,) * self.probs.dim())  # counts, batch, classes
        total = self.probs.new_tensor(n + 1.0).lgamma()
        ways = total - (count + 1).lgamma() - (n - count + 1).lgamma()
        logs = ways + torch.xlogy(count, self.probs) + torch.xlogy(n - count, 1 - self.probs)
        expected = (logs.exp() * (count + 1).lgamma()).sum((0, -1))
        return n * self._categorical.entropy() - total + expected

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_value(value)
        logits, value = torch.broadcast_tensors(self.logits, value)
        ways = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
        impossible = (value == 0) & (logits == -torch.inf)
        return ways + (logits.masked_fill(impossible, 0) * value).sum(-1)
