"""Ranges: arange, linspace, logspace, and the identity. Source: PyTorch's "Creation Ops" list."""

from __future__ import annotations

from math import ceil, isfinite
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.device import META, device
from suiren.dispatch import apply
from suiren.dtypes import dtype
from suiren.operator import composite, operator
from suiren.ops.creation import options
from suiren.ops.lowering import is_number
from suiren.tensor import Tensor
from suiren.trace import meta


def _number(x: Any, name: str) -> Any:
    if isinstance(x, Tensor):
        return x.item()
    if isinstance(x, np.generic):
        return x.item()
    if x.__class__ not in dtypes.PYTHON_NUMBERS:
        raise TypeError(f"{name}(): argument must be Number, not {type(x).__name__}")
    return x


@composite(where=("torch",))
def arange(*bounds, start=0, end=None, step=1, dtype=None, layout=None, device=None,
           requires_grad=False, pin_memory=False):  # fmt: skip
    """Numbers from ``start`` to before ``end``, ``step`` apart: ``arange(start, end, step)``.

    int64 if all three are whole numbers, else the default dtype. Raises RuntimeError for a zero
    step or bounds that the step leads away from. Source: torch.arange.

    >>> import suiren as torch
    >>> torch.arange(1, 2.5, 0.5)
    tensor([1.0000, 1.5000, 2.0000])
    """
    if len(bounds) == 1 and end is None:
        end = bounds[0]
    elif len(bounds) == 1:
        start = bounds[0]
    elif bounds:
        start, end, step = (*bounds, step)[:3]
    if end is None or len(bounds) > 3:
        raise TypeError("arange() takes (end), (start, end) or (start, end, step)")
    start, end, step = (_number(x, "arange") for x in (start, end, step))
    if any(isinstance(x, complex) for x in (start, end, step)):
        raise RuntimeError("arange() takes real numbers, got a complex one")
    whole = not any(isinstance(x, float) for x in (start, end, step))
    kind = dtype
    if kind is None:
        kind = dtypes.int64 if whole else dtypes.get_default_dtype()
    _, where = options(kind, device, layout)
    if kind.is_complex or kind is dtypes.bool:
        raise NotImplementedError(f'"arange_cpu" not implemented for {kind.letter_name!r}')
    _check_range(start, end, step)
    if kind.category == dtypes.INTEGER:
        start, end, step = int(start), int(end), int(step)
        _check_range(start, end, step)
    return _range(kind, start, step, _range_length(start, end, step), requires_grad, where)


def _range_length(start, end, step) -> int:
    if isinstance(start, int) and isinstance(end, int) and isinstance(step, int):
        return max(-((start - end) // step), 0)
    return max(ceil((end - start) / step), 0)


def _check_range(start, end, step) -> None:
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (isfinite(start) and isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (step > 0) != (end >= start) and start != end:
        raise RuntimeError(
            f"upper bound and lower bound inconsistent with step sign: {start} to {end} by {step}"
        )


def _range(
    kind: dtype, start: Any, step: Any, count: int, requires_grad: bool, where: device
) -> Tensor:  # fmt: skip
    if kind.category == dtypes.INTEGER:
        start, step = _wrapped(int(start), kind), _wrapped(int(step), kind)
    result = apply(ranged.operator, (start, step), (meta((count,), kind, where),))
    if requires_grad:
        result.requires_grad_()
    return result


def _wrapped(x: int, kind: dtype) -> int:
    return int(np.array(x, np.int64 if x < 2**63 else np.uint64).astype(kind.numpy))


def _real_range(start: float, step: float, count: int, kind: np.dtype) -> np.ndarray:
    """``start + i * step`` as PyTorch's vector code rounds it, found by experiment.

    Products and sums are fused (one rounding in double; extended precision does the same here). In
    float32 a run of eight starts from a number rounded to float32, and what is left over after
    runs of sixteen is computed one by one. Zero in ``arange(-8, 8, 0.1)`` comes out as 4.4e-16
    then, and the gradient of relu there depends on it.
    """
    first, by = np.longdouble(start), np.longdouble(step)
    at = np.arange(count)
    found = (first + at * by).astype(np.float64).astype(kind)
    whole = count - count % 16
    if kind == np.float32 and whole:
        lane = at[:whole] % 8
        base = found[:whole:8].repeat(8).astype(np.longdouble)
        found[:whole] = (base + lane * by).astype(np.float64)
    return found


@operator(where=(), name="arange")
class ranged:
    """``start + i * step``; start and step are run-time inputs."""

    tensors = 2

    def call(start, step, m):
        return apply(ranged.operator, (start, step), (m,))

    def infer(start, step, m):
        return m

    def evaluate(start, step, m):
        kind = m.dtype.numpy
        if m.dtype.category == dtypes.INTEGER:
            found = np.arange(m.shape[0], dtype=np.int64) * np.int64(step) + np.int64(start)
            return found.astype(kind)
        return _real_range(float(start), float(step), m.shape[0], kind)

    def decompose(g, start, step, m):
        if m.dtype is dtypes.bool or not m.numel:
            raise g.NotNative("a range of truth values or of nothing")
        if not all(is_number(x) and x.dtype is dtypes.int64 for x in (start, step)):
            raise g.NotNative("steps that are no whole numbers are rounded in a way of their own")
        return (g.iota(m.shape, 0) * step + start).cast(m.dtype)


@composite(name="range", where=("torch",))
def range_(start=0, end=None, step=1, *, dtype=None, layout=None, device=None, requires_grad=False,
           pin_memory=False):  # fmt: skip
    """Numbers from ``start`` up to and including ``end``. Source: torch.range (deprecated)."""
    if end is None:
        start, end = 0, start
    kind, where = options(dtype, device, layout)
    start, end, step = (_number(x, "range") for x in (start, end, step))
    _check_range(start, end, step)
    count = int((end - start) / step) + 1
    return _range(kind, start, step, count, requires_grad, where)


def _steps(steps: Any, name: str) -> int:
    if isinstance(steps, Tensor):
        steps = steps.item()
    if not hasattr(steps, "__index__"):
        raise TypeError(f"{name}(): argument 'steps' must be int, not {type(steps).__name__}")
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    return steps.__index__()


def _ends(
    start: Any, end: Any, kind: dtype | None, place: Any, name: str
) -> tuple[Any, Any, dtype, Any]:  # fmt: skip
    """The ends as numbers, the dtype, and the device: that of ends without data if not given."""
    for x in (start, end):
        if isinstance(x, Tensor) and x._meta.ndim:
            raise RuntimeError(
                f"{name} only supports 0-dimensional start and end tensors, but got "
                f"{x._meta.ndim} dimension(s)"
            )
        if isinstance(x, Tensor) and x._meta.device is META and place is None:
            place = META
    start, end = [_end(x, name) for x in (start, end)]
    complex_ends = isinstance(start, complex) or isinstance(end, complex)
    if kind is None:
        kind = dtypes.default_complex() if complex_ends else dtypes.get_default_dtype()
    elif complex_ends and not kind.is_complex:
        raise RuntimeError(
            f"{name}(): inferred dtype is complex because an end is, and can't be safely cast to "
            f"passed dtype {kind}"
        )
    return start, end, kind, place


def _end(x: Any, name: str) -> Any:
    if isinstance(x, Tensor) and x._meta.device is META:
        return 0j if x._meta.dtype.is_complex else 0.0
    return _number(x, name)


@operator(where=(), name="linspace")
class spaced:
    """Evenly spaced numbers; the first half counted from the start, the second from the end."""

    tensors = 2

    def call(start, end, m):
        return apply(spaced.operator, (start, end), (m,))

    def infer(start, end, m):
        return m

    def evaluate(start, end, m):
        return _spaced(start, end, m.shape[0], m.dtype).astype(m.dtype.numpy)

    def decompose(g, start, end, m):
        if m.dtype.category != dtypes.FLOATING or not m.numel:
            raise g.NotNative("whole numbers, or none at all")
        kind = dtypes.float32 if m.dtype.is_half else m.dtype
        steps = m.shape[0]
        start, end = start.cast(kind), end.cast(kind)
        if steps == 1:
            return start.expand(1).cast(m.dtype)
        step = (end - start) / (steps - 1)
        at = g.iota(m.shape, 0)
        low = start + step * at.cast(kind)
        high = end - step * (steps - 1 - at).cast(kind)
        return g.where(at < steps // 2, low, high).cast(m.dtype)


def _spaced(start: Any, end: Any, steps: int, kind: dtype) -> np.ndarray:
    if kind.category == dtypes.INTEGER:
        start, end = int(start), int(end)
        real: Any = np.float32
    else:
        real = np.float32 if kind.is_half else kind.numpy
    at = np.arange(steps)
    one = np.dtype(real).type
    step = (one(end) - one(start)) / one(max(steps - 1, 1))
    low = one(start) + step * at.astype(real)
    high = one(end) - step * (steps - 1 - at).astype(real)
    found = np.where(at < steps // 2, low, high)
    if steps == 1:
        found[0] = start
    return np.trunc(found).astype(np.int64) if kind.category == dtypes.INTEGER else found


@composite(where=("torch",))
def linspace(start, end, steps, *, dtype=None, layout=None, device=None, requires_grad=False,
             pin_memory=False):  # fmt: skip
    """``steps`` numbers from ``start`` to ``end``, both included. Source: torch.linspace.

    >>> import suiren as torch
    >>> torch.linspace(0, 1, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    start, end, kind, device = _ends(start, end, dtype, device, "linspace")
    wanted = meta((_steps(steps, "linspace"),), *options(kind, device, layout))
    result = apply(spaced.operator, (start, end), (wanted,))
    return result.requires_grad_() if requires_grad else result


@operator(where=(), name="logspace")
class log_spaced:
    """``base`` to the power of evenly spaced numbers."""

    tensors = 3

    def call(start, end, base, m):
        return apply(log_spaced.operator, (start, end, base), (m,))

    def infer(start, end, base, m):
        return m

    def evaluate(start, end, base, m):
        kind = m.dtype
        if kind.category == dtypes.INTEGER:
            power = _spaced(float(start), float(end), m.shape[0], dtypes.float64)
            return np.trunc(np.power(float(base), power)).astype(np.int64).astype(kind.numpy)
        power = _spaced(start, end, m.shape[0], kind)
        return np.power(np.array(base, power.dtype), power).astype(kind.numpy)


@composite(where=("torch",))
def logspace(start, end, steps, base=10.0, *, dtype=None, layout=None, device=None,
             requires_grad=False, pin_memory=False):  # fmt: skip
    """``base`` to the powers ``linspace(start, end, steps)``. Source: torch.logspace."""
    start, end, kind, device = _ends(start, end, dtype, device, "logspace")
    wanted = meta((_steps(steps, "logspace"),), *options(kind, device, layout))
    result = apply(log_spaced.operator, (start, end, _number(base, "logspace")), (wanted,))
    return result.requires_grad_() if requires_grad else result


@operator(where=(), name="eye")
class identity:
    """Ones on the diagonal of zeros."""

    tensors = 0

    def call(m):
        return apply(identity.operator, (), (m,))

    def infer(m):
        return m

    def evaluate(m):
        return np.eye(*m.shape, dtype=m.dtype.numpy)

    def decompose(g, m):
        here = g.iota(m.shape, 0).eq(g.iota(m.shape, 1))
        return here.cast(m.dtype)


@composite(where=("torch",))
def eye(n, m=None, *, dtype=None, layout=None, device=None, requires_grad=False,
        pin_memory=False):  # fmt: skip
    """Ones on the main diagonal of an n by m matrix of zeros. Source: torch.eye.

    >>> import suiren as torch
    >>> torch.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    kind, where = options(dtype, device, layout)
    for size, name in ((n, "n"), (m, "m")):
        if size is not None and not hasattr(size, "__index__"):
            raise TypeError(f"eye(): argument '{name}' must be int, not {type(size).__name__}")
        if size is not None and size < 0:
            raise RuntimeError(f"{name} must be greater or equal to 0, got {size}")
    wanted = meta((int(n), int(n if m is None else m)), kind, where)
    result = apply(identity.operator, (), (wanted,))
    return result.requires_grad_() if requires_grad else result
