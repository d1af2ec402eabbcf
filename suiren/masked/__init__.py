"""torch.masked: reductions and normalisations over the elements that a mask keeps.

The functions are defined in ``suiren/ops/masked_reductions.py``. Source: PyTorch's torch.masked.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from suiren import ops as _ops  # noqa: F401 (registers the functions)
from suiren.operator import NAMESPACES as _NAMESPACES

globals().update(_NAMESPACES["masked"])

__all__ = sorted(_NAMESPACES["masked"])

if _TYPE_CHECKING:  # what the update above brings

    def __getattr__(name: str) -> _Any: ...
