"""Random programs of views and in-place writes, and what PyTorch 2.13 makes of them.

The programs are those of `test_aliasing.py`; `recorded/aliasing.json` holds some of them with their
outcome in PyTorch, for machines without it. To record anew, with PyTorch installed:
python tests/aliasing_programs.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

RECORDED = Path(__file__).parent / "recorded" / "aliasing.json"
COUNT = 150


def put(x, index, value):
    """x[index] = value, as an expression."""
    x[index] = value
    return x


def no_grad(module, function):
    """The result of the function with gradients off."""
    with module.no_grad():
        return function()


def outcome(module, lines: list[str]) -> dict:
    """Runs the program; what each line raised, and how every tensor looks in the end."""
    tensors: list = []
    errors = []
    for line in lines:
        scope = {f"t{i}": t for i, t in enumerate(tensors)}
        scope |= {"m": module, "np": np, "put": put, "no_grad": no_grad}
        try:
            found = eval(line.split("  # ")[0], scope)
        except (RuntimeError, IndexError, TypeError, ValueError) as error:
            name = type(error).__name__
            errors.append("RuntimeError" if name == "NotImplementedError" else name)
            continue
        errors.append("")
        for t in found if isinstance(found, (tuple, list)) else (found,):
            if not any(t is old for old in tensors):
                tensors.append(t)
    return {"errors": errors, "tensors": [appearance(t) for t in tensors]}


def appearance(t) -> list:
    """What a program can see of a tensor."""
    strides = list(t.stride()) if t.numel() else None
    return [
        list(t.shape), strides, t.storage_offset(), t._version, t.is_contiguous(),
        t.requires_grad, t.is_leaf, t.detach().flatten().tolist(),
    ]  # fmt: skip


def record() -> None:
    """Writes programs with PyTorch's outcome; programs that lose their history are left out."""
    import warnings

    import test_aliasing
    import torch

    warnings.simplefilter("ignore")
    kept = []
    seed = 10_000
    while len(kept) < COUNT:
        seed += 1
        program = test_aliasing.Program(seed)
        for _ in range(program.random.choice((1, 1, 2))):
            program.base()
        for _ in range(program.random.randint(4, test_aliasing.STEPS)):
            program.step()
        if any(test_aliasing.without_history(pair[0]) for pair in program.tensors):
            continue
        kept.append({"lines": program.lines, **outcome(torch, program.lines)})
    RECORDED.write_text("[\n" + ",\n".join(map(json.dumps, kept)) + "\n]\n", "utf-8")


if __name__ == "__main__":
    record()
