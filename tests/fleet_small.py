"""A fleet whose figures can be worked out by hand: a phone, a watch, a hub, one cloud pool; a step takes a second.

A kilobyte takes a second on the air and a joule of the device; the phone needs a second for a prompt and half a second
for each token after the first; the hub half of that. The phone's model is always wrong, the others are always right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np

from policies.layout import FEATURE_NAMES, KINDS
from policies.table import PolicyTable
from sim.fleet import CascadeSettings, Far, FleetSettings, NetworkClass, RowKind, Six, TaskKind
from sim.plane import DataPlane
from sim.pool import EngineSettings, PoolPlan, PoolSettings
from sim.results.outcome import DeploymentFacts, Outcome, Slo
from sim.workloads.workload import Asked
from sim.world import Control, World
from tests.scenarios import step_costs, workload_of

RATE: Six = (8000.0,) * 6
FACTS = DeploymentFacts(
    name="toy", accelerators_per_replica=2, price_usd_per_hour=18.0, idle_w=0.0, pue=1.0, confidence="fitted"
)
AIR = NetworkClass(name="air", home=True, uplink_bps=RATE, downlink_bps=RATE, base_w=1.0)
PHONE = RowKind(
    name="phones", device="phone", model=0, max_tokens=1000, chunk_tokens=1000, chunk_s=1.0, token_s=0.5, power_w=2.0,
    capacity_j=1000.0, networks=(1.0,),
)  # fmt: skip
WATCH = RowKind(name="watches", device="watch", capacity_j=100.0, networks=(1.0,))
HUB = RowKind(
    name="hubs", device="hub", model=1, max_tokens=1000, chunk_tokens=1000, chunk_s=0.5, token_s=0.25, power_w=4.0
)
TASKS = (
    TaskKind(name="diary", privacy="device", slo_ttft_s=1.5),
    TaskKind(name="lights", privacy="home", slo_e2e_s=1.0),
    TaskKind(name="chat"),
    TaskKind(name="photo", modality=2),
)
CHOICES = {"diary": "near", "lights": "edge", "chat": "cloud", "photo": "cloud"}
PHONE_ROW, WATCH_ROW, HUB_ROW = range(3)
DAY = (  # one of each: near, hub, cloud from the watch and from the phone, and what nobody understands
    {"arrival_s": 0.0, "device": 0, "task": "diary", "prompt": 10, "output": 3},
    {"arrival_s": 0.0, "device": 1, "task": "chat", "prompt": 10, "output": 2},
    {"arrival_s": 10.0, "device": 0, "task": "lights", "prompt": 10, "output": 5},
    {"arrival_s": 20.0, "device": 1, "task": "photo", "prompt": 10, "output": 5},
    {"arrival_s": 30.0, "device": 0, "task": "chat", "prompt": 10, "output": 2},
)


def small_fleet(*, phone: RowKind = PHONE, tasks: Sequence[TaskKind] = TASKS, **changes: Any) -> FleetSettings:
    right = np.full((3, len(tasks)), 100.0)
    right[0] = -100.0
    settings: dict[str, Any] = {
        "kinds": (phone, WATCH, HUB),
        "networks": (AIR,),
        "tasks": tuple(tasks),
        "models": ("tiny", "middle", "large"),
        "ability": right,
        "devices": 2,
        "kind": np.array([0, 1, 2], np.int16),
        "hub": np.array([2, -1], np.int32),
        "region": np.zeros(2, np.int8),
        "battery_share": np.ones(3, np.float32),
        "estimate_spread": 0.0,
        "assumed": ("a guess",),
        "facts": {"confidence": "assumed"},
    }
    return FleetSettings(**(settings | changes))


def small_policy(tasks: Sequence[TaskKind] = TASKS, **choices: str) -> PolicyTable:
    """Each task goes where `CHOICES` or `choices` say, if it can."""
    chosen = CHOICES | choices
    scene = np.array([[1e6 * (kind == chosen[task.name]) for kind in KINDS] for task in tasks])
    kinds = tuple(kind in chosen.values() for kind in KINDS)
    return PolicyTable(name="by task", weights=np.zeros(len(FEATURE_NAMES)), scene=scene, kinds=kinds)  # type: ignore[arg-type]


def small_pool(name: str = "cloud", *, far: Far | None = None, replicas: int = 1, **engine: Any) -> PoolPlan:
    """Model 2, a cent a second and replica."""
    limits = EngineSettings(
        max_num_seqs=4, max_num_batched_tokens=64, max_model_len=1000, block_size=4, kv_blocks=64,
        prefix_caching=False, async_scheduling=False,
    )  # fmt: skip
    return PoolPlan(
        settings=PoolSettings(name=name, replicas=replicas, engine=replace(limits, **engine)),
        costs=step_costs(fixed_s=1.0),
        far=far or Far(model=2, price_usd_per_s=0.01, decode_s=(0.0, 1.0, 1.0, 1.0, 1.0)),
    )


def small_outcome(
    rows: Sequence[dict[str, Any]] = DAY, *, pools: Sequence[PoolPlan] | None = None,
    fleet: FleetSettings | None = None, policy: PolicyTable | None = None, slo: Slo | None = None,
    warmup_s: float = 0.0, controls: Sequence[Control] = (),
) -> Outcome:  # fmt: skip
    fleet = fleet or small_fleet()
    names = [task.name for task in fleet.tasks]
    asked = Asked(
        device=np.array([row["device"] for row in rows], np.int32),
        task=np.array([names.index(row["task"]) for row in rows], np.int16),
        difficulty=np.zeros(len(rows), np.float32),
        up_bytes=np.array([row.get("up_bytes", 1000.0) for row in rows], np.float32),
        down_bytes=np.array([row.get("down_bytes", 500.0) for row in rows], np.float32),
    )
    plans = [small_pool()] if pools is None else pools
    policy = policy or small_policy(fleet.tasks)
    plane = DataPlane(replace(workload_of(rows), asked=asked), plans, fleet=fleet, policy=policy)
    World(plane).run_to_end(controls)
    return Outcome(
        scenario={"name": "small"}, seed=1, plane=plane, pools=(FACTS,) * len(plans), slo=slo or Slo(),
        policy=policy.name, warmup_s=warmup_s, wall_s=0.5, engine_s=0.25,
    )  # fmt: skip


def cascades(threshold: float) -> FleetSettings:
    """A fleet whose cascades always escalate (inf) or never do (-inf)."""
    return small_fleet(cascade=CascadeSettings(threshold=max(-1e9, min(1e9, threshold)), check_s=0.5))


ALWAYS, NEVER = inf, -inf
