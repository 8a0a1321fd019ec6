"""Fitted coefficients as profiles: one YAML file per runtime and kind of engine, and one per engine for any runtime.

    write(Path("my-profiles"), catalogue, device_rows())

A folder of profiles that holds them goes before what ships, as every profile of a user does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from profiles import Catalogue
from profiles.near_runtime import ANY_FAMILY
from profiles.soc import EngineKind
from sim.calibration.near_case import Row
from sim.calibration.near_cells import measured
from sim.calibration.near_fit import Fit, HeldOut, fit, leave_one_model_out, predicted_s
from sim.calibration.near_levels import METRICS, TABLES, Metric, Slot, coefficients_of

__all__ = ["records", "write"]

_DIGITS = 5
_BAND = 0.9
_SOURCE = "fitted to the published measurements of profiles/data/measurements/device.csv, each with its source there"
_ENGINES: tuple[EngineKind, ...] = ("npu", "gpu", "cpu")


def write(folder: Path, catalogue: Catalogue, rows: Iterable[Row]) -> tuple[Path, ...]:
    """Fit the rows and write every record into a folder, made if missing; the files that were written.

    Files of runtimes that have no rows any more are left alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    cells = measured(catalogue, rows)
    for data in records(fit(cells), leave_one_model_out(cells)):
        path = folder / f"{data['name']}.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=118), encoding="utf-8")
        written.append(path)
    return tuple(written)


def records(fitted: Fit, held_out: Sequence[HeldOut]) -> list[dict[str, Any]]:
    """The records of a fit, as mappings; errors are those of all cells, left out of the fit or not."""
    cases = [one.cell.case for one in held_out]
    families = sorted({(case.family, case.engine) for case in cases} - {(ANY_FAMILY, e) for e in _ENGINES})
    general: list[tuple[str, EngineKind]] = [(ANY_FAMILY, engine) for engine in _ENGINES]
    return [_record(fitted, held_out, *one) for one in [*general, *families]]


def _record(fitted: Fit, held_out: Sequence[HeldOut], family: str, engine: EngineKind) -> dict[str, Any]:
    runtime = "any-runtime" if family == ANY_FAMILY else family
    name = runtime if runtime.endswith(f"-{engine}") else f"{runtime}-on-{engine}"
    return {
        "kind": "near-runtime",
        "name": name,
        "source": _SOURCE,
        "confidence": "fitted",
        "family": family,
        "engine": engine,
        **{metric: _times(fitted, held_out, family, engine, metric) for metric in METRICS},
    }


def _times(fitted: Fit, held_out: Sequence[HeldOut], family: str, engine: EngineKind, metric: Metric) -> dict[str, Any]:
    of_engine = [one for one in held_out if one.cell.case.engine == engine and one.cell.metric == metric]
    mine = [one for one in of_engine if family in (ANY_FAMILY, one.cell.case.family)]
    times: dict[str, Any] = {"points": sum(not one.cell.left_out for one in mine)}
    if mine:
        times["error"] = _rounded(np.median([one.cell.error(predicted_s(fitted, one.cell)) for one in mine]))
        times["held_out_error"] = _rounded(np.median([one.error for one in mine]))
        times["band"] = _rounded(np.quantile([one.error for one in mine], _BAND))
    for table in TABLES:
        if factors := _factors(fitted, Slot(family, engine, table, ""), metric):
            times[table] = factors
    return times


def _factors(fitted: Fit, place: Slot, metric: Metric) -> Mapping[str, float]:
    """The numbers of one table, sorted by key; of a general level every coefficient, with rows or without."""
    slots = {slot for slot in fitted.logs[metric] if slot[:3] == place[:3]}
    if place.family == ANY_FAMILY and place.table == "coefficients":
        slots |= {place._replace(key=name) for name in coefficients_of(metric, place.engine)}
    numbers = {slot.key: fitted.value(metric, slot) for slot in sorted(slots)}
    return {key: _rounded(number) for key, number in numbers.items() if number is not None}


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
