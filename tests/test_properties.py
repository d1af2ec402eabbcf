"""Properties that hold for all shapes: broadcasting, reductions, views and in-place chains.

NumPy is the oracle here: its views alias memory as PyTorch's do, so a chain of views and writes
must leave the same numbers in both. Examples come from hypothesis, the same ones in every run.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import suiren

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True, database=None)
SIZES = st.integers(0, 4)


@st.composite
def broadcastable(draw):
    """Two shapes that broadcast against each other."""
    full = draw(st.lists(SIZES, max_size=4))
    shapes = []
    for _ in range(2):
        cut = draw(st.integers(0, len(full)))
        shapes.append([1 if draw(st.booleans()) else size for size in full[cut:]])
    return shapes


def numbers(shape):
    count = int(np.prod(shape, dtype=int))
    return (np.arange(count) * 7 % 11 - 5.0).reshape(shape)


@SETTINGS
@given(broadcastable(), st.sampled_from(["add", "sub", "mul", "maximum", "lt"]))
def test_broadcasting_is_numpys(shapes, name):
    a, b = map(numbers, shapes)
    got = getattr(suiren, name)(suiren.tensor(a), suiren.tensor(b))
    own = {"sub": "subtract", "mul": "multiply", "lt": "less"}
    want = getattr(np, own.get(name, name))(a, b)
    assert tuple(got.shape) == want.shape
    assert np.array_equal(got.numpy(), want)


@SETTINGS
@given(broadcastable())
def test_a_broadcast_gradient_is_the_sum_over_its_uses(shapes):
    a, b = (suiren.tensor(numbers(s), requires_grad=True) for s in shapes)
    (a * b).sum().backward()
    for x, other in ((a, b), (b, a)):
        full = np.broadcast_to(other.detach().numpy(), np.broadcast_shapes(a.shape, b.shape))
        lead = full.ndim - x.ndim
        once = tuple(d + lead for d, size in enumerate(x.shape) if size == 1)
        want = full.sum(axis=tuple(range(lead)) + once, keepdims=True).reshape(x.shape)
        assert np.array_equal(x.grad.numpy(), want)


@SETTINGS
@given(st.lists(SIZES, min_size=1, max_size=4), st.data(), st.booleans())
def test_sums_over_any_dimensions(shape, data, keepdim):
    dims = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    a = numbers(shape)
    got = suiren.tensor(a).sum(tuple(dims), keepdim)
    assert np.array_equal(got.numpy(), a.sum(axis=tuple(dims), keepdims=keepdim))


@st.composite
def view_step(draw, ndim):
    """One view, as an index or an order of dimensions, for an array of ``ndim`` dimensions."""
    if draw(st.booleans()):
        return "permute", tuple(draw(st.permutations(range(ndim))))
    index = []
    for _ in range(draw(st.integers(0, ndim))):
        kind = draw(st.sampled_from(["all", "from", "every", "new", "last"]))
        index.append({
            "all": slice(None), "from": slice(1, None), "every": slice(None, None, 2),
            "new": None, "last": slice(-1, None),
        }[kind])  # fmt: skip
    return "index", tuple(index)


@SETTINGS
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_chains_of_views_and_writes(shape, data):
    theirs = [numbers(shape)]
    ours = [suiren.tensor(theirs[0])]
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(ours) - 1))
        action = data.draw(st.sampled_from(["view", "view", "add", "set", "mul", "copy"]))
        if action == "view" and theirs[at].ndim < 6:
            kind, what = data.draw(view_step(theirs[at].ndim))
            if kind == "permute":
                theirs.append(theirs[at].transpose(what))
                ours.append(ours[at].permute(what))
            else:
                theirs.append(theirs[at][what])
                ours.append(ours[at][what])
        elif action == "add":
            theirs[at] += 3
            ours[at].add_(3)
        elif action == "set":
            theirs[at][...] = 2
            ours[at][...] = 2
        elif action == "mul":
            theirs[at] *= theirs[at]
            ours[at].mul_(ours[at])
        elif action == "copy":
            theirs.append(theirs[at].copy())
            ours.append(ours[at].clone())
        if data.draw(st.booleans()):  # look now and then: values must not depend on when
            assert np.array_equal(ours[at].tolist(), theirs[at].tolist())
    for x, y in zip(ours, theirs, strict=True):
        assert tuple(x.shape) == y.shape
        assert np.array_equal(x.detach().numpy(), y)
