"""Convolutions, pooling and their kin: random configurations, and what these have found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import convolution_programs as programs  # noqa: E402 (sibling files)
from compiling import compiling, needs_compiler, small_tasks  # noqa: E402

import suiren  # noqa: E402

pytestmark = needs_compiler


@pytest.mark.parametrize("part", range(12))
def test_random_configurations(part):
    pytest.importorskip("torch")
    for seed in range(20 * part, 20 * part + 20):
        case = programs.some_case(seed)
        wrong = programs.problems(case, threads=seed % 4 == 0)
        assert wrong in ([], ["refused"]), (case, wrong)


def test_a_program_is_compiled_the_same_way_each_time():
    """Groups were chosen in the order of a set of nodes: of addresses, that is."""
    case = programs.some_case(197)
    found = set()
    for _ in range(8):
        with small_tasks(), compiling() as made:
            programs.outcome(suiren, case)
        texts = [step.kernel.text for m in made for step in m.plan.steps if step.kernel]
        found.add("".join(texts))
    assert len(found) == 1


@pytest.mark.parametrize("seed", [3617])
def test_what_is_stored_later_is_not_read_before(seed):
    """A group that was walked again read an array that a later kernel writes."""
    pytest.importorskip("torch")
    assert programs.problems(programs.some_case(seed), threads=False) == []
