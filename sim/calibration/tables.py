"""Tables of published measurements: reading them, telling their layout, refusing what cannot be meant.

    device    one request on one device: prefill_tok_s, decode_tok_s, ttft_s
    serving   a server under load: ttft_ms, tpot_ms

`Table.inputs` holds the input columns alone, so that whatever predicts from it cannot see a measured or derived one.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from profiles import UserError, did_you_mean
from sim.calibration import near_case, serving_inputs

__all__ = ["DEVICE", "LAYOUTS", "SERVING", "Layout", "Table", "read_table"]

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of one kind of table. `plausible` bounds the median of a measured column, in its own unit."""

    name: str
    inputs: tuple[str, ...]
    plausible: Mapping[str, tuple[float, float]]

    @property
    def measured(self) -> tuple[str, ...]:
        """Columns that hold what was measured."""
        return tuple(self.plausible)


DEVICE = Layout(
    name="device",
    inputs=near_case.INPUTS,
    plausible={"decode_tok_s": (0.05, 5e3), "prefill_tok_s": (0.5, 2e5), "ttft_s": (1e-3, 200.0)},
)
SERVING = Layout(
    name="serving",
    inputs=serving_inputs.INPUTS,
    plausible={"ttft_ms": (3.0, 1e6), "tpot_ms": (0.5, 5e3)},
)
LAYOUTS = (DEVICE, SERVING)
_EMPTY = {"", "nan", "na", "n/a", "none", "null", "-"}
# Words after the stem of a measured column's name that say a unit, or which value of several.
_UNIT_WORDS = re.compile(r"(_(tok|tokens?|per|[mun]?s|secs?|seconds?|milliseconds|tps|min|mean|avg|median|p50))*")
_ABSURD = 1e3  # how far beyond the bounds of a median a single value is refused
_PAIRS = (0.05, 20.0)  # bounds of the median of what two measured columns of a device say about one time
_STEPS = (0.2, 5e4)  # bounds of the median of TTFT by TPOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a file that were read, in order. `measured` has a value by column for the cells that hold one."""

    layout: Layout
    inputs: tuple[Row, ...]
    measured: tuple[Mapping[str, float], ...]
    sources: tuple[str, ...]

    @property
    def cells(self) -> int:
        """Measured cells."""
        return sum(len(row) for row in self.measured)


def read_table(path: Path) -> Table:
    """A CSV in one of the two layouts, told apart by its columns. Blank lines are no rows.

    Raises `UserError` for a file that cannot be read, is of no layout or of both, lacks columns, has other units, or
    holds numbers that no measurement can give; the message names row (from 0) and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = (line for line in csv.reader(file, strict=True) if line)
            columns = [name.strip() for name in next(lines, ())]
            layout = _layout(path, columns)
            rows = list(_rows(path, columns, lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        step = "give plain text in UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        raise UserError(f"{path}: cannot be read as a CSV", got=str(error), next_step=step) from None
    if not rows:
        raise UserError(f"{path}: holds no rows of measurements", got="0 rows")
    measured = tuple(
        {column: value for column in layout.measured if (value := _value(path, number, layout, column, row))}
        for number, row in enumerate(rows)
    )
    if not any(measured):
        raise UserError(f"{path}: no row holds a measurement", allowed=", ".join(layout.measured))
    table = Table(
        layout=layout,
        inputs=tuple({column: row[column].strip() for column in layout.inputs} for row in rows),
        measured=measured,
        sources=tuple(row.get("source", "").strip() for row in rows),
    )
    _check_units(path, table)
    return table


def _layout(path: Path, columns: Sequence[str]) -> Layout:
    if not columns:
        raise UserError(f"{path}: is empty", next_step="its first line names the columns")
    own = {layout.name: set(layout.inputs) | set(layout.measured) for layout in LAYOUTS}
    only = {
        layout.name: sorted((own[layout.name] - set().union(*(own[o] for o in own if o != layout.name))) & set(columns))
        for layout in LAYOUTS
    }
    strong = [layout for layout in LAYOUTS if len(only[layout.name]) >= 2]
    if len(strong) > 1:
        got = "; ".join(f"{layout.name}: {', '.join(only[layout.name][:2])}" for layout in strong)
        raise UserError(f"{path}: two layouts are mixed", got=got, next_step="give one file for each")
    if not strong:
        allowed = "; ".join(f"{layout.name}: {', '.join((*layout.inputs, *layout.measured))}" for layout in LAYOUTS)
        raise UserError(f"{path}: no known layout", got=", ".join(columns), allowed=allowed)
    _check_columns(path, strong[0], columns)
    return strong[0]


def _check_columns(path: Path, layout: Layout, columns: Sequence[str]) -> None:
    counts = Counter(columns)
    if twice := [column for column in (*layout.inputs, *layout.measured, "source") if counts[column] > 1]:
        raise UserError(f"{path}: a column is there more than once", got=", ".join(twice))
    if missing := [column for column in layout.inputs if column not in columns]:
        near = did_you_mean(missing[0], set(columns) - set(layout.inputs))
        raise UserError(
            f"{path}: columns are missing for the {layout.name} layout: {', '.join(missing)}", next_step=near
        )
    _check_unit_names(path, layout, columns)
    if not set(layout.measured) & set(columns):
        raise UserError(f"{path}: no measured column", allowed=" or ".join(layout.measured))


def _check_unit_names(path: Path, layout: Layout, columns: Sequence[str]) -> None:
    """A column that measures the right thing in another unit."""
    for column in set(layout.measured) - set(columns):
        stem = column.split("_")[0]
        others = [one for one in columns if re.fullmatch(stem + _UNIT_WORDS.pattern, one.lower())]
        if others:
            raise UserError(
                f"{path}: another unit or name than the {layout.name} layout has",
                got=others[0],
                allowed=column,
                next_step="convert the column and rename it",
            )


def _rows(path: Path, columns: Sequence[str], lines: Iterator[list[str]]) -> Iterator[Row]:
    for number, line in enumerate(lines):
        if len(line) != len(columns):
            raise UserError(
                f"{path}, row {number}: not as many cells as columns",
                got=len(line),
                allowed=str(len(columns)),
                next_step="check quotes and commas",
            )
        yield dict(zip(columns, line, strict=True))


def _value(path: Path, number: int, layout: Layout, column: str, row: Row) -> float | None:
    text = row.get(column, "").strip()
    if text.lower() in _EMPTY:
        return None
    value = _number(text)
    least, most = (
        bound * factor for bound, factor in zip(layout.plausible[column], (1 / _ABSURD, _ABSURD), strict=True)
    )
    if value > 0 and not least <= value <= most:
        raise UserError(
            f"{path}, row {number}: no measurement gives this {column}", got=text, allowed=f"{least:g} to {most:g}"
        )
    if not value > 0:
        raise UserError(
            f"{path}, row {number}: {column} must be a number above 0", got=text, next_step="or leave it empty"
        )
    return value


def _number(text: str) -> float:
    """The number of a cell; NaN for a text, and for what is not finite."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _check_units(path: Path, table: Table) -> None:
    for column, (least, most) in table.layout.plausible.items():
        values = [row[column] for row in table.measured if column in row]
        _check_median(path, f"{column} does not look like its unit", values, least, most)
    steps = [row["ttft_ms"] / row["tpot_ms"] for row in table.measured if {"ttft_ms", "tpot_ms"} <= row.keys()]
    _check_median(path, "ttft_ms by tpot_ms does not look as if both were in ms", steps, *_STEPS)
    pairs = [
        row["ttft_s"] * row["prefill_tok_s"] / tokens
        for inputs, row in zip(table.inputs, table.measured, strict=True)
        if {"ttft_s", "prefill_tok_s"} <= row.keys() and (tokens := _number(inputs["prompt_len"])) > 0
    ]
    _check_median(path, "ttft_s x prefill_tok_s does not look like prompt_len: other units?", pairs, *_PAIRS)


def _check_median(path: Path, what: str, values: Sequence[float], least: float, most: float) -> None:
    if values and not least <= (middle := median(values)) <= most:
        raise UserError(
            f"{path}: {what}",
            got=f"a median of {middle:g}",
            allowed=f"{least:g} to {most:g}",
            next_step="the unit is in the column's name: convert the values",
        )
