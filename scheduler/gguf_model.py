"""A GGUF file's head as a model of the catalogue: layers, heads, windows, and how its weights are stored.

describe(read_header(path), "my-model")      GgufModel: a `profiles.Model`, precisions, bytes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from profiles import Dtype, Model, UserError, did_you_mean, parse
from scheduler.gguf import Header, Tensor

__all__ = ["ARCHITECTURES", "GgufModel", "describe"]

ARCHITECTURES: dict[str, int] = {
    "llama": 1, "qwen2": 1, "qwen3": 1, "granite": 1, "internlm2": 1, "olmo2": 1, "phi3": 1, "smollm3": 1,
    "gemma2": 2, "gemma3": 6,
}  # fmt: skip
"""Known architectures; of so many layers one attends to everything, the others to a sliding window."""

_INT4_BITS, _INT8_BITS = 6.0, 12.0  # bits a value up to which weights count as 4 and 8 bits
_EMBEDDING, _HEAD = "token_embd.weight", "output.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufModel:
    """A model, and how the file stores it."""

    model: Model
    precision: Dtype
    """Of the layers: the common type that is nearest to their bits a value."""
    head_precision: Dtype
    layer_bytes: int
    """Bytes of the layers' weights, scales included."""
    head_bytes: int
    types: tuple[str, ...]
    """Types of the tensors, most bytes first."""


def describe(header: Header, name: str) -> GgufModel:
    """The model that a file holds.

    Raises UserError for an architecture that is not known, for mixture-of-experts files, and where a figure that the
    architecture needs is missing.
    """
    architecture = header.architecture
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"{name}: a GGUF file of an unknown architecture",
            got=architecture,
            allowed=", ".join(sorted(ARCHITECTURES)),
            next_step=did_you_mean(architecture, ARCHITECTURES),
        )
    facts = _Facts(header, name)
    if facts.number("expert_count", 0):
        raise UserError(f"{name}: mixture-of-experts files cannot be calibrated with", got=architecture)
    layers = [tensor for tensor in header.tensors if tensor.name.startswith("blk.") and len(tensor.shape) > 1]
    head = next((tensor for tensor in header.tensors if tensor.name == _HEAD), facts.embedding)
    layer_bytes = sum(tensor.bytes for tensor in layers)
    return GgufModel(
        model=_model(header, facts, tied=head is facts.embedding),
        precision=_precision(layer_bytes, sum(tensor.values for tensor in layers)),
        head_precision=_precision(head.bytes, head.values),
        layer_bytes=layer_bytes,
        head_bytes=head.bytes,
        types=_types(header.tensors),
    )


class _Facts:
    """Figures of the metadata, under the architecture's prefix."""

    def __init__(self, header: Header, name: str) -> None:
        self._metadata, self._prefix, self.name = header.metadata, header.architecture, name
        self.embedding = next((tensor for tensor in header.tensors if tensor.name == _EMBEDDING), None) or self._no(
            f"tensor {_EMBEDDING}"
        )

    def number(self, key: str, default: int | None = None) -> int:
        found = self._metadata.get(f"{self._prefix}.{key}", default)
        if isinstance(found, list) and found and len(set(found)) == 1:
            found = found[0]  # one figure for every layer
        if not isinstance(found, int) or isinstance(found, bool) or found < 0 or (default is None and found == 0):
            self._no(f"{self._prefix}.{key} as one whole number")
        assert isinstance(found, int)
        return found

    def _no(self, what: str) -> Any:
        raise UserError(
            f"{self.name}: the GGUF file holds no {what}", next_step="it may be of a variant we do not know"
        )


def _model(header: Header, facts: _Facts, *, tied: bool) -> Model:
    layers, heads = facts.number("block_count"), facts.number("attention.head_count")
    hidden = facts.number("embedding_length")
    kv_heads = facts.number("attention.head_count_kv", heads)
    head_dim = facts.number("attention.key_length", hidden // heads)
    window = facts.number("attention.sliding_window", 0)
    every = ARCHITECTURES[header.architecture]
    sliding = layers - layers // every if every > 1 and window else 0
    windows = {"layers": sliding, "window_tokens": window, "kv_heads": kv_heads} if sliding else None
    billions = header.params / 1e9
    record = parse(
        {
            "kind": "model",
            "name": facts.name,
            "source": f"the head of a GGUF file ({header.metadata.get('general.name', facts.name)})",
            "confidence": "measured",
            "total_params_b": billions,
            "active_params_b": billions,
            "layers": layers,
            "hidden_size": hidden,
            "vocab_size": facts.embedding.shape[1],
            "tied_embeddings": tied,
            "max_context_tokens": facts.number("context_length"),
            "native_precision": "bf16",
            "attention": {
                "query_heads": heads,
                "kv_heads": kv_heads,
                "head_dim_qk": head_dim,
                "head_dim_v": facts.number("attention.value_length", head_dim),
                "sliding": windows,
            },
            "ffn": {"dense_layers": layers, "dense_intermediate": facts.number("feed_forward_length")},
        },
        facts.name,
    )
    assert isinstance(record, Model)
    return record


def _precision(stored: int, values: int) -> Dtype:
    bits = 8 * stored / values if values else 16.0
    return "int4" if bits <= _INT4_BITS else "int8" if bits <= _INT8_BITS else "fp16" if bits <= 16.0 else "fp32"


def _types(tensors: tuple[Tensor, ...]) -> tuple[str, ...]:
    found: dict[str, int] = {}
    for tensor in tensors:
        found[tensor.type.name] = found.get(tensor.type.name, 0) + tensor.bytes
    return tuple(sorted(found, key=lambda name: -found[name]))
