"""Reductions over dimensions: sums, products, means, extremes, truth, counts.

Every reduction takes the dimensions to reduce (all of them for None), and ``keepdim=True`` leaves
them there with size one. ``max``, ``argmax`` and the like are in ``max_min.py``, variances in
``statistics.py``, norms in ``norms.py``. Source: PyTorch's "Reduction Ops" list.
"""

from __future__ import annotations

from math import prod

import numpy as np

from suiren import dtypes
from suiren.autocasting import in_float32
from suiren.dispatch import apply
from suiren.interpreter import accurate
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.casts import to_dtype
from suiren.ops.lowering import is_finite, truth
from suiren.ops.views import wrap_dim
from suiren.trace import meta


def reduced_dims(dim, ndim: int) -> tuple[int, ...]:
    """The dimensions to reduce, counted from the front: all of them for None or ()."""
    if dim is None:
        return tuple(range(ndim))
    if isinstance(dim, (tuple, list)):
        dims = tuple([wrap_dim(d, ndim) for d in dim])
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"dim {dims[0]} appears multiple times in the list of dims")
        return dims if dims and ndim else tuple(range(ndim))
    dim = wrap_dim(dim, ndim)
    return (dim,) if ndim else ()


def reduced_shape(shape, dims, keepdim: bool) -> list[int]:
    """The shape after reducing these dimensions."""
    if keepdim:
        return [1 if d in dims else s for d, s in enumerate(shape)]
    return [s for d, s in enumerate(shape) if d not in dims]


def reduced_meta(input, dims, keepdim: bool, kind=None):
    """The Meta after reducing these dimensions of a Meta."""
    return meta(reduced_shape(input.shape, dims, keepdim), kind or input.dtype, input.device)


def restore(grad, shape, dims, keepdim: bool):
    """A gradient of a reduction's result, seen in the shape of its input."""
    return kept(grad, dims, keepdim).expand(shape)


def kept(result, dims, keepdim: bool):
    """A result (or its gradient) with the reduced dimensions there as size one."""
    if not keepdim:
        for d in sorted(dims):
            result = result.unsqueeze(d)
    return result


def labelled(result, label: str):
    """``result``, its gradient node printed as PyTorch prints this form of the function."""
    if result._grad_fn is not None:
        result._grad_fn.label = label
    return result


def check_not_empty(name: str, m, dims, given) -> None:
    """Raises as PyTorch where a reduction without identity gets no elements."""
    if m.numel:
        return
    if given is None or given == ():
        raise RuntimeError(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
            f"reduction dim with the 'dim' argument. Got a tensor of shape {list(m.shape)}."
        )
    for d in dims:
        if m.shape[d] == 0:
            raise IndexError(
                f"{name}(): Expected reduction dim {d} to have non-zero size, got a tensor of "
                f"shape {list(m.shape)}."
            )


def sum_array(x: np.ndarray, axes: tuple[int, ...], keepdims: bool = False) -> np.ndarray:
    """``np.sum`` whose rounding error stays small along every axis.

    NumPy adds pairwise along the innermost axis only, elsewhere one after the other, with an error
    that grows with the length. There long axes are summed in blocks, and the blocks in blocks.
    """
    if x.dtype.kind in "fc" and x.itemsize <= 8 and x.size > _LONG:
        outer = [a for a in axes if abs(x.strides[a]) != x.itemsize]
        longest = max(outer, key=lambda a: x.shape[a], default=None)
        if longest is not None and x.shape[longest] > _LONG:
            return _blocked_sum(x, axes, longest, keepdims)
    return np.sum(x, axis=axes, keepdims=keepdims, dtype=x.dtype)


_LONG = 256  # up to here one after the other is off by less than 5e-6
_BLOCK = 64  # measured: no slower than one pass, error below 1e-6
_NARROW = 16  # so few columns are summed faster (up to 20 times) when copied to lie along memory


def _blocked_sum(x, axes, longest, keepdims):
    lines = np.moveaxis(x, longest, 0)  # longest, the others
    rest = lines.shape[1:]
    if x.size // len(lines) <= _NARROW:
        columns = np.ascontiguousarray(lines.reshape(len(lines), -1).T)
        total = np.sum(columns, axis=1, dtype=x.dtype).reshape(1, *rest)
    else:
        total = lines
        while len(total) > _BLOCK:
            whole = len(total) // _BLOCK * _BLOCK
            blocks = total[:whole].reshape(-1, _BLOCK, *rest)
            found = np.sum(blocks, axis=1, dtype=x.dtype)
            if whole < len(total):
                found[0] += np.sum(total[whole:], axis=0, dtype=x.dtype)
            total = found
        total = np.sum(total, axis=0, keepdims=True, dtype=x.dtype)
    total = np.moveaxis(total, 0, longest)
    others = tuple([a for a in axes if a != longest])
    if others:
        total = sum_array(total, others, True)
    return total if keepdims else np.squeeze(total, axes)


def whole_dtype(input, dtype):
    """What sums and products are computed in: int64 for integers unless said otherwise."""
    kind = dtype or input._meta.dtype
    if dtype is None and kind.category < dtypes.FLOATING:
        kind = dtypes.int64
    return kind


@operator(name="sum")
class sum_:
    """The sum over dimensions (all by default); integers are added in int64.

    Source: torch.sum.

    >>> import suiren as torch
    >>> torch.ones(2, 3).sum(dim=1)
    tensor([3., 3.])
    """

    widen = True

    def call(input, dim=None, keepdim=False, *, dtype=None):
        dims = reduced_dims(dim, input._meta.ndim)
        kind = whole_dtype(input, dtype)
        result = apply(sum_.operator, (to_dtype(input, kind),), (dims, bool(keepdim)))
        return result if dim is None else labelled(result, "SumBackward1")

    def infer(input, dim, keepdim):
        return reduced_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        return sum_array(np.asarray(input), dim, keepdim)

    def decompose(g, input, dim, keepdim):
        if input.dtype is dtypes.bool:
            raise g.NotNative("a sum of truth values")
        return input.sum(dim, keepdim)

    def grad_input(grad, input_meta, dim, keepdim):
        return restore(grad, input_meta.shape, dim, keepdim)


@composite(where=("Tensor",))
def sum_to_size(input, *size):
    """Sums over dimensions until the shape is ``size``: undoes broadcasting.

    Source: Tensor.sum_to_size.
    """
    from suiren.ops.views import sizes_of

    size = sizes_of(size)
    shape = input._meta.shape
    lead = len(shape) - len(size)
    if lead < 0 or any(s not in (1, shape[lead + i]) for i, s in enumerate(size)):
        raise RuntimeError(
            f"size {{{list(size)}}} is not expandable to size {{{list(shape)}}}: sum_to_size() "
            "can only undo broadcasting"
        )
    dims = tuple(range(lead)) + tuple(
        [lead + i for i, s in enumerate(size) if s == 1 and shape[lead + i] != 1]
    )
    if not dims and size:  # of no dimensions: a sum, so integers become int64
        return input
    if len(dims) == lead:  # a bias added to rows: nothing to reshape
        return sum_(input, dims)
    kept_dims = sum_(input, dims, True)
    return kept_dims.reshape(size) if lead else kept_dims


def _check_mean(name: str, given, dtype) -> None:
    wanted = dtype or given
    if wanted.category < dtypes.FLOATING:
        which = "Input" if dtype is None else "Optional"
        raise RuntimeError(
            f"{name}(): could not infer output dtype. {which} dtype must be either a floating "
            f"point or complex dtype. Got: {wanted.letter_name}; pass dtype=torch.float32"
        )


@operator
class mean:
    """The mean over dimensions (all by default); of no elements it is NaN.

    Raises RuntimeError for integers unless ``dtype`` is floating or complex. Source: torch.mean.

    >>> import suiren as torch
    >>> torch.tensor([[1., 2.], [3., 6.]]).mean(1)
    tensor([1.5000, 4.5000])
    """

    widen = True

    def call(input, dim=None, keepdim=False, *, dtype=None):
        m = input._meta
        _check_mean("mean", m.dtype, dtype)
        dims = reduced_dims(dim, m.ndim)
        result = apply(mean.operator, (to_dtype(input, dtype or m.dtype),), (dims, bool(keepdim)))
        return result if dim is None else labelled(result, "MeanBackward1")

    def infer(input, dim, keepdim):
        return reduced_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        input = np.asarray(input)
        count = prod([input.shape[d] for d in dim])
        total = sum_array(input, dim, keepdim)
        return np.divide(total, np.array(count, dtype=input.dtype))

    def decompose(g, input, dim, keepdim):
        return input.sum(dim, keepdim) / float(prod([input.shape[d] for d in dim]))

    def grad_input(grad, input_meta, dim, keepdim):
        count = prod([input_meta.shape[d] for d in dim])
        return restore(grad, input_meta.shape, dim, keepdim) / count


def excluding_products(input, dim: int):
    """For each element the product of the others along ``dim``; right where there are zeros."""
    size = input._meta.shape[dim]
    if size <= 1:
        return input * 0 + 1
    one = input.narrow(dim, 0, 1).detach() * 0 + 1
    one = one.masked_fill(one.isnan(), 1)  # of an infinity or NaN
    cat = NAMESPACES["torch"]["cat"]
    before = cat([one, input.narrow(dim, 0, size - 1)], dim).cumprod(dim)
    after = cat([one, input.narrow(dim, 1, size - 1).flip(dim)], dim).cumprod(dim).flip(dim)
    return before * after


@operator(name="prod")
class prod_:
    """The product over one dimension (all by default); integers are multiplied in int64.

    The gradient is right at zeros as well. Source: torch.prod.

    >>> import suiren as torch
    >>> torch.tensor([[1, 2], [3, 4]]).prod(0)
    tensor([3, 8])
    """

    widen = True

    @in_float32
    def call(input, dim=None, keepdim=False, *, dtype=None):
        if isinstance(dim, (tuple, list)):
            raise TypeError(
                f"prod() takes one dimension, got dim={tuple(dim)}; call it once per dimension"
            )
        dims = reduced_dims(dim, input._meta.ndim)
        kind = whole_dtype(input, dtype)
        result = apply(prod_.operator, (to_dtype(input, kind),), (dims, bool(keepdim)))
        return result if dim is None else labelled(result, "ProdBackward1")

    def infer(input, dim, keepdim):
        return reduced_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        input = np.asarray(input)
        return np.prod(input, axis=dim, keepdims=keepdim, dtype=input.dtype)

    def decompose(g, input, dim, keepdim):
        if input.dtype is dtypes.bool:
            raise g.NotNative("a product of truth values")
        return input.prod(dim, keepdim)

    def grad_input(grad, input, dim, keepdim):
        from suiren.ops.arithmetic import conj

        shape = input._meta.shape
        if len(dim) == 1:
            others = excluding_products(input, dim[0])
        elif shape:
            others = excluding_products(input.reshape(-1), 0).reshape(shape)
        else:
            return grad
        return restore(grad, shape, dim, keepdim) * conj(others)


def _extreme_gradient(grad, input, result, dim, keepdim):
    # elements that share the extreme share the gradient
    shape = input._meta.shape
    mask = (input == restore(result, shape, dim, keepdim)).to(grad._meta.dtype)
    share = kept(grad, dim, keepdim) / mask.sum(dim, True)
    return share * mask


def _check_extreme(name: str, input, dim) -> tuple[int, ...]:
    m = input._meta
    if m.dtype.is_complex:
        raise NotImplementedError(
            f'"{name}_cpu" not implemented for {m.dtype.letter_name!r}: complex numbers have no '
            "order; take abs() first"
        )
    dims = reduced_dims(dim, m.ndim)
    check_not_empty(name, m, dims, dim)
    return dims


@operator
class amax:
    """The largest elements over dimensions (all by default); NaN if one is NaN.

    Equal largest elements share the gradient evenly. Raises RuntimeError or IndexError where there
    are no elements. Source: torch.amax.

    >>> import suiren as torch
    >>> torch.tensor([[1., 5.], [3., 2.]]).amax(1)
    tensor([5., 3.])
    """

    widen = True

    def call(input, dim=(), keepdim=False):
        dims = _check_extreme("amax", input, dim)
        return apply(amax.operator, (input,), (dims, bool(keepdim)))

    def infer(input, dim, keepdim):
        return reduced_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        return np.max(input, axis=dim, keepdims=keepdim)

    def decompose(g, input, dim, keepdim):
        if input.dtype is dtypes.bool:
            return _lowered_any(g, input, dim, keepdim)
        return input.amax(dim, keepdim)

    def grad_input(grad, input, result, dim, keepdim):
        return _extreme_gradient(grad, input, result, dim, keepdim)


@operator
class amin:
    """The smallest elements over dimensions (all by default); see :func:`amax`.

    Source: torch.amin.

    >>> import suiren as torch
    >>> torch.tensor([[1., 5.], [3., 2.]]).amin(1)
    tensor([1., 2.])
    """

    widen = True

    def call(input, dim=(), keepdim=False):
        dims = _check_extreme("amin", input, dim)
        return apply(amin.operator, (input,), (dims, bool(keepdim)))

    def infer(input, dim, keepdim):
        return reduced_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        return np.min(input, axis=dim, keepdims=keepdim)

    def decompose(g, input, dim, keepdim):
        if input.dtype is dtypes.bool:
            return _lowered_all(g, input, dim, keepdim)
        return input.amin(dim, keepdim)

    def grad_input(grad, input, result, dim, keepdim):
        return _extreme_gradient(grad, input, result, dim, keepdim)


def _truth_dims(input, dim) -> tuple[int, ...]:
    # unlike in other reductions, dim=() reduces nothing here, as in PyTorch
    return () if dim == () else reduced_dims(dim, input._meta.ndim)


def _truth_meta(input, dim, keepdim):
    kind = dtypes.uint8 if input.dtype is dtypes.uint8 else dtypes.bool
    return reduced_meta(input, dim, keepdim, kind)


def _lowered_all(g, input, dim, keepdim):
    false = (~truth(input)).cast(dtypes.int32)
    return _some(false, dim, keepdim).eq(0)


def _lowered_any(g, input, dim, keepdim):
    return _some(truth(input).cast(dtypes.int32), dim, keepdim).ne(0)


def _some(x, dim, keepdim):
    # of no elements the largest is none, but their sum is zero
    return x.amax(dim, keepdim) if x.numel else x.sum(dim, keepdim)


@operator(name="all")
class all_:
    """Whether all elements are true (not zero); uint8 gives uint8. True of no elements.

    Source: torch.all.

    >>> import suiren as torch
    >>> torch.tensor([[1, 0], [2, 3]]).all(dim=1)
    tensor([False,  True])
    """

    widen = True

    def call(input, dim=None, keepdim=False):
        return apply(all_.operator, (input,), (_truth_dims(input, dim), bool(keepdim)))

    def infer(input, dim, keepdim):
        return _truth_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        input = np.asarray(input)
        found = np.asarray(np.all(input, axis=dim, keepdims=keepdim))
        return found.astype(np.uint8) if input.dtype == np.uint8 else found

    def decompose(g, input, dim, keepdim):
        found = _lowered_all(g, input, dim, keepdim)
        return found.cast(dtypes.uint8) if input.dtype is dtypes.uint8 else found


@operator(name="any")
class any_:
    """Whether an element is true (not zero); uint8 gives uint8. False of no elements.

    Source: torch.any.

    >>> import suiren as torch
    >>> torch.tensor([[1, 0], [0, 0]]).any(dim=1)
    tensor([ True, False])
    """

    widen = True

    def call(input, dim=None, keepdim=False):
        return apply(any_.operator, (input,), (_truth_dims(input, dim), bool(keepdim)))

    def infer(input, dim, keepdim):
        return _truth_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        input = np.asarray(input)
        found = np.asarray(np.any(input, axis=dim, keepdims=keepdim))
        return found.astype(np.uint8) if input.dtype == np.uint8 else found

    def decompose(g, input, dim, keepdim):
        found = _lowered_any(g, input, dim, keepdim)
        return found.cast(dtypes.uint8) if input.dtype is dtypes.uint8 else found


@operator(out=False)
class count_nonzero:
    """How many elements are not zero, over dimensions (all by default), in int64.

    Source: torch.count_nonzero.

    >>> import suiren as torch
    >>> torch.tensor([[1, 0], [2, 3]]).count_nonzero(dim=0)
    tensor([2, 1])
    """

    widen = True

    def call(input, dim=None):
        return apply(count_nonzero.operator, (input,), (reduced_dims(dim, input._meta.ndim),))

    def infer(input, dim):
        return reduced_meta(input, dim, False, dtypes.int64)

    def evaluate(input, dim):
        return np.asarray(np.sum(np.asarray(input) != 0, axis=dim, dtype=np.int64))

    def decompose(g, input, dim):
        return truth(input).cast(dtypes.int64).sum(dim)


@operator
class nansum:
    """The sum over dimensions with NaN counted as zero. Complex numbers are refused.

    Source: torch.nansum.

    >>> import suiren as torch
    >>> torch.tensor([1., float("nan"), 2.]).nansum()
    tensor(3.)
    """

    widen = True

    def call(input, dim=None, keepdim=False, *, dtype=None):
        m = input._meta
        if m.dtype.is_complex:
            raise RuntimeError(
                "nansum on CPU does not support complex inputs; use sum() of a masked tensor"
            )
        if m.dtype.category < dtypes.FLOATING:
            return sum_(input, dim, keepdim, dtype=dtype)
        dims = reduced_dims(dim, m.ndim)
        return apply(nansum.operator, (to_dtype(input, dtype or m.dtype),), (dims, bool(keepdim)))

    def infer(input, dim, keepdim):
        return reduced_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        input = np.asarray(input)
        if input.dtype.kind in "fc":
            input = np.where(np.isnan(input), np.zeros((), input.dtype), input)
        return sum_array(input, dim, keepdim)

    def decompose(g, input, dim, keepdim):
        return g.where(input.isnan(), 0, input).sum(dim, keepdim)

    def grad_input(grad, input, dim, keepdim):
        full = restore(grad, input._meta.shape, dim, keepdim)
        return full * input.isnan().logical_not()


@composite
def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    """The mean over dimensions of the elements that are not NaN.

    Raises RuntimeError for integers. Source: torch.nanmean.

    >>> import suiren as torch
    >>> torch.tensor([1., float("nan"), 2.]).nanmean()
    tensor(1.5000)
    """
    m = input._meta
    if m.dtype.category < dtypes.FLOATING:
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got "
            f"{m.dtype.letter_name}; convert it with .float()"
        )
    count = sum_(input.detach().isnan().logical_not(), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / count


@operator(aliases=("special.logsumexp",))
class logsumexp:
    """``log(sum(exp(input)))`` over dimensions, without overflow; minus infinity of no elements.

    Integers are converted to the default floating type. Source: torch.logsumexp.

    >>> import suiren as torch
    >>> torch.tensor([1000., 1000.]).logsumexp(0)
    tensor(1000.6932)
    """

    widen = True

    def call(input, dim, keepdim=False):
        m = input._meta
        if m.dtype.category < dtypes.FLOATING:
            input = to_dtype(input, dtypes.get_default_dtype())
        return apply(logsumexp.operator, (input,), (reduced_dims(dim, m.ndim), bool(keepdim)))

    def infer(input, dim, keepdim):
        return reduced_meta(input, dim, keepdim)

    def evaluate(input, dim, keepdim):
        input = np.asarray(input)
        if not input.size:
            return accurate.log(sum_array(accurate.exp(input), dim, keepdim))
        top = np.max(input.real, axis=dim, keepdims=True)
        top = np.where(np.isfinite(top), top, np.zeros((), top.dtype))
        total = accurate.log(sum_array(accurate.exp(input - top), dim, True)) + top
        return total if keepdim else np.squeeze(total, dim)

    def decompose(g, input, dim, keepdim):
        if not input.numel:
            return input.sum(dim, keepdim).log()
        top = input.amax(dim, True)
        top = g.where(is_finite(top), top, 0)
        found = (input - top).exp().sum(dim, True).log() + top
        return found if keepdim else found.sum(dim)

    def grad_input(grad, input, result, dim, keepdim):
        from suiren.ops.arithmetic import conj

        shape = input._meta.shape
        result = restore(result, shape, dim, keepdim)
        if not result._meta.dtype.is_complex:
            # -inf - -inf is NaN, where the gradient of a sum of zeros is zero
            result = result.masked_fill(result == -float("inf"), 0)
        return restore(grad, shape, dim, keepdim) * conj((input - result).exp())


__all__ = [
    "all_", "amax", "amin", "any_", "check_not_empty", "count_nonzero", "kept", "labelled",
    "logsumexp", "mean", "nanmean", "nansum", "prod_", "reduced_dims", "reduced_meta",
    "reduced_shape", "restore", "sum_", "sum_array", "sum_to_size",
]  # fmt: skip
