"""Random programs for the compiler: tensors of random shapes and types, random operators.

:func:`generate` records one program through the public interface, without observing a value, and
gives what it made; a flush then computes all of it as one program. Equal seeds give equal programs.
Run as a script it goes through many seeds, each compiled at first sight and held against the
interpreter, and shortens what fails::

    python tests/program_generator.py 1000 2000      # seeds 1000 .. 1999
    python tests/program_generator.py --show 1234    # one seed, its text and its graph
"""

from __future__ import annotations

import random
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import suiren

FLOATS = ("float32", "float64")
TYPES = (
    *("float32",) * 10, *("float64",) * 5, *("int64",) * 3, *("bool",) * 2,
    "int32", "int16", "int8", "uint8", "float16", "bfloat16",
)  # fmt: skip
SIZES = (1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 20, 31, 33, 64)


class Generator:
    """One program in the making; ``tensors`` is what it has computed so far."""

    def __init__(self, seed: int, steps: int | None = None, without: frozenset[int] = frozenset()):
        self.seed = seed
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)
        self.tensors: list[suiren.Tensor] = []
        self.leaves: list[suiren.Tensor] = []
        self.lines: list[str] = []
        self.special = self.random.random() < 0.1  # NaN, infinities and signed zeros among values
        self.large = self.random.random() < 0.15
        # a step is three operators or so, gradients included
        most = 50 if self.random.random() < 0.2 else 16
        self.step_count = self.random.randint(4, most) if steps is None else steps
        self.without = without

    # ---- choices

    def size(self) -> int:
        r = self.random
        if r.random() < 0.01:
            return 0
        if self.large and r.random() < 0.4:
            return r.choice((100, 128, 257, 300))
        return r.choice(SIZES)

    def shape(self, most: int = 4) -> tuple[int, ...]:
        while True:
            found = tuple(self.size() for _ in range(self.random.choice((0, 1, 2, 2, 2, 3, 3, 4))))
            if np.prod(found) <= (60_000 if self.large else 4_000) and len(found) <= most:
                return found

    def tensor(self, array: np.ndarray) -> suiren.Tensor:
        """A tensor of its own, at times one that shares NumPy's memory (computed with at once)."""
        return (suiren.from_numpy if self.random.random() < 0.02 else suiren.tensor)(array)

    def array(self, shape: tuple[int, ...], kind: str) -> suiren.Tensor:
        """Fresh numbers."""
        if kind == "bool":
            return self.tensor(np.asarray(self.numpy.random(shape) < 0.5))
        if kind in ("int64", "int32", "int16", "int8", "uint8"):
            low = 0 if kind == "uint8" else -9
            made = np.asarray(self.numpy.integers(low, 10, shape)).astype(kind)
            return self.tensor(made)
        numbers = np.asarray(self.numpy.normal(0, 1.5, shape))
        if self.special:
            odd = np.asarray([np.nan, np.inf, -np.inf, -0.0, 0.0])
            numbers = np.where(
                self.numpy.random(shape) < 0.1, odd[self.numpy.integers(0, 5, shape)], numbers
            )
        made = np.asarray(numbers).astype("float64" if kind == "float64" else "float32")
        found = self.tensor(made)
        if kind in ("float16", "bfloat16"):
            return found.to(getattr(suiren, kind))
        if self.random.random() < 0.3:
            found.requires_grad_()
            self.leaves.append(found)
        return found

    def index(self, shape: tuple[int, ...], size: int) -> suiren.Tensor:
        """Valid indices into a dimension."""
        return self.tensor(np.asarray(self.numpy.integers(0, size, shape)))

    def any(self, *kinds: str) -> suiren.Tensor:
        """A tensor of the program, of one of these types if there is one."""
        r = self.random
        fitting = [t for t in self.tensors if not kinds or str(t.dtype)[6:] in kinds]
        if fitting and r.random() < 0.95:
            return fitting[-1] if r.random() < 0.3 else r.choice(fitting)
        return self.array(self.shape(), r.choice(kinds or TYPES))

    def number(self) -> float:
        return self.random.choice((0.5, -1.0, 2.0, 1.0, 0.0, 3, -2, 1.7))

    def dims(self, x: suiren.Tensor) -> Any:
        r = self.random
        if x.dim() == 0 or r.random() < 0.15:
            return tuple(range(x.dim()))
        return tuple(sorted(r.sample(range(x.dim()), r.randint(1, min(2, x.dim())))))

    def dim(self, x: suiren.Tensor) -> int:
        if x.dim() == 0:
            return 0
        return self.random.randrange(-x.dim(), x.dim())

    # ---- steps

    def run(self) -> None:
        """Records the whole program."""
        r = self.random
        for _ in range(r.randint(1, 3)):
            self.tensors.append(self.array(self.shape(), r.choice(TYPES)))
        for number in range(self.step_count):
            # each step draws on its own, so that one can be left out when a failure is shortened
            self.random = r = random.Random(self.seed * 1000 + number)
            name, step = r.choice(STEPS)
            if number in self.without:
                continue
            try:
                found = step(self)
            except (RuntimeError, ValueError, IndexError, TypeError, NotImplementedError,
                    ZeroDivisionError) as error:
                if "compile" in type(error).__name__.lower():
                    raise
                continue
            made = found if isinstance(found, tuple | list) else [found]
            made = [t for t in made if isinstance(t, suiren.Tensor)]
            if not made or any(t.numel() > 200_000 for t in made):
                continue
            self.lines.append(
                f"{number}: {name} -> "
                + ", ".join(f"{str(t.dtype)[6:]}{list(t.shape)}" for t in made)
            )
            self.tensors += made
        self.random = random.Random(self.seed * 1000 + 999)
        self.finish()

    def finish(self) -> None:
        """A backward pass perhaps; and what is still wanted at the end."""
        r = self.random
        if self.leaves and r.random() < 0.7:
            ends = [
                t for t in self.tensors
                if self.has_history(t) and str(t.dtype)[6:] in FLOATS and t.numel()
            ][-6:]  # fmt: skip
            if ends:
                try:
                    total = sum((t.mean() for t in ends[1:]), ends[0].double().mean())
                    total.backward()
                    self.lines.append(f"backward of {len(ends)} means")
                except RuntimeError:
                    pass
        grads = [t.grad for t in self.leaves if t.grad is not None]
        wanted = [t for t in self.tensors if r.random() < 0.4] + self.tensors[-1:]
        self.tensors = [*wanted, *grads]


    @staticmethod
    def has_history(t: suiren.Tensor) -> bool:
        try:
            return t.requires_grad
        except RuntimeError:  # one of several views whose base was written to
            return False


STEPS: list[tuple[str, Callable[[Generator], Any]]] = []


def step(weight: int = 1, each: tuple = ()):
    """Registers a way to go on (once for each name)."""

    def register(function):
        if each:
            for name in each:
                STEPS.extend(
                    [(f"{name}", lambda g, name=name: function(g, name))] * weight
                )
        else:
            STEPS.extend([(function.__name__, function)] * weight)
        return function

    return register


UNARY = (
    "neg", "abs", "exp", "tanh", "sigmoid", "sin", "cos", "sqrt", "log", "log1p", "expm1", "relu",
    "floor", "ceil", "round", "trunc", "sign", "square", "erf", "rsqrt", "reciprocal", "isnan",
    "logical_not", "atan", "signbit", "isfinite", "frac",
)  # fmt: skip
BINARY = (
    "add", "sub", "mul", "div", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge",
    "logical_and", "logical_or", "atan2", "fmod", "remainder", "bitwise_xor", "hypot",
    "floor_divide",
)  # fmt: skip


@step(1, UNARY)
def unary(g, name):
    x = g.any()
    if name == "signbit":  # NaN has any sign; that of a sum's zero depends on what it begins with
        x = x.nan_to_num().masked_fill(x == 0, 1)
    if name == "exp":
        x = x.clamp(max=4)
    if name in ("sin", "cos"):  # of large numbers they tell nothing
        x = x.clamp(-9, 9)
    return getattr(suiren, name)(x)


@step(1, ("gelu", "silu", "elu", "leaky_relu", "softplus", "hardtanh", "logsigmoid", "mish",
          "hardswish", "selu", "softsign"))  # fmt: skip
def activation(g, name):
    return getattr(suiren.nn.functional, name)(g.any(*FLOATS))


def partner(g, x):
    """Something that broadcasts with a tensor."""
    r = g.random
    kind = r.random()
    if kind < 0.2:
        return g.number()
    if kind < 0.5:
        same = [t for t in g.tensors if t.shape == x.shape]
        if same:
            return r.choice(same)
    if kind < 0.7:
        fitting = [t for t in g.tensors if fits(t.shape, x.shape)]
        if fitting:
            return r.choice(fitting)
    shape = [1 if r.random() < 0.3 else n for n in x.shape][r.choice((0, 0, 0, 1)) :]
    return g.array(tuple(shape), r.choice((str(x.dtype)[6:],) * 3 + TYPES))


def fits(a, b):
    return all(x == y or x == 1 or y == 1 for x, y in zip(a[::-1], b[::-1], strict=False))


@step(2, BINARY)
def binary(g, name):
    x = g.any()
    y = partner(g, x)
    if g.random.random() < 0.3 and isinstance(y, suiren.Tensor):
        x, y = y, x
    if name == "atan2":  # the sign of a sum's zero depends on what it begins with
        x = x.masked_fill(x == 0, 1)
    if name in ("floor_divide", "fmod", "remainder"):  # of integers by zero: an error
        y = suiren.where(y == 0, 1, y) if isinstance(y, suiren.Tensor) else y or 1
    return getattr(suiren, name)(x, y)


@step(2)
def add_with_alpha(g):
    x = g.any(*FLOATS)
    return suiren.add(x, g.any(*FLOATS), alpha=g.number())


@step(3)
def where(g):
    x = g.any()
    return suiren.where(x > 0, x, partner(g, x))


@step(2)
def clamp(g):
    return g.any().clamp(-1, 2)


@step(2)
def power(g):
    x = g.any(*FLOATS)
    exponent = g.random.choice((2, 3, 0.5, -1, 1, 0))
    return (x.abs() + 0.1 if exponent in (0.5, -1) else x) ** exponent


@step(6)
def cast(g):
    return g.any().to(getattr(suiren, g.random.choice(TYPES)))


# ---- views


@step(4)
def reshape(g):
    x = g.any()
    n = x.numel()
    shape = []
    while n > 1 and len(shape) < 4:
        d = g.random.choice([d for d in range(1, n + 1) if n % d == 0][:12])
        shape.append(d)
        n //= d
    shape.append(n)
    g.random.shuffle(shape)
    return x.reshape(shape)


@step(5)
def permute(g):
    x = g.any()
    dims = list(range(x.dim()))
    g.random.shuffle(dims)
    return x.permute(dims)


@step(2)
def transpose(g):
    x = g.any()
    return x.transpose(g.dim(x), g.dim(x))


@step(2)
def expand(g):
    x = g.any()
    shape = [g.random.choice((2, 3)) if n == 1 else n for n in x.shape]
    return x.expand(*([2] if g.random.random() < 0.3 else []), *shape)


@step(2)
def unsqueeze(g):
    x = g.any()
    return x.unsqueeze(g.random.randint(0, x.dim()))


@step(1)
def squeeze(g):
    return g.any().squeeze()


@step(1)
def flatten(g):
    x = g.any()
    return x.flatten(g.random.randint(0, max(0, x.dim() - 1)))


def cut(g, x):
    """An index of slices, numbers and None."""
    r, key = g.random, []
    for n in x.shape:
        kind = r.random()
        if kind < 0.35:
            key.append(slice(None))
        elif kind < 0.8:
            first = r.randint(0, max(0, n - 1))
            key.append(slice(first, r.randint(first, n) or None, r.choice((1, 1, 2, 3))))
        elif n:
            key.append(r.randrange(n))
        if r.random() < 0.1:
            key.append(None)
    return tuple(key)


@step(6)
def subscript(g):
    x = g.any()
    return x[cut(g, x)]


@step(2)
def chunks(g):
    x = g.any()
    return list(x.chunk(g.random.randint(1, 3), g.dim(x)))


@step(1)
def unbind(g):
    x = g.any()
    return list(x.unbind(g.dim(x)))[:4]


@step(2, ("flip", "roll", "tril", "triu", "repeat", "diagonal"))
def moved(g, name):
    x, r = g.any(), g.random
    if name == "flip":
        return x.flip(g.dims(x))
    if name == "roll":
        return x.roll(r.randint(-3, 3), g.dim(x))
    if name == "repeat":
        return x.repeat(*[r.randint(1, 2) for _ in x.shape])
    if name == "diagonal":
        return x.diagonal(r.randint(-1, 1), -2, -1)
    return getattr(x, name)(r.randint(-2, 2))


@step(1)
def unfold(g):
    x = g.any()
    d = g.dim(x)
    n = x.shape[d]
    size = g.random.randint(1, n)
    return x.unfold(d, size, g.random.randint(1, 3))


@step(2)
def pad(g):
    x = g.any()
    sides = [g.random.randint(-1, 2) for _ in range(2 * min(2, x.dim()))]
    return suiren.nn.functional.pad(x, sides, value=g.number())


@step(4, ("cat", "stack"))
def joined(g, name):
    x = g.any()
    others = [t for t in g.tensors if t.shape == x.shape]
    parts = [x, *g.random.choices(others or [x], k=g.random.randint(1, 3))]
    if name == "cat" and x.dim() and g.random.random() < 0.3:
        parts.append(x.narrow(g.dim(x), 0, 1))
    return getattr(suiren, name)(parts, g.dim(x))


# ---- writes


@step(3, ("add_", "mul_", "copy_", "sub_", "fill_"))
def written(g, name):
    x = g.random.choice([t for t in g.tensors if not (t.requires_grad and t.is_leaf)])
    if g.random.random() < 0.6:
        x = x[cut(g, x)]
    if name == "fill_":
        return x.fill_(g.number())
    y = partner(g, x)
    if name == "copy_" and not isinstance(y, suiren.Tensor):
        y = g.array(tuple(x.shape), str(x.dtype)[6:])
    getattr(x, name)(y)
    return x


@step(5)
def assign(g):
    x = g.random.choice([t for t in g.tensors if not (t.requires_grad and t.is_leaf)])
    key = cut(g, x)
    x[key] = partner(g, x[key])
    return x


@step(1)
def masked_fill(g):
    x = g.any()
    return x.masked_fill(g.array(tuple(x.shape), "bool"), g.number())


# ---- reductions


@step(4, ("sum", "mean", "amax", "amin", "var", "std", "logsumexp", "norm"))
def reduced(g, name):
    x = g.any() if name in ("sum", "amax", "amin") else g.any(*FLOATS)
    return getattr(x, name)(dim=g.dims(x), keepdim=g.random.random() < 0.5)


@step(1, ("sum", "mean", "prod", "max", "min", "all", "any", "argmax", "argmin", "std"))
def total(g, name):
    return getattr(suiren, name)(g.any())


@step(1, ("prod", "max", "min", "all", "any", "argmax", "argmin", "cumsum", "cumprod", "softmax",
          "log_softmax", "median", "cummax", "logcumsumexp"))  # fmt: skip
def along(g, name):
    x = g.any(*FLOATS) if g.random.random() < 0.6 else g.any()
    found = getattr(x, name)(dim=g.dim(x))
    return list(found) if isinstance(found, tuple) else found


@step(3, ("softmax", "log_softmax"))
def normal(g, name):
    x = g.any(*FLOATS)
    return getattr(x, name)(dim=g.dim(x))


@step(3)
def layer_norm(g):
    x = g.any(*FLOATS)
    shape = tuple(x.shape[g.random.randint(0, max(0, x.dim() - 1)) :])
    kind = str(x.dtype)[6:]
    weight, bias = (g.array(shape, kind), g.array(shape, kind)) if g.random.random() < 0.5 else (
        None, None)  # fmt: skip
    return suiren.nn.functional.layer_norm(x, shape, weight, bias)


@step(1)
def batch_norm(g):
    x = g.any(*FLOATS)
    n, kind = x.shape[1], str(x.dtype)[6:]
    return suiren.nn.functional.batch_norm(
        x, None, None, g.array((n,), kind), g.array((n,), kind), training=True
    )


@step(2, ("mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits"))
def loss(g, name):
    x = g.any(*FLOATS)
    y = g.array(tuple(x.shape), str(x.dtype)[6:])
    how = g.random.choice(("mean", "sum", "none"))
    return getattr(suiren.nn.functional, name)(x, y, reduction=how)


@step(2)
def cross_entropy(g):
    x = g.any(*FLOATS)
    target = g.index((x.shape[0], *x.shape[2:]), x.shape[1])
    how = g.random.choice(("mean", "sum", "none"))
    return suiren.nn.functional.cross_entropy(
        x, target, reduction=how, label_smoothing=g.random.choice((0.0, 0.1))
    )


# ---- products


@step(6)
def matmul(g):
    x, r = g.any(*FLOATS), g.random
    k, kind = x.shape[-1], str(x.dtype)[6:]
    fitting = [t for t in g.tensors if t.dtype == x.dtype and t.dim() >= 2 and t.shape[-2] == k]
    if fitting and r.random() < 0.5:
        return x @ r.choice(fitting)
    shape = r.choice(((k,), (k, g.size()), (k, g.size()), (*x.shape[:-2], k, r.randint(1, 9))))
    y = g.array(shape, kind)
    if r.random() < 0.3 and len(shape) >= 2:
        y = g.array((*shape[:-2], shape[-1], shape[-2]), kind).mT
    return x @ y


@step(3)
def linear(g):
    x = g.any(*FLOATS)
    n, kind = g.random.choice((1, 3, 8, 10, 32)), str(x.dtype)[6:]
    found = suiren.nn.functional.linear(x, g.array((n, x.shape[-1]), kind), g.array((n,), kind))
    return found.relu() if g.random.random() < 0.4 else found


@step(1)
def squared(g):
    x = g.any(*FLOATS)
    return x.mT @ x


@step(1)
def outer(g):
    return suiren.outer(g.any(*FLOATS).flatten()[:50], g.any(*FLOATS).flatten()[:40])


@step(1)
def einsum(g):
    x = g.any(*FLOATS)
    return suiren.einsum("ij,kj->ik", x, g.array((g.size(), x.shape[1]), str(x.dtype)[6:]))


def weights(g, shape, kind):
    """Finite: products with the zeros around a picture may be left out."""
    saved, g.special = g.special, False
    found = g.array(shape, kind)
    g.special = saved
    return found


def image(g):
    """Small pictures [N, C, H, W] of the program, or new ones."""
    fitting = [
        t for t in g.tensors
        if t.dim() == 4 and str(t.dtype)[6:] in FLOATS and min(t.shape) > 0 and t.shape[1] < 40
    ]  # fmt: skip
    if fitting and g.random.random() < 0.6:
        return g.random.choice(fitting)
    r = g.random
    shape = (r.randint(1, 3), r.choice((1, 2, 3, 4, 8, 16, 20)), r.randint(1, 9), r.randint(3, 17))
    return g.array(shape, r.choice(FLOATS))


@step(5)
def conv2d(g):
    x, r = image(g), g.random
    kind, channels = str(x.dtype)[6:], x.shape[1]
    groups = r.choice([n for n in (1, 1, 1, 2, channels) if channels % n == 0])
    out = groups * r.choice((1, 2, 3, 8, 16))
    kernel = [r.randint(1, min(4, n)) for n in x.shape[2:]]
    weight = weights(g, (out, channels // groups, *kernel), kind)
    bias = g.array((out,), kind) if r.random() < 0.5 else None
    found = suiren.nn.functional.conv2d(
        x, weight, bias, r.choice((1, 1, 2, (2, 1))), r.choice((0, 1, 2, (0, 1))),
        r.choice((1, 1, 1, 2)), groups,
    )  # fmt: skip
    return found.relu() if r.random() < 0.4 else found


@step(1)
def conv1d(g):
    x = image(g).flatten(2)
    weight = weights(g, (g.random.choice((1, 4, 9)), x.shape[1], 3), str(x.dtype)[6:])
    return suiren.nn.functional.conv1d(x, weight, padding=g.random.choice((0, 1)))


@step(1)
def conv_transpose2d(g):
    x = image(g)
    weight = weights(g, (x.shape[1], g.random.randint(1, 5), 3, 2), str(x.dtype)[6:])
    return suiren.nn.functional.conv_transpose2d(x, weight, stride=g.random.choice((1, 2)))


@step(2, ("max_pool2d", "avg_pool2d"))
def pooled(g, name):
    x, r = image(g), g.random
    size = [min(r.choice((1, 2, 3)), n) for n in x.shape[2:]]
    padding = [r.choice((0, 0, n // 2)) for n in size]
    return getattr(suiren.nn.functional, name)(x, size, r.choice((None, 1, 2)), padding)


@step(1)
def picture_norm(g):
    x = image(g)
    n, kind = x.shape[1], str(x.dtype)[6:]
    return suiren.nn.functional.batch_norm(
        x, None, None, g.array((n,), kind), g.array((n,), kind), training=True
    )


# ---- by index


@step(3)
def gather(g):
    x = g.any()
    d = g.dim(x)
    shape = [n if g.random.random() < 0.7 else g.random.randint(0, n) for n in x.shape]
    shape[d] = g.random.randint(1, 6)
    return x.gather(d, g.index(tuple(shape), x.shape[d]))


@step(3)
def index_select(g):
    x = g.any()
    d = g.dim(x)
    return x.index_select(d, g.index((g.random.randint(1, 9),), x.shape[d]))


@step(2)
def take_rows(g):
    x = g.any()
    return x[g.index(g.shape(2), x.shape[0])]


@step(2)
def embedding(g):
    x = g.any(*FLOATS)
    return suiren.nn.functional.embedding(g.index(g.shape(2), x.shape[0]), x)


@step(1, ("scatter_add", "index_add", "scatter", "one_hot", "arange"))
def placed(g, name):
    x, r = g.any(), g.random
    if name == "arange":
        return suiren.arange(r.randint(1, 30)) * r.choice((1, 0.5))
    if name == "one_hot":
        return suiren.nn.functional.one_hot(g.index((g.size(),), 5), 5)
    d = g.dim(x)
    if name == "index_add":
        index = g.index((4,), x.shape[d])
        shape = list(x.shape)
        shape[d] = 4
        return x.index_add(d, index, g.array(tuple(shape), str(x.dtype)[6:]))
    smaller = [n if r.random() < 0.7 else r.randint(0, n) for n in x.shape]
    index = g.index(tuple(x.shape if name == "scatter" else smaller), x.shape[d])
    if name == "scatter":  # equal indices: any may win
        index = suiren.zeros_like(index) + suiren.arange(x.shape[d]).view(
            *[-1 if i == d % x.dim() else 1 for i in range(x.dim())]
        )
    return getattr(x, name)(d, index, g.array(tuple(x.shape), str(x.dtype)[6:]))


@step(1)
def zeros_and_ones(g):
    return [suiren.zeros(g.shape()), suiren.ones_like(g.any())]


# ---- offline


def attempt(seed: int, steps: int | None = None, without: frozenset[int] = frozenset()):
    """Generates and computes one program; the generator, and what went wrong (or None)."""
    from suiren.trace import recorder

    made = Generator(seed, steps, without)
    try:
        made.run()
        recorder.flush()
        problem = None
    except Exception as error:
        problem = error
    return made, problem


def signature(problem: Exception) -> str:
    """What kind of failure it is: shortening must not turn one into another."""
    frames = [
        f"{Path(f.filename).name}:{f.name}" for f in traceback.extract_tb(problem.__traceback__)
    ]
    return f"{type(problem).__name__} in {frames[-1]}"


def shorten(seed: int, kind: str) -> frozenset[int]:
    """The steps that can be left out of the program of this seed: it fails in the same way."""
    left_out: frozenset[int] = frozenset()
    count = Generator(seed).step_count
    size = max(1, count // 2)
    while size:
        for first in range(0, count, size):
            tried = left_out | frozenset(range(first, min(count, first + size)))
            if tried == left_out:
                continue
            _, found = attempt(seed, None, tried)
            if found is not None and signature(found) == kind:
                left_out = tried
        size //= 2
    return left_out


def main(arguments: list[str]) -> None:
    """See the module's text."""
    import collections
    import time
    import warnings

    sys.path.insert(0, str(Path(__file__).parent))
    from compiling import compiling, small_tasks

    warnings.simplefilter("ignore")
    if arguments[0] == "--show":
        seed, left_out = int(arguments[1]), frozenset()
        work = 300 if seed % 3 == 0 else 200_000
        with compiling(), small_tasks(work):
            made, problem = attempt(seed)
            if problem is not None and "--whole" not in arguments:
                left_out = shorten(seed, signature(problem))
        del made
        with compiling() as programs, small_tasks(work):
            made, problem = attempt(seed, None, left_out)
            print("\n".join(made.lines))
            if programs:
                print(programs[-1].graph, programs[-1].fusion.groups, sep="\n")
            if problem is not None:
                traceback.print_exception(problem)
        return
    kinds: collections.Counter[str] = collections.Counter()
    examples: dict[str, list[int]] = {}
    host: collections.Counter[str] = collections.Counter()
    began, entries = time.perf_counter(), 0
    first, last = int(arguments[0]), int(arguments[1])
    for seed in range(first, last):
        with compiling() as programs, small_tasks(300 if seed % 3 == 0 else 200_000):
            made, problem = attempt(seed)
            for native in programs:
                entries += len(native.graph.nodes)
                for segment in native.segments:
                    if not isinstance(segment, tuple):
                        host[segment.operator.name] += 1
        del programs
        if seed % 500 == 499:
            print(f"... {seed + 1}", flush=True)
        if problem is not None:
            kind = signature(problem)
            kinds[kind] += 1
            if kinds[kind] <= 5:
                print(f"seed {seed}: {kind}: {str(problem)[:300]}", flush=True)
            examples.setdefault(kind, []).append(seed)
    took = time.perf_counter() - began
    print(f"{last - first} programs, {entries} nodes, {sum(kinds.values())} failed, {took:.0f} s")
    for kind, count in kinds.most_common():
        print(f"  {count:5} {kind}, seeds {examples[kind][:8]}")
    print(f"  on the host: {host.most_common(30)}")


if __name__ == "__main__":
    main(sys.argv[1:])
