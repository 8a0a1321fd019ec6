"""Per-prompt tables: CSV, gzipped CSV, Parquet or JSON lines, told apart by their bytes, not by their names."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.errors import UserError, did_you_mean

__all__ = ["PromptTable", "read_tables"]

_TRUE, _FALSE = {"true", "yes"}, {"false", "no"}
_GAPS = {"", "nan", "na", "null", "none"}
_CELL_BYTES = 64 << 20

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PromptTable:
    """Columns of cells as they were read; every column has `rows` cells, None where there is none."""

    name: str
    rows: int
    columns: dict[str, list[Any]]

    def has(self, column: str) -> bool:
        return column in self.columns

    def cells(self, column: str) -> list[Any]:
        """The cells of a column. Raises `UserError` when it is missing."""
        if column not in self.columns:
            raise UserError(f"{self.name} has no column {column!r}", next_step=did_you_mean(column, list(self.columns)))
        return self.columns[column]

    def texts(self, column: str = "prompt") -> list[str]:
        """A column as text; a gap is an empty text."""
        return ["" if cell is None else str(cell) for cell in self.cells(column)]

    def numbers(self, column: str, *, least: float = -math.inf, most: float = math.inf) -> Floats:
        """A column as numbers; NaN for gaps, 1 and 0 for True and False. Raises `UserError` for anything else."""
        found = np.empty(self.rows)
        for row, cell in enumerate(self.cells(column)):
            value = _number(cell)
            if value is None or not (math.isnan(value) or least <= value <= most):
                allowed = "True, False, a number, or a gap"
                if math.isfinite(least) and math.isfinite(most):
                    allowed = f"True, False, {least:g} to {most:g}, or a gap"
                raise UserError(f"{self.name}, row {row}, column {column!r}: bad value", got=cell, allowed=allowed)
            found[row] = value
        return found

    def labels(self, column: str) -> Floats:
        """Correctness, 0 to 1."""
        return self.numbers(column, least=0.0, most=1.0)


def read_tables(paths: Sequence[Path]) -> PromptTable:
    """Read tables one below the other; a column that one of them lacks has gaps there."""
    tables = [_read(path) for path in paths]
    if len(tables) == 1:
        return tables[0]
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {
        name: [cell for table in tables for cell in table.columns.get(name, [None] * table.rows)] for name in names
    }
    return PromptTable(", ".join(table.name for table in tables), sum(table.rows for table in tables), columns)


def _number(cell: Any) -> float | None:
    """NaN for a gap, None for what is no number."""
    if cell is None:
        return math.nan
    if isinstance(cell, bool | int | float):
        return float(cell)
    word = str(cell).strip().lower()
    if word in _GAPS:
        return math.nan
    if word in _TRUE or word in _FALSE:
        return float(word in _TRUE)
    try:
        return float(word)
    except ValueError:
        return None


def _read(path: Path) -> PromptTable:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise UserError(f"the table {path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"the table {path} is a folder", next_step="name the file in it") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"the gzip file {path} is damaged or cut off: {error}") from None
    if data[:4] == b"PAR1":
        return _of_parquet(path, data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"the table {path} is a binary file or text in another encoding", allowed="UTF-8 or Parquet")
    if text.lstrip().startswith("{"):
        return _of_json_lines(path, text)
    return _of_csv(path, text)


def _of_parquet(path: Path, data: bytes) -> PromptTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise UserError(f"the Parquet file {path} cannot be read: {error}") from None
    return PromptTable(path.name, table.num_rows, {name: table[name].to_pylist() for name in table.column_names})


def _of_json_lines(path: Path, text: str) -> PromptTable:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: not an object", got=row)
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return PromptTable(path.name, len(rows), {name: [row.get(name) for row in rows] for name in names})


def _of_csv(path: Path, text: str) -> PromptTable:
    before = csv.field_size_limit(_CELL_BYTES)
    try:
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV: {error}") from None
    finally:
        csv.field_size_limit(before)
    lines = [line for line in lines if line]
    if not lines:
        raise UserError(f"the table {path} is empty", allowed="a header and rows")
    header = lines[0]
    if twice := _repeated(header):
        raise UserError(f"{path} has two columns of one name", got=twice)
    for number, line in enumerate(lines[1:]):
        if len(line) != len(header):
            raise UserError(f"{path}, row {number}: {len(line)} cells, but the header has {len(header)}")
    cells = list(zip(*lines[1:], strict=True)) or [()] * len(header)
    columns = {name: [cell if cell != "" else None for cell in cells[i]] for i, name in enumerate(header)}
    return PromptTable(path.name, len(lines) - 1, columns)


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
