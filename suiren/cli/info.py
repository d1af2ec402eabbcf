"""`suiren info`: what this installation consists of, for a glance and for bug reports."""

import argparse
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np

import suiren as torch
from suiren.version import __version__


def add_command(commands: Any) -> None:
    """Enter `info` among the subcommands."""
    parser = commands.add_parser(
        "info",
        help="print versions, processor and execution tier",
        description="Print versions, processor features and which tier executes programs.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do `suiren info` and give the exit status."""
    if arguments.json:
        print(json.dumps(dict(describe()), indent=2), flush=True)
        return 0
    for name, value in describe():
        print(f"{name:<9} {value}", flush=True)
    return 0


def describe() -> list[tuple[str, str]]:
    """What `suiren info` prints, as pairs of a name and a value."""
    system = f"{platform.system()} {platform.machine()}"
    return [
        ("suiren", __version__),
        ("python", f"{platform.python_version()} ({platform.python_implementation()}, {system})"),
        ("numpy", np.__version__),
        ("llvmlite", _llvmlite()),
        ("cpu", f"{_processor()}, {_usable_cores()} usable"),
        ("features", " ".join(cpu_features()) or "unknown"),
        ("threads", str(torch.get_num_threads())),
        ("tier", tier()),
        ("cache", cache()),
        ("weights", os.path.join(torch.hub.get_dir(), "checkpoints")),
    ]


def cache() -> str:
    """Where compiled kernels are kept, and how much lies there."""
    if find_spec("suiren.compiler.disk_cache") is None:
        return "none (this version has no compiler)"
    from suiren.compiler.disk_cache import default_folder

    folder = default_folder()
    if folder is None:
        return "off"
    files = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
    size = sum(os.path.getsize(file) for file in files if os.path.exists(file))
    return f"{folder} ({len(files)} files, {size / 2**20:.1f} MiB)"


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
