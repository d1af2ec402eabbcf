"""The choice of tiles: how many rows and vectors of columns the microkernel keeps in registers."""

from __future__ import annotations

from dataclasses import dataclass

from suiren.compiler.codegen.matmul.product import SIZES
from suiren.compiler.target import Target


@dataclass(frozen=True)
class Tile:
    """``rows`` x (``vectors`` of ``lanes`` columns) accumulators."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        """Columns of a panel."""
        return self.vectors * self.lanes


def parts(size: int, step: int) -> int:
    """How many steps cover a size."""
    return -(-size // step)


def rounded(size: int, step: int) -> int:
    """The next multiple."""
    return parts(size, step) * step


def choose(m: int, n: int, k: int, target: Target, compute: str) -> tuple[Tile, float]:
    """The tile with the least work, and its cycles, roughly, for the whole product.

    A step of a tile takes rows x vectors multiplications; mostly beside them rows + vectors loads,
    and rows + columns elements come from the second cache. A tile of few accumulators waits for
    their latency. Rows and columns past the end are computed in vain.
    """
    lanes = target.lanes(SIZES[compute])
    best: tuple[float, int, Tile] | None = None
    for vectors in (1, 2, 3, 4, 6, 8):
        most = (target.vector_registers - 1 - vectors) // vectors
        for rows in range(1, min(most, m, 16) + 1):
            tile = Tile(rows, vectors, lanes)
            beside = 0.1 * (rows + vectors) + 0.03 * (rows + tile.columns)
            step = max(rows * vectors + beside, 5.0)
            end = 20 + 2 * rows * vectors + (4 * rows if m % rows else 0)
            cost = (step * k + end) * parts(m, rows) * parts(n, tile.columns)
            key = (cost, -rows * vectors, tile)
            if best is None or key[:2] < best[:2]:
                best = key
    assert best is not None
    return best[2], best[0]
