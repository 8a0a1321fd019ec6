"""Small GGUF files for tests: a head as real ones have, and weights of zeros."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "llama.block_count": 2,
    "llama.context_length": 256,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 128,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": [f"word{n}" for n in range(96)],
    "tokenizer.ggml.scores": [0.5] * 96,
}
GEMMA3: dict[str, Any] = {
    "general.architecture": "gemma3",
    "gemma3.block_count": 12,
    "gemma3.context_length": 1024,
    "gemma3.embedding_length": 64,
    "gemma3.feed_forward_length": 128,
    "gemma3.attention.head_count": 4,
    "gemma3.attention.head_count_kv": 1,
    "gemma3.attention.key_length": 32,
    "gemma3.attention.value_length": 32,
    "gemma3.attention.sliding_window": 64,
}
Q8_0, Q4_1, F32 = (8, 34), (3, 20), (0, 128)  # type, bytes of 32 values


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    items = [_value(item) for item in value]
    return struct.pack("<I", 9) + items[0][:4] + struct.pack("<Q", len(items)) + b"".join(item[4:] for item in items)


def tensors_of(
    metadata: dict[str, Any], *, vocabulary: int = 96, head: bool = False
) -> list[tuple[str, tuple[int, ...], tuple[int, int]]]:
    """Embedding in Q8_0, layers in Q4_1, norms in F32, as a small converter would write them."""
    prefix = metadata["general.architecture"]
    hidden, ffn = metadata[f"{prefix}.embedding_length"], metadata[f"{prefix}.feed_forward_length"]
    found: list[tuple[str, tuple[int, ...], tuple[int, int]]] = [("token_embd.weight", (hidden, vocabulary), Q8_0)]
    for layer in range(metadata[f"{prefix}.block_count"]):
        found.append((f"blk.{layer}.attn_norm.weight", (hidden,), F32))
        found.append((f"blk.{layer}.ffn_up.weight", (hidden, ffn), Q4_1))
    return [*found, ("output.weight", (hidden, vocabulary), Q8_0)] if head else found


def gguf_bytes(metadata: dict[str, Any], *, version: int = 3, head: bool = False, magic: bytes = b"GGUF") -> bytes:
    """A whole file."""
    tensors = tensors_of(metadata, head=head)
    out = magic + struct.pack("<IQQ", version, len(tensors), len(metadata))
    out += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    offset = 0
    for name, shape, (number, _) in tensors:
        out += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, number, offset)
        offset += _padded(_bytes(shape, _))
    return out + b"\0" * (_padded(len(out)) - len(out)) + b"\0" * offset


def _bytes(shape: tuple[int, ...], block: int) -> int:
    values = 1
    for extent in shape:
        values *= extent
    return values // 32 * block


def _padded(size: int) -> int:
    return -(-size // 32) * 32


def write_gguf(path: Path, metadata: dict[str, Any] = LLAMA, **how: Any) -> Path:
    """Write a file; its path."""
    path.write_bytes(gguf_bytes(metadata, **how))
    return path
