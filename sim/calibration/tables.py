"""Tables of published measurements: reading them, telling their layout, refusing what cannot be meant.

    device    one request on one device: prefill_tok_s, decode_tok_s, ttft_s
    serving   a server under load: ttft_ms, tpot_ms

`Table.inputs` holds the input columns alone, so that whatever predicts from it cannot see a measured or derived one.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from profiles import UserError, did_you_mean

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


_DEVICE_INPUTS = "model params_b quantization device soc runtime accelerator prompt_len context_len"
_SERVING_INPUTS = "model active_b total_b precision gpu n_gpus parallel engine scenario isl osl concurrency_or_batch"
DEVICE = Layout(
    name="device",
    inputs=tuple(_DEVICE_INPUTS.split()),
    plausible={"decode_tok_s": (0.05, 5e3), "prefill_tok_s": (0.5, 2e5), "ttft_s": (1e-3, 200.0)},
)
SERVING = Layout(
    name="serving",
    inputs=tuple(_SERVING_INPUTS.split()),
    plausible={"ttft_ms": (3.0, 1e6), "tpot_ms": (0.5, 5e3)},
)
LAYOUTS = (DEVICE, SERVING)
_EMPTY = {"", "nan", "na", "n/a", "none", "null", "-"}


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
    """A CSV in one of the two layouts, told apart by its columns.

    Raises `UserError` for a file that cannot be read, is of no layout or of both, lacks columns, has other units, or
    holds numbers that no measurement can give; the message names row and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            layout = _layout(path, list(reader.fieldnames or ()))
            rows = list(_rows(path, reader))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a CSV", got=str(error)) from None
    if not rows:
        raise UserError(f"{path}: holds no rows of measurements", got="0 rows")
    measured = tuple(
        {column: value for column in layout.measured if (value := _value(path, number, column, row)) is not None}
        for number, row in enumerate(rows)
    )
    if not any(measured):
        raise UserError(f"{path}: no row holds a measurement", allowed=", ".join(layout.measured))
    _check_units(path, layout, measured)
    return Table(
        layout=layout,
        inputs=tuple({column: row[column].strip() for column in layout.inputs} for row in rows),
        measured=measured,
        sources=tuple(row.get("source", "").strip() for row in rows),
    )


def _layout(path: Path, columns: Sequence[str]) -> Layout:
    own = {layout.name: set(layout.inputs) | set(layout.measured) for layout in LAYOUTS}
    only = {
        layout.name: sorted((own[layout.name] - set().union(*(own[o] for o in own if o != layout.name))) & set(columns))
        for layout in LAYOUTS
    }
    strong = [layout for layout in LAYOUTS if len(only[layout.name]) >= 2]
    if len(strong) > 1:
        got = "; ".join(f"{layout.name}: {', '.join(only[layout.name][:4])}" for layout in strong)
        raise UserError(f"{path}: two layouts are mixed", got=got, next_step="give one file for each")
    if not strong:
        allowed = "; ".join(f"{layout.name}: {', '.join((*layout.inputs, *layout.measured))}" for layout in LAYOUTS)
        raise UserError(f"{path}: no known layout", got=", ".join(columns)[:200] or "no header", allowed=allowed)
    layout = strong[0]
    missing = [column for column in layout.inputs if column not in columns]
    if missing:
        near = did_you_mean(missing[0], columns)
        raise UserError(
            f"{path}: columns are missing for the {layout.name} layout", got=", ".join(missing), next_step=near
        )
    _check_unit_names(path, layout, columns)
    return layout


def _check_unit_names(path: Path, layout: Layout, columns: Sequence[str]) -> None:
    """A column that measures the right thing in another unit."""
    for column in layout.measured:
        stem = column.split("_")[0]
        others = [one for one in columns if one.split("_")[0] == stem and one not in layout.measured]
        if column not in columns and others:
            raise UserError(
                f"{path}: another unit than the {layout.name} layout has",
                got=others[0],
                allowed=column,
                next_step="convert the column and rename it",
            )
    if not set(layout.measured) & set(columns):
        raise UserError(f"{path}: no measured column", allowed=" or ".join(layout.measured))


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[Row]:
    for number, row in enumerate(reader):
        if None in row or None in row.values():
            raise UserError(f"{path}, row {number}: not as many cells as columns", next_step="check quotes and commas")
        yield row


def _value(path: Path, number: int, column: str, row: Row) -> float | None:
    text = row.get(column, "").strip()
    if text.lower() in _EMPTY:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UserError(
            f"{path}, row {number}: {column} must be a number above 0", got=text, next_step="or leave it empty"
        )
    return value


def _check_units(path: Path, layout: Layout, measured: Sequence[Mapping[str, float]]) -> None:
    for column, (least, most) in layout.plausible.items():
        values = [row[column] for row in measured if column in row]
        if values and not least <= (middle := median(values)) <= most:
            raise UserError(
                f"{path}: {column} does not look like its unit",
                got=f"a median of {middle:g}",
                allowed=f"{least:g} to {most:g}",
                next_step="the unit is in the column's name: convert the values",
            )
