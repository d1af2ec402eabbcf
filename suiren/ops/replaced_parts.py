"""A copy with another part: what writing through a view makes.

Source: torch.select_scatter, slice_scatter, diagonal_scatter and as_strided_scatter.
"""

from __future__ import annotations

from suiren.operator import composite
from suiren.ops.indexing import slice_bounds
from suiren.ops.parts import diagonal, diagonal_write, select, select_write, slice_, slice_write
from suiren.ops.strided import as_strided, as_strided_scatter
from suiren.ops.views import reshape, wrap_dim
from suiren.tensor import Tensor


def _check_part(source: Tensor, wanted, name: str) -> None:
    if tuple(source._meta.shape) != tuple(wanted):
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = "
            f"{list(source._meta.shape)}, slice size = {list(wanted)}, in {name}()"
        )


@composite()
def select_scatter(input, src, dim, index):
    """``input`` with ``src`` at one position of a dimension. Source: torch.select_scatter."""
    part = select(input, dim, index)
    _check_part(src, part._meta.shape, "select_scatter")
    return select_write(input, src.to(input._meta.dtype), *part._view.steps[-1][1])


@composite()
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """``input`` with ``src`` in a slice of a dimension. Source: torch.slice_scatter."""
    dim = wrap_dim(dim, input._meta.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    attributes = (dim, *slice_bounds(slice(start, end, step), input._meta.shape[dim]))
    part = slice_.operator.infer(input._meta, *attributes)
    _check_part(src, part.shape, "slice_scatter")
    return slice_write(input, src.to(input._meta.dtype), *attributes)


@composite()
def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """``input`` with ``src`` on a diagonal. Source: torch.diagonal_scatter."""
    part = diagonal(input, offset, dim1, dim2)
    _check_part(src, part._meta.shape, "diagonal_scatter")
    return diagonal_write(input, src.to(input._meta.dtype), *part._view.steps[-1][1])


@composite(name="as_strided_scatter")
def scatter_strided(input, src, size, stride, storage_offset=None):
    """``input`` with ``src`` where an as_strided view looks. Source: torch.as_strided_scatter."""
    base = input.contiguous()
    part = as_strided(base, size, stride, storage_offset or 0)
    _check_part(src, part._meta.shape, "as_strided_scatter")
    flat = reshape(base, (base._meta.numel,))
    found = as_strided_scatter(flat, src.to(input._meta.dtype), *part._view.steps[-1][1])
    return reshape(found, input._meta.shape)
