"""The first steps: from the start of the process to the tenth training step; what compiling costs.

Suiren's rows come with an empty kernel cache and with the one that the run before left; PyTorch's
are its eager mode.
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
started = time.perf_counter()
torch = importlib.import_module({library!r})
import training
step = {{
    "MLP, Adam": lambda: training._mlp(torch, lambda p: torch.optim.Adam(p, lr=1e-3)),
    "transformer": lambda: training._transformer(torch),
}}[{case!r}]()
slowest = 0.0
for _ in range(10):
    before = time.perf_counter()
    step()
    slowest = max(slowest, time.perf_counter() - before)
print(slowest)
"""


def work(torch, smoke: bool) -> dict[str, float]:
    """Seconds from starting Python to the tenth step, and of the slowest step."""
    found = {}
    for case in ("MLP, Adam",) if smoke else ("MLP, Adam", "transformer"):
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("cold", "from the cache"):
                environment = {**os.environ, "SUIREN_CACHE_DIR": folder}
                script = SCRIPT.format(
                    folder=str(Path(__file__).parent), library=torch.__name__, case=case
                )
                started = time.perf_counter()
                result = subprocess.run(
                    [sys.executable, "-c", script], env=environment, check=True,
                    capture_output=True, text=True,
                )  # fmt: skip
                found[f"{case}, to the tenth step, {cache}"] = time.perf_counter() - started
                found[f"{case}, the slowest step, {cache}"] = float(result.stdout)
    return found


if __name__ == "__main__":
    main(work, unit="s", rounds=3)
