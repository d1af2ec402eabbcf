"""What compiled code depends on beside the text it is made of, told without asking LLVM.

The lowest module of the compiler: each function describes one thing as text, which goes into the
names of files on disk. To import LLVM takes as long as to run the first steps of a small model, so
a process that finds everything on disk never does. Where something is not known the answer is
None, and nothing is looked for that was not made by this very process's LLVM.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from importlib.machinery import PathFinder

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# What names an x86 or Arm processor and its instructions in Linux's description of one.
_TELLING = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU implementer",
            "CPU architecture", "CPU variant", "CPU part", "Features")  # fmt: skip


@functools.cache
def machine() -> str | None:
    """The processor and the sizes of its caches; None on systems where that is not known."""
    if sys.platform != "linux":
        return None
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace", buffering=1 << 14) as file:
            lines = []
            for line in file:
                if not line.strip():
                    break  # the next processor
                lines.append(line)
    except OSError:
        return None
    told = {}
    for line in lines:
        name, _, value = line.partition(":")
        told[name.strip()] = value.strip()
    if not (told.get("flags") or told.get("Features")):
        return None
    parts = [os.uname().machine, *(f"{name}={told.get(name)}" for name in _TELLING)]
    for name in ("SC_LEVEL1_DCACHE_SIZE", "SC_LEVEL2_CACHE_SIZE", "SC_LEVEL3_CACHE_SIZE"):
        try:
            parts.append(str(os.sysconf(name)))
        except (ValueError, OSError):
            parts.append("?")
    return "\n".join(parts)


@functools.cache
def llvm() -> str | None:
    """The LLVM that llvmlite brings: its library's name, size and time; None without llvmlite."""
    if sys.modules.get("llvmlite", spec := PathFinder.find_spec("llvmlite")) is None:
        return None  # somebody forbade it, or it is not there
    if spec is None or spec.origin is None:
        return None
    found = []
    try:
        with os.scandir(os.path.join(os.path.dirname(spec.origin), "binding")) as entries:
            for entry in entries:
                if entry.name.startswith(("libllvmlite", "llvmlite.")):
                    status = entry.stat()
                    found.append(f"{entry.name} {status.st_size} {status.st_mtime_ns}")
    except OSError:
        return None
    return "\n".join(sorted(found)) or None


@functools.cache
def sources() -> str | None:
    """A digest of the names, sizes and times of this package's own files; None if they are none.

    Whoever edits one gets programs that are made anew.
    """
    found: list[str] = []
    folders = [_PACKAGE]
    try:
        for folder in folders:  # which grows meanwhile
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith((".py", ".pyc")):
                        status = entry.stat()
                        found.append(f"{entry.path} {status.st_size} {status.st_mtime_ns}")
                    elif entry.name != "__pycache__" and entry.is_dir():
                        folders.append(entry.path)
    except OSError:  # an archive, say
        return None
    return hashlib.sha256("\n".join(sorted(found)).encode("utf-8", "surrogateescape")).hexdigest()
