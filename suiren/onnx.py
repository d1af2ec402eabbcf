"""`torch.onnx`: export is not there, and says so. Source: PyTorch's torch.onnx page."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["dynamo_export", "export", "is_in_onnx_export"]


def export(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises NotImplementedError."""
    raise NotImplementedError(
        "torch.onnx.export: Suiren writes no ONNX files; save the weights with "
        "torch.save(model.state_dict(), path), which PyTorch reads, and export there"
    )


dynamo_export = export


def is_in_onnx_export() -> bool:
    """False."""
    return False
