"""Data-parallel ranks that share experts step together: they are replayed as one engine.

Every layer exchanges tokens between the ranks, so a rank that only decodes waits for one that prefills, and no rank
begins its next step alone. One engine stands for all of them, with the slots, the token budget and the cache of all
ranks. A step of N tokens takes as long as its busiest rank. Tokens up to the number of slots count as decodes, spread
evenly; the others are prefill: one prompt's runs on one rank, that of several is spread. Experts get the tokens of all
ranks, evenly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sim.deployment import Deployment
from sim.latency import step_costs
from sim.numbers import Floats
from sim.plane import StepCosts
from sim.pool import PoolSettings
from sim.rates import Rates
from sim.work import work_of

__all__ = ["lockstep_costs", "lockstep_pool"]

_SHARED_BY_DECODES = (
    "per_sequence_s",
    "mixed_rows",
    "decode_attend_s",
    "decode_attend_window_s",
    "read_s",
    "read_window_s",
)


def lockstep_pool(pool: PoolSettings, ranks: int) -> PoolSettings:
    """One replica with the limits of `ranks` ranks; `pool` has those of one."""
    engine = pool.engine
    return replace(
        pool,
        replicas=1,
        engine=replace(
            engine,
            max_num_seqs=ranks * engine.max_num_seqs,
            max_num_batched_tokens=ranks * engine.max_num_batched_tokens,
            kv_blocks=ranks * engine.kv_blocks,
        ),
    )


def lockstep_costs(deployment: Deployment, pool: PoolSettings, *, prompt_tokens: float) -> StepCosts:
    """Step costs of `lockstep_pool`'s engine; `deployment` is one of its ranks. Energy is that of all ranks.

    `prompt_tokens` is the length of a typical prompt.
    """
    ranks, limits = deployment.data_parallel, pool.engine
    tokens, slots = limits.max_num_batched_tokens, limits.max_num_seqs
    one: StepCosts = step_costs(deployment, max_num_batched_tokens=tokens, max_num_seqs=slots)
    costs = one.costs.copy()
    for field in _SHARED_BY_DECODES:
        costs[field] /= ranks
    costs["static_w"] *= ranks
    costs["max_w"] *= ranks
    everywhere = np.arange(tokens + 1.0)
    prefill = np.maximum(everywhere - slots, 0.0)
    busiest = (everywhere - prefill) / ranks + np.maximum(prefill / ranks, np.minimum(prefill, prompt_tokens))
    sequences = np.arange(slots + 1.0) / ranks
    return one._replace(
        costs=costs,
        token_s=np.concatenate([[0.0], _tokens_s(deployment, busiest[1:], everywhere[1:] / ranks)]),
        token_j=ranks * np.interp(everywhere / ranks, everywhere, one.token_j),
        emit_s=np.interp(sequences, np.arange(slots + 1.0), one.emit_s),
        emit_j=ranks * np.interp(sequences, np.arange(slots + 1.0), one.emit_j),
    )


def _tokens_s(deployment: Deployment, busiest: Floats, mean: Floats) -> Floats:
    """Seconds of all that depends on tokens, for tokens of the busiest rank and of the mean one."""
    work, engine = work_of(deployment), deployment.engine
    rates = Rates(work, engine)
    dense = Rates(replace(work, routed_params=0.0), engine).gemm_compute_s(busiest)
    routed = Rates(replace(work, dense_params=0.0), engine).gemm_compute_s(mean)
    gemm = rates.smooth(dense + routed, rates.gemm_memory_s(mean))
    return np.asarray(gemm + rates.small_kernels_s(busiest) + rates.collectives_s(busiest))
