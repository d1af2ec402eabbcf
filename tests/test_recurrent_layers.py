"""A recurrent layer's steps as one operator: against the steps one by one, and its gradients."""

import pytest

import suiren
from suiren import nn
from suiren.nn.functional import recurrent
from suiren.ops.recurrent_layers import recurrent_layer
from tests.compiling import compiling, needs_compiler

KINDS = ["LSTM", "GRU", "RNN_TANH", "RNN_RELU"]


def _case(kind, dtype=suiren.float64, steps=4, bias=True):
    """Input, weights and state of a layer; all require gradients."""
    suiren.manual_seed(1)
    gates, batch, hidden, inputs = recurrent.GATES[kind], 3, 4, 2
    shapes = [(steps, batch, inputs), (gates * hidden, inputs), (gates * hidden, hidden)]
    shapes += [(gates * hidden,)] * 2 if bias else []
    shapes += [(batch, hidden)] * (2 if kind == "LSTM" else 1)
    return [suiren.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


def _run(kind, reverse, bias, x, w_ih, w_hh, *rest):
    biases, state = (rest[:2], rest[2:]) if bias else ((None, None), rest)
    weights = (w_ih, w_hh, *biases, None)
    output, final = recurrent.run_direction(kind, x, state, weights, reverse)
    return output, *final


def _gradients(kind, reverse, bias, case):
    found = _run(kind, reverse, bias, *case)
    loss = sum((x * (x + i)).sum() for i, x in enumerate(found))
    return [*found, *suiren.autograd.grad(loss, case)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_steps_one_by_one(kind, reverse, bias, monkeypatch):
    for steps in (1, 5):
        case = _case(kind, steps=steps, bias=bias)
        found = _gradients(kind, reverse, bias, case)
        monkeypatch.setattr(recurrent, "LONGEST", 0)
        expected = _gradients(kind, reverse, bias, case)
        monkeypatch.undo()
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape
            assert suiren.allclose(a, b)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_and_theirs(kind, reverse):
    case = _case(kind, steps=3)
    run = lambda *given: _run(kind, reverse, True, *given)  # noqa: E731
    assert suiren.autograd.gradcheck(run, case)
    assert suiren.autograd.gradgradcheck(run, case)
    for which in range(len(run(*case))):  # of one result alone
        assert suiren.autograd.gradcheck(lambda *given, i=which: run(*given)[i], case)


def test_the_gradient_of_what_is_kept():
    _, _, w_hh, *_, h, c = _case("LSTM", steps=3)
    given = suiren.randn(3, 3, 16, dtype=suiren.float64, requires_grad=True)
    kept = lambda *x: recurrent_layer(*x, None, "LSTM", False)[2]  # noqa: E731
    assert suiren.autograd.gradcheck(kept, (given, h, c, w_hh))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_cell_does_not_have_is_empty(kind):
    """In what is inferred as in what is computed."""
    _, _, w_hh, *_, h = _case(kind, steps=3)
    given = suiren.zeros(3, 3, w_hh.shape[0], dtype=h.dtype)
    c = h if kind == "LSTM" else None
    found = recurrent_layer(given, h, c, w_hh, None, kind, False)
    shapes = [tuple(x.shape) for x in found]
    assert shapes == [x.detach().numpy().shape for x in found]
    assert shapes[1] == ((3, 3, 4) if kind == "LSTM" else (0,))


@needs_compiler
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled(kind, reverse):
    for dtype in (suiren.float32, suiren.float64):
        with compiling() as made:
            found = _gradients(kind, reverse, True, _case(kind, dtype))
            assert all(x.isfinite().all().item() for x in found)
        assert made


def test_the_output_may_be_written_to():
    layer = nn.LSTM(2, 3)
    x = suiren.randn(4, 1, 2)
    output, _ = layer(x)
    expected = suiren.autograd.grad(output.relu().sum(), list(layer.parameters()))
    output, _ = layer(x)
    found = suiren.autograd.grad(output.relu_().sum(), list(layer.parameters()))
    assert all(suiren.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_output_and_the_last_state_are_not_the_same_memory():
    layer = nn.GRU(2, 3)
    with suiren.no_grad():
        output, last = layer(suiren.randn(4, 1, 2))
        kept = last.clone()
        output.zero_()
    assert suiren.equal(last, kept)


def test_sizes_that_do_not_fit_are_refused():
    given, h, weight = suiren.zeros(4, 1, 9), suiren.zeros(1, 2), suiren.zeros(6, 2)
    with pytest.raises(RuntimeError, match="does not fit the state"):
        recurrent_layer(given, h, None, weight, None, "GRU", False)
