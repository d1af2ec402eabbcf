"""Every example in a docstring runs and prints what it says; public operators have docstrings."""

import ast
import doctest
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import suiren
from suiren import operator

PACKAGE = Path(suiren.__file__).parent
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
# Examples that need files, a terminal or another machine are not marked with >>> to begin with.


def documented(path: Path):
    """(name, docstring, line) of everything in a source file that has a docstring with examples."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = ast.get_docstring(node)
            if text and ">>>" in text:
                line = getattr(node, "lineno", 1)
                yield getattr(node, "name", path.stem), text, line


def names(path: Path):
    """What examples may take for granted: their module, the library, a small model and its data."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    nn = suiren.nn
    model = nn.Linear(2, 1)
    return {
        **vars(module), "torch": suiren, "suiren": suiren, "nn": nn, "F": nn.functional, "np": np,
        "model": model, "layer": model, "x": suiren.ones(4, 2), "y": suiren.zeros(4, 1),
        "loss_fn": nn.functional.mse_loss, "input": suiren.ones(4, 2),
        "target": suiren.zeros(4, 1), "optimizer": suiren.optim.SGD(model.parameters(), lr=0.1),
    }  # fmt: skip


FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if any(documented(p))]


# install() gives the name torch to Suiren, which is not possible once PyTorch has it.
ALONE = {"imports.py"}


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(PACKAGE)) for p in FILES])
def test_examples(path):
    if path.name in ALONE and __name__ != "__main__":
        done = subprocess.run(
            [sys.executable, __file__, str(path)], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        )  # fmt: skip
        assert not done.returncode, done.stdout + done.stderr
        return
    parser = doctest.DocTestParser()
    report = io.StringIO()
    failed = 0
    for name, text, line in documented(path):
        suiren.manual_seed(0)
        test = parser.get_doctest(text, names(path), name, str(path), line)
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        failed += runner.run(test, out=report.write).failed
    assert not failed, report.getvalue()


def test_public_operators_are_documented():
    missing = [
        f"{space}.{name}"
        for space, functions in operator.NAMESPACES.items()
        for name, function in functions.items()
        if not (function.__doc__ or "").strip()
    ]
    assert missing == []


if __name__ == "__main__":  # the examples of one file, in a process of their own
    test_examples(Path(sys.argv[1]))
