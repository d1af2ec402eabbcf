"""Differentiation: the graph, the walk over it, and the functions around them.

Source: PyTorch's torch.autograd page.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from suiren.autograd import engine, graph
from suiren.autograd.mode import enable_grad, inference_mode, no_grad, set_grad_enabled
from suiren.device import META
from suiren.operator import NAMESPACES
from suiren.tensor import Tensor, new_tensor
from suiren.trace import Value, flush

if TYPE_CHECKING:  # at run time by __getattr__ below
    from suiren.autograd.anomaly import detect_anomaly, set_detect_anomaly
    from suiren.autograd.function import Function
    from suiren.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
    from suiren.autograd.variable import Variable


def _as_tuple(x: Any) -> tuple:
    # a GradientEdge is a named tuple, and stands for one tensor
    return (x,) if isinstance(x, Tensor) or x is None or hasattr(x, "output_nr") else tuple(x)


def _edge(x: Any) -> tuple[graph.Node, int]:
    """The place in the graph of a tensor that requires grad, or of a GradientEdge."""
    if isinstance(x, Tensor):
        x.requires_grad  # noqa: B018 (brings a view's history up to date)
        return graph.edge_of(x)
    return x.node, x.output_nr


def _meta_of(x: Any) -> Any:
    return x._meta if isinstance(x, Tensor) else x.node.results[x.output_nr]


def _start_grads(roots: Sequence[Any], given: Any) -> list[Tensor]:
    grads = (None,) * len(roots) if given is None else _as_tuple(given)
    if len(grads) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(grads)} gradients")
    found = []
    for i, (root, grad) in enumerate(zip(roots, grads, strict=True)):
        meta = _meta_of(root)
        if grad is None:
            if meta.numel != 1:
                raise RuntimeError(
                    "grad can be implicitly created only for scalar outputs, got shape "
                    f"{list(meta.shape)}; pass gradient= of that shape"
                )
            if meta.dtype.is_complex:
                raise RuntimeError(
                    "grad can be implicitly created only for real scalar outputs but got "
                    f"{meta.dtype}; pass gradient="
                )
            grad = _ones(meta)
        elif not isinstance(grad, Tensor):
            raise TypeError(
                f"gradients can be either Tensors or None, but got {type(grad).__name__}"
            )
        elif grad._meta.shape != meta.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {grad._meta.shape} and "
                f"output[{i}] has a shape of {meta.shape}."
            )
        elif grad._meta.device is not meta.device:
            raise RuntimeError(
                f"invalid gradient at index {i}: expected one on the device {meta.device}, got one "
                f"on {grad._meta.device}"
            )
        elif grad._meta.dtype.is_complex != meta.dtype.is_complex:
            raise RuntimeError(
                "For complex Tensors, both grad_output and output are required to have the same "
                f"dtype. Mismatch in dtype: grad_output[{i}] has a dtype of {grad._meta.dtype} and "
                f"output[{i}] has a dtype of {meta.dtype}."
            )
        found.append(grad)
    return found


def _ones(meta: Any) -> Tensor:
    meta = meta.flat
    value = _known_ones.get(meta)
    if value is None and meta.device is META:
        value = _known_ones[meta] = Value(meta)
    elif value is None:
        import numpy as np

        value = _known_ones[meta] = Value(meta, np.ones(meta.shape, meta.dtype.numpy))
    return new_tensor(value)


_known_ones: dict[Any, Value] = {}  # of one element each: few, and needed by every backward()


def _check_roots(roots: Sequence[Any]) -> None:
    for i, root in enumerate(roots):
        if isinstance(root, Tensor) and not root.requires_grad:
            raise RuntimeError(
                f"element {i} of tensors does not require grad and does not have a grad_fn: "
                "nothing it was computed from has requires_grad=True"
            )


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Adds the gradients of ``tensors`` to the ``.grad`` of the leaves they depend on.

    ``inputs`` restricts where gradients are accumulated; a tensor there that is not a leaf
    retains its gradient. Raises RuntimeError where a gradient cannot be started or the graph has
    been freed. Source: torch.autograd.backward.

    >>> import suiren as torch
    >>> x = torch.tensor(3., requires_grad=True)
    >>> torch.autograd.backward([x * x, 2 * x])
    >>> x.grad
    tensor(8.)
    """
    if grad_variables is not None:
        warnings.warn(
            "`grad_variables` is deprecated. Use `grad_tensors` instead.",
            FutureWarning,
            stacklevel=2,
        )
        if grad_tensors is not None:
            raise RuntimeError(
                "`grad_tensors` and `grad_variables` (deprecated) arguments both passed to "
                "`backward()`. Please only use `grad_tensors`."
            )
        grad_tensors = grad_variables
    if isinstance(tensors, Tensor) and grad_tensors is None and inputs is None:
        # The usual call, loss.backward(), by a short way: it comes at every step.
        edge = _edge(tensors) if tensors.requires_grad else None
        if edge is not None and tensors._meta.numel == 1 and not tensors._meta.dtype.is_complex:
            keep = create_graph if retain_graph is None else retain_graph
            engine.run([edge], [_ones(tensors._meta)], keep, create_graph)
            flush()
            return
    roots = _as_tuple(tensors)
    _check_roots(roots)
    grads = _start_grads(roots, grad_tensors)
    keep = create_graph if retain_graph is None else retain_graph
    places = None
    if inputs is not None:
        leaves = _as_tuple(inputs)
        if not leaves:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                leaf.retain_grad()
        places = [_edge(leaf) for leaf in leaves]
    engine.run([_edge(root) for root in roots], grads, keep, create_graph, places)
    flush()


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of ``outputs`` with respect to ``inputs``, without touching ``.grad``.

    With ``is_grads_batched`` the first dimension of each of ``grad_outputs`` counts several
    gradients, which are sent one after the other. Raises RuntimeError for an input that the
    outputs do not depend on, unless ``allow_unused``. Source: torch.autograd.grad.

    >>> import suiren as torch
    >>> x = torch.tensor(2., requires_grad=True)
    >>> torch.autograd.grad(x ** 3, x)
    (tensor(12.),)
    """
    if materialize_grads and allow_unused is False:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: "
            "allow_unused=False."
        )
    if not only_inputs:
        warnings.warn(
            "only_inputs argument is deprecated and is ignored now (defaults to True)",
            FutureWarning,
            stacklevel=2,
        )
    keep = create_graph if retain_graph is None else retain_graph
    if is_grads_batched:
        return _batched(
            _as_tuple(outputs), inputs, _as_tuple(grad_outputs), keep, create_graph, allow_unused,
            materialize_grads,
        )  # fmt: skip
    roots, places = _as_tuple(outputs), _as_tuple(inputs)
    _check_roots(roots)
    starts = _start_grads(roots, grad_outputs)
    if not places:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    for x in places:
        if isinstance(x, Tensor) and not x.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    wanted = [_edge(x) for x in places]
    found = engine.run(
        [_edge(root) for root in roots], starts, keep, create_graph, wanted, accumulate=False
    )
    for i, g in enumerate(found):
        if g is None and materialize_grads:
            found[i] = graph.zeros_like_meta(_meta_of(places[i]))
        elif g is None and not allow_unused:
            raise RuntimeError(
                f"The differentiated Tensor at index {i} appears to not have been used in the "
                "graph. Set allow_unused=True if this is the desired behavior."
            )
    flush()
    return tuple(found)


def _batched(roots, inputs, grad_outputs, keep, create_graph, allow_unused, materialize) -> tuple:
    counts = {g._meta.shape[0] for g in grad_outputs if g is not None}
    if len(counts) != 1:
        raise RuntimeError(
            "grad(is_grads_batched=True): the first dimension of every grad_output counts the "
            f"gradients, got {sorted(counts)}"
        )
    count = counts.pop()
    rows = []
    for i in range(count):
        starts = [None if g is None else g[i] for g in grad_outputs]
        last = i == count - 1
        rows.append(
            grad(roots, inputs, starts, keep if last else True, create_graph,
                 allow_unused=allow_unused, materialize_grads=materialize)
        )  # fmt: skip
    stack = NAMESPACES["torch"]["stack"]
    return tuple([None if column[0] is None else stack(column) for column in zip(*rows)])  # noqa: B905


# Loaded when first asked for, to keep `import suiren` quick.
_HOMES = {
    "Function": "function",
    "Variable": "variable",
    "detect_anomaly": "anomaly",
    "set_detect_anomaly": "anomaly",
    "gradcheck": "gradcheck",
    "gradgradcheck": "gradcheck",
    "GradcheckError": "gradcheck",
}
_MODULES = ("anomaly", "function", "functional", "profiler", "variable")


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module = importlib.import_module(f"suiren.autograd.{_HOMES[name]}")
        found = getattr(module, name)
        globals()[name] = found  # also puts the function gradcheck before the module gradcheck
        return found
    if name in _MODULES:
        return importlib.import_module(f"suiren.autograd.{name}")
    raise AttributeError(f"module 'suiren.autograd' has no attribute {name!r}")


__all__ = [
    "Function", "GradcheckError", "Variable", "backward", "detect_anomaly", "enable_grad",
    "function", "functional", "grad", "gradcheck", "gradgradcheck", "graph", "inference_mode",
    "no_grad", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip
