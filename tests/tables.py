"""Tables of expressions, evaluated with ``torch`` bound to Suiren and to PyTorch and compared.

A table's own file gives the expressions and the arrays that they name; what is done with them is
here. Without PyTorch the comparisons are skipped.
"""

import warnings

import numpy as np
import pytest

import suiren

nan, inf = float("nan"), float("inf")


def evaluate(library, text, data, grad=False, constant=()):
    """The expression's value, and the tensors it saw; with ``grad`` float32 ones require it."""
    scope = {"torch": library, "nan": nan, "inf": inf}
    for key, array in data.items():
        scope[key] = library.tensor(array)
        if grad and array.dtype == np.float32 and key not in constant:
            scope[key].requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval(text, scope), scope


def arrays(result):
    """The arrays in a tensor or in nested tuples of them."""
    if isinstance(result, (tuple, list)):
        return [a for part in result for a in arrays(part)]
    if "bfloat16" in str(result.dtype):
        result = result.float()
    return [np.asarray(result.detach().numpy())]


def assert_same(want, got, tolerance, half=None):
    """Both lists of arrays agree in number, dtype, shape and value; ``half``: for float16."""
    assert len(want) == len(got)
    for a, b in zip(want, got, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        allowed = half if half is not None and a.dtype == np.float16 else tolerance
        np.testing.assert_allclose(b, a, rtol=allowed, atol=allowed)


def check_value(text, data, tolerance, half=None):
    """Type, dtype, shape and values are PyTorch's."""
    torch = pytest.importorskip("torch")
    want, got = (evaluate(library, text, data)[0] for library in (torch, suiren))
    assert type(want).__name__ == type(got).__name__
    assert_same(arrays(want), arrays(got), tolerance, half)


def check_gradient(text, data, tolerance, constant=()):
    """The gradients of a weighted sum of the result are PyTorch's, for all float32 tensors."""
    torch = pytest.importorskip("torch")
    found = []
    for library in (torch, suiren):
        result, scope = evaluate(library, text, data, True, constant)
        weights = np.cos(np.arange(result.numel())).reshape(tuple(result.shape))
        (result * library.tensor(weights).to(result.dtype)).sum().backward()
        grads = {k: x.grad for k, x in scope.items() if getattr(x, "grad", None) is not None}
        found.append({k: x.numpy() for k, x in grads.items()})
    assert found[0].keys() == found[1].keys()
    assert_same(list(found[0].values()), [found[1][k] for k in found[0]], tolerance)


def check_error(text, data):
    """Both refuse with the same type of exception, and Suiren says something."""
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception) as wanted:
        evaluate(torch, text, data)
    with pytest.raises(Exception) as got:
        evaluate(suiren, text, data)
    assert type(got.value) is type(wanted.value)
    assert str(got.value)
