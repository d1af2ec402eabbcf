"""Joining tensors: cat, stack and their relatives. Source: PyTorch's pages of these functions."""

from __future__ import annotations

import numpy as np

from suiren.autocast_state import casting
from suiren.autocasting import promoted
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.casts import to_dtype
from suiren.ops.elementwise import elementwise_strides, result_type_of
from suiren.ops.parts import slice_
from suiren.ops.views import full_like_meta, reshape, unsqueeze, wrap_dim
from suiren.tensor import Tensor
from suiren.trace import meta


def tensor_list(tensors, name: str) -> tuple[Tensor, ...]:
    """A sequence of tensors as a tuple; raises TypeError for anything else."""
    if isinstance(tensors, Tensor) or not isinstance(tensors, (list, tuple)):
        raise TypeError(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not "
            f"{type(tensors).__name__}"
        )
    for i, x in enumerate(tensors):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}"
            )
    return tuple(tensors)


def _common_dtype(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    first = tensors[0]._meta.dtype
    for x in tensors:
        if x._meta.dtype is not first:
            break
    else:
        return tensors
    # promotion knows ranks here as everywhere: a number of no dimensions gives way
    kind = result_type_of([x._meta for x in tensors])
    return tuple([to_dtype(x, kind) for x in tensors])


@operator(aliases=("concat", "concatenate"))
class cat:
    """The tensors one after another along a dimension; other sizes must agree.

    Source: torch.cat.

    >>> import suiren as torch
    >>> torch.cat([torch.zeros(1, 2), torch.ones(1, 2)])
    tensor([[0., 0.],
            [1., 1.]])
    """

    one_device = True
    tensors = 0

    def call(tensors, dim=0):
        tensors = tensor_list(tensors, "cat")
        if not tensors:
            raise ValueError("torch.cat(): expected a non-empty list of Tensors")
        if casting:
            tensors = promoted(tensors)
        return concatenated(_common_dtype(tensors), dim)

    def infer(*metas_and_dim):
        *metas, dim = metas_and_dim
        shape = list(metas[0].shape)
        shape[dim] = sum(m.shape[dim] for m in metas)
        strides = None
        first = metas[0]
        if not first.contiguous and all(m.strides == first.strides or m.ndim for m in metas):
            if all(_same_order(first, m) for m in metas):
                strides = elementwise_strides(shape, [first.like(shape, None, first.strides)])
        return meta(shape, first.dtype, first.device, strides)

    def evaluate(*arrays_and_dim):
        return np.concatenate(arrays_and_dim[:-1], axis=arrays_and_dim[-1])

    def decompose(g, *parts_and_dim):
        return g.concat(parts_and_dim[:-1], parts_and_dim[-1])

    def backward(grad, metas, attributes, needs):
        (dim,) = attributes
        found, start = [], 0
        for m, need in zip(metas, needs, strict=True):
            stop = start + m.shape[dim]
            found.append(slice_(grad, dim, start, stop, 1) if need else None)
            start = stop
        return tuple(found)


def _same_order(a, b) -> bool:
    def channels_last(m):
        order = [0, *range(2, m.ndim), 1]
        expected = 1
        for d in reversed(order):
            if m.shape[d] != 1 and m.strides[d] != expected:
                return False
            expected *= m.shape[d]
        return True

    return a.ndim in (4, 5) and channels_last(a) and channels_last(b)


def _is_legacy_empty(x: Tensor) -> bool:
    return x._meta.ndim == 1 and x._meta.numel == 0


def concatenated(tensors: tuple[Tensor, ...], dim: int) -> Tensor:
    """cat of tensors of one dtype; shapes are checked here."""
    full: tuple[Tensor, ...] | None = tensors
    ndim = tensors[0]._meta.ndim
    for x in tensors:
        if x._meta.ndim == 0:
            raise RuntimeError(
                "zero-dimensional tensor (at position "
                f"{[t is x for t in tensors].index(True)}) cannot be concatenated; use stack()"
            )
        if x._meta.ndim != ndim or ndim == 1:
            full = None
    if full is None:  # tensors of shape (0,) go with any shape
        full = tuple([x for x in tensors if not _is_legacy_empty(x)]) or tensors[:1]
        ndim = full[0]._meta.ndim
        if len(full) < len(tensors) and any(t._requires_grad for t in tensors):
            full = tensors if ndim == 1 else full
    dim = wrap_dim(dim, ndim)
    first = full[0]._meta.shape
    for i, x in enumerate(full):
        shape = x._meta.shape
        if len(shape) != ndim:
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {ndim} and {len(shape)}"
            )
        if shape != first:
            for d in range(ndim):
                if d != dim and shape[d] != first[d]:
                    raise RuntimeError(
                        f"Sizes of tensors must match except in dimension {dim}. Expected size "
                        f"{first[d]} but got size {shape[d]} for tensor number {i} in the list."
                    )
    return apply(cat.operator, full, (dim,))


@operator()
class stack:
    """Tensors of one shape along a new dimension. Source: torch.stack.

    >>> import suiren as torch
    >>> torch.stack([torch.tensor([1, 2]), torch.tensor([3, 4])], dim=1)
    tensor([[1, 3],
            [2, 4]])
    """

    one_device = True
    tensors = 0

    def call(tensors, dim=0):
        tensors = tensor_list(tensors, "stack")
        if not tensors:
            raise RuntimeError("stack expects a non-empty TensorList")
        if casting:
            tensors = promoted(tensors)
        first = tensors[0]._meta
        dim = wrap_dim(dim, first.ndim + 1)
        for i, x in enumerate(tensors):
            if x._meta is not first and x._meta.shape != first.shape:
                raise RuntimeError(
                    f"stack expects each tensor to be equal size, but got {list(first.shape)} at "
                    f"entry 0 and {list(x._meta.shape)} at entry {i}"
                )
        return apply(stack.operator, _common_dtype(tensors), (dim,))

    def infer(*metas_and_dim):
        *metas, dim = metas_and_dim
        shape = list(metas[0].shape)
        shape.insert(dim, len(metas))
        return meta(shape, metas[0].dtype, metas[0].device)

    def evaluate(*arrays_and_dim):
        return np.stack(arrays_and_dim[:-1], axis=arrays_and_dim[-1])

    def decompose(g, *parts_and_dim):
        *parts, dim = parts_and_dim
        return g.concat([x.unsqueeze(dim) for x in parts], dim)

    def backward(grad, attributes, needs):
        (dim,) = attributes
        return tuple([grad.select(dim, i) if need else None for i, need in enumerate(needs)])


@composite(aliases=("row_stack",), where=("torch",))
def vstack(tensors):
    """Stacked row upon row. Source: torch.vstack."""
    return cat(_at_least("vstack", atleast_2d, tensors), 0)


@composite(where=("torch",))
def hstack(tensors):
    """Side by side. Source: torch.hstack."""
    found = _at_least("hstack", atleast_1d, tensors)
    return cat(found, 0 if found[0]._meta.ndim == 1 else 1)


@composite(where=("torch",))
def dstack(tensors):
    """Along the third dimension. Source: torch.dstack."""
    return cat(_at_least("dstack", atleast_3d, tensors), 2)


def _at_least(name, function, tensors):
    tensors = tensor_list(tensors, name)
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return [function(x) for x in tensors]


@composite(where=("torch",))
def column_stack(tensors):
    """Vectors as columns, next to matrices as they are. Source: torch.column_stack."""
    tensors = tensor_list(tensors, "column_stack")
    if not tensors:
        raise RuntimeError("column_stack expects a non-empty TensorList")
    return hstack([reshape(x, (x._meta.numel, 1)) if x._meta.ndim <= 1 else x for x in tensors])


def _atleast(name: str, ndim: int, grown):
    def function(*tensors):
        if len(tensors) == 1:
            if isinstance(tensors[0], Tensor):
                return grown(tensors[0])
            tensors = tensor_list(tensors[0], name)
        return tuple([grown(x) for x in tensor_list(tensors, name)])

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The tensor or tensors with at least {ndim} dimensions. Source: torch.{name}."
    )
    return composite(function, where=("torch",), out=False)


def _to_2d(x):
    return reshape(x, (1, 1)) if not x._meta.ndim else unsqueeze(x, 0) if x._meta.ndim == 1 else x


def _to_3d(x):
    if x._meta.ndim >= 3:
        return x
    return unsqueeze(_to_2d(x), 2)


atleast_1d = _atleast("atleast_1d", 1, lambda x: x if x._meta.ndim else reshape(x, (1,)))
atleast_2d = _atleast("atleast_2d", 2, _to_2d)
atleast_3d = _atleast("atleast_3d", 3, _to_3d)


@composite(where=("torch",))
def block_diag(*tensors):
    """The matrices along the diagonal of a matrix of zeros. Source: torch.block_diag."""
    blocks = []
    for i, x in enumerate(tensor_list(tensors, "block_diag")):
        if x._meta.ndim > 2:
            raise RuntimeError(
                "block_diag: Input tensors must have 2 or fewer dimensions. Input "
                f"{i} has {x._meta.ndim} dimensions"
            )
        blocks.append(_to_2d(x))
    if not blocks:
        from suiren.ops.creation import zeros

        return zeros(1, 0)
    blocks = _common_dtype(tuple(blocks))
    width = sum(x._meta.shape[1] for x in blocks)
    rows, left = [], 0
    for x in blocks:
        height, own = x._meta.shape
        parts = []
        if left:
            parts.append(full_like_meta(x._meta.like((height, left))))
        parts.append(x)
        if width - left - own:
            parts.append(full_like_meta(x._meta.like((height, width - left - own))))
        rows.append(parts[0] if len(parts) == 1 else apply(cat.operator, tuple(parts), (1,)))
        left += own
    return apply(cat.operator, tuple(rows), (0,))
