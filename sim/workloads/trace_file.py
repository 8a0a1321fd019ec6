"""Reading a trace file in bounded memory: bytes in, blocks of whole lines out, SHA-256 on the way.

A file may be gzipped (told by its first two bytes), may begin with a byte order mark, may end its lines with
CRLF, and may hold one line of ten gigabytes: such a line is skipped and counted, never held.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol, cast

from profiles.errors import UserError

__all__ = ["CSV_LINE_BYTES", "JSON_LINE_BYTES", "TraceFile"]

CSV_LINE_BYTES = 1 << 20
JSON_LINE_BYTES = 16 << 20  # a long prompt's block hashes are long
CHUNK_BYTES = 1 << 18  # at most the smaller line limit: see `_whole_lines`


class TraceFile:
    """One pass over a trace file. Iterate `blocks()`, then read the figures.

    `is_json` is known from the first block on: the first character that is not blank is an opening brace.
    `long_lines` and `sha256` (of the bytes on disk, compressed or not) are final when `blocks()` is
    exhausted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_json = False
        self.long_lines = 0
        self.sha256 = ""

    def blocks(self) -> Iterator[str]:
        """Blocks of whole lines, about 256 KiB each, line ends as newline. UserError for what is no text."""
        try:
            with self.path.open("rb") as file:
                hashing = _HashingReader(file)
                zipped = file.peek(2)[:2] == b"\x1f\x8b"
                source: _Source = hashing
                if zipped:
                    source = gzip.GzipFile(fileobj=cast(Any, hashing), mode="rb")
                for block in self._whole_lines(source):
                    yield block.decode("utf-8", "replace").replace("\r\n", "\n")
                while hashing.read(CHUNK_BYTES):
                    pass
                self.sha256 = hashing.digest.hexdigest()
        except FileNotFoundError:
            raise UserError(f"the trace {self.path} does not exist") from None
        except IsADirectoryError:
            raise UserError(f"the trace {self.path} is a folder", next_step="name the file in it") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"the gzip file {self.path} is damaged or cut off: {error}") from None
        except OSError as error:
            raise UserError(f"the trace {self.path} cannot be read: {error.strerror or error}") from None

    def _whole_lines(self, source: _Source) -> Iterator[bytes]:
        """Cut chunks at line ends. No chunk exceeds the limit, so only its first line can."""
        limit = CSV_LINE_BYTES
        held: list[bytes] = []
        held_bytes = 0
        skipping = False
        for chunk in self._chunks(source):
            if self.is_json:
                limit = JSON_LINE_BYTES
            last = chunk.rfind(b"\n")
            if last < 0:
                if not skipping:
                    held.append(chunk)
                    held_bytes += len(chunk)
                if held_bytes > limit:
                    self.long_lines += 1
                    held, held_bytes, skipping = [], 0, True
                continue
            start = 0
            first = chunk.find(b"\n")
            if skipping or held_bytes + first > limit:
                self.long_lines += not skipping
                held, start = [], first + 1
            yield b"".join(held) + chunk[start : last + 1]
            held, held_bytes, skipping = [chunk[last + 1 :]], len(chunk) - last - 1, False
        if held_bytes:
            yield b"".join(held)

    def _chunks(self, source: _Source) -> Iterator[bytes]:
        """Chunks from the first byte that says something; settles `is_json` before the first of them."""
        begun = False
        at_start = True
        while chunk := source.read(CHUNK_BYTES):
            if at_start:
                chunk = chunk.removeprefix(b"\xef\xbb\xbf")
                at_start = False
            if not begun:
                chunk = chunk.lstrip()
                if not chunk:
                    continue
                self._refuse_binary(chunk)
                self.is_json = chunk.startswith(b"{")
                begun = True
            yield chunk

    def _refuse_binary(self, chunk: bytes) -> None:
        """A first line that is no UTF-8, or holds a zero byte, is no text that we read."""
        line = chunk[:4096].split(b"\n", 1)[0]
        try:
            codecs.getincrementaldecoder("utf-8")().decode(line)  # incremental: the cut may split a character
            binary = b"\0" in line
        except UnicodeDecodeError:
            binary = True
        if binary:
            raise UserError(
                f"the trace {self.path} is a binary file or text in another encoding",
                allowed="CSV or JSONL in UTF-8, plain or gzipped",
            )


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _HashingReader:
    """Reads through to a file and hashes what passes."""

    def __init__(self, file: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data
