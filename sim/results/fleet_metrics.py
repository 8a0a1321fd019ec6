"""What the summary says of a fleet, beside what it says of every run: who answered, how well, and what it cost whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.kernels.fleet_state import HEDGE
from sim.kernels.state import NO_TARGET, REASONS
from sim.results.answers import TIERS
from sim.results.devices import battery_points, hub_energy_j, throttled_share
from sim.results.groups import Grouping, Sums, group_sums, group_table
from sim.results.latencies import LATENCIES, ratio
from sim.results.parts import parts
from sim.results.pool_book import Losses, losses_of
from sim.results.pool_metrics import PoolFigures, pool_entry
from sim.results.verdict import Judgement, judge_devices, worst_of

if TYPE_CHECKING:
    from sim.fleet import FleetSettings
    from sim.plane import DataPlane
    from sim.results.analysis import Analysis

__all__ = ["judge_fleet", "summarise_fleet"]


def judge_fleet(analysis: Analysis, pools: Sequence[PoolFigures]) -> Judgement:
    """The worst of the verdicts on the pools and on the whole as users see it."""
    answers = analysis.answers
    assert answers is not None
    alone = answers.pool < 0
    reasons = np.bincount(analysis.plane.requests["reason"][alone], minlength=len(REASONS))
    lost: Losses = losses_of(reasons)
    users = judge_devices(lost, len(alone), analysis.latencies.attainment(None))
    return worst_of({f"pool {pool.name}": pool.judgement for pool in pools} | {"users": users})


def summarise_fleet(analysis: Analysis, pools: Sequence[PoolFigures]) -> dict[str, Any]:
    """The keys of `sim.results.fleet_columns.FLEET_SUMMARY`, in that order."""
    plane = analysis.plane
    fleet = plane.fleet
    assert fleet is not None
    groupings = _groupings(analysis, fleet)
    sums = group_sums(analysis, list(groupings.values()))
    columns = {name: analysis.latencies.values(name, np.float32) for name in LATENCIES[:3]}  # enough for percentiles
    tables = {
        name: group_table(analysis, grouping, one, columns)
        for (name, grouping), one in zip(groupings.items(), sums, strict=True)
    }
    del columns
    for task in fleet.tasks:
        limits = {name: getattr(task, f"slo_{name}") for name in LATENCIES[:3]}
        tables["by_task"][task.name]["slo"] = {name: None if np.isinf(s) else s for name, s in limits.items()}
    requests = len(plane.requests)
    whole: Sums = sums[0]
    completed = int(whole.by_state[:, 0].sum())
    device_j = float(plane.rows["requests_j"].sum())
    return {
        "policy": analysis.outcome.policy,
        "devices": fleet.devices,
        "hubs": fleet.rows - fleet.devices,
        "share": {tier: ratio(int(n), requests) for tier, n in zip(TIERS, whole.by_tier.sum(axis=0), strict=True)},
        "quality_mean": ratio(int(whole.right.sum()), completed),
        "battery_pct_per_day": battery_points(plane, analysis.span_s),
        "throttled_share": throttled_share(plane),
        "egress_bytes_per_request": ratio(float(whole.egress_bytes.sum()), requests),
        "privacy_violations": plane.stray,
        "escalated": int(np.count_nonzero(plane.trips["escalated"])),
        "hedged": int(np.count_nonzero(plane.trips["kind"] == HEDGE)),
        "device_energy_j": device_j,
        "device_energy_j_per_request": ratio(device_j, completed),
        "hub_energy_j": hub_energy_j(plane),
        "accelerators_paid": float(sum(pool.accelerators_paid for pool in pools)),
        "unasked_pools_usd": float(sum(pool.cost_usd for pool in pools if pool.requests == 0)),
        "no_target_by_task": _no_target(plane, fleet),
        "pools": {pool.name: _pool(analysis, number, pool) for number, pool in enumerate(pools)},
        **tables,
    }


def _groupings(analysis: Analysis, fleet: FleetSettings) -> dict[str, Grouping]:
    trips, answers = analysis.plane.trips, analysis.answers
    assert answers is not None
    kinds = np.empty(len(trips), np.int16)
    for part in parts(len(trips)):
        kinds[part] = fleet.kind[trips["device"][part]]
    asking = int(fleet.kind[: fleet.devices].max()) + 1  # kinds of hubs come after those of devices
    return {
        "by_tier": Grouping(TIERS, answers.had),
        "by_device": Grouping(tuple(kind.name for kind in fleet.kinds[:asking]), kinds),
        "by_task": Grouping(tuple(task.name for task in fleet.tasks), np.ascontiguousarray(trips["task"])),
    }


def _pool(analysis: Analysis, number: int, pool: PoolFigures) -> dict[str, Any]:
    record, fleet = analysis.plane.pools[number].record, analysis.plane.fleet
    assert fleet is not None
    tier = "edge" if record["is_edge"] else "cloud"
    return pool_entry(pool, analysis.span_s, tier=tier, model=fleet.models[int(record["model"])])


def _no_target(plane: DataPlane, fleet: FleetSettings) -> dict[str, int]:
    """Tasks of requests that nobody could serve."""
    lost = np.bincount(plane.trips["task"][plane.requests["reason"] == NO_TARGET], minlength=len(fleet.tasks))
    return {task.name: int(n) for task, n in zip(fleet.tasks, lost, strict=True) if n}
