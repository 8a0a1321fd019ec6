"""What a policy's own figures get wrong, learned from a run that tries things out.

A policy sees predictions: the chance of a right answer from a blurred estimate of difficulty, times from typical
lengths. A run in which it takes any possible action now and then shows how they come out; a ridge regression on what a
policy file can say (features, and the kind of action by task) corrects them. What a choice does to everybody else
(load, autoscaling) does not show in single outcomes: that is left to the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import RequestView
from policies.layout import FEATURE_NAMES, KINDS
from policies.learning.behaviour import Behaviour
from policies.learning.decision_log import Ending
from policies.learning.exploring import Choice
from policies.learning.utility import Utility
from policies.policy import Policy
from sim.online import Decider, Taken, watched
from sim.run import Prepared
from sim.tuning.measures import chances, columns_of, played

__all__ = ["Lessons", "corrected", "lessons"]

Floats = NDArray[np.float64]

EXPLORED = 0.3
"""Share of the decisions that may be any possible action."""

_RIDGE = 100.0  # so many decisions would say that a task is like all others
_RIDGE_OF_ALL = 1.0  # the same for what is the same for all tasks
_CLIPPED = 1.0  # percent at either end: a few endless answers must not decide what is typical

# By term of a utility: the features that its error may depend on, the prediction itself first.
_SEEN: dict[str, tuple[str, ...]] = {
    "quality": ("quality", "near_difficulty"),
    "ttft_s": ("ttft_s", "load"),
    "e2e_s": ("e2e_s", "load"),
    "energy_j": ("energy_j",),
}


class Lessons(NamedTuple):
    """n decisions: what was seen of the action that was taken, and what came of it."""

    phi: Floats
    """(n, features)"""
    kind: NDArray[np.int64]
    task: NDArray[np.int64]
    outcome: dict[str, Floats]
    """By term of a utility."""


class _Collector(Decider):
    """Explores, and keeps what it saw."""

    def begin(self, prepared: Prepared) -> str:
        name = super().begin(prepared)
        self._behaviour = Behaviour(self._table, share=EXPLORED, seed=prepared.seed)
        self.seen: list[tuple[int, int, int, Floats]] = []
        return name

    def decide(self, request: RequestView, phi: Floats, kinds: NDArray[np.int8]) -> tuple[Floats, Choice]:
        feasible = np.ones(len(phi), np.bool_)
        scored = self._behaviour.scored(phi, kinds, self._number[request.task], feasible)
        return scored.scores, self._behaviour.choose(scored, feasible, str(request.id), request.attempt)

    def ended(self, taken: Taken, ending: Ending) -> None:
        a = taken.choice.action
        self.seen.append((taken.request.id, self._number[taken.request.task], int(taken.kinds[a]), taken.phi[a]))


def lessons(runs: Sequence[Prepared]) -> Lessons:
    """Run them, exploring around their policies. Raises `UserError` as `sim.run` does."""
    parts = [_of_run(one) for one in runs]
    phi, kind, task, outcome = zip(*parts, strict=True)
    return Lessons(
        np.concatenate(phi),
        np.concatenate(kind),
        np.concatenate(task),
        {name: np.concatenate([part[name] for part in outcome]) for name in _SEEN},
    )


def _of_run(prepared: Prepared) -> Lessons:
    collector = _Collector()
    outcome = played(watched(prepared, collector)).outcome
    collector.look(outcome.plane)
    request, task, kind, phi = (np.array(column) for column in zip(*collector.seen, strict=True))
    columns = columns_of(outcome, chances(outcome))
    return Lessons(phi, kind, task, {name: columns[name][request] for name in _SEEN})


def corrected(policy: Policy, utility: Utility, learned: Lessons, tasks: Sequence[str], terms: Sequence[str]) -> Policy:
    """`policy`, which weighs predictions by a utility, with the errors of these terms' predictions taken out."""
    weights = dict(policy.weights)
    scene = np.zeros((len(tasks), len(KINDS)))
    for term in terms:
        weight = utility.weight(term)
        if not weight:
            continue
        slopes, moves = _errors(learned, term, len(tasks))
        for name, slope in zip(_SEEN[term], slopes, strict=True):
            weights[name] = weights.get(name, 0.0) + weight * float(slope)
        scene += weight * moves
    rows: dict[str, Any] = {
        task: {kind: float(scene[t, k]) for k, kind in enumerate(KINDS) if scene[t, k]} for t, task in enumerate(tasks)
    }
    return policy.model_copy(update={"weights": weights, "scenes": rows})


def _errors(learned: Lessons, term: str, tasks: int) -> tuple[Floats, Floats]:
    """How an outcome differs from its prediction: slopes of what is seen, and (tasks, kinds) of the rest."""
    seen = learned.phi[:, [FEATURE_NAMES.index(name) for name in _SEEN[term]]]
    error = learned.outcome[term] - seen[:, 0]
    low, high = np.percentile(error, [_CLIPPED, 100.0 - _CLIPPED])
    scale = seen.std(axis=0) + 1e-9
    kinds = np.eye(len(KINDS))[learned.kind]
    scenes = np.zeros((len(error), tasks * len(KINDS)))
    scenes[np.arange(len(error)), learned.task * len(KINDS) + learned.kind] = 1.0
    known = np.hstack([seen / scale, kinds, scenes])
    of_all = seen.shape[1] + len(KINDS)
    penalty = np.repeat([_RIDGE_OF_ALL, _RIDGE], [of_all, scenes.shape[1]])
    found = np.linalg.solve(known.T @ known + np.diag(penalty), known.T @ np.clip(error, low, high))
    slopes, of_kinds, of_tasks = np.split(found, [seen.shape[1], of_all])
    return slopes / scale, of_kinds + of_tasks.reshape(tasks, len(KINDS))
