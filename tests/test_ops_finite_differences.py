"""gradient: finite differences of samples, against NumPy and numbers recorded from PyTorch."""

import numpy as np
import pytest

import suiren as T


@pytest.mark.parametrize("edge_order", [1, 2])
def test_gradient_of_unevenly_spaced_samples_is_exact_for_parabolas_inside(edge_order):
    """Second-order weights are exact for polynomials of degree two; NumPy has the same rule."""
    x = np.array([0.0, 1, 4, 5, 9], np.float64)
    y = np.stack([x**2, 3 * x - x**2, x**3])
    found = T.gradient(
        T.tensor(y), spacing=(T.tensor(x),), dim=1, edge_order=edge_order
    )[0].numpy()
    np.testing.assert_allclose(found, np.gradient(y, x, axis=1, edge_order=edge_order))
    np.testing.assert_allclose(found[0, 1:-1], 2 * x[1:-1])


def test_gradient_takes_numbers_dims_and_edge_orders():
    """gradient was missing; numbers recorded from PyTorch 2.13."""
    x = T.tensor([[1.0, 2, 4, 8, 16], [1, 3, 9, 27, 81], [2, 5, 7, 8, 1]])
    rows, columns = T.gradient(x, spacing=[2.0, 4.0])
    assert rows.tolist()[0] == [0.0, 0.5, 2.5, 9.5, 32.5]
    assert columns.tolist()[0] == [0.25, 0.375, 0.75, 1.5, 2.0]
    assert T.gradient(x, dim=1, edge_order=2)[0].tolist()[0] == [0.5, 1.5, 3.0, 6.0, 10.0]
    assert T.gradient(x.int())[0].dtype is T.float32
    assert T.gradient(x, dim=[]) == ()
    y = x.requires_grad_()
    T.gradient(y, dim=1)[0].sum().backward()
    assert y.grad[0].tolist() == [-1.5, 0.5, 0.0, -0.5, 1.5]


@pytest.mark.parametrize("kwargs, error", [
    ({"edge_order": 3}, RuntimeError), ({"dim": (0, 0)}, RuntimeError), ({"dim": 2}, IndexError),
    ({"spacing": [1.0]}, RuntimeError), ({"dim": 0, "edge_order": 2}, RuntimeError),
    ({"spacing": [1.0, "tensor"]}, TypeError),
])  # fmt: skip
def test_gradient_refuses_as_pytorch_does(kwargs, error):
    x = T.zeros(2, 3)
    if "spacing" in kwargs and len(kwargs["spacing"]) == 2:
        kwargs = {"spacing": [1.0, T.arange(3.0)]}
    with pytest.raises(error):
        T.gradient(x, **kwargs)
    with pytest.raises(RuntimeError, match="uint8"):
        T.gradient(x.to(T.uint8))
