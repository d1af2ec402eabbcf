"""Recorded programs of views and in-place writes end as in PyTorch (see aliasing_programs.py)."""

import json
import sys
from pathlib import Path

import pytest

import suiren

sys.path.insert(0, str(Path(__file__).parent))
import aliasing_programs  # noqa: E402 (a sibling file, not a package)

PROGRAMS = json.loads(aliasing_programs.RECORDED.read_text("utf-8"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_program(number):
    program = PROGRAMS[number]
    got = aliasing_programs.outcome(suiren, program["lines"])
    text = "\n".join(program["lines"])
    assert got["errors"] == program["errors"], text
    assert json.loads(json.dumps(got["tensors"])) == program["tensors"], text
