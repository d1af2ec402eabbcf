"""`Function`: differentiation rules that users write themselves.

``MyFunction.apply(...)`` runs the user's ``forward`` with gradients off, then hangs its results on
one node whose walk calls the user's ``backward``. The user's ``ctx`` is an object beside the node,
not the node itself, so that whatever is stored on it cannot collide with what the engine keeps.
Source: PyTorch's "Extending torch.autograd" and torch.autograd.Function pages.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from suiren import views
from suiren.autograd import graph, graph_tools
from suiren.autograd.graph import Node, Saved
from suiren.autograd.mode import mode
from suiren.tensor import Tensor

__all__ = ["Function", "FunctionCtx", "FunctionNode", "once_differentiable"]


class FunctionCtx:
    """What ``forward`` and ``backward`` share: ``ctx``. Any attribute may be set on it.

    ``needs_input_grad`` is a tuple with a truth value for each argument of ``forward``.
    Source: torch.autograd.function.FunctionCtx.
    """

    needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps inputs or outputs of ``forward`` for ``backward``, without reference cycles."""
        for i, tensor in enumerate(tensors):
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(
                    "save_for_backward can only save variables, but argument "
                    f"{i} is of type {type(tensor).__name__}; set other things on ctx"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted for forward-mode differentiation, which is not there: nothing is kept."""

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Says which inputs ``forward`` has written to; it must also return them."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Says which outputs have no gradient; ``backward`` still takes an argument for each."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether gradients that are not there reach ``backward`` as zeros (else as None)."""
        self._materialize = bool(value)

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors given to :meth:`save_for_backward`.

        Raises RuntimeError after the graph was freed, or if one has been written to since.
        """
        node = None if self._node is None else self._node()
        if node is None:
            return ()
        if node.released:
            raise RuntimeError(graph.SECOND_TIME.format(node.name()))
        return tuple([None if kept is None else kept.unpack(node) for kept in node.saved])

    @property
    def saved_variables(self) -> tuple[Tensor | None, ...]:
        """The old name of ``saved_tensors``."""
        warnings.warn(
            "'saved_variables' is deprecated; use 'saved_tensors'", DeprecationWarning, stacklevel=2
        )
        return self.saved_tensors

    _to_save: tuple[Tensor | None, ...] = ()
    _dirty: tuple[Tensor, ...] = ()
    _non_differentiable: tuple[Tensor, ...] = ()
    _materialize = True
    _node: weakref.ref[FunctionNode] | None = None


class FunctionNode(Node):
    """The graph node of a user's function; prints as ``<name>Backward``."""

    function: type[Function]
    ctx: FunctionCtx
    places: tuple[int | None, ...] = ()  # each argument's edge; None if it is not a tensor
    saved: tuple[Saved | None, ...] = ()

    def name(self) -> str:
        return self.label or f"{self.function.__name__}Backward"

    def __getattr__(self, name: str) -> Any:
        # In PyTorch ctx and grad_fn are one object: grad_fn.saved_tensors is in use.
        if name.startswith("__") or name in ("ctx", "function"):
            raise AttributeError(name)
        return getattr(self.ctx, name)

    def apply(self, grads: tuple[Tensor | None, ...]) -> list[Tensor | None]:
        ctx = self.ctx
        if ctx._materialize:
            grads = tuple(
                [
                    _zeros(m) if grad is None and m is not None else grad
                    for grad, m in zip(grads, self.results, strict=True)
                ]
            )
        answer = _backward_of(self.function)(ctx, *grads)
        if not isinstance(answer, tuple):
            answer = (answer,)
        return self._checked(answer)

    def _checked(self, answer: tuple) -> list[Tensor | None]:
        wanted = len(self.places)
        if len(answer) > wanted and all(x is None for x in answer[wanted:]):
            answer = answer[:wanted]
        if len(answer) != wanted:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients "
                f"(expected {wanted}, got {len(answer)}): backward() returns one for each argument "
                "of forward(), None where there is no gradient"
            )
        found: list[Tensor | None] = []
        for i, (grad, place) in enumerate(zip(answer, self.places, strict=True)):
            if place is None and grad is not None:
                raise RuntimeError(
                    f"function {self.name()} returned a gradient different than None at position "
                    f"{i + 1}, but the corresponding forward input was not a Variable"
                )
            if grad is not None and not isinstance(grad, Tensor):
                raise RuntimeError(f"expected Variable or None (got {type(grad).__name__})")
            if place is not None:
                found.append(grad)
        return found

    def release(self) -> None:
        if self.saved:
            self.released = True
            self.saved = ()


def _zeros(meta: Any) -> Tensor:
    return views.detached_copy(graph.zeros_like_meta(meta))


def _backward_of(function: type[Function]) -> Callable:
    own, other = function.backward, function.vjp
    if own is not Function.backward and other is not Function.vjp:
        raise RuntimeError(
            f"{function.__name__}: Implementing both 'backward' and 'vjp' for a custom Function "
            "is not allowed; vjp is another name for backward"
        )
    return other if other is not Function.vjp else own


class _FunctionMeta(type):
    """Gives each Function class a node class of its own, so that its name is the one printed."""

    def __init__(cls, name: str, bases: tuple, attributes: dict[str, Any]):
        cls._backward_cls = type(f"{name}Backward", (FunctionNode,), {})
        super().__init__(name, bases, attributes)


class Function(metaclass=_FunctionMeta):
    """Base class of operations with a derivative written by the user.

    A subclass has static methods ``forward(ctx, *args)`` (or ``forward(*args)`` together with
    ``setup_context(ctx, inputs, output)``) and ``backward(ctx, *grad_outputs)``, which returns a
    gradient, or None, for each argument of forward. Call it with ``apply``.

    Source: torch.autograd.Function.

    >>> import suiren as torch
    >>> class Square(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * x * grad
    >>> x = torch.tensor(3., requires_grad=True)
    >>> Square.apply(x).backward()
    >>> x.grad
    tensor(6.)
    """

    generate_vmap_rule = False
    _backward_cls: type[FunctionNode]

    def __init__(self, *args: Any, **kwargs: Any):
        warnings.warn(
            f"{type(self)} should not be instantiated: the methods of an autograd function are "
            "static, call apply() on the class itself",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated: make forward "
            "and backward static methods that take ctx, and call "
            f"{type(self).__name__}.apply(...)"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """The computation; the user writes it."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        """Fills ``ctx`` after a forward that does not take it."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Gradients of the arguments from gradients of the outputs; the user writes it."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    @staticmethod
    def vjp(ctx: Any, *grad_outputs: Any) -> Any:
        """Another name under which ``backward`` may be written."""
        raise NotImplementedError("vjp is not implemented.")

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The rule for forward-mode differentiation, which Suiren does not have."""
        raise NotImplementedError("forward-mode differentiation is not supported")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs ``forward`` on the arguments and connects its results to ``backward``.

        Tensors inside lists or dicts among the arguments are not differentiated.
        """
        separate = cls.setup_context is not Function.setup_context
        if kwargs or separate:
            args = _bound(cls.forward, args, kwargs, separate)
        needs = tuple([isinstance(x, Tensor) and x.requires_grad for x in args])
        tracked = mode.grad and any(needs)
        ctx = FunctionCtx()
        ctx.needs_input_grad = needs
        node = cls._backward_cls()
        node.function = cls
        node.ctx = ctx
        ctx._node = weakref.ref(node)
        if tracked:
            _set_inputs(node, args)
        edges_before = _edges_of_dirty(args) if tracked else {}
        previous, mode.grad = mode.grad, False
        try:
            if separate:
                output = cls.forward(*args)
                cls.setup_context(ctx, args, output)
            else:
                output = cls.forward(ctx, *args)
        finally:
            mode.grad = previous
        results = output if isinstance(output, tuple) else (output,)
        _check_dirty(ctx, args, results)
        if tracked:
            results = _connected(node, args, results, edges_before)
            node.saved = tuple(
                [x if x is None else _saved(x, node) for x in ctx._to_save]
            )
        else:
            results = _unconnected(args, results, ctx)
        # What only forward's end needs would otherwise keep the outputs, and them this node.
        ctx._to_save = ctx._dirty = ctx._non_differentiable = ()
        return results if isinstance(output, tuple) else results[0]


def _bound(forward: Callable, args: tuple, kwargs: dict[str, Any], separate: bool) -> tuple:
    """All arguments by position with defaults filled in, as ``setup_context`` gets them."""
    import inspect

    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):
        return args
    lead = () if separate else (None,)
    bound = signature.bind(*lead, *args, **kwargs)
    if separate:
        bound.apply_defaults()
    return bound.args[len(lead) :]


def _set_inputs(node: FunctionNode, args: tuple) -> None:
    edges: list[Any] = []
    metas = []
    places: list[int | None] = []
    for x in args:
        if not isinstance(x, Tensor):
            places.append(None)
            continue
        places.append(len(edges))
        edges.append(graph.edge_of(x) if x.requires_grad else None)
        metas.append(x._meta)
    node.places = tuple(places)
    node.edges = tuple(edges)
    node.metas = tuple(metas)
    node.needs = tuple([edge is not None for edge in edges])
    if graph._anomaly.on:
        node.traceback = graph._anomaly.forward_lines()


def _edges_of_dirty(args: tuple) -> dict[int, Any]:
    # what each input was before forward wrote to it: a leaf that requires grad must not be dirty
    return {id(x): x._grad_fn for x in args if isinstance(x, Tensor)}


def _check_dirty(ctx: FunctionCtx, args: tuple, results: Sequence[Any]) -> None:
    for x in ctx._dirty:
        if not any(x is given for given in args):
            warnings.warn(
                "ctx.mark_dirty() received a tensor that was not an input. Only inputs that have "
                "been mutated are passed to it.",
                stacklevel=3,
            )
        elif not any(x is result for result in results):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as "
                "output. The inputs that are modified inplace must all be outputs of the Function."
            )


def _connected(
    node: FunctionNode, args: tuple, results: Sequence[Any], before: dict[int, Any]
) -> tuple:
    ctx = node.ctx
    node.results = tuple([x._meta if isinstance(x, Tensor) else None for x in results])
    found = []
    for i, x in enumerate(results):
        if not isinstance(x, Tensor):
            found.append(x)
            continue
        is_input = any(x is given for given in args)
        dirty = any(x is marked for marked in ctx._dirty)
        flat = x._meta.dtype.category < 2
        if flat or any(x is marked for marked in ctx._non_differentiable):
            found.append(views.alias(x) if is_input and not dirty else x)
        elif is_input and dirty:
            found.append(_rewritten(node, i, x, before))
        else:
            if is_input:
                x = views.view_without_history(x)
            if x._view is not None:
                x._view.origin = f"function {node.function.__name__}"
            x._grad_fn, x._output_index, x._requires_grad = node, i, True
            found.append(x)
    return tuple(found)


def _rewritten(node: FunctionNode, index: int, x: Tensor, before: dict[int, Any]) -> Tensor:
    """A dirty input, which forward has written to already: its history becomes this node."""
    if x._requires_grad and before.get(id(x)) is None:
        raise RuntimeError(
            "a leaf Variable that requires grad has been used in an in-place operation "
            f"({node.name()}); clone() it before"
        )
    graph_tools.increment_version(x)
    made = views.detached_copy(x)
    made._grad_fn, made._output_index, made._requires_grad = node, index, True
    views.rewrite_history(x, made)
    return x


def _unconnected(args: tuple, results: Sequence[Any], ctx: FunctionCtx) -> tuple:
    found = []
    for x in results:
        given = isinstance(x, Tensor) and any(x is y for y in args)
        if given and not any(x is marked for marked in ctx._dirty):
            x = views.alias(x)  # an input returned as it is becomes another tensor
        found.append(x)
    return tuple(found)


def _saved(tensor: Tensor, node: FunctionNode) -> Saved:
    if tensor._grad_fn is node:
        return Saved(tensor, node, tensor._output_index)
    return Saved(tensor)


class _Error(Node):
    """Where a graph through a backward that must not be differentiated again ends."""

    message = ""

    def name(self) -> str:
        return "Error"

    def apply(self, grads: tuple[Tensor | None, ...]) -> list[Tensor | None]:
        raise RuntimeError(self.message)


def once_differentiable(function: Callable) -> Callable:
    """Decorates a ``backward`` whose own operations cannot be differentiated.

    It runs with gradients off; a second differentiation raises RuntimeError.
    Source: torch.autograd.function.once_differentiable.
    """

    @functools.wraps(function)
    def backward(ctx: Any, *grads: Any) -> Any:
        previous, mode.grad = mode.grad, False
        try:
            answer = function(ctx, *grads)
        finally:
            mode.grad = previous
        if not mode.grad or not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return answer
        single = not isinstance(answer, tuple)
        found = (answer,) if single else answer
        node = _Error()
        node.message = (
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
        given = [g for g in grads if isinstance(g, Tensor)]
        node.edges = tuple([graph.edge_of(g) if g.requires_grad else None for g in given])
        node.metas = tuple([g._meta for g in given])
        shown: list[Any] = []
        for x in found:
            if isinstance(x, Tensor) and x._meta.dtype.category >= 2:
                x = views.alias(x)
                x._grad_fn, x._output_index, x._requires_grad = node, len(shown), True
            shown.append(x)
        node.results = tuple([x._meta if isinstance(x, Tensor) else None for x in shown])
        return shown[0] if single else tuple(shown)

    return backward
