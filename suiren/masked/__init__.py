"""torch.masked: reductions and normalisations over the elements that a mask keeps.

The functions are defined in ``suiren/ops/masked_reductions.py``. Source: PyTorch's torch.masked.
"""

from suiren import ops as _ops  # noqa: F401 (registers the functions)
from suiren.operator import NAMESPACES as _NAMESPACES

globals().update(_NAMESPACES["masked"])

__all__ = sorted(_NAMESPACES["masked"])
