"""A recorded run of a real engine, replayed: predicted against measured, request by request.

    replayed = replay(load_run(folder), Catalogue())
    replayed.to_json()["error"]["tpot_s"]["mean"]

Arrivals and lengths are those of the run; everything else is predicted. Nothing is fitted to the run. The band says
what an error of 5 % in every step's time would do: near saturation it does much more than 5 % to a queue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from profiles import Catalogue, Model, UserError
from profiles.complaints import told
from sim.deployment import Deployment, deploy
from sim.latency import step_costs
from sim.numbers import Floats
from sim.pool import EngineSettings, PoolPlan, PoolSettings, check_pool
from sim.replay_input import RecordedRun
from sim.replay_workload import recorded_workload
from sim.resolve import engine_settings
from sim.scenario import EngineSpec
from sim.warm_up import warm_up

__all__ = ["LATENCIES", "STATISTICS", "Replay", "replay"]

LATENCIES = ("ttft_s", "tpot_s", "e2e_s")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
BAND = (0.95, 1.05)  # factors on every step's time
Latencies = Mapping[str, Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Seconds, in order of arrival. `tpot_s` has no value for a request of one token."""

    run: RecordedRun
    deployment: Deployment
    engine: EngineSettings
    measured: Latencies
    predicted: Latencies
    faster: Latencies  # with every step 5 % shorter
    slower: Latencies
    preemptions: int
    assumed: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What `nearfar validate --run --json` prints."""
        measured, predicted = _summary(self.measured), _summary(self.predicted)
        return {
            "run": str(self.run.folder),
            "deployment": self.deployment.name,
            "accelerator_from": self.run.accelerator_from,
            "data_parallel": self.run.data_parallel,
            "requests": len(self.run),
            "preemptions": self.preemptions,
            "kv_blocks": self.engine.kv_blocks,
            "confidence": self.deployment.confidence,
            "measured": measured,
            "predicted": predicted,
            "error": _relative(predicted, measured),
            "median_absolute_error": {
                name: _median_error(self.predicted[name], self.measured[name]) for name in LATENCIES
            },
            "band": {
                "step_time_factors": list(BAND),
                "predicted": [_summary(self.faster), _summary(self.slower)],
                "error": [_relative(_summary(side), measured) for side in (self.faster, self.slower)],
            },
            "assumed": list(self.assumed),
        }


def replay(run: RecordedRun, catalogue: Catalogue) -> Replay:
    """Predict every request of a run. Raises `UserError` for unknown names and for what cannot have run."""
    deployment = _deployment(run, catalogue)
    pool, assumed = _pool(run, deployment)
    limits = pool.engine
    if deployment.data_parallel > 1:
        assumed.append(f"{deployment.data_parallel} ranks that share experts step together, with even loads")
    plan = _plan(deployment, pool, run)
    warm_up()
    faster, nominal, slower = (_simulated(run, plan, factor) for factor in (BAND[0], 1.0, BAND[1]))
    return Replay(
        run=run,
        deployment=deployment,
        engine=limits,
        measured=_latencies(run.output_tokens, run.queued_s, run.first_token_s, run.last_token_s),
        predicted=_predicted(nominal),
        faster=_predicted(faster),
        slower=_predicted(slower),
        preemptions=int(nominal["preemptions"].sum()),
        assumed=(*run.notes, *assumed, *deployment.assumed),
    )


# -- the engine --------------------------------------------------------------------------------------------------------


def _deployment(run: RecordedRun, catalogue: Catalogue) -> Deployment:
    """One data-parallel rank."""
    model = _model(run.model, catalogue)
    if run.expert_parallel and run.data_parallel * run.tensor_parallel == 1:
        expert_parallel = False  # one accelerator holds all experts
    else:
        expert_parallel = run.expert_parallel
    return deploy(
        catalogue,
        model=model.name,
        accelerator=run.accelerator,
        precision=run.precision,
        kv_precision=run.kv_precision,
        tensor_parallel=run.tensor_parallel,
        pipeline_parallel=run.pipeline_parallel,
        data_parallel=run.data_parallel if expert_parallel else 1,
        expert_parallel=expert_parallel,
    )


def _model(name: str, catalogue: Catalogue) -> Model:
    """By its name, or by the last part of a path that it was loaded from."""
    try:
        return catalogue.model(name)
    except UserError:
        last = name.rstrip("/").rpartition("/")[2]
        if last == name:
            raise
    return catalogue.model(last)


def _pool(run: RecordedRun, deployment: Deployment) -> tuple[PoolSettings, list[str]]:
    """The run's limits as the engine wants them, and what had to be assumed."""
    where = str(run.folder / "meta.json")
    try:
        spec = EngineSpec(**run.limits)
    except ValidationError as error:
        raise told(error, EngineSpec, f"{where}: engine_kwargs") from None
    assumed = []
    context = deployment.model.max_context_tokens
    if spec.max_model_len is not None:
        if spec.max_model_len > context:
            assumed.append(f"max_model_len {spec.max_model_len}, though {deployment.model.name} is made for {context}")
        context = spec.max_model_len
    blocks = spec.kv_blocks
    if blocks is None:
        blocks = _derived_blocks(spec, deployment)
        assumed.append(f"kv_blocks {blocks} derived from {spec.gpu_memory_utilization:g} of the memory")
    if deployment.engine.cold_start_s > 0:
        assumed.append(f"a cold start: the first request of a rank waits {deployment.engine.cold_start_s:g} s")
    pool = PoolSettings(
        replicas=run.data_parallel,
        window_tokens=deployment.window_tokens,
        cold_start_s=deployment.engine.cold_start_s,
        engine=replace(
            engine_settings(spec, blocks, context), max_num_seqs=min(spec.max_num_seqs, spec.max_num_batched_tokens)
        ),
    )
    check_pool(pool)
    return pool, assumed


def _derived_blocks(spec: EngineSpec, deployment: Deployment) -> int:
    memory = deployment.memory(max_num_batched_tokens=spec.max_num_batched_tokens)
    blocks = memory.kv_blocks(
        utilization=spec.gpu_memory_utilization, max_num_seqs=spec.max_num_seqs, block_size=spec.block_size
    )
    if blocks < 1:
        raise UserError(
            f"{deployment.name} does not fit, so this cannot have run",
            got=f"{memory.weights / 2**30:.1f} GiB of weights an accelerator of {memory.total / 2**30:.1f} GiB",
            next_step="check the accelerator: --accelerator NAME",
        )
    return blocks


def _simulated(run: RecordedRun, plan: PoolPlan, factor: float) -> NDArray[Any]:
    """The plane's records of all requests, with every step's time times `factor`."""
    from sim.plane import DataPlane

    workload = recorded_workload(
        arrival_s=run.queued_s,
        prompt_tokens=run.prompt_tokens,
        output_tokens=run.output_tokens,
        kind="recorded run",
        path=str(run.folder),
    )
    plane = DataPlane(workload, [plan])
    plane.slow(0, factor)
    plane.advance(math.inf)
    turned_away = int(np.isnan(plane.requests["first_token"]).sum())
    if turned_away:
        limits = plan.settings.engine
        raise UserError(
            f"{run.folder}: {turned_away} requests would not have been served",
            got=f"up to {int((run.prompt_tokens + run.output_tokens).max())} tokens a request",
            allowed=f"max_model_len {limits.max_model_len}, cache {limits.kv_blocks * limits.block_size} tokens",
            next_step="check max_model_len and kv_cache in meta.json, and the accelerator",
        )
    return plane.requests


def _plan(deployment: Deployment, pool: PoolSettings, run: RecordedRun) -> PoolPlan:
    """The pool, and what its steps cost."""
    if deployment.data_parallel > 1:
        from sim.replay_ranks import lockstep_costs, lockstep_pool

        together = lockstep_pool(pool, deployment.data_parallel)
        costs = lockstep_costs(deployment, together, prompt_tokens=float(run.prompt_tokens.mean()))
        return PoolPlan(settings=together, costs=costs)
    limits = pool.engine
    costs = step_costs(
        deployment, max_num_batched_tokens=limits.max_num_batched_tokens, max_num_seqs=limits.max_num_seqs
    )
    return PoolPlan(settings=pool, costs=costs)


# -- latencies ---------------------------------------------------------------------------------------------------------


def _latencies(output: NDArray[np.int64], queued: Floats, first: Floats, last: Floats) -> dict[str, Floats]:
    more = output > 1
    return {"ttft_s": first - queued, "tpot_s": ((last - first)[more] / (output[more] - 1)), "e2e_s": last - queued}


def _predicted(requests: NDArray[Any]) -> dict[str, Floats]:
    return _latencies(requests["output"], requests["arrival"], requests["first_token"], requests["finish"])


def _summary(latencies: Latencies) -> dict[str, dict[str, float]]:
    return {name: statistics(latencies[name]) for name in LATENCIES}


def statistics(values: Floats) -> dict[str, float]:
    """Mean and percentiles; none of nothing."""
    if not len(values):
        return {}
    return {"mean": float(values.mean())} | {
        name: float(np.percentile(values, int(name[1:]))) for name in STATISTICS[1:]
    }


def _median_error(predicted: Floats, measured: Floats) -> float | None:
    """Of single requests, as a fraction; none of nothing."""
    return float(np.median(abs(predicted / measured - 1.0))) if len(measured) else None


def _relative(
    new: Mapping[str, Mapping[str, float]], old: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Signed fractions of the old."""
    return {name: {key: new[name][key] / old[name][key] - 1.0 for key in old[name]} for name in old}
