"""How long one step takes, and what it costs in energy: the latency model of a deployment.

A step over n tokens, of which some sequences emit one, takes

    host and kernel constants
  + GEMMs of the layers:   smooth maximum of compute and weight reads         (n tokens)
  + small kernels:         activation traffic and KV writes                   (n tokens)
  + collectives:           latency + bytes / bandwidth                        (n tokens)
  + attention:             smooth maximum of compute and KV reads             (pairs, context tokens)
  + head and sampler:      smooth maximum of compute and weight reads         (emitting sequences)
  + constants per sequence

with  smooth maximum (a, b) = (a^p + b^p)^(1/p).  GEMMs and attention are separate kernels that run one after another,
so each has a maximum of its own. `step_time` is this formula, written to be read. `step_costs` turns it into the tables
that the data plane and its oracle use; a test holds the two within 0.1 %.

Sources: roofline with saturating efficiency; expected distinct experts E (1 - (1 - k/E)^n) as in MegaBlocks' analysis;
the 64-row query tile of mixed batches from vLLM 0.19 kernel timings (see the engine records in `profiles/`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.deployment import Deployment
from sim.numbers import Floats, Number
from sim.pool import StepShape
from sim.rates import Rates, rates_of

__all__ = ["StepTime", "attention_terms", "step_costs", "step_terms", "step_time"]

_SMOOTH_POINTS = 1025


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of a step by term, and its energy in joules."""

    host_s: float
    kernels_s: float  # launches, small kernels, KV writes
    gemm_compute_s: float
    gemm_memory_s: float
    gemm_s: float  # smooth maximum of the two
    attention_compute_s: float
    attention_memory_s: float
    attention_s: float
    head_s: float
    collectives_s: float
    energy_j: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.host_s + self.kernels_s + self.gemm_s + self.attention_s + self.head_s + self.collectives_s

    @property
    def binding(self) -> str:
        """The largest term, in words."""
        gemm = "compute of the layers" if self.gemm_compute_s > self.gemm_memory_s else "reading the weights"
        attention = (
            "compute of attention" if self.attention_compute_s > self.attention_memory_s else "reading the KV cache"
        )
        terms = {
            "host time": self.host_s,
            "kernel constants": self.kernels_s,
            gemm: self.gemm_s,
            attention: self.attention_s,
            "head and sampler": self.head_s,
            "collectives": self.collectives_s,
        }
        return max(terms, key=lambda term: terms[term])


def step_time(deployment: Deployment, shape: StepShape) -> StepTime:
    """The formula, for one batch."""
    rates = rates_of(deployment)
    terms = step_terms(rates, shape)
    n = float(shape.prefill_tokens + shape.decodes)
    joules = rates.tokens_j(n) + (rates.head_j(shape.emitting) if shape.emitting else 0.0)
    joules += rates.attend_j * (shape.prefill_attended + shape.decode_context)
    joules += rates.attend_window_j * (shape.prefill_attended_window + shape.decode_context_window)
    joules += rates.read_j * (shape.prefill_end + shape.decode_context)
    joules += rates.read_window_j * (shape.prefill_end_window + shape.decode_context_window)
    joules += rates.static_w * terms.seconds
    fields = {name: float(getattr(terms, name)) for name in StepTime.__slots__}
    return StepTime(**fields | {"energy_j": float(min(joules, rates.max_w * terms.seconds))})


def step_terms(rates: Rates, shape: Any) -> StepTime:
    """The seconds of a step by term, its energy left out (0).

    `shape` is a `StepShape`, or anything with its attributes; arrays give arrays of batches.
    """
    n = shape.prefill_tokens + 1.0 * shape.decodes
    compute, memory = rates.gemm_compute_s(n), rates.gemm_memory_s(n)
    attend, read = attention_terms(rates, shape)
    head: Number = np.where(shape.emitting, rates.head_s(shape.emitting), 0.0)[()]
    constants: Number = rates.kernels_s + shape.sequences * rates.kernels_per_sequence_s
    constants = constants + np.where(shape.prefill_tokens, rates.prefill_s, 0.0)[()]
    return StepTime(
        host_s=rates.host_s + shape.sequences * rates.host_per_sequence_s,
        kernels_s=constants + rates.small_kernels_s(n),
        gemm_compute_s=compute,
        gemm_memory_s=memory,
        gemm_s=rates.smooth(compute, memory),
        attention_compute_s=attend,
        attention_memory_s=read,
        attention_s=rates.smooth(attend, read),
        head_s=head,
        collectives_s=rates.collectives_s(n),
        energy_j=0.0,
    )


def attention_terms(rates: Rates, shape: StepShape) -> tuple[Number, Number]:
    """Compute and read seconds of attention, of one batch or of arrays of them.

    A prefill in the batch makes every decode pay for a whole tile.
    """
    rows = rates.mixed_rows
    mixed = rates.attend_s * (shape.prefill_attended + rows * shape.decode_context)
    mixed += rates.attend_window_s * (shape.prefill_attended_window + rows * shape.decode_context_window)
    decodes = rates.decode_attend_s * shape.decode_context
    decodes += rates.decode_attend_window_s * shape.decode_context_window
    memory = rates.read_s * (shape.prefill_end + shape.decode_context)
    memory += rates.read_window_s * (shape.prefill_end_window + shape.decode_context_window)
    return np.where(np.asarray(shape.prefill_tokens) > 0, mixed, decodes)[()], memory


def step_costs(deployment: Deployment, *, max_num_batched_tokens: int, max_num_seqs: int) -> Any:
    """The formula as tables (`sim.plane.StepCosts`) up to the engine's limits."""
    from sim.kernels.step_cost import STEP_COSTS
    from sim.plane import StepCosts

    rates = rates_of(deployment)
    costs = np.zeros(1, STEP_COSTS)
    costs["fixed_s"] = rates.host_s + rates.kernels_s
    costs["prefill_s"] = rates.prefill_s
    costs["per_sequence_s"] = rates.host_per_sequence_s + rates.kernels_per_sequence_s
    for field in (
        "attend_s",
        "attend_window_s",
        "decode_attend_s",
        "decode_attend_window_s",
        "mixed_rows",
        "read_s",
        "read_window_s",
        "static_w",
        "max_w",
        "attend_j",
        "attend_window_j",
        "read_j",
        "read_window_j",
    ):
        costs[field] = getattr(rates, field)

    def token_s(n: Floats) -> Number:
        gemm = rates.smooth(rates.gemm_compute_s(n), rates.gemm_memory_s(n))
        return gemm + rates.small_kernels_s(n) + rates.collectives_s(n)

    p = rates.exponent
    return StepCosts(
        costs=costs,
        token_s=_table(token_s, max_num_batched_tokens),
        token_j=_table(rates.tokens_j, max_num_batched_tokens),
        emit_s=_table(rates.head_s, max_num_seqs),
        emit_j=_table(rates.head_j, max_num_seqs),
        smooth=(1.0 + np.linspace(0.0, 1.0, _SMOOTH_POINTS) ** p) ** (1.0 / p),
    )


def _table(function: Callable[[Floats], Number], most: int) -> Floats:
    """function(1) to function(most), with 0 for 0."""
    return np.concatenate([[0.0], function(np.arange(1.0, most + 1.0))])
