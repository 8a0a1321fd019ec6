"""TTFT and TPOT of a deployment under a steady load, in closed form: mean values, no queue is simulated.

    closed loop     `in_flight` clients, each sends its next request when the last one is answered
    static batch    `in_flight` requests start together and stay together
    running batch   `in_flight` sequences decode on average, new ones are prefilled as old ones end

In a closed loop every request of the others is prefilled once during one's own answer, so that

    TPOT = step of decodes + (others) x (what a prefill adds to a step of decodes) / (tokens - 1)
    TTFT = step with one's prompt + half a step + `ServingEffects`

and where the KV cache holds fewer than `in_flight` requests, the rest wait for a place. Everything is an array of rows
or a float (`sim.numbers`): fits and predictions go through the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from sim.calibration.serving_inputs import Served
from sim.latency import step_terms
from sim.numbers import Floats, Number
from sim.rates import Rates
from sim.work import Work, stacked, work_of

__all__ = ["Case", "cases_of", "predict"]

_MEMORY_UTILISATION = 0.95  # of a benchmark's server
_BATCHED_TOKENS = 4096
_ROUNDS = 2  # of the fixed point between TPOT and the sequences that decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The inputs of many rows: work and load, arrays of (rows)."""

    work: Work
    window: Floats
    isl: Floats
    osl: Floats
    in_flight: Floats
    room: Floats  # requests whose KV cache fits; below 1 where not even the weights do
    closed: Floats  # 1 in a closed loop
    static: Floats  # 1 for a static batch
    tokens_per_step: Floats
    step_factor: Floats


def cases_of(rows: Sequence[Served]) -> Case:
    """The rows as arrays."""

    def column(values: Sequence[float]) -> Floats:
        return np.array(values, float)

    return Case(
        work=stacked([work_of(row.deployment) for row in rows]),
        window=column([row.deployment.window_tokens for row in rows]),
        isl=column([row.isl for row in rows]),
        osl=column([row.osl for row in rows]),
        in_flight=column([row.in_flight for row in rows]),
        room=column([_room(row) for row in rows]),
        closed=column([row.load == "closed loop" for row in rows]),
        static=column([row.load == "static batch" for row in rows]),
        tokens_per_step=column([row.tokens_per_step for row in rows]),
        step_factor=column([row.step_factor for row in rows]),
    )


def _room(row: Served) -> float:
    memory = row.deployment.memory(max_num_batched_tokens=_BATCHED_TOKENS)
    left = memory.total * _MEMORY_UTILISATION - memory.weights - memory.overhead - memory.activations
    each = memory.kv_per_token * (row.isl + row.osl / 2.0) + memory.fixed_kv_per_sequence
    return left / each if each > 0 else np.inf


def predict(case: Case, engine: Any) -> tuple[Floats, Floats]:
    """TPOT and TTFT in seconds, arrays of (rows).

    `engine` has the attributes of an `EngineCoefficients`, and of its `ServingEffects`; floats or arrays of (rows).
    """
    rates = Rates(case.work, engine)
    request_s = engine.request_ms * 1e-3
    closed = case.closed > 0.0
    here = np.where(closed & (case.room >= 1.0), np.minimum(case.in_flight, case.room), case.in_flight)
    decoding = np.maximum(here, 1.0)
    for _ in range(_ROUNDS):
        step = _decodes(rates, case, decoding)
        own, added = _with_prefill(rates, case, np.where(case.static > 0.0, 0.0, np.maximum(decoding - 1.0, 0.0)))
        interrupted = np.where(case.static > 0.0, 0.0, (here - 1.0) / (case.osl - 1.0) * added)
        tpot = step * case.step_factor / case.tokens_per_step + interrupted
        generation = case.osl * tpot
        queueing = engine.burst_share * (here - 1.0) * added + 0.5 * step + engine.slot_share * generation / here
        first = own + request_s + np.where(closed, queueing, 0.0)
        decoding = np.where(closed, np.maximum(1.0, here * generation / (first + generation)), here)
    ttft = first + (case.in_flight / here - 1.0) * (first + generation)
    return tpot, ttft


def _decodes(rates: Rates, case: Case, sequences: Number) -> Number:
    """Seconds of a step of decodes, half-way through their answers."""
    context = case.isl + case.osl / 2.0
    return step_terms(rates, _shape(case, sequences, context, prompts=0.0)).seconds


def _with_prefill(rates: Rates, case: Case, others: Number) -> tuple[Number, Number]:
    """Seconds of a step with one prompt (all of them in a static batch) and other decodes; what the prompt adds."""
    context = case.isl + case.osl / 2.0
    prompts = np.where(case.static > 0.0, case.in_flight, 1.0)
    mixed = step_terms(rates, _shape(case, others, context, prompts=prompts)).seconds
    alone = step_terms(rates, _shape(case, others, context, prompts=0.0)).seconds
    # A prompt adds something, though beside it each decode's tile of attention may be charged less than alone.
    return mixed, np.where(others > 0.0, np.maximum(mixed - alone, 0.0), mixed)


def _shape(case: Case, decodes: Number, context: Number, *, prompts: Number) -> SimpleNamespace:
    """The quantities of `sim.pool.StepShape`, as arrays."""
    isl, window = case.isl, np.minimum(case.isl, case.window)
    return SimpleNamespace(
        prefill_tokens=prompts * isl,
        prefill_attended=prompts * isl**2 / 2.0,
        prefill_attended_window=prompts * (isl * window - window**2 / 2.0),
        prefill_end=prompts * isl,
        prefill_end_window=prompts * window,
        decodes=decodes,
        decode_context=decodes * context,
        decode_context_window=decodes * np.minimum(context, case.window),
        emitting=decodes + prompts,
        sequences=decodes + prompts,
    )
