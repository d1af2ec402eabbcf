"""`torch.types`: names for annotations. Source: PyTorch's torch/types page."""

from __future__ import annotations

import builtins
import os
from collections.abc import Sequence
from typing import Any, Union

from suiren.device import device as _device
from suiren.size import Size
from suiren.storages import UntypedStorage as Storage
from suiren.tensor import Tensor

__all__ = ["Device", "FileLike", "IntLikeType", "Number", "Storage", "Tensor"]

_TensorOrTensors = Union[Tensor, Sequence[Tensor]]  # noqa: UP007
_size = Union[Size, list[int], tuple[int, ...]]  # noqa: UP007
_int, _float, _bool, _complex = builtins.int, builtins.float, builtins.bool, builtins.complex
_symint = _int
Number = Union[builtins.int, builtins.float, builtins.bool]  # noqa: UP007
Device = Union[_device, str, builtins.int, None]  # noqa: UP007
FileLike = Union[str, os.PathLike, Any]  # noqa: UP007
IntLikeType = builtins.int
FloatLikeType = builtins.float
BoolLikeType = builtins.bool
_dispatchkey = str
