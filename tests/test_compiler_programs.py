"""Small programs that the compiler once got wrong, each held against the interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
from compiling import compiling, host_operators, needs_compiler  # noqa: E402 (a sibling file)

pytestmark = needs_compiler


def values(*shape: int, dtype=suiren.float32) -> suiren.Tensor:
    """Numbers around zero, the same in every run."""
    count = int(np.prod(shape))
    return suiren.tensor(np.sin(np.arange(count) * 1.7 + 0.3).reshape(shape) * 3).to(dtype)


def test_sign_of_nan_is_zero():
    x = suiren.tensor([float("nan"), -0.0, -2.0, 3.0])
    with compiling() as made:
        assert suiren.sign(x).tolist() == [0.0, 0.0, -1.0, 1.0]
    assert not host_operators(made)


def test_bfloat16_is_compared_and_selected_natively():
    x = values(3, 7, dtype=suiren.bfloat16)
    with compiling():
        found = suiren.where(x > 0, x, -x).amax(1)
        np.testing.assert_array_equal(found.float().numpy(), x.float().abs().amax(1).numpy())


@pytest.mark.parametrize("name", ["lgamma", "digamma", "erfinv"])
def test_functions_without_code_run_on_the_host(name):
    with compiling():
        getattr(suiren, name)(values(5) / 4).tolist()


def test_a_value_that_is_the_same_along_the_row_is_stored_in_every_place():
    base = suiren.from_numpy(np.array([3, 0, 3, -1, 4, -4], "float64").reshape(3, 2))
    base.requires_grad_()
    with compiling():
        (base.as_strided([2, 2], [1, 0], 2).clamp(min=2.0) ** 2).sum().backward()
        assert base.grad.tolist() == [[0.0, 0.0], [12.0, 0.0], [0.0, 0.0]]


def test_writes_with_steps_and_to_columns():
    with compiling():
        x = suiren.tensor([1.0, -1.0, 3.0, 5.0, 2.0])
        x[::2] = values(3)
        x[-1] = x[1]
        y = values(3, 5)
        y[:, 1:3] = 7.0
        y[:, 4] = x[:3]
        assert (y * 2)[:, 1].tolist() == [14.0] * 3
        x.tolist()


def test_arrays_without_elements():
    with compiling():
        x = values(0, 3)
        assert (x * 2 + 1).reshape(3, 0).shape == (3, 0)
        assert x.sum(0).tolist() == [0.0, 0.0, 0.0]
        assert x.sum(1).tolist() == []
        assert (x @ values(3, 2)).shape == (0, 2)
        assert suiren.cat([x, values(2, 3)]).mean().item() == pytest.approx(
            values(2, 3).mean().item()
        )
        assert x.T.flatten()[None].shape == (1, 0)
