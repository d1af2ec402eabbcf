"""What users call in ``torch.autograd.graph``: hooks on saved tensors, edges, hooks on several.

``graph.py`` holds the graph itself and shows these names as its own.
Source: PyTorch's torch.autograd.graph page.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from suiren.autograd import graph
from suiren.autograd.graph import Handle, Node
from suiren.autograd.mode import mode
from suiren.tensor import Tensor

__all__ = [
    "GradientEdge", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks",
    "get_gradient_edge", "increment_version", "register_multi_grad_hook", "save_on_cpu",
    "saved_tensors_hooks",
]  # fmt: skip


class saved_tensors_hooks:
    """Context in which what is saved for backward is ``pack_hook(tensor)``.

    ``unpack_hook`` gets that back when the backward pass needs the tensor, and returns a tensor
    of the same contents. A setting of each thread.
    Source: torch.autograd.graph.saved_tensors_hooks.

    >>> import suiren as torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True),
    ...                                               torch.from_numpy):
    ...     y = x * x
    >>> y.sum().backward()
    >>> x.grad
    tensor([2., 2.])
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]):
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        if mode.hooks_disabled is not None:
            raise RuntimeError(mode.hooks_disabled)
        mode.saved_hooks = (*mode.saved_hooks, (self.pack_hook, self.unpack_hook))

    def __exit__(self, *exception: Any) -> None:
        mode.saved_hooks = mode.saved_hooks[:-1]


class save_on_cpu(saved_tensors_hooks):
    """Keeps saved tensors in main memory, and brings them back to their device for backward.

    Source: torch.autograd.graph.save_on_cpu.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda"):
        super().__init__(
            lambda tensor: (tensor.device, tensor.detach().to("cpu")),
            lambda packed: packed[1].to(packed[0]),
        )


class disable_saved_tensors_hooks:
    """Context (or decorator) in which :class:`saved_tensors_hooks` raise this error.

    Source: torch.autograd.graph.disable_saved_tensors_hooks.
    """

    def __init__(self, error_message: str):
        self._message = error_message
        self._previous: list[str | None] = []

    def __enter__(self) -> None:
        if mode.saved_hooks:
            raise RuntimeError(self._message)
        self._previous.append(mode.hooks_disabled)
        mode.hooks_disabled = self._message

    def __exit__(self, *exception: Any) -> None:
        mode.hooks_disabled = self._previous.pop()

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with disable_saved_tensors_hooks(self._message):
                return function(*args, **kwargs)

        return inside


class GradientEdge(NamedTuple):
    """A place in the graph: the ``output_nr``-th result of ``node``. Stands for a tensor in grad.

    Source: torch.autograd.graph.GradientEdge.
    """

    node: Node
    output_nr: int
    ownership_token: Any = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where the gradient of this tensor is computed; a leaf's is its accumulating node.

    Raises RuntimeError if it does not require grad.
    Source: torch.autograd.graph.get_gradient_edge.
    """
    if not tensor.requires_grad:
        raise RuntimeError(
            "It is not possible to get the gradient edge for a Tensor that does not require "
            "gradients"
        )
    return GradientEdge(*graph.edge_of(tensor), tensor if tensor.grad_fn is None else None)


def increment_version(tensor: Tensor | Iterable[Tensor]) -> None:
    """Tells autograd that these tensors were written to by means that it cannot see.

    Source: torch.autograd.graph.increment_version.
    """
    for x in (tensor,) if isinstance(tensor, Tensor) else tensor:
        x._version  # noqa: B018 (refuses inference tensors)
        (x._counter or x._storage).version += 1


class allow_mutation_on_saved_tensors:
    """Not supported: a saved tensor that has been written to is an error."""

    def __init__(self) -> None:
        raise NotImplementedError(
            "allow_mutation_on_saved_tensors() is not supported: clone() tensors before writing "
            "to them in place"
        )


class _Handles:
    """Removes several hooks at once."""

    def __init__(self, handles: Sequence[Handle]):
        self._handles = tuple(handles)

    def remove(self) -> None:
        """Takes the hooks out."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable, *, mode: str = "all"
) -> _Handles:
    """A hook on the gradients of several tensors.

    ``"all"``: ``fn(grads)`` once in each backward pass, when the gradients of all those tensors
    that the pass reaches are there (None for the others). ``"any"``: ``fn(grad)`` for the first.
    Source: torch.autograd.graph.register_multi_grad_hook.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    tensors = tuple(tensors)
    nodes = [get_gradient_edge(x).node for x in tensors]
    passes: weakref.WeakKeyDictionary[Any, _Collected] = weakref.WeakKeyDictionary()

    def hook_of(index: int) -> Callable:
        def hook(grad: Tensor) -> None:
            task = _mode.task
            held = passes.get(task)
            if held is None:
                awaited = sum(task.will_run(node) for node in nodes) if mode == "all" else 1
                held = passes[task] = _Collected(len(tensors), awaited)
            if held.awaited <= 0:
                return
            held.awaited -= 1
            held.grads[index] = grad
            if not held.awaited:
                fn(held.grads if mode == "all" else grad)

        return hook

    return _Handles([x.register_hook(hook_of(i)) for i, x in enumerate(tensors)])


class _Collected:
    __slots__ = ("grads", "awaited")

    def __init__(self, count: int, awaited: int):
        self.grads: list[Tensor | None] = [None] * count
        self.awaited = awaited


_mode = mode  # register_multi_grad_hook has an argument of that name
