"""The innermost loop: a tile of accumulators in registers, one step of k after another."""

from __future__ import annotations

from suiren.compiler.codegen import bfloat16
from suiren.compiler.codegen.emitter import Emitter, Int, Operand, vector
from suiren.compiler.codegen.matmul.operands import load, multiply_add
from suiren.compiler.codegen.matmul.product import SIZES
from suiren.compiler.codegen.matmul.tiles import Tile


def multiply(
    b: Emitter,
    tile: Tile,
    k: Int,
    compute: str,
    element: str,
    a: Operand,
    a_strides: tuple[int, int],
    panel: Operand,
    panel_stride: int,
    masks: list[Operand | None],
    aligned: bool,
    fma: bool,
    unroll: int = 0,
) -> list[list[Operand]]:
    """The sums of a tile: [row][vector]. ``a`` and ``panel`` point at its first elements.

    ``element``: the type of these, that of the sums or i32 for pairs. ``k`` may be known only when
    the program runs: then it is a multiple of ``unroll``, not zero.
    """
    size = SIZES[element]
    type = vector(compute, tile.lanes)
    align = size * tile.lanes if aligned else 0
    zero = b.const(type, 0)
    sums = [[zero] * tile.vectors for _ in range(tile.rows)]

    def step(at_a: Operand, at_b: Operand, u: int) -> None:
        right = []
        for v, mask in enumerate(masks):
            address = b.pointer(at_b, u * panel_stride + v * tile.lanes, element)
            right.append(load(b, address, element, element, tile.lanes, mask, align))
        for r in range(tile.rows):
            address = b.pointer(at_a, r * a_strides[0] + u * a_strides[1], element)
            left = b.splat(b.load(address, element), tile.lanes)
            for v in range(tile.vectors):
                if element == compute:
                    sums[r][v] = multiply_add(b, left, right[v], sums[r][v], fma)
                else:
                    sums[r][v] = bfloat16.dot(b, left, right[v], sums[r][v])

    if isinstance(k, int):
        unroll = 4 if k % 4 == 0 or k >= 32 else 2 if k % 2 == 0 else 1
    rounds = b.idiv(k, unroll)
    if not isinstance(rounds, int) or rounds > 1:
        # The loop is written by hand with its sums as phis: nothing for LLVM to find out.
        (body, done) = b.labels("steps", "summed")
        before, names = b._block, {}
        b.jump(body)
        b.label(body)
        hole = len(b.lines)
        at_a, at_b = Operand(b.fresh(), "ptr"), Operand(b.fresh(), "ptr")
        count = Operand(b.fresh(), "i64")
        for r in range(tile.rows):
            for v in range(tile.vectors):
                names[r, v] = sums[r][v] = Operand(b.fresh(), type)
        for u in range(unroll):
            step(at_a, at_b, u)
        next_a = b.pointer(at_a, unroll * a_strides[1], element)
        next_b = b.pointer(at_b, unroll * panel_stride, element)
        left = b.make(f"add nsw i64 {count.text}, -1", "i64")
        b.branch(b.icmp("ne", left, b.int(0)), body, done)
        phis = [
            f"  {at_a.text} = phi ptr [ {a.text}, %{before} ], [ {next_a.text}, %{body} ]",
            f"  {at_b.text} = phi ptr [ {panel.text}, %{before} ], [ {next_b.text}, %{body} ]",
            f"  {count.text} = phi i64 [ {b.int(rounds).text}, %{before} ], "
            f"[ {left.text}, %{body} ]",
        ]
        for (r, v), name in names.items():
            last = sums[r][v].text
            start = f"[ {zero.text}, %{before} ]"
            phis.append(f"  {name.text} = phi {type} {start}, [ {last}, %{body} ]")
        b.lines[hole:hole] = phis
        b.label(done)
        a, panel = next_a, next_b
        rest = range(k % unroll) if isinstance(k, int) else range(0)
    else:
        assert isinstance(k, int)
        rest = range(k)
    for u in rest:
        step(a, panel, u)
    return sums
