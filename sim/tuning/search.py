"""The search itself: rules with their numbers tuned, and a learned policy, all under the same budget.

tuner = Tuner(arena, goal, train=..., validation=..., budget=150, seed=0)
rules = tuner.rules()
learned = tuner.learned(rules)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from policies.learning.minimise import Point, minimise
from policies.policy import Policy, builtin_names, load_policy
from sim.tuning.arena import Arena, Case, Foresight, Goal
from sim.tuning.lessons import Lessons, corrected, lessons
from sim.tuning.spaces import Learned, Rule, Space, greedy, rescaled, rounded, spread_of

__all__ = ["Found", "Tuner"]

Floats = NDArray[np.float64]

# Of a bill, much is there anyway, and some is caused by load: how much of a predicted cost may be worth minding, and
# how much utility a full pool may cost the others.
_PRICES = ((0.0, 0.0), (0.1, 0.0), (0.3, 0.0), (1.0, 0.0), (0.0, 0.1), (0.3, 0.3), (0.3, 1.0))
_SPREAD = 0.3  # of the scores that a search begins with
_STEP = 0.1  # of scores
_SIGMA_RULE, _SIGMA_LEARNED = 1.0, 0.1
_LESSONS = 30_000  # requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A contender after its search."""

    policy: Policy
    begun_with: str
    start: Policy
    """What it began with, before the search."""
    trained: float
    """Its utility where it was tuned."""
    validated: float
    evaluations: int
    curve: tuple[Point, ...]


class Tuner:
    """Searches in one arena for one goal. The same arguments give the same policies.

    A utility has no unit, but a search has steps: within, it is divided by a number that makes its terms commonly
    `_SPREAD` apart.
    """

    def __init__(
        self,
        arena: Arena,
        goal: Goal,
        *,
        train: Sequence[Case],
        validation: Sequence[Case],
        budget: int,
        seed: int,
        free_rules: bool = False,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`budget` is the number of policies that each contender may try in all of `train`; with `free_rules` all
        numbers of a rule are tuned, not only its thresholds."""
        self.arena = arena
        self._unit = spread_of(greedy(goal.utility)) / _SPREAD
        self.goal = goal._replace(utility=goal.utility.times(1.0 / self._unit))
        self.train = tuple(train)
        self.validation = tuple(validation)
        self.budget = budget
        self.seed = seed
        self.free_rules = free_rules
        self._told = told
        self._lessons: dict[Foresight, Lessons] = {}
        ready = [arena.prepared(case).fleet for case in self.train]
        self.tasks = list(dict.fromkeys(name for fleet in ready if fleet is not None for name in fleet.task_names))

    def values(self, policies: Sequence[Policy], cases: Sequence[Case], foresight: Foresight = 0) -> list[float]:
        """Mean utility of each policy."""
        return [float(values.mean()) for values in self._of_cases(policies, cases, foresight)]

    def _of_cases(self, policies: Sequence[Policy], cases: Sequence[Case], foresight: Foresight) -> list[Floats]:
        """Utilities of each policy, by case."""
        found = self.arena.means(policies, cases, foresight=foresight, smooth=True)
        return [np.array([self.goal.value(means) for means in of_policy]) for of_policy in found]

    def rules(self) -> dict[str, Found]:
        """Every built-in rule, by name."""
        found = {}
        for name in builtin_names():
            self._told(f"rule {name}")
            rule = load_policy(name)
            found[name] = self._searched(Rule(rule, self.tasks, free=self.free_rules), name, sigma=_SIGMA_RULE)
        return found

    def learned(
        self, rules: Mapping[str, Found], *, foresight: Foresight = 0, also: Mapping[str, Found] | None = None
    ) -> Found:
        """What a search finds from the best start; `also` are more policies to begin with."""
        self._told("system-clairvoyant" if foresight else "learned policy")
        starts = self._starts(rules, foresight, also)
        name = self._best(starts, foresight)
        found = self._searched(
            Learned(starts[name], step=_STEP), name, sigma=_SIGMA_LEARNED, foresight=foresight, spent=len(starts)
        )
        return replace(found, policy=rounded(rescaled(found.policy, self._unit)))

    def best_start(self, rules: Mapping[str, Found], *, foresight: Foresight, also: Mapping[str, Found]) -> Policy:
        """What a search would begin with: enough for who knows all outcomes, where there is little to search for."""
        starts = self._starts(rules, foresight, also)
        return starts[self._best(starts, foresight)]

    def _best(self, starts: Mapping[str, Policy], foresight: Foresight) -> str:
        values = self.values(list(starts.values()), [*self.train, *self.validation], foresight)
        return max(zip(starts, values, strict=True), key=lambda pair: pair[1])[0]

    def _starts(
        self, rules: Mapping[str, Found], foresight: Foresight, also: Mapping[str, Found] | None
    ) -> dict[str, Policy]:
        """The best rule, and the utility itself as a policy: as it is, and corrected."""
        best = max(rules, key=lambda name: rules[name].validated)
        starts = self._greedy(foresight) | {f"rule {best}": _scaled(rules[best].policy)}
        return starts | {name: rescaled(one.policy, 1.0 / self._unit) for name, one in (also or {}).items()}

    def _greedy(self, foresight: Foresight) -> dict[str, Policy]:
        taught = self._taught(foresight) if foresight < 2 else None  # outcomes need no correction
        starts = {}
        costs = bool(self.goal.utility.weight("cost_usd"))
        for of_cost, of_load in dict.fromkeys((of_cost if costs else 1.0, of_load) for of_cost, of_load in _PRICES):
            base = greedy(self.goal.utility, of_cost=of_cost, of_load=of_load)
            starts[base.name] = base
            if taught is not None:
                starts[f"{base.name}, corrected"] = corrected(base, self.goal.utility, taught, self.tasks)
        return starts

    def _taught(self, foresight: Foresight) -> Lessons:
        if foresight not in self._lessons:
            base = greedy(self.goal.utility, of_cost=0.0)
            runs, requests = [], 0
            for case in self.train:
                if requests < _LESSONS:
                    runs.append(self.arena.routed(base, case, foresight=foresight))
                    requests += len(runs[-1].workload)
            self._lessons[foresight] = lessons(runs, self.arena.count)
        return self._lessons[foresight]

    def _searched(self, space: Space, name: str, *, sigma: float, foresight: Foresight = 0, spent: int = 0) -> Found:
        search = minimise(
            lambda points: [-v for v in self.values([space.policy(p) for p in points], self.train, foresight)],
            space.start,
            evaluations=self.budget - spent,
            seed=self.seed,
            step=sigma,
            validate=lambda point: -self._of_cases([space.policy(point)], self.validation, foresight)[0],
        )
        return Found(
            policy=rounded(space.policy(search.best)),
            begun_with=name,
            start=space.policy(space.start),
            trained=-search.value * self._unit,
            validated=-search.validated * self._unit,
            evaluations=search.evaluations + spent,
            curve=tuple(
                Point(one.evaluations, one.value * self._unit, one.validated * self._unit) for one in search.curve
            ),
        )


def _scaled(rule: Policy) -> Policy:
    """Scores of a rule have no unit: as far apart as utilities are."""
    return rescaled(rule, _SPREAD / spread_of(rule))
