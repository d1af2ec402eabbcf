"""The multivariate normal distribution.

Source: torch.distributions.multivariate_normal.MultivariateNormal.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import suiren as torch
from suiren.distributions import constraints
from suiren.distributions.distribution import Distribution
from suiren.distributions.utils import standard_normal
from suiren.tensor import Tensor

__all__ = ["MultivariateNormal"]


def mahalanobis(scale_tril: Tensor, off: Tensor) -> Tensor:
    """Squared distances ``|L**-1 off|**2``; batch dimensions broadcast."""
    solved = torch.linalg.solve_triangular(scale_tril, off.unsqueeze(-1), upper=False)
    return solved.squeeze(-1).pow(2).sum(-1)


def half_log_det(scale_tril: Tensor) -> Tensor:
    """The log of the determinant of a triangular matrix with a positive diagonal."""
    return scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class MultivariateNormal(Distribution):
    """Vectors with mean ``loc`` and one of: covariance, its inverse, its Cholesky factor.

    >>> from suiren.distributions import MultivariateNormal
    >>> MultivariateNormal(torch.zeros(2), torch.eye(2)).log_prob(torch.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        there = {name: matrix for name, matrix in given.items() if matrix is not None}
        if len(there) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                "specified."
            )
        ((name, matrix),) = there.items()
        if matrix.dim() < 2:
            raise ValueError(
                f"{name} matrix must be at least two-dimensional, with optional leading batch "
                "dimensions"
            )
        batch = torch.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        vars(self)[name] = matrix.expand((*batch, -1, -1))
        self.loc = loc.expand((*batch, -1))
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        if name == "scale_tril":
            self._factor = matrix
        elif name == "covariance_matrix":
            self._factor = torch.linalg.cholesky(matrix)
        else:
            self._factor = _factor_of_inverse(matrix)

    @cached_property
    def scale_tril(self) -> Tensor:
        """The lower Cholesky factor of the covariance."""
        size = self._event_shape[0]
        return self._factor.expand((*self._batch_shape, size, size))

    @cached_property
    def covariance_matrix(self) -> Tensor:
        """The covariance."""
        product = torch.matmul(self._factor, self._factor.mT)
        return product.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    @cached_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        inverse = torch.cholesky_inverse(self._factor)
        return inverse.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        squared = self._factor.pow(2).sum(-1)
        return squared.expand((*self._batch_shape, *self._event_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = standard_normal(
            self._extended_shape(sample_shape), self.loc.dtype, self.loc.device
        )
        return self.loc + torch.matmul(self._factor, noise.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        self._check_value(value)
        squared = mahalanobis(self._factor, value - self.loc)
        size = self._event_shape[0]
        return -0.5 * (size * math.log(2 * math.pi) + squared) - half_log_det(self._factor)

    def entropy(self) -> Tensor:
        size = self._event_shape[0]
        entropy = 0.5 * size * (1.0 + math.log(2 * math.pi)) + half_log_det(self._factor)
        return entropy.expand(self._batch_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> MultivariateNormal:
        size = self._event_shape[0]
        return MultivariateNormal(
            self.loc.expand((*batch_shape, size)),
            scale_tril=self.scale_tril.expand((*batch_shape, size, size)),
            validate_args=False,
        )


def _factor_of_inverse(matrix: Tensor) -> Tensor:
    """The lower Cholesky factor of the inverse, without forming the inverse."""
    flipped = torch.linalg.cholesky(torch.flip(matrix, (-2, -1)))
    inverse = torch.transpose(torch.flip(flipped, (-2, -1)), -2, -1)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.solve_triangular(inverse, identity, upper=False)
