"""How little a router knows: the noise of its estimate of difficulty, by how well it tells right from wrong.

    cells = Cells(gap, spread, weight)        what devices are asked, and how able their models are at it
    auc_of(cells, estimate_spread)            of the estimate q = sigmoid(ability - (difficulty + noise))
    spread_for(cells, auc)                    its inverse: the noise with which a simulated router is as blind as that

The AUC is that of q against "the near answer is right" (rules Q1, W5) within a task, for a router knows the task,
averaged over groups and tasks by how often they are asked. It falls as the noise grows. Without noise it is not 1:
whether an answer is right is a matter of chance even where the difficulty is known. Fixed quadrature, no draws.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from profiles.errors import UserError
from sim.numbers import Floats

__all__ = ["LARGEST_SPREAD", "Cells", "auc_of", "reach", "spread_for"]

LARGEST_SPREAD = 100.0
"""Logits of noise beyond which nothing changes any more."""

_HALVINGS = 40
_FARTHEST = 500.0  # logits; further, exp overflows
_STEPS = np.linspace(-7.0, 7.0, 161)
_DENSITY = np.exp(-(_STEPS**2) / 2) / np.exp(-(_STEPS**2) / 2).sum()
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


class Cells(NamedTuple):
    """Groups of like requests, as arrays of one length."""

    gap: Floats
    """Ability less mean difficulty, logits."""
    spread: Floats
    """Standard deviation of difficulty, logits."""
    weight: Floats
    """How often they are asked; any scale."""


def auc_of(cells: Cells, estimate_spread: float) -> float:
    """AUC of an estimate that is off by normal noise of this standard deviation (logits)."""
    seen = np.hypot(cells.spread, estimate_spread)
    share = np.divide(cells.spread, seen, out=np.zeros_like(seen), where=seen > 0.0)
    expected = cells.gap[:, None] + (cells.spread * share)[:, None] * _STEPS
    left = share * estimate_spread
    hits, misses = _DENSITY * _mean_chance(expected, left), _DENSITY * _mean_chance(-expected, left)
    below = np.cumsum(misses, axis=1) - misses / 2  # a tie counts half
    pairs = (hits * below).sum(axis=1) / (hits.sum(axis=1) * misses.sum(axis=1))
    return float(np.average(pairs, weights=cells.weight))


def _mean_chance(expected: Floats, spread: Floats) -> Floats:
    """Mean of sigmoid over a normal around every expected gap, cells x steps."""
    gaps = np.clip(expected[..., None] + spread[:, None, None] * _NODES, -_FARTHEST, _FARTHEST)
    return np.asarray((1.0 / (1.0 + np.exp(-gaps))) @ _WEIGHTS)


def reach(cells: Cells) -> tuple[float, float]:
    """The lowest and the highest AUC that noise can give."""
    return auc_of(cells, LARGEST_SPREAD), auc_of(cells, 0.0)


def spread_for(cells: Cells, auc: float) -> float:
    """The noise (logits) with which the estimate has this AUC. Raises `UserError` where none has."""
    lowest, highest = reach(cells)
    if not lowest <= auc <= highest:
        raise UserError(
            "fleet.estimate_auc: no noise gives an estimate this AUC at what the fleet is asked",
            got=auc,
            allowed=f"{np.ceil(lowest * 1e3) / 1e3:g} to {np.floor(highest * 1e3) / 1e3:g}",
            next_step="tasks whose difficulty spreads more allow more, or give fleet.estimate_spread",
        )
    low, high = 0.0, LARGEST_SPREAD
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if auc_of(cells, middle) > auc else (low, middle)
    return (low + high) / 2
