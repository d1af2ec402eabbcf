"""Packed weights kept from run to run: never of other values than the parameters have now."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import numpy as np
import pytest

import suiren
from suiren import nn

sys.path.insert(0, str(Path(__file__).parent))
from compiling import compiling, needs_compiler  # noqa: E402 (a sibling file)

pytestmark = needs_compiler


def network() -> nn.Module:
    """One convolution of each kind: by squares, directly, and one that is a product."""
    suiren.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 24, 3, stride=2), nn.ReLU(), nn.Conv2d(24, 8, 1),
    ).eval()  # fmt: skip


def image(seed: int = 1) -> suiren.Tensor:
    """Two images."""
    suiren.manual_seed(seed)
    return suiren.randn(2, 16, 13, 12)


def kept() -> int:
    """How many packed weights are alive."""
    from suiren.compiler import prepared

    gc.collect()
    return sum(len(made) for made in prepared._kept.values())


def judged(model: nn.Module, x: suiren.Tensor) -> np.ndarray:
    """A run without gradients."""
    with suiren.no_grad():
        return np.array(model(x).numpy())


def test_packed_once_while_parameters_stay():
    model, x = network(), image()
    before = kept()
    with compiling() as made:
        found = [judged(model, x) for _ in range(4)]
        (native,) = made
        assert len(native.prepared.spared) == len(native.prepared.weights) == 2
        assert len(native.prepared.table) < len(native.table)
        assert kept() == before + 2
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])
    del model, native, made
    assert kept() == before


CHANGES = {
    "in place": lambda w: w.mul_(2),
    "in part": lambda w: w[3].zero_(),
    "an element": lambda w: w.select(0, 1).fill_(0.5),
    "drawn": lambda w: nn.init.normal_(w),
    "copied into": lambda w: w.copy_(suiren.ones(w.shape)),
    "shared": lambda w: w.detach().numpy().__setitem__(0, 7.0),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_change_is_seen_at_once(how):
    model, x = network(), image()
    with compiling():  # compares each run with the interpreter's
        for _ in range(3):
            found = judged(model, x)
        for place in (0, 3):
            with suiren.no_grad():
                CHANGES[how](model[place].weight)
            other = judged(model, x)
            assert not np.array_equal(other, found)
            np.testing.assert_array_equal(judged(model, x), other)
            found = judged(model, x)


def test_memory_that_numpy_goes_on_writing_to():
    model, x = network(), image()
    shared = model[0].weight.detach().numpy()
    with compiling():
        for step in range(6):
            shared[...] = step
            found = judged(model, x)
        shared[...] = 1
        assert not np.array_equal(judged(model, x), found)


def test_training_between_inference():
    model, x = network(), image()
    optimizer = suiren.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    last = None
    with compiling():
        for _ in range(3):
            for _ in range(3):
                found = judged(model, x)
            assert last is None or not np.array_equal(found, last)
            last = found
            for _ in range(2):
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with compiling():
        found = [judged(model, x) for _ in range(3)][-1]
        with suiren.no_grad():
            model[0].weight.zero_()
        judged(model, x)
        model.load_state_dict(state)
        np.testing.assert_array_equal(judged(model, x), found)


def test_programs_share_what_is_packed():
    model, before = network(), kept()
    with compiling() as made:
        for _ in range(3):
            judged(model, image())
        for _ in range(2):
            judged(model, image()[:1])
        assert len(made) == 2 and kept() == before + 2
        assert len(made[1].prepared.spared) == 2


def test_explain_shows_every_kernel():
    model, x = network(), image()
    for _ in range(4):
        judged(model, x)
    report = suiren.explain(lambda: judged(model, x))
    assert "winograd_weight" in [kernel.name for kernel in report.kernels]
    assert "winograd_weight" in str(report)
