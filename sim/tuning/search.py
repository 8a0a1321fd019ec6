"""The search itself: rules with their numbers tuned, and a learned policy, all under the same budget.

tuner = Tuner(arena, goal, train=..., validation=..., budget=150, seed=0)
rules = tuner.rules()
learned = tuner.learned(rules)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

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
_SPREAD = 0.3  # of the scores that a search begins with, in utilities
_STEP = 0.1  # utilities
_SIGMA_RULE, _SIGMA_LEARNED = 1.0, 0.1
_LESSONS = 30_000  # requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A contender after its search."""

    policy: Policy
    begun_with: str
    trained: float
    """Its utility where it was tuned."""
    validated: float
    evaluations: int
    curve: tuple[Point, ...]


class Tuner:
    """Searches in one arena for one goal. The same arguments give the same policies."""

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
        self.goal = goal
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

    def learned(self, rules: Mapping[str, Found], *, foresight: Foresight = 0, also: Policy | None = None) -> Found:
        """What a search finds from the best start: the best rule, or the utility itself as a policy, corrected.

        `also` is one more policy to begin with.
        """
        self._told(("learned policy", "system-clairvoyant", "clairvoyant")[foresight])
        best = max(rules, key=lambda name: rules[name].trained)
        starts = self._starts(foresight) | {f"rule {best}": _scaled(rules[best].policy)}
        if also is not None:
            starts["learned"] = also
        values = self.values(list(starts.values()), [*self.train, *self.validation], foresight)
        name = max(zip(starts, values, strict=True), key=lambda pair: pair[1])[0]
        return self._searched(
            Learned(starts[name], step=_STEP), name, sigma=_SIGMA_LEARNED, foresight=foresight, spent=len(starts)
        )

    def _starts(self, foresight: Foresight) -> dict[str, Policy]:
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
            self._lessons[foresight] = lessons(runs)
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
            trained=-search.value,
            validated=-search.validated,
            evaluations=search.evaluations + spent,
            curve=tuple(search.curve),
        )


def _scaled(rule: Policy) -> Policy:
    """Scores of a rule have no unit: as far apart as utilities are."""
    return rescaled(rule, _SPREAD / spread_of(rule))
