"""Training gives the same bits with any number of threads, in every process.

    python benchmarks/same_bits.py          100 steps of training.py's MLP and of its transformer
    python benchmarks/same_bits.py --smoke  a few steps, a small transformer

Each model is trained in processes of their own, with 1, 2 and 3 threads, and with 2 once more. All
losses and the parameters at the end are compared bit by bit; a difference is an exit code of 1.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
THREADS = (1, 2, 3, 2)


def train(name: str, steps: int, small: bool) -> None:
    """Prints each step's loss in hexadecimal, and a digest of the parameters."""
    import training

    import suiren as torch

    held: list = []

    def noted(torch, model, data, optimizer):
        parameters = list(model.parameters())
        opt = optimizer(parameters)
        x, y = data
        loss_of = torch.nn.CrossEntropyLoss()

        def step():
            opt.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            opt.step()
            return loss.item()

        held.extend(parameters)
        return step

    training._model = noted
    if name == "mlp":
        step = training._mlp(torch, lambda p: torch.optim.Adam(p, lr=1e-3))
    elif small:
        step = training._transformer(torch, 32, 4, 48, 3, 1, 16)
    else:
        step = training._transformer(torch)
    for _ in range(steps):
        print(float(step()).hex())
    digest = hashlib.sha256()
    for p in held:
        digest.update(p.detach().numpy().tobytes())
    print(digest.hexdigest())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps, a small transformer")
    parser.add_argument("--steps", type=int, help="how many (100)")
    parser.add_argument("--train", choices=["mlp", "transformer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    steps = options.steps or (6 if options.smoke else 100)
    if options.train:
        train(options.train, steps, options.smoke)
        return 0
    wrong = 0
    for name in ("mlp", "transformer"):
        found = []
        for threads in THREADS:
            command = [sys.executable, str(HERE / "same_bits.py"), "--train", name,
                       "--steps", str(steps), *["--smoke"] * options.smoke]  # fmt: skip
            environment = {**os.environ, "SUIREN_NUM_THREADS": str(threads)}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            found.append(done.stdout.splitlines())
        same = all(lines == found[0] for lines in found)
        first, last = (float.fromhex(found[0][i]) for i in (0, steps - 1))
        wrong += not same
        print(
            f"{name}: {steps} steps, loss {first:.4f} to {last:.4f}, threads "
            f"{', '.join(map(str, THREADS))}: {'the same bits' if same else 'DIFFERENT'}, "
            f"parameters {found[0][-1][:12]}", flush=True,
        )  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
