"""Measured cells: what the shipped tables of measurements say, and what a prediction has to be held against.

    rows = device_rows()               the measurements that ship, as they were published
    cells = measured(catalogue, rows)  one per rate or time that was measured and can be predicted

The column `left_out` says which rows a fit does not see, and why; they are predicted, and count, like the others.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import profiles
from profiles import Catalogue
from sim.calibration.near_case import NearCase, Row, case_of
from sim.calibration.near_levels import Metric

__all__ = ["COLUMNS", "Cell", "Column", "device_rows", "left_out", "measured", "value_of"]

Column = Literal["decode_tok_s", "prefill_tok_s", "ttft_s"]
COLUMNS: tuple[Column, ...] = ("decode_tok_s", "prefill_tok_s", "ttft_s")
"""What is measured; predictions never read them."""

_FILE = Path(profiles.__file__).parent / "data" / "measurements" / "device.csv"
_TWICE = 0.7  # weight of a prompt's rate and time to first token where a row has both


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One measured figure of one row."""

    row: int
    """Which row, from 0."""
    model: str
    """As the row writes it, without what stands in parentheses."""
    case: NearCase
    column: Column
    seconds: float
    """The time that it stands for: of a token, or of the prompt."""
    weight: float
    left_out: str
    """Why the fit does not see it; empty when it does."""

    @property
    def metric(self) -> Metric:
        """Which time it tells about."""
        return "decode" if self.column == "decode_tok_s" else "prefill"

    @property
    def measured(self) -> float:
        """The figure itself: tokens/s, or seconds."""
        return value_of(self.column, self.case, self.seconds)

    def error(self, seconds: float) -> float:
        """|predicted / measured - 1| of the figure, when its time is predicted to be `seconds`."""
        return abs(value_of(self.column, self.case, seconds) / self.measured - 1.0)


def value_of(column: Column, case: NearCase, seconds: float) -> float:
    """A time as the column writes it: seconds, or tokens/s."""
    if column == "ttft_s":
        return seconds
    return (1.0 if column == "decode_tok_s" else float(case.prompt_tokens)) / seconds


@lru_cache(maxsize=1)
def device_rows() -> tuple[Row, ...]:
    """The shipped measurements of devices; an empty cell is an empty text."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def left_out(row: Row) -> str:
    """Why a row is no part of the fit; empty when it is."""
    return str(row.get("left_out") or "")


def measured(catalogue: Catalogue, rows: Iterable[Row]) -> list[Cell]:
    """The cells of all rows that describe a case; rows that describe none have no cells."""
    return [
        cell for number, row in enumerate(rows) for cell in _cells(number, row, case_of(catalogue, row), _given(row))
    ]


def _given(row: Row) -> Sequence[Column]:
    return [column for column in COLUMNS if row.get(column) not in (None, "")]


def _cells(number: int, row: Row, case: NearCase | str, columns: Sequence[Column]) -> Iterable[Cell]:
    if isinstance(case, str):
        return
    twice = "prefill_tok_s" in columns and "ttft_s" in columns
    for column in columns:
        figure = float(str(row[column]))
        yield Cell(
            row=number,
            model=str(row["model"]).split("(")[0].strip(),
            case=case,
            column=column,
            seconds=value_of(column, case, figure),
            weight=_TWICE if twice and column != "decode_tok_s" else 1.0,
            left_out=left_out(row),
        )
