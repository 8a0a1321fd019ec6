"""Compile the kernels, or load them from the cache, before the clock of a run starts.

Numba compiles a kernel for the types it is called with: so the tiny runs here are built as real ones are.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.pool import EngineSettings, PoolPlan, PoolSettings
from sim.resolve import synthetic_costs
from sim.scenario import SyntheticSpec
from sim.workloads.workload import Provenance, Workload

if TYPE_CHECKING:
    from sim.pool import Balancer

__all__ = ["warm_up"]

_ENGINE = EngineSettings(max_num_seqs=1, max_num_batched_tokens=1, kv_blocks=2)

_warm: set[str] = set()


def warm_up(*, controls: bool = False, fleet: bool = False) -> None:
    """Compile the kernels, or load them from the cache, once a process. The first time ever is announced on stderr.

    `controls` includes what only controls and a user's functions call, `fleet` what only fleets do.
    """
    from policies import compiled

    cached = compiled.is_cached()
    wanted = {"pool"} | ({"controls"} if controls else set()) | ({"fleet"} if fleet else set())
    todo = (wanted if cached else {"pool", "controls", "fleet"}) - _warm
    if not todo:
        return
    if not cached:
        print("nearfar: compiling the engine, once (about a minute) ...", file=sys.stderr, flush=True)
    begun = time.perf_counter()
    for part, run in (("pool", _pool), ("controls", _controls), ("fleet", _fleet)):
        if part in todo:
            run()
    if not cached:
        compiled.mark_complete()
        print(f"nearfar: compiled in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    _warm.update(todo)


def _pool() -> None:
    _plane().advance(np.inf)


def _controls() -> None:
    plane = _plane()
    plane.advance(0.5)
    plane.fail(0, 0)
    plane.repair(0, 0)
    plane.retire(0, 1)
    plane.start(0, 1)
    plane.set_price(0, 1.0)
    plane.pools[0].views()
    plane.advance(np.inf)
    _plane("python").advance(np.inf)


def _plane(balancer: Balancer = "least-outstanding") -> Any:
    """Two replicas and one request."""
    from sim.plane import DataPlane

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
    balancers = {"pool": lambda _request, _replicas: 0} if balancer == "python" else {}
    return DataPlane(workload, [_plan(balancer)], balancers=balancers)


def _plan(balancer: Balancer = "least-outstanding") -> PoolPlan:
    settings = PoolSettings(replicas=2, balancer=balancer, engine=_ENGINE)
    return PoolPlan(settings=settings, costs=synthetic_costs(SyntheticSpec(step_s=1.0), _ENGINE))


def _fleet() -> None:
    """One device, drawn requests, a user's function that routes; and the same with numbers."""
    from policies.policy import load_policy
    from profiles import Catalogue
    from sim.far import far_of
    from sim.fleet import FleetSettings, NetworkClass, RowKind, TaskKind
    from sim.plane import DataPlane
    from sim.workloads.demand import Demand
    from sim.workloads.fleet import fleet_workload
    from sim.workloads.fleet_spec import FleetWorkloadSpec

    fleet = FleetSettings(
        kinds=(RowKind(name="one", device="one", model=0, max_tokens=10**6, networks=(1.0,)),),
        networks=(NetworkClass(name="one"),),
        tasks=(TaskKind(name="chat"),),
        models=("one",),
        ability=np.zeros((1, 1)),
        devices=1,
        kind=np.zeros(1, np.int16),
        hub=np.full(1, -1, np.int32),
        region=np.zeros(1, np.int8),
        battery_share=np.ones(1, np.float32),
    )
    demand = Demand(tasks=(Catalogue().task("chat"),), mix=np.ones((1, 1)))
    spec = FleetWorkloadSpec(requests=2, duration_s=1.0)
    workload = fleet_workload(spec, fleet, demand, seed=0, base_folder=Path())
    policy = load_policy("near").table(["chat"])
    plan = _plan()
    known = {"tier": "cloud", "model": 0, "modalities": 1}
    far_of(plan.settings, plan.costs, known, prompt_mean=1.0, output_mean=1.0, price_usd_per_s=0.0)
    for router in (None, lambda _request, _device, actions: actions[0].index):
        plane = DataPlane(workload, [plan], fleet=fleet, policy=policy, router=router)
        plane.replace_row(0)
        plane.advance(np.inf)
