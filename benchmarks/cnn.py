"""Training steps of convolutional networks beside PyTorch's, eager and channels_last.

The CNN of the design notes (four convolutions with batch norm, ReLU and pooling, two linear layers,
128 images of 1x28x28) and ResNet-18 (images of 3x224x224), with SGD. Libraries take turns in
processes of their own; the figures are the best of the rounds' medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time


def _cnn(torch, count: int):
    nn = torch.nn
    layers = []
    for i, (before, after) in enumerate([(1, 32), (32, 32), (32, 64), (64, 64)]):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        if i % 2:
            layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10)]
    return nn.Sequential(*layers), torch.randn(count, 1, 28, 28), 10


def _resnet(torch, count: int, size: int = 224):
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.relu = nn.ReLU(inplace=True)
            self.down = None
            if stride != 1 or before != after:
                self.down = nn.Sequential(
                    nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
                )

        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + (x if self.down is None else self.down(x)))

    layers = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    before = 64
    for after, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(before, after, stride), Block(after, after, 1)]
        before = after
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*layers), torch.randn(count, 3, size, size), 1000


CASES = {
    "cnn": lambda torch: _cnn(torch, 128),
    "resnet4": lambda torch: _resnet(torch, 4),
    "resnet16": lambda torch: _resnet(torch, 16),
}


def work(library: str, case: str, seconds: float) -> dict[str, float]:
    """Seconds of the first steps, and the median of the others."""
    layout = library == "torch-channels-last"
    torch = __import__("suiren" if library == "suiren" else "torch")
    torch.manual_seed(0)
    model, x, classes = CASES[case](torch)
    y = torch.randint(0, classes, (x.shape[0],))
    if layout:
        model, x = (v.to(memory_format=torch.channels_last) for v in (model, x))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss_of = torch.nn.CrossEntropyLoss()
    times = []
    while len(times) < 4 or sum(times[2:]) < seconds:
        started = time.perf_counter()
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        loss.item()
        times.append(time.perf_counter() - started)
    return {"first": times[0], "second": times[1], "step": statistics.median(times[2:]),
            "loss": loss.item()}  # fmt: skip


def main() -> None:
    """Runs what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=["cnn"])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--library", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.library:
        print(json.dumps(work(options.library, options.cases[0], options.seconds)))
        return
    if options.smoke:
        options.rounds, options.seconds = 1, 0.1
    for case in options.cases:
        found: dict[str, list[dict]] = {}
        for _ in range(options.rounds):
            for library in ("suiren", "torch", "torch-channels-last"):
                command = [sys.executable, sys.argv[0], case, "--library", library]
                command += ["--seconds", str(options.seconds)]
                result = subprocess.run(command, capture_output=True, text=True)
                if result.returncode:
                    print(library, result.stderr[-2000:])
                    continue
                found.setdefault(library, []).append(json.loads(result.stdout.splitlines()[-1]))
        for library, rounds in found.items():
            steps = sorted(r["step"] for r in rounds)
            print(
                f"{case:10} {library:20} best {steps[0] * 1e3:8.1f} ms  median "
                f"{statistics.median(steps) * 1e3:8.1f} ms  first {rounds[0]['first']:.2f} s, "
                f"second {rounds[0]['second']:.2f} s, loss {rounds[0]['loss']:.4f}"
            )


if __name__ == "__main__":
    main()
