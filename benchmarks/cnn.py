"""Training steps of convolutional networks beside PyTorch's eager, channels_last and compiled ones.

    python benchmarks/cnn.py                     the CNN of the design notes
    python benchmarks/cnn.py all                 every network of cnn_models.py (minutes)
    python benchmarks/cnn.py resnet16 --compile  with torch.compile beside (needs a C++ compiler)

Libraries take turns in processes of their own. A row gives the median of the rounds' medians, the
ratio to PyTorch's best mode, the first step (compiling included) and the peak of resident memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time

from cnn_models import CASES, dcgan_generator

MODES = ("suiren", "torch", "torch-channels-last", "torch-compile")


def _dcgan(torch, case, prepare):
    """One step of both networks: real and generated images judged, then the generator's turn."""
    judge, maker = prepare(case.model(torch)), prepare(dcgan_generator(torch))
    real = torch.rand(*case.shape) * 2 - 1
    count = case.shape[0]
    ones, zeros = torch.ones(count, 1), torch.zeros(count, 1)
    loss_of = torch.nn.BCEWithLogitsLoss()
    optimizers = [
        torch.optim.Adam(m.parameters(), lr=2e-4, betas=(0.5, 0.999)) for m in (judge, maker)
    ]

    def step():
        made = maker(torch.randn(count, 100, 1, 1))
        optimizers[0].zero_grad()
        loss = loss_of(judge(real), ones) + loss_of(judge(made.detach()), zeros)
        loss.backward()
        optimizers[0].step()
        optimizers[1].zero_grad()
        second = loss_of(judge(made), ones)
        second.backward()
        optimizers[1].step()
        return loss.item() + second.item()

    return step


def _step(torch, name: str, prepare):
    case = CASES[name]
    if name == "dcgan":
        return _dcgan(torch, case, prepare)
    model = prepare(case.model(torch))
    x = prepare(torch.randn(*case.shape))
    if not case.training:
        model.eval()

        def infer():
            with torch.no_grad():
                return model(x).sum().item()

        return infer
    count = case.shape[0]
    if name == "keypoints":
        y, loss_of = torch.rand(count, 30), torch.nn.MSELoss()
    else:
        size = (count, *case.shape[2:]) if name == "unet" else (count,)
        y, loss_of = torch.randint(0, case.classes, size), torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if case.autocast else contextlib.nullcontext():
            loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def work(mode: str, name: str, seconds: float) -> dict[str, float]:
    """Seconds of the first steps and the median of the others, MB of memory, the fifth loss."""
    import resource

    torch = __import__("suiren" if mode == "suiren" else "torch")

    def prepare(thing):
        if mode == "torch-channels-last" and (not torch.is_tensor(thing) or thing.ndim == 4):
            thing = thing.to(memory_format=torch.channels_last)
        if mode == "torch-compile" and not torch.is_tensor(thing):
            thing = torch.compile(thing)
        return thing

    torch.manual_seed(0)
    step = _step(torch, name, prepare)
    times: list[float] = []
    losses: list[float] = []
    while len(times) < 5 or sum(times[3:]) < seconds:
        started = time.perf_counter()
        losses.append(step())
        times.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": times[0], "second": times[1], "step": statistics.median(times[3:]),
            "memory": peak, "loss": losses[4]}  # fmt: skip


def _measure(name: str, options) -> None:
    modes = MODES if options.compile else MODES[:3]
    found: dict[str, list[dict]] = {}
    for turn in range(options.rounds):
        for mode in modes:
            if mode == "torch-compile" and turn:
                continue  # most of a minute is spent compiling: once must do
            command = [sys.executable, sys.argv[0], name, "--mode", mode]
            command += ["--seconds", str(options.seconds)]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode == 0:
                found.setdefault(mode, []).append(json.loads(result.stdout.splitlines()[-1]))
            elif mode == "suiren" or turn == 0:
                print(name, mode, "failed:", result.stderr.strip().splitlines()[-1:], flush=True)
                if mode == "suiren":
                    sys.exit(1)
    steps = {mode: statistics.median(r["step"] for r in rounds) for mode, rounds in found.items()}
    for mode, rounds in found.items():
        others = [seconds for other, seconds in steps.items() if other != "suiren"]
        ratio = f"{min(others) / steps[mode]:5.2f}x" if mode == "suiren" and others else "      "
        memory = statistics.median(r["memory"] for r in rounds)
        print(f"{name:18} {mode:20} {steps[mode] * 1e3:8.1f} ms {ratio}  "
              f"first {rounds[0]['first']:6.2f} s, second {rounds[0]['second']:6.2f} s, "
              f"{memory:6.0f} MB, loss {rounds[0]['loss']:.4f}", flush=True)  # fmt: skip


def main() -> None:
    """Runs what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", default=["cnn"], help="names of CASES, or all")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--compile", action="store_true", help="torch.compile beside")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.mode:
        print(json.dumps(work(options.mode, options.cases[0], options.seconds)))
        return
    if options.smoke:
        options.rounds, options.seconds = 1, 0.1
    for name in CASES if options.cases == ["all"] else options.cases:
        _measure(name, options)


if __name__ == "__main__":
    main()
