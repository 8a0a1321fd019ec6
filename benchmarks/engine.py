"""How fast the engine is.

    python -m benchmarks.engine [--trace FILE] [--out record.json]

requests_per_s     a conversation trace on four H100 replicas of an 8B model at 80 % of their measured capacity; without
                   a trace, generated requests with the published means of the Azure conversation trace
iterations_per_s   one replica, 64 sequences that decode
growth             the same load with 125 k to 1 M requests: time, memory, and the exponents of their growth
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import emit, median_of
from sim.loading import load
from sim.results.outcome import Outcome
from sim.run import prepare, run

REPLICAS = 4
LOAD = 0.8
RUNS = 7

POOL: dict[str, Any] = {
    "cloud": {
        "replicas": REPLICAS,
        "deployment": {"model": "llama-3.1-8b", "accelerator": "h100"},
        "engine": {"max_num_batched_tokens": 2048},
    }
}
LIKE_AZURE: dict[str, Any] = {
    "arrivals": {"kind": "poisson", "rate_rps": 5.53},
    "prompt_tokens": {"kind": "lognormal", "mean": 1155, "cv": 1.0, "max": 14050},
    "output_tokens": {"kind": "lognormal", "mean": 211, "cv": 0.8, "max": 1000},
    "requests": 19366,
}


def scenario(trace: Path | None, time_scale: float) -> dict[str, Any]:
    """The benchmark's pool under the trace, or under something like it, with the stamps scaled."""
    if trace is not None:
        return {"pools": POOL, "workload": {"trace": {"path": str(trace.resolve()), "time_scale": time_scale}}}
    arrivals = {"kind": "poisson", "rate_rps": LIKE_AZURE["arrivals"]["rate_rps"] / time_scale}
    return {"pools": POOL, "workload": {**LIKE_AZURE, "arrivals": arrivals}}


def simulate(data: dict[str, Any], requests: int | None = None) -> Outcome:
    """One run."""
    return run(prepare(load(data), requests=requests))


def scale_for_load(trace: Path | None) -> tuple[float, float]:
    """The stamps' scale that makes the load, and the capacity in requests/s: that of all requests at once."""
    at_once = simulate(scenario(trace, 1e-9))
    makespan_s = float(np.nanmax(at_once.plane.requests["finish"]))
    span_s = float(simulate(scenario(trace, 1.0)).plane.requests["arrival"].max())
    return makespan_s / LOAD / span_s, len(at_once.plane.requests) / makespan_s


def requests_per_s(trace: Path | None) -> dict[str, Any]:
    """Engine time only: reading, compiling and writing are not in it."""
    time_scale, capacity_rps = scale_for_load(trace)
    data = scenario(trace, time_scale)
    outcomes = [simulate(data) for _ in range(RUNS)]
    last = outcomes[-1].plane
    n = len(last.requests)
    steps = int(last.pools[0].replicas["executed"].sum())
    return {
        "requests": n,
        "replicas": REPLICAS,
        "capacity_rps": capacity_rps,
        "time_scale": time_scale,
        "steps": steps,
        "requests_per_s": median_of([n / outcome.engine_s for outcome in outcomes]),
        "iterations_per_s": median_of([steps / outcome.engine_s for outcome in outcomes]),
    }


def iterations_per_s() -> dict[str, Any]:
    """64 sequences, 100,000 tokens each, on one replica."""
    data = {
        "pools": {
            "one": {
                "deployment": {"model": "llama-3.1-8b", "accelerator": "h100"},
                "engine": {"kv_blocks": 500_000, "max_num_seqs": 64},
            }
        },
        "workload": {
            "arrivals": {"kind": "poisson", "rate_rps": 1e6},
            "prompt_tokens": 10,
            "output_tokens": 100_000,
            "requests": 64,
        },
    }
    outcomes = [simulate(data) for _ in range(RUNS)]
    steps = int(outcomes[-1].plane.pools[0].replicas["executed"].sum())
    return {"steps": steps, "iterations_per_s": median_of([steps / outcome.engine_s for outcome in outcomes])}


def growth(trace: Path | None) -> dict[str, Any]:
    """Each size in a process of its own, for its peak memory; sizes double, so linear growth has the exponent 1."""
    time_scale, _ = scale_for_load(trace)
    rows = []
    for requests in (125_000, 250_000, 500_000, 1_000_000):
        call = f"one_size({str(trace) if trace else None!r}, {time_scale}, {requests})"
        code = f"from benchmarks.engine import one_size; {call}"
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        engine_s, peak_mb = (float(word) for word in done.stdout.split())
        rows.append({"requests": requests, "engine_s": engine_s, "peak_mb": peak_mb})
    time_exponent = np.polyfit(np.log([row["requests"] for row in rows]), np.log([row["engine_s"] for row in rows]), 1)[
        0
    ]
    peaks = [row["peak_mb"] for row in rows]
    return {
        "sizes": rows,
        "time_exponent": float(time_exponent),
        "memory_exponent": float(np.log2((peaks[3] - peaks[2]) / (peaks[2] - peaks[1]))),
        "bytes_per_request": (peaks[3] - peaks[2]) * 2**20 / 500_000,
    }


def one_size(trace: str | None, time_scale: float, requests: int) -> None:
    """Print engine seconds (best of three) and the peak memory of this process in MB."""
    data = scenario(Path(trace) if trace else None, time_scale)
    best = min(simulate(data, requests).engine_s for _ in range(3))
    print(best, peak_mb())


def peak_mb() -> float:
    """Peak resident memory of this process (Linux; getrusage would count what the parent had when it forked)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Run all and print one record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    figures = {
        "conversation": requests_per_s(args.trace),
        "decoding": iterations_per_s(),
        "growth": growth(args.trace),
    }
    emit("engine", figures, args.out)


if __name__ == "__main__":
    main()
