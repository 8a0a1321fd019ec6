"""From a scenario to an outcome: resolve the facts, build the workload, run the world.

    prepared = prepare(load("scenario.yaml"), seed=3)
    outcome = run(prepared)

`prepare` does everything that can go wrong because of the user, so that `nearfar check` can stop there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from profiles import Catalogue, UserError
from sim.deployment import Deployment, deploy
from sim.pool import EngineSettings, PoolSettings, check_pool
from sim.results.outcome import DeploymentFacts, Outcome, Slo
from sim.scenario import LoadedScenario, PoolSpec, PythonCode, PythonControl, SyntheticSpec
from sim.user_code import load_function
from sim.workloads.checks import check_workload
from sim.workloads.generators import build_workload
from sim.workloads.spec import MAX_REQUESTS
from sim.workloads.workload import Workload

__all__ = ["DEFAULT_PUE", "Prepared", "check_count", "prepare", "resolve_pool", "run"]

DEFAULT_PUE = 1.3  # typical of large shared data centres; the industry's survey average is higher (Uptime Institute)
_SYNTHETIC_CONTEXT = 2**31 - 1
_SMOOTH = np.ones(2)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedPool:
    """A pool with all its facts: what the engine needs, and what results say about it."""

    settings: PoolSettings
    facts: DeploymentFacts
    costs: Any  # sim.plane.StepCosts
    deployment: Deployment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that is ready to go."""

    loaded: LoadedScenario
    seed: int
    pool: ResolvedPool
    workload: Workload
    controls: tuple[Any, ...]
    policy: Any


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
) -> Prepared:
    """Resolve names, read or draw the workload, import the user's functions.

    `seed`, `trace`, `requests` and `time_scale` override the scenario; `controls` are added to its own; `policy` goes
    with balancer `python`; a ready `workload` is taken as it is. Raises `UserError`.
    """
    scenario = loaded.scenario
    seed = scenario.seed if seed is None else seed
    check_count("seed", seed, least=0, most=2**63 - 1)
    if requests is not None:
        check_count("requests", requests)
    profiles = loaded.folder / scenario.profiles if scenario.profiles else None
    ((name, spec),) = scenario.pools.items()
    pool = resolve_pool(name, spec, Catalogue(profiles))
    if workload is None:
        workload = build_workload(
            scenario.workload,
            seed=seed,
            base_folder=loaded.folder,
            trace=trace,
            requests=requests,
            time_scale=time_scale,
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
    )


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
    warm_up()
    plane = DataPlane(
        prepared.workload,
        prepared.pool.settings,
        prepared.pool.costs,
        seed=prepared.seed,
        policy=prepared.policy,
        progress=progress,
    )
    world = World(plane)
    started = time.perf_counter()
    world.run_to_end(prepared.controls)
    ended = time.perf_counter()
    scenario = prepared.loaded.scenario
    return Outcome(
        scenario=scenario.model_dump(mode="json", exclude_none=True),
        seed=prepared.seed,
        plane=plane,
        deployment=prepared.pool.facts,
        slo=Slo(**scenario.slo.model_dump()),
        warmup_s=scenario.warmup_s,
        wall_s=ended - begun,
        engine_s=ended - started,
    )


_warm = False


def warm_up() -> None:
    """Compile the kernels, or load them from the cache, once a process. The first time ever is announced on stderr."""
    global _warm
    if _warm:
        return
    from sim import compiled
    from sim.plane import DataPlane
    from sim.workloads.workload import Provenance

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
    plane = DataPlane(
        workload, PoolSettings(replicas=2, engine=settings), _synthetic(SyntheticSpec(step_s=1.0), settings)
    )
    if not cached:  # what only controls and Python policies call
        plane.advance(0.5)
        plane.fail(0)
        plane.repair(0)
        plane.views()
    plane.advance(np.inf)
    if not cached:
        compiled.mark_complete()
        print(f"nearfar: compiled in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    _warm = True


# -- pools -------------------------------------------------------------------------------------------------------------


def resolve_pool(name: str, spec: PoolSpec, catalogue: Catalogue) -> ResolvedPool:
    """Names to facts, memory to KV blocks, the formula to tables. Raises `UserError` for what does not fit."""
    if spec.synthetic is not None:
        return _synthetic_pool(name, spec, spec.synthetic)
    from sim.latency import step_costs

    assert spec.deployment is not None  # the record says so
    deployment = deploy(catalogue, **spec.deployment.model_dump())
    settings, assumed = _engine_settings(name, spec, deployment)
    price = spec.price_usd_per_hour
    if price is None:
        price = deployment.accelerator.price_usd_per_hour
    if spec.pue is None:
        assumed.append(f"pue {DEFAULT_PUE}")
    facts = DeploymentFacts(
        name=deployment.name,
        accelerators_per_replica=deployment.accelerators,
        price_usd_per_hour=price,
        idle_w=deployment.accelerator.idle_w,
        pue=DEFAULT_PUE if spec.pue is None else spec.pue,
        confidence=deployment.confidence,
        assumed=(*deployment.assumed, *assumed),
    )
    pool = _pool_settings(name, spec, settings, deployment)
    check_pool(pool)  # before tables are made as long as its limits
    return ResolvedPool(
        settings=pool,
        facts=facts,
        costs=step_costs(
            deployment,
            max_num_batched_tokens=settings.max_num_batched_tokens,
            max_num_seqs=settings.max_num_seqs,
        ),
        deployment=deployment,
    )


def _engine_settings(name: str, spec: PoolSpec, deployment: Deployment) -> tuple[EngineSettings, list[str]]:
    engine, model = spec.engine, deployment.model
    context = model.max_context_tokens if engine.max_model_len is None else engine.max_model_len
    if context > model.max_context_tokens:
        raise UserError(
            f"pools.{name}.engine.max_model_len exceeds what {model.name} was trained for",
            got=context,
            allowed=f"<= {model.max_context_tokens}",
        )
    memory = deployment.memory(max_num_batched_tokens=engine.max_num_batched_tokens)
    if memory.kv_per_token == 0.0:
        raise UserError(
            f"pools.{name}: every layer of {model.name} has a sliding window: its cache does not grow with the context",
            next_step="such a model is not part of this version",
        )
    derived = memory.kv_blocks(
        utilization=engine.gpu_memory_utilization,
        max_num_seqs=engine.max_num_seqs if memory.sliding_kv_per_sequence else 0,
        block_size=engine.block_size,
    )
    assumed = []
    if engine.kv_blocks is not None and derived > 0:
        blocks = engine.kv_blocks
        if blocks > derived:
            assumed.append(f"kv_blocks {blocks} as given, where the memory would hold {derived}")
    elif derived < 1:
        gib = 2**30
        raise UserError(
            f"pools.{name}: {deployment.name} does not fit: weights {memory.weights / gib:.1f} GiB, overhead and "
            f"activations {(memory.overhead + memory.activations) / gib:.1f} GiB, sliding-window KV "
            f"{engine.max_num_seqs * memory.sliding_kv_per_sequence / gib:.1f} GiB an accelerator",
            allowed=f"{memory.total * engine.gpu_memory_utilization / gib:.1f} GiB "
            f"({engine.gpu_memory_utilization:g} of {memory.total / gib:.1f})",
            next_step="use more accelerators (tensor_parallel), a lower precision or a smaller model",
        )
    else:
        blocks = derived
        assumed.append(f"kv_blocks {blocks} derived from the memory")
    return _settings(engine, blocks, context), assumed


def _settings(engine: Any, blocks: int, context: int) -> EngineSettings:
    return EngineSettings(
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        max_model_len=context,
        block_size=engine.block_size,
        kv_blocks=blocks,
        chunked_prefill=engine.chunked_prefill,
        prefix_caching=engine.prefix_caching,
        async_scheduling=engine.async_scheduling,
        scheduling=engine.scheduling,
        max_queue=-1 if engine.max_queue is None else engine.max_queue,
        max_outstanding=-1 if engine.max_outstanding is None else engine.max_outstanding,
    )


def _pool_settings(name: str, spec: PoolSpec, engine: EngineSettings, deployment: Deployment | None) -> PoolSettings:
    return PoolSettings(
        name=name,
        replicas=spec.replicas,
        balancer=spec.balancer,
        telemetry_lag_s=spec.telemetry_lag_s,
        window_tokens=deployment.window_tokens if deployment else 0,
        cold_start_s=deployment.engine.cold_start_s if deployment and spec.engine.cold_start else 0.0,
        engine=engine,
    )


def _synthetic_pool(name: str, spec: PoolSpec, synthetic: SyntheticSpec) -> ResolvedPool:
    assert spec.engine.kv_blocks is not None  # the record says so
    context = spec.engine.max_model_len or _SYNTHETIC_CONTEXT
    settings = _settings(spec.engine, spec.engine.kv_blocks, context)
    return ResolvedPool(
        settings=_pool_settings(name, spec, settings, None),
        facts=DeploymentFacts(
            name="synthetic",
            accelerators_per_replica=1,
            price_usd_per_hour=spec.price_usd_per_hour or 0.0,
            idle_w=0.0,
            pue=spec.pue or 1.0,
            confidence="assumed",
            assumed=("the step time is given, not modelled",),
        ),
        costs=_synthetic(synthetic, settings),
        deployment=None,
    )


def _synthetic(synthetic: SyntheticSpec, settings: EngineSettings) -> Any:
    from sim.kernels.step_cost import STEP_COSTS
    from sim.plane import StepCosts

    costs = np.zeros(1, STEP_COSTS)
    costs["fixed_s"] = synthetic.step_s
    costs["per_sequence_s"] = synthetic.per_sequence_s
    costs["static_w"] = synthetic.power_w
    tokens = np.arange(settings.max_num_batched_tokens + 1.0)
    nothing = np.zeros(settings.max_num_seqs + 1)
    return StepCosts(
        costs=costs,
        token_s=synthetic.per_token_s * tokens,
        token_j=0.0 * tokens,
        emit_s=nothing,
        emit_j=nothing,
        smooth=_SMOOTH,
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
