"""Machine code made callable: memory that is written once and then can only be read and executed.

Below ``machine_code``. The system's own functions do it, through ctypes; on systems where that is
another affair (Windows, Apple's chips, or a policy that forbids it) ``load`` gives None, and LLVM
loads the code.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
from typing import Any

from suiren.compiler.linker import Unit

_READ, _EXECUTE = 1, 4  # PROT_READ, PROT_EXEC


class Mapping:
    """A unit in memory; the memory is given back with the object."""

    __slots__ = ("address", "size", "_pages")

    def __init__(self, pages: mmap.mmap, address: int, size: int):
        self.address = address
        self.size = size
        self._pages = pages


@functools.cache
def machine() -> int | None:
    """The ELF number of the machine whose code can be loaded here; None where none can."""
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    return {"x86_64": 62, "aarch64": 183}.get(os.uname().machine)


def load(unit: Unit) -> Mapping | None:
    """The unit in executable memory, its imports filled in; None where that cannot be done.

    Raises LookupError when a function that it calls is not there.
    """
    if machine() is None:
        return None
    addresses = [(_function(name), place) for name, place in unit.imports]
    size = max(1, len(unit.code))
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        return None
    pages.write(unit.code)
    for address, place in addresses:
        pages[place : place + 8] = address.to_bytes(8, "little")
    # A page begins at a multiple of every alignment that a unit may ask for.
    first = ctypes.c_char.from_buffer(pages)
    address = ctypes.addressof(first)
    del first
    # Linux makes what was written visible to the instruction caches when pages become executable.
    if _system().mprotect(address, size, _READ | _EXECUTE) != 0:
        return None
    return Mapping(pages, address, len(unit.code))


@functools.cache
def _system() -> Any:
    library = ctypes.CDLL(None)
    library.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return library


@functools.cache
def _function(name: str) -> int:
    """The address of a function of libc, of libm or of another library that is loaded."""
    for library in (None, "libm.so.6", "libgcc_s.so.1"):
        try:
            found = getattr(ctypes.CDLL(library), name)
        except (OSError, AttributeError):
            continue
        address = ctypes.cast(found, ctypes.c_void_p).value
        if address:
            return address
    raise LookupError(f"there is no function {name} in this process")
