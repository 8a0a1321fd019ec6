"""How fast a whole fleet is.

    python -m benchmarks.fleet [--largest 10000000] [--out record.json]

day        `nearfar simulate examples/fleet-day.yaml --requests N --set fleet.devices=N/10 --out FOLDER`, as a user
           would run it: start of Python to the last file, with the phases of the run and the peak memory
devices    one million requests of a day on 10 k, 100 k and 1 M devices: engine seconds
requests   0.1 M to 10 M requests of a day on 1 M devices: engine seconds and the exponent of their growth

Each run is a process of its own; kernels are compiled before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engine import peak_mb
from benchmarks.record import emit
from sim.loading import load
from sim.run import prepare, run

SCENARIO = Path(__file__).parents[1] / "examples" / "fleet-day.yaml"
DEVICES = (10_000, 100_000, 1_000_000)
RUNS = 3


def day(requests: int) -> dict[str, Any]:
    """The command line, with files."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "import resource, sys, cli; cli.main()", "simulate", str(SCENARIO)]
        command += ["--requests", str(requests), "--set", f"fleet.devices={requests // 10}", "--out", folder, "--json"]
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            peak = watched(process)
        wall_s = time.perf_counter() - begun
        run_facts = json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))
        size = (Path(folder) / "requests.parquet").stat().st_size
    return {
        "requests": requests,
        "devices": requests // 10,
        "wall_s": wall_s,
        "engine_s": run_facts["engine_s"],
        "peak_mb": peak,
        "requests_parquet_mb": size / 2**20,
    }


def watched(process: subprocess.Popen[str]) -> float:
    """The peak resident memory of a process in MB; read while it lives."""
    status = Path(f"/proc/{process.pid}/status")
    peak = 0.0
    while process.poll() is None:
        try:
            text = status.read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            break
        if "VmHWM:" in text:
            peak = max(peak, int(text.split("VmHWM:")[1].split()[0]) / 1024)
        time.sleep(0.2)
    if process.wait() != 0:
        raise RuntimeError("the run failed")
    return peak


def sized(requests: int, devices: int) -> dict[str, Any]:
    """Engine seconds, best of a few runs in one process of its own."""
    code = f"from benchmarks.fleet import one_size; one_size({requests}, {devices})"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    engine_s, wall_s, peak = (float(word) for word in done.stdout.split())
    return {"requests": requests, "devices": devices, "engine_s": engine_s, "wall_s": wall_s, "peak_mb": peak}


def one_size(requests: int, devices: int) -> None:
    """Print engine seconds, seconds of preparing and running, and the peak memory in MB."""
    runs = []
    for _ in range(1 if requests > 2_000_000 else RUNS):
        begun = time.perf_counter()
        outcome = run(prepare(load(SCENARIO, changes={"fleet.devices": devices}), requests=requests))
        runs.append((outcome.engine_s, time.perf_counter() - begun))
    print(*min(runs), peak_mb())


def main() -> None:
    """Run all and print one record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    one_size(1000, 100)  # compiles
    by_devices = [sized(min(1_000_000, args.largest), devices) for devices in DEVICES]
    counts = [args.largest // 100, args.largest // 10, args.largest]
    by_requests = [sized(requests, DEVICES[-1]) for requests in counts]
    figures = {
        "day": day(args.largest),
        "devices": by_devices,
        "devices_ratio": max(r["engine_s"] for r in by_devices) / min(r["engine_s"] for r in by_devices),
        "requests": by_requests,
        "requests_exponent": float(np.polyfit(np.log(counts), np.log([r["engine_s"] for r in by_requests]), 1)[0]),
    }
    emit("fleet", figures, args.out)


if __name__ == "__main__":
    main()
