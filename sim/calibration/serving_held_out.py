"""The shipped serving measurements: which of them coefficients are fitted to, and what a fit is worth without a model.

python -m sim.calibration.serving_held_out          fit again, write the engine records, print errors
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from profiles import Catalogue
from profiles.files import DATA
from sim.calibration.closed_loop import cases_of
from sim.calibration.serving_fit import fit_serving
from sim.calibration.serving_inputs import Served, UncoveredError, served
from sim.calibration.serving_records import FittedRows
from sim.calibration.tables import Table
from sim.numbers import Floats

__all__ = ["SERVING_FACTS", "Selection", "errors_of", "fitting_rows", "held_out", "leave_one_model_out"]

SERVING_FACTS = DATA / "measurements" / "serving.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The rows that are fitted, and how many were left out, by reason."""

    data: FittedRows
    left_out: Mapping[str, int]


def fitting_rows(table: Table, catalogue: Catalogue) -> Selection:
    """The rows of a serving table that coefficients can be fitted to."""
    rows: list[Served] = []
    measured: list[tuple[float, float]] = []
    sources: list[str] = []
    left_out: Counter[str] = Counter()
    for inputs, cells, source in zip(table.inputs, table.measured, table.sources, strict=True):
        if not cells:
            continue
        try:
            row = served(inputs, catalogue)
        except UncoveredError as reason:
            left_out[str(reason)] += 1
            continue
        if row.tokens_per_step > 1.0:
            left_out["speculative decoding: accepted lengths are not part of the inputs"] += 1
        elif float(cases_of([row]).room[0]) < 1.0:
            left_out["the stated accelerators cannot hold the weights"] += 1
        else:
            rows.append(row)
            measured.append((cells.get("tpot_ms", np.nan) / 1e3, cells.get("ttft_ms", np.nan) / 1e3))
            sources.append(source)
    tpot, ttft = np.array(measured).T
    return Selection(data=FittedRows(rows=rows, tpot_s=tpot, ttft_s=ttft, sources=sources), left_out=left_out)


def held_out(data: FittedRows, groups: Sequence[str]) -> tuple[Floats, Floats]:
    """TPOT and TTFT in seconds of every row, each predicted by a fit that saw no row of its group.

    Every fit starts from the priors: one that started from the fit to all rows would remember what it saw.
    """
    member = np.array(groups)
    tpot, ttft = np.empty(len(member)), np.empty(len(member))
    for number, group in enumerate(names := sorted(set(groups)), start=1):
        print(f"  without {group} ({number} of {len(names)})", file=sys.stderr)
        own, others = np.flatnonzero(member == group).tolist(), np.flatnonzero(member != group).tolist()
        again = fit_serving([data.rows[i] for i in others], data.tpot_s[others], data.ttft_s[others])
        tpot[own], ttft[own] = again.predict([data.rows[i] for i in own])
    return tpot, ttft


def leave_one_model_out(data: FittedRows) -> tuple[Floats, Floats]:
    """TPOT and TTFT in seconds of every row, each predicted by a fit that saw no row of its model."""
    return held_out(data, [row.deployment.model.name for row in data.rows])


def errors_of(predicted: Floats, measured: Floats) -> tuple[float, float]:
    """Median and 90th percentile of the absolute error, as shares of what was measured."""
    known = np.isfinite(measured)
    error = np.abs(predicted[known] / measured[known] - 1.0)
    return float(np.median(error)), float(np.quantile(error, 0.9))
