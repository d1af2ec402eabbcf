"""Most operators against recorded numbers, gradients and printed texts (see expressions.py)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
import expressions  # noqa: E402 (a sibling file, not a package)

RECORDED = json.loads(expressions.RECORDED.read_text("utf-8"))

# Composed differently than in PyTorch, so that the last node has another name.
OTHER_NODES = {
    "a.quantile(0.3)", "m.repeat_interleave(2, 0)", "a.rot90(1, (0, 1))", "torch.diag(m)",
    "torch.block_diag(m, m)", "torch.combinations(m[0])", "torch.kron(m, m)",
    "torch.linalg.matrix_norm(m, 1)", "torch.fft.rfft(m).real",
    "torch.fft.ifft(torch.fft.fft(m)).real", "torch.real(m + 1j)", "torch.complex(m, m).imag",
    "m.clone().fill_(3)", "m.clone().t_()", "F.soft_margin_loss(m, m.detach().sign())",
}  # fmt: skip


def test_everything_is_recorded():
    assert list(RECORDED) == list(dict.fromkeys(expressions.expressions()))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("expression", list(RECORDED))
def test_as_recorded(expression):
    want, got = RECORDED[expression], expressions.outcome(suiren, expression)
    for key in ("numbers", "gradients"):
        assert (key in got) == (key in want), key
    if "numbers" in want:
        np.testing.assert_allclose(got["numbers"], want["numbers"], rtol=2e-5, atol=2e-6)
    for name, gradient in want.get("gradients", {}).items():
        np.testing.assert_allclose(got["gradients"][name], gradient, rtol=1e-4, atol=2e-5)
    assert got.get("gradients", {}).keys() == want.get("gradients", {}).keys()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("expression", [e for e in RECORDED if "numbers" in RECORDED[e]])
def test_printed_as_recorded(expression):
    """Texts agree to the letter unless a number differs in the last bit that is printed."""
    want, got = RECORDED[expression], expressions.outcome(suiren, expression)
    if expressions.shortened(got["numbers"]) != want["numbers"]:
        return
    if expression in OTHER_NODES:
        assert got["text"].split("grad_fn")[0] == want["text"].split("grad_fn")[0]
    else:
        assert got["text"] == want["text"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("expression", [e for e in RECORDED if "numbers" not in RECORDED[e]])
def test_other_texts_as_recorded(expression):
    assert expressions.outcome(suiren, expression)["text"] == RECORDED[expression]["text"]
