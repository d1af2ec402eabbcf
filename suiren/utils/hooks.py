"""PyTorch's home of the handle that registering a hook returns."""

from suiren.hooks import RemovableHandle

__all__ = ["RemovableHandle"]
