"""Attention as one kernel: found however it is written, equal to the interpreter and PyTorch."""

import math

import numpy as np
import pytest
from compiling import compiling, needs_compiler

import suiren

F = suiren.nn.functional
pytestmark = needs_compiler

# (batch, heads, queries, keys, size of a head, size of a value)
SHAPES = [
    (2, 2, 48, 48, 32, 32), (2, 2, 37, 53, 24, 40), (1, 4, 64, 128, 8, 8), (1, 5, 130, 33, 64, 64),
    (1, 4, 16, 300, 128, 16), (1, 4, 9, 16, 7, 3),
]  # fmt: skip
MASKS = ["none", "causal", "finite", "padding", "added", "blind"]


def masked(lib, scores, mask):
    """Scores with one of several masks, as scripts write them."""
    rows, columns = scores.shape[-2:]
    later = lib.triu(lib.ones(rows, columns), 1) == 1
    if mask == "causal":
        return scores.masked_fill(later, float("-inf"))
    if mask == "finite":  # rows that see nothing attend to everything alike
        return lib.where(lib.triu(lib.ones(rows, columns), -rows // 2) == 1, -1e9, scores)
    if mask == "padding":
        seen = lib.arange(columns) <= columns // 2
        return lib.where(seen.view(1, 1, 1, columns), scores, float("-inf"))
    if mask == "added":
        return scores + lib.zeros(rows, columns).masked_fill(later, float("-inf")).to(scores.dtype)
    if mask == "blind":
        return scores.masked_fill(later.flip(0), float("-inf"))
    return scores


def by_hand(lib, q, k, v, mask):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return lib.nn.functional.softmax(masked(lib, scores, mask), -1) @ v


def by_function(lib, q, k, v, mask):
    if mask == "causal":
        return lib.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    zeros = lib.zeros(q.shape[-2], k.shape[-2], dtype=q.dtype)
    added = masked(lib, zeros, mask) if mask != "none" else None
    if mask == "blind":
        added = added == 0
    return lib.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=added)


def arrays(shape, dtype):
    n, h, rows, columns, inner, outer = shape
    draw = np.random.default_rng(rows + columns)
    sizes = [(n, h, rows, inner), (n, h, columns, inner), (n, h, columns, outer)]
    return [draw.standard_normal(size).astype(dtype) for size in sizes]


def gradients(lib, function, given, mask):
    """The result and the gradients by q, k, v."""
    q, k, v = (lib.tensor(x, requires_grad=True) for x in given)
    result = function(lib, q, k, v, mask)
    (result * result.detach().cos()).sum().backward()
    return [result.detach(), q.grad, k.grad, v.grad]


def operators(made):
    return {node.op for native in made for node in native.graph.nodes}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_attention_is_what_the_interpreter_computes(shape, mask):
    dtype = "float64" if shape[2] == 37 else "float32"
    function = by_function if mask == "blind" else by_hand
    with compiling() as made:
        gradients(suiren, function, arrays(shape, dtype), mask)
    assert {"attend", "attend_gradient"} <= operators(made)


@pytest.mark.parametrize("function", [by_hand, by_function])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", SHAPES[1:4])
def test_attention_agrees_with_torch(shape, mask, function):
    torch = pytest.importorskip("torch")
    if mask == "blind" and function is by_hand:
        pytest.skip("rows that see nothing are NaN")
    given = arrays(shape, "float64")
    with compiling() as made:
        found = [x.numpy() for x in gradients(suiren, function, given, mask)]
    assert "attend_gradient" in operators(made)
    near = 1e-6 if mask == "finite" else 1e-10  # a score added to -1e9 has few digits left
    for x, y in zip(found, gradients(torch, function, given, mask), strict=True):
        np.testing.assert_allclose(x, y.numpy(), rtol=near, atol=near)


def test_rows_that_see_nothing_are_not_a_number_in_softmax():
    q, k, v = arrays((1, 4, 40, 40, 16, 16), "float32")
    hidden = np.triu(np.ones((40, 40), bool))


    def attend(q, k, v):
        scores = (q @ k.mT).masked_fill(suiren.tensor(hidden), float("-inf"))
        return scores.softmax(-1) @ v

    with compiling() as made:
        found = attend(*map(suiren.tensor, (q, k, v))).numpy()
    assert "attend" in operators(made)
    assert np.isnan(found[:, :, 0]).all() and np.isfinite(found[:, :, 1:]).all()


def test_projections_of_all_heads_are_read_where_they_lie():
    # q, k and v are slices of one array, permuted; the result is permuted back
    n, t, c, h = 2, 40, 48, 3
    layer = suiren.nn.Linear(c, 3 * c)
    x = suiren.randn(n, t, c, requires_grad=True)

    def attend():
        q, k, v = (part.view(n, t, h, c // h).transpose(1, 2) for part in layer(x).split(c, 2))
        return by_hand(suiren, q, k, v, "causal").transpose(1, 2).reshape(n, t, c)

    with compiling() as made:
        attend().square().sum().backward()
    assert {"attend", "attend_gradient"} <= operators(made)


def test_scores_that_somebody_holds_are_kept():
    q, k, v = (suiren.tensor(x) for x in arrays(SHAPES[0], "float32"))
    with compiling() as made:
        weights = (q @ k.mT).softmax(-1)
        (weights @ v).numpy()
        np.testing.assert_allclose(weights.sum(-1).numpy(), 1, rtol=1e-5)
    assert "attend" not in operators(made)


def test_dropout_of_weights():
    q, k, v = (suiren.tensor(x) for x in arrays(SHAPES[0], "float32"))
    with compiling():
        everything = F.scaled_dot_product_attention(q, k, v)
        some = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
        assert (everything - some).abs().max().item() > 0.1
        again = F.scaled_dot_product_attention(q, k, v, dropout_p=0.0)
        np.testing.assert_allclose(again.numpy(), everything.numpy(), rtol=1e-5, atol=1e-6)


def test_derivatives():
    given = [suiren.tensor(x, requires_grad=True)
             for x in arrays((1, 4, 8, 16, 3, 2), "float64")]  # fmt: skip


    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    assert suiren.autograd.gradcheck(attend, given, fast_mode=True)
    assert suiren.autograd.gradgradcheck(attend, given, fast_mode=True)
