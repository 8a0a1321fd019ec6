"""The times of a model on a device, from its architecture, a chip's peaks and named coefficients.

A decoded token:

    time = factor x (layers x layer_us
                     + (weight bytes + cache bytes x cache_slowdown) / (bandwidth x read_efficiency)
                     + operations / (peak of the threads used x unpack_efficiency))       on a CPU
           + bytes that did not fit in memory / flash

Weight bytes are those of the layers that a token is multiplied with (experts that it is routed to, no others), at the
width of the weights, and those of the head at its own. Low-bit weights on a CPU have to be unpacked before they are
multiplied: a multiply-add (two operations) a weight, whatever its width.

A prompt of n tokens in steps of `chunk` tokens (NPU graphs have a fixed step, other engines take all at once):

    time = factor x steps x (layers x layer_us
                             + (operations + attention_cost x attention's + state_cost x recurrent states')
                               / (peak x compute_efficiency)
                             + (weight bytes + cache bytes x cache_slowdown) / (bandwidth x read_efficiency))

Every coefficient is general level x factor of the runtime; the factor of the time is the product of the factors of
chip, format, architecture and series (`sim.calibration.near_levels`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sim.calibration.near_case import NearCase

__all__ = ["DECODE", "PREFILL", "Terms", "decode_s", "prefill_s", "terms_of"]

DECODE = ("layer_us", "read_efficiency", "cache_slowdown", "unpack_efficiency")
"""Coefficients of a decoded token."""
PREFILL = ("layer_us", "compute_efficiency", "attention_cost", "state_cost", "cache_slowdown")
"""Coefficients of a prompt."""

_CHUNK_TOKENS = {"genie": 128}
_READ_EFFICIENCY = 0.7  # of weights in prefill, where they are a small part of the time
_CACHE_BYTES = {"genie": 1.0}  # Genie keeps 8 bits of a value; others 16
_DEFAULT_CACHE_BYTES = 2.0
_COLD_EXPERTS = 0.25  # of the experts that do not fit, those asked for: from the rows of SmallThinker within 1 and 8 GB
_SYSTEM_SHARE = 0.1  # of a memory limit, for what is no weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a case's times are made of; seconds at the peaks of the chip, before any coefficient."""

    layers: float
    read_s: float
    """Weights of one token at full bandwidth."""
    cache_s: float
    """The cache of the whole context at full bandwidth."""
    unpack_s: float
    """A multiply-add a weight at the peak of the CPU's threads; 0 on other engines."""
    flash_s: float
    """What does not fit in the memory that is allowed, from storage. No coefficient or factor applies to it, and
    the fit does not see it: such rows are left out."""
    steps: float
    """Steps of the prompt."""
    compute_s: float
    """Matrix products of one step at the peak of the engine."""
    attention_s: float
    """Attention's products of one step at the same peak."""
    state_s: float
    """A multiply-add a value of the recurrent states, per token of a step."""
    step_read_s: float
    """All weights that a step touches, at full bandwidth."""


def terms_of(case: NearCase) -> Terms:
    """The terms of a case."""
    model, soc = case.model, case.soc
    engine = soc.engines[case.engine]
    bandwidth, peak = soc.bandwidth_gb_s * 1e9, engine.peak_tops * 1e12
    width, head_width = case.precision.weight_bits / 8.0, case.precision.head_bits / 8.0
    read = model.active_layer_params * width + model.head_params * head_width
    multiplied = model.active_layer_params + model.head_params
    cache = _cache_values(case) * _CACHE_BYTES.get(case.family, _DEFAULT_CACHE_BYTES)
    step = _CHUNK_TOKENS.get(case.family, case.prompt_tokens)
    share = 1.0
    if case.engine == "cpu" and case.threads is not None and engine.cores:
        share = min(1.0, case.threads / engine.cores)
    return Terms(
        layers=float(model.layers),
        read_s=read / bandwidth,
        cache_s=cache / bandwidth,
        unpack_s=2.0 * multiplied / (peak * share) if case.engine == "cpu" else 0.0,
        flash_s=_missing_bytes(case, read) / (soc.flash_read_gb_s * 1e9),
        steps=float(math.ceil(case.prompt_tokens / step)),
        compute_s=2.0 * model.active_layer_params * step / (peak * share),
        attention_s=step * _attention_operations(case) / (peak * share),
        state_s=step * model.state_values_per_sequence * 2.0 / (peak * share),
        step_read_s=((model.attention_params + model.ffn_params) * width + model.head_params * head_width) / bandwidth,
    )


def _cache_values(case: NearCase) -> float:
    """Values of the cache that a token attends to; windows hold what they can."""
    model, sliding = case.model, case.model.attention.sliding
    windowed = min(case.context_tokens, sliding.window_tokens) if sliding else 0
    return (
        model.kv_values_per_token_full * case.context_tokens
        + model.kv_values_per_token_sliding * windowed
        + 2.0 * model.state_values_per_sequence
    )


def _attention_operations(case: NearCase) -> float:
    """Of one token of the prompt: all heads against what it attends to, on average."""
    model, a = case.model, case.model.attention
    seen = case.context_tokens if case.fixed_window else case.prompt_tokens / 2.0
    windowed = min(seen, a.sliding.window_tokens) if a.sliding else 0.0
    heads = 2.0 * a.query_heads * (a.head_dim_qk + a.head_dim_v)
    return heads * (model.full_layers * seen + model.sliding_layers * windowed)


def _missing_bytes(case: NearCase, read: float) -> float:
    """Bytes a token that come back from storage: what it reads, times the share of the model that does not fit.

    A dense model goes through all its weights in the same order every token: whatever does not fit, each page is
    gone again when it is needed, and everything is read. Of experts the same ones are asked for again and again.
    """
    if case.memory_limit_gb is None:
        return 0.0
    model, width = case.model, case.precision.weight_bits / 8.0
    tables = model.head_params * (1.0 if model.tied_embeddings else 2.0) * case.precision.head_bits / 8.0
    held = (model.attention_params + model.ffn_params) * width + tables
    free = (1.0 - _SYSTEM_SHARE) * case.memory_limit_gb * 1e9
    if held <= free:
        return 0.0
    return read if model.ffn.moe is None else _COLD_EXPERTS * read * (1.0 - free / held)


def decode_s(terms: Any, c: Mapping[str, Any]) -> Any:
    """Seconds of a token before the factor; numbers or arrays alike (`terms`: attributes as those of `Terms`)."""
    read = (terms.read_s + terms.cache_s * c["cache_slowdown"]) / c["read_efficiency"]
    return terms.layers * c["layer_us"] * 1e-6 + read + terms.unpack_s / c["unpack_efficiency"]


def prefill_s(terms: Any, c: Mapping[str, Any]) -> Any:
    """Seconds of a prompt before the factor; numbers or arrays alike."""
    compute = terms.compute_s + terms.attention_s * c["attention_cost"] + terms.state_s * c["state_cost"]
    read = (terms.step_read_s + terms.cache_s * c["cache_slowdown"]) / _READ_EFFICIENCY
    return terms.steps * (terms.layers * c["layer_us"] * 1e-6 + compute / c["compute_efficiency"] + read)
