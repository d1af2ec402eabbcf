"""Resident memory of long runs: it must stay flat, with the garbage collector off too.

    python benchmarks/memory.py                   200,000 steps of a small model, 400 batch sizes
    python benchmarks/memory.py --steps 20000

First a small MLP is trained with Adam for many steps; a row every tenth of the way. Then its batch
size changes at every step, which would fill memory with programs if these were not bounded.
PyTorch's last figures beside, where it is installed.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path


def resident() -> float:
    """MB of memory that this process has now (Linux; elsewhere the most it has had)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmRSS"))
        return int(line.split()[1]) / 1024
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def work(library: str, steps: int) -> dict[str, list]:
    """Memory in MB along both runs, and their seconds."""
    torch = __import__(library)
    gc.disable()
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()

    def step(count):
        x, y = torch.randn(count, 16), torch.randint(0, 4, (count,))
        optimizer.zero_grad()
        loss_of(model(x), y).backward()
        optimizer.step()

    found: dict[str, list] = {}
    for name, total, count_of in (
        ("steps", steps, lambda i: 32),
        ("changing shapes", 400, lambda i: 33 + i),
    ):
        started, rows = time.perf_counter(), []
        for i in range(total):
            step(count_of(i))
            if (i + 1) % max(1, total // 10) == 0:
                rows.append(resident())
        found[name] = [rows, time.perf_counter() - started]
    return found


def main() -> None:
    """Runs what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--library", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.smoke:
        options.steps = 500
    if options.library:
        print(json.dumps(work(options.library, options.steps)))
        return
    for library in ("suiren", "torch") if importlib.util.find_spec("torch") else ("suiren",):
        command = [sys.executable, __file__, "--library", library, "--steps", str(options.steps)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            sys.exit(f"{library}: {result.stderr}")
        for name, (rows, seconds) in json.loads(result.stdout.splitlines()[-1]).items():
            figures = " ".join(f"{mb:.1f}" for mb in rows)
            print(f"{library:7} {name:16} {seconds:7.1f} s   MB: {figures}", flush=True)


if __name__ == "__main__":
    main()
