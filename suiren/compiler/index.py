"""Index arithmetic: which element of one array a place in a loop nest stands for.

The loops of a kernel have variables with known ranges. The index of an element along one dimension
is an :class:`Affine` expression of them. Movement (permute, slice, reshape, ...) turns the index of
its result into that of its input, so that it needs no memory traffic of its own. A reshape splits
an index, ``i // n`` and ``i % n``, which stays affine if the variables are fine enough; if not,
:class:`TooCoarse` says where one has to be split in two.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from suiren.compiler.node import Node


class TooCoarse(Exception):
    """Variable ``var`` has to become two, the inner one of ``inner`` values."""

    def __init__(self, var: int, inner: int):
        super().__init__(f"variable {var} must be split at {inner}")
        self.var = var
        self.inner = inner


class NotAffine(Exception):
    """No split of the variables makes this index affine: the array has to be stored."""


class Affine:
    """``const + sum(coefficient * variable)``; ``terms`` are (variable, coefficient), sorted."""

    __slots__ = ("const", "terms")

    def __init__(self, const: int = 0, terms: tuple[tuple[int, int], ...] = ()):
        self.const = const
        self.terms = terms

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Affine) and self.const == other.const and self.terms == other.terms
        )

    def __hash__(self) -> int:
        return hash((self.const, self.terms))

    def __repr__(self) -> str:
        parts = [f"{c}*v{v}" if c != 1 else f"v{v}" for v, c in self.terms]
        if self.const or not parts:
            parts.append(str(self.const))
        return " + ".join(parts)

    def __add__(self, other: Affine) -> Affine:
        found = dict(self.terms)
        for v, c in other.terms:
            found[v] = found.get(v, 0) + c
        return Affine(self.const + other.const, _sorted(found))

    def times(self, factor: int) -> Affine:
        """Scaled."""
        if factor == 0:
            return ZERO
        return Affine(self.const * factor, tuple([(v, c * factor) for v, c in self.terms]))

    def plus(self, number: int) -> Affine:
        """Shifted."""
        return Affine(self.const + number, self.terms)

    def coefficient(self, var: int) -> int:
        """The factor of a variable, 0 if it does not occur."""
        return next((c for v, c in self.terms if v == var), 0)

    def bounds(self, sizes: Sequence[int]) -> tuple[int, int]:
        """The smallest and the largest value while each variable is in [0, size)."""
        low = high = self.const
        for v, c in self.terms:
            if c > 0:
                high += c * (sizes[v] - 1)
            else:
                low += c * (sizes[v] - 1)
        return low, high


ZERO = Affine()
Index = tuple[Affine, ...]


def _sorted(terms: dict[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(sorted((v, c) for v, c in terms.items() if c))


def divide(x: Affine, n: int, sizes: Sequence[int]) -> tuple[Affine, Affine]:
    """``x // n`` and ``x % n`` for an index that is not negative."""
    if n == 1:
        return x, ZERO
    low, high = x.bounds(sizes)
    if 0 <= low and high < n:
        return ZERO, x
    whole: dict[int, int] = {}
    rest: dict[int, int] = {}
    for v, c in x.terms:
        if c % n == 0:
            whole[v] = c // n
        else:
            rest[v] = c
    remainder = Affine(x.const % n, _sorted(rest))
    low, high = remainder.bounds(sizes)
    if low >= 0 and high < n:
        return Affine(x.const // n, _sorted(whole)), remainder
    for v, c in rest.items():
        # c * v runs over several multiples of n: an inner variable of n / c values fits below
        if c > 0 and n % c == 0 and sizes[v] > n // c and sizes[v] % (n // c) == 0:
            raise TooCoarse(v, n // c)
    raise NotAffine(f"({x}) // {n}")


def identity(shape: Sequence[int], sizes: Sequence[int], first: int = 0) -> Index:
    """The index of an array walked in row-major order by the variables ``first``, ...

    Raises TooCoarse where a variable runs over more than one dimension.
    """
    strides = [1] * len(sizes)
    for v in range(len(sizes) - 2, first - 1, -1):
        strides[v] = strides[v + 1] * sizes[v + 1]
    flat = Affine(0, _sorted({v: strides[v] for v in range(first, len(sizes)) if sizes[v] > 1}))
    return unravel(flat, shape, sizes)


def unravel(flat: Affine, shape: Sequence[int], sizes: Sequence[int]) -> Index:
    """The index, dimension by dimension, of the element with this row-major number."""
    found = []
    for size in reversed(shape):
        flat, own = divide(flat, size, sizes) if size > 1 else (flat, ZERO)
        found.append(own)
    return tuple(reversed(found))


def ravel(index: Index, shape: Sequence[int]) -> Affine:
    """The row-major number of an element."""
    flat, stride = ZERO, 1
    for own, size in zip(reversed(index), reversed(shape), strict=True):
        flat = flat + own.times(stride)
        stride *= size
    return flat


def through(node: Node, index: Index, sizes: Sequence[int]) -> Index:
    """The index in a movement node's input of the element at ``index`` of its result.

    For ``pad`` it may lie outside: the caller masks those places.
    """
    x = node.inputs[0]
    if node.op == "copy":
        return index
    if node.op == "permute":
        found = [ZERO] * x.ndim
        for own, d in zip(index, node.attributes[0], strict=True):
            found[d] = own
        return tuple(found)
    if node.op == "expand":
        return tuple(
            [ZERO if n == 1 else own for own, n in zip(index, x.shape, strict=True)]
        )
    if node.op == "slice":
        ranges = node.attributes[0]
        return tuple(
            [
                own.times(step).plus(first)
                for own, (first, _, step) in zip(index, ranges, strict=True)
            ]
        )
    if node.op == "pad":
        sides = node.attributes[0]
        return tuple([own.plus(-a) for own, (a, _) in zip(index, sides, strict=True)])
    assert node.op == "reshape", node.op
    return _reshaped(index, node.shape, x.shape, sizes)


def _reshaped(index: Index, shape: Sequence[int], wanted: Sequence[int], sizes) -> Index:
    # Dimensions that are the same from the left stay untouched: indices that no variable makes
    # divisible (of a pad, say) only matter where the shapes differ.
    found: list[Affine] = []
    at = to = 0
    while to < len(wanted):
        if at < len(shape) and shape[at] == wanted[to]:
            found.append(index[at])
            at, to = at + 1, to + 1
            continue
        if wanted[to] == 1:
            found.append(ZERO)
            to += 1
            continue
        if at < len(shape) and shape[at] == 1:
            at += 1
            continue
        a, b = at + 1, to + 1  # the next runs of dimensions with one product
        while prod(shape[at:a]) != prod(wanted[to:b]):
            if prod(shape[at:a]) < prod(wanted[to:b]):
                a += 1
            else:
                b += 1
        found.extend(unravel(ravel(index[at:a], shape[at:a]), wanted[to:b], sizes))
        at, to = a, b
    return tuple(found)


def split(sizes: Sequence[int], var: int, inner: int) -> list[int]:
    """The sizes after a variable became two."""
    return [*sizes[:var], sizes[var] // inner, inner, *sizes[var + 1 :]]
