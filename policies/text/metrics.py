"""How good a routing score is, in NumPy alone.

    near, far     correctness of the two targets per prompt, 0 to 1
    PGR(f)        share of the gap (mean far - mean near) recovered when the share f with the highest score goes far
    APGR          area under PGR over f from 0 to 1, at every prompt; a constant score gives 0.5
    CPT(x)        the smallest f with PGR(f) >= x

PGR, APGR and CPT: Ong et al., RouteLLM, arXiv 2406.18665 (there at ten thresholds, here exactly). All take weights, so
that a bootstrap is one multinomial draw of weights. What cannot be told (no gap, one class) is NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["apgr", "auc", "brier", "cpt", "ece", "recovery"]

Floats = NDArray[np.float64]


def recovery(score: Floats, near: Floats, far: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Share sent far and share of the gap recovered, from 0 to 1, at every distinct score (ties go together)."""
    order = np.argsort(-score, kind="stable")
    given = np.ones(len(score)) if weights is None else weights
    last = np.flatnonzero(np.r_[np.diff(score[order]) != 0.0, True])
    sent = np.cumsum(given[order])[last]
    gained = np.cumsum((given * (far - near))[order])[last]
    total = gained[-1] if gained[-1] > 1e-12 else math.nan
    return np.r_[0.0, sent / sent[-1]], np.r_[0.0, gained / total]


def apgr(score: Floats, near: Floats, far: Floats, weights: Floats | None = None) -> float:
    """Area under the share of the gap recovered against the share sent far; higher scores are sent first."""
    sent, gained = recovery(score, near, far, weights)
    return float(np.sum(np.diff(sent) * (gained[1:] + gained[:-1]) / 2.0))


def cpt(score: Floats, near: Floats, far: Floats, share: float, weights: Floats | None = None) -> float:
    """The smallest share sent far that recovers `share` of the gap; within ties, in proportion."""
    sent, gained = recovery(score, near, far, weights)
    if math.isnan(gained[-1]):
        return math.nan
    at = int(np.argmax(gained >= share - 1e-12))
    if at == 0:
        return 0.0
    part = (share - gained[at - 1]) / (gained[at] - gained[at - 1])
    return float(sent[at - 1] + part * (sent[at] - sent[at - 1]))


def auc(score: Floats, right: Floats, weights: Floats | None = None) -> float:
    """Chance that a right answer scores above a wrong one; labels between 0 and 1 count as both, in part."""
    given = np.ones(len(score)) if weights is None else weights
    order = np.argsort(score, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(score[order]) != 0.0, True])
    positive = np.diff(np.r_[0.0, np.cumsum((given * right)[order])[last]])
    negative = np.diff(np.r_[0.0, np.cumsum((given * (1.0 - right))[order])[last]])
    below = np.r_[0.0, np.cumsum(negative)[:-1]]
    pairs = positive.sum() * negative.sum()
    return float(np.sum(positive * (below + negative / 2.0)) / pairs) if pairs > 0.0 else math.nan


def brier(chance: Floats, right: Floats, weights: Floats | None = None) -> float:
    """Mean squared difference of a stated chance and what came."""
    return float(np.average((chance - right) ** 2, weights=weights))


def ece(chance: Floats, right: Floats, weights: Floats | None = None, bins: int = 10) -> float:
    """Mean distance of stated chance and share right over bins of equal size (expected calibration error)."""
    given = np.ones(len(chance)) if weights is None else weights
    order = np.argsort(chance, kind="stable")
    reached = np.cumsum(given[order]) / given.sum()
    place = np.minimum((reached * bins - 1e-9).astype(np.int64), bins - 1)
    off = np.bincount(place, (given * (chance - right))[order], bins)
    return float(np.abs(off).sum() / given.sum())
