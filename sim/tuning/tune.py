"""Tuning from scenarios to a policy file, with the verdict on it.

result = tune(["rush-hour.yaml"], utility="quality=1,e2e_s=-0.02,cost_usd=-10", out="mine.yaml")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from policies.learning.utility import parse_utility
from policies.learning.writing import write_policy
from policies.policy import Policy
from profiles.errors import UserError
from profiles.reading import load_mapping
from sim.loading import LoadedScenario, load
from sim.tuning.arena import Arena, Case, Goal
from sim.tuning.journal import Journal
from sim.tuning.judging import Condition, Contender, judge, who_gains
from sim.tuning.measures import limited
from sim.tuning.search import Found, Tuner
from sim.tuning.spaces import greedy
from sim.version import VERSION

__all__ = ["tune"]

_TRAINED = 100_000  # requests of a scenario that every evaluation sees, or the next number of whole runs
_JUDGED = 900_000  # requests of a scenario that the verdict rests on
_MOST_TRAINED = 4  # seeds
_VALIDATED = 3  # seeds for each of training, at least and at most as follows
_LEAST_VALIDATED, _MOST_VALIDATED = 3, 12
_LEAST_JUDGED, _MOST_JUDGED = 8, 64
_TRAIN_FROM, _VALIDATE_FROM, _JUDGE_FROM = 10_000, 20_000, 30_000  # first seeds
_APART = 100  # seeds of one scenario and of the next: the same seed is the same luck
_MOST_SCENARIOS = 100

Told = Callable[[str], None]


def tune(
    scenarios: Sequence[str | Path | Mapping[str, Any]],
    *,
    utility: str,
    out: str | Path,
    slo: str = "",
    judge_on: Sequence[str | Path | Mapping[str, Any]] = (),
    loads: Sequence[float] = (1.0,),
    train_seeds: Sequence[int] = (),
    budget: int = 100,
    seed: int = 0,
    bounds: bool = True,
    free_rules: bool = False,
    changes: Mapping[str, Any] | None = None,
    told: Told | None = None,
) -> dict[str, Any]:
    """Tune a policy against the queues of `scenarios`, write it to `out`, and say how good it is.

    `utility` and `slo` are read by `parse_utility` and `limited`. Every contender (each built-in rule with its
    thresholds, or with all of its numbers if `free_rules`; the learned policy; with `bounds` the two that know more)
    tries at most `budget` policies, each in every scenario at every load with every one of `train_seeds` (by default as
    many as make 100,000 requests, 4 at most); other seeds stop the search, and others again judge it, in `judge_on` if
    given. What was tried is kept beside `out` until it is written: a run that was stopped goes on where it was. `told`
    hears what is going on.
    Raises `UserError` for bad input, and when no policy was found that keeps to the limits.
    """
    goal = Goal(parse_utility(utility), limited(slo))
    path = _writable(Path(out))
    _check_numbers(budget, loads, seed)
    loaded = [load(source, changes=changes) for source in scenarios]
    others = [load(source, changes=changes) for source in judge_on]
    if not loaded:
        raise UserError("nothing to tune in", next_step="give one scenario or more")
    if max(len(loaded), len(others)) > _MOST_SCENARIOS:
        raise UserError("too many scenarios", got=max(len(loaded), len(others)), allowed=f"at most {_MOST_SCENARIOS}")
    journal = Journal(path.with_name(f"{path.name}.journal"))
    begun = time.perf_counter()
    try:
        result, policy = _tuned(
            loaded,
            others,
            goal,
            journal,
            loads=tuple(loads),
            train_seeds=tuple(train_seeds),
            budget=budget,
            seed=seed,
            bounds=bounds,
            free_rules=free_rules,
            told=told or _silent,
        )
        write_policy(policy.model_copy(update={"name": path.stem}), path)
    except BaseException:
        journal.close(remove=not len(journal))
        raise
    journal.close(remove=True)
    return {"policy": str(path), **result, "wall_s": time.perf_counter() - begun}


def _tuned(
    scenarios: Sequence[LoadedScenario],
    judge_on: Sequence[LoadedScenario],
    goal: Goal,
    journal: Journal,
    *,
    loads: tuple[float, ...],
    train_seeds: tuple[int, ...],
    budget: int,
    seed: int,
    bounds: bool,
    free_rules: bool,
    told: Told,
) -> tuple[dict[str, Any], Policy]:
    known = len(journal)
    arena = Arena(scenarios, limits=list(goal.limits), journal=journal)
    where = Arena(judge_on, limits=list(goal.limits), journal=journal) if judge_on else arena
    train, validation = _training(arena, loads, train_seeds)
    conditions = _conditions(where, loads)
    told(f"tuning in {', '.join(arena.names)}" + (f"; {known:,} runs are known from before" if known else ""))
    tuner = Tuner(
        arena,
        goal,
        train=train,
        validation=validation,
        budget=budget,
        seed=seed,
        free_rules=free_rules,
        told=lambda what: told(f"{what} ({arena.runs:,} runs so far)"),
    )
    rules = tuner.rules()
    found = tuner.learned(rules)
    others = {"greedy": Contender(greedy(goal.utility)), "start": Contender(found.start)}
    if bounds:
        also = {"learned": found}
        also["system-clairvoyant"] = system = tuner.learned(rules, foresight=1, also=also)
        others["system_clairvoyant"] = Contender(system.policy, 1)
        others["clairvoyant"] = Contender(tuner.best_start(rules, foresight=2, also=also), 2)
    told(f"judging in {', '.join(where.names)} ({arena.runs:,} runs so far)")
    policies = {name: one.policy for name, one in rules.items()}
    verdict = judge(where, goal, conditions, learned=found.policy, rules=policies, others=others)
    best = policies[verdict["best_rule"]]
    gainers = {one.name: who_gains(where, goal.utility, one, ours=found.policy, theirs=best) for one in conditions}
    arenas = {id(one): one for one in (arena, where)}.values()
    how = _how(arena, goal, found, train, validation, conditions, budget=budget, seed=seed, free_rules=free_rules)
    result = {
        **verdict,
        "who_gains": gainers,
        "limits": goal.limits,
        "tuning": how,
        "rules": {
            name: {"evaluations": one.evaluations, "trained": one.trained, "validated": one.validated}
            for name, one in rules.items()
        },
        "runs": sum(one.runs for one in arenas),
        "privacy_violations": sum(one.strays for one in arenas),
        "assumed": _assumed([arena, where], free_rules=free_rules),
    }
    return result, found.policy.model_copy(update={"description": _description(goal), "tuning": how})


def _silent(_: str) -> None:
    """For callers who want to hear nothing."""


# -- seeds -------------------------------------------------------------------------------------------------------------


def _training(arena: Arena, loads: Sequence[float], seeds: Sequence[int]) -> tuple[list[Case], list[Case]]:
    if bad := [one for one in seeds if not 0 <= one < _VALIDATE_FROM]:
        raise UserError(
            "training seeds: bad value",
            got=", ".join(map(str, bad)),
            allowed=f"0 to {_VALIDATE_FROM - 1}: those from there on stop the search and judge it",
        )
    if len(set(seeds)) < len(seeds):
        raise UserError("a training seed is given twice", got=", ".join(map(str, seeds)))
    train, validation = [], []
    for k in range(len(arena.scenarios)):
        own = seeds or _seeds(_TRAIN_FROM, k, _runs(arena, k, _TRAINED, 1, _MOST_TRAINED))
        count = max(_LEAST_VALIDATED, min(_MOST_VALIDATED, _VALIDATED * len(own)))
        train += [Case(k, load, one) for load in loads for one in own]
        validation += [Case(k, load, one) for load in loads for one in _seeds(_VALIDATE_FROM, k, count)]
    return train, validation


def _conditions(arena: Arena, loads: Sequence[float]) -> list[Condition]:
    """Every scenario at every load."""
    return [
        Condition(
            name if load == 1.0 else f"{name} at load {load:g}",
            k,
            load,
            _seeds(_JUDGE_FROM, k, _runs(arena, k, _JUDGED, _LEAST_JUDGED, _MOST_JUDGED)),
        )
        for k, name in enumerate(arena.names)
        for load in loads
    ]


def _seeds(first: int, scenario: int, count: int) -> range:
    return range(first + _APART * scenario, first + _APART * scenario + count)


def _runs(arena: Arena, scenario: int, requests: int, least: int, most: int) -> int:
    """How many runs of a scenario make so many requests."""
    each = len(arena.prepared(Case(scenario, 1.0, _TRAIN_FROM)).workload)
    return max(least, min(most, round(requests / each)))


# -- what is told ------------------------------------------------------------------------------------------------------


def _how(
    arena: Arena,
    goal: Goal,
    found: Found,
    train: Sequence[Case],
    validation: Sequence[Case],
    judged: Sequence[Condition],
    *,
    budget: int,
    seed: int,
    free_rules: bool,
) -> dict[str, Any]:
    """Where a policy comes from: enough to make it again."""
    return {
        "nearfar": VERSION,
        "utility": str(goal.utility),
        "limits": dict(goal.limits),
        "scenarios": dict(zip(arena.names, (digest[:16] for digest in arena.hashes), strict=True)),
        "loads": sorted({case.load for case in train}),
        "seeds": {
            "train": sorted({case.seed for case in train}),
            "validation": sorted({case.seed for case in validation}),
            "judged": sorted({seed for one in judged for seed in one.seeds}),
        },
        "budget": budget,
        "search_seed": seed,
        "free_rules": free_rules,
        "begun_with": found.begun_with,
        "evaluations": found.evaluations,
        "learning_curve": [[p.evaluations, round(-p.value, 6), round(-p.validated, 6)] for p in found.curve],
    }


def _description(goal: Goal) -> str:
    limits = "".join(f", {name} at most {most:g}" for name, most in goal.limits.items())
    return f"tuned for {goal.utility}{limits}"


def _assumed(arenas: Sequence[Arena], *, free_rules: bool) -> list[str]:
    rules = "all of their numbers" if free_rules else "their thresholds"
    facts = [line for arena in arenas for one in arena.scenarios for line in _facts(arena, one)]
    return [
        f"rules were tuned in {rules}",
        "an unanswered request counts as wrong and as a minute of waiting, or as long as was waited for it",
        "pools are paid for until the last request arrives",
        *dict.fromkeys(facts),
    ]


def _facts(arena: Arena, scenario: LoadedScenario) -> tuple[str, ...]:
    fleet = arena.prepared(Case(arena.scenarios.index(scenario), 1.0, _TRAIN_FROM)).fleet
    return () if fleet is None else fleet.assumed


# -- what is refused ---------------------------------------------------------------------------------------------------


def _writable(path: Path) -> Path:
    if path.suffix not in (".yaml", ".yml"):
        raise UserError("a policy is written to a YAML file", got=str(path), allowed="FILE.yaml")
    if not path.parent.is_dir():
        raise UserError("no such folder to write to", got=str(path.parent))
    if path.is_dir():
        raise UserError("a policy is written to a file, this is a folder", got=str(path))
    if path.exists() and "layout" not in load_mapping(path, path.name):
        raise UserError("there is a file, and it is no policy", got=str(path), next_step="give another --out")
    return path


def _check_numbers(budget: int, loads: Sequence[float], seed: int) -> None:
    if budget < 20:
        raise UserError("budget: too small to search with", got=budget, allowed="20 or more policies")
    if not loads or not all(0.0 < one <= 100.0 for one in loads):
        raise UserError("loads: bad value", got=list(loads), allowed="factors above 0, at most 100")
    if len(set(loads)) < len(loads):
        raise UserError("a load is given twice", got=list(loads))
    if not 0 <= seed < 2**32:
        raise UserError("seed: bad value", got=seed, allowed="0 to 4294967295")
