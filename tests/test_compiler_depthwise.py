"""Compiled depthwise convolutions: against PyTorch, the interpreter, other thread counts."""

from __future__ import annotations

import random
import sys
from pathlib import Path

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
from test_compiler_convolution import compiled_is, completed, convolved  # noqa: E402

pytestmark = needs_compiler


def some_case(rng: random.Random) -> dict:
    """A random configuration that PyTorch accepts, often with borders all around."""
    groups = rng.choice([4, 5, 8, 16, 17, 24, 32, 40, 49])
    kernel = (rng.choice([1, 2, 3, 3, 5, 7]), rng.choice([1, 2, 3, 3, 4, 5, 7, 11]))
    dilation = (rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2, 3]))
    span = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding = tuple(rng.choice([0, s // 2, s // 2, min(s, 4), s + 1]) for s in span)
    size = tuple(
        max(1, s + 1 - 2 * p) + rng.randint(0, 14) for s, p in zip(span, padding, strict=True)
    )
    return completed({
        "images": rng.randint(1, 3), "groups": groups, "channels": groups,
        "results": groups * rng.choice([1, 1, 1, 2, 3, 4, 8]), "kernel": kernel,
        "stride": (rng.choice([1, 1, 2, 3]), rng.choice([1, 1, 2, 3])), "padding": padding,
        "dilation": dilation, "size": size, "dtype": rng.choice(["float32", "float32", "float64"]),
    })  # fmt: skip


NAMED = {
    "3x3": dict(channels=24, results=24, groups=24, size=(9, 9), padding=(1, 1)),
    "stride 2": dict(channels=32, results=32, groups=32, size=(14, 13), stride=(2, 2),
                     padding=(1, 1)),
    "a long line": dict(channels=16, results=16, groups=16, size=(4, 700), padding=(1, 1)),
    "a long line, stride 2": dict(channels=16, results=16, groups=16, size=(4, 601), stride=(1, 2),
                                  padding=(1, 1), images=1),
    "many channels": dict(channels=333, results=333, groups=333, size=(4, 60), padding=(1, 1)),
    "a large kernel": dict(channels=8, results=8, groups=8, size=(30, 30), kernel=(31, 31),
                           padding=(15, 15)),
    "nothing but borders": dict(channels=8, results=8, groups=8, size=(2, 2), padding=(5, 4)),
    "holes": dict(channels=8, results=8, groups=8, size=(5, 6), kernel=(1, 1), stride=(2, 3)),
    "two for each": dict(channels=20, results=40, groups=20, size=(9, 9), padding=(1, 1)),
    "three for each, double": dict(channels=9, results=27, groups=9, size=(8, 7), stride=(2, 1),
                                   padding=(1, 0), dtype="float64"),
    "many tasks": dict(channels=48, results=48, groups=48, size=(40, 40), padding=(1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_named_cases_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    case = completed(NAMED[name])
    made = compiled_is(convolved(torch, case), convolved, case)
    kinds = {node.op for native in made for node in native.fusion.group_of}
    assert {"depthwise", "depthwise_sums"} <= kinds


@pytest.mark.parametrize("part", range(4))
def test_random_cases(part):
    torch = pytest.importorskip("torch")
    rng = random.Random(part)
    for _ in range(8):
        case = some_case(rng)
        compiled_is(convolved(torch, case), convolved, case)


def test_by_hand():
    x = suiren.arange(16.0).reshape(1, 4, 2, 2).requires_grad_()
    w = suiren.arange(1.0, 5.0).reshape(4, 1, 1, 1).requires_grad_()
    with compiling():
        y = suiren.conv2d(x, w, stride=2, groups=4)
        y.sum().backward()
        assert y.flatten().tolist() == [0.0, 8.0, 24.0, 48.0]
        assert w.grad.flatten().tolist() == [0.0, 4.0, 8.0, 12.0]
        assert x.grad.sum((2, 3)).tolist() == [[1.0, 2.0, 3.0, 4.0]]


@pytest.mark.parametrize("name", ["avx2", "sse2"])
def test_other_instruction_sets(name):
    with for_target(name):
        for case in ["3x3", "stride 2", "two for each", "three for each, double"]:
            with compiling() as made:
                convolved(suiren, completed({**NAMED[case], "images": 1}))
            assert not host_operators(made)


def test_the_number_of_threads_does_not_matter():
    before = suiren.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            suiren.set_num_threads(threads)
            with compiling():
                found.append([convolved(suiren, completed(NAMED[name]))
                              for name in ("many tasks", "many channels")])
    finally:
        suiren.set_num_threads(before)
    for others in found[1:]:
        for case, other in zip(found[0], others, strict=True):
            for a, b in zip(case, other, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_types_are_computed_in_float32(dtype):
    def step():
        suiren.manual_seed(0)
        kind = getattr(suiren, dtype)
        x = suiren.randn(2, 20, 9, 8).to(kind).requires_grad_()
        w = (suiren.randn(20, 1, 3, 3) / 3).to(kind).requires_grad_()
        y = suiren.conv2d(x, w, padding=1, stride=(1, 2), groups=20).relu()
        y.sum().backward()
        return [t.detach().float().numpy() for t in (y, x.grad, w.grad)]

    with compiling():
        found = step()
    for a, b in zip(found, step(), strict=True):  # small: interpreted
        assert np.abs(a - b).max() <= 0.02 * np.abs(b).max()


def test_what_follows_is_part_of_the_kernel():
    x = suiren.randn(2, 32, 10, 10)
    w = suiren.randn(32, 1, 3, 3)
    scale = suiren.randn(1, 32, 1, 1)
    with compiling() as made:
        y = (suiren.conv2d(x, w, padding=1, groups=32) * scale).clamp(0, 6)
        z = suiren.conv2d(y, suiren.ones(8, 32, 1, 1))
        z.sum().item()
    (native,) = made
    (group,) = [g for g in native.fusion.groups if g.product and g.product.op == "depthwise"]
    assert group.product not in group.stores
