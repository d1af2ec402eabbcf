"""Which element types an elementwise operator refuses, and the helpers its family shares.

PyTorch answers an operator that has no kernel for a type with NotImplementedError (a subclass of
RuntimeError); the checks here give the same type and say what to convert.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.ops.views import full_like_meta
from suiren.tensor import Tensor
from suiren.trace import Meta

_CATEGORIES = {
    "bool": dtypes.BOOL,
    "integers": dtypes.INTEGER,
    "floats": dtypes.FLOATING,
    "complex": dtypes.COMPLEX,
}


def refusing(name: str, *kinds: str, error: type[Exception] = NotImplementedError) -> Callable:
    """A ``refuse`` for @elementwise: these kinds of promoted types raise ``error``."""
    refused = {_CATEGORIES[kind] for kind in kinds}

    def refuse(common: dtypes.dtype, metas: tuple) -> None:
        if common.category in refused:
            raise error(
                f'"{name}" not implemented for \'{common.letter_name}\': it got a tensor of dtype '
                f"{common} and does not take {', '.join(kinds)}; convert it with .to() first"
            )

    return refuse


def require_same_dtype(name: str, *tensors: Tensor) -> None:
    """Raises RuntimeError unless all tensors have the dtype of the first."""
    first = tensors[0]._meta.dtype
    for tensor in tensors[1:]:
        if tensor._meta.dtype is not first:
            raise RuntimeError(
                f"{name}: {first.letter_name} did not match {tensor._meta.dtype.letter_name}: "
                f"got tensors of dtype {first} and {tensor._meta.dtype}, which must be the same; "
                "convert one with .to()"
            )


def require_tensors(name: str, **arguments: object) -> None:
    """Raises TypeError for an argument that is no tensor."""
    for position, (argument, value) in enumerate(arguments.items(), 1):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name}(): argument '{argument}' (position {position}) must be Tensor, not "
                f"{type(value).__name__}"
            )


def checked_call(name: str, record: Callable, both: bool = True) -> Callable:
    """A ``call`` for two operands that must both (or only the first) be tensors."""

    def call(input, other):
        if both:
            require_tensors(name, input=input, other=other)
        else:
            require_tensors(name, input=input)
        return apply(record().operator, (input, other))

    return call


def zeros_as(grad: Tensor) -> Tensor:
    """Zeros of the shape and dtype of a gradient: what a step function sends back."""
    return full_like_meta(grad._meta)


def conj(x):
    """The complex conjugate; numbers and real tensors come back as they are."""
    if isinstance(x, Tensor):
        return x.conj() if x._meta.dtype.is_complex else x
    return x.conjugate() if isinstance(x, complex) else x


def is_meta(m: object) -> bool:
    """Whether what describes an argument is that of a tensor (and not of a Python number)."""
    return m.__class__ is Meta


def as_array(x, other):
    """A Python number as an array of the type of the array it meets; arrays as they are."""
    return x if hasattr(x, "dtype") else np.asarray(x).astype(other.dtype)
