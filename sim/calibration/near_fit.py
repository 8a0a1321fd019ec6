"""Fitting the coefficients of near times to measured cells.

    fitted = fit(cells)                          logarithms by slot, for both times
    errors = leave_one_model_out(cells)          every model predicted from the rows of the others

Every coefficient is the exponential of a normal deviation from the level above it, with a width that says how far
runtimes, chips, formats and series usually differ; measurements are normal around the prediction, with tails that grow
linearly (pseudo-Huber). The fit is the most probable set of deviations: few rows move a coefficient little, and a
chip or a runtime without rows has the general level. The widths were chosen so that held-out models and held-out rows
are predicted best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from profiles.near_runtime import ANY_FAMILY
from sim.calibration.near_cells import Cell
from sim.calibration.near_levels import COEFFICIENTS, METRICS, TIME, Metric, Slot, seconds, slots_of
from sim.calibration.near_times import Terms, decode_s, prefill_s, terms_of
from sim.numbers import Floats

__all__ = ["Fit", "HeldOut", "fit", "leave_one_model_out", "predicted_s"]

_START: Mapping[Metric, Mapping[str, Mapping[str, tuple[float, float]]]] = {
    "decode": {
        "layer_us": {"npu": (60.0, 1.0), "gpu": (60.0, 1.0), "cpu": (30.0, 1.0)},
        "read_efficiency": {"npu": (0.75, 0.15), "gpu": (0.7, 0.15), "cpu": (0.75, 0.2)},
        "cache_slowdown": {"npu": (1.5, 0.7), "gpu": (1.5, 0.7), "cpu": (1.5, 0.7)},
        "unpack_efficiency": {"cpu": (0.3, 0.7)},
    },
    "prefill": {
        "layer_us": {"npu": (300.0, 1.0), "gpu": (100.0, 1.0), "cpu": (100.0, 1.0)},
        "compute_efficiency": {"npu": (0.3, 1.0), "gpu": (0.3, 1.0), "cpu": (0.3, 1.0)},
        "attention_cost": {"npu": (2.0, 0.5), "gpu": (2.0, 0.5), "cpu": (2.0, 0.5)},
        "state_cost": {"npu": (100.0, 1.5), "gpu": (30.0, 1.5), "cpu": (5.0, 1.0)},
        "cache_slowdown": {"npu": (1.5, 0.7), "gpu": (1.0, 0.3), "cpu": (1.0, 0.3)},
    },
}
"""Expected value of a general coefficient, and how far its logarithm may be from there."""

_WIDTHS: Mapping[Metric, Mapping[str, float]] = {
    "decode": {
        "coefficient": 0.7, "time": 0.35, "soc": 0.4, "runtime and soc": 0.2, "precision": 0.3,
        "architecture": 0.2, "series": 0.1,
    },
    "prefill": {
        "coefficient": 0.2, "time": 0.3, "soc": 0.3, "runtime and soc": 0.4, "precision": 0.25,
        "architecture": 0.6, "series": 0.35,
    },
}  # fmt: skip
"""Usual deviation of a factor's logarithm, by level."""

_NOISE: Mapping[Metric, float] = {"decode": 0.08, "prefill": 0.09}
"""Usual deviation of a measurement's logarithm."""
_TAIL = 1.5  # deviations from which on an error counts linearly
_ROUNDS = 60
_DONE = 1e-5  # relative gain of a round that is not worth another
_SMALL = 1e-4


@dataclass(frozen=True, slots=True)
class Fit:
    """Logarithms by slot of both times; a slot without rows is not in it."""

    logs: Mapping[Metric, Mapping[Slot, float]]

    def value(self, metric: Metric, slot: Slot) -> float | None:
        """The number of a slot; for a general coefficient without rows its expected value."""
        found = self.logs[metric].get(slot)
        if found is not None:
            return math.exp(found)
        general = slot.family == ANY_FAMILY and slot.table == "coefficients"
        return _START[metric][slot.key][slot.engine][0] if general else None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A cell with its prediction."""

    cell: Cell
    seconds: float

    @property
    def error(self) -> float:
        """|predicted / measured - 1| of the figure."""
        return self.cell.error(self.seconds)


def fit(cells: Sequence[Cell], start: Fit | None = None, metrics: Sequence[Metric] = METRICS) -> Fit:
    """The most probable coefficients, given all cells that are not left out; `start` only saves rounds."""
    logs: dict[Metric, dict[Slot, float]] = {metric: {} for metric in METRICS}
    for metric in metrics:
        used = [cell for cell in cells if cell.metric == metric and not cell.left_out]
        logs[metric] = _Problem(used, metric).solved(start.logs[metric] if start else {}) if used else {}
    return Fit(logs)


def predicted_s(fitted: Fit, cell: Cell) -> float:
    """Seconds that a fit predicts for a cell."""
    return seconds(cell.case, cell.metric, lambda slot: fitted.value(cell.metric, slot))


def leave_one_model_out(cells: Sequence[Cell]) -> list[HeldOut]:
    """Every cell predicted by a fit that saw no row of its model, under whichever of its names."""
    whole = fit(cells)
    found = []
    for name in sorted({cell.case.model.name for cell in cells}):
        mine = [cell for cell in cells if cell.case.model.name == name]
        others = [cell for cell in cells if cell.case.model.name != name]
        without = fit(others, whole, sorted({cell.metric for cell in mine}))
        found += [HeldOut(cell, predicted_s(without, cell)) for cell in mine]
    return sorted(found, key=lambda one: (one.cell.row, one.cell.column))


def _prior(slot: Slot, metric: Metric) -> tuple[float, float]:
    """Expected value and width of a slot's logarithm."""
    if slot.family == ANY_FAMILY and slot.table == "coefficients":
        value, width = _START[metric][slot.key][slot.engine]
        return math.log(value), width
    if slot.table == "coefficients":
        return 0.0, _WIDTHS[metric]["time" if slot.key == TIME else "coefficient"]
    names = {"by_precision": "precision", "by_architecture": "architecture", "by_series": "series"}
    of_soc = "soc" if slot.family == ANY_FAMILY else "runtime and soc"
    return 0.0, _WIDTHS[metric][names.get(slot.table, of_soc)]


class _Problem:
    """One time's cells as arrays: `n` cells, `p` slots."""

    def __init__(self, cells: Sequence[Cell], metric: Metric) -> None:
        slots = [slots_of(cell.case, metric) for cell in cells]
        used = {slot for one in slots for some in (one.factors, *one.coefficients.values()) for slot in some}
        self._slots = sorted(used)
        place = {slot: i for i, slot in enumerate(self._slots)}
        priors = [_prior(slot, metric) for slot in self._slots]
        self._expected = np.array([value for value, _ in priors])
        self._widths = np.array([width for _, width in priors])
        self._factors = _incidence([[place[slot] for slot in one.factors] for one in slots], len(place))
        self._coefficients = {
            name: _incidence([[place[slot] for slot in one.coefficients.get(name, ())] for one in slots], len(place))
            for name in COEFFICIENTS[metric]
        }
        terms = [terms_of(cell.case) for cell in cells]
        self._terms = SimpleNamespace(
            **{name: np.array([getattr(one, name) for one in terms]) for name in Terms.__slots__}
        )
        self._formula = decode_s if metric == "decode" else prefill_s
        self._target = np.log([cell.seconds for cell in cells])
        self._weights = np.array([cell.weight for cell in cells])
        self._noise = _NOISE[metric]

    def solved(self, start: Mapping[Slot, float]) -> dict[Slot, float]:
        """Damped Gauss-Newton from `start`, or from what is expected."""
        at = np.array([start.get(slot, value) for slot, value in zip(self._slots, self._expected, strict=True)])
        error, slopes = self._linear(at)
        cost, damping = self._cost(at, error), 1e-3
        for _ in range(_ROUNDS):
            step = self._step(at, error, slopes, damping)
            error_there, slopes_there = self._linear(at + step)
            cost_there = self._cost(at + step, error_there)
            if cost_there > cost:
                damping *= 5.0
                continue
            gain, at = cost - cost_there, at + step
            error, slopes, cost, damping = error_there, slopes_there, cost_there, damping / 5.0
            if gain < _DONE * cost:
                break
        return {slot: float(value) for slot, value in zip(self._slots, at, strict=True)}

    def _linear(self, at: Floats) -> tuple[Floats, Floats]:
        """Errors of the logarithms (n), and their slopes (n x p)."""
        logs = {name: which @ at for name, which in self._coefficients.items()}
        base = self._base(logs)
        slopes = self._factors.copy()
        for name, which in self._coefficients.items():
            slope = (self._base(logs | {name: logs[name] + _SMALL}) - base) / _SMALL
            slopes += slope[:, None] * which
        return self._factors @ at + base - self._target, slopes

    def _base(self, logs: Mapping[str, Floats]) -> Floats:
        return np.log(self._formula(self._terms, {name: np.exp(value) for name, value in logs.items()}))  # type: ignore[no-any-return]

    def _cost(self, at: Floats, error: Floats) -> float:
        far = np.sqrt(1.0 + (error / self._noise / _TAIL) ** 2) - 1.0
        return float(2.0 * _TAIL**2 * (self._weights * far).sum() + (((at - self._expected) / self._widths) ** 2).sum())

    def _step(self, at: Floats, error: Floats, slopes: Floats, damping: float) -> Floats:
        weights = self._weights / self._noise**2 / np.sqrt(1.0 + (error / self._noise / _TAIL) ** 2)
        curvature = slopes.T @ (slopes * weights[:, None]) + np.diag(self._widths**-2.0)
        slope = slopes.T @ (weights * error) + (at - self._expected) / self._widths**2
        return np.asarray(np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), -slope))


def _incidence(places: Sequence[Sequence[int]], width: int) -> Floats:
    """Rows that hold a 1 at each of their places."""
    found = np.zeros((len(places), width))
    for row, some in enumerate(places):
        found[row, list(some)] = 1.0
    return found
