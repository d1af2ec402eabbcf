"""Seeing inside: what a function records, what the compiler makes of it, and what that costs.

``suiren.explain(fn, *args)`` runs a function until its programs are compiled and tells, for each of
them, the recorded operations with the lines of the source that asked for them, the kernels as loop
nests, and for each kernel its time, bytes and operations against what this machine can do.

``watching`` looks on while the function records and runs, ``timing`` takes the time of kernels (the
profiler does so too), ``peaks`` measures the machine, ``report`` is what users get.
"""

from suiren.explanation.report import Explanation, HostReport, KernelReport, ProgramReport, explain

__all__ = ["Explanation", "HostReport", "KernelReport", "ProgramReport", "explain"]
