"""The nodes of the compiler's graph: immutable, each an array-to-be.

A few dozen kinds of node (``op``) say everything that can run natively:

``input`` a buffer, ``number`` a Python number of this run, ``constant``, ``table``: an array that
              is the same in every run (indices and weights worked out beforehand);
elementwise   arithmetic by name (``add``, ``exp``, ``where``, ``lt``, ``cast``, ...): operands of
              one shape, broadcast before by ``expand``;
movement      ``reshape``, ``permute``, ``expand``, ``slice``, ``pad``, ``concat``: which element
              goes where; most of them cost nothing, they become index arithmetic;
``reduce``    over a run of dimensions, which stay with size one;
``iota``      the index along a dimension; ``take``: elements by computed index;
``scatter``   elements added to, put into or joined with an array at computed indices;
              ``scatter_along`` with an index of its own for each element;
``scan``      running sums, products and extremes along a dimension;
``matmul``    products of (batches of) matrices;
``conv``      convolution of images that lie channels-last, with ``conv_input_gradient`` and
              ``conv_weight_gradient``; :mod:`suiren.compiler.convolution` makes of them what
              code is generated for: ``convolve``, ``correlate``, products, elementwise work;
``host``      any operator by its NumPy meaning, with ``part`` for each of its results.

Nodes are made by a :class:`~suiren.compiler.graph.Graph`. Python operators and the methods below
build nodes, so that an operator's ``decompose`` reads like mathematics.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from suiren import dtypes
from suiren.dtypes import dtype

if TYPE_CHECKING:
    from suiren.compiler.graph import Graph

# name -> number of operands; the result has the operands' type, or is a truth value
ARITHMETIC = {
    **dict.fromkeys(
        """neg abs sign exp exp2 expm1 log log1p log2 log10 sqrt rsqrt tanh sigmoid erf erfc erfinv
        sin cos tan asin acos atan sinh cosh asinh acosh atanh floor ceil trunc round not lgamma
        digamma log_sigmoid""".split(),
        1,
    ),
    **dict.fromkeys(
        """add sub mul div min max pow fmod remainder floor_div trunc_div and or xor shl shr atan2
        copysign""".split(),
        2,
    ),
    "fma": 3,
}
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "isnan")
ELEMENTWISE = frozenset([*ARITHMETIC, *COMPARISONS, "where", "cast"])
MOVEMENT = frozenset(["reshape", "permute", "expand", "slice", "pad", "copy"])
IN_MEMORY = frozenset(["input", "table"])  # leaves that kernels read by address
LEAVES = IN_MEMORY | {"number", "constant"}
REDUCTIONS = {"sum": 0, "prod": 1, "max": None, "min": None}


class NotNative(Exception):
    """Raised by a decomposition that does not cover this case: the operator runs on the host.

    Decompositions stand below the compiler and raise it by the graph they are given:
    ``raise g.NotNative("why")``.
    """


class Node:
    """One array-to-be; see the module's text. Made by the methods of :class:`Graph`."""

    __slots__ = ("graph", "op", "inputs", "attributes", "shape", "dtype", "index", "source")

    def __init__(self, graph, op, inputs, attributes, shape, dtype, index):
        self.graph: Graph = graph
        self.op: str = op
        self.inputs: tuple[Node, ...] = inputs
        self.attributes: tuple = attributes
        self.shape: tuple[int, ...] = shape
        self.dtype: dtypes.dtype = dtype
        self.index: int = index  # inputs have smaller ones
        self.source: Any = graph.source

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    def __repr__(self) -> str:
        inside = ", ".join([f"n{i.index}" for i in self.inputs] + [str(a) for a in self.attributes])
        return f"n{self.index}: {self.dtype.name}{list(self.shape)} = {self.op}({inside})"

    # ---- arithmetic

    def __add__(self, other):
        return self.graph.map("add", self, other)

    __radd__ = __add__

    def __sub__(self, other):
        return self.graph.map("sub", self, other)

    def __rsub__(self, other):
        return self.graph.map("sub", other, self)

    def __mul__(self, other):
        return self.graph.map("mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other):
        return self.graph.map("div", self, other)

    def __rtruediv__(self, other):
        return self.graph.map("div", other, self)

    def __pow__(self, other):
        return self.graph.map("pow", self, other)

    def __neg__(self):
        return self.graph.map("neg", self)

    def __and__(self, other):
        return self.graph.map("and", self, other)

    def __or__(self, other):
        return self.graph.map("or", self, other)

    def __xor__(self, other):
        return self.graph.map("xor", self, other)

    def __invert__(self):
        return self.graph.map("not", self)

    # comparisons by method: == must stay identity for dictionaries
    def eq(self, other):
        return self.graph.map("eq", self, other)

    def ne(self, other):
        return self.graph.map("ne", self, other)

    def __lt__(self, other):
        return self.graph.map("lt", self, other)

    def __le__(self, other):
        return self.graph.map("le", self, other)

    def __gt__(self, other):
        return self.graph.map("gt", self, other)

    def __ge__(self, other):
        return self.graph.map("ge", self, other)

    def min(self, other):
        """The smaller of two; NaN if either is."""
        return self.graph.map("min", self, other)

    def max(self, other):
        """The larger of two; NaN if either is."""
        return self.graph.map("max", self, other)

    def __getattr__(self, name: str):
        # x.exp(), x.sqrt(), x.isnan(): every elementwise function of one operand
        if ARITHMETIC.get(name) == 1 or name == "isnan":
            return lambda: self.graph.map(name, self)
        raise AttributeError(name)

    def cast(self, kind: dtype) -> Node:
        """The elements converted."""
        return self.graph.cast(self, kind)

    # ---- movement

    def reshape(self, *shape: int) -> Node:
        """The same elements in row-major order in another shape (given in full)."""
        return self.graph.reshape(self, shape)

    def permute(self, *dims: int) -> Node:
        """The dimensions in another order."""
        return self.graph.permute(self, dims)

    def transpose(self, a: int, b: int) -> Node:
        """Two dimensions swapped."""
        order = list(range(self.ndim))
        order[a], order[b] = order[b], order[a]
        return self.graph.permute(self, order)

    def expand(self, *shape: int) -> Node:
        """Broadcast to ``shape``: missing dimensions in front, sizes of one repeated."""
        return self.graph.expand(self, shape)

    def unsqueeze(self, dim: int) -> Node:
        """A dimension of size one before ``dim`` (counted from the front)."""
        return self.reshape(*self.shape[:dim], 1, *self.shape[dim:])

    # ---- reductions

    def sum(self, dims: Sequence[int] | int | None = None, keepdim: bool = False) -> Node:
        """The sum over dimensions (all by default)."""
        return self.graph.reduce("sum", self, dims, keepdim)

    def prod(self, dims: Sequence[int] | int | None = None, keepdim: bool = False) -> Node:
        return self.graph.reduce("prod", self, dims, keepdim)

    def amax(self, dims: Sequence[int] | int | None = None, keepdim: bool = False) -> Node:
        """The largest elements; NaN where there is one."""
        return self.graph.reduce("max", self, dims, keepdim)

    def amin(self, dims: Sequence[int] | int | None = None, keepdim: bool = False) -> Node:
        return self.graph.reduce("min", self, dims, keepdim)

    def mean(self, dims: Sequence[int] | int | None = None, keepdim: bool = False) -> Node:
        total = self.sum(dims, keepdim)
        return total / (self.numel / max(total.numel, 1) if total.numel else 1)


def base_of(x: Node) -> Node:
    """The array behind reshapes: its elements lie alike."""
    while x.op == "reshape":
        x = x.inputs[0]
    return x


def is_number(x: Any) -> bool:
    """Whether this is a run-time number that takes the type of what it meets."""
    return isinstance(x, Node) and x.op == "number"


def is_uniform(x: Node) -> bool:
    """Whether every element is the same one, known without reading a buffer."""
    if x.op == "expand":
        return is_uniform(x.inputs[0]) and x.inputs[0].numel == 1
    if x.op in ("number", "constant"):
        return True
    return x.op in ELEMENTWISE and x.shape == () and all(is_uniform(i) for i in x.inputs)


def is_constant(x: Node, value: Any) -> bool:
    """Whether this is a constant equal to ``value`` in every place."""
    while x.op == "expand" or x.op == "reshape":
        x = x.inputs[0]
    return x.op == "constant" and constant_of(x) == value


def constant_of(x: Node) -> Any:
    """The Python number of a constant node."""
    return x.attributes[1]
