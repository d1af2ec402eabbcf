"""The graph that differentiation walks: nodes made while recording, edges to their inputs' nodes.

A node keeps what its operator's derivative formulas name and nothing more. What is kept is a Value
(which never changes) with the version its tensor had: when the tensor has been written to since,
``backward()`` refuses, as PyTorch does, rather than differentiate another computation than the one
the user sees now.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from suiren.autograd.mode import mode
from suiren.device import META
from suiren.operator import MAX_PLANS, Formula, Operator
from suiren.tensor import Tensor, new_tensor, value_of
from suiren.trace import Meta, Value

_sequence = itertools.count()

Edge = tuple["Node", int]


SECOND_TIME = (
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they have already been freed): the values saved for {} were freed by the first backward(). "
    "Call the first one with retain_graph=True, or compute the forward pass again."
)


class Saved:
    """A tensor kept for the backward pass: its Value, and how to notice a later write.

    ``own`` marks a result of the node that keeps it: the node is then not referred to, since the
    two would keep each other alive. A leaf is kept as it is.
    """

    # Defaults on the class: most of what is kept needs no more than four attributes of its own.
    value: Any
    node: Node | None = None
    index = 0
    leaf: Tensor | None = None
    own = False
    unpacking: Callable[[Any], Any] | None = None

    def __init__(self, tensor: Tensor, owner: Node | None = None, index: int = 0):
        if tensor._inference:
            raise RuntimeError(
                "Inference tensors cannot be saved for backward: a tensor made in inference mode "
                "takes part in a computation tracked by autograd. clone() it first, or use "
                "torch.no_grad() instead of torch.inference_mode()"
            )
        self.meta = tensor._meta
        self.counter: Any = tensor._counter or tensor._storage
        self.version = self.counter.version
        if owner is not None:
            self.own = True
            if index:
                self.index = index
        elif tensor._requires_grad:
            if tensor._grad_fn is None:
                self.leaf = tensor
            else:
                self.node = tensor._grad_fn
                if tensor._output_index:
                    self.index = tensor._output_index
        if mode.saved_hooks:
            pack, self.unpacking = mode.saved_hooks[-1]
            self.value = _packed(pack, tensor)
        else:
            value = tensor._storage.value if tensor._view is None else None
            self.value = value_of(tensor) if value is None else value

    def unpack(self, owner: Node) -> Tensor:
        """The tensor as it was; raises RuntimeError if it has been written to since."""
        if self.unpacking is not None:
            tensor = self._unpacked()
        else:
            if self.counter.version != self.version:
                self._refuse(owner)
            if self.leaf is not None:
                return self.leaf
            tensor = new_tensor(self.value, self.meta)
        node = owner if self.own else self.node
        if node is not None and tensor._meta.dtype.category >= 2:  # positions have no gradient
            tensor._grad_fn = node
            tensor._output_index = self.index
            tensor._requires_grad = True
        return tensor

    def _unpacked(self) -> Tensor:
        assert self.unpacking is not None  # or there is nothing to call
        found = self.unpacking(self.value)
        if not isinstance(found, Tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of "
                f"type {type(found).__name__}"
            )
        tensor = new_tensor(value_of(found), found._meta)
        if self.leaf is not None:  # gradients of gradients go on to the leaf itself
            tensor._requires_grad = True
            tensor._accumulator = accumulator(self.leaf)
        return tensor

    def _refuse(self, owner: Node) -> None:
        place = ""
        node = owner if self.own else self.node
        if node is not None:
            place = f", which is output {self.index} of {node.name()}"
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an "
            f"inplace operation: [torch.{_legacy_type(self.meta)} "
            f"{list(self.meta.shape)}]{place}, saved by {owner.name()}, is at version "
            f"{self.counter.version}; expected version {self.version} instead. Write to a "
            "clone() of it, or find the place with torch.autograd.set_detect_anomaly(True)."
        )


def _packed(pack: Callable, tensor: Tensor) -> Any:
    counter = tensor._counter or tensor._storage
    version = counter.version
    previous, mode.grad = mode.grad, False
    try:
        found = pack(tensor)
    finally:
        mode.grad = previous
    if counter.version != version:
        raise RuntimeError(
            "A saved tensor pack hook is modifying its input in place. The tensor is part of the "
            "computation: return a changed copy instead."
        )
    return found


def _legacy_type(meta: Meta) -> str:
    return f"{meta.dtype.letter_name}Tensor"


class Handle:
    """Removes a hook; also a context manager that removes it at the end."""

    def __init__(self, hooks: OrderedDict[int, Any]):
        self.id = next(_sequence)
        self._hooks = weakref.ref(hooks)

    def remove(self) -> None:
        """Takes the hook out; further calls do nothing."""
        hooks = self._hooks()
        if hooks is not None:
            hooks.pop(self.id, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.remove()


class Hooks(OrderedDict):
    """Hooks in order of registration (a class of its own: plain dicts take no weak references)."""


class Node:
    """One differentiable step: where its result came from and how gradients go back."""

    # Defaults on the class: nodes are made for every differentiable operation, and most of them
    # are never hooked.
    edges: tuple[Edge | None, ...] = ()
    metas: tuple[Any, ...] = ()
    results: tuple[Any, ...] = ()  # their Metas; None for what is no tensor
    needs: tuple[bool, ...] = ()
    hooked = False  # whether any of the following four was ever set
    tensor_hooks: dict[int, Hooks] | None = None
    retained: dict[int, weakref.ref[Tensor]] | None = None
    pre_hooks: Hooks | None = None
    post_hooks: Hooks | None = None
    label: str | None = None
    released = False
    traceback: str | None = None
    kind: Kind | None = None  # of nodes of operators

    def __init__(self) -> None:
        self.sequence = next(_sequence)

    # ---- what users see

    def name(self) -> str:
        """PyTorch's name of this kind of node, such as ``AddBackward0``."""
        return self.label or type(self).__name__

    @property
    def next_functions(self) -> tuple[tuple[Node | None, int], ...]:
        """The nodes that gradients go to next, with which of their results is meant."""
        return tuple((None, 0) if edge is None else edge for edge in self.edges)

    @property
    def metadata(self) -> dict[Any, Any]:
        """A dictionary for the user's own notes on this node."""
        return self.__dict__.setdefault("_metadata", {})

    def register_hook(self, hook: Callable) -> Handle:
        """Calls ``hook(grad_inputs, grad_outputs)`` after the node has computed."""
        self.hooked = True
        if self.post_hooks is None:
            self.post_hooks = Hooks()
        return _add(self.post_hooks, hook)

    def register_prehook(self, hook: Callable) -> Handle:
        """Calls ``hook(grad_outputs)`` before the node computes."""
        self.hooked = True
        if self.pre_hooks is None:
            self.pre_hooks = Hooks()
        return _add(self.pre_hooks, hook)

    def __repr__(self) -> str:
        return f"<{self.name()} object at {id(self):#x}>"

    def __call__(self, *grads: Tensor | None) -> Any:
        """Applies the node to gradients of its results; a tuple if there are several inputs."""
        found = tuple(self.apply(grads))
        return found[0] if len(found) == 1 else found

    # ---- what the engine uses

    def apply(self, grads: tuple[Tensor | None, ...]) -> list[Tensor | None]:
        """Gradients of the inputs from gradients of the results (None: zero)."""
        raise NotImplementedError

    def release(self) -> None:
        """Forgets what was saved: the graph has been walked and is not to be walked again."""
        self.released = True

    def input_metas(self) -> tuple[Any, ...]:
        """The Meta of each input that an edge leads to."""
        return self.metas


def _add(hooks: Hooks, hook: Callable) -> Handle:
    handle = Handle(hooks)
    hooks[handle.id] = hook
    return handle


class Kind:
    """What the nodes of one operator with the same attributes and Metas have in common.

    There is one object for each combination, so that equal graphs are found by identity.
    """

    __slots__ = ("node_class", "needs", "results", "kept", "kept_results", "widths")

    def __init__(
        self, operator: Operator, metas: tuple, needs: tuple[bool, ...], outputs: tuple[Tensor, ...]
    ):
        if operator.backward is None:
            _check_formulas(operator, needs)
        self.kept, self.kept_results = operator.savings(needs)
        self.node_class = node_class(operator.node_name)
        self.needs = needs
        self.results = tuple([output._meta for output in outputs])
        self.widths = len(metas), len(outputs)


class OperatorNode(Node):
    """The node of a recorded operator; its class has the name that PyTorch prints."""

    operator: Operator
    attributes: tuple
    saved: Sequence[Any] = ()
    saved_results: Sequence[Any] = ()

    def name(self) -> str:
        named = self.operator.node_name_of
        if self.label or named is None:
            return super().name()
        return named(self.metas, self.attributes)

    def __getattr__(self, name: str) -> Any:
        """``_saved_self``, ``_saved_result``, ``_saved_dim``: what is kept for the way back."""
        wanted = name.removeprefix("_saved_")
        if wanted == name:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        if wanted == "self":
            wanted = "input"
        operator = self.operator
        kept: Any = None
        if wanted in operator.attributes:
            return self.attributes[operator.attributes.index(wanted)]
        if self.released:
            raise RuntimeError(SECOND_TIME.format(self.name()))
        if wanted in operator.arguments and self.saved:
            kept = self.saved[operator.arguments.index(wanted)]
        elif wanted == "result" and self.saved_results:
            kept = self.saved_results[0]
        if kept is None:
            raise AttributeError(f"'{type(self).__name__}' object keeps no '{name}'")
        return kept.unpack(self) if kept.__class__ is Saved else kept

    def apply(self, grads: tuple[Tensor | None, ...]) -> list[Tensor | None]:
        if self.released:
            raise RuntimeError(SECOND_TIME.format(self.name()))
        operator = self.operator
        if operator.backward is not None:
            return list(self._evaluate(operator.backward, grads))
        found: list[Tensor | None] = []
        for formula, need in zip(operator.formulas, self.needs, strict=False):
            found.append(self._evaluate(formula, grads) if need and formula else None)
        return found

    def _evaluate(self, formula: Formula, grads: tuple[Tensor | None, ...]) -> Any:
        arguments: list[Any] = []
        for kind, which in formula.parameters:
            if kind == "grad":
                arguments.append(grads[0])
            elif kind == "saved":
                kept = self.saved[which]
                arguments.append(kept.unpack(self) if kept.__class__ is Saved else kept)
            elif kind == "result":
                arguments.append(self.saved_results[which].unpack(self))
            elif kind == "attribute":
                arguments.append(self.attributes[which])
            elif kind == "meta":
                arguments.append(self.metas[which])
            elif kind == "grads":
                arguments.append(grads)
            elif kind == "needs":
                arguments.append(self.needs)
            elif kind == "attributes":
                arguments.append(self.attributes)
            else:  # metas: of all inputs, for operators that take any number of tensors
                arguments.append(self.metas)
        return formula.function(*arguments)

    def release(self) -> None:
        if self.saved or self.saved_results:
            self.released = True
            self.saved = self.saved_results = ()


_new = object.__new__
_classes: dict[str, type[OperatorNode]] = {}


def node_class(name: str) -> type[OperatorNode]:
    """The node class that prints as ``name``."""
    found = _classes.get(name)
    if found is None:
        found = _classes[name] = type(name, (OperatorNode,), {})
    return found


class AccumulateGrad(Node):
    """Where gradients of a leaf end: adds them to ``tensor.grad``.

    The leaf owns its node; the node refers to the leaf weakly, so there is no cycle. A leaf that
    nobody holds any more has nobody to look at its gradient.
    """

    sequence = sys.maxsize  # runs as soon as its gradient is there
    after_hooks: Hooks | None = None

    def __init__(self, variable: Tensor):
        self._variable = weakref.ref(variable)
        self.results = (variable._meta,)

    @property
    def variable(self) -> Tensor | None:
        """The leaf, while somebody holds it."""
        return self._variable()

    def apply(self, grads: tuple[Tensor | None, ...]) -> list[Tensor | None]:
        grad = grads[0]
        if grad is None:
            return []
        variable = self._variable()
        if variable is None:
            return []
        held = variable._grad
        if held is not None:
            # create_graph: the old sum stays part of the graph. Otherwise .grad stays one object.
            variable._grad = held + grad if mode.grad else held.add_(grad)
        elif mode.grad and grad._requires_grad:
            variable._grad = grad.clone()
        else:
            variable._grad = new_tensor(value_of(grad), _grad_layout(variable._meta, grad._meta))
        if self.after_hooks:
            for hook in list(self.after_hooks.values()):
                hook(variable)
        return []

    def release(self) -> None:
        pass


def _grad_layout(variable: Meta, grad: Meta) -> Meta:
    """The visible strides of a first gradient: its leaf's where those are dense, else row-major."""
    if variable is grad or variable.contiguous:
        return variable.flat if not grad.contiguous else grad
    expected = 1
    for stride, size in sorted(zip(variable.strides, variable.shape, strict=True)):
        if size != 1:
            if stride != expected:
                return grad if grad.contiguous else variable.flat
            expected *= size
    return variable


def accumulator(leaf: Tensor) -> AccumulateGrad:
    """The node that collects the gradients of this leaf."""
    node = leaf._accumulator
    if node is None:
        node = leaf._accumulator = AccumulateGrad(leaf)
    return node


def edge_of(tensor: Tensor) -> Edge:
    """Where gradients of this tensor go; it must require grad."""
    if tensor._grad_fn is not None:
        return tensor._grad_fn, tensor._output_index
    return accumulator(tensor), 0


def connect(
    operator: Operator,
    attributes: tuple,
    inputs: tuple,
    metas: tuple,
    outputs: tuple[Tensor, ...],
) -> None:
    """Makes the node of an operation just recorded and hangs the results on it."""
    needs = tuple([x.__class__ not in _NUMBERS and x._requires_grad for x in inputs])
    key = metas, attributes, needs, outputs[0]._meta
    kind = operator.kinds.get(key)
    if kind is None:
        if len(operator.kinds) >= MAX_PLANS:
            operator.kinds.clear()
        kind = operator.kinds[key] = Kind(operator, metas, needs, outputs)
    node = _new(kind.node_class)
    node.sequence = next(_sequence)
    node.kind = kind
    node.operator = operator
    node.attributes = attributes
    node.metas = metas
    node.needs = kind.needs
    node.results = kind.results
    edges: list[Edge | None] = []
    for x, need in zip(inputs, needs):  # noqa: B905 (of one length; strict costs time here)
        if not need:
            edges.append(None)
        elif x._grad_fn is not None:
            edges.append((x._grad_fn, x._output_index))
        else:
            edges.append((x._accumulator or accumulator(x), 0))
    node.edges = tuple(edges)
    if kind.kept:
        saved: list[Any] = [None] * kind.widths[0]
        for i in kind.kept:
            x = inputs[i]
            saved[i] = x if x.__class__ in _NUMBERS else Saved(x)
        node.saved = saved
    for i, output in enumerate(outputs):
        if output._meta.dtype.category >= 2:  # integers and truth values have no gradient
            output._grad_fn = node
            if i:
                output._output_index = i
            output._requires_grad = True
    if kind.kept_results:
        saved = [None] * kind.widths[1]
        for i in kind.kept_results:
            saved[i] = kept = Saved(outputs[i], node, i)
            if operator.lasting:
                kept.counter, kept.version = _Unwritten, 0
        node.saved_results = saved
    if _anomaly.on:
        node.traceback = _anomaly.forward_lines()


class _Unwritten:
    """Stands for the counter of what may be written to: its Value is kept and stays as it was."""

    version = 0


class _Anomaly:
    """Anomaly detection: a setting of the whole process (see ``anomaly.py``)."""

    on = False
    check_nan = True

    @staticmethod
    def forward_lines() -> str:
        """The user's lines that led here, innermost last."""
        import os
        import traceback

        package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        lines = traceback.extract_stack()
        inside = (package, os.path.abspath("<string>"))  # ours, and what we generated
        own = [x for x in lines if not os.path.abspath(x.filename).startswith(inside)]
        return "".join(traceback.format_list(own or lines))


_anomaly = _Anomaly()
_NUMBERS = frozenset({int, float, bool, complex, type(None)})


def _check_formulas(operator: Operator, needs: tuple[bool, ...]) -> None:
    for i, need in enumerate(needs):
        if need and (i >= len(operator.formulas) or operator.formulas[i] is None):
            which = operator.arguments[i] if i < len(operator.arguments) else i
            raise NotImplementedError(
                f"the derivative of {operator.name} with respect to {which!r} is not there; "
                "detach() that argument if no gradient is needed"
            )


def refresh_history(tensor: Tensor) -> None:
    """Rebuilds a view's place in the graph after its base was written to in place."""
    view = tensor._view
    assert view is not None
    base = view.base
    if view.origin and base._requires_grad:
        _refuse_history(view.origin)
    view.epoch = base._epoch
    if not base._requires_grad:
        return
    current = base
    for operator, attributes, meta in view.steps[view.start :]:
        shown = _new(Tensor)
        shown._meta = meta
        shown._storage = tensor._storage
        connect(operator, attributes, (current,), (current._meta,), (shown,))
        current = shown
    if current._grad_fn is not None:
        # PyTorch rebuilds the view from strides, and prints the node's name so
        current._grad_fn.label = "AsStridedBackward0"
        tensor._grad_fn = current._grad_fn
        tensor._output_index = current._output_index
        tensor._requires_grad = True


def _refuse_history(origin: str) -> None:
    made = {
        "no_grad": "in no_grad mode",
        "multi": "by a function that returns multiple views (split, chunk, unbind)",
    }
    raise RuntimeError(
        f"A view was created {made.get(origin, 'inside a custom Function')} and its base or "
        "another view of its base has been modified inplace with grad mode enabled, which leaves "
        "it without a history: clone() the view when it is made, or make it after the write"
    )


def keep_overwritten(node: Node, target: Tensor) -> None:
    """Before an in-place operation writes: its own derivative may look at what ``target`` held.

    The Value saved is the old one, whatever happens to the tensor.
    """
    saved = node.saved[:1] if isinstance(node, OperatorNode) else ()
    for kept in saved:
        if kept.__class__ is Saved and kept.counter is (target._counter or target._storage):
            kept.counter = _Unchanging
            kept.version = 0


class _Unchanging:
    version = 0


def rebind_results(result: Tensor, target: Tensor) -> None:
    """After an in-place operation: the result that its node saved lives in ``target`` now."""
    node = result._grad_fn
    for saved in node.saved_results if isinstance(node, OperatorNode) else ():
        if saved is not None and saved.index == result._output_index:
            saved.counter = target._counter or target._storage
            saved.version = saved.counter.version


def move_retained(tensor: Tensor, node: Node | None, index: int) -> None:
    """After an in-place operation on ``tensor``, whose place was ``(node, index)``.

    A tensor that retains its gradient retains that of its new contents.
    """
    if node is None or not node.retained:
        return
    held = node.retained.get(index)
    if held is None or held() is not tensor:
        return
    del node.retained[index]
    if tensor._grad_fn is not None:
        tensor._grad_fn.hooked = True
        if tensor._grad_fn.retained is None:
            tensor._grad_fn.retained = {}
        tensor._grad_fn.retained[tensor._output_index] = held


def zeros_like_meta(meta: Meta) -> Tensor:
    """Zeros of this shape and dtype: the gradient of a result that nothing was computed from."""
    import numpy as np

    if meta.device is META:
        return new_tensor(Value(meta.flat))
    return new_tensor(Value(meta.flat, np.zeros(meta.shape, meta.dtype.numpy)))


# torch.autograd.graph is this module; what only users call is in graph_tools.py
_TOOLS = frozenset({
    "GradientEdge", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks",
    "get_gradient_edge", "increment_version", "register_multi_grad_hook", "save_on_cpu",
    "saved_tensors_hooks",
})  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _TOOLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("suiren.autograd.graph_tools"), name)
