"""What Python and NumPy ask of a tensor: numbers, iteration, printing, memory, history.

The functions in ``METHODS`` and ``PROPERTIES`` become methods of ``Tensor`` (``attach``), above the
operators that they use. Each observation of a value flushes the trace.
Source: PyTorch's torch.Tensor page.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren import autograd, views
from suiren.autograd import engine, graph
from suiren.autograd.mode import mode
from suiren.device import META
from suiren.ops import metadata
from suiren.tensor import Tensor, new_tensor, value_of
from suiren.trace.value import NO_DATA

# --------------------------------------------------------------------------
# Observing values


def numpy_copy(self: Tensor) -> np.ndarray:
    """The contents as a new array."""
    return np.array(value_of(self).get(), order="C")


def peek(self: Tensor) -> np.ndarray:
    """The contents as an array to look at, never to write to."""
    return value_of(self).get()


def item(self: Tensor) -> Any:
    """The only element as a Python number. Source: Tensor.item.

    Raises RuntimeError if there is not exactly one element.
    """
    if self._meta.numel != 1:
        raise RuntimeError(
            f"a Tensor with {self._meta.numel} elements cannot be converted to Scalar"
        )
    found = _only(self)
    return float(found) if self._meta.dtype.is_floating_point else found


def tolist(self: Tensor) -> Any:
    """The elements as nested lists of Python numbers; a number for no dimensions."""
    array = value_of(self).get()
    if self._meta.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    return array.tolist()


def __bool__(self: Tensor) -> bool:
    if self._meta.numel != 1:
        count = "no values" if self._meta.numel == 0 else "more than one value"
        raise RuntimeError(f"Boolean value of Tensor with {count} is ambiguous")
    return bool(_only(self))


def _only(self: Tensor) -> Any:
    if self._meta.device is META:
        raise RuntimeError(f"a value is asked for by item(), bool() or the like, and {NO_DATA}")
    return value_of(self).get().item()


def __float__(self: Tensor) -> float:
    return float(item(self))


def __int__(self: Tensor) -> int:
    return int(item(self))


def __complex__(self: Tensor) -> complex:
    return complex(item(self))


def __index__(self: Tensor) -> int:
    if self._meta.dtype.category > 1 or self._meta.numel != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(item(self))


def __len__(self: Tensor) -> int:
    if not self._meta.ndim:
        raise TypeError("len() of a 0-d tensor")
    return self._meta.shape[0]


def __iter__(self: Tensor):
    if not self._meta.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))


def __contains__(self: Tensor, element: Any) -> bool:
    if isinstance(element, (Tensor, int, float, complex)):
        return bool((self == element).any())
    raise RuntimeError(
        f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
    )


def __format__(self: Tensor, spec: str) -> str:
    if self._meta.ndim == 0 and type(self) is Tensor and self._meta.device is not META:
        return format(item(self), spec)
    return object.__format__(self, spec)


# --------------------------------------------------------------------------
# Shape and memory


def size(self: Tensor, dim: int | None = None):
    """The shape, or the size of one dimension."""
    return self._meta.shape if dim is None else self._meta.shape[_wrap(dim, self._meta.ndim)]


def stride(self: Tensor, dim: int | None = None):
    """Elements to skip per dimension, or for one dimension."""
    strides = self._meta.strides
    return strides if dim is None else strides[_wrap(dim, self._meta.ndim)]


def _wrap(dim: int, ndim: int) -> int:
    from suiren.ops.views import wrap_dim

    if not ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, ndim)


def dim(self: Tensor) -> int:
    """The number of dimensions."""
    return self._meta.ndim


def numel(self: Tensor) -> int:
    """The number of elements."""
    return self._meta.numel


def element_size(self: Tensor) -> int:
    """Bytes per element."""
    return self._meta.dtype.itemsize


def storage_offset(self: Tensor) -> int:
    """Elements from the start of the storage to the first element."""
    return views.offset_of(self)


def data_ptr(self: Tensor) -> int:
    """A number that tells memory apart: equal for tensors with the same first element.

    The address itself where the memory is shared with NumPy, else a made-up one (Suiren may
    keep the elements elsewhere from one operation to the next).
    """
    if not self._meta.numel or self._meta.device is META:
        return 0
    return self._storage.address + views.offset_of(self) * self._meta.dtype.itemsize


def is_contiguous(self: Tensor, memory_format: Any = None) -> bool:
    """Whether the elements lie in row-major order without gaps."""
    if memory_format is not None and str(memory_format) == "torch.channels_last":
        if self._meta.ndim != 4:
            return False
        n, c, h, w = self._meta.shape
        order = self._meta.strides
        return order == (h * w * c, 1, w * c, c) or self._meta.numel <= 1
    return self._meta.contiguous


# --------------------------------------------------------------------------
# History


def _get_requires_grad(self: Tensor) -> bool:
    if self._view is not None and self._view.epoch != self._view.base._epoch:
        graph.refresh_history(self)
    # A view made under no_grad has no history, but PyTorch says so of all views of such a base.
    return self._requires_grad or (self._view is not None and self._view.base._requires_grad)


def _set_requires_grad(self: Tensor, value: bool) -> None:
    requires_grad_(self, value)


def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Switches gradients of this leaf on or off. Source: Tensor.requires_grad_."""
    if self._grad_fn is not None:
        if not requires_grad:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        return self
    if requires_grad and self._meta.dtype.category < 2:
        raise RuntimeError(
            "only Tensors of floating point and complex dtype can require gradients, got "
            f"{self._meta.dtype}"
        )
    if requires_grad and self._inference and not mode.inference:
        raise RuntimeError(
            "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed: "
            "clone() it first"
        )
    self._requires_grad = bool(requires_grad)
    return self


def _get_grad_fn(self: Tensor):
    if self._view is not None and self._view.epoch != self._view.base._epoch:
        graph.refresh_history(self)
    return self._grad_fn


def _get_grad(self: Tensor) -> Tensor | None:
    return self._grad


def _set_grad(self: Tensor, grad: Tensor | None) -> None:
    if grad is not None:
        if not isinstance(grad, Tensor):
            raise TypeError(
                f"assigned grad expected to be a Tensor or None but got {type(grad).__name__}"
            )
        if grad is self:
            raise RuntimeError("can't assign Variable as its own grad")
        if grad._meta.dtype is not self._meta.dtype:
            raise RuntimeError(
                f"assigned grad has data of a different type: {grad._meta.dtype} for a tensor of "
                f"{self._meta.dtype}"
            )
        if grad._meta.shape != self._meta.shape:
            raise RuntimeError(
                f"assigned grad has data of a different size: {list(grad._meta.shape)} for a "
                f"tensor of {list(self._meta.shape)}"
            )
        if grad._meta.device is not self._meta.device:
            raise RuntimeError(
                f"assigned grad is on the device {grad._meta.device} and the tensor on "
                f"{self._meta.device}: both must be on the same"
            )
    self._grad = grad


def _del_grad(self: Tensor) -> None:
    self._grad = None


def _get_data(self: Tensor) -> Tensor:
    found = views.alias(self)
    found._counter = VersionCounter()
    return found


def _set_data(self: Tensor, other: Tensor) -> None:
    if not isinstance(other, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(other).__name__}")
    if other._meta.device is not self._meta.device:
        raise RuntimeError(
            f"set_data: a tensor on {self._meta.device} cannot take data on {other._meta.device}, "
            "which is of an incompatible tensor type; make a new tensor or parameter"
        )
    views.replace(self, other)


class VersionCounter:
    """The version of a tensor that shares memory but not its version: what ``.data`` returns."""

    __slots__ = ("version",)

    def __init__(self) -> None:
        self.version = 0


def detach(self: Tensor) -> Tensor:
    """The same memory without history. Source: Tensor.detach."""
    return views.alias(self)


def detach_(self: Tensor) -> Tensor:
    """Drops this tensor's history: it becomes a leaf. Source: Tensor.detach_."""
    if views.base_of(self) is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using "
            "DistributedDataParallel (DDP) for training, and gradient_as_bucket_view is set as "
            "True, gradients are views of DDP buckets"
        )
    self._grad_fn = None
    self._output_index = 0
    self._requires_grad = False
    self._epoch += 1
    return self


def _is_leaf(self: Tensor) -> bool:
    return _get_grad_fn(self) is None


def is_inference(self: Tensor) -> bool:
    """Whether the tensor was made in inference mode. Source: Tensor.is_inference."""
    return self._inference


def _is_view(self: Tensor) -> bool:
    return views.base_of(self) is not None


def _version(self: Tensor) -> int:
    if self._inference:
        raise RuntimeError("Inference tensors do not track version counter.")
    return (self._counter or self._storage).version


def _base(self: Tensor) -> Tensor | None:
    return views.base_of(self)


def retain_grad(self: Tensor) -> None:
    """Keeps the gradient of this result in ``.grad``. Source: Tensor.retain_grad."""
    if not _get_requires_grad(self):
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    import weakref

    node = self.grad_fn
    if node is None:
        return
    node.hooked = True
    if node.retained is None:
        node.retained = {}
    node.retained[self._output_index] = weakref.ref(self)


def _retains_grad(self: Tensor) -> bool:
    node = self._grad_fn
    held = node.retained.get(self._output_index) if node is not None and node.retained else None
    return held is not None and held() is self


def register_hook(self: Tensor, hook) -> graph.Handle:
    """Calls ``hook(grad)`` when the gradient of this tensor is known; it may return another.

    Source: Tensor.register_hook.
    """
    if not _get_requires_grad(self):
        raise RuntimeError(
            "cannot register a hook on a tensor that doesn't require gradient"
        )
    node, index = graph.edge_of(self)
    node.hooked = True
    if node.tensor_hooks is None:
        node.tensor_hooks = {}
    hooks = node.tensor_hooks.setdefault(index, graph.Hooks())
    return graph._add(hooks, hook)


def register_post_accumulate_grad_hook(self: Tensor, hook) -> graph.Handle:
    """Calls ``hook(tensor)`` after a gradient was added to this leaf's ``.grad``."""
    if self._grad_fn is not None or not self._requires_grad:
        raise RuntimeError(
            "post accumulate grad hooks cannot be registered on non-leaf tensors or tensors that "
            "don't require gradient"
        )
    node = graph.accumulator(self)
    if node.after_hooks is None:
        node.after_hooks = graph.Hooks()
    return graph._add(node.after_hooks, hook)


def backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Gradients of this tensor with respect to the leaves, added to their ``.grad``.

    ``gradient`` is needed unless the tensor has one element. Source: Tensor.backward.

    >>> import suiren as torch
    >>> x = torch.tensor(3., requires_grad=True)
    >>> (x * x).backward()
    >>> x.grad
    tensor(6.)
    """
    autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


METHODS = (
    numpy_copy, peek, item, tolist, size, stride, dim, numel, element_size, storage_offset,
    data_ptr, is_contiguous, requires_grad_, detach, detach_, is_inference, _is_view,
    retain_grad, register_hook, register_post_accumulate_grad_hook, backward,
    __bool__, __float__, __int__, __complex__, __index__, __len__, __iter__, __contains__,
    __format__,
)  # fmt: skip
PROPERTIES = {
    "requires_grad": property(_get_requires_grad, _set_requires_grad),
    "grad_fn": property(_get_grad_fn),
    "grad": property(_get_grad, _set_grad, _del_grad),
    "data": property(_get_data, _set_data),
    "is_leaf": property(_is_leaf),
    "_version": property(_version),
    "_base": property(_base),
    "retains_grad": property(_retains_grad),
    "itemsize": property(element_size),
    "nbytes": property(lambda self: self._meta.numel * self._meta.dtype.itemsize),
    "T": property(lambda self: self.permute(tuple(range(self._meta.ndim))[::-1])),
    "mT": property(metadata.matrix_transpose),
    "mH": property(metadata.conjugate_transpose),
    "H": property(metadata.hermitian),
}


def attach() -> None:
    """Gives Tensor these methods and properties."""
    for method in METHODS:
        setattr(Tensor, method.__name__, method)
    for name, found in PROPERTIES.items():
        setattr(Tensor, name, found)
    for name, method in (("ndimension", dim), ("nelement", numel)):
        setattr(Tensor, name, method)


__all__ = ["attach", "engine", "mode", "new_tensor"]
