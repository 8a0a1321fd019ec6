"""From a scenario to an outcome: resolve the facts, build the workload, run the world.

    prepared = prepare(load("scenario.yaml"), seed=3)
    outcome = run(prepared)

`prepare` does everything that can go wrong because of the user, so that `nearfar check` can stop there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from policies.policy import load_policy
from policies.table import PolicyTable
from profiles import Catalogue, UserError
from sim.controls.building import check_controls, crowded, late_controls, pool_size, scenario_controls
from sim.controls.specs import PolicyRolloutSpec
from sim.fleet import FleetSettings
from sim.fleet_facts import demand_of
from sim.fleet_plans import fleet_of, plans_of
from sim.loading import LoadedScenario
from sim.pool import PoolPlan, check_pool
from sim.resolve import ResolvedPool, resolve_pool
from sim.results.outcome import Outage, Outcome, Slo
from sim.routing import PolicySource, Routing, resolve_policy
from sim.scenario import FleetScenario
from sim.user_code import load_function
from sim.warm_up import warm_up
from sim.workloads.checks import check_workload
from sim.workloads.fleet import fleet_workload
from sim.workloads.generators import build_workload
from sim.workloads.spec import MAX_REQUESTS
from sim.workloads.workload import Workload

if TYPE_CHECKING:
    from sim.plane import DataPlane
    from sim.world import Control

__all__ = ["Prepared", "check_count", "prepare", "run"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that is ready to go."""

    loaded: LoadedScenario
    catalogue: Catalogue
    seed: int
    pools: tuple[ResolvedPool, ...]
    plans: tuple[PoolPlan, ...]
    """What the plane needs of each pool."""
    workload: Workload
    controls: tuple[Any, ...]
    balancers: Mapping[str, Any]
    """Pool name to the user's function, where its balancer is `python`."""
    fleet: FleetSettings | None
    routing: Routing | None
    resolved: dict[str, Any]
    """The scenario as it is run, with what the caller put in place of its own."""
    notes: tuple[str, ...] = ()
    """What is odd about it, though no error."""


def prepare(
    loaded: LoadedScenario,
    *,
    seed: int | None = None,
    trace: Path | None = None,
    requests: int | None = None,
    time_scale: float | None = None,
    controls: Sequence[Any] = (),
    policy: PolicySource | None = None,
    workload: Workload | None = None,
    like: Prepared | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Resolve names, read or draw the workload, import the user's functions.

    `seed`, `trace`, `requests` and `time_scale` override the scenario; `controls` are added to its own; `policy` is the
    routing policy of a fleet, or goes with balancer `python`; a ready `workload` is taken as it is; with `like`, facts
    and pools are those of an earlier preparation of the same scenario, which saves most of the time. `progress` is told
    (rows read, 0) of a trace. Raises `UserError`.
    """
    scenario = loaded.scenario
    seed = scenario.seed if seed is None else seed
    check_count("seed", seed, least=0, most=2**63 - 1)
    if requests is not None:
        check_count("requests", requests)
    given = workload is not None
    draws = _Draws(
        seed=seed,
        base_folder=loaded.folder,
        trace=trace,
        requests=requests,
        time_scale=time_scale,
        progress=None if progress is None else lambda rows: progress(rows, 0),
    )
    check_controls(
        scenario.controls,
        pools=scenario.pools,
        regions=scenario.fleet.regions if isinstance(scenario, FleetScenario) else None,
    )
    if like is not None and like.loaded is not loaded:
        raise ValueError("`like` is of another scenario")
    catalogue = like.catalogue if like else Catalogue(loaded.folder / scenario.profiles if scenario.profiles else None)
    pools = like.pools if like else _pools(loaded, catalogue)
    fleet, routing = None, None
    if isinstance(scenario, FleetScenario):
        warm_up(fleet=True)  # its requests are drawn by kernels, too
        fleet = fleet_of(scenario, catalogue, pools, seed=seed)
        if workload is None:
            workload = fleet_workload(
                crowded(scenario.workload, scenario.controls),
                fleet,
                demand_of(scenario.fleet, catalogue),
                **draws._asdict(),
            )
        routing = resolve_policy(
            scenario.policy if policy is None else policy, folder=loaded.folder, tasks=fleet.task_names
        )
        if routing.router is not None and any(isinstance(one, PolicyRolloutSpec) for one in scenario.controls):
            raise UserError("a policy-rollout cannot follow a policy written in Python", got=routing.name)
        policy = None
    elif isinstance(policy, str | Path | Mapping):
        raise UserError("a routing policy is for a fleet, and this scenario has none", got=str(policy))
    elif workload is None:
        workload = build_workload(scenario.workload, **draws._asdict())
    balancers = _balancers(loaded, policy)
    check_workload(workload)
    names = workload.name_unit_tokens if len(workload.name_ids) else 0
    for pool in pools:
        check_pool(pool.settings, name_unit_tokens=names)
    _check_warm_up(workload, scenario.warmup_s)
    return Prepared(
        loaded=loaded,
        catalogue=catalogue,
        seed=seed,
        pools=pools,
        plans=plans_of(pools, fleet, workload),
        workload=workload,
        controls=(*_controls(loaded, pools, fleet, seed), *controls),
        balancers=balancers,
        fleet=fleet,
        routing=routing,
        resolved=_resolved(loaded, draws, policy=routing.name if routing else None, given=given),
        notes=(
            *(() if (workload.after >= 0).any() else late_controls(scenario.controls, float(workload.arrival_s.max()))),
            *(routing.notes if routing else ()),
        ),
    )


def _pools(loaded: LoadedScenario, catalogue: Catalogue) -> tuple[ResolvedPool, ...]:
    scenario = loaded.scenario
    return tuple(
        resolve_pool(name, spec, catalogue, most=pool_size(name, spec.replicas, scenario.controls).replicas)
        for name, spec in scenario.pools.items()
    )


class _Draws(NamedTuple):
    """What a workload is drawn with, or read."""

    seed: int
    base_folder: Path
    trace: Path | None
    requests: int | None
    time_scale: float | None
    progress: Callable[[int], None] | None


def _check_warm_up(workload: Workload, warmup_s: float) -> None:
    opened = workload.arrival_s[workload.after < 0]
    if 0.0 < float(opened[-1]) <= warmup_s and len(opened) == len(workload):
        raise UserError("warmup_s leaves no request to measure", got=warmup_s, allowed=f"< {float(opened[-1]):g}")


def _resolved(loaded: LoadedScenario, draws: _Draws, *, policy: str | None, given: bool) -> dict[str, Any]:
    whole: dict[str, Any] = loaded.scenario.model_dump(mode="json", exclude_none=True)
    if policy is not None:
        whole["policy"] = policy
    workload = whole["workload"]
    if given:
        whole["workload"] = {"given": "arrays"}
        return whole
    if draws.trace is not None:
        for name in ("arrivals", "prompt_tokens", "output_tokens", "requests", "duration_s"):
            workload.pop(name, None)
        workload["trace"] = {**workload.get("trace", {"time_scale": 1.0}), "path": draws.trace.name}
        workload["trace"].pop("requests", None)
    part = workload.get("trace", workload)
    if draws.requests is not None:
        if "fleet" not in whole:
            workload.pop("duration_s", None)
        part["requests"] = draws.requests
    if draws.time_scale is not None:
        part["time_scale"] = draws.time_scale
    return whole


def check_count(name: str, value: object, *, least: int = 1, most: int = MAX_REQUESTS) -> None:
    """Raise `UserError` unless the value is a whole number in its bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UserError(f"{name} must be a whole number", got=value, allowed=f"{least} to {most}")


def run(prepared: Prepared, *, progress: Progress | None = None) -> Outcome:
    """Run to the end: until every request is terminal. `progress` is told (terminal, all) now and then.

    `engine_s` of the outcome is the time of the event loop: compiling, reading and writing are not in it.
    """
    from sim.plane import DataPlane
    from sim.world import World

    begun = time.perf_counter()
    warm_up(controls=bool(prepared.controls or prepared.balancers), fleet=prepared.fleet is not None)
    routing = prepared.routing
    plane = DataPlane(
        prepared.workload,
        prepared.plans,
        fleet=prepared.fleet,
        policy=routing.table if routing else None,
        router=routing.router if routing else None,
        balancers=prepared.balancers,
        seed=prepared.seed,
        progress=progress,
    )
    world = World(plane)
    started = time.perf_counter()
    world.run_to_end(prepared.controls)
    ended = time.perf_counter()
    scenario = prepared.loaded.scenario
    return Outcome(
        scenario=prepared.resolved,
        seed=prepared.seed,
        plane=plane,
        pools=tuple(pool.facts for pool in prepared.pools),
        policy=routing.name if routing else None,
        slo=Slo(**scenario.slo.model_dump()),
        outages=_outages(plane),
        warmup_s=scenario.warmup_s,
        wall_s=ended - begun,
        engine_s=ended - started,
    )


def _outages(plane: DataPlane) -> tuple[Outage, ...]:
    """When replicas were down, from what the controls did."""
    since: dict[tuple[int, int], float] = {}
    outages = []
    for at_s, what, where in plane.log:
        if what == "fail":
            since.setdefault(where, at_s)
        elif what == "repair" and where in since:
            outages.append(Outage(plane.pools[where[0]].pool.name, since.pop(where), at_s))
    outages += [Outage(plane.pools[pool].pool.name, at_s) for (pool, _), at_s in since.items()]
    return tuple(outages)


# -- controls and balancers --------------------------------------------------------------------------------------------


def _balancers(loaded: LoadedScenario, policy: Any) -> dict[str, Any]:
    """The user's balancers, by pool; `policy` is one that the caller gave."""
    balancers = {}
    for name, spec in loaded.scenario.pools.items():
        function = policy
        if policy is None and spec.policy is not None:
            function = load_function(loaded.folder / spec.policy.file, spec.policy.function)
        if spec.balancer != "python":
            if policy is not None:
                raise UserError("balancer 'python' and a Python policy go together", got=spec.balancer)
            continue
        if function is None:
            raise UserError(
                f"{loaded.where}: pools.{name}.policy: balancer python needs a policy",
                next_step="give policy: {file: my_policy.py, function: choose}",
            )
        balancers[name] = function
    return balancers


def _controls(
    loaded: LoadedScenario, pools: Sequence[ResolvedPool], fleet: FleetSettings | None, seed: int
) -> list[Control]:
    """The controls of the scenario."""

    def table(name: str) -> PolicyTable:
        assert fleet is not None
        return load_policy(name, folder=loaded.folder).table(fleet.task_names)

    return scenario_controls(
        loaded.scenario.controls,
        pools={pool.settings.name: pool.settings.replicas for pool in pools},
        seed=seed,
        folder=loaded.folder,
        regions=fleet.regions if fleet else None,
        load_policy_table=table,
    )
