"""Compiled convolutions and pooling: against PyTorch, the interpreter, and other thread counts."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
from compiling import (  # noqa: E402 (a sibling file)
    compiling,
    for_target,
    host_operators,
    needs_compiler,
)

pytestmark = needs_compiler

TOLERANCE = {"float32": 2e-4, "float64": 1e-10}


def values(shape, dtype: str, seed: int = 0) -> np.ndarray:
    """Numbers around zero."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to rounding, against the largest element."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected)
        return
    size = np.abs(expected).max(initial=0)
    assert np.abs(found - expected).max(initial=0) <= TOLERANCE[found.dtype.name] * size + 1e-30


def compiled_is(expected: list[np.ndarray], compute: Callable, case: dict) -> list[Any]:
    """Compiled, a case is what PyTorch computed (and the interpreter); the programs."""
    with compiling() as made:
        found = compute(suiren, case)
    assert made and not host_operators(made), case
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)
    return made


# ---- convolutions


def convolved(torch, case: dict) -> list[np.ndarray]:
    """The result and the gradients by image, weight and bias."""
    n, c, o, g = case["images"], case["channels"], case["results"], case["groups"]
    kernel, dtype = case["kernel"], case["dtype"]
    turned = case.get("transposed", False)
    weight = (c, o // g, *kernel) if turned else (o, c // g, *kernel)
    arrays = [(n, c, *case["size"]), weight, (o,)]
    x, w, b = [
        torch.from_numpy(values(shape, dtype, i)).requires_grad_() for i, shape in enumerate(arrays)
    ]
    axes = len(kernel)
    functional = torch.nn.functional
    if turned:
        f = functional.conv_transpose1d if axes == 1 else functional.conv_transpose2d
        y = f(x, w, b, case["stride"], case["padding"], case.get("more", 0), g, case["dilation"])
    else:
        f = functional.conv1d if axes == 1 else functional.conv2d
        y = f(x, w, b, case["stride"], case["padding"], case["dilation"], g)
    up = torch.from_numpy(np.cos(np.arange(y.numel())).reshape(tuple(y.shape)).astype(dtype))
    (y * up).sum().backward()
    return [t.detach().numpy() for t in (y, x.grad, w.grad, b.grad)]


def some_case(rng: random.Random) -> dict:
    """A random configuration that PyTorch accepts."""
    axes = rng.choice([1, 2, 2, 2])
    groups = rng.choice([1, 1, 1, 2, 3])
    case = {
        "images": rng.randint(1, 3),
        "channels": groups * rng.choice([1, 2, 3, 5, 8, 16, 17, 20, 33]),
        "results": groups * rng.choice([1, 2, 3, 7, 16, 20, 33, 40]),
        "groups": groups,
        "kernel": tuple(rng.choice([1, 2, 3, 5]) for _ in range(axes)),
        "stride": tuple(rng.choice([1, 1, 2, 3]) for _ in range(axes)),
        "padding": tuple(rng.randint(0, 2) for _ in range(axes)),
        "dilation": tuple(rng.choice([1, 1, 2]) for _ in range(axes)),
        "dtype": rng.choice(["float32", "float64"]),
        "transposed": rng.random() < 0.25,
    }
    if rng.random() < 0.15:
        case["groups"] = case["channels"] = case["results"] = rng.choice([3, 8, 17])
    spans = [d * (k - 1) for d, k in zip(case["dilation"], case["kernel"], strict=True)]
    case["size"] = tuple(rng.randint(1, 13) + span for span in spans)
    if case["transposed"]:
        sizes = zip(case["size"], spans, case["stride"], case["padding"], strict=True)
        if any((n - 1) * s - 2 * p + span < 0 for n, span, s, p in sizes):
            return some_case(rng)
    return case


def some_cases(count: int, seed: int = 0) -> list[dict]:
    """The same ones each time."""
    rng = random.Random(seed)
    return [some_case(rng) for _ in range(count)]


NAMED = {
    "3x3": dict(channels=32, results=32, size=(28, 28), padding=(1, 1)),
    "3x3, odd": dict(channels=48, results=33, size=(13, 11), padding=(0, 2), images=1),
    "3x3, double": dict(channels=16, results=24, size=(9, 10), padding=(1, 1), dtype="float64"),
    "3x3, bands": dict(channels=64, results=16, size=(31, 40), padding=(1, 1), images=1),
    "first layer": dict(channels=1, results=32, size=(28, 28), padding=(1, 1)),
    "stride 2": dict(channels=32, results=64, size=(14, 14), stride=(2, 2), padding=(1, 1)),
    "small image": dict(channels=64, results=96, size=(7, 7), padding=(1, 1)),
    "large kernel": dict(channels=3, results=16, kernel=(7, 7), size=(30, 30), stride=(2, 2),
                         padding=(3, 3)),
    "depthwise": dict(channels=24, results=24, groups=24, size=(9, 9), padding=(1, 1)),
    "depthwise, stride 2": dict(channels=24, results=24, groups=24, size=(9, 9), stride=(2, 2),
                                padding=(1, 1)),
    "1x1": dict(channels=20, results=30, kernel=(1, 1), size=(6, 7)),
    "1x1, stride 2": dict(channels=20, results=30, kernel=(1, 1), size=(6, 7), stride=(2, 2)),
    "whole image": dict(channels=6, results=10, kernel=(4, 4), size=(4, 4)),
    "one place and zeros beside": dict(channels=3, results=4, kernel=(1, 1), size=(3, 2),
                                       dilation=(1, 3), more=(0, 2), transposed=True),
    "from a point": dict(channels=10, results=6, kernel=(4, 4), size=(1, 1), transposed=True),
    "4x4, stride 2": dict(images=6, channels=32, results=48, kernel=(4, 4), size=(16, 16),
                          stride=(2, 2), padding=(1, 1)),
    "4x4, stride 2, odd": dict(images=5, channels=16, results=33, kernel=(4, 4), size=(15, 13),
                               stride=(2, 2), padding=(1, 1)),
    "4x4, stride 2, transposed": dict(images=5, channels=32, results=64, kernel=(4, 4),
                                      size=(8, 7), stride=(2, 2), padding=(1, 1), transposed=True),
    "4x4, stride 2, double": dict(channels=16, results=32, kernel=(4, 4), size=(16, 12),
                                  stride=(2, 2), padding=(1, 1), dtype="float64"),
    "4x4, stride 2, to few": dict(images=4, channels=16, results=3, kernel=(4, 4), size=(8, 9),
                                  stride=(2, 2), padding=(1, 1), transposed=True),
    "2x2": dict(images=5, channels=32, results=20, kernel=(2, 2), size=(9, 9)),
    "6x6, stride 2": dict(images=4, channels=32, results=32, kernel=(6, 6), size=(16, 17),
                          stride=(2, 2), padding=(2, 2)),
    "unlike sides": dict(images=4, channels=32, results=32, kernel=(4, 3), size=(16, 17),
                         stride=(2, 1), padding=(1, 1)),
    "unlike phases": dict(images=4, channels=32, results=32, kernel=(5, 3), size=(16, 17),
                          stride=(2, 2), padding=(2, 1)),
    "several images": dict(images=7, channels=48, results=32, size=(6, 6), padding=(1, 1)),
    "large weight": dict(channels=150, results=200, size=(9, 8), stride=(2, 2), padding=(1, 1)),
    "large weight, groups": dict(channels=320, results=400, groups=2, size=(6, 7), stride=(2, 2)),
    "large weight, units": dict(images=5, channels=150, results=200, size=(26, 26),
                                stride=(2, 2), padding=(1, 1)),
    "large weight, parts": dict(images=5, channels=40, results=900, size=(26, 26),
                                stride=(2, 2), padding=(1, 1)),
    "many rows": dict(channels=40, results=8, kernel=(3, 1), size=(150, 2), padding=(1, 0)),
}  # fmt: skip


def completed(case: dict) -> dict:
    """With what was left out."""
    axes = len(case["size"])
    return {
        "images": 2, "groups": 1, "dtype": "float32", "kernel": (3,) * axes,
        "stride": (1,) * axes, "padding": (0,) * axes, "dilation": (1,) * axes, **case,
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_convolutions_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    case = completed(NAMED[name])
    compiled_is(convolved(torch, case), convolved, case)


@pytest.mark.parametrize("part", range(4))
def test_random_convolutions(part):
    torch = pytest.importorskip("torch")
    for case in some_cases(8, part):
        compiled_is(convolved(torch, case), convolved, case)


def test_a_convolution_by_hand():
    x = suiren.arange(9.0).reshape(1, 1, 3, 3).requires_grad_()
    w = suiren.tensor([[[[1.0, 0.0], [0.0, -1.0]]]], requires_grad=True)
    with compiling() as made:
        y = suiren.conv2d(x, w, suiren.tensor([0.5]))
        y.sum().backward()
        assert y.tolist() == [[[[-3.5, -3.5], [-3.5, -3.5]]]]
        assert w.grad.tolist() == [[[[8.0, 12.0], [20.0, 24.0]]]]
        assert x.grad.tolist() == [[[[1.0, 1.0, 0.0], [1.0, 0.0, -1.0], [0.0, -1.0, -1.0]]]]
    assert not host_operators(made)


@pytest.mark.parametrize("name", ["avx2", "sse2"])
def test_other_instruction_sets(name):
    with for_target(name):
        for case in [NAMED["3x3"], NAMED["stride 2"], NAMED["small image"]]:
            case = completed({**case, "channels": 20, "results": 20, "images": 1})
            with compiling() as made:  # which compares with the interpreter
                convolved(suiren, case)
            assert not host_operators(made)


# ---- pooling


def pooled(torch, case: dict) -> list[np.ndarray]:
    """The result, the image's gradient, and positions of maxima."""
    functional = torch.nn.functional
    x = np.round(values((2, case["channels"], *case["size"]), "float32") * 2)
    x = torch.from_numpy(x).requires_grad_()
    y = x
    if case["after"]:  # a convolution: images then lie channels-last
        w = torch.from_numpy(values((case["channels"], case["channels"], 1, 3), "float32"))
        y = functional.conv2d(y, w, padding=(0, 1)).relu()
    window = (case["kernel"], case["stride"], case["padding"])
    positions = []
    if case["kind"] == "max":
        y, found = functional.max_pool2d(
            y, *window, case["dilation"], case["ceil"], return_indices=True
        )
        if not case["after"]:
            positions.append(found.numpy())
    elif case["kind"] == "avg":
        y = functional.avg_pool2d(y, *window, case["ceil"], case["include"], case["divisor"])
    else:
        y = functional.adaptive_avg_pool2d(y, case["kernel"])
    up = np.cos(np.arange(y.numel())).reshape(tuple(y.shape)).astype("float32")
    (y * torch.from_numpy(up)).sum().backward()
    return [y.detach().numpy(), x.grad.numpy(), *positions]


def some_pooling(rng: random.Random) -> dict:
    """A random configuration; PyTorch may refuse it."""
    kernel = (rng.randint(1, 4), rng.randint(1, 4))
    return {
        "kind": rng.choice(["max", "max", "avg", "adaptive"]),
        "channels": rng.choice([1, 3, 16, 20]),
        "size": (rng.randint(3, 16), rng.randint(3, 16)),
        "kernel": kernel,
        "stride": rng.choice([kernel, (rng.randint(1, 3), rng.randint(1, 3))]),
        "padding": (rng.randint(0, kernel[0] // 2), rng.randint(0, kernel[1] // 2)),
        "dilation": rng.choice([1, 1, 2]),
        "ceil": rng.random() < 0.3,
        "include": rng.random() < 0.5,
        "divisor": rng.choice([None, None, 7]),
        "after": rng.random() < 0.5,
    }


@pytest.mark.parametrize("part", range(3))
def test_random_pooling(part):
    torch = pytest.importorskip("torch")
    rng = random.Random(part)
    for _ in range(10):
        case = some_pooling(rng)
        try:
            expected = pooled(torch, case)
        except RuntimeError:
            continue
        compiled_is(expected, pooled, case)


def test_maxima_of_nan_and_infinity():
    x = suiren.tensor([[1.0, float("nan"), 3.0, float("nan"), 0.0, 1.0],
                       [2.0, 0.0, float("-inf"), 5.0, 1.0, 1.0]]).reshape(1, 1, 2, 6)  # fmt: skip
    with compiling() as made:
        y, positions = suiren.nn.functional.max_pool2d(x, 2, return_indices=True)
        assert positions.flatten().tolist() == [1, 3, 5]
        assert np.isnan(y.numpy()).tolist() == [[[[True, True, False]]]]
        low = suiren.full((1, 1, 3, 3), float("-inf"))
        found = suiren.nn.functional.max_pool2d(low, 3, 2, 1, return_indices=True)[1]
        assert found.flatten().tolist() == [0, 1, 3, 4]
    assert not host_operators(made)


# ---- networks


def network() -> suiren.nn.Module:
    """Convolutions with everything that goes with them."""
    nn = suiren.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Flatten(), nn.Linear(24 * 9, 10),
    )  # fmt: skip


def training(steps: int) -> list[float]:
    """The losses of some steps from one seed."""
    suiren.manual_seed(0)
    model = network()
    x, y = suiren.randn(8, 1, 12, 12), suiren.randint(0, 10, (8,))
    optimizer = suiren.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = suiren.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses + [p.detach().numpy().astype("float64").sum() for p in model.parameters()]


def test_a_training_step_is_one_program():
    with compiling() as made:
        losses = training(3)
    assert not host_operators(made)
    assert losses[2] < losses[0]


def test_images_stay_channels_last():
    with compiling() as made:
        training(1)
    moved = [
        node
        for native in made
        for node in native.fusion.group_of
        if node.op in ("permute", "reshape") and node.ndim == 4 and node.numel >= 8 * 16 * 36
    ]
    assert not moved


def test_the_number_of_threads_does_not_matter():
    before = suiren.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            suiren.set_num_threads(threads)
            with compiling():
                found.append(training(2))
    finally:
        suiren.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", ["4x4, stride 2", "4x4, stride 2, to few", "several images",
                                  "large weight, units"])
def test_the_number_of_threads_does_not_matter_with_squares_or_sums(name):
    before = suiren.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            suiren.set_num_threads(threads)
            with compiling():
                found.append(convolved(suiren, completed(NAMED[name])))
    finally:
        suiren.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
