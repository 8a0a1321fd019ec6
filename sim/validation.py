"""Predicted against measured: how wrong the models are, cell by cell, on a table of published measurements.

    checked = validate_table(read_table(path), Catalogue())
    checked.to_json()["median_ape"]["overall"]["tpot_ms"]

A cell is one measured value. Its prediction is made from the row's input columns alone, and is missing where they do
not tell what was run: then the cell counts as uncovered, never as right.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from profiles import Catalogue, UserError
from profiles.files import DATA
from sim.calibration.near_cells import Column
from sim.calibration.near_predict import predict_near
from sim.calibration.serving_predict import predict_serving
from sim.calibration.tables import DEVICE, Table, read_table

__all__ = ["METRICS", "Cell", "Validation", "shipped_tables", "validate_file", "validate_shipped", "validate_table"]

METRICS = ("decode_tok_s", "prefill_tok_s", "tpot_ms", "ttft_ms")
_REPORTED = {"ttft_s": "ttft_ms"}  # columns whose errors count under another name; an error has no unit
_COLUMNS = ("row", "metric", "measured", "predicted", "confidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One measured value and what was predicted for it (None: uncovered, with a reason)."""

    table: str
    row: int
    column: str
    measured: float
    predicted: float | None
    confidence: str
    model: str
    group: str
    reason: str

    @property
    def metric(self) -> str:
        """The name that its error counts under."""
        return _REPORTED.get(self.column, self.column)

    @property
    def error(self) -> float:
        """|predicted / measured - 1|; NaN where nothing is predicted."""
        return abs(self.predicted / self.measured - 1.0) if self.predicted is not None else float("nan")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Every measured cell of one table or several."""

    cells: tuple[Cell, ...]

    @property
    def covered(self) -> tuple[Cell, ...]:
        """The cells with a prediction."""
        return tuple(cell for cell in self.cells if cell.predicted is not None)

    @property
    def coverage(self) -> float:
        """Predicted cells by measured cells."""
        return len(self.covered) / len(self.cells)

    @cached_property
    def uncovered(self) -> Mapping[str, int]:
        """Cells without a prediction, by reason."""
        return dict(Counter(cell.reason for cell in self.cells if cell.predicted is None).most_common())

    def quantile(self, share: float) -> dict[str, Any]:
        """A quantile of the errors, as fractions: overall and by group, by metric (None where nothing was measured)."""
        groups: dict[str, list[Cell]] = defaultdict(list)
        for cell in self.covered:
            groups[cell.group].append(cell)
        overall = _quantiles(self.covered, share)
        return {
            "overall": {metric: overall.get(metric) for metric in METRICS},
            "by_group": {group: _quantiles(groups[group], share) for group in sorted(groups)},
        }

    def to_json(self) -> dict[str, Any]:
        """The figures, without the cells."""
        counts = Counter(cell.metric for cell in self.cells)
        covered = Counter(cell.metric for cell in self.covered)
        return {
            "coverage": self.coverage,
            "cells": {metric: {"measured": counts[metric], "predicted": covered[metric]} for metric in METRICS},
            "median_ape": self.quantile(0.5),
            "p90_ape": self.quantile(0.9),
            "uncovered": dict(self.uncovered),
            "confidence": dict(Counter(cell.confidence for cell in self.covered)),
        }

    def write(self, folder: Path) -> Path:
        """Every cell as a line of `rows.csv` in a folder, made if missing. Several tables: a column says which."""
        several = len({cell.table for cell in self.cells}) > 1
        path = folder / "rows.csv"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            with part.open("w", encoding="utf-8", newline="") as file:
                lines = csv.writer(file, lineterminator="\n")
                lines.writerow(("table", *_COLUMNS) if several else _COLUMNS)
                for cell in self.cells:
                    predicted = "" if cell.predicted is None else f"{cell.predicted:.6g}"
                    line = (cell.row, cell.column, f"{cell.measured:g}", predicted, cell.confidence)
                    lines.writerow((cell.table, *line) if several else line)
            part.replace(path)
        except OSError as error:
            with suppress(OSError):
                path.with_suffix(".part").unlink(missing_ok=True)
            raise UserError("cannot write the rows", got=str(error), next_step="give another --out") from None
        return path


def _quantiles(cells: Iterable[Cell], share: float) -> dict[str, float]:
    errors: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        errors[cell.metric].append(cell.error)
    return {metric: float(np.quantile(errors[metric], share)) for metric in METRICS if metric in errors}


def shipped_tables() -> list[Path]:
    """The measurements that come with nearfar: one file for each layout, named after it."""
    return sorted((DATA / "measurements").glob("*.csv"))


def validate_shipped(catalogue: Catalogue) -> Validation:
    """All measurements that come with nearfar."""
    parts = [validate_file(path, catalogue) for path in shipped_tables()]
    return Validation(cells=tuple(cell for part in parts for cell in part.cells))


def validate_file(path: Path, catalogue: Catalogue) -> Validation:
    """The measurements of a CSV. Raises `UserError` for one that is no table of measurements."""
    return validate_table(read_table(path), catalogue)


def validate_table(table: Table, catalogue: Catalogue) -> Validation:
    """Predict every measured cell of a table from its inputs."""
    check = _device if table.layout is DEVICE else _serving
    return Validation(cells=tuple(check(table, catalogue)))


def _device(table: Table, catalogue: Catalogue) -> Iterator[Cell]:
    for number, (inputs, measured) in enumerate(zip(table.inputs, table.measured, strict=True)):
        if not measured:
            continue
        try:
            found = predict_near(catalogue, inputs)
        except UserError as error:
            raise UserError(f"row {number}: {error}") from None
        for column, value in measured.items():
            known = cast(Column, column)
            yield Cell(
                table=table.layout.name,
                row=number,
                column=column,
                measured=value,
                predicted=found.value(known),
                confidence=found.confidence.get(known, ""),
                model=inputs["model"],
                group=f"{inputs['soc']} {inputs['accelerator']} {inputs['runtime']}",
                reason=found.reason,
            )


def _serving(table: Table, catalogue: Catalogue) -> Iterator[Cell]:
    rows = [number for number, measured in enumerate(table.measured) if measured]
    for number, found in zip(rows, predict_serving(catalogue, [table.inputs[n] for n in rows]), strict=True):
        seconds = {"ttft_ms": found.ttft_s, "tpot_ms": found.tpot_s}
        for column, value in table.measured[number].items():
            predicted = seconds[column]
            yield Cell(
                table=table.layout.name,
                row=number,
                column=column,
                measured=value,
                predicted=None if predicted is None else predicted * 1e3,
                confidence=found.confidence or "",
                model=found.model or table.inputs[number]["model"],
                group=found.group,
                reason=found.reason,
            )
