"""Convolution of the NumPy tier: against a plain loop, torch, and the adjoint identity."""

import itertools
import random

import numpy as np
import pytest

from suiren.interpreter import convolution as module
from suiren.interpreter.convolution import (
    convolution,
    convolution_input_gradient,
    convolution_output_shape,
    convolution_weight_gradient,
)


def random_case(seed):
    """Arguments of one random convolution: (x shape, weight shape, the other arguments)."""
    rng = random.Random(seed)
    axes = rng.choice([1, 2, 2, 3])

    def sizes(low, high):
        return tuple(rng.randint(low, high) for _ in range(axes))

    groups = rng.choice([1, 1, 2, 3, 5])
    channels, outputs = groups * rng.choice([1, 1, 2, 3]), groups * rng.choice([1, 2, 3, 5])
    stride, dilation, kernel = sizes(1, 3), sizes(1, 3), sizes(1, 4)
    transposed = rng.random() < 0.45
    extra = (0,) * axes
    if transposed:
        pairs = zip(stride, dilation, strict=True)
        extra = tuple(rng.randint(0, max(pair) - 1) for pair in pairs)
    x_shape = (rng.choice([0, 1, 2, 5]), channels, *sizes(1, 9))
    if transposed:
        weight_shape = (channels, outputs // groups, *kernel)
    else:
        weight_shape = (outputs, channels // groups, *kernel)
    return x_shape, weight_shape, (stride, sizes(0, 4), dilation, transposed, extra, groups)


def random_array(seed, shape, dtype):
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "i":
        return generator.integers(-9, 9, shape).astype(dtype)
    array = generator.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        array = array + 1j * generator.standard_normal(shape)
    return array.astype(dtype)


def by_loops(x, weight, stride, padding, dilation, transposed, extra, groups):
    """Convolution as its definition says it, one product at a time."""
    shape = convolution_output_shape(
        x.shape, weight.shape, stride, padding, dilation, transposed, extra, groups
    )
    result = np.zeros(shape, x.dtype)
    # In both forms a weight joins position p of the small side to the wide side's position
    # p * stride + k * dilation - padding.
    small, wide = (x, result) if transposed else (result, x)
    rows, columns = weight.shape[0] // groups, weight.shape[1]
    for item, row, column in itertools.product(
        range(len(x)), range(weight.shape[0]), range(columns)
    ):
        channel = row // rows * columns + column
        for p in np.ndindex(*small.shape[2:]):
            for k in np.ndindex(*weight.shape[2:]):
                parts = zip(p, stride, k, dilation, padding, strict=True)
                q = tuple(a * s + b * d - low for a, s, b, d, low in parts)
                if any(i < 0 or i >= n for i, n in zip(q, wide.shape[2:], strict=True)):
                    continue
                factor = weight[(row, column, *k)]
                if transposed:
                    result[(item, channel, *q)] += factor * x[(item, row, *p)]
                else:
                    result[(item, row, *p)] += factor * x[(item, channel, *q)]
    return result


def valid_cases(seeds, most=None):
    for seed in seeds:
        x_shape, weight_shape, rest = random_case(seed)
        try:
            shape = convolution_output_shape(x_shape, weight_shape, *rest)
        except RuntimeError:
            continue
        work = np.prod(weight_shape) * max(np.prod(x_shape[2:]), np.prod(shape[2:])) * x_shape[0]
        if most is None or work <= most:
            yield seed, x_shape, weight_shape, rest, shape


def test_known_numbers():
    """Recorded from torch.nn.functional, so that the numbers are checked without torch as well."""
    x = np.arange(18.0).reshape(1, 2, 3, 3)
    weight = np.arange(16.0).reshape(2, 2, 2, 2)
    bias = np.array([1.0, -1.0])
    result = convolution(x, weight, bias, (2, 1), (1, 0), (1, 1))
    expected = [[[128, 146], [353, 381]], [[286, 336], [959, 1051]]]
    np.testing.assert_array_equal(result[0], expected)
    result = convolution(x[:, :, :2, :2], weight, None, (2, 2), (1, 1), (1, 1), True, (1, 0), 1)
    expected = [[[99, 102], [111, 104], [141, 138]], [[135, 146], [171, 172], [201, 206]]]
    np.testing.assert_array_equal(result[0], expected)


def test_against_loops():
    checked = 0
    for seed, x_shape, weight_shape, rest, _ in valid_cases(range(400), most=3000):
        x, weight = random_array(seed, x_shape, "f8"), random_array(seed + 1, weight_shape, "f8")
        result = convolution(x, weight, None, *rest)
        np.testing.assert_allclose(
            result, by_loops(x, weight, *rest), atol=1e-11, err_msg=str(seed)
        )
        checked += 1
    assert checked > 30


@pytest.mark.parametrize("block_bytes", [8 << 20, 300])
def test_gradients_are_the_adjoint(block_bytes, monkeypatch):
    """<g, conv(x, w)> = <input gradient, x> = <weight gradient, w>, as convolution is bilinear."""
    monkeypatch.setattr(module, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(module, "_ELEMENTWISE_BYTES", block_bytes)
    for seed, x_shape, weight_shape, rest, shape in valid_cases(range(1000, 1250)):
        x, weight = random_array(seed, x_shape, "f8"), random_array(seed + 1, weight_shape, "f8")
        grad = random_array(seed + 2, shape, "f8")
        by_input = convolution_input_gradient(grad, weight, x_shape, *rest)
        by_weight = convolution_weight_gradient(grad, x, weight_shape, *rest)
        assert by_input.shape == x_shape and by_weight.shape == weight_shape
        value = np.vdot(grad, convolution(x, weight, None, *rest))
        np.testing.assert_allclose(np.vdot(by_input, x), value, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(np.vdot(by_weight, weight), value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c16", "i8"])
def test_against_torch(torch, dtype, monkeypatch):
    functional = torch.nn.functional
    tolerance = {"rtol": 2e-4, "atol": 2e-4} if dtype == "f4" else {"rtol": 1e-9, "atol": 1e-9}
    differentiable = dtype != "i8"
    checked = 0
    for seed, x_shape, weight_shape, rest, shape in valid_cases(range(2000, 2150)):
        monkeypatch.setattr(module, "_BLOCK_BYTES", 2000 if seed % 2 else 8 << 20)
        stride, padding, dilation, transposed, extra, groups = rest
        x, weight = random_array(seed, x_shape, dtype), random_array(seed + 1, weight_shape, dtype)
        bias = random_array(seed + 2, shape[1:2], dtype) if seed % 3 else None
        tensors = [torch.from_numpy(a).requires_grad_(differentiable) for a in (x, weight)]
        name = f"conv{'_transpose' if transposed else ''}{x.ndim - 2}d"
        keywords = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        if transposed:
            keywords["output_padding"] = extra
        torch_bias = None if bias is None else torch.from_numpy(bias)
        expected = getattr(functional, name)(*tensors, torch_bias, **keywords)
        result = convolution(x, weight, bias, *rest)
        assert result.dtype == x.dtype and result.flags.c_contiguous
        assert result.shape == tuple(expected.shape)
        message = f"seed {seed}"
        np.testing.assert_allclose(result, expected.detach().numpy(), err_msg=message, **tolerance)
        checked += 1
        if not differentiable:
            continue
        grad = random_array(seed + 3, shape, dtype)
        grads = torch.autograd.grad(expected, tensors, torch.from_numpy(grad))
        # These are plain transposes; autograd's convention for complex numbers conjugates.
        ours = (
            convolution_input_gradient(grad, weight.conj(), x_shape, *rest),
            convolution_weight_gradient(grad, x.conj(), weight_shape, *rest),
        )
        for mine, theirs in zip(ours, grads, strict=True):
            assert mine.dtype == x.dtype
            np.testing.assert_allclose(mine, theirs.numpy(), err_msg=message, **tolerance)
    assert checked > 60


def test_half_types_compute_in_float32():
    types = [np.float16]
    try:
        import ml_dtypes
    except ImportError:
        pass
    else:
        types.append(ml_dtypes.bfloat16)
    rest = ((1, 1), (1, 1), (1, 1))
    for dtype in types:
        x = random_array(0, (2, 3, 6, 6), "f4").astype(dtype)
        weight = random_array(1, (4, 3, 3, 3), "f4").astype(dtype)
        x32, weight32 = x.astype("f4"), weight.astype("f4")
        result = convolution(x, weight, None, *rest)
        assert result.dtype == dtype
        exact = convolution(x32, weight32, None, *rest)
        np.testing.assert_array_equal(result, exact.astype(dtype))
        by_input = convolution_input_gradient(result, weight, x.shape, *rest)
        by_weight = convolution_weight_gradient(result, x, weight.shape, *rest)
        assert by_input.dtype == dtype and by_weight.dtype == dtype


def test_integers_wrap():
    x = np.full((1, 1, 3), 100, np.int8)
    result = convolution(x, np.full((1, 1, 3), 1, np.int8), None, (1,), (0,), (1,))
    assert result.dtype == np.int8 and result.item() == 300 - 256


def test_any_memory_layout():
    x = np.moveaxis(random_array(0, (2, 7, 7, 5), "f8"), -1, 1)
    weight = np.moveaxis(random_array(1, (3, 3, 4, 5), "f8"), (0, 1), (2, 3))
    rest = ((1, 2), (1, 1), (2, 1))
    result = convolution(x, weight, None, *rest)
    plain = convolution(x.copy(order="C"), weight.copy(order="C"), None, *rest)
    np.testing.assert_allclose(result, plain, atol=1e-12)


def test_empty_batch_and_channels():
    rest = ((1, 1), (0, 0), (1, 1))
    weight = np.ones((4, 3, 3, 3), np.float32)
    x = np.ones((0, 3, 5, 5), np.float32)
    result = convolution(x, weight, None, *rest)
    assert result.shape == (0, 4, 3, 3)
    assert convolution_input_gradient(result, weight, x.shape, *rest).shape == x.shape
    by_weight = convolution_weight_gradient(result, x, weight.shape, *rest)
    assert by_weight.shape == weight.shape and not by_weight.any()
    no_channels = convolution(np.ones((2, 0, 5, 5)), np.ones((4, 0, 3, 3)), np.arange(4.0), *rest)
    np.testing.assert_array_equal(no_channels[0, :, 0, 0], np.arange(4.0))


@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "rest", "words"),
    [
        ((1, 3, 2, 5), (4, 3, 3, 3), ((1, 1), (0, 0), (1, 1)), "greater than actual input size"),
        ((1, 2, 5, 5), (4, 3, 3, 3), ((1, 1), (0, 0), (1, 1)), "to have 3 channels"),
        ((1, 3, 5, 5), (4, 3, 3, 3), ((0, 1), (0, 0), (1, 1)), "non-positive stride"),
        ((1, 3, 5, 5), (4, 3, 3, 3), ((1, 1), (-1, 0), (1, 1)), "negative padding"),
        ((1, 3, 5, 5), (4, 3, 3, 3), ((1, 1), (0, 0), (1, 0)), "non-positive dilation"),
        ((1, 3, 5, 5), (4, 1, 3, 3), ((1, 1), (0, 0), (1, 1), False, None, 3), "divisible by 3"),
        ((1, 3, 5, 5), (3, 4, 3, 3), ((1, 1), (0, 0), (1, 1), True, (1, 1)), "output padding"),
        ((1, 3, 5), (4, 3, 3, 3), ((1, 1), (0, 0), (1, 1)), "spatial axes"),
        ((1, 3, 5, 5), (4, 3, 3, 3), ((1,), (0, 0), (1, 1)), "one number for each"),
    ],
)
def test_errors(x_shape, weight_shape, rest, words):
    with pytest.raises(RuntimeError, match=words):
        convolution_output_shape(x_shape, weight_shape, *rest)


def test_bias_of_wrong_size():
    x, weight = np.ones((1, 3, 5)), np.ones((4, 3, 3))
    with pytest.raises(RuntimeError, match="expected bias"):
        convolution(x, weight, np.ones(3), (1,), (0,), (1,))
