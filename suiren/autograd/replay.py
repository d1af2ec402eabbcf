"""Backward passes done again without walking the graph.

In a training loop the graph of each step has the same structure over other values, so the backward
pass records the same entries each time. The second walk of a structure is watched: the entries it
recorded become a `Segment` over the values that the graph keeps. From then on only the structure is
compared (`Glance`), and the segment recorded with the new values. What is written in derivative
formulas is thus looked at once.

A pass is walked node by node as before when anything but the values could make a difference: hooks
and retained gradients, nodes of custom functions, gradients that are differentiable themselves,
anomaly detection, formulas that look at values. Sits between ``graph.py`` and ``engine.py``.
"""

from __future__ import annotations

import itertools
from typing import Any

from suiren.autocast_state import casting, state
from suiren.autograd.graph import AccumulateGrad, Node, Saved
from suiren.tensor import Tensor, new_tensor, value_of
from suiren.trace import Meta, Value
from suiren.trace.recorder import Trace, local
from suiren.trace.segment import Segment
from suiren.trace.value import observed

MAX_STRUCTURES = 512  # remembered; then it starts afresh
MAX_NUMBERS = 16  # plans for one structure with different Python numbers in it
# Looking on costs nothing beside the work on so many bytes of values: the first walk is watched,
# so that the first step is the same program as those that follow.
HEAVY_BYTES = 1 << 24

_MISSING = object()


class Glance:
    """A graph as a backward pass meets it: what a plan depends on, and what it is done with."""

    __slots__ = ("nodes", "leaves", "held", "values", "structure", "numbers")

    def __init__(self, start: Tensor) -> None:
        self.nodes: list[Any] = []  # in the order in which they were come upon
        # With the gradient held so far, and its Value.
        self.leaves: list[tuple[Tensor, Tensor | None, Value | None]] = []
        self.held: set[Value] = set()
        self.values: list[Value] = [value_of(start)]  # all that derivatives may look at
        self.structure: tuple = ()
        self.numbers: tuple = ()


def glance(root: Node, index: int, start: Tensor) -> Glance | None:
    """What there is to know of the graph from ``root`` on; None if it must be walked."""
    seen = Glance(start)
    values, nodes = seen.values, seen.nodes
    structure: list[Any] = [index]
    if casting and state.enabled:  # in this thread: products of derivatives are converted too
        structure.append(state.settings)
    given: list[Any] = []
    places: dict[Node, int] = {root: 0}
    nodes.append(root)
    first = root.sequence
    for node in nodes:  # which grows meanwhile
        if node.hooked:
            return None
        kind = node.kind
        if kind is None:
            if node.__class__ is not AccumulateGrad or not _glance_at_leaf(node, seen, structure):
                return None
            continue
        if node.released:
            return None
        # The offset says in which order nodes run and so in which order gradients are added.
        structure.append(kind)
        structure.append(first - node.sequence)
        for edge in node.edges:
            if edge is None:
                continue
            target, which = edge
            place = places.get(target)
            if place is None:
                place = places[target] = len(nodes)
                nodes.append(target)
            structure.append(place)
            if which:
                structure.append((which,))
        for kept in node.saved:
            if kept.__class__ is Saved:
                if kept.unpacking is not None or kept.counter.version != kept.version:
                    return None
                values.append(kept.value if kept.leaf is None else value_of(kept.leaf))
            elif kept is not None:
                given.append(kept.__class__)
                given.append(kept if kept else repr(kept))  # -0.0 is not 0.0
        for kept in node.saved_results:
            if kept is not None:
                if kept.unpacking is not None or kept.counter.version != kept.version:
                    return None
                values.append(kept.value)
    seen.structure = tuple(structure)
    seen.numbers = tuple(given)
    return seen


def _glance_at_leaf(node: AccumulateGrad, seen: Glance, structure: list[Any]) -> bool:
    leaf = node._variable()
    if leaf is None or node.after_hooks:
        return False
    held = leaf._grad
    if held is None:
        structure.append(leaf._meta)
        seen.leaves.append((leaf, None, None))
        return True
    value = held._storage.value
    if (
        held.__class__ is not Tensor or held._view is not None or held._requires_grad
        or held._inference or value is None or value in seen.held
    ):  # fmt: skip
        return False
    structure.append((leaf._meta, held._meta))
    seen.values.append(value)
    seen.held.add(value)
    seen.leaves.append((leaf, held, value))
    return True


class Plan:
    """The entries of a backward pass, and which gradients come of them."""

    __slots__ = ("segment", "used", "constants", "distinct", "same", "gradients")

    def __init__(
        self, segment: Segment, used: list[int], constants: list[Any], values: list[Value],
        gradients: list[tuple[int, int, Meta]],
    ):  # fmt: skip
        self.segment = segment
        self.used = used  # which of the values are arguments of the segment
        self.constants = constants  # the numbers that are its further arguments
        first: dict[Value, int] = {}
        places = [first.setdefault(value, i) for i, value in enumerate(values)]
        self.distinct = len(first)
        # Which values were one and the same: (place, first place) of those that came again.
        self.same = [(i, place) for i, place in enumerate(places) if i != place]
        # (number of the leaf, number of the output or -1 - number of the value, Meta)
        self.gradients = gradients

    def fits(self, seen: Glance) -> bool:
        """Whether the values coincide as those did from which the plan was made."""
        values = seen.values
        return len(set(values)) == self.distinct and all(
            [values[i] is values[j] for i, j in self.same]
        )

    def record(self, values: list[Value]) -> list[Value]:
        """Records the pass over these values: the Values of the gradients."""
        arguments = [values[i] for i in self.used]
        arguments += self.constants
        outputs = local.trace.record_segment(self.segment, arguments)
        return [
            outputs[number] if number >= 0 else values[-1 - number]
            for _, number, _ in self.gradients
        ]

    def run(self, seen: Glance) -> None:
        """Records the pass for this graph, and sets the gradients."""
        leaves = seen.leaves
        for value, (place, _, meta) in zip(self.record(seen.values), self.gradients):  # noqa: B905
            leaf, held, _ = leaves[place]
            if held is None:
                leaf._grad = new_tensor(value, meta)
            else:
                storage = held._storage
                storage.write(value)
                (held._counter or storage).version += 1


# structure -> numbers -> Plan; None for what has been walked once, False for what never replays
_plans: dict[tuple, dict[tuple, Any]] = {}


def plan_for(seen: Glance) -> Any:
    """The Plan of such a graph; True if its walk is to be watched, False if not."""
    variants = _plans.get(seen.structure)
    if variants is None:
        if len(_plans) >= MAX_STRUCTURES:
            _plans.clear()
        variants = _plans[seen.structure] = {}
    found = variants.get(seen.numbers, _MISSING)
    if found is _MISSING:
        if len(variants) < MAX_NUMBERS:  # or numbers that change at each step would fill memory
            variants[seen.numbers] = None
            return sum([value.meta.nbytes for value in seen.values]) >= HEAVY_BYTES
        return False
    return True if found is None else found


class Watch:
    """Watches one walk, to make a Plan of what it records."""

    def __init__(self, seen: Glance) -> None:
        self.seen = seen
        self.trace: Trace = local.trace
        self.mark = self.trace.mark()
        self.observed = observed[0]

    def learn(self) -> None:
        """After the walk: remembers how to do it again, or that it cannot be."""
        plan = self._plan()
        variants = _plans.get(self.seen.structure)
        if variants is not None:
            variants[self.seen.numbers] = plan or False
        if plan is not None:
            self._record_again(plan)

    def _record_again(self, plan: Plan) -> None:
        # As the plan does it, so that this step is the same program as those that follow.
        storages = []
        for place, _, _ in plan.gradients:
            grad = self.seen.leaves[place][0]._grad
            assert grad is not None  # the plan was made of it
            storages.append(grad._storage)
        if self.trace.rewind(self.mark, {storage.value for storage in storages}):
            for storage, value in zip(storages, plan.record(self.seen.values), strict=True):
                storage.value = value

    def _plan(self) -> Plan | None:
        trace, values = self.trace, self.seen.values
        entries, begin, _, inputs, slot, _ = self.mark
        if trace.entries is not entries or observed[0] != self.observed:
            return None  # computed or looked at meanwhile
        known: dict[int, int] = {}  # slots of values
        for i, value in enumerate(values):
            at = value.slot if value.trace is trace else trace.input_slots.get(value)
            if at is not None:
                known.setdefault(at, i)
        # Negative numbers stand for the numbers among the arguments until these are counted.
        constants: list[Any] = []
        for at, what in trace.inputs[inputs:]:
            if at not in known:
                if what.__class__ is Value:
                    return None  # an array that a formula made: nobody knows from what
                constants.append(what)
                known[at] = -len(constants)
        return _Maker(self.seen, known, constants).plan(
            entries[begin:], {at for at, _ in trace.inputs}, slot
        )


class _Maker:
    """Turns recorded entries into a Plan."""

    def __init__(self, seen: Glance, known: dict[int, int], constants: list[Any]) -> None:
        self.seen = seen
        self.known = known
        self.constants = constants

    def plan(self, entries: list[tuple], inputs: set[int], slot: int) -> Plan | None:
        """``inputs`` are the slots of the trace's inputs, ``slot`` the first after the forward."""
        results: dict[int, tuple[int, int]] = {}  # slot -> entry, and which of its results
        for at, entry in enumerate(entries):
            while slot in inputs:
                slot += 1
            for which in range(len(entry[3])):
                results[slot + which] = at, which
            slot += len(entry[3])
        ends = self._ends(results)
        if ends is None:
            return None
        needed = {results[end[1]][0] for end in ends if end[1] in results}
        for at in range(len(entries) - 1, -1, -1):
            if at in needed:
                needed.update(results[s][0] for s in entries[at][2] if s in results)
        kept = sorted(needed)
        arguments = sorted({s for at in kept for s in entries[at][2] if s not in results})
        if any(s not in self.known for s in arguments):
            return None
        used = [self.known[s] for s in arguments if self.known[s] >= 0]
        numbers = [s for s in arguments if self.known[s] < 0]
        places = {s: i for i, s in enumerate([s for s in arguments if self.known[s] >= 0])}
        places.update((s, len(used) + i) for i, s in enumerate(numbers))
        first = len(places)
        starts = dict(zip(kept, itertools.accumulate(
            [len(entries[at][3]) for at in kept], initial=first), strict=False))  # fmt: skip
        for s, (at, which) in results.items():
            if at in needed:
                places[s] = starts[at] + which
        outputs = sorted({places[s] - first for _, s, _ in ends if s in results})
        segment = Segment(
            [(entries[at][0], entries[at][1], tuple([places[s] for s in entries[at][2]]),
              entries[at][3]) for at in kept],
            first, outputs,
        )  # fmt: skip
        gradients = [
            (leaf, outputs.index(places[s] - first) if s in results else -1 - self.known[s], meta)
            for leaf, s, meta in ends
        ]
        constants = [self.constants[-1 - self.known[s]] for s in numbers]
        return Plan(segment, used, constants, self.seen.values, gradients)

    def _ends(self, results: dict[int, Any]) -> list[tuple[int, int, Meta]] | None:
        """(number of the leaf, slot of its gradient, Meta) of the gradients that changed."""
        trace = local.trace
        ends = []
        for place, (leaf, held, before) in enumerate(self.seen.leaves):
            grad = leaf._grad
            if grad is None:
                continue
            value = grad._storage.value
            if held is not None and value is before:
                continue
            if value is None or grad._view is not None or grad.__class__ is not Tensor:
                return None
            if held is not None and grad is not held:
                return None
            slot = value.slot if value.trace is trace else trace.input_slots.get(value)
            if slot is None or (slot not in results and self.known.get(slot, -1) < 0):
                if value not in self.seen.values:
                    return None
                slot = -1 - self.seen.values.index(value)
                self.known[slot] = -1 - slot
            ends.append((place, slot, grad._meta))
        return ends
