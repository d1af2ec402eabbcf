"""`Replays`: what has been learnt about one compiled function, and which way a call goes.

The first call of a kind runs as it is written, while the code that runs is noted; the next ones are
watched until two were the same; from then on a call whose comparisons hold is replayed. A function
of which that cannot be done runs as it is written, each time: the logger ``suiren.compiler`` says
why (level DEBUG), and ``fullgraph=True`` raises.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

from suiren.autocast_state import state as autocast
from suiren.autocast_state import without_memory
from suiren.autograd.mode import mode
from suiren.compilation.arguments import Arguments
from suiren.compilation.frames import Frames
from suiren.compilation.replay import MISS, Plan
from suiren.compilation.watch import Record, Watch
from suiren.trace.program import watchers
from suiren.trace.recorder import EAGER, local

MAX_PLANS = 8  # of one function, for different arguments and surroundings
MAX_WATCHES = 8  # of calls with arguments of one kind, until there is a plan
MAX_FAILURES = 3  # watches that ended with a problem, until there will be none any more
MAX_KINDS = 64
MAX_MISSES = 100  # calls in a row for which none of MAX_PLANS plans is right

log = logging.getLogger("suiren.compiler")


class Unsupported(RuntimeError):
    """A function compiled with ``fullgraph=True`` cannot be replayed."""


class _Depth(threading.local):
    watching = False  # a call is being watched: what it calls is part of it
    inside = 0  # compiled functions under way


depth = _Depth()


class _Kind:
    """What is known of calls with arguments of one kind."""

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self.watches = 0
        self.record: Record | None = None


class Replays:
    """The plans of one function."""

    def __init__(self, function: Any, name: str, fullgraph: bool = False) -> None:
        self.function = function
        self.name = name
        self.fullgraph = fullgraph
        self.last: Plan | None = None
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Starts anew, as if the function had not been called."""
        self.plans: list[Plan] = []
        self.kinds: dict[Any, _Kind] = {}
        self.codes: set[Any] = set()
        self.names: set[str] = set()
        self.last = None
        self.misses = 0
        self.given_up = False
        self.why: str | None = None  # the last reason why a call could not be replayed
        self.generation = _generation[0]

    def __call__(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        if depth.watching or EAGER or watchers:  # suiren.explain wants to see what is recorded
            return self._plainly(args, kwargs)
        if self.generation != _generation[0]:
            self.forget()
        if self.given_up:
            return self._plainly(args, kwargs)
        last = self.last
        if last is not None:
            found = last.replay(args, kwargs)
            if found is not MISS:
                return found
        for plan in self.plans:
            if plan is not last:
                found = plan.replay(args, kwargs)
                if found is not MISS:
                    self.last = plan
                    self.misses = 0
                    return found
        return self._learn(args, kwargs)

    def _plainly(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        depth.inside += 1
        try:
            return self.function(*args, **kwargs)
        finally:
            depth.inside -= 1

    def _learn(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        if len(self.plans) >= MAX_PLANS:
            self.misses += 1
            if self.misses > MAX_MISSES:
                self._give_up()
            return self._plainly(args, kwargs)
        if sys.getprofile() is not None:
            return self._plainly(args, kwargs)
        key = Arguments(args, kwargs).spec, mode.grad, autocast.settings
        kind = self.kinds.get(key)
        if kind is None:
            if len(self.kinds) >= MAX_KINDS:
                return self._plainly(args, kwargs)
            kind = self.kinds[key] = _Kind()
        if kind.failures >= MAX_FAILURES or kind.watches >= MAX_WATCHES:
            return self._plainly(args, kwargs)
        if not self.lock.acquire(blocking=False):  # another thread is at it
            return self._plainly(args, kwargs)
        depth.inside += 1
        try:
            kind.calls += 1
            if kind.calls == 1:
                return self._first(args, kwargs, kind)
            return self._watch(args, kwargs, kind)
        finally:
            depth.inside -= 1
            self.lock.release()

    def _give_up(self) -> None:
        self.given_up = True
        self.plans, self.last = [], None
        self.why = "what it depends on changes all the time"
        log.debug("%s: no longer replayed: %s", self.name, self.why)

    def _first(self, args: tuple, kwargs: dict[str, Any], kind: _Kind) -> Any:
        """Runs the function as it is written and notes which code ran."""
        trace = local.trace
        trace.flush()
        frames = Frames(trace, first=True)
        trace.held = 0  # computed below, where nobody notes what the compiler does
        try:
            with frames, without_memory():
                result = self.function(*args, **kwargs)
        finally:
            trace.held = None
        trace.flush()
        self.codes |= frames.codes
        self.names |= frames.names
        if frames.problem is not None:
            self._failed(kind, frames.problem)
        return result

    def _watch(self, args: tuple, kwargs: dict[str, Any], kind: _Kind) -> Any:
        watch = Watch(self.function, self.codes, self.names, args, kwargs)
        depth.watching = True
        kind.watches += 1
        try:
            result = watch.run()
        finally:
            depth.watching = False
            if watch.frames is not None:
                self.codes |= watch.frames.codes
                self.names |= watch.frames.names
        record, before = watch.record, kind.record
        kind.record = record
        if record is None and watch.again:
            log.debug("%s: %s", self.name, watch.problem)
        elif record is None:
            self._failed(kind, watch.problem or "it raised an error")
        elif before is not None and before.summary() == record.summary():
            self.last = plan = Plan(record)
            self.plans.append(plan)
            kind.record = None
            kind.watches = kind.failures = 0
            log.debug("%s: replayed from now on (%s)", self.name, plan.describe())
        elif kind.watches >= MAX_WATCHES:
            self._failed(kind, "it does something else in each call")
        return result

    def _failed(self, kind: _Kind, why: str) -> None:
        kind.failures += 1
        self.why = why
        if kind.failures < MAX_FAILURES and kind.watches < MAX_WATCHES:
            return
        log.debug("%s: not replayed, runs as it is written: %s", self.name, why)
        if self.fullgraph:
            raise Unsupported(
                f"torch.compile(fullgraph=True): {self.name} cannot be replayed: {why}; leave out "
                "fullgraph=True, and it runs as it is written"
            )


_generation = [0]


def forget_all() -> None:
    """Every compiled function starts anew."""
    _generation[0] += 1
