"""What a policy's own estimates of quality get wrong, learned from a run that tries things out.

A policy sees the chance of a right answer through a blurred estimate of difficulty. A run in which it takes any
possible action now and then shows how that comes out; a ridge regression on what a policy file can say (features, and
the kind of action by task) corrects it. What a choice does to everybody else (load, autoscaling) does not show in
single outcomes: that is left to the search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES, KINDS
from policies.learning.decision_log import Ending
from policies.learning.utility import Utility
from policies.policy import Policy
from sim.online import Exploring, Taken, watched
from sim.run import Prepared
from sim.tuning.measures import chances, played

__all__ = ["Lessons", "corrected", "lessons"]

Floats = NDArray[np.float64]

EXPLORED = 0.3
"""Share of the decisions that may be any possible action."""

_RIDGE = 100.0  # so many decisions would say that a task is like all others
_RIDGE_OF_ALL = 1.0  # the same for what is the same for all tasks
_SEEN = ("quality", "near_difficulty")  # the features that the error may depend on


class Lessons(NamedTuple):
    """n decisions: what was seen of the action that was taken, and what came of it."""

    phi: Floats
    """(n, features)"""
    kind: NDArray[np.int64]
    task: NDArray[np.int64]
    """A position in `tasks`."""
    right: Floats
    """The chance that the answer was right; of a cascade, whether it was."""
    tasks: tuple[str, ...]


class _Collector(Exploring):
    """Explores, and keeps what it saw."""

    def begin(self, prepared: Prepared) -> str:
        self.seen: list[tuple[int, int, int, Floats]] = []
        return super().begin(prepared)

    def ended(self, taken: Taken, ending: Ending) -> None:
        a = taken.choice.action
        self.seen.append((taken.request.id, self._number[taken.request.task], int(taken.kinds[a]), taken.phi[a]))


def lessons(runs: Sequence[Prepared], counted: Callable[[int], None] = lambda _: None) -> Lessons:
    """Run them, exploring around their policies; `counted` hears of every run how many of its requests went where
    their privacy forbids. Raises `UserError` as `sim.run` does."""
    parts = [_of_run(one, counted) for one in runs]
    tasks = tuple(dict.fromkeys(name for part in parts for name in part.tasks))
    return Lessons(
        phi=np.concatenate([part.phi for part in parts]),
        kind=np.concatenate([part.kind for part in parts]),
        task=np.concatenate([_positions(part, tasks) for part in parts]),
        right=np.concatenate([part.right for part in parts]),
        tasks=tasks,
    )


def _positions(learned: Lessons, tasks: Sequence[str]) -> NDArray[np.int64]:
    """(n,): where each decision's task is among these. Scenarios number their tasks each in its own way."""
    return np.array([tasks.index(name) for name in learned.tasks], np.int64)[learned.task]


def _of_run(prepared: Prepared, counted: Callable[[int], None]) -> Lessons:
    collector = _Collector(EXPLORED)
    outcome = played(watched(prepared, collector)).outcome
    counted(outcome.plane.stray)
    collector.look(outcome.plane)
    numbers = np.array([(request, task, kind) for request, task, kind, _ in collector.seen], np.int64).reshape(-1, 3)
    phi = np.array([phi for *_, phi in collector.seen]).reshape(-1, len(FEATURE_NAMES))
    request, task, kind = numbers.T
    return Lessons(phi, kind, task, chances(outcome)[request], tuple(collector.tasks))


def corrected(policy: Policy, utility: Utility, learned: Lessons, tasks: Sequence[str]) -> Policy:
    """`policy`, which weighs predictions by a utility, with the error of the predicted quality taken out."""
    weight = utility.weight("quality")
    if not weight:
        return policy
    slopes, moves = _errors(learned._replace(task=_positions(learned, tasks)), len(tasks))
    weights = dict(policy.weights)
    for name, slope in zip(_SEEN, slopes.tolist(), strict=True):
        weights[name] = weights.get(name, 0.0) + weight * slope
    rows: dict[str, Any] = {
        task: {kind: float(weight * moves[t, k]) for k, kind in enumerate(KINDS)} for t, task in enumerate(tasks)
    }
    return policy.model_copy(update={"weights": weights, "scenes": rows})


def _errors(learned: Lessons, tasks: int) -> tuple[Floats, Floats]:
    """How right answers differ from their prediction: slopes of what is seen, and (tasks, kinds) of the rest."""
    seen = learned.phi[:, [FEATURE_NAMES.index(name) for name in _SEEN]]
    kinds = np.eye(len(KINDS))[learned.kind]
    scenes = np.zeros((len(seen), tasks * len(KINDS)))
    scenes[np.arange(len(seen)), learned.task * len(KINDS) + learned.kind] = 1.0
    known = np.hstack([seen, kinds, scenes])
    of_all = len(_SEEN) + len(KINDS)
    penalty = np.repeat([_RIDGE_OF_ALL, _RIDGE], [of_all, scenes.shape[1]])
    error = learned.right - seen[:, 0]
    found = np.linalg.solve(known.T @ known + np.diag(penalty), known.T @ error)
    slopes, of_kinds, of_tasks = np.split(found, [len(_SEEN), of_all])
    return slopes, of_kinds + of_tasks.reshape(tasks, len(KINDS))
