"""The constructors of PyTorch's first years: ``torch.Tensor(2, 3)``, ``torch.LongTensor([1])``.

Numbers are sizes and sequences are data. The typed classes exist to be called, to be given to
``Tensor.type`` and for ``isinstance``; every tensor's class is ``Tensor``. Source: PyTorch's
torch.Tensor page, "Data types".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from suiren import dtypes
from suiren.device import CPU, META, check_available
from suiren.dtypes import dtype
from suiren.ops.creation import empty, from_array
from suiren.ops.nested_data import array_of
from suiren.size import Size
from suiren.storages import TypedStorage, UntypedStorage
from suiren.tensor import Tensor, constructors
from suiren.views import alias


def construct(kind: dtype, args: tuple, device: Any = None, where: Any = CPU) -> Tensor:
    """What the constructor of this dtype makes of its arguments, on the device ``where``."""
    if device is not None and check_available(device) is not where:
        raise RuntimeError(
            f"this constructor makes tensors on {where}, got device={device}: use torch.empty(...) "
            "or torch.tensor(...)"
        )
    if not args:
        return empty(0, dtype=kind, device=where)
    first = args[0]
    if len(args) > 1 or isinstance(first, Size) or hasattr(first, "__index__") and not isinstance(
        first, (Tensor, np.ndarray)
    ):
        return empty(*args, dtype=kind, device=where)
    if isinstance(first, Tensor):
        if first._meta.dtype is not kind:
            raise TypeError(
                f"expected a tensor of {kind}, got one of {first._meta.dtype}: the constructor of "
                f"{type_name(kind)} shares memory and converts nothing; use tensor.to({kind})"
            )
        return alias(first)
    if isinstance(first, (TypedStorage, UntypedStorage)):
        raise NotImplementedError("tensors over a given storage are not supported; use set_()")
    if isinstance(first, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(first).__name__}'")
    if not hasattr(first, "__len__"):
        raise TypeError(f"new(): data must be a sequence (got {type(first).__name__})")
    return from_array(array_of(first, kind), False, where)


def _construct_default(*args: Any, device: Any = None) -> Tensor:
    return construct(dtypes.get_default_dtype(), args, device)


constructors["Tensor"] = _construct_default


def type_name(kind: dtype) -> str:
    """PyTorch's old name of a dtype: ``torch.FloatTensor``."""
    return f"torch.{kind.letter_name}Tensor"


def _type_name_of(tensor: Tensor) -> str:
    place = "meta." if tensor._meta.device is META else ""
    return f"torch.{place}{tensor._meta.dtype.letter_name}Tensor"


class _TypedTensor(type):
    dtype: dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        if not isinstance(instance, Tensor):
            return False
        return instance._meta.dtype is cls.dtype and instance._meta.device is CPU

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        return construct(cls.dtype, args, device)


def _typed_class(kind: dtype) -> _TypedTensor:
    body = {
        "dtype": kind,
        "is_cuda": False,
        "__module__": "torch",
        "__doc__": f"Tensors of {kind}. Source: PyTorch's torch.Tensor page.",
    }
    return _TypedTensor(f"{kind.letter_name}Tensor", (), body)


TYPES: dict[str, _TypedTensor] = {
    f"{kind.letter_name}Tensor": _typed_class(kind)
    for kind in dtypes.ALL
    if kind.category != dtypes.COMPLEX and kind.name not in ("uint16", "uint32", "uint64")
}


def new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """A tensor of this one's dtype, by the rules of ``torch.Tensor(...)``. Source: Tensor.new."""
    return construct(self._meta.dtype, args, device, self._meta.device)


def dtype_of_type(wanted: Any) -> dtype:
    """The dtype that ``Tensor.type`` was asked for: a dtype, an old class or its name.

    Raises ValueError for names of no type.
    """
    if isinstance(wanted, dtype):
        return wanted
    if isinstance(wanted, _TypedTensor):
        return wanted.dtype
    if wanted is Tensor:
        return dtypes.get_default_dtype()
    if isinstance(wanted, str):
        prefix, _, name = wanted.rpartition(".")
        if prefix == "torch":
            if name == "Tensor":
                return dtypes.get_default_dtype()
            if name in TYPES:
                return TYPES[name].dtype
        if prefix == "torch.cuda":
            raise AssertionError("Torch not compiled with CUDA enabled: use the types of torch")
    raise ValueError(f"invalid type: {wanted!r}")


def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The old name of the dtype as a string, or the tensor converted. Source: Tensor.type."""
    if dtype is None:
        return _type_name_of(self)
    return self.to("cpu" if isinstance(dtype, str) else None, dtype_of_type(dtype))


def set_default_tensor_type(t: Any, /) -> None:
    """Sets the default dtype by an old class or its name. Source: torch.set_default_tensor_type.

    Raises TypeError unless it is a floating type.
    """
    try:
        kind = dtype_of_type(t)
    except ValueError:
        raise TypeError(f"invalid type object: {t!r} is no tensor type") from None
    dtypes.set_default_dtype(kind)


def typename(obj: Any, /) -> str:
    """``torch.FloatTensor`` for tensors, else the name of the class. Source: torch.typename."""
    if isinstance(obj, Tensor):
        return _type_name_of(obj)
    kind = obj if isinstance(obj, type) else obj.__class__
    module = getattr(kind, "__module__", "")
    prefix = f"{module}." if module and module not in ("builtins", "__builtin__") else ""
    return prefix + kind.__qualname__


METHODS = {"new": new, "type": type_}
