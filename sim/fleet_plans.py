"""A fleet and its pools, made ready for the plane: what a router knows of each pool depends on who asks for what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from profiles import Catalogue
from sim.far import far_of
from sim.fleet import Far, FleetSettings
from sim.pool import PoolPlan
from sim.resolve import ResolvedPool
from sim.resolve_fleet import FarModel, resolve_fleet
from sim.scenario import FleetScenario
from sim.workloads.workload import Workload

__all__ = ["fleet_of", "plans_of"]


def fleet_of(
    scenario: FleetScenario, catalogue: Catalogue, pools: Sequence[ResolvedPool], *, seed: int
) -> FleetSettings:
    """The fleet of a scenario. Raises `UserError`."""
    models = {}
    for pool in pools:
        spec = scenario.pools[pool.settings.name]
        models[pool.settings.name] = FarModel(
            model=pool.deployment.model if pool.deployment else None,
            precision=pool.deployment.precision if pool.deployment else "bf16",
            tier=spec.tier,
            modalities=spec.modalities,
            ability=spec.ability,
        )
    return resolve_fleet(scenario.fleet, catalogue, models, seed=seed)


def plans_of(pools: Sequence[ResolvedPool], fleet: FleetSettings | None, workload: Workload) -> tuple[PoolPlan, ...]:
    """What the plane needs of each pool. A router predicts with the mean lengths of what may go to a pool at all."""
    if fleet is None:
        return tuple(
            PoolPlan(settings=pool.settings, costs=pool.costs, far=Far(price_usd_per_s=pool.facts.replica_usd_per_s))
            for pool in pools
        )
    prompt, output = _mean_lengths(fleet, workload)
    return tuple(
        PoolPlan(
            settings=pool.settings,
            costs=pool.costs,
            far=far_of(
                pool.settings,
                pool.costs,
                fleet.facts["pools"][pool.settings.name],
                prompt_mean=prompt,
                output_mean=output,
                price_usd_per_s=pool.facts.replica_usd_per_s,
            ),
        )
        for pool in pools
    )


def _mean_lengths(fleet: FleetSettings, workload: Workload) -> tuple[float, float]:
    """Prompt and output tokens of the requests that are not private; of all when there are none."""
    assert workload.asked is not None
    count = len(fleet.tasks)
    tasks = workload.asked.task
    may_leave = np.array([task.privacy == "any" for task in fleet.tasks])
    asked = np.bincount(tasks, minlength=count)
    if not asked[may_leave].sum():
        may_leave[:] = True
    prompt, output = (
        np.bincount(tasks, weights=lengths, minlength=count)[may_leave].sum()
        for lengths in (workload.prompt_tokens, workload.output_tokens)
    )
    total = asked[may_leave].sum()
    return float(prompt / total), float(output / total)
