"""Collecting spans of time: who calls what, when it began and ended, and within what.

While it is open, a :class:`Recorder` stands in the place of ``dispatch.apply`` and of a few other
functions, and looks on while programs run. Times are ``time.perf_counter_ns``.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from time import perf_counter_ns
from types import CodeType, FunctionType, TracebackType
from typing import Any

from suiren import dispatch
from suiren.explanation.timing import Times, timed
from suiren.explanation.watching import PACKAGE
from suiren.tensor import Tensor
from suiren.trace import program as programs
from suiren.trace.recorder import Trace, flush

MAX_FUSED = 3  # operators named in a kernel's name
MAX_FRAMES = 32  # of a stack

_active: Recorder | None = None
_lock = threading.Lock()


class Span:
    """Something that took time in a thread."""

    __slots__ = (
        "name", "kind", "begin", "end", "thread", "parent", "shapes", "stack", "nbytes", "flops",
        "details",
    )  # fmt: skip

    def __init__(self, name: str, kind: str, begin: int, parent: Span | None):
        self.name = name
        self.kind = kind  # cpu_op, user_annotation, program, kernel or host
        self.begin = begin
        self.end = begin
        self.thread = threading.get_ident()
        self.parent = parent
        self.shapes: list[Any] = []
        self.stack: list[str] = []
        self.nbytes = 0  # memory that it left in use
        self.flops = 0
        self.details: dict[str, Any] = {}


# The code of these two runs in the place of dispatch.apply's and Program.run's, among the names of
# their modules.


def _apply(operator: Any, inputs: tuple, attributes: tuple = ()) -> Any:
    return _profiled_apply(operator, inputs, attributes)  # type: ignore[name-defined]  # noqa: F821


def _run(self: Any, inputs: Any, own: Any) -> Any:
    return _profiled_run(self, inputs, own)  # type: ignore[name-defined]  # noqa: F821


def _copy(function: Any) -> Callable:
    """The function with the code that it has now."""
    return FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )


class Recorder:
    """Collects spans from ``start`` to ``stop``; there is one at a time."""

    def __init__(self, shapes: bool, stacks: bool, flops: bool) -> None:
        self.spans: list[Span] = []
        self.shapes, self.stacks, self.flops = shapes, stacks, flops
        self.numbers: dict[Any, int] = {}  # of programs, in the order of their first run
        self.kernels: dict[Any, list[tuple[str, dict[str, Any]]]] = {}
        self.began = self.ended = 0
        self._open = threading.local()
        self._replaced: list[tuple[Any, str, Any]] = []
        self._codes: list[tuple[Any, CodeType]] = []

    # ---- from start to stop

    def start(self) -> None:
        """Begins to record. Raises RuntimeError while another recorder is at work."""
        global _active
        flush()  # what was recorded before is none of this
        with _lock:
            if _active is not None:
                raise RuntimeError("a profile is open already: profiles cannot be nested")
            _active = self
        self.began = perf_counter_ns()
        self._replace_code()
        self._replace(Trace, "record_segment", self._around_segment)
        self._replace_in("suiren.autograd", "backward", "backward", "user_annotation")
        engine = sys.modules.get("suiren.autograd.engine")
        if engine is not None:
            self._replace(engine, "_apply", self._around_node)
        iterators = sys.modules.get("suiren.utils.data.iterators")
        if iterators is not None:
            self._replace(iterators.BaseIterator, "__next__", self._around_loader)
        optimizers = sys.modules.get("suiren.optim.optimizer")
        if optimizers is not None:
            for kind in _subclasses(optimizers.Optimizer):
                if "step" in vars(kind):
                    self._replace(kind, "step", self._around_step)

    def stop(self) -> None:
        """Computes what was recorded and not computed, and puts everything back."""
        global _active
        try:
            flush()
        finally:
            for place, name, original in reversed(self._replaced):
                setattr(place, name, original)
            self._replaced.clear()
            self._restore_code()
            self.ended = perf_counter_ns()
            with _lock:
                _active = None

    def _replace(self, place: Any, name: str, around: Callable[[Callable], Callable]) -> None:
        original = vars(place)[name]
        self._replaced.append((place, name, original))
        setattr(place, name, around(original))

    def _replace_in(self, module: str, name: str, title: str, kind: str) -> None:
        found = sys.modules.get(module)
        if found is not None:
            self._replace(found, name, functools.partial(self._around, title, kind))

    def _replace_code(self) -> None:
        """Puts other code into ``apply`` and ``Program.run``: they are held in many places."""
        dispatch._profiled_apply = self._around_apply(_copy(dispatch.apply))  # type: ignore[attr-defined]
        programs._profiled_run = self._around_run(_copy(programs.Program.run))  # type: ignore[attr-defined]
        for function, code in ((dispatch.apply, _apply), (programs.Program.run, _run)):
            self._codes.append((function, function.__code__))
            function.__code__ = code.__code__  # type: ignore[attr-defined]

    def _restore_code(self) -> None:
        while self._codes:
            function, code = self._codes.pop()
            function.__code__ = code

    # ---- spans

    def begin(self, name: str, kind: str) -> Span:
        """Opens a span within the thread's innermost open one."""
        parent = getattr(self._open, "span", None)
        span = Span(name, kind, 0, parent)
        if self.stacks:
            span.stack = users_stack()
        self._open.span = span
        self.spans.append(span)
        span.begin = perf_counter_ns()
        return span

    def end(self, span: Span) -> None:
        """Closes a span."""
        span.end = perf_counter_ns()
        self._open.span = span.parent

    # ---- what goes around the functions of others

    def _around(self, title: str, kind: str, original: Callable) -> Callable:
        @functools.wraps(original)
        def around(*args: Any, **kwargs: Any) -> Any:
            span = self.begin(title, kind)
            try:
                return original(*args, **kwargs)
            finally:
                self.end(span)

        return around

    def _around_apply(self, original: Callable) -> Callable:
        shapes = self.shapes

        @functools.wraps(original)
        def apply(operator: Any, inputs: tuple, attributes: tuple = ()) -> Any:
            span = self.begin("aten::" + operator.name, "cpu_op")
            if shapes:
                span.shapes = [list(x.shape) if isinstance(x, Tensor) else [] for x in inputs]
                span.begin = perf_counter_ns()
            try:
                return original(operator, inputs, attributes)
            finally:
                self.end(span)

        return apply

    def _around_segment(self, original: Callable) -> Callable:
        @functools.wraps(original)
        def record_segment(trace: Any, segment: Any, arguments: Any) -> Any:
            span = self.begin("suiren::record_segment", "cpu_op")
            span.details["entries"] = len(segment.entries)
            try:
                return original(trace, segment, arguments)
            finally:
                self.end(span)

        return record_segment

    def _around_node(self, original: Callable) -> Callable:
        @functools.wraps(original)
        def apply_node(node: Any, grads: Any) -> Any:
            span = self.begin(f"autograd::engine::evaluate_function: {node.name()}", "cpu_op")
            try:
                return original(node, grads)
            finally:
                self.end(span)

        return apply_node

    def _around_loader(self, original: Callable) -> Callable:
        @functools.wraps(original)
        def next_batch(iterator: Any) -> Any:
            name = f"enumerate(DataLoader)#{type(iterator).__name__}.__next__"
            span = self.begin(name, "user_annotation")
            try:
                return original(iterator)
            finally:
                self.end(span)

        return next_batch

    def _around_step(self, original: Callable) -> Callable:
        @functools.wraps(original)
        def step(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            name = f"Optimizer.step#{type(optimizer).__name__}.step"
            span = self.begin(name, "user_annotation")
            try:
                return original(optimizer, *args, **kwargs)
            finally:
                self.end(span)

        return step

    # ---- programs

    def _around_run(self, original: Callable) -> Callable:
        def run(program: Any, inputs: list[tuple[int, Any]], own: bool) -> Any:
            return self._run(functools.partial(original, program, inputs, own), program)

        return run

    def _run(self, original: Callable[[], Any], program: Any) -> Any:
        """Runs a program, and takes its times."""
        number = self.numbers.setdefault(program, len(self.numbers) + 1)
        span = self.begin(f"program {number}", "program")
        try:
            if _is_due(program):
                compiling = self.begin("suiren::compile", "program")
                try:
                    program._compile()
                finally:
                    self.end(compiling)
            result, times = timed(program, original)
        finally:
            self.end(span)
        span.details["operations"] = program.size
        span.nbytes = sum(buffer.nbytes for buffer in result[0] if buffer is not None)
        self._add_steps(span, program, number, times)
        return result

    def _add_steps(self, span: Span, program: Any, number: int, times: Times) -> None:
        known = self.kernels.get(program)
        if times.kernels and known is None:
            known = self.kernels[program] = self._describe(program.native, number)
        for which, begin, end in times.kernels:
            assert known is not None
            name, details = known[which]
            self._add(span, name, "kernel", begin, end).details = details
            if self.flops:
                self.spans[-1].flops = details["operations"]
        for operator, begin, end in times.host:
            self._add(span, f"host {operator.name}", "host", begin, end)
        for operator, begin, end in times.interpreted:
            self._add(span, f"interpreted {operator.name}", "host", begin, end)

    def _add(self, parent: Span, name: str, kind: str, begin: int, end: int) -> Span:
        span = Span(name, kind, begin, parent)
        span.end = end
        span.stack = parent.stack
        self.spans.append(span)
        return span

    @staticmethod
    def _describe(native: Any, number: int) -> list[tuple[str, dict[str, Any]]]:
        """The name of each kernel by what is fused in it, and what is known about it."""
        from suiren.compiler import costs, listing, pseudocode, runtime

        found: list[tuple[str, dict[str, Any]]] = []
        for step, _ in listing.steps_of(native.plan):
            if step.kernel is None:
                continue
            names = list(dict.fromkeys(name for _, name in pseudocode.sources_of(step)))
            fused = "+".join(names[:MAX_FUSED]) + ("+..." if len(names) > MAX_FUSED else "")
            if step.group.product is not None:
                fused = f"{step.kernel.name.split('_')[0]} {fused}"
            cost = costs.cost_of(step, native.plan)
            found.append((f"kernel {number}.{len(found) + 1} {fused}", {
                "kernel": step.kernel.name, "tasks": step.kernel.tasks,
                "threads": min(step.kernel.tasks, runtime.get_num_threads()),
                "bytes read": cost.read, "bytes written": cost.written,
                "operations": cost.operations,
            }))  # fmt: skip
        return found


def _is_due(program: Any) -> bool:
    """Whether the program's next run is going to compile it."""
    return program.key is not None and program.is_due(program.seen + 1)


def users_stack() -> list[str]:
    """The lines under execution outside of this package, the innermost first."""
    found: list[str] = []
    frame = sys._getframe(1)
    while frame is not None and len(found) < MAX_FRAMES:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            found.append(f"{code.co_filename}({frame.f_lineno}): {code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return found


def _subclasses(kind: type[Any]) -> list[type[Any]]:
    found: list[type[Any]] = [kind]
    for known in found:  # which grows meanwhile
        found += [other for other in known.__subclasses__() if other not in found]
    return found


class record_function:
    """Gives what runs in a ``with`` block, or in a decorated function, a name in the profile.

    ``args`` is a text shown beside it. Outside of a profile it does nothing. Source: PyTorch,
    torch.profiler.record_function.

    >>> import suiren as torch
    >>> from suiren.profiler import profile, record_function
    >>> with profile() as prof:
    ...     with record_function("forward"):
    ...         y = torch.ones(3) * 2
    >>> [event.name for event in prof.events() if event.is_user_annotation]
    ['forward']
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name
        self.args = args
        self._span: tuple[Recorder, Span] | None = None

    def __enter__(self) -> record_function:
        recorder = _active
        if recorder is not None:
            self._span = recorder, recorder.begin(self.name, "user_annotation")
            if self.args is not None:
                self._span[1].details["args"] = self.args
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._span is not None:
            recorder, span = self._span
            recorder.end(span)
            self._span = None

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def named(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)

        return named
