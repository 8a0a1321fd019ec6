"""A model of which only the size is known: a plausible architecture that adds up to that size.

    generic_model("a 3B model", 3.0)                        dense
    generic_model("a 21B-A3B model", 21.0, 3.0)             mixture of experts

Times of a model depend on its size far more than on its shape: shapes here follow what published decoders of the same
size look like. Every such model has confidence `assumed`.
"""

from __future__ import annotations

import math

from profiles import Model, UserError, parse

__all__ = ["generic_model"]

# Layers and hidden size of published dense decoders, by 1e9 parameters in the layers (Qwen, Llama, Gemma, Mistral).
_SHAPES = ((0.02, 12, 384), (0.1, 30, 576), (0.36, 24, 896), (1.0, 18, 2048), (2.8, 28, 3072), (7.0, 32, 4096),
           (13.0, 44, 5120), (31.0, 64, 5120), (69.0, 80, 8192), (400.0, 126, 16384))  # fmt: skip
_HEAD_DIM = 128
_GROUP = 4  # query heads a key-value head
_VOCABULARY = 128_256
_TABLE_SHARE = 0.25  # of all parameters, at most, in a table of the vocabulary
_UNTIED_FROM_B = 5.0  # models from here on have a head of their own
_EXPERTS_PER_TOKEN = 8


def generic_model(name: str, total_params_b: float, active_params_b: float | None = None) -> Model:
    """A decoder of `total_params_b` (1e9), of which `active_params_b` take part in a token (all, when None).

    Raises `UserError` for sizes that are no positive numbers, and for more active than total parameters.
    """
    active_b = total_params_b if active_params_b is None else active_params_b
    for what, size in (("total_params_b", total_params_b), ("active_params_b", active_b)):
        if not (math.isfinite(size) and size > 0):
            raise UserError(f"{name}: {what} must be above 0", got=size)
    if active_b > total_params_b:
        raise UserError(f"{name}: active_params_b exceeds total_params_b", got=active_b, allowed=f"<= {total_params_b}")
    layers, hidden = _shape(active_b)
    heads = max(_GROUP, round(hidden / _HEAD_DIM / _GROUP) * _GROUP)
    head_dim = max(16, round(hidden / heads / 16) * 16)
    tied = total_params_b < _UNTIED_FROM_B
    tables = 1 if tied else 2
    vocabulary = max(1000, min(_VOCABULARY, round(_TABLE_SHARE * active_b * 1e9 / hidden / tables)))
    attention = layers * 2 * hidden * head_dim * (heads + heads // _GROUP)
    shared = attention + tables * vocabulary * hidden
    if active_b < total_params_b:
        feed_forward = _experts(layers, hidden, shared, active_b * 1e9, total_params_b * 1e9)
    else:
        width = max(hidden, round((active_b * 1e9 - shared) / (3 * hidden * layers)))
        feed_forward = {"dense_layers": layers, "dense_intermediate": width}
    return _parsed(
        {
            "kind": "model",
            "name": name,
            "source": f"a generic decoder of {total_params_b:g}e9 parameters; only its size is known",
            "confidence": "assumed",
            "total_params_b": float(total_params_b),
            "active_params_b": float(active_b),
            "layers": layers,
            "hidden_size": hidden,
            "vocab_size": vocabulary,
            "tied_embeddings": tied,
            "max_context_tokens": 32768,
            "native_precision": "bf16",
            "attention": {
                "query_heads": heads,
                "kv_heads": heads // _GROUP,
                "head_dim_qk": head_dim,
                "head_dim_v": head_dim,
            },
            "ffn": feed_forward,
        }
    )


def _shape(params_b: float) -> tuple[int, int]:
    """Layers and hidden size (a multiple of 64), interpolated in the logarithm of the size."""
    first, last = _SHAPES[0], _SHAPES[-1]
    size = min(max(params_b * 0.88, first[0]), last[0])
    upper = next(i for i, shape in enumerate(_SHAPES) if shape[0] >= size)
    low, high = _SHAPES[max(upper - 1, 0)], _SHAPES[upper]
    share = math.log(size / low[0]) / math.log(high[0] / low[0]) if high[0] > low[0] else 0.0
    hidden = low[2] * (high[2] / low[2]) ** share
    return round(low[1] + share * (high[1] - low[1])), max(64, round(hidden / 64) * 64)


def _experts(layers: int, hidden: int, shared: float, active: float, total: float) -> dict[str, object]:
    """Experts so that 8 of them and what is shared make up the active size, and all of them the total."""
    routed = max(active - shared, 0.1 * active)
    experts = max(_EXPERTS_PER_TOKEN + 1, round(_EXPERTS_PER_TOKEN * (total - active + routed) / routed))
    width = max(1, round(routed / (_EXPERTS_PER_TOKEN * 3 * hidden * layers)))
    return {
        "dense_layers": 0,
        "dense_intermediate": 0,
        "moe": {
            "layers": layers,
            "experts": experts,
            "experts_per_token": _EXPERTS_PER_TOKEN,
            "expert_intermediate": width,
        },
    }


def _parsed(data: dict[str, object]) -> Model:
    model = parse(data, str(data["name"]))
    assert isinstance(model, Model)
    return model
