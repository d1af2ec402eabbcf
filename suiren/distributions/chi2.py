"""The chi-squared distribution. Source: torch.distributions.chi2.Chi2."""

from __future__ import annotations

from typing import Any

from suiren.distributions import constraints
from suiren.distributions.gamma import Gamma
from suiren.distributions.utils import broadcast_all
from suiren.tensor import Tensor

__all__ = ["Chi2"]


class Chi2(Gamma):
    """The sum of ``df`` squared standard normal numbers.

    >>> from suiren.distributions import Chi2
    >>> Chi2(3.0).variance
    tensor(6.)
    """

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df: Any, validate_args: bool | None = None):
        (degrees,) = broadcast_all(df)
        plain = not isinstance(df, Tensor)
        super().__init__(degrees * 0.5, 0.5, validate_args)
        if plain:
            self._batch_shape = self._batch_shape[:0]

    @property
    def df(self) -> Tensor:
        """Degrees of freedom."""
        return self.concentration * 2
