"""From a call of an operator to an entry in the trace and a node in the graph.

:func:`apply` is the path that every recorded operation takes: find the inferred result (by
identity of the inputs' Metas), record, wrap, connect to autograd if an input requires it. A few
lines of Python that run millions of times: ``benchmarks/recording.py`` measures them.
"""

from __future__ import annotations

from typing import Any

from suiren.autograd.graph import connect, refresh_history
from suiren.autograd.mode import mode
from suiren.operator import Operator, WithoutData
from suiren.storage import Storage
from suiren.tensor import Tensor, inferring, value_of
from suiren.trace import Meta, Value
from suiren.trace.recorder import local
from suiren.trace.value import observed

_new = object.__new__


def apply(operator: Operator, inputs: tuple, attributes: tuple = ()) -> Any:
    """Records ``operator`` and returns its result (a tuple if it has several).

    ``inputs`` are tensors, Python numbers (run-time inputs of the program) or None; attributes are
    hashable and constant. Types and shapes must have been made to fit by the caller.
    """
    metas: Any = []
    values: Any = []
    differentiate = False
    for x in inputs:
        if isinstance(x, Tensor):
            view = x._view
            if view is None:
                value = x._storage.value
                if value is None:
                    value = x._storage.read_pinned()
            else:
                if view.epoch != view.base._epoch:
                    refresh_history(x)
                value = view.read(x._storage)
            metas.append(x._meta)
            values.append(value)
            if x._requires_grad:
                differentiate = True
        else:
            metas.append(x.__class__)
            values.append(x)
    metas = tuple(metas)
    meta = operator.plans.get((metas, attributes))
    if meta.__class__ is not Meta:
        if meta is None:
            meta = operator.plan(metas, attributes)
        if meta.__class__ is Casts:
            return apply(operator, meta.of(inputs), attributes)
        if meta.__class__ is tuple:
            return _several(operator, inputs, attributes, metas, values, meta, differentiate)
        if meta.__class__ is WithoutData:
            return _without_data(operator, inputs, attributes, metas, meta.found, differentiate)
    result = _new(Tensor)
    result._meta = meta
    result._storage = storage = _new(Storage)
    storage.meta = meta
    storage.value = local.trace.record(operator, attributes, values, meta.flat)
    if differentiate and mode.grad and operator.differentiable:
        connect(operator, attributes, inputs, metas, (result,))
    if inferring and mode.inference:
        result._inference = True
    return result


class Casts:
    """What ``infer`` answers when arguments must be converted before the operator applies."""

    __slots__ = ("dtypes",)

    def __init__(self, dtypes: tuple):
        self.dtypes = dtypes  # one for each argument; None: as it is

    def of(self, inputs: tuple) -> tuple:
        """The arguments, converted."""
        return tuple(
            [
                x if dtype is None else x.to(dtype)
                for x, dtype in zip(inputs, self.dtypes, strict=True)
            ]
        )


def _several(operator, inputs, attributes, metas, values, found, differentiate):
    flat = tuple([meta.flat for meta in found])
    recorded = local.trace.record_many(operator, attributes, values, flat)
    return _wrapped(operator, inputs, attributes, metas, recorded, found, differentiate)


def _without_data(operator, inputs, attributes, metas, found, differentiate):
    observed[0] += 1  # whoever watches what is recorded does not see this
    several = found if found.__class__ is tuple else (found,)
    values = [Value(meta.flat) for meta in several]
    results = _wrapped(operator, inputs, attributes, metas, values, several, differentiate)
    return results if several is found else results[0]


def _wrapped(operator, inputs, attributes, metas, recorded, found, differentiate):
    results = []
    for value, meta in zip(recorded, found, strict=True):
        result = _new(Tensor)
        result._meta = meta
        result._storage = Storage(value, meta)
        results.append(result)
    if differentiate and mode.grad and operator.differentiable:
        connect(operator, attributes, inputs, metas, tuple(results))
    if inferring and mode.inference:
        for result in results:
            result._inference = True
    return tuple(results)


__all__ = ["apply", "value_of"]
