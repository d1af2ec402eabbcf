"""`torch.distributions.Distribution`: what all distributions share.

A distribution has a batch shape (independent parameters) and an event shape (one outcome); a sample
has shape ``sample_shape + batch_shape + event_shape``. Source: PyTorch's torch.distributions page.
"""

from __future__ import annotations

from typing import Any

import suiren as torch
from suiren.distributions.constraints import Constraint
from suiren.size import Size
from suiren.tensor import Tensor

__all__ = ["Distribution"]


class Distribution:
    """The base of all distributions; subclasses define what they can.

    ``arg_constraints`` names the parameters and what they must satisfy. With ``validate_args``
    (the default unless Python runs with -O) wrong parameters and values raise ValueError.
    """

    has_rsample = False
    has_enumerate_support = False
    arg_constraints: dict[str, Constraint] = {}
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether parameters and values are checked where nothing else is said."""
        Distribution._validate_args = bool(value)

    def __init__(
        self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None
    ):
        self._batch_shape = Size(batch_shape)
        self._event_shape = Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    def _check_parameters(self) -> None:
        for name, constraint in self.arg_constraints.items():
            if name not in self.__dict__:  # computed from another one that was given
                continue
            value = getattr(self, name)
            if not bool(constraint.check(value).all()):
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape "
                    f"{tuple(value.shape)}) of distribution {self!r} to satisfy the constraint "
                    f"{constraint!r}, but found invalid values:\n{value}"
                )

    @property
    def batch_shape(self) -> Size:
        """The shape of the parameters."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one outcome."""
        return self._event_shape

    @property
    def support(self) -> Constraint | None:
        """What outcomes satisfy."""
        return None

    @property
    def mean(self) -> Tensor:
        """The mean."""
        raise self._lacks("mean")

    @property
    def mode(self) -> Tensor:
        """The likeliest outcome."""
        raise self._lacks("mode")

    @property
    def variance(self) -> Tensor:
        """The variance."""
        raise self._lacks("variance")

    @property
    def stddev(self) -> Tensor:
        """The standard deviation."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Outcomes, without gradient: shape ``sample_shape + batch_shape + event_shape``."""
        with torch.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Outcomes differentiable by the parameters; NotImplementedError where there are none."""
        raise self._lacks("rsample")

    def log_prob(self, value: Tensor) -> Tensor:
        """The log of the density or probability at ``value``."""
        raise self._lacks("log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of an outcome of at most ``value``."""
        raise self._lacks("cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The outcome that is reached with probability ``value``."""
        raise self._lacks("icdf")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All outcomes of a discrete distribution, in a new first dimension."""
        raise self._lacks("enumerate_support")

    def entropy(self) -> Tensor:
        """The entropy in nats, of shape ``batch_shape``."""
        raise self._lacks("entropy")

    def perplexity(self) -> Tensor:
        """``exp(entropy)``."""
        return torch.exp(self.entropy())

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """The same distribution with its parameters expanded to a larger batch shape."""
        import copy

        other = copy.copy(self)
        before = len(self._batch_shape)
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor):
                last = value.shape[before:]
                vars(other)[name] = value.expand((*batch_shape, *last))
            elif isinstance(value, Distribution):
                inside = value._batch_shape[before:]
                vars(other)[name] = value.expand((*batch_shape, *inside))
        other._batch_shape = Size(batch_shape)
        return other

    def _extended_shape(self, sample_shape: Any = ()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _check_value(self, value: Any) -> None:
        """ValueError for a value that no outcome can be."""
        if not self._validate_args:
            return
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        last = len(value.shape) - len(self._event_shape)
        if tuple(value.shape[last:]) != tuple(self._event_shape):
            raise ValueError(
                "The right-most size of value must match event_shape: "
                f"{tuple(value.shape)} vs {tuple(self._event_shape)}."
            )
        wanted = (*self._batch_shape, *self._event_shape)
        for have, want in zip(reversed(value.shape), reversed(wanted), strict=False):
            if have != 1 and want != 1 and have != want:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: "
                    f"{tuple(value.shape)} vs {wanted}."
                )
        support = self.support
        if support is not None and not bool(support.check(value).all()):
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) "
                f"to be within the support ({support!r}) of the distribution {self!r}, but found "
                f"invalid values:\n{value}"
            )

    def _lacks(self, what: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} has no {what}")

    def __repr__(self) -> str:
        names = [name for name in self.arg_constraints if name in self.__dict__]
        shown = []
        for name in names:
            value = self.__dict__[name]
            plain = value.numel() == 1
            shown.append(f"{name}: {value.item() if plain else value.size()}")
        return f"{type(self).__name__}({', '.join(shown)})"
