"""Decoding the rows of a trace: lines in, checked arrays out, every row accounted for.

A block of clean rows is converted column by column (fast). A block with anything odd in it is converted row
by row, and each bad row is counted under one reason. Both ways accept exactly the same rows.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.workloads.distributions import MAX_TOKENS
from sim.workloads.trace_layouts import Field, TraceColumns, normalise

__all__ = ["REASONS", "Block", "RowDecoder", "ticks_of"]

MAX_STAMP = 1e18
MAX_PRIORITY = 7
TICKS_PER_S = 10**7

MALFORMED = "malformed row"
TOO_LONG = "line too long"
BAD_STAMP = "bad timestamp"
NOT_FINITE = "NaN or infinite"
NEGATIVE = "negative tokens"
NO_PROMPT = "no prompt tokens"
NO_OUTPUT = "no output tokens"
BEYOND = "beyond --requests"
REASONS = (MALFORMED, TOO_LONG, BAD_STAMP, NOT_FINITE, NEGATIVE, NO_PROMPT, NO_OUTPUT, BEYOND)

Block = dict[Field, NDArray[Any]]  # columns of equal length; "names" holds lists of block hashes


class _BadRowError(ValueError):
    """Carries the reason a row is dropped for."""


class RowDecoder:
    """Turns lines of one layout into blocks of columns; `dropped` counts the rows that do not make it."""

    def __init__(self, columns: TraceColumns, *, is_json: bool) -> None:
        self.columns = columns
        self.dropped: Counter[str] = Counter()
        self._is_json = is_json
        self._seconds: dict[str, int] = {}
        self._sessions: dict[str, int] = {}

    def decode(self, lines: Sequence[str]) -> Block:
        rows = [load_object(line) for line in lines] if self._is_json else [split_cells(line) for line in lines]
        try:
            block = self._by_column(rows, lines)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError):
            block = self._by_row(rows)
        return self._drop_empty(block)

    def _by_column(self, rows: list[Any], lines: Sequence[str]) -> Block:
        """All rows at once. Raises when any of them needs a closer look."""
        columns = self.columns
        if self._is_json:
            picked = [[row[name] for row in rows] for name in columns.names]
        else:
            if any(map(odd_digits, lines)) or set(map(len, rows)) != {columns.width}:
                raise _BadRowError(MALFORMED)
            table = list(zip(*rows, strict=True))
            picked = [list(table[position]) for position in columns.positions]
        return {field: self._column(field, cells) for field, cells in zip(columns.fields, picked, strict=True)}

    def _column(self, field: Field, cells: list[Any]) -> NDArray[Any]:
        if field == "names":
            return objects([block_hashes(cell) for cell in cells])
        if field == "session":
            return np.array([self._session(cell) for cell in cells], dtype=np.int64)
        if field == "stamp" and self.columns.layout.dated:
            return np.array([ticks_of(cell, self._seconds) for cell in cells], dtype=np.int64)
        if self._is_json and not set(map(type, cells)) <= ({int} if field in ("prompt", "output") else {int, float}):
            raise _BadRowError(MALFORMED)
        if field in ("prompt", "output"):
            counts = np.array(cells if self._is_json else list(map(int, cells)), dtype=np.int64)
            if counts.size and counts.max() > MAX_TOKENS:
                raise _BadRowError(MALFORMED)
            return counts
        if field == "stamp":
            stamps = np.array(list(map(float, cells)), dtype=np.float64)
            if not (np.abs(stamps) < MAX_STAMP).all():
                raise _BadRowError(BAD_STAMP)
            return stamps
        return np.array([self._value(field, cell) for cell in cells], dtype=np.float64)

    def _by_row(self, rows: list[Any]) -> Block:
        kept: list[list[Any]] = []
        for row in rows:
            try:
                cells = self._cells(row)
                kept.append([self._value(f, c) for f, c in zip(self.columns.fields, cells, strict=True)])
            except _BadRowError as bad:
                self.dropped[str(bad)] += 1
        block: Block = {}
        for index, field in enumerate(self.columns.fields):
            values = [row[index] for row in kept]
            is_int = field in ("prompt", "output", "session") or (field == "stamp" and self.columns.layout.dated)
            block[field] = (
                objects(values) if field == "names" else np.array(values, dtype=np.int64 if is_int else np.float64)
            )
        return block

    def _cells(self, row: Any) -> list[Any]:
        columns = self.columns
        if self._is_json:
            if not isinstance(row, dict):
                raise _BadRowError(MALFORMED)
            if not all(name in row for name in columns.names):
                plain = {normalise(key): value for key, value in row.items()}
                return [plain.get(normalise(name)) for name in columns.names]
            return [row[name] for name in columns.names]
        if len(row) < columns.width or any(cell.strip() for cell in row[columns.width :]):
            raise _BadRowError(MALFORMED)
        return [row[position] for position in columns.positions]

    def _value(self, field: Field, cell: Any) -> Any:
        if field in ("prompt", "output"):
            return token_count(cell)
        if field == "stamp":
            return ticks_of(cell, self._seconds) if self.columns.layout.dated else number_stamp(cell)
        if field == "names":
            return block_hashes(cell)
        if field == "session":
            return self._session(cell)
        return priority(cell) if field == "priority" else limit_s(cell)

    def _session(self, cell: Any) -> int:
        """Sessions are numbered in the order in which they first appear; blank and -1 mean none."""
        name = "" if cell is None else str(cell).strip()
        return -1 if name in ("", "-1") else self._sessions.setdefault(name, len(self._sessions))

    def _drop_empty(self, block: Block) -> Block:
        prompt, output = block["prompt"], block["output"]
        negative = (prompt < 0) | (output < 0)
        no_prompt = ~negative & (prompt == 0)
        no_output = ~negative & ~no_prompt & (output == 0)
        for reason, mask in ((NEGATIVE, negative), (NO_PROMPT, no_prompt), (NO_OUTPUT, no_output)):
            if count := int(mask.sum()):
                self.dropped[reason] += count
        good = ~(negative | no_prompt | no_output)
        return block if good.all() else {field: values[good] for field, values in block.items()}


def split_cells(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line]))
    except (csv.Error, StopIteration):
        return []


def load_object(line: str) -> Any:
    """The JSON value of a line, or None. Endless digits and bottomless nesting are no values."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def odd_digits(line: str) -> bool:
    """Python reads 1_000 and digits of other scripts as numbers; a trace does not mean them so."""
    return "_" in line or not line.isascii()


def number(cell: Any, *, reason: str) -> float:
    if isinstance(cell, bool) or not isinstance(cell, (int, float, str)):
        raise _BadRowError(reason)
    if isinstance(cell, str) and odd_digits(cell.strip()):
        raise _BadRowError(reason)
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        raise _BadRowError(reason) from None
    return value


def token_count(cell: Any) -> int:
    value = number(cell, reason=MALFORMED)
    if not math.isfinite(value):
        raise _BadRowError(NOT_FINITE)
    if not value.is_integer() or value > MAX_TOKENS:
        raise _BadRowError(MALFORMED)
    return max(int(value), -1)  # how negative does not matter, and must fit


def number_stamp(cell: Any) -> float:
    value = number(cell, reason=BAD_STAMP)
    if not math.isfinite(value):
        raise _BadRowError(NOT_FINITE)
    if abs(value) >= MAX_STAMP:
        raise _BadRowError(BAD_STAMP)
    return value


def priority(cell: Any) -> float:
    """A class from 0 to 7; NaN where the cell is blank."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return math.nan
    value = number(cell, reason=MALFORMED)
    if math.isnan(value) or math.isinf(value):
        raise _BadRowError(NOT_FINITE)
    if not (value.is_integer() and 0 <= value <= MAX_PRIORITY):
        raise _BadRowError(MALFORMED)
    return value


def limit_s(cell: Any) -> float:
    """Patience or deadline in seconds, above 0, perhaps infinite; NaN where the cell is blank."""
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return math.nan
    value = number(cell, reason=MALFORMED)
    if math.isnan(value):
        raise _BadRowError(NOT_FINITE)
    if value <= 0:
        raise _BadRowError(MALFORMED)
    return value


def block_hashes(cell: Any) -> list[int]:
    if isinstance(cell, str):
        cell = load_object(cell) if cell.strip() else None
        if cell is None:
            raise _BadRowError(MALFORMED)
    if cell is None:
        return []
    if not isinstance(cell, list) or not set(map(type, cell)) <= {int}:
        raise _BadRowError(MALFORMED)
    return cell


def objects(values: list[Any]) -> NDArray[Any]:
    return np.fromiter(values, dtype=object, count=len(values))


_REST = re.compile(r"(?:\.([0-9]{1,12}))?\s*(?:(Z|z)|([+-])([0-9]{2}):?([0-9]{2}))?\s*")
_SHAPE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}")


def ticks_of(cell: Any, seconds: dict[str, int]) -> int:
    """`2023-11-16 18:15:46.6805900` as 100 ns ticks since the year 1, exactly; digits beyond the seventh are
    cut.

    A zone (`Z`, `+00:00`) is applied; without one the time is taken as UTC. `seconds` remembers whole
    seconds: in a trace they repeat.
    """
    if not isinstance(cell, str):
        raise _BadRowError(BAD_STAMP)
    text = cell.strip()
    whole = seconds.get(text[:19])
    if whole is None:
        whole = seconds[text[:19]] = _whole_second(text[:19])
    if len(text) == 27 and text[19] == "." and (digits := text[20:]).isascii() and digits.isdigit():
        return whole + int(digits)
    match = _REST.fullmatch(text, 19)
    if match is None:
        raise _BadRowError(BAD_STAMP)
    fraction, _, sign, hours, minutes = match.groups()
    ticks = whole + int(((fraction or "") + "0000000")[:7])
    if sign:
        offset = (int(hours) * 60 + int(minutes)) * 60 * TICKS_PER_S
        ticks += -offset if sign == "+" else offset
    return ticks


def _whole_second(text: str) -> int:
    if _SHAPE.fullmatch(text) is None:
        raise _BadRowError(BAD_STAMP)
    hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
    if hour > 23 or minute > 59 or second > 59:
        raise _BadRowError(BAD_STAMP)
    try:
        day = date(int(text[:4]), int(text[5:7]), int(text[8:10])).toordinal()
    except ValueError:
        raise _BadRowError(BAD_STAMP) from None
    return (((day * 24 + hour) * 60 + minute) * 60 + second) * TICKS_PER_S
