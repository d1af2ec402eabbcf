"""Discrete Fourier transforms, over NumPy's pocketfft.

Three operators carry the family, as in PyTorch: complex to complex, real to complex (one-sided or
whole) and complex to real. Each is linear, so its derivative is another of them: the adjoint of a
transform is the one in the other direction with the same scale. Source: PyTorch's torch.fft page.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

import numpy as np

from suiren import dtypes
from suiren.autocasting import in_float32
from suiren.device import check_available
from suiren.dispatch import apply
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.arithmetic import conj
from suiren.ops.creation import from_array
from suiren.ops.matrices import complex_kind, real_kind
from suiren.ops.views import full_like_meta, wrap_dim
from suiren.tensor import Tensor
from suiren.trace import meta

# ---- the three transforms; ``scale`` is "none", "ortho" or "full" (divided by the whole size)


def _scaled(x: np.ndarray, scale: str, count: int, kind: np.dtype) -> np.ndarray:
    if scale == "ortho":
        x = x * (1 / sqrt(count))
    elif scale == "full":
        x = x * (1 / count)
    return np.asarray(x, kind)


@operator(where=(), name="_fft_c2c", node_name="FftC2CBackward0")
class _complex_transform:
    """Complex to complex over several dimensions."""

    def call(input, dims, scale, forward):
        if not dims:
            return input.clone()
        return apply(_complex_transform.operator, (input,), (dims, scale, forward))

    def infer(input, dims, scale, forward):
        return input.flat

    def evaluate(input, dims, scale, forward):
        if forward:
            found = np.fft.fftn(input, axes=dims)
        else:
            found = np.fft.ifftn(input, axes=dims, norm="forward")
        return _scaled(found, scale, prod(input.shape[d] for d in dims), input.dtype)

    def grad_input(grad, dims, scale, forward):
        return _complex_transform(grad, dims, scale, not forward)


@operator(where=(), name="_fft_r2c", node_name="FftR2CBackward0")
class _real_transform:
    """Real to complex, forward; ``onesided``: the first half of the last of ``dims``."""

    def call(input, dims, scale, onesided):
        return apply(_real_transform.operator, (input,), (dims, scale, onesided))

    def infer(input, dims, scale, onesided):
        shape = list(input.shape)
        if onesided:
            shape[dims[-1]] = shape[dims[-1]] // 2 + 1
        return meta(shape, complex_kind(input.dtype), input.device)

    def evaluate(input, dims, scale, onesided):
        found = (np.fft.rfftn if onesided else np.fft.fftn)(input, axes=dims)
        kind = np.result_type(input.dtype, np.complex64)
        return _scaled(found, scale, prod(input.shape[d] for d in dims), kind)

    def grad_input(grad, input_meta, dims, scale, onesided):
        if onesided:
            grad = resized(grad, dims[-1:], (input_meta.shape[dims[-1]],))
        return _complex_transform(grad, dims, scale, False).real


@operator(where=(), name="_fft_c2r", node_name="FftC2RBackward0")
class _half_transform:
    """One-sided complex to real of ``size`` in the last of ``dims``, backward."""

    def call(input, dims, scale, size):
        return apply(_half_transform.operator, (input,), (dims, scale, size))

    def infer(input, dims, scale, size):
        shape = list(input.shape)
        shape[dims[-1]] = size
        return meta(shape, real_kind(input.dtype), input.device)

    def evaluate(input, dims, scale, size):
        shape = [input.shape[d] for d in dims[:-1]] + [size]
        found = np.fft.irfftn(input, s=shape, axes=dims, norm="forward")
        kind = np.float32 if input.dtype == np.complex64 else np.float64
        return _scaled(found, scale, prod(shape), kind)

    def grad_input(grad, dims, scale, size):
        found = _real_transform(grad, dims, scale, True)
        # frequencies whose mirror image is not stored count twice
        half = found._meta.shape[dims[-1]]
        weights = np.ones(half, real_kind(found._meta.dtype).numpy)
        weights[1 : 1 + size - half] = 2
        shape = [1] * found._meta.ndim
        shape[dims[-1]] = half
        return found * from_array(weights, where=found._meta.device).reshape(shape)


# ---- arguments


def resized(x: Tensor, dims: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Trimmed or padded with zeros at the end of these dimensions."""
    for d, size in zip(dims, sizes, strict=True):
        m = x._meta
        have = m.shape[d]
        if have > size:
            x = x[(slice(None),) * d + (slice(0, size),)]
        elif have < size:
            shape = list(m.shape)
            shape[d] = size - have
            zeros = full_like_meta(meta(shape, m.dtype, m.device))
            x = NAMESPACES["torch"]["cat"]([x, zeros], d)
    return x


def _scale(norm: str | None, forward: bool) -> str:
    if norm in (None, "backward"):
        return "none" if forward else "full"
    if norm == "forward":
        return "full" if forward else "none"
    if norm == "ortho":
        return "ortho"
    raise RuntimeError(
        f'Invalid normalization mode: "{norm}"; it is "forward", "backward" or "ortho"'
    )


def _floating(name: str, x: Tensor, real: bool = False, complex: bool = False) -> Tensor:
    """The input in a type that has transforms."""
    kind = x._meta.dtype
    if real and kind.is_complex:
        raise RuntimeError(f"{name} expects a real input tensor, but got {kind.letter_name}")
    if kind.is_half:
        raise RuntimeError(f"Unsupported dtype {kind.letter_name} in {name}: convert to float32")
    if kind.category < dtypes.FLOATING:
        kind = dtypes.get_default_dtype()
    return x.to(complex_kind(kind) if complex else kind)


def _size_of(n: int | None, have: int) -> int:
    n = have if n is None else n
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def _one(x: Tensor, dim: int) -> int:
    if not x._meta.ndim:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, x._meta.ndim)


def _many(
    x: Tensor, s: Sequence[int] | int | None, dim: Sequence[int] | int | None, halved: bool = False
) -> tuple[tuple[int, ...], list[int]]:
    """Dimensions and their sizes; of the last size, ``halved`` says how much is stored."""
    shape = x._meta.shape
    s = (s,) if isinstance(s, int) else s
    dim = (dim,) if isinstance(dim, int) else dim
    if dim is not None:
        dims = tuple([wrap_dim(d, len(shape)) for d in dim])
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"FFT dims must be unique, got {list(dim)}")
        if s is not None and len(s) != len(dims):
            raise RuntimeError(
                "When given, dim and shape arguments must have the same length, got "
                f"{len(dims)} and {len(s)}"
            )
    elif s is not None:
        if len(s) > len(shape):
            raise RuntimeError(
                f"Got shape with {len(s)} values but input tensor only has {len(shape)} dimensions."
            )
        dims = tuple(range(len(shape) - len(s), len(shape)))
    else:
        dims = tuple(range(len(shape)))
    sizes = []
    for i, d in enumerate(dims):
        have = shape[d]
        if halved and i == len(dims) - 1:
            have = 2 * (have - 1)
        sizes.append(_size_of(None if s is None or s[i] == -1 else s[i], have))
    return dims, sizes


# ---- one dimension


def _whole(name, input, n, dim, norm, forward):
    x = _floating(name, input)
    d = _one(x, dim)
    x = resized(x, (d,), (_size_of(n, x._meta.shape[d]),))
    scale = _scale(norm, forward)
    if x._meta.dtype.is_complex:
        return _complex_transform(x, (d,), scale, forward)
    found = _real_transform(x, (d,), scale, False)
    return found if forward else conj(found)


@composite(where=("fft",))
@in_float32
def fft(input, n=None, dim=-1, norm=None):
    """The transform over one dimension, trimmed or padded to ``n``: complex.

    ``norm``: "backward" (no scale, the default), "ortho", "forward" (divided by n).
    Source: torch.fft.fft.

    >>> import suiren as torch
    >>> torch.fft.fft(torch.tensor([1., 0., 0., 0.])).real
    tensor([1., 1., 1., 1.])
    """
    return _whole("fft", input, n, dim, norm, True)


@composite(where=("fft",))
@in_float32
def ifft(input, n=None, dim=-1, norm=None):
    """The inverse of :func:`fft`, divided by n by default. Source: torch.fft.ifft."""
    return _whole("ifft", input, n, dim, norm, False)


@composite(where=("fft",))
@in_float32
def rfft(input, n=None, dim=-1, norm=None):
    """The first half (n // 2 + 1) of a real input's transform. Source: torch.fft.rfft."""
    x = _floating("rfft", input, real=True)
    d = _one(x, dim)
    x = resized(x, (d,), (_size_of(n, x._meta.shape[d]),))
    return _real_transform(x, (d,), _scale(norm, True), True)


@composite(where=("fft",))
@in_float32
def ihfft(input, n=None, dim=-1, norm=None):
    """The inverse of :func:`hfft`: half of a real input's inverse. Source: torch.fft.ihfft."""
    x = _floating("ihfft", input, real=True)
    d = _one(x, dim)
    x = resized(x, (d,), (_size_of(n, x._meta.shape[d]),))
    return conj(_real_transform(x, (d,), _scale(norm, False), True))


def _to_real(name, input, n, dim, norm, forward):
    x = _floating(name, input, complex=True)
    d = _one(x, dim)
    n = _size_of(n, 2 * (x._meta.shape[d] - 1))
    x = resized(x, (d,), (n // 2 + 1,))
    return _half_transform(conj(x) if forward else x, (d,), _scale(norm, forward), n)


@composite(where=("fft",))
@in_float32
def irfft(input, n=None, dim=-1, norm=None):
    """The inverse of :func:`rfft`: real, of size n. Source: torch.fft.irfft."""
    return _to_real("irfft", input, n, dim, norm, False)


@composite(where=("fft",))
@in_float32
def hfft(input, n=None, dim=-1, norm=None):
    """The transform of half of a Hermitian signal: real, of size n. Source: torch.fft.hfft."""
    return _to_real("hfft", input, n, dim, norm, True)


# ---- several dimensions


def _whole_many(name, input, s, dim, norm, forward):
    x = _floating(name, input, complex=True)
    dims, sizes = _many(x, s, dim)
    return _complex_transform(resized(x, dims, sizes), dims, _scale(norm, forward), forward)


def _halved_many(name, input, s, dim, norm):
    x = _floating(name, input, real=True)
    dims, sizes = _many(x, s, dim)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    return resized(x, dims, sizes), dims


def _to_real_many(name, input, s, dim):
    x = _floating(name, input, complex=True)
    dims, sizes = _many(x, s, dim, halved=True)
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")
    return resized(x, dims, [*sizes[:-1], sizes[-1] // 2 + 1]), dims, sizes[-1]


@composite(where=("fft",))
@in_float32
def fftn(input, s=None, dim=None, norm=None):
    """The transform over several dimensions (all by default). Source: torch.fft.fftn."""
    return _whole_many("fftn", input, s, dim, norm, True)


@composite(where=("fft",))
@in_float32
def ifftn(input, s=None, dim=None, norm=None):
    """The inverse of :func:`fftn`. Source: torch.fft.ifftn."""
    return _whole_many("ifftn", input, s, dim, norm, False)


@composite(where=("fft",))
@in_float32
def rfftn(input, s=None, dim=None, norm=None):
    """Half (in the last of ``dim``) of a real input's transform. Source: torch.fft.rfftn."""
    x, dims = _halved_many("rfftn", input, s, dim, norm)
    return _real_transform(x, dims, _scale(norm, True), True)


@composite(where=("fft",))
@in_float32
def irfftn(input, s=None, dim=None, norm=None):
    """The inverse of :func:`rfftn`. Source: torch.fft.irfftn."""
    x, dims, size = _to_real_many("irfftn", input, s, dim)
    return _half_transform(x, dims, _scale(norm, False), size)


@composite(where=("fft",))
def hfftn(input, s=None, dim=None, norm=None):
    """The transform of half of a Hermitian signal: real. Source: torch.fft.hfftn."""
    x, dims, size = _to_real_many("hfftn", input, s, dim)
    scale = _scale(norm, True)
    if len(dims) > 1:
        x = _complex_transform(x, dims[:-1], scale, True)
    return _half_transform(conj(x), dims[-1:], scale, size)


@composite(where=("fft",))
def ihfftn(input, s=None, dim=None, norm=None):
    """The inverse of :func:`hfftn`. Source: torch.fft.ihfftn."""
    x, dims = _halved_many("ihfftn", input, s, dim, norm)
    scale = _scale(norm, False)
    found = conj(_real_transform(x, dims[-1:], scale, True))
    return _complex_transform(found, dims[:-1], scale, False) if len(dims) > 1 else found


def _two_dimensional(name: str, function):
    def transform(input, s=None, dim=(-2, -1), norm=None):
        return function(input, s, dim, norm)

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = (
        f":func:`{function.__name__}` over the last two dimensions. Source: torch.fft.{name}."
    )
    return composite(transform, where=("fft",))


fft2 = _two_dimensional("fft2", fftn)
ifft2 = _two_dimensional("ifft2", ifftn)
rfft2 = _two_dimensional("rfft2", rfftn)
irfft2 = _two_dimensional("irfft2", irfftn)
hfft2 = _two_dimensional("hfft2", hfftn)
ihfft2 = _two_dimensional("ihfft2", ihfftn)


# ---- frequencies and their order


def _frequencies(numbers, n, d, dtype, device, requires_grad):
    where = check_available(device)
    kind = dtypes.get_default_dtype() if dtype is None else dtype
    found = numbers / (n * d) if n else numbers
    return from_array(found.astype(kind.numpy), requires_grad, where)


@composite(where=("fft",))
def fftfreq(n, d=1.0, *, dtype=None, layout=None, device=None, requires_grad=False):
    """The frequencies of :func:`fft`'s n results for samples d apart. Source: torch.fft.fftfreq.

    >>> import suiren as torch
    >>> torch.fft.fftfreq(4)
    tensor([ 0.0000,  0.2500, -0.5000, -0.2500])
    """
    numbers = np.arange(n)
    numbers[(n + 1) // 2 :] -= n
    return _frequencies(numbers, n, d, dtype, device, requires_grad)


@composite(where=("fft",))
def rfftfreq(n, d=1.0, *, dtype=None, layout=None, device=None, requires_grad=False):
    """The frequencies of :func:`rfft`'s n // 2 + 1 results. Source: torch.fft.rfftfreq."""
    return _frequencies(np.arange(n // 2 + 1), n, d, dtype, device, requires_grad)


def _shifted(input: Tensor, dim: Sequence[int] | int | None, back: bool) -> Tensor:
    ndim = input._meta.ndim
    dims = range(ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = [wrap_dim(d, ndim) for d in dims]
    sizes = [input._meta.shape[d] for d in dims]
    if not dims:
        return input.clone()
    return input.roll([(s + 1) // 2 if back else s // 2 for s in sizes], dims)


@composite(where=("fft",), out=False)
def fftshift(input, dim=None):
    """Frequencies rolled so that zero is in the middle. Source: torch.fft.fftshift."""
    return _shifted(input, dim, False)


@composite(where=("fft",), out=False)
def ifftshift(input, dim=None):
    """The inverse of :func:`fftshift`. Source: torch.fft.ifftshift."""
    return _shifted(input, dim, True)
