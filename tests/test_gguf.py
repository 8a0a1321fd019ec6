"""GGUF heads: what is read from a good file, and how every kind of broken one is refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from profiles import UserError
from scheduler.gguf import read_header
from scheduler.gguf_model import ARCHITECTURES, describe
from tests.gguf_files import GEMMA3, LLAMA, gguf_bytes, write_gguf


def refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_header(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_head_is_read(tmp_path: Path) -> None:
    header = read_header(write_gguf(tmp_path / "a.gguf"))
    assert header.architecture == "llama"
    assert header.version == 3
    assert header.metadata["llama.block_count"] == 2
    assert header.metadata["tokenizer.ggml.scores"] == [0.5] * 96
    assert header.tensors[0].name == "token_embd.weight"
    assert header.tensors[0].bytes == 64 * 96 // 32 * 34
    assert header.params == 64 * 96 + 2 * (64 + 64 * 128)
    assert header.weight_bytes == 64 * 96 // 32 * 34 + 2 * (64 * 4 + 64 * 128 // 32 * 20)


def test_long_arrays_are_counted_not_kept(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", {**LLAMA, "tokenizer.ggml.tokens": ["a"] * 5000})
    assert read_header(path).metadata["tokenizer.ggml.tokens"] == 5000


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = gguf_bytes(LLAMA)
    for size in {0, 3, 4, 10, 23, 24, 60, len(whole) // 2, len(whole) - 1, *range(24, 400, 37)}:
        said = refusal(tmp_path / "a.gguf", whole[:size])
        assert "truncated" in said or "no GGUF file" in said
    path = tmp_path / "a.gguf"
    path.write_bytes(whole)
    assert read_header(path).file_bytes == len(whole)


def test_strangers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    assert "no GGUF file" in refusal(path, gguf_bytes(LLAMA, magic=b"GGJT"))
    assert "another version; got 1" in refusal(path, gguf_bytes(LLAMA, version=1))
    without = {key: value for key, value in LLAMA.items() if key != "general.architecture"}
    whole = gguf_bytes({**without, "general.architecture": "llama"})
    assert "general.architecture" in refusal(path, whole.replace(b"general.architecture", b"general.architectura"))
    assert "implausible" in refusal(path, b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1) + b"\0" * 64)
    with pytest.raises(UserError, match="cannot read"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(UserError, match="cannot read"):
        read_header(tmp_path)


def test_a_llama_becomes_a_model(tmp_path: Path) -> None:
    found = describe(read_header(write_gguf(tmp_path / "a.gguf")), "tiny")
    model = found.model
    assert (model.layers, model.hidden_size, model.vocab_size, model.tied_embeddings) == (2, 64, 96, True)
    assert (model.attention.query_heads, model.attention.kv_heads, model.attention.head_dim_qk) == (4, 2, 16)
    assert model.attention.sliding is None
    assert (found.precision, found.head_precision) == ("int4", "int8")
    assert found.layer_bytes == 2 * 64 * 128 // 32 * 20
    assert found.head_bytes == 64 * 96 // 32 * 34
    assert set(found.types) == {"Q8_0", "Q4_1", "F32"}


def test_a_head_of_its_own_is_no_embedding(tmp_path: Path) -> None:
    assert not describe(read_header(write_gguf(tmp_path / "a.gguf", head=True)), "tiny").model.tied_embeddings


def test_gemma_has_windows(tmp_path: Path) -> None:
    model = describe(read_header(write_gguf(tmp_path / "g.gguf", GEMMA3)), "gem").model
    assert model.attention.sliding is not None
    assert (model.attention.sliding.layers, model.full_layers) == (10, 2)
    assert model.attention.sliding.window_tokens == 64
    assert model.attention.head_dim_v == 32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"general.architecture": "qwen9", "qwen9.embedding_length": 64, "qwen9.feed_forward_length": 128,
          "qwen9.block_count": 2}, r"unknown architecture; got 'qwen9'; allowed: gemma2.*did you mean 'qwen"),
        ({"llama.expert_count": 8}, "mixture-of-experts"),
        ({"llama.attention.head_count": 0}, "no llama.attention.head_count as one whole number"),
        ({"llama.attention.head_count_kv": [1, 2]}, "no llama.attention.head_count_kv as one whole number"),
        ({"llama.attention.head_count_kv": 3}, "kv_heads must divide query_heads"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_described(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    header = read_header(write_gguf(tmp_path / "a.gguf", {**LLAMA, **change}))
    with pytest.raises(UserError, match=words):
        describe(header, "tiny")


def test_the_known_architectures_are_told() -> None:
    assert {"llama", "gemma3", "qwen2", "qwen3"} <= set(ARCHITECTURES)


def test_what_no_model_is_called_or_made_of(tmp_path: Path) -> None:
    for name in ("", "a\x1b[31mb", "x" * 65):
        file = write_gguf(tmp_path / "a.gguf", {**LLAMA, "general.architecture": "llama"})
        data = file.read_bytes()
        old, new = (struct.pack("<Q", len(text.encode())) + text.encode() for text in ("llama", name))
        file.write_bytes(data.replace(old, new, 1))
        with pytest.raises(UserError, match=r"names no general\.architecture"):
            read_header(file)
    head = gguf_bytes(LLAMA)
    (tmp_path / "b.gguf").write_bytes(head[:8] + struct.pack("<Q", 0) + head[16:])
    with pytest.raises(UserError, match="holds no weights"):
        read_header(tmp_path / "b.gguf")
    (tmp_path / "c.gguf").write_bytes(head.replace(b"token_embd.weight", b"x" * 17, 1))
    assert read_header(tmp_path / "c.gguf").tensors[0].name == "x" * 17
    long = struct.pack("<Q", 300) + b"x" * 300
    (tmp_path / "d.gguf").write_bytes(head.replace(struct.pack("<Q", 17) + b"token_embd.weight", long, 1))
    with pytest.raises(UserError, match="name of a tensor is too long"):
        read_header(tmp_path / "d.gguf")
