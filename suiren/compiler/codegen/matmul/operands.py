"""Reading operands of matrix products: addresses, conversions, vectors with masks."""

from __future__ import annotations

from suiren.compiler.codegen.emitter import Emitter, Int, Operand, element, lanes, like, vector
from suiren.compiler.codegen.matmul.product import SIZES, Matrix


def memory_type(scalar: str) -> str:
    """The type to load: half types are taken as integers, which every CPU has."""
    return "i16" if scalar in ("bfloat", "half") else scalar


def widened(b: Emitter, value: Operand, scalar: str, compute: str) -> Operand:
    """What was loaded (as ``memory_type(scalar)``), in the type that is computed in."""
    if scalar == compute:
        return value
    if scalar == "bfloat":
        value = b.convert("zext", value, "i32")
        value = b.binary("shl", value, b.const(value.type, 16))
        value = b.convert("bitcast", value, "float")
        return b.convert("fpext", value, compute)
    if scalar == "half":
        value = b.convert("bitcast", value, "half")
    if scalar in ("half", "float"):
        return b.convert("fpext", value, compute)
    return b.convert("sext", value, compute)


def narrowed(b: Emitter, value: Operand, scalar: str) -> Operand:
    """The value as it is stored; bfloat16 as i16, rounded to the nearest (ties to even)."""
    if element(value.type) == scalar:
        return value
    if scalar == "bfloat":
        value = b.convert("fptrunc", value, "float")
        whole = b.convert("bitcast", value, "i32")
        odd = b.binary("lshr", whole, b.const(whole.type, 16))
        odd = b.binary("and", odd, b.const(whole.type, 1))
        raised = b.binary("add", whole, b.binary("add", odd, b.const(whole.type, 0x7FFF)))
        quiet = b.binary("or", whole, b.const(whole.type, 0x400000))
        raised = b.select(b.fcmp("uno", value, value), quiet, raised)
        return b.convert("trunc", b.binary("lshr", raised, b.const(whole.type, 16)), "i16")
    if scalar in SIZES and scalar[0] == "i":
        return b.convert("trunc", value, scalar)
    return b.convert("fptrunc", value, scalar)


class Reader:
    """Reads one operand of one batch; coordinates are the matrix's rows and columns."""

    def __init__(self, b: Emitter, matrix: Matrix, batch: tuple[Int, ...], compute: str):
        self.b = b
        self.matrix = matrix
        self.batch = batch
        self.compute = compute
        self.base: Operand | None = None
        if matrix.load is None:
            index: Int = matrix.offset
            if matrix.origin is not None:
                index = b.iadd(index, b.held(matrix.origin))
            for one, stride in zip(batch, matrix.batch_strides, strict=True):
                index = b.iadd(index, b.imul(one, stride))
            self.base = b.pointer(b.buffer(matrix.slot), index, memory_type(matrix.scalar))

    def address(self, row: Int, column: Int) -> Operand:
        """Where an element lies."""
        b, matrix = self.b, self.matrix
        assert self.base is not None
        index = b.iadd(b.imul(row, matrix.row_stride), b.imul(column, matrix.column_stride))
        return b.pointer(self.base, index, memory_type(matrix.scalar))

    def read(self, row: Int, column: Int, width: int, mask: Operand | None = None) -> Operand:
        """``width`` elements along the direction of stride one; width 0: a scalar."""
        b, matrix = self.b, self.matrix
        if matrix.load is not None:
            return matrix.load(b, self.batch, row, column, width, mask)
        return load(b, self.address(row, column), matrix.scalar, self.compute, width, mask)


def load(
    b: Emitter, address: Operand, scalar: str, compute: str, width: int,
    mask: Operand | None = None, align: int = 0,
) -> Operand:  # fmt: skip
    """Elements at an address, in the type that is computed in."""
    type = vector(memory_type(scalar), width)
    if mask is None:
        value = b.load(address, type, align)
    else:
        value = b.masked_load(address, type, mask)
    return widened(b, value, scalar, compute)


def multiply_add(b: Emitter, x: Operand, y: Operand, z: Operand, fma: bool) -> Operand:
    """x * y + z."""
    if element(x.type)[0] == "i":
        return b.binary("add", b.binary("mul", x, y), z)
    if fma:
        return b.fma(x, y, z)
    return b.fadd(b.fmul(x, y), z)


def transposed(b: Emitter, rows: list[Operand]) -> list[Operand]:
    """The transpose of a square of vectors, by exchanging blocks of half the size each round."""
    width = lanes(rows[0].type)
    rows = list(rows)
    distance = width // 2
    while distance:
        for i in range(width):
            if not i & distance:
                x, y = rows[i], rows[i + distance]
                low = [j if not j & distance else width + j - distance for j in range(width)]
                high = [j + distance if not j & distance else width + j for j in range(width)]
                rows[i] = b.shuffle(x, y, low)
                rows[i + distance] = b.shuffle(x, y, high)
        distance //= 2
    return rows


def positive_left(b: Emitter, size: int, start: Int) -> Int:
    """size - start, or 0 where that is negative."""
    left = b.isub(size, start)
    if isinstance(left, int):
        return max(0, left)
    return b.intrinsic("llvm.smax", "i64", left, b.int(0))


def total(b: Emitter, value: Operand) -> Operand:
    """The sum of a vector's lanes, halves onto halves."""
    width = lanes(value.type)
    add = "add" if element(value.type)[0] == "i" else "fadd"
    while width > 1:
        width //= 2
        low = b.shuffle(value, value, range(width))
        high = b.shuffle(value, value, range(width, 2 * width))
        value = b.binary(add, low, high)
    return b.extract(value, 0)


def mask_type(type: str) -> str:
    """The type of a mask for vectors of this type."""
    return like(type, "i1")
