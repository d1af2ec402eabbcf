"""Tutorial code with ``import suiren as torch`` gives PyTorch's numbers (see material.py)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
import material  # noqa: E402 (a sibling file, not a package)

RECORDED = json.loads(material.RECORDED.read_text("utf-8"))


@pytest.mark.parametrize("name", list(material.SCENARIOS))
def test_same_numbers_as_recorded(name):
    got = material.SCENARIOS[name](suiren)
    # 1e-4 relative over twenty training steps; the rest agrees far more closely
    np.testing.assert_allclose(got, RECORDED[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(material.SCENARIOS))
def test_same_numbers_as_pytorch(name):
    torch = pytest.importorskip("torch")
    got = material.SCENARIOS[name](suiren)
    np.testing.assert_allclose(got, material.SCENARIOS[name](torch), rtol=1e-4, atol=1e-5)
