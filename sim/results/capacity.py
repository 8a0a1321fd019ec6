"""How many requests a second a replica could serve at most, were they all like the mean of those it got.

With n sequences running, a request of O output tokens holds its slot for O steps, so n / (O x step) requests finish a
second, and as many begin: each step carries n decodes and the prefill of n / O requests. The step grows with n; the
capacity is the best n that slots, KV blocks, the token budget and the limit on TPOT allow. No queue is in it: what
bursts and long requests cost on top is what the simulation is for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sim.kernels.step_cost import step_cost

if TYPE_CHECKING:
    from sim.pool_state import PoolState
    from sim.results.pool_book import MeanRequest

__all__ = ["capacity_rps"]

_SIZES = 60  # batch sizes that are tried


def capacity_rps(pool: PoolState, mean: MeanRequest | None, tpot_limit_s: float | None = None) -> float:
    """Requests/s of one replica whose requests are all like the mean; 0 when none was ever admitted."""
    engine = pool.pool.engine
    if mean is None:
        return 0.0
    prompt, output = mean.prompt, mean.output
    most = min(engine.max_num_seqs, engine.kv_blocks * engine.block_size / (prompt + output / 2.0))
    if engine.max_outstanding > 0:
        most = min(most, engine.max_outstanding)
    best = 0.0
    for running in np.unique(np.geomspace(1.0, max(1.0, most), _SIZES)):
        step_s = _mean_step_s(pool, float(running), mean)
        if tpot_limit_s is None or step_s <= tpot_limit_s or running == 1.0:
            best = max(best, float(running) / (output * step_s))
    return best


def _mean_step_s(pool: PoolState, running: float, mean: MeanRequest) -> float:
    """Mean seconds of a step in which `running` sequences are at work; inf when the budget cannot carry them."""
    fresh, output = mean.fresh, mean.output
    room = pool.pool.engine.max_num_batched_tokens - running
    begins = running / output  # prefills a step
    chunk = max(begins * fresh, min(fresh, room))  # tokens of a step that holds any prefill
    if begins * fresh > room or chunk < 1.0:
        return math.inf
    share = begins * fresh / chunk  # of the steps that hold any
    decodes = running * (output - 1.0) / output
    mixed = _step_s(pool, decodes, chunk, max(1.0, begins), mean)
    return share * mixed + (1.0 - share) * _step_s(pool, decodes, 0.0, 0.0, mean)


def _step_s(pool: PoolState, decodes: float, chunk: float, prefills: float, mean: MeanRequest) -> float:
    window, prompt = pool.pool.window_tokens, mean.prompt
    context = prompt + mean.output / 2.0
    emitting = round(decodes + (prefills if chunk else 0.0))
    costs = pool.costs
    seconds, _ = step_cost(
        round(chunk),
        round(chunk * prompt / 2.0),
        round(chunk * min(prompt / 2.0, window)),
        round(prefills * prompt),
        round(prefills * min(prompt, window)),
        round(decodes),
        round(decodes * context),
        round(decodes * min(context, window)),
        min(emitting, len(costs.emit_s) - 1),
        emitting,
        costs.costs[0],
        *costs[1:],
    )
    return seconds
