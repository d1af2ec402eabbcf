"""Resampling images: interpolate, grid_sample and affine_grid, windows as columns, pixel shuffles.

The arithmetic is in ``suiren/interpreter/resize.py`` and ``sampling.py``. Source: PyTorch's
torch.nn.functional page, "Vision functions"; Shi et al. 2016, arXiv:1609.05158 (pixel_shuffle);
Jaderberg et al. 2015, arXiv:1506.02025 (grid_sample).
"""

from __future__ import annotations

import math
from math import prod

import numpy as np

from suiren.autocasting import in_float32
from suiren.dispatch import apply
from suiren.interpreter import resize as kernels
from suiren.interpreter import sampling
from suiren.interpreter.windows import transpose_taps
from suiren.operator import NAMESPACES, composite, operator
from suiren.ops import lowered_columns as columns
from suiren.ops import lowered_sampling
from suiren.ops.creation import from_array
from suiren.ops.lowered_taps import weighted, widened
from suiren.tensor import Tensor
from suiren.trace import meta

FUNCTIONAL = ("nn.functional",)

# ---- interpolate

_NODES = {
    "nearest": "Nearest",
    "nearest-exact": "NearestExact",
    "linear": "Linear",
    "bilinear": "Bilinear",
    "trilinear": "Trilinear",
    "bicubic": "Bicubic",
    "lanczos": "Lanczos",
}


def _define_upsample(mode: str, axes: int, antialias: bool):
    node = f"Upsample{_NODES[mode]}{axes}D{'Aa' if antialias else ''}Backward0"
    name = f"upsample_{mode.replace('-', '_')}{axes}d{'_aa' if antialias else ''}"

    @operator(where=(), name=name, node_name=node)
    class upsample:
        """The spatial dimensions resampled to ``sizes``."""

        def call(input, sizes, align, scales):
            return apply(upsample.operator, (input,), (sizes, align, scales))

        def infer(input, sizes, align, scales):
            if any(n <= 0 for n in (*input.shape[1:], *sizes)):
                raise RuntimeError(
                    "interpolate: Input and output sizes should be greater than 0, but got input "
                    f"{list(input.shape)} and output size {list(sizes)}"
                )
            if mode.startswith("nearest") or input.dtype.is_floating_point:
                return input.like(shape=(*input.shape[:2], *sizes))
            raise NotImplementedError(
                f"interpolate: mode {mode!r} is not implemented for {input.dtype}; convert the "
                "input to a floating type"
            )

        def evaluate(input, sizes, align, scales):
            return kernels.interpolate(input, sizes, mode, align, scales, antialias)

        def decompose(g, input, sizes, align, scales):
            how = (mode, align, scales, input.dtype.numpy, antialias)
            return _resampled(g, input, kernels.interpolation_taps(input.shape, sizes, *how), -1)

        def grad_input(grad, input_meta, sizes, align, scales):
            return gradient(grad, input_meta.shape, align, scales)

    @operator(where=(), name=name + "_gradient", node_name=node[:-1] + "Backward0")
    class gradient:
        """The gradient of ``upsample`` by its input."""

        def call(grad_output, shape, align, scales):
            return apply(gradient.operator, (grad_output,), (shape, align, scales))

        def infer(grad_output, shape, align, scales):
            return grad_output.like(shape=shape)

        def evaluate(grad_output, shape, align, scales):
            return kernels.interpolate_gradient(
                grad_output, shape, mode, align, scales, antialias
            )

        def decompose(g, grad_output, shape, align, scales):
            how = (mode, align, scales, grad_output.dtype.numpy, antialias)
            tables = kernels.interpolation_taps(shape, grad_output.shape[2:], *how)
            back = [transpose_taps(t, n) for t, n in zip(tables, shape[2:], strict=True)]
            return _resampled(g, grad_output, back, 1)

        def grad_grad_output(grad, grad_output_meta, align, scales):
            return upsample(grad, tuple(grad_output_meta.shape[2:]), align, scales)

    return upsample


def _resampled(g, x, tables, order: int):
    """Spatial dimensions one after the other, the last one first if ``order`` is -1."""
    kind, x = x.dtype, widened(x)
    for dim, taps in list(enumerate(tables, 2))[::order]:
        x = weighted(g, x, dim, taps)
    return x.cast(kind)


_UPSAMPLE = {
    (mode, axes, False): _define_upsample(mode, axes, False)
    for mode, numbers in (
        ("nearest", (1, 2, 3)), ("nearest-exact", (1, 2, 3)), ("linear", (1,)), ("bilinear", (2,)),
        ("trilinear", (3,)), ("bicubic", (2,)),
    )
    for axes in numbers
}  # fmt: skip
for _mode in ("bilinear", "bicubic", "lanczos"):
    _UPSAMPLE[_mode, 2, True] = _define_upsample(_mode, 2, True)


def _target_size(input, size, scale_factor, recompute):
    """(the size to make, the factors to compute places with)."""
    axes = input._meta.ndim - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    given = size if scale_factor is None else scale_factor
    what = "size" if scale_factor is None else "scale_factor"
    if isinstance(given, (tuple, list)):
        if len(given) != axes:
            raise ValueError(
                f"Input and {what} must have the same number of spatial dimensions, but got input "
                f"with spatial dimensions of {list(input._meta.shape[2:])} and {what} of "
                f"{list(given)}"
            )
    else:
        given = (given,) * axes
    if scale_factor is None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return tuple([int(n) for n in given]), None
    factors = tuple([float(f) for f in given])
    sizes = tuple(
        [math.floor(n * f) for n, f in zip(input._meta.shape[2:], factors, strict=True)]
    )
    return sizes, None if recompute else factors


@composite(where=FUNCTIONAL, out=False)
def interpolate(
    input, size=None, scale_factor=None, mode="nearest", align_corners=None,
    recompute_scale_factor=None, antialias=False,
):  # fmt: skip
    """``input`` (batch, channels, d1, ...) resampled to ``size`` or by ``scale_factor``.

    mode: nearest, nearest-exact, area, linear (3-D input), bilinear, bicubic (4-D), trilinear
    (5-D); lanczos with antialias. align_corners: the corner pixels keep their places.
    antialias: average over what one output pixel covers when shrinking (bilinear, bicubic).
    Source: torch.nn.functional.interpolate.

    >>> import suiren as torch
    >>> torch.nn.functional.interpolate(torch.tensor([[[1., 2.]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | "
                "bilinear | bicubic | trilinear"
            )
    elif mode not in _NODES:
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got "
            f"{input._meta.ndim}D) for the modes: nearest | linear | bilinear | bicubic | "
            f"trilinear | area | nearest-exact | lanczos (got {mode})"
        )
    axes = input._meta.ndim - 2
    sizes, factors = _target_size(input, size, scale_factor, recompute_scale_factor)
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and axes == 2):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic and lanczos modes and requires "
            "a 4-D tensor as input"
        )
    if mode == "lanczos" and not antialias:
        raise ValueError("interpolate: mode lanczos needs antialias=True")
    if mode == "lanczos" and align_corners:
        raise ValueError("Lanczos mode does not support align_corners=True")
    if mode == "area" and axes in (1, 2, 3):
        return NAMESPACES["nn.functional"][f"adaptive_avg_pool{axes}d"](input, sizes)
    chosen = _UPSAMPLE.get((mode, axes, bool(antialias)))
    if chosen is None:
        needed = {"linear": 3, "bilinear": 4, "bicubic": 4, "lanczos": 4, "trilinear": 5}.get(mode)
        raise NotImplementedError(
            f"Got {axes + 2}D input, but {mode} mode needs "
            f"{f'{needed}D' if needed else '3D, 4D or 5D'} input"
        )
    return chosen(input, sizes, bool(align_corners), factors)


# ---- windows as columns


def _pair(value, name: str) -> tuple[int, ...]:
    if hasattr(value, "__index__"):
        return (value.__index__(),) * 2
    found = tuple([v.__index__() for v in value])
    if len(found) not in (1, 2):
        raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(found)}")
    return found * (2 // len(found))


@operator(where=(), name="im2col", node_name="Im2ColBackward0")
class _im2col:
    """Windows as columns: (batch, channels, h, w) to (batch, channels * kernel, windows)."""

    def call(input, *numbers):
        return apply(_im2col.operator, (input,), numbers)

    def infer(input, kernel, dilation, padding, stride):
        blocks = kernels._block_counts(
            "unfold", input.shape[2:], kernel, dilation, padding, stride
        )
        return input.like(shape=(input.shape[0], input.shape[1] * prod(kernel), prod(blocks)))

    def evaluate(input, kernel, dilation, padding, stride):
        return kernels.unfold(input, kernel, dilation, padding, stride)

    def decompose(g, input, kernel, dilation, padding, stride):
        return columns.unfold(g, input, kernel, dilation, padding, stride)

    def grad_input(grad, input_meta, attributes):
        return _col2im(grad, tuple(input_meta.shape[2:]), *attributes)


@operator(where=(), name="col2im", node_name="Col2ImBackward0")
class _col2im:
    """Columns added up where their windows lie."""

    def call(input, *numbers):
        return apply(_col2im.operator, (input,), numbers)

    def infer(input, sizes, kernel, dilation, padding, stride):
        blocks = kernels._block_counts("fold", sizes, kernel, dilation, padding, stride)
        if input.shape[1] % prod(kernel):
            raise RuntimeError(
                "fold: Expected size of input's dimension 1 to be divisible by the product of "
                f"kernel_size, but got input.size(1)={input.shape[1]} and kernel_size={kernel}"
            )
        if input.shape[2] != prod(blocks):
            raise RuntimeError(
                f"fold: Given output_size={sizes}, kernel_size={kernel}, dilation={dilation}, "
                f"padding={padding}, stride={stride}, expected size of input's dimension 2 to "
                f"match the calculated number of sliding blocks {prod(blocks)}, but got "
                f"input.size(2)={input.shape[2]}"
            )
        return input.like(shape=(input.shape[0], input.shape[1] // prod(kernel), *sizes))

    def evaluate(input, sizes, kernel, dilation, padding, stride):
        return kernels.fold(input, sizes, kernel, dilation, padding, stride)

    def decompose(g, input, sizes, kernel, dilation, padding, stride):
        return columns.fold(g, input, sizes, kernel, dilation, padding, stride)

    def grad_input(grad, attributes):
        return _im2col(grad, *attributes[1:])


def _with_batch(input: Tensor, ndim: int, name: str):
    if input._meta.ndim not in (ndim, ndim - 1):
        raise RuntimeError(
            f"Expected {ndim - 1}D or {ndim}D (batch mode) tensor for input with possibly 0 batch "
            f"size and non-zero dimensions for input, but got: {list(input._meta.shape)} ({name})"
        )
    return input if input._meta.ndim == ndim else input.unsqueeze(0)


@composite(where=FUNCTIONAL, out=False)
def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """Windows as columns: (batch, channels, h, w) to (batch, channels * kernel, windows).

    Raises RuntimeError if no window fits. Source: torch.nn.functional.unfold.
    """
    batched = _with_batch(input, 4, "unfold")
    result = _im2col(
        batched, _pair(kernel_size, "kernel_size"), _pair(dilation, "dilation"),
        _pair(padding, "padding"), _pair(stride, "stride"),
    )  # fmt: skip
    return result if batched is input else result.squeeze(0)


@composite(where=FUNCTIONAL, out=False)
def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Columns added up where their windows lie: the transpose of :func:`unfold`.

    input: (batch, channels * kernel, windows); result (batch, channels, *output_size).
    Source: torch.nn.functional.fold.
    """
    batched = _with_batch(input, 3, "fold")
    result = _col2im(
        batched, _pair(output_size, "output_size"), _pair(kernel_size, "kernel_size"),
        _pair(dilation, "dilation"), _pair(padding, "padding"), _pair(stride, "stride"),
    )  # fmt: skip
    return result if batched is input else result.squeeze(0)


# ---- shuffles between channels and pixels


@operator(where=("torch", "nn.functional"), out=False)
class pixel_shuffle:
    """(..., channels * r * r, h, w) to (..., channels, h * r, w * r), r being upscale_factor.

    Raises RuntimeError where the channels do not fit. Source: torch.nn.functional.pixel_shuffle.
    """

    def call(input, upscale_factor):
        _check_shuffle("pixel_shuffle", input, upscale_factor, "an upscale_factor")
        if input._meta.shape[-3] % upscale_factor**2:
            raise RuntimeError(
                "pixel_shuffle expects its input's 'channel' dimension to be divisible by the "
                f"square of upscale_factor, but input.size(-3)={input._meta.shape[-3]} is not "
                f"divisible by {upscale_factor**2}"
            )
        return apply(pixel_shuffle.operator, (input,), (upscale_factor,))

    def infer(input, factor):
        *lead, c, h, w = input.shape
        return input.like(shape=(*lead, c // factor**2, h * factor, w * factor))

    def evaluate(input, factor):
        *lead, c, h, w = input.shape
        n = len(lead)
        split = input.reshape(*lead, c // factor**2, factor, factor, h, w)
        order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
        return split.transpose(order).reshape(*lead, c // factor**2, h * factor, w * factor)

    def decompose(g, input, factor):
        *lead, c, h, w = input.shape
        n = len(lead)
        split = input.reshape(*lead, c // factor**2, factor, factor, h, w)
        order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
        return split.permute(*order).reshape(*lead, c // factor**2, h * factor, w * factor)

    def grad_input(grad, factor):
        return pixel_unshuffle(grad, factor)


@operator(where=("torch", "nn.functional"), out=False)
class pixel_unshuffle:
    """The inverse of :func:`pixel_shuffle`. Source: torch.nn.functional.pixel_unshuffle."""

    def call(input, downscale_factor):
        _check_shuffle("pixel_unshuffle", input, downscale_factor, "a downscale_factor")
        for what, at in (("height", -2), ("width", -1)):
            if input._meta.shape[at] % downscale_factor:
                raise RuntimeError(
                    f"pixel_unshuffle expects {what} to be divisible by downscale_factor, but "
                    f"input.size({at})={input._meta.shape[at]} is not divisible by "
                    f"{downscale_factor}"
                )
        return apply(pixel_unshuffle.operator, (input,), (downscale_factor,))

    def infer(input, factor):
        *lead, c, h, w = input.shape
        return input.like(shape=(*lead, c * factor**2, h // factor, w // factor))

    def evaluate(input, factor):
        *lead, c, h, w = input.shape
        n = len(lead)
        split = input.reshape(*lead, c, h // factor, factor, w // factor, factor)
        order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
        return split.transpose(order).reshape(*lead, c * factor**2, h // factor, w // factor)

    def decompose(g, input, factor):
        *lead, c, h, w = input.shape
        n = len(lead)
        split = input.reshape(*lead, c, h // factor, factor, w // factor, factor)
        order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
        return split.permute(*order).reshape(*lead, c * factor**2, h // factor, w // factor)

    def grad_input(grad, factor):
        return pixel_shuffle(grad, factor)


def _check_shuffle(name: str, input: Tensor, factor: int, what: str) -> None:
    if input._meta.ndim < 3:
        raise RuntimeError(
            f"{name} expects input to have at least 3 dimensions, but got input with "
            f"{input._meta.ndim} dimension(s)"
        )
    if factor <= 0:
        raise RuntimeError(f"{name} expects {what[what.index(' ') + 1:]} > 0, but got {factor}")


# ---- sampling


def _define_grid_sampler(axes: int):
    @operator(
        where=(), name=f"grid_sampler_{axes}d", node_name=f"GridSampler{axes}DBackward0"
    )
    class sample:
        """The input at the places of a grid."""

        tensors = 2
        widen = True

        def call(input, grid, *how):
            return apply(sample.operator, (input, grid), how)

        def infer(input, grid, mode, padding, align):
            return input.like(shape=(*input.shape[:2], *grid.shape[1:-1]))

        def evaluate(input, grid, mode, padding, align):
            return sampling.grid_sample(input, grid, mode, padding, align)

        def decompose(g, input, grid, mode, padding, align):
            return lowered_sampling.grid_sample(g, input, grid, mode, padding, align)

        def backward(grad, input, grid, mode, padding, align, needs):
            found = gradient(grad, input, grid, mode, padding, align)
            return tuple([x if need else None for x, need in zip(found, needs, strict=True)])

    @operator(where=(), name=f"grid_sampler_{axes}d_gradient")
    class gradient:
        """Gradients of ``sample`` by its input and its grid; not differentiable, as in PyTorch."""

        tensors = 3
        results = 2
        widen = True

        def call(*arguments):
            return apply(gradient.operator, arguments[:3], arguments[3:])

        def infer(grad_output, input, grid, mode, padding, align):
            return input.flat, grid.flat

        def evaluate(grad_output, input, grid, mode, padding, align):
            return sampling.grid_sample_gradient(grad_output, input, grid, mode, padding, align)

        def decompose(g, grad_output, input, grid, mode, padding, align):
            return lowered_sampling.gradients(g, grad_output, input, grid, mode, padding, align)

    return sample


_SAMPLERS = {2: _define_grid_sampler(2), 3: _define_grid_sampler(3)}
_SAMPLE_MODES = ("bilinear", "nearest", "bicubic")
_SAMPLE_PADDING = ("zeros", "border", "reflection")


@composite(where=FUNCTIONAL, out=False)
@in_float32
def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """``input`` at the places of ``grid``: coordinates from -1 to 1, the last dimension's first.

    input: (batch, channels, *sizes); grid: (batch, *places, 2 or 3); result (batch, channels,
    *places). mode: bilinear, nearest, bicubic (two dimensions only); padding_mode: zeros, border,
    reflection. Raises ValueError for other modes, RuntimeError for shapes that do not fit.
    Source: torch.nn.functional.grid_sample.
    """
    if mode not in _SAMPLE_MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in _SAMPLE_PADDING:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    if align_corners is None:
        import warnings

        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False "
            "since 1.3.0. Please specify align_corners=True if the old behavior is desired. See "
            "the documentation of grid_sample for details.",
            stacklevel=3,
        )
    _check_grid(input, grid, mode)
    return _SAMPLERS[input._meta.ndim - 2](input, grid, mode, padding_mode, bool(align_corners))


def _check_grid(input, grid, mode: str) -> None:
    shape, places = tuple(input._meta.shape), tuple(grid._meta.shape)
    if len(shape) not in (4, 5) or len(places) != len(shape):
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            f"got input with sizes {list(shape)} and grid with sizes {list(places)}"
        )
    if shape[0] != places[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with "
            f"sizes {list(shape)} and grid with sizes {list(places)}"
        )
    if places[-1] != len(shape) - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {len(shape) - 2} in last dimension, but "
            f"got grid with sizes {list(places)}"
        )
    if 0 in shape[2:]:
        raise RuntimeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has "
            f"sizes {list(shape)}"
        )
    if mode == "bicubic" and len(shape) == 5:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    if input._meta.dtype is not grid._meta.dtype:
        raise RuntimeError(
            "grid_sampler(): expected input and grid to have same dtype, but input has "
            f"{input._meta.dtype} and grid has {grid._meta.dtype}"
        )


@composite(where=("torch",), out=False)
@in_float32
def grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners):
    """grid_sample, the modes as numbers. Source: torch.grid_sampler."""
    return grid_sample(
        input, grid, _SAMPLE_MODES[interpolation_mode], _SAMPLE_PADDING[padding_mode],
        bool(align_corners),
    )  # fmt: skip


def _define_sampler_name(axes: int) -> None:
    def sampler(input, grid, interpolation_mode, padding_mode, align_corners):
        return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)

    sampler.__name__ = sampler.__qualname__ = f"grid_sampler_{axes}d"
    sampler.__doc__ = f"grid_sampler of {axes} spatial dimensions."
    composite(sampler, where=("torch",), out=False)


_define_sampler_name(2)
_define_sampler_name(3)


def _base_grid(sizes: tuple[int, ...], align: bool, kind: np.dtype) -> np.ndarray:
    """The places of all pixels and a one: (pixels, axes + 1), last dimension first."""
    axes = len(sizes)
    result = np.ones((*sizes, axes + 1), kind)
    for axis, size in enumerate(sizes):
        if size <= 1:
            line = np.zeros(size, kind)
        else:
            line = np.linspace(-1, 1, size).astype(kind)
            if not align:
                line = line * kind.type(size - 1) / kind.type(size)
        result[..., axes - 1 - axis] = line.reshape(-1, *(1,) * (axes - 1 - axis))
    return result.reshape(-1, axes + 1)


@operator(where=(), name="affine_grid_generator")
class _affine_grid:
    """Where affine maps send the pixels of an image."""

    tensors = 2

    def call(theta, base, sizes):
        return apply(_affine_grid.operator, (theta, base), (sizes,))

    def infer(theta, base, sizes):
        return meta((theta.shape[0], *sizes, len(sizes)), theta.dtype, theta.device)

    def evaluate(theta, base, sizes):
        places = np.matmul(base, theta.swapaxes(1, 2))  # batch, pixels, axes
        return places.astype(theta.dtype, copy=False).reshape(len(theta), *sizes, len(sizes))

    def decompose(g, theta, base, sizes):
        if not base.numel or not theta.numel:
            raise g.NotNative("a grid of nothing")
        kind, theta, base = theta.dtype, widened(theta), widened(base)
        places = base.reshape(1, *base.shape).expand(theta.shape[0], *base.shape)
        found = g.matmul(places, theta.transpose(1, 2))
        return found.cast(kind).reshape(theta.shape[0], *sizes, len(sizes))

    def grad_theta(grad, base, theta_meta, sizes):
        flat = grad.reshape(theta_meta.shape[0], -1, len(sizes))  # batch, pixels, axes
        return flat.transpose(1, 2) @ base


@composite(where=FUNCTIONAL, out=False)
def affine_grid(theta, size, align_corners=None):
    """The grid for :func:`grid_sample` that applies affine maps to images of the given size.

    theta: (batch, 2, 3) with size (batch, channels, h, w), or (batch, 3, 4) with five sizes;
    result (batch, h, w, 2) or (batch, d, h, w, 3). Raises ValueError otherwise.
    Source: torch.nn.functional.affine_grid.
    """
    size = tuple([int(n) for n in size])
    shape = tuple(theta._meta.shape)
    if not theta._meta.dtype.is_floating_point:
        raise ValueError(
            f"Expected theta to have floating point type, but got {theta._meta.dtype}"
        )
    if align_corners is None:
        import warnings

        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False "
            "since 1.3.0. Please specify align_corners=True if the old behavior is desired. See "
            "the documentation of grid_sample for details.",
            stacklevel=2,
        )
    axes = len(size) - 2
    if axes not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {list(size)}"
        )
    if shape[1:] != (axes, axes + 1) or len(shape) != 3:
        raise ValueError(
            f"Expected a batch of {axes}D affine matrices of shape Nx{axes}x{axes + 1} for size "
            f"{list(size)}. Got {list(shape)}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {list(size)}")
    if shape[0] != size[0]:
        raise RuntimeError(f"Expected a batch of {size[0]} matrices in affine_grid, got {shape[0]}")
    kind = np.dtype(np.float64 if theta._meta.dtype.itemsize == 8 else np.float32)
    grid = _base_grid(size[2:], bool(align_corners), kind)
    base = from_array(grid, where=theta._meta.device).to(theta._meta.dtype)
    return _affine_grid(theta, base, size[2:])
