"""Training steps as tutorials write them: regression, MLPs, a CNN, an LSTM, a small transformer.

    python benchmarks/training.py            beside PyTorch's eager mode
    python benchmarks/training.py --compile  and beside torch.compile of the model (minutes)

The ratio is that of PyTorch's better figure to Suiren's. The first steps, in which programs are
compiled, are not counted; ``compile_time.py`` measures those.
"""

from __future__ import annotations

import math
import os
import sys
import time

from sidebyside import main


def _line(torch):
    torch.manual_seed(0)
    x = torch.rand(10_000, 1)
    y = 10 * x + 4 + torch.randn(10_000, 1)
    w = torch.zeros(1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)

    def step():
        loss = ((w * x + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w.sub_(0.01 * w.grad)
            b.sub_(0.01 * b.grad)
        w.grad.zero_()
        b.grad.zero_()

    return step


def _compiled(torch, model):
    # A child process knows by its environment: sidebyside starts it without our arguments.
    wanted = torch.__name__ == "torch" and os.environ.get("BENCHMARK_TORCH_COMPILE")
    return torch.compile(model) if wanted else model


def _model(torch, model, data, optimizer):
    nn = torch.nn
    x, y = data
    loss_of = nn.CrossEntropyLoss()
    opt = optimizer(model.parameters())
    call = _compiled(torch, model)

    def step():
        opt.zero_grad()
        loss_of(call(x), y).backward()
        opt.step()

    return step


def _mlp(torch, optimizer):
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    data = torch.randn(64, 784), torch.randint(0, 10, (64,))
    return _model(torch, model, data, optimizer)


def _cnn(torch):
    torch.manual_seed(0)
    nn = torch.nn
    layers = []
    for i, (before, after) in enumerate([(1, 32), (32, 32), (32, 64), (64, 64)]):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        if i % 2:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10)]
    data = torch.randn(32, 1, 28, 28), torch.randint(0, 10, (32,))
    optimizer = lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)  # noqa: E731
    return _model(torch, nn.Sequential(*layers), data, optimizer)


def _lstm(torch):
    torch.manual_seed(0)
    nn = torch.nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(28, 64, batch_first=True)
            self.head = nn.Linear(64, 10)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    data = torch.randn(64, 28, 28), torch.randint(0, 10, (64,))
    return _model(torch, Classifier(), data, lambda p: torch.optim.Adam(p, lr=1e-3))


def _transformer(torch, width=256, heads=8, tokens=128, batch=8, layers=4, words=512):
    torch.manual_seed(0)
    nn = torch.nn
    functional = nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.register_buffer("mask", torch.tril(torch.ones(tokens, tokens)) == 0)

        def forward(self, x):
            n, t, c = x.shape
            q, k, v = (
                part.view(n, t, heads, c // heads).transpose(1, 2)
                for part in self.qkv(self.norm1(x)).split(c, dim=2)
            )
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(c // heads)
            weights = functional.softmax(scores.masked_fill(self.mask, float("-inf")), dim=-1)
            mixed = (weights @ v).transpose(1, 2).contiguous().view(n, t, c)
            x = x + self.proj(mixed)
            return x + self.down(functional.gelu(self.up(self.norm2(x))))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(words, width), nn.Embedding(tokens, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(layers)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words)

        def forward(self, x):
            x = self.words(x) + self.places(torch.arange(x.shape[1]))
            return self.head(self.norm(self.blocks(x))).view(-1, words)

    x = torch.randint(0, words, (batch, tokens))
    data = x, torch.roll(x, -1, 1).view(-1)
    return _model(torch, Model(), data, lambda p: torch.optim.AdamW(p, lr=3e-4))


def work(torch, smoke: bool) -> dict[str, float]:
    """Seconds per training step."""
    cases = {
        "y = wx + b, 10,000 points": (_line, 300),
        "MLP 784-256-128-10, batch 64, SGD": (
            lambda torch: _mlp(torch, lambda p: torch.optim.SGD(p, lr=0.1)), 200),
        "MLP 784-256-128-10, batch 64, Adam": (
            lambda torch: _mlp(torch, lambda p: torch.optim.Adam(p, lr=1e-3)), 200),
        "LSTM 28 steps, 64 hidden, batch 64, Adam": (_lstm, 40),
        "transformer, 4 layers of 256, 8x128, AdamW": (_transformer, 12),
        "CNN 4 conv + 2 linear, batch 32": (_cnn, 8),
    }  # fmt: skip
    found = {}
    for name, (make, count) in cases.items():
        if smoke and name.startswith("transformer"):
            make = lambda torch: _transformer(torch, 32, 2, 8, 2, 1, 16)  # noqa: E731
        step = make(torch)
        for _ in range(1 if smoke else 4):
            step()
        times = []
        for _ in range(2 if smoke else count):
            started = time.perf_counter()
            step()
            times.append(time.perf_counter() - started)
        found[name] = sorted(times)[len(times) // 2]
    return found


if __name__ == "__main__":
    if "--compile" in sys.argv:
        sys.argv.remove("--compile")
        os.environ["BENCHMARK_TORCH_COMPILE"] = "1"
    main(work, unit="ms", rounds=3)
