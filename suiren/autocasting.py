"""What autocast does to calls: arguments of some functions are converted before they compute.

The functions that PyTorch lists are marked where they are defined: products and convolutions run in
the lower type (:func:`lowered`, :func:`in_lower`), losses, decompositions and so on in float32
(:func:`in_float32`), ``cat`` and its kin in the widest type that they are given (:func:`promoted`).
All else takes what it is given. float64, complex numbers and integers are never converted.

Who never enters autocast pays one look at an empty list per product. ``suiren.amp`` is what users
see of it. Found by experiment with PyTorch 2.13: its functions registered for autocast on the CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from suiren import dtypes
from suiren.autocast_state import casting, state, suspended
from suiren.autograd.mode import mode
from suiren.device import META
from suiren.dtypes import dtype
from suiren.tensor import Tensor

_F = TypeVar("_F", bound=Callable[..., Any])

# --------------------------------------------------------------------------
# Converting


class _Converted:
    """A parameter in the lower type, and how to notice that it has been written to since."""

    __slots__ = ("tensor", "storage", "changes", "result")

    def __init__(self, tensor: Tensor, result: Tensor) -> None:
        self.tensor = tensor  # held, so that no other tensor can have its id
        self.storage = tensor._storage
        self.changes = tensor._storage.changes
        self.result = result


def _converted(x: Any, wanted: dtype) -> Any:
    if not isinstance(x, Tensor) or x._meta.device is META:
        return x
    kind = x._meta.dtype
    if kind is wanted or not kind.is_floating_point or kind is dtypes.float64:
        return x
    if (
        x._requires_grad and x._grad_fn is None and x._view is None and kind is dtypes.float32
        and wanted is state.dtype and state.caching and x._storage.pinned is None
    ):  # fmt: skip
        return _remembered(x, wanted)
    return x.to(wanted)


def _remembered(x: Tensor, wanted: dtype) -> Tensor:
    """Parameters are converted once in the outermost context, and anew when written to."""
    key = id(x), wanted, mode.grad, mode.inference
    found = state.cache.get(key)
    storage = x._storage
    if found is None or found.storage is not storage or found.changes != storage.changes:
        found = state.cache[key] = _Converted(x, x.to(wanted))
    return found.result


def lowered(*given: Any) -> tuple:
    """The arguments of a product, tensors in the lower type if autocast is on in this thread."""
    if not state.enabled:
        return given
    wanted = state.dtype
    return tuple([_converted(x, wanted) for x in given])


def widened(*given: Any) -> tuple:
    """The arguments, tensors of 16 bits in float32 if autocast is on in this thread."""
    if not state.enabled:
        return given
    return tuple([_converted(x, dtypes.float32) for x in given])


def promoted(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The tensors in the widest type among float32 and the lower type, if autocast is on.

    Raises RuntimeError for the other type of 16 bits, as PyTorch does.
    """
    if not state.enabled:
        return tuple(tensors)
    wanted = lower = state.dtype
    for x in tensors:
        kind = x._meta.dtype if isinstance(x, Tensor) else wanted
        if kind is dtypes.float32:
            wanted = kind
        elif kind.is_half and kind is not lower and wanted is lower:
            raise RuntimeError(
                f"Unexpected floating ScalarType in autocast: {kind} where autocast works with "
                f"{lower}; convert the tensor with .to()"
            )
    return tuple([_converted(x, wanted) for x in tensors])


def _each(x: Any, wanted: dtype) -> Any:
    if x.__class__ in (list, tuple):
        return x.__class__([_converted(y, wanted) for y in x])
    return _converted(x, wanted)


def _all(args: tuple, kwargs: dict[str, Any], wanted: dtype) -> tuple[tuple, dict[str, Any]]:
    return (
        tuple([_each(x, wanted) for x in args]),
        {key: _each(x, wanted) for key, x in kwargs.items()},
    )


def _computing_in(kind: dtype | None) -> Callable[[_F], _F]:
    """A decorator: under autocast the function computes in this type (None: in the lower type)."""

    def decorated(function: _F) -> _F:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if casting and state.enabled:
                args, kwargs = _all(args, kwargs, state.dtype if kind is None else kind)
                with suspended():
                    return function(*args, **kwargs)
            return function(*args, **kwargs)

        return called  # type: ignore[return-value]

    return decorated


in_float32 = _computing_in(dtypes.float32)
in_lower = _computing_in(None)


def as_given(function: _F) -> _F:
    """Decorator of a function that computes in what it is given, though it is made of products."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if casting:
            with suspended():
                return function(*args, **kwargs)
        return function(*args, **kwargs)

    return called  # type: ignore[return-value]
