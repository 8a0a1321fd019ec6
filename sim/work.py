"""What one step of a deployment has to do, in numbers: sizes of weights, heads and caches, and the hardware's peaks.

`Work` is all that the latency model reads of a deployment beside the engine's coefficients. Its fields are floats; a
fit stacks many deployments into one `Work` of arrays and puts them through the same formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from sim.deployment import Deployment
from sim.numbers import Number

__all__ = ["Work", "stacked", "work_of"]

_DECODE_TILE_ROWS = 16  # a decode's query heads of one KV head are padded to a tile of this many rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Floats, or arrays of one shape. Weights and values are counts; what is per accelerator says so."""

    layers: Number
    dense_params: Number  # layers' weights that every token uses
    routed_params: Number  # layers' routed weights that one token uses
    experts: Number  # 0 for a dense model
    experts_per_token: Number
    expert_params: Number
    moe_layers: Number
    head_params: Number
    hidden_size: Number
    activation_width: Number
    pair_flops: Number  # attention's operations of one query and key, all full layers
    pair_flops_window: Number
    decode_pair_flops: Number  # the same of a decode: MLA attends to the compressed cache
    decode_pair_flops_window: Number
    separate_decodes: Number  # 1 where decodes never share a kernel with prefill (MLA)
    kv_bytes: Number  # of one token in all full layers
    kv_bytes_window: Number
    state_bytes: Number  # of one sequence in all recurrent layers
    kv_shards: Number
    kv_shards_window: Number
    weight_bytes: Number  # of one routed weight
    dense_weight_bytes: Number  # of one other weight of the layers
    bandwidth: Number  # bytes/s of one accelerator
    peak: Number  # operations/s of one accelerator, in the type that routed experts multiply in
    dense_peak: Number  # the same for the other weights of the layers
    half_peak: Number  # the same in 16 bits: attention and head
    tensor_parallel: Number
    pipeline_parallel: Number
    data_parallel: Number  # ranks that share the experts; every other figure is that of one rank
    expert_parallel: Number  # 0 or 1
    link_bandwidth: Number  # bytes/s of one accelerator in one direction; 0 for no link
    link_latency_s: Number
    peer_to_peer: Number  # 0 or 1


def work_of(d: Deployment) -> Work:
    """The work of a deployment."""
    model, gpu = d.model, d.accelerator
    attention, mla, sliding, moe = model.attention, model.attention.mla, model.attention.sliding, model.ffn.moe
    heads = attention.query_heads
    pair = 2.0 * heads * (attention.head_dim_qk + attention.head_dim_v)
    # MLA decodes against the compressed cache itself, with the projections absorbed; it prefills without.
    decode = 2.0 * heads * (2 * mla.kv_lora_rank + mla.rope_head_dim) if mla else pair
    dense = float(model.attention_params + model.shared_ffn_params)
    return Work(
        layers=float(model.layers),
        dense_params=dense,
        routed_params=float(model.active_layer_params) - dense,
        experts=float(moe.experts) if moe else 0.0,
        experts_per_token=float(moe.experts_per_token) if moe else 0.0,
        expert_params=float(model.expert_params),
        moe_layers=float(moe.layers) if moe else 0.0,
        head_params=float(model.head_params),
        hidden_size=float(model.hidden_size),
        activation_width=float(model.activation_width),
        pair_flops=pair * model.full_layers,
        pair_flops_window=pair * model.sliding_layers,
        decode_pair_flops=decode * model.full_layers * _padding(heads, d.kv_heads),
        decode_pair_flops_window=pair * model.sliding_layers * _padding(heads, sliding.kv_heads if sliding else heads),
        separate_decodes=1.0 if mla else 0.0,
        kv_bytes=model.kv_values_per_token_full * d.kv_bytes_per_value,
        kv_bytes_window=model.kv_values_per_token_sliding * d.kv_bytes_per_value,
        state_bytes=model.state_values_per_sequence * 2.0,
        kv_shards=float(d.kv_shards),
        kv_shards_window=float(d.sliding_kv_shards),
        weight_bytes=d.weight_bytes_per_value,
        dense_weight_bytes=d.dense_weight_bytes_per_value,
        bandwidth=gpu.bandwidth_gb_s * 1e9,
        peak=gpu.peak_tflops[d.math] * 1e12,
        dense_peak=gpu.peak_tflops[d.dense_math] * 1e12,
        half_peak=gpu.peak_tflops[d.half] * 1e12,
        tensor_parallel=float(d.tensor_parallel),
        pipeline_parallel=float(d.pipeline_parallel),
        data_parallel=float(d.data_parallel),
        expert_parallel=float(d.expert_parallel),
        link_bandwidth=gpu.link.bandwidth_gb_s * 1e9,
        link_latency_s=gpu.link.latency_us * 1e-6,
        peer_to_peer=float(gpu.link.peer_to_peer),
    )


def stacked(works: Sequence[Work]) -> Work:
    """Many deployments as one: every field an array of one value each."""
    return Work(**{f.name: np.array([getattr(one, f.name) for one in works], float) for f in fields(Work)})


def _padding(query_heads: int, kv_heads: int) -> float:
    """How much a decode's tile of queries is padded: the query heads of one KV head, up to a tile's rows."""
    return max(1.0, _DECODE_TILE_ROWS * kv_heads / query_heads)
