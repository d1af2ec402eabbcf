"""The walk: `backward()` and `grad()` over the graph of nodes.

Nodes are visited in the reverse of the order in which they were recorded, each once all gradients
that flow into it are there. The derivative formulas record operators into the same trace as the
forward pass, so a compiler sees both together; ``backward()`` flushes at its end.
"""

from __future__ import annotations

import heapq
import itertools
import warnings
from collections.abc import Sequence
from typing import Any

from suiren.autograd import replay
from suiren.autograd.graph import AccumulateGrad, Node, OperatorNode, _anomaly
from suiren.autograd.mode import mode
from suiren.storage import inferring
from suiren.tensor import Tensor, value_of
from suiren.trace import Meta, flush
from suiren.trace.recorder import keep_whole


class Task:
    """One backward pass under way: what hooks may ask about it."""

    __slots__ = ("waiting", "useful", "after", "__weakref__")

    def __init__(self, waiting: dict[Node, int], useful: set[Node] | None):
        self.waiting = waiting
        self.useful = useful
        self.after: list[Any] = []  # callbacks for its end

    def will_run(self, node: Node) -> bool:
        """Whether this pass computes the gradients that arrive at ``node``."""
        return node in self.waiting and (self.useful is None or node in self.useful)


def run(
    roots: Sequence[tuple[Node, int]],
    grads: Sequence[Tensor],
    keep_graph: bool,
    create_graph: bool,
    wanted: Sequence[tuple[Node, int]] | None = None,
    accumulate: bool = True,
) -> list[Tensor | None]:
    """Sends ``grads`` from ``roots`` (a node and which of its results) through the graph.

    With ``wanted`` the gradients arriving at those (node, result) places are returned and only
    nodes on the way to them run; leaves accumulate only if ``accumulate``.
    """
    keep_whole()
    watch = None
    if wanted is None and not create_graph and len(roots) == 1 and _plain(roots[0], grads[0]):
        seen = replay.glance(*roots[0], grads[0])
        if seen is not None:
            plan = replay.plan_for(seen)
            if plan is True:
                watch = replay.Watch(seen)
            elif plan and plan.fits(seen):
                plan.run(seen)
                if not keep_graph:
                    for node in seen.nodes:
                        node.release()
                return []
    found = _walk(roots, grads, keep_graph, create_graph, wanted, accumulate)
    if watch is not None:
        watch.learn()
    return found


def _plain(root: tuple[Node, int], start: Tensor) -> bool:
    """Whether a pass from here may be one that was seen before."""
    node, index = root
    return not _anomaly.on and not inferring and start._meta is node.results[index]


def _walk(
    roots: Sequence[tuple[Node, int]],
    grads: Sequence[Tensor],
    keep_graph: bool,
    create_graph: bool,
    wanted: Sequence[tuple[Node, int]] | None,
    accumulate: bool,
) -> list[Tensor | None]:
    pending: dict[Node, list[Tensor | None]] = {}
    waiting, useful = _count_dependencies([node for node, _ in roots], wanted)
    captured: dict[tuple[Node, int], Tensor | None] = {}
    places = None if wanted is None else set(wanted)
    task = Task(waiting, useful)
    (mode.grad, mode.task), previous = (create_graph, task), (mode.grad, mode.task)
    try:
        for (node, index), start in zip(roots, grads, strict=True):
            if start._meta is not node.results[index]:
                start = fit(start, node.results[index], node)
            _add(pending, node, index, start)
        # Latest first; the count makes the order of equals that of their arrival.
        arrivals = itertools.count()
        ready = [(-node.sequence, next(arrivals), node) for node in pending if not waiting[node]]
        heapq.heapify(ready)
        while ready:
            node = heapq.heappop(ready)[2]
            flowing = _tensor_hooks(node, tuple(pending.pop(node)))
            if places is not None:
                for index, grad in enumerate(flowing):
                    if (node, index) in places:
                        captured[node, index] = grad
            found: Sequence[Tensor | None] = ()
            if isinstance(node, AccumulateGrad):
                if accumulate and (useful is None or node in useful):
                    _apply(node, flowing)
                continue
            if useful is None or node in useful:
                found = _apply(node, flowing)
                if not keep_graph:
                    node.release()
            for i, edge in enumerate(node.edges):
                if edge is None:
                    continue
                target, index = edge
                _add(pending, target, index, found[i] if i < len(found) else None)
                waiting[target] -= 1
                if not waiting[target]:
                    heapq.heappush(ready, (-target.sequence, next(arrivals), target))
    finally:
        mode.grad, mode.task = previous
    for callback in task.after:
        callback()
    return [] if wanted is None else [captured.get(place) for place in wanted]


def _count_dependencies(starts: list[Node], wanted) -> tuple[dict[Node, int], set[Node] | None]:
    """How many gradients each node waits for, and which nodes have to run to reach ``wanted``."""
    waiting: dict[Node, int] = dict.fromkeys(starts, 0)
    order = []
    stack = list(waiting)
    while stack:
        node = stack.pop()
        order.append(node)
        for edge in node.edges:
            if edge is None:
                continue
            target = edge[0]
            if target not in waiting:
                waiting[target] = 0
                stack.append(target)
            waiting[target] += 1
    if wanted is None:
        return waiting, None
    goals = {node for node, _ in wanted}
    useful = {node for node in goals if node in waiting and not node.edges}
    # A node is useful when one of its targets is a goal or useful. Sequence numbers grow from
    # inputs to results, so going upwards by them sees targets first (leaves have no targets).
    for node in sorted(order, key=_by_sequence):
        if any(e is not None and (e[0] in goals or e[0] in useful) for e in node.edges):
            useful.add(node)
    return waiting, useful


def _by_sequence(node: Node) -> int:
    return node.sequence


def _add(pending: dict, node: Node, index: int, grad: Tensor | None) -> None:
    slots = pending.get(node)
    if slots is None:
        slots = pending[node] = [None] * len(node.results)
    if grad is not None:
        held = slots[index]
        slots[index] = grad if held is None else held + grad


def _tensor_hooks(node: Node, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Runs the hooks of the tensors that this node made; what is retained is what they leave."""
    if node.tensor_hooks:
        changed = list(grads)
        for index, hooks in node.tensor_hooks.items():
            for hook in list(hooks.values()):
                grad = changed[index]
                if grad is None:
                    continue
                answer = hook(grad)
                if answer is not None:
                    _check_hook_answer(answer, grad, hook)
                    changed[index] = answer
        grads = tuple(changed)
    if node.retained:
        for index, reference in node.retained.items():
            tensor, grad = reference(), grads[index]
            if tensor is not None and grad is not None:
                held = tensor._grad
                tensor._grad = grad.clone() if held is None else held + grad
    return grads


def _check_hook_answer(answer: Any, grad: Tensor, hook: Any) -> None:
    if not isinstance(answer, Tensor):
        raise TypeError(
            f"expected Variable, but hook returned '{type(answer).__name__}': a gradient hook "
            "returns a tensor or None"
        )
    if answer._meta.shape != grad._meta.shape:
        raise RuntimeError(
            f"hook '{getattr(hook, '__name__', hook)}' has changed the size of value: it got "
            f"{list(grad._meta.shape)} and returned {list(answer._meta.shape)}"
        )


def _apply(node: Node, grads: tuple) -> Sequence[Tensor | None]:
    if node.pre_hooks:
        for hook in list(node.pre_hooks.values()):
            answer = hook(grads)
            if answer is not None:
                grads = answer if isinstance(answer, tuple) else (answer,)
    try:
        if isinstance(node, OperatorNode) and all(grad is None for grad in grads):
            found: list[Tensor | None] = [None] * len(node.edges)
        else:
            found = node.apply(grads)
    except Exception:
        if node.traceback is not None:
            _show_forward(node)
        raise
    metas = node.input_metas()
    for i, grad in enumerate(found):
        if grad is None or i >= len(node.edges) or node.edges[i] is None:
            continue
        if i < len(metas) and grad._meta is not metas[i]:
            found[i] = fit(grad, metas[i], node, i)
    if node.post_hooks:
        for hook in list(node.post_hooks.values()):
            answer = hook(tuple(found), grads)
            if answer is not None:
                found = list(answer) if isinstance(answer, tuple) else [answer]
    if _anomaly.on and _anomaly.check_nan:
        _check_nan(node, found)
    return found


def _show_forward(node: Node) -> None:
    warnings.warn(
        f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n"
        f"{node.traceback or '  (recorded before anomaly detection was switched on)'}",
        stacklevel=2,
    )


def _check_nan(node: Node, grads: Sequence[Tensor | None]) -> None:
    for i, grad in enumerate(grads):
        if grad is None or grad._meta.dtype.category < 2:
            continue
        if bool((value_of(grad).get() != value_of(grad).get()).any()):
            _show_forward(node)
            raise RuntimeError(
                f"Function '{node.name()}' returned nan values in its {i}th output. It was "
                f"recorded at\n{node.traceback or '  (before anomaly detection was switched on)'}"
            )


def fit(grad: Tensor, meta: Meta, node: Node, index: int = 0) -> Tensor:
    """The gradient in the shape and dtype of the input it belongs to.

    Broadcasting in the forward pass means that an element was used several times, so its gradient
    is the sum over the broadcast dimensions.
    """
    if grad._meta.shape != meta.shape:
        try:
            grad = grad.sum_to_size(meta.shape)
        except RuntimeError:
            raise RuntimeError(
                f"Function {node.name()} returned an invalid gradient at index {index} - got "
                f"{list(grad._meta.shape)} but expected shape compatible with {list(meta.shape)}"
            ) from None
    if grad._meta.dtype is not meta.dtype:
        if grad._meta.dtype.is_complex and not meta.dtype.is_complex:
            grad = grad.real
        if grad._meta.dtype is not meta.dtype:
            grad = grad.to(meta.dtype)
    return grad if grad._meta.device is meta.device else grad.to(meta.device)


def finish() -> None:
    """Computes what the backward pass recorded."""
    flush()
