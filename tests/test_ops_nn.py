"""The operators behind nn.functional: values, gradients and node names.

Recorded numbers check the conventions (kinks, padding, sizes) without PyTorch; the other tests
compare with PyTorch over random arguments, gradients of gradients included.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import suiren
import suiren.nn.functional as SF


def _numbers(tensor) -> list:
    return [round(x, 4) for x in tensor.detach().reshape(-1).tolist()]


# ---- without PyTorch


@pytest.mark.parametrize(
    ("name", "arguments", "values", "slopes"),
    [
        ("relu", {}, [0.0, 0.0, 0.0, 0.0, 4.0], [0.0, 0.0, 0.0, 0.0, 1.0]),
        ("leaky_relu", {}, [-0.03, -0.005, 0.0, 0.0, 4.0], [0.01, 0.01, 0.01, 0.01, 1.0]),
        ("elu", {}, [-0.9502, -0.3935, 0.0, 0.0, 4.0], [0.0498, 0.6065, 1.0, 1.0, 1.0]),
        ("hardtanh", {}, [-1.0, -0.5, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0, 0.0]),
        ("hardsigmoid", {}, [0.0, 0.4167, 0.5, 0.5, 1.0], [0.0, 0.1667, 0.1667, 0.1667, 0.0]),
        ("hardswish", {}, [0.0, -0.2083, 0.0, 0.0, 4.0], [0.0, 0.3333, 0.5, 0.5, 1.0]),
        ("hardshrink", {}, [-3.0, 0.0, 0.0, 0.0, 4.0], [1.0, 0.0, 0.0, 0.0, 1.0]),
        ("softshrink", {}, [-2.5, 0.0, 0.0, 0.0, 3.5], [1.0, 0.0, 0.0, 0.0, 1.0]),
        ("silu", {}, [-0.1423, -0.1888, 0.0, 0.0, 3.9281], [-0.0881, 0.26, 0.5, 0.5, 1.0527]),
        ("gelu", {}, [-0.004, -0.1543, 0.0, 0.0, 3.9999], [-0.0119, 0.1325, 0.5, 0.5, 1.0005]),
        ("softplus", {}, [0.0486, 0.4741, 0.6931, 0.6931, 4.0181],
         [0.0474, 0.3775, 0.5, 0.5, 0.982]),
    ],
)  # fmt: skip
def test_activations_at_recorded_points(name, arguments, values, slopes):
    x = suiren.tensor([-3.0, -0.5, 0.0, -0.0, 4.0], requires_grad=True)
    y = getattr(SF, name)(x, **arguments)
    y.sum().backward()
    assert _numbers(y) == pytest.approx(values, abs=2e-4)
    assert _numbers(x.grad) == pytest.approx(slopes, abs=2e-4)


def test_convolution_of_recorded_numbers():
    x = suiren.arange(9.0).reshape(1, 1, 3, 3).requires_grad_()
    w = suiren.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    y = SF.conv2d(x, w, suiren.tensor([1.0]))
    assert _numbers(y) == [28.0, 38.0, 58.0, 68.0]
    y.sum().backward()
    assert _numbers(w.grad) == [8.0, 12.0, 20.0, 24.0]
    assert _numbers(x.grad) == [1.0, 3.0, 2.0, 4.0, 10.0, 6.0, 3.0, 7.0, 4.0]
    assert y.grad_fn.name() == "ConvolutionBackward0"


def test_same_padding_puts_the_odd_one_behind():
    y = SF.conv1d(suiren.ones(1, 1, 4), suiren.tensor([[[1.0, 10.0]]]), padding="same")
    assert _numbers(y) == [11.0, 11.0, 11.0, 1.0]


def test_max_pool_gives_flat_positions():
    x = suiren.tensor([[[1.0, 5.0, 2.0], [5.0, 0.0, 7.0]]], requires_grad=True)
    y, where = SF.max_pool2d(x, 2, 1, return_indices=True)
    assert (_numbers(y), where.reshape(-1).tolist()) == ([5.0, 7.0], [1, 5])
    y.sum().backward()
    assert _numbers(x.grad) == [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def test_batch_norm_moves_running_statistics():
    mean, variance = suiren.zeros(2), suiren.ones(2)
    x = suiren.tensor([[1.0, 2.0], [3.0, 6.0]])
    y = SF.batch_norm(x, mean, variance, training=True, momentum=0.5)
    assert _numbers(y) == [-1.0, -1.0, 1.0, 1.0]
    assert _numbers(mean) == [1.0, 2.0]
    assert _numbers(variance) == [1.5, 4.5]  # Bessel's correction


def test_losses_of_recorded_numbers():
    scores = suiren.tensor([[-0.5, -1.0], [-2.0, -0.25]])
    target = suiren.tensor([1, 0])
    assert SF.nll_loss(scores, target).item() == 1.5
    weight = suiren.tensor([1.0, 3.0])
    assert SF.nll_loss(scores, target, weight).item() == pytest.approx(5 / 4)
    assert SF.nll_loss(scores, suiren.tensor([1, -100])).item() == 1.0
    a, b = suiren.tensor([0.0, 3.0]), suiren.tensor([1.0, 0.0])
    assert SF.mse_loss(a, b).item() == 5.0
    assert SF.smooth_l1_loss(a, b).item() == 1.5
    assert SF.huber_loss(a, b, delta=2.0).item() == pytest.approx(2.25)


def test_target_out_of_bounds_is_an_index_error():
    with pytest.raises(IndexError, match="Target 2 is out of bounds"):
        SF.nll_loss(suiren.zeros(1, 2), suiren.tensor([2])).item()


def test_broadcasting_losses_warn():
    with pytest.warns(UserWarning, match="different to the input size"):
        SF.mse_loss(suiren.zeros(2, 1), suiren.zeros(2))


def test_embedding_adds_up_equal_rows():
    weight = suiren.zeros(3, 2).requires_grad_()
    rows = SF.embedding(suiren.tensor([2, 0, 2]), weight, padding_idx=0)
    rows.sum().backward()
    assert weight.grad.tolist() == [[0.0, 0.0], [0.0, 0.0], [2.0, 2.0]]
    with pytest.raises(IndexError, match="index out of range"):
        SF.embedding(suiren.tensor([3]), weight).sum().item()


def test_dropout_draws_pytorchs_masks():
    suiren.manual_seed(0)
    kept = SF.dropout(suiren.ones(8), 0.5)
    assert kept.tolist() == RECORDED_DROPOUT
    x = suiren.ones(3)
    assert SF.dropout(x, 0.5, False) is x


@pytest.mark.parametrize("moved", [(1, 0, 2), (2, 0, 1), (0, 2, 1)])
def test_dropout_draws_in_the_order_of_memory(moved):
    # of what batch_first attention gives to the dropout after it, for one
    x = suiren.ones(3, 4, 5)
    suiren.manual_seed(0)
    kept = SF.dropout(x, 0.5)
    suiren.manual_seed(0)
    assert SF.dropout(x.permute(moved), 0.5).tolist() == kept.permute(moved).tolist()
    suiren.manual_seed(0)
    expanded = SF.dropout(suiren.ones(5).expand(12, 5), 0.5)
    assert expanded.view(-1).tolist() == kept.view(-1).tolist()
    torch = pytest.importorskip("torch")
    for F, t in ((SF, suiren), (torch.nn.functional, torch)):
        t.manual_seed(1)
        found = F.dropout(t.arange(60.0).view(3, 4, 5).permute(moved)[:, 1:], 0.5).tolist()
        x = found if F is SF else x
    assert x == found


RECORDED_DROPOUT = [0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 2.0]


def test_in_place_activations_keep_the_gradient():
    x = suiren.tensor([-2.0, 2.0], requires_grad=True)
    y = x * 1
    SF.leaky_relu_(y, 0.5)
    y.sum().backward()
    assert (_numbers(y), _numbers(x.grad)) == ([-1.0, 2.0], [0.5, 1.0])


# ---- against PyTorch

_CASES = {}


def case(*shapes, low=None, high=None, double=True, name=None):
    """Registers ``function(torch, F, *tensors)`` with the shapes of its inputs."""

    def register(function):
        _CASES[name or function.__name__.lstrip("_")] = (function, shapes, low, high, double)
        return function

    return register


for _name, _kwargs in (
    ("relu", {}), ("relu6", {}), ("leaky_relu", {"negative_slope": 0.2}), ("elu", {"alpha": 0.7}),
    ("selu", {}), ("celu", {"alpha": 0.6}), ("gelu", {}), ("gelu", {"approximate": "tanh"}),
    ("silu", {}), ("mish", {}), ("hardswish", {}), ("hardtanh", {}),
    ("hardshrink", {}), ("softshrink", {}), ("softplus", {"beta": 2.0, "threshold": 3.0}),
    ("logsigmoid", {}), ("glu", {"dim": 1}),
):  # fmt: skip
    case((3, 4, 5), name=f"{_name} {_kwargs}")(
        lambda torch, F, x, _name=_name, _kwargs=_kwargs: getattr(F, _name)(x * 3, **_kwargs) * x
        if _name != "glu"
        else F.glu(x, **_kwargs)
    )


@case((3, 4, 5), double=False)  # PyTorch differentiates it once
def _hardsigmoid(torch, F, x):
    return F.hardsigmoid(x * 3)


@case((3, 4, 5), (4,))
def _prelu(torch, F, x, w):
    return F.prelu(x, w)


@case((2, 4, 9), (6, 2, 3), (6,))
def _conv1d(torch, F, x, w, b):
    return F.conv1d(x, w, b, 2, 1, 2, 2)


@case((2, 4, 7, 6), (6, 4, 3, 2), (6,))
def _conv2d(torch, F, x, w, b):
    return F.conv2d(x, w, b, (2, 1), (1, 0), (1, 2))


@case((3, 6, 6), (4, 1, 3, 3))
def _conv2d_depthwise_without_batch(torch, F, x, w):
    return F.conv2d(x[:2], w, padding="same", groups=2)


@case((2, 3, 5), (4, 3, 2))
def _conv1d_same_with_even_kernel(torch, F, x, w):
    return F.conv1d(x, w, padding="same", dilation=3)


@case((1, 2, 4, 4, 4), (3, 2, 2, 2, 2), (3,))
def _conv3d(torch, F, x, w, b):
    return F.conv3d(x, w, b, padding=1, stride=2)


@case((2, 4, 4, 5), (4, 3, 3, 2), (6,))
def _conv_transpose2d(torch, F, x, w, b):
    return F.conv_transpose2d(x, w, b, 2, 1, 1, 2, 1)


@case((2, 3, 6), (3, 2, 3))
def _conv_transpose1d(torch, F, x, w):
    return F.conv_transpose1d(x, w, stride=3, dilation=2, output_padding=1)


@case((2, 3, 8, 7))
def _max_pool2d(torch, F, x):
    return F.max_pool2d(x, 3, 2, 1, ceil_mode=True)


@case((2, 3, 9))
def _max_pool1d(torch, F, x):
    return F.max_pool1d(x, 2, dilation=2)


@case((1, 2, 5, 5, 4))
def _max_pool3d(torch, F, x):
    return F.max_pool3d(x, 2)


@case((2, 3, 8, 7))
def _avg_pool2d(torch, F, x):
    return F.avg_pool2d(x, (3, 2), 2, 1, True, False)


@case((2, 3, 9))
def _avg_pool1d(torch, F, x):
    return F.avg_pool1d(x, 3, 2, 1)


@case((1, 2, 5, 5, 4))
def _avg_pool3d(torch, F, x):
    return F.avg_pool3d(x, 2, divisor_override=3)


@case((2, 3, 8, 7))
def _adaptive_avg_pool2d(torch, F, x):
    return F.adaptive_avg_pool2d(x, (3, None))


@case((2, 3, 8, 7))
def _adaptive_avg_pool2d_to_one(torch, F, x):
    return F.adaptive_avg_pool2d(x, 1)


@case((2, 3, 8))
def _adaptive_max_pool1d(torch, F, x):
    return F.adaptive_max_pool1d(x, 3)


@case((4, 3, 5, 2), (3,), (3,))
def _batch_norm(torch, F, x, w, b):
    return F.batch_norm(x, None, None, w, b, True)


@case((4, 3), (3,), (3,), (3,))
def _batch_norm_in_evaluation(torch, F, x, w, b, m):
    return F.batch_norm(x, m.detach(), m.detach() ** 2 + 1, w, b)


@case((4, 3, 5), (3, 5), (3, 5))
def _layer_norm(torch, F, x, w, b):
    return F.layer_norm(x, (3, 5), w, b)


@case((4, 6, 5), (6,), (6,))
def _group_norm(torch, F, x, w, b):
    return F.group_norm(x, 3, w, b)


@case((4, 5))
def _nll_loss(torch, F, x):
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0], dtype=x.dtype)
    return F.nll_loss(x, torch.tensor([1, 0, 4, 2]), weight, ignore_index=4)


@case((2, 3, 2, 2))
def _nll_loss2d(torch, F, x):
    return F.nll_loss(x, torch.tensor([[[0, 1], [2, 0]], [[1, 1], [2, 2]]]), reduction="sum")


for _name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
    for _reduction in ("none", "mean", "sum"):
        case((3, 4), (3, 4), name=f"{_name} {_reduction}", double=_name != "l1_loss")(
            lambda torch, F, x, y, _name=_name, _reduction=_reduction: getattr(F, _name)(
                x * 2, y, reduction=_reduction
            )
        )


@case((3, 4), (3, 4), (3, 4), low=0.1, high=0.9)
def _binary_cross_entropy(torch, F, x, y, w):
    return F.binary_cross_entropy(x, y, w.detach())


@case((3, 4), (3, 4), (4,), low=0.1, high=0.9)
def _binary_cross_entropy_with_logits(torch, F, x, y, w):
    return F.binary_cross_entropy_with_logits(x, y, pos_weight=w.detach())


@case((3, 4), (3, 4), low=0.1, high=0.9)
def _kl_div(torch, F, x, y):
    return F.kl_div(x, y, reduction="batchmean")


@case((6, 4))
def _embedding(torch, F, w):
    return F.embedding(torch.tensor([[1, 5], [1, 0]]), w, 0, scale_grad_by_freq=True)


@case((2, 3, 5, 6))
def _interpolate_bilinear(torch, F, x):
    return F.interpolate(x, scale_factor=(1.7, 0.6), mode="bilinear")


@case((2, 3, 5, 6))
def _interpolate_bicubic(torch, F, x):
    return F.interpolate(x, (8, 4), mode="bicubic", align_corners=True)


@case((2, 3, 9, 8))
def _interpolate_antialiased(torch, F, x):
    return F.interpolate(x, (4, 3), mode="bilinear", antialias=True)


@case((2, 3, 5))
def _interpolate_nearest(torch, F, x):
    return F.interpolate(x, 7)


@case((2, 3, 5, 6), (2, 4, 3, 2), double=False)
def _grid_sample(torch, F, x, grid):
    return F.grid_sample(x, grid, align_corners=False, padding_mode="reflection")


@case((2, 2, 3))
def _affine_grid(torch, F, x):
    return F.affine_grid(x, (2, 1, 4, 3), align_corners=False)


@case((2, 3, 5, 6))
def _unfold(torch, F, x):
    return F.unfold(x, 2, padding=1)


@case((2, 12, 6))
def _fold(torch, F, x):
    return F.fold(x, (3, 4), 2)


for _mode in ("constant", "reflect", "replicate"):
    case((2, 3, 5, 6), name=f"pad {_mode}")(
        lambda torch, F, x, _mode=_mode: F.pad(x, (2, 1, -1, 3), _mode)
    )


@case((2, 8, 3, 2))
def _pixel_shuffle(torch, F, x):
    return F.pixel_shuffle(x, 2)


def _value_and_gradients(torch, F, name: str, seed: int):
    """What a case gives: values, gradients, a gradient of the gradients, the node's name."""
    function, shapes, low, high, double = _CASES[name]
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal if low is None else lambda s: rng.uniform(low, high, s)
    inputs = [
        torch.tensor(draw(shape).tolist(), dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = function(torch, F, *inputs)
    weights = torch.tensor(rng.standard_normal(tuple(y.shape)).tolist(), dtype=torch.float64)
    first = torch.autograd.grad((y * weights).sum(), inputs, create_graph=double,
                                allow_unused=True)  # fmt: skip
    found = [y, *first]
    if double:
        total = sum((g * g.detach().cos()).sum() for g in first if g is not None)
        if total.requires_grad:
            found += torch.autograd.grad(total, inputs, allow_unused=True)
    return [None if x is None else x.detach().numpy() for x in found], y.grad_fn.name()


@pytest.mark.parametrize("name", list(_CASES))
def test_agrees_with_pytorch(name):
    torch = pytest.importorskip("torch")
    expected, node = _value_and_gradients(torch, torch.nn.functional, name, 0)
    got, own_node = _value_and_gradients(suiren, SF, name, 0)
    assert own_node == node
    for wanted, found in zip(expected, got, strict=False):
        if wanted is None or found is None:
            # "no gradient" and "a gradient of zeros" mean the same
            assert wanted is None or not wanted.any()
            assert found is None or not found.any()
            continue
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-8)


def test_random_convolutions():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    for _ in range(25):
        axes, groups = int(rng.integers(1, 4)), int(rng.integers(1, 3))
        kernel = rng.integers(1, 4, axes)
        stride, padding, dilation = (rng.integers(a, a + 2, axes) for a in (1, 0, 1))
        sizes = rng.integers(5, 9, axes)
        channels, outs = groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 3))
        x = rng.standard_normal((int(rng.integers(1, 3)), channels, *sizes))
        w = rng.standard_normal((outs, channels // groups, *kernel))
        numbers = [tuple(map(int, v)) for v in (stride, padding, dilation)]
        results = []
        for lib in (torch, suiren):
            a, b = (lib.tensor(v.tolist(), dtype=lib.float64).requires_grad_() for v in (x, w))
            y = getattr(lib.nn.functional, f"conv{axes}d")(a, b, None, *numbers, groups)
            (y * y).sum().backward()
            results.append([v.detach().numpy() for v in (y, a.grad, b.grad)])
        for wanted, found in zip(*results, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("dropout", (5, 7)), ("dropout1d", (3, 4, 5)), ("dropout2d", (3, 4, 5, 2)),
     ("dropout3d", (4, 5, 2, 2)), ("alpha_dropout", (5, 7)),
     ("feature_alpha_dropout", (3, 4, 5)), ("rrelu", (5, 7))],
)  # fmt: skip
def test_random_functions_draw_pytorchs_numbers(name, shape):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    results = []
    for lib in (torch, suiren):
        lib.manual_seed(3)
        a = lib.tensor(x.tolist()).requires_grad_()
        y = getattr(lib.nn.functional, name)(a, training=True)
        y.sum().backward()
        results.append([y.detach().numpy(), a.grad.numpy(), lib.rand(2).numpy()])
    for wanted, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)


def test_ctc_loss_agrees():
    torch = pytest.importorskip("torch")
    scores = np.random.default_rng(0).standard_normal((7, 3, 5))
    results = []
    for lib in (torch, suiren):
        a = lib.tensor(scores.tolist(), dtype=lib.float64).requires_grad_()
        y = lib.nn.functional.ctc_loss(
            a.log_softmax(2), lib.tensor([[1, 2, 2], [3, 1, 4], [1, 1, 1]]),
            lib.tensor([7, 6, 4]), lib.tensor([3, 2, 0]), reduction="none",
        )  # fmt: skip
        (y * lib.tensor([1.0, 2.0, 3.0], dtype=lib.float64)).sum().backward()
        results.append([y.detach().numpy(), a.grad.numpy()])
    for wanted, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-10)


def test_attention_agrees():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((2, 4, 5, 8)), *rng.standard_normal((2, 2, 2, 6, 8))
    mask = rng.random((5, 6)) > 0.4
    mask[2] = False  # a row that may see nothing
    for arguments in ({}, {"is_causal": True}, {"mask": True}, {"scale": 0.3}):
        results = []
        for lib in (torch, suiren):
            a, b, c = (lib.tensor(x.tolist(), dtype=lib.float64).requires_grad_()
                       for x in (q, k, v))  # fmt: skip
            given = dict(arguments)
            if given.pop("mask", False):
                given["attn_mask"] = lib.tensor(mask.tolist())
            y = lib.nn.functional.scaled_dot_product_attention(
                a, b, c, enable_gqa=True, **given
            )
            (y * y).sum().backward()
            results.append([x.detach().numpy() for x in (y, a.grad, b.grad, c.grad)])
        for wanted, found in zip(*results, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-9)


def test_convolutional_network_agrees():
    torch = pytest.importorskip("torch")

    def run(lib):
        rng = np.random.default_rng(0)
        F = lib.nn.functional

        def make(*shape):
            return lib.tensor(rng.standard_normal(shape).astype("f4").tolist()).requires_grad_()

        x, w, g, b = make(4, 1, 12, 12), make(6, 1, 3, 3), make(6), make(6)
        w2, last = make(8, 6, 3, 3), make(5, 72)
        mean, variance = lib.zeros(6), lib.ones(6)
        h = F.batch_norm(F.conv2d(x, w, padding=1), mean, variance, g, b, training=True)
        h = F.gelu(F.conv2d(F.max_pool2d(F.relu(h), 2), w2, stride=2, padding=1))
        scores = h.reshape(4, -1) @ last.t()
        loss = F.nll_loss(F.log_softmax(scores, 1), lib.tensor([0, 1, 4, 2]))
        loss.backward()
        leaves = (x, w, g, b, w2, last)
        return [v.detach().numpy() for v in (loss, mean, variance, *[p.grad for p in leaves])]

    for wanted, found in zip(run(torch), run(suiren), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * abs(wanted).max())


def test_moments_of_group_norm_are_differentiable():
    """Gradients through the mean and the inverse deviation were dropped."""
    x = suiren.tensor([[[1.0], [2], [4], [3]], [[0], [5], [2], [2]]], requires_grad=True)
    _, mean, inverse = suiren.native_group_norm(x, None, None, 2, 4, 1, 2, 1e-5)
    weights = suiren.arange(1.0, 5).view(2, 2)
    (by_mean,) = suiren.autograd.grad((mean * weights).sum(), x, retain_graph=True)
    assert by_mean.flatten().tolist() == [0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0]
    by_inverse = suiren.autograd.grad((inverse * weights).sum(), x)[0].flatten()
    expected = [1.99988, -1.99988, -3.99976, 3.99976, 0.23999947, -0.23999947, 0.0, 0.0]
    assert suiren.allclose(by_inverse, suiren.tensor(expected), rtol=1e-4)


def test_moments_of_layer_norm_have_no_history():
    """As in PyTorch, where they are there for the backward pass alone."""
    x = suiren.ones(2, 4, requires_grad=True)
    result, mean, inverse = suiren.native_layer_norm(x, (4,), None, None, 1e-5)
    assert [r.requires_grad for r in (result, mean, inverse)] == [True, False, False]
