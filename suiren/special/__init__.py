"""torch.special: the functions of mathematical physics and statistics.

The functions are defined in ``suiren/ops`` and registered there for this namespace; importing this
module collects them. Source: PyTorch's torch.special page.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from suiren import ops as _ops  # noqa: F401 (registers the operators)
from suiren.operator import NAMESPACES as _NAMESPACES

globals().update(_NAMESPACES["special"])

__all__ = sorted(_NAMESPACES["special"])

if _TYPE_CHECKING:  # what the update above brings

    def __getattr__(name: str) -> _Any: ...
