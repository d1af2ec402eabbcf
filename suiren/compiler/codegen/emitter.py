"""Writes the LLVM IR text of one function.

A thin layer: every method appends one instruction and returns its result as an :class:`Operand`
(a name or literal with its type). Types are their LLVM spellings ("float", "<16 x float>", "i64").
Text instead of an object model because it is several times faster to make, and because what is
written here can be read and compared with what LLVM's documentation shows.

Integers of Python may stand wherever an ``i64`` operand is wanted, and arithmetic on them is done
here and now: index expressions of static shapes fold away before LLVM sees them. Loops keep what
changes in memory (:meth:`Emitter.variable`), which LLVM's first pass turns into registers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

FLOATS = {"half": 2, "bfloat": 2, "float": 4, "double": 8}


class Operand:
    """A value in the program being written: its text (``%12``, ``true``, ...) and its type."""

    __slots__ = ("text", "type")

    def __init__(self, text: str, type: str):
        self.text = text
        self.type = type

    def __str__(self) -> str:
        return f"{self.type} {self.text}"

    __repr__ = __str__


_Whole = int  # for annotations in Emitter, where ``int`` is a method
Int = Operand | int  # an i64: known now, or when the program runs


def lanes(type: str) -> int:
    """The number of elements of a vector type; 0 for a scalar."""
    return int(type[1 : type.index(" ")]) if type[0] == "<" else 0


def element(type: str) -> str:
    """The type of a vector's elements; a scalar type itself."""
    return type[type.index("x ") + 2 : -1] if type[0] == "<" else type


def vector(scalar: str, width: int) -> str:
    """The type of ``width`` elements; width 0 is the scalar itself."""
    return f"<{width} x {scalar}>" if width else scalar


def like(type: str, scalar: str) -> str:
    """``scalar`` in as many lanes as ``type`` has."""
    return vector(scalar, lanes(type))


def bits(type: str) -> int:
    """The size in bits of a (vector's) element."""
    kind = element(type)
    return 8 * FLOATS[kind] if kind in FLOATS else 64 if kind == "ptr" else int(kind[1:])


def literal(scalar: str, value: Any) -> str:
    """The text of a constant of a scalar type."""
    if scalar == "i1":
        return "true" if value else "false"
    if scalar in ("float", "double"):
        value = float(value)
        if scalar == "float" and value == value and abs(value) != float("inf"):
            try:
                value = struct.unpack("f", struct.pack("f", value))[0]
            except OverflowError:
                value = float("inf") if value > 0 else float("-inf")
        return f"0x{struct.unpack('Q', struct.pack('d', value))[0]:016X}"
    if scalar == "half":
        return f"0xH{_half(float(value)):04X}"
    if scalar == "bfloat":
        raise TypeError("write constants of bfloat as float and convert")
    width = int(scalar[1:])
    value = int(value) & ((1 << width) - 1)
    return str(value - (1 << width) if value >> (width - 1) else value)


def _half(value: float) -> int:
    """The bits of a number rounded to float16."""
    try:
        return struct.unpack("H", struct.pack("e", value))[0]
    except OverflowError:
        return 0x7C00 if value > 0 else 0xFC00


class Emitter:
    """One function under construction; ``module()`` gives the whole module's text."""

    fused = True  # whether fma is an instruction of the target; where not, see mathematics.values

    def __init__(self, function_attributes: str = "", name: str = "kernel", header: str = ""):
        self.name = name
        self.attributes = function_attributes
        self.parameters = "ptr %args, i64 %task"
        self.header = header  # comments or metadata above the function
        self.lines: list[Any] = []  # lines, and lists of lines: see section()
        self.entry: list[str] = []  # allocas: they belong at the top of the function
        self.declared: dict[str, str] = {}
        self.globals: list[str] = []
        self.args = Operand("%args", "ptr")
        self.task: Int = Operand("%task", "i64")
        self._buffers: dict[int, Operand] = {}
        self._count = 0
        self._labels = 0
        self._block = "entry"

    # ---- the pieces of text

    def module(self) -> str:
        """The module: globals, the function, declarations of the intrinsics it calls."""
        head = f"define void @{self.name}({self.parameters}) {self.attributes} {{\nentry:\n"
        body = "\n".join((*self.entry, *_flat(self.lines)))
        return "\n".join(
            (
                self.header,
                *self.globals,
                f"{head}{body}\n  ret void\n}}",
                *self.declared.values(),
                "",
            )
        )

    def fresh(self) -> str:
        """A new name for a result."""
        self._count += 1
        return f"%v{self._count}"

    def line(self, text: str) -> None:
        """Appends a line as it is."""
        self.lines.append("  " + text)

    def make(self, text: str, type: str) -> Operand:
        """Appends ``<new name> = text`` and returns the name as an operand of ``type``."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return Operand(name, type)

    def comment(self, text: str) -> None:
        """Appends a comment line."""
        self.lines.append("  ; " + text.replace("\n", " "))

    def section(self) -> list[Any]:
        """A place here that can be written to later: what is wanted once, found out in a loop."""
        place: list[Any] = []
        self.lines.append(place)
        return place

    @contextmanager
    def writing(self, place: list[Any]) -> Iterator[None]:
        """What is written inside ``with`` goes to that place."""
        lines, self.lines = self.lines, place
        try:
            yield
        finally:
            self.lines = lines

    # ---- the kernel's arguments

    def buffer(self, slot: int) -> Operand:
        """The base address of a buffer: the table points at cells that hold addresses.

        Loaded at the top of the function, once: LLVM would not dare to take it out of a loop.
        """
        if slot not in self._buffers:
            with self.writing(self.entry):
                cell = self.load(self.pointer(self.args, slot, "ptr"), "ptr", 8)
                self._buffers[slot] = self.load(cell, "ptr", 8)
        return self._buffers[slot]

    def held(self, slot: int) -> Operand:
        """The first i64 of a buffer that nobody writes to, loaded at the top of the function."""
        base = self.buffer(slot)
        with self.writing(self.entry):
            return self.load(base, "i64", 8)

    def number(self, slot: int, type: str) -> Operand:
        """A Python number of this run, held in its cell as ``double`` or ``i64``."""
        cell = self.load(self.pointer(self.args, slot, "ptr"), "ptr", 8)
        return self.load(cell, type, 8)

    # ---- constants

    def const(self, type: str, value: Any) -> Operand:
        """A constant; of a vector type: the value in all lanes."""
        text = literal(element(type), value)
        return Operand(f"splat ({element(type)} {text})" if type[0] == "<" else text, type)

    def constants(self, type: str, values: Sequence[Any]) -> Operand:
        """A vector with these elements."""
        scalar = element(type)
        inside = ", ".join(f"{scalar} {literal(scalar, v)}" for v in values)
        return Operand(f"<{inside}>", type)

    def int(self, value: Int) -> Operand:
        """A Python integer as an i64 operand."""
        return value if isinstance(value, Operand) else Operand(str(value), "i64")

    # ---- arithmetic on operands of one type

    def binary(self, instruction: str, a: Operand, b: Operand) -> Operand:
        """``fadd``, ``fsub``, ``fmul``, ``fdiv``, ``frem``, ``add``, ``and``, ``shl``, ..."""
        return self.make(f"{instruction} {a.type} {a.text}, {b.text}", a.type)

    def fadd(self, a: Operand, b: Operand) -> Operand:
        return self.binary("fadd", a, b)

    def fsub(self, a: Operand, b: Operand) -> Operand:
        return self.binary("fsub", a, b)

    def fmul(self, a: Operand, b: Operand) -> Operand:
        return self.binary("fmul", a, b)

    def fdiv(self, a: Operand, b: Operand) -> Operand:
        return self.binary("fdiv", a, b)

    def fneg(self, a: Operand) -> Operand:
        return self.make(f"fneg {a}", a.type)

    def fma(self, a: Operand, b: Operand, c: Operand) -> Operand:
        """a * b + c, rounded once."""
        return self.intrinsic("llvm.fma", a.type, a, b, c)

    def fcmp(self, condition: str, a: Operand, b: Operand) -> Operand:
        """``oeq``, ``olt``, ``une``, ``uno``, ...; the result has a bit for each lane."""
        return self.make(f"fcmp {condition} {a.type} {a.text}, {b.text}", like(a.type, "i1"))

    def icmp(self, condition: str, a: Operand, b: Operand) -> Operand:
        """``eq``, ``slt``, ``ult``, ..."""
        return self.make(f"icmp {condition} {a.type} {a.text}, {b.text}", like(a.type, "i1"))

    def select(self, condition: Operand, a: Operand, b: Operand) -> Operand:
        """``condition ? a : b`` in each lane."""
        return self.make(f"select {condition}, {a}, {b}", a.type)

    def convert(self, instruction: str, a: Operand, scalar: str) -> Operand:
        """``sitofp``, ``fptosi``, ``fpext``, ``zext``, ``trunc``, ``bitcast``, ... lane by lane."""
        to = like(a.type, scalar)
        return a if to == a.type else self.make(f"{instruction} {a} to {to}", to)

    def intrinsic(self, name: str, result: str, *operands: Operand, suffix: str = "") -> Operand:
        """Calls ``name.<suffix>``, by default the suffix of the result's type."""
        full = f"{name}.{suffix or mangled(result)}"
        if full not in self.declared:
            kinds = ", ".join(o.type for o in operands)
            self.declared[full] = f"declare {result} @{full}({kinds})"
        return self.make(f"call {result} @{full}({', '.join(map(str, operands))})", result)

    # ---- i64 arithmetic that folds what is known

    def iadd(self, a: Int, b: Int) -> Int:
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if isinstance(a, int) and a == 0:
            return b
        if isinstance(b, int) and b == 0:
            return a
        return self.make(f"add nsw i64 {_t(a)}, {_t(b)}", "i64")

    def isub(self, a: Int, b: Int) -> Int:
        if isinstance(b, int):
            return self.iadd(a, -b)
        return self.make(f"sub nsw i64 {_t(a)}, {_t(b)}", "i64")

    def imul(self, a: Int, b: Int) -> Int:
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        for x, y in ((a, b), (b, a)):
            if isinstance(x, int) and x in (0, 1):
                return y if x else 0
        return self.make(f"mul nsw i64 {_t(a)}, {_t(b)}", "i64")

    def idiv(self, a: Int, b: Int) -> Int:
        """The quotient of numbers that are not negative."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b
        if isinstance(b, int) and b == 1:
            return a
        return self.make(f"udiv i64 {_t(a)}, {_t(b)}", "i64")

    def imod(self, a: Int, b: Int) -> Int:
        """The remainder of numbers that are not negative."""
        if isinstance(a, int) and isinstance(b, int):
            return a % b
        if isinstance(b, int) and b == 1:
            return 0
        return self.make(f"urem i64 {_t(a)}, {_t(b)}", "i64")

    def imin(self, a: Int, b: Int) -> Int:
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        return self.intrinsic("llvm.smin", "i64", self.int(a), self.int(b))

    # ---- memory

    def pointer(self, base: Operand, index: Int, scalar: str) -> Operand:
        """The address of ``base[index]`` where an element is a ``scalar``."""
        if isinstance(index, int) and index == 0:
            return base
        return self.make(f"getelementptr {scalar}, {base}, i64 {_t(index)}", "ptr")

    def load(self, pointer: Operand, type: str, align: _Whole = 0) -> Operand:
        """Loads from an address that is aligned as its elements are, or as said (bytes)."""
        align = align or max(1, bits(type) // 8)
        return self.make(f"load {type}, {pointer}, align {align}", type)

    def store(
        self, value: Operand, pointer: Operand, align: _Whole = 0, stream: bool = False
    ) -> None:
        """Stores; with ``stream`` past the caches (address aligned to the whole vector)."""
        align = align or max(1, bits(value.type) // 8)
        past = ", !nontemporal !{i32 1}" if stream else ""
        self.line(f"store {value}, {pointer}, align {align}{past}")

    def prefetch(self, pointer: Operand) -> None:
        """Asks for the line of the cache at an address, which need not be one that is ours."""
        name = "llvm.prefetch.p0"
        self.declared[name] = f"declare void @{name}(ptr, i32 immarg, i32 immarg, i32 immarg)"
        self.line(f"call void @{name}({pointer}, i32 0, i32 3, i32 1)")

    def fetch(self, pointer: Operand) -> None:
        """Asks for a line of memory that will be written to; it may lie outside of an array."""
        name = "llvm.prefetch.p0"
        self.declared[name] = f"declare void @{name}(ptr, i32, i32, i32)"
        self.line(f"call void @{name}({pointer}, i32 1, i32 3, i32 1)")

    def masked_load(self, pointer: Operand, type: str, mask: Operand, other: Any = 0) -> Operand:
        """Loads the lanes whose mask is set; ``other`` in the rest."""
        align = max(1, bits(type) // 8)
        rest = self.const(type, other) if not isinstance(other, Operand) else other
        full = f"llvm.masked.load.{mangled(type)}.p0"
        self.declared[full] = f"declare {type} @{full}(ptr, {mask.type}, {type})"
        return self.make(f"call {type} @{full}(ptr align {align} {pointer.text}, {mask}, {rest})",
                         type)  # fmt: skip

    def masked_store(self, value: Operand, pointer: Operand, mask: Operand) -> None:
        """Stores the lanes whose mask is set."""
        align = max(1, bits(value.type) // 8)
        if mask.text.count("i1 true") == 1 and mask.text.startswith("<"):
            # LLVM 22 stores 4 bytes for the one lane of vectors of i16 that come from a trunc.
            lane = mask.text.split(",").index(next(t for t in mask.text.split(",") if "true" in t))
            self.store(self.extract(value, lane), pointer)
            return
        full = f"llvm.masked.store.{mangled(value.type)}.p0"
        self.declared[full] = f"declare void @{full}({value.type}, ptr, {mask.type})"
        self.line(f"call void @{full}({value}, ptr align {align} {pointer.text}, {mask})")

    def gather(
        self, base: Operand, index: Operand, scalar: str, mask: Operand | None = None,
        other: Any = 0, step: str = "", align: _Whole = 0,
    ) -> Operand:  # fmt: skip
        """Loads ``base[index]`` lane by lane; ``index`` is a vector of i32 or i64.

        ``step``: the type that the index counts, if not ``scalar``; then ``align`` in bytes.
        """
        width = lanes(index.type)
        type = vector(scalar, width)
        unit = step or scalar
        pointers = self.make(f"getelementptr {unit}, {base}, {index}", vector("ptr", width))
        mask = mask or self.const(vector("i1", width), 1)
        rest = self.const(type, other)
        full = f"llvm.masked.gather.{mangled(type)}.v{width}p0"
        self.declared[full] = f"declare {type} @{full}({pointers.type}, {mask.type}, {type})"
        align = align or max(1, bits(type) // 8)
        return self.make(
            f"call {type} @{full}({pointers.type} align {align} {pointers.text}, {mask}, {rest})",
            type,
        )

    def scatter(
        self, value: Operand, base: Operand, index: Operand, mask: Operand | None = None
    ) -> None:
        """Stores to ``base[index]`` lane by lane; ``index`` is a vector of i32 or i64."""
        width = lanes(value.type)
        scalar = element(value.type)
        pointers = self.make(f"getelementptr {scalar}, {base}, {index}", vector("ptr", width))
        mask = mask or self.const(vector("i1", width), 1)
        full = f"llvm.masked.scatter.{mangled(value.type)}.v{width}p0"
        self.declared[full] = f"declare void @{full}({value.type}, {pointers.type}, {mask.type})"
        align = max(1, bits(value.type) // 8)
        self.line(
            f"call void @{full}({value}, {pointers.type} align {align} {pointers.text}, {mask})"
        )

    def variable(self, value: Operand) -> Variable:
        """A place for something that changes in loops; LLVM keeps it in a register."""
        name = self.fresh()
        self.entry.append(f"  {name} = alloca {value.type}")
        made = Variable(self, Operand(name, "ptr"), value.type)
        made.set(value)
        return made

    def stack(self, scalar: str, count: _Whole, align: _Whole = 64) -> Operand:
        """Memory on the stack for ``count`` elements."""
        name = self.fresh()
        self.entry.append(f"  {name} = alloca [{count} x {scalar}], align {align}")
        return Operand(name, "ptr")

    # ---- vectors

    def splat(self, a: Operand, width: _Whole) -> Operand:
        """The scalar in ``width`` lanes; width 0 leaves it as it is."""
        if not width:
            return a
        type = vector(a.type, width)
        one = self.make(f"insertelement {type} poison, {a}, i64 0", type)
        return self.make(
            f"shufflevector {type} {one.text}, {type} poison, <{width} x i32> zeroinitializer", type
        )

    def extract(self, a: Operand, lane: _Whole) -> Operand:
        """One element of a vector."""
        return self.make(f"extractelement {a}, i64 {lane}", element(a.type))

    def shuffle(self, a: Operand, b: Operand, order: Sequence[_Whole]) -> Operand:
        """Elements of ``a`` then ``b`` by number; -1 where it does not matter."""
        numbers = ", ".join("i32 poison" if i < 0 else f"i32 {i}" for i in order)
        type = vector(element(a.type), len(order))
        return self.make(f"shufflevector {a}, {b}, <{len(order)} x i32> <{numbers}>", type)

    def counting(self, width: _Whole, scalar: str = "i64") -> Operand:
        """0, 1, 2, ... in the lanes."""
        return self.constants(vector(scalar, width), range(width))

    def tail_mask(self, left: Int, width: _Whole) -> Operand:
        """The first ``left`` lanes set."""
        if isinstance(left, int):
            return self.constants(vector("i1", width), [i < left for i in range(width)])
        some = self.make(f"trunc i64 {left.text} to i32", "i32")
        return self.icmp("ult", self.counting(width, "i32"), self.splat(some, width))

    # ---- flow

    def label(self, name: str) -> None:
        """Begins a block."""
        self.lines.append(f"{name}:")
        self._block = name

    def jump(self, name: str) -> None:
        self.line(f"br label %{name}")

    def branch(self, condition: Operand, yes: str, no: str) -> None:
        self.line(f"br {condition}, label %{yes}, label %{no}")

    def labels(self, *stems: str) -> tuple[str, ...]:
        """New names of blocks."""
        self._labels += 1
        return tuple([f"{stem}{self._labels}" for stem in stems])

    @contextmanager
    def loop(self, begin: Int, end: Int, step: _Whole = 1) -> Iterator[Int]:
        """``for i in range(begin, end, step)``: the body is what is written inside ``with``.

        A loop of one round known to be one is no loop; of none: its body is written and skipped.
        """
        if isinstance(begin, int) and isinstance(end, int) and begin < end <= begin + step:
            yield begin
            return
        # Blocks of its own at both ends: what is written into a section above may end other ones.
        before, head, body, last, done = self.labels("before", "loop", "body", "next", "done")
        name = self.fresh()
        after = self.fresh()
        self.jump(before)
        self.label(before)
        self.jump(head)
        self.label(head)
        self.line(f"{name} = phi i64 [ {_t(begin)}, %{before} ], [ {after}, %{last} ]")
        go = self.make(f"icmp slt i64 {name}, {_t(end)}", "i1")
        self.branch(go, body, done)
        self.label(body)
        yield Operand(name, "i64")
        self.jump(last)
        self.label(last)
        self.line(f"{after} = add nsw i64 {name}, {step}")
        self.jump(head)
        self.label(done)

    def opaque(self, number: Int) -> Int:
        """The number, of which LLVM does not know that it counts a loop's rounds.

        Else it looks for the best pointers to step through many arrays at once, which takes longer
        than all the rest of compiling; addresses are worked out from the number as well.
        """
        if isinstance(number, int):
            return number
        return self.make(f'call i64 asm "", "=r,0"(i64 {number.text})', "i64")

    @contextmanager
    def when(self, condition: Operand) -> Iterator[None]:
        """The body is run if the (scalar) condition holds."""
        yes, done = self.labels("then", "after")
        self.branch(condition, yes, done)
        self.label(yes)
        yield
        self.jump(done)
        self.label(done)


class Variable:
    """Something that changes: ``get()`` and ``set(value)``."""

    __slots__ = ("_emitter", "pointer", "type")

    def __init__(self, emitter: Emitter, pointer: Operand, type: str):
        self._emitter = emitter
        self.pointer = pointer
        self.type = type

    def get(self) -> Operand:
        return self._emitter.make(f"load {self.type}, {self.pointer}", self.type)

    def set(self, value: Operand) -> None:
        self._emitter.line(f"store {value}, {self.pointer}")


def _flat(lines: list[Any]) -> Iterator[str]:
    for line in lines:
        if isinstance(line, str):
            yield line
        else:
            yield from _flat(line)


def mangled(type: str) -> str:
    """How a type is spelt in the names of intrinsics: ``v16f32``, ``i64``."""
    kind = element(type)
    short = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64", "ptr": "p0"}
    width = lanes(type)
    return (f"v{width}" if width else "") + short.get(kind, kind)


def _t(a: Int) -> str:
    return str(a) if isinstance(a, int) else a.text
