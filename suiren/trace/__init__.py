"""Recording: values, traces, flushing and the cache of programs.

Sits below autograd and tensors and knows nothing of either. See ``docs/architecture.md``.
"""

from suiren.trace.meta import Meta, contiguous_strides, meta
from suiren.trace.program import programs
from suiren.trace.recorder import current_trace, flush, record
from suiren.trace.value import Value

__all__ = [
    "Meta", "Value", "contiguous_strides", "current_trace", "flush", "meta", "programs", "record",
]  # fmt: skip
