"""What a matrix product is to the code generator: operands by strides, and the parts of a plan.

Nothing here writes code. :class:`Product` says what is wanted; ``kernel.plan`` answers with a
:class:`Plan`. Products are brought into a common form first: sizes of one get harmless strides
(:func:`normal`) and batches that are only more rows of one product become rows (:func:`folded`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from suiren.compiler.codegen.emitter import Emitter, Int, Operand

SIZES = {"half": 2, "bfloat": 2, "float": 4, "double": 8, "i8": 1, "i16": 2, "i32": 4, "i64": 8}

# load(b, batch, row, column, width, mask) -> <width x compute>, or the scalar when width is 0
Load: TypeAlias = Callable[[Emitter, tuple[Int, ...], Int, Int, int, Operand | None], Operand]
# finish(b, value, batch, row, column, mask)
Finish: TypeAlias = Callable[[Emitter, Operand, tuple[Int, ...], Int, Int, Operand | None], None]
# fetch(b, row, column): asks for the memory of a vector of the result
Fetch: TypeAlias = Callable[[Emitter, Int, Int], None]


@dataclass(frozen=True)
class Matrix:
    """An operand: where its elements lie. Strides and offset count elements, of any sign.

    ``slot``: the entry of the kernel's table that points at the memory. ``scalar``: how an element
    lies in memory; narrower types are converted to the product's ``compute`` type when read.

    ``load``: instead of memory, a function that writes the code which computes elements (a fused
    producer). It is asked for vectors along the columns where ``column_stride`` is 1, along the
    rows where ``row_stride`` is 1, and else for scalars (width 0); so the strides say which way
    its own reads are cheap. Lanes outside the mask may hold anything. Such an operand is always
    packed: each element is computed once for each task that needs it, or once in all.
    """

    slot: int
    offset: int
    row_stride: int
    column_stride: int
    batch_strides: tuple[int, ...] = ()
    scalar: str = "float"
    load: Load | None = None
    origin: int | None = None  # the slot of a number (i64) that is added to ``offset``

    def transposed(self) -> Matrix:
        """Rows for columns."""
        load = self.load
        flipped = None
        if load is not None:
            own = load

            def flipped(
                b: Emitter, batch: tuple[Int, ...], row: Int, column: Int, width: int,
                mask: Operand | None,
            ) -> Operand:  # fmt: skip
                return own(b, batch, column, row, width, mask)

        return replace(
            self, row_stride=self.column_stride, column_stride=self.row_stride, load=flipped
        )


@dataclass(frozen=True)
class Product:
    """For each batch: a (m x k) times b (k x n), computed in ``float``, ``double``, i32 or i64.

    ``pairs``: an element is a pair of bfloat16 that follow each other along k, see ``pairs.py``.
    """

    batch: tuple[int, ...]
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    compute: str = "float"
    pairs: bool = False

    @property
    def element(self) -> str:
        """The type in which operands are packed and read by the microkernel."""
        return "i32" if self.pairs else self.compute

    @property
    def batches(self) -> int:
        """The number of products."""
        count = 1
        for size in self.batch:
            count *= size
        return count

    @property
    def flops(self) -> int:
        """Multiplications and additions in all."""
        return (4 if self.pairs else 2) * self.batches * self.m * self.n * self.k

    def transposed(self) -> Product:
        """The product of the transposed operands: its result is this one's, transposed."""
        return replace(self, m=self.n, n=self.m, a=self.b.transposed(), b=self.a.transposed())


@dataclass(frozen=True)
class Part:
    """A kernel of a plan.

    ``barrier``: it reads what earlier parts of the same plan wrote (whether the first parts must
    wait for what ran before the product is the caller's business).
    """

    name: str
    text: str
    tasks: int
    barrier: bool
    flops: int


@dataclass(frozen=True)
class Plan:
    """Parts in order, and the buffers they share: (slot, bytes), to be aligned to 64 bytes."""

    parts: tuple[Part, ...]
    scratch: tuple[tuple[int, int], ...]


def normal(product: Product) -> Product:
    """Strides of dimensions of size one are of no account: make them the convenient ones."""
    a, b = product.a, product.b
    batch = tuple(size for size in product.batch if size != 1)
    if len(batch) != len(product.batch) and not (a.load or b.load):
        keep = [i for i, size in enumerate(product.batch) if size != 1]
        a = replace(a, batch_strides=tuple(a.batch_strides[i] for i in keep))
        b = replace(b, batch_strides=tuple(b.batch_strides[i] for i in keep))
        product = replace(product, batch=batch)
    if product.k == 1:
        a = a if a.row_stride == 1 or a.load else replace(a, column_stride=1)
        b = b if b.column_stride == 1 or b.load else replace(b, row_stride=1)
    if product.m == 1 and a.column_stride != 1 and not a.load:
        a = replace(a, row_stride=1)
    if product.n == 1 and b.row_stride != 1 and not b.load:
        b = replace(b, column_stride=1)
    return replace(product, a=a, b=b)


def folded(product: Product, finish: Finish) -> tuple[Product, Finish]:
    """Joins the last batch dimension with the rows where b is the same for all of it."""
    while product.batch and not (product.a.load or product.b.load):
        a, b, m = product.a, product.b, product.m
        step = a.batch_strides[-1]
        if b.batch_strides[-1] or (m != 1 and step != m * a.row_stride):
            break
        row_stride = step if m == 1 else a.row_stride
        finish = _unfolding(finish, m)
        product = replace(
            product,
            batch=product.batch[:-1],
            m=m * product.batch[-1],
            a=replace(a, row_stride=row_stride, batch_strides=a.batch_strides[:-1]),
            b=replace(b, batch_strides=b.batch_strides[:-1]),
        )
    return product, finish


def _unfolding(finish: Finish, m: int) -> Finish:
    def unfolded(
        b: Emitter, value: Operand, batch: tuple[Int, ...], row: Int, column: Int,
        mask: Operand | None,
    ) -> None:  # fmt: skip
        finish(b, value, (*batch, b.idiv(row, m)), b.imod(row, m), column, mask)

    return unfolded


def without_ones(finish: Finish, batch: tuple[int, ...]) -> Finish:
    """A finish that is given zeros for the batch dimensions of size one, which were dropped."""
    if 1 not in batch:
        return finish

    def restored(
        b: Emitter, value: Operand, some: tuple[Int, ...], row: Int, column: Int,
        mask: Operand | None,
    ) -> None:  # fmt: skip
        rest = iter(some)
        finish(b, value, tuple(0 if size == 1 else next(rest) for size in batch), row, column, mask)

    return restored


def store_finish(
    slot: int, scalar: str, row_stride: int, batch_strides: tuple[int, ...] = (), offset: int = 0
) -> Finish:
    """The plain end of a product: stores rows of unit column stride at a slot's memory."""

    def finish(
        b: Emitter, value: Operand, batch: tuple[Int, ...], row: Int, column: Int,
        mask: Operand | None,
    ) -> None:  # fmt: skip
        from suiren.compiler.codegen.matmul.operands import narrowed

        index = b.iadd(b.iadd(offset, b.imul(row, row_stride)), column)
        for one, stride in zip(batch, batch_strides, strict=True):
            index = b.iadd(index, b.imul(one, stride))
        value = narrowed(b, value, scalar)
        kind = "i16" if scalar == "bfloat" else scalar
        address = b.pointer(b.buffer(slot), index, kind)
        if mask is None:
            b.store(value, address)
        else:
            b.masked_store(value, address, mask)

    return finish
