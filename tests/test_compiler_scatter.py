"""Reductions at computed places, compiled beside interpreted, with their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import suiren
from tests.compiling import compiling, needs_compiler, small_tasks

pytestmark = needs_compiler
REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")
KINDS = ("float32", "float64", "int64", "uint8", "bfloat16", "bool")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", REDUCTIONS)
@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce(how, kind, include_self):
    if kind == "bool" and how == "mean":
        pytest.skip("no mean of truth values")
    rng = np.random.default_rng(0)
    for shape, dim in (((40, 9), 0), ((9, 40), 1), ((200,), 0), ((3, 50, 7), 1)):
        with compiling() as made, small_tasks(300):
            wide = list(shape)
            wide[dim] = 8
            x = suiren.tensor(rng.integers(0, 5, wide)).to(getattr(suiren, kind))
            src = suiren.tensor(rng.integers(0, 5, shape)).to(x.dtype)
            index = suiren.tensor(rng.integers(0, 7, shape))
            differentiable = kind in ("float32", "float64")
            x.requires_grad_(differentiable), src.requires_grad_(differentiable)
            found = x.scatter_reduce(dim, index, src, how, include_self=include_self)
            if differentiable:
                found.square().sum().backward()
                x.grad.tolist(), src.grad.tolist()
            found.tolist()
        hosts = [step for program in made for step in program.plan.steps if step.kernel is None]
        native = kind != "bool" or how in ("amax", "amin")
        native = native and (how != "mean" or differentiable)
        native = native and (how != "prod" or kind != "bfloat16")
        assert not native or made and not hosts


def test_largest_of_nothing_and_of_nan():
    with compiling():
        x = suiren.tensor([1.0, 2.0, 3.0])
        src = suiren.tensor([float("nan"), 5.0, -1.0])
        index = suiren.tensor([0, 1, 1])
        found = x.scatter_reduce(0, index, src, "amax")
        np.testing.assert_array_equal(found.numpy(), [np.nan, 5, 3])
        found = x.scatter_reduce(0, index, src, "amin", include_self=False)
        np.testing.assert_array_equal(found.numpy(), [np.nan, -1, 3])
