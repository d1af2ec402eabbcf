"""SUIREN_CHECK=1: every run of a compiled program beside the interpreter's.

The two add up in different orders, so that floating results may differ by rounding: what is
compared is the difference against the size of the numbers and of what they were computed from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from suiren.compiler.operands import with_ancestors
from suiren.interpreter.executor import Interpretation

# relative to the largest element, by dtype: sums of many terms lose more than single operations
TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "float16": 2e-2, "bfloat16": 1e-1}

# ... and relative to the largest input, where it is more
ROUNDING = {"float64": 2e-15, "float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}
EPSILON = {"float64": 4e-16, "float32": 2e-7, "float16": 1e-3, "bfloat16": 8e-3}

NOISY_RUNS = 20  # at most

# what becomes of convolutions (compiler/convolution.py)
CONVOLUTIONS = ("convolve", "winograd", "depthwise", "correlate", "depthwise_sums")


def run_checked(program: Any, inputs: list[tuple[int, Any]], own: bool) -> tuple[list[Any], Any]:
    """The compiled program's buffers; raises AssertionError where the interpreter's differ."""
    expected, error = program.interpretation.run(list(inputs), True)
    if error is not None:
        inputs.clear()
        return expected, error
    given = [(slot, np.array(getattr(what, "buffer", what))) for slot, what in inputs]
    given = [
        (slot, array if hasattr(what, "buffer") else what)
        for (slot, array), (_, what) in zip(given, inputs, strict=True)
    ]
    size = _size([what for _, what in given])
    try:
        found, interrupt = program.native.run(inputs, own)
    except Exception as raised:
        if program.native.failed_check(raised):
            return program.interpretation.run(inputs, own)
        raise
    numbers = [what for _, what in given] + expected
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        problem = difference(a, b, size)
        node = program.native.graph.outputs[number]
        if problem and (_convolves_infinities(node, numbers) or _overflows(node, a, b)):
            problem = ""
        if problem and b.dtype.name in TOLERANCE:
            kind = _coarsest(node)
            problem = difference(a, b, size, kind)
            if problem and _is_unsteady(program, given, number, kind, a, b):
                problem = ""
        elif problem and _is_undecided(program, given, number, _coarsest(node), a, b):
            problem = ""
        if problem:
            raise AssertionError(
                f"compiled and interpreted differ in result {number} "
                f"({node}): {problem}\n{program.native.graph}"
            )
    return found, interrupt


def _convolves_infinities(node: Any, numbers: list[Any]) -> bool:
    """Whether this came out of a convolution, and there are ``numbers`` that are not finite.

    Compiled ones multiply by zeros that the interpreter leaves out, which makes infinities NaN.
    """
    if not any(x.op in CONVOLUTIONS for x in with_ancestors([node])):
        return False
    arrays = [np.asarray(x) for x in numbers]
    return not all(np.isfinite(x).all() for x in arrays if x.dtype.name in TOLERANCE)


def _overflows(node: Any, found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a product of many numbers went into this, and all that differs is 0, inf or NaN.

    Such products are multiplied in another order; on the way one may leave the range of its type,
    and then be multiplied by zero.
    """
    products = (x for x in with_ancestors([node]) if x.op in ("reduce", "scan", "scatter"))
    if found.dtype.name not in TOLERANCE or not any("prod" in x.attributes for x in products):
        return False
    a, b = found.astype(np.float64), expected.astype(np.float64)
    lost = [~np.isfinite(x) | (x == 0) for x in (a, b)]
    return bool(np.all(_same(a, b) | lost[0] & lost[1]))


def _size(inputs: list[Any]) -> float:
    """The largest finite number among the inputs."""
    found = 0.0
    for x in inputs:
        array = np.asarray(x)
        if array.dtype.name in TOLERANCE and array.size:
            numbers = np.abs(array.astype(np.float64))
            found = max(found, float(np.max(numbers, initial=0, where=np.isfinite(numbers))))
    return found or 1.0


def _is_unsteady(
    program: Any, given: list[Any], number: int, kind: str, found: np.ndarray, expected: np.ndarray
) -> bool:
    """Whether inputs and intermediate results that differ by their rounding change this as much.

    So do small differences of large numbers, and quotients by such. (Rounding errors put at random:
    D. S. Parker, "Monte Carlo arithmetic", 1997.) Where the compiled result alone is infinite, the
    number must change by more than its own size: it is 1 / x, where x is nothing but rounding.
    """
    overflown = np.isinf(found) & np.isfinite(expected)
    off = _farthest(np.where(overflown, expected, found), expected)
    for result in _noisily(program, given, number, kind):
        if result is None:
            return True
        with np.errstate(all="ignore"):
            overflown &= ~(np.abs(result - expected) > np.abs(expected))
        if not overflown.any() and off <= 100 * _farthest(result, expected):
            return True
    return False


def _farthest(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference; infinite where one is infinite or NaN and the other is not."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        off = np.where(_same(a, b), 0, np.abs(a - b))
    return float(np.max(np.where(np.isnan(off), np.inf, off), initial=0))


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where two arrays have equal numbers, or both NaN."""
    return (a == b) | np.isnan(a) & np.isnan(b)


def _is_undecided(
    program: Any, given: list[Any], number: int, kind: str, found: np.ndarray, expected: np.ndarray
) -> bool:
    """Whether rounding decides every element in which these integers or truth values differ.

    So it does where numbers are compared that are equal but for their rounding.
    """
    if kind not in TOLERANCE:
        return False
    wrong = found != expected
    for result in _noisily(program, given, number, kind):
        if result is None:
            return True
        wrong &= result == expected
        if not wrong.any():
            return True
    return False


def _noisily(program: Any, given: list[Any], number: int, kind: str) -> Iterator[Any]:
    """What runs with rounding errors at random give for one result; None for an error.

    Several, because an error may change a result by leaps: where a number is nearly zero, as it
    comes to ReLU, and in the last bit of a sum of large numbers that cancel.
    """
    random = np.random.default_rng(0)
    noisy = _Noisy(program.interpretation, kind, random)
    for _ in range(NOISY_RUNS):
        with np.errstate(all="ignore"):
            nearby = [
                (slot, _nearby(x, kind, random) if isinstance(x, np.ndarray) else x)
                for slot, x in given
            ]
            results, error = noisy.run(nearby, True)
        yield None if error is not None else results[number]


class _Noisy(Interpretation):
    """The interpreter with a rounding error at every result."""

    def __init__(self, original: Interpretation, kind: str, random: Any):
        vars(self).update(vars(original))
        self.kind, self.random = kind, random

    def _execute(self, step: Any, slots: list[Any]) -> None:
        super()._execute(step, slots)
        if not step.operator.view:
            for slot in range(step.first, step.first + step.count):
                if isinstance(slots[slot], np.ndarray):
                    slots[slot] = _nearby(slots[slot], self.kind, self.random)


def _nearby(x: np.ndarray, kind: str, random: Any) -> np.ndarray:
    if x.dtype.name not in TOLERANCE:
        return x
    step = max(EPSILON[kind], EPSILON[x.dtype.name])
    factor = 1 + step * random.uniform(-1, 1, x.shape)
    exact = x.astype(np.float64)
    counts = (exact == np.rint(exact)) & (np.abs(exact) < 1 / step)  # stay as they are
    exact = np.where(counts, exact, exact * factor)
    return np.asarray(exact).astype(x.dtype)


def _coarsest(node: Any) -> str:
    """The least precise of the floating types that this was computed with; empty without any."""
    names = list(TOLERANCE)
    kinds = {x.dtype.name for x in with_ancestors([node])}
    return max(kinds.intersection(names), key=names.index, default="")


def difference(
    found: np.ndarray, expected: np.ndarray, inputs: float = 0.0, kind: str | None = None
) -> str:
    """What is different between two arrays beyond rounding; empty when nothing is.

    ``inputs`` is the size of the numbers they were computed from: a sum in which these cancel
    differs by their rounding. ``kind`` is the type they were computed with, if it is another one.
    """
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return f"{found.dtype}{found.shape} instead of {expected.dtype}{expected.shape}"
    kind = kind or found.dtype.name
    tolerance = TOLERANCE.get(kind)
    if tolerance is None:
        return _shown(found, expected, found != expected)
    floor = ROUNDING[kind] * inputs + 1e-30
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(all="ignore"):
        special = np.asarray(~np.isfinite(b))
        unlike = np.asarray(special & ~_same(a, b))
        if unlike.any():
            return _shown(found, expected, unlike)
        size = np.max(np.abs(b[~special]), initial=0)
        off = np.abs(a - b)[~special]
        wrong = ~(off <= tolerance * (np.abs(b[~special]) + 0.05 * size) + floor)
    # A comparison that falls on its boundary (relu of a number that is nearly zero) may be decided
    # differently: then single elements, or a row of a product, differ by about their size.
    few = wrong.sum() <= wrong.size // 50 and np.max(off, initial=0) <= size
    if few:
        return ""
    unlike[~special] = wrong
    return _shown(found, expected, unlike)


def _shown(found: np.ndarray, expected: np.ndarray, wrong: np.ndarray) -> str:
    """The first few elements that differ; empty when none does."""
    if not wrong.any():
        return ""
    places = list(map(tuple, np.argwhere(wrong)[:3].tolist()))
    count = f"({wrong.sum()} of {wrong.size})"
    return f"{found[wrong][:4]} instead of {expected[wrong][:4]} at {places} {count}"
