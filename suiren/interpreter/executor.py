"""Runs a flushed trace with NumPy, entry by entry.

The first tier, and the oracle for every other one. An operator's ``evaluate`` takes the arrays of
its arguments, then its attributes, and returns an array (or a tuple of them). Slots are freed
after their last use, so a long trace holds no more memory than its live values.

An operator that puts new elements into an old array (``consumes`` names the argument) may write
into that array's own memory when nobody can look at the old contents any more: `x[0] = 1` then
costs what it should. Whether somebody can is decided from reference counts, which NumPy's views
keep as well (a view holds its base).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

# With SUIREN_CHECK set every result is compared with the shape and dtype that were inferred.
CHECK = os.environ.get("SUIREN_CHECK", "0") not in ("", "0")


# An array that one list holds and nobody else. Python versions differ in what they count (3.14
# leaves out some references of local variables), so that counts are only compared with its count,
# taken by the same code (and taken last).
_HELD_ONCE = [np.empty(1)]
_FAILED = object()  # in the slots of results that could not be computed


class _Step:
    evaluate: Callable
    __slots__ = (
        "evaluate", "operator", "attributes", "arguments", "first", "count",
        "results", "free",
    )  # fmt: skip

    def __init__(self, operator, attributes, arguments, first, results):
        self.operator = operator
        self.attributes = attributes
        self.arguments = arguments
        self.first = first
        self.count = len(results)
        self.results = results
        self.free: tuple[int, ...] = ()


class Interpretation:
    """The steps of a trace in order, each with the slots to free after it."""

    def __init__(self, entries: tuple, input_keys: tuple, wanted: tuple):
        self.wanted = wanted
        input_slots = {slot for slot, _ in input_keys}
        self.steps: list[_Step] = []
        metas: dict[int, Any] = dict(input_keys)
        slot = 0
        for operator, attributes, arguments, results in entries:
            while slot in input_slots:
                slot += 1
            step = _Step(operator, attributes, arguments, slot, results)
            step.evaluate = operator.evaluate_for([metas[s] for s in arguments], results)
            self.steps.append(step)
            metas.update(enumerate(results, slot))
            slot += len(results)
        self.size = max([slot, *(s + 1 for s in input_slots)])
        self._drop_unused()
        self._plan_frees()

    def _drop_unused(self) -> None:
        needed = set(self.wanted)
        kept = []
        for step in reversed(self.steps):
            produced = range(step.first, step.first + step.count)
            if any(slot in needed for slot in produced):
                needed.update(step.arguments)
                kept.append(step)
        self.steps = kept[::-1]

    def _plan_frees(self) -> None:
        later = set(self.wanted)
        for step in reversed(self.steps):
            touched = {*step.arguments, *range(step.first, step.first + step.count)}
            step.free = tuple(slot for slot in touched if slot not in later)
            later |= touched

    def run(
        self, inputs: list[tuple[int, Any]], own: bool = False
    ) -> tuple[list[Any], BaseException | None]:
        """The arrays of the wanted slots; None with an error for those that failed."""
        slots: list[Any] = [None] * self.size
        while inputs:
            slot, what = inputs.pop()
            # A number stays a Python number: NumPy then computes in the array's own type.
            slots[slot] = getattr(what, "buffer", what)
        what = None
        error: BaseException | None = None
        with np.errstate(all="ignore"):
            try:
                for step in self.steps:
                    self._execute(step, slots)
            except BaseException as problem:
                error = problem
                interrupted = not isinstance(problem, Exception)
                self._go_on(step, slots, again=interrupted)
        found = [None if slots[s] is _FAILED else np.asarray(slots[s]) for s in self.wanted]
        if own:
            found = [array if array is None else np.array(array) for array in found]
        return found, error

    def _go_on(self, broken: _Step, slots: list[Any], again: bool) -> None:
        """Computes what does not depend on the step that failed.

        The user's other tensors must not be lost with it: after an interrupt (Ctrl-C) the step
        is done again, so that parameters half updated are updated in whole.
        """
        at = self.steps.index(broken)
        if not again:
            slots[broken.first : broken.first + broken.count] = [_FAILED] * broken.count
            at += 1
        for step in self.steps[at:]:
            if not any(slots[slot] is _FAILED for slot in step.arguments):
                try:
                    self._execute(step, slots)
                    continue
                except Exception:  # the first error is the one to report
                    pass
            slots[step.first : step.first + step.count] = [_FAILED] * step.count

    def _execute(self, step: _Step, slots: list[Any]) -> None:
        consumed = step.operator.consumes
        arguments = [slots[slot] for slot in step.arguments]
        if consumed is not None:
            slot = step.arguments[consumed]
            arguments[consumed] = None
            if not self._is_spare(step, slot, slots):
                arguments[consumed] = np.array(slots[slot], order="C")
            else:
                arguments[consumed] = slots[slot]
        result = step.evaluate(*arguments, *step.attributes)
        if step.count == 1:
            slots[step.first] = result
        else:
            slots[step.first : step.first + step.count] = result
        if CHECK:
            check_result(step, slots)
        for slot in step.free:
            slots[slot] = None

    @staticmethod
    def _is_spare(step: _Step, slot: int, slots: list[Any]) -> bool:
        """Whether nobody will look at the array in this slot any more."""
        return (
            slot in step.free
            and step.arguments.count(slot) == 1
            and isinstance(slots[slot], np.ndarray)
            and slots[slot].base is None
            and slots[slot].flags.writeable
            and _references(slots, slot) <= _references(_HELD_ONCE, 0)
        )


def _references(slots: list[Any], slot: int) -> int:
    return sys.getrefcount(slots[slot])


def check_result(step: _Step, slots: list[Any]) -> None:
    """Raises AssertionError when an operator's arrays are not of the inferred kind."""
    for i, expected in enumerate(step.results):
        got = slots[step.first + i]
        kind = getattr(got, "dtype", type(got).__name__)
        shape = getattr(got, "shape", None)
        if kind != expected.dtype.numpy or shape != expected.shape:
            raise AssertionError(
                f"{step.operator.name}{step.attributes}: evaluate returned {kind}{shape} "
                f"where infer promised {expected}: a fault of the operator's definition"
            )
