"""The second stage: chance that a near answer is right, from the prompt's heads and the answer's figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Confidence", "learn_confidence", "logistic", "platt"]

_PENALTY = 3.0
_PLATT_PENALTY = 0.5  # matters to tables of a hundred rows only
_FIGURES_TOTAL = "chars"

Floats = NDArray[np.float64]


class Confidence:
    """A logistic model of the terms of `_terms`; `weights` has one per term and then the level."""

    __slots__ = ("center", "figures", "scale", "weights")

    def __init__(self, figures: Sequence[str], center: Floats, scale: Floats, weights: Floats) -> None:
        self.figures = tuple(figures)
        self.center, self.scale, self.weights = center, scale, weights

    def chance(self, heads: Floats, answers: Floats) -> Floats:
        """P(near right) of n answers: heads n x 3 (near, far, log length), answers n x figures with NaN for gaps."""
        terms = (_terms(self.figures, heads, answers) - self.center) / self.scale
        terms = np.clip(np.nan_to_num(terms), -4.0, 4.0)
        return logistic(terms @ self.weights[:-1] + self.weights[-1])


def learn_confidence(figures: Sequence[str], heads: Floats, answers: Floats, right: Floats) -> Confidence:
    """Fit to heads that never saw the rows' labels (out of fold)."""
    terms = _terms(figures, heads, answers)
    center = np.nanmean(terms, axis=0)
    scale = np.nanstd(terms, axis=0)
    bare = Confidence(figures, center, np.where(scale > 1e-9, scale, 1.0), np.zeros(terms.shape[1] + 1))
    ready = np.clip(np.nan_to_num((terms - bare.center) / bare.scale), -4.0, 4.0)
    return Confidence(figures, bare.center, bare.scale, _newton(ready, right, _PENALTY))


def platt(value: Floats, right: Floats) -> tuple[float, float]:
    """Slope (never below 0) and offset, so that logistic(slope * value + offset) is calibrated."""
    spread = float(value.std())
    if spread < 1e-9:
        return 0.0, _logit(float(right.mean()))
    slope, offset = _newton((value / spread)[:, None], right, _PLATT_PENALTY)
    if slope < 0.0:
        return 0.0, _logit(float(right.mean()))
    return float(slope / spread), float(offset)


def logistic(value: Floats) -> Floats:
    """1 / (1 + exp(-value))."""
    found: Floats = 0.5 * (1.0 + np.tanh(0.5 * value))
    return found


def _logit(chance: float) -> float:
    inside = min(max(chance, 1e-4), 1.0 - 1e-4)
    return float(np.log(inside / (1.0 - inside)))


def _terms(figures: Sequence[str], heads: Floats, answers: Floats) -> Floats:
    """The heads; every figure (a length as its logarithm), its square and its product with the near head; the same for
    how much longer the answer is than such prompts get."""
    values = []
    for i, name in enumerate(figures):
        if name == _FIGURES_TOTAL:
            length = np.log1p(answers[:, i])
            values += [length, length - heads[:, 2]]
        else:
            values.append(answers[:, i])
    columns = [heads[:, 0], heads[:, 1], heads[:, 0] * heads[:, 1]]
    for value in values:
        columns += [value, value**2, value * heads[:, 0]]
    return np.column_stack(columns)


def _newton(terms: Floats, right: Floats, penalty: float) -> Floats:
    """Logistic regression with labels from 0 to 1: weights, then the level, which is not penalised."""
    full = np.column_stack([terms, np.ones(len(terms))])
    weights = np.zeros(full.shape[1])
    weights[-1] = _logit(float(right.mean()))
    ridge = np.diag(np.r_[np.full(terms.shape[1], penalty), 1e-9])
    for _ in range(50):
        chance = logistic(full @ weights)
        slope = full.T @ (chance - right) + ridge @ weights
        curve = (full * (chance * (1.0 - chance))[:, None]).T @ full + ridge
        step = np.linalg.solve(curve, slope)
        weights -= step
        if np.abs(step).max() < 1e-9:
            break
    return weights
