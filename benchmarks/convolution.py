"""Convolutions layer by layer beside PyTorch's: of ResNet-18, a CNN, a DCGAN; all three passes.

One thread and processor time, so that a busy machine matters little. Suiren's figures are those of
its kernels within a program (packing of weights and putting parts together included); PyTorch's
are of images and weights that lie channels_last. GFLOP/s count the multiplications and additions
of a direct convolution: algorithms that need fewer can pass the machine's peak.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time

# name: images, channels, size, results, kernel, stride, padding
LAYERS = {
    "7x7/2 3-64": (4, 3, 224, 64, 7, 2, 3),
    "3x3 64-64 of 56": (4, 64, 56, 64, 3, 1, 1),
    "3x3/2 64-128 of 56": (4, 64, 56, 128, 3, 2, 1),
    "1x1/2 64-128 of 56": (4, 64, 56, 128, 1, 2, 0),
    "3x3 128-128 of 28": (4, 128, 28, 128, 3, 1, 1),
    "3x3/2 128-256 of 28": (4, 128, 28, 256, 3, 2, 1),
    "3x3 256-256 of 14": (4, 256, 14, 256, 3, 1, 1),
    "3x3/2 256-512 of 14": (4, 256, 14, 512, 3, 2, 1),
    "1x1/2 256-512 of 14": (4, 256, 14, 512, 1, 2, 0),
    "3x3 512-512 of 7": (4, 512, 7, 512, 3, 1, 1),
    "3x3 32-32 of 28": (32, 32, 28, 32, 3, 1, 1),
    "4x4/2 64-128 of 16": (64, 64, 16, 128, 4, 2, 1),
    "3x3 1-32 of 28": (32, 1, 28, 32, 3, 1, 1),
}
OURS = ("convolve", "correlate", "matmul", "winograd", "together")
KINDS = ("forward", "by image", "by weight")


def flops(layer: tuple) -> float:
    """Of one of the three operations."""
    n, c, size, o, k, stride, padding = layer
    out = (size + 2 * padding - k) // stride + 1
    return 2.0 * n * out * out * c * o * k * k


def of_torch(layer: tuple, rounds: int, half: bool) -> dict[str, float]:
    """Seconds of each operation."""
    import torch

    torch.set_num_threads(1)
    n, c, size, o, k, stride, padding = layer
    last = torch.channels_last
    kind = torch.bfloat16 if half else torch.float32
    x = torch.randn(n, c, size, size).to(kind, memory_format=last)
    w = torch.randn(o, c, k, k).to(kind, memory_format=last)
    up = torch.conv2d(x, w, None, stride, padding).to(memory_format=last)
    numbers = ([stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1)
    back = torch.ops.aten.convolution_backward
    works = {
        "forward": lambda: torch.conv2d(x, w, None, stride, padding),
        "by image": lambda: back(up, x, w, None, *numbers, [True, False, False]),
        "by weight": lambda: back(up, x, w, None, *numbers, [False, True, False]),
    }
    return {name: min(_seconds(work) for _ in range(rounds)) for name, work in works.items()}


def _seconds(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def of_suiren(layer: tuple, rounds: int, half: bool) -> dict[str, float]:
    """Seconds of the kernels of each operation."""
    import suiren
    from suiren.compiler import program

    n, c, size, o, k, stride, padding = layer
    made: list = []
    times: dict[int, float] = {}
    own, init = program.NativeProgram.run_steps, program.NativeProgram.__init__

    def timed(table: int, count: int) -> None:
        for i in range(count):
            seconds = _seconds(lambda at=table + 32 * i: own(at, 1))
            times[table + 32 * i] = min(times.get(table + 32 * i, seconds), seconds)

    def noted(self, *arguments) -> None:
        init(self, *arguments)
        self.prepared.off = True  # weights are packed in each run, as in training
        made.append(self)

    program.NativeProgram.run_steps = staticmethod(timed)
    program.NativeProgram.__init__ = noted
    kind = suiren.bfloat16 if half else suiren.float32
    x = suiren.randn(n, c, size, size).to(kind).requires_grad_()
    w = suiren.randn(o, c, k, k).to(kind).requires_grad_()
    up = suiren.randn(*suiren.conv2d(x, w, None, stride, padding).shape).to(kind)
    up.sum().item()
    found = {}
    works = {
        "forward": lambda: suiren.conv2d(x, w, None, stride, padding).sum().item(),
        "by image": lambda: _gradient(suiren, x, w, stride, padding, up, x),
        "by weight": lambda: _gradient(suiren, x, w, stride, padding, up, w),
    }
    for name, work in works.items():
        del made[:]
        for _ in range(rounds + 1):
            work()
        table = made[-1].table.ctypes.data
        kernels = [s.kernel for s in made[-1].plan.steps if s.kernel is not None]
        packing = {step for weight in made[-1].image.weights for step in weight.steps}
        found[name] = sum(
            times[table + 32 * i] for i, kernel in enumerate(kernels)
            if kernel.name.startswith(OURS) or i in packing
        )  # fmt: skip
    return found


def _gradient(suiren, x, w, stride, padding, up, by) -> None:
    with suiren.no_grad():
        kind = suiren.ops.convolution
        arguments = ((stride,) * 2, (padding,) * 2, (1, 1), False, (0, 0), 1)
        if by is x:
            found = kind._by_input(up, w, tuple(x.shape), *arguments)
        else:
            found = kind._by_weight(up, x, tuple(w.shape), *arguments)
        found.sum().item()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--bfloat16", action="store_true", help="in bfloat16, not float32")
    parser.add_argument("--library", help=argparse.SUPPRESS)
    parser.add_argument("--layer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    rounds = 1 if options.smoke else 8
    if options.library:
        run = of_suiren if options.library == "suiren" else of_torch
        print(json.dumps(run(LAYERS[options.layer], rounds, options.bfloat16)))
        return
    libraries = ["suiren"] + ["torch"] * bool(importlib.util.find_spec("torch"))
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "SUIREN_NUM_THREADS": "1",
                    "SUIREN_JIT": "1"}  # fmt: skip
    titles = [f"{kind} {own}" for kind in KINDS for own in libraries]
    print(f"{'GFLOP/s':22}" + "".join(f"{title:>18}" for title in titles))
    for name, layer in LAYERS.items():
        found = {}
        for library in libraries:
            command = [sys.executable, sys.argv[0], "--library", library, "--layer", name]
            command += ["--bfloat16"] * options.bfloat16
            result = subprocess.run(command, capture_output=True, text=True, env=surroundings)
            if result.returncode:
                sys.exit(result.stderr)
            found[library] = json.loads(result.stdout.splitlines()[-1])
        rates = [flops(layer) / found[own][kind] / 1e9 for kind in KINDS for own in libraries]
        print(f"{name:22}" + "".join(f"{rate:18.0f}" for rate in rates), flush=True)


if __name__ == "__main__":
    main()
