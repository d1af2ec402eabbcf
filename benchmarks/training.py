"""Training steps on the interpreter tier: linear regression, an MLP, a small CNN.

The compiler is not there yet: these figures are where the interpreter stands, and the line that
the compiler has to beat.
"""

from __future__ import annotations

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


def _model(torch, model, data, optimizer):
    nn = torch.nn
    x, y = data
    loss_of = nn.CrossEntropyLoss()
    opt = optimizer(model.parameters())

    def step():
        opt.zero_grad()
        loss_of(model(x), y).backward()
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


def work(torch, smoke: bool) -> dict[str, float]:
    """Seconds per training step."""
    cases = {
        "y = wx + b, 10,000 points": (_line(torch), 200),
        "MLP 784-256-128-10, batch 64, SGD": (
            _mlp(torch, lambda p: torch.optim.SGD(p, lr=0.1)), 100),
        "MLP 784-256-128-10, batch 64, Adam": (
            _mlp(torch, lambda p: torch.optim.Adam(p, lr=1e-3)), 100),
        "CNN 4 conv + 2 linear, batch 32": (_cnn(torch), 5),
    }  # fmt: skip
    found = {}
    for name, (step, count) in cases.items():
        count = max(1, count // 20) if smoke else count
        for _ in range(2):
            step()
        started = time.perf_counter()
        for _ in range(count):
            step()
        found[name] = (time.perf_counter() - started) / count
    return found


if __name__ == "__main__":
    main(work, unit="ms", rounds=3)
