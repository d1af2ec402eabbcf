"""Vectors whose elements lie near each other: every so many-th element of memory, or backwards.

A gather asks the first-level cache once for each lane. Where the distance is small and known, the
vectors in between are loaded whole and shuffled into one. ``values`` reads so; what lies further
apart is left to ``transposing``.
"""

from __future__ import annotations

from suiren.compiler.codegen.emitter import Emitter, Operand, vector


def is_near(step: int, scalar: str, width: int) -> bool:
    """Whether lanes this far apart are had for less from whole vectors than by a gather."""
    return step == -1 or 2 <= abs(step) <= (4 if scalar == "i8" else width // 2)


def near(
    b: Emitter, pointer: Operand, step: int, scalar: str, width: int, mask: Operand | None
) -> Operand | None:
    """The elements ``step`` apart from an address on; None where a mask leaves but a gather."""
    type = vector(scalar, width)
    backwards = list(range(width - 1, -1, -1))
    if step == -1:
        first = b.pointer(pointer, 1 - width, scalar)
        if mask is None:
            found = b.load(first, type)
        else:
            found = b.masked_load(first, type, b.shuffle(mask, mask, backwards))
        return b.shuffle(found, found, backwards)
    if mask is not None:
        return None
    apart = abs(step)
    if step < 0:
        pointer = b.pointer(pointer, step * (width - 1), scalar)
    last = (apart - 1) * (width - 1)  # the last vector ends with the last lane
    found = b.load(pointer, type)
    held = [lane * apart if lane * apart < width else -1 for lane in range(width)]
    for begin in [*range(width, last, width), last]:
        more = b.load(b.pointer(pointer, begin, scalar), type)
        places = [lane * apart - begin for lane in range(width)]
        held = [
            width + place if 0 <= place < width else old
            for place, old in zip(places, held, strict=True)
        ]
        found = b.shuffle(found, more, held)
        held = [lane if old >= 0 else -1 for lane, old in enumerate(held)]
    return b.shuffle(found, found, backwards) if step < 0 else found


__all__ = ["is_near", "near"]
