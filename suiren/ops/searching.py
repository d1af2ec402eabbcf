"""Distinct elements, and places in sorted sequences.

The shape of ``unique``'s result depends on the data, so it is computed at once.
Source: torch.unique, unique_consecutive, searchsorted, bucketize.
"""

from __future__ import annotations

from math import prod
from typing import Literal

import numpy as np

from suiren import dtypes
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.creation import from_array
from suiren.ops.views import wrap_dim
from suiren.tensor import Tensor
from suiren.trace import meta

# --------------------------------------------------------------------------
# Distinct elements


def _runs(ordered: np.ndarray) -> np.ndarray:
    """Whether each row differs from the one before (NaN differs from everything)."""
    starts = np.ones(len(ordered), bool)
    if ordered.ndim == 1:
        starts[1:] = ordered[1:] != ordered[:-1]
    elif len(ordered):
        starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return starts


def _peeked(input, name: str) -> np.ndarray:
    if input._meta.dtype.is_complex:
        raise NotImplementedError(
            f'"{name}" not implemented for {input._meta.dtype.letter_name!r}: complex numbers have '
            "no order"
        )
    return np.asarray(input.peek())


def _rows(x: np.ndarray, dim: int) -> np.ndarray:
    moved = np.moveaxis(x, dim, 0)
    return moved.reshape(moved.shape[0], -1 if moved.size else 0)


def _picked(x: np.ndarray, places: np.ndarray, dim: int | None) -> np.ndarray:
    found = x.reshape(-1)[places] if dim is None else np.take(x, places, axis=dim)
    return np.array(found, order="C")


def _counts(starts: np.ndarray) -> np.ndarray:
    return np.diff(np.append(np.flatnonzero(starts), len(starts)))


def _check_empty(name: str, m, dim: int) -> None:
    rest = [s for d, s in enumerate(m.shape) if d != dim]
    if 0 in rest and m.shape[dim]:
        raise RuntimeError(
            f"There are 0 sized dimensions, and they aren't selected, so {name} cannot be applied: "
            f"got shape {list(m.shape)} and dim {dim}"
        )


def _results(values, inverse, counts, return_inverse: bool, return_counts: bool):
    found = [from_array(values)]
    if return_inverse:
        found.append(from_array(np.ascontiguousarray(inverse, np.int64).reshape(inverse.shape)))
    if return_counts:
        found.append(from_array(np.asarray(counts, np.int64)))
    return found[0] if len(found) == 1 else tuple(found)


@composite(out=False)
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements in ascending order, or the distinct slices along ``dim``.

    With ``return_inverse`` also where each element went, with ``return_counts`` how often each
    came. Each NaN counts as distinct. No gradient. Source: torch.unique.

    >>> import suiren as torch
    >>> torch.tensor([3, 1, 3]).unique(return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    m = input._meta
    x = _peeked(input, "unique")
    if dim is not None:
        dim = wrap_dim(dim, m.ndim)
    if dim is None or not m.ndim:
        dim, rows, shape = None, x.reshape(-1), x.shape
        if not return_inverse:  # sorting values alone is many times faster
            values = np.sort(rows)
            starts = _runs(values)
            return _results(values[starts], None, _counts(starts), False, return_counts)
        order = np.argsort(rows, kind="stable")
    else:
        _check_empty("unique", m, dim)
        rows = _rows(x, dim)
        shape = (len(rows),)
        order = np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(len(rows))
    starts = _runs(rows[order])
    if rows.ndim == 2 and not rows.shape[1]:
        starts[1:] = False
    inverse = np.empty(len(rows), np.int64)
    inverse[order] = np.cumsum(starts) - 1
    values = _picked(x, order[starts], dim)
    return _results(
        values, inverse.reshape(shape), _counts(starts), return_inverse, return_counts
    )


@composite(out=False)
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The elements (or slices along ``dim``) that differ from the one before.

    Source: torch.unique_consecutive.

    >>> import suiren as torch
    >>> torch.tensor([1, 1, 2, 1]).unique_consecutive()
    tensor([1, 2, 1])
    """
    m = input._meta
    x = _peeked(input, "unique_consecutive")
    if dim is not None:
        dim = wrap_dim(dim, m.ndim)
    if dim is None or not m.ndim:
        dim, rows, shape = None, x.reshape(-1), x.shape
    else:
        _check_empty("unique_consecutive", m, dim)
        rows = _rows(x, dim)
        shape = (len(rows),)
    starts = _runs(rows)
    inverse = (np.cumsum(starts) - 1).reshape(shape)
    values = _picked(x, np.flatnonzero(starts), dim)
    return _results(values, inverse, _counts(starts), return_inverse, return_counts)


# --------------------------------------------------------------------------
# Places in sorted sequences


def _search_rows(
    sequences: np.ndarray, values: np.ndarray, side: Literal["left", "right"]
) -> np.ndarray:
    count = prod(sequences.shape[:-1])  # reshape cannot infer it where a row is empty
    flat = sequences.reshape(count, sequences.shape[-1])
    wanted = values.reshape(count, values.shape[-1])
    found = np.empty(wanted.shape, np.int64)
    for i, (row, those) in enumerate(zip(flat, wanted, strict=True)):
        found[i] = np.searchsorted(row, those, side)
    return found.reshape(values.shape)


@operator(name="searchsorted", where=(), out=False)
class _search:
    """Where values belong in sorted sequences; rows of both, or one sequence for all values."""

    tensors = 3
    widen = True

    def call(sequence, values, sorter, right, int32):
        return apply(_search.operator, (sequence, values, sorter), (right, int32))

    def infer(sequence, values, sorter, right, int32):
        return meta(values.shape, dtypes.int32 if int32 else dtypes.int64, values.device)

    def evaluate(sequence, values, sorter, right, int32):
        side = "right" if right else "left"
        sequence, values = np.asarray(sequence), np.asarray(values)
        if sorter is not None:
            sequence = np.take_along_axis(sequence, np.asarray(sorter), -1)
        if sequence.ndim == 1:
            found = np.searchsorted(sequence, values, side)
        else:
            found = _search_rows(sequence, values, side)
        return np.asarray(found).astype(np.int32 if int32 else np.int64)


def _side(name: str, right: bool, side: str | None) -> bool:
    if side not in (None, "left", "right"):
        raise RuntimeError(f"{name}(): side can only be 'left' or 'right' but got {side}")
    if side == "left" and right:
        raise RuntimeError(
            f"{name}(): side and right can't be set to opposites, got side of left while right "
            "was True"
        )
    return right or side == "right"


def _as_values(values, like):
    """A number as a tensor in which it compares exactly with the sequence."""
    if isinstance(values, Tensor):
        return values
    if not isinstance(values, (int, float)):
        raise TypeError(
            f"searchsorted(): values must be a tensor or a number, got {type(values).__name__}"
        )
    kind = np.int64 if isinstance(values, int) else np.float64
    if like._meta.dtype.is_floating_point and isinstance(values, float):
        kind = like._meta.dtype.numpy
    return from_array(np.array(values, kind), where=like._meta.device)


@composite(where=("torch",))
def searchsorted(
    sorted_sequence, input=None, *, out_int32=False, right=False, side=None, sorter=None,
    self=None,
):  # fmt: skip
    """For each value the place in a sorted sequence that keeps it sorted.

    Along the last dimension: row by row where the leading sizes match, or in one sequence for all
    values. With ``right`` (or ``side="right"``) behind equal elements. ``sorter`` says the order
    that sorts an unsorted sequence. Source: torch.searchsorted.

    >>> import suiren as torch
    >>> torch.searchsorted(torch.tensor([1, 3, 5]), torch.tensor([3, 6]))
    tensor([1, 3])
    """
    values = self if input is None else input
    name = "torch.searchsorted"
    right = _side(name, bool(right), side)
    m = sorted_sequence._meta
    if not m.ndim:
        raise RuntimeError(
            f"{name}(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    if not isinstance(values, Tensor) and m.ndim != 1:
        raise RuntimeError(
            f"{name}(): input value can be a scalar only when boundaries tensor dimension is 1, "
            f"but got boundaries tensor dim({m.ndim})"
        )
    values = _as_values(values, sorted_sequence)
    v = values._meta
    if m.ndim != 1 and (v.ndim != m.ndim or v.shape[:-1] != m.shape[:-1]):
        raise RuntimeError(
            f"{name}(): boundaries tensor should be 1 dimension or the first N-1 dimensions of "
            f"boundaries tensor and input value tensor must match, but we got boundaries tensor "
            f"{list(m.shape)} and input value tensor {list(v.shape)}"
        )
    _check_kinds(name, m, v)
    if sorter is not None:
        _check_sorter(name, m, sorter)
    return _search(sorted_sequence, values, sorter, right, bool(out_int32))


def _check_kinds(name: str, m, v) -> None:
    for kind in (m.dtype, v.dtype):
        if kind.is_complex:
            raise RuntimeError(f"{name}(): complex numbers have no order, got {kind}")


def _check_sorter(name: str, m, sorter) -> None:
    s = sorter._meta
    if s.shape != m.shape:
        raise RuntimeError(
            f"{name}(): boundary and sorter must have the same size, but got boundary tensor "
            f"{list(m.shape)} and got sorter tensor {list(s.shape)}"
        )
    if s.dtype is not dtypes.int64:
        raise RuntimeError(
            f"{name}(): sorter must be a tensor of long dtype but got dtype {s.dtype}"
        )
    if s.numel and not bool(((sorter >= 0).logical_and(sorter < m.shape[-1])).all()):
        raise RuntimeError(f"{name}(): sorter index out of range")


@composite(where=("torch",))
def bucketize(input, boundaries, *, out_int32=False, right=False):
    """For each value the number of the bucket between sorted ``boundaries`` that it falls in.

    Source: torch.bucketize.

    >>> import suiren as torch
    >>> torch.bucketize(torch.tensor([1, 4]), torch.tensor([1, 3]), right=True)
    tensor([1, 2])
    """
    if boundaries._meta.ndim != 1:
        raise RuntimeError(
            f"boundaries tensor must be 1 dimension, but got dim({boundaries._meta.ndim})"
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


__all__ = ["bucketize", "searchsorted", "unique", "unique_consecutive"]
