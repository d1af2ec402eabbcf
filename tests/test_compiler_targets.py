"""Code for other machines: generated here for each target, and looked at."""

import re
import sys

import pytest
from compiling import needs_compiler

import suiren
from suiren.compiler import target

pytestmark = needs_compiler


def training_step():
    nn = suiren.nn
    suiren.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 33), nn.GELU(), nn.LayerNorm(33), nn.Linear(33, 5))
    loss = nn.functional.cross_entropy(model(suiren.randn(16, 40)), suiren.arange(16) % 5)
    loss.backward()


def narrow_step():
    """Products and convolutions of bfloat16."""
    nn = suiren.nn
    model = nn.Sequential(
        nn.Conv2d(3, 16, 5), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.Linear(1152, 20)
    ).bfloat16()
    model(suiren.randn(4, 3, 12, 12).bfloat16().requires_grad_()).float().sum().backward()


def largest_key(monkeypatch, step):
    """What the largest program of a step goes by."""
    recorder = sys.modules["suiren.trace.recorder"]
    keys = []
    run = recorder.run_program

    def noted(key, inputs, own=False):
        keys.append(key)
        return run(key, inputs, own)

    monkeypatch.setattr(recorder, "run_program", noted)
    step()
    return max(keys, key=lambda key: len(key[0]))


@pytest.fixture
def key(monkeypatch):
    return largest_key(monkeypatch, training_step)


@pytest.fixture
def narrow_key(monkeypatch):
    return largest_key(monkeypatch, narrow_step)


def listings(key, machine):
    from suiren.compiler import machine_code
    from suiren.compiler.fuse import Fusion
    from suiren.compiler.layout import lay_out
    from suiren.compiler.lower import lower
    from suiren.compiler.plan import Plan

    graph = lay_out(lower(*key), machine)
    plan = Plan(graph, Fusion(graph), machine)
    assert all(step.kernel is not None for step in plan.steps)
    texts = dict.fromkeys(step.kernel.text for step in plan.steps)
    return [machine_code.assembly(text, machine) for text in texts]


def test_bfloat16_is_multiplied_by_pairs_where_that_can_be_done(narrow_key):
    code = listings(narrow_key, target.AVX512_BF16)
    assert sum("vdpbf16ps" in text for text in code) >= 7
    for machine, pattern in WANTED.values():
        code = listings(narrow_key, machine)
        assert not any("dpbf16ps" in text or "cvtne2ps2bf16" in text for text in code)
        assert sum(bool(re.search(pattern, text)) for text in code) >= 7


WANTED = {
    "avx512": (target.AVX512, r"vfmadd\w+ps.*%zmm"),
    "avx2": (target.AVX2, r"vfmadd\w+ps.*%ymm"),
    "sse2": (target.SSE2, r"mulps\s.*%xmm"),
    "neon": (target.NEON, r"fmla\s+v\d+\.4s"),
}


@pytest.mark.parametrize("name", WANTED)
def test_a_training_step_is_vectorised_for(name, key):
    machine, pattern = WANTED[name]
    code = listings(key, machine)
    assert len(code) > 5
    assert sum(bool(re.search(pattern, text)) for text in code) >= 4
    if machine.fma:  # nothing of C's library is called
        calls = re.findall(r"^\s+(?:callq?|bl)\s+.*", "\n".join(code), re.M)
        assert not calls, calls


def test_wider_registers_are_not_assumed(key):
    for text in listings(key, target.AVX2):
        assert "%zmm" not in text and "%k1" not in text
