"""A transformer's architecture, and the arithmetic that follows from it.

    Model                     layers, attention, feed-forward, vocabulary; every derived count is a property

Derived counts leave out norms, biases and attention sinks: together below 0.1 % of any model here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from .ability import Abilities
from .architecture import Attention, FeedForward, MultiToken, VisionEncoder
from .errors import UserError
from .record import Count, Dtype, Flag, Positive, Record

__all__ = ["Model"]


class Model(Record):
    """A decoder-only transformer."""

    kind: Literal["model"]
    total_params_b: Positive
    """1e9 parameters, as published."""
    active_params_b: Positive
    """1e9 parameters that take part in one token, as published (publishers count the embedding table)."""
    layers: Count
    hidden_size: Count
    vocab_size: Count
    tied_embeddings: Flag
    """Whether the output head is the embedding table."""
    max_context_tokens: Count
    """The longest prompt plus answer of the published configuration, without extrapolation."""
    attention: Attention
    ffn: FeedForward
    native_precision: Dtype
    """The precision that the published weights are stored in."""
    mtp: MultiToken | None = None
    vision: VisionEncoder | None = None
    """How it sees images; empty for text alone. Recorded, not used by the latency model of this version."""
    abilities: Abilities | None = None
    """How able it is, from published scores; empty: by its size. A scenario's `ability` goes before either."""

    @model_validator(mode="after")
    def _layers_add_up(self) -> Model:
        given = self.ffn.dense_layers + (self.ffn.moe.layers if self.ffn.moe else 0)
        if given > self.layers or (given < self.layers and not self.recurrent_layers):
            raise UserError("ffn.dense_layers + ffn.moe.layers must be layers", got=given, allowed=str(self.layers))
        if (other := self.sliding_layers + self.recurrent_layers) > self.layers:
            raise UserError(
                "attention.sliding.layers + attention.recurrent.layers exceed layers",
                got=other,
                allowed=f"<= {self.layers}",
            )
        if self.active_params_b > self.total_params_b:
            raise UserError("active_params_b exceeds total_params_b", got=self.active_params_b)
        return self

    @property
    def sliding_layers(self) -> int:
        """Layers with a sliding window."""
        return self.attention.sliding.layers if self.attention.sliding else 0

    @property
    def full_layers(self) -> int:
        """Layers that attend to the whole context."""
        return self.layers - self.sliding_layers - self.recurrent_layers

    @property
    def recurrent_layers(self) -> int:
        """Layers that keep a state instead of a cache."""
        return self.attention.recurrent.layers if self.attention.recurrent else 0

    @property
    def state_values_per_sequence(self) -> int:
        """Values of one sequence's state in all recurrent layers together."""
        recurrent = self.attention.recurrent
        return recurrent.layers * recurrent.state_values_per_layer if recurrent else 0

    @property
    def attention_params_full_layer(self) -> int:
        """Query, key, value and output projections of one full-attention layer."""
        a, d = self.attention, self.hidden_size
        if a.mla is None:
            return self._grouped_attention_params(a.kv_heads)
        queries = a.query_heads * a.head_dim_qk
        q = d * queries if a.mla.q_lora_rank is None else a.mla.q_lora_rank * (d + queries)
        down = d * (a.mla.kv_lora_rank + a.mla.rope_head_dim)
        up = a.mla.kv_lora_rank * a.query_heads * (a.head_dim_qk - a.mla.rope_head_dim + a.head_dim_v)
        return q + down + up + a.query_heads * a.head_dim_v * d

    @property
    def attention_params_sliding_layer(self) -> int:
        """The same projections of one sliding-window layer; 0 where the model has none."""
        return self._grouped_attention_params(self.attention.sliding.kv_heads) if self.attention.sliding else 0

    def _grouped_attention_params(self, kv_heads: int) -> int:
        a = self.attention
        return self.hidden_size * (a.query_heads + kv_heads) * (a.head_dim_qk + a.head_dim_v)

    @property
    def attention_params(self) -> int:
        """Projections of attention and of what stands in its place, all layers."""
        sliding = self.sliding_layers * self.attention_params_sliding_layer
        recurrent = self.attention.recurrent
        others = round(recurrent.layers * recurrent.params_m_per_layer * 1e6) if recurrent else 0
        return self.full_layers * self.attention_params_full_layer + sliding + others

    @property
    def expert_params(self) -> int:
        """One expert's matrices; 0 for a dense model."""
        return self.ffn.matrices * self.hidden_size * self.ffn.moe.expert_intermediate if self.ffn.moe else 0

    @property
    def routed_expert_params(self) -> int:
        """All routed experts of all layers: the weights of which a step reads only those it touches."""
        return self.ffn.moe.layers * self.ffn.moe.experts * self.expert_params if self.ffn.moe else 0

    @property
    def shared_ffn_params(self) -> int:
        """Feed-forward weights that every token uses: dense layers, routers and shared experts."""
        dense = self.ffn.dense_layers * self.ffn.matrices * self.hidden_size * self.ffn.dense_intermediate
        if (moe := self.ffn.moe) is None:
            return dense
        return dense + moe.layers * (self.hidden_size * moe.experts + moe.shared_experts * self.expert_params)

    @property
    def ffn_params(self) -> int:
        """Feed-forward weights of all layers, every expert counted."""
        return self.shared_ffn_params + self.routed_expert_params

    @property
    def active_ffn_params(self) -> int:
        """Feed-forward weights that one token is multiplied with."""
        routed = self.ffn.moe.layers * self.ffn.moe.experts_per_token * self.expert_params if self.ffn.moe else 0
        return self.shared_ffn_params + routed

    @property
    def embedding_params(self) -> int:
        """The embedding table: vocabulary x hidden size. A token reads one row of it."""
        return self.vocab_size * self.hidden_size

    @property
    def head_params(self) -> int:
        """The output head that logits cost: vocabulary x hidden size, tied (the same weights) or not."""
        return self.vocab_size * self.hidden_size

    @property
    def active_layer_params(self) -> int:
        """Weights that one token is multiplied with in the layers: no embedding, no head."""
        return self.attention_params + self.active_ffn_params

    @property
    def derived_total_params(self) -> int:
        """All weights from the architecture, to hold against total_params_b. MTP layers are not counted."""
        untied = 0 if self.tied_embeddings else self.head_params
        return self.attention_params + self.ffn_params + self.embedding_params + untied

    @property
    def derived_active_params(self) -> int:
        """Weights of one token as publishers count them, with the embedding, against active_params_b."""
        untied = 0 if self.tied_embeddings else self.head_params
        return self.active_layer_params + self.embedding_params + untied

    @property
    def kv_values_per_token_full(self) -> int:
        """Values that one token of context adds to the cache in all full layers together, for ever."""
        a = self.attention
        one = a.mla.kv_lora_rank + a.mla.rope_head_dim if a.mla else a.kv_heads * (a.head_dim_qk + a.head_dim_v)
        return self.full_layers * one

    @property
    def kv_values_per_token_sliding(self) -> int:
        """Values per token in all sliding layers together, held for the last `window_tokens` tokens only."""
        a = self.attention
        return self.sliding_layers * a.sliding.kv_heads * (a.head_dim_qk + a.head_dim_v) if a.sliding else 0

    @property
    def activation_width(self) -> int:
        """Values that one token spreads over in a layer: the hidden size plus the widest feed-forward."""
        moe = self.ffn.moe
        routed = (moe.experts_per_token + moe.shared_experts) * moe.expert_intermediate if moe else 0
        return self.hidden_size + max(self.ffn.dense_intermediate, routed)
