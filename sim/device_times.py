"""Seconds of one model on one compute engine of a device: what `profiles.device` states, put together.

    token_s(model, rate, precision, context_tokens=500)     one output token
    prompt_s(model, prefill, tokens=500)                    one prompt

Bytes are counted as for the rates that devices publish: layers at the precision asked for, the head as the engine
stores it, a cached value in 16 bits. Kernels of the fleet know less (`sim.near` says what they take instead).
"""

from __future__ import annotations

import math

from profiles import BYTES_PER_VALUE, Dtype, Model
from profiles.device import Decode, Prefill

__all__ = [
    "CACHE_BYTES", "attended_positions", "position_s", "prompt_positions", "prompt_s", "token_s", "weights_s",
]  # fmt: skip

CACHE_BYTES = 2.0  # a cached value is kept in 16 bits


def token_s(model: Model, rate: Decode, precision: Dtype, *, context_tokens: float, sequences: int = 1) -> float:
    """Seconds of a step that gives each of some sequences one token, each with so many tokens of context.

    Several sequences need a measured `rate.batch`; without one they are taken to cost as much as one by one.
    """
    weights = weights_s(model, rate, precision)
    times = rate.batch.times(sequences) if rate.batch else float(sequences)
    sliding = model.attention.sliding
    window = min(context_tokens, sliding.window_tokens) / sliding.window_tokens if sliding else 0.0
    attention = context_tokens * position_s(model, rate) + window * _window_s(model, rate)
    return (rate.base_ms + rate.layer_ms * model.layers) * 1e-3 + weights * times + sequences * attention


def weights_s(model: Model, rate: Decode, precision: Dtype) -> float:
    """Seconds in which one sequence's step reads the weights: layers, and the head."""
    head = model.head_params * BYTES_PER_VALUE[rate.head_precision]
    layers = model.active_layer_params * BYTES_PER_VALUE[precision]
    return (layers / rate.bandwidth_gb_s + head / (rate.head_bandwidth_gb_s or rate.bandwidth_gb_s)) / 1e9


def position_s(model: Model, rate: Decode) -> float:
    """Seconds that a token pays for each position of its context, in the layers that attend to all of it."""
    read = model.kv_values_per_token_full * CACHE_BYTES / (rate.bandwidth_gb_s * 1e9)
    return read + model.full_layers * model.attention.query_heads * rate.attention_ns * 1e-9


def attended_positions(model: Model, context_tokens: float) -> float:
    """Positions that one token attends to with so much context, added up over the layers."""
    sliding = model.attention.sliding
    inside = sliding.layers * min(context_tokens, sliding.window_tokens) if sliding else 0.0
    return model.full_layers * context_tokens + inside


def _window_s(model: Model, rate: Decode) -> float:
    """Seconds that a token pays for the full windows of the sliding-window layers."""
    sliding = model.attention.sliding
    if sliding is None:
        return 0.0
    read = model.kv_values_per_token_sliding * CACHE_BYTES / (rate.bandwidth_gb_s * 1e9)
    one = read + sliding.layers * model.attention.query_heads * rate.attention_ns * 1e-9
    return sliding.window_tokens * one


def prompt_s(model: Model, prefill: Prefill, tokens: int) -> float:
    """Seconds from a prompt to its first token: what it costs anyway, its chunks, its attention."""
    operations = 2.0 * model.active_layer_params * prefill.chunk_tokens
    chunk = prefill.base_ms * 1e-3 + operations / (prefill.effective_tops * 1e12)
    attended = prompt_positions(model, tokens) * model.attention.query_heads * prefill.attention_ns * 1e-9
    return prefill.prompt_ms * 1e-3 + math.ceil(tokens / prefill.chunk_tokens) * chunk + attended


def prompt_positions(model: Model, tokens: int) -> float:
    """Positions that the tokens of a prompt attend to, added up over tokens and layers."""
    full = model.full_layers * tokens * (tokens + 1) / 2.0
    if (sliding := model.attention.sliding) is None:
        return full
    inside = min(tokens, sliding.window_tokens)
    return full + sliding.layers * (inside * (inside + 1) / 2.0 + (tokens - inside) * sliding.window_tokens)
