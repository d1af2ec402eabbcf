"""Tensor.fill_diagonal_: values, gradients, refusals."""

from __future__ import annotations

import pytest

import suiren


def story(torch):
    def refused(function):
        try:
            function()
        except RuntimeError as problem:
            return str(problem).partition(":")[0]
        return None

    for shape in ((3, 3), (7, 3), (4, 3), (2, 5), (2, 2, 2), (0, 3), (1, 1)):
        for wrap in (False, True):
            yield torch.zeros(shape).fill_diagonal_(1.5, wrap).tolist()
    yield torch.zeros(7, 3).t().fill_diagonal_(1, True).tolist()
    yield torch.zeros(3, 7).t().fill_diagonal_(1, wrap=True).tolist()
    yield torch.zeros(2, 2, dtype=torch.long).fill_diagonal_(1.5).tolist()
    x = torch.ones(3, 3, requires_grad=True)
    y = (x * 2).fill_diagonal_(0)
    yield str(y).partition("grad_fn")[2]
    y.sum().backward()
    yield x.grad.tolist()
    yield refused(lambda: torch.zeros(3).fill_diagonal_(1))
    yield refused(lambda: torch.zeros(2, 3, 2).fill_diagonal_(1))
    yield refused(lambda: x.fill_diagonal_(1))


def test_beside_torch():
    torch = pytest.importorskip("torch")
    ours, theirs = list(story(suiren)), list(story(torch))
    ours[-1], theirs[-1] = bool(ours[-1]), bool(theirs[-1])
    assert ours == theirs


def test_recorded():
    found = list(story(suiren))
    assert found[3] == [[1.5 * (r % 4 == c) for c in range(3)] for r in range(7)]
    assert found[-4] == [[0, 2, 2], [2, 0, 2], [2, 2, 0]]
