"""From an ELF object, as LLVM makes it of a kernel, to code that can lie anywhere in memory.

Below ``machine_code``. Kernels are simple: instructions, and constants that they address relative
to themselves. So linking one is putting its sections side by side and filling in a few distances,
which is done here in a millisecond or less, without LLVM. What kernels call from outside (libc's
``memset``, say) is reached by a jump through an address that is filled in when the code is loaded.

Only what our code generators make is understood, for x86-64 and AArch64; everything else (another
format, data that can be written, relocations that depend on where the code lies) raises
``NotLinkable``, and LLVM's own linker does the work. Sources: System V ABI, "Object Files"; its
supplement for AMD64, 4.4; "ELF for the Arm 64-bit Architecture", 5.7.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

X86_64, AARCH64 = 62, 183  # e_machine
PAGE = 4096  # AArch64 addresses by pages of this size, whatever the system's are
_STUB_BYTES = 16  # a jump, and from byte 8 on the address that it goes to
_JUMPS = {
    X86_64: bytes.fromhex("ff2502000000 0000"),  # jmp [rip+2]
    AARCH64: struct.pack("<II", 0x58000050, 0xD61F0200),  # ldr x16, here+8; br x16
}
_WRITABLE, _ALLOCATED, _THREAD_LOCAL = 1, 2, 0x400  # flags of sections
_CONTENTS, _SYMBOLS, _RELOCATIONS = 1, 2, 4  # kinds of sections; no other one may be in memory
_NOWHERE, _ABSOLUTE = 0, 0xFFF1  # indices that stand for no section


class NotLinkable(Exception):
    """This object holds something that only LLVM's linker knows what to do with."""


class Unit(NamedTuple):
    """Code with its constants that runs at any address that is a multiple of ``alignment``.

    ``entry``: where its function begins. ``imports``: the name of each function from outside and
    where in ``code`` its address, eight bytes, is to be written before the code runs.
    """

    code: bytes
    entry: int
    alignment: int
    imports: tuple[tuple[str, int], ...] = ()


def link(data: bytes, function: str) -> Unit:
    """The object's code as one unit that begins at this function. Raises NotLinkable."""
    try:
        return _Object(data).linked(function)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise NotLinkable(f"an object that cannot be read: {error}") from None


def join(units: list[Unit]) -> tuple[Unit, list[int]]:
    """Units one after the other as one, and where each one's function begins in it."""
    parts: list[bytes] = []
    entries: list[int] = []
    imports: list[tuple[str, int]] = []
    end = 0
    for unit in units:
        gap = -end % unit.alignment
        start = end + gap
        parts += [bytes(gap), unit.code]
        entries.append(start + unit.entry)
        imports += [(name, start + place) for name, place in unit.imports]
        end = start + len(unit.code)
    alignment = max([unit.alignment for unit in units], default=1)
    return Unit(b"".join(parts), 0, alignment, tuple(imports)), entries


class _Section(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


class _Object:
    def __init__(self, data: bytes):
        if data[:7] != b"\x7fELF\x02\x01\x01":
            raise NotLinkable("no 64-bit little-endian ELF")
        self.data = data
        kind, self.machine = struct.unpack_from("<HH", data, 16)
        if kind != 1 or self.machine not in _JUMPS:
            raise NotLinkable(f"an object of kind {kind} for machine {self.machine}")
        (table,) = struct.unpack_from("<Q", data, 40)
        (count,) = struct.unpack_from("<H", data, 60)
        self.sections = [
            _Section(*struct.unpack_from("<IIQQQQIIQQ", data, table + 64 * i))
            for i in range(count)
        ]
        self.code = bytearray()
        self.places: dict[int, int] = {}  # of the sections that are in memory
        self.stubs: dict[str, int] = {}

    def linked(self, function: str) -> Unit:
        alignment = 64 if self.machine == X86_64 else PAGE
        tables = [s for s in self.sections if s.kind == _SYMBOLS]
        if len(tables) != 1:
            raise NotLinkable("no table of symbols")
        self.symbols, self.names = tables[0], self.sections[tables[0].link]
        for number, section in enumerate(self.sections):
            if not section.flags & _ALLOCATED or not section.size or self._unwinds(section):
                continue
            if section.kind != _CONTENTS or section.flags & (_WRITABLE | _THREAD_LOCAL):
                raise NotLinkable("data that can be written")
            if section.alignment > alignment:
                raise NotLinkable(f"data aligned to {section.alignment} bytes")
            self.code += bytes(-len(self.code) % max(section.alignment, 1))
            self.places[number] = len(self.code)
            self.code += self.data[section.offset : section.offset + section.size]
        for section in self.sections:
            if section.kind == _RELOCATIONS and section.info in self.places:
                self._relocate(section)
            elif section.kind == 9 and section.info in self.places:
                raise NotLinkable("relocations without addends")
        entry = self._entry(function)
        imports = tuple([(name, place + 8) for name, place in self.stubs.items()])
        return Unit(bytes(self.code), entry, alignment, imports)

    def _unwinds(self, section: _Section) -> bool:
        """Tables for exceptions, which kernels never raise."""
        return self._text(self.sections[self._names_of_sections()], section.name) == ".eh_frame"

    def _names_of_sections(self) -> int:
        return struct.unpack_from("<H", self.data, 62)[0]

    def _text(self, table: _Section, at: int) -> str:
        start = table.offset + at
        return self.data[start : self.data.index(b"\0", start)].decode("ascii")

    def _symbol(self, number: int) -> tuple[str, int, int]:
        """Name, section and place in it."""
        name, _, _, section, value, _ = struct.unpack_from(
            "<IBBHQQ", self.data, self.symbols.offset + 24 * number
        )
        return self._text(self.names, name), section, value

    def _entry(self, function: str) -> int:
        for number in range(self.symbols.size // 24):
            name, section, value = self._symbol(number)
            if name == function and section in self.places:
                return self.places[section] + value
        raise NotLinkable(f"no function {function}")

    def _relocate(self, table: _Section) -> None:
        base = self.places[table.info]
        patch = _x86_64 if self.machine == X86_64 else _aarch64
        for at in range(table.offset, table.offset + table.size, 24):
            offset, info, addend = struct.unpack_from("<QQq", self.data, at)
            name, section, value = self._symbol(info >> 32)
            if section == _NOWHERE:
                target, outside = self._stub(name), True
            elif section in self.places:
                target, outside = self.places[section] + value, False
            else:
                raise NotLinkable(f"a reference to {name or 'a section'} that is not in memory")
            patch(self.code, base + offset, info & 0xFFFFFFFF, target, addend, outside)

    def _stub(self, name: str) -> int:
        """Where the jump to a function from outside lies."""
        if not name:
            raise NotLinkable("a reference to nothing")
        if name not in self.stubs:
            self.code += bytes(-len(self.code) % _STUB_BYTES)
            self.stubs[name] = len(self.code)
            self.code += _JUMPS[self.machine] + bytes(8)
        return self.stubs[name]


def _x86_64(
    code: bytearray, place: int, kind: int, target: int, addend: int, outside: bool
) -> None:
    if kind in (9, 41, 42) and outside:  # GOTPCREL: the address lies behind the jump
        target += 8
    elif kind != 4 and (kind != 2 or outside):  # PLT32; PC32, whose data cannot be a jump
        raise NotLinkable(f"x86-64 relocation {kind}")
    struct.pack_into("<i", code, place, target + addend - place)


# AArch64's loads and stores count offsets in items of their own size.
_LOW_BITS = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}


def _aarch64(
    code: bytearray, place: int, kind: int, target: int, addend: int, outside: bool
) -> None:
    (word,) = struct.unpack_from("<I", code, place)
    to = target + addend
    if kind in (282, 283):  # JUMP26, CALL26
        distance = to - place
        if distance % 4 or not -(1 << 27) <= distance < 1 << 27:
            raise NotLinkable("a call too far")
        word |= distance >> 2 & 0x3FFFFFF
    elif outside:
        raise NotLinkable(f"AArch64 relocation {kind} of something outside")
    elif kind in (274, 275):  # ADR_PREL_LO21, ADR_PREL_PG_HI21
        distance = to - place if kind == 274 else (to // PAGE) - (place // PAGE)
        if not -(1 << 20) <= distance < 1 << 20:
            raise NotLinkable("data too far")
        word |= (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5
    elif kind in _LOW_BITS:  # the ADD or the LDST that completes it
        shift = _LOW_BITS[kind]
        low = to % PAGE
        if low % (1 << shift):
            raise NotLinkable("data that is not aligned")
        word |= (low >> shift) << 10
    elif kind == 261:  # PREL32: tables of distances
        struct.pack_into("<i", code, place, to - place)
        return
    else:
        raise NotLinkable(f"AArch64 relocation {kind}")
    struct.pack_into("<I", code, place, word)
