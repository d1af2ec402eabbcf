"""`torch._dynamo`: switches that scripts set beside ``torch.compile``; they change nothing."""

from __future__ import annotations

from types import SimpleNamespace

from suiren.compilation import OptimizedModule, allow_in_graph, disable, is_compiling, reset

__all__ = ["OptimizedModule", "allow_in_graph", "config", "disable", "is_compiling", "reset"]

config = SimpleNamespace(
    suppress_errors=False, cache_size_limit=8, recompile_limit=8, verbose=False,
    dynamic_shapes=True, capture_scalar_outputs=False, optimize_ddp=True, disable=False,
)  # fmt: skip
