"""The compiler: from a flushed trace to one multithreaded native program, through LLVM.

It sits below ``suiren/trace``, which calls it, and knows values and buffers, never tensors.
llvmlite is imported when something is first compiled, never by ``import suiren``.
"""

from __future__ import annotations

from typing import Any

# What users call torch.compiler is in suiren/compilation.
_PUBLIC = frozenset({
    "allow_in_graph", "cudagraph_mark_step_begin", "disable", "is_compiling",
    "is_dynamo_compiling", "is_exporting", "list_backends", "reset",
})  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("suiren.compilation"), name)
