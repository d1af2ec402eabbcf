"""DLPack under the names of ``torch.utils.dlpack``. Source: PyTorch's torch.utils.dlpack page."""

from __future__ import annotations

from typing import Any

from suiren.tensor import Tensor
from suiren.tensor_numpy import from_dlpack


def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule over the tensor's memory; it can be consumed once."""
    return tensor.__dlpack__()


__all__ = ["from_dlpack", "to_dlpack"]
