"""The verdict on a tuned policy, on seeds that nothing was tuned on.

Every policy meets the same requests, seed by seed; what is told are means of differences, with the interval that
Student's t gives for so many seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.learning.utility import Utility
from policies.policy import Policy
from profiles.errors import UserError
from sim.results.seeds import interval
from sim.tuning.arena import Arena, Case, Foresight, Goal, Means
from sim.tuning.measures import by_group

__all__ = ["Contender", "check_limits", "judge", "who_gains"]

Floats = NDArray[np.float64]

_GROUP_SEEDS = 6
_TOLERANCE = 1e-3  # of a limit


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy and what it may know beforehand."""

    policy: Policy
    foresight: Foresight = 0


def judge(
    arena: Arena,
    goal: Goal,
    seeds: Mapping[int, Sequence[int]],
    *,
    learned: Policy,
    rules: Mapping[str, Policy],
    bounds: Mapping[str, Contender],
) -> dict[str, Any]:
    """The learned policy against rules and bounds. `seeds` are those of each scenario of the arena, by number.

    The best rule is the one with the highest mean on these very seeds, which favours the rules. With several scenarios
    the whole is their mean; the interval of the whole is that of independent scenarios.
    """
    contenders = {"learned": Contender(learned)} | {f"rule {n}": Contender(p) for n, p in rules.items()}
    contenders |= bounds
    values: dict[str, list[Floats]] = {name: [] for name in contenders}
    for number, own in seeds.items():
        cases = [Case(number, 1.0, seed) for seed in own]
        for name, one in contenders.items():
            (found,) = arena.means([one.policy], cases, foresight=one.foresight)
            values[name].append(np.array([goal.value(means) for means in found]))
        arena.forget(cases)
    best = max(rules, key=lambda name: _mean(values[f"rule {name}"]))
    whole = _compared(values, best, bounds)
    each = {
        arena.names[number]: _compared({name: [found[k]] for name, found in values.items()}, _best(values, k), bounds)
        for k, number in enumerate(seeds)
    }
    return {**whole, "scenarios": each}


def _compared(values: Mapping[str, Sequence[Floats]], best: str, bounds: Mapping[str, Contender]) -> dict[str, Any]:
    means = {name: _mean(found) for name, found in values.items()}
    rule = means[f"rule {best}"]
    system = means.get("system_clairvoyant")
    gain = _gain(values["learned"], values[f"rule {best}"])
    gap = None if system is None else system - rule
    return {
        "utility": {
            "learned": means["learned"],
            "rules": {name.removeprefix("rule "): mean for name, mean in means.items() if name.startswith("rule ")},
            **{name: means[name] for name in bounds},
        },
        "best_rule": best,
        "gain": gain,
        "gap": gap,
        "gap_recovered": None if gap is None or gap <= 0.0 else (means["learned"] - rule) / gap,
    }


def _best(values: Mapping[str, Sequence[Floats]], k: int) -> str:
    rules = [name for name in values if name.startswith("rule ")]
    return max(rules, key=lambda name: float(values[name][k].mean())).removeprefix("rule ")


def _mean(found: Sequence[Floats]) -> float:
    return float(np.mean([values.mean() for values in found]))


def _gain(ours: Sequence[Floats], theirs: Sequence[Floats]) -> dict[str, float | None]:
    """Mean over scenarios of the mean paired difference, and its 95 % interval."""
    pairs = [(a - b).tolist() for a, b in zip(ours, theirs, strict=True)]
    value = float(np.mean([np.mean(one) for one in pairs]))
    halves = []
    for one in pairs:
        low, high = (interval(one)[end] for end in ("low", "high"))
        if low is None or high is None:
            return {"value": value, "low": None, "high": None}
        halves.append((high - low) / 2.0)
    half = float(np.linalg.norm(halves)) / len(pairs)
    return {"value": value, "low": value - half, "high": value + half}


def check_limits(
    arena: Arena, goal: Goal, seeds: Mapping[int, Sequence[int]], *, learned: Policy, rules: Mapping[str, Policy]
) -> None:
    """Raise `UserError` when the policy exceeds a limit, in the mean over the judging seeds of a scenario."""
    for k, own in seeds.items() if goal.limits else ():
        cases = [Case(k, 1.0, one) for one in own]
        (found,) = arena.means([learned], cases)
        for name, most in goal.limits.items():
            if _figure(found, name) > most * (1.0 + _TOLERANCE):
                of_rules = zip(rules, arena.means(list(rules.values()), cases), strict=True)
                raise _exceeded(
                    f"{name} in {arena.names[k]}",
                    _figure(found, name),
                    most,
                    {r: _figure(of, name) for r, of in of_rules},
                )
        arena.forget(cases)


def _figure(found: Sequence[Means], name: str) -> float:
    return sum(one[name] for one in found) / len(found)


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


def who_gains(
    arena: Arena, utility: Utility, scenario: int, seeds: Sequence[int], *, ours: Policy, theirs: Policy
) -> dict[str, Any]:
    """`device` and `task` -> name -> requests a run, and by how much the utility of its requests differs.

    Bills are split by the energy of requests, so that costs of groups are shares, not causes.
    """
    cases = [Case(scenario, 1.0, seed) for seed in seeds[:_GROUP_SEEDS]]
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
