"""How long a command takes from the prompt to the answer.

    python -m benchmarks.startup [--out record.json]

help       `nearfar --help`
warm       `nearfar simulate` of the built-in scenario with 2,000 requests, kernels cached
cold       the very first run, with an empty cache: compilation included
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import emit, median_of

RUNS = 7


def seconds(arguments: list[str], cache: str | None = None) -> float:
    """Wall seconds of one process."""
    environment = os.environ | ({"NEARFAR_CACHE_DIR": cache} if cache else {})
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "cli", *arguments], check=True, capture_output=True, env=environment)
    return time.perf_counter() - begun


def main() -> None:
    """Run all and print one record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    small = ["simulate", "--requests", "2000", "--json"]
    with tempfile.TemporaryDirectory() as cache:
        cold = seconds(small, cache)
        warm = [seconds(small, cache) for _ in range(RUNS)]
    figures = {
        "help_s": median_of([seconds(["--help"]) for _ in range(RUNS)]),
        "warm_simulate_s": median_of(warm),
        "first_ever_simulate_s": cold,
    }
    emit("startup", figures, args.out)


if __name__ == "__main__":
    main()
