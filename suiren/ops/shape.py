"""The same elements in other shapes: flatten, unflatten, movedim, broadcasting.

Views where PyTorch gives views, copies elsewhere. Source: PyTorch's pages of these functions.
"""

from __future__ import annotations

from math import prod

from suiren.operator import composite
from suiren.ops.elementwise import broadcast_shapes as common_shape
from suiren.ops.joining import tensor_list
from suiren.ops.views import permute, reshape, same_view, sizes_of, wrap_dim
from suiren.tensor import Tensor


@composite(out=False)
def flatten(input, start_dim=0, end_dim=-1):
    """The dimensions from ``start_dim`` to ``end_dim`` as one. Source: torch.flatten.

    >>> import suiren as torch
    >>> torch.zeros(2, 3, 4).flatten(1).shape
    torch.Size([2, 12])
    """
    shape = input._meta.shape
    if not shape:
        wrap_dim(start_dim, 0), wrap_dim(end_dim, 0)
        return reshape(input, (1,))
    start, end = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end:
        return input
    return reshape(input, shape[:start] + (prod(shape[start : end + 1]),) + shape[end + 1 :])


@composite(out=False)
def ravel(input):
    """All elements in one dimension. Source: torch.ravel."""
    return contiguous_reshape(input)


def contiguous_reshape(input: Tensor) -> Tensor:
    """The elements in row-major order in one dimension."""
    return reshape(input.contiguous(), (-1,) if input._meta.numel else (0,))


@composite(out=False)
def unflatten(input, dim, sizes):
    """A dimension as several, one of which may be -1. Source: torch.unflatten."""
    old = input._meta
    if not old.ndim:
        raise RuntimeError(f"unflatten: Dimension specified as {dim} but tensor has no dimensions")
    dim = wrap_dim(dim, old.ndim)
    sizes = sizes_of((sizes,))
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    rest = [s for s in sizes if s != -1]
    size = old.shape[dim]
    if len(rest) < len(sizes) - 1:
        raise RuntimeError("only one dimension can be inferred")
    fits = prod(rest) == size if len(rest) == len(sizes) else prod(rest) and not size % prod(rest)
    if not fits:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to the size of dim {dim} "
            f"({size}) in the input tensor"
        )
    sizes = tuple([size // prod(rest) if s == -1 else s for s in sizes])
    return input.view(old.shape[:dim] + sizes + old.shape[dim + 1 :])


@composite(out=False, aliases=("moveaxis",))
def movedim(input, source, destination):
    """Dimensions moved to other places; the others keep their order. Source: torch.movedim."""
    ndim = input._meta.ndim
    sources = (source,) if hasattr(source, "__index__") else tuple(source)
    targets = (destination,) if hasattr(destination, "__index__") else tuple(destination)
    if len(sources) != len(targets):
        raise RuntimeError(
            "movedim: Invalid source or destination dims: source "
            f"({list(sources)} dims) should contain the same number of dims as destination "
            f"({list(targets)} dims)"
        )
    sources = tuple([wrap_dim(d, ndim) for d in sources])
    targets = tuple([wrap_dim(d, ndim) for d in targets])
    for dims in (sources, targets):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in {list(dims)}")
    if not ndim:
        return same_view(input)
    order: list[int] = [-1] * ndim
    for s, t in zip(sources, targets, strict=True):
        order[t] = s
    rest = iter([d for d in range(ndim) if d not in sources])
    return permute(input, [d if d >= 0 else next(rest) for d in order])


@composite(out=False)
def broadcast_to(input, size):
    """``input`` expanded to this shape. Source: torch.broadcast_to."""
    return input.expand(sizes_of((size,)))


@composite(where=("Tensor",))
def expand_as(self, other):
    """``self.expand(other.shape)``. Source: Tensor.expand_as."""
    return self.expand(other._meta.shape)


@composite(where=("torch",), out=False)
def broadcast_tensors(*tensors):
    """The tensors expanded to their common shape. Source: torch.broadcast_tensors."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    tensors = tensor_list(tensors, "broadcast_tensors")
    shape = common_shape(*[x._meta.shape for x in tensors])
    return tuple([x.expand(shape) for x in tensors])


@composite(where=("torch",), out=False)
def broadcast_shapes(*shapes):
    """The shape that these shapes broadcast to. Source: torch.broadcast_shapes.

    >>> import suiren as torch
    >>> torch.broadcast_shapes((2, 1), 3)
    torch.Size([2, 3])
    """
    from suiren.size import Size

    given = []
    for shape in shapes:
        shape = (shape,) if hasattr(shape, "__index__") else tuple(shape)
        for s in shape:
            if not hasattr(s, "__index__"):
                raise RuntimeError(
                    f"Input shapes should be of type ints, a tuple of ints, or a list of ints, "
                    f"got {shape}"
                )
            if s < 0:
                raise RuntimeError(
                    f"Trying to create tensor with negative dimension ({s}): ({list(shape)})"
                )
        given.append(shape)
    return Size(common_shape(*given))
