"""What the log says of the predictions that a policy weighs: are qualities and times as high as foretold?

    observed correctness  ≈  shift + b x predicted quality + a[task, kind]
    observed seconds      ≈  c[kind] x predicted seconds

Shift and b make the common line, a is the distance of a task and kind from it, pulled towards 0 by empirical Bayes
(`policies.learning.pooling`). A slope b that may as well be 1 is 1: else its noise, times the level of the predictions,
would look like offsets of all cells. What is called significant holds together: of logs whose predictions are right, a
share 1 - level at most has anything significant, whatever the number of tasks and kinds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES, KINDS
from policies.learning.decisions import Decisions
from policies.learning.pooling import normal, pool, students_t, surprising

__all__ = ["TIMES", "Cell", "Factor", "QualityFit", "Reestimates", "reestimate"]

QUALITY = FEATURE_NAMES.index("quality")
TIMES = ("ttft_s", "e2e_s")
LEAST_ROWS = 30
"""Outcomes of a kind of action below which nothing is said about it."""
LEAST_FACTOR = 0.05
"""Smaller corrections of times are not worth a new policy."""
_QUESTIONS = 4  # that share 1 - level: the slope, the shift, the cells, the times
_SLOPES = 0.5  # assumed: by how much b commonly differs from 1 (standard deviation), before any outcome is seen
_LEAST_CHANCE = 0.02  # to be right, and to be wrong: of the common line, for variances

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """How far correctness lies from the common line, for one task and kind of action."""

    task: str
    kind: str
    n: int
    predicted: float
    observed: float
    expected: float
    """By the common line."""
    offset: float
    """a: observed - expected, pulled towards 0 the fewer outcomes there are and the less cells differ."""
    error: float
    """Standard error of observed - expected, by chance alone."""
    significant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityFit:
    """The slope b of correctness on predicted quality, 1 when predictions are calibrated; and the offsets."""

    n: int
    slope: float
    low: float
    high: float
    significant: bool
    """Whether b is not 1."""
    believed: float
    """b, pulled towards 1 the less it was measured, if it is significant; else 1."""
    shift: float
    """Mean observed - mean predicted. It favours no action, so no policy changes for it."""
    shift_low: float
    shift_high: float
    shifted: bool
    """Whether the shift is not 0."""
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """Measured / predicted seconds of one kind of action."""

    name: str
    kind: str
    n: int
    left_out: int
    """Choices of this kind whose time nobody knows, as they were never answered (TTFT: never began to be). They would
    have taken longer than they were waited for, so the true factor is rather higher."""
    median: float
    spread: float
    """Half the distance between the 16 % and 84 % quantiles of the log ratio."""
    factor: float
    """Mean measured / mean predicted: what a mean utility needs."""
    error: float
    """Standard error of it (jackknife)."""
    believed: float
    """The factor, pulled towards that of the other kinds the less it was measured."""
    low: float
    high: float
    significant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reestimates:
    """All of it; None where the log holds too little."""

    quality: QualityFit | None
    times: tuple[Factor, ...]

    @property
    def significant(self) -> bool:
        """Whether anything differs from its prediction."""
        quality = self.quality
        off = quality is not None and (
            quality.significant or quality.shifted or any(cell.significant for cell in quality.cells)
        )
        return off or any(factor.significant for factor in self.times)


def reestimate(log: Decisions, *, level: float = 0.95) -> Reestimates:
    """Compare outcomes with what was predicted of the choices that were made."""
    chance = (1.0 - level) / _QUESTIONS
    return Reestimates(quality=_quality(log, chance), times=_times(log, chance))


# -- quality -----------------------------------------------------------------------------------------------------------


class _Known(NamedTuple):
    """Choices whose correctness is known, and the cell of each."""

    predicted: Floats
    right: Floats
    cell: NDArray[np.intp]
    codes: NDArray[np.int64]
    """(cells,): task x kinds + kind."""
    size: Floats
    """(cells,)"""

    def mean(self, values: Floats) -> Floats:
        """(cells,): the mean of (n,) values in each."""
        return np.asarray(np.bincount(self.cell, values, len(self.codes)) / self.size, np.float64)


def _quality(log: Decisions, chance: float) -> QualityFit | None:
    known = log.answered & np.isfinite(log.correct)
    if np.count_nonzero(known) < LEAST_ROWS:
        return None
    rows = log.chosen[known]
    codes, cell = np.unique(log.task[known] * len(KINDS) + log.kind[rows], return_inverse=True)
    count = np.bincount(cell).astype(np.float64)
    of = _Known(log.phi[rows, QUALITY], log.correct[known], cell, codes.astype(np.int64), count)
    n = len(of.right)
    slope, error = _slope(of)
    half = students_t(chance, n - len(codes) - 1) * error
    significant = abs(slope - 1.0) > half
    trust = _SLOPES**2 / (_SLOPES**2 + error**2) if significant else 0.0
    believed = 1.0 + trust * (slope - 1.0)
    rest = of.right - of.predicted
    shift = float(rest.mean())
    around = students_t(chance, n - 1) * float(rest.std(ddof=1)) / n**0.5
    return QualityFit(
        n=n,
        slope=slope,
        low=slope - half,
        high=slope + half,
        significant=significant,
        believed=believed,
        shift=shift,
        shift_low=shift - around,
        shift_high=shift + around,
        shifted=abs(shift) > around and surprising(float(of.right.sum()), n, float(of.predicted.mean()), chance),
        cells=_cells(log, of, (believed, trust * error), chance),
    )


def _slope(of: _Known) -> tuple[float, float]:
    """b within cells, with its standard error; (1, inf) when predictions do not vary in them.

    The error allows for unequal variances and few rows: HC3 of J. G. MacKinnon and H. White, "Some
    Heteroskedasticity-Consistent Covariance Matrix Estimators with Improved Finite Sample Properties", Journal of
    Econometrics 29(3), 1985.
    """
    x, y = (values - of.mean(values)[of.cell] for values in (of.predicted, of.right))
    square = float(x @ x)
    if square < 1e-6 * len(x):
        return 1.0, float("inf")
    slope = float(x @ y) / square
    leverage = 1.0 / of.size[of.cell] + x**2 / square
    rest = (y - slope * x) / np.maximum(1.0 - leverage, 1e-3)
    return slope, float(np.sqrt((x**2) @ rest**2)) / square


def _cells(log: Decisions, of: _Known, line: tuple[float, float], chance: float) -> tuple[Cell, ...]:
    """Each cell's distance from the common line with this (slope, standard error)."""
    slope, slope_error = line
    predicted, right = of.mean(of.predicted), of.mean(of.right)
    away = right - slope * predicted
    centre = float((of.right - slope * of.predicted).mean())
    foretold = np.clip(centre + slope * of.predicted, _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)
    pooled = pool(away, of.mean(foretold * (1.0 - foretold)) / of.size)
    expected = pooled.centre + slope * predicted
    error = np.hypot(pooled.error, slope_error * (predicted - of.predicted.mean()))
    told = of.size >= LEAST_ROWS
    each = chance / max(1, int(np.count_nonzero(told)))
    beyond = normal(each) * error
    return tuple(
        Cell(
            task=log.tasks[code // len(KINDS)],
            kind=KINDS[code % len(KINDS)],
            n=int(of.size[k]),
            predicted=float(predicted[k]),
            observed=float(right[k]),
            expected=float(expected[k]),
            offset=float(pooled.believed[k] - pooled.centre),
            error=float(error[k]),
            significant=bool(
                told[k]
                and abs(right[k] - expected[k]) > beyond[k]
                and surprising(
                    float(right[k] * of.size[k]), int(of.size[k]), float(np.clip(expected[k], 1e-6, 1 - 1e-6)), each
                )
            ),
        )
        for k, code in enumerate(of.codes.tolist())
    )


# -- times -------------------------------------------------------------------------------------------------------------


def _times(log: Decisions, chance: float) -> tuple[Factor, ...]:
    """By kind. A TTFT is known once it has begun, an E2E when it is answered: what was cut short is left out."""
    kind = log.kind[log.chosen]
    parts = []
    for name in TIMES:
        measured, predicted = getattr(log, name), log.phi[log.chosen, FEATURE_NAMES.index(name)]
        asked = predicted > 0.0
        usable = asked & np.isfinite(measured) & (measured > 0.0) & (log.answered | (name == "ttft_s"))
        for k, word in enumerate(KINDS):
            here = usable & (kind == k)
            if np.count_nonzero(here) >= LEAST_ROWS:
                left_out = int(np.count_nonzero(asked & ~log.answered & ~usable & (kind == k)))
                parts.append((name, word, measured[here], predicted[here], left_out))
    found = [_factor(*part, chance / len(parts)) for part in parts]
    return tuple(one for _, group in groupby(found, lambda one: one.name) for one in _believed(list(group)))


def _factor(name: str, kind: str, measured: Floats, predicted: Floats, left_out: int, chance: float) -> Factor:
    ratios = np.log(measured / predicted)
    low, middle, high = np.quantile(ratios, [0.16, 0.5, 0.84])
    factor = float(measured.sum() / predicted.sum())
    without = (measured.sum() - measured) / (predicted.sum() - predicted)
    error = float(((without - without.mean()) ** 2).sum() * (1.0 - 1.0 / len(without))) ** 0.5
    effective = float(predicted.sum()) ** 2 / float(predicted @ predicted)  # long ones count more than short ones
    half = students_t(chance, effective - 1.0) * error
    return Factor(
        name=name,
        kind=kind,
        n=len(ratios),
        left_out=left_out,
        median=float(np.exp(middle)),
        spread=float(high - low) / 2.0,
        factor=factor,
        error=error,
        believed=factor,
        low=factor - half,
        high=factor + half,
        significant=bool(abs(factor - 1.0) > max(half, LEAST_FACTOR)),
    )


def _believed(factors: list[Factor]) -> list[Factor]:
    values, errors = (np.array([getattr(one, name) for one in factors]) for name in ("factor", "error"))
    pooled = pool(values, np.maximum(errors, 1e-9) ** 2)
    return [replace(one, believed=float(value)) for one, value in zip(factors, pooled.believed, strict=True)]
