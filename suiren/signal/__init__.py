"""Signal processing: ``torch.signal.windows``. Source: PyTorch's torch.signal page."""

from suiren.signal import windows

__all__ = ["windows"]
