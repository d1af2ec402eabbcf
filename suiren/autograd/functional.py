"""Jacobians, Hessians and products with them, of functions over tensors.

Rows of a Jacobian come from one backward pass each. ``vectorize`` and the forward-mode strategy
of PyTorch are about speed there: ``vectorize=True`` gives the same numbers here, and forward mode
raises NotImplementedError. Source: PyTorch's torch.autograd.functional page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from suiren import autograd
from suiren.autograd.mode import enable_grad
from suiren.operator import NAMESPACES
from suiren.tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _as_tuple(x: Any, what: str, function: str) -> tuple[bool, tuple[Tensor, ...]]:
    single = not isinstance(x, (tuple, list))
    found = (x,) if single else tuple(x)
    for i, item in enumerate(found):
        if not isinstance(item, Tensor):
            where = "" if single else f" The value at index {i} does not."
            raise TypeError(
                f"The {what} given to {function} must be either a Tensor or a tuple of Tensors but "
                f"got {type(item).__name__}.{where}"
            )
    return not single, found


def _prepared(inputs: Sequence[Tensor], create_graph: bool) -> tuple[Tensor, ...]:
    """Inputs to differentiate by: views of the user's if the result is to have a history."""
    found = []
    for x in inputs:
        if create_graph and x.requires_grad:
            found.append(x.view_as(x))
        else:
            found.append(x.detach().requires_grad_())
    return tuple(found)


def _finished(tensors: Any, create_graph: bool) -> Any:
    if isinstance(tensors, (tuple, list)):
        return tuple([_finished(x, create_graph) for x in tensors])
    return tensors if create_graph else tensors.detach()


def _shaped(tensors: tuple, as_tuple: bool) -> Any:
    return tensors if as_tuple else tensors[0]


def _check_strict(outputs: Sequence[Tensor], inputs: Sequence[Tensor], function: str) -> None:
    for i, y in enumerate(outputs):
        if not y.requires_grad:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The outputs "
                f"must be computed in a differentiable manner from the input when running "
                f"{function} in strict mode."
            )


def _check_vectors(given: Any, like: Sequence[Tensor], as_tuple: bool, name: str) -> tuple:
    if given is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                f"The vector {name} can only be None if the user-provided function "
                "returns (or takes) a single Tensor with a single element."
            )
        return (like[0].detach() * 0 + 1,)
    _, found = _as_tuple(given, name, "the function")
    if len(found) != len(like):
        raise RuntimeError(
            f"{name} is a tuple of invalid length: should be {len(like)} but got {len(found)}."
        )
    for i, (x, y) in enumerate(zip(found, like, strict=True)):
        if x.shape != y.shape:
            where = f"Entry {i} in " if as_tuple else ""
            raise RuntimeError(
                f"{where}{name} has invalid size: should be {y.shape} but got {x.shape}."
            )
    return found


def _gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    vectors: Sequence[Tensor | None],
    create_graph: bool,
    strict: bool,
    function: str,
) -> tuple[Tensor, ...]:
    """Gradients, zeros where there is no dependence (an error in strict mode)."""
    pairs = [(y, v) for y, v in zip(outputs, vectors, strict=True) if y.requires_grad]
    if pairs:
        roots, starts = zip(*pairs, strict=True)
        found = autograd.grad(
            roots, inputs, starts, create_graph=create_graph, retain_graph=True, allow_unused=True
        )
    else:
        found = (None,) * len(inputs)
    answer: list[Tensor] = []
    for i, (g, x) in enumerate(zip(found, inputs, strict=True)):
        if strict and g is None:
            raise RuntimeError(
                f"The output of the user-provided function is independent of input {i}. This is "
                f"not allowed in strict mode when running {function}."
            )
        if strict and create_graph and g is not None and not g.requires_grad:
            raise RuntimeError(
                f"The gradient with respect to input {i} is independent of the inputs. This is "
                f"not allowed in strict mode when create_graph=True ({function})."
            )
        answer.append(x.detach() * 0 if g is None else g)
    return tuple(answer)


def vjp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """``(func(inputs), v @ Jacobian)``: a vector times the Jacobian, by one backward pass.

    ``v`` has the shape of the output and may be left out for one element.
    Source: torch.autograd.functional.vjp.

    >>> import suiren as torch
    >>> torch.autograd.functional.vjp(lambda x: x * x, torch.tensor([1., 2.]), torch.ones(2))
    (tensor([1., 4.]), tensor([2., 4.]))
    """
    with enable_grad():
        many, given = _as_tuple(inputs, "inputs", "vjp")
        places = _prepared(given, create_graph)
        out_many, outputs = _as_tuple(
            func(*places), "outputs of the user-provided function", "vjp"
        )
        if strict:
            _check_strict(outputs, places, "vjp")
        vectors = _check_vectors(v, outputs, out_many, "v")
        found = _gradients(outputs, places, vectors, create_graph, strict, "vjp")
    return (
        _shaped(_finished(outputs, create_graph), out_many),
        _shaped(_finished(found, create_graph), many),
    )


def jvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """``(func(inputs), Jacobian @ v)``, by differentiating ``u -> u @ Jacobian`` once more.

    ``v`` has the shape of the inputs and may be left out for one element.
    Source: torch.autograd.functional.jvp.
    """
    with enable_grad():
        many, given = _as_tuple(inputs, "inputs", "jvp")
        places = _prepared(given, create_graph)
        vectors = _check_vectors(v, places, many, "v")
        out_many, outputs = _as_tuple(
            func(*places), "outputs of the user-provided function", "jvp"
        )
        if strict:
            _check_strict(outputs, places, "jvp")
        dual = tuple([(y.detach() * 0).requires_grad_() for y in outputs])
        first = _gradients(outputs, places, dual, True, strict, "jvp")
        found = _gradients(first, dual, vectors, create_graph, False, "jvp")
    return (
        _shaped(_finished(outputs, create_graph), out_many),
        _shaped(_finished(found, create_graph), out_many),
    )


def _check_strategy(strategy: str, vectorize: bool, strict: bool) -> None:
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your '
            "function has more outputs than inputs, `strategy` set to \"forward-mode\" will be "
            "faster. Otherwise, `strategy` set to \"reverse-mode\" will be faster."
        )
    if strategy == "forward-mode":
        raise NotImplementedError(
            'jacobian(strategy="forward-mode"): Suiren has no forward-mode differentiation; use '
            '"reverse-mode"'
        )
    if strict and vectorize:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not "
            "supported together. Please either set `strict=False` or `vectorize=False`."
        )


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of ``func``: shape of the output followed by that of the input.

    A tuple of them for several inputs, a tuple (by output) of tuples for several outputs as well.
    Source: torch.autograd.functional.jacobian.

    >>> import suiren as torch
    >>> torch.autograd.functional.jacobian(lambda x: x * x, torch.tensor([1., 2.]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    stack = NAMESPACES["torch"]["stack"]
    _check_strategy(strategy, vectorize, strict)
    with enable_grad():
        many, given = _as_tuple(inputs, "inputs", "jacobian")
        places = _prepared(given, create_graph)
        out_many, outputs = _as_tuple(
            func(*places), "outputs of the user-provided function", "jacobian"
        )
        if strict:
            _check_strict(outputs, places, "jacobian")
        found = []
        for y in outputs:
            rows = []
            for i in range(y.numel()):
                element = y.reshape(-1)[i]
                rows.append(
                    _gradients([element], places, [None], create_graph, strict, "jacobian")
                )
            columns: list[Tensor] = []
            for k, x in enumerate(places):
                shape = (*y.shape, *x.shape)
                if rows:
                    columns.append(stack([row[k] for row in rows]).reshape(shape))
                else:
                    columns.append(x.detach().new_zeros(shape))
            found.append(tuple(columns))
    answer = _finished(tuple(found), create_graph)
    answer = tuple([_shaped(row, many) for row in answer])
    return _shaped(answer, out_many)


def _scalar(func: Callable[..., Any], name: str) -> Callable[..., Tensor]:
    def checked(*inputs: Any) -> Tensor:
        y = func(*inputs)
        many, found = _as_tuple(y, "outputs of the user-provided function", name)
        if many:
            raise RuntimeError(
                f"The function given to {name} should return a single Tensor"
            )
        if found[0].numel() != 1 or found[0].dim() > 1:
            raise RuntimeError(
                f"The Tensor returned by the function given to {name} should contain a single "
                f"element, got shape {list(found[0].shape)}"
            )
        return found[0].reshape(())

    return checked


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a function with one number as its result; blocks for several inputs.

    Source: torch.autograd.functional.hessian.

    >>> import suiren as torch
    >>> torch.autograd.functional.hessian(lambda x: (x ** 3).sum(), torch.tensor([1., 2.]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    many, given = _as_tuple(inputs, "inputs", "hessian")
    checked = _scalar(func, "hessian")

    def gradient(*places: Tensor) -> tuple[Tensor, ...]:
        found = jacobian(checked, places, create_graph=True, strict=strict)
        for x in found:
            if strict and not x.requires_grad:
                raise RuntimeError(
                    "The jacobian of the user-provided function with respect to an input is "
                    "independent of it. This is not allowed in strict mode."
                )
        return found

    found = jacobian(
        gradient, given, create_graph, strict, vectorize, strategy=outer_jacobian_strategy
    )
    return found if many else found[0][0]


def vhp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """``(func(inputs), v @ Hessian)`` for a function with one number as its result.

    Source: torch.autograd.functional.vhp.
    """
    return _hessian_product("vhp", func, inputs, v, create_graph, strict)


def hvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """``(func(inputs), Hessian @ v)``: the same as :func:`vhp`, since Hessians are symmetric.

    Source: torch.autograd.functional.hvp.
    """
    return _hessian_product("hvp", func, inputs, v, create_graph, strict)


def _hessian_product(name, func, inputs, v, create_graph, strict) -> tuple[Any, Any]:
    with enable_grad():
        many, given = _as_tuple(inputs, "inputs", name)
        places = _prepared(given, create_graph)
        vectors = _check_vectors(v, places, many, "v")
        output = _scalar(func, name)(*places)
        if strict:
            _check_strict((output,), places, name)
        first = _gradients([output], places, [None], True, strict, name)
        found = _gradients(first, places, vectors, create_graph, strict, name)
    return _finished(output, create_graph), _shaped(_finished(found, create_graph), many)
