"""The figures of docs/accuracy.md: every published measurement with its predictions, in sample and held out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from profiles import Catalogue
from sim.calibration.near_cells import Cell as NearCell
from sim.calibration.near_cells import device_rows, left_out, measured, value_of
from sim.calibration.near_fit import fit, leave_one_model_out, predicted_s
from sim.calibration.serving_held_out import SERVING_FACTS, fitting_rows
from sim.calibration.serving_held_out import held_out as held_out_rows
from sim.calibration.serving_held_out import leave_one_model_out as leave_one_served_model_out
from sim.calibration.serving_records import FittedRows
from sim.calibration.tables import read_table
from sim.numbers import Floats
from sim.validation import Validation

__all__ = ["HeldOut", "Point", "errors", "held_out", "left_out_rows", "points", "quantiles"]

Place = tuple[str, int, str]  # table, row, column of a measured cell
HeldOut = Mapping[Place, float]
"""Predictions, in the unit of the column, by cell."""

_FOLDS, _SEED = 4, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One predicted cell. Values are tokens/s, or milliseconds."""

    place: Place
    metric: str
    group: str
    """Runtime, accelerator and precision of a server; chip and kind of engine of a device."""
    family: str
    """The runtime, without its backend."""
    model: str
    confidence: str
    measured: float
    predicted: float


def points(validation: Validation, catalogue: Catalogue) -> list[Point]:
    """The predicted cells of the shipped tables, in order."""
    cases = {(cell.row, cell.column): cell for cell in measured(catalogue, device_rows())}
    found = []
    for cell in validation.covered:
        assert cell.predicted is not None
        known = cases[cell.row, cell.column] if cell.table == "device" else None  # type: ignore[index]
        unit = 1e3 if cell.column == "ttft_s" else 1.0
        found.append(
            Point(
                place=(cell.table, cell.row, cell.column),
                metric=cell.metric,
                group=f"{known.case.soc.name} {known.case.engine}" if known else cell.group,
                family=_family(known.case.family if known else cell.group.split()[0]),
                model=known.case.model.name if known else cell.model,
                confidence=cell.confidence,
                measured=cell.measured * unit,
                predicted=cell.predicted * unit,
            )
        )
    return found


def _family(name: str) -> str:
    return "any runtime" if name == "*" else re.sub(r"-(?!mac\b).*", "", name)


def errors(chosen: Iterable[Point], instead: HeldOut | None = None) -> list[float]:
    """|predicted / measured - 1| of points; with other predictions, of the points that these have."""
    if instead is None:
        return [abs(point.predicted / point.measured - 1.0) for point in chosen]
    return [abs(instead[p.place] / p.measured - 1.0) for p in chosen if p.place in instead]


def quantiles(found: Sequence[float]) -> tuple[float, float]:
    """Median and 90th percentile."""
    return float(np.median(found)), float(np.quantile(found, 0.9))


def held_out(catalogue: Catalogue) -> tuple[HeldOut, HeldOut]:
    """Predictions by fits without the cell's model, and by fits without a quarter of the rows, drawn at random."""
    near = measured(catalogue, device_rows())
    table = read_table(SERVING_FACTS)
    numbered = replace(table, sources=tuple(str(number) for number in range(len(table.sources))))
    served = fitting_rows(numbered, catalogue).data
    without_model = {_place(one.cell): _value(one.cell, one.seconds) for one in leave_one_model_out(near)}
    without_model |= _by_place(served, *leave_one_served_model_out(served))
    return without_model, _near_quarters(near) | _served_quarters(served)


def _place(cell: NearCell) -> Place:
    return "device", cell.row, cell.column


def _value(cell: NearCell, seconds: float) -> float:
    return value_of(cell.column, cell.case, seconds) * (1e3 if cell.column == "ttft_s" else 1.0)


def _by_place(served: FittedRows, tpot_s: Floats, ttft_s: Floats) -> dict[Place, float]:
    found: dict[Place, float] = {}
    for source, tpot, ttft in zip(served.sources, tpot_s, ttft_s, strict=True):
        found["serving", int(source), "tpot_ms"] = float(tpot) * 1e3
        found["serving", int(source), "ttft_ms"] = float(ttft) * 1e3
    return found


def _folds(rows: Sequence[int]) -> Mapping[int, int]:
    order = np.random.default_rng(_SEED).permutation(sorted(set(rows))).tolist()
    return {row: place % _FOLDS for place, row in enumerate(order)}


def _near_quarters(cells: Sequence[NearCell]) -> dict[Place, float]:
    fold_of = _folds([cell.row for cell in cells])
    whole = fit(cells)
    found: dict[Place, float] = {}
    for fold in range(_FOLDS):
        again = fit([cell for cell in cells if fold_of[cell.row] != fold], whole)
        mine = [cell for cell in cells if fold_of[cell.row] == fold]
        found |= {_place(cell): _value(cell, predicted_s(again, cell)) for cell in mine}
    return found


def _served_quarters(served: FittedRows) -> dict[Place, float]:
    fold_of = _folds(range(len(served.rows)))
    return _by_place(served, *held_out_rows(served, [f"quarter {fold_of[row]}" for row in range(len(served.rows))]))


def left_out_rows(catalogue: Catalogue) -> list[tuple[str, str, int]]:
    """Table, reason and number of the rows that no fit sees, most first."""
    near = Counter(reason for row in device_rows() if (reason := left_out(row)))
    served = Counter(fitting_rows(read_table(SERVING_FACTS), catalogue).left_out)
    return [
        (table, reason, count)
        for table, counts in (("devices", near), ("servers", served))
        for reason, count in counts.most_common()
    ]
