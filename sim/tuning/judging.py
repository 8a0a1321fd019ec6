"""The verdict on a tuned policy, on seeds that nothing was tuned on.

Every policy meets the same requests, seed by seed; what is told are means of differences, with the interval that
Student's t gives for so many seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.learning.utility import Utility
from policies.policy import Policy
from profiles.errors import UserError
from sim.results.seeds import interval
from sim.tuning.arena import Arena, Case, Foresight, Goal, Means
from sim.tuning.measures import by_group

__all__ = ["Condition", "Contender", "judge", "who_gains"]

Floats = NDArray[np.float64]
Interval = dict[str, float | None]

_GROUP_SEEDS = 6
_TOLERANCE = 1e-3  # of a limit


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy and what it may know beforehand."""

    policy: Policy
    foresight: Foresight = 0


class Condition(NamedTuple):
    """Where a policy is judged: a scenario of the arena at a load, under seeds of its own."""

    name: str
    scenario: int
    load: float
    seeds: Sequence[int]

    @property
    def cases(self) -> list[Case]:
        """One for each seed."""
        return [Case(self.scenario, self.load, seed) for seed in self.seeds]


class _Found(NamedTuple):
    """What a contender gave in one condition."""

    utility: Floats
    """(seeds,)"""
    limited: dict[str, float]
    """Mean over the seeds of every figure that has a limit."""


def judge(
    arena: Arena,
    goal: Goal,
    conditions: Sequence[Condition],
    *,
    learned: Policy,
    rules: Mapping[str, Policy],
    others: Mapping[str, Contender],
) -> dict[str, Any]:
    """The learned policy against rules and other contenders (`system_clairvoyant` is the one that gaps are told to).

    The best rule is the one with the highest mean on these very seeds, of those that keep the limits in all conditions
    if one does; that favours the rules. With several conditions the whole is their mean; the interval of the whole is
    that of independent ones. Raises `UserError` when the learned policy exceeds a limit.
    """
    contenders = {"learned": Contender(learned)} | {f"rule {n}": Contender(p) for n, p in rules.items()} | dict(others)
    found: dict[str, list[_Found]] = {name: [] for name in contenders}
    for condition in conditions:
        for name, one in contenders.items():
            (means,) = arena.means([one.policy], condition.cases, foresight=one.foresight)
            found[name].append(_found(means, goal))
        arena.forget(condition.cases)
    _check_limits(found, goal, conditions)
    whole = _compared(found, goal, list(others))
    each = {
        condition.name: _compared({name: [one[k]] for name, one in found.items()}, goal, list(others))
        for k, condition in enumerate(conditions)
    }
    return {**whole, "scenarios": each}


def _found(means: Sequence[Means], goal: Goal) -> _Found:
    limited = {name: float(np.mean([one[name] for one in means])) for name in goal.limits}
    return _Found(np.array([goal.utility.of(one) for one in means]), limited)


def _keeps(found: Sequence[_Found], goal: Goal) -> bool:
    return all(one.limited[name] <= most * (1.0 + _TOLERANCE) for one in found for name, most in goal.limits.items())


def _compared(found: Mapping[str, Sequence[_Found]], goal: Goal, others: Sequence[str]) -> dict[str, Any]:
    values = {name: [one.utility for one in several] for name, several in found.items()}
    means = {name: _mean(several) for name, several in values.items()}
    rules = [name for name in found if name.startswith("rule ")]
    keeping = [name for name in rules if _keeps(found[name], goal)]
    best = max(keeping or rules, key=lambda name: means[name])
    gap = _interval(values["system_clairvoyant"], values[best]) if "system_clairvoyant" in values else None
    verdict: dict[str, Any] = {
        "utility": {
            "learned": means["learned"],
            "rules": {name.removeprefix("rule "): means[name] for name in rules},
            **{name: means[name] for name in others},
        },
        "best_rule": best.removeprefix("rule "),
        "gain": _interval(values["learned"], values[best]),
        "gap": gap,
        "gap_recovered": None,
        "gap_recovered_interval": None,
    }
    if gap is not None and _is_positive(gap):
        share = _share(values["learned"], values[best], values["system_clairvoyant"])
        verdict |= {"gap_recovered": share["value"], "gap_recovered_interval": {k: share[k] for k in ("low", "high")}}
    if goal.limits:
        verdict["limited"] = {
            name.removeprefix("rule "): {limit: max(one.limited[limit] for one in several) for limit in goal.limits}
            for name, several in found.items()
        }
        verdict["rules_within_limits"] = [name.removeprefix("rule ") for name in keeping]
    return verdict


def _is_positive(found: Interval) -> bool:
    """Beyond doubt, where one run alone leaves none."""
    low = found["value"] if found["low"] is None else found["low"]
    return low is not None and low > 0.0


def _mean(found: Sequence[Floats]) -> float:
    return float(np.mean([values.mean() for values in found]))


def _interval(ours: Sequence[Floats], theirs: Sequence[Floats]) -> Interval:
    """Mean over conditions of the mean paired difference, and its 95 % interval."""
    return _whole([a - b for a, b in zip(ours, theirs, strict=True)])


def _whole(parts: Sequence[Floats]) -> Interval:
    """The mean of means of independent samples, and its 95 % interval."""
    value = _mean(parts)
    halves = []
    for one in parts:
        low, high = (interval(one.tolist())[end] for end in ("low", "high"))
        if low is None or high is None:
            return {"value": value, "low": None, "high": None}
        halves.append((high - low) / 2.0)
    half = float(np.linalg.norm(halves)) / len(parts)
    return {"value": value, "low": value - half, "high": value + half}


def _share(ours: Sequence[Floats], rule: Sequence[Floats], system: Sequence[Floats]) -> Interval:
    """How much of the way from the rule to who knows the system is ours: a ratio of means, with the interval of its
    linearisation (Cochran, "Sampling Techniques", 1977, chapter 6)."""
    gaps = [b - a for a, b in zip(rule, system, strict=True)]
    gains = [b - a for a, b in zip(rule, ours, strict=True)]
    gap = _mean(gaps)
    share = _mean(gains) / gap
    return _whole([share + (gain - share * own) / gap for gain, own in zip(gains, gaps, strict=True)])


def _check_limits(found: Mapping[str, Sequence[_Found]], goal: Goal, conditions: Sequence[Condition]) -> None:
    """Raise `UserError` when the learned policy exceeds a limit, in the mean over the seeds of a condition."""
    for k, condition in enumerate(conditions):
        for name, most in goal.limits.items():
            mean = found["learned"][k].limited[name]
            if mean > most * (1.0 + _TOLERANCE):
                rules = {
                    rule.removeprefix("rule "): several[k].limited[name]
                    for rule, several in found.items()
                    if rule.startswith("rule ")
                }
                raise _exceeded(f"{name} in {condition.name}", mean, most, rules)


def _exceeded(what: str, mean: float, most: float, rules: Mapping[str, float]) -> UserError:
    rule = min(rules, key=lambda name: rules[name])
    if rules[rule] <= most:
        return UserError(
            f"the tuned policy does not keep {what}, though rule {rule} does ({rules[rule]:.4g})",
            got=f"{mean:.4g}",
            allowed=f"at most {most:g}",
            next_step="give a larger --budget, or more --train-seeds",
        )
    least = min(mean, rules[rule])
    return UserError(
        f"no policy was found that keeps {what}",
        got=f"{least:.4g} at best",
        allowed=f"at most {most:g}",
        next_step=f"allow {least * 1.02:.3g}, or give the scenario more replicas",
    )


def who_gains(arena: Arena, utility: Utility, condition: Condition, *, ours: Policy, theirs: Policy) -> dict[str, Any]:
    """`device` and `task` -> name -> requests a run, and by how much the utility of its requests differs.

    Bills are split by the energy of requests, so that costs of groups are shares, not causes.
    """
    cases = condition.cases[:_GROUP_SEEDS]
    pairs = [[by_group(arena.play(policy, case)) for policy in (ours, theirs)] for case in cases]
    arena.forget(cases)
    return {
        what: {
            name: _group([(mine[what].get(name), other[what].get(name)) for mine, other in pairs], utility)
            for name in dict.fromkeys(name for mine, _ in pairs for name in mine[what])
        }
        for what in ("device", "task")
    }


def _group(
    pairs: Sequence[tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]], utility: Utility
) -> dict[str, Any]:
    """Runs weigh by their requests of the group, none being possible: gains of groups add up to that of the whole.

    The interval is that of a ratio of means (Cochran, "Sampling Techniques", 1977, chapter 6).
    """
    counts = np.array([mine["requests"] if mine else 0 for mine, _ in pairs], np.float64)
    gains = np.array([utility.of(mine) - utility.of(other) if mine and other else 0.0 for mine, other in pairs])
    value = float(counts @ gains / counts.sum())
    found = interval((value + counts / counts.mean() * (gains - value)).tolist())
    return {
        "requests": float(counts.mean()),
        "gain": {"value": value, "low": found["low"], "high": found["high"]},
    }
