"""Convolutions of a graph turned into what code is generated for.

The operators' decompositions speak of ``conv``, ``conv_input_gradient`` and
``conv_weight_gradient``. Here, where the machine is known, they become

``convolve``   the direct kernel: inputs are an image [N, H, W, C] and a weight packed in the order
               in which the kernel reads it. The input gradient is one too, of the gradient with
               the flipped weight; with strides, each *phase* of the result has taps of its own;
``correlate``  sums of products over all places, for the gradient by the weight, in several parts
               of the batch that are put together at the end;
``winograd``   for 3x3 kernels without strides and 4x4 ones of stride 2, where images and channels
               are neither few nor many; inputs are an image and a ``winograd_weight``;
``matmul``     for kernels of one place (1x1), and for those that cover the whole image;
``depthwise``  for convolutions that keep channels apart, forwards and back, and
``depthwise_sums`` for their weights; with one or a few channels, vectors go along rows of the image
               instead: elementwise sums of shifted images times a number per channel.

Packing a weight is movement of the graph. Layout and tiling follow "Anatomy of High-Performance
Deep Learning Convolutions on SIMD Architectures" (Georganas et al., 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd

from suiren import dtypes
from suiren.compiler import narrow
from suiren.compiler.graph import Graph
from suiren.compiler.images import fitted, interleaved, shifted, spread
from suiren.compiler.node import Node
from suiren.compiler.target import Target
from suiren.dtypes import dtype

PARTS = 16  # of the batch, each with a sum of its own
MOST_CHANNELS = 512  # of results for Winograd's algorithm: sums have to stay in the cache
MOST_IN_SQUARE = 512 * 18  # elements of a transformed square: some have to stay in the cache
PART_BYTES = 2 << 20  # that these sums may take together
SQUARE_BYTES = 8 << 20  # and those of squares
FEW_CHANNELS = 4  # of images: with less of them, vectors of channels are too short
NARROWEST = 4  # lanes of a vector of results
MOST_SPREAD = 8  # results of one channel that a vector of channels is spread to


@dataclass(frozen=True)
class Axis:
    """One spatial dimension: which places of the image meet which taps of the kernel.

    Result ``first + step * i`` (i < count) is the sum over t < taps of the image at
    ``stride * i + offset + tap_step * t`` (zero outside ``size``) times the weight's tap
    ``weight_first + weight_step * t``.
    """

    size: int
    count: int
    stride: int
    taps: int
    offset: int
    tap_step: int
    first: int = 0
    step: int = 1
    weight_first: int = 0
    weight_step: int = 1

    @property
    def span(self) -> int:
        """How many places of the image the taps of one result reach over."""
        return (self.taps - 1) * self.tap_step + 1

    @property
    def side(self) -> int:
        """How many places of one parity two results need."""
        return self.taps // self.stride + 1

    def own_taps(self, parity: int) -> list[int]:
        """The weight's taps that meet places of a parity."""
        found = range(parity, self.taps, self.stride)
        return [self.weight_first + self.weight_step * t for t in found]


@dataclass(frozen=True)
class Squares:
    """What Winograd's algorithm makes of two axes without gaps between their taps."""

    rows: Axis
    columns: Axis

    @property
    def places(self) -> int:
        """Of a square: so many products for 2x2 results."""
        return self.rows.side * self.columns.side

    @property
    def parities(self) -> list[tuple[int, int]]:
        """Where the squares of the image begin that add up to one of results."""
        return [(i, j) for i in range(self.rows.stride) for j in range(self.columns.stride)]

    @property
    def parts(self) -> int:
        """How many parities there are."""
        return self.rows.stride * self.columns.stride

    def channels(self, count: int) -> int:
        """Of the products, for so many of the image."""
        return count * self.parts

    @property
    def work(self) -> int:
        """Multiplications for each pair of channels."""
        squares = -(-self.rows.count // 2) * -(-self.columns.count // 2)
        return squares * self.places * self.parts

    @property
    def direct_work(self) -> int:
        """And those of plain sums."""
        return self.rows.count * self.columns.count * self.rows.taps * self.columns.taps


@dataclass(frozen=True)
class Block:
    """Channels that are taken together: of the image, and of the result (vectors of lanes).

    ``pairs``: images and weight are of bfloat16, and numbers are multiplied by pairs: of channels
    in a convolution, of images in a weight's gradient (``codegen/bfloat16.py``).
    """

    channels: int
    vectors: int
    lanes: int
    pairs: bool = False

    @property
    def columns(self) -> int:
        """Channels of the result in a block."""
        return self.vectors * self.lanes


def forward_axes(x: Node, node: Node, w: Node, attributes: tuple) -> list[Axis]:
    """The axes of a convolution of x with result ``node``."""
    stride, padding, dilation, _ = attributes
    return [
        Axis(x.shape[1 + a], node.shape[1 + a], stride[a], w.shape[2 + a], -padding[a], dilation[a])
        for a in (0, 1)
    ]


def gradient_axis(size: int, given: int, taps: int, s: int, p: int, d: int) -> tuple[Axis, ...]:
    """The phases of an input gradient of ``size`` places, from ``given`` of the result.

    Taps are counted in the flipped weight.
    """
    phases = []
    for first in range(min(s, size)):
        base = first + p - d * (taps - 1)
        own = [t for t in range(taps) if (base + d * t) % s == 0]
        step = s // gcd(s, d)
        phases.append(
            Axis(
                given, -(-(size - first) // s), 1, len(own),
                (base + d * own[0]) // s if own else 0, d * step // s,
                first, s, own[0] if own else 0, step,
            )
        )  # fmt: skip
    return tuple(phases)


# ---- blocks


def choose_channels(count: int) -> int:
    """How many channels of an image lie together."""
    if count <= 16:
        return count
    if count % 16 == 0:
        return 16
    for size in (14, 15, 13, 12, 18, 20, 11, 10, 17, 19, 21, 22, 9, 8):
        if count % size == 0:
            return size
    return 16


def choose_vectors(count: int, lanes: int, registers: int) -> int:
    """How many vectors of result channels the tile has: little waste, few loads."""
    best, found = None, 1
    for vectors in (2, 1, 3, 4):
        pixels = min((registers - 1 - vectors) // vectors, 28)
        if pixels < 1:
            continue
        blocks = -(-count // (vectors * lanes))
        loads = pixels + vectors
        cost = blocks * (max(pixels * vectors, loads) + 0.2 * loads) / pixels
        if best is None or cost < best * 0.99:
            best, found = cost, vectors
    return found


def _block(channels: int, results: int, x: Node, kind: dtype, target: Target) -> Block:
    """For an image x and results of a type."""
    lanes, pairs = target.lanes(kind.itemsize), x.dtype is dtypes.bfloat16
    while not pairs and lanes > NARROWEST and 2 * results <= lanes:
        lanes //= 2  # short vectors are multiplied no slower, and leave fewer lanes empty
    vectors = choose_vectors(results, lanes, target.vector_registers)
    return Block(choose_channels(channels), vectors, lanes, pairs)


def _even(block: Block, columns: Sequence[Axis]) -> Block:
    """With channels in pairs; few channels of an odd number pair with those of the next place."""
    joined = all(a.tap_step == a.weight_step == 1 and not a.weight_first for a in columns)
    if not block.pairs or block.channels % 2 == 0 or (block.channels < 8 and joined):
        return block
    return replace(block, channels=block.channels + 1)


def _packed(g: Graph, w: Node, groups: int, block: Block) -> Node:
    """[G, blocks of O, blocks of C, KH, KW, channels, columns] of the weight [G O, C, KH, KW].

    For pairs: [..., KH, KW channels / 2 (rounded up), columns, 2].
    """
    o, c, kh, kw = w.shape[0] // groups, *w.shape[1:]
    blocks, parts = -(-o // block.columns), -(-c // block.channels)
    w = g.reshape(w, (groups, o, c, kh, kw))
    more = ((0, 0), (0, blocks * block.columns - o), (0, parts * block.channels - c))
    w = g.pad(w, (*more, (0, 0), (0, 0)))
    w = g.reshape(w, (groups, blocks, block.columns, parts, block.channels, kh, kw))
    w = g.permute(w, (0, 1, 3, 5, 6, 4, 2))
    if not block.pairs:
        return w
    outer, line = (groups, blocks, parts, kh), kw * block.channels
    w = g.reshape(w, (*outer, line, block.columns))
    w = g.pad(w, (*[(0, 0)] * 4, (0, line % 2), (0, 0)))
    w = g.reshape(w, (*outer, -(-line // 2), 2, block.columns))
    return g.permute(w, (0, 1, 2, 3, 4, 6, 5))


def _by_pairs(a: Node, b: Node, target: Target) -> tuple[Node, Node]:
    """Operands as kernels want them: of bfloat16 where they multiply pairs, else widened."""
    found = narrow.operands(a, b)
    if target.bfloat16_pairs and found[0].dtype is dtypes.bfloat16:
        return found
    return a, b


# ---- the three operations


def conv(g: Graph, x: Node, w: Node, node: Node, target: Target) -> Node:
    """What ``node``, a ``conv``, becomes; x and w are its operands in the new graph."""
    stride, padding, dilation, groups = node.attributes
    o, c, kh, kw = w.shape
    n, oh, ow, _ = node.shape
    if groups == 1 and kh == kw == 1 and padding == (0, 0):
        if stride != (1, 1) or (oh, ow) != x.shape[1:3]:  # output_padding has made x larger
            # side by side these places make one large product, not one for each row of them
            x = g.make("copy", (_strided(g, x, stride, (oh, ow)),), (), (n, oh, ow, c), x.dtype)
        return g.matmul(x, g.expand(g.permute(g.reshape(w, (o, c)), (1, 0)), (n, oh, c, o)))
    if groups == 1 and _covers(x.shape, w.shape, padding, dilation):
        flat = g.reshape(g.permute(w, (2, 3, 1, 0)), (kh * kw * c, o))
        return g.reshape(g.matmul(g.reshape(x, (n, kh * kw * c)), flat), node.shape)
    rows, columns = forward_axes(x, node, w, node.attributes)
    if _keeps_apart(c, o, groups):
        apart = ((rows,), (columns,), o // groups, 1)
        packed = _by_tap(g, g.reshape(w, (o, 1, kh, kw)), target)
        return g.make("depthwise", (x, packed), apart, node.shape, x.dtype)
    if c == 1 and o == groups:
        return _depthwise(g, x, w, rows, columns)
    return _convolved(g, x, w, node.shape, (rows, columns), node.dtype, target, groups)


def input_gradient(g: Graph, grad: Node, w: Node, node: Node, target: Target) -> Node:
    """What a ``conv_input_gradient`` becomes."""
    stride, padding, dilation, groups = node.attributes
    o, c, kh, kw = w.shape
    n, h, width, _ = node.shape
    if groups == 1 and kh == kw == 1 and padding == (0, 0):
        w2 = g.expand(g.reshape(w, (o, c)), (*grad.shape[:2], o, c))
        return spread(g, g.matmul(grad, w2), stride, (h, width))
    point = groups == 1 and grad.shape[1:3] == (1, 1)
    if point and _covers(node.shape, w.shape, padding, dilation):
        flat = g.reshape(g.permute(w, (0, 2, 3, 1)), (o, kh * kw * c))
        return g.reshape(g.matmul(g.reshape(grad, (n, o)), flat), node.shape)
    rows, columns = (
        gradient_axis(size, grad.shape[1 + a], w.shape[2 + a], stride[a], padding[a], dilation[a])
        for a, size in enumerate((h, width))
    )
    if _keeps_apart(c, o, groups):
        own = g.reshape(_flipped(g, w), (groups, o // groups, kh, kw))
        apart = (rows, columns, 1, o // groups)
        packed = _by_tap(g, own, target)
        return g.make("depthwise", (grad, packed), apart, node.shape, grad.dtype)
    if c == 1 and o == groups:
        flipped = _flipped(g, w)
        parts = [[_depthwise(g, grad, flipped, r, s) for s in columns] for r in rows]
        return interleaved(g, parts, (h, width), 1)
    kind = node.dtype
    grad, w = _by_pairs(grad, w, target)
    block = _block(o // groups, c, grad, kind, target)
    if groups == 1 and _few(c, rows, columns, target.lanes(kind.itemsize)):
        return _phases_as_channels(g, grad, w, node, rows, columns, target)
    phases = [Squares(row, column) for row in rows for column in columns]
    if groups == 1 and _suits_winograd(phases, n, block, o, c, target):
        return _winograd(g, grad, w, phases, o, c, block, True, node.shape, kind)
    block = _even(block, columns)
    # result and image change places; the taps are turned round
    own = g.permute(g.reshape(w, (groups, o // groups, c, kh, kw)), (0, 2, 1, 3, 4))
    own = _flipped(g, g.reshape(own, (groups * c, o // groups, kh, kw)))
    numbers = (rows, columns, groups, o // groups, c, block)
    packed = _packed(g, own, groups, block)
    return g.make("convolve", (grad, packed), numbers, node.shape, kind)


def _few(channels: int, rows: Sequence[Axis], columns: Sequence[Axis], lanes: int) -> bool:
    """Whether all phases are had for less as channels of one result, most taps being zero.

    A phase of few channels leaves most lanes of a vector empty.
    """
    count = len(rows) * len(columns)
    if count == 1 or not all(axis.taps and axis.tap_step == 1 for axis in (*rows, *columns)):
        return False
    taps = sum(row.taps * column.taps for row in rows for column in columns)
    vectors = -(-channels * count // lanes)
    return vectors * _reach(rows)[1] * _reach(columns)[1] < 0.8 * -(-channels // lanes) * taps


def _reach(phases: Sequence[Axis]) -> tuple[int, int]:
    """The first place that a phase needs for its first result, and how many all need."""
    first = min(axis.offset for axis in phases)
    return first, max(axis.offset + axis.taps for axis in phases) - first


def _phases_as_channels(
    g: Graph, grad: Node, w: Node, node: Node, rows: Sequence[Axis], columns: Sequence[Axis],
    target: Target,
) -> Node:  # fmt: skip
    """An input gradient as one convolution without strides, its phases laid out afterwards."""
    o, c = w.shape[:2]
    n, high, wide = node.shape[0], rows[0].count, columns[0].count
    flipped = g.permute(_flipped(g, w), (1, 0, 2, 3))
    parts = []
    for row in rows:
        for column in columns:
            ranges, sides = [(0, c, 1), (0, o, 1)], [(0, 0), (0, 0)]
            for axis, phases in ((row, rows), (column, columns)):
                first, count = _reach(phases)
                before = axis.offset - first
                ranges.append((axis.weight_first, axis.taps, axis.weight_step))
                sides.append((before, count - before - axis.taps))
            parts.append(g.pad(g.slice(flipped, ranges), sides))
    whole = g.concat(parts, 0)
    axes = [
        Axis(phases[0].size, phases[0].count, 1, _reach(phases)[1], _reach(phases)[0], 1)
        for phases in (rows, columns)
    ]
    across = (len(rows), len(columns))
    shape = (n, high, wide, len(parts) * c)
    found = _convolved(g, grad, whole, shape, axes, node.dtype, target)
    found = g.permute(g.reshape(found, (n, high, wide, *across, c)), (0, 1, 3, 2, 4, 5))
    return fitted(g, g.reshape(found, (n, high * across[0], wide * across[1], c)), node.shape)


def _convolved(
    g: Graph, x: Node, w: Node, shape: tuple[int, ...], axes: Sequence[Axis], kind: dtype,
    target: Target, groups: int = 1,
) -> Node:  # fmt: skip
    """A convolution with one phase, its result of a type."""
    o, c = w.shape[:2]
    x, w = _by_pairs(x, w, target)
    block = _block(c, o // groups, x, kind, target)
    squares = Squares(*axes)
    if groups == 1 and _suits_winograd([squares], shape[0], block, c, o, target):
        return _winograd(g, x, w, [squares], c, o, block, False, shape, kind)
    block = _even(block, axes[1:])
    numbers = ((axes[0],), (axes[1],), groups, c, o // groups, block)
    return g.make("convolve", (x, _packed(g, w, groups, block)), numbers, shape, kind)


def weight_gradient(g: Graph, grad: Node, x: Node, node: Node, target: Target) -> Node:
    """What a ``conv_weight_gradient`` becomes."""
    stride, padding, dilation, groups = node.attributes
    o, c, kh, kw = node.shape
    n, oh, ow, _ = grad.shape
    if groups == 1 and kh == kw == 1 and padding == (0, 0):
        x = _strided(g, x, stride, (oh, ow))
        pixels = n * oh * ow
        left = g.permute(g.reshape(grad, (pixels, o)), (1, 0))
        return g.reshape(g.matmul(left, g.reshape(x, (pixels, c))), node.shape)
    if groups == 1 and (oh, ow) == (1, 1) and _covers(x.shape, node.shape, padding, dilation):
        left = g.permute(g.reshape(grad, (n, o)), (1, 0))
        found = g.matmul(left, g.reshape(x, (n, kh * kw * c)))
        return g.permute(g.reshape(found, (o, kh, kw, c)), (0, 3, 1, 2))
    rows, columns = forward_axes(x, grad, node, node.attributes)
    if _keeps_apart(c, o, groups):
        apart = (rows, columns, o // groups)
        return g.make("depthwise_sums", (grad, x), apart, node.shape, x.dtype)
    if c == 1 and o == groups:
        found = g.concat(
            [
                g.reshape(g.reduce("sum", grad * part, (0, 1, 2)), (o, 1))
                for part in _shifted(g, x, rows, columns)
            ],
            1,
        )
        return g.reshape(found, node.shape)
    own = o // groups
    grad, x = _by_pairs(grad, x, target)
    block = _block(c, own, x, node.dtype, target)
    size = node.numel * node.dtype.itemsize
    form = Squares(rows, columns)
    squares = groups == 1 and o <= MOST_CHANNELS
    squares = squares and _suits_winograd([form], n, block, c, o, target)
    if squares:
        # blocks of channels are shared out too, four together; parts make up for the rest
        one = form.places * form.channels(c) * o * node.dtype.itemsize
        shares = max(1, form.channels(c) // block.channels // 4)
        parts = max(1, min(-(-PARTS // shares), SQUARE_BYTES // one, n * oh))
    else:
        parts = max(1, min(PARTS, PART_BYTES // size, n * oh))
    numbers = (rows, columns, groups, c, own, block, parts, squares)
    return g.make("correlate", (grad, x), numbers, node.shape, node.dtype)


def _suits_winograd(
    phases: list[Squares], images: int, block: Block, c: int, o: int, target: Target
) -> bool:
    """Whether transforming squares pays: channels by 16, and places enough for each weight."""
    axes = [axis for squares in phases for axis in (squares.rows, squares.columns)]
    if not all(
        a.taps and a.tap_step == 1 and a.stride <= 2 and a.taps % a.stride == 0
        and a.taps // a.stride <= 3
        for a in axes
    ):  # fmt: skip
        return False
    work = sum(squares.work for squares in phases)
    return (
        c % block.channels == 0
        and block.channels % block.lanes == 0
        and all(s.channels(c) * s.places <= MOST_IN_SQUARE for s in phases)
        and o >= 12
        and 1.3 * work <= sum(squares.direct_work for squares in phases)
        and images * phases[0].rows.count * phases[0].columns.count >= 36
        and target.fma
    )


def _winograd(
    g: Graph, x: Node, w: Node, phases: list[Squares], c: int, o: int, block: Block, turned: bool,
    shape: tuple[int, ...], kind: dtype,
) -> Node:  # fmt: skip
    """The node, and that of its weight: transformed once for all that use it."""
    count = -(-o // block.columns) * block.columns
    size = count * sum(squares.places * squares.channels(c) for squares in phases)
    own = (tuple(phases), c, o, block)
    transformed = g.make("winograd_weight", (w,), (*own, turned), (size,), w.dtype)
    return g.make("winograd", (x, transformed), own, shape, kind)


def _keeps_apart(c: int, o: int, groups: int) -> bool:
    """Whether each result is of one channel, and there are vectors of channels."""
    return c == 1 and groups >= FEW_CHANNELS and o // groups <= MOST_SPREAD


def _by_tap(g: Graph, w: Node, target: Target) -> Node:
    """[KH, KW, planes, channels filled up to vectors] of the weight [channels, planes, KH, KW]."""
    more = -w.shape[0] % target.lanes(w.dtype.itemsize)
    return g.permute(g.pad(w, ((0, more), (0, 0), (0, 0), (0, 0))), (2, 3, 1, 0))


def _covers(image: tuple, weight: tuple, padding: tuple, dilation: tuple) -> bool:
    """Whether the kernel has the size of the image, so that there is one place for it."""
    return image[1:3] == weight[2:] and padding == (0, 0) and dilation == (1, 1)


def _flipped(g: Graph, w: Node) -> Node:
    return g.slice(
        w, [(0, n, 1) for n in w.shape[:2]] + [(n - 1, n, -1 if n > 1 else 1) for n in w.shape[2:]]
    )


# ---- images moved


def _strided(g: Graph, x: Node, stride: Sequence[int], spatial: Sequence[int]) -> Node:
    n, _, _, c = x.shape
    return g.slice(
        x, [(0, n, 1), (0, spatial[0], stride[0]), (0, spatial[1], stride[1]), (0, c, 1)]
    )


def _shifted(g: Graph, x: Node, rows: Axis, columns: Axis) -> list[Node]:
    """The image as each tap sees it."""
    return [
        shifted(
            g, x, (1, 2),
            [
                (axis.offset + axis.tap_step * t, axis.count, axis.stride)
                for axis, t in ((rows, i), (columns, j))
            ],
        )
        for i in range(rows.taps)
        for j in range(columns.taps)
    ]  # fmt: skip


def _depthwise(g: Graph, x: Node, w: Node, rows: Axis, columns: Axis) -> Node:
    """Each channel with a kernel of its own."""
    channels = x.shape[3]
    shape = (x.shape[0], rows.count, columns.count, channels)
    total = None
    images = iter(_shifted(g, x, rows, columns))
    for i in range(rows.taps):
        for j in range(columns.taps):
            tap = (
                (rows.weight_first + rows.weight_step * i, 1, 1),
                (columns.weight_first + columns.weight_step * j, 1, 1),
            )
            factor = g.reshape(g.slice(w, [(0, channels, 1), (0, 1, 1), *tap]), (1, 1, 1, channels))
            term = next(images) * factor
            total = term if total is None else total + term
    return g.full(shape, 0, x.dtype) if total is None else total
