"""Compiled products and convolutions of bfloat16, against the interpreter and PyTorch.

Both sides multiply exact bfloat16 and sum in float32; a result is rounded to bfloat16 once. So two
results differ by one unit in the last place (2**-8) at most, where their sums in float32 lie on
both sides of a tie. Convolutions by squares round what they multiply once more: 2.6 times the error
of rounding the result was measured, as a root of a mean of squares.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
from compiling import compiling, for_target, needs_compiler  # noqa: E402 (a sibling file)

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


def kernels_of(made: list) -> list:
    """Of all programs."""
    return [s.kernel for native in made for s in native.plan.steps if s.kernel is not None]


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
        assert sum("dpbf16ps" in kernel.text for kernel in kernels_of(made)) >= 5


def test_batches_of_products():
    torch = pytest.importorskip("torch")
    a, b = values((3, 20, 9)), values((3, 9, 31), 1)
    with compiling():
        found = suiren.from_numpy(a).bfloat16() @ suiren.from_numpy(b).bfloat16()
        found.float().numpy()
    assert_near(found, torch.from_numpy(a).bfloat16() @ torch.from_numpy(b).bfloat16())


# ---- convolutions


def convolved(torch, case: dict, kind) -> list[np.ndarray]:
    """The result and the gradients by image, weight and bias, of numbers rounded to bfloat16."""
    n, c, o, groups = case["images"], case["channels"], case["results"], case["groups"]
    kernel, turned = case["kernel"], case["transposed"]
    weight = (c, o // groups, *kernel) if turned else (o, c // groups, *kernel)
    x, w, b = (
        torch.from_numpy(values(shape, i)).bfloat16().to(kind).requires_grad_()
        for i, shape in enumerate([(n, c, *case["size"]), weight, (o,)])
    )
    numbers = case["stride"], case["padding"]
    if turned:
        f = torch.nn.functional.conv_transpose2d
        y = f(x, w, b, *numbers, 0, groups, case["dilation"])
    else:
        y = torch.nn.functional.conv2d(x, w, b, *numbers, case["dilation"], groups)
    up = torch.from_numpy(values(tuple(y.shape), 5)).bfloat16().to(kind)
    (y * up).sum().backward()
    return [t.detach().double().numpy() for t in (y, x.grad, w.grad, b.grad)]


def completed(**case) -> dict:
    """With what was left out."""
    return {
        "images": 2, "groups": 1, "kernel": (3, 3), "stride": (1, 1), "padding": (1, 1),
        "dilation": (1, 1), "transposed": False, **case,
    }  # fmt: skip


def some_case(rng: random.Random) -> dict:
    """A random configuration; PyTorch may refuse it."""
    groups = rng.choice([1, 1, 1, 1, 2, 3])
    plain = rng.random() < 0.4
    return completed(
        images=rng.randint(1, 5), groups=groups,
        channels=groups * rng.choice([1, 2, 3, 5, 8, 16, 17, 20, 32, 33, 48]),
        results=groups * rng.choice([1, 2, 3, 7, 16, 20, 33, 40]),
        size=(rng.randint(5, 18), rng.randint(5, 18)),
        kernel=(3, 3) if plain else (rng.choice([1, 2, 3, 5]), rng.choice([1, 2, 3, 5])),
        stride=(1, 1) if plain else (rng.choice([1, 2, 3]), rng.choice([1, 1, 2])),
        padding=(rng.randint(0, 2), rng.randint(0, 2)),
        dilation=(1, 1) if plain else (rng.choice([1, 1, 2]), rng.choice([1, 1, 2])),
        transposed=rng.random() < 0.2,
    )  # fmt: skip


def assert_as_good(case: dict, torch) -> list:
    """Against sums in float64: 2**-7 of the mean size, as a root of a mean of squares."""
    expected = convolved(torch, case, torch.float64)
    with compiling() as made:  # which compares with the interpreter
        found = convolved(suiren, case, suiren.bfloat16)
    for a, b in zip(found, expected, strict=True):
        size = np.sqrt((b**2).mean()) + 1e-30
        off = np.sqrt(((a - b) ** 2).mean())
        assert a.shape == b.shape and off <= 2.0**-7 * size, (case, off / size)
        assert np.abs(a - b).max() <= 0.06 * max(size, np.abs(b).max() / 3), case
    return made


@pytest.mark.parametrize("part", range(4))
def test_random_convolutions(part):
    torch = pytest.importorskip("torch")
    rng = random.Random(part)
    for _ in range(8):
        case = some_case(rng)
        try:
            convolved(torch, case, torch.float64)
        except RuntimeError:
            continue
        assert_as_good(case, torch)


NAMED = {
    "first layer": (completed(channels=1, results=32, size=(12, 12)), "convolve correlate"),
    "large first layer": (
        completed(channels=3, results=64, size=(30, 30), kernel=(7, 7), stride=(2, 2),
                  padding=(3, 3)), "convolve correlate",
    ),
    "squares": (
        completed(channels=32, results=48, size=(14, 13), images=3), "winograd correlate_squares"
    ),
    "squares, stride 2": (
        completed(channels=32, results=48, size=(14, 18), kernel=(4, 4), stride=(2, 2), images=3),
        "winograd correlate_squares",
    ),
    "squares, transposed": (
        completed(channels=32, results=16, size=(9, 8), kernel=(4, 4), stride=(2, 2), images=5,
                  transposed=True), "winograd correlate_squares",
    ),
    "few channels, transposed": (
        completed(channels=32, results=3, size=(9, 8), kernel=(4, 4), stride=(2, 2), images=4,
                  transposed=True), "convolve correlate",
    ),
    "groups": (
        completed(channels=36, results=32, size=(9, 8), groups=4, images=4), "convolve correlate"
    ),
    "gaps": (
        completed(channels=5, results=20, size=(12, 12), dilation=(2, 2), images=3),
        "convolve correlate",
    ),
    "stride 2": (
        completed(channels=32, results=48, size=(14, 13), stride=(2, 2), images=5),
        "convolve correlate",
    ),
    "1x1": (completed(channels=32, results=48, size=(9, 9), kernel=(1, 1), padding=(0, 0)),
            "matmul"),
    "1x1, stride 2": (
        completed(channels=32, results=48, size=(10, 9), kernel=(1, 1), padding=(0, 0),
                  stride=(2, 2)), "matmul",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_convolutions_go_by_pairs(name):
    torch = pytest.importorskip("torch")
    case, kernels = NAMED[name]
    made = assert_as_good(case, torch)
    if target.host().bfloat16_pairs:
        for name in kernels.split():
            kernel = next(k for k in kernels_of(made) if k.name.startswith(name) and k.work)
            assert "dpbf16ps" in kernel.text, kernel.name


def test_the_number_of_threads_does_not_matter():
    case, _ = NAMED["squares"]
    before = suiren.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            suiren.set_num_threads(threads)
            with compiling():
                found.append(convolved(suiren, {**case, "images": 9}, suiren.bfloat16))
                found[-1] += [t.detach().double().numpy() for t in perceptron(suiren)]
    finally:
        suiren.set_num_threads(before)
    for arrays in found[1:]:
        for a, b in zip(found[0], arrays, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_what_lies_beside_an_image_does_not_count(images):
    """Infinite neighbours: the next image of the batch, and those behind the last one."""
    x = suiren.full((images + 2, 3, 8, 8), float("inf"))
    x[1:-1] = suiren.from_numpy(values((images, 3, 8, 8)))
    x = x.bfloat16()[1:-1].clone()
    w = suiren.from_numpy(values((16, 3, 3, 3), 1)).bfloat16().requires_grad_()
    with compiling():
        y = suiren.conv2d(x, w, padding=1)
        y.sum().backward()
        assert bool(y.isfinite().all()) and bool(w.grad.isfinite().all())


def test_infinities_stay_where_they_are():
    x = suiren.zeros(1, 1, 6, 9).bfloat16()
    x[0, 0, 3, 4] = float("inf")
    with compiling():
        y = suiren.conv2d(x, suiren.ones(16, 1, 3, 3).bfloat16(), padding=1)
        hit = y.isfinite().logical_not()[0, 0].int()
        assert hit.sum().item() == 9 and hit[2:5, 3:6].sum().item() == 9
        assert not bool(y.isnan().any())


@pytest.mark.parametrize("name", ["avx512", "avx2", "sse2"])
def test_processors_that_multiply_no_pairs(name):
    torch = pytest.importorskip("torch")
    with for_target(name):
        assert not target.host().bfloat16_pairs
        for case, _ in (NAMED["squares"], NAMED["first layer"], NAMED["1x1"]):
            for kernel in kernels_of(assert_as_good(case, torch)):
                assert "dpbf16ps" not in kernel.text
        with compiling():
            for x in perceptron(suiren):
                x.detach().float().numpy()


# ---- what is stored


def test_the_result_of_a_product_is_stored_as_bfloat16():
    """Although several others read it: each of them would round it again."""
    x, w = (suiren.from_numpy(values((64, 64), i)).bfloat16() for i in (0, 1))
    with compiling() as made:
        y = x @ w
        found = ((y - y.float().mean(0)) * y.float().amax(0), y.float().amin(0))
        for z in found:
            z.numpy()
    groups = [g for native in made for g in native.fusion.groups if g.product is not None]
    assert groups and all(s.dtype is suiren.bfloat16 for g in groups for s in g.stores)


def test_choosing_among_numbers_rounds_nothing():
    x = suiren.from_numpy(values((33,))).bfloat16()
    x[3], x[4], x[5] = float("nan"), float("-inf"), -0.0
    functions = (
        suiren.relu, suiren.neg, suiren.abs, suiren.floor, suiren.round, suiren.sign,
        lambda x: suiren.maximum(x, x.flip(0)), lambda x: x.clamp(-0.5, 1.0),
    )  # fmt: skip
    for f in functions:
        expected = f(x.float()).numpy()
        with compiling():
            found = f(x)
            assert found.dtype is suiren.bfloat16
            np.testing.assert_array_equal(found.float().numpy(), expected)
