"""Sorting, searching, distinct elements, quantiles, histograms and covariances against PyTorch.

The expressions are evaluated with ``torch`` bound to either library; ties are chosen so that
PyTorch's answer is determined. Recorded numbers at the end need no PyTorch.
"""

import numpy as np
import pytest
import tables

import suiren

nan, inf = float("nan"), float("inf")

DIFFERENTIABLE = [
    "x.sort()[0]", "x.sort(0, True)[0]", "x.sort(dim=1, descending=True, stable=True).values",
    "x.msort()", "x.topk(2)[0]", "x.topk(3, 0, largest=False)[0]", "big.topk(5)[0]",
    "big.topk(5, largest=False).values", "x.kthvalue(2)[0]", "x.kthvalue(1, 0, True)[0]",
    "x.median()", "x.median(1)[0]", "n.median(0)[0]", "n.nanmedian()", "n.nanmedian(1, True)[0]",
    "ties.median()", "x.mode(1)[0]", "s.sort()[0]", "s.median(0)[0]",
    "x.quantile(0.3)", "x.quantile(q, dim=0)", "x.quantile(q, dim=1, keepdim=True)",
    "x.quantile(0.6, 0, True, interpolation='midpoint')", "n.nanquantile(q, dim=1)",
    "n.nanquantile(0.5)", "y.quantile(q, dim=1)", "y.quantile(0.25, dim=0, keepdim=True)",
    "x.quantile(q, interpolation='lower')", "x.quantile(q, interpolation='higher')",
    "x.quantile(q, interpolation='nearest')", "n.quantile(0.5, dim=0)",
]  # fmt: skip

VALUES = [
    "x.sort()", "x.argsort(0)", "x.argsort(1, True)", "i.sort(stable=True)", "b.sort(1)",
    "i.sort(0, descending=True)", "n.sort()", "n.sort(descending=True)", "n.topk(2)", "s.sort()",
    "e.sort()", "big.topk(7)", "n.topk(1, largest=False)", "n.kthvalue(3)", "s.kthvalue(1)",
    "n.median(1)", "n.nanmedian(1)", "e.median()", "i.median()", "ties.mode()[0]", "i.mode()[0]",
    "x.half().sort()", "x.bfloat16().topk(2)", "x.bfloat16().median()",
    "i.unique()", "i.unique(return_inverse=True, return_counts=True)", "n.unique()",
    "i.unique(dim=0)", "torch.unique(r, dim=0, return_inverse=True, return_counts=True)",
    "torch.unique(r, dim=1, return_inverse=True)", "e.unique(return_counts=True)", "b.unique()",
    "torch.unique_consecutive(ties, return_inverse=True, return_counts=True)",
    "torch.unique_consecutive(r, dim=0, return_counts=True)", "s.unique()",
    "torch.searchsorted(torch.tensor([1., 3., 5.]), x)", "torch.searchsorted(row, 3)",
    "torch.searchsorted(row, 3, right=True, out_int32=True)", "torch.searchsorted(row, 3.5)",
    "torch.searchsorted(x.sort()[0], x)", "torch.searchsorted(row, row, side='right')",
    "torch.searchsorted(torch.tensor([5, 1, 3]), row, sorter=torch.tensor([1, 2, 0]))",
    "torch.bucketize(i, row)", "torch.bucketize(4, row, right=True)",
    "torch.bucketize(torch.tensor([nan, inf, 2.]), torch.tensor([1., 2.]))",
    "torch.histc(x)", "torch.histc(x, 5, -1, 1)", "torch.histc(n, 3, 0, 4)", "torch.histc(e, 2)",
    "torch.histc(torch.ones(3), 2)", "torch.histogram(x, 4)", "torch.histogram(e, 2)",
    "torch.histogram(x, torch.tensor([-1., 0., 2.]))", "torch.histogram(x, 3, weight=x.abs())",
    "torch.histogram(x, 3, range=(-1., 1.), density=True)", "torch.histogramdd(x, [2, 3, 2, 2])",
    "torch.bincount(i.abs().reshape(-1))", "torch.bincount(row, minlength=9)",
    "torch.bincount(row, weights=torch.tensor([1., 2., 3.]))",
    "torch.bincount(row, weights=row)", "torch.cov(i)", "torch.corrcoef(i)",
    "torch.cov(x, fweights=torch.tensor([1, 2, 1, 3]))", "torch.cov(v[0])",
    "torch.cov(x, aweights=torch.tensor([.1, .2, .3, .4]), fweights=torch.tensor([1, 2, 1, 3]))",
]  # fmt: skip

ERRORS = [
    "c.sort()", "s.topk(2)", "x.topk(5)", "x.kthvalue(0)", "x.kthvalue(9)", "e2.kthvalue(1)",
    "e.median(0)", "b.median()", "c.median()", "e.mode()", "c.mode()", "x.sort(True)",
    "x.quantile(1.5)", "x.quantile([0.2])", "i.quantile(0.5)", "e.quantile(0.5)",
    "x.quantile(0.5, interpolation='foo')", "x.quantile(q.double())", "x.half().quantile(0.5)",
    "c.unique()", "e2.unique(dim=0)", "torch.searchsorted(row, row, side='foo')",
    "torch.searchsorted(row, row, side='left', right=True)", "torch.searchsorted(r, row)",
    "torch.searchsorted(r, 3)", "torch.searchsorted(row, row, sorter=torch.tensor([0, 1]))",
    "torch.searchsorted(s, row)", "torch.bucketize(row, r)", "torch.histc(i, 3)",
    "torch.histc(x, 0)", "torch.histc(x, 3, 4, 0)", "torch.histc(n, 3)", "torch.histogram(i, 3)",
    "torch.histogram(x, 3, weight=e)", "torch.bincount(i)", "torch.bincount(-row)",
    "torch.bincount(x[0])", "torch.bincount(row, minlength=-1)", "torch.cov(b)", "torch.cov(y)",
    "torch.bincount(row, weights=row[:2])", "torch.cov(x, aweights=-x[0].abs())",
    "torch.cov(x, fweights=x[0])", "torch.corrcoef(y)", "x.sort(5)",
]  # fmt: skip


def data():
    """The arrays that the expressions name, from a fixed seed."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return {
        "x": normal(3, 4), "y": normal(2, 3, 4), "v": normal(2, 5), "s": normal(),
        "big": normal(2, 300), "q": np.array([0.1, 0.5, 1], np.float32),
        "n": np.array([[1, nan, 0], [2, 5, 4]], np.float32),
        "ties": np.array([2, 1, 1, 2, 2, 3], np.float32),
        "i": rng.integers(-3, 4, (3, 4)), "b": rng.integers(0, 2, (3, 4)).astype(bool),
        "r": np.array([[1, 2, 2], [1, 2, 2], [0, 3, 3]]), "row": np.array([1, 3, 5]),
        "c": normal(3).astype(np.complex64), "e": np.zeros(0, np.float32),
        "e2": np.zeros((2, 0), np.float32),
    }  # fmt: skip


@pytest.mark.parametrize("text", DIFFERENTIABLE + VALUES)
def test_value(text):
    tables.check_value(text, data(), 1e-5)


@pytest.mark.parametrize("text", DIFFERENTIABLE)
def test_gradient(text):
    tables.check_gradient(text, data(), 1e-5, constant=("q",))


@pytest.mark.parametrize("text", ERRORS)
def test_error_type(text):
    tables.check_error(text, data())


# ---- recorded


def test_nan_sorts_last_and_equal_elements_keep_their_order():
    x = suiren.tensor([2.0, nan, 1.0, 2.0])
    values, indices = x.sort()
    assert indices.tolist() == [2, 0, 3, 1] and values[:3].tolist() == [1, 2, 2]
    assert x.argsort(descending=True).tolist() == [1, 0, 3, 2]


def test_topk_of_many():
    x = suiren.arange(1000).flip(0)
    found = x.topk(3)
    assert found.values.tolist() == [999, 998, 997] and found.indices.tolist() == [0, 1, 2]
    assert x.topk(3, largest=False).indices.tolist() == [999, 998, 997]


def test_topk_gradient_goes_to_the_elements_taken():
    x = suiren.tensor([1.0, 4.0, 2.0], requires_grad=True)
    (x.topk(2).values * suiren.tensor([1.0, 10.0])).sum().backward()
    assert x.grad.tolist() == [0, 1, 10]


def test_median_is_the_lower_middle_element():
    assert suiren.tensor([4.0, 1.0, 3.0, 2.0]).median().item() == 2
    assert suiren.tensor([4.0, nan, 3.0]).nanmedian().item() == 3
    assert suiren.quantile(suiren.tensor([4.0, 1.0, 3.0, 2.0]), 0.5).item() == 2.5


def test_unique_with_inverse_and_counts():
    values, inverse, counts = suiren.tensor([3, 1, 3]).unique(
        return_inverse=True, return_counts=True
    )
    assert (values.tolist(), inverse.tolist(), counts.tolist()) == ([1, 3], [1, 0, 1], [1, 2])
    assert suiren.unique_consecutive(suiren.tensor([1, 1, 2, 1])).tolist() == [1, 2, 1]


def test_histogram_counts_the_upper_end():
    x = suiren.tensor([0.0, 1.0, 2.0, 3.0, nan])
    assert suiren.histc(x, 3, 0, 3).tolist() == [1, 1, 2]
    assert suiren.bincount(suiren.tensor([0, 2, 2])).tolist() == [1, 0, 2]
    assert suiren.searchsorted(suiren.tensor([1, 3, 5]), 3).item() == 1
