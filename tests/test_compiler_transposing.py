"""Kernels that read across what lies side by side: transposes, images, packed weights."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
from compiling import compiling, needs_compiler, small_tasks  # noqa: E402 (a sibling file)

pytestmark = needs_compiler
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 31, 33, 48)


def _same(made: suiren.Tensor, wanted: np.ndarray) -> None:
    assert np.array_equal(made.to(suiren.float64).numpy(), wanted)


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16", "int16", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(64, 64), (37, 300), (300, 5), (1, 40), (4, 4), (600, 531)])
def test_matrices(shape, kind):
    numbers = np.arange(shape[0] * shape[1]).reshape(shape) % (2 if kind == "bool" else 200)
    with small_tasks(), compiling() as made:
        x = suiren.tensor(numbers).to(getattr(suiren, kind))
        x.sum().item()
        _same(x.t().contiguous().clone(), numbers.T)
        if kind != "bool":
            rows = suiren.tensor(numbers.T.copy()).to(x.dtype)
            _same(x.t() - rows, numbers.T * 0)
    assert made


@pytest.mark.parametrize("seed", range(40))
def test_permutations(seed):
    """Of any dimensions, turned round, padded, with arithmetic of few and of many terms."""
    rng = random.Random(seed)
    shape = [rng.choice(SIZES) for _ in range(rng.randint(2, 5))]
    while np.prod(shape) > 100_000:
        shape[rng.randrange(len(shape))] = 2
    dims = rng.sample(range(len(shape)), len(shape))
    flips = [d for d in range(len(shape)) if rng.random() < 0.3]
    sides = [(rng.randint(0, 3), rng.randint(0, 3)) if rng.random() < 0.3 else (0, 0)
             for _ in shape]  # fmt: skip
    wanted = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    with small_tasks(), compiling() as made:
        x = suiren.tensor(wanted)
        x.sum().item()
        moved = x.flip(flips).permute(dims)
        wanted = np.flip(wanted, flips).transpose(dims)
        moved = suiren.nn.functional.pad(moved, [n for pair in sides[::-1] for n in pair], value=1)
        wanted = np.pad(wanted, sides, constant_values=1)
        other = suiren.ones(wanted.shape)
        found = moved + other
        if seed % 3 == 0:
            found = found * 2 - (moved - other).abs() + moved.relu() * 4 - moved.square() + other
            wanted = (wanted + 1) * 2 - abs(wanted - 1) + wanted * 4 - wanted * wanted
        _same(found, wanted + 1 if seed % 3 else wanted + np.float32(1))
    assert made


def test_many_terms_differ_by_rounding_only():
    """Of several arrays that lie across, in one group."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(s).astype(np.float32) for s in ((50, 70), (50, 70), (70, 50)))
    with compiling():
        x, y, z = (suiren.tensor(v) for v in (a, b, c))
        x.sum().item(), y.sum().item(), z.sum().item()
        found = (x.t() * y.t() + z).tanh() * z - x.t() / (y.t().abs() + 1)
        wanted = np.tanh(a.T * b.T + c) * c - a.T / (abs(b.T) + 1)
        assert np.allclose(found.numpy(), wanted, atol=1e-5)


def test_loops_of_squares_are_used():
    """The shuffles of a transpose are there, and no gather."""
    with compiling() as made:
        x = suiren.arange(64.0 * 96).reshape(64, 96) + 0
        x.sum().item()
        (x.t() + 1).sum(1).sum().item()
        _same(x.t() + 1, np.arange(64 * 96).reshape(64, 96).T + 1)
    texts = [step.kernel.text for step in made[-1].plan.steps if step.kernel is not None]
    assert any("shufflevector" in text for text in texts)
    assert not any("masked.gather" in text for text in texts)


def test_equal_kernels_over_arrays_of_unlike_sizes():
    """Paddings read across, the same but for where they begin and where the array ends."""
    with compiling():
        arrays = [np.arange(n * 40, dtype=np.float32).reshape(n, 40) for n in (90, 30, 60, 45)]
        for begin in (0, 7):
            given = [suiren.tensor(a) for a in arrays]
            for x in given:
                x.sum().item()
            pad = suiren.nn.functional.pad
            ends = [begin * i for i in range(len(given))]
            made = [
                pad(x[e // 3 : e // 3 + 20], (1, 2, 3, 4), value=-1).t().contiguous().clone()
                for x, e in zip(given, ends, strict=True)
            ]
            for x, e, found in zip(arrays, ends, made, strict=True):
                part = x[e // 3 : e // 3 + 20]
                _same(found, np.pad(part, ((3, 4), (1, 2)), constant_values=-1).T)


@pytest.mark.parametrize("kind", ["bfloat16", "int16"])
@pytest.mark.parametrize("shape", [(33, 16, 9), (16, 4, 5), (40, 6, 70), (70, 2, 20)])
def test_pairs(shape, kind):
    """Numbers of two bytes from places apart, two by two."""
    o, c, taps = shape
    numbers = np.arange(o * c * taps).reshape(shape) % 199
    with small_tasks(), compiling() as made:
        x = suiren.tensor(numbers).to(getattr(suiren, kind))
        x.sum().item()
        found = x.reshape(o, c // 2, 2, taps).permute(3, 1, 0, 2).contiguous().clone()
        _same(found, numbers.reshape(o, c // 2, 2, taps).transpose(3, 1, 0, 2))
        turned = x.flip(2).reshape(o, c // 2, 2, taps).permute(1, 3, 0, 2).contiguous().clone()
        _same(turned, numbers[:, :, ::-1].reshape(o, c // 2, 2, taps).transpose(1, 3, 0, 2))
    texts = [s.kernel.text for native in made for s in native.plan.steps if s.kernel is not None]
    assert not any("masked.gather" in text for text in texts)
