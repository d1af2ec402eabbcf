"""Products beyond matmul: outer, inner, Kronecker, tensordot, cross, powers, chains, distances.

Written with the operators of ``matmul.py`` unless PyTorch has a gradient node for them. Source:
PyTorch's torch.* and torch.linalg.* pages of these names.
"""

from __future__ import annotations

from math import inf, prod
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.autocasting import as_given, in_float32, in_lower
from suiren.dispatch import apply
from suiren.operator import composite, operator
from suiren.ops.arithmetic import conj
from suiren.ops.elementwise import broadcast_shapes
from suiren.ops.lowering import narrow
from suiren.ops.matmul import check_tensors, dot, matmul, mm
from suiren.ops.parts import diagonal
from suiren.ops.reductions import sum_
from suiren.ops.views import wrap_dim
from suiren.tensor import Tensor
from suiren.trace import meta

# ---- products of two


@composite(aliases=("ger",))
def outer(input, vec2):
    """All products of the elements of two vectors, (n,) and (m,) to (n, m), promoted.

    Source: torch.outer.

    >>> import suiren as torch
    >>> torch.outer(torch.tensor([1, 2]), torch.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    for which, x in (("self", input), ("vec2", vec2)):
        check_tensors("outer", x._meta if isinstance(x, Tensor) else type(x))
        if x._meta.ndim != 1:
            raise RuntimeError(
                f"outer: Expected 1-D argument {which}, but got {x._meta.ndim}-D; use reshape(-1)"
            )
    return input.reshape(input._meta.shape[0], 1) * vec2


@composite
def inner(input, other):
    """Sums of products over the last dimension of both. Source: torch.inner.

    >>> import suiren as torch
    >>> torch.inner(torch.tensor([1, 2, 3]), torch.tensor([0, 2, 1]))
    tensor(7)
    """
    a, b = input._meta, other._meta
    if not a.ndim or not b.ndim:
        return input * other
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(
            "inner() the last dimension must match on both input tensors but got shapes "
            f"{list(a.shape)} and {list(b.shape)}"
        )
    return tensordot(input, other, ((-1,), (-1,)))


@composite
def tensordot(a, b, dims=2):
    """Sums of products over several dimensions of both.

    ``dims`` is a count (the last of ``a`` with the first of ``b``) or a pair of lists of
    dimensions. Source: torch.tensordot.

    >>> import suiren as torch
    >>> torch.tensordot(torch.ones(2, 3, 4), torch.ones(3, 4, 5), 2).shape
    torch.Size([2, 5])
    """
    x, y = a._meta, b._meta
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(x.ndim, y.ndim):
            raise RuntimeError(
                "tensordot expects dims < ndim_a or ndim_b, but got dims="
                f"{dims} for {x.ndim} and {y.ndim} dimensions"
            )
        dims = (range(x.ndim - dims, x.ndim), range(dims))
    over_a, over_b = [(d,) if isinstance(d, int) else tuple(d) for d in dims]
    if len(over_a) != len(over_b):
        raise RuntimeError(
            "both dimension lists should have same length, got "
            f"{list(over_a)} and {list(over_b)} in tensordot"
        )
    over_a = tuple([wrap_dim(d, x.ndim) for d in over_a])
    over_b = tuple([wrap_dim(d, y.ndim) for d in over_b])
    for i, j in zip(over_a, over_b, strict=True):
        s, t = x.shape[i], y.shape[j]
        if s != t and s != 1 and t != 1:
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {s} in dim {i} and "
                f"second has size {t} in dim {j}"
            )
        if s == 1 != t:  # a size of one on one side only: the other side is summed
            b = sum_(b, j, True)
        elif t == 1 != s:
            a = sum_(a, i, True)
    x, y = a._meta, b._meta
    free_a = [d for d in range(x.ndim) if d not in over_a]
    free_b = [d for d in range(y.ndim) if d not in over_b]
    shared = prod(x.shape[d] for d in over_a)
    shape_a = [x.shape[d] for d in free_a]
    shape_b = [y.shape[d] for d in free_b]
    left = a.permute(*free_a, *over_a).reshape(prod(shape_a), shared)
    right = b.permute(*over_b, *free_b).reshape(shared, prod(shape_b))
    if left._meta.shape[0] == 1 == right._meta.shape[1]:  # a number
        return dot(left.reshape(shared), right.reshape(shared)).view((*shape_a, *shape_b))
    return mm(left, right).reshape(*shape_a, *shape_b)


@composite
def kron(input, other):
    """The Kronecker product; the one with fewer dimensions gets leading ones.

    Source: torch.kron.

    >>> import suiren as torch
    >>> torch.kron(torch.tensor([1, 2]), torch.tensor([1, 1]))
    tensor([1, 1, 2, 2])
    """
    a, b = input._meta, other._meta
    count = max(a.ndim, b.ndim)
    sizes_a = (1,) * (count - a.ndim) + tuple(a.shape)
    sizes_b = (1,) * (count - b.ndim) + tuple(b.shape)
    spread_a = [s for pair in zip(sizes_a, (1,) * count, strict=True) for s in pair]
    spread_b = [s for pair in zip((1,) * count, sizes_b, strict=True) for s in pair]
    shape = [s * t for s, t in zip(sizes_a, sizes_b, strict=True)]
    return (input.reshape(spread_a) * other.reshape(spread_b)).reshape(shape)


@composite(where=("linalg",))
@in_lower
def vecdot(x, y, *, dim=-1):
    """Sums of conj(x) * y over one dimension, broadcast. Source: torch.linalg.vecdot."""
    return sum_(conj(x) * y, dim)


@operator(where=(), name="linalg_cross")
class _cross:
    """The vector product over a dimension of size three."""

    tensors = 2
    widen = True

    def call(input, other, dim):
        shape = broadcast_shapes(input._meta.shape, other._meta.shape)
        return apply(_cross.operator, (input.expand(shape), other.expand(shape)), (dim,))

    def infer(input, other, dim):
        return meta(input.shape, input.dtype, input.device)

    def evaluate(input, other, dim):
        a, b = np.moveaxis(input, dim, 0), np.moveaxis(other, dim, 0)
        parts = [a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)]
        return np.stack(parts, axis=dim)

    def decompose(g, input, other, dim):
        a, b = ([narrow(g, x, dim, i, 1) for i in range(3)] for x in (input, other))
        return g.concat([a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)], dim)

    def grad_input(grad, other, dim):
        return _cross(conj(other), grad, dim)

    def grad_other(grad, input, dim):
        return _cross(grad, conj(input), dim)


def _cross_of(name: str, input: Tensor, other: Tensor, dim: int) -> Tensor:
    a, b = input._meta, other._meta
    if a.ndim != b.ndim:
        raise RuntimeError(
            f"{name}: inputs must have the same number of dimensions, got {a.ndim} and {b.ndim}"
        )
    dim = wrap_dim(dim, a.ndim)
    if a.shape[dim] != 3 or b.shape[dim] != 3:
        raise RuntimeError(
            f"{name}: inputs dimension {dim} must have length 3. Got {a.shape[dim]} and "
            f"{b.shape[dim]}"
        )
    kind = dtypes.promote_types(a.dtype, b.dtype)
    return _cross(input.to(kind), other.to(kind), dim)


@composite(where=("linalg",), name="cross")
def linalg_cross(input, other, *, dim=-1):
    """The vector product over a dimension of size three. Source: torch.linalg.cross."""
    return _cross_of("linalg.cross", input, other, dim)


@composite
def cross(input, other, dim=None):
    """The vector product; by default over the first dimension of size three.

    Source: torch.cross.

    >>> import suiren as torch
    >>> torch.cross(torch.tensor([1, 0, 0]), torch.tensor([0, 1, 0]), dim=0)
    tensor([0, 0, 1])
    """
    if dim is None:
        shape = input._meta.shape
        if 3 not in shape:
            raise RuntimeError(
                f"no dimension of size 3 in input of shape {list(shape)}: cross() needs one"
            )
        dim = shape.index(3)
    return _cross_of("linalg.cross", input, other, dim)


@composite(where=("nn.functional",), out=False)
@as_given
def bilinear(input1, input2, weight, bias=None):
    """``input1^T weight[k] input2 + bias[k]`` for each k.

    (..., n), (..., m) and weight (out, n, m) give (..., out). Source: nn.functional.bilinear.
    """
    a, b, w = input1._meta, input2._meta, weight._meta
    if w.ndim != 3 or a.shape[-1] != w.shape[1] or b.shape[-1] != w.shape[2]:
        raise RuntimeError(
            f"bilinear(): weight {list(w.shape)} must be (out, {a.shape[-1]}, {b.shape[-1]}) for "
            f"inputs {list(a.shape)} and {list(b.shape)}"
        )
    if a.shape[:-1] != b.shape[:-1]:
        raise RuntimeError(
            "bilinear(): input batch dimensions do not match: got "
            f"{list(a.shape)} and {list(b.shape)}"
        )
    count = prod(a.shape[:-1])
    out, n, m = w.shape
    left = input1.reshape(count, n)
    right = input2.reshape(count, m)
    # (count, n) @ (n, out*m), then weighted by the second input
    middle = mm(left, weight.permute(1, 0, 2).reshape(n, out * m)).reshape(count, out, m)
    found = matmul(middle, right.unsqueeze(2)).reshape(*a.shape[:-1], out)
    return found if bias is None else found + bias


# ---- one matrix, many matrices


@operator
class trace:
    """The sum of the diagonal of a matrix. Source: torch.trace."""

    widen = True

    @in_float32
    def call(input):
        return apply(trace.operator, (input,))

    def infer(input):
        if input.ndim != 2:
            raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
        kind = input.dtype
        return meta((), dtypes.int64 if kind.category < dtypes.FLOATING else kind, input.device)

    def evaluate(input):
        kind = np.int64 if input.dtype.kind in "biu" else input.dtype
        return np.asarray(np.trace(input, dtype=kind))

    def decompose(g, input):
        kind = dtypes.int64 if input.dtype.category < dtypes.FLOATING else input.dtype
        here = g.iota(input.shape, 0).eq(g.iota(input.shape, 1))
        return g.where(here, input.cast(kind), 0).sum()

    def grad_input(grad, input_meta):
        from suiren.ops.parts import diagonal_write
        from suiren.ops.views import full_like_meta

        zeros = full_like_meta(input_meta)
        length = min(input_meta.shape)
        return apply(diagonal_write.operator, (zeros, grad.expand(length)), (0, 0, 1))


@composite(aliases=("linalg.matrix_power",))
def matrix_power(input, n):
    """A square matrix (or batch) to an integer power, by squaring; negative ones invert.

    Source: torch.linalg.matrix_power.
    """
    m = input._meta
    if m.ndim < 2 or m.shape[-1] != m.shape[-2]:
        raise RuntimeError(
            "linalg.matrix_power: A must be batches of square matrices, but they are "
            f"{' by '.join(map(str, m.shape[-2:]))} matrices"
        )
    if n < 0:
        from suiren.ops.solving import inv

        input, n = inv(input), -n
    if n == 0:
        from suiren.ops.matrices import identity

        return input.clone().copy_(identity(m).expand(m.shape))
    result = None
    while n:
        if n & 1:
            result = input if result is None else matmul(result, input)
        n >>= 1
        if n:
            input = matmul(input, input)
    return result.clone() if result is input and n == 1 else result


def _best_order(sizes: list[int]) -> list[list[int]]:
    """Where to split each product of a chain for the fewest multiplications.

    Dynamic programming over sub-chains (Cormen et al., Introduction to Algorithms, 15.2).
    """
    n = len(sizes) - 1
    cost = [[0] * n for _ in range(n)]
    split = [[0] * n for _ in range(n)]
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length - 1
            found = [
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            ]
            cost[i][j], split[i][j] = min(found)
    return split


@composite(where=("linalg",))
def multi_dot(tensors):
    """The product of several matrices, in the order that needs the fewest multiplications.

    The first and the last may be vectors. Source: torch.linalg.multi_dot.
    """
    tensors = list(tensors)
    if len(tensors) < 2:
        raise RuntimeError(
            f"multi_dot(): expected at least 2 tensors but got {len(tensors)}; there is nothing "
            "to multiply"
        )
    kind = tensors[0]._meta.dtype
    for i, x in enumerate(tensors):
        ends = i in (0, len(tensors) - 1)
        if x._meta.ndim not in ((1, 2) if ends else (2,)):
            raise RuntimeError(
                f"multi_dot(): tensor {i} must be {'1D or 2D' if ends else '2D'} but got "
                f"{x._meta.ndim}D"
            )
        if x._meta.dtype is not kind:
            raise RuntimeError(
                f"multi_dot(): all tensors must have be the same dtype but tensor 0 is {kind} and "
                f"tensor {i} is {x._meta.dtype}"
            )
    first, last = tensors[0]._meta.ndim == 1, tensors[-1]._meta.ndim == 1
    if first:
        tensors[0] = tensors[0].unsqueeze(0)
    if last:
        tensors[-1] = tensors[-1].unsqueeze(1)
    for i, (x, y) in enumerate(zip(tensors, tensors[1:], strict=False)):
        if x._meta.shape[1] != y._meta.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {list(x._meta.shape)} and "
                f"{list(y._meta.shape)} cannot be multiplied"
            )
    split = _best_order([x._meta.shape[0] for x in tensors] + [tensors[-1]._meta.shape[1]])

    def product(i: int, j: int) -> Tensor:
        if i == j:
            return tensors[i]
        k = split[i][j]
        return mm(product(i, k), product(k + 1, j))

    found = product(0, len(tensors) - 1)
    if last:
        found = found.squeeze(1)
    return found.squeeze(0) if first else found


@composite(where=("torch",))
def chain_matmul(*matrices, out=None):
    """The product of several matrices; ``linalg.multi_dot`` is the newer name.

    Source: torch.chain_matmul.
    """
    if len(matrices) == 1 and isinstance(matrices[0], (tuple, list)):
        matrices = tuple(matrices[0])
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    for x in matrices:
        if x._meta.ndim != 2:
            raise RuntimeError(
                f"Tensor dimension is {x._meta.ndim}, expected 2 instead: chain_matmul takes "
                "matrices"
            )
    found = matrices[0] if len(matrices) == 1 else multi_dot(matrices)
    if out is not None:
        out.copy_(found)
        return out
    return found


@composite(where=("linalg",), name="diagonal", out=False)
def linalg_diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """A view of the diagonal of the last two dimensions. Source: torch.linalg.diagonal."""
    return diagonal(A, offset, dim1, dim2)


# ---- distances


def _differences(x1: Any, x2: Any) -> Any:
    return x1.unsqueeze(-2) - x2.unsqueeze(-3)


@operator(where=(), name="_cdist_forward", node_name="CdistBackward0")
class _cdist:
    """p-norm distances between all rows of two batches of matrices.

    ``large``: the gradients of Euclidean distances are products of matrices.
    """

    tensors = 2
    widen = True

    def call(x1, x2, p, large):
        return apply(_cdist.operator, (x1, x2), (p, large))

    def infer(x1, x2, p, large):
        return meta((*x1.shape[:-1], x2.shape[-2]), x1.dtype, x1.device)

    def evaluate(x1, x2, p, large):
        apart = np.abs(np.expand_dims(x1, -2) - np.expand_dims(x2, -3))
        return _norms(apart, p).astype(x1.dtype)

    def decompose(g, x1, x2, p, large):
        n = x1.ndim
        apart = (x1.unsqueeze(n - 1) - x2.unsqueeze(n - 2)).abs()
        if not apart.numel:
            raise g.NotNative("no distances")
        if p == 0:
            return apart.ne(0).cast(x1.dtype).sum((n,))
        if p == inf:
            return apart.amax((n,))
        if p == 1:
            return apart.sum((n,))
        if p == 2:
            return (apart * apart).sum((n,)).sqrt()
        return (apart**p).sum((n,)) ** (1 / p)

    def grad_x1(grad, x1, x2, result, p, large):
        if large and p == 2:
            slopes = _euclidean_slopes(grad, result)
            return x1 * slopes.sum(-1, keepdim=True) - slopes @ x2
        return sum_(_distance_slope(_differences(x1, x2), grad, result, p), -2)

    def grad_x2(grad, x1, x2, result, p, large):
        if large and p == 2:
            slopes = _euclidean_slopes(grad, result).mT
            return x2 * slopes.sum(-1, keepdim=True) - slopes @ x1
        return sum_(_distance_slope(_differences(x1, x2), -grad, result, p), -3)


def _euclidean_slopes(grad: Tensor, norm: Tensor) -> Tensor:
    """What the difference of two vectors is multiplied by, zero where they are equal."""
    equal = norm == 0
    return (grad / norm.masked_fill(equal, 1)).masked_fill(equal, 0)


def _norms(apart: np.ndarray, p: float) -> np.ndarray:
    if not apart.shape[-1]:
        return np.zeros(apart.shape[:-1], apart.dtype)
    if p == 0:
        return np.count_nonzero(apart, axis=-1)
    if p == inf:
        return apart.max(axis=-1)
    if p == 1:
        return apart.sum(axis=-1)
    if p == 2:
        return np.sqrt(np.einsum("...i,...i->...", apart, apart))
    return (apart**p).sum(axis=-1) ** (1 / p)


def _distance_slope(apart: Tensor, grad: Tensor, norm: Tensor, p: float) -> Tensor:
    """The gradient of p-norms with respect to the vectors, zero where a norm is zero."""
    grad, norm = grad.unsqueeze(-1), norm.unsqueeze(-1)
    if p == 0:
        return apart * 0
    if p == 1:
        return grad * apart.sign()
    if p == inf:
        return grad * apart.sign() * (apart.abs() == norm).to(apart.dtype)
    if p == 2:
        return _euclidean_slopes(grad, norm) * apart
    safe = norm.masked_fill(norm == 0, 1)
    size = apart.abs()
    power = size.masked_fill(size == 0, 1).pow(p - 1).masked_fill(size == 0, 0)
    return (grad * apart.sign() * power / safe.pow(p - 1)).masked_fill(norm == 0, 0)


@composite(where=("torch",))
@in_float32
def cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    """The p-norm distances between all rows of (..., n, d) and (..., m, d): (..., n, m).

    Distances are always computed from the differences, the most exact of PyTorch's modes; the
    gradients of Euclidean ones by products of matrices where ``compute_mode`` says so, by default
    with more than 25 rows. Source: torch.cdist.

    >>> import suiren as torch
    >>> torch.cdist(torch.tensor([[0., 0.]]), torch.tensor([[3., 4.]]))
    tensor([[5.]])
    """
    modes = (None, "use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist",
             "donot_use_mm_for_euclid_dist")  # fmt: skip
    if compute_mode not in modes:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    a, b = x1._meta, x2._meta
    for which, m in (("X1", a), ("X2", b)):
        if m.ndim < 2:
            raise RuntimeError(
                f"cdist only supports at least 2D tensors, {which} got: {m.ndim}D"
            )
        if not m.dtype.is_floating_point:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {which} got: {m.dtype}")
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(
            "X1 and X2 must have the same number of columns. X1: "
            f"{a.shape[-1]} X2: {b.shape[-1]}"
        )
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    kind = dtypes.promote_types(a.dtype, b.dtype)
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left = x1.to(kind).expand(*lead, *a.shape[-2:])
    right = x2.to(kind).expand(*lead, *b.shape[-2:])
    many = max(a.shape[-2], b.shape[-2]) > 25
    large = compute_mode == modes[2] or compute_mode != modes[3] and many
    return _cdist(left, right, float(p), large)


@operator(where=(), name="_pdist_forward", node_name="PdistBackward0")
class _pdist:
    """p-norm distances between each two rows of a matrix, in row-major order of the pairs."""

    widen = True

    def call(input, p):
        return apply(_pdist.operator, (input,), (p,))

    def infer(input, p):
        n = input.shape[0]
        return meta((max(n * (n - 1) // 2, 0),), input.dtype, input.device)

    def evaluate(input, p):
        first, second = np.triu_indices(input.shape[0], 1)
        return _norms(np.abs(input[first] - input[second]), p).astype(input.dtype)

    def grad_input(grad, input, result, p):
        from suiren.ops.creation import from_array

        n = input._meta.shape[0]
        first, second = [from_array(i) for i in np.triu_indices(n, 1)]
        apart = input.index_select(0, first) - input.index_select(0, second)
        slope = _distance_slope(apart, grad, result, p)
        zeros = input.detach() * 0
        return zeros.index_add(0, first, slope).index_add(0, second, -slope)


@composite(where=("torch", "nn.functional"), out=False)
def pdist(input, p=2.0):
    """The p-norm distances between each two rows of (n, d): (n * (n - 1) / 2,).

    Source: torch.nn.functional.pdist.
    """
    m = input._meta
    if m.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {m.ndim}D")
    if not m.dtype.is_floating_point:
        raise RuntimeError(f"pdist only supports floating-point dtypes, got {m.dtype}")
    if p < 0:
        raise RuntimeError(f"pdist only supports non-negative p values, got {p}")
    return _pdist(input, float(p))
