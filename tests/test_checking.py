"""SUIREN_CHECK: what it lets pass, and what it does not."""

import numpy as np
import pytest

import suiren
from suiren.compiler import checking
from suiren.operator import OPERATORS
from tests.compiling import compiling, needs_compiler


def _factors():
    """Their product is 0 from left to right, and by lanes infinite times 0."""
    x = suiren.ones(200)
    x[:192:16] = 1e30
    x[1] = 0.0
    return x


@needs_compiler
def test_products_that_overflow_on_the_way():
    assert np.prod(_factors().numpy()) == 0.0
    with compiling() as made:
        (_factors().prod() * 2).item()
    assert made


@needs_compiler
def test_other_products_are_held_to_what_is_expected():
    with compiling() as made:
        x = suiren.rand(200).add(0.5)
        (x.prod() * 2).item()
    node = made[-1].graph.outputs[-1]
    two, nan, zero = (np.float32(x).reshape(()) for x in (2.0, np.nan, 0.0))
    assert checking._overflows(node, nan, zero)
    assert not checking._overflows(node, nan, two)
    assert not checking._overflows(node, zero, two)
    assert not checking._overflows(node.graph.full((), 1, node.dtype), nan, zero)


@needs_compiler
def test_a_wrong_result_is_told(monkeypatch):
    monkeypatch.setattr(suiren.ops.pointwise.sigmoid.operator, "evaluate", lambda x: x)
    with compiling(), pytest.raises(AssertionError, match="compiled and interpreted differ"):
        suiren.rand(20).sigmoid().sum().item()


@needs_compiler
def test_an_infinity_is_passed_where_it_is_rounding_alone(monkeypatch):
    x = suiren.rand(64) + 1e6
    with compiling() as made:
        off = x - x.mean()
        (1 / (off.sum() - (off * 2).sum() / 2)).item()
    assert made
    monkeypatch.setattr(OPERATORS["div"], "evaluate", lambda a, b: np.full_like(a, 5.0))
    with compiling(), pytest.raises(AssertionError, match="compiled and interpreted differ"):
        (suiren.ones(3) / suiren.zeros(3)).sum().item()
