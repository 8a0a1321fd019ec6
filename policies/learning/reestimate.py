"""What the log says of the predictions that a policy weighs: are qualities and times as high as foretold?

    observed correctness  ≈  b x predicted quality + a[task, kind]
    observed seconds      ≈  c[kind] x predicted seconds

A linear policy takes both in: its weight of quality becomes b times as large and its scenes get the offsets a; weights
of times become c times as large. Where c differs between kinds of actions, which have one weight in common, the rest
goes into the scenes at the mean time of that kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES, KINDS
from policies.learning.decisions import Decisions
from policies.policy import DEFAULT_SCENE, Policy

__all__ = ["Cell", "Factor", "QualityFit", "Reestimates", "corrected_policy", "reestimate"]

QUALITY = FEATURE_NAMES.index("quality")
TIMES = ("ttft_s", "e2e_s")
LEAST_ROWS = 30
"""Outcomes of a kind of action below which nothing is said about it."""
LEAST_FACTOR = 0.05
"""Smaller corrections of times are not worth a new policy."""
_PRIOR_ROWS = 20.0  # outcomes that an offset must outweigh where cells do not differ more than chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """How far correctness lies from its prediction, for one task and kind of action."""

    task: str
    kind: str
    n: int
    predicted: float
    observed: float
    offset: float
    """a, pulled towards 0 the fewer outcomes there are."""
    error: float
    """Standard error of a."""
    significant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityFit:
    """The slope b of correctness on predicted quality, 1 when predictions are calibrated; and the offsets."""

    n: int
    slope: float
    low: float
    high: float
    significant: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """Measured / predicted seconds of one kind of action."""

    name: str
    kind: str
    n: int
    median: float
    spread: float
    """Half the distance between the 16 % and 84 % quantiles of the log ratio."""
    factor: float
    """Mean measured / mean predicted: what a mean utility needs."""
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
        off = quality is not None and (quality.significant or any(cell.significant for cell in quality.cells))
        return off or any(factor.significant for factor in self.times)


def reestimate(log: Decisions, *, level: float = 0.95) -> Reestimates:
    """Compare outcomes with what was predicted of the choices that were made."""
    return Reestimates(quality=_quality(log, level), times=_times(log, level))


# -- quality -----------------------------------------------------------------------------------------------------------


def _quality(log: Decisions, level: float) -> QualityFit | None:
    known = log.answered & np.isfinite(log.correct)
    if np.count_nonzero(known) < LEAST_ROWS:
        return None
    rows = log.chosen[known]
    predicted, right = log.phi[rows, QUALITY], log.correct[known]
    cell = log.task[known] * len(KINDS) + log.kind[rows]
    used, cell = np.unique(cell, return_inverse=True)
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    slope, error = _slope(predicted, right, cell, len(used))
    cells = _cells(log, used, cell, predicted, right, slope, level)
    return QualityFit(
        n=len(right),
        slope=slope,
        low=slope - z * error,
        high=slope + z * error,
        significant=bool(abs(slope - 1.0) > z * error),
        cells=cells,
    )


def _slope(
    predicted: NDArray[np.float64], right: NDArray[np.float64], cell: NDArray[np.intp], cells: int
) -> tuple[float, float]:
    """b within cells, with its heteroscedastic standard error; (1, inf) when predictions do not vary in them."""
    count = np.bincount(cell, minlength=cells)

    def centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values - (np.bincount(cell, values, cells) / count)[cell], np.float64)

    x, y = centred(predicted), centred(right)
    square = float(x @ x)
    if square < 1e-6 * len(x):
        return 1.0, float("inf")
    slope = float(x @ y) / square
    return slope, float(np.sqrt((x**2) @ (y - slope * x) ** 2)) / square


def _cells(
    log: Decisions,
    used: NDArray[np.int64],
    cell: NDArray[np.intp],
    predicted: NDArray[np.float64],
    right: NDArray[np.float64],
    slope: float,
    level: float,
) -> tuple[Cell, ...]:
    """Mean residual of each cell, pulled towards 0 as empirical Bayes would (the spread of cells by moments)."""
    count = np.bincount(cell).astype(np.float64)
    residual = right - slope * predicted
    mean = np.bincount(cell, residual) / count
    noise = float(((residual - mean[cell]) ** 2).sum() / max(1.0, len(residual) - len(count)))
    between = max(0.0, float(np.average(mean**2, weights=count)) - noise * len(count) / float(count.sum()))
    prior = min(noise / between, 1e6) if between > 0.0 else _PRIOR_ROWS * 50.0
    z = NormalDist().inv_cdf(1.0 - (1.0 - level) / 2.0 / len(count))  # Bonferroni: there are many cells
    rows = []
    for k, code in enumerate(used.tolist()):
        shrunk, error = mean[k] * count[k] / (count[k] + prior), float(np.sqrt(noise / (count[k] + prior)))
        rows.append(
            Cell(
                task=log.tasks[code // len(KINDS)],
                kind=KINDS[code % len(KINDS)],
                n=int(count[k]),
                predicted=float(np.bincount(cell, predicted)[k] / count[k]),
                observed=float(np.bincount(cell, right)[k] / count[k]),
                offset=float(shrunk),
                error=error,
                significant=bool(count[k] >= LEAST_ROWS and abs(mean[k]) > z * np.sqrt(noise / count[k])),
            )
        )
    return tuple(rows)


# -- times -------------------------------------------------------------------------------------------------------------


def _times(log: Decisions, level: float) -> tuple[Factor, ...]:
    found = []
    kind = log.kind[log.chosen]
    for name in TIMES:
        measured, predicted = getattr(log, name), log.phi[log.chosen, FEATURE_NAMES.index(name)]
        usable = log.answered & np.isfinite(measured) & (measured > 0.0) & (predicted > 0.0)
        for k, word in enumerate(KINDS):
            here = usable & (kind == k)
            if np.count_nonzero(here) >= LEAST_ROWS:
                found.append(_factor(name, word, measured[here], predicted[here], level))
    return tuple(found)


def _factor(
    name: str, kind: str, measured: NDArray[np.float64], predicted: NDArray[np.float64], level: float
) -> Factor:
    ratios = np.log(measured / predicted)
    low, middle, high = np.quantile(ratios, [0.16, 0.5, 0.84])
    factor = float(measured.sum() / predicted.sum())
    z = NormalDist().inv_cdf(0.5 + level / 2.0)
    around = (measured - factor * predicted) / predicted.mean()
    half = z * float(around.std(ddof=1)) / len(ratios) ** 0.5
    return Factor(
        name=name,
        kind=kind,
        n=len(ratios),
        median=float(np.exp(middle)),
        spread=float(high - low) / 2.0,
        factor=factor,
        low=factor - half,
        high=factor + half,
        significant=bool(abs(factor - 1.0) > max(half, LEAST_FACTOR)),
    )


# -- a policy that believes it -----------------------------------------------------------------------------------------


def corrected_policy(policy: Policy, found: Reestimates, log: Decisions) -> tuple[Policy | None, tuple[str, ...]]:
    """The policy with corrected weights, and what was changed; None when nothing that it weighs was off."""
    weights = dict(policy.weights)
    scenes = {task: dict(row) for task, row in policy.scenes.items()}
    for task in log.tasks:  # a task without a scene of its own gets the default one
        scenes.setdefault(task, dict(policy.scenes.get(DEFAULT_SCENE, {})))
    told = [
        *_correct_quality(weights, scenes, policy, found.quality),
        *(line for name in TIMES for line in _correct_times(name, weights, scenes, policy, found, log)),
    ]
    if not told:
        return None, ()
    changed = policy.model_dump() | {
        "name": f"{policy.name}-corrected",
        "description": f"{policy.description or policy.name}; corrected by a decision log",
        "weights": weights,
        "scenes": {task: row for task, row in scenes.items() if row},
    }
    return Policy.model_validate(changed), tuple(told)


Scenes = Mapping[str, dict[Any, float]]


def _correct_quality(weights: dict[str, float], scenes: Scenes, policy: Policy, fit: QualityFit | None) -> list[str]:
    weight = policy.weights.get("quality", 0.0)
    if fit is None or weight == 0.0:
        return []
    told = []
    if fit.significant:
        weights["quality"] = weight * fit.slope
        told.append(f"weight of quality x {fit.slope:.3g}")
    off = [cell for cell in fit.cells if cell.significant and cell.kind in policy.actions]
    for cell in off:
        # Without the slope in the weight the offset must make up for it at the mean prediction.
        offset = cell.offset if fit.significant else cell.observed - cell.predicted
        row = scenes[cell.task]
        row[cell.kind] = row.get(cell.kind, 0.0) + weight * offset
    if off:
        told.append(f"offsets of quality in {len(off)} scenes")
    return told


def _correct_times(
    name: str, weights: dict[str, float], scenes: Scenes, policy: Policy, found: Reestimates, log: Decisions
) -> list[str]:
    weight = policy.weights.get(name, 0.0)
    factors = {one.kind: one for one in found.times if one.name == name and one.kind in policy.actions}
    if weight == 0.0 or not any(one.significant for one in factors.values()):
        return []
    column = log.phi[:, FEATURE_NAMES.index(name)]
    seconds = {
        kind: one.n * float(column[log.feasible & (log.kind == KINDS.index(kind))].mean())
        for kind, one in factors.items()
    }
    common = sum(factors[kind].factor * seconds[kind] for kind in factors) / max(sum(seconds.values()), 1e-12)
    weights[name] = weight * common
    told = [f"weight of {name} x {common:.3g}"]
    task = log.task[log.row]
    for kind, one in factors.items():
        mine = log.feasible & (log.kind == KINDS.index(kind))
        for t, word in enumerate(log.tasks):
            here = mine & (task == t)
            if here.any():
                rest = weight * (one.factor - common) * float(column[here].mean())
                scenes[word][kind] = scenes[word].get(kind, 0.0) + rest
    if len(factors) > 1:
        told.append(f"{name} of {', '.join(factors)} apart, in the scenes")
    return told
