"""Filling tensors with random numbers in place: uniform_, normal_, bernoulli_, ...

Numbers are drawn in the order in which the elements of the tensor lie in memory, as in PyTorch; on
the meta device only the arguments are checked. The drawing is in ``random.py``. Source: PyTorch's
"Random sampling" page, in-place sampling.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from suiren import dtypes
from suiren.autograd.mode import mode
from suiren.device import META
from suiren.dtypes import dtype
from suiren.operator import composite
from suiren.ops.creation import from_array, without_data
from suiren.ops.random import (
    _array,
    _bernoulli_each,
    _check_probability,
    _draw,
    _drawn,
    _from,
    _in_memory_order,
    _integers,
    _missing,
    _normal,
    _uniform,
)
from suiren.random import Generator
from suiren.tensor import Tensor
from suiren.views import assign


def _fill(input: Tensor, name: str, draw: Callable, node: str | None = None) -> Tensor:
    m = input._meta
    if m.device is META:
        draw((0,))
        drawn = without_data(m)
    else:
        drawn = from_array(_in_memory_order(m, draw))
    if mode.grad and input.requires_grad:
        drawn = _drawn[node or name](input, drawn)
    return assign(input, drawn, name)


def _fill_from(input: Tensor, name: str, generator: Generator | None, *settings: float) -> Tensor:
    """Fills from the distribution that the function is named after."""
    kind = input._meta.dtype.numpy
    return _fill(
        input, name, lambda s: _draw(generator, name, name.rstrip("_"), s, *settings, kind)
    )


_WORTH_FILLING = 1 << 18  # bytes from which on fresh memory is spared


def _memory_to_fill(input: Tensor) -> np.ndarray | None:
    """The memory of the tensor if all of it can be overwritten and only the tensor would notice."""
    m = input._meta
    if input._view is not None or input._inference or m.numel * m.dtype.itemsize < _WORTH_FILLING:
        return None
    if mode.grad and input.requires_grad:  # an error if it is a leaf, and history if not
        return None
    return input._storage.memory_alone() if input._storage.meta.shape == m.shape else None


def _bounds(given: tuple, keywords: dict, defaults: tuple, name: str) -> list:
    """``from`` and ``to``, the first of which is a word that Python keeps for itself."""
    found = list(given) + list(defaults[len(given) :])
    for place, key in enumerate(("from", "to")):
        if key in keywords:
            found[place] = keywords.pop(key)
    if keywords or len(given) > 2:
        raise TypeError(f"{name}() got unexpected arguments {list(keywords) or list(given[2:])}")
    return [x.item() if isinstance(x, Tensor) else x for x in found]


@composite(where=("Tensor",), name="uniform_")
def uniform_(input, *bounds, generator=None, **keywords):
    """Fills with uniform numbers: ``uniform_(from=0, to=1)``. Source: Tensor.uniform_.

    Raises RuntimeError if from > to, NotImplementedError for integer dtypes.
    """
    low, high = _bounds(bounds, keywords, (0.0, 1.0), "uniform_")
    kind = input._meta.dtype
    room = _memory_to_fill(input)
    return _fill(
        input, "uniform_", lambda s: _uniform(s, low, high, kind, generator, "uniform_", room)
    )


@composite(where=("Tensor",), name="normal_")
def normal_(input, mean=0.0, std=1.0, *, generator=None):
    """Fills with normal numbers. Source: Tensor.normal_."""
    kind, spread = input._meta.dtype, not input._meta.contiguous
    room = _memory_to_fill(input)
    return _fill(
        input, "normal_", lambda s: _normal(s, mean, std, kind, generator, "normal_", spread, room)
    )


@composite(where=("Tensor",), name="random_")
def random_(input, *bounds, generator=None, **keywords):
    """Fills with whole numbers: all that the dtype holds, ``random_(to)``, ``random_(from, to)``.

    Floating types: up to 2**24 (float32), 2**53 (float64), ... Source: Tensor.random_.
    """
    kind = input._meta.dtype
    if len(bounds) == 1 and "to" not in keywords and "from" not in keywords:
        bounds = (0, bounds[0])
        node = "random_below"
    else:
        node = "random_between" if bounds or keywords else "random_"
    low, high = _bounds(bounds, keywords, (None, None), "random_")
    if kind.is_complex:
        raise _missing("random_kernel_cpu", kind)
    if high is None:
        def draw(shape):
            return _draw(generator, "random_", "random", shape, kind.numpy, low)
    else:
        def draw(shape):
            return _integers(shape, int(low or 0), int(high), kind, generator, "random_")

    return _fill(input, "random_", draw, node)


@composite(where=("Tensor",), name="bernoulli_")
def bernoulli_(input, p=0.5, *, generator=None):
    """Fills with ones of probability p (a number, or a tensor of probabilities), else zeros.

    Source: Tensor.bernoulli_.
    """
    m = input._meta
    if isinstance(p, Tensor):
        if not p._meta.dtype.is_floating_point:
            raise _missing("bernoulli_tensor_cpu_p_", p._meta.dtype)
        if m.device is META:
            return assign(input, _from("bernoulli_each", (input,), m), "bernoulli_")
        chances = np.broadcast_to(_array(p), tuple(m.shape))
        array = _bernoulli_each(tuple(m.shape), chances, m.dtype, generator)
        return assign(input, _from("bernoulli_each", (input,), array), "bernoulli_")
    _check_probability(p)
    return _fill_from(input, "bernoulli_", generator, float(p))


def _continuous(name: str, kind: dtype) -> None:
    if not kind.is_floating_point:
        raise RuntimeError(
            f"{name} distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {kind.letter_name}"
        )


@composite(where=("Tensor",), name="exponential_")
def exponential_(input, lambd=1.0, *, generator=None):
    """Fills from the exponential distribution of rate ``lambd``. Source: Tensor.exponential_."""
    _continuous("Exponential", input._meta.dtype)
    if not lambd > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    return _fill_from(input, "exponential_", generator, float(lambd))


@composite(where=("Tensor",), name="geometric_")
def geometric_(input, p, *, generator=None):
    """Fills with the number of trials up to the first success of probability p.

    Source: Tensor.geometric_.
    """
    kind = input._meta.dtype
    if kind is dtypes.bool or kind.is_complex:
        raise _missing("geometric_cpu", kind)
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    return _fill_from(input, "geometric_", generator, float(p))


@composite(where=("Tensor",), name="cauchy_")
def cauchy_(input, median=0.0, sigma=1.0, *, generator=None):
    """Fills from the Cauchy distribution. Source: Tensor.cauchy_."""
    _continuous("Cauchy", input._meta.dtype)
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    return _fill_from(input, "cauchy_", generator, float(median), float(sigma))


@composite(where=("Tensor",), name="log_normal_")
def log_normal_(input, mean=1.0, std=2.0, *, generator=None):
    """Fills with exponentials of normal numbers. Source: Tensor.log_normal_."""
    kind = input._meta.dtype
    if not kind.is_floating_point:
        raise _missing("log_normal_cpu", kind)
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    return _fill_from(input, "log_normal_", generator, float(mean), float(std))
