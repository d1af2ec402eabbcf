"""Pooling: maxima and means over windows, over adaptive windows, and un-pooling.

One operator for each kind and number of dimensions, with PyTorch's node names; one-dimensional
pooling goes through two dimensions as there. The arithmetic is in
``suiren/interpreter/pooling.py``. Source: PyTorch's torch.nn.functional page, "Pooling functions".
"""

from __future__ import annotations

from suiren import dtypes
from suiren.autocast_state import casting
from suiren.autocasting import in_float32, widened
from suiren.autograd.mode import mode
from suiren.dispatch import apply
from suiren.interpreter import pooling as kernels
from suiren.operator import composite, operator
from suiren.ops import lowered_pooling as lowered
from suiren.tensor import Tensor
from suiren.trace import meta

FUNCTIONAL = ("nn.functional",)


def _per_axis(value, axes: int, name: str, default=None) -> tuple[int, ...]:
    if value is None or (isinstance(value, (tuple, list)) and not value):
        if default is None:
            raise RuntimeError(f"pooling needs a {name}")
        return default
    if hasattr(value, "__index__"):
        return (value.__index__(),) * axes
    found = tuple([v.__index__() for v in value])
    if len(found) not in (1, axes):
        raise RuntimeError(
            f"pooling: {name} must either be a single int, or a tuple of {axes} ints, got {found}"
        )
    return found * (axes // len(found))


def _check_dims(name: str, input: Tensor, axes: int) -> None:
    shape = input._meta.shape
    if len(shape) not in (axes + 1, axes + 2) or 0 in shape[len(shape) - axes - 1 :]:
        raise RuntimeError(
            f"{name}: Expected {axes + 1}D or {axes + 2}D (batch mode) tensor with optional 0 dim "
            f"batch size for input, but got: {list(shape)}"
        )


def _replaced(m, sizes, kind=None):
    return meta((*m.shape[: m.ndim - len(sizes)], *sizes), kind or m.dtype, m.device)


# ---- maximum


@operator(where=(), name="pooled_gradient", node_name="MaxPool2DWithIndicesBackwardBackward0")
class _max_gradient:
    """The gradient of max pooling: added up where the maxima were."""

    tensors = 2

    def call(grad_output, positions, shape, axes):
        return apply(_max_gradient.operator, (grad_output, positions), (shape, axes))

    def infer(grad_output, positions, shape, axes):
        return grad_output.like(shape=shape)

    def evaluate(grad_output, positions, shape, axes):
        return kernels.max_pool_gradient(grad_output, positions, shape, axes)

    def decompose(g, grad_output, positions, shape, axes):
        return lowered.max_gradient(g, grad_output, positions, shape, axes)

    def grad_grad_output(grad, positions, axes):
        return _at_positions(grad, positions, axes)


@operator(where=(), name="at_pooled_positions", node_name="GatherBackward0")
class _at_positions:
    """Elements at flat spatial positions."""

    tensors = 2

    def call(input, positions, axes):
        return apply(_at_positions.operator, (input, positions), (axes,))

    def infer(input, positions, axes):
        return input.like(shape=positions.shape)

    def evaluate(input, positions, axes):
        return kernels.gather_positions(input, positions, axes)

    def decompose(g, input, positions, axes):
        return lowered.at_positions(g, input, positions, axes)

    def grad_input(grad, positions, input_meta, axes):
        return _max_gradient(grad, positions, input_meta.shape, axes)


def _define_max_pool(axes: int):
    @operator(
        where=(),
        name=f"max_pool{axes}d_with_indices",
        node_name=f"MaxPool{axes}DWithIndicesBackward0",
    )
    class with_indices:
        """The largest element of every window, and its flat position in the spatial dimensions."""

        results = 2

        def call(input, *numbers):
            return apply(with_indices.operator, (input,), numbers)

        def infer(input, kernel, stride, padding, dilation, ceil_mode):
            sizes = kernels.pool_output_size(
                input.shape[-axes:], kernel, stride, padding, dilation, ceil_mode
            )
            return _replaced(input, sizes), _replaced(input, sizes, dtypes.int64)

        def evaluate(input, kernel, stride, padding, dilation, ceil_mode):
            return kernels.max_pool(input, kernel, stride, padding, dilation, ceil_mode)

        def decompose(g, input, kernel, stride, padding, dilation, ceil_mode):
            return _lowered_max(g, input, kernel, stride, padding, dilation, ceil_mode)

        def grad_input(grad, result1, input_meta):
            return _max_gradient(grad, result1, input_meta.shape, axes)

    return with_indices


@operator(where=(), name="max_pool")
class _max_pool:
    """The largest element of every window, where no gradient wants to know its place."""

    def call(input, *numbers):
        return apply(_max_pool.operator, (input,), numbers)

    def infer(input, kernel, stride, padding, dilation, ceil_mode):
        sizes = kernels.pool_output_size(
            input.shape[-len(kernel) :], kernel, stride, padding, dilation, ceil_mode
        )
        return _replaced(input, sizes)

    def evaluate(input, kernel, stride, padding, dilation, ceil_mode):
        return kernels.max_pool(input, kernel, stride, padding, dilation, ceil_mode, False)[0]

    def decompose(g, input, kernel, stride, padding, dilation, ceil_mode):
        return _lowered_max(g, input, kernel, stride, padding, dilation, ceil_mode)[0]


def _lowered_max(g, input, kernel, stride, padding, dilation, ceil_mode):
    sizes = kernels.pool_output_size(
        input.shape[-len(kernel) :], kernel, stride, padding, dilation, ceil_mode
    )
    return lowered.max_pool(g, input, sizes, kernel, stride, padding, dilation)


_WITH_INDICES = {2: _define_max_pool(2), 3: _define_max_pool(3)}


def _max(axes, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    _check_dims(f"max_pool{axes}d", input, axes)
    if casting and axes == 3 and not return_indices:
        (input,) = widened(input)
    kernel = _per_axis(kernel_size, axes, "kernel_size")
    stride = _per_axis(stride, axes, "stride", kernel)
    padding = _per_axis(padding, axes, "padding")
    dilation = _per_axis(dilation, axes, "dilation")
    if axes == 1:
        kernel, stride, dilation = (1, *kernel), (1, *stride), (1, *dilation)
        padding = (0, *padding)
        input = input.unsqueeze(-2)
    numbers = (kernel, stride, padding, dilation, bool(ceil_mode))
    if return_indices or (mode.grad and input._requires_grad):
        found = _WITH_INDICES[max(axes, 2)](input, *numbers)
    else:
        found = (_max_pool(input, *numbers),)
    if axes == 1:
        found = tuple([x.squeeze(-2) for x in found])
    return found if return_indices else found[0]


def _define_max_functions(axes: int) -> None:
    torch_too = ("torch", "nn.functional")

    @composite(where=torch_too, out=False, name=f"max_pool{axes}d")
    def max_pool(
        input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
        return_indices=False,
    ):  # fmt: skip
        return _max(
            axes, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )

    @composite(
        where=torch_too if axes == 1 else FUNCTIONAL,
        out=False,
        name=f"max_pool{axes}d_with_indices",
    )
    def with_indices(
        input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
        return_indices=False,
    ):  # fmt: skip
        return _max(axes, input, kernel_size, stride, padding, dilation, ceil_mode, True)

    max_pool.__name__ = max_pool.__qualname__ = f"max_pool{axes}d"
    with_indices.__name__ = with_indices.__qualname__ = f"max_pool{axes}d_with_indices"
    max_pool.__doc__ = f"""The largest element of every window over the last {axes} dimensions.

    ``stride`` is the kernel size by default; with ``return_indices`` a pair, the second being flat
    positions (int64) within those dimensions. Of equal elements the first counts, and NaN wins.
    Source: torch.nn.functional.max_pool{axes}d.
    """
    with_indices.__doc__ = f"max_pool{axes}d(..., return_indices=True)."


for _axes in (1, 2, 3):
    _define_max_functions(_axes)


# ---- mean


def _define_avg_pool(axes: int):
    node = f"AvgPool{axes}DBackward0"

    @operator(where=(), name=f"avg_pool{axes}d", node_name=node)
    class pool:
        """Means of windows."""

        def call(input, *numbers):
            return apply(pool.operator, (input,), numbers)

        def infer(input, kernel, stride, padding, ceil_mode, include_pad, divisor):
            sizes = kernels.pool_output_size(
                input.shape[-axes:], kernel, stride, padding, None, ceil_mode
            )
            return _replaced(input, sizes)

        def evaluate(input, kernel, stride, padding, ceil_mode, include_pad, divisor):
            return kernels.avg_pool(
                input, kernel, stride, padding, ceil_mode, include_pad, divisor
            )

        def decompose(g, input, kernel, stride, padding, ceil_mode, include_pad, divisor):
            sizes = kernels.pool_output_size(
                input.shape[-axes:], kernel, stride, padding, None, ceil_mode
            )
            return lowered.avg_pool(
                g, input, sizes, kernel, stride, padding, include_pad, divisor
            )

        def grad_input(grad, input_meta, attributes):
            return gradient(grad, input_meta.shape, *attributes)

    @operator(where=(), name=f"avg_pool{axes}d_gradient", node_name=node[:-1] + "Backward0")
    class gradient:
        """The gradient of ``pool`` by its input."""

        def call(grad_output, *attributes):
            return apply(gradient.operator, (grad_output,), attributes)

        def infer(grad_output, shape, *numbers):
            return grad_output.like(shape=shape)

        def evaluate(
            grad_output, shape, kernel, stride, padding, ceil_mode, include_pad, divisor
        ):
            return kernels.avg_pool_gradient(
                grad_output, shape, kernel, stride, padding, ceil_mode, include_pad, divisor
            )

        def decompose(
            g, grad_output, shape, kernel, stride, padding, ceil_mode, include_pad, divisor
        ):
            return lowered.avg_gradient(
                g, grad_output, shape, kernel, stride, padding, include_pad, divisor
            )

        def grad_grad_output(grad, attributes):
            return pool(grad, *attributes[1:])

    return pool


_AVG = {2: _define_avg_pool(2), 3: _define_avg_pool(3)}


def _avg(axes, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor):
    _check_dims(f"avg_pool{axes}d", input, axes)
    if input._meta.dtype.category < dtypes.FLOATING and input._meta.dtype is not dtypes.int64:
        raise RuntimeError(f"avg_pool{axes}d is not implemented for {input._meta.dtype}")
    if divisor == 0:
        raise RuntimeError(f"avg_pool{axes}d: divisor must be not zero")
    kernel = _per_axis(kernel_size, axes, "kernel_size")
    stride = _per_axis(stride, axes, "stride", kernel)
    padding = _per_axis(padding, axes, "padding")
    if axes == 1:
        found = _AVG[2](
            input.unsqueeze(-2), (1, *kernel), (1, *stride), (0, *padding), bool(ceil_mode),
            bool(count_include_pad), divisor,
        )  # fmt: skip
        return found.squeeze(-2)
    return _AVG[axes](
        input, kernel, stride, padding, bool(ceil_mode), bool(count_include_pad), divisor
    )


@composite(where=("torch", "nn.functional"), out=False)
def avg_pool1d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True
):
    """Means of windows over the last dimension. Source: torch.nn.functional.avg_pool1d."""
    return _avg(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


@composite(where=FUNCTIONAL, out=False)
def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
    divisor_override=None,
):  # fmt: skip
    """Means of windows over the last two dimensions.

    Padding counts as zeros that belong to the window, unless ``count_include_pad`` is False.
    Source: torch.nn.functional.avg_pool2d.
    """
    return _avg(
        2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


@composite(where=FUNCTIONAL, out=False)
@in_float32
def avg_pool3d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
    divisor_override=None,
):  # fmt: skip
    """Means of windows over the last three dimensions. Source: torch.nn.functional.avg_pool3d."""
    return _avg(
        3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


# ---- adaptive


def _define_adaptive(axes: int):
    node = f"AdaptiveAvgPool{axes}DBackward0"

    @operator(where=(), name=f"adaptive_avg_pool{axes}d", node_name=node)
    class average:
        """Means of the parts that the spatial dimensions are divided into."""

        def call(input, sizes):
            return apply(average.operator, (input,), (sizes,))

        def infer(input, sizes):
            return _replaced(input, sizes)

        def evaluate(input, sizes):
            return kernels.adaptive_avg_pool(input, sizes)

        def decompose(g, input, sizes):
            return lowered.adaptive_avg(g, input, sizes)

        def grad_input(grad, input_meta, sizes):
            return gradient(grad, input_meta.shape)

    @operator(
        where=(), name=f"adaptive_avg_pool{axes}d_gradient", node_name=node[:-1] + "Backward0"
    )
    class gradient:
        """The gradient of ``average`` by its input."""

        def call(grad_output, shape):
            return apply(gradient.operator, (grad_output,), (shape,))

        def infer(grad_output, shape):
            return grad_output.like(shape=shape)

        def evaluate(grad_output, shape):
            return kernels.adaptive_avg_pool_gradient(grad_output, shape, axes)

        def decompose(g, grad_output, shape):
            return lowered.adaptive_avg_gradient(g, grad_output, shape, axes)

        def grad_grad_output(grad, grad_output_meta):
            return average(grad, tuple(grad_output_meta.shape[-axes:]))

    @operator(
        where=(),
        name=f"adaptive_max_pool{axes}d",
        node_name=f"AdaptiveMaxPool{axes}DBackward0",
    )
    class maximum:
        """Largest elements of the parts that the spatial dimensions are divided into."""

        results = 2

        def call(input, sizes):
            return apply(maximum.operator, (input,), (sizes,))

        def infer(input, sizes):
            return _replaced(input, sizes), _replaced(input, sizes, dtypes.int64)

        def evaluate(input, sizes):
            return kernels.adaptive_max_pool(input, sizes)

        def decompose(g, input, sizes):
            return lowered.adaptive_max(g, input, sizes)

        def grad_input(grad, result1, input_meta):
            return _max_gradient(grad, result1, input_meta.shape, axes)

    return average, maximum


_ADAPTIVE = {2: _define_adaptive(2), 3: _define_adaptive(3)}


def _adaptive_sizes(name: str, input, output_size, axes: int) -> tuple[int, ...]:
    shape = input._meta.shape
    if len(shape) <= axes and axes > 1 and isinstance(output_size, (tuple, list)):
        raise ValueError(
            f"Input dimension should be at least {axes + 1}: {name} got {list(shape)}"
        )
    if len(shape) not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"{name}(): Expected {axes + 1}D or {axes + 2}D tensor, but got {list(shape)}"
        )
    if 0 in shape[len(shape) - axes - (len(shape) == axes + 2) :][-axes:]:
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input "
            f"has sizes {list(shape)} with dimension being empty"
        )
    given = output_size
    if given is None or hasattr(given, "__index__"):
        given = (given,) * axes
    if len(given) == 1:
        given = tuple(given) * axes
    if len(given) != axes:
        raise RuntimeError(f"{name}: output_size must be {axes} numbers, got {output_size}")
    sizes = tuple(
        [old if n is None else int(n) for n, old in zip(given, shape[-axes:], strict=True)]
    )
    if any(n < 0 for n in sizes):
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0 but received "
            f"{sizes}"
        )
    return sizes


def _adaptive_avg(axes: int, input, output_size):
    sizes = _adaptive_sizes(f"adaptive_avg_pool{axes}d", input, output_size, axes)
    if axes == 1:
        return _adaptive_avg(2, input.unsqueeze(-2), (1, *sizes)).squeeze(-2)
    if all(n == 1 for n in sizes):
        return input.mean(tuple(range(-axes, 0)), keepdim=True)
    return _ADAPTIVE[axes][0](input, sizes)


def _adaptive_max(axes: int, input, output_size, return_indices):
    sizes = _adaptive_sizes(f"adaptive_max_pool{axes}d", input, output_size, axes)
    if axes == 1:
        found = _ADAPTIVE[2][1](input.unsqueeze(-2), (1, *sizes))
        found = tuple([x.squeeze(-2) for x in found])
    else:
        found = _ADAPTIVE[axes][1](input, sizes)
    return found if return_indices else found[0]


def _define_adaptive_functions(axes: int) -> None:
    torch_too = ("torch", "nn.functional") if axes == 1 else FUNCTIONAL

    def adaptive_avg_pool(input, output_size):
        return _adaptive_avg(axes, input, output_size)

    def adaptive_max_pool(input, output_size, return_indices=False):
        return _adaptive_max(axes, input, output_size, return_indices)

    def with_indices(input, output_size, return_indices=False):
        return _adaptive_max(axes, input, output_size, True)

    adaptive_avg_pool.__doc__ = f"""Means of the parts of the last {axes} dimensions.

    Part i of n goes from floor(i size / n) to ceil((i + 1) size / n); None keeps a size.
    Source: torch.nn.functional.adaptive_avg_pool{axes}d.
    """
    adaptive_max_pool.__doc__ = f"""Largest elements of the parts of the last {axes} dimensions.

    Parts as in adaptive_avg_pool{axes}d. Source: torch.nn.functional.adaptive_max_pool{axes}d.
    """
    with_indices.__doc__ = f"adaptive_max_pool{axes}d(..., return_indices=True)."
    for function, name, where in (
        (adaptive_avg_pool, f"adaptive_avg_pool{axes}d", torch_too),
        (adaptive_max_pool, f"adaptive_max_pool{axes}d", FUNCTIONAL),
        (with_indices, f"adaptive_max_pool{axes}d_with_indices", FUNCTIONAL),
    ):
        function.__name__ = function.__qualname__ = name
        shown = in_float32(function) if axes == 3 else function
        composite(shown, name=name, where=where, out=False)
    if axes == 1:  # in torch's own namespace it returns the pair
        composite(with_indices, name="adaptive_max_pool1d", where=("torch",), out=False)


for _axes in (1, 2, 3):
    _define_adaptive_functions(_axes)
