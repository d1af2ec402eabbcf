"""What programs ask of tensors beside computing: kind, place, copies, pickles, storage, text.

The functions in ``METHODS`` and ``PROPERTIES`` become methods of ``Tensor`` (``attach``). Source:
PyTorch's torch.Tensor page.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from suiren import dtypes, layouts, legacy
from suiren.device import META
from suiren.dtypes import dtype
from suiren.operator import NAMESPACES
from suiren.ops.creation import from_array
from suiren.storage import Storage
from suiren.storages import TypedStorage, UntypedStorage
from suiren.tensor import Tensor, value_of
from suiren.views import alias, assign, offset_of

_new = object.__new__

# --------------------------------------------------------------------------
# Text


def __repr__(self: Tensor, *, tensor_contents: str | None = None) -> str:
    from suiren.printing import tensor_text

    name = None
    if self.requires_grad and self.grad_fn is not None:
        name = self.grad_fn.name()
    kind = type(self)
    plain = kind is Tensor or kind.__module__ == "suiren.nn.parameter"
    m = self._meta
    return tensor_text(
        None if m.device is META else value_of(self).get(),
        shape=tuple(m.shape),
        device=str(m.device),
        class_name="tensor" if plain else kind.__name__,
        dtype_name=m.dtype.name,
        requires_grad=self.requires_grad and name is None,
        grad_fn_name=name,
        default_dtype_name=dtypes.get_default_dtype().name,
    )


# --------------------------------------------------------------------------
# Kind and place


def is_floating_point(self: Tensor) -> bool:
    """Whether the dtype is a floating type. Source: torch.is_floating_point."""
    return self._meta.dtype.is_floating_point


def is_complex(self: Tensor) -> bool:
    """Whether the dtype is complex. Source: torch.is_complex."""
    return self._meta.dtype.is_complex


def is_signed(self: Tensor) -> bool:
    """Whether the dtype has negative numbers. Source: Tensor.is_signed."""
    return self._meta.dtype.is_signed


def is_conj(self: Tensor) -> bool:
    """False: conjugation is computed at once here. Source: torch.is_conj."""
    return False


def is_neg(self: Tensor) -> bool:
    """False: negation is computed at once here. Source: torch.is_neg."""
    return False


def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Whether both have one shape. Source: torch.is_same_size."""
    return self._meta.shape == other._meta.shape


def is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both show the same memory in the same way. Source: Tensor.is_set_to."""
    return (
        self._storage is tensor._storage
        and self._meta is tensor._meta
        and offset_of(self) == offset_of(tensor)
    )


def get_device(self: Tensor) -> int:
    """-1, PyTorch's answer for tensors on the CPU. Source: Tensor.get_device."""
    return -1


def is_distributed(self: Tensor) -> bool:
    """False: no tensor is spread over processes. Source: torch.is_distributed."""
    return False


def to_dense(self: Tensor, dtype: Any = None, *, masked_grad: bool = True) -> Tensor:
    """The tensor itself: it is dense. Source: Tensor.to_dense."""
    return self if dtype is None else self.to(dtype)


def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor on the CPU: itself, unless it has no data. Source: Tensor.cpu."""
    return self.to("cpu", memory_format=memory_format)


def cuda(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Raises AssertionError: there is no CUDA here. Source: Tensor.cuda."""
    raise AssertionError(
        "Torch not compiled with CUDA enabled: Suiren computes on the CPU "
        "(torch.cuda.is_available() says False)"
    )


def pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """Raises RuntimeError: memory is pinned for accelerators. Source: Tensor.pin_memory."""
    raise RuntimeError("Cannot access accelerator device when none is available.")


def is_pinned(self: Tensor, device: Any = None) -> bool:
    """False: there is no accelerator to pin memory for. Source: Tensor.is_pinned."""
    return False


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor converted to the other's dtype, where that is. Source: Tensor.type_as."""
    return self.to(other._meta.device, other._meta.dtype)


def dim_order(self: Tensor) -> tuple[int, ...]:
    """The dimensions from the outermost in memory to the innermost. Source: Tensor.dim_order."""
    strides = self._meta.strides
    return tuple(sorted(range(self._meta.ndim), key=lambda d: -strides[d]))


def has_names(self: Tensor) -> bool:
    """False: dimensions have no names here."""
    return False


# --------------------------------------------------------------------------
# Python functions over elements


def apply_(self: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replaces each element by ``callable(element)``; slow. Source: Tensor.apply_."""
    if self.requires_grad:
        raise TypeError("can't call apply_() on Variable that requires grad; use detach() first")
    return _filled_from(self, [callable(x) for x in _elements(self)], "apply_")


def map_(self: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replaces each element a by ``callable(a, b)``, b of ``tensor``. Source: Tensor.map_."""
    if self.requires_grad or tensor.requires_grad:
        raise TypeError("can't call map_() on Variable that requires grad; use detach() first")
    other = tensor.expand(self._meta.shape)
    results = [callable(a, b) for a, b in zip(_elements(self), _elements(other), strict=True)]
    return _filled_from(self, results, "map_")


def _elements(tensor: Tensor) -> list:
    array = value_of(tensor).get()
    if tensor._meta.dtype is dtypes.bfloat16:
        array = array.astype(np.float32)
    return array.reshape(-1).tolist()


def _filled_from(target: Tensor, elements: list, name: str) -> Tensor:
    m = target._meta
    found = np.array(elements).astype(m.dtype.numpy).reshape(m.shape)
    return assign(target, from_array(found), name)


# --------------------------------------------------------------------------
# Storage


def untyped_storage(self: Tensor) -> UntypedStorage:
    """The memory as bytes. Source: Tensor.untyped_storage."""
    return UntypedStorage(self._storage)


def storage(self: Tensor) -> TypedStorage:
    """The memory as elements of the tensor's dtype. Source: Tensor.storage."""
    return TypedStorage(self._storage, self._meta.dtype)


def tensor_at(
    found: Storage, kind: dtype, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> Tensor:
    """The tensor that sees this storage with these sizes, strides and offset (in elements)."""
    root = found.meta
    base = _new(Tensor)
    base._meta = root
    base._storage = found
    if root.dtype is kind:
        if offset == 0 and size == root.shape and stride == root.strides:
            return base
        return base.as_strided(size, stride, offset)
    flat = base.as_strided((root.numel,), (1,), 0).view(kind)
    wanted = root.like(shape=size, dtype=kind, strides=stride)
    if not wanted.contiguous:
        raise NotImplementedError(
            f"a non-contiguous view as {kind} of a storage of {root.dtype} cannot be restored; "
            "save tensor.contiguous()"
        )
    return flat[offset : offset + wanted.numel].view(size)


# --------------------------------------------------------------------------
# Copies and pickles


def user_attributes(tensor: Tensor) -> dict[str, Any]:
    """What the user has hung on the tensor."""
    fields = getattr(tensor, "__dict__", {})
    return {name: value for name, value in fields.items() if not name.startswith("_")}


def __reduce_ex__(self: Tensor, protocol: Any) -> tuple:
    m = self._meta
    arguments: tuple = (
        self._storage, m.dtype, offset_of(self), tuple(m.shape), m.strides, self.requires_grad,
        OrderedDict(),  # where hooks would be: they are not saved
    )  # fmt: skip
    state = user_attributes(self)
    if type(self) is Tensor and not state:
        return rebuild_tensor, arguments
    return rebuild_from_type, (rebuild_tensor, type(self), arguments, state)


def rebuild_tensor(
    storage: Storage,
    kind: dtype,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool,
    hooks: Any,
) -> Tensor:
    """The other end of pickling a tensor; storages that were shared still are."""
    made = tensor_at(storage, kind, offset, size, stride)
    return made.requires_grad_() if requires_grad else made


def rebuild_from_type(function: Callable, kind: type, arguments: tuple, state: Any) -> Tensor:
    """The other end of pickling a tensor of a subclass, or with attributes."""
    made = function(*arguments)
    if type(made) is not kind:
        made = Tensor._make_subclass(kind, made, made.requires_grad)
    made.__setstate__(state)
    return made


def __setstate__(self: Tensor, state: Any) -> None:
    for name, value in (state or {}).items():
        setattr(self, name, value)


def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
            "protocol at the moment: this one was computed; copy tensor.detach() instead"
        )
    if id(self) in memo:
        return memo[id(self)]
    found = copy.deepcopy(self._storage, memo)
    made = alias(self)
    made._counter = None
    made._storage = found
    if made._view is not None:
        base = made._view.base
        base._storage, base._counter = found, None
    if type(self) is not Tensor:
        made = Tensor._make_subclass(type(self), made)
    if self.requires_grad:
        made.requires_grad_()
    memo[id(self)] = made
    if self._grad is not None:
        made.grad = copy.deepcopy(self._grad, memo)
    for name, value in user_attributes(self).items():
        setattr(made, name, copy.deepcopy(value, memo))
    return made


# --------------------------------------------------------------------------
# Subclasses


def as_subclass(self: Tensor, cls: type) -> Tensor:
    """The same memory and history as a tensor of a subclass. Source: Tensor.as_subclass."""
    if not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise TypeError(f"as_subclass() takes a subclass of Tensor, got {cls!r}")
    shown = self.view_as(self) if self.requires_grad else alias(self)
    made = _new(cls)
    made.__dict__.update(shown.__dict__)
    return made


METHODS = (
    __repr__, is_floating_point, is_complex, is_signed, is_conj, is_neg,
    is_same_size, is_set_to, get_device, is_distributed, to_dense, cpu, cuda, pin_memory,
    is_pinned, type_as, dim_order, has_names, apply_, map_, untyped_storage, storage,
    __reduce_ex__, __setstate__, __deepcopy__, as_subclass,
)  # fmt: skip
_FALSE = property(lambda self: False)
PROPERTIES = {
    "layout": property(lambda self: layouts.strided),
    "is_cpu": property(lambda self: self._meta.device is not META),
    "is_meta": property(lambda self: self._meta.device is META),
    "name": property(lambda self: None),
    "output_nr": property(lambda self: self._output_index),
    "names": property(lambda self: (None,) * self._meta.ndim),
} | {
    name: _FALSE
    for name in ("is_cuda", "is_sparse", "is_sparse_csr", "is_quantized", "is_mkldnn",
                 "is_mps", "is_xpu", "is_xla", "is_ipu", "is_maia", "is_mtia", "is_vulkan",
                 "is_nested", "volatile")
}  # fmt: skip
# Methods that are functions of torch as well.
FUNCTIONS = (
    "is_floating_point", "is_complex", "is_signed", "is_conj", "is_neg", "is_inference",
    "is_same_size", "is_distributed", "get_device", "detach", "detach_",
)  # fmt: skip


def attach() -> None:
    """Gives Tensor these methods and properties, and torch the functions."""
    for method in METHODS:
        if method.__name__ not in NAMESPACES["Tensor"]:
            setattr(Tensor, method.__name__, method)
    for name, found in (*legacy.METHODS.items(), *PROPERTIES.items()):
        setattr(Tensor, name, found)
    for name in FUNCTIONS:
        NAMESPACES["torch"].setdefault(name, getattr(Tensor, name))
    for function in (legacy.set_default_tensor_type, legacy.typename):
        NAMESPACES["torch"].setdefault(function.__name__, function)
    NAMESPACES["torch"].update(legacy.TYPES)
    NAMESPACES["torch"].update(layouts.WORDS)
    for kind in (layouts.layout, layouts.memory_format, UntypedStorage, TypedStorage):
        NAMESPACES["torch"].setdefault(kind.__name__, kind)
