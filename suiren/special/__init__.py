"""torch.special: the functions of mathematical physics and statistics.

The functions are defined in ``suiren/ops`` and registered there for this namespace; importing this
module collects them. Source: PyTorch's torch.special page.
"""

from suiren import ops as _ops  # noqa: F401 (registers the operators)
from suiren.operator import NAMESPACES as _NAMESPACES

globals().update(_NAMESPACES["special"])

__all__ = sorted(_NAMESPACES["special"])
