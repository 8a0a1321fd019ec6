"""Where policies are tried: scenarios, loads and seeds, prepared once, run again and again.

Whatever tries a policy meets the same requests, radios and outcomes (common random numbers), so that two policies
differ by what they do alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal, NamedTuple

import numpy as np

from policies.learning.utility import Utility
from policies.policy import Policy
from policies.table import PolicyTable
from profiles.errors import UserError
from profiles.files import yaml_files
from sim.loading import LoadedScenario, without_rollouts
from sim.routing import Routing
from sim.run import Prepared, prepare
from sim.scenario import FleetScenario
from sim.tuning.journal import Journal
from sim.tuning.measures import Played, means, played, smooth_means
from sim.version import VERSION

__all__ = ["Arena", "Case", "Goal", "Means"]

Means = dict[str, float]
Foresight = Literal[0, 1, 2]

_EXCESS = 10.0  # units of utility that are lost by exceeding a limit by its own size


class Case(NamedTuple):
    """One condition: a scenario at a load (1: as it is) under a seed."""

    scenario: int
    load: float
    seed: int


class Goal(NamedTuple):
    """What to maximise, and what not to exceed."""

    utility: Utility
    limits: dict[str, float]

    def value(self, found: Means) -> float:
        """The utility; less of it the further a limit is exceeded."""
        excess = sum(max(0.0, found[name] / most - 1.0) for name, most in self.limits.items())
        return self.utility.of(found) - _EXCESS * excess


class Arena:
    """Scenarios to try policies in. Raises `UserError` where one has no fleet."""

    def __init__(
        self,
        scenarios: Sequence[LoadedScenario],
        *,
        limits: Sequence[str] = (),
        workers: int = 2,
        journal: Journal | None = None,
        told: Callable[[int], None] | None = None,
    ) -> None:
        """`limits` are the names of the figures that limits are set on; `told` hears the number of runs so far."""
        for one in scenarios:
            if not isinstance(one.scenario, FleetScenario):
                raise UserError(f"{one.where}: a routing policy is for a fleet, and this scenario has none")
        self.scenarios = [without_rollouts(one) for one in scenarios]
        self.hashes = [_hash(one) for one in self.scenarios]
        self.limits = tuple(limits)
        self.workers = workers
        self.runs = 0
        self.strays = 0  # requests that reached a place which their privacy class forbids, over all runs
        self._journal = journal
        self._told = told
        self._prepared: dict[Case, Prepared] = {}
        self._first: dict[int, Prepared] = {}  # by scenario: facts and pools are the same under every seed
        self._lock = Lock()

    @property
    def names(self) -> list[str]:
        """Of the scenarios; numbered where several have the same."""
        names = [one.scenario.name for one in self.scenarios]
        return [
            f"{name} {names[: k + 1].count(name)}" if names.count(name) > 1 else name for k, name in enumerate(names)
        ]

    def prepared(self, case: Case) -> Prepared:
        """A case, ready to run; kept for the next time."""
        with self._lock:
            if case not in self._prepared:
                like = self._first.get(case.scenario)
                self._prepared[case] = _prepared(self.scenarios[case.scenario], case, like)
                self._first.setdefault(case.scenario, self._prepared[case])
            return self._prepared[case]

    def forget(self, cases: Sequence[Case]) -> None:
        """Give the memory of these back."""
        for case in cases:
            self._prepared.pop(case, None)

    def routed(self, policy: Policy, case: Case, *, foresight: Foresight = 0) -> Prepared:
        """A case, to be routed by this policy."""
        ready = self.prepared(case)
        assert ready.fleet is not None
        table = policy.table(ready.fleet.task_names)
        fleet = replace(ready.fleet, foresight=foresight)
        return replace(ready, fleet=fleet, routing=Routing(name=policy.name, table=table))

    def play(self, policy: Policy, case: Case, *, foresight: Foresight = 0) -> Played:
        """One run to its end. Raises `UserError` as `sim.run` does."""
        one = played(self.routed(policy, case, foresight=foresight))
        self.count(one.outcome.plane.stray)
        return one

    def count(self, strays: int) -> None:
        """One more run, in which so many requests reached a place that their privacy class forbids."""
        with self._lock:
            self.runs += 1
            self.strays += int(strays)
            runs = self.runs
        if self._told is not None:
            self._told(runs)

    def means(
        self, policies: Sequence[Policy], cases: Sequence[Case], *, foresight: Foresight = 0, smooth: bool = False
    ) -> list[list[Means]]:
        """[policy][case]: what each gave, `smooth` as in `smooth_means`."""
        for case in cases:
            self.prepared(case)

        def one(job: tuple[Policy, Case]) -> Means:
            return self._means(*job, foresight, smooth)

        jobs = [(policy, case) for policy in policies for case in cases]
        with ThreadPoolExecutor(self.workers) as pool:
            found = list(pool.map(one, jobs))
        return [found[k * len(cases) : (k + 1) * len(cases)] for k in range(len(policies))]

    def _means(self, policy: Policy, case: Case, foresight: Foresight, smooth: bool) -> Means:
        fleet = self.prepared(case).fleet
        assert fleet is not None
        key = _key(policy.table(fleet.task_names), self.hashes[case.scenario], case, foresight, smooth, self.limits)
        known = self._journal.get(key) if self._journal is not None else None
        if known is None:
            measure = smooth_means if smooth else means
            known = measure(self.play(policy, case, foresight=foresight), self.limits)
            if self._journal is not None:
                self._journal.put(key, known)
        else:
            self.count(int(known["strays"]))
        return known


def _prepared(scenario: LoadedScenario, case: Case, like: Prepared | None) -> Prepared:
    if case.load == 1.0:
        return prepare(scenario, seed=case.seed, like=like)
    assert isinstance(scenario.scenario, FleetScenario)
    asked = scenario.scenario.workload.requests
    if asked is None:
        raise UserError(f"{scenario.where}: a load needs workload.requests", got=case.load)
    return prepare(scenario, seed=case.seed, requests=max(1, math.ceil(asked * case.load)), like=like)


def _hash(loaded: LoadedScenario) -> str:
    """Of everything that a scenario says, with what it extends, and of the files that it names."""
    digest = hashlib.sha256(loaded.scenario.model_dump_json().encode())
    named = [loaded.folder / name for name in _named(loaded.scenario.model_dump(mode="json"))]
    if loaded.scenario.profiles:
        named += sorted(yaml_files(loaded.folder / loaded.scenario.profiles))
    for path in named:
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _named(data: Any) -> Iterator[str]:
    """Files of traces and of the user's own functions."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        if key in ("path", "file") and isinstance(value, str):
            yield value
        else:
            yield from _named(value)


@functools.cache
def _code_and_facts() -> str:
    """Of everything that is shipped and may change a run."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for folder in ("profiles", "policies", "sim"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".py", ".yaml", ".csv"):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _key(table: PolicyTable, scenario: str, case: Case, foresight: int, smooth: bool, limits: Sequence[str]) -> str:
    """Of a run and of the engine that runs it."""
    told: list[Any] = [
        VERSION,
        _code_and_facts(),
        scenario,
        case.load,
        case.seed,
        foresight,
        smooth,
        *limits,
        *table.kinds,
    ]
    digest = hashlib.sha256(json.dumps(told).encode())
    for numbers in (table.weights, table.scene):
        digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()[:32]
