"""What a search may change of a policy: vectors of numbers, and the policies that they mean.

A *rule* keeps its form: only the numbers that it calls its thresholds change. A *learned* policy may use every action
and every feature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policies.layout import KINDS, LAYOUT_VERSION, Kind
from policies.learning.scales import APART
from policies.learning.utility import Utility
from policies.policy import DEFAULT_SCENE, Policy

__all__ = ["Learned", "Rule", "Space", "greedy", "rescaled", "rounded", "spread_of"]

Floats = NDArray[np.float64]

_SCENE_STEP = 2.0  # of the scores that scenes are written with
_MOST_FACTOR = 30.0  # e^30: far beyond any use, within the bounds of a weight


class Space(Protocol):
    """Vectors whose coordinates have about the same scale: 1 is a step worth trying."""

    @property
    def start(self) -> Floats:
        """The vector of the policy that the search begins with."""
        ...

    def policy(self, at: Floats) -> Policy:
        """What a vector means."""
        ...


class Rule:
    """A rule with its thresholds loose: the weights that it names, and the scores of `near` in its scenes.

    Scores of kinds are moved, other weights multiplied, so that they keep their sign.
    """

    def __init__(self, policy: Policy, tasks: Sequence[str], *, free: bool = False) -> None:
        """`free`: all of its weights are loose, whether it calls them thresholds or not."""
        self._base = policy
        self._names = [name for name in policy.thresholds if name != "scenes"]
        if free:
            self._names = [name for name, weight in policy.weights.items() if weight]
        loose = free or "scenes" in policy.thresholds
        self._scenes = [name for name in policy.scenes if loose and (name == DEFAULT_SCENE or name in tasks)]
        if free and self._names and not policy.scenes:
            self._names.remove(max(self._names, key=lambda name: abs(policy.weights[name])))  # scores have no unit

    @property
    def start(self) -> Floats:
        return np.zeros(len(self._names) + len(self._scenes))

    def policy(self, at: Floats) -> Policy:
        weights = dict(self._base.weights)
        for name, move in zip(self._names, at[: len(self._names)].tolist(), strict=True):
            weight = weights.get(name, 0.0)
            factor = math.exp(min(max(move, -_MOST_FACTOR), _MOST_FACTOR))
            weights[name] = _within(weight + move if name in KINDS else weight * factor)
        scenes = {task: dict(row) for task, row in self._base.scenes.items()}
        for task, move in zip(self._scenes, at[len(self._names) :].tolist(), strict=True):
            scenes[task]["near"] = scenes[task].get("near", 0.0) + _SCENE_STEP * move
        return self._base.model_copy(update={"weights": weights, "scenes": scenes})


class Learned:
    """Every feature but chance; actions, scenes and what chance weighs are those of the policy that it begins with."""

    def __init__(self, base: Policy, *, step: float) -> None:
        """`step` is a difference of scores that is worth trying."""
        self._base = base
        self._names = [name for name in APART if name in base.actions or name not in KINDS]
        self._steps = np.array([step / APART[name] for name in self._names])

    @property
    def start(self) -> Floats:
        weights = np.array([self._base.weights.get(name, 0.0) for name in self._names])
        return np.asarray(weights / self._steps)

    def policy(self, at: Floats) -> Policy:
        numbers = (at * self._steps).tolist()
        loose = {name: _within(number) for name, number in zip(self._names, numbers, strict=True) if number}
        fixed = {name: weight for name, weight in self._base.weights.items() if name not in APART}
        return self._base.model_copy(update={"weights": fixed | loose})


def greedy(utility: Utility, *, of_cost: float = 1.0, of_load: float = 0.0) -> Policy:
    """Takes for every request what its own predicted figures are worth, whatever that does to others.

    It minds only so much of a predicted cost, and `of_load` for each request per slot of a pool.
    """
    weights = {name: weight * (of_cost if name == "cost_usd" else 1.0) for name, weight in utility.terms}
    weights["load"] = -of_load
    name = f"greedy, {of_cost:g} of the cost" + (f", {of_load:g} for load" if of_load else "")
    kept = {feature: weight for feature, weight in weights.items() if weight}
    return Policy(name=name, layout=LAYOUT_VERSION, actions=KINDS, weights=kept)


def rounded(policy: Policy, digits: int = 5) -> Policy:
    """Numbers that a person can read: so many significant digits."""

    def short(number: float) -> float:
        return float(f"{number:.{digits}g}")

    weights = {name: short(weight) for name, weight in policy.weights.items()}
    scenes = {task: {kind: short(number) for kind, number in row.items()} for task, row in policy.scenes.items()}
    return policy.model_copy(update={"weights": weights, "scenes": scenes})


def spread_of(policy: Policy) -> float:
    """How far apart the scores of two actions commonly are."""
    numbers = [abs(weight) * APART.get(name, 1.0) for name, weight in policy.weights.items()]
    numbers += [abs(number) for row in policy.scenes.values() for number in row.values()]
    return max(numbers, default=0.0) or 1.0


def rescaled(policy: Policy, factor: float) -> Policy:
    """The same choices, with all scores multiplied."""
    scenes: dict[str, dict[Kind, float]] = {
        task: {kind: _within(number * factor) for kind, number in row.items()} for task, row in policy.scenes.items()
    }
    weights = {name: _within(weight * factor) for name, weight in policy.weights.items()}
    return policy.model_copy(update={"weights": weights, "scenes": scenes})


def _within(weight: float) -> float:
    return math.copysign(min(abs(weight), 1e12), weight)
