"""Decompositions of operators against their NumPy meaning, on everything that a corpus records.

The corpus: the expressions of `expressions.py` with their gradients, the training runs of
`material.py`, and the samples below for types and edges. To see which operators have no native form
and how often they occur:  python tests/test_decompositions.py [expressions | training | samples]
"""

import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import expressions  # noqa: E402 (sibling files, not a package)
import graph_samples  # noqa: E402
import material  # noqa: E402
from compiling import compiling, needs_compiler  # noqa: E402
from graph_watch import Watch  # noqa: E402

import suiren  # noqa: E402
from suiren.compiler.graph import Graph  # noqa: E402

TRAINING = [
    "twenty_steps_mlp_sgd", "twenty_steps_mlp_adam", "gan", "softmax_regression_with_nn",
    "activations", "quadratic_by_sgd",
]  # fmt: skip


def run_expressions():
    for expression in dict.fromkeys(expressions.expressions()):
        expressions.outcome(suiren, expression)


def run_training():
    for name in TRAINING:
        material.SCENARIOS[name](suiren)
    graph_samples.run_training(suiren)


def run_samples():
    graph_samples.run_samples(suiren)


CORPUS = {"expressions": run_expressions, "training": run_training, "samples": run_samples}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", CORPUS)
def test_lowered_as_evaluated(part, monkeypatch):
    monkeypatch.setattr(Graph, "not_generated", frozenset())
    with Watch() as watch:
        CORPUS[part]()
    assert not watch.disagreements, watch.report()
    assert len(watch.native) > 10


@needs_compiler
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", ["training", "samples"])
def test_compiled_as_interpreted(part):
    with compiling() as made:
        CORPUS[part]()
    assert len(made) > 10


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    Graph.not_generated = frozenset()
    with Watch() as whole:
        for name in sys.argv[1:] or CORPUS:
            CORPUS[name]()
    print(whole.report())
