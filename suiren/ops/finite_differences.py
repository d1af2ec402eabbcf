"""``gradient``: derivatives of sampled functions from differences of neighbouring samples.

Inside, central differences of second order, also for unevenly spaced samples; at the two ends,
differences towards the inside of first or second order. Written with other operators, which is
how autograd follows it. Source: PyTorch's torch.gradient page; the weights for uneven spacing
follow from the Taylor series (B. Fornberg 1988, "Generation of finite difference formulas on
arbitrarily spaced grids").
"""

from __future__ import annotations

from typing import Any

from suiren import dtypes
from suiren.operator import NAMESPACES, composite
from suiren.ops.elementwise import NUMBERS
from suiren.ops.views import wrap_dim
from suiren.tensor import Tensor


@composite(where=("torch",), out=False)
def gradient(input, *, spacing=None, dim=None, edge_order=1):
    """A tuple with the derivative of the sampled function ``input`` along each dimension.

    ``spacing`` is the distance of samples: one number, a sequence of one for each dimension, or a
    sequence of one-dimensional tensors with the coordinates of the samples. ``dim``: the
    dimensions (an int or several; all of them if not given); each needs at least
    ``edge_order + 1`` samples. ``edge_order`` (1 or 2) is the order of the differences at the two
    ends. Results have the shape of ``input`` and its dtype (integers: the default floating one).
    Raises RuntimeError for uint8, for too few samples, repeated dimensions and a spacing of
    another length than the dimensions, IndexError for a dimension that is not there.
    Source: torch.gradient.

    >>> import suiren as torch
    >>> torch.gradient(torch.tensor([1., 2., 4., 8.]))
    (tensor([1.0000, 1.5000, 3.0000, 4.0000]),)
    """
    if edge_order not in (1, 2):
        raise RuntimeError(
            f"torch.gradient only supports edge_order=1 and edge_order=2, got {edge_order}"
        )
    if input._meta.dtype is dtypes.uint8:
        raise RuntimeError(
            "torch.gradient does not support uint8 input: differences would wrap around; "
            "convert it with .float() first"
        )
    dims = _dimensions(input, dim)
    steps = _spacings(input, spacing, dims, dim is not None)
    for d in dims:
        if input._meta.shape[d] < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1 = "
                f"{edge_order + 1}, got {input._meta.shape[d]} at dimension {d}"
            )
    return tuple(
        [_along(input, d, step, edge_order) for d, step in zip(dims, steps, strict=True)]
    )


def _dimensions(input: Tensor, dim: Any) -> list[int]:
    ndim = input._meta.ndim
    if dim is None:
        return list(range(ndim))
    dims = [wrap_dim(d, ndim) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    for d in dims:
        if dims.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    return dims


def _spacings(input: Tensor, spacing: Any, dims: list[int], given: bool) -> list[Any]:
    """For each dimension a number, or a tensor with the coordinates of its samples."""
    if spacing is None:
        return [1] * len(dims)
    if spacing.__class__ in NUMBERS:
        return [spacing] * len(dims)
    if isinstance(spacing, Tensor):
        if spacing._meta.ndim:
            raise TypeError(
                "gradient() received an invalid combination of arguments: spacing must be a "
                "number, a sequence of numbers or a sequence of tensors, got a tensor of "
                f"{spacing._meta.ndim} dimensions; put it into a tuple"
            )
        return [spacing.item()] * len(dims)
    found = list(spacing)
    if len(found) != len(dims):
        wanted = f"'dim' = {len(dims)}" if given else f"'self.dim() = {len(dims)}'"
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list of length "
            f"equal to {wanted}{'' if given else ', since dim argument was not given'}, but got "
            f"a list of length {len(found)}"
        )
    if any(isinstance(x, Tensor) for x in found):
        for at, (x, d) in enumerate(zip(found, dims, strict=True)):
            _check_coordinates(x, at, input._meta.shape[d])
    return found


def _check_coordinates(x: Any, at: int, size: int) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(
            f"gradient() expected Tensor as element {at} of spacing, but got {type(x).__name__}"
        )
    if x._meta.ndim != 1:
        raise RuntimeError(
            "torch.gradient expected each element of spacing to have one dimension, but got an "
            f"element with {x._meta.ndim} dimensions!"
        )
    if x._meta.numel != size:
        raise RuntimeError(
            f"torch.gradient expected one coordinate for each of the {size} samples, got "
            f"{x._meta.numel} in element {at} of spacing"
        )


def _along(f: Tensor, dim: int, step: Any, edge_order: int) -> Tensor:
    differences = _uneven if isinstance(step, Tensor) else _even
    first, inner, last = differences(f, dim, step, edge_order)
    return NAMESPACES["torch"]["cat"]([first, inner, last], dim)


def _even(f: Tensor, dim: int, step: Any, edge_order: int) -> tuple[Tensor, Tensor, Tensor]:
    count = f._meta.shape[dim]

    def at(i: int) -> Tensor:
        return f.narrow(dim, i % count, 1)

    inner = (f.narrow(dim, 2, count - 2) - f.narrow(dim, 0, count - 2)) / (2 * step)
    if edge_order == 1:
        return (at(1) - at(0)) / step, inner, (at(-1) - at(-2)) / step
    first = (-1.5 * at(0) + 2 * at(1) - 0.5 * at(2)) / step
    last = (0.5 * at(-3) - 2 * at(-2) + 1.5 * at(-1)) / step
    return first, inner, last


def _uneven(f: Tensor, dim: int, points: Tensor, edge_order: int) -> tuple[Tensor, Tensor, Tensor]:
    count = f._meta.shape[dim]
    # The distances of neighbours, in the shape that broadcasts along dim: count - 1 there.
    gaps = points.diff().reshape([-1 if d == dim else 1 for d in range(f._meta.ndim)])

    def at(i: int, width: int = 1) -> Tensor:
        return f.narrow(dim, i % count, width)

    def gap(i: int, width: int = 1) -> Tensor:
        return gaps.narrow(dim, i % (count - 1), width)

    # u and v: the distances before and after the middle one of three neighbours
    u, v = gap(0, count - 2), gaps.narrow(dim, 1, count - 2)
    inner = (
        at(0, count - 2) * (-v / (u * (u + v)))
        + at(1, count - 2) * ((v - u) / (u * v))
        + f.narrow(dim, 2, count - 2) * (u / (v * (u + v)))
    )
    if edge_order == 1:
        return (at(1) - at(0)) / gap(0), inner, (at(-1) - at(-2)) / gap(-1)
    u, v = gap(0), gap(1)
    first = (
        at(0) * (-(2 * u + v) / (u * (u + v)))
        + at(1) * ((u + v) / (u * v))
        + at(2) * (-u / (v * (u + v)))
    )
    u, v = gap(-2), gap(-1)
    last = (
        at(-3) * (v / (u * (u + v)))
        + at(-2) * (-(u + v) / (u * v))
        + at(-1) * ((u + 2 * v) / (v * (u + v)))
    )
    return first, inner, last


__all__ = ["gradient"]
