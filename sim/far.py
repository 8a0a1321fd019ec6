"""What a router of a fleet knows of a pool (rule W5 of the fleet): the price of a replica, its speed on average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.fleet import Far
from sim.pool import PoolSettings, StepShape

__all__ = ["far_of"]


def far_of(
    settings: PoolSettings,
    costs: Any,
    known: Mapping[str, Any],
    *,
    prompt_mean: float,
    output_mean: float,
    price_usd_per_s: float,
) -> Far:
    """The figures of a pool at the mean lengths of its workload.

    `costs` are `sim.plane.StepCosts`, `known` is the pool's entry in `facts["pools"]` of the fleet; the price is that
    of a whole replica. A decode is taken in the middle of its answer, a prefill in a step that holds nothing else.
    """
    from sim.kernels.step_cost import step_cost

    tables = (costs.costs[0], costs.token_s, costs.token_j, costs.emit_s, costs.emit_j, costs.smooth)

    def seconds(shape: StepShape) -> float:
        return float(step_cost(*shape, *tables)[0])

    context = max(1, round(prompt_mean + output_mean / 2))
    window = min(context, settings.window_tokens) if settings.window_tokens else 0
    budget = settings.engine.max_num_batched_tokens
    return Far(
        tier=known["tier"],
        model=known["model"],
        modalities=known["modalities"],
        decode_s=tuple(seconds(_decodes(b, context, window)) for b in range(settings.engine.max_num_seqs + 1)),
        prefill_token_s=seconds(_prefills(settings, prompt_mean)) / budget,
        output_mean=output_mean,
        price_usd_per_s=price_usd_per_s,
    )


def _decodes(count: int, context: int, window: int) -> StepShape:
    return StepShape(
        prefill_tokens=0,
        prefill_attended=0,
        prefill_attended_window=0,
        prefill_end=0,
        prefill_end_window=0,
        decodes=count,
        decode_context=count * context,
        decode_context_window=count * window,
        emitting=count,
        sequences=count,
    )


def _prefills(settings: PoolSettings, prompt_mean: float) -> StepShape:
    """A step full of prompts of the mean length: several short ones, or an average chunk of a long one."""
    budget, window = settings.engine.max_num_batched_tokens, settings.window_tokens
    length = max(1.0, prompt_mean)
    sequences = min(settings.engine.max_num_seqs, max(1, round(budget / length)))
    ends = budget if length <= budget else round((length + budget) / 2)
    reach = min(length, float(window))  # tokens before the window is full attend to fewer
    return StepShape(
        prefill_tokens=budget,
        prefill_attended=round(budget * (length + 1) / 2),
        prefill_attended_window=round(budget * (reach - reach * (reach - 1) / (2 * length))),
        prefill_end=ends,
        prefill_end_window=min(ends, sequences * window),
        decodes=0,
        decode_context=0,
        decode_context_window=0,
        emitting=sequences,
        sequences=sequences,
    )
