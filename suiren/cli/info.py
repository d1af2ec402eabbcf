"""`suiren info`: what this installation consists of, for a glance and for bug reports."""

import argparse
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

import suiren as torch


def add_command(commands: Any) -> None:
    """Enter `info` among the subcommands."""
    parser = commands.add_parser(
        "info",
        help="print versions, processor and execution tier",
        description="Print versions, processor features and which tier executes programs.",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do `suiren info` and give the exit status."""
    for name, value in describe():
        print(f"{name:<9} {value}", flush=True)
    return 0


def describe() -> list[tuple[str, str]]:
    """What `suiren info` prints, as pairs of a name and a value."""
    system = f"{platform.system()} {platform.machine()}"
    return [
        ("suiren", torch.__version__),
        ("python", f"{platform.python_version()} ({platform.python_implementation()}, {system})"),
        ("numpy", np.__version__),
        ("llvmlite", _llvmlite()),
        ("cpu", f"{_processor()}, {_usable_cores()} usable"),
        ("features", " ".join(cpu_features()) or "unknown"),
        ("tier", tier()),
    ]


def tier() -> str:
    """Which tier executes programs here: the compiler, or the NumPy interpreter and why."""
    if find_spec("suiren.compiler") is None:
        return "NumPy interpreter (this version has no compiler)"
    if os.environ.get("SUIREN_JIT") == "0":
        return "NumPy interpreter (SUIREN_JIT=0)"
    if find_spec("llvmlite") is None:
        return "NumPy interpreter (llvmlite is not installed)"
    return "LLVM compiler"


def cpu_features() -> list[str]:
    """The vector instruction sets of this processor, sorted, in lower case.

    LLVM knows all features of the processor; without llvmlite they are NumPy's, which lists those
    that it can make use of.
    """
    if find_spec("llvmlite") is not None:
        from llvmlite.binding import get_host_cpu_features

        features = get_host_cpu_features()
        wanted = ("sse", "ssse", "avx", "fma", "f16c", "amx", "neon", "sve", "sme", "bf16")
        return sorted(
            name for name, present in features.items() if present and name.startswith(wanted)
        )
    extensions = np.show_config(mode="dicts").get("SIMD Extensions", {})
    found = [*extensions.get("baseline", []), *extensions.get("found", [])]
    return sorted({name.lower() for name in found})


def _llvmlite() -> str:
    try:
        present = version("llvmlite")
    except PackageNotFoundError:
        return "not installed"
    from llvmlite.binding import llvm_version_info

    return f"{present} (LLVM {'.'.join(str(part) for part in llvm_version_info)})"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.lower().startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


def _usable_cores() -> str:
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return f"{cores} core{'s' if cores != 1 else ''}"
