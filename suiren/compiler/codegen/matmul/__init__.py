"""Matrix products: ``plan`` turns the description of one into kernels; see ``product``, ``kernel``.

    plan(product, target, finish, scratch_slot) -> Plan(parts, scratch)

All parts of a plan share one table of arguments, read by ``Emitter.buffer``: the operands at the
slots that their ``Matrix`` names, whatever ``finish`` reads, and the scratch buffers (64-byte
aligned) from ``scratch_slot`` on.

``finish`` is called, while the code is written, for each place in it where a vector of the result
is complete: ``finish(b, value, batch, row, column, mask)`` with ``value`` a whole vector of the
compute type along consecutive columns of one row (``column`` the first, not necessarily a multiple
of the width); of a mask's cleared lanes nothing may be stored. Every element is finished exactly
once, so results may overwrite what the epilogue reads at the same place.
"""

from suiren.compiler.codegen.matmul.kernel import plan
from suiren.compiler.codegen.matmul.product import Matrix, Part, Plan, Product, store_finish

__all__ = ["Matrix", "Part", "Plan", "Product", "plan", "store_finish"]
