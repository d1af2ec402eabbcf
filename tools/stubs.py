"""Writes ``suiren/__init__.pyi``: the table of contents of the namespace, for editors and checkers.

The functions of ``suiren`` are registered by their definitions in ``suiren/ops``, where a type
checker cannot see them. This lists them with their signatures, as they are registered:

    python tools/stubs.py            writes the file
    python tools/stubs.py --check    exits with 1 if the file is not what would be written

``tests/test_stubs.py`` holds the file to the registry.
"""

from __future__ import annotations

import inspect
import keyword
import sys
from pathlib import Path

import suiren
from suiren import operator
from suiren.dtypes import dtype

FILE = Path(suiren.__file__).parent / "__init__.pyi"
HEADER = '''"""Written by tools/stubs.py from the registry of operators; do not edit."""
# ruff: noqa: E501, F401, I001 (a generated table, one name a line)

from collections.abc import Callable as _Callable
from collections.abc import Sequence as _Sequence
from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi
from typing import Any

from suiren import {modules}
{imports}

_Number = Any  # int, float, bool or complex: names that this module gives to dtypes

def __getattr__(name: str) -> Any: ...

default_generator: Generator
newaxis: None
'''
# What a parameter of this name is, whatever the function.
TYPES = {
    "input": "Tensor", "tensors": "_Sequence[Tensor]", "out": "Any", "dtype": "dtype | None",
    "generator": "Any", "other": "Tensor | _Number",
}  # fmt: skip


def parameters_of(function) -> str:
    """The parameter list as stub text; defaults are elided."""
    parts = []
    only_keywords = False
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.KEYWORD_ONLY and not only_keywords:
            parts.append("*")
            only_keywords = True
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        only_keywords = only_keywords or p.kind is p.VAR_POSITIONAL
        kind = TYPES.get(p.name, "Any") if not star else "Any"
        default = "" if p.default is p.empty else " = ..."
        parts.append(f"{star}{p.name}: {kind}{default}")
    return ", ".join(parts)


def stub_of(name: str, function) -> str:
    """One function as stub text."""
    record = getattr(inspect.unwrap(function), "operator", None)
    result = "Tensor" if record is not None and record.results == 1 else "Any"
    return f"def {name}({parameters_of(function)}) -> {result}: ..."


def imports() -> str:
    """The classes and functions that are no operators, from the modules that define them."""
    places = dict(suiren._LAZY_FUNCTIONS)
    for name, value in vars(suiren).items():
        module = getattr(value, "__module__", None) or ""
        if name.startswith("_") or name in places or name in operator.NAMESPACES["torch"]:
            continue
        if module.startswith("suiren.") and (isinstance(value, type) or inspect.isfunction(value)):
            places[name] = module
    lines = sorted(f"from {module} import {name} as {name}" for name, module in places.items())
    return "\n".join([*lines, "from suiren.version import __version__ as __version__"])


def text() -> str:
    """The whole file."""
    lines = [HEADER.format(imports=imports(), modules=", ".join(
        f"{m} as {m}" for m in sorted(("autograd", "fft", "hub", "linalg", "nn", "optim", "random",
                                       "special", "utils", "vision"))))]  # fmt: skip
    for name in sorted(vars(suiren)):
        if isinstance(vars(suiren)[name], dtype):
            lines.append(f"{name}: dtype")
    functions = operator.NAMESPACES["torch"]
    for name in sorted(functions):
        if keyword.iskeyword(name):
            continue
        if callable(functions[name]) and not isinstance(functions[name], type):
            lines.append(stub_of(name, functions[name]))
        else:
            lines.append(f"{name}: Any")
    return "\n".join(lines) + "\n"


def main() -> int:
    wanted = text()
    if "--check" in sys.argv:
        return 0 if FILE.exists() and FILE.read_text("utf-8") == wanted else 1
    FILE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
