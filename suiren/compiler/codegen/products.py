"""Matrix products with what is fused behind them: the bridge from groups to ``matmul``."""

from __future__ import annotations

from typing import Any

from suiren import dtypes
from suiren.compiler.codegen import arithmetic, matmul
from suiren.compiler.codegen.emitter import Emitter, Int, Operand
from suiren.compiler.codegen.expression import Resolver
from suiren.compiler.codegen.kernel import Kernel, Slots
from suiren.compiler.codegen.loops import buffer_of
from suiren.compiler.codegen.templates import Templates, described, origin_of, same
from suiren.compiler.codegen.values import Writer
from suiren.compiler.fuse import Group
from suiren.compiler.node import Node, base_of
from suiren.compiler.operands import Operand as View
from suiren.compiler.operands import product_operands
from suiren.compiler.target import Target

_MEMORY = {
    dtypes.float32: "float", dtypes.float64: "double",
    dtypes.float16: "half", dtypes.bfloat16: "bfloat",
}  # fmt: skip


def operands(group: Group) -> tuple[Node, ...]:
    """The arrays that the group's product multiplies: they lie in memory."""
    if group.product is None:
        return ()
    if group.product.op != "matmul":
        return tuple([base_of(x) for x in group.product.inputs])
    _, a, b = product_operands(group.product)
    return a.base, b.base


def kernels(group: Group, target: Target, templates: Templates | None = None) -> list[Kernel]:
    """The kernels of a group with a product: packing, multiplying, and the epilogue within.

    ``templates``: those made for this program before; what is equal to one is not written again.
    """
    node = group.product
    assert node is not None
    slot = Slots()
    batch, a, b = product_operands(node)
    m, n = node.shape[-2:]
    product = matmul.Product(
        batch=batch, m=m, n=n, k=node.inputs[0].shape[-1],
        a=_matrix(a, slot), b=_matrix(b, slot),
        compute="double" if node.dtype is dtypes.float64 else "float",
    )  # fmt: skip
    epilogue = Epilogue(group, slot, batch)
    epilogue.look_up_origins()
    for key in epilogue.prepare(target):
        slot(key)
    if templates is None:
        return _written(product, target, epilogue, slot)
    own = [*slot, node]
    form = (product, target, described(epilogue.resolver, epilogue.origins, own))
    known = templates.get(form)
    if known is None:
        made = _written(product, target, epilogue, slot)
        templates[form] = own, made
        return made
    return [same(kernel, dict(zip(known[0], own, strict=True))) for kernel in known[1]]


def _written(
    product: matmul.Product, target: Target, epilogue: Epilogue, slot: Slots
) -> list[Kernel]:
    node = epilogue.group.product
    plan = matmul.plan(product, target, epilogue.finish, len(slot), fetch=epilogue.fetch)
    scratch = tuple((("scratch", node, number), size) for number, size in plan.scratch)
    for key, _ in scratch:
        slot(key)
    made = []
    for number, part in enumerate(plan.parts):
        made.append(
            Kernel(part.name, part.text, part.tasks, list(slot), part.barrier, part.flops)
        )
        if number == 0:
            made[0].scratch = scratch
    return made


def _matrix(x: View, slot: Slots) -> matmul.Matrix:
    kind = _MEMORY[x.base.dtype]
    base = slot(x.base)
    if x.offset == 0 or kind == "bfloat":  # whose pairs go by what offsets are
        return matmul.Matrix(base, x.offset, x.row, x.column, x.batch, kind)
    origin = slot(origin_of(x.base.graph, x.offset))
    return matmul.Matrix(base, 0, x.row, x.column, x.batch, kind, origin=origin)


class Epilogue:
    """Writes what becomes of the product's elements."""

    def __init__(self, group: Group, slot: Slots, batch: tuple[int, ...]):
        self.group = group
        self.batch_sizes = batch  # of the product's indices
        self.slot = slot
        self.resolver = Resolver(group)
        self.resolver.coarsen()
        self.target: Target | None = None
        self.origins: dict[int, Node] = {}

    def look_up_origins(self) -> None:
        """Parts of arrays that begin elsewhere, else the same, are to have the same kernel."""
        graph = self.group.roots[0].graph
        places = [term.at for term in self.resolver.terms.values() if term.op == "load"]
        for place in (*places, *(root.place for root in self.resolver.roots)):
            if place.const:
                self.origins[place.const] = origin_of(graph, place.const)

    def prepare(self, target: Target) -> list[Any]:
        """What the epilogue reads and writes, in a fixed order."""
        found: list[Any] = []
        for term in self.resolver.terms.values():
            if term.op in ("load", "take"):
                found.append(term.node)
            elif term.op == "number":
                assert term.node is not None
                found.append(("number", term.node.attributes[0]))
        found += [buffer_of(self.group, node) for node in self.group.stores]
        return found + list(self.origins.values())

    def finish(
        self, b: Emitter, value: Operand, batch: tuple[Int, ...], row: Int, column: Int,
        mask: Operand | None,
    ) -> None:  # fmt: skip
        resolver, group = self.resolver, self.group
        sizes = resolver.sizes
        width = int(value.type[1 : value.type.index(" ")]) if value.type[0] == "<" else 0
        writer = Writer(b, sizes, len(sizes) - 1, width, self.slot)
        writer.origin = lambda at: self._origin(b, at)
        writer.written = frozenset([buffer_of(group, node) for node in group.stores])
        writer.term_of = {r.node: r.term for r in resolver.roots if r.node is not group.product}
        writer.variables[:] = [*self._batch(batch, b), row, column]
        writer.enter_row()
        writer.enter_place(column, mask)
        assert group.product is not None
        kind = group.product.dtype
        if kind.is_half:
            value = arithmetic.cast(b, value, dtypes.float32, kind)
        writer.known[group.product] = value
        stores = []
        for root in resolver.roots:
            if root.node not in group.stores:
                continue
            found = value if root.node is group.product else writer.lanes(root.term)
            scalar = root.node is not group.product and not root.term.inside
            writer.known[root.node] = writer.value(root.term) if scalar else found
            key = buffer_of(group, root.node)
            stores.append((found, root.node.dtype, key, root.place))
        for what in stores:  # when all is read: a result may take the memory of an input
            writer.store(*what)

    def fetch(self, b: Emitter, row: Int, column: Int) -> None:
        """Asks for the memory that a vector of results is going to be written to."""
        resolver, group = self.resolver, self.group
        sizes = resolver.sizes
        writer = Writer(b, sizes, len(sizes) - 1, 1, self.slot)
        writer.origin = lambda at: self._origin(b, at)
        writer.variables[:] = [*[0] * (len(sizes) - 2), row, column]
        writer.enter_row()
        writer.enter_place(column, None)
        for root in resolver.roots:
            if root.node in group.stores and root.place.coefficient(len(sizes) - 1) == 1:
                base = writer.buffer(buffer_of(group, root.node))
                scalar = arithmetic.STORED[root.node.dtype]
                b.fetch(b.pointer(base, writer.offset(root.place), scalar))

    def _origin(self, b: Emitter, const: int) -> Int:
        table = self.origins.get(const)
        return const if table is None else b.held(self.slot(table))

    def _batch(self, batch: tuple[Int, ...], b: Emitter) -> list[Int]:
        """The group's batch variables from the product's: finer ones where they were split."""
        shape, sizes = self.batch_sizes, self.resolver.sizes[:-2]
        if list(shape) == list(sizes):
            return list(batch)
        number: Int = 0
        for own, size in zip(batch, shape, strict=True):
            number = b.iadd(b.imul(number, size), own)
        found: list[Int] = []
        for size in reversed(sizes):
            found.append(b.imod(number, size))
            number = b.idiv(number, size)
        return found[::-1]


__all__ = ["Epilogue", "kernels", "operands"]
