"""Runs the benchmarks, each in processes of its own, and prints their tables.

    python benchmarks/run.py             all of them, some minutes
    python benchmarks/run.py --smoke     a few seconds each: that they run, not what they measure
    python benchmarks/run.py recording   one of them

Suiren and PyTorch take turns on the same work; the ratio is PyTorch's median over Suiren's, so
above 1 Suiren is faster. Without PyTorch only Suiren's figures are printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("startup", "recording", "python_cost", "replay", "training", "streaming", "matmul",
         "convolution", "cnn", "layers",
         "compile_time", "random_numbers", "memory", "same_bits")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *NAMES], default=[])
    parser.add_argument("--smoke", action="store_true", help="a short run of each")
    options = parser.parse_args()
    for name in options.names or NAMES:
        print(f"== {name}", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py"), *["--smoke"] * options.smoke]
        code = subprocess.run(command).returncode
        if code:
            print(f"{name} failed with exit code {code}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
