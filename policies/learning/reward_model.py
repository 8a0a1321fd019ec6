"""What a choice brings, learned from a log: ridge regression of the utility on φ and on the kind of action by task.

It is linear in just what a policy file may weigh, so the model is a policy, too: the action that it thinks best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES, KINDS, LAYOUT_VERSION
from policies.learning.decisions import Decisions
from policies.learning.exploring import NOISE
from policies.policy import DEFAULT_SCENE, Policy, load_policy

__all__ = ["RewardModel", "cross_fitted", "fit_rewards", "learned_policy"]

FOLDS = 5
RIDGE = 3.0
"""Penalty, as so many decisions that would say that a (standardised) feature has no effect."""

_WEIGHED = [i for i, name in enumerate(FEATURE_NAMES) if name not in KINDS and i != NOISE]


@dataclass(frozen=True, slots=True)
class RewardModel:
    """reward = weights · φ + scene[task, kind], for every action."""

    weights: NDArray[np.float64]
    """(features,)"""
    scene: NDArray[np.float64]
    """(tasks, kinds)"""
    seen: NDArray[np.int64]
    """(tasks, kinds): how many choices it learned from."""

    def predict(self, phi: NDArray[np.float64], task: NDArray[np.int32], kind: NDArray[np.int8]) -> NDArray[np.float64]:
        """Utilities of m actions."""
        return np.asarray(phi @ self.weights + self.scene[task, kind], np.float64)


def fit_rewards(log: Decisions, rewards: NDArray[np.float64], use: NDArray[np.bool_]) -> RewardModel:
    """Learn from the choices of the decisions that `use` (n,) marks; their rewards are known."""
    scale = _scale_of(log)
    return _solved(_sums(log, rewards, use, scale), scale, len(log.tasks))


def cross_fitted(log: Decisions, rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m,): predicted utilities of all actions, each by a model that never saw its decision's reward.

    Rewards may be NaN: nothing is learned from those.
    """
    known = np.isfinite(rewards)
    fold = log.request % FOLDS
    row = log.row
    scale = _scale_of(log)
    parts = [_sums(log, rewards, known & (fold == k), scale) for k in range(FOLDS)]
    predicted = np.zeros(len(log.phi))
    for k in range(FOLDS):
        others = _Sums(*(sum(part[1:], part[0]) for part in zip(*parts[:k], *parts[k + 1 :], strict=True)))
        mine = fold[row] == k
        if others.n and mine.any():
            model = _solved(others, scale, len(log.tasks))
            predicted[mine] = model.predict(log.phi[mine], log.task[row[mine]], log.kind[mine])
    predicted[~log.feasible] = 0.0
    return predicted


class _Scale(NamedTuple):
    """How features are standardised; one that never varies gets no weight."""

    middle: NDArray[np.float64]
    spread: NDArray[np.float64]


class _Sums(NamedTuple):
    """All that a regression needs of some decisions; those of several may be added."""

    square: NDArray[np.float64]
    product: NDArray[np.float64]
    """x times reward."""
    total: NDArray[np.float64]
    """x"""
    reward: float
    n: int
    seen: NDArray[np.int64]


def _scale_of(log: Decisions) -> _Scale:
    phi = log.phi[log.chosen][:, _WEIGHED]
    spread = phi.std(axis=0)
    return _Scale(phi.mean(axis=0), np.where(spread > 0.0, spread, np.inf))


def _sums(log: Decisions, rewards: NDArray[np.float64], use: NDArray[np.bool_], scale: _Scale) -> _Sums:
    """Columns: the weighed features, the tasks, the kinds, and kinds by task."""
    rows = log.chosen[use]
    task, kind, y = log.task[use].astype(np.int64), log.kind[rows].astype(np.int64), rewards[use]
    at_task = len(_WEIGHED)
    at_kind = at_task + len(log.tasks)
    at_cell = at_kind + len(KINDS)
    cell = task * len(KINDS) + kind
    cells = len(log.tasks) * len(KINDS)
    x = np.zeros((len(y), at_cell + cells))
    x[:, :at_task] = (log.phi[rows][:, _WEIGHED] - scale.middle) / scale.spread
    one = np.arange(len(y))
    x[one, at_task + task] = x[one, at_kind + kind] = x[one, at_cell + cell] = 1.0
    return _Sums(x.T @ x, x.T @ y, x.sum(axis=0), float(y.sum()), len(y), np.bincount(cell, minlength=cells))


def _solved(sums: _Sums, scale: _Scale, tasks: int) -> RewardModel:
    mean = sums.reward / sums.n
    w = np.linalg.solve(sums.square + RIDGE * np.eye(len(sums.total)), sums.product - mean * sums.total)
    at_kind = len(_WEIGHED) + tasks
    at_cell = at_kind + len(KINDS)
    weights = np.zeros(len(FEATURE_NAMES))
    weights[_WEIGHED] = w[: len(_WEIGHED)] / scale.spread
    shape = (tasks, len(KINDS))
    scene = w[len(_WEIGHED) : at_kind, None] + w[None, at_kind:at_cell] + w[at_cell:].reshape(shape)
    return RewardModel(weights, scene + mean - float(weights[_WEIGHED] @ scale.middle), sums.seen.reshape(shape))


def learned_policy(log: Decisions, model: RewardModel, *, name: str, least_seen: int = 20) -> Policy:
    """The action that the model thinks best, as a policy; kinds that a task hardly met are not chosen for it."""
    offered = [k for k, kind in enumerate(KINDS) if kind in log.offered and model.seen[:, k].sum() >= least_seen]
    weights = {FEATURE_NAMES[i]: _short(model.weights[i]) for i in _WEIGHED if model.weights[i] != 0.0}
    typical = np.average(model.scene, axis=0, weights=model.seen + 1e-9)
    scenes = {DEFAULT_SCENE: {KINDS[k]: _short(typical[k]) for k in offered}}
    floor = float(np.abs(model.scene).max() + np.abs(log.phi @ model.weights).max()) * 2.0 + 1.0
    for t, task in enumerate(log.tasks):
        known = {k for k in offered if model.seen[t, k] >= least_seen}
        rest = floor if known else 0.0
        scenes[task] = {KINDS[k]: _short(model.scene[t, k] - (0.0 if k in known else rest)) for k in offered}
    return load_policy(
        {
            "name": name,
            "description": "learned from a decision log: the choice with the best predicted utility",
            "layout": LAYOUT_VERSION,
            "actions": [KINDS[k] for k in offered],
            "weights": weights,
            "scenes": scenes,
        }
    )


def _short(number: float) -> float:
    """Six digits: a policy file is for people, too."""
    return float(f"{number:.6g}")
