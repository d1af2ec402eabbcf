"""Compiled products and convolutions of bfloat16, against the interpreter and PyTorch.

Both sides multiply exact bfloat16 and sum in float32; a result is rounded to bfloat16 once. So two
results differ by one unit in the last place (2**-8) at most, where their sums in float32 lie on
both sides of a tie.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
from compiling import compiling, needs_compiler  # noqa: E402 (a sibling file)

from suiren.compiler import target  # noqa: E402

pytestmark = needs_compiler


def values(shape, seed: int = 0) -> np.ndarray:
    """Numbers around zero."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_near(found, expected, units: float = 1.01) -> None:
    """Apart by so many units in the last place, of a hundredth of the largest if that is more."""
    a, b = (x.detach().float().numpy().astype(np.float64) for x in (found, expected))
    size = np.abs(b)
    allowed = units * 2.0**-8 * np.maximum(size, size.max(initial=0) / 100)
    assert a.shape == b.shape and (np.abs(a - b) <= allowed).all(), np.abs(a - b).max()


def perceptron(torch):
    """Two linear layers with their gradients."""
    x = torch.from_numpy(values((40, 33))).bfloat16().requires_grad_()
    v, w = (
        torch.from_numpy(values(shape, i)).bfloat16().requires_grad_()
        for i, shape in enumerate([(50, 33), (17, 50)], 1)
    )
    bias = torch.from_numpy(values((50,), 3)).bfloat16().requires_grad_()
    hidden = torch.nn.functional.linear(x, v, bias).relu()
    y = hidden @ w.T
    (y.float() * torch.from_numpy(values((40, 17), 4))).sum().backward()
    return y, x.grad, v.grad, w.grad, bias.grad


def test_linear_layers():
    torch = pytest.importorskip("torch")
    with compiling() as made:
        found = perceptron(suiren)
        for x in found:
            x.detach().float().numpy()
    for a, b in zip(found, perceptron(torch), strict=True):
        assert a.dtype is suiren.bfloat16
        # gradients are sums of what was rounded before, now and then to the other side
        assert_near(a, b, 3)
    if target.host().bfloat16_pairs:
        names = [s.kernel.name for p in made for s in p.plan.steps if s.kernel is not None]
        assert sum(name.startswith("matmul") and "bfloat" in name for name in names) >= 5


def test_batches_of_products():
    torch = pytest.importorskip("torch")
    a, b = values((3, 20, 9)), values((3, 9, 31), 1)
    with compiling():
        found = suiren.from_numpy(a).bfloat16() @ suiren.from_numpy(b).bfloat16()
        found.float().numpy()
    assert_near(found, torch.from_numpy(a).bfloat16() @ torch.from_numpy(b).bfloat16())
