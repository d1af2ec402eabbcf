"""Derivatives against finite differences: ``gradcheck`` and ``gradgradcheck``.

The Jacobian from backward passes is compared with central differences, element by element. For
complex numbers both are the pair of real Jacobians that a gradient stands for (PyTorch's page
"Gradcheck mechanics"). Forward-mode checks are refused, since Suiren has no forward mode.
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from suiren import autograd
from suiren.autograd.mode import enable_grad
from suiren.operator import NAMESPACES
from suiren.tensor import Tensor, value_of
from suiren.trace.program import interpreted

__all__ = ["GradcheckError", "gradcheck", "gradgradcheck"]


class GradcheckError(RuntimeError):
    """Raised by :func:`gradcheck` and :func:`gradgradcheck` where derivatives do not agree."""


def _tensors(x: Any) -> tuple:
    return (x,) if isinstance(x, Tensor) else tuple(x)


def _outputs(found: Any) -> tuple[Tensor, ...]:
    return tuple([x for x in _tensors(found) if isinstance(x, Tensor) and x.requires_grad])


def _array(tensor: Tensor) -> np.ndarray:
    return np.array(value_of(tensor).get(), order="C")


def _tensor(array: np.ndarray) -> Tensor:
    return NAMESPACES["torch"]["from_numpy"](array)


def _set(tensor: Tensor, array: np.ndarray) -> None:
    # By .data: the outputs to differentiate have saved the input, and it will be as it was.
    tensor.data.copy_(_tensor(array.copy()))


def _directions(array: np.ndarray) -> list[tuple[int, complex]]:
    """Every real direction in which an array can move: element, and 1 or 1j."""
    parts = (1.0, 1.0j) if array.dtype.kind == "c" else (1.0,)
    return [(i, part) for i in range(array.size) for part in parts]


def _as_reals(array: np.ndarray) -> np.ndarray:
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat


def _numerical(function: Callable, inputs: tuple, which: int, outputs: int, eps: float) -> list:
    """For each output the real Jacobian, (real directions of the input, real parts of output)."""
    x = inputs[which]
    start = _array(x)
    rows: list[list[np.ndarray]] = [[] for _ in range(outputs)]
    for element, part in _directions(start):
        ends = []
        for sign in (1, -1):
            moved = start.copy()
            moved.reshape(-1)[element] += sign * eps * part
            _set(x, moved)
            ends.append([_as_reals(_array(y)) for y in _outputs(function(*inputs))])
        for row, plus, minus in zip(rows, *ends, strict=True):
            row.append((plus - minus) / (2 * eps))
    _set(x, start)
    return [np.array(row).reshape(len(_directions(start)), -1) for row in rows]


def _analytical(output: Tensor, inputs: tuple, reverse: bool = False) -> list[np.ndarray]:
    """For each input the real Jacobian from one backward pass per real part of the output."""
    shape, columns = _array(output).shape, _directions(_array(output))
    kind = _array(output).dtype
    found: list[list[np.ndarray] | None] = [[] for _ in inputs]
    for element, part in columns[::-1] if reverse else columns:
        seed = np.zeros(shape, kind)
        seed.reshape(-1)[element] = part
        grads = autograd.grad(
            output, inputs, _tensor(seed), retain_graph=True, allow_unused=True
        )
        for i, (x, g) in enumerate(zip(inputs, grads, strict=True)):
            held = found[i]
            assert held is not None
            if g is None:
                held.append(np.zeros(_as_reals(_array(x)).size))
                continue
            if g.shape != x.shape or g.dtype is not x.dtype:
                raise GradcheckError(
                    f"grad of input {i} has shape {list(g.shape)} and {g.dtype}, the input has "
                    f"{list(x.shape)} and {x.dtype}"
                )
            held.append(_as_reals(_array(g)))
    answer = []
    for x, rows in zip(inputs, found, strict=True):
        assert rows is not None
        rows = rows[::-1] if reverse else rows
        answer.append(np.array(rows).reshape(len(columns), _as_reals(_array(x)).size).T)
    return answer


def _check_inputs(inputs: tuple, raise_exception: bool) -> bool:
    differentiable = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    if not differentiable:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the "
            "them have requires_grad=True."
        )
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or not x.requires_grad:
            continue
        if x.dtype.itemsize // (2 if x.dtype.is_complex else 1) < 8:
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point or "
                "complex: finite differences in it are too coarse, the check will likely fail.",
                stacklevel=4,
            )
        if 0 in [s for s, n in zip(x.stride(), x.shape, strict=True) if n > 1]:
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs "
                "that are non-overlapping to be able to compute the numerical gradients "
                "correctly. You should call .contiguous on the input before passing it in."
            )
        x.retain_grad()
    return True


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Whether the gradients of ``func`` at ``inputs`` agree with central differences.

    ``func`` returns a tensor or several. Inputs that require grad should be float64. Returns True;
    where they differ raises :class:`GradcheckError`, or returns False without ``raise_exception``.
    ``fast_mode`` is accepted and makes the full check. Raises NotImplementedError for
    ``check_forward_ad``. Source: torch.autograd.gradcheck.

    >>> import suiren as torch
    >>> x = torch.tensor([1., 2.], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(lambda x: x * x, (x,))
    True
    """
    if check_forward_ad or check_batched_forward_grad:
        raise NotImplementedError("gradcheck: forward-mode differentiation is not supported")
    if not check_backward_ad:
        raise AssertionError("Expected at least one of check_forward_ad or check_backward_ad")
    inputs = _tensors(inputs)
    try:
        _check_inputs(inputs, raise_exception)
        with interpreted():  # bits are compared: of a program's first run and its second
            _compare(func, inputs, eps, atol, rtol, nondet_tol)
            if check_undefined_grad:
                _undefined(func, inputs)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _compare(func, inputs, eps, atol, rtol, nondet_tol) -> None:
    outputs = _outputs(func(*inputs))
    for y in outputs:
        if any(y is x for x in inputs):
            raise ValueError(
                "gradcheck: func returned one of its inputs as it is; return a view or a clone()"
            )
    places = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    leaves = tuple([inputs[i] for i in places])
    if not outputs:
        for i in places:
            found = _tensors(func(*inputs))
            before = [_array(y) for y in found if isinstance(y, Tensor)]
            start = _array(inputs[i])
            _set(inputs[i], start + eps)
            after = [_array(y) for y in _tensors(func(*inputs)) if isinstance(y, Tensor)]
            _set(inputs[i], start)
            for a, b in zip(before, after, strict=True):
                if a.dtype.kind in "fc" and not np.allclose(a, b, rtol=0, atol=0, equal_nan=True):
                    raise GradcheckError(
                        "Numerical gradient for function expected to be zero: no output requires "
                        f"grad, but one changes with input {i}"
                    )
        return
    numerical = [_numerical(func, inputs, i, len(outputs), eps) for i in places]
    for o, y in enumerate(outputs):
        analytical = _analytical(y, leaves)
        again = _analytical(y, leaves, reverse=True)
        for p, (a, b) in enumerate(zip(analytical, again, strict=True)):
            if a.size and np.abs(a - b).max() > nondet_tol:
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and "
                    "grad_output multiple times gives different values, although analytical "
                    f"gradient matches numerical gradient (input {places[p]}, output {o}). The "
                    f"tolerance for nondeterminism was {nondet_tol}."
                )
            n = numerical[p][o]
            if not np.allclose(a, n, rtol=rtol, atol=atol, equal_nan=True):
                raise GradcheckError(
                    f"Jacobian mismatch for output {o} with respect to input {places[p]},\n"
                    f"numerical:{n}\nanalytical:{a}\n"
                )


def _undefined(func: Callable, inputs: tuple) -> None:
    """A gradient that is not there (None) must count as zero in every node's formula."""
    outputs = _outputs(func(*inputs))
    leaves = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    if len(outputs) < 2:
        return
    for skipped in range(len(outputs)):
        kept = [y for i, y in enumerate(outputs) if i != skipped]
        ones = [y.detach() * 0 + 1 for y in kept]
        all_ones = [
            outputs[i].detach() * 0 + (0 if i == skipped else 1) for i in range(len(outputs))
        ]
        some = autograd.grad(kept, leaves, ones, retain_graph=True, allow_unused=True)
        full = autograd.grad(outputs, leaves, all_ones, retain_graph=True, allow_unused=True)
        for a, b in zip(some, full, strict=True):
            left = 0 if a is None else _array(a)
            right = 0 if b is None else _array(b)
            if not np.allclose(left, right, equal_nan=True):
                raise GradcheckError(
                    "Expected backward function to handle undefined output grads: without the "
                    f"gradient of output {skipped} the result differs from that with zeros"
                )


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Tensor | Sequence[Tensor] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """Whether the gradients of the gradients of ``func`` agree with central differences.

    ``grad_outputs`` are drawn from the default generator unless given. Returns and raises like
    :func:`gradcheck`.
    Source: torch.autograd.gradgradcheck.
    """
    if check_fwd_over_rev:
        raise NotImplementedError("gradgradcheck: forward-mode differentiation is not supported")
    inputs = _tensors(inputs)
    if grad_outputs is None:
        made = []
        for y in _outputs(func(*inputs)):
            array = _array(y)  # its numbers are drawn as PyTorch draws them
            real = array.real.dtype
            shape = (*array.shape, 2) if array.dtype.kind == "c" else array.shape
            numbers = _array(_tensor(np.zeros(shape, real)).uniform_(-1, 1))
            if array.dtype.kind == "c":
                numbers = numbers[..., 0] + 1j * numbers[..., 1]
            made.append(_tensor(np.array(numbers, array.dtype)).requires_grad_())
        grads = tuple(made)
    else:
        grads = _tensors(grad_outputs)
    count = len(grads)

    def first(*args: Any) -> tuple[Tensor, ...]:
        given, starts = args[: len(args) - count], args[len(args) - count :]
        with enable_grad():
            # The inputs may be leaves: a view makes them results, whose gradients can be asked for.
            given = tuple(
                x.view_as(x) if isinstance(x, Tensor) and x.requires_grad else x for x in given
            )
            outputs = _outputs(func(*given))
            wanted = [x for x in given if isinstance(x, Tensor) and x.requires_grad]
            found = autograd.grad(
                outputs, wanted, list(starts), create_graph=True, allow_unused=True
            )
        return tuple([g for g in found if g is not None])

    return gradcheck(
        first, (*inputs, *grads), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception,
        nondet_tol=nondet_tol, check_undefined_grad=check_undefined_grad,
    )  # fmt: skip


class _CallableModule(types.ModuleType):
    """Importing this module gives the package an attribute of the function's name."""

    def __call__(self, *args: Any, **kwargs: Any) -> bool:
        return gradcheck(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
