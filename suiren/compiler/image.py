"""What a compiled program needs to run, as plain data: numbers, names and machine code.

``binding.py`` makes an image of a plan, ``program.py`` runs it, ``program_cache.py`` keeps it on
disk. An image holds no nodes and no Python functions: what the host is to compute it names by the
place of the operation among the program's entries.
"""

from __future__ import annotations

import marshal
from typing import Any, NamedTuple

# Two bytes before each image on disk: images of another form are not read.
FORM = b"03"
# Marshal's second version is the same on every Python and writes equal data equally.
MARSHAL = 2


class Step(NamedTuple):
    """One line of the table: which of the program's kernels, called with which cells."""

    kernel: int
    tasks: int
    barrier: bool
    cells: tuple[int, ...]


class Source(NamedTuple):
    """Where the host finds an argument: a kind, and what that kind needs.

    ``none``; ``number`` a Python number, by the position of the input; ``scalar`` the same as an
    array; ``input`` by position; ``part`` a result of an earlier host step; ``constant`` a value;
    ``table`` by number; ``made`` one of the program's outputs; ``arena`` memory between kernels, by
    offset; ``empty``.
    """

    kind: str
    which: Any
    shape: tuple[int, ...]
    dtype: str


class Call(NamedTuple):
    """A step that Python computes, by the NumPy meaning of the entry at ``position``.

    ``parts``: (which of its results, shape, number among the program's parts) of those in use.
    """

    position: int
    sources: tuple[Source, ...]
    parts: tuple[tuple[int, tuple[int, ...], int], ...]


class Weight(NamedTuple):
    """What a convolution reads as its weight and that is made of one input alone."""

    input: int  # its position
    cell: int
    size: int  # bytes
    steps: tuple[int, ...]  # that make it, and nothing else
    name: str  # the same for equal code


class Image(NamedTuple):
    """A program's tables. Cells are numbered: those that a run fills, those of the host's results,
    of constant arrays, of places in the arena."""

    inputs: tuple[tuple[int, bool], ...]  # filled first: (position, whether it is a number)
    formats: str  # of the cells that a run fills, as ``struct`` writes them
    made: tuple[tuple[tuple[int, ...], str], ...]  # arrays of outputs, and then of checks
    outputs: int  # how many of them are outputs
    # for each: the inputs whose memory it may take, and their cells
    donors: tuple[tuple[tuple[int, int], ...], ...]
    parts: int  # results of host steps that kernels or users look at
    tables: tuple[tuple[tuple[int, ...], str, bytes], ...]  # arrays that are known beforehand
    offsets: tuple[int, ...]  # of what lies in the arena
    arena: int  # bytes
    steps: tuple[Step, ...]
    segments: tuple[tuple[int, int], ...]  # (first step, how many), or (call, 0)
    calls: tuple[Call, ...]
    results: tuple[tuple[str, Any], ...]  # what is wanted: a kind, and where it is
    reshaped: tuple[tuple[int, tuple[int, ...]], ...]
    counted: bool  # the last step counts the runs that came to their end
    weights: tuple[Weight, ...]

    def dump(self) -> bytes:
        """The image as bytes. Raises ValueError where something is no plain data."""
        return FORM + marshal.dumps(_plain(self), MARSHAL)


def load(data: bytes) -> Image:
    """The image that was dumped. Raises ValueError for anything else."""
    if data[: len(FORM)] != FORM:
        raise ValueError("no image, or one of another form")
    try:
        image = Image(*marshal.loads(data[len(FORM) :]))
        return image._replace(
            steps=tuple([Step(*step) for step in image.steps]),
            weights=tuple([Weight(*weight) for weight in image.weights]),
            calls=tuple([
                Call(position, tuple([Source(*source) for source in sources]), parts)
                for position, sources, parts in image.calls
            ]),
        )  # fmt: skip
    except (EOFError, TypeError) as error:
        raise ValueError(f"an image that cannot be read: {error}") from None


def _plain(x: Any) -> Any:
    """Tuples of tuples, whatever they were called."""
    return tuple(map(_plain, x)) if isinstance(x, tuple) else x
