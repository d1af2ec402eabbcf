"""`suiren bench`: how long training steps take here, beside PyTorch's if that is installed.

A few small programs, the same code for both libraries, each timed in turn: some steps to warm up,
then rounds that alternate between the libraries, and the median of a step. The benchmarks of the
repository (`benchmarks/`) are larger.
"""

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import suiren
from suiren.cli import options
from suiren.cli.errors import CommandError

Step = Callable[[], Any]


def _line(torch: Any) -> Step:
    x = torch.linspace(0, 1, 10_000)
    y = 3 * x + 1
    w = torch.zeros(1, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)

    def step() -> Any:
        loss = ((w * x + b - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            w.sub_(0.1 * w.grad)
            b.sub_(0.1 * b.grad)
        w.grad = b.grad = None
        return w

    return step


def _training(torch: Any, model: Any, x: Any, y: Any, optimizer: Any) -> Step:
    loss_of = torch.nn.CrossEntropyLoss()

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return next(iter(model.parameters()))

    return step


def _mlp(torch: Any) -> Step:
    nn = torch.nn
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
                          nn.Linear(128, 10))  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(64, 784), torch.randint(0, 10, (64,))
    return _training(torch, model, x, y, optimizer)


def _cnn(torch: Any) -> Step:
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 7 * 7, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x, y = torch.randn(32, 1, 28, 28), torch.randint(0, 10, (32,))
    return _training(torch, model, x, y, optimizer)


def _transformer(torch: Any) -> Step:
    nn = torch.nn

    class Model(nn.Module):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(64, 64)
            self.layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True)
            self.head = nn.Linear(64, 64)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.layer(self.embedding(tokens))).flatten(0, 1)

    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens = torch.randint(0, 64, (16, 32))
    return _training(torch, model, tokens, tokens.flatten(), optimizer)


# Name: (what it is, how to make its step).
PROGRAMS: dict[str, tuple[str, Callable[[Any], Step]]] = {
    "line": ("y = wx + b on 10,000 points, updated by hand", _line),
    "mlp": ("784-256-128-10, 64 rows, SGD", _mlp),
    "cnn": ("two convolutions with batch norm, 32 images 28x28, SGD", _cnn),
    "transformer": ("one encoder layer of width 64, 16 rows of 32 tokens, AdamW", _transformer),
}


def add_command(commands: Any) -> None:
    """Enter `bench` among the subcommands."""
    listed = "\n".join(f"  {name:<12} {text}" for name, (text, _) in PROGRAMS.items())
    parser = commands.add_parser(
        "bench",
        help="time training steps, beside PyTorch's if wanted",
        description="Time the training steps of a few small programs.",
        epilog=f"programs:\n{listed}",
    )
    parser.add_argument(
        "programs", nargs="*", metavar="PROGRAM", help="which to time; all by default"
    )
    parser.add_argument("--against", choices=["torch"], help="time PyTorch as well")
    parser.add_argument(
        "--steps", type=_steps, default=30, metavar="N", help="steps to time, default 30"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def _steps(value: Any) -> int:
    return options.integer(value, 1)


def run(arguments: argparse.Namespace) -> int:
    """Do `suiren bench` and give the exit status."""
    unknown = [name for name in arguments.programs if name not in PROGRAMS]
    if unknown:
        raise CommandError(f"there is no program {unknown[0]!r}; choose from {', '.join(PROGRAMS)}")
    libraries: dict[str, Any] = {"suiren": suiren}
    if arguments.against:
        try:
            libraries["torch"] = importlib.import_module("torch")
        except ModuleNotFoundError:
            raise CommandError("--against torch: PyTorch is not installed") from None
    results: dict[str, dict[str, float]] = {}
    for name in arguments.programs or PROGRAMS:
        results[name] = measure(PROGRAMS[name][1], libraries, arguments.steps)
        if not arguments.json:
            print(_line_of(name, results[name]), flush=True)
    if arguments.json:
        print(json.dumps({"steps": arguments.steps, "seconds": results}, indent=2))
    return 0


def measure(
    program: Callable[[Any], Step], libraries: dict[str, Any], steps: int
) -> dict[str, float]:
    """Seconds of one step by library: the median over `steps`, taken in up to five rounds."""
    made = {}
    for name, library in libraries.items():
        library.manual_seed(0)
        made[name] = program(library)
        for _ in range(5):
            made[name]().sum().item()
    times: dict[str, list[float]] = {name: [] for name in made}
    rounds = min(5, steps)
    for number in range(rounds):
        for name, step in made.items():
            for _ in range(steps // rounds + (number < steps % rounds)):
                start = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in times.items()}


def _line_of(name: str, seconds: dict[str, float]) -> str:
    parts = [f"{library} {1000 * value:9.3f} ms" for library, value in seconds.items()]
    if "torch" in seconds:
        parts.append(f"{seconds['torch'] / seconds['suiren']:5.2f} times as fast as PyTorch")
    return f"{name:<12} {'   '.join(parts)}"
