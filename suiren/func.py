"""`torch.func`: gradients and maps of functions. Source: PyTorch's torch.func page.

``grad`` and its relatives differentiate a function with the graph that tensors record. ``vmap``
calls the function once for each element and stacks the results: what PyTorch computes, without its
speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import suiren as torch
from suiren.nn.utils.stateless import functional_call
from suiren.tensor import Tensor

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp",
           "stack_module_state", "vjp", "vmap"]  # fmt: skip


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree of lists, tuples and dictionaries with ``function`` of each leaf."""
    if isinstance(tree, dict):
        return type(tree)((k, _map(function, v)) for k, v in tree.items())
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_map(function, v) for v in tree))
    if isinstance(tree, (list, tuple)):
        return type(tree)(_map(function, v) for v in tree)
    return function(tree)


def _leaves(tree: Any) -> list[Any]:
    found: list[Any] = []
    _map(found.append, tree)
    return found


def _variables(argument: Any) -> Any:
    """The argument with tensors that record, apart from those that the caller holds."""

    def variable(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if not leaf.is_floating_point() and not leaf.is_complex():
            raise RuntimeError(f"torch.func: gradients need floating point, got {leaf.dtype}")
        return leaf.view_as(leaf) if leaf.requires_grad else leaf.detach().requires_grad_()

    return _map(variable, argument)


def _zeros_for_none(grads: Sequence[Any], inputs: Sequence[Tensor]) -> Iterator[Tensor]:
    for gradient, x in zip(grads, inputs, strict=True):
        yield torch.zeros_like(x) if gradient is None else gradient


def grad_and_value(
    func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable:
    """A function that gives (gradient, value), or (gradient, (value, aux)).

    Source: torch.func.grad_and_value. Raises RuntimeError unless ``func`` gives one number.
    """

    def both(*args: Any, **kwargs: Any) -> Any:
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        outer = torch.is_grad_enabled() and any(
            isinstance(leaf, Tensor) and leaf.requires_grad for leaf in _leaves([args, kwargs])
        )
        with torch.enable_grad():
            arguments = list(args)
            for number in numbers:
                arguments[number] = _variables(arguments[number])
            output = func(*arguments, **kwargs)
            value, aux = output if has_aux else (output, None)
            if not isinstance(value, Tensor) or value.dim() != 0:
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise RuntimeError(
                    "torch.func.grad: Expected f(*args) to return a scalar tensor, got tensor with "
                    f"{shape} instead"
                )
            chosen = [arguments[number] for number in numbers]
            inputs = [leaf for leaf in _leaves(chosen) if isinstance(leaf, Tensor)]
            found: Sequence[Tensor | None] = [None] * len(inputs)
            if value.requires_grad:
                found = torch.autograd.grad(value, inputs, create_graph=True, allow_unused=True)
        grads = _zeros_for_none(found, inputs)
        results = [_map(lambda leaf: next(grads) if isinstance(leaf, Tensor) else leaf, argument)
                   for argument in chosen]  # fmt: skip
        result: Any = results[0] if isinstance(argnums, int) else tuple(results)
        if not outer:
            detach = lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf  # noqa: E731
            result, value, aux = _map(detach, result), value.detach(), _map(detach, aux)
        return result, ((value, aux) if has_aux else value)

    return both


def grad(func: Callable, argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable:
    """A function that gives the gradient of ``func`` by its argument(s) ``argnums``.

    Arguments may be trees of tensors. Source: torch.func.grad.

    >>> import suiren as torch
    >>> torch.func.grad(lambda x: x.sin().sum())(torch.zeros(2))
    tensor([1., 1.])
    """
    both = grad_and_value(func, argnums, has_aux)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        result, value = both(*args, **kwargs)
        return (result, value[1]) if has_aux else result

    return gradient


def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple:
    """(output, function from a vector like the output to its product with the Jacobian).

    Source: torch.func.vjp.
    """
    with torch.enable_grad():
        inputs = tuple(_variables(primal) for primal in primals)
        output = func(*inputs)
        value, aux = output if has_aux else (output, None)

    def product(*cotangents: Any) -> Any:
        leaves = [leaf for leaf in _leaves(list(inputs)) if isinstance(leaf, Tensor)]
        outputs = [leaf for leaf in _leaves(value) if isinstance(leaf, Tensor)]
        given = _leaves(cotangents[0] if len(cotangents) == 1 else cotangents)
        found = torch.autograd.grad(
            outputs, leaves, given, retain_graph=True, allow_unused=True,
            create_graph=torch.is_grad_enabled() and any(g.requires_grad for g in given),
        )  # fmt: skip
        grads = _zeros_for_none(found, leaves)
        return tuple(_map(lambda leaf: next(grads), primal) for primal in inputs)

    shown = _map(lambda leaf: leaf.detach(), value)
    return (shown, product, aux) if has_aux else (shown, product)


def jvp(func: Callable, primals: tuple, tangents: tuple, *, has_aux: bool = False) -> tuple:
    """(output, product of the Jacobian with ``tangents``). Source: torch.func.jvp."""
    aux: list[Any] = []

    def first(*args: Any) -> Any:
        if not has_aux:
            return func(*args)
        value, extra = func(*args)
        aux.append(extra)
        return value

    output, product = torch.autograd.functional.jvp(first, tuple(primals), tuple(tangents))
    return (output, product, aux[-1]) if has_aux else (output, product)


def jacrev(
    func: Callable, argnums: int | tuple[int, ...] = 0, *, has_aux: bool = False, **options: Any
) -> Callable:
    """A function that gives the Jacobian of ``func``: output's shape, then the argument's.

    Output and arguments may be lists, tuples and dictionaries of tensors: the result is the output
    with, in place of each tensor, the arguments with a Jacobian in place of each of theirs.
    Source: torch.func.jacrev.

    >>> import suiren as torch
    >>> torch.func.jacrev(lambda x: x**2)(torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    def jacobian(*args: Any) -> Any:
        numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        with torch.enable_grad():
            arguments = list(args)
            for number in numbers:
                arguments[number] = _variables(arguments[number])
            output = func(*arguments)
            value, aux = output if has_aux else (output, None)
            trees = [arguments[number] for number in numbers]
            inputs = [leaf for leaf in _leaves(trees) if isinstance(leaf, Tensor)]

            def derivative(value: Tensor) -> Any:
                rows: list[Any] = [
                    torch.autograd.grad(element, inputs, create_graph=True, allow_unused=True)
                    if element.requires_grad else [None] * len(inputs)
                    for element in value.reshape(-1)
                ]
                found = {}
                for place, x in enumerate(inputs):
                    column = [next(_zeros_for_none([row[place]], [x])) for row in rows]
                    stacked = torch.stack(column).reshape((*value.shape, *x.shape))
                    found[id(x)] = stacked if outer else stacked.detach()
                results = [_map(lambda leaf: found[id(leaf)], tree) for tree in trees]
                return results[0] if isinstance(argnums, int) else tuple(results)

            outer = any(isinstance(a, Tensor) and a.requires_grad for a in _leaves(args))
            result = _map(derivative, value)
        return (result, aux) if has_aux else result

    return jacobian


jacfwd = jacrev


def hessian(func: Callable, argnums: int = 0) -> Callable:
    """A function that gives the second derivatives of ``func``. Source: torch.func.hessian."""
    return jacrev(jacrev(func, argnums), argnums)


def vmap(
    func: Callable,
    in_dims: Any = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable:
    """``func`` for each element of its arguments along ``in_dims``, results stacked.

    ``in_dims`` is one dimension for all arguments, or one for each; None passes an argument on as
    it is. The function is called once for each element; ``randomness`` is not checked: draws
    differ. Source: torch.func.vmap.

    Raises ValueError if nothing is mapped or sizes disagree.

    >>> import suiren as torch
    >>> torch.vmap(torch.dot)(torch.ones(3, 2), torch.ones(3, 2))
    tensor([2., 2., 2.])
    """

    def mapped(*args: Any, **kwargs: Any) -> Any:
        dims = in_dims if isinstance(in_dims, (tuple, list)) else (in_dims,) * len(args)
        if len(dims) != len(args):
            raise ValueError(f"vmap: in_dims {in_dims} does not fit {len(args)} arguments")
        sizes = {size for arg, dim in zip(args, dims, strict=True) for size in _sizes(arg, dim)}
        sizes |= {size for arg in kwargs.values() for size in _sizes(arg, 0)}
        if len(sizes) != 1:
            raise ValueError(f"vmap: Expected all tensors to have the same size in the mapped "
                             f"dimension, got sizes {sorted(sizes)}")  # fmt: skip
        results = [
            func(*(_part(arg, dim, i) for arg, dim in zip(args, dims, strict=True)),
                 **{name: _part(arg, 0, i) for name, arg in kwargs.items()})
            for i in range(sizes.pop())
        ]  # fmt: skip
        return _stacked(results, out_dims)

    return mapped


def _sizes(argument: Any, dim: Any) -> list[int]:
    if dim is None:
        return []
    if isinstance(dim, (dict, list, tuple)):
        keys = argument if isinstance(argument, dict) else range(len(argument))
        return [size for key in keys for size in _sizes(argument[key], dim[key])]
    return [leaf.shape[dim] for leaf in _leaves(argument) if isinstance(leaf, Tensor)]


def _part(argument: Any, dim: Any, index: int) -> Any:
    if dim is None:
        return argument
    if isinstance(dim, dict):
        return {key: _part(argument[key], dim[key], index) for key in argument}
    if isinstance(dim, (list, tuple)):
        return type(argument)(_part(a, d, index) for a, d in zip(argument, dim, strict=True))
    pick = lambda leaf: leaf.select(dim, index) if isinstance(leaf, Tensor) else leaf  # noqa: E731
    return _map(pick, argument)


def _stacked(results: Sequence[Any], out_dims: Any) -> Any:
    first = results[0]
    if isinstance(first, dict):
        return {key: _stacked([r[key] for r in results], out_dims) for key in first}
    if isinstance(first, (list, tuple)):
        dims = out_dims if isinstance(out_dims, (tuple, list)) else (out_dims,) * len(first)
        parts = [_stacked([r[i] for r in results], dims[i]) for i in range(len(first))]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if not isinstance(first, Tensor):
        raise ValueError(f"vmap: the function must return tensors, got {type(first).__name__}")
    dim = out_dims[0] if isinstance(out_dims, (tuple, list)) else out_dims
    return first if dim is None else torch.stack(list(results), dim)


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) of models of one class, stacked. Source: torch.func.stack_module_state.

    Raises RuntimeError for no models or models of several classes.
    """
    if not models or any(type(model) is not type(models[0]) for model in models):
        raise RuntimeError("stack_module_state: Expected one or more models of the same class")
    parameters = {
        name: torch.stack([dict(m.named_parameters())[name].detach() for m in models])
        .requires_grad_(parameter.requires_grad)
        for name, parameter in models[0].named_parameters()
    }
    buffers = {
        name: torch.stack([dict(m.named_buffers())[name] for m in models])
        for name, _ in models[0].named_buffers()
    }
    return parameters, buffers
