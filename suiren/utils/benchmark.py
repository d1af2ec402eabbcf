"""``torch.utils.benchmark``: statements timed fairly, and tables that compare them.

A statement's result is kept and computed before the clock is read: a recorded operation that nobody
looks at would cost nothing. Times include recording; the first runs, in which programs are new and
are compiled, are left out as far as warming up goes. Source: PyTorch, "Benchmark Utils".
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import math
import statistics
import textwrap
from collections.abc import Callable, Iterable, Iterator
from timeit import default_timer as timer
from typing import Any

__all__ = ["Compare", "Measurement", "TaskSpec", "Timer", "select_unit", "timer"]

_UNITS = ((1e-9, "ns", "nanoseconds"), (1e-6, "us", "microseconds"), (1e-3, "ms", "milliseconds"),
          (1.0, "s", "seconds"))  # fmt: skip


def select_unit(t: float) -> tuple[str, float]:
    """The unit in which a time in seconds reads well, and its seconds.

    >>> select_unit(2.5e-5)
    ('us', 1e-06)
    """
    found = _UNITS[0]
    for unit in _UNITS:
        if t >= unit[0]:
            found = unit
    return found[1], found[0]


@dataclasses.dataclass(frozen=True)
class TaskSpec:
    """What was measured: statement, setup, labels, threads."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """Label and sub-label, or the statement."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        if "\n" not in self.stmt:
            return self.stmt
        return "stmt:\n" + textwrap.indent(self.stmt, "  ")

    def setup_str(self) -> str:
        """The setup as it is shown; nothing for ``pass``."""
        if self.setup == "pass" or not self.setup:
            return ""
        if "\n" in self.setup:
            return "setup:\n" + textwrap.indent(self.setup, "  ")
        return f"setup: {self.setup}"


class Measurement:
    """Times of one task: ``raw_times`` in seconds, each of ``number_per_run`` runs."""

    def __init__(
        self, number_per_run: int, raw_times: list[float], task_spec: TaskSpec,
        metadata: dict[Any, Any] | None = None,
    ) -> None:  # fmt: skip
        self.number_per_run = number_per_run
        self.raw_times = raw_times
        self.task_spec = task_spec
        self.metadata = metadata

    @property
    def times(self) -> list[float]:
        """Seconds of one run, of each measurement."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def median(self) -> float:
        """The median of the times."""
        return statistics.median(self._some())

    @property
    def mean(self) -> float:
        """The mean of the times."""
        return statistics.fmean(self._some())

    @property
    def iqr(self) -> float:
        """The distance between the quartiles."""
        low, high = self._quartiles()
        return high - low

    @property
    def significant_figures(self) -> int:
        """How many digits mean something, by the spread of the times."""
        spread = self.iqr / 1.35  # of a normal distribution
        if spread <= 0:
            return 2 if len(self.raw_times) == 1 else 4
        count = math.floor(math.log10(self.median)) - math.floor(math.log10(spread)) + 1
        return max(1, min(5, count))

    @property
    def has_warnings(self) -> bool:
        """Whether the spread is so large that something disturbed the measurement."""
        return len(self.times) > 1 and self.iqr > 0.1 * self.median

    @property
    def title(self) -> str:
        """What was measured."""
        return self.task_spec.title

    @property
    def env(self) -> str:
        """The environment's name."""
        return self.task_spec.env or "Unspecified env"

    @property
    def as_row_name(self) -> str:
        """The name of the row in a table of comparisons."""
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def __getattr__(self, name: str) -> Any:
        """The task's own names: stmt, setup, label, sub_label, description, num_threads."""
        if name.startswith("_") or name not in TaskSpec.__dataclass_fields__:
            raise AttributeError(f"'Measurement' object has no attribute '{name}'")
        return getattr(self.task_spec, name)

    def meets_confidence(self, threshold: float = 0.1) -> bool:
        """Whether the quartiles lie close enough together."""
        return len(self.times) > 1 and self.iqr / self.median < threshold

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """Measurements of the same task put together; times are of single runs then."""
        groups: dict[TaskSpec, list[float]] = {}
        for m in measurements:
            groups.setdefault(m.task_spec, []).extend(m.times)
        return [Measurement(1, times, spec) for spec, times in groups.items()]

    def _some(self) -> list[float]:
        if not self.raw_times:
            raise ValueError("Measurement: there are no times")
        return self.times

    def _quartiles(self) -> tuple[float, float]:
        times = self._some()
        if len(times) == 1:
            return times[0], times[0]
        low, _, high = statistics.quantiles(times, n=4, method="inclusive")
        return low, high

    def __repr__(self) -> str:
        unit, scale = select_unit(self.median)
        spec = self.task_spec
        lines = [f"<{type(self).__module__}.Measurement object at {id(self):#x}>", self.title]
        lines += [text for text in (spec.description, spec.setup_str()) if text]
        runs = f"{self.number_per_run} runs" if self.number_per_run > 1 else "1 run"
        threads = f"{spec.num_threads} thread{'s' if spec.num_threads > 1 else ''}"
        if len(self.times) == 1:
            lines += [f"  {self.median / scale:.2f} {unit}", f"  1 measurement, {runs} , {threads}"]
        else:
            low, high = (q / scale for q in self._quartiles())
            lines += [
                f"  Median: {self.median / scale:.2f} {unit}",
                f"  IQR:    {self.iqr / scale:.2f} {unit} ({low:.2f} to {high:.2f})",
                f"  {len(self.times)} measurements, {runs} per measurement, {threads}",
            ]
            if self.has_warnings:
                lines.append(
                    f"  WARNING: Interquartile range is {100 * self.iqr / self.median:.1f}% of the "
                    "median measurement."
                )
        return "\n".join(lines)


_TEMPLATE = """
def _measured(_times, _timer, _compute):
    _kept = None
{setup}
    _compute()
    _begin = _timer()
    for _ in _times:
{stmt}
        _compute()
    return _timer() - _begin
"""


class Timer:
    """Times a statement of Python; see PyTorch's torch.utils.benchmark.Timer.

    ``globals`` are the names the statement sees, beside ``torch``. Raises NotImplementedError for
    C++ and for instruction counts.

    >>> import suiren as torch
    >>> from suiren.utils import benchmark
    >>> t = benchmark.Timer("x + 1", globals={"x": torch.ones(3)})
    >>> t.timeit(10).number_per_run
    10
    """

    def __init__(
        self, stmt: str = "pass", setup: str = "pass", global_setup: str = "",
        timer: Callable[[], float] = timer, globals: dict[str, Any] | None = None,
        label: str | None = None, sub_label: str | None = None, description: str | None = None,
        env: str | None = None, num_threads: int = 1, language: Any = "python",
    ) -> None:  # fmt: skip
        if str(getattr(language, "name", language)).lower() not in ("python", "py"):
            raise NotImplementedError(f"benchmark.Timer: only Python can be timed, not {language}")
        if global_setup:
            raise ValueError("global_setup is not supported for Python: use setup")
        stmt, setup = textwrap.dedent(stmt).strip(), textwrap.dedent(setup).strip()
        self._task_spec = TaskSpec(
            stmt, setup, global_setup, label, sub_label, description, env, num_threads
        )
        self._timer = timer
        names = dict(globals or {})
        import suiren

        names.setdefault("torch", suiren)
        text = _TEMPLATE.format(
            setup=textwrap.indent(setup or "pass", "    "),
            stmt=textwrap.indent(_keeping(stmt), "        "),
        )
        exec(compile(text, "<benchmark.Timer>", "exec"), names)
        self._run: Callable[..., float] = names["_measured"]

    def _measure(self, number: int) -> float:
        from suiren.trace import flush

        return max(self._run(itertools.repeat(None, number), self._timer, flush), 1e-9)

    def _threads(self) -> _Threads:
        return _Threads(self._task_spec.num_threads)

    def timeit(self, number: int = 1000000) -> Measurement:
        """One measurement of ``number`` runs, after some to warm up."""
        with self._threads():
            self._measure(max(number // 100, 2))
            return Measurement(number, [self._measure(number)], self._task_spec)

    def repeat(self, repeat: int = -1, number: int = -1) -> None:
        """Not there, as in PyTorch: see ``blocked_autorange``."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def autorange(self, callback: Callable | None = None) -> None:
        """Not there, as in PyTorch: see ``blocked_autorange``."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def _block(self, min_run_time: float) -> int:
        """So many runs that reading the clock does not count."""
        overhead = statistics.median(self._clock() for _ in range(5))
        number = 1
        self._measure(2)
        while True:
            taken = self._measure(number)
            if overhead / taken <= 1e-4 and taken >= min_run_time / 1000 or taken > min_run_time:
                return number
            number *= 10

    def _clock(self) -> float:
        begin = self._timer()
        return self._timer() - begin

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Blocks of a suitable number of runs until ``min_run_time`` seconds are spent."""
        with self._threads():
            number = self._block(min_run_time)
            times: list[float] = []
            while sum(times) < min_run_time or len(times) < 2:
                times.append(self._measure(number))
                if callback is not None:
                    callback(number, times[-1])
            return Measurement(number, times, self._task_spec)

    def adaptive_autorange(
        self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
        callback: Callable[[int, float], Any] | None = None,
    ) -> Measurement:  # fmt: skip
        """Blocks until the quartiles differ by less than ``threshold`` of the median."""
        with self._threads():
            number = self._block(0.05)
            times: list[float] = []
            while sum(times) < max_run_time:
                times.append(self._measure(number))
                if callback is not None:
                    callback(number, times[-1])
                found = Measurement(number, times, self._task_spec)
                if sum(times) > min_run_time and len(times) > 3:
                    if found.meets_confidence(threshold):
                        break
            return Measurement(number, times, self._task_spec)

    def collect_callgrind(self, *arguments: Any, **named: Any) -> None:
        """Instruction counts are not there."""
        raise NotImplementedError("benchmark.Timer: instruction counts are not supported")


class _Threads:
    """A context with so many threads."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None:
        import suiren

        self.before = suiren.get_num_threads()
        suiren.set_num_threads(self.number)

    def __exit__(self, *exception: Any) -> None:
        import suiren

        suiren.set_num_threads(self.before)


def _keeping(stmt: str) -> str:
    """The statement with its last expression kept, so that it must be computed."""
    tree = ast.parse(stmt or "pass")
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        return stmt or "pass"
    kept = ast.Assign([ast.Name("_kept", ast.Store())], last.value)
    tree.body[-1] = kept
    return ast.unparse(ast.fix_missing_locations(tree))


class Compare:
    """Measurements as a table: rows by sub-label, columns by description, parts by threads.

    >>> from suiren.utils.benchmark import Compare, Measurement, TaskSpec
    >>> spec = dict(stmt="x", setup="pass", label="sums", sub_label="small")
    >>> results = [Measurement(10, [seconds * 1e-5], TaskSpec(**spec, description=name))
    ...            for name, seconds in (("here", 2.0), ("there", 31.2))]
    >>> Compare(results).print()
    [----------- sums ------------]
                  |  here  |  there
    1 threads: --------------------
           small  |  2.0   |  31.2
    <BLANKLINE>
    Times are in microseconds (us).
    <BLANKLINE>
    """

    def __init__(self, results: list[Measurement]) -> None:
        self._results: list[Measurement] = []
        self._trimmed = False
        self.extend_results(results)

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Adds measurements."""
        results = list(results)
        for result in results:
            if not isinstance(result, Measurement):
                raise ValueError(
                    f"Expected an instance of `Measurement`, got {type(result)} instead.")
        self._results.extend(results)

    def trim_significant_figures(self) -> None:
        """Shows no more digits than the measurements justify."""
        self._trimmed = True

    def colorize(self, rowwise: bool = False) -> None:
        """Accepted: tables are shown without colours."""

    def highlight_warnings(self) -> None:
        """Accepted: warnings are shown by the measurements themselves."""

    def print(self) -> None:
        """Prints the table."""
        print(str(self))

    def __str__(self) -> str:
        labels = list(dict.fromkeys(m.task_spec.label for m in self._results))
        return "\n".join(self._table(label) for label in labels)

    def _table(self, label: str | None) -> str:
        results = [
            m for m in Measurement.merge(self._results) if m.task_spec.label == label
        ]  # fmt: skip
        unit, scale = select_unit(min(m.median for m in results))
        columns = list(dict.fromkeys(m.task_spec.description or "" for m in results))
        cells: dict[tuple, str] = {}
        for m in results:
            spec = m.task_spec
            place = spec.num_threads, spec.env, m.as_row_name, spec.description or ""
            cells[place] = self._shown(m, scale)
        rows = list(dict.fromkeys(place[:3] for place in cells))
        with_env = len({row[1] for row in rows}) > 1
        names = {row: f"({row[1]})  {row[2]}" if with_env else row[2] for row in rows}
        first = max(12, 6 + max(len(name) for name in names.values()))
        widths = [
            max(len(c), *(len(cells.get((*row, c), "")) for row in rows)) for c in columns
        ]  # fmt: skip
        head = " " * first + "".join(
            f"  |  {c:^{w}}" for c, w in zip(columns, widths, strict=True))
        total = len(head) - 2
        lines = [f"[{f' {label} ' if label else '':-^{total}}]", head.rstrip()]
        for threads in sorted({row[0] for row in rows}):
            lines.append(f"{threads} threads: ".ljust(total + 2, "-"))
            for row in rows:
                if row[0] == threads:
                    texts = [cells.get((*row, c), "") for c in columns]
                    lines.append((f"{names[row]:>{first}}" + "".join(
                        f"  |  {text:^{w}}" for text, w in zip(texts, widths, strict=True)
                    )).rstrip())  # fmt: skip
        name = next(unit_[2] for unit_ in _UNITS if unit_[1] == unit)
        return "\n".join([*lines, "", f"Times are in {name} ({unit}).", ""])

    def _shown(self, m: Measurement, scale: float) -> str:
        value = m.median / scale
        if self._trimmed and value > 0:
            digits = m.significant_figures - 1 - math.floor(math.log10(value))
            value = round(value, digits)
            return f"{value:.{max(0, min(1, digits))}f}"
        return f"{value:.1f}"


def ordered_unique(elements: Iterable[Any]) -> Iterator[Any]:
    """Each element once, in order."""
    return iter(dict.fromkeys(elements))
