"""Elementwise arithmetic in IR: what each kind of node means for each element type.

Values of float32, float64 and the integers are held in their own types, truth values as ``i1``,
float16 as ``half``, and bfloat16 as the ``i16`` of its bits (few processors compute with it, so it
is only converted). Transcendental functions come from ``mathematics``.
"""

from __future__ import annotations

from suiren import dtypes
from suiren.compiler.codegen import mathematics
from suiren.compiler.codegen.emitter import Emitter, Operand, bits, element
from suiren.compiler.node import NotNative
from suiren.dtypes import dtype

# how elements are held in registers, and how they lie in memory
HELD = {
    dtypes.float32: "float", dtypes.float64: "double", dtypes.float16: "half",
    dtypes.bfloat16: "i16", dtypes.bool: "i1", dtypes.int8: "i8", dtypes.int16: "i16",
    dtypes.int32: "i32", dtypes.int64: "i64", dtypes.uint8: "i8", dtypes.uint16: "i16",
    dtypes.uint32: "i32", dtypes.uint64: "i64",
}  # fmt: skip
STORED = {**HELD, dtypes.bool: "i8"}
_UNSIGNED = frozenset([dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64, dtypes.bool])
_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
# of numbers of a half type, computed in float32: the result is one again
EXACT = frozenset(["min", "max", "neg", "abs", "sign", "floor", "ceil", "trunc", "round"])
_ORDER = {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}


def is_float(kind: dtype) -> bool:
    """Whether arithmetic on this type is done in floating point."""
    return kind in (dtypes.float32, dtypes.float64, dtypes.float16)


def apply(b: Emitter, name: str, kind: dtype, operands: list[Operand]) -> Operand:
    """One elementwise node; ``kind`` is the type of its (first) operand."""
    if kind is dtypes.bfloat16 or (kind is dtypes.float16 and name in mathematics.FUNCTIONS):
        wide = [cast(b, x, kind, dtypes.float32) for x in operands]
        found = apply(b, name, dtypes.float32, wide)
        if kind is dtypes.bfloat16 and name in EXACT:
            return _cut_off(b, found)
        return found if element(found.type) == "i1" else cast(b, found, dtypes.float32, kind)
    if is_float(kind):
        return _float(b, name, operands)
    return _integer(b, name, kind, operands)


def _float(b: Emitter, name: str, operands: list[Operand]) -> Operand:
    x = operands[0]
    if name in _FLOAT:
        return b.binary(_FLOAT[name], *operands)
    if name == "fma":
        return b.fma(*operands)
    if name == "neg":
        return b.fneg(x)
    if name in _ORDER:
        return b.fcmp("o" + name, *operands)
    if name == "eq":
        return b.fcmp("oeq", *operands)
    if name == "ne":
        return b.fcmp("une", *operands)
    if name == "isnan":
        return b.fcmp("uno", x, x)
    if name in ("min", "max"):
        return extreme(b, name, *operands)
    if name == "abs":
        return b.intrinsic("llvm.fabs", x.type, x)
    if name in ("floor", "ceil", "trunc"):
        return b.intrinsic("llvm." + name, x.type, x)
    if name == "round":
        return b.intrinsic("llvm.roundeven", x.type, x)
    if name == "copysign":
        return b.intrinsic("llvm.copysign", x.type, *operands)
    if name == "sqrt":
        return b.intrinsic("llvm.sqrt", x.type, x)
    if name == "rsqrt":
        return b.fdiv(b.const(x.type, 1), b.intrinsic("llvm.sqrt", x.type, x))
    if name == "sign":
        zero = b.const(x.type, 0)
        up = b.select(b.fcmp("ogt", x, zero), b.const(x.type, 1), zero)
        return b.select(b.fcmp("olt", x, zero), b.const(x.type, -1), up)  # of NaN: 0
    if name == "trunc_div":
        return b.intrinsic("llvm.trunc", x.type, b.fdiv(*operands))
    function = mathematics.FUNCTIONS.get(name)
    if function is None or not mathematics.supports(name, element(x.type)):
        raise NotNative(f"{name} of {element(x.type)}")
    return function(b, *operands)


def extreme(b: Emitter, name: str, x: Operand, y: Operand) -> Operand:
    """The smaller or larger of two floating numbers, x where they are equal; NaN if either is one.

    So ``max(-0.0, 0.0)`` is -0.0, and a constant y costs one instruction: it is no NaN.
    """
    better = b.select(b.fcmp("olt" if name == "min" else "ogt", y, x), y, x)
    return b.select(b.fcmp("uno", y, y), y, better)


def _integer(b: Emitter, name: str, kind: dtype, operands: list[Operand]) -> Operand:
    x = operands[0]
    unsigned = kind in _UNSIGNED
    if name in _INTEGER:
        return b.binary(_INTEGER[name], *operands)
    if name in _ORDER:
        return b.icmp(("u" if unsigned else "s") + name, *operands)
    if name in ("eq", "ne"):
        return b.icmp(name, *operands)
    if name == "not":
        return b.binary("xor", x, b.const(x.type, -1))
    if name == "neg":
        return b.binary("sub", b.const(x.type, 0), x)
    if name in ("min", "max"):
        return b.intrinsic(f"llvm.{'u' if unsigned else 's'}{name}", x.type, *operands)
    zero = b.const(x.type, 0)
    if name == "abs":
        if unsigned:
            return x
        return b.select(b.icmp("slt", x, zero), b.binary("sub", zero, x), x)
    if name == "sign":
        up = b.convert("zext", b.icmp("ne" if unsigned else "sgt", x, zero), element(x.type))
        if unsigned:
            return up
        return b.select(b.icmp("slt", x, zero), b.const(x.type, -1), up)
    if name in ("shl", "shr"):
        return _shift(b, name, unsigned, *operands)
    if name in ("trunc_div", "floor_div", "fmod", "remainder"):
        return _division(b, name, unsigned, *operands)
    raise NotNative(f"{name} of {kind.name}")


def _shift(b: Emitter, name: str, unsigned: bool, x: Operand, count: Operand) -> Operand:
    # LLVM leaves shifts by the width and more undefined; NumPy shifts everything out.
    width = bits(x.type)
    known = b.icmp("ult", count, b.const(x.type, width))
    safe = b.select(known, count, b.const(x.type, 0))
    if name == "shl":
        return b.select(known, b.binary("shl", x, safe), b.const(x.type, 0))
    if unsigned:
        return b.select(known, b.binary("lshr", x, safe), b.const(x.type, 0))
    return b.binary("ashr", x, b.select(known, count, b.const(x.type, width - 1)))


def _division(b: Emitter, name: str, unsigned: bool, x: Operand, y: Operand) -> Operand:
    # Division by zero gives zero, as in NumPy; the processor would stop the program.
    zero, one = b.const(x.type, 0), b.const(x.type, 1)
    nothing = b.icmp("eq", y, zero)
    if unsigned:
        safe = b.select(nothing, one, y)
        quotient = b.binary("udiv", x, safe)
        rest = b.binary("urem", x, safe)
    else:
        # by -1 is a negation: the most negative number has no quotient
        reverse = b.icmp("eq", y, b.const(x.type, -1))
        safe = b.select(b.binary("or", nothing, reverse), one, y)
        quotient = b.binary("sdiv", x, safe)
        quotient = b.select(reverse, b.binary("sub", zero, x), quotient)
        rest = b.select(reverse, zero, b.binary("srem", x, safe))
        if name in ("floor_div", "remainder"):
            mixed = b.icmp("slt", b.binary("xor", rest, y), zero)
            below = b.binary("and", b.icmp("ne", rest, zero), mixed)
            quotient = b.select(below, b.binary("sub", quotient, one), quotient)
            rest = b.select(below, b.binary("add", rest, y), rest)
    found = quotient if name in ("trunc_div", "floor_div") else rest
    return b.select(nothing, zero, found)


# ---- conversions


def cast(b: Emitter, x: Operand, old: dtype, new: dtype) -> Operand:
    """Converts as NumPy does: toward zero, wrapped, rounded to nearest."""
    if old is new:
        return x
    if old is dtypes.bfloat16:
        wide = b.binary("shl", b.convert("zext", x, "i32"), b.const(_as(x, "i32"), 16))
        return cast(b, b.convert("bitcast", wide, "float"), dtypes.float32, new)
    if new is dtypes.bfloat16:
        return _to_bfloat(b, cast(b, x, old, dtypes.float32))
    if new is dtypes.bool:
        zero = b.const(x.type, 0)
        return b.fcmp("une", x, zero) if is_float(old) else b.icmp("ne", x, zero)
    if is_float(old):
        if is_float(new):
            wider = new.itemsize > old.itemsize
            if old is dtypes.float64 and new is dtypes.float16:
                x = _to_odd(b, x)
            return b.convert("fpext" if wider else "fptrunc", x, HELD[new])
        return _to_integer(b, x, new)
    if is_float(new):
        instruction = "uitofp" if old in _UNSIGNED else "sitofp"
        if new is dtypes.float16:  # through float32: integers of 64 bits have no direct way
            wide = b.convert(instruction, x, "float")
            return b.convert("fptrunc", wide, "half")
        return b.convert(instruction, x, HELD[new])
    more = bits(HELD[new]) - (1 if old is dtypes.bool else bits(HELD[old]))
    if more == 0:
        return x
    instruction = "trunc" if more < 0 else "zext" if old in _UNSIGNED else "sext"
    return b.convert(instruction, x, HELD[new])


def _to_integer(b: Emitter, x: Operand, new: dtype) -> Operand:
    """Out of range becomes the most negative int64, then wraps, as x86-64 converts."""
    if element(x.type) == "half":
        x = b.convert("fpext", x, "float")
    if new is dtypes.uint64:
        limit = 2.0**64
        low = b.const(x.type, -(2.0**63))
    else:
        limit = 2.0**63
        low = b.const(x.type, -limit)
    inside = b.binary(
        "and", b.fcmp("oge", x, low), b.fcmp("olt", x, b.const(x.type, limit))
    )
    safe = b.select(inside, x, b.const(x.type, 0))
    if new is dtypes.uint64:
        big = b.fcmp("oge", safe, b.const(x.type, 2.0**63))
        signed = b.convert("fptosi", b.select(big, b.const(x.type, 0), safe), "i64")
        whole = b.convert("fptoui", b.select(big, safe, b.const(x.type, 0)), "i64")
        found = b.select(big, whole, signed)
    else:
        found = b.convert("fptosi", safe, "i64")
    found = b.select(inside, found, b.const(found.type, -(2**63)))
    return b.convert("trunc", found, HELD[new]) if HELD[new] != "i64" else found


def _to_odd(b: Emitter, x: Operand) -> Operand:
    """A double as a float whose last bit says that something was cut off: to be rounded again.

    Few processors round from 64 bits to 16; by way of 32, rounding twice would go wrong.
    """
    near = b.convert("fptrunc", x, "float")
    back = b.convert("fpext", near, "double")
    word = b.convert("bitcast", near, "i32")
    beyond = b.fcmp("ogt", _magnitude(b, back), _magnitude(b, x))
    down = b.binary("sub", word, b.convert("zext", beyond, "i32"))
    odd = b.binary("or", down, b.const(down.type, 1))
    return b.convert("bitcast", b.select(b.fcmp("one", back, x), odd, word), "float")


def _magnitude(b: Emitter, x: Operand) -> Operand:
    return b.intrinsic("llvm.fabs", x.type, x)


def _cut_off(b: Emitter, x: Operand) -> Operand:
    """A float that is a bfloat16."""
    word = b.convert("bitcast", x, "i32")
    return b.convert("trunc", b.binary("lshr", word, b.const(word.type, 16)), "i16")


def _to_bfloat(b: Emitter, x: Operand) -> Operand:
    word = b.convert("bitcast", x, "i32")
    half = b.binary("lshr", word, b.const(word.type, 16))
    odd = b.binary("and", half, b.const(word.type, 1))
    up = b.binary("add", word, b.binary("add", odd, b.const(word.type, 0x7FFF)))
    up = b.binary("lshr", up, b.const(word.type, 16))
    nan = b.binary("or", half, b.const(word.type, 0x40))
    return b.convert("trunc", b.select(b.fcmp("uno", x, x), nan, up), "i16")


def from_memory(b: Emitter, x: Operand, kind: dtype) -> Operand:
    """What was loaded, as it is held in registers."""
    return b.icmp("ne", x, b.const(x.type, 0)) if kind is dtypes.bool else x


def to_memory(b: Emitter, x: Operand, kind: dtype) -> Operand:
    """A value as it lies in memory."""
    return b.convert("zext", x, "i8") if kind is dtypes.bool else x


def constant(b: Emitter, kind: dtype, value: object, width: int = 0) -> Operand:
    """A constant of a type, in ``width`` lanes."""
    from suiren.compiler.codegen.emitter import vector

    if kind is dtypes.bfloat16:
        import numpy as np

        pattern = int(np.asarray(value).astype(kind.numpy).view(np.uint16))
        return b.const(vector("i16", width), pattern)
    return b.const(vector(HELD[kind], width), value)


def _as(x: Operand, scalar: str) -> str:
    from suiren.compiler.codegen.emitter import like

    return like(x.type, scalar)
