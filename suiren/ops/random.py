"""Random tensors. Source: PyTorch's "Random sampling" page and its in-place sampling methods.

Numbers are drawn on the host when the operation is recorded, from the generator's stream
(:mod:`suiren.mt19937`, PyTorch's bit for bit), and enter the trace as computed Values: a program is
then the same whatever was drawn. The methods that fill a tensor in place draw in the order in which
its elements lie in memory, as PyTorch does.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.autograd.mode import mode
from suiren.device import CPU, META, device
from suiren.dispatch import apply
from suiren.dtypes import dtype
from suiren.operator import composite, operator
from suiren.ops.casts import _dense
from suiren.ops.creation import drawn, fill, from_array, options, without_data
from suiren.ops.elementwise import broadcast_shapes
from suiren.ops.views import sizes_of
from suiren.random import Generator, generator_of
from suiren.tensor import Tensor, value_of
from suiren.trace import Meta, meta
from suiren.views import assign

Drawing = Callable[..., np.ndarray]


def _draw(generator: Generator | None, name: str, method: str, *args: Any, **kwargs: Any) -> Any:
    source = generator_of(generator, name)
    with source.lock:
        return getattr(source.stream, method)(*args, **kwargs)


def _missing(kernel: str, kind: dtype) -> NotImplementedError:
    return NotImplementedError(f'"{kernel}" not implemented for \'{kind.letter_name}\'')


def _checked(shape: tuple[int, ...]) -> tuple[int, ...]:
    if any(s < 0 for s in shape):
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)}"
        )
    return shape


def _shape(given: Any, name: str) -> tuple[int, ...]:
    if given == ():  # () as a keyword is a shape, no arguments are none
        raise TypeError(f"{name}() received no arguments: give a size")
    return _checked(sizes_of(given))


def _made(where: device, requires_grad: bool, draw: Drawing, shape: Any, *arguments: Any) -> Tensor:
    if where is META:
        none = draw((0,), *arguments)  # for its errors: nothing is drawn
        return without_data(meta(shape, dtypes.from_numpy(none.dtype)), requires_grad)
    result = drawn(draw, shape, *arguments)
    return result.requires_grad_() if requires_grad else result


# --------------------------------------------------------------------------
# Drawing for a shape and dtype


def _parts(
    shape: tuple[int, ...], kind: dtype, draw: Drawing, out: np.ndarray | None = None
) -> np.ndarray:
    """Complex numbers are drawn as twice as many real ones, real part first."""
    if not kind.is_complex:
        return draw(shape, kind.numpy, out)
    return draw((*shape, 2), kind.to_real().numpy).view(kind.numpy).reshape(shape)


@functools.cache
def _largest(kind: dtype) -> float:
    return dtypes.finfo(kind).max


def _uniform(shape, low, high, kind: dtype, generator, name: str, out=None) -> np.ndarray:
    if kind.category < dtypes.FLOATING:
        raise _missing("check_uniform_bounds", kind)
    if not low <= high:
        raise RuntimeError(
            f"{name} expects to return a [from, to) range, but found from={low} > to={high}"
        )
    limit = _largest(kind)
    if not (-limit <= low <= limit and -limit <= high <= limit):
        raise RuntimeError(f"{name}: from={low} and to={high} must lie in the range of {kind}")

    def draw(shape, kind, out=None):
        return _draw(generator, name, "uniform", shape, float(low), float(high), kind, out=out)

    return _parts(shape, kind, draw, out)


def _normal(
    shape, mean, std, kind: dtype, generator, name: str, spread=False, out=None
) -> np.ndarray:
    if kind.category < dtypes.FLOATING:
        raise _missing("normal_kernel_cpu", kind)
    if std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    if kind.is_complex:  # the variance is shared between the parts
        std = std / math.sqrt(2)

    def draw(shape, array_kind, out=None):
        center = 0.0 if kind.is_complex else mean
        return _draw(
            generator, name, "normal", shape, center, std, array_kind, one_by_one=spread, out=out
        )

    drawn = _parts(shape, kind, draw, out)
    return drawn + kind.numpy.type(mean) if kind.is_complex and mean else drawn


def _integers(shape, low: int, high: int, kind: dtype, generator, name: str) -> np.ndarray:
    if kind.is_complex:
        raise _missing("random_from_to_kernel_cpu", kind)
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    if kind.category < dtypes.FLOATING:
        limits = (0, 1) if kind is dtypes.bool else (_iinfo(kind).min, _iinfo(kind).max)
        for label, value in (("from", low), ("to - 1", high - 1)):
            if not limits[0] <= value <= limits[1]:
                raise RuntimeError(f"{label} is out of bounds for {kind}: {name} got {value}")
    return _draw(generator, name, "randint", shape, low, high, kind.numpy)


def _iinfo(kind: dtype) -> Any:
    return np.iinfo(kind.numpy)


# --------------------------------------------------------------------------
# New tensors of a size


@composite(where=("torch",))
def rand(*size, generator=None, names=None, dtype=None, layout=None, device=None,
         requires_grad=False, pin_memory=False):  # fmt: skip
    """Uniform numbers in [0, 1). Source: torch.rand.

    Raises NotImplementedError for integer dtypes.

    >>> import suiren as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.rand(3)
    tensor([0.4963, 0.7682, 0.0885])
    """
    kind, where = options(dtype, device, layout)
    shape = _shape(size, "rand")
    return _made(where, requires_grad, _uniform, shape, 0, 1, kind, generator, "rand")


@composite(where=("torch",))
def randn(*size, generator=None, names=None, dtype=None, layout=None, device=None,
          requires_grad=False, pin_memory=False):  # fmt: skip
    """Normal numbers of mean 0 and variance 1. Source: torch.randn."""
    kind, where = options(dtype, device, layout)
    shape = _shape(size, "randn")
    return _made(where, requires_grad, _normal, shape, 0, 1, kind, generator, "randn")


@composite(where=("torch",))
def randint(*bounds, low=None, high=None, size=None, generator=None, dtype=None, layout=None,
            device=None, requires_grad=False, pin_memory=False):  # fmt: skip
    """Whole numbers: ``randint(high, size)`` from 0, ``randint(low, high, size)`` from low.

    The end ``high`` is not included; int64 unless ``dtype`` says otherwise. Raises RuntimeError
    for an empty range or bounds that the dtype cannot hold. Source: torch.randint.

    >>> import suiren as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.randint(10, (4,))
    tensor([4, 9, 3, 0])
    """
    given = list(bounds)
    if size is None:
        if not given:
            raise TypeError("randint() missing the argument 'size'")
        size = given.pop()
    if high is None:
        if not given:
            raise TypeError("randint() missing the argument 'high'")
        high = given.pop()
    if given:
        low = given.pop()
    if given:
        raise TypeError(f"randint() takes low, high and size, got {len(bounds)} arguments")
    kind, where = options(dtype or dtypes.int64, device, layout)
    shape = _checked(sizes_of((size,)))
    low, high = _whole(low or 0, "low"), _whole(high, "high")
    return _made(where, requires_grad, _integers, shape, low, high, kind, generator, "randint")


def _whole(x: Any, name: str) -> int:
    if hasattr(x, "__index__"):
        return x.__index__()
    raise TypeError(f"argument '{name}' must be an integer, got {type(x).__name__}")


@composite(where=("torch",))
def randperm(n, *, generator=None, dtype=None, layout=None, device=None, requires_grad=False,
             pin_memory=False):  # fmt: skip
    """A random order of the numbers from 0 to n - 1, int64 by default. Source: torch.randperm."""
    kind, where = options(dtype or dtypes.int64, device, layout)
    n = _whole(n, "n")
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if kind.is_complex or kind is dtypes.bool:
        raise _missing("randperm", kind)
    limit = _iinfo(kind).max if kind.category == dtypes.INTEGER else 1 << _DIGITS[kind.name]
    if n and n > limit:
        raise RuntimeError(
            f"randperm: n is too large for {kind}, got {n}: value cannot be converted to type "
            f"{kind} without overflow"
        )
    if where is META:
        return without_data(meta((n,), kind), requires_grad)
    result = drawn(_draw, generator, "randperm", "randperm", n, kind.numpy)
    return result.requires_grad_() if requires_grad else result


_DIGITS = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}


# --------------------------------------------------------------------------
# New tensors like another


def _like(
    input: Tensor, kind: dtype | None, place: Any, layout: Any, memory_format: Any
) -> tuple[dtype, Meta]:  # fmt: skip
    """The dtype and the Meta of a result like ``input``: dense strides are kept."""
    m = input._meta
    kind, where = options(kind or m.dtype, m.device if place is None else place, layout)
    return kind, _in_format(m.on(where), kind, memory_format)


def _in_format(m: Meta, kind: dtype, memory_format: Any) -> Meta:
    name = str(memory_format or "torch.preserve_format").removeprefix("torch.")
    if name == "preserve_format":
        return m.like(dtype=kind) if _dense(m) else m.flat.like(dtype=kind)
    if name == "contiguous_format":
        return m.flat.like(dtype=kind)
    if name == "channels_last" and m.ndim == 4:
        n, c, h, w = m.shape
        return m.like(dtype=kind, strides=(h * w * c, 1, w * c, c))
    if name == "channels_last_3d" and m.ndim == 5:
        n, c, d, h, w = m.shape
        return m.like(dtype=kind, strides=(d * h * w * c, 1, h * w * c, w * c, c))
    raise RuntimeError(f"memory format {memory_format} does not fit a tensor of {m.ndim} dims")


def _in_memory_order(m: Meta, draw: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """``draw(shape)`` with the elements spread in the order in which they lie in memory."""
    if m.contiguous:
        return draw(tuple(m.shape))
    order = sorted(range(m.ndim), key=lambda d: -m.strides[d])
    array = draw(tuple([m.shape[d] for d in order]))
    return array.transpose(np.argsort(order))


def _new(m: Meta, draw: Callable, requires_grad: bool) -> Tensor:
    if m.device is META:
        draw((0,))
        return without_data(m, requires_grad)
    result = drawn(_in_memory_order, m, draw)
    result._meta = result._storage.meta = m
    return result.requires_grad_() if requires_grad else result


@composite(where=("torch",))
def rand_like(input, *, generator=None, dtype=None, layout=None, device=None,
              requires_grad=False, pin_memory=False, memory_format=None):  # fmt: skip
    """Uniform numbers in [0, 1) of the input's shape and dtype. Source: torch.rand_like."""
    kind, m = _like(input, dtype, device, layout, memory_format)
    return _new(m, lambda s: _uniform(s, 0, 1, kind, generator, "rand_like"), requires_grad)


@composite(where=("torch",))
def randn_like(input, *, generator=None, dtype=None, layout=None, device=None,
               requires_grad=False, pin_memory=False, memory_format=None):  # fmt: skip
    """Standard normal numbers of the input's shape and dtype. Source: torch.randn_like."""
    kind, m = _like(input, dtype, device, layout, memory_format)
    return _new(
        m,
        lambda s: _normal(s, 0, 1, kind, generator, "randn_like", not m.contiguous),
        requires_grad,
    )


@composite(where=("torch",))
def randint_like(input, *bounds, low=None, high=None, generator=None, dtype=None, layout=None,
                 device=None, requires_grad=False, pin_memory=False,
                 memory_format=None):  # fmt: skip
    """Whole numbers of the input's shape and dtype: ``randint_like(input, [low,] high)``.

    Source: torch.randint_like.
    """
    given = list(bounds)
    if high is None:
        if not given:
            raise TypeError("randint_like() missing the argument 'high'")
        high = given.pop()
    low = given.pop() if given else low or 0
    if given:
        raise TypeError(f"randint_like() takes low and high, got {len(bounds)} bounds")
    high = high.item() if isinstance(high, Tensor) else high
    kind, m = _like(input, dtype, device, layout, memory_format)
    low, high = _whole(low, "low"), _whole(high, "high")
    return _new(
        m, lambda s: _integers(s, low, high, kind, generator, "randint_like"), requires_grad
    )


# --------------------------------------------------------------------------
# Results that depend on tensors. Their gradients are zero: what is drawn does not move with them.


def _zero_gradient(name: str, node: str, parameters: int = 1) -> Any:
    """An operator ``(inputs..., drawn) -> drawn`` whose gradients for the inputs are zero."""

    def call(*tensors):
        return apply(definition.operator, tensors)

    def infer(*metas):
        return metas[-1]

    def evaluate_one(input, drawn):
        return drawn

    def evaluate_two(input, other, drawn):
        return drawn

    def decompose_one(g, input, drawn):
        return drawn

    def decompose_two(g, input, other, drawn):
        return drawn

    def backward(grad, metas, needs):
        gradients = [
            fill(m.shape, 0, m.dtype, False, m.device) if need else None
            for m, need in zip(metas[:-1], needs, strict=False)
        ]
        return (*gradients, None)

    body = {
        "call": call,
        "infer": infer,
        "evaluate": evaluate_two if parameters == 2 else evaluate_one,
        "decompose": decompose_two if parameters == 2 else decompose_one,
        "backward": backward,
        "tensors": parameters + 1,
        "node_name": node,
    }
    definition = operator(type(name, (), body), name=f"drawn_{name}", where=(), out=False)
    return definition


_NODES = {
    "bernoulli": "BernoulliBackward0", "poisson": "PoissonBackward0",
    "normal_mean": "NormalBackward1", "normal_std": "NormalBackward2",
    "uniform_": "UniformBackward0", "normal_": "NormalBackward0", "random_": "RandomBackward2",
    "random_below": "RandomBackward1", "random_between": "RandomBackward0",
    "bernoulli_": "BernoulliBackward2", "bernoulli_each": "BernoulliBackward1",
    "exponential_": "ExponentialBackward0", "cauchy_": "CauchyBackward0",
    "geometric_": "GeometricBackward0", "log_normal_": "LogNormalBackward0",
}  # fmt: skip
_drawn = {name: _zero_gradient(name, node) for name, node in _NODES.items()}
_drawn["normal"] = _zero_gradient("normal", "NormalBackward3", 2)


def _from(name: str, inputs: tuple[Tensor, ...], array: np.ndarray | Meta) -> Tensor:
    result = without_data(array) if isinstance(array, Meta) else from_array(array)
    if mode.grad and any(x.requires_grad for x in inputs):
        return _drawn[name](*inputs, result)
    return result


def _array(input: Tensor) -> np.ndarray:
    return np.asarray(value_of(input).get(), order="C")


@composite
def bernoulli(input, p=None, *, generator=None):
    """Ones with the probabilities that ``input`` holds (or all with probability p), else zeros.

    Raises RuntimeError for probabilities outside [0, 1]. Source: torch.bernoulli.
    """
    m = input._meta
    if p is not None:
        _check_probability(p)
        if m.device is META:
            return without_data(m.flat)
        array = _draw(generator, "bernoulli", "bernoulli", tuple(m.shape), float(p), m.dtype.numpy)
        return from_array(array)
    if not m.dtype.is_floating_point:
        raise _missing("bernoulli_tensor_cpu_p_", m.dtype)
    if m.device is META:
        return _from("bernoulli", (input,), m)
    array = _bernoulli_each(tuple(m.shape), _array(input), m.dtype, generator)
    return _from("bernoulli", (input,), array)


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")


def _bernoulli_each(shape, p: np.ndarray, kind: dtype, generator) -> np.ndarray:
    if not ((p >= 0) & (p <= 1)).all():
        raise RuntimeError("Expected p_in >= 0 && p_in <= 1: bernoulli got probabilities outside")
    return _draw(generator, "bernoulli", "bernoulli", shape, p, kind.numpy)


_MOST_CATEGORIES = 1 << 24


@composite
def multinomial(input, num_samples, replacement=False, *, generator=None, out=None):
    """Indices drawn with the weights in the rows of ``input``, int64.

    Raises RuntimeError for weights that are negative, infinite, NaN or all zero, and for more
    samples than categories without replacement. Source: torch.multinomial.
    """
    num_samples = _whole(num_samples, "num_samples")
    kind = input._meta.dtype
    if out is not None and out._meta.dtype is not dtypes.int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {out._meta.dtype}")
    if not kind.is_floating_point:
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {kind.letter_name}"
        )
    if input._meta.ndim and input._meta.shape[-1] > _MOST_CATEGORIES:
        raise RuntimeError(
            f"number of categories cannot exceed 2^24, multinomial got {input._meta.shape[-1]}"
        )
    if input._meta.ndim and not input._meta.shape[-1]:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1): there are no categories")
    if input._meta.device is META:
        result = without_data(meta((*input._meta.shape[:-1], num_samples), dtypes.int64))
    else:
        drawn = _draw(
            generator, "multinomial", "multinomial", _array(input), num_samples, bool(replacement)
        )
        result = from_array(np.ascontiguousarray(drawn))
    if out is None:
        return result
    if out._meta.shape != result._meta.shape:
        out.resize_(result._meta.shape)
    return assign(out, result, "multinomial")


@composite(where=("torch",), out=False)
def poisson(input, generator=None):
    """Counts whose means ``input`` holds, in its dtype. Source: torch.poisson.

    Raises RuntimeError for negative means, NotImplementedError for integer dtypes.
    """
    if not input._meta.dtype.is_floating_point:
        raise _missing("poisson_cpu", input._meta.dtype)
    if input._meta.device is META:
        return _from("poisson", (input,), input._meta)
    return _from("poisson", (input,), _draw(generator, "poisson", "poisson", _array(input)))


def standard_gamma(concentration, generator=None):
    """Gamma numbers of rate 1; for :class:`suiren.distributions.Gamma`, which differentiates."""
    if concentration._meta.device is META:
        return without_data(concentration._meta.flat)
    return from_array(_draw(generator, "standard_gamma", "gamma", _array(concentration)))


@composite(where=("torch",))
def normal(mean, std=1.0, size=None, *, generator=None, dtype=None, layout=None, device=None,
           requires_grad=False, pin_memory=False):  # fmt: skip
    """Normal numbers: each of its own mean or std where these are tensors, else of a size.

    ``normal(mean, std)`` with one or two tensors, ``normal(2., 3., size=(4,))`` with numbers.
    Raises RuntimeError for a negative std. Source: torch.normal.
    """
    tensors = tuple(x for x in (mean, std) if isinstance(x, Tensor))
    if size is not None:
        if tensors:
            raise TypeError("normal() takes a size together with numbers, not with tensors")
        # PyTorch too heeds no default device here
        kind, where = options(dtype, CPU if device is None else device, layout)
        shape = _checked(sizes_of((size,)))
        return _made(where, requires_grad, _normal, shape, mean, std, kind, generator, "normal")
    if not tensors:
        raise TypeError(
            f"normal() received ({type(mean).__name__}, {type(std).__name__}): give tensors, or "
            "numbers and a size"
        )
    kind = tensors[0]._meta.dtype
    if kind.category < dtypes.FLOATING:
        raise _missing("normal_kernel_cpu", kind)
    if kind.is_complex:
        raise NotImplementedError("normal() with complex tensors is not supported; use randn")
    name = "normal" if len(tensors) == 2 else "normal_mean" if tensors[0] is mean else "normal_std"
    if any(x._meta.device is META for x in tensors):
        shape = broadcast_shapes(*[x._meta.shape for x in tensors])
        return _from(name, tensors, meta(shape, kind))
    arrays = [_array(x) if isinstance(x, Tensor) else x for x in (mean, std)]
    if np.any(np.asarray(arrays[1]) < 0):
        raise RuntimeError("normal expects all elements of std >= 0.0")
    try:
        shape = np.broadcast_shapes(*[np.shape(a) for a in arrays])
    except ValueError:
        raise RuntimeError(
            f"normal(): mean of shape {list(np.shape(arrays[0]))} and std of shape "
            f"{list(np.shape(arrays[1]))} do not broadcast: the size of tensor a must match the "
            "size of tensor b"
        ) from None
    array = _draw(generator, "normal", "normal", shape, *arrays, kind.numpy)
    return _from(name, tensors, array)


__all__ = ["meta", "normal", "rand", "randint", "randn", "randperm"]
