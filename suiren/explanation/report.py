"""``suiren.explain``: the programs of a function as objects, as text and as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from suiren.explanation.watching import Place, Run, copies, watched_calls

SECONDS = 0.5  # spent on taking times, at most, shared by the programs
MAX_RUNS = 30


@dataclass
class Operation:
    """A recorded operation and the line of the source that asked for it."""

    operator: str
    text: str
    place: Place | None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"operator": self.operator, "text": self.text, **_place(self.place)}


@dataclass
class KernelReport:
    """A kernel: its loops, where it comes from, what it costs. Bytes and operations are counted."""

    number: int
    name: str
    tasks: int
    read: int
    written: int
    operations: int
    double: bool  # computes in float64
    arrays: list[str]
    lines: list[str]  # the loop nest
    sources: list[tuple[str, Place | None]]  # (operator, line), in the order of the trace
    ir: str
    seconds: float = float("nan")  # the best of several runs

    @property
    def gigaflops(self) -> float:
        """Operations a second, in units of 10**9."""
        return self.operations / self.seconds / 1e9

    @property
    def gigabytes(self) -> float:
        """Bytes read and written a second, in units of 10**9."""
        return (self.read + self.written) / self.seconds / 1e9

    @property
    def code(self) -> str:
        """The loop nest."""
        return "\n".join(self.lines)

    @property
    def assembly(self) -> str:
        """The machine code, as text."""
        from suiren.compiler.machine_code import assembly

        return assembly(self.ir)

    def __str__(self) -> str:
        return "\n".join(_kernel_lines(self, None))

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "number": self.number, "name": self.name, "tasks": self.tasks,
            "bytes_read": self.read, "bytes_written": self.written,
            "operations": self.operations, "seconds": _known(self.seconds),
            "gigaflops": _known(self.gigaflops), "gigabytes": _known(self.gigabytes),
            "code": self.code,
            "sources": [{"operator": name, **_place(place)} for name, place in self.sources],
        }  # fmt: skip


@dataclass
class HostReport:
    """An operation that NumPy computes: between kernels, or in a program that is interpreted."""

    operator: str
    place: Place | None
    seconds: float = float("nan")

    def __str__(self) -> str:
        return f"host: {self.operator}{_at(self.place)}: {_time(self.seconds)}"

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"operator": self.operator, "seconds": _known(self.seconds), **_place(self.place)}


@dataclass
class ProgramReport:
    """A program: what was recorded, and the steps that compute it."""

    number: int
    compiled: bool
    runs: int  # in one call of the function
    operations: list[Operation]
    graph: str  # empty where the program is interpreted
    steps: list[KernelReport | HostReport] = field(default_factory=list)
    scratch: int = 0  # bytes between kernels
    in_place: list[str] = field(default_factory=list)
    seconds: float = float("nan")  # of a whole run, without a look at each step

    @property
    def kernels(self) -> list[KernelReport]:
        """The steps that are machine code."""
        return [step for step in self.steps if isinstance(step, KernelReport)]

    @property
    def host(self) -> list[HostReport]:
        """The steps that NumPy computes."""
        return [step for step in self.steps if isinstance(step, HostReport)]

    def __str__(self) -> str:
        return "\n".join(_program_lines(self, None))

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "number": self.number, "compiled": self.compiled, "runs": self.runs,
            "seconds": _known(self.seconds), "scratch_bytes": self.scratch,
            "in_place": self.in_place, "trace": [entry.to_dict() for entry in self.operations],
            "graph": self.graph, "kernels": [kernel.to_dict() for kernel in self.kernels],
            "host": [step.to_dict() for step in self.host],
        }  # fmt: skip


class Explanation:
    """What :func:`explain` found out; printing it shows everything.

    ``programs``: a :class:`ProgramReport` for each, in the order in which they run. ``kernels``:
    the kernels of all of them. ``peaks``: what the machine can do; None if nothing is compiled.
    """

    def __init__(self, programs: list[ProgramReport], calls: int, peaks: Any):
        self.programs = programs
        self.calls = calls
        self.peaks = peaks

    @property
    def kernels(self) -> list[KernelReport]:
        """The kernels of all programs."""
        return [kernel for program in self.programs for kernel in program.kernels]

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for ``json.dumps``."""
        return {
            "programs": [program.to_dict() for program in self.programs],
            "calls": self.calls,
            "peaks": vars(self.peaks).copy() if self.peaks is not None else None,
        }

    def __str__(self) -> str:
        count = len(self.programs)
        lines = [f"{count or 'no'} program{'s' if count != 1 else ''} in a call"]
        if self.peaks is not None:
            lines.append(f"this machine: {self.peaks}")
        for program in self.programs:
            lines += ["", *_program_lines(program, self.peaks)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        counts = f"programs: {len(self.programs)}, kernels: {len(self.kernels)}"
        return f"<Explanation of {counts}; print it to read it>"

    def _repr_html_(self) -> str:
        from html import escape

        found = []
        for program in self.programs:
            title, *rest = _program_lines(program, self.peaks)
            found.append(
                f"<details open><summary>{escape(title)}</summary>"
                f"<pre>{escape(chr(10).join(rest))}</pre></details>"
            )
        return "".join(found) or escape(str(self))


def explain(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """What ``fn(*args, **kwargs)`` records, what it is compiled to, and what that costs.

    The function is called several times (two to six), until what it records is compiled: a training
    step makes as many steps. Times are then taken of the programs alone, on copies of their inputs.

    Of the returned :class:`Explanation`, ``print`` shows for each program the operations with the
    lines of the source that asked for them, and the kernels as loop nests, each with the bytes that
    it reads and writes, its operations, its time, and how much of the machine's measured peaks that
    is. ``programs``, ``kernels`` and ``to_dict()`` are the same as data.

    Raises what ``fn`` raises.

    >>> import suiren as torch
    >>> x = torch.ones(1000)
    >>> found = torch.explain(lambda: (x * 2 + 1).exp())
    >>> [operation.operator for operation in found.programs[0].operations]
    ['mul', 'add', 'exp']
    """
    runs, calls = watched_calls(fn, args, kwargs)
    distinct: dict[Any, list[Run]] = {}
    for run in runs:
        distinct.setdefault(run.program, []).append(run)
    programs = []
    for number, same in enumerate(distinct.values(), 1):
        report = _report(number, same)
        _take_times(same[0], report, SECONDS / len(distinct))
        programs.append(report)
    peaks = None
    if any(program.compiled for program in programs):
        from suiren.explanation.peaks import peaks as measured

        peaks = measured()
    return Explanation(programs, calls, peaks)


# ---- making reports


def _report(number: int, same: list[Run]) -> ProgramReport:
    from suiren.compiler import listing

    run = same[0]
    entries, input_keys, _ = run.key
    firsts = listing.first_slots(entries, input_keys)
    operations = [
        Operation(entry[0].name, listing.entry_text(entry, first), place)
        for entry, first, place in zip(entries, firsts, run.lines, strict=True)
    ]
    native = run.program.native
    report = ProgramReport(
        number, native is not None, len(same), operations, repr(native.graph) if native else ""
    )
    if native is None:
        used = run.program.interpretation.steps
        places = {first: place for first, place in zip(firsts, run.lines, strict=True)}
        report.steps = [HostReport(step.operator.name, places.get(step.first)) for step in used]
    else:
        report.steps = list(_steps(native, run.lines))
        report.scratch = native.plan.arena_size
        report.in_place = [
            f"n{a.index} over n{b.index}" for a, (b, *_) in native.plan.donations.items()
        ]
    return report


def _steps(native: Any, places: list[Place | None]) -> Iterator[KernelReport | HostReport]:
    from suiren import dtypes
    from suiren.compiler import costs, listing, pseudocode
    from suiren.compiler.target import host

    def place_of(position: int) -> Place | None:
        return places[position] if position < len(places) else None

    def remark(root: Any) -> str:
        if root.source is None:
            return ""
        place = place_of(root.source[0])
        return f"{place or ''} {root.source[1]}".strip()

    count = 0
    for step, part in listing.steps_of(native.plan):
        if step.kernel is None:
            call = step.group.roots[0]
            position = call.source[0] if call.source is not None else len(places)
            yield HostReport(call.attributes[0].name, place_of(position))
            continue
        count += 1
        cost = costs.cost_of(step, native.plan)
        sources = [(name, place_of(at)) for at, name in pseudocode.sources_of(step)]
        yield KernelReport(
            count, step.kernel.name, step.kernel.tasks, cost.read, cost.written, cost.operations,
            any(root.dtype is dtypes.float64 for root in step.group.roots),
            listing.kernel_arrays(step, native.plan),
            pseudocode.lines_of(step, part, host(), remark), sources, step.kernel.text,
        )  # fmt: skip


def _take_times(run: Run, report: ProgramReport, seconds: float) -> None:
    """Runs the program on copies, again and again, and keeps the best times."""
    from suiren.explanation.timing import timed

    program = run.program
    held = copies(run.inputs)  # that somebody holds: so nothing is computed in place

    def once() -> None:
        if program.native is not None:
            program.native.run(list(held), False)
        else:
            error = program.interpretation.run(list(held), True)[1]
            if error is not None:
                raise error

    end = perf_counter() + seconds
    best: dict[int, float] = {}
    try:
        for number in range(MAX_RUNS):
            began = perf_counter()
            once()
            whole = perf_counter() - began
            if number:
                report.seconds = _least(report.seconds, whole)
            _, times = timed(program, once)
            for step, took in zip(report.steps, _in_order(report, times), strict=True):
                key = id(step)
                best[key] = min(best.get(key, took), took)
            if number >= 2 and perf_counter() > end:
                break
    except Exception as problem:  # it failed in the function's own call as well
        report.in_place.append(f"no times: {problem!r}")
    for step in report.steps:
        step.seconds = best.get(id(step), float("nan"))


def _in_order(report: ProgramReport, times: Any) -> Iterator[float]:
    """Seconds of each step of a report."""
    native = iter(sorted(times.kernels))
    host = iter(times.host if report.compiled else times.interpreted)
    for step in report.steps:
        _, begin, end = next(native if isinstance(step, KernelReport) else host)
        yield (end - begin) * 1e-9


def _least(a: float, b: float) -> float:
    return b if a != a or b < a else a


# ---- text


def _program_lines(program: ProgramReport, peaks: Any) -> list[str]:
    kernels, host = len(program.kernels), len(program.host)
    parts = [f"{len(program.operations)} operation{'s' * (len(program.operations) != 1)}"]
    if program.compiled:
        parts.append(f"{kernels} kernel{'s' * (kernels != 1)}")
        if host:
            parts.append(f"{host} step{'s' * (host != 1)} on the host")
    else:
        parts.append("interpreted")
    parts.append(_time(program.seconds))
    if program.runs > 1:
        parts.append(f"run {program.runs} times in a call")
    lines = [f"program {program.number}: {', '.join(parts)}", "", "  recorded"]
    last: Any = ()
    for operation in program.operations:
        if operation.place != last:
            last = operation.place
            if last is not None:
                lines.append(f"    {last}  {last.text}")
        lines.append(f"        {operation.text}")
    if program.kernels:
        lines += ["", *("  " + line for line in _table(program, peaks))]
    for step in program.steps:
        if isinstance(step, KernelReport):
            lines += ["", *("  " + line for line in _kernel_lines(step, peaks))]
        elif program.compiled:
            lines += ["", f"  {step}"]
        else:
            lines += [f"  {step}"]
    if program.compiled:
        lines += ["", f"  {program.scratch:,} bytes between kernels"]
    if program.in_place:
        pairs = ", ".join(program.in_place)
        lines.append(f"  in place, where nobody else holds the input: {pairs}")
    return lines


def _table(program: ProgramReport, peaks: Any) -> list[str]:
    total = sum(k.seconds for k in program.steps if k.seconds == k.seconds) or 1.0
    rows = [("", "time", "share", "GFLOP/s", "of peak", "GB/s", "of peak", "kernel")]
    for kernel in program.kernels:
        flops, streamed = _shares(kernel, peaks)
        rows.append((
            str(kernel.number), _time(kernel.seconds), f"{kernel.seconds / total:.0%}",
            f"{kernel.gigaflops:.2f}", flops, f"{kernel.gigabytes:.2f}", streamed, kernel.name,
        ))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(7)]
    return [
        "  ".join([cell.rjust(width) for cell, width in zip(row, widths, strict=False)] + [row[7]])
        for row in rows
    ]


def _shares(kernel: KernelReport, peaks: Any) -> tuple[str, str]:
    if peaks is None or kernel.seconds != kernel.seconds:
        return "", ""
    most = peaks.gigaflops64 if kernel.double else peaks.gigaflops
    return f"{kernel.gigaflops / most:.0%}", f"{kernel.gigabytes / peaks.gigabytes:.0%}"


def _kernel_lines(kernel: KernelReport, peaks: Any) -> list[str]:
    plural = "s" if kernel.tasks != 1 else ""
    lines = [
        f"kernel {kernel.number}: {kernel.name}, {kernel.tasks} task{plural}, "
        f"{_time(kernel.seconds)}",
        f"    {kernel.read:,} bytes read, {kernel.written:,} written, "
        f"{kernel.operations:,} operations",
    ]
    by_place: dict[Place | None, list[str]] = {}
    for name, place in kernel.sources:
        names = by_place.setdefault(place, [])
        if name not in names:
            names.append(name)
    for place, names in by_place.items():
        where = f"{place}  {_cut(place.text)}  " if place is not None else ""
        lines.append(f"    from {where}({', '.join(names)})")
    lines += [f"    {line}" for line in kernel.arrays]
    lines += [f"    {line}" for line in kernel.lines]
    return lines


def _time(seconds: float) -> str:
    if seconds != seconds:
        return "not timed"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _at(place: Place | None) -> str:
    return "" if place is None else f" ({place}  {place.text})"


def _place(place: Place | None) -> dict[str, Any]:
    if place is None:
        return {"file": None, "line": None, "source": None}
    return {"file": place.file, "line": place.line, "source": place.text}


def _known(number: float) -> float | None:
    return number if number == number else None
