"""SUIREN_CHECK=1: every run of a compiled program beside the interpreter's.

The two add up in different orders, so that floating results may differ by rounding: what is
compared is the difference against the size of the numbers and of what they were computed from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# relative to the largest element, by dtype: sums of many terms lose more than single operations
TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "float16": 2e-2, "bfloat16": 1e-1}


def run_checked(program: Any, inputs: list[tuple[int, Any]], own: bool) -> tuple[list[Any], Any]:
    """The compiled program's buffers; raises AssertionError where the interpreter's differ."""
    expected, error = program.interpretation.run(list(inputs), True)
    if error is not None:
        return program.interpretation.run(inputs, own)
    try:
        found = program.native.run(inputs, own)
    except Exception as problem:
        if program.native.failed_check(problem):
            return program.interpretation.run(inputs, own)
        raise
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        problem = difference(a, b)
        if problem:
            node = program.native.graph.outputs[number]
            raise AssertionError(
                f"compiled and interpreted differ in result {number} ({node}): {problem}\n"
                f"{program.native.graph}"
            )
    return found, None


def difference(found: np.ndarray, expected: np.ndarray) -> str:
    """What is different between two arrays beyond rounding; empty when nothing is."""
    if found.dtype != expected.dtype or found.shape != expected.shape:
        return f"{found.dtype}{found.shape} instead of {expected.dtype}{expected.shape}"
    tolerance = TOLERANCE.get(found.dtype.name)
    if tolerance is None:
        same = np.array_equal(found, expected)
        return "" if same else f"{found.reshape(-1)[:8]} instead of {expected.reshape(-1)[:8]}"
    a, b = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(all="ignore"):
        special = ~np.isfinite(b)
        if not np.array_equal(a[special], b[special], equal_nan=True):
            return f"{a[special][:8]} instead of {b[special][:8]}"
        size = np.max(np.abs(b[~special]), initial=0)
        off = np.abs(a - b)[~special]
        wrong = ~(off <= tolerance * (np.abs(b[~special]) + 0.05 * size) + 1e-30)
    # A comparison that falls on its boundary (relu of a number that is nearly zero) may be decided
    # differently: then single elements, or a row of a product, differ by about their size.
    few = wrong.sum() <= max(1, wrong.size // 50) and np.max(off, initial=0) <= size
    if few:
        return ""
    return f"{a[~special][wrong][:4]} instead of {b[~special][wrong][:4]} ({wrong.sum()} elements)"
