"""Reductions, norms, variances, softmax and scans by value, gradient and error against PyTorch.

The table is evaluated with ``torch`` bound to either library. Recorded numbers at the end check
the awkward points (ties, NaN, zeros, nothing at all) without PyTorch.
"""

import pickle

import numpy as np
import pytest
import tables

import suiren

nan, inf = float("nan"), float("inf")
SHAPES = {"x": (3, 4), "y": (2, 3, 5), "v": (6,), "s": ()}

DIFFERENTIABLE = [
    "x.sum()", "y.sum((0, 2))", "x.sum(-1, keepdim=True)", "x.sum(dim=0, dtype=torch.float64)",
    "x.mean()", "y.mean((1, 2), keepdim=True)", "x.mean(0)", "s.mean()",
    "x.prod()", "y.prod(1)", "z.prod()", "z.prod(1)", "zz.prod(0)", "x.prod(0, keepdim=True)",
    "x.amax()", "x.amax((0, 1))", "t.amax(1)", "t.amin(1, keepdim=True)", "t.max()", "t.min()",
    "t.max(1).values", "t.min(0)[0]", "y.max(2, True)[0]", "s.max(0)[0]", "torch.max(x, t)",
    "torch.aminmax(t, dim=0)[0]", "torch.aminmax(t)[1]",
    "x.logsumexp(0)", "y.logsumexp((0, 2), keepdim=True)", "w.nansum()", "w.nansum(0)",
    "w.nanmean(1)",
    "x.norm()", "x.norm(1)", "x.norm(3, 0)", "x.norm(0.5, 1)", "x.norm(inf)", "x.norm(-inf, 0)",
    "x.norm(1.5, (0, 1))", "z.norm(2, 1)", "zz.norm(dim=0)", "torch.norm(y, 2, (0, 1), True)",
    "torch.linalg.vector_norm(y, 2.5, dim=(0, 2))", "torch.linalg.matrix_norm(y, 1)",
    "torch.linalg.matrix_norm(y, -inf, dim=(0, 1), keepdim=True)", "torch.linalg.norm(v, 3)",
    "torch.dist(x, t, 3)", "torch.dist(y, y[0], inf)", "torch.renorm(x, 2, 0, 0.5)",
    "x.var()", "y.var((0, 2))", "x.var(0, False)", "x.var(1, True, True)", "x.var(correction=2)",
    "x.std()", "x.std(dim=1, correction=0)", "y.std((1, 2), keepdim=True)", "zz.std(0)",
    "torch.var_mean(x)[0]", "torch.var_mean(x, 1)[1]", "torch.std_mean(y, (0, 1))[0]",
    "x.softmax(0)", "y.softmax(-1)", "x.log_softmax(1)", "torch.softmax(x, 1, torch.float64)",
    "torch.nn.functional.softmax(x, dim=0)", "torch.nn.functional.log_softmax(y, 1)",
    "s.softmax(0)",
    "x.cumsum(0)", "y.cumsum(-1)", "x.cumprod(1)", "z.cumprod(1)", "zz.cumprod(0)", "v.cumprod(0)",
    "t.cummax(1)[0]", "t.cummin(0).values", "x.logcumsumexp(1)", "y.logcumsumexp(0)",
    "x.diff()", "x.diff(2, 0)", "x.diff(dim=0, prepend=t)", "torch.trapezoid(x)",
    "torch.trapezoid(x, v[:4])", "torch.cumulative_trapezoid(y, dx=0.5, dim=1)",
    "torch.cov(x)", "torch.corrcoef(x)", "torch.cov(x, correction=0)",
]  # fmt: skip

NOT_DIFFERENTIABLE = [
    "i.sum()", "i.sum(0)", "b.sum(1)", "i.sum(dtype=torch.float32)", "i.prod()", "b.prod(0)",
    "i.amax(0)", "b.amin(1)", "i.max(0)", "b.max(1)", "i.min()", "t.max(1)", "t.min(0)",
    "t.argmax()", "t.argmax(1)", "t.argmin(0, keepdim=True)", "w.argmax(1)", "w.max(1)", "w.amin()",
    "x.all()", "b.all(0)", "b.any((0, 1))", "i.to(torch.uint8).all(1)", "w.any(dim=1)", "e.all()",
    "e.any()", "e.sum()", "e.prod()", "e.mean()", "e.norm()", "e2.max(0)", "e2.sum(1)",
    "e2.amax(0)", "e2.argmin(0)", "e.logsumexp(0)", "e2.softmax(1)", "e.var()",
    "x.half().sum()", "x.bfloat16().mean(0)", "x.half().softmax(1)", "x.bfloat16().max(1)",
    "i.count_nonzero()", "w.count_nonzero((0, 1))", "i.nansum()", "i.logsumexp(0)",
    "c.sum(0)", "c.mean()", "c.prod(1)", "c.var()", "c.norm(1, 0)", "c.all()",
    "i.cumsum(1)", "b.cumsum(0)", "i.cumprod(0)", "w.cummax(1)", "w.cummin(1)", "i.cummax(0)",
    "b.diff()", "i.diff(append=i)", "torch.trapezoid(i)", "torch.aminmax(i)",
    "x.cumsum(0).sum_to_size(4)", "i.float().std()",
]  # fmt: skip

ERRORS = [
    "i.mean()", "x.mean(dtype=torch.int64)", "e.max()", "e2.max(1)", "e2.amax(1)", "e.argmax()",
    "e2.argmax(1)", "x.sum(2)", "x.amax((0, 0))", "x.max((0, 1))", "c.max()", "c.amax()",
    "c.max(0)", "c.argmax()", "b.argmax()", "x.prod((0, 1))", "x.sum('a')", "i.var()", "i.std()",
    "i.norm()", "i.softmax(0)", "c.softmax(0)", "x.softmax(3)", "x.norm('abc')", "s.diff()",
    "torch.linalg.vector_norm(e, inf)", "torch.linalg.matrix_norm(x, 3)", "c.nansum()",
    "torch.linalg.matrix_norm(v)", "torch.linalg.norm(y, 2)", "e.aminmax()", "x.diff(n=-1)",
    "torch.linalg.vector_norm(x, dtype=torch.int64)", "torch.trapezoid(b)", "i.logcumsumexp(0)",
    "c.cummax(0)", "torch.renorm(v, 2, 0, 1)", "torch.cov(y)", "torch.nanmean(i)",
    "x.var(unbiased=True, correction=1)", "torch.dist(i, i)", "x.cumsum()",
]  # fmt: skip


def data():
    """The arrays that the expressions name, from a fixed seed."""
    rng = np.random.default_rng(0)
    found = {k: rng.normal(size=s).astype(np.float32) for k, s in SHAPES.items()}
    found["t"] = np.array([[1, 3, 3, 0], [2, 2, 2, 2], [5, -1, -1, 5]], np.float32)  # ties
    found["z"] = np.array([[1, 0, 2, 3], [0, 1, 0, 2], [4, 3, 2, 1]], np.float32)  # zeros
    found["zz"] = np.zeros((3, 2), np.float32)
    found["w"] = np.array([[1, nan, 2], [3, 4, 4]], np.float32)
    found["i"] = rng.integers(-4, 5, (3, 4))
    found["b"] = rng.integers(0, 2, (3, 4)).astype(bool)
    found["c"] = (rng.normal(size=(2, 3)) + 1j * rng.normal(size=(2, 3))).astype(np.complex64)
    found["e"] = np.zeros((0,), np.float32)
    found["e2"] = np.zeros((2, 0), np.float32)
    return found


@pytest.mark.parametrize("text", DIFFERENTIABLE + NOT_DIFFERENTIABLE)
def test_value(text):
    tables.check_value(text, data(), 2e-5, half=2e-2)


@pytest.mark.parametrize("text", DIFFERENTIABLE)
def test_gradient(text):
    tables.check_gradient(text, data(), 2e-5)


SECOND = [
    "x.prod()", "z.prod(1)", "x.cumprod(1)", "z.cumprod(1)", "x.softmax(1)", "x.log_softmax(0)",
    "x.logsumexp(0)", "x.norm()", "x.norm(3, 0)", "x.var(0)", "x.std(0)", "x.logcumsumexp(0)",
    "torch.var_mean(x)[0]",
]  # fmt: skip


@pytest.mark.parametrize("text", SECOND)
def test_second_derivative(text):
    torch = pytest.importorskip("torch")
    found = []
    for library in (torch, suiren):
        result, scope = tables.evaluate(library, text, data(), grad=True)
        x = scope["z" if text.startswith("z") else "x"]
        (first,) = library.autograd.grad((result * result).sum(), x, create_graph=True)
        weights = np.cos(np.arange(12)).reshape(3, 4).astype(np.float32)
        (second,) = library.autograd.grad((first * library.tensor(weights)).sum(), x)
        found.append([second.numpy()])
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("text", ERRORS)
def test_error_type(text):
    tables.check_error(text, data())


NODES = [
    "x.sum()", "x.sum(0)", "x.mean()", "x.mean(0)", "x.prod()", "x.prod(0)", "x.max()",
    "x.max(0)[0]", "x.min()", "x.min(0)[0]", "x.amax()", "x.logsumexp(0)", "x.norm()", "x.var()",
    "x.std()", "torch.var_mean(x)[0]", "x.softmax(0)", "x.log_softmax(0)", "x.cumsum(0)",
    "x.cumprod(0)", "x.cummax(0)[0]", "torch.dist(x, t)", "w.nansum()", "torch.aminmax(x)[0]",
]  # fmt: skip


@pytest.mark.parametrize("text", NODES)
def test_node_name(text):
    torch = pytest.importorskip("torch")
    a, b = (
        tables.evaluate(library, text, data(), grad=True)[0].grad_fn.name()
        for library in (torch, suiren)
    )
    assert a == b


# ---- recorded


def test_max_of_ties_shares_or_picks():
    x = suiren.tensor([1.0, 3.0, 3.0], requires_grad=True)
    x.max().backward()
    assert x.grad.tolist() == [0, 0.5, 0.5]
    x.grad = None
    x.max(0).values.backward()
    assert x.grad.tolist() == [0, 1, 0]


def test_product_gradient_at_zeros():
    x = suiren.tensor([2.0, 0.0, 3.0], requires_grad=True)
    x.prod().backward()
    assert x.grad.tolist() == [0, 6, 0]
    x.grad = None
    x.cumprod(0).sum().backward()
    assert x.grad.tolist() == [1, 8, 0]


def test_extremes_name_the_first_nan():
    x = suiren.tensor([1.0, nan, nan])
    assert x.argmax().item() == 1 and x.argmin().item() == 1
    assert np.isnan(x.amax().item())


def test_softmax_of_large_numbers():
    x = suiren.tensor([1000.0, 1000.0, -inf])
    assert x.softmax(0).tolist() == [0.5, 0.5, 0.0]
    assert x.log_softmax(0)[0].item() == pytest.approx(-0.6931472)
    assert x.logsumexp(0).item() == pytest.approx(1000.6931)


def test_variance_without_cancellation():
    x = suiren.tensor([10000.0, 10001.0, 10002.0])
    assert x.var().item() == 1.0
    assert suiren.var_mean(x)[1].item() == 10001.0
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert np.isnan(suiren.tensor(3.0).var().item())


def test_long_sums_along_the_first_axis_round_little():
    # adding one after the other is off by 1 % here: 2**24 has no room for 0.1
    x = suiren.full((1 << 18, 2), 0.1)
    want = np.float64(np.float32(0.1)) * (1 << 18)
    assert x.sum(0)[0].item() == pytest.approx(want, rel=2e-6)
    assert x.mean((0,))[1].item() == pytest.approx(0.1, rel=2e-6)
    assert x.cumsum(0)[-1, 0].item() == pytest.approx(want, rel=2e-6)


def test_named_results_print_unpack_and_pickle():
    found = suiren.tensor([[1.0, 5.0], [3.0, 2.0]]).max(dim=0)
    assert repr(found) == (
        "torch.return_types.max(\nvalues=tensor([3., 5.]),\nindices=tensor([1, 0]))"
    )
    values, indices = found
    assert values is found.values and indices is found[1]
    again = pickle.loads(pickle.dumps(found))
    assert type(again) is type(found) and again.indices.tolist() == [1, 0]


def test_out_of_max_along_a_dimension():
    values, indices = suiren.zeros(2), suiren.zeros(2, dtype=suiren.int64)
    suiren.max(suiren.tensor([[1.0, 5.0], [3.0, 2.0]]), 0, out=(values, indices))
    assert values.tolist() == [3, 5] and indices.tolist() == [1, 0]


@pytest.mark.parametrize("shape", [(1000, 3), (1000, 40), (3, 777, 20), (600, 2, 300), (5, 301)])
def test_blocked_sums_over_any_dimensions(shape):
    array = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    x = suiren.from_numpy(array)
    for dims in [(0,), (1,), (0, 1), tuple(range(len(shape)))]:
        for keepdim in (False, True):
            want = array.astype(np.float64).sum(dims, keepdims=keepdim)
            got = x.sum(dims, keepdim=keepdim).numpy()
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-4)
