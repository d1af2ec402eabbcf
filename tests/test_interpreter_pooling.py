"""Pooling and resizing of the NumPy tier: against plain loops, recorded numbers and torch.

Gradients are also checked by the adjoint identity, <g, map(x)> = <gradient(g), x> for a linear map.
"""

import itertools
import random

import numpy as np
import pytest

from suiren.interpreter import pooling, resize
from suiren.interpreter.windows import Taps, gather_taps, transpose_taps


def random_array(seed, shape):
    return np.random.default_rng(seed).standard_normal(shape)


def random_pool(seed):
    """(x shape, kernel, stride, padding, dilation, ceil_mode) of one random pooling that fits."""
    rng = random.Random(seed)
    while True:
        axes = rng.choice([1, 2, 2, 3])

        def sizes(low, high, axes=axes):
            return tuple(rng.randint(low, high) for _ in range(axes))

        kernel, stride, dilation = sizes(1, 4), sizes(1, 4), sizes(1, 2)
        padding = tuple(rng.randint(0, k // 2) for k in kernel)
        spatial, ceil_mode = sizes(3, 10), rng.random() < 0.5
        try:
            pooling.pool_output_size(spatial, kernel, stride, padding, dilation, ceil_mode)
            pooling.pool_output_size(spatial, kernel, stride, padding, None, ceil_mode)
        except RuntimeError:
            continue
        shape = (rng.choice([0, 1, 3]), rng.choice([1, 2]), *spatial)
        return shape, kernel, stride, padding, dilation, ceil_mode


def windows(sizes, outputs, kernel, stride, padding, dilation):
    """Pairs of an output position and the input positions in its window, in flat order."""
    for o in np.ndindex(*outputs):
        inside = []
        for k in np.ndindex(*kernel):
            parts = zip(o, stride, padding, k, dilation, strict=True)
            q = tuple(a * s - p + b * d for a, s, p, b, d in parts)
            if all(0 <= i < n for i, n in zip(q, sizes, strict=True)):
                inside.append(q)
        yield o, inside


def test_max_pool_against_loops():
    for seed in range(60):
        shape, kernel, stride, padding, dilation, ceil_mode = random_pool(seed)
        # Whole numbers make ties, so that the rule "the first of equals" is seen.
        x = np.round(random_array(seed, shape))
        arguments = (kernel, stride, padding, dilation, ceil_mode)
        values, positions = pooling.max_pool(x, *arguments)
        assert positions.dtype == np.int64 and values.shape == positions.shape
        alone, nothing = pooling.max_pool(x, *arguments, indices=False)
        assert nothing is None
        np.testing.assert_array_equal(alone, values)
        for o, inside in windows(shape[2:], values.shape[2:], *arguments[:4]):
            if not inside:
                continue
            candidates = np.stack([x[(slice(None), slice(None), *q)] for q in inside])
            flat = np.array([np.ravel_multi_index(q, shape[2:]) for q in inside])
            place = (slice(None), slice(None), *o)
            np.testing.assert_array_equal(values[place], candidates.max(axis=0))
            np.testing.assert_array_equal(positions[place], flat[candidates.argmax(axis=0)])


def test_avg_pool_against_loops():
    for seed in range(60):
        shape, kernel, stride, padding, _, ceil_mode = random_pool(seed)
        x = random_array(seed, shape)
        rest = (ceil_mode, False)
        values = pooling.avg_pool(x, kernel, stride, padding, *rest)
        ones = (1,) * len(kernel)
        for o, inside in windows(shape[2:], values.shape[2:], kernel, stride, padding, ones):
            mean = np.mean([x[(slice(None), slice(None), *q)] for q in inside], axis=0)
            np.testing.assert_allclose(values[(slice(None), slice(None), *o)], mean, atol=1e-12)


def test_avg_pool_gradient_is_the_adjoint():
    for seed in range(100):
        shape, kernel, stride, padding, _, ceil_mode = random_pool(seed)
        rng = random.Random(seed)
        rest = (kernel, stride, padding, ceil_mode, rng.random() < 0.5, rng.choice([None, 3]))
        x = random_array(seed, shape)
        y = pooling.avg_pool(x, *rest)
        grad = random_array(seed + 1, y.shape)
        by_input = pooling.avg_pool_gradient(grad, shape, *rest)
        np.testing.assert_allclose(np.vdot(by_input, x), np.vdot(grad, y), atol=1e-10)


def test_known_numbers():
    """Recorded from torch 2.13, so that they are checked without torch as well."""
    x = np.arange(18.0).reshape(2, 3, 3)
    two = (2, 2)
    values, positions = pooling.max_pool(x, two, two, (1, 1), ceil_mode=True)
    np.testing.assert_array_equal(values, [[[0, 2], [6, 8]], [[9, 11], [15, 17]]])
    np.testing.assert_array_equal(positions, [[[0, 2], [6, 8]]] * 2)
    expected = [[[0, 0.75], [2.25, 6]], [[2.25, 5.25], [6.75, 15]]]
    np.testing.assert_array_equal(pooling.avg_pool(x, two, two, (1, 1), True), expected)
    expected = [[[0, 1.5], [4.5, 6]], [[9, 10.5], [13.5, 15]]]
    np.testing.assert_array_equal(pooling.avg_pool(x, two, two, (1, 1), True, False), expected)
    line = np.arange(5.0)[None, None]
    np.testing.assert_array_equal(pooling.adaptive_avg_pool(line, (3,)), [[[0.5, 2, 3.5]]])
    values, positions = pooling.adaptive_max_pool(line, (3,))
    np.testing.assert_array_equal(positions, [[[1, 3, 4]]])
    three = line[..., :3]
    for arguments, expected in (
        (((5,), "linear"), [0, 0.4, 1, 1.6, 2]),
        (((5,), "linear", True), [0, 0.5, 1, 1.5, 2]),
        (((5,), "linear", False, (1.7,)), [0, 0.382352978, 0.970588326, 1.558823586, 2]),
        (((7,), "nearest"), [0, 0, 0, 1, 1, 2, 2]),
        (((7,), "nearest-exact"), [0, 0, 1, 1, 1, 2, 2]),
    ):
        result = resize.interpolate(three, *arguments)
        np.testing.assert_allclose(result[0, 0], expected, rtol=1e-6, atol=1e-7)
    squares = np.array([[[[0.0, 1, 4, 9]]]])
    result = resize.interpolate(squares, (1, 6), "bicubic")[0, 0, 0]
    expected = [-0.086805582, 0.21875, 1.430554986, 3.152777672, 6.78125, 9.434028625]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_not_a_number_wins_and_the_last_is_named():
    nan = np.nan
    x = np.array([[1, nan, 2], [nan, 0, 5], [3, 4, nan]])
    values, positions = pooling.max_pool(x, (3, 3), (3, 3), (0, 0))
    assert np.isnan(values.item()) and positions.item() == 8
    values, positions = pooling.adaptive_max_pool(x, (2, 1))
    assert np.isnan(values).all()
    np.testing.assert_array_equal(positions, [[3], [8]])


def test_nothing_but_minus_infinity_names_the_first_element():
    values, positions = pooling.max_pool(np.full((4, 4), -np.inf), (3, 3), (2, 2), (1, 1))
    assert np.isneginf(values).all()
    np.testing.assert_array_equal(positions, [[0, 1], [4, 5]])


def test_many_kernel_offsets():
    """More than 256 offsets do not fit in the byte that numbers the winners."""
    x = random_array(0, (2, 20, 20))
    values, positions = pooling.max_pool(x, (20, 20), (20, 20), (0, 0))
    np.testing.assert_array_equal(positions.ravel(), x.reshape(2, -1).argmax(axis=1))


def test_a_window_without_elements_gives_a_valid_position():
    values, positions = pooling.max_pool(np.ones((1, 2)), (2,), (2,), (1,), (3,), True)
    assert np.isneginf(values).all() and 0 <= positions.item() < 2
    gradient = pooling.max_pool_gradient(np.ones((1, 1)), positions, (1, 2), 1)
    assert gradient.shape == (1, 2)


def test_integers():
    x = np.array([[-7, 2, 3, 4]])
    np.testing.assert_array_equal(pooling.avg_pool(x, (2,), (2,), (0,)), [[-2, 3]])
    values, positions = pooling.max_pool(x, (2,), (2,), (0,))
    assert values.dtype == x.dtype
    np.testing.assert_array_equal(positions, [[1, 3]])


def test_half_types_keep_their_dtype():
    types = [np.float16]
    try:
        import ml_dtypes
    except ImportError:
        pass
    else:
        types.append(ml_dtypes.bfloat16)
    for dtype in types:
        x = random_array(0, (2, 3, 6, 6)).astype(dtype)
        wide = x.astype(np.float32)
        pair = (2, 2), (2, 2), (0, 0)
        values, positions = pooling.max_pool(x, *pair)
        np.testing.assert_array_equal(values.astype("f4"), pooling.max_pool(wide, *pair)[0])
        mean = pooling.avg_pool(x, *pair)
        np.testing.assert_array_equal(mean, pooling.avg_pool(wide, *pair).astype(dtype))
        results = [
            values,
            mean,
            pooling.max_pool_gradient(values, positions, x.shape, 2),
            pooling.max_unpool(values, positions, (6, 6)),
            pooling.avg_pool_gradient(mean, x.shape, *pair),
            pooling.adaptive_avg_pool(x, (4, 5)),
            pooling.adaptive_avg_pool_gradient(x, (2, 3, 9, 7), 2),
            pooling.adaptive_max_pool(x, (4, 5))[0],
            resize.interpolate(x, (9, 4), "bilinear"),
            resize.interpolate_gradient(x, (2, 3, 3, 9), "bicubic"),
            resize.pad_by_mode_gradient(x, (2, 3, 4, 5), (1, 0, 1, 1), "reflect"),
            resize.fold(
                resize.unfold(x, *((2, 2),), (1, 1), (0, 0), (1, 1)),
                (6, 6),
                (2, 2),
                (1, 1),
                (0, 0),
                (1, 1),
            ),
        ]
        assert all(result.dtype == dtype for result in results)


def test_unpool_and_its_errors():
    x, positions = np.array([[5.0, 7.0]]), np.array([[3, 0]])
    result = pooling.max_unpool(x, positions, (4,))
    np.testing.assert_array_equal(result, [[7, 0, 0, 5]])
    np.testing.assert_array_equal(pooling.gather_positions(result, positions, 1), x)
    for wrong in (-1, 4):
        with pytest.raises(RuntimeError, match="invalid max index"):
            pooling.max_unpool(x, np.array([[wrong, 0]]), (4,))


def test_infinity_does_not_leak_into_its_neighbours():
    x = np.array([[[1.0, 2, np.inf, 4, 5]]])
    np.testing.assert_array_equal(pooling.adaptive_avg_pool(x, (3,)), [[[1.5, np.inf, 4.5]]])
    grad = np.array([[[np.inf, 1.0, 1.0]]])
    result = resize.interpolate_gradient(grad, (1, 1, 3), "nearest")
    np.testing.assert_array_equal(result, [[[np.inf, 1, 1]]])


def test_transposed_taps():
    generator = np.random.default_rng(0)
    for counted in (False, True):
        counts = generator.integers(0, 4, 7) if counted else None
        taps = Taps(generator.integers(0, 5, (3, 7)), generator.standard_normal((3, 7)), counts)
        x, grad = generator.standard_normal((2, 5, 3)), generator.standard_normal((2, 7, 3))
        there = np.vdot(grad, gather_taps(x, 1, taps))
        back = np.vdot(gather_taps(grad, 1, transpose_taps(taps, 5)), x)
        np.testing.assert_allclose(there, back)


def test_unfold_and_fold_are_adjoint():
    for seed in range(60):
        shape, kernel, stride, padding, _, _ = random_pool(seed)
        ones = (1,) * len(kernel)
        x = random_array(seed, shape)
        columns = resize.unfold(x, kernel, ones, padding, stride)
        grad = random_array(seed + 1, columns.shape)
        back = resize.fold(grad, shape[2:], kernel, ones, padding, stride)
        np.testing.assert_allclose(np.vdot(back, x), np.vdot(grad, columns), atol=1e-10)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode):
    numpy_mode = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    x = random_array(0, (2, 4, 5))
    result = resize.pad_by_mode(x, (3, 1, 0, 2), mode)
    np.testing.assert_array_equal(result, np.pad(x, ((0, 0), (0, 2), (3, 1)), numpy_mode))
    grad = random_array(1, result.shape)
    back = resize.pad_by_mode_gradient(grad, x.shape, (3, 1, 0, 2), mode)
    np.testing.assert_allclose(np.vdot(back, x), np.vdot(grad, result))
    with pytest.raises(RuntimeError):
        resize.pad_by_mode(np.ones((1, 0)), (1, 0), mode)


def test_errors():
    square = np.ones((1, 1, 3, 3))
    with pytest.raises(RuntimeError, match="half"):
        pooling.avg_pool(square, (2, 2), (1, 1), (2, 0))
    with pytest.raises(RuntimeError, match="too small"):
        pooling.max_pool(square, (5, 5), (1, 1), (0, 0))
    with pytest.raises(RuntimeError, match="stride"):
        pooling.max_pool(square, (2, 2), (0, 1), (0, 0))
    with pytest.raises(RuntimeError, match="divisor"):
        pooling.avg_pool(square, (2, 2), (1, 1), (0, 0), divisor_override=0)
    with pytest.raises(RuntimeError, match="less than"):
        resize.pad_by_mode(square, (3, 0), "reflect")
    with pytest.raises(RuntimeError, match="wrapping"):
        resize.pad_by_mode(square, (4, 0), "circular")
    with pytest.raises(RuntimeError, match="sliding blocks"):
        resize.fold(np.ones((1, 4, 5)), (3, 3), (2, 2), (1, 1), (0, 0), (1, 1))
    with pytest.raises(RuntimeError, match="divisible"):
        resize.fold(np.ones((1, 3, 4)), (3, 3), (2, 2), (1, 1), (0, 0), (1, 1))
    with pytest.raises(RuntimeError, match="at least one"):
        resize.unfold(square, (4, 4), (1, 1), (0, 0), (1, 1))
    with pytest.raises(NotImplementedError, match="antialias"):
        resize.interpolate(square, (2, 2), "nearest", antialias=True)
    with pytest.raises(NotImplementedError, match="mode"):
        resize.interpolate(square, (2, 2), "quartic")


# --- against torch ----------------------------------------------------------------------------


def compare(torch, ours, gradient, theirs, x, tolerance=1e-9, message=""):
    """Value and gradient: `ours(x)`, `gradient(g)` against `theirs(tensor)`."""
    tensor = torch.from_numpy(x).requires_grad_()
    expected = theirs(tensor)
    result = ours(x)
    assert result.dtype == x.dtype and result.shape == tuple(expected.shape), message
    close = {"rtol": tolerance, "atol": tolerance, "err_msg": message}
    np.testing.assert_allclose(result, expected.detach().numpy(), **close)
    grad = random_array(7, result.shape).astype(x.dtype)
    (expected_gradient,) = torch.autograd.grad(expected, tensor, torch.from_numpy(grad))
    back = gradient(grad)
    assert back.dtype == x.dtype
    np.testing.assert_allclose(back, expected_gradient.numpy(), **close)


def test_pooling_against_torch(torch):
    functional = torch.nn.functional
    for seed in range(300):
        rng = random.Random(seed)
        shape, kernel, stride, padding, dilation, ceil_mode = random_pool(seed)
        axes = len(kernel)
        x = random_array(seed, shape)
        arguments = (kernel, stride, padding, ceil_mode, rng.random() < 0.5)
        if axes > 1:
            arguments += (rng.choice([None, 3, -2]),)
        smaller = any(n < k for n, k in zip(shape[2:], kernel, strict=True))
        if not (axes == 3 and smaller):  # avg_pool3d alone wants the kernel to fit without padding
            compare(
                torch,
                lambda a, arguments=arguments: pooling.avg_pool(a, *arguments),
                lambda g, s=shape, arguments=arguments: pooling.avg_pool_gradient(g, s, *arguments),
                lambda t, n=axes, a=arguments: getattr(functional, f"avg_pool{n}d")(t, *a),
                x,
                message=f"avg_pool seed {seed}",
            )
        x = np.round(x * rng.choice([1, 100]))
        if seed % 3 == 0:
            x[random_array(seed + 1, shape) < -0.5] = np.nan
        arguments = (kernel, stride, padding, dilation, ceil_mode)
        values, positions = pooling.max_pool(x, *arguments)
        operation = getattr(functional, f"max_pool{axes}d")
        tensor = torch.from_numpy(x).requires_grad_()
        expected = operation(tensor, *arguments, return_indices=True)
        np.testing.assert_array_equal(values, expected[0].detach().numpy(), err_msg=str(seed))
        if np.isneginf(values).any():
            continue  # torch names positions outside the input for windows without elements
        np.testing.assert_array_equal(positions, expected[1].numpy(), err_msg=str(seed))
        grad = random_array(seed + 2, values.shape)
        (wanted,) = torch.autograd.grad(expected[0], tensor, torch.from_numpy(grad))
        back = pooling.max_pool_gradient(grad, positions, shape, axes)
        np.testing.assert_allclose(back, wanted.numpy(), atol=1e-12)
        np.testing.assert_array_equal(pooling.gather_positions(x, positions, axes), values)


def test_adaptive_pooling_against_torch(torch):
    functional = torch.nn.functional
    for seed in range(150):
        rng = random.Random(seed)
        axes = rng.choice([1, 2, 3])
        shape = (2, 2, *(rng.randint(1, 9) for _ in range(axes)))
        size = tuple(rng.randint(1, 9) for _ in range(axes))
        x = random_array(seed, shape)
        compare(
            torch,
            lambda a, size=size: pooling.adaptive_avg_pool(a, size),
            lambda g, s=shape, n=axes: pooling.adaptive_avg_pool_gradient(g, s, n),
            lambda t, n=axes, o=size: getattr(functional, f"adaptive_avg_pool{n}d")(t, o),
            x,
            message=f"seed {seed}",
        )
        x = np.round(x)
        if seed % 3 == 0:
            x[random_array(seed + 1, shape) < -0.5] = np.nan
        operation = getattr(functional, f"adaptive_max_pool{axes}d")
        expected = operation(torch.from_numpy(x), size, return_indices=True)
        for mine, theirs in zip(pooling.adaptive_max_pool(x, size), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs.numpy(), err_msg=f"seed {seed}")


def test_interpolation_against_torch(torch):
    functional = torch.nn.functional
    modes = {1: ["linear"], 2: ["bilinear", "bicubic"], 3: ["trilinear"]}
    for seed, axes in itertools.product(range(60), (1, 2, 3)):
        rng = random.Random(seed * 3 + axes)
        mode = rng.choice(["nearest", "nearest-exact", "area", *modes[axes] * 2])
        averaging = mode in modes[axes]
        dtype = rng.choice([np.float32, np.float64])
        x = random_array(seed, (2, 2, *(rng.randint(1, 9) for _ in range(axes)))).astype(dtype)
        align = averaging and rng.random() < 0.5
        scales = None
        keywords = {"mode": mode}
        if averaging:
            keywords["align_corners"] = align
        if rng.random() < 0.5:
            scales = tuple(rng.choice([0.6, 1.0, 1.7, 2.0, 2.5, 3.7]) for _ in range(axes))
            size = resize.interpolate_output_size(x.shape[2:], scales)
            keywords["scale_factor"] = scales
        else:
            size = tuple(rng.randint(1, 20) for _ in range(axes))
            keywords["size"] = size
        kept = zip(size, x.shape[2:], scales or (1.0,) * axes, strict=True)
        # There torch's own gradient is not that of its forward; see interpolate_gradient.
        if any(o == n and s != 1 or o == 2 * n and s != 2 and scales for o, n, s in kept):
            continue
        if 0 in size:
            with pytest.raises(RuntimeError):
                resize.interpolate(np.ones((1, 1, 1)), (0,))
            continue
        rest = (mode, align, scales)
        compare(
            torch,
            lambda a, o=size, rest=rest: resize.interpolate(a, o, *rest),
            lambda g, s=x.shape, rest=rest: resize.interpolate_gradient(g, s, *rest),
            lambda t, k=keywords: functional.interpolate(t, **k),
            x,
            tolerance=1e-9 if dtype == np.float64 else 1e-4,
            message=f"seed {seed} axes {axes} {mode}",
        )


def test_padding_unfold_and_fold_against_torch(torch):
    functional = torch.nn.functional
    for seed in range(120):
        rng = random.Random(seed)
        axes = rng.choice([1, 2, 3])
        shape = (2, 2, *(rng.randint(3, 7) for _ in range(axes)))
        mode = rng.choice(["reflect", "replicate", "circular"])
        least = -1 if mode == "replicate" else 0
        pads = [rng.randint(least, n - 1) for n in reversed(shape[2:]) for _ in range(2)]
        x = random_array(seed, shape)
        compare(
            torch,
            lambda a, p=pads, m=mode: resize.pad_by_mode(a, p, m),
            lambda g, s=shape, p=pads, m=mode: resize.pad_by_mode_gradient(g, s, p, m),
            lambda t, p=pads, m=mode: functional.pad(t, p, mode=m),
            x,
            message=f"seed {seed} {mode}",
        )
        if axes != 2:
            continue
        kernel = tuple(rng.randint(1, n) for n in shape[2:])
        rest = (kernel, (1, 1), (rng.randint(0, 2), 1), (rng.randint(1, 3), 2))
        compare(
            torch,
            lambda a, r=rest: resize.unfold(a, *r),
            lambda g, s=shape, r=rest: resize.fold(g, s[2:], *r),
            lambda t, r=rest: functional.unfold(t, *r),
            x,
            message=f"unfold seed {seed}",
        )
