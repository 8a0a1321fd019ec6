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

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.deployment import Deployment
from sim.pool import StepShape

__all__ = ["StepTime", "step_costs", "step_time"]

_SMOOTH_POINTS = 1025
_DECODE_TILE_ROWS = 16  # a decode's query heads of one KV head are padded to a tile of this many rows

Floats = NDArray[np.float64]


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
    rates = _Rates(deployment)
    n = shape.prefill_tokens + shape.decodes
    compute, memory = rates.gemm_compute_s(n), rates.gemm_memory_s(n)
    attend, read = _attention(rates, shape)
    seconds = StepTime(
        host_s=rates.host_s + shape.sequences * rates.host_per_sequence_s,
        kernels_s=rates.kernels_s + shape.sequences * rates.kernels_per_sequence_s + rates.small_kernels_s(n),
        gemm_compute_s=compute,
        gemm_memory_s=memory,
        gemm_s=rates.smooth(compute, memory),
        attention_compute_s=attend,
        attention_memory_s=read,
        attention_s=rates.smooth(attend, read),
        head_s=rates.head_s(shape.emitting) if shape.emitting else 0.0,
        collectives_s=rates.collectives_s(n),
        energy_j=0.0,
    )
    joules = rates.tokens_j(n) + (rates.head_j(shape.emitting) if shape.emitting else 0.0)
    joules += rates.attend_j * (shape.prefill_attended + shape.decode_context)
    joules += rates.attend_window_j * (shape.prefill_attended_window + shape.decode_context_window)
    joules += rates.read_j * (shape.prefill_end + shape.decode_context)
    joules += rates.read_window_j * (shape.prefill_end_window + shape.decode_context_window)
    joules += rates.static_w * seconds.seconds
    fields = {name: getattr(seconds, name) for name in StepTime.__slots__}
    return StepTime(**fields | {"energy_j": min(joules, rates.max_w * seconds.seconds)})


def _attention(rates: _Rates, shape: StepShape) -> tuple[float, float]:
    """Compute and read seconds of attention. A prefill in the batch makes every decode pay for a whole tile."""
    if shape.prefill_tokens:
        rows = rates.mixed_rows
        compute = rates.attend_s * (shape.prefill_attended + rows * shape.decode_context)
        compute += rates.attend_window_s * (shape.prefill_attended_window + rows * shape.decode_context_window)
    else:
        compute = rates.decode_attend_s * shape.decode_context
        compute += rates.decode_attend_window_s * shape.decode_context_window
    memory = rates.read_s * (shape.prefill_end + shape.decode_context)
    memory += rates.read_window_s * (shape.prefill_end_window + shape.decode_context_window)
    return compute, memory


def step_costs(deployment: Deployment, *, max_num_batched_tokens: int, max_num_seqs: int) -> Any:
    """The formula as tables (`sim.plane.StepCosts`) up to the engine's limits."""
    from sim.kernels.step_cost import STEP_COSTS
    from sim.plane import StepCosts

    rates = _Rates(deployment)
    costs = np.zeros(1, STEP_COSTS)
    costs["fixed_s"] = rates.host_s + rates.kernels_s
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

    def token_s(n: int) -> float:
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


def _table(function: Callable[[int], float], most: int) -> Floats:
    """function(1) to function(most), with 0 for 0."""
    return np.array([0.0, *(function(n) for n in range(1, most + 1))])


def _padding(query_heads: int, kv_heads: int) -> float:
    """How much a decode's tile of queries is padded: the query heads of one KV head, up to a tile's rows."""
    return max(1.0, _DECODE_TILE_ROWS * kv_heads / query_heads)


class _Rates:
    """Seconds and joules per unit of work of a deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._d = d = deployment
        model, gpu, engine = d.model, d.accelerator, d.engine
        self.exponent = engine.smooth_exponent
        self._bandwidth = gpu.bandwidth_gb_s * 1e9 * d.tensor_parallel
        self._peak = gpu.peak_tflops[d.math] * 1e12 * d.tensor_parallel
        self._half_peak = gpu.peak_tflops[d.half] * 1e12 * d.tensor_parallel  # attention and head stay in 16 bits
        dearest = max(gpu.energy.pj_per_flop.values())
        self._pj_half = gpu.energy.pj_per_flop.get(d.half, dearest) * 1e-12
        self._pj_flop = gpu.energy.pj_per_flop.get(d.math, self._pj_half * 1e12) * 1e-12
        self._pj_byte = gpu.energy.pj_per_byte * 1e-12
        self.host_s = engine.host_step_us * 1e-6
        self.host_per_sequence_s = engine.per_sequence_us * 1e-6
        self.kernels_s = engine.layer_us * 1e-6 * model.layers
        self.kernels_per_sequence_s = engine.layer_per_sequence_us * 1e-6 * model.layers
        self.static_w = gpu.idle_w * d.accelerators
        self.max_w = gpu.tdp_w * d.accelerators
        self._set_attention()

    def _set_attention(self) -> None:
        d, engine, model = self._d, self._d.engine, self._d.model
        attention, mla, sliding = model.attention, model.attention.mla, model.attention.sliding
        heads = attention.query_heads
        pair_flops = 2.0 * heads * (attention.head_dim_qk + attention.head_dim_v)
        # MLA decodes against the compressed cache itself, with the projections absorbed; it prefills without.
        decode_flops = 2.0 * heads * (2 * mla.kv_lora_rank + mla.rope_head_dim) if mla else pair_flops
        rate = self._half_peak * engine.prefill_attention_efficiency
        self.attend_s = pair_flops * model.full_layers / rate
        self.attend_window_s = pair_flops * model.sliding_layers / rate
        self.decode_attend_s = decode_flops * model.full_layers / rate * _padding(heads, d.kv_heads)
        self.decode_attend_window_s = self.attend_window_s * _padding(heads, sliding.kv_heads if sliding else heads)
        self.mixed_rows = (
            engine.mixed_query_tile_rows * engine.prefill_attention_efficiency / engine.mixed_attention_efficiency
        )
        if mla:  # its prefills and decodes run as kernels of their own
            self.mixed_rows = self.decode_attend_s / self.attend_s
        read = d.accelerator.bandwidth_gb_s * 1e9 * engine.kv_read_efficiency
        full = model.kv_values_per_token_full * d.kv_bytes_per_value
        window = model.kv_values_per_token_sliding * d.kv_bytes_per_value
        self.read_s = full / (read * d.kv_shards)
        self.read_window_s = window / (read * d.sliding_kv_shards)
        self.attend_j = pair_flops * model.full_layers * self._pj_half
        self.attend_window_j = pair_flops * model.sliding_layers * self._pj_half
        # every accelerator reads its own copy where a head is not cut
        self.read_j = full * self._pj_byte * d.tensor_parallel / d.kv_shards
        self.read_window_j = window * self._pj_byte * d.tensor_parallel / d.sliding_kv_shards

    def smooth(self, a: float, b: float) -> float:
        """(a^p + b^p)^(1/p), scaled so that nothing under- or overflows."""
        high = max(a, b)
        return float(high * (1.0 + (min(a, b) / high) ** self.exponent) ** (1.0 / self.exponent)) if high > 0 else 0.0

    def experts_touched(self, n: int) -> float:
        """Expected number of distinct experts that n tokens touch in one layer."""
        moe = self._d.model.ffn.moe
        if moe is None:
            return 0.0
        if moe.experts_per_token == moe.experts:
            return float(moe.experts)
        return moe.experts * -math.expm1(n * math.log1p(-moe.experts_per_token / moe.experts))

    def gemm_compute_s(self, n: int) -> float:
        """Multiplying n tokens with the weights of the layers."""
        model, engine = self._d.model, self._d.engine
        routed = model.active_layer_params - model.attention_params - model.shared_ffn_params
        dense = model.active_layer_params - routed
        effective = dense + routed / engine.moe_gemm_derate
        return 2.0 * effective * (n + engine.gemm_half_tokens) / (self._peak * engine.gemm_efficiency)

    def _weight_values(self, n: int) -> tuple[float, float]:
        """Dense and routed weights that a step of n tokens reads."""
        model = self._d.model
        routed = self.experts_touched(n) * model.expert_params * model.ffn.moe.layers if model.ffn.moe else 0.0
        return float(model.attention_params + model.shared_ffn_params), routed

    def gemm_memory_s(self, n: int) -> float:
        """Reading the weights of the layers that n tokens touch."""
        engine = self._d.engine
        dense, routed = self._weight_values(n)
        effective = (dense + routed / engine.moe_read_derate) * self._d.weight_bytes_per_value
        return effective / (self._bandwidth * engine.weight_read_efficiency)

    def _token_bytes(self, n: int) -> float:
        """Activation traffic and KV writes of n tokens."""
        d, model = self._d, self._d.model
        activations = d.engine.activation_traffic_factor * model.activation_width * 2.0 * model.layers
        kv = (model.kv_values_per_token_full + model.kv_values_per_token_sliding) * d.kv_bytes_per_value
        return n * (activations + kv)

    def small_kernels_s(self, n: int) -> float:
        """Norms, rotary, activations, KV writes: memory traffic per token."""
        return self._token_bytes(n) / self._bandwidth

    def collectives_s(self, n: int) -> float:
        """All-reduces of tensor parallelism, all-to-alls of expert parallelism, sends between pipeline stages."""
        d, model = self._d, self._d.model
        message = n * model.hidden_size * 2.0
        shards = d.tensor_parallel
        seconds = (d.pipeline_parallel - 1) * self._collective(message, 1)
        if shards > 1:
            exchange = 2.0 * (shards - 1) / shards * message
            reduces = 2 * model.layers
            if d.expert_parallel and model.ffn.moe is not None:
                reduces -= model.ffn.moe.layers
                routed = message * min(model.ffn.moe.experts_per_token, shards) * (shards - 1) / shards**2
                seconds += 2 * model.ffn.moe.layers * self._collective(routed, shards - 1)
            seconds += reduces * self._collective(exchange, 2 * (shards - 1))
        return seconds

    def _collective(self, message_bytes: float, hops: int) -> float:
        """One collective: launch, hops (up to a tree's depth of them), bytes over the link."""
        link, engine = self._d.accelerator.link, self._d.engine
        if link.bandwidth_gb_s == 0.0:
            return 0.0
        direct = link.peer_to_peer
        launch = engine.collective_latency_us if direct else engine.host_staged_collective_latency_us
        efficiency = engine.collective_efficiency if direct else engine.host_staged_efficiency
        wire = min(hops, 2 + int(np.log2(max(hops, 1)))) * link.latency_us
        return (launch + wire) * 1e-6 + message_bytes / (link.bandwidth_gb_s * 1e9 * efficiency)

    def head_s(self, m: int) -> float:
        """Logits and sampling for m sequences."""
        engine, params = self._d.engine, self._d.model.head_params
        compute = 2.0 * params * (m + engine.gemm_half_tokens) / (self._half_peak * engine.gemm_efficiency)
        memory = params * 2.0 / (self._bandwidth * engine.weight_read_efficiency)
        return self.smooth(compute, memory) + (engine.sampler_us + m * engine.sampler_per_sequence_us) * 1e-6

    def tokens_j(self, n: int) -> float:
        """Energy of the layers for n tokens, attention's pairs and cache left out."""
        dense, routed = self._weight_values(n)
        weights = (dense + routed) * self._d.weight_bytes_per_value
        flops = 2.0 * self._d.model.active_layer_params * n
        return flops * self._pj_flop + (weights + self._token_bytes(n)) * self._pj_byte

    def head_j(self, m: int) -> float:
        """Energy of the head for m sequences."""
        params = self._d.model.head_params
        return 2.0 * params * m * self._pj_half + params * 2.0 * self._pj_byte
