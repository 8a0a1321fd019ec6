"""The head of a GGUF file: metadata and the list of tensors, read without a model runtime.

    read_header(path)         Header: version, metadata, tensors; a truncated or foreign file is refused
    Header.weight_bytes       what all tensors take

The layout is that of the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3,
little-endian. Only the head is read, a megabyte or so of vocabulary included; the weights stay on the disk.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from profiles.errors import UserError

__all__ = ["TYPES", "Header", "Tensor", "TensorType", "read_header"]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_ITEMS = 1 << 24  # of an array or a table: more is no model but a broken length
_MOST_TEXT = 1 << 24  # bytes of one string
_MOST_NAME = 256  # characters of a tensor's name
_KEPT_ITEMS = 4096  # longer arrays (vocabularies) are counted, not kept


class TensorType(NamedTuple):
    """How the values of a tensor are stored: so many values in a block of so many bytes."""

    name: str
    values: int
    bytes: int

    @property
    def bits_per_value(self) -> float:
        """Bits of one value, scales included."""
        return 8 * self.bytes / self.values


TYPES: dict[int, TensorType] = {
    0: TensorType("F32", 1, 4), 1: TensorType("F16", 1, 2), 2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20), 6: TensorType("Q5_0", 32, 22), 7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34), 9: TensorType("Q8_1", 32, 36), 10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110), 12: TensorType("Q4_K", 256, 144), 13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210), 15: TensorType("Q8_K", 256, 292), 16: TensorType("IQ2_XXS", 256, 66),
    17: TensorType("IQ2_XS", 256, 74), 18: TensorType("IQ3_XXS", 256, 98), 19: TensorType("IQ1_S", 256, 50),
    20: TensorType("IQ4_NL", 32, 18), 21: TensorType("IQ3_S", 256, 110), 22: TensorType("IQ2_S", 256, 82),
    23: TensorType("IQ4_XS", 256, 136), 24: TensorType("I8", 1, 1), 25: TensorType("I16", 1, 2),
    26: TensorType("I32", 1, 4), 27: TensorType("I64", 1, 8), 28: TensorType("F64", 1, 8),
    29: TensorType("IQ1_M", 256, 56), 30: TensorType("BF16", 1, 2), 34: TensorType("TQ1_0", 256, 54),
    35: TensorType("TQ2_0", 256, 66), 39: TensorType("MXFP4", 32, 17),
}  # fmt: skip
"""By the number that a file holds; ggml's `ggml_type`."""


class Tensor(NamedTuple):
    """One tensor: its name, its extents (fastest first), how it is stored, where it begins behind the head."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int

    @property
    def values(self) -> int:
        """How many values it holds."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """What it takes on the disk."""
        return self.values // self.type.values * self.type.bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says of itself. Arrays longer than 4,096 items are held as their length alone."""

    version: int
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    file_bytes: int

    @property
    def architecture(self) -> str:
        """`general.architecture`: llama, gemma3, qwen2 ..."""
        return str(self.metadata["general.architecture"])

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def params(self) -> int:
        """Values of all tensors."""
        return sum(tensor.values for tensor in self.tensors)


class _Reader:
    """Numbers and strings from a file; an end before its time is one clear error."""

    def __init__(self, file: BinaryIO, called: str) -> None:
        self._file, self.called = file, called

    def broken(self, why: str, **more: Any) -> UserError:
        return UserError(f"{self.called}: no readable GGUF file: {why}", **more, next_step="pull or copy it again")

    def bytes(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise self.broken("it ends inside its head, it was truncated")
        return data

    def number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self.bytes(struct.calcsize(f"<{form}")))[0]

    def count(self, what: str, most: int) -> int:
        found = int(self.number("Q"))
        if found > most:
            raise self.broken(f"the length of {what} is implausible", got=found, allowed=f"<= {most}")
        return found

    def text(self) -> str:
        return self.bytes(self.count("a string", _MOST_TEXT)).decode("utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind in _FORMS:
            return self.number(_FORMS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise self.broken("an unknown type of metadata", got=kind)
        item, count = int(self.number("I")), self.count("an array", _MOST_ITEMS)
        if item == _ARRAY:
            raise self.broken("an array of arrays")
        values = self._items(item, count)
        return values if count <= _KEPT_ITEMS else count

    def _items(self, item: int, count: int) -> list[Any]:
        if item in _FORMS and count:
            form = f"<{count}{_FORMS[item]}"
            return list(struct.unpack(form, self.bytes(struct.calcsize(form))))
        read: Callable[[], Any] = self.text if item == _STRING else lambda: self.value(item)
        return [read() for _ in range(count)]

    def tensor(self) -> Tensor:
        name = self.text()
        if len(name) > _MOST_NAME:
            raise self.broken("the name of a tensor is too long", got=name, allowed=f"up to {_MOST_NAME} characters")
        extents = int(self.number("I"))
        if not 1 <= extents <= 4:
            raise self.broken(f"tensor {name!r} has an impossible number of extents", got=extents, allowed="1 to 4")
        shape = tuple(int(self.number("Q")) for _ in range(extents))
        number, offset = int(self.number("I")), int(self.number("Q"))
        if number not in TYPES:
            raise self.broken(f"tensor {name!r} is stored in an unknown type", got=number)
        return Tensor(name, shape, TYPES[number], offset)


_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def read_header(path: Path, *, called: str = "") -> Header:
    """Metadata and tensors of a GGUF file; messages call it so, or by its path.

    Raises UserError for a file that cannot be read, is no GGUF file, is of another version, ends too early (in its
    head, or before its last tensor does), names no architecture, or holds no tensors.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _header(_Reader(file, called or str(path)), file, size)
    except OSError as error:
        raise UserError(
            f"cannot read a model: {error.strerror}", got=str(path), next_step="give the path of a GGUF file"
        ) from None


def _header(reader: _Reader, file: BinaryIO, size: int) -> Header:
    if size < 24 or reader.bytes(4) != _MAGIC:
        raise UserError(
            f"{reader.called}: no GGUF file: it does not begin with {_MAGIC.decode()!r}", got=f"{size} bytes"
        )
    version = int(reader.number("I"))
    if version not in _VERSIONS:
        raise reader.broken("another version", got=version, allowed=" or ".join(map(str, _VERSIONS)))
    tensors, pairs = reader.count("the tensors", _MOST_ITEMS), reader.count("the metadata", _MOST_ITEMS)
    metadata = {}
    for _ in range(pairs):
        key = reader.text()
        metadata[key] = reader.value(int(reader.number("I")))
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not re.fullmatch(r"[\w.-]{1,64}", architecture, re.ASCII):
        raise reader.broken("it names no general.architecture", got=architecture)
    if not tensors:
        raise reader.broken("it holds no weights")
    header = Header(version, metadata, tuple(reader.tensor() for _ in range(tensors)), size)
    _refuse_truncated(reader, header, file.tell())
    return header


def _refuse_truncated(reader: _Reader, header: Header, head_bytes: int) -> None:
    alignment = header.metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise reader.broken("general.alignment is no whole number", got=alignment)
    begin = -(-head_bytes // alignment) * alignment
    end = max((begin + tensor.offset + tensor.bytes for tensor in header.tensors), default=begin)
    if header.file_bytes < end:
        raise reader.broken("it was truncated", got=f"{header.file_bytes:,} bytes", allowed=f"{end:,}")
