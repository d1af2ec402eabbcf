"""`torch.profiler`: where the time of a script goes.

What is recorded while a profile is open: each operator's call (``aten::mul``: Python's time for
recording it), ``backward``, ``Optimizer.step#SGD.step``, the loader's ``__next__``, whatever
stands in ``record_function``, and each program that runs, with the time of every kernel in it and
of every operation that NumPy computes. Kernels are timed one by one: each is complete before the
next begins.

``recording`` collects, ``events`` is what users get of it, ``table`` and ``chrome`` print it,
``profiler`` has PyTorch's interface. While nothing is profiled none of this is in the way:
functions are replaced when a profile opens and put back when it closes. Source: PyTorch's
torch.profiler page.
"""

from suiren.profiler.events import DeviceType
from suiren.profiler.profiler import (
    ProfilerAction,
    ProfilerActivity,
    kineto_available,
    profile,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)
from suiren.profiler.recording import record_function

__all__ = [
    "DeviceType", "ProfilerAction", "ProfilerActivity", "kineto_available", "profile",
    "record_function", "schedule", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip
