"""Whole updates as one operator each: SGD and Adam over plain parameters.

The algorithms in ``sgd.py`` and ``adam.py`` are written with in-place tensor operations, each of
which costs microseconds to record, for each parameter at each step. For parameters that are plain
(dense, of float32 or float64, no views, memory not shared) the update is recorded as one entry a
parameter instead, and all entries of a group at once (:func:`update`). The operators below compute
exactly what those operations compute, in the same order and with the same rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from suiren import dtypes
from suiren.device import META
from suiren.dispatch import apply
from suiren.operator import Operator, operator
from suiren.tensor import Tensor
from suiren.trace import Meta
from suiren.trace.recorder import local
from suiren.trace.segment import Segment

# Written tensors of a row, by place, with the number of times that the operation counts as a write.
Written = Sequence[tuple[int, int]]
MAX_SEGMENTS = 256
_segments: dict[tuple, Segment] = {}


def update(
    step: Any,
    attributes: tuple,
    rows: Sequence[Sequence[Tensor]],
    numbers: Sequence[float | None],
    written: Written,
) -> bool:
    """Records the operator ``step`` of ``(*row, *numbers, *attributes)`` for each row.

    The results are written to the places ``written`` of the row. False, and nothing is done, unless
    all tensors are plain and all of them different.
    """
    if not rows:
        return True
    record: Operator = step.operator
    values: list[Any] = []
    storages = set()
    metas = []
    for row in rows:
        meta = row[0]._meta
        if meta.dtype is not dtypes.float32 and meta.dtype is not dtypes.float64:
            return False
        metas.append(meta)
        for tensor in row:
            storage = tensor._storage
            value = storage.value
            if (
                tensor._view is not None or value is None or tensor._inference
                or tensor._meta is not meta and tensor._meta.flat is not meta.flat
            ):  # fmt: skip
                return False
            values.append(value)
            storages.add(storage)
    if len(storages) != len(values):
        return False
    values += [x if x is None or x.__class__ is int else float(x) for x in numbers]
    key = record, attributes, len(written), tuple(metas)
    segment = _segments.get(key)
    if segment is None:
        if len(_segments) >= MAX_SEGMENTS:
            _segments.clear()
        if any(meta.device is META for meta in metas):
            return False  # there is nothing to record
        segment = _segments[key] = _segment(
            record, attributes, metas, len(rows[0]), len(numbers), len(written)
        )
    made = iter(local.trace.record_segment(segment, values))
    for row in rows:
        for place, times in written:
            tensor = row[place]
            tensor._storage.write(next(made))
            (tensor._counter or tensor._storage).version += times
    return True


def _segment(
    record: Operator, attributes: tuple, metas: Sequence[Meta], width: int, numbers: int,
    results: int,
) -> Segment:  # fmt: skip
    first = len(metas) * width
    shared = range(first, first + numbers)
    entries = [
        (record, attributes, (*range(i * width, (i + 1) * width), *shared), (meta.flat,) * results)
        for i, meta in enumerate(metas)
    ]
    return Segment(entries, first + numbers, range(len(metas) * results))


# --------------------------------------------------------------------------
# The operators. ``decompose`` says the same in the compiler's terms.


@operator(where=(), name="sgd_step")
class sgd_step:
    """``param - lr * (grad + weight_decay * param)``; ``scale`` is -lr."""

    tensors = 4

    def call(param, grad, scale, weight_decay=None):
        return apply(sgd_step.operator, (param, grad, scale, weight_decay))

    def infer(param, grad, scale, weight_decay):
        return param

    def evaluate(param, grad, scale, weight_decay):
        return param + _with_decay(grad, param, weight_decay) * scale

    def decompose(g, param, grad, scale, weight_decay):
        return param + _with_decay(grad, param, weight_decay) * scale


@operator(where=(), name="sgd_momentum_step")
class sgd_momentum_step:
    """SGD with momentum: the new parameter and the new buffer."""

    tensors = 7
    results = 2

    def call(*arguments):
        return apply(sgd_momentum_step.operator, arguments[:7], arguments[7:])

    def infer(param, grad, buffer, scale, weight_decay, momentum, weight, nesterov):
        return param, buffer

    def evaluate(param, grad, buffer, scale, weight_decay, momentum, weight, nesterov):
        grad = _with_decay(grad, param, weight_decay)
        buffer = buffer * momentum + (grad if weight is None else grad * weight)
        step = grad + buffer * momentum if nesterov else buffer
        return param + step * scale, buffer

    def decompose(g, *arguments):
        return sgd_momentum_step.operator.evaluate(*arguments)


@operator(where=(), name="adam_step")
class adam_step:
    """Adam: the new parameter and the new averages of the gradient and of its square.

    ``rest`` is 1 - beta2, ``correction`` and ``scale`` are what the count of steps makes of the
    root and of the learning rate. ``decoupled``: ``decay`` is the factor of the parameter, else
    that of the parameter in the gradient. ``near``: ``weight`` is 1 - beta1, else beta1.
    """

    tensors = 11
    results = 3

    def call(*arguments):
        return apply(adam_step.operator, arguments[:11], arguments[11:])

    def infer(param, *others):
        return (param,) * 3

    def evaluate(
        param, grad, mean, square, decay, weight, beta2, rest, correction, eps, scale,
        decoupled, near,
    ):  # fmt: skip
        param, grad = _decayed(param, grad, decay, decoupled)
        mean = _towards(mean, grad, weight, near)
        square = square * beta2 + rest * grad * grad
        divisor = np.sqrt(square) / correction + eps
        return param + scale * mean / divisor, mean, square

    def decompose(
        g, param, grad, mean, square, decay, weight, beta2, rest, correction, eps, scale,
        decoupled, near,
    ):  # fmt: skip
        param, grad = _decayed(param, grad, decay, decoupled)
        mean = _towards(mean, grad, weight, near)
        square = square * beta2 + rest * grad * grad
        divisor = square.sqrt() / correction + eps
        return param + scale * mean / divisor, mean, square


@operator(where=(), name="amsgrad_step")
class amsgrad_step:
    """The same with the largest square so far in the divisor: it is the fourth result."""

    tensors = 12
    results = 4

    def call(*arguments):
        return apply(amsgrad_step.operator, arguments[:12], arguments[12:])

    def infer(param, *others):
        return (param,) * 4

    def evaluate(
        param, grad, mean, square, largest, decay, weight, beta2, rest, correction, eps, scale,
        decoupled, near,
    ):  # fmt: skip
        param, grad = _decayed(param, grad, decay, decoupled)
        mean = _towards(mean, grad, weight, near)
        square = square * beta2 + rest * grad * grad
        largest = np.maximum(largest, square)
        divisor = np.sqrt(largest) / correction + eps
        return param + scale * mean / divisor, mean, square, largest

    def decompose(
        g, param, grad, mean, square, largest, decay, weight, beta2, rest, correction, eps, scale,
        decoupled, near,
    ):  # fmt: skip
        param, grad = _decayed(param, grad, decay, decoupled)
        mean = _towards(mean, grad, weight, near)
        square = square * beta2 + rest * grad * grad
        largest = largest.max(square)
        divisor = largest.sqrt() / correction + eps
        return param + scale * mean / divisor, mean, square, largest


def _decayed(param: Any, grad: Any, decay: Any, decoupled: bool) -> tuple[Any, Any]:
    return (param * decay, grad) if decoupled else (param, _with_decay(grad, param, decay))


def _towards(mean: Any, grad: Any, weight: Any, near: bool) -> Any:
    # as torch.lerp goes from one to the other, counting from the nearer of them
    step = grad - mean
    return mean + weight * step if near else grad - step * weight


def _with_decay(grad: Any, param: Any, weight_decay: Any) -> Any:
    return grad if weight_decay is None else grad + param * weight_decay


__all__ = ["adam_step", "amsgrad_step", "sgd_momentum_step", "sgd_step", "update"]
