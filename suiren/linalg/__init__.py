"""torch.linalg: decompositions, solvers, norms and products of matrices.

The functions are defined in ``suiren/ops`` and registered there for this namespace; importing this
module collects them. Source: PyTorch's torch.linalg page.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from suiren import ops as _ops  # noqa: F401 (registers the operators)
from suiren.operator import NAMESPACES as _NAMESPACES
from suiren.ops.matrices import LinAlgError

globals().update(_NAMESPACES["linalg"])

__all__ = ["LinAlgError", *sorted(_NAMESPACES["linalg"])]

if _TYPE_CHECKING:  # what the update above brings

    def __getattr__(name: str) -> _Any: ...
