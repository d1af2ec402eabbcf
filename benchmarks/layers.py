"""Layers of all kinds alone beside PyTorch's: forwards, and forwards with gradients.

One thread and processor time, so that a busy machine matters little; the libraries take turns
within one process, and the least of several rounds counts. Arguments choose layers by a part of
their name. Milliseconds; the ratio is PyTorch's over Suiren's, above 1 Suiren is faster.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ["SUIREN_NUM_THREADS"] = "1"
os.environ.setdefault("SUIREN_JIT", "1")

# name -> (torch module) -> (leaves that get gradients, function without arguments)
LAYERS: dict[str, Callable] = {}


def layer(name: str):
    """Notes a layer: ``make(torch, put)`` returns leaves and the work on them."""

    def note(make: Callable) -> Callable:
        LAYERS[name] = make
        return make

    return note


def module(name: str, make: Callable, *shape: int) -> None:
    """Notes a module of ``torch.nn`` applied to normal numbers of a shape."""

    def made(torch):
        own, x = make(torch), torch.randn(*shape).requires_grad_()
        return [x, *own.parameters()], lambda: own(x)

    LAYERS[name] = made


def function(name: str, work: Callable, *shapes: tuple[int, ...]) -> None:
    """Notes ``work(torch, *tensors)`` of normal numbers of these shapes."""

    def made(torch):
        leaves = [torch.randn(*shape).requires_grad_() for shape in shapes]
        return leaves, lambda: work(torch, *leaves)

    LAYERS[name] = made


# ---- convolutions

module("conv1d k5 64-64 of 1000", lambda t: t.nn.Conv1d(64, 64, 5, padding=2), 16, 64, 1000)
module("conv1d k5 128-128 of 200", lambda t: t.nn.Conv1d(128, 128, 5, padding=2), 16, 128, 200)
module("conv1d k5 100-100 of 64", lambda t: t.nn.Conv1d(100, 100, 5), 32, 100, 64)
module("conv1d k3 256-256 of 100", lambda t: t.nn.Conv1d(256, 256, 3, padding=1), 8, 256, 100)
module("conv1d k80/16 1-32 of 8000", lambda t: t.nn.Conv1d(1, 32, 80, 16), 16, 1, 8000)
module("conv1d k3 32-64 of 500", lambda t: t.nn.Conv1d(32, 64, 3), 16, 32, 500)
module("conv1d k1 128-256 of 200", lambda t: t.nn.Conv1d(128, 256, 1), 16, 128, 200)
module("conv1d k4/2 64-128 of 512", lambda t: t.nn.Conv1d(64, 128, 4, 2, 1), 16, 64, 512)
module(
    "conv1d k3 dilated 4 64-64", lambda t: t.nn.Conv1d(64, 64, 3, padding=4, dilation=4),
    16, 64, 500,
)  # fmt: skip
module("conv3d 3x3x3 16-32 of 16", lambda t: t.nn.Conv3d(16, 32, 3, padding=1), 4, 16, 16, 16, 16)
module("conv3d 3x3x3 3-16 of 16x56", lambda t: t.nn.Conv3d(3, 16, 3, padding=1), 2, 3, 16, 56, 56)
module("conv3d/2 16-32 of 24", lambda t: t.nn.Conv3d(16, 32, 3, 2, 1), 4, 16, 24, 24, 24)
module("conv3d/2 32-64 of 16", lambda t: t.nn.Conv3d(32, 64, 3, 2, 1), 4, 32, 16, 16, 16)
module("conv3d 1x1x1 32-64 of 16", lambda t: t.nn.Conv3d(32, 64, 1), 4, 32, 16, 16, 16)
module("conv3d grouped 4, 32-32", lambda t: t.nn.Conv3d(32, 32, 3, 1, 1, 1, 4), 4, 32, 12, 12, 12)
module("conv3d depthwise 32", lambda t: t.nn.Conv3d(32, 32, 3, 1, 1, 1, 32), 4, 32, 12, 12, 12)
module("conv_transpose1d k4/2", lambda t: t.nn.ConvTranspose1d(64, 32, 4, 2, 1), 16, 64, 256)
module("conv_transpose1d k16/8", lambda t: t.nn.ConvTranspose1d(64, 32, 16, 8, 4), 8, 64, 200)
module("conv_transpose3d k2/2", lambda t: t.nn.ConvTranspose3d(32, 16, 2, 2), 2, 32, 12, 12, 12)
module("conv_transpose3d k4/2", lambda t: t.nn.ConvTranspose3d(32, 16, 4, 2, 1), 2, 32, 8, 8, 8)

# ---- pooling, padding, sampling

IMAGES = (16, 32, 32, 32)
module("adaptive max pool 32 to 4", lambda t: t.nn.AdaptiveMaxPool2d(4), *IMAGES)
module("adaptive max pool 32 to 1", lambda t: t.nn.AdaptiveMaxPool2d(1), *IMAGES)
module("adaptive max pool 32 to 7", lambda t: t.nn.AdaptiveMaxPool2d(7), *IMAGES)
module("adaptive max pool 1d 256 to 8", lambda t: t.nn.AdaptiveMaxPool1d(8), 16, 64, 256)
module("adaptive avg pool 32 to 7", lambda t: t.nn.AdaptiveAvgPool2d(7), *IMAGES)
module("max pool 1d 2", lambda t: t.nn.MaxPool1d(2), 16, 64, 1000)
module("max pool 1d 4", lambda t: t.nn.MaxPool1d(4), 16, 64, 1000)
module("max pool 3d 2", lambda t: t.nn.MaxPool3d(2), 4, 16, 16, 32, 32)
module("avg pool 1d 4", lambda t: t.nn.AvgPool1d(4), 16, 64, 1000)
module("reflection pad 1 of 32", lambda t: t.nn.ReflectionPad2d(1), *IMAGES)
module("reflection pad 3 of 128", lambda t: t.nn.ReflectionPad2d(3), 4, 16, 128, 128)
module("replication pad 1 of 32", lambda t: t.nn.ReplicationPad2d(1), *IMAGES)
module("circular pad 1 of 32", lambda t: t.nn.CircularPad2d(1), *IMAGES)
module("reflection pad 1d 4 of 1000", lambda t: t.nn.ReflectionPad1d(4), 16, 64, 1000)
module("pixel shuffle 2", lambda t: t.nn.PixelShuffle(2), 8, 64, 32, 32)
module("upsample nearest 2", lambda t: t.nn.Upsample(scale_factor=2), 8, 32, 32, 32)
module(
    "upsample bilinear 2", lambda t: t.nn.Upsample(scale_factor=2, mode="bilinear"), 8, 32, 32, 32
)
module("upsample bicubic 2", lambda t: t.nn.Upsample(scale_factor=2, mode="bicubic"), 4, 16, 32, 32)
module("unfold 3", lambda t: t.nn.Unfold(3, padding=1), 4, 16, 32, 32)


def sampling(**options: Any) -> Callable:
    """A spatial transformer: a grid of its own for each image, and the sampling."""

    def made(torch):
        turn = torch.tensor([[0.9, 0.2, 0.1], [-0.2, 0.9, -0.1]]).repeat(16, 1, 1)
        turn = (turn + torch.randn(16, 2, 3) * 0.05).requires_grad_()
        x = torch.randn(16, 3, 64, 64).requires_grad_()
        f = torch.nn.functional

        def work():
            grid = f.affine_grid(turn, (16, 3, 64, 64), align_corners=False)
            return f.grid_sample(x, grid, align_corners=False, **options)

        return [x, turn], work

    return made


LAYERS["grid sample 3 of 64"] = sampling()
LAYERS["grid sample nearest"] = sampling(mode="nearest")
LAYERS["grid sample border"] = sampling(padding_mode="border")


@layer("grid sample 32 channels")
def _channels(torch):
    x = torch.randn(4, 32, 32, 32).requires_grad_()
    grid = (torch.rand(4, 32, 32, 2) * 2 - 1).requires_grad_()
    f = torch.nn.functional
    return [x, grid], lambda: f.grid_sample(x, grid, align_corners=False)


# ---- normalization, recurrence, attention, embeddings

module("layer norm 512", lambda t: t.nn.LayerNorm(512), 32, 128, 512)
module("layer norm 64", lambda t: t.nn.LayerNorm(64), 64, 128, 64)
module("group norm 8 of 64", lambda t: t.nn.GroupNorm(8, 64), 8, 64, 32, 32)
module("instance norm", lambda t: t.nn.InstanceNorm2d(64, affine=True), 8, 64, 32, 32)
module("batch norm 1d", lambda t: t.nn.BatchNorm1d(256), 512, 256)
module("batch norm 2d", lambda t: t.nn.BatchNorm2d(64), 16, 64, 28, 28)
module("local response norm", lambda t: t.nn.LocalResponseNorm(5), 8, 64, 27, 27)
module("rms norm 512", lambda t: t.nn.RMSNorm(512), 32, 128, 512)


def recurrent(kind: str, bidirectional: bool = False) -> Callable:
    """One layer over 50 steps of 32 sequences, and the mean over the steps."""

    def made(torch):
        own = getattr(torch.nn, kind)(64, 128, batch_first=True, bidirectional=bidirectional)
        x = torch.randn(32, 50, 64).requires_grad_()
        return [x, *own.parameters()], lambda: own(x)[0].mean(1)

    return made


LAYERS["rnn 64-128, 50 steps"] = recurrent("RNN")
LAYERS["gru 64-128, 50 steps"] = recurrent("GRU")
LAYERS["lstm 64-128, 50 steps"] = recurrent("LSTM")
LAYERS["gru both ways"] = recurrent("GRU", True)


def attention(dropout: float, weights: bool) -> Callable:
    """Self-attention of 8 heads over 64 places."""

    def made(torch):
        own = torch.nn.MultiheadAttention(256, 8, dropout=dropout, batch_first=True)
        x = torch.randn(8, 64, 256).requires_grad_()
        return [x, *own.parameters()], lambda: own(x, x, x, need_weights=weights)[0]

    return made


LAYERS["attention"] = attention(0.0, False)
LAYERS["attention with dropout"] = attention(0.1, False)
LAYERS["attention, weights wanted"] = attention(0.0, True)


@layer("encoder layer")
def _encoder(torch):
    own = torch.nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
    x = torch.randn(16, 64, 128).requires_grad_()
    return [x, *own.parameters()], lambda: own(x)


@layer("embedding 10000x128")
def _embedding(torch):
    own, at = torch.nn.Embedding(10000, 128), torch.randint(0, 10000, (64, 64))
    return [own.weight], lambda: own(at)


def bag(mode: str) -> Callable:
    """Bags of 20 words."""

    def made(torch):
        own = torch.nn.EmbeddingBag(10000, 64, mode=mode)
        at, first = torch.randint(0, 10000, (64 * 20,)), torch.arange(64) * 20
        return [own.weight], lambda: own(at, first)

    return made


for mode in ("mean", "sum", "max"):
    LAYERS[f"embedding bag, {mode}"] = bag(mode)

# ---- losses


def loss(name: str, make: Callable) -> None:
    """Notes ``make(torch) -> (leaf, work on it)``."""

    def made(torch):
        leaf, work = make(torch)
        return [leaf], lambda: work(leaf)

    LAYERS[name] = made


def between(kind: str, *shape: int) -> Callable:
    """A loss of two tensors of numbers."""

    def make(torch):
        own, y = getattr(torch.nn, kind)(), torch.randn(*shape)
        return torch.randn(*shape).requires_grad_(), lambda x: own(x, y)

    return make


for kind in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"):
    loss(kind, between(kind, 512, 1000))


def _cross(torch):
    y = torch.randint(0, 1000, (512,))
    x = torch.randn(512, 1000).requires_grad_()
    return x, lambda x: torch.nn.functional.cross_entropy(x, y)


def _cross_images(torch):
    y = torch.randint(0, 21, (4, 64, 64))
    x = torch.randn(4, 21, 64, 64).requires_grad_()
    return x, lambda x: torch.nn.functional.cross_entropy(x, y)


def _nll(torch):
    y = torch.randint(0, 1000, (512,))
    x = torch.randn(512, 1000).log_softmax(1).requires_grad_()
    return x, lambda x: torch.nn.functional.nll_loss(x, y)


def _kl(torch):
    y = torch.randn(512, 1000).softmax(1)
    x = torch.randn(512, 1000).log_softmax(1).requires_grad_()
    return x, lambda x: torch.nn.functional.kl_div(x, y, reduction="batchmean")


def _bce(torch):
    y = torch.rand(512, 1000)
    x = torch.randn(512, 1000).requires_grad_()
    return x, lambda x: torch.nn.functional.binary_cross_entropy_with_logits(x, y)


def _ctc(torch):
    y = torch.randint(1, 28, (16, 20))
    x = torch.randn(100, 16, 28).log_softmax(2).requires_grad_()
    lengths = torch.full((16,), 100, dtype=torch.int64), torch.full((16,), 20, dtype=torch.int64)
    return x, lambda x: torch.nn.functional.ctc_loss(x, y, *lengths)


def _triplet(torch):
    a, b = torch.randn(256, 128), torch.randn(256, 128)
    x = torch.randn(256, 128).requires_grad_()
    return x, lambda x: torch.nn.functional.triplet_margin_loss(x, a, b)


def _cosine(torch):
    a = torch.randn(2048, 128)
    x = torch.randn(2048, 128).requires_grad_()
    return x, lambda x: torch.nn.functional.cosine_similarity(x, a)


loss("cross entropy 512x1000", _cross)
loss("cross entropy of images", _cross_images)
loss("nll", _nll)
loss("kl divergence", _kl)
loss("binary cross entropy", _bce)
loss("ctc 100 steps", _ctc)
loss("triplet margin", _triplet)
loss("cosine similarity", _cosine)

# ---- functions

BIG = (1024, 1000)
function("cdist 500x500x64", lambda t, a, b: t.cdist(a, b), (500, 64), (500, 64))
function("cdist 500x20x2", lambda t, a, b: t.cdist(a, b), (5000, 2), (20, 2))
function("topk 5 of 1000", lambda t, x: x.topk(5)[0], BIG)
function("topk 50 of 1000", lambda t, x: x.topk(50)[0], BIG)
function("sort 1000", lambda t, x: x.sort()[0], BIG)
function("argsort of 100000", lambda t, x: x.sort()[0], (100_000,))
function("median of rows", lambda t, x: x.median(1)[0], BIG)
function("max with index", lambda t, x: x.max(1)[0], BIG)
function("cumsum of rows", lambda t, x: x.cumsum(1), BIG)
function("cumsum of columns", lambda t, x: x.cumsum(0), BIG)
function("cumprod of rows", lambda t, x: x.cumprod(1), (256, 100))
function("logsumexp", lambda t, x: x.logsumexp(1), BIG)
function("softmax", lambda t, x: x.softmax(1), BIG)
function("log softmax", lambda t, x: x.log_softmax(1), BIG)
function("gelu", lambda t, x: t.nn.functional.gelu(x), BIG)
function("silu", lambda t, x: t.nn.functional.silu(x), BIG)
function("softplus", lambda t, x: t.nn.functional.softplus(x), BIG)
function("prelu", lambda t, x, w: t.nn.functional.prelu(x, w), (16, 64, 32, 32), (64,))
function("glu", lambda t, x: t.nn.functional.glu(x), BIG)
function("dropout", lambda t, x: t.nn.functional.dropout(x), BIG)
function("dropout2d", lambda t, x: t.nn.functional.dropout2d(x), IMAGES)
function("norm of rows", lambda t, x: x.norm(dim=1), BIG)
function("normalize", lambda t, x: t.nn.functional.normalize(x), BIG)
function("std of rows", lambda t, x: x.std(1), BIG)
function("std of columns", lambda t, x: x.std(0), BIG)
function("mean of channels", lambda t, x: x.mean((0, 2, 3)), IMAGES)
function("clamp", lambda t, x: x.clamp(-1, 1), BIG)
function("where", lambda t, x: t.where(x > 0, x, 0.1 * x), BIG)
function("cat of columns", lambda t, a, b: t.cat([a, b], 1), (1024, 500), (1024, 500))
function("stack", lambda t, a, b: t.stack([a, b], 1), (1024, 500), (1024, 500))
function("transpose made contiguous", lambda t, x: x.t().contiguous(), BIG)
function("flip", lambda t, x: x.flip(1), BIG)
function("roll", lambda t, x: x.roll(3, 1), BIG)
function("repeat", lambda t, x: x.repeat(2, 2), (512, 500))
function("tril", lambda t, x: x.tril(), (1000, 1000))
function("outer", lambda t, a, b: t.outer(a, b), (1000,), (1000,))
function("bmm", lambda t, a, b: a @ b, (64, 64, 64), (64, 64, 64))
function(
    "einsum bij,bjk", lambda t, a, b: t.einsum("bij,bjk->bik", a, b), (32, 64, 64), (32, 64, 64)
)
function(
    "einsum heads", lambda t, a, b: t.einsum("bqhd,bkhd->bhqk", a, b),
    (8, 64, 8, 32), (8, 64, 8, 32),
)  # fmt: skip
function("einsum outer", lambda t, a, b: t.einsum("bi,bj->bij", a, b), (64, 128), (64, 128))
function(
    "bilinear", lambda t, a, b, w: t.nn.functional.bilinear(a, b, w),
    (128, 32), (128, 32), (16, 32, 32),
)  # fmt: skip
function("masked select", lambda t, x: x[x > 0], BIG)
function("masked fill", lambda t, x: x.masked_fill(x > 0, 0.0), BIG)
function("solve 64", lambda t, a, b: t.linalg.solve(a, b), (64, 64), (64, 64))
function("fft", lambda t, x: t.fft.rfft(x).abs(), (64, 1024))


def _indexed(kind: str, work: Callable) -> None:
    def made(torch):
        x, at = torch.randn(*BIG).requires_grad_(), torch.randint(0, 1000, (1024, 20))
        rows = torch.randint(0, 1024, (512,))
        return [x], lambda: work(torch, x, at, rows)

    LAYERS[kind] = made


_indexed("gather", lambda t, x, at, rows: x.gather(1, at))
_indexed("index select", lambda t, x, at, rows: x.index_select(0, rows))
_indexed("rows by index", lambda t, x, at, rows: x[rows])
_indexed("unique", lambda t, x, at, rows: (at.unique(), x * 1)[1])
_indexed("bincount", lambda t, x, at, rows: (at.view(-1).bincount(), x * 1)[1])
_indexed("one hot", lambda t, x, at, rows: (t.nn.functional.one_hot(rows, 1024), x * 1)[1])


# ---- measuring


def works(torch, make: Callable, finish: Callable) -> dict[str, Callable]:
    """The two works that are timed, on numbers from the same seed."""
    torch.manual_seed(0)
    leaves, work = make(torch)

    def forward():
        with torch.no_grad():
            found = work()
            finish()
            return found

    up = torch.randn_like(forward())

    def training():
        for leaf in leaves:
            leaf.grad = None
        work().backward(up)
        finish()

    return {"forward": forward, "training": training}


def least(both: list[Callable], rounds: int) -> list[float]:
    """Seconds of each, taking turns."""
    for work in both:
        for _ in range(4):
            work()
    found = [float("inf")] * len(both)
    for _ in range(rounds):
        for i, work in enumerate(both):
            started, count = time.process_time(), 0
            while (spent := time.process_time() - started) < 0.006:
                work()
                count += 1
            found[i] = min(found[i], spent / count)
    return found


def main() -> None:
    """Prints the table."""
    import suiren
    from suiren.trace import flush

    chosen = [a for a in sys.argv[1:] if not a.startswith("--")]
    smoke = "--smoke" in sys.argv
    libraries: list[tuple[Any, Callable]] = [(suiren, flush)]
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        libraries.append((torch, lambda: None))
    print(f"{'ms':32}{'forward':>9}{'torch':>9}{'':>7}{'training':>10}{'torch':>9}")
    for name in list(LAYERS)[:: 12 if smoke else 1]:
        if chosen and not any(part in name for part in chosen):
            continue
        own = [works(library, LAYERS[name], finish) for library, finish in libraries]
        line = f"{name:32}"
        for kind in ("forward", "training"):
            times = [1e3 * t for t in least([w[kind] for w in own], 1 if smoke else 8)]
            line += "".join(f"{t:9.3f}" for t in times)
            line += f"{times[1] / times[0]:6.2f} |" if len(times) > 1 else ""
        print(line, flush=True)


if __name__ == "__main__":
    main()
