"""Which steps of a plan do nothing but bring parameters into the order in which kernels read them.

For ``prepared``, which leaves them out while the parameters are what they were. A step is one of
them if it reads one input alone (or what such a step wrote) and a convolution reads the result as
its weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from suiren.compiler.node import Node, base_of
from suiren.compiler.plan import Plan, Step


@dataclass(frozen=True)
class PackedWeight:
    """A packed weight: the input it is made of, by which steps (numbers among the kernels)."""

    node: Node
    input: Node
    steps: tuple[int, ...]
    texts: tuple[str, ...]


def packed_weights(plan: Plan) -> list[PackedWeight]:
    """The packed weights of a plan."""
    steps = [step for step in plan.steps if step.kernel is not None]
    writers: dict[Any, list[int]] = {}
    for i, step in enumerate(steps):
        for key in step.writes:
            writers.setdefault(key, []).append(i)
    hosts = {base_of(x) for step in plan.steps if step.kernel is None for x in step.reads}
    made: dict[Node, Node] = {}  # of which input alone
    for step in steps:
        sources = _sources(step, made)
        for key in step.writes:
            source = next(iter(sources)) if len(sources) == 1 else None
            alone = len(writers[key]) == len(step.writes) == 1
            if source is not None and alone and key in plan.sizes and key not in hosts:
                made[key] = source
    wanted = [
        base_of(step.group.product.inputs[1])
        for step in steps
        if step.group.product is not None and step.group.product.op != "matmul"
    ]
    found = []
    for node in dict.fromkeys(wanted):
        if node not in made:
            continue
        needed = sorted(_needed(node, steps, writers))
        # between its steps nothing may be read by others: it is not there in later runs
        others = {
            key for i, step in enumerate(steps) if i not in needed for key in step.reads
        }
        inner = {key for i in needed for key in steps[i].writes} - {node}
        if not inner & others:
            texts = tuple([steps[i].kernel.text for i in needed])  # type: ignore[union-attr]
            found.append(PackedWeight(node, made[node], tuple(needed), texts))
    return found


def _sources(step: Step, made: dict[Node, Node]) -> set[Node | None]:
    """The inputs that a step's results come from; None among them for anything else."""
    assert step.kernel is not None
    if step.group.product is not None or step.group.roots[0].op in ("scatter", "scatter_along"):
        return {None}
    found: set[Node | None] = set()
    for key in step.kernel.keys:
        if isinstance(key, Node) and key.op == "input":
            found.add(key)
        elif key not in step.writes or key in step.reads:
            found.add(made.get(key))
    return found


def _needed(node: Node, steps: list[Step], writers: dict[Any, list[int]]) -> Iterator[int]:
    number = writers[node][0]
    yield number
    for key in steps[number].reads - steps[number].writes:
        if key in writers:
            yield from _needed(key, steps, writers)
