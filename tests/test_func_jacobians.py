"""torch.func.jacrev and hessian of functions over nested arguments, and `with torch.device`."""

from __future__ import annotations

import warnings

import pytest

import suiren
from suiren.func import hessian, jacrev, vmap


def trees(torch, jacrev, hessian, vmap):
    weights = {"a": torch.arange(6.0).view(2, 3) / 7, "b": (torch.tensor([0.5, -0.25]),)}
    x = torch.tensor([1.0, -2.0, 0.5])

    def f(p, x):
        return {"y": (p["a"] @ x + p["b"][0]).tanh(), "z": [x**2]}

    yield jacrev(f)(weights, x)
    yield jacrev(f, argnums=(0, 1))(weights, x)
    yield jacrev(f, argnums=1)(weights, x)
    yield hessian(lambda p: (p["a"] ** 3).sum() * p["b"][0].sum())(weights)
    yield vmap(jacrev(f), (None, 0))(weights, torch.stack([x, x + 1]))


def numbers(tree):
    if isinstance(tree, dict):
        return {k: numbers(v) for k, v in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(numbers(v) for v in tree)
    return tree.tolist()


def flat(tree):
    if isinstance(tree, dict):
        return [x for v in tree.values() for x in flat(v)]
    if isinstance(tree, (list, tuple)):
        return [x for v in tree for x in flat(v)]
    return [tree]


def test_nested_arguments():
    ours = [numbers(tree) for tree in trees(suiren, jacrev, hessian, vmap)]
    assert ours[2]["z"] == [[[2, 0, 0], [0, -4, 0], [0, 0, 1]]]
    assert list(ours[3]) == ["a", "b"]
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about its own torch.jit
        import torch.func as f

        reals = [numbers(tree) for tree in trees(torch, f.jacrev, f.hessian, f.vmap)]
    for mine, real in zip(ours, reals, strict=True):
        assert flat(mine) == pytest.approx(flat(real), abs=1e-5)
        assert str(mine).count("[") == str(real).count("[")
