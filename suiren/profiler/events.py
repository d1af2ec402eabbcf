"""What was recorded, as PyTorch's objects: single events, and averages of events of one name.

Times are in microseconds. Everything runs on the CPU, so the times and bytes of other devices are
there, for scripts that print them, and zero. Source: PyTorch's torch.profiler page.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any

from suiren.profiler.recording import Span


class DeviceType(enum.IntEnum):
    """Where an event took place: here always ``CPU``."""

    CPU = 0
    CUDA = 1


class Interval:
    """From ``start`` to ``end``, in microseconds since the profile began."""

    __slots__ = ("start", "end")

    def __init__(self, start: float, end: float) -> None:
        self.start = start
        self.end = end

    def elapsed_us(self) -> float:
        """How long it took."""
        return self.end - self.start


def _time_text(us: float) -> str:
    if us >= 1e6:
        return f"{us / 1e6:.3f}s"
    return f"{us / 1e3:.3f}ms" if us >= 1e3 else f"{us:.3f}us"


class _Timed:
    """Times by all the names that PyTorch has for them."""

    cpu_time_total: float
    self_cpu_time_total: float
    cpu_memory_usage: int
    self_cpu_memory_usage: int
    count: int

    device_time = device_time_total = self_device_time_total = 0.0
    cuda_time = cuda_time_total = self_cuda_time_total = 0.0
    device_memory_usage = self_device_memory_usage = 0
    cuda_memory_usage = self_cuda_memory_usage = 0
    device_type = DeviceType.CPU
    use_device: str | None = None
    node_id = -1
    overload_name = ""
    is_async = is_remote = is_legacy = False

    @property
    def cpu_time(self) -> float:
        """The average of one call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def cpu_time_str(self) -> str:
        """The average of one call, with its unit."""
        return _time_text(self.cpu_time)

    @property
    def cpu_time_total_str(self) -> str:
        """The time of all calls, with its unit."""
        return _time_text(self.cpu_time_total)

    @property
    def self_cpu_time_total_str(self) -> str:
        """The time of all calls without what they called, with its unit."""
        return _time_text(self.self_cpu_time_total)


class FunctionEvent(_Timed):
    """One call: of an operator, a kernel, a program, or of what ``record_function`` names."""

    count = 1

    def __init__(self, number: int, span: Span, origin: int, thread: int) -> None:
        self.id = number
        self.name = self.trace_name = span.name
        self.kind = span.kind
        self.thread = thread
        self.time_range = Interval((span.begin - origin) / 1e3, (span.end - origin) / 1e3)
        self.cpu_parent: FunctionEvent | None = None
        self.cpu_children: list[FunctionEvent] = []
        self.kernels: list[Any] = []
        self.input_shapes = span.shapes
        self.concrete_inputs: list[Any] = []
        self.stack = span.stack
        self.flops = span.flops
        self.details = span.details
        self.is_user_annotation = span.kind == "user_annotation"
        self.sequence_nr = -1
        self.own_memory = span.nbytes

    @property
    def key(self) -> str:
        """What averages are made by."""
        return self.name

    @property
    def cpu_time_total(self) -> float:  # type: ignore[override]
        """Microseconds from the beginning to the end."""
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self) -> float:  # type: ignore[override]
        """Microseconds without those of what was called within."""
        return self.cpu_time_total - sum(child.cpu_time_total for child in self.cpu_children)

    @property
    def cpu_memory_usage(self) -> int:  # type: ignore[override]
        """Bytes of results that programs made within."""
        return self.own_memory + sum(child.cpu_memory_usage for child in self.cpu_children)

    @property
    def self_cpu_memory_usage(self) -> int:  # type: ignore[override]
        """Bytes of results that this event itself made."""
        return self.own_memory

    def __repr__(self) -> str:
        children = [child.id for child in self.cpu_children]
        return (
            f"<FunctionEvent id={self.id} name={self.name} device_type={self.device_type!s} "
            f"cpu_time={self.cpu_time_str} start_us={self.time_range.start:.3f} "
            f"end_us={self.time_range.end:.3f} cpu_children={children} thread={self.thread} "
            f"input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage}>"
        )


class FunctionEventAvg(_Timed):
    """All events of one name (and of the same shapes, or stack, if asked for) together."""

    def __init__(self) -> None:
        self.key: str | None = None
        self.count = 0
        self.cpu_time_total = 0.0
        self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = 0
        self.self_cpu_memory_usage = 0
        self.input_shapes: Any = None
        self.stack: list[str] = []
        self.flops = 0
        self.is_user_annotation = False
        self.cpu_children: list[FunctionEvent] = []
        self.cpu_parent: FunctionEvent | None = None

    def add(self, other: FunctionEvent | FunctionEventAvg) -> FunctionEventAvg:
        """Takes one more into account."""
        if self.key is None:
            self.key = other.key
            self.input_shapes = other.input_shapes
            self.stack = other.stack
            self.is_user_annotation = other.is_user_annotation
            self.cpu_parent = other.cpu_parent
        self.cpu_time_total += other.cpu_time_total
        self.self_cpu_time_total += other.self_cpu_time_total
        self.cpu_memory_usage += other.cpu_memory_usage
        self.self_cpu_memory_usage += other.self_cpu_memory_usage
        self.flops += other.flops
        self.count += other.count
        return self

    __iadd__ = add

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str} "
            f"cpu_time={self.cpu_time_str} input_shapes={self.input_shapes} "
            f"cpu_memory_usage={self.cpu_memory_usage}>"
        )


class EventList(list):
    """Events, or averages of them, with what can be made of them all."""

    supported_export_stacks_metrics = ("self_cpu_time_total",)

    def __init__(
        self, events: Iterable[Any] = (), *, profile_memory: bool = False,
        with_flops: bool = False, metadata: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(events)
        self._profile_memory = profile_memory
        self._with_flops = with_flops
        self._metadata = {} if metadata is None else metadata

    @classmethod
    def of(cls, spans: Sequence[Span], origin: int, **options: Any) -> EventList:
        """The events of these spans."""
        threads: dict[int, int] = {}
        made: dict[Span, FunctionEvent] = {}
        for number, span in enumerate(sorted(spans, key=lambda s: (s.begin, -s.end))):
            thread = threads.setdefault(span.thread, len(threads) + 1)
            made[span] = FunctionEvent(number, span, origin, thread)
        for span, event in made.items():
            parent = made.get(span.parent) if span.parent is not None else None
            if parent is not None:
                event.cpu_parent = parent
                parent.cpu_children.append(event)
        return cls(made.values(), **options)

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of all events, none counted twice."""
        return sum(event.self_cpu_time_total for event in self)

    def key_averages(
        self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:  # fmt: skip
        """One :class:`FunctionEventAvg` for each name (and shapes, and top of the stack)."""
        found: dict[tuple, FunctionEventAvg] = {}
        for event in self:
            key = (
                event.key,
                str(event.input_shapes) if group_by_input_shapes else None,
                tuple(event.stack[:group_by_stack_n]) if group_by_stack_n > 0 else None,
            )
            found.setdefault(key, FunctionEventAvg()).add(event)
        for average in found.values():
            if not group_by_input_shapes:
                average.input_shapes = ""
            average.stack = average.stack[:group_by_stack_n]
        return EventList(
            found.values(), profile_memory=self._profile_memory, with_flops=self._with_flops
        )

    def total_average(self) -> FunctionEventAvg:
        """All events as one."""
        total = FunctionEventAvg()
        for event in self:
            total.add(event)
            total.key = None
        total.key = "Total"
        return total

    def table(
        self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75,
        max_name_column_width: int = 55, max_shapes_column_width: int = 80,
        header: str | None = None, top_level_events_only: bool = False,
        time_unit: str | None = None,
    ) -> str:  # fmt: skip
        """The events as a table.

        ``sort_by``: an attribute of the events, the largest first (``cpu_time_total``,
        ``self_cpu_time_total``, ``cpu_time``, ``count``, ...; AttributeError for others); without
        it, the order of time. ``row_limit``: so many rows, -1 for all. ``time_unit``: "s",
        "ms" or "us" for all times.
        """
        from suiren.profiler.table import table_of

        return table_of(
            self, sort_by, row_limit, max_src_column_width, max_name_column_width,
            max_shapes_column_width, header, top_level_events_only, time_unit,
            self._profile_memory, self._with_flops,
        )  # fmt: skip

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: str) -> None:
        """Writes the events to a file for chrome://tracing or ui.perfetto.dev; .gz compresses."""
        from suiren.profiler.chrome import write

        write(self, path, self._metadata)

    def export_stacks(self, path: str, metric: str) -> None:
        """Writes stacks (outermost first) with their microseconds, for flame graphs.

        Raises ValueError for a metric other than "self_cpu_time_total".
        """
        if metric not in self.supported_export_stacks_metrics:
            names = list(self.supported_export_stacks_metrics)
            raise ValueError(f"metric should be one of: {names}, but got {metric!r}")
        with open(path, "w", encoding="utf-8") as file:
            for event in self:
                if event.stack and int(event.self_cpu_time_total) > 0:
                    line = ";".join(_plain(frame) for frame in reversed(event.stack))
                    file.write(f"{line} {int(event.self_cpu_time_total)}\n")


def _plain(frame: str) -> str:
    return frame.translate(str.maketrans(" ;\t\n", "____"))
