"""The first steps: from the start of the process to the tenth training step; what compiling costs.

Suiren's rows come with an empty cache on disk and with the one that the run before left; PyTorch's
are its eager mode. The slowest step is compared with the last: what it takes longer is the price of
interpreting, compiling and touching memory for the first time.

    python benchmarks/compile_time.py
    ALONE=1 python benchmarks/compile_time.py   processor seconds on one thread, for busy machines
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sidebyside import main

SCRIPT = """
import importlib, sys, time
sys.path.insert(0, {folder!r})
clock = {clock}
torch = importlib.import_module({library!r})
import cnn, training
step = {{
    "MLP, Adam": lambda: training._mlp(torch, lambda p: torch.optim.Adam(p, lr=1e-3)),
    "transformer": lambda: training._transformer(torch),
    "CNN": lambda: cnn._step(torch, "cnn", lambda x: x),
    "ResNet-18": lambda: cnn._step(torch, "resnet16", lambda x: x),
}}[{case!r}]()
times = []
for _ in range({steps}):
    before = clock()
    step()
    times.append(clock() - before)
print(max(times), times[-1], clock())
"""


def work(torch, smoke: bool) -> dict[str, float]:
    """Seconds from starting Python to the last step, of the slowest step and of the last."""
    found = {}
    alone = bool(os.environ.get("ALONE"))
    limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} if alone else {}
    cases = {"MLP, Adam": 10, "transformer": 10, "CNN": 10, "ResNet-18": 4}
    for case, steps in list(cases.items())[: 1 if smoke else None]:
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("cold", "from the cache"):
                environment = {**os.environ, **limits, "SUIREN_CACHE_DIR": folder}
                script = SCRIPT.format(
                    folder=str(Path(__file__).parent), library=torch.__name__, case=case,
                    steps=steps, clock="time.process_time" if alone else "time.perf_counter",
                )
                started = time.perf_counter()
                result = subprocess.run(
                    [sys.executable, "-c", script], env=environment, check=True,
                    capture_output=True, text=True,
                )  # fmt: skip
                slowest, last, total = map(float, result.stdout.split())
                if not alone:
                    total = time.perf_counter() - started
                found[f"{case}, to step {steps}, {cache}"] = total
                found[f"{case}, slowest step, {cache}"] = slowest
                found[f"{case}, last step, {cache}"] = last
    return found


if __name__ == "__main__":
    main(work, unit="s", rounds=3)
