"""From the Mersenne Twister's state to words, and from words to uniforms, in IR.

The lowest module of the package: every kernel is written with a :class:`Writer`.
"""

from __future__ import annotations

from collections.abc import Callable

from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.target import Target

N, M = 624, 397  # words of the twister's state, and how far apart those are that mix
CHUNK = 4 * N  # words of scratch: a multiple of 32, and of what any distribution takes at once
# key: uint32[624]; block: uint64[624], the outputs of the present key; the next of them and their
# end; scratch: uint32[CHUNK]; out; how many numbers; then four numbers that depend on the kernel.
SLOTS = ("key", "block", "position", "end", "scratch", "out", "count", "p0", "p1", "p2", "p3")
_SLOT = {name: number for number, name in enumerate(SLOTS)}
_TWO_52 = 2.0**52


class Writer(Emitter):
    """An emitter that knows the table of arguments and the way from words to uniforms."""

    def __init__(self, target: Target, name: str = "kernel"):
        super().__init__(target.function_attributes, name)
        self.target = target
        self.fused = target.fma
        self.wide = target.lanes(8)  # 64-bit lanes of a vector
        self.narrow = target.lanes(4)

    def slot(self, name: str) -> Operand:
        """The address of one argument."""
        return self.pointer(self.args, _SLOT[name], "i64")

    def argument(self, name: str, type: str = "ptr") -> Operand:
        """One argument."""
        return self.load(self.slot(name), type, 8)

    def each(self, count: Int, width: int, body: Callable[[Int, int], None]) -> None:
        """``body(i, width)`` for whole vectors of ``count`` elements, then ``body(i, 0)``."""
        whole: Int
        if isinstance(count, int):
            whole = count // width * width
        else:
            whole = self.binary("and", count, self.const("i64", -width))
        with self.loop(0, whole, width) as i:
            body(i, width)
        with self.loop(whole, count) as i:
            body(i, 0)

    def words(self, out: Operand, count: Int) -> None:
        """Draws words to memory."""
        self.line(f"call void @words({self.args}, {out}, i64 {self.int(count).text})")

    def chunks(
        self, count: Operand, words: int, body: Callable[[Operand, Int, Operand], None]
    ) -> None:
        """``body(scratch, start, length)`` for as many of ``count`` numbers as the scratch holds.

        Each time their words, ``words`` for a number, have been drawn to the scratch.
        """
        scratch = self.argument("scratch")
        room = CHUNK // words
        with self.loop(0, count, room) as start:
            length = self.imin(self.isub(count, start), room)
            assert isinstance(length, Operand)
            self.words(scratch, self.imul(length, words))
            body(scratch, start, length)

    # ---- from words to numbers

    def u32(self, scratch: Operand, i: Int, width: int) -> Operand:
        """float32 uniforms of one word each."""
        word = self.load(self.pointer(scratch, i, "i32"), vector("i32", width), 4)
        low = self.binary("and", word, self.const(word.type, 0xFFFFFF))
        number = self.convert("sitofp", low, "float")
        return self.fmul(number, self.const(number.type, 2.0**-24))

    def pair(self, scratch: Operand, i: Int, width: int) -> Operand:
        """Two words each as i64, the first word in its low half."""
        return self.load(self.pointer(scratch, i, "i64"), vector("i64", width), 4)

    def u64(self, scratch: Operand, i: Int, width: int) -> Operand:
        """float64 uniforms of two words each, from pair ``i`` on."""
        pair = self.pair(scratch, i, width)
        high = self.binary("and", pair, self.const(pair.type, 0x1FFFFF))
        low = self.binary("lshr", pair, self.const(pair.type, 32))
        # 2**84 + 2**32 * high, and 2**52 + low: the sums that follow are exact.
        above, below = self._bits(high, 0x4530 << 48), self._bits(low, 0x4330 << 48)
        number = self.fadd(self.fsub(above, self.const(above.type, 2.0**84 + _TWO_52)), below)
        return self.fmul(number, self.const(number.type, 2.0**-53))

    def exact(self, integer: Operand) -> Operand:
        """i64 below 2**52 as double: its bits become those of a number in [2**52, 2**53)."""
        number = self._bits(integer, 0x4330 << 48)
        return self.fsub(number, self.const(number.type, _TWO_52))

    def _bits(self, integer: Operand, exponent: int) -> Operand:
        return self.convert(
            "bitcast", self.binary("or", integer, self.const(integer.type, exponent)), "double"
        )

    def whole(self, number: Operand) -> Operand:
        """double holding a whole number in [0, 2**52) as i64."""
        moved = self.fadd(number, self.const(number.type, _TWO_52))
        bits = self.convert("bitcast", moved, "i64")
        return self.binary("and", bits, self.const(bits.type, (1 << 52) - 1))

    def remainder(self, word: Operand, count: Operand) -> Operand:
        """``word % count`` of doubles that hold whole numbers below 2**32.

        Their rounded quotient never reaches a whole number that the true one does not.
        """
        quotient = self.fdiv(word, count)
        big = self.const(word.type, _TWO_52)
        near = self.fsub(self.fadd(quotient, big), big)
        less = self.fsub(near, self.const(word.type, 1.0))
        floor = self.select(self.fcmp("ogt", near, quotient), less, near)
        return self.fsub(word, self.fmul(floor, count))

    def function(self, address: Operand, x: Operand) -> Operand:
        """libm's function of a scalar."""
        return self.make(f"call double {address.text}({x})", "double")

    def finished(self) -> str:
        """The module, with what draws words."""
        self.globals.append(_words(self.target))
        return self.module()


# ---- the twister


def _words(target: Target) -> str:
    """``@words(args, out, count)``: the next words, and the state as it is after them."""
    b = Writer(target, "words")
    b.parameters = "ptr %args, ptr %out, i64 %count"
    wanted = Operand("%count", "i64")
    key, block = b.argument("key"), b.argument("block")
    position, end = b.argument("position", "i64"), b.argument("end", "i64")

    left = b.isub(end, position)
    assert isinstance(left, Operand)
    have = b.select(b.icmp("slt", left, wanted), left, wanted)
    source = b.pointer(block, position, "i64")

    def copy(i: Int, width: int) -> None:
        value = b.load(b.pointer(source, i, "i64"), vector("i64", width), 8)
        out = b.pointer(Operand("%out", "ptr"), i, "i32")
        b.store(b.convert("trunc", value, "i32"), out, 4)

    b.each(have, b.narrow, copy)
    b.store(b.int(b.iadd(position, have)), b.slot("position"), 8)
    rest = b.isub(wanted, have)
    assert isinstance(rest, Operand)
    out = b.pointer(Operand("%out", "ptr"), have, "i32")

    blocks = b.idiv(rest, N)
    whole = b.imul(blocks, N)
    with b.loop(0, whole, N) as start:
        _twist(b, key)
        b.store(b.int(N), b.slot("position"), 8)
        b.store(b.int(N), b.slot("end"), 8)

        def temper(i: Int, width: int) -> None:
            word = b.load(b.pointer(key, i, "i32"), vector("i32", width), 4)
            b.store(_tempered(b, word), b.pointer(b.pointer(out, start, "i32"), i, "i32"), 4)

        b.each(N, b.narrow, temper)

    some = b.isub(rest, whole)
    assert isinstance(some, Operand)
    out = b.pointer(out, whole, "i32")
    with b.when(b.icmp("sgt", some, b.int(0))):
        _twist(b, key)

        def keep(i: Int, width: int) -> None:
            word = b.load(b.pointer(key, i, "i32"), vector("i32", width), 4)
            output = b.convert("zext", _tempered(b, word), "i64")
            b.store(output, b.pointer(block, i, "i64"), 8)

        b.each(N, b.narrow, keep)
        source = block

        def give(i: Int, width: int) -> None:
            value = b.load(b.pointer(block, i, "i64"), vector("i64", width), 8)
            b.store(b.convert("trunc", value, "i32"), b.pointer(out, i, "i32"), 4)

        b.each(some, b.narrow, give)
        b.store(some, b.slot("position"), 8)
        b.store(b.int(N), b.slot("end"), 8)
    return b.module().replace("define void @words", "define internal void @words", 1)


def _tempered(b: Emitter, y: Operand) -> Operand:
    def mixed(y: Operand, shift: str, by: int, mask: int) -> Operand:
        moved = b.binary(shift, y, b.const(y.type, by))
        return b.binary("xor", y, b.binary("and", moved, b.const(y.type, mask)))

    y = mixed(y, "lshr", 11, 0xFFFFFFFF)
    y = mixed(y, "shl", 7, 0x9D2C5680)
    y = mixed(y, "shl", 15, 0xEFC60000)
    return mixed(y, "lshr", 18, 0xFFFFFFFF)


def _twist(b: Writer, key: Operand) -> None:
    """The next state in place, in vectors: no element needs one nearer than 227 places."""

    def part(begin: int, end: int, ahead: int, following: int | None = None) -> None:
        def step(i: Int, width: int) -> None:
            type = vector("i32", width)
            place = b.iadd(i, begin)
            one = b.load(b.pointer(key, place, "i32"), type, 4)
            after = following if following is not None else b.iadd(place, 1)
            two = b.load(b.pointer(key, after, "i32"), type, 4)
            far = b.load(b.pointer(key, b.iadd(place, ahead), "i32"), type, 4)
            y = b.binary("or", b.binary("and", one, b.const(type, 0x80000000)),
                         b.binary("and", two, b.const(type, 0x7FFFFFFF)))  # fmt: skip
            odd = b.binary("sub", b.const(type, 0), b.binary("and", two, b.const(type, 1)))
            mixed = b.binary("xor", far, b.binary("lshr", y, b.const(type, 1)))
            b.store(b.binary("xor", mixed, b.binary("and", odd, b.const(type, 0x9908B0DF))),
                    b.pointer(key, place, "i32"), 4)  # fmt: skip

        done, width = 0, b.narrow
        while width:  # what a vector leaves over is done by narrower ones
            count = (end - begin - done) // width
            if count:
                with b.loop(0, count * width, width) as i:
                    step(b.iadd(i, done), width if width > 1 else 0)
            done, width = done + count * width, width // 2
            if begin + done == end:
                return

    part(0, N - M, M)
    part(N - M, N - 1, M - N)
    part(N - 1, N, M - N, 0)
