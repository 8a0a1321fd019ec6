"""Learn P(near right) and P(far right) from prompts and labels: the numbers, without files or screens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.text.confidence import Confidence, learn_confidence, platt
from policies.text.features import Basis, count_features, learn_basis
from policies.text.metrics import apgr
from policies.text.ridge import Design, Heads, solve

__all__ = ["Answers", "Learned", "learn"]

PENALTIES = (1.5, 3.0, 6.0, 12.0)
FOLDS = 5
CATEGORY_SHARE = 0.5  # of the category's mean in a label, where categories are given
_SEED = 7

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answers:
    """Figures of near answers (n x len(names), NaN for gaps)."""

    names: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, slots=True)
class Learned:
    """Heads (near, far and, with lengths of answers, their logarithm) in a basis, and how to read them as chances.

    `calibration` holds slope and offset per target (2 x 2); `unseen` the heads of the rows, each from folds that left
    it out; `penalty` was chosen on them.
    """

    basis: Basis
    heads: Heads
    whitening: NDArray[np.float32]
    calibration: Floats
    confidence: Confidence | None
    penalty: float
    unseen: Floats


def learn(
    texts: Sequence[str],
    near: Floats,
    far: Floats,
    *,
    categories: Sequence[str] | None = None,
    answers: Answers | None = None,
) -> Learned:
    """Fit everything. `near` and `far` are 0 to 1 without gaps; prompts are distinct."""
    counts = count_features(texts)
    basis = learn_basis(counts)
    design = Design.of(basis, counts)
    labels = np.column_stack([near, far, _log_length(answers, len(near))])
    fold = np.random.default_rng(_SEED).permutation(len(near)) % FOLDS
    tried = {penalty: _unseen(design, labels, categories, fold, penalty) for penalty in PENALTIES}
    penalty = max(PENALTIES, key=lambda one: _ordering(tried[one], near, far))
    unseen = tried[penalty]
    heads = solve(design, _eased(labels, categories), penalty)
    calibration = np.array([platt(unseen[:, 0], near), platt(unseen[:, 1], far)])
    confidence = None
    if answers is not None:
        confidence = learn_confidence(answers.names, unseen, answers.values, near)
    return Learned(basis, heads, design.whitening, calibration, confidence, penalty, unseen)


def _ordering(heads: Floats, near: Floats, far: Floats) -> float:
    """What a penalty is chosen by: the area above 0.5, whatever the sign of the whole gap."""
    gap = far - near
    score = heads[:, 1] - heads[:, 0]
    if gap.mean() > 1e-3:
        return apgr(score, near, far)
    return float(np.cov(score, gap)[0, 1] / max(float(score.std()), 1e-12))


def _log_length(answers: Answers | None, n: int) -> Floats:
    """Log length of answers, gaps filled with the mean; zeros where lengths are not known."""
    if answers is None or "chars" not in answers.names:
        return np.zeros(n)
    length = np.log1p(answers.values[:, answers.names.index("chars")])
    return np.where(np.isnan(length), np.nanmean(length), length)


def _eased(labels: Floats, categories: Sequence[str] | None) -> Floats:
    """Labels drawn towards their category's mean: less noise, since categories can mostly be told from the text."""
    if categories is None:
        return labels
    place = np.unique(np.asarray(categories, dtype=str), return_inverse=True)[1]
    size = np.bincount(place)
    means = np.column_stack([np.bincount(place, column) / size for column in labels.T])[place]
    eased: Floats = (1.0 - CATEGORY_SHARE) * labels + CATEGORY_SHARE * means
    return eased


def _unseen(
    design: Design, labels: Floats, categories: Sequence[str] | None, fold: NDArray[np.int64], penalty: float
) -> Floats:
    """Heads of every row from a fit that left out its fold."""
    found = np.zeros_like(labels)
    for one in range(FOLDS):
        kept, held = np.flatnonzero(fold != one), np.flatnonzero(fold == one)
        some = None if categories is None else [categories[i] for i in kept.tolist()]
        found[held] = solve(design[kept], _eased(labels[kept], some), penalty).predict(design[held])
    return found
