"""Watching one call of a compiled function, to know how to replay it.

Nothing is computed while the call runs (unless it looks at a value): all that it records lies in
the trace at its end. What went in is traced to where it came from: arguments, tensors that the code
can see, gradients, random draws, numbers of optimizers, constants. What came out is accounted for
to the last result that somebody still holds: contents of tensors that were there before, gradients,
what the function returns. If something is left over, or changed that is not understood, there is a
*problem* and no :class:`Record`. Two equal Records make a plan (``replay.py``).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from suiren import autograd, dtypes
from suiren.autocast_state import state as autocast
from suiren.autocast_state import without_memory
from suiren.autograd import graph
from suiren.autograd.graph import AccumulateGrad, OperatorNode, _anomaly
from suiren.autograd.mode import mode
from suiren.compilation.arguments import Arguments
from suiren.compilation.frames import Frames
from suiren.compilation.history import History, Template, Unknown
from suiren.compilation.surroundings import Surroundings
from suiren.device import _defaults
from suiren.nn.modules._hooks import global_hooks
from suiren.storage import Storage, inferring
from suiren.tensor import Tensor, value_of
from suiren.trace import Value
from suiren.trace.program import Program, programs
from suiren.trace.recorder import MAX_ENTRIES, local
from suiren.trace.value import observed

HELD_ENTRIES = 200_000  # room for a whole step, where a trace is otherwise computed sooner
MAX_CONSTANT = 1 << 20  # elements of an array made inside that is the same each time


def modes() -> tuple:
    """The settings that a replay depends on."""
    return (
        mode.grad, mode.inference, mode.saved_hooks, mode.task, dtypes._default,
        _defaults.stack[-1], _anomaly.on, bool(inferring),
        bool(global_hooks.forward or global_hooks.forward_pre
             or global_hooks.backward or global_hooks.backward_pre),
        autocast.settings,
    )  # fmt: skip


class Refused(Exception):
    """The call cannot be replayed; the text says why."""


def _state(t: Tensor) -> tuple:
    return (t._meta, t._storage, t._view, t._requires_grad, t._grad_fn, t._output_index, t._counter,
            t._epoch, t._inference, t._backward_hooks, t.__class__)  # fmt: skip


@dataclass
class Record:
    """A watched call. Tensors go by their *place*: a number into ``tensors``."""

    arguments: Arguments
    surroundings: Surroundings
    modes: tuple
    tensors: list[Tensor]  # arguments first, then what the code can see
    states: list[tuple]
    key: tuple = ()
    program: Program | None = None
    asked: int = 0  # how often parts of it asked to be computed
    inputs: list[int] = field(default_factory=list)  # slots
    sources: list[tuple] = field(default_factory=list)  # of the inputs; see Watch._source
    outputs: list[Any] = field(default_factory=list)  # Metas of the wanted results
    draws: list[tuple[Callable, tuple]] = field(default_factory=list)
    steps: list[tuple[Any, Any]] = field(default_factory=list)
    # (place, what the value is, changes, versions)
    writes: list[tuple[int, tuple, int, int]] = field(default_factory=list)
    # of each tensor that has or had a gradient: (place, Meta before, what is to be done)
    grads: list[tuple[int, Any, tuple]] = field(default_factory=list)
    results: Any = None  # nested, of tuples that say what each is
    nodes: list[Template] = field(default_factory=list)  # of the graph behind the results

    def summary(self) -> tuple:
        """What must be the same in two calls."""
        return (
            self.key, self.modes, [id(t) for t in self.tensors[self.arguments.count :]],
            self.sources, self.asked > 0, self.writes, self.grads, self.results,
            self.nodes,
            [(function, len(arguments)) for function, arguments in self.draws],
            [(id(optimizer), found[0]) for optimizer, found in self.steps],
        )  # fmt: skip


class Watch:
    """One watched call."""

    def __init__(
        self, function: Any, codes: set[Any], names: set[str], args: tuple, kwargs: dict
    ) -> None:
        self.function = function
        self.codes, self.names = codes, names
        self.args, self.kwargs = args, kwargs
        self.frames: Frames | None = None
        self.problem: str | None = None
        self.again = False  # the problem is that too little was known beforehand
        self.record: Record | None = None

    def run(self) -> Any:
        """Calls the function; afterwards ``record`` or ``problem`` is set."""
        trace = local.trace
        trace.flush()
        self._before()
        begin, before = sys.getprofile(), modes()
        looks = observed[0]
        self.start = next(graph._sequence)
        self.frames = frames = Frames(trace)
        trace.held, trace.room = 0, HELD_ENTRIES
        entries = trace.entries
        try:
            assert begin is None
            with frames, without_memory():
                result = self.function(*self.args, **self.kwargs)
            if self.problem is None:
                self.problem = frames.problem
            if self.problem is None and (
                trace.entries is not entries or observed[0] != looks or trace.urgent
            ):
                self.problem = "a value is looked at inside, or the step is too large"
            if self.problem is None and modes() != before:
                self.problem = "it changes a setting"
            if self.problem is None:
                try:
                    self._learn(result, trace)
                except Refused as why:
                    self.problem = str(why)
        finally:
            trace.held = None
            trace.room = min(trace.room, MAX_ENTRIES)
        if self.record is not None:
            program = self.record.program = programs.get(self.record.key)
            program.hurry()
            program.seen = max(program.seen, 1)
        trace.flush()
        return result

    # ---- before the call

    def _before(self) -> None:
        arguments = Arguments(self.args, self.kwargs)
        around = Surroundings([self.function, *arguments.objects], self.codes, self.names)
        self.problem = arguments.problem or around.problem
        if self.problem is not None:
            return
        places = {id(t): i for i, t in enumerate(arguments.tensors)}
        if len(places) != len(arguments.tensors):
            self.problem = "a tensor is given twice"
            return
        tensors = [*arguments.tensors, *[t for t in around.tensors if id(t) not in places]]
        self.given = arguments.count
        self.values: dict[Value, tuple[tuple, Storage]] = {}
        self.twice: set[Value] = set()
        self.places = {id(t): i for i, t in enumerate(tensors)}
        self.held_grads = [t._grad for t in tensors]
        self.grad_values: list[Value | None] = []
        for place, t in enumerate(tensors):
            if t._storage.pinned is None:
                self._know(value_of(t), ("tensor", place), t._storage)
        local.trace.flush()  # views may have been read
        self.storages: dict[int, tuple[int, Storage, Value | None, int, int]] = {}
        for place, t in enumerate(tensors):
            s = t._storage
            if t._view is None:
                self.storages.setdefault(id(s), (place, s, s.value, s.changes, s.version))
        for place, grad in enumerate(self.held_grads):
            self.grad_values.append(None)
            if grad is not None and grad._view is None and grad._storage.value is not None:
                self.grad_values[place] = grad._storage.value
                self._know(grad._storage.value, ("grad", place), grad._storage)
        self.counters = [None if t._counter is None else t._counter.version for t in tensors]
        self.grad_versions = [
            (0, 0) if g is None else (g._storage.changes, g._storage.version)
            for g in self.held_grads
        ]
        states = [_state(t) for t in tensors]
        self.known = Record(arguments, around, modes(), tensors, states)

    def _know(self, value: Value, source: tuple, storage: Storage) -> None:
        known = self.values.get(value)
        if known is None:
            self.values[value] = (source, storage)
        elif known[1] is not storage or source[0] == "grad" or (
            min(known[0][1], source[1]) < self.given
        ):
            self.twice.add(value)

    # ---- after it

    def _learn(self, result: Any, trace: Any) -> None:
        frames, record = self.frames, self.known
        assert frames is not None
        if not record.surroundings.unchanged():
            raise Refused("it changes something that outlives the call, besides tensors")
        if not (frames.codes <= self.codes and frames.names <= self.names):
            self.again = True
            raise Refused("it ran code that had not run before")
        # Storages that the call made and that outlive it, by id.
        self.fresh = {id(t._grad._storage) for t in record.tensors if t._grad is not None}
        self.saved: set[Value] = set()  # for a backward pass to come
        self.history = History(
            self.start, self.places, record.tensors, self.given,
            {key: (place, version) for key, (place, _, _, _, version) in self.storages.items()},
        )  # fmt: skip
        templates = self._results(result, {})
        try:
            record.nodes, self.numbers_of_nodes = self.history.templates()
        except Unknown as why:
            raise Refused(str(why)) from None
        for node in record.nodes:
            node.settle(self._keep)
        self._writes(record)
        self._gradients(record)
        record.results = templates
        self._account(trace)
        record.asked = trace.held or 0
        record.draws = [(function, arguments) for function, arguments, _ in frames.draws]
        self.drawn = {value: i for i, (_, _, value) in enumerate(frames.draws)}
        self._steps(record)
        for slot, what in trace.inputs:
            record.inputs.append(slot)
            record.sources.append(self._source(what, len(record.sources)))
        position = {value: i for i, value in enumerate(self.alive)}
        record.outputs = [value.meta for value in self.alive]

        def settled(what: tuple) -> tuple:
            if what[0] != "value":
                return what
            value = what[1]
            if value in position:
                return ("output", position[value])
            return ("input", self._source(value, -1))

        record.writes = [(p, settled(what), c, v) for p, what, c, v in record.writes]
        record.grads = [
            (p, meta, (what[0], settled(what[1]), *what[2:]) if len(what) > 1 else what)
            for p, meta, what in record.grads
        ]
        record.results = _mapped(record.results, settled)
        for node in record.nodes:
            node.settle(settled)
        record.results = _mapped_nodes(record.results, self.numbers_of_nodes)
        record.key = (
            tuple(trace.entries), tuple(trace.input_keys),
            tuple([value.slot for value in self.alive]),
        )  # fmt: skip
        if not self.alive:
            raise Refused("it computes nothing")
        self.record = record

    def _keep(self, what: tuple) -> tuple:
        self.saved.add(what[1])
        return what

    def _results(self, x: Any, seen: dict[int, tuple]) -> tuple:
        """What is returned, as nested tuples."""
        if isinstance(x, Tensor):
            found = seen.get(id(x))
            if found is None:
                found = seen[id(x)] = self._result(x, len(seen), seen)
            return found
        kind = x.__class__
        if kind in (int, float, bool, str, bytes, complex, type(None)):
            return ("plain", kind, repr(x), _Same(x))
        if kind in (list, tuple):
            return (kind.__name__, *[self._results(y, seen) for y in x])
        if isinstance(x, tuple) and hasattr(x, "_fields"):
            return ("named", kind, *[self._results(y, seen) for y in x])
        if kind is dict and all(k.__class__ in (str, int) for k in x):
            return ("dict", tuple(x), *[self._results(y, seen) for y in x.values()])
        raise Refused(f"it returns a {kind.__name__}")

    def _result(self, x: Tensor, number: int, seen: dict[int, tuple]) -> tuple:
        place = self.places.get(id(x))
        if place is not None:
            return ("known", place)
        if x.__class__ is not Tensor or x._storage.pinned is not None or x._counter is not None:
            raise Refused("it returns a tensor of a special kind")
        owner = self.storages.get(id(x._storage))
        if owner is not None:
            if x._view is None and not x._requires_grad:
                return ("alias", owner[0])
            raise Refused("it returns a view of a tensor that was there before")
        if id(x._storage) in seen or x._backward_hooks is not None:
            raise Refused("it returns views of one another, or with hooks")
        seen[id(x._storage)] = ()
        self.fresh.add(id(x._storage))
        value = value_of(x)
        node: Spent | Hung | None = None
        if x._requires_grad:
            if x._grad_fn is None:
                raise Refused("it returns a new leaf")
            if x._view is not None:
                raise Refused("it returns a view that can be differentiated")
            if _is_spent(x._grad_fn):
                node = Spent(x._grad_fn, x._output_index)
            else:
                node = Hung(x._grad_fn, x._output_index)
                self.history.roots.append(x._grad_fn)
                self.history.results[id(x._storage)] = number
        return ("tensor", number, ("value", value), x._meta, node, x._storage.version)

    def _writes(self, record: Record) -> None:
        frames = self.frames
        assert frames is not None
        for place, t in enumerate(record.tensors):
            before, now = record.states[place], _state(t)
            if any(a is not b for a, b in zip(before, now, strict=True)) and before != now:
                raise Refused("a tensor becomes another, beyond its contents")
            counter = self.counters[place]
            if counter is not None and t._counter.version != counter:
                raise Refused("a tensor is written to that came of .data")
        viewed = {id(t._storage) for t in record.tensors if t._view is not None}
        grads = {id(g._storage) for g in self.held_grads if g is not None}
        for place, s, value, changes, version in self.storages.values():
            if s.changes == changes and s.version == version and s.value is value:
                continue
            if s.pinned is not None or id(s) in viewed or id(s) in grads or s.value is None:
                raise Refused("memory is written to that is shared, or that views show")
            record.writes.append(
                (place, ("value", s.value), s.changes - changes, s.version - version)
            )
        for key, reference in frames.written.items():
            storage = reference()
            if key in viewed:
                raise Refused("memory is written to that views show")
            if storage is not None and key not in (self.storages.keys() | grads | self.fresh):
                raise Refused("memory is written to that is not in sight")

    def _gradients(self, record: Record) -> None:
        frames = self.frames
        assert frames is not None
        for key, reference in frames.leaves.items():
            if reference() is not None and key not in self.places:
                raise Refused("a tensor that is not in sight gets a gradient")
        stores: set[int] = set(self.storages)
        for place, t in enumerate(record.tensors):
            before, now = self.held_grads[place], t._grad
            if before is None and now is None:
                continue
            for grad in (before, now):
                if grad is not None and not _is_plain(grad):
                    raise Refused("a gradient is of a special kind")
            if before is not None and id(before) in self.places:
                raise Refused("a gradient is in sight by another name")
            node = t._accumulator
            if node is not None and (node.hooked or node.after_hooks):
                raise Refused("there are hooks on gradients")
            what: tuple
            if now is None:
                what = ("none",)
            elif now is before:
                changes, version = self.grad_versions[place]
                s = now._storage
                if s.value is self.grad_values[place] and s.version == version:
                    what = ("kept",)
                else:
                    what = ("same", ("value", s.value), s.changes - changes, s.version - version)
            else:
                what = ("new", ("value", now._storage.value), now._meta)
            if now is not None:
                if id(now._storage) in stores:
                    raise Refused("gradients share memory")
                stores.add(id(now._storage))
            record.grads.append((place, None if before is None else before._meta, what))

    def _account(self, trace: Any) -> None:
        """All results that are held are known to us, or there is a problem."""
        record = self.known
        mine = set(self.saved)
        for _, what, _, _ in record.writes:
            mine.add(what[1])
        for _, _, what in record.grads:
            if len(what) > 1:
                mine.add(what[1][1])
        _mapped(record.results, lambda what: mine.add(what[1]) if what[0] == "value" else None)
        for t in record.tensors:
            view = t._view
            if view is not None and view.value is not None and view.value.trace is trace:
                view.value, view.seen = None, -1
        for again in range(2):
            idle = self.history.idle()
            self.alive = [
                value for ref in trace.results if (value := ref()) is not None
                and (value in mine or value not in idle)
            ]  # fmt: skip
            if mine.issuperset(self.alive):
                return
            if not again:
                self.alive.clear()
                gc.collect()
        raise Refused("something keeps a result that the function does not return")

    def _steps(self, record: Record) -> None:
        frames = self.frames
        assert frames is not None
        self.numbers: dict[int, tuple] = {}
        inputs = local.trace.inputs
        for number, (optimizer, found, before, after) in enumerate(frames.steps):
            given = [i for i in range(before, after) if inputs[i][1].__class__ is not Value]
            if [_number(inputs[i][1]) for i in given] != [_number(x) for x in found[1]]:
                raise Refused("an optimizer's step uses other numbers than foreseen")
            if not any(optimizer is x for x in record.surroundings.optimizers):
                raise Refused("an optimizer is not in sight")
            for at, i in enumerate(given):
                self.numbers[i] = ("step", number, at)
            again = optimizer.foreseen_numbers()
            if again is None:
                raise Refused("an optimizer's numbers cannot be foreseen")
            record.steps.append((optimizer, found))
        if len({id(optimizer) for optimizer, _ in record.steps}) != len(record.steps):
            raise Refused("an optimizer makes several steps")

    def _source(self, what: Any, number: int) -> tuple:
        if what.__class__ is not Value:
            return self.numbers.get(number) or ("number", what.__class__, repr(what), _Same(what))
        if what in self.twice:
            raise Refused("two tensors hold one and the same value")
        known = self.values.get(what)
        if known is not None:
            for place in range(self.given):  # views may show another part the next time
                t = self.known.tensors[place]
                if t._view is not None and t._storage is known[1] and known[0][1] != place:
                    raise Refused("an argument is a view of a tensor that is read as well")
            return known[0]
        frames = self.frames
        assert frames is not None
        drawn = self.drawn.get(what)
        if drawn is not None:
            return ("draw", drawn)
        pinned = frames.pinned.get(id(what))
        if pinned is not None:
            for place, t in enumerate(self.known.tensors):
                if t._storage is pinned[1] and t._view is None:
                    return ("tensor", place)
            raise Refused("memory shared with NumPy is read through something that is not in sight")
        if autograd._known_ones.get(what.meta) is what:
            return ("constant", Constant(what))
        if id(what) in frames.parts:
            raise Refused("a part of a tensor is taken that is itself a view")
        array = what.buffer
        if not isinstance(array, np.ndarray) or array.size > MAX_CONSTANT:
            raise Refused("it makes a large array that is not understood")
        for value in self.values:
            if value.buffer is not None and np.may_share_memory(value.buffer, array):
                raise Refused("a part of a tensor is taken")
        return ("constant", Constant(what))


class Constant:
    """A Value that is made anew in each call with the same contents."""

    def __init__(self, value: Value) -> None:
        self.value = value

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Constant) or self.value.meta is not other.value.meta:
            return False
        if self.value is other.value:
            return True
        a, b = np.ascontiguousarray(self.value.buffer), np.ascontiguousarray(other.value.buffer)
        return a.tobytes() == b.tobytes()

    __hash__ = object.__hash__


class _Same:
    """A number along with a tuple that is compared without it (its text is compared)."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Same)

    __hash__ = object.__hash__


class Spent:
    """The node of a result whose graph a backward pass has used up: what a replay hangs on it."""

    def __init__(self, node: Any, index: int) -> None:
        self.node, self.index = node, index

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Spent) and (
            (type(self.node), self.index) == (type(other.node), other.index)
        )

    __hash__ = object.__hash__


class Hung:
    """The node of a result that can be differentiated: its number among the nodes."""

    def __init__(self, node: Any, index: int) -> None:
        self.node, self.index = node, index

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Hung) and (self.node, self.index) == (other.node, other.index)

    __hash__ = object.__hash__


def _is_spent(root: Any) -> bool:
    """Whether a backward pass from here ends in an error, or finds nothing that was saved."""
    todo, seen = [root], {root}
    for node in todo:
        if node.hooked or not isinstance(node, (OperatorNode, AccumulateGrad)):
            raise Refused("a returned tensor has hooks or custom functions behind it")
        if isinstance(node, OperatorNode) and not node.released:
            if node.saved or node.saved_results:
                return False
        for edge in node.edges:
            if edge is not None and edge[0] not in seen:
                seen.add(edge[0])
                todo.append(edge[0])
    return any(node.released for node in todo)


def _is_plain(t: Tensor) -> bool:
    return (
        t.__class__ is Tensor and t._view is None and not t._requires_grad and not t._inference
        and t._storage.value is not None and t._counter is None and t._backward_hooks is None
    )  # fmt: skip


def _number(x: Any) -> tuple:
    return x.__class__, repr(x)


def _mapped(what: Any, function: Callable[[tuple], Any]) -> Any:
    if what.__class__ is not tuple:
        return what
    if what and what[0] in ("value", "known", "alias", "plain"):
        return function(what) if what[0] == "value" else what
    return tuple([_mapped(x, function) for x in what])


def _mapped_nodes(what: Any, numbers: dict[Any, int]) -> Any:
    if isinstance(what, Hung):
        return Hung(numbers[what.node], what.index)
    if what.__class__ is not tuple or (what and what[0] in ("known", "alias", "plain")):
        return what
    return tuple([_mapped_nodes(x, numbers) for x in what])
