"""Runs one piece of work under Suiren and PyTorch in turn and compares medians.

A benchmark script calls :func:`main` with a function ``work(torch, smoke) -> {name: seconds}``.
Each library runs in processes of its own (they would compete for threads in one), several rounds
in alternation, because these machines are noisy: what is printed is the median of the rounds.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Callable


def main(work: Callable, unit: str = "us", rounds: int = 5, **flags: str) -> None:
    """Runs ``work`` in alternating processes and prints the table.

    ``flags``: further switches with their help; each is an argument of ``work``, True or False.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--library", help=argparse.SUPPRESS)
    for flag, text in flags.items():
        parser.add_argument(f"--{flag}", action="store_true", help=text)
    options = parser.parse_args()
    chosen = {flag: getattr(options, flag) for flag in flags}
    if options.library:
        module = importlib.import_module(options.library)
        print(json.dumps(work(module, options.smoke, **chosen)))
        return
    libraries = ["suiren"]
    if importlib.util.find_spec("torch"):
        libraries.append("torch")
    times: dict[str, dict[str, list[float]]] = {name: {} for name in libraries}
    for _ in range(1 if options.smoke else rounds):
        for library in libraries:
            for name, seconds in _one(library, options.smoke, chosen).items():
                times[library].setdefault(name, []).append(seconds)
    _print(times, {"us": 1e6, "ms": 1e3, "s": 1.0}[unit], unit)


def _one(library: str, smoke: bool, flags: dict[str, bool]) -> dict[str, float]:
    command = [sys.executable, sys.argv[0], "--library", library, *["--smoke"] * smoke]
    command += [f"--{flag}" for flag, chosen in flags.items() if chosen]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{library}: {result.stderr}")
    return json.loads(result.stdout.splitlines()[-1])


def _print(times: dict[str, dict[str, list[float]]], scale: float, unit: str) -> None:
    print(f"{'':42}{'suiren ' + unit:>12}{'torch ' + unit:>12}{'ratio':>8}")
    for name, measured in times["suiren"].items():
        own = statistics.median(measured) * scale
        other = times.get("torch", {}).get(name)
        if other is None:
            print(f"{name:42}{own:12.2f}{'-':>12}{'-':>8}")
            continue
        theirs = statistics.median(other) * scale
        print(f"{name:42}{own:12.2f}{theirs:12.2f}{theirs / own:8.2f}")
