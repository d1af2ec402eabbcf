"""The kernels of attention and of its gradient: a few rows of scores at a time, in the cache.

A task has a head (or some rows of one). It packs the head's keys and values into the order in which
the microkernel of products reads them, and goes through the queries in blocks of ``ROWS``: scores
into a scratch block, scaled and masked on the way; softmax row by row in place; the product of the
block with the values. The gradient's kernel makes the block of weights again, from each row's
largest score and the factor that the forward pass kept; what belongs to keys and values is added up
over the blocks. Columns that the mask hides from all rows of a block, before the first and after
the last visible one, are not computed. Nothing depends on the number of threads.
"""

from __future__ import annotations

from suiren.compiler.codegen.attention.forward import Attention
from suiren.compiler.codegen.attention.gradient import Gradient
from suiren.compiler.codegen.attention.pieces import AttentionKernel
from suiren.compiler.codegen.kernel import Kernel
from suiren.compiler.fuse import Group
from suiren.compiler.target import Target


def kernels(group: Group, target: Target) -> list[Kernel]:
    """The kernel of an ``attend`` or ``attend_gradient`` node and its further results."""
    gradient = group.roots[0].op == "attend_gradient"
    writer: AttentionKernel = Gradient(group, target) if gradient else Attention(group, target)
    return [writer.kernel()]


__all__ = ["kernels"]
