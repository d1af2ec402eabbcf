"""Running sums, products and extremes, forwards and from the end, compiled beside interpreted."""

from __future__ import annotations

import numpy as np
import pytest

import suiren
from tests.compiling import compiling, needs_compiler, small_tasks

pytestmark = needs_compiler
KINDS = ("float32", "float64", "int64", "int32", "bfloat16")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3, 5), (17, 100), (40, 2), (100,), (3, 4, 50), (9, 3, 33)])
def test_along_each_dimension(shape, kind):
    drawn = np.random.default_rng(0).integers(1, 9, shape)
    for dim in range(len(shape)):
        with compiling() as made, small_tasks(300):
            x = suiren.tensor(drawn).to(getattr(suiren, kind))
            forth, back = x.cumsum(dim), x.flip(dim).cumsum(dim).flip(dim)
            others = x.flip(dim).cumprod(dim).flip(dim), x.cummax(dim)[0]
            turned = (x * 2).flip(dim).cumsum(dim)
            if kind != "bfloat16":
                np.testing.assert_array_equal(forth.numpy(), drawn.cumsum(dim))
                backwards = np.flip(np.flip(drawn, dim).cumsum(dim), dim)
                np.testing.assert_array_equal(back.numpy(), backwards)
            for found in (forth, back, turned, *others):
                found.tolist()
        assert made


def test_gradient_has_one_kernel():
    with compiling() as made:
        x = suiren.randn(20, 30, requires_grad=True)
        x.cumsum(1).backward(suiren.randn(20, 30))
        x.grad.tolist()
    names = [step.kernel.name for program in made for step in program.plan.steps if step.kernel]
    assert [name for name in names if "slice" in name] == []


def test_float32_is_accumulated_in_float64():
    x = suiren.full((3, 1000), 0.1)
    x[:, 0] = 1e7
    wanted = x.numpy().astype(np.float64).cumsum(1).astype(np.float32)
    with compiling():
        np.testing.assert_array_equal(x.cumsum(1).numpy(), wanted)
