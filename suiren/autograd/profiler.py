"""`torch.autograd.profiler`: the older interface to the same recording.

Source: PyTorch's torch.autograd page, section on the profiler.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from suiren.profiler.events import EventList, FunctionEvent, FunctionEventAvg
from suiren.profiler.profiler import kineto_available
from suiren.profiler.recording import Recorder, record_function

__all__ = [
    "EventList", "FunctionEvent", "FunctionEventAvg", "emit_itt", "emit_nvtx", "kineto_available",
    "profile", "record_function",
]  # fmt: skip


class profile:
    """Records where time goes in a ``with`` block; without a schedule.

    The other arguments are for other devices, and select nothing. RuntimeError if it is entered
    twice. Source: PyTorch, torch.autograd.profiler.profile.

    >>> import suiren as torch
    >>> with torch.autograd.profiler.profile() as prof:
    ...     y = torch.ones(3) + 1
    >>> [event.name for event in prof.function_events if event.name.startswith("aten")]
    ['aten::full', 'aten::add']
    """

    def __init__(
        self, enabled: bool = True, *, use_cuda: bool = False, use_device: str | None = None,
        record_shapes: bool = False, with_flops: bool = False, profile_memory: bool = False,
        with_stack: bool = False, with_modules: bool = False, use_kineto: bool = False,
        use_cpu: bool = True, experimental_config: Any = None, acc_events: bool = False,
        custom_trace_id_callback: Any = None,
    ) -> None:  # fmt: skip
        self.enabled = enabled
        self.entered = False
        self.profile_memory = profile_memory
        self.with_flops = with_flops
        self._recorder = Recorder(record_shapes, with_stack, with_flops)
        self._found: EventList | None = None

    def __enter__(self) -> profile | None:
        if not self.enabled:
            return None
        if self.entered:
            raise RuntimeError("Profiler context manager is not reentrant")
        self._recorder.start()
        self.entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        if self.enabled:
            self._recorder.stop()
            self._found = EventList.of(
                self._recorder.spans, self._recorder.began, profile_memory=self.profile_memory,
                with_flops=self.with_flops,
            )  # fmt: skip

    @property
    def function_events(self) -> EventList:
        """All events. RuntimeError before the block has ended."""
        if self._found is None:
            raise RuntimeError("Profiler didn't finish running")
        return self._found

    def __repr__(self) -> str:
        return "<unfinished profile>" if self._found is None else repr(self._found)

    def __str__(self) -> str:
        return "<unfinished profile>" if self._found is None else str(self._found)

    def table(self, *args: Any, **kwargs: Any) -> str:
        """As :meth:`EventList.table`."""
        return self.function_events.table(*args, **kwargs)

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:  # fmt: skip
        """The events by name."""
        return self.function_events.key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self) -> FunctionEventAvg:
        """All events as one."""
        return self.function_events.total_average()

    def export_chrome_trace(self, path: str) -> None:
        """Writes a file for chrome://tracing or ui.perfetto.dev."""
        self.function_events.export_chrome_trace(path)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Writes stacks with their times."""
        self.function_events.export_stacks(path, metric)

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of all events, none counted twice."""
        return self.function_events.self_cpu_time_total


class emit_nvtx:
    """Marks for NVIDIA's profilers: not there, unless ``enabled`` is False."""

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        self.enabled = enabled

    def __enter__(self) -> Any:
        if self.enabled:
            raise NotImplementedError(f"{type(self).__name__}: there is nothing to give marks to")
        return None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        return None


class emit_itt(emit_nvtx):
    """Marks for Intel's profilers: not there, unless ``enabled`` is False."""
