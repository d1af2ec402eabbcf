"""Descriptions of the machines that code is generated for; nothing else asks what the host is.

A :class:`Target` says what the code generators want to know (vector width, registers, cache sizes)
and what LLVM does (triple, CPU, features). :func:`host` describes this machine; the presets
describe others, whose code can be generated and looked at here but not run. The lowest module of
the compiler but for ``identity`` and ``disk_cache``: what LLVM told about this machine is kept on
disk, so that a process that finds all its code there need not import llvmlite at all.

``SUIREN_TARGET`` = ``sse2``, ``avx2``, ``avx512`` or ``avx512-bf16`` restricts the host to that
instruction set.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from dataclasses import asdict, dataclass, replace

from suiren.compiler import disk_cache, identity

# LLVM 20 is the first that all our kernel texts are valid for (llvmlite 0.45).
OLDEST_LLVM = 20


@dataclass(frozen=True)
class Target:
    """A machine to generate code for; equal targets give equal code.

    ``masked``: loads and stores under a mask cost about what whole ones do (AVX-512), so that
    tails of rows need no scalar loop. AVX2's masked stores are too slow on AMD to count.
    ``l1``, ``l2``, ``l3``: bytes of data cache; l1 and l2 of one core, l3 shared.
    ``fma``: whether ``llvm.fma`` is one instruction (else it is a library call: avoid it).
    ``bfloat16_pairs``: a vector instruction adds the products of two pairs of bfloat16 to each
    float32 (AVX-512-BF16's ``vdpbf16ps``).
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int
    masked: bool
    l1: int = 32 * 1024
    l2: int = 512 * 1024
    l3: int = 8 * 1024 * 1024
    fma: bool = True
    bfloat16_pairs: bool = False

    @property
    def function_attributes(self) -> str:
        """What every ``define`` in the text of a kernel carries, after its parameters.

        >>> from suiren.compiler import target
        >>> target.AVX512.function_attributes
        'nounwind "prefer-vector-width"="512"'
        """
        return f'nounwind "prefer-vector-width"="{8 * self.vector_bytes}"'

    @property
    def key(self) -> str:
        """Everything that machine code depends on, as text: part of the disk cache's key."""
        return f"{self.triple} {self.cpu} {self.features} {self.vector_bytes}"

    def lanes(self, item_size: int) -> int:
        """How many items of this many bytes one vector register holds."""
        return self.vector_bytes // item_size


AVX512 = Target("avx512", "x86_64-unknown-linux-gnu", "x86-64-v4", "-prefer-256-bit", 64, 32, True)
AVX512_BF16 = replace(
    AVX512, name="avx512-bf16", features="-prefer-256-bit,+avx512bf16", bfloat16_pairs=True
)
AVX2 = Target("avx2", "x86_64-unknown-linux-gnu", "x86-64-v3", "", 32, 16, False)
SSE2 = Target("sse2", "x86_64-unknown-linux-gnu", "x86-64", "", 16, 16, False, fma=False)
NEON = Target("neon", "aarch64-unknown-linux-gnu", "generic", "+neon,+fp-armv8", 16, 32, False)

_RESTRICTIONS = {"avx512-bf16": AVX512_BF16, "avx512": AVX512, "avx2": AVX2, "sse2": SSE2}


@functools.cache
def unavailable() -> str | None:
    """Why nothing can be compiled here, in words; None when everything is there."""
    if sys.maxsize < 2**32 or sys.byteorder != "little":
        return "compiled programs need a 64-bit little-endian machine"
    if _remembered() is not None:
        return None
    try:
        import llvmlite.binding as llvm
    except (ImportError, OSError) as error:
        return f"llvmlite cannot be imported ({error})"
    if llvm.llvm_version_info[0] < OLDEST_LLVM:
        version = ".".join(map(str, llvm.llvm_version_info))
        return f"llvmlite has LLVM {version}; LLVM {OLDEST_LLVM} or later (llvmlite 0.45) is needed"
    try:
        llvm.check_jit_execution()
    except OSError as error:
        return str(error)
    return None


def available() -> bool:
    """Whether programs can be compiled here: llvmlite is there, and new enough."""
    return unavailable() is None


@functools.cache
def host() -> Target:
    """This machine, or what ``SUIREN_TARGET`` makes of it. Raises ValueError for unknown names."""
    wish = os.environ.get("SUIREN_TARGET", "").lower()
    if wish and wish not in _RESTRICTIONS:
        names = ", ".join(_RESTRICTIONS)
        raise ValueError(f"SUIREN_TARGET is {wish!r}; it can be one of {names}, or be left unset")
    known = _remembered()
    if known is None:
        known = _with_caches(_asked(wish))
        name = _record()
        if name is not None and available():
            import json

            disk_cache.of_process().put(name, json.dumps(asdict(known)).encode())
    return known


def _record() -> str | None:
    """The name under which this machine's description is kept on disk; None if it has none."""
    machine, llvm, sources = identity.machine(), identity.llvm(), identity.sources()
    if machine is None or llvm is None or sources is None:
        return None
    wish = os.environ.get("SUIREN_TARGET", "").lower()
    parts = ("target", machine, llvm, sources, wish)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _remembered() -> Target | None:
    """This machine as an earlier process described it, which had asked LLVM."""
    name = _record()
    data = disk_cache.of_process().get(name) if name is not None else None
    if data is None:
        return None
    import json

    return Target(**json.loads(data))


def _asked(wish: str) -> Target:
    """This machine as LLVM knows it, restricted as wished."""
    import llvmlite.binding as llvm

    triple = llvm.get_process_triple()
    cpu = llvm.get_host_cpu_name()
    found = llvm.get_host_cpu_features()
    features = found.flatten()
    if not triple.startswith(("x86_64", "amd64")):
        return replace(NEON, triple=triple, cpu=cpu, features=features)
    if all(found.get(f) for f in ("avx512f", "avx512bw", "avx512vl", "avx512dq", "fma")):
        best = "avx512-bf16" if found.get("avx512bf16") else "avx512"
    elif found.get("avx2") and found.get("fma"):
        best = "avx2"
    else:
        best = "sse2"
    order = list(_RESTRICTIONS)
    if wish and order.index(wish) > order.index(best):
        return replace(_RESTRICTIONS[wish], triple=triple)
    features += ",-prefer-256-bit" if best.startswith("avx512") else ""
    return replace(_RESTRICTIONS[best], triple=triple, cpu=cpu, features=features)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _with_caches(target: Target) -> Target:
    """With this machine's cache sizes, as far as the operating system says them."""
    sizes = {"l1": target.l1, "l2": target.l2, "l3": target.l3}
    for field, name in (
        ("l1", "SC_LEVEL1_DCACHE_SIZE"), ("l2", "SC_LEVEL2_CACHE_SIZE"),
        ("l3", "SC_LEVEL3_CACHE_SIZE"),
    ):  # fmt: skip
        try:
            size = os.sysconf(name)
        except (AttributeError, ValueError, OSError):
            size = _linux_cache_size(int(field[1]))
        if size > 0:
            sizes[field] = size
    return replace(target, l1=sizes["l1"], l2=sizes["l2"], l3=sizes["l3"])


def _linux_cache_size(level: int) -> int:
    """The size of the first processor's data cache of this level by Linux's files, or 0."""
    folder = "/sys/devices/system/cpu/cpu0/cache"
    units = {"K": 1024, "M": 1024**2, "G": 1024**3}
    try:
        for index in sorted(os.listdir(folder)):
            parts = []
            for name in ("level", "type", "size"):
                with open(os.path.join(folder, index, name), encoding="ascii") as file:
                    parts.append(file.read().strip())
            if parts[0] == str(level) and parts[1] != "Instruction":
                unit = units.get(parts[2][-1:], 0)
                return int(parts[2][:-1]) * unit if unit else int(parts[2])
    except (OSError, ValueError):
        pass
    return 0
