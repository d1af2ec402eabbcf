"""Window functions, symmetric by default; they are defined in ``suiren/ops/windows.py``.

Source: PyTorch's torch.signal.windows page.
"""

from suiren.operator import NAMESPACES

globals().update(NAMESPACES["signal.windows"])
__all__ = sorted(NAMESPACES["signal.windows"])
