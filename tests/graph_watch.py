"""Holds every recorded operation against its lowering while some program runs.

Inside ``with Watch() as watch:`` each flushed trace is computed as ever, and then each of its
entries once more alone: lowered to a graph, which NumPy runs (``graph_numpy.py``), and compared
with the operator's own ``evaluate``. Equal entries (operator, attributes, kinds of arguments) are
looked at a few times only. The watch counts which operators had a native form and which ran on
the host.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import graph_numpy
import numpy as np

from suiren.compiler.lower import lower
from suiren.trace import recorder
from suiren.trace.meta import Meta

TIMES = 2  # that an entry with the same description is compared
MAX_ELEMENTS = 1_000_000

# relative to the largest element, per dtype; sums are added in another order
TOLERANCE = {"float64": 1e-11, "float32": 1e-5, "float16": 3e-3, "bfloat16": 2e-2}


class Watch:
    """Counts of native and host entries by operator, and the disagreements found."""

    def __init__(self) -> None:
        self.native: Counter[str] = Counter()
        self.host: Counter[str] = Counter()
        self.reasons: dict[str, set[str]] = {}
        self.disagreements: dict[str, list[str]] = {}
        self.failed_checks: Counter[str] = Counter()
        self.seen: Counter[Any] = Counter()

    def __enter__(self) -> Watch:
        self._original = recorder.run_program
        recorder.run_program = self._run
        return self

    def __exit__(self, *error: Any) -> None:
        recorder.run_program = self._original

    def _run(self, key: tuple, inputs: list, own: bool = False) -> Any:
        values = {}
        for slot, what in inputs:
            buffer = getattr(what, "buffer", what)
            values[slot] = np.array(buffer) if isinstance(buffer, np.ndarray) else buffer
        found = self._original(key, inputs, own)
        self._compare(key, values)
        return found

    def _compare(self, key: tuple, values: dict[int, Any]) -> None:
        entries, input_keys, _ = key
        metas = dict(input_keys)
        slot = 0
        for operator, attributes, arguments, results in entries:
            while slot in metas:
                slot += 1
            given = [values.get(s) for s in arguments]
            kinds = [metas[s] for s in arguments]
            whole = all(
                s in values or kind is type(None)
                for s, kind in zip(arguments, kinds, strict=True)
            )
            found = self._evaluate(operator, attributes, given, kinds, results) if whole else None
            for i, promised in enumerate(results):
                metas[slot] = promised
                if found is not None:
                    values[slot] = found[i]
                slot += 1
            if found is not None:
                self.compare_entry(operator, attributes, given, kinds, results, found)

    @staticmethod
    def _evaluate(operator, attributes, given, kinds, results):
        given = list(given)
        if operator.consumes is not None:
            given[operator.consumes] = np.array(given[operator.consumes], order="C")
        try:
            with np.errstate(all="ignore"):
                found = operator.evaluate_for(kinds, results)(*given, *attributes)
        except Exception:  # the program reports it; there is nothing to compare
            return None
        return (np.asarray(found),) if len(results) == 1 else tuple(map(np.asarray, found))

    def compare_entry(self, operator, attributes, given, kinds, results, wanted) -> None:
        """One entry by itself: its lowering against the arrays that are wanted."""
        description = (operator, attributes, tuple(kinds))
        self.seen[description] += 1
        if self.seen[description] > TIMES:
            return
        if sum(m.numel for m in [*kinds, *results] if isinstance(m, Meta)) > MAX_ELEMENTS:
            return
        count = len(kinds)
        entry = (operator, attributes, tuple(range(count)), results)
        slots = tuple(range(count, count + len(results)))
        graph = lower((entry,), tuple(enumerate(kinds)), slots)
        if any(node.op == "host" for node in graph.nodes):
            self.host[operator.name] += 1
            self.reasons.setdefault(operator.name, set()).add(f"{kinds}{attributes}")
            return
        self.native[operator.name] += 1
        try:
            arrays = graph_numpy.run_graph(graph, dict(enumerate(given)))
        except graph_numpy.CheckFailed:
            self.failed_checks[operator.name] += 1
            return
        except Exception as error:
            self._disagree(operator, attributes, kinds, f"{type(error).__name__}: {error}")
            return
        for i, (got, want) in enumerate(zip(arrays, wanted, strict=True)):
            text = difference(got, want, results[i].dtype.name)
            if text:
                self._disagree(operator, attributes, kinds, f"result {i}: {text}")

    def _disagree(self, operator, attributes, kinds, text) -> None:
        line = f"{operator.name}({', '.join(map(str, kinds))}; {attributes}): {text}"
        self.disagreements.setdefault(operator.name, []).append(line[:600])

    def report(self) -> str:
        """A table: what is still on the host, by frequency, and what disagrees."""
        lines = [f"{len(self.native)} operators native, {len(self.host)} on the host at times"]
        for name, count in self.host.most_common():
            also = f" (native {self.native[name]} times)" if name in self.native else ""
            example = min(self.reasons[name], key=len)
            lines.append(f"  host {count:4} {name}{also}  e.g. {example[:150]}")
        for name, found in self.disagreements.items():
            lines.append(f"  DISAGREES {name}: {len(found)} times")
            lines += [f"     {line}" for line in sorted(found, key=len)[:4]]
        if self.failed_checks:
            lines.append(f"  checks failed: {dict(self.failed_checks)}")
        return "\n".join(lines)


def difference(got: np.ndarray, want: np.ndarray, kind: str) -> str:
    """What is wrong, or "": NaN and infinities in the same places, numbers within the tolerance."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{got.dtype}{got.shape} instead of {want.dtype}{want.shape}"
    if kind not in TOLERANCE:
        same = got == want
    else:
        got, want = got.astype(np.float64), want.astype(np.float64)
        finite = np.isfinite(want)
        size = np.max(np.abs(want[finite]), initial=0.0)
        near = np.abs(got - want) <= TOLERANCE[kind] * np.maximum(np.abs(want), size * 0.05)
        same = np.where(finite, near, (got == want) | (np.isnan(got) & np.isnan(want)))
    if same.all():
        return ""
    wrong = np.argwhere(~same)
    at = tuple(wrong[0])
    return f"{got[at]} instead of {want[at]} at {list(map(int, at))}, {len(wrong)} of {same.size}"
