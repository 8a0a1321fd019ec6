"""Seconds and joules per unit of work: the latency model's terms, one method each.

Every term takes and gives floats, or arrays of one shape where the work and the coefficients are arrays (`sim.work`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from profiles import Accelerator
from sim.deployment import Deployment
from sim.numbers import Number, smooth_maximum
from sim.work import Work, work_of

__all__ = ["Power", "Rates", "rates_of"]


class Rates:
    """The terms of one deployment: its work, at an engine's coefficients.

    `engine` is an `EngineCoefficients`, or anything with the same attributes (arrays, for a fit). Energy needs `power`.
    """

    def __init__(self, work: Work, engine: Any, power: Power | None = None) -> None:
        self._work = w = work
        self._engine = engine
        self.exponent = engine.smooth_exponent
        self._bandwidth = w.bandwidth * w.tensor_parallel
        self._peak = w.peak * w.tensor_parallel
        self._dense_peak = w.dense_peak * w.tensor_parallel
        self._half_peak = w.half_peak * w.tensor_parallel  # attention and head stay in 16 bits
        self.host_s = engine.host_step_us * 1e-6
        self.host_per_sequence_s = engine.per_sequence_us * 1e-6
        self.kernels_s = (engine.layer_us * w.layers + engine.moe_layer_us * w.moe_layers) * 1e-6
        self.kernels_per_sequence_s = engine.layer_per_sequence_us * 1e-6 * w.layers + 2.0 * w.state_bytes / (
            self._bandwidth * engine.kv_read_efficiency
        )
        self.prefill_s = (engine.prefill_launch_us * w.layers + engine.moe_prefill_launch_us * w.moe_layers) * 1e-6
        self._set_attention()
        if power is not None:
            self._set_energy(power)

    def _set_attention(self) -> None:
        w, engine = self._work, self._engine
        rate = self._half_peak * engine.prefill_attention_efficiency
        self.attend_s = w.pair_flops / rate
        self.attend_window_s = w.pair_flops_window / rate
        self.decode_attend_s = w.decode_pair_flops / rate
        self.decode_attend_window_s = w.decode_pair_flops_window / rate
        tile = engine.mixed_query_tile_rows * engine.prefill_attention_efficiency / engine.mixed_attention_efficiency
        own = self.decode_attend_s / np.where(self.attend_s > 0.0, self.attend_s, 1.0)
        self.mixed_rows = np.where(w.separate_decodes > 0.0, own, np.maximum(tile, own))[()]
        read = w.bandwidth * engine.kv_read_efficiency
        self.read_s = w.kv_bytes / (read * w.kv_shards)
        self.read_window_s = w.kv_bytes_window / (read * w.kv_shards_window)

    def _set_energy(self, power: Power) -> None:
        w = self._work
        self._power = power
        self.static_w, self.max_w = power.static_w, power.max_w
        self.attend_j = w.pair_flops * power.half_j_per_flop
        self.attend_window_j = w.pair_flops_window * power.half_j_per_flop
        # every accelerator reads its own copy where a head is not cut
        self.read_j = w.kv_bytes * power.j_per_byte * w.tensor_parallel / w.kv_shards
        self.read_window_j = w.kv_bytes_window * power.j_per_byte * w.tensor_parallel / w.kv_shards_window

    def smooth(self, a: Number, b: Number) -> Number:
        """(a^p + b^p)^(1/p) with the engine's exponent."""
        return smooth_maximum(a, b, self.exponent)

    def experts_touched(self, n: Number) -> Number:
        """Expected number of distinct experts that n tokens of each data-parallel rank touch in one layer."""
        w = self._work
        share = np.minimum(w.experts_per_token / np.maximum(w.experts, 1.0), 1.0 - 1e-12)
        return w.experts * -np.expm1(n * w.data_parallel * np.log1p(-share))

    def gemm_compute_s(self, n: Number) -> Number:
        """Multiplying n tokens with the weights of the layers."""
        w, engine = self._work, self._engine
        seconds = w.dense_params / self._dense_peak + w.routed_params / (self._peak * engine.moe_gemm_derate)
        return 2.0 * seconds * (n + engine.gemm_half_tokens) / engine.gemm_efficiency

    def _routed_values(self, n: Number) -> Number:
        """Routed weights that one rank reads in a step of n tokens: its share of the experts that all ranks touch."""
        w = self._work
        return self.experts_touched(n) * w.expert_params * w.moe_layers / w.data_parallel

    def gemm_memory_s(self, n: Number) -> Number:
        """Reading the weights of the layers that n tokens touch."""
        w, engine = self._work, self._engine
        routed = self._routed_values(n) * w.weight_bytes / engine.moe_read_derate
        return (w.dense_params * w.dense_weight_bytes + routed) / (self._bandwidth * engine.weight_read_efficiency)

    def _token_bytes(self, n: Number) -> Number:
        """Activation traffic and KV writes of n tokens."""
        w = self._work
        activations = self._engine.activation_traffic_factor * w.activation_width * 2.0 * w.layers
        return n * (activations + w.kv_bytes + w.kv_bytes_window)

    def small_kernels_s(self, n: Number) -> Number:
        """Norms, rotary, activations, KV writes: memory traffic per token."""
        return self._token_bytes(n) / self._bandwidth

    def collectives_s(self, n: Number) -> Number:
        """All-reduces of tensor parallelism, exchanges of expert parallelism, sends between pipeline stages.

        Dense layers reduce twice. A mixture-of-experts layer reduces once, and exchanges tokens with the accelerators
        that hold their experts twice: there and back.
        """
        w = self._work
        message = n * w.hidden_size * 2.0
        shards = w.tensor_parallel
        sends = (w.pipeline_parallel - 1.0) * self._collective(message, 1.0)
        world = shards * w.data_parallel
        exchanging = (w.expert_parallel > 0.0) & (world > 1.0)
        exchanges = np.where(exchanging, 2.0 * w.moe_layers, 0.0)
        reduces = np.where(shards > 1.0, 2.0 * w.layers - exchanges / 2.0, 0.0)
        reduced = self._collective(2.0 * (shards - 1.0) / shards * message, 2.0 * (shards - 1.0))
        routed = message * np.minimum(w.experts_per_token, world) * (world - 1.0) / (shards * world)
        return sends + reduces * reduced + exchanges * self._collective(routed, world - 1.0)

    def _collective(self, message_bytes: Number, hops: Number) -> Number:
        """One collective: launch, hops (up to a tree's depth of them), bytes over the link."""
        w, engine = self._work, self._engine
        direct = w.peer_to_peer > 0.0
        launch = np.where(direct, engine.collective_latency_us, engine.host_staged_collective_latency_us) * 1e-6
        efficiency = np.where(direct, engine.collective_efficiency, engine.host_staged_efficiency)
        wire = np.minimum(hops, 2.0 + np.floor(np.log2(np.maximum(hops, 1.0)))) * w.link_latency_s
        linked = w.link_bandwidth > 0.0
        bytes_s = message_bytes / (np.where(linked, w.link_bandwidth, 1.0) * efficiency)
        return np.where(linked, launch + wire + bytes_s, 0.0)[()]

    def head_s(self, m: Number) -> Number:
        """Logits and sampling for m sequences."""
        w, engine = self._work, self._engine
        compute = 2.0 * w.head_params * m / (self._half_peak * engine.gemm_efficiency)
        memory = w.head_params * 2.0 / (self._bandwidth * engine.weight_read_efficiency)
        return self.smooth(compute, memory) + (engine.sampler_us + m * engine.sampler_per_sequence_us) * 1e-6

    def tokens_j(self, n: Number) -> Number:
        """Energy of the layers for n tokens, attention's pairs and cache left out."""
        w, power = self._work, self._power
        weights = w.dense_params * w.dense_weight_bytes + self._routed_values(n) * w.weight_bytes
        flops_j = w.dense_params * power.dense_j_per_flop + w.routed_params * power.j_per_flop
        return 2.0 * flops_j * n + (weights + self._token_bytes(n)) * power.j_per_byte

    def head_j(self, m: Number) -> Number:
        """Energy of the head for m sequences."""
        w, power = self._work, self._power
        return 2.0 * w.head_params * m * power.half_j_per_flop + w.head_params * 2.0 * power.j_per_byte


class Power:
    """Watts and joules of a deployment's accelerators."""

    def __init__(self, gpu: Accelerator, d: Deployment) -> None:
        dearest = max(gpu.energy.pj_per_flop.values())
        half = gpu.energy.pj_per_flop.get(d.half, dearest)
        self.half_j_per_flop = half * 1e-12
        self.dense_j_per_flop = gpu.energy.pj_per_flop.get(d.dense_math, half) * 1e-12
        self.j_per_flop = gpu.energy.pj_per_flop.get(d.math, half) * 1e-12
        self.j_per_byte = gpu.energy.pj_per_byte * 1e-12
        self.static_w = gpu.idle_w * d.accelerators
        self.max_w = gpu.tdp_w * d.accelerators


def rates_of(deployment: Deployment) -> Rates:
    """The terms of a deployment, energy included."""
    return Rates(work_of(deployment), deployment.engine, Power(deployment.accelerator, deployment))
