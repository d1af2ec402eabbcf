"""The table of a profile, in the columns that PyTorch's has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

WIDTH = 12  # of a column of numbers


def table_of(
    events: Sequence[Any], sort_by: str | None, row_limit: int, source_width: int,
    name_width: int, shapes_width: int, header: str | None, top_only: bool, unit: str | None,
    memory: bool, flops: bool,
) -> str:  # fmt: skip
    """See :meth:`EventList.table`."""
    if not events:
        return ""
    if sort_by is not None:
        name = sort_by  # an unknown one raises AttributeError
        events = sorted(events, key=lambda event: getattr(event, name), reverse=True)
    total = sum(event.self_cpu_time_total for event in events)
    shown = [event for event in events if not (top_only and event.cpu_parent is not None)]
    if row_limit >= 0:
        shown = shown[:row_limit]
    columns: list[tuple[str, int, Callable[[Any], str]]] = [
        ("Name", _fitting(name_width, [e.key for e in events]), lambda e: _cut(e.key, name_width)),
        ("Self CPU %", WIDTH, lambda e: _share(e.self_cpu_time_total, total)),
        ("Self CPU", WIDTH, lambda e: _time(e.self_cpu_time_total, unit)),
        ("CPU total %", WIDTH, lambda e: _share(e.cpu_time_total, total)),
        ("CPU total", WIDTH, lambda e: _time(e.cpu_time_total, unit)),
        ("CPU time avg", WIDTH, lambda e: _time(e.cpu_time, unit)),
    ]
    if memory:
        columns.append(("CPU Mem", WIDTH, lambda e: _bytes(e.cpu_memory_usage)))
        columns.append(("Self CPU Mem", WIDTH, lambda e: _bytes(e.self_cpu_memory_usage)))
    columns.append(("# of Calls", WIDTH, lambda e: str(e.count)))
    if any(e.input_shapes for e in events):
        width = _fitting(shapes_width, [str(e.input_shapes) for e in events])
        columns.append(("Input Shapes", width, lambda e: _cut(str(e.input_shapes), width)))
    if any(e.stack for e in events):
        width_of_source = _fitting(source_width, [e.stack[0] for e in events if e.stack])
        columns.append(("Source Location", width_of_source, lambda e: (
            _end(e.stack[0], width_of_source) if e.stack else "")))  # fmt: skip
    if flops:
        columns.append(("Total MFLOPs", WIDTH, lambda e: f"{e.flops / 1e6:.3f}" * bool(e.flops)))
    rule = "  ".join("-" * width for _, width, _ in columns)
    lines = [rule]
    if header is not None:
        lines = ["=" * len(rule), header, rule]
    lines.append("  ".join(title.rjust(width) for title, width, _ in columns))
    lines.append(rule)
    for event in shown:
        lines.append("  ".join(text(event).rjust(width) for _, width, text in columns))
    lines += [rule, f"Self CPU time total: {_time(total, None)}", ""]
    return "\n".join(lines)


def _fitting(most: int, texts: Sequence[str]) -> int:
    return min(most, max([len(text) for text in texts], default=0) + 4)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width - 3 else text[: width - 3] + "..."


def _end(text: str, width: int) -> str:
    return text if len(text) <= width else "..." + text[-(width - 3) :]


def _share(part: float, total: float) -> str:
    return f"{100 * part / total:.2f}%" if total else "NaN"


def _time(us: float, unit: str | None) -> str:
    if unit is None:
        unit = "s" if us >= 1e6 else "ms" if us >= 1e3 else "us"
    return f"{us / {'s': 1e6, 'ms': 1e3, 'us': 1.0}[unit]:.3f}{unit}"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(count) >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"
