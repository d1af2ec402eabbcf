"""Complex numbers: their parts (views), conjugates, angles, and making them from parts.

Derivatives follow PyTorch's convention: the gradient of a real loss with respect to a complex
number is conjugated (its "Autograd mechanics" page, section on complex numbers).
"""

from __future__ import annotations

import numpy as np

from suiren import dtypes
from suiren.autocasting import in_float32
from suiren.dispatch import apply
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops.elementwise import broadcast_meta
from suiren.ops.masking import where
from suiren.ops.refusals import require_tensors
from suiren.tensor import Tensor
from suiren.trace import meta
from suiren.views import make_view, offset_of, write_out

# --------------------------------------------------------------------------
# Parts, as views of the same memory


def _part_meta(input):
    strides = tuple([2 * s for s in input.strides])
    return meta(input.shape, input.dtype.to_real(), input.device, strides)


@operator(where=(), name="real")
class real_part:
    """The real parts of complex numbers, as a view."""

    def call(input):
        seen = _part_meta(input._meta)
        return make_view(real_part.operator, input, (), seen, 2 * offset_of(input))

    def infer(input):
        return meta(input.shape, input.dtype.to_real(), input.device)

    def evaluate(input):
        return np.real(input)

    def grad_input(grad, input_meta):
        return grad.to(input_meta.dtype)

    def write(parent, new):
        return apply(join.operator, (new, imag(parent)))


@operator(where=(), name="imag")
class imaginary_part:
    """The imaginary parts of complex numbers, as a view."""

    def call(input):
        seen = _part_meta(input._meta)
        return make_view(imaginary_part.operator, input, (), seen, 2 * offset_of(input) + 1)

    def infer(input):
        return meta(input.shape, input.dtype.to_real(), input.device)

    def evaluate(input):
        return np.imag(input)

    def grad_input(grad):
        return grad * 1j

    def write(parent, new):
        return apply(join.operator, (real(parent), new))


@composite(where=("torch",), out=False)
def real(input):
    """The real parts: a view for complex tensors, the tensor itself for others.

    Source: torch.real.

    >>> import suiren as torch
    >>> torch.real(torch.tensor([1 + 2j, 3j]))
    tensor([1., 0.])
    """
    return real_part(input) if input._meta.dtype.is_complex else input


@composite(where=("torch",), out=False)
def imag(input):
    """The imaginary parts, as a view; raises RuntimeError for real tensors. Source: torch.imag."""
    if not input._meta.dtype.is_complex:
        raise RuntimeError(
            "imag is not implemented for tensors with non-complex dtypes: got "
            f"{input._meta.dtype}"
        )
    return imaginary_part(input)


def _set_real(input, value):
    real(input).copy_(value)


def _set_imag(input, value):
    imag(input).copy_(value)


NAMESPACES["Tensor"]["real"] = property(real, _set_real)
NAMESPACES["Tensor"]["imag"] = property(imag, _set_imag)


@operator(out=False, where=("torch",))
class view_as_real:
    """A complex tensor as a real one with a last dimension of two: real and imaginary parts.

    A view. Raises RuntimeError for real tensors. Source: torch.view_as_real.

    >>> import suiren as torch
    >>> torch.view_as_real(torch.tensor([1 + 2j]))
    tensor([[1., 2.]])
    """

    def call(input):
        old = input._meta
        if not old.dtype.is_complex:
            raise RuntimeError(
                f"view_as_real is only supported for complex tensors, got {old.dtype}"
            )
        strides = [*(2 * s for s in old.strides), 1]
        seen = meta((*old.shape, 2), old.dtype.to_real(), old.device, strides)
        return make_view(view_as_real.operator, input, (), seen, 2 * offset_of(input))

    def infer(input):
        return meta((*input.shape, 2), input.dtype.to_real(), input.device)

    def evaluate(input):
        kind = np.float32 if input.dtype == np.complex64 else np.float64
        return np.ascontiguousarray(input).view(kind).reshape(*np.shape(input), 2)

    def grad_input(grad):
        return view_as_complex(grad.contiguous())

    def write(parent, new):
        return apply(view_as_complex.operator, (new,))


@operator(out=False, where=("torch",))
class view_as_complex:
    """A real tensor whose last dimension is two as complex numbers; a view.

    Raises RuntimeError for other sizes, dtypes and strides. Source: torch.view_as_complex.

    >>> import suiren as torch
    >>> torch.view_as_complex(torch.tensor([[1., 2.]]))
    tensor([1.+2.j])
    """

    @in_float32
    def call(input):
        old = input._meta
        if not old.dtype.is_floating_point or old.dtype is dtypes.bfloat16:
            raise RuntimeError(
                "view_as_complex is only supported for half, float and double tensors, but got a "
                f"tensor of scalar type: {old.dtype.letter_name}"
            )
        if old.dtype.is_half:
            raise NotImplementedError("view_as_complex: complex numbers of halves are not there")
        if not old.ndim:
            raise RuntimeError("Input tensor must have one or more dimensions")
        if old.shape[-1] != 2:
            raise RuntimeError(
                f"Tensor must have a last dimension of size 2, got shape {list(old.shape)}"
            )
        if old.strides[-1] != 1:
            raise RuntimeError("Tensor must have a last dimension with stride 1; use contiguous()")
        if any(s % 2 for s in old.strides[:-1]):
            raise RuntimeError(
                f"Tensor must have a stride divisible by 2 for all but last dimension, got "
                f"{list(old.strides)}; use contiguous()"
            )
        offset = offset_of(input)
        if offset % 2:
            raise RuntimeError("Tensor must have a storage_offset divisible by 2; use clone()")
        strides = [s // 2 for s in old.strides[:-1]]
        seen = meta(old.shape[:-1], old.dtype.to_complex(), old.device, strides)
        return make_view(view_as_complex.operator, input, (), seen, offset // 2)

    def infer(input):
        return meta(input.shape[:-1], input.dtype.to_complex(), input.device)

    def evaluate(input):
        kind = np.complex64 if input.dtype == np.float32 else np.complex128
        return np.ascontiguousarray(input).view(kind).reshape(np.shape(input)[:-1])

    def grad_input(grad):
        return view_as_real(grad.contiguous())

    def write(parent, new):
        return apply(view_as_real.operator, (new,))


# --------------------------------------------------------------------------
# Conjugates


@operator(where=(), name="conj")
class conjugate_view:
    """The conjugates of complex numbers, as a view: writing to it writes the conjugates."""

    def call(input):
        return make_view(conjugate_view.operator, input, (), input._meta, offset_of(input))

    def infer(input):
        return input.flat

    def evaluate(input):
        return np.conjugate(input)

    def grad_input(grad):
        return conj(grad)

    def write(parent, new):
        return apply(conjugate_view.operator, (new,))


@composite(out=False)
def conj(input):
    """The complex conjugate, as a view; real tensors come back as they are. Source: torch.conj.

    >>> import suiren as torch
    >>> torch.conj(torch.tensor([1 + 2j]))
    tensor([1.-2.j])
    """
    return conjugate_view(input) if input._meta.dtype.is_complex else input


@operator(inplace=True)
class conj_physical:
    """The complex conjugate in new memory. Source: torch.conj_physical."""

    def call(input):
        if not input._meta.dtype.is_complex:
            return input
        return apply(conj_physical.operator, (input,))

    def infer(input):
        return broadcast_meta((input,), input.dtype)

    def evaluate(input):
        return np.conjugate(input)

    def grad_input(grad):
        return conj(grad)


@composite(out=False)
def resolve_conj(input):
    """``input`` itself: conjugation is never left for later here. Source: torch.resolve_conj."""
    return input


@composite(out=False)
def resolve_neg(input):
    """``input`` itself: negation is never left for later here. Source: torch.resolve_neg."""
    return input


# --------------------------------------------------------------------------
# Polar form


@operator
class angle:
    """The angle in radians, in (-pi, pi]; for real numbers 0 or pi. Source: torch.angle.

    >>> import suiren as torch
    >>> torch.angle(torch.tensor([1j, -1.]))
    tensor([1.5708, 3.1416])
    """

    widen = True

    def call(input):
        return apply(angle.operator, (input,))

    def infer(input):
        kind = input.dtype
        if kind.category < dtypes.FLOATING:
            kind = dtypes.get_default_dtype()
        return broadcast_meta((input,), kind.to_real())

    def evaluate(input):
        if input.dtype.kind == "c":
            return np.angle(input)
        if input.dtype.kind != "f":
            return np.where(np.less(input, 0), np.pi, 0).astype(dtypes.get_default_dtype().numpy)
        found = np.where(np.less(input, 0), np.pi, 0)
        return np.where(np.isnan(input), input, found).astype(input.dtype)

    def grad_input(grad, input):
        if not input._meta.dtype.is_complex:
            return grad * 0
        size = input.real * input.real + input.imag * input.imag
        slope = apply(join.operator, (grad * -input.imag / size, grad * input.real / size))
        return where(size == 0, 0, slope)


@operator(where=(), name="complex")
class join:
    """Complex numbers from real and imaginary parts."""

    tensors = 2

    def call(real, imag):
        return apply(join.operator, (real, imag))

    def infer(real, imag):
        return broadcast_meta((real, imag), real.dtype.to_complex())

    def evaluate(real, imag):
        shape = np.broadcast_shapes(np.shape(real), np.shape(imag))
        kind = np.complex64 if real.dtype == np.float32 else np.complex128
        result = np.empty(shape, kind)
        result.real = real
        result.imag = imag
        return result

    def grad_real(grad):
        return real(grad)

    def grad_imag(grad):
        return imag(grad)


def _check_parts(name: str, first: Tensor, second: Tensor) -> None:
    require_tensors(name, **{"real" if name == "complex" else "abs": first, "other": second})
    kinds = first._meta.dtype, second._meta.dtype
    if any(not k.is_floating_point or k is dtypes.bfloat16 for k in kinds):
        raise RuntimeError(
            "Expected both inputs to be Half, Float or Double tensors but got "
            f"{kinds[0].letter_name} and {kinds[1].letter_name}"
        )
    if kinds[0] is not kinds[1]:
        raise RuntimeError(
            f"Expected object of scalar type {kinds[0].letter_name} but got scalar type "
            f"{kinds[1].letter_name} for second argument"
        )
    if kinds[0].is_half:
        raise NotImplementedError(f"{name}(): complex numbers of float16 are not there")


@composite(where=("torch",), name="complex")
def complex_(real, imag, *, out=None):
    """Complex numbers with these real and imaginary parts, of one floating dtype.

    Source: torch.complex.

    >>> import suiren as torch
    >>> torch.complex(torch.tensor([1.]), torch.tensor([2.]))
    tensor([1.+2.j])
    """
    _check_parts("complex", real, imag)
    wanted = real._meta.dtype.to_complex()
    if out is None:
        return apply(join.operator, (real, imag))
    if out._meta.dtype is not wanted:
        raise RuntimeError(
            f"Expected object of scalar type {wanted.letter_name} but got scalar type "
            f"{out._meta.dtype.letter_name} for argument 'out' of complex()"
        )
    return write_out(out, complex_, (real, imag), {})


@operator(where=("torch",))
class polar:
    """Complex numbers of these absolute values and angles. Source: torch.polar.

    >>> import suiren as torch
    >>> torch.polar(torch.tensor([2.]), torch.tensor([0.]))
    tensor([2.+0.j])
    """

    tensors = 2

    @in_float32
    def call(abs, angle):
        _check_parts("polar", abs, angle)
        return apply(polar.operator, (abs, angle))

    def infer(abs, angle):
        return broadcast_meta((abs, angle), abs.dtype.to_complex())

    def evaluate(abs, angle):
        return join.operator.evaluate(abs * np.cos(angle), abs * np.sin(angle))

    def grad_abs(grad, angle):
        return real(grad) * angle.cos() + imag(grad) * angle.sin()

    def grad_angle(grad, abs, angle):
        return abs * (imag(grad) * angle.cos() - real(grad) * angle.sin())
