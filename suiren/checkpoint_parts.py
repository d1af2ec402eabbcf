"""The parts that checkpoint files are made of: storages, and the functions that rebuild tensors.

Files name PyTorch's functions, classes and dtypes; :data:`NAMES` says what each is here. What the
functions are given comes from files nobody vouches for, so they check it. Used by
``suiren/serialization.py``.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.device import META, device
from suiren.dtypes import dtype
from suiren.layouts import WORDS
from suiren.nn import parameter as parameters
from suiren.ops.creation import empty_strided
from suiren.safe_unpickling import SAFE
from suiren.size import Size
from suiren.storage import Storage
from suiren.storages import UntypedStorage
from suiren.tensor import Tensor
from suiren.tensor_numpy import is_dense
from suiren.tensor_protocol import tensor_at
from suiren.trace import Value, meta

# The dtypes that came after typed storages; their storages are bytes.
_WITHOUT_STORAGE_CLASS = ("uint16", "uint32", "uint64")


class StorageKind:
    """What a file calls ``torch.FloatStorage``: the dtype of a storage (None: bytes)."""

    def __init__(self, kind: dtype | None):
        self.dtype = kind


KINDS = {
    f"{kind.letter_name}Storage": StorageKind(kind)
    for kind in dtypes.ALL
    if kind.name not in _WITHOUT_STORAGE_CLASS
}
UNTYPED = StorageKind(None)

# --------------------------------------------------------------------------
# What pickles call: the functions that put tensors together again


class LoadedStorage:
    """A storage read from a file; its root takes the shape of the first tensor that fills it."""

    def __init__(self, kind: dtype | None, data: np.ndarray):
        self.dtype = kind
        self.data = data  # uint8, owned
        self.storage: Storage | None = None

    def tensor(self, kind: dtype, offset: int, size: tuple, stride: tuple) -> Tensor:
        """The tensor of these sizes and strides; raises RuntimeError where they do not fit."""
        size, stride = _sizes(size), _sizes(stride)
        if not isinstance(offset, int) or len(size) != len(stride):
            raise RuntimeError(
                f"invalid tensor in the file: offset {offset}, {size}, strides {stride}"
            )
        if self.storage is None:
            self.storage = self._made(kind, offset, size, stride)
        return tensor_at(self.storage, kind, offset, size, stride)

    def _made(self, kind: dtype, offset: int, size: tuple, stride: tuple) -> Storage:
        array = self.data.view(kind.numpy)
        found = meta((array.size,), kind)
        if offset == 0 and prod(size) == array.size and array.size:
            order = sorted(range(len(size)), key=lambda d: -stride[d])
            packed = array.reshape([size[d] for d in order])
            laid_out = packed.transpose(np.argsort(order)) if order else packed
            shown = meta(size, kind, strides=stride)
            if all(
                n == 1 or s == b // kind.itemsize
                for n, s, b in zip(size, stride, laid_out.strides, strict=True)
            ):
                return Storage(Value(shown.flat, laid_out), shown)
        return Storage(Value(found, array), found)


class WithoutData(LoadedStorage):
    """A storage of a file whose tensors are to be on the meta device."""

    def __init__(self, kind: dtype | None, nbytes: int):
        super().__init__(kind, np.empty(0, np.uint8))
        self.nbytes = nbytes

    def _made(self, kind: dtype, offset: int, size: tuple, stride: tuple) -> Storage:
        count = self.nbytes // kind.itemsize
        found = meta((count,), kind, META)
        if offset == 0 and prod(size) == count and is_dense(size, stride):
            found = meta(size, kind, META, stride)
        return Storage(Value(found.flat), found)


def is_mapped_to_meta(location: str, map_location: Any) -> bool:
    """Whether a storage is wanted without its data, which is then not read."""
    if isinstance(map_location, dict):
        map_location = map_location.get(location)
    if isinstance(map_location, str):
        return map_location.partition(":")[0] == "meta"
    return isinstance(map_location, device) and map_location.type == "meta"


def check_location(storage: LoadedStorage, location: str, map_location: Any) -> None:
    """Raises RuntimeError unless the storage belongs on the CPU or is mapped there."""
    if callable(map_location):
        raw = Storage(Value(meta((storage.data.size,), dtypes.uint8), storage.data),
                      meta((storage.data.size,), dtypes.uint8))  # fmt: skip
        if map_location(UntypedStorage(raw), location) is not None:
            return
    elif isinstance(map_location, dict):
        location = str(map_location.get(location, location))
    elif map_location is not None:
        location = str(device(map_location) if isinstance(map_location, str) else map_location)
    if location.startswith("cpu"):
        return
    if location.startswith("cuda"):
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is "
            "False. Use torch.load with map_location=torch.device('cpu') to map storages to the "
            "CPU."
        )
    raise RuntimeError(
        f"don't know how to restore data location of a storage (tagged with {location}); use "
        "map_location='cpu'"
    )


def _sizes(given: Any) -> tuple[int, ...]:
    if not isinstance(given, (tuple, list)) or not all(
        type(n) is int and 0 <= n < 2**63 for n in given
    ):
        raise RuntimeError(f"invalid sizes or strides in the file: {given!r}")
    return tuple(given)


def rebuild_tensor(
    storage: Any, storage_offset: int, size: Any, stride: Any, requires_grad: bool = False,
    backward_hooks: Any = None, metadata: Any = None,
) -> Tensor:  # fmt: skip
    if not isinstance(storage, LoadedStorage) or storage.dtype is None:
        raise RuntimeError("invalid tensor in the file: it has no storage of a dtype")
    made = storage.tensor(storage.dtype, storage_offset, size, stride)
    return made.requires_grad_() if requires_grad else made


def rebuild_tensor_v3(
    storage: Any, storage_offset: int, size: Any, stride: Any, requires_grad: bool,
    backward_hooks: Any, kind: Any, metadata: Any = None,
) -> Tensor:  # fmt: skip
    if not isinstance(storage, LoadedStorage) or not isinstance(kind, dtype):
        raise RuntimeError("invalid tensor in the file: it has no storage or no dtype")
    made = storage.tensor(kind, storage_offset, size, stride)
    return made.requires_grad_() if requires_grad else made


def rebuild_without_data(kind: Any, size: Any, stride: Any, requires_grad: bool) -> Tensor:
    if not isinstance(kind, dtype) or len(_sizes(size)) != len(_sizes(stride)):
        raise RuntimeError(f"invalid tensor in the file: {kind!r}, {size!r}, {stride!r}")
    made = empty_strided(size, stride, dtype=kind, device=META)
    return made.requires_grad_() if requires_grad else made


def rebuild_parameter(data: Any, requires_grad: bool, backward_hooks: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise RuntimeError("invalid parameter in the file: its data is no tensor")
    return parameters.Parameter(data, bool(requires_grad))


def rebuild_parameter_with_state(
    data: Any, requires_grad: bool, backward_hooks: Any, state: Any
) -> Tensor:
    made = rebuild_parameter(data, requires_grad, backward_hooks)
    _set_attributes(made, state)
    return made


def rebuild_from_type(function: Any, kind: Any, arguments: Any, state: Any) -> Tensor:
    if not any(function is allowed for allowed in REBUILDERS.values()):
        raise pickle.UnpicklingError(f"a tensor is to be rebuilt by {function!r}: not allowed")
    made = function(*arguments)
    if not (isinstance(kind, type) and issubclass(kind, Tensor)):
        raise pickle.UnpicklingError(f"a tensor of {kind!r} is to be rebuilt, no class of tensors")
    if type(made) is not kind:
        made = Tensor._make_subclass(kind, made, made.requires_grad)
    if isinstance(state, tuple) and len(state) == 2:
        state = {**(state[0] or {}), **(state[1] or {})}
    _set_attributes(made, state)
    return made


def _set_attributes(tensor: Tensor, state: Any) -> None:
    for name, value in (state or {}).items():
        if not isinstance(name, str) or name.startswith("_") or hasattr(Tensor, name):
            raise pickle.UnpicklingError(
                f"the file sets the attribute {name!r} of a tensor, which is not a user's"
            )
        setattr(tensor, name, value)


def set_ordered_dict_state(target: OrderedDict, state: Any) -> None:
    if not isinstance(state, dict):
        raise pickle.UnpicklingError("the state of an OrderedDict must be a dict")
    target.__dict__.update(state)


REBUILDERS: dict[str, Callable] = {
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": rebuild_tensor_v3,
    "torch._utils._rebuild_meta_tensor_no_storage": rebuild_without_data,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter_with_state,
}
NAMES: dict[str, Any] = {
    **SAFE,
    **REBUILDERS,
    "torch._tensor._rebuild_from_type_v2": rebuild_from_type,
    "torch.Size": Size,
    "torch.device": device,
    "torch.Tensor": Tensor,
    "torch._tensor.Tensor": Tensor,
    "torch.nn.parameter.Parameter": parameters.Parameter,
    "torch.nn.parameter.Buffer": parameters.Buffer,
    "torch.storage.UntypedStorage": UNTYPED,
    "torch.UntypedStorage": UNTYPED,
    **{f"torch.{name}": kind for name, kind in KINDS.items()},
    **{f"torch.{kind.name}": kind for kind in dtypes.ALL},
    "torch.serialization._get_layout": lambda name: WORDS[name.rpartition(".")[2]],
}
