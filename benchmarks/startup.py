"""Time from process start to `import` done: Suiren, PyTorch, and NumPy alone for comparison."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

smoke = "--smoke" in sys.argv


def seconds(statement: str) -> float:
    """How long a fresh interpreter takes for this statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


statements = {name: f"import {name}" for name in ("numpy", "suiren", "torch")}
rounds: dict[str, list[float]] = {"bare interpreter": []}
for _ in range(1 if smoke else 9):
    rounds["bare interpreter"].append(seconds("pass"))
    for name, statement in list(statements.items()):
        try:
            rounds.setdefault(f"import {name}", []).append(seconds(statement))
        except subprocess.CalledProcessError:
            del statements[name]
            rounds.pop(f"import {name}", None)
for name, found in rounds.items():
    print(f"{name:24}{statistics.median(found):8.3f} s")
