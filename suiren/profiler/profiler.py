"""`profile`, its schedule and its handlers. Source: PyTorch's torch.profiler page."""

from __future__ import annotations

import enum
import json
import os
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

from suiren.profiler.events import EventList
from suiren.profiler.recording import Recorder, record_function


class ProfilerActivity(enum.Enum):
    """What to look at. Here there is a CPU; others are accepted, with a warning."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 6


class ProfilerAction(enum.Enum):
    """What to do during a step: see :func:`schedule`."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


def supported_activities() -> set[ProfilerActivity]:
    """The activities that can be profiled: the CPU's."""
    return {ProfilerActivity.CPU}


def kineto_available() -> bool:
    """False: events are collected by Suiren itself."""
    return False


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0,
    skip_first_wait: int = 0,
) -> Callable[[int], ProfilerAction]:  # fmt: skip
    """What :class:`profile` is to do at each step.

    ``skip_first`` steps are left out; then come cycles of ``wait`` steps and ``warmup`` steps
    without recording, and ``active`` steps that are recorded; ``repeat`` cycles, or without end if
    it is 0. ``skip_first_wait`` leaves the first cycle's waiting out. AssertionError if a number is
    negative, or ``active`` 0.

    >>> from suiren.profiler import schedule
    >>> plan = schedule(wait=1, warmup=1, active=2, repeat=1)
    >>> [plan(step).name for step in range(5)]
    ['NONE', 'WARMUP', 'RECORD', 'RECORD_AND_SAVE', 'NONE']
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise AssertionError(
            f"Invalid profiler schedule arguments: wait={wait}, warmup={warmup}, repeat={repeat} "
            f"and skip_first={skip_first} must not be negative and active={active} must be positive"
        )
    cycle = [ProfilerAction.NONE] * wait + [ProfilerAction.WARMUP] * warmup
    cycle += [ProfilerAction.RECORD] * (active - 1) + [ProfilerAction.RECORD_AND_SAVE]
    begin = skip_first - (wait if skip_first_wait else 0)

    def action(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"the steps of a schedule begin with 0, but got {step}")
        number, place = divmod(step - begin, len(cycle))
        over = step < skip_first or (repeat and number >= repeat)
        return ProfilerAction.NONE if over else cycle[place]

    return action


def _always(step: int) -> ProfilerAction:
    return ProfilerAction.RECORD


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """For ``on_trace_ready``: writes each trace to a file of its own in a folder.

    RuntimeError if the folder cannot be made.
    """

    def handler(prof: profile) -> None:
        import socket
        import time

        try:
            os.makedirs(dir_name, exist_ok=True)
        except OSError as error:
            raise RuntimeError(f"Can't create directory: {dir_name} ({error})") from error
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        ending = ".pt.trace.json" + (".gz" if use_gzip else "")
        prof.export_chrome_trace(os.path.join(dir_name, f"{worker}.{time.time_ns()}{ending}"))

    return handler


class profile:
    """Records where time goes in a ``with`` block.

    ``schedule`` and :meth:`step` record some steps of a loop only, and ``on_trace_ready(prof)`` is
    called when a cycle of it (or the block) ends. ``record_shapes`` keeps the shapes of the
    operators' arguments, ``with_stack`` the lines of the user's source, ``with_flops`` counts the
    operations of kernels, ``profile_memory`` the bytes of the results that programs make.

    RuntimeError for a profile within another. Source: PyTorch, torch.profiler.profile.

    >>> import suiren as torch
    >>> from suiren.profiler import profile
    >>> with profile() as prof:
    ...     y = (torch.ones(100) * 2).sum()
    >>> sorted(average.key for average in prof.key_averages() if average.key.startswith("aten"))
    ['aten::full', 'aten::mul', 'aten::sum']
    """

    def __init__(
        self, *, activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[..., Any] | None = None, record_shapes: bool = False,
        profile_memory: bool = False, with_stack: bool = False, with_flops: bool = False,
        with_modules: bool = False, experimental_config: Any = None,
        execution_trace_observer: Any = None, acc_events: bool = False,
        use_cuda: bool | None = None, custom_trace_id_callback: Callable[[], str] | None = None,
    ) -> None:  # fmt: skip
        self.activities = set(activities) if activities is not None else supported_activities()
        if not self.activities:
            raise AssertionError("No valid profiler activities found")
        for activity in self.activities - supported_activities():
            warnings.warn(f"{activity.name} is not there: it is not profiled", stacklevel=2)
        if execution_trace_observer is not None:
            raise NotImplementedError("profile() has no execution traces")
        self.record_shapes = record_shapes
        self.profile_memory = profile_memory
        self.with_stack = with_stack
        self.with_flops = with_flops
        self.with_modules = with_modules
        self.acc_events = acc_events
        self.schedule = schedule or _always
        self.on_trace_ready = on_trace_ready
        self.record_steps = schedule is not None
        self.step_num = 0
        self.current_action = ProfilerAction.NONE
        self._recorder: Recorder | None = None
        self._step: record_function | None = None
        self._events: EventList | None = None
        self._metadata: dict[str, Any] = {}

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()

    def start(self) -> None:
        """Begins, as entering the block does."""
        self.current_action = self.schedule(self.step_num)
        self._go_on()

    def stop(self) -> None:
        """Ends, as leaving the block does."""
        self._end_step()
        if self._recorder is not None:
            self._finish()
        self.current_action = ProfilerAction.NONE

    def step(self) -> None:
        """Says that the next step of a loop begins."""
        self._end_step()
        before = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        ends = self.current_action not in _RECORDING or before is ProfilerAction.RECORD_AND_SAVE
        if self._recorder is not None and ends:
            self._finish()
        self._go_on()

    def _go_on(self) -> None:
        if self.current_action in _RECORDING:
            if self._recorder is None:
                recorder = Recorder(self.record_shapes, self.with_stack, self.with_flops)
                recorder.start()
                self._recorder = recorder
            if self.record_steps:
                self._step = record_function(f"ProfilerStep#{self.step_num}")
                self._step.__enter__()

    def _end_step(self) -> None:
        if self._step is not None:
            from suiren.trace.recorder import flush

            flush()  # what the step asked for is computed within it
            self._step.__exit__(None, None, None)
            self._step = None

    def _finish(self) -> None:
        recorder = self._recorder
        assert recorder is not None
        recorder.stop()
        self._recorder = None
        found = EventList.of(
            recorder.spans, recorder.began, profile_memory=self.profile_memory,
            with_flops=self.with_flops, metadata=self._metadata,
        )  # fmt: skip
        if self.acc_events and self._events is not None:
            self._events.extend(found)
        else:
            self._events = found
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    # ---- what came of it

    def events(self) -> EventList:
        """All events of the last cycle (of all with ``acc_events``), in the order of time.

        AssertionError before anything was recorded.
        """
        if self._events is None:
            raise AssertionError("the profile has no events yet: its block must end first")
        return self._events

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:  # fmt: skip
        """The events by name, with sums and averages; ``.table()`` of it is what to print."""
        return self.events().key_averages(
            group_by_input_shape, group_by_stack_n, group_by_overload_name
        )

    def export_chrome_trace(self, path: str) -> None:
        """Writes a file for chrome://tracing or ui.perfetto.dev; ``.gz`` compresses."""
        self.events().export_chrome_trace(path)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Writes stacks with their times, for flame graphs; needs ``with_stack=True``."""
        self.events().export_stacks(path, metric)

    def export_memory_timeline(self, path: str, device: str | None = None) -> None:
        """Not there: results are not allocated one by one."""
        raise NotImplementedError("export_memory_timeline: memory is not followed over time")

    def toggle_collection_dynamic(self, enable: bool, activities: Iterable[Any]) -> None:
        """Not there."""
        raise NotImplementedError("toggle_collection_dynamic is not there: use a schedule")

    def add_metadata(self, key: str, value: str) -> None:
        """Adds a text to the trace file."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """Adds a value, given as JSON, to the trace file."""
        self._metadata[key] = json.loads(value)

    preset_metadata_json = add_metadata_json
