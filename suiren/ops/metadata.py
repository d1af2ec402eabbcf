"""Methods that change what a tensor looks at, not the elements: t_, squeeze_, resize_, set_, ...

And the ``*_copy`` forms of view functions. Source: PyTorch's pages of Tensor.transpose_,
Tensor.resize_, Tensor.set_.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops import sliding as _sliding  # noqa: F401 (registers unfold)
from suiren.ops import splitting as _splitting  # noqa: F401 (registers split and unbind)
from suiren.ops.creation import format_strides
from suiren.ops.lowering import narrow, widened
from suiren.ops.parts import select
from suiren.ops.strided import as_strided
from suiren.ops.views import reshape, sizes_of, squeeze, t, transpose, unsqueeze
from suiren.tensor import Tensor, value_of
from suiren.trace import meta
from suiren.views import alias

_STATE = ("_meta", "_storage", "_view", "_grad_fn", "_output_index", "_requires_grad")


def become(input: Tensor, function: Any, *args: Any) -> Tensor:
    """Makes ``input`` what ``function`` shows of it.

    A tensor with ``input``'s old state takes its place as the one that is looked at.
    """
    if mode.grad and input.requires_grad and input.grad_fn is None:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation "
            f"({function.__name__}_)."
        )
    before = object.__new__(Tensor)
    for key in _STATE:
        setattr(before, key, getattr(input, key))
    if input._counter is not None:
        before._counter = input._counter
    seen = function(before, *args)
    for key in _STATE:
        setattr(input, key, getattr(seen, key))
    (input._counter or input._storage).version += 1
    return input


@composite(where=("Tensor",), name="t_")
def t_(self):
    """In-place form of :func:`t`. Source: Tensor.t_."""
    return become(self, t)


@composite(where=("Tensor",), name="transpose_", aliases=("swapaxes_", "swapdims_"))
def transpose_(self, dim0, dim1):
    """In-place form of :func:`transpose`. Source: Tensor.transpose_."""
    return become(self, transpose, dim0, dim1)


@composite(where=("Tensor",), name="squeeze_")
def squeeze_(self, dim=None):
    """In-place form of :func:`squeeze`. Source: Tensor.squeeze_."""
    return become(self, squeeze, dim)


@composite(where=("Tensor",), name="unsqueeze_")
def unsqueeze_(self, dim):
    """In-place form of :func:`unsqueeze`. Source: Tensor.unsqueeze_."""
    return become(self, unsqueeze, dim)


@composite(where=("torch", "Tensor"), name="as_strided_", out=False)
def as_strided_(self, size, stride, storage_offset=None):
    """In-place form of :func:`as_strided`. Source: Tensor.as_strided_."""
    return become(self, as_strided, size, stride, storage_offset)


# ---- resizing


@operator(where=(), name="resize")
class resized:
    """The first elements in memory order in another shape; zeros where there are too few."""

    def call(input, shape):
        return apply(resized.operator, (input,), (shape,))

    def infer(input, shape):
        return meta(shape, input.dtype, input.device)

    def evaluate(input, shape):
        flat = np.reshape(input, -1)
        wanted = prod(shape)
        if flat.size < wanted:
            flat = np.concatenate([flat, np.zeros(wanted - flat.size, input.dtype)])
        return flat[:wanted].reshape(shape)

    def decompose(g, input, shape):
        flat, wanted = input.reshape(input.numel), prod(shape)
        flat = widened(g, flat, 0, 0, max(wanted - flat.numel, 0))
        return narrow(g, flat, 0, 0, wanted).reshape(*shape)


@composite(where=("Tensor",), name="resize_")
def resize_(self, *size, memory_format=None):
    """Gives this tensor another size; elements keep their place in memory, new ones are zero.

    Raises RuntimeError for tensors that require grad. Source: Tensor.resize_.
    """
    shape = sizes_of(size)
    if any(s < 0 for s in shape):
        raise RuntimeError(f"Trying to create tensor with negative dimension: {list(shape)}")
    if shape == self._meta.shape and memory_format is None:
        return self
    if self.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    wanted = meta(shape, self._meta.dtype, self._meta.device, format_strides(shape, memory_format))
    held = self._storage.meta.numel
    if self._view is not None:
        reach = self._view.offset + wanted.numel
        if reach > held:
            raise NotImplementedError(
                f"resize_() of a view to {list(shape)} needs {reach} elements where its storage "
                f"has {held}; growing the memory of a view is not supported, clone() it first"
            )
        return become(self, as_strided, shape, wanted.strides, self._view.offset)
    if self._storage.pinned is not None and wanted.numel > held:
        raise RuntimeError("Trying to resize storage that is not resizable: it is NumPy's memory")
    source = alias(self)
    if not self._meta.contiguous:  # in the order of memory
        order = sorted(range(self._meta.ndim), key=lambda d: (-self._meta.strides[d], d))
        source = source.permute(order)
    if wanted is wanted.flat:
        value = value_of(apply(resized.operator, (source,), (shape,)))
    else:
        lying = apply(resized.operator, (source,), ((wanted.numel,),))
        value = value_of(lying.as_strided(shape, wanted.strides))
    self._storage.meta = wanted
    self._meta = wanted
    self._storage.write(value)
    self._storage.version += 1
    return self


@composite(where=("torch", "Tensor"), name="resize_as_", out=False)
def resize_as_(self, other, *, memory_format=None):
    """``self.resize_(other.shape)``. Source: Tensor.resize_as_."""
    name = "" if memory_format is None else str(memory_format).rpartition(".")[2]
    if name == "preserve_format":
        memory_format = None
    return resize_(self, other._meta.shape, memory_format=memory_format)


@composite(where=("Tensor",), name="set_")
def set_(self, source=None, storage_offset=0, size=None, stride=None):
    """Looks at the memory of another tensor from now on. Source: Tensor.set_."""
    from suiren.views import replace

    if source is None:
        source = self.new_empty(0)
    if not isinstance(source, Tensor):
        raise NotImplementedError("set_() takes a tensor here; storages of their own do not exist")
    if source._meta.dtype is not self._meta.dtype:
        raise RuntimeError(
            f"Could not set tensor of type {source._meta.dtype} to a tensor of type "
            f"{self._meta.dtype}"
        )
    if source._meta.device is not self._meta.device:
        raise RuntimeError(
            f"set_: a tensor on {self._meta.device} cannot take memory on {source._meta.device}"
        )
    if size is not None:
        strides = stride or meta(sizes_of((size,)), self._meta.dtype).strides
        source = as_strided(source.detach(), size, strides, storage_offset)
    replace(self, source)
    return self


# ---- copies of what views show


def _copy_form(name: str):
    space = NAMESPACES["torch"].get(name) or NAMESPACES["Tensor"][name]

    def function(*args, **kwargs):
        found = space(*args, **kwargs)
        if isinstance(found, tuple):
            return tuple([x.contiguous().clone() for x in found])
        return found.contiguous().clone()

    function.__name__ = function.__qualname__ = name + "_copy"
    function.__doc__ = f"A copy of what :func:`{name}` shows. Source: torch.{name}_copy."
    return composite(function, where=("torch",))


@composite(where=("torch",))
def alias_copy(input):
    """A copy of the tensor. Source: torch.alias_copy."""
    return input.clone()


@composite(where=("torch",))
def slice_copy(input, dim=0, start=None, end=None, step=1):
    """A copy of a slice of a dimension. Source: torch.slice_copy."""
    return input[(slice(None),) * (dim % input._meta.ndim) + (slice(start, end, step),)].clone()


for _name in ("as_strided", "diagonal", "expand", "permute", "select", "split", "split_with_sizes",
              "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view"):  # fmt: skip
    _copy_form(_name)


@composite(where=("torch", "Tensor"))
def narrow_copy(input, dim, start, length):
    """A copy of what :func:`narrow` shows. Source: torch.narrow_copy."""
    if dim >= input._meta.ndim > 0:  # here PyTorch raises another error than narrow's
        raise RuntimeError(
            f"narrow_copy expects a dim below the number of dimensions ({input._meta.ndim}), "
            f"got {dim}"
        )
    return input.narrow(dim, start, length).clone()


# ---- transposes by attribute


def matrix_transpose(self: Tensor) -> Tensor:
    """``x.mT``: the last two dimensions exchanged. Source: Tensor.mT."""
    if not self._meta.ndim:
        return t(self)
    if self._meta.ndim < 2:
        raise RuntimeError(
            "tensor.mT is only supported on matrices or batches of matrices. Got "
            f"{self._meta.ndim}-D tensor."
        )
    return transpose(self, -2, -1)


def conjugate_transpose(self: Tensor) -> Tensor:
    """``x.mH``: mT, conjugated. Source: Tensor.mH."""
    found = matrix_transpose(self)
    return found.conj() if self._meta.dtype.is_complex else found


def hermitian(self: Tensor) -> Tensor:
    """``x.H``: a matrix transposed and conjugated. Source: Tensor.H."""
    if self._meta.ndim not in (0, 2):
        raise RuntimeError(
            "tensor.H is only supported on matrices (2-D tensors). Got "
            f"{self._meta.ndim}-D tensor; use mH for batches"
        )
    found = t(self)
    return found.conj() if self._meta.dtype.is_complex else found


@composite(out=False)
def adjoint(input):
    """mH: the last two dimensions exchanged, conjugated. Source: torch.adjoint."""
    if input._meta.ndim == 1:
        raise RuntimeError(
            "tensor.adjoint() is only supported on matrices or batches of matrices. Got 1-D tensor."
        )
    return conjugate_transpose(input)


__all__ = ["become", "reshape", "select"]
