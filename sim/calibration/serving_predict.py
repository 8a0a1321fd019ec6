"""TTFT and TPOT of the rows of a serving table, from the engine records of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from profiles import Catalogue, Confidence, EngineCoefficients, weakest
from sim.calibration.closed_loop import cases_of, predict
from sim.calibration.serving_inputs import Served, UncoveredError, served

__all__ = ["ServingPrediction", "predict_serving"]

_NO_EFFECTS = {"request_ms": 0.0, "burst_share": 0.0, "slot_share": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPrediction:
    """What is predicted for one row; nothing, with a reason, for a row whose inputs do not tell what was run."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    confidence: Confidence | None = None
    group: str = ""
    """Runtime, accelerator and precision."""
    model: str = ""
    assumed: tuple[str, ...] = ()
    reason: str = ""


def predict_serving(catalogue: Catalogue, rows: Sequence[Mapping[str, str]]) -> list[ServingPrediction]:
    """A prediction for each row, in order. Reads the columns of `serving_inputs.INPUTS` only."""
    found: list[ServingPrediction] = []
    known: list[tuple[int, Served]] = []
    for number, row in enumerate(rows):
        try:
            known.append((number, served(row, catalogue)))
            found.append(ServingPrediction())
        except UncoveredError as reason:
            found.append(ServingPrediction(reason=str(reason)))
    if known:
        resolved = [one for _, one in known]
        cases = cases_of(resolved)
        each = (one.tolist() for one in (*predict(cases, _coefficients(resolved)), cases.room))
        for (number, one), tpot_s, ttft_s, room in zip(known, *each, strict=True):
            found[number] = _prediction(one, tpot_s, ttft_s, room)
    return found


def _prediction(row: Served, tpot_s: float, ttft_s: float, room: float) -> ServingPrediction:
    d = row.deployment
    assumed = row.assumed if d.engine.serving else (*row.assumed, f"engine {d.engine.name}: no client effects")
    return ServingPrediction(
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        confidence=_confidence(row, room),
        group=f"{row.runtime} {d.accelerator.name} {d.precision}",
        model=d.model.name,
        assumed=assumed,
    )


def _confidence(row: Served, room: float) -> Confidence:
    """How far to trust a row's prediction: no further than its deployment, its engine's version, and its memory."""
    levels: list[Confidence] = [row.deployment.confidence]
    if row.deployment.engine.versions:  # none of them is the row's
        levels.append("interpolated")
    if not row.version or room < 1.0:  # another engine, or weights that do not fit
        levels.append("assumed")
    return weakest(levels)


def _coefficients(rows: Sequence[Served]) -> SimpleNamespace:
    """The numbers of the rows' engine records and of their effects on clients, arrays of (rows)."""
    engines = [row.deployment.engine for row in rows]
    numbers = [name for name in EngineCoefficients.fact_fields() if isinstance(getattr(engines[0], name), int | float)]
    found = {name: np.array([getattr(one, name) for one in engines], float) for name in numbers}
    for name, none in _NO_EFFECTS.items():
        found[name] = np.array([getattr(one.serving, name) if one.serving else none for one in engines], float)
    return SimpleNamespace(**found)
