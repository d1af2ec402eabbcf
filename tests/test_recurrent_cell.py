"""The cell operators of LSTM and GRU: their gradients, and the gradients of these."""

import suiren
from suiren.ops.recurrent import gru_cell, lstm_cell
from tests.compiling import compiling, needs_compiler


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


def _gru_case(kind=suiren.float64):
    suiren.manual_seed(0)
    shapes = (3, 6), (3, 6), (3, 2)
    return [suiren.randn(*shape, dtype=kind, requires_grad=True) for shape in shapes]


def _by_hand(given, state, h):
    parts = given.chunk(3, -1), state.chunk(3, -1)
    reset, update = [(a + b).sigmoid() for a, b in list(zip(*parts, strict=True))[:2]]
    new = (parts[0][2] + reset * parts[1][2]).tanh()
    return (1 - update) * new + update * h


def test_gru_agrees_with_its_formula_and_has_its_gradients():
    assert suiren.allclose(gru_cell(*_gru_case()), _by_hand(*_gru_case()))
    assert suiren.autograd.gradcheck(gru_cell, _gru_case())
    assert suiren.autograd.gradgradcheck(gru_cell, _gru_case())


@needs_compiler
def test_gru_compiled():
    for kind in (suiren.float32, suiren.float64, suiren.bfloat16):
        with compiling() as made:
            case = _gru_case(kind)
            gru_cell(*case).sum().backward()
            assert all(x.grad.abs().sum().item() > 0 for x in case)
        assert made
