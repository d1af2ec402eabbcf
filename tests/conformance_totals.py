"""Runs the conformance tools and compares their totals with those recorded in this file.

    python tests/conformance_totals.py PATH_TO_TOOLS

Exits with 1 when a total is below the recorded one. Raise the numbers when they rise.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

# (tool, options, measure -> how many must pass)
RECORDED = [
    ("opdb.py", ["--samples", "4"], {"forward": 0, "backward": 0, "variants": 0}),
    ("moduledb.py", ["--samples", "4"], {"load": 0, "eval": 0, "train": 0, "backward": 0}),
    ("optimdb.py", [], {"steps": 0, "state": 0, "resume": 0, "lr": 0}),
]


def main() -> int:
    tools = Path(sys.argv[1])
    fell = []
    for tool, options, recorded in RECORDED:
        command = [sys.executable, str(tools / tool), *options]
        result = subprocess.run(command, capture_output=True, text=True)
        print(result.stdout[-2000:], flush=True)
        if result.returncode:
            print(result.stderr[-2000:])
            fell.append(f"{tool} exited with {result.returncode}")
            continue
        found = {m: int(n) for m, n in re.findall(r"(\w+) (\d+)/\d+", result.stdout)}
        for measure, least in recorded.items():
            if found.get(measure, 0) < least:
                fell.append(f"{tool}: {measure} {found.get(measure, 0)}, recorded {least}")
    for line in fell:
        print("below the record:", line)
    return 1 if fell else 0


if __name__ == "__main__":
    sys.exit(main())
