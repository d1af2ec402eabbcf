"""`torch.distributions.constraints`: what parameters and values must satisfy.

Each has ``check(value)``, a bool tensor, and a text for errors.
Source: PyTorch's torch.distributions page.
"""

from __future__ import annotations

from typing import Any

import suiren as torch
from suiren.tensor import Tensor

__all__ = [
    "Constraint", "boolean", "greater_than", "half_open_interval", "independent",
    "integer_interval", "interval", "lower_cholesky", "nonnegative", "nonnegative_integer",
    "one_hot", "positive", "positive_definite", "positive_integer", "real", "real_vector",
    "simplex", "unit_interval",
]  # fmt: skip


class Constraint:
    """A region; ``event_dim`` is how many last dimensions one element of it has."""

    is_discrete = False
    event_dim = 0

    def check(self, value: Tensor) -> Tensor:
        """Whether each element lies inside."""
        raise NotImplementedError(f"{type(self).__name__} has no check")

    def __repr__(self) -> str:
        return type(self).__name__.lstrip("_") + "()"


class _Real(Constraint):
    def check(self, value: Tensor) -> Tensor:
        return value == value  # false for NaN


class _Boolean(Constraint):
    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value == 0) | (value == 1)


class _Bounded(Constraint):
    """Between bounds, which are numbers or tensors; None is no bound."""

    def __init__(self, lower: Any = None, upper: Any = None, strict: tuple = (False, False)):
        self.lower_bound, self.upper_bound, self._strict = lower, upper, strict

    def check(self, value: Tensor) -> Tensor:
        inside = value == value
        if self.lower_bound is not None:
            low = self.lower_bound
            inside = inside & (value > low if self._strict[0] else value >= low)
        if self.upper_bound is not None:
            high = self.upper_bound
            inside = inside & (value < high if self._strict[1] else value <= high)
        return inside

    def __repr__(self) -> str:
        bounds = [("lower_bound", self.lower_bound), ("upper_bound", self.upper_bound)]
        shown = ", ".join(f"{name}={bound}" for name, bound in bounds if bound is not None)
        return f"{type(self).__name__}({shown})"


class GreaterThan(_Bounded):
    """Above a bound."""

    def __init__(self, lower_bound: Any):
        super().__init__(lower_bound, strict=(True, False))


class GreaterThanEq(_Bounded):
    """At or above a bound."""

    def __init__(self, lower_bound: Any):
        super().__init__(lower_bound)


class Interval(_Bounded):
    """Between two bounds, both included."""

    def __init__(self, lower_bound: Any, upper_bound: Any):
        super().__init__(lower_bound, upper_bound)


class HalfOpenInterval(_Bounded):
    """Between two bounds, without the upper one."""

    def __init__(self, lower_bound: Any, upper_bound: Any):
        super().__init__(lower_bound, upper_bound, strict=(False, True))


class IntegerInterval(_Bounded):
    """Whole numbers between two bounds, both included."""

    is_discrete = True

    def __init__(self, lower_bound: Any, upper_bound: Any = None):
        super().__init__(lower_bound, upper_bound)

    def check(self, value: Tensor) -> Tensor:
        return (value % 1 == 0) & super().check(value)


class _Simplex(Constraint):
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class _OneHot(Constraint):
    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


class _LowerCholesky(Constraint):
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        lower = (value.tril() == value).flatten(-2).all(-1)
        return lower & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _PositiveDefinite(Constraint):
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        symmetric = torch.isclose(value, value.mT, atol=1e-6).all(-2).all(-1)
        return symmetric & (torch.linalg.cholesky_ex(value).info == 0)


class _Independent(Constraint):
    """Another constraint whose last dimensions count as one element."""

    def __init__(self, base: Constraint, dims: int):
        self.base, self.dims = base, dims
        self.is_discrete = base.is_discrete
        self.event_dim = base.event_dim + dims

    def check(self, value: Tensor) -> Tensor:
        inside = self.base.check(value)
        return inside.flatten(inside.dim() - self.dims).all(-1) if self.dims else inside

    def __repr__(self) -> str:
        return f"Independent({self.base}, {self.dims})"


greater_than = GreaterThan
greater_than_eq = GreaterThanEq
half_open_interval = HalfOpenInterval
integer_interval = IntegerInterval
interval = Interval
independent = _Independent
real = _Real()
real_vector = _Independent(real, 1)
boolean = _Boolean()
positive = GreaterThan(0.0)
nonnegative = GreaterThanEq(0.0)
nonnegative_integer = IntegerInterval(0)
positive_integer = IntegerInterval(1)
unit_interval = Interval(0.0, 1.0)
simplex = _Simplex()
one_hot = _OneHot()
lower_cholesky = _LowerCholesky()
positive_definite = _PositiveDefinite()
