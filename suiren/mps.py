"""`torch.mps`: there is none. Source: PyTorch's torch.mps page."""

from suiren.xpu import device_count, empty_cache, is_available, manual_seed

__all__ = ["device_count", "empty_cache", "is_available", "manual_seed"]
