"""Differentiation: the graph, the walk over it, and the functions around them.

Source: PyTorch's torch.autograd page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from suiren.autograd import engine, graph
from suiren.autograd.mode import enable_grad, inference_mode, no_grad, set_grad_enabled
from suiren.tensor import Tensor, new_tensor
from suiren.trace import Value, flush


def _as_tuple(x: Any) -> tuple:
    return (x,) if isinstance(x, Tensor) or x is None else tuple(x)


def _start_grads(roots: Sequence[Tensor], grads: tuple) -> list[Tensor]:
    if len(grads) == 1 and grads[0] is None:
        grads = (None,) * len(roots)
    if len(grads) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(grads)} gradients")
    found = []
    for root, grad in zip(roots, grads, strict=True):
        if grad is None:
            if root._meta.numel != 1:
                raise RuntimeError(
                    "grad can be implicitly created only for scalar outputs, got shape "
                    f"{list(root._meta.shape)}; pass gradient= of that shape"
                )
            grad = _ones_like(root)
        elif grad._meta.shape != root._meta.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output has a shape of {grad._meta.shape} and output has "
                f"a shape of {root._meta.shape}."
            )
        found.append(grad)
    return found


def _ones_like(root: Tensor) -> Tensor:
    import numpy as np

    meta = root._meta.flat
    return new_tensor(Value(meta, np.ones(meta.shape, meta.dtype.numpy)))


def _check_roots(roots: Sequence[Tensor]) -> None:
    for i, root in enumerate(roots):
        if not root.requires_grad:
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

    ``inputs`` restricts the leaves. Source: torch.autograd.backward.
    """
    roots = _as_tuple(tensors)
    _check_roots(roots)
    grads = _start_grads(roots, _as_tuple(grad_tensors if grad_tensors is not None
                                          else grad_variables))  # fmt: skip
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        engine.run(roots, grads, keep, create_graph)
    else:
        leaves = _as_tuple(inputs)
        if not leaves:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
        places = [graph.edge_of(leaf) for leaf in leaves]
        found = engine.run(roots, grads, keep, create_graph, places, accumulate=False)
        for leaf, grad in zip(leaves, found, strict=True):
            if grad is not None:
                leaf._grad = grad if leaf._grad is None else leaf._grad + grad
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

    Raises RuntimeError for an input that the outputs do not depend on, unless ``allow_unused``.
    Source: torch.autograd.grad.

    >>> import suiren as torch
    >>> x = torch.tensor(2., requires_grad=True)
    >>> torch.autograd.grad(x ** 3, x)
    (tensor(12.),)
    """
    if is_grads_batched:
        raise NotImplementedError("grad(is_grads_batched=True) is not there yet; loop instead")
    roots, places = _as_tuple(outputs), _as_tuple(inputs)
    _check_roots(roots)
    starts = _start_grads(roots, _as_tuple(grad_outputs))
    for x in places:
        if not x.requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    keep = create_graph if retain_graph is None else retain_graph
    wanted = [graph.edge_of(x) for x in places]
    found = engine.run(roots, starts, keep, create_graph, wanted, accumulate=False)
    if allow_unused is None:
        allow_unused = materialize_grads
    for i, g in enumerate(found):
        if g is None and materialize_grads:
            found[i] = places[i].new_zeros(places[i].shape)
        elif g is None and not allow_unused:
            raise RuntimeError(
                "One of the differentiated Tensors appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior."
            )
    flush()
    return tuple(found)


__all__ = [
    "backward", "enable_grad", "grad", "inference_mode", "no_grad", "set_grad_enabled",
]  # fmt: skip
