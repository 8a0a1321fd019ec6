"""From a scenario to an outcome: resolve the facts, build the workload, run the world.

    prepared = prepare(load("scenario.yaml"), seed=3)
    outcome = run(prepared)

`prepare` does everything that can go wrong because of the user, so that `nearfar check` can stop there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiles import Catalogue, UserError
from sim.pool import PoolPlan, check_pool
from sim.resolve import ResolvedPool, resolve_pool
from sim.results.outcome import Outcome, Slo
from sim.scenario import LoadedScenario, PythonCode, PythonControl
from sim.user_code import load_function
from sim.warm_up import warm_up
from sim.workloads.checks import check_workload
from sim.workloads.generators import build_workload
from sim.workloads.spec import MAX_REQUESTS
from sim.workloads.workload import Workload

__all__ = ["Prepared", "check_count", "prepare", "run"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that is ready to go."""

    loaded: LoadedScenario
    seed: int
    pool: ResolvedPool
    workload: Workload
    controls: tuple[Any, ...]
    policy: Any
    resolved: dict[str, Any]
    """The scenario as it is run, with what the caller put in place of its own."""


def prepare(
    loaded: LoadedScenario,
    *,
    seed: int | None = None,
    trace: Path | None = None,
    requests: int | None = None,
    time_scale: float | None = None,
    controls: Sequence[Any] = (),
    policy: Any = None,
    workload: Workload | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Resolve names, read or draw the workload, import the user's functions.

    `seed`, `trace`, `requests` and `time_scale` override the scenario; `controls` are added to its own; `policy` goes
    with balancer `python`; a ready `workload` is taken as it is. `progress` is told (rows read, 0) of a trace.
    Raises `UserError`.
    """
    scenario = loaded.scenario
    seed = scenario.seed if seed is None else seed
    check_count("seed", seed, least=0, most=2**63 - 1)
    if requests is not None:
        check_count("requests", requests)
    profiles = loaded.folder / scenario.profiles if scenario.profiles else None
    ((name, spec),) = scenario.pools.items()
    pool = resolve_pool(name, spec, Catalogue(profiles))
    given = workload is not None
    if workload is None:
        workload = build_workload(
            scenario.workload,
            seed=seed,
            base_folder=loaded.folder,
            trace=trace,
            requests=requests,
            time_scale=time_scale,
            progress=None if progress is None else lambda rows: progress(rows, 0),
        )
    if policy is None and spec.policy is not None:
        policy = _imported(spec.policy, loaded.folder)
    if spec.balancer == "python" and policy is None:
        raise UserError(
            f"{loaded.where}: pools.{name}.policy: balancer python needs a policy",
            next_step="give policy: {file: my_policy.py, function: choose}",
        )
    check_workload(workload)
    check_pool(pool.settings, name_unit_tokens=workload.name_unit_tokens if len(workload.name_ids) else 0)
    opened = workload.arrival_s[workload.after < 0]
    if 0.0 < float(opened[-1]) <= scenario.warmup_s and len(opened) == len(workload):
        raise UserError(
            "warmup_s leaves no request to measure", got=scenario.warmup_s, allowed=f"< {float(opened[-1]):g}"
        )
    return Prepared(
        loaded=loaded,
        seed=seed,
        pool=pool,
        workload=workload,
        controls=(*_scenario_controls(loaded, name, pool.settings.replicas, seed), *controls),
        policy=policy,
        resolved=_resolved(loaded, trace=trace, requests=requests, time_scale=time_scale, given=given),
    )


def _resolved(
    loaded: LoadedScenario, *, trace: Path | None, requests: int | None, time_scale: float | None, given: bool
) -> dict[str, Any]:
    whole: dict[str, Any] = loaded.scenario.model_dump(mode="json", exclude_none=True)
    workload = whole["workload"]
    if given:
        whole["workload"] = {"given": "arrays"}
        return whole
    if trace is not None:
        for name in ("arrivals", "prompt_tokens", "output_tokens", "requests", "duration_s"):
            workload.pop(name, None)
        workload["trace"] = {**workload.get("trace", {"time_scale": 1.0}), "path": trace.name}
        workload["trace"].pop("requests", None)
    part = workload.get("trace", workload)
    if requests is not None:
        workload.pop("duration_s", None)
        part["requests"] = requests
    if time_scale is not None:
        part["time_scale"] = time_scale
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
    warm_up(all_of_it=bool(prepared.controls) or prepared.policy is not None)
    plane = DataPlane(
        prepared.workload,
        [PoolPlan(settings=prepared.pool.settings, costs=prepared.pool.costs)],
        seed=prepared.seed,
        balancers={prepared.pool.settings.name: prepared.policy} if prepared.policy else {},
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
        deployment=prepared.pool.facts,
        slo=Slo(**scenario.slo.model_dump()),
        warmup_s=scenario.warmup_s,
        wall_s=ended - begun,
        engine_s=ended - started,
    )


# -- controls and policies ---------------------------------------------------------------------------------------------


def _imported(code: PythonCode, folder: Path) -> Any:
    return load_function(folder / code.file, code.function)


def _scenario_controls(loaded: LoadedScenario, pool: str, replicas: int, seed: int) -> list[Any]:
    from sim.controls import ReplicaFailures

    controls: list[Any] = []
    for spec in loaded.scenario.controls:
        if isinstance(spec, PythonControl):
            controls.append(_imported(spec, loaded.folder))
        else:
            failures = ReplicaFailures(mean_up_s=spec.mean_up_s, mean_repair_s=spec.mean_repair_s, pool=pool, seed=seed)
            controls += failures.controls(replicas)
    return controls
