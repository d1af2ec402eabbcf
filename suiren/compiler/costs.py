"""What a kernel has to do, counted from its group: bytes read and written, operations.

Bytes are those of the elements that a kernel touches, each array once: what caches spare or fetch
again is not in them. Operations are arithmetic on elements; a function such as exp is one, and so
is a step of a reduction; a product has its multiplications and additions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from suiren.compiler.codegen.expression import Resolver
from suiren.compiler.codegen.matmul.product import SIZES
from suiren.compiler.fuse import ANYWHERE, ORDERED, Group
from suiren.compiler.node import ELEMENTWISE, Node, base_of
from suiren.compiler.operands import product_operands
from suiren.compiler.plan import Plan, Step
from suiren.dtypes import float64


@dataclass
class Cost:
    """Bytes read and written, and operations, of one kernel."""

    read: int
    written: int
    operations: int


def cost_of(step: Step, plan: Plan) -> Cost:
    """The cost of a step's kernel."""
    group, kernel = step.group, step.kernel
    assert kernel is not None
    partial = sum(plan.sizes.get(key, 0) for key in kernel.keys if _is_own(key))
    if kernel.name == "combine":
        written = sum(key.nbytes for key in kernel.keys if isinstance(key, Node))
        return Cost(partial, written, partial // max(1, written) * sum(
            key.numel for key in kernel.keys if isinstance(key, Node)
        ))  # fmt: skip
    if group.product is not None and "_pack_" in kernel.name:
        return _packing(group.product, kernel.name)
    written = sum(node.nbytes for node in group.stores)
    if group.roots[0].op in ORDERED:
        read = sum(node.nbytes for node in step.reads if isinstance(node, Node))
        return Cost(read, written, group.roots[0].inputs[-1].numel)
    read = sum(_read(group, node) for node in group.reads if node in kernel.keys)
    if group.product is None:
        if not group.index:
            read = sum(node.nbytes for node in step.reads if isinstance(node, Node))
            return Cost(read, written, int(kernel.work))
        return Cost(read, written + partial, _arithmetic(group))
    if group.product.op != "matmul":
        phases = sum(other.group is group for other in plan.steps)  # each makes a part of it
        read += sum(base_of(x).nbytes for x in group.product.inputs)
        done = int(kernel.work) + _arithmetic(group) // phases
        return Cost(read // phases, written // phases, done)
    _, a, b = product_operands(group.product)
    m, n, k = *group.product.shape[-2:], group.product.inputs[0].shape[-1]
    batches = prod(group.product.shape[:-2])
    for view, own in ((a, m * k), (b, k * n)):
        read += min(view.base.numel, batches * own) * view.base.dtype.itemsize
    return Cost(read, written, int(kernel.work) + _arithmetic(group))


def _is_own(key: Any) -> bool:
    return isinstance(key, tuple) and key[0] == "partial"


def _packing(node: Node, name: str) -> Cost:
    _, a, b = product_operands(node)
    which, shape = (a, node.inputs[0].shape) if name.endswith("_a") else (b, node.inputs[1].shape)
    count = min(prod(shape), which.base.numel)
    compute = SIZES["double" if node.dtype is float64 else "float"]
    return Cost(count * which.base.dtype.itemsize, count * compute, 0)


def _read(group: Group, node: Node) -> int:
    """Bytes of an array that the group's loops touch."""
    count = 0
    for offset in group.reads[node]:
        if offset == ANYWHERE:
            count += prod(group.sizes)
        else:
            count += prod(group.sizes[v] for v, _ in offset.terms)
    return min(count, node.numel) * node.dtype.itemsize


def _arithmetic(group: Group) -> int:
    resolver = Resolver(group)
    resolver.coarsen()
    total = prod(resolver.sizes)
    rows = prod(resolver.sizes[: resolver.rows])
    found = 0
    for term in resolver.terms.values():
        if term.op in ELEMENTWISE and term.op != "cast":
            found += total if term.inside else rows
    for root in resolver.roots:
        if root.node.op == "reduce":
            found += total if root.full else rows
    return found
