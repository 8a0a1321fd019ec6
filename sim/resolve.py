"""A pool of a scenario, resolved: names to facts, memory to KV blocks, the latency formula to tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from profiles import Catalogue, UserError
from sim.deployment import Deployment, deploy
from sim.pool import EngineSettings, PoolSettings, check_pool
from sim.results.outcome import DeploymentFacts
from sim.scenario import EngineSpec, PoolSpec, SyntheticSpec

__all__ = ["DEFAULT_PUE", "ResolvedPool", "resolve_pool", "synthetic_costs"]

DEFAULT_PUE = 1.3  # typical of large shared data centres; the industry's survey average is higher (Uptime Institute)
_SYNTHETIC_CONTEXT = 2**31 - 1
_SMOOTH = np.ones(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedPool:
    """A pool with all its facts: what the engine needs, and what results say about it."""

    settings: PoolSettings
    facts: DeploymentFacts
    costs: Any  # sim.plane.StepCosts
    deployment: Deployment | None


def resolve_pool(name: str, spec: PoolSpec, catalogue: Catalogue, *, most: int = 0) -> ResolvedPool:
    """Names to facts, memory to KV blocks, the formula to tables. Controls may start up to `most` replicas.

    Raises `UserError` for what does not fit.
    """
    if spec.synthetic is not None:
        return _synthetic_pool(name, spec, spec.synthetic, most=most)
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
    pool = _pool_settings(name, spec, settings, deployment, most=most)
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
            f"pools.{name}: no layer of {model.name} has a cache that grows with the context",
            next_step="such a model is not part of this version",
        )
    derived = memory.kv_blocks(
        utilization=engine.gpu_memory_utilization,
        max_num_seqs=engine.max_num_seqs if memory.fixed_kv_per_sequence else 0,
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
            f"{engine.max_num_seqs * memory.fixed_kv_per_sequence / gib:.1f} GiB an accelerator",
            allowed=f"{memory.total * engine.gpu_memory_utilization / gib:.1f} GiB "
            f"({engine.gpu_memory_utilization:g} of {memory.total / gib:.1f})",
            next_step="use more accelerators (tensor_parallel), a lower precision or a smaller model",
        )
    else:
        blocks = derived
        assumed.append(f"kv_blocks {blocks} derived from the memory")
    return engine_settings(engine, blocks, context), assumed


def engine_settings(engine: EngineSpec, blocks: int, context: int) -> EngineSettings:
    """A spec's limits with its KV blocks and its longest context filled in."""
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


def _pool_settings(
    name: str, spec: PoolSpec, engine: EngineSettings, deployment: Deployment | None, *, most: int
) -> PoolSettings:
    return PoolSettings(
        name=name,
        replicas=max(spec.replicas, most),
        started=spec.replicas,
        balancer=spec.balancer,
        telemetry_lag_s=spec.telemetry_lag_s,
        window_tokens=deployment.window_tokens if deployment else 0,
        cold_start_s=deployment.engine.cold_start_s if deployment and spec.engine.cold_start else 0.0,
        engine=engine,
    )


def _synthetic_pool(name: str, spec: PoolSpec, synthetic: SyntheticSpec, *, most: int) -> ResolvedPool:
    assert spec.engine.kv_blocks is not None  # the record says so
    context = spec.engine.max_model_len or _SYNTHETIC_CONTEXT
    settings = engine_settings(spec.engine, spec.engine.kv_blocks, context)
    return ResolvedPool(
        settings=_pool_settings(name, spec, settings, None, most=most),
        facts=DeploymentFacts(
            name="synthetic",
            accelerators_per_replica=1,
            price_usd_per_hour=spec.price_usd_per_hour or 0.0,
            idle_w=0.0,
            pue=spec.pue or 1.0,
            confidence="assumed",
            assumed=(
                "the step time is given, not modelled",
                *(() if spec.price_usd_per_hour is not None else (f"pool {name}: costs nothing",)),
                *(() if spec.pue is not None else (f"pool {name}: pue 1",)),
            ),
        ),
        costs=synthetic_costs(synthetic, settings),
        deployment=None,
    )


def synthetic_costs(synthetic: SyntheticSpec, settings: EngineSettings) -> Any:
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
