"""Vectors of every so many-th element, and of elements backwards: whole ones and the rest."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
from compiling import compiling, needs_compiler  # noqa: E402 (sibling files)

pytestmark = needs_compiler
KINDS = (suiren.float32, suiren.float64, suiren.uint8, suiren.int64, suiren.bfloat16, suiren.bool)




@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("step", [-8, -3, -2, -1, 2, 3, 4, 5, 7, 8, 9])
def test_every_so_many_th(step, kind):
    drawn = np.random.default_rng(0).integers(0, 100, (19, 331))
    x = suiren.tensor(drawn).to(kind)
    expected = x.double().numpy()[:, ::step]
    with compiling():
        found = x[:, ::step] if step > 0 else x.flip(1)[:, ::-step]
        np.testing.assert_array_equal((found & True if kind is suiren.bool else found * 1)
                                      .double().numpy(), expected)  # fmt: skip
