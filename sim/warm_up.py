"""Compile the kernels, or load them from the cache, before the clock of a run starts."""

from __future__ import annotations

import sys
import time

import numpy as np

from sim.pool import EngineSettings, PoolPlan, PoolSettings
from sim.resolve import synthetic_costs
from sim.scenario import SyntheticSpec
from sim.workloads.workload import Provenance, Workload

__all__ = ["warm_up"]

_warm: set[bool] = set()


def warm_up(*, all_of_it: bool = False) -> None:
    """Compile the kernels, or load them from the cache, once a process. The first time ever is announced on stderr.

    `all_of_it` includes what only controls and Python policies call.
    """
    if all_of_it in _warm:
        return
    from policies import compiled
    from sim.plane import DataPlane

    cached = compiled.is_cached()
    if not cached:
        print("nearfar: compiling the engine, once (about half a minute) ...", file=sys.stderr, flush=True)
    begun = time.perf_counter()
    one, none = np.ones(1, np.int64), np.full(1, -1, np.int64)
    endless = np.full(1, np.inf)
    workload = Workload(
        arrival_s=np.zeros(1),
        after=none,
        prompt_tokens=one,
        output_tokens=one,
        priority=np.zeros(1, np.int64),
        patience_s=endless,
        deadline_s=endless,
        session=none,
        named_tokens=np.zeros(1, np.int64),
        name_start=np.zeros(1, np.int64),
        name_ids=np.zeros(0, np.int64),
        name_unit_tokens=16,
        provenance=Provenance(kind="warm-up"),
    )
    settings = EngineSettings(max_num_seqs=1, max_num_batched_tokens=1, kv_blocks=2)
    plan = PoolPlan(
        settings=PoolSettings(replicas=2, engine=settings), costs=synthetic_costs(SyntheticSpec(step_s=1.0), settings)
    )
    plane = DataPlane(workload, [plan])
    if all_of_it or not cached:
        plane.advance(0.5)
        plane.fail(0, 0)
        plane.repair(0, 0)
        plane.pools[0].views()
    plane.advance(np.inf)
    if not cached:
        compiled.mark_complete()
        print(f"nearfar: compiled in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    _warm.add(all_of_it)
