"""Views and writing: PyTorch's aliasing on top of Values that never change.

A view tensor shares the Storage of its base and knows the steps that lead from the storage's root
to what it shows. Making one computes nothing. Writing through one records the scatter of each step
backwards, and the storage takes the result as its new contents; the other views notice by the
storage's count of changes. The same steps done as differentiable operations rewrite the base's
place in the autograd graph (PyTorch calls that node ``CopySlices``).
"""

from __future__ import annotations

import functools
from typing import Any

from suiren import dispatch
from suiren.autocast_state import casting, suspended
from suiren.autograd import graph
from suiren.autograd.graph import refresh_history
from suiren.autograd.mode import mode
from suiren.dtypes import can_cast
from suiren.operator import Operator, finish, translate
from suiren.tensor import Tensor, View, new_tensor, value_of
from suiren.trace import Meta

_new = object.__new__


def make_view(
    operator: Operator, source: Tensor, attributes: tuple, meta: Meta, offset: int, origin: str = ""
) -> Tensor:
    """A tensor that shows ``source`` through one more step; nothing is computed."""
    view = source._view
    result = _new(Tensor)
    result._meta = meta
    result._storage = source._storage
    step = (operator, attributes, meta)
    if view is None:
        result._view = made = View(source, (step,), offset)
    else:
        if view.epoch != view.base._epoch:
            refresh_history(source)
        steps = (*view.steps, step)
        if view.start < 0:
            result._view = made = View(source, steps, offset, len(view.steps))
        else:
            result._view = made = View(view.base, steps, offset, view.start)
            made.origin = view.origin
    if source._counter is not None:
        result._counter = source._counter
    if source._inference:
        result._inference = True
    if origin:
        made.origin = origin
    if not mode.grad:
        made.origin = made.origin or "no_grad"
    elif source._requires_grad:
        if operator.differentiable and meta.dtype.category >= 2:
            graph.connect(operator, attributes, (source,), (source._meta,), (result,))
            if origin == "multi":  # PyTorch has one node for all of them
                label = "UnbindBackward0" if operator.name == "select" else "SplitBackward0"
                result._grad_fn.label = label
    return result


def alias(source: Tensor) -> Tensor:
    """Another tensor over the same memory without history: what ``detach()`` returns."""
    result = _new(Tensor)
    result._meta = source._meta
    result._storage = source._storage
    result._counter = source._counter
    if source._inference:
        result._inference = True
    view = source._view
    if view is not None:
        root = _new(Tensor)
        root._meta = source._storage.meta
        root._storage = source._storage
        root._counter = source._counter
        result._view = View(root, view.steps, view.offset, -1)
    return result


def view_without_history(source: Tensor) -> Tensor:
    """A view of the whole of ``source``, not in the graph yet: the caller gives it a place."""
    view = source._view
    result = alias(source)
    if view is None:
        result._view = View(source, (), 0)
    elif view.start < 0:
        result._view = View(source, view.steps, view.offset, len(view.steps))
    else:
        result._view = View(view.base, view.steps, view.offset, view.start)
    return result


def base_of(tensor: Tensor) -> Tensor | None:
    """The tensor that this is a view of, None if it has a history of its own."""
    view = tensor._view
    return None if view is None or view.start < 0 else view.base


def _view_of(tensor: Tensor) -> View:
    view = tensor._view
    assert view is not None, "only views are written through"
    return view


def offset_of(tensor: Tensor) -> int:
    """Elements between the start of the storage and the tensor's first element."""
    return 0 if tensor._view is None else tensor._view.offset


# --------------------------------------------------------------------------
# Writing


def assign(target: Tensor, result: Tensor, name: str = "copy_") -> Tensor:
    """Makes ``result`` the contents of ``target``: the second half of every in-place operation.

    ``result`` must have the target's shape (or broadcast to it for ``copy_``) and a dtype that
    PyTorch would write into the target's. Raises RuntimeError otherwise, for leaves that require
    grad, and for views that may not be written to.
    """
    meta = target._meta
    view = target._view
    if result._meta is not meta:
        result = _fit(target, result, name)
    elif view is None and meta.contiguous and not target._inference:
        if not (target._requires_grad or result._requires_grad) or not mode.grad:
            storage = target._storage
            storage.write(value_of(result))
            (target._counter or storage).version += 1
            return target
    if mode.grad:
        if view is not None and view.epoch != view.base._epoch:
            refresh_history(target)
        if target._requires_grad or result._requires_grad or (
            view is not None and view.base._requires_grad
        ):
            check_writable(target, name)
            _check_memory(target, name)
            _assign_with_history(target, result)
            return target
    _check_memory(target, name)
    _write_value(target, result)
    _count_write(target)
    return target


def _write_value(target: Tensor, result: Tensor) -> None:
    """Puts the elements into the storage, whatever the history."""
    storage = target._storage
    if target._view is None:
        storage.write(value_of(result))
        return
    root = _new(Tensor)
    root._meta = storage.meta
    root._storage = storage
    previous, mode.grad = mode.grad, False
    try:
        storage.write(value_of(_scatter(_steps_to(target, 0), result, root)))
    finally:
        mode.grad = previous


def _count_write(target: Tensor) -> None:
    counter = target._counter or target._storage
    counter.version += 1


def _fit(target: Tensor, result: Tensor, name: str) -> Tensor:
    meta = target._meta
    if result._meta.shape != meta.shape:
        if name != "copy_":
            raise RuntimeError(
                f"output with shape {list(meta.shape)} doesn't match the broadcast shape "
                f"{list(result._meta.shape)}: {name} cannot change the shape of the tensor it "
                "writes to; use the form that makes a new tensor"
            )
        result = result.expand(meta.shape)
    if result._meta.device is not meta.device:
        result = _brought(target, result, name)
    if result._meta.dtype is not meta.dtype:
        if name != "copy_" and not can_cast(result._meta.dtype, meta.dtype):
            raise RuntimeError(
                f"result type {result._meta.dtype.letter_name} can't be cast to the desired "
                f"output type {meta.dtype.letter_name}: {name} computes {result._meta.dtype} and "
                f"writes to {meta.dtype}; convert the tensor with .to() first"
            )
        result = result.to(meta.dtype)
    return result


def _brought(target: Tensor, result: Tensor, name: str) -> Tensor:
    """The result where the target is: only what has data can be copied, and only copy_ copies."""
    if name != "copy_":
        raise RuntimeError(
            f"{name}: the result is on the device {result._meta.device} and is to be written to a "
            f"tensor on {target._meta.device}; copies between devices are not made here, use .to()"
        )
    return result.to(target._meta.device)


def check_writable(target: Tensor, name: str = "an in-place operation") -> None:
    """Raises RuntimeError where PyTorch forbids in-place operations under autograd."""
    if target._requires_grad and target._grad_fn is None:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation "
            f"({name}); do it under torch.no_grad(), or on a clone()"
        )
    view = target._view
    if view is None:
        return
    if view.base._requires_grad and view.base._grad_fn is None:
        raise RuntimeError(
            "a view of a leaf Variable that requires grad is being used in an in-place operation "
            f"({name}); do it under torch.no_grad(), or on a clone()"
        )
    if view.origin == "no_grad":
        raise RuntimeError(
            "A view was created in no_grad mode and is being modified inplace with grad mode "
            f"enabled ({name}): autograd cannot know which of the two was meant; make the view "
            "with gradients on, or write under torch.no_grad()"
        )
    if view.origin.startswith("function "):
        raise RuntimeError(
            f"Output 0 of {view.origin.removeprefix('function ')} is a view and is being modified "
            f"inplace ({name}). This view was created inside a custom Function (or because an "
            "input was returned as-is), and writing to it would replace the custom backward. "
            "clone() the output of the custom Function."
        )
    if view.origin == "elsewhere":
        raise NotImplementedError(
            f"{name} under autograd through an as_strided view that shows elements outside the "
            "tensor it was made from is not supported; make the view from the base tensor"
        )
    if view.origin == "multi":
        raise RuntimeError(
            f"{name} writes to one of the views made by a function that returns several views "
            "(unbind, split, chunk): Output 0 of that function is a view and is being modified "
            "inplace, which autograd does not allow; use the form that makes a new tensor"
        )


def _check_memory(target: Tensor, name: str) -> None:
    if target._inference and not mode.inference:
        raise RuntimeError(
            f"Inplace update to inference tensor outside InferenceMode is not allowed ({name}); "
            "clone() it first"
        )
    meta = target._meta
    if meta.contiguous or meta.numel < 2 or name in ("fill_", "zero_"):
        return
    for size, stride in zip(meta.shape, meta.strides, strict=True):
        if size > 1 and stride == 0:
            raise RuntimeError(
                "unsupported operation: more than one element of the written-to tensor refers to "
                f"a single memory location ({name} on an expanded tensor of shape "
                f"{list(meta.shape)}). Please clone() the tensor before performing the operation."
            )


def check_partial_overlap(target: Tensor, other: Tensor, name: str, same: bool = True) -> None:
    """Raises RuntimeError if two dense tensors over one memory share a part of it.

    ``same``: whether they may be the same elements in the same order.
    """
    a, b = target._meta, other._meta
    if not a.contiguous or not b.contiguous or not a.numel or not b.numel:
        return
    first, second = offset_of(target), offset_of(other)
    if same and first == second and a.numel == b.numel:
        alike = [s for n, s in zip(a.shape, a.strides, strict=True) if n != 1] == [
            s for n, s in zip(b.shape, b.strides, strict=True) if n != 1
        ]
        if alike:
            return
    if first < second + b.numel and second < first + a.numel:
        raise RuntimeError(
            "unsupported operation: some elements of the input tensor and the written-to tensor "
            f"refer to a single memory location ({name}). Please clone() the tensor before "
            "performing the operation."
        )


def _assign_with_history(target: Tensor, result: Tensor) -> None:
    base = base_of(target)
    if result._grad_fn is not None:
        graph.keep_overwritten(result._grad_fn, target)
    if base is None:
        _write_value(target, result)
        _count_write(target)
        graph.rebind_results(result, target)
        _take_history(target, result)
        return
    steps = _steps_to(target, _view_of(target).start)
    new_base = _scatter(steps, result, _with_history(base))
    _write_value(base, new_base)
    _count_write(target)
    graph.rebind_results(result, target)
    _rebase(target, new_base)


def rewrite_history(target: Tensor, result: Tensor) -> None:
    """``target`` holds the elements of ``result`` already: it takes over its place in the graph."""
    base = base_of(target)
    if base is None:
        _take_history(target, result)
        return
    steps = _steps_to(target, _view_of(target).start)
    _rebase(target, _scatter(steps, result, _with_history(base)))


def _with_history(base: Tensor) -> Tensor:
    """The base as it is now: a tensor of its own, so that history can be rewritten over it."""
    old = alias(base)
    old._grad_fn, old._output_index = base._grad_fn, base._output_index
    old._requires_grad = base._requires_grad
    return old


def _rebase(target: Tensor, new_base: Tensor) -> None:
    base = _view_of(target).base
    before = target._grad_fn, target._output_index
    _take_history(base, new_base)
    if base._grad_fn is not None:
        base._grad_fn.label = "CopySlices"
    refresh_history(target)
    graph.move_retained(target, *before)


def _take_history(target: Tensor, result: Tensor) -> None:
    target._epoch += 1
    before = target._grad_fn, target._output_index
    if result._grad_fn is None:
        if result._requires_grad:  # copy_ of a leaf: gradients go on to that leaf
            result = result.view_as(result)
        else:
            target._grad_fn = None
            target._output_index = 0
            target._requires_grad = False
            return
    target._grad_fn = result._grad_fn
    target._output_index = result._output_index
    target._requires_grad = True
    graph.move_retained(target, *before)


# Views in which an element of memory may be seen in several places.
_REPEATING = frozenset({"expand", "as_strided", "unfold"})


def _steps_to(target: Tensor, start: int) -> tuple:
    """The steps from base to target, such that each can be written through.

    After a step that shows elements repeatedly one cannot tell which of the repetitions was
    written. Then the target is described by its strides alone.
    """
    steps = _view_of(target).steps[start:]
    root = target._storage.meta
    repeating = any(step[0].name in _REPEATING for step in steps[:-1]) or (
        len(steps) and steps[-1][0].name == "expand"
    )
    plain = target._meta.dtype is root.dtype and not any("conj" in s[0].name for s in steps)
    if start or not repeating or not plain:
        return steps
    base = _new(Tensor)
    base._meta = root
    base._storage = target._storage
    m = target._meta
    return base.as_strided(m.shape, m.strides, offset_of(target))._view.steps


def _scatter(steps: tuple, result: Tensor, root: Tensor) -> Tensor:
    """The root's contents with ``result`` in the place that the steps lead to, as a new tensor."""
    parents = [root]
    for operator, attributes, _ in steps[:-1]:
        parents.append(dispatch.apply(operator, (parents[-1],), attributes))
    new = result
    for (operator, attributes, _), parent in zip(reversed(steps), reversed(parents), strict=True):
        new = operator.write(parent, new, *attributes)
    return new


def replace(target: Tensor, other: Tensor) -> None:
    """``target.data = other``: the tensor looks at other memory from now on."""
    target._meta = other._meta
    target._storage = other._storage
    target._view = None
    if other._view is not None:
        target._view = alias(other)._view


def detached_copy(tensor: Tensor) -> Tensor:
    """A new base tensor with the same contents and no history."""
    return new_tensor(value_of(tensor), tensor._meta)


# --------------------------------------------------------------------------
# The in-place and out= forms of functions (see operator.register)


def in_place_form(function: Any, name: str) -> Any:
    """``x.name_(...)``: computes ``function(x, ...)`` and writes the result into x."""
    called = name + "_"

    @functools.wraps(function)
    def change(input, *args, **kwargs):
        for other in args:
            if isinstance(other, Tensor) and other._storage is input._storage:
                check_partial_overlap(input, other, called)
        if casting:  # arguments of what writes are not converted
            with suspended():
                return assign(input, function(input, *args, **kwargs), called)
        return assign(input, function(input, *args, **kwargs), called)

    change.__name__ = change.__qualname__ = called
    change.__doc__ = f"In-place form of :func:`{name}`: writes the result into ``input``."
    return change


def out_form(function: Any) -> Any:
    """The function with an ``out=`` argument and NumPy's names for arguments."""

    @functools.wraps(function)
    def called(*args, out=None, **kwargs):
        if kwargs:
            kwargs = translate(kwargs)
        if out is None:
            return function(*args, **kwargs)
        return write_out(out, function, args, kwargs)

    return called


def write_out(out: Any, function: Any, args: tuple, kwargs: dict) -> Any:
    """Writes a result (or a tuple of them) into ``out``, which takes its shape if need be."""
    name = function.__name__
    inputs = _tensors_in((*args, *kwargs.values()))
    outs = out if isinstance(out, (tuple, list)) else (out,)
    if mode.grad and any(x._requires_grad for x in (*inputs, *outs)):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    if not inputs and "device" not in kwargs and "device" in _parameters_of(function):
        kwargs["device"] = outs[0]._meta.device  # of functions that make tensors
    with suspended():
        results = function(*args, **kwargs)
    found = results if isinstance(results, tuple) else (results,)
    if len(found) != len(outs):
        raise TypeError(f"{name}() has {len(found)} results, got {len(outs)} tensors in out=")
    for target, result in zip(outs, found, strict=True):
        if name in _EXACT and target._meta.dtype is not result._meta.dtype:
            raise RuntimeError(
                f"Expected out tensor to have dtype {result._meta.dtype}, but got "
                f"{target._meta.dtype} instead ({name} does not convert; use .to() afterwards)"
            )
        if target._meta.shape != result._meta.shape:
            _check_memory(target, name)
            target.resize_(result._meta.shape)
        _check_out(target, result, inputs, name)
        assign(target, result, name)
    return out


# Functions whose result must not share memory with an input at all, and those whose out= must
# have the dtype of the result. Found by experiment with PyTorch 2.13.
_SEPARATE = frozenset({
    "cat", "concat", "concatenate", "column_stack", "cross", "dstack", "gather", "hstack",
    "index_select", "kron", "linalg_cross", "masked_select", "outer", "ger", "stack", "take",
    "take_along_dim", "vstack",
})  # fmt: skip
_EXACT = frozenset({"gather", "index_select", "masked_select", "narrow_copy", "take", "where"})


def _parameters_of(function: Any) -> tuple[str, ...]:
    code = getattr(function, "__wrapped__", function).__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _tensors_in(values: Any) -> list[Tensor]:
    found = []
    for x in values:
        if isinstance(x, Tensor):
            found.append(x)
        elif isinstance(x, (tuple, list)):
            found += [y for y in x if isinstance(y, Tensor)]
    return found


def _check_out(target: Tensor, result: Tensor, inputs: list[Tensor], name: str) -> None:
    """Raises RuntimeError where ``out`` shares memory with an input in a way PyTorch refuses."""
    for x in inputs:
        if x._storage is not target._storage:
            continue
        if name in _SEPARATE:
            check_partial_overlap(target, x, name, same=False)
        elif x._meta.shape == result._meta.shape:
            check_partial_overlap(target, x, name)


finish.extend((out_form, in_place_form))
