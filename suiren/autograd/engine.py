"""The walk: `backward()` and `grad()` over the graph of nodes.

Nodes are visited in the reverse of the order in which they were recorded, each once all gradients
that flow into it are there. The derivative formulas record operators into the same trace as the
forward pass, so a compiler sees both together; ``backward()`` flushes at its end.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from suiren.autograd.graph import AccumulateGrad, Node, OperatorNode, edge_of
from suiren.autograd.mode import mode
from suiren.tensor import Tensor
from suiren.trace import Meta, flush


def run(
    roots: Sequence[Tensor],
    grads: Sequence[Tensor],
    keep_graph: bool,
    create_graph: bool,
    wanted: Sequence[tuple[Node, int]] | None = None,
    accumulate: bool = True,
) -> list[Tensor | None]:
    """Sends ``grads`` from ``roots`` through the graph.

    With ``wanted`` the gradients arriving at those (node, result) places are returned and only
    nodes on the way to them run; leaves accumulate only if ``accumulate``.
    """
    pending: dict[Node, list[Tensor | None]] = {}
    starts = []
    for root, grad in zip(roots, grads, strict=True):
        node, index = edge_of(root)
        _add(pending, node, index, grad, create_graph)
        starts.append(node)
    waiting, useful = _count_dependencies(starts, wanted)
    captured: dict[tuple[Node, int], Tensor | None] = {}
    places = None if wanted is None else set(wanted)
    ready = [(-node.sequence, id(node), node) for node in dict.fromkeys(starts)
             if not waiting.get(node)]  # fmt: skip
    heapq.heapify(ready)
    previous, mode.grad = mode.grad, create_graph
    try:
        while ready:
            _, _, node = heapq.heappop(ready)
            flowing = tuple(pending.pop(node))
            flowing = _before(node, flowing)
            if places is not None:
                for index, grad in enumerate(flowing):
                    if (node, index) in places:
                        captured[node, index] = grad
            if useful is not None and node not in useful:
                found: Sequence[Tensor | None] = ()
            elif isinstance(node, AccumulateGrad) and not accumulate:
                found = ()
            else:
                found = _apply(node, flowing, create_graph)
                if not keep_graph:
                    node.release()
            for i, edge in enumerate(node.edges):
                if edge is None:
                    continue
                target, index = edge
                if useful is not None and target not in waiting:
                    continue
                grad = found[i] if i < len(found) else None
                _add(pending, target, index, grad, create_graph)
                waiting[target] -= 1
                if not waiting[target]:
                    heapq.heappush(ready, (-target.sequence, id(target), target))
    finally:
        mode.grad = previous
    return [] if wanted is None else [captured.get(place) for place in wanted]


def _count_dependencies(starts: list[Node], wanted) -> tuple[dict[Node, int], set[Node] | None]:
    """How many gradients each node waits for, and which nodes lie on a way to ``wanted``."""
    waiting: dict[Node, int] = dict.fromkeys(starts, 0)
    order = []
    stack = list(dict.fromkeys(starts))
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
    useful: set[Node] = set()
    # A node is useful when one of its targets is a goal or useful. Sequence numbers grow from
    # inputs to results, so going upwards by them sees targets first (leaves may be younger).
    for node in sorted(order, key=lambda n: (bool(n.edges), n.sequence)):
        if any(e is not None and (e[0] in goals or e[0] in useful) for e in node.edges):
            useful.add(node)
        elif node in goals and isinstance(node, AccumulateGrad):
            useful.add(node)
    return waiting, useful


def _add(pending, node: Node, index: int, grad: Tensor | None, create_graph: bool) -> None:
    slots = pending.get(node)
    if slots is None:
        slots = pending[node] = [None] * len(node.results)
    if grad is not None:
        held = slots[index]
        slots[index] = grad if held is None else held + grad


def _before(node: Node, grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """Runs the hooks of the tensors that this node made, and the node's own before-hooks."""
    if node.tensor_hooks:
        changed = list(grads)
        for index, hooks in node.tensor_hooks.items():
            for hook in list(hooks.values()):
                grad = changed[index]
                if grad is None:
                    continue
                answer = hook(grad)
                if answer is not None:
                    _check_hook_answer(answer, grad)
                    changed[index] = answer
        grads = tuple(changed)
    if node.pre_hooks:
        for hook in list(node.pre_hooks.values()):
            answer = hook(grads)
            if answer is not None:
                grads = answer if isinstance(answer, tuple) else (answer,)
    if node.retained:
        for index, reference in node.retained.items():
            tensor, grad = reference(), grads[index]
            if tensor is not None and grad is not None:
                tensor._grad = grad if tensor._grad is None else tensor._grad + grad
    return grads


def _check_hook_answer(answer: Any, grad: Tensor) -> None:
    if not isinstance(answer, Tensor):
        raise TypeError(
            f"hook {type(answer).__name__}: a gradient hook returns a tensor or None"
        )
    if answer._meta.shape != grad._meta.shape:
        raise RuntimeError(
            f"hook has changed the size of value: it got {list(grad._meta.shape)} and returned "
            f"{list(answer._meta.shape)}"
        )


def _apply(node: Node, grads: tuple, create_graph: bool) -> Sequence[Tensor | None]:
    try:
        if all(grad is None for grad in grads) and not node.label and _skippable(node):
            found: list[Tensor | None] = [None] * len(node.edges)
        else:
            found = node.apply(grads)
    except Exception as error:
        if node.traceback is not None:
            _note(error, f"Error detected in {node.name()}. Forward call:\n{node.traceback}")
        raise
    metas = node.input_metas()
    for i, grad in enumerate(found):
        if grad is None or i >= len(node.edges) or node.edges[i] is None:
            continue
        if i < len(metas) and grad._meta is not metas[i]:
            found[i] = fit(grad, metas[i], node)
    if node.traceback is not None and mode.check_nan:
        _check_nan(node, found)
    if node.post_hooks:
        for hook in list(node.post_hooks.values()):
            answer = hook(tuple(found), grads)
            if answer is not None:
                found = list(answer) if isinstance(answer, tuple) else [answer]
    return found


def _skippable(node: Node) -> bool:
    return isinstance(node, (OperatorNode, AccumulateGrad))


def _note(error: Exception, text: str) -> None:
    if hasattr(error, "add_note"):  # Python 3.11
        error.add_note(text)
    else:
        import sys

        print(text, file=sys.stderr)


def _check_nan(node: Node, grads: Sequence[Tensor | None]) -> None:
    for i, grad in enumerate(grads):
        if grad is not None and grad._meta.dtype.category >= 2 and bool(grad.isnan().any()):
            raise RuntimeError(
                f"Function '{node.name()}' returned nan values in its {i}th output. "
                f"Forward call:\n{node.traceback}"
            )


def fit(grad: Tensor, meta: Meta, node: Node) -> Tensor:
    """The gradient in the shape and dtype of the input it belongs to.

    Broadcasting in the forward pass means that an element was used several times, so its gradient
    is the sum over the broadcast dimensions.
    """
    if grad._meta.shape != meta.shape:
        try:
            grad = grad.sum_to_size(meta.shape)
        except RuntimeError:
            raise RuntimeError(
                f"Function {node.name()} returned an invalid gradient - got "
                f"{list(grad._meta.shape)} but expected shape compatible with {list(meta.shape)}"
            ) from None
    if grad._meta.dtype is not meta.dtype:
        if grad._meta.dtype.is_complex and not meta.dtype.is_complex:
            grad = grad.real
        if grad._meta.dtype is not meta.dtype:
            grad = grad.to(meta.dtype)
    return grad


def finish() -> None:
    """Computes what the backward pass recorded."""
    flush()
