"""Decisions a second in the data plane: masks, figures, features and scores of every possible action of a request.

    python -m benchmarks.decisions [--policy battery-aware] [--scenario examples/fleet-day.yaml]

The plane of a scenario stands in the middle of its run; then the best action of each of its requests is worked out
again and again at that instant, one after another, on one core.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numba

from benchmarks.record import emit
from sim.kernels.choosing import weigh
from sim.loading import load
from sim.plane import DataPlane
from sim.run import prepare

REPEATS = 7


@numba.njit(nogil=True)
def decide_all(world: Any, requests: int, now_s: float) -> int:
    """Every request once; returns a sum of actions, so that nothing is left out."""
    total = 0
    for r in range(requests):
        total += weigh(world, r, now_s)
    return total


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="examples/fleet-day.yaml")
    parser.add_argument("--policy", default="battery-aware")
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--devices", type=int, help="of the fleet, in place of the scenario's")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    changes = {} if chosen.devices is None else {"fleet.devices": chosen.devices}
    ready = prepare(load(chosen.scenario, changes=changes), requests=chosen.requests, policy=chosen.policy)
    assert ready.routing is not None
    plane = DataPlane(ready.workload, ready.plans, fleet=ready.fleet, policy=ready.routing.table, seed=ready.seed)
    now_s = float(ready.workload.arrival_s.max()) / 2.0
    plane.advance(now_s)
    world = plane._world
    decide_all(world, 10, now_s)
    rates = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        decide_all(world, len(ready.workload), now_s)
        rates.append(len(ready.workload) / (time.perf_counter() - begun))
    emit(
        "decisions",
        {
            "scenario": chosen.scenario,
            "devices": ready.fleet.devices if ready.fleet else 0,
            "policy": chosen.policy,
            "requests": len(ready.workload),
            "decisions_per_s": {"median": statistics.median(rates), "low": min(rates), "high": max(rates)},
        },
        chosen.out,
    )


if __name__ == "__main__":
    main()
