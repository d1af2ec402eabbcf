"""From groups to steps: kernels in order, barriers, and where every buffer lies.

Outputs get arrays of their own at each run; what lives only inside the program shares one arena by
liveness. An output may take over the memory of an input that is read for the last time by the very
places that write it (``donations``): whether nobody else holds that input is asked at each run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from suiren.compiler.attention import KERNELS
from suiren.compiler.codegen import attention, convolution, loops, products, scatter
from suiren.compiler.codegen.kernel import Kernel
from suiren.compiler.codegen.templates import LoopTemplates, Templates
from suiren.compiler.fuse import ORDERED, Fusion, Group
from suiren.compiler.graph import Graph
from suiren.compiler.index import ravel
from suiren.compiler.node import Node
from suiren.compiler.target import Target

ALIGNMENT = 64
_NOTHING = frozenset(["part", "concat", "update", "none"])  # others write or hold them


@dataclass
class Step:
    """A kernel with what it reads and writes, or a call of the host."""

    group: Group
    kernel: Kernel | None  # None: the host computes ``group.roots[0]``
    reads: set[Any] = field(default_factory=set)
    writes: set[Any] = field(default_factory=set)
    barrier: bool = False
    source: tuple = ()


class Plan:
    """Steps of a program in order, and the places of its buffers."""

    def __init__(self, graph: Graph, fusion: Fusion, target: Target):
        self.graph = graph
        self.steps: list[Step] = []
        self.outputs = set(graph.outputs)
        self.templates: Templates = {}
        plain = [group for group in fusion.groups if _kind(group) == "loops"]
        self.loops = LoopTemplates(plain, target)
        self.sizes: dict[Any, int] = {}  # bytes of what lies in the arena
        for group in fusion.groups:
            self._add(group, target)
        self.offsets: dict[Any, int] = {}
        self.arena_size = self._place()
        self.donations = self._donations()
        self._barriers()

    def _add(self, group: Group, target: Target) -> None:
        first = group.roots[0]
        kind = _kind(group)
        if kind == "host":
            step = Step(group, None)
            step.reads = {i for i in first.inputs}
            self.steps.append(step)
            return
        if kind == "nothing":
            return
        if kind == "ordered":
            made = scatter.kernels(group, target)
        elif kind == "sums":
            made = convolution.sums(group, target)
        elif kind == "winograd_weight":
            made = convolution.weight_kernels(group, target)
        elif kind == "attention":
            made = attention.kernels(group, target)
        elif kind == "convolution":
            made = convolution.kernels(group, target)
        elif kind == "matmul":
            made = products.kernels(group, target, self.templates)
        else:
            made = self.loops.kernels(group)
        for number, kernel in enumerate(made):
            written = {loops.buffer_of(group, node) for node in group.stores}
            for key, size in kernel.scratch:
                self.sizes[key] = size
            step = Step(group, kernel)
            step.writes = {key for key in kernel.keys if key in written or _is_scratch(key)}
            step.reads = {
                key for key in kernel.keys
                if (isinstance(key, Node) and key not in step.writes) or _is_scratch(key)
                or (isinstance(key, Node) and key in group.reads)
            }  # fmt: skip
            step.barrier = number > 0 and kernel.barrier
            self.steps.append(step)
            for key in kernel.keys:  # in an order that does not depend on addresses
                if key in step.writes and isinstance(key, Node) and key not in self.outputs:
                    self.sizes[key] = key.nbytes

    # ---- memory

    def _place(self) -> int:
        """Offsets in the arena, largest first where lifetimes overlap; returns its size."""
        first: dict[Any, int] = {}
        last: dict[Any, int] = {}
        for number, step in enumerate(self.steps):
            for key in step.reads | step.writes:
                for base in self._memory_of(key):
                    first.setdefault(base, number)
                    last[base] = number
        placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
        top = 0
        for key in sorted(self.sizes, key=lambda k: (-self.sizes[k], first.get(k, 0))):
            if key not in first:
                continue
            size = -(-max(self.sizes[key], 1) // ALIGNMENT) * ALIGNMENT
            begin, end = first[key], last[key]
            busy = sorted(p for p in placed if not (p[3] < begin or p[2] > end))
            at = 0
            for low, high, _, _ in busy:
                if at + size <= low:
                    break
                at = max(at, high)
            placed.append((at, at + size, begin, end))
            self.offsets[key] = at
            top = max(top, at + size)
        return top

    @staticmethod
    def _memory_of(key: Any) -> list[Any]:
        # the host reads through reshapes
        found = [key]
        while isinstance(key, Node) and key.op == "reshape":
            key = key.inputs[0]
            found.append(key)
        return found

    def _barriers(self) -> None:
        """A step waits where it touches what a step since the last barrier wrote (or reads)."""
        since: list[tuple[set, set, bool]] = []
        for step in self.steps:
            if step.kernel is None:
                since = []
                continue
            reads = {self._where(k) for k in step.reads}
            writes = {self._where(k) for k in step.writes}
            for key in step.writes:
                writes.update(self.donations.get(key, ()))
            alone = step.kernel.tasks == 1
            for old_reads, old_writes, old_alone in since:
                if alone and old_alone:
                    continue  # both run on the calling thread, in order
                if (
                    _overlap(reads, old_writes)
                    or _overlap(writes, old_reads)
                    or _overlap(writes, old_writes)
                ):
                    step.barrier = True
                    break
            if step.barrier:
                since = []
            since.append((reads, writes, alone))

    def _where(self, key: Any) -> Any:
        if key in self.offsets:
            return (self.offsets[key], self.offsets[key] + max(self.sizes[key], 1))
        return key

    # ---- donation

    def _donations(self) -> dict[Node, tuple[Node, ...]]:
        """Output -> inputs whose memory it may take, one that nobody else holds.

        Which of an optimizer's inputs that is (a parameter, its momentum, its gradient) is not
        known here. Each output begins with an input that no other one begins with.
        """
        if any(step.kernel is None for step in self.steps) or self.graph.checks:
            return {}  # the host may fail: the inputs have to be there then
        last: dict[Node, Step] = {}
        for step in self.steps:
            for key in step.reads:
                if isinstance(key, Node) and key.op == "input":
                    last[key] = step
        found: dict[Node, tuple[Node, ...]] = {}
        taken: set[Node] = set()
        for step in self.steps:
            group = step.group
            for node in group.stores:
                if node not in self.outputs or node in found or node.op == "reduce":
                    continue
                fitting = [
                    x for x, offsets in group.reads.items()
                    if (
                        x.op == "input"
                        and x not in self.outputs
                        and x.shape == node.shape
                        and x.dtype is node.dtype
                        and last.get(x) is step
                        and step.kernel is not None
                        and step.kernel.read_until.get(x, 0) <= step.kernel.level.get(node, 0)
                        and node not in group.targets
                        and x not in products.operands(group)
                        and offsets == {ravel(group.index[node], node.shape)}
                    )
                ]  # fmt: skip
                if fitting:
                    found[node] = tuple(sorted(fitting, key=lambda x: x in taken))
                    taken.add(found[node][0])
        return found


def _kind(group: Group) -> str:
    """Which code writes the group's kernels."""
    first = group.roots[0].op
    if first == "host":
        return "host"
    if first in _NOTHING or 0 in group.sizes:
        return "nothing"
    if first in ORDERED:
        return "ordered"
    if first in ("correlate", "depthwise_sums"):
        return "sums"
    if first == "winograd_weight":
        return "winograd_weight"
    if first in KERNELS:
        return "attention"
    if group.product:
        return "matmul" if group.product.op == "matmul" else "convolution"
    return "loops"


def _is_scratch(key: Any) -> bool:
    return isinstance(key, tuple) and key[0] != "number"


def _overlap(a: set, b: set) -> bool:
    if a & b:
        return True
    ranges = [x for x in a if isinstance(x, tuple) and isinstance(x[0], int)]
    others = [x for x in b if isinstance(x, tuple) and isinstance(x[0], int)]
    return any(low < up and down < high for low, high in ranges for down, up in others)
