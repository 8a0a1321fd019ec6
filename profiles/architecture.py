"""The parts of a transformer's architecture that a model's record is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from .errors import UserError
from .record import Count, CountOrZero, Facts, Fraction, Positive

__all__ = [
    "Attention",
    "FeedForward",
    "LatentAttention",
    "MixtureOfExperts",
    "MultiToken",
    "RecurrentLayers",
    "SlidingWindow",
    "VisionEncoder",
]


class SlidingWindow(Facts):
    """Layers that attend to the last `window_tokens` only; query heads and head sizes are the others'."""

    layers: Count
    window_tokens: Count
    kv_heads: Count


class LatentAttention(Facts):
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one short vector per token and layer."""

    kv_lora_rank: Count
    q_lora_rank: Count | None = None
    """None where queries are projected directly."""
    rope_head_dim: Count
    """The part of head_dim_qk that carries the position."""


class RecurrentLayers(Facts):
    """Layers that keep a state of fixed size instead of a cache: Mamba-2, gated DeltaNet, RWKV, short convolutions."""

    layers: Count
    params_m_per_layer: Positive
    """1e6 weights of one such layer's projections, its feed-forward left out."""
    state_values_per_layer: Count
    """Values of one sequence's state in one layer, read and written once a step."""


class Attention(Facts):
    """Heads of the full-attention layers; `sliding` and `recurrent` tell how the other layers differ."""

    query_heads: Count
    kv_heads: Count
    head_dim_qk: Count
    head_dim_v: Count
    sliding: SlidingWindow | None = None
    recurrent: RecurrentLayers | None = None
    mla: LatentAttention | None = None

    @model_validator(mode="after")
    def _heads_divide(self) -> Attention:
        for heads in (self.kv_heads, self.sliding.kv_heads if self.sliding else 1):
            if self.query_heads % heads:
                raise UserError(
                    "kv_heads must divide query_heads", got=heads, allowed=f"divisors of {self.query_heads}"
                )
        if self.mla and self.mla.rope_head_dim >= self.head_dim_qk:
            raise UserError("mla.rope_head_dim must be below head_dim_qk", got=self.mla.rope_head_dim)
        return self


class MixtureOfExperts(Facts):
    """Layers whose feed-forward is a router and many gated experts."""

    layers: Count
    experts: Count
    experts_per_token: Count
    shared_experts: CountOrZero = 0
    """Experts that see every token, beside the routed ones."""
    expert_intermediate: Count

    @model_validator(mode="after")
    def _routes_to_existing_experts(self) -> MixtureOfExperts:
        if self.experts_per_token > self.experts:
            raise UserError(
                "experts_per_token exceeds experts", got=self.experts_per_token, allowed=f"<= {self.experts}"
            )
        return self


class FeedForward(Facts):
    """Feed-forward layers: dense ones, mixture-of-experts ones, or both."""

    dense_layers: CountOrZero
    dense_intermediate: CountOrZero
    matrices: Literal[2, 3] = 3
    """Matrices of one feed-forward: 3 with a gate (SwiGLU and its kin), 2 without (GELU, squared ReLU)."""
    moe: MixtureOfExperts | None = None

    @model_validator(mode="after")
    def _dense_layers_have_a_size(self) -> FeedForward:
        if (self.dense_layers == 0) != (self.dense_intermediate == 0):
            raise UserError(
                "dense_layers and dense_intermediate must both be 0 or both be more",
                got=(self.dense_layers, self.dense_intermediate),
            )
        return self


class MultiToken(Facts):
    """Multi-token prediction: small extra layers that draft the tokens after the next one."""

    layers: Count
    params_b_per_layer: Positive | None = None
    """1e9 parameters of one such layer, not part of total_params_b."""
    acceptance: tuple[Fraction, ...] = ()
    """Chance that the first, second ... drafted token is accepted, given that those before it were."""


class VisionEncoder(Facts):
    """The part that turns an image into tokens; counted apart from the language model."""

    params_b: Positive
    """1e9 parameters, not part of total_params_b."""
    patches_per_image: Count
    """Tokens that the encoder itself works on, for one image at its native resolution."""
    tokens_per_image: Count
    """Tokens that the language model then sees of it."""
