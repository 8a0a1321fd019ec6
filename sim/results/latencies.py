"""Latencies of a run: their distributions, and which requests met the SLO.

Only requests that completed and arrived after the warm-up count. With a fleet and no limits of the scenario's own, each
request has those of its task.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.kernels.state import COMPLETED
from sim.results.outcome import Outcome
from sim.results.parts import Bools, Floats, column, parts
from sim.results.verdict import Attainment

__all__ = ["LATENCIES", "Latencies", "distribution", "latency_of", "ratio"]

LATENCIES = ("ttft_s", "tpot_s", "e2e_s", "queue_s")
_LIMITS = LATENCIES[:3]


def ratio(part: float, whole: float) -> float | None:
    """part / whole, None when there is no whole."""
    return float(part) / float(whole) if whole > 0 else None


def latency_of(name: str, r: NDArray[Any], rows: Any) -> Floats:
    """One latency of chosen requests, in seconds; NaN for what a request does not have."""
    if name == "ttft_s":
        return np.asarray(r["first_token"][rows] - r["arrival"][rows])
    if name == "e2e_s":
        return np.asarray(r["finish"][rows] - r["arrival"][rows])
    if name == "queue_s":
        return np.asarray(r["scheduled"][rows] - r["arrival"][rows])
    more = r["output"][rows] - 1
    seconds = r["finish"][rows] - r["first_token"][rows]
    return np.asarray(np.where(more > 0, seconds / np.maximum(more, 1), np.nan))


def distribution(values: Floats, points: tuple[int, ...], *, mean: bool = True) -> dict[str, float] | None:
    """Mean and percentiles; None when there are no values. Puts `values` in another order."""
    if len(values) == 0:
        return None
    table = {"mean": float(values.mean())} if mean else {}
    found = np.percentile(values, points, overwrite_input=True)
    return table | {f"p{p}": float(point) for p, point in zip(points, found, strict=True)}


class Latencies:
    """Who counts, who met which limit, and the latencies themselves."""

    def __init__(self, outcome: Outcome) -> None:
        plane, slo = outcome.plane, outcome.slo
        self._requests = plane.requests
        count = len(plane.requests)
        self.measured: Bools = np.asarray(plane.requests["arrival"] >= outcome.warmup_s)
        self.counted: Bools = self.measured & (plane.requests["status"] == COMPLETED)
        self.good: Bools = self.counted.copy()
        """Completed within every limit."""
        self._met: dict[str, Bools] = {}
        self.by_task = plane.fleet is not None and not slo.given
        limits: dict[str, Any] = {name: getattr(slo, name) for name in _LIMITS}
        if self.by_task and plane.fleet is not None:
            tables = {name: np.array([getattr(task, f"slo_{name}") for task in plane.fleet.tasks]) for name in _LIMITS}
            limits = {name: table if np.isfinite(table).any() else None for name, table in tables.items()}
        self.given = any(limit is not None for limit in limits.values())
        for name, limit in limits.items():
            if limit is None:
                continue
            met = self._met[name] = np.zeros(count, np.bool_)
            for part in parts(count):
                most = limit[plane.trips["task"][part]] if self.by_task else limit
                seconds = latency_of(name, plane.requests[part], slice(None))
                met[part] = self.counted[part] & ((seconds <= most) | (np.isnan(seconds) & (name == "tpot_s")))
            self.good &= met

    def values(self, name: str, dtype: type[np.floating[Any]] = np.float64) -> Floats:
        """A latency of every request that counts, in order of id; NaN for what it does not have."""
        return column(self.counted, lambda part, rows: latency_of(name, self._requests[part], rows), dtype)

    def tables(self, points: tuple[int, ...]) -> dict[str, dict[str, float] | None]:
        """The distributions of all latencies."""
        tables = {}
        for name in LATENCIES:
            values = self.values(name)
            tables[name] = distribution(values[~np.isnan(values)] if np.isnan(values).any() else values, points)
        return tables

    def attainment(self, among: Bools | None = None) -> Attainment:
        """Of the measured requests `among` which, the share that met the limits; lost ones are misses."""
        asked = int(np.count_nonzero(self.measured if among is None else self.measured & among))
        if not self.given:
            return Attainment(None, {})

        def share(met: Bools) -> float | None:
            return ratio(int(np.count_nonzero(met if among is None else met & among)), asked)

        return Attainment(share(self.good), {name: share(met) for name, met in self._met.items()})
