"""The LSTM's cell operator: its gradients, and the gradient of its gradients."""

import suiren
from suiren.ops.recurrent import lstm_cell


def _case():
    suiren.manual_seed(0)
    gates = suiren.randn(3, 8, dtype=suiren.float64, requires_grad=True)
    c = suiren.randn(3, 2, dtype=suiren.float64, requires_grad=True)
    return gates, c


def test_gradients_of_both_results_and_of_one():
    for chosen in (lambda h, c: (h, c), lambda h, c: h, lambda h, c: c):
        assert suiren.autograd.gradcheck(lambda g, c, f=chosen: f(*lstm_cell(g, c)), _case())


def test_gradients_of_gradients():
    assert suiren.autograd.gradgradcheck(lambda g, c: lstm_cell(g, c), _case())


def test_agrees_with_its_formula():
    gates, c = _case()
    enter, forget, new, leave = gates.chunk(4, -1)
    after = forget.sigmoid() * c + enter.sigmoid() * new.tanh()
    h, found = lstm_cell(gates, c)
    assert suiren.allclose(found, after)
    assert suiren.allclose(h, leave.sigmoid() * after.tanh())
