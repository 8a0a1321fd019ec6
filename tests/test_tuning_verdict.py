"""The verdict on a tuned policy: gains of pairs, who gains, and limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from policies.layout import KINDS
from policies.learning.utility import TERMS, Utility, parse_utility
from policies.policy import load_policy
from profiles.errors import UserError
from sim.results.seeds import interval
from sim.tuning.arena import Arena, Case, Goal
from sim.tuning.judging import Condition, Contender, _share, judge, who_gains
from sim.tuning.measures import by_group, limited, means
from sim.tuning.spaces import greedy
from tests.tuned import TASKS, UTILITY, tiny

GOAL = Goal(parse_utility(UTILITY), {})
GREEDY = greedy(GOAL.utility)
CASES = [Case(0, 1.0, seed) for seed in range(8)]


@pytest.fixture(scope="module")
def arena() -> Arena:
    return Arena([tiny()])


# -- the verdict -------------------------------------------------------------------------------------------------------


def conditions(arena: Arena, seeds: Mapping[int, Sequence[int]]) -> list[Condition]:
    return [Condition(arena.names[k], k, 1.0, own) for k, own in seeds.items()]


def verdict(
    arena: Arena, learned: str, seeds: Mapping[int, Sequence[int]], goal: Goal = GOAL, **others: Contender
) -> dict[str, Any]:
    rules = {name: load_policy(name) for name in ("near", "far")}
    return judge(arena, goal, conditions(arena, seeds), learned=load_policy(learned), rules=rules, others=others)


def test_the_gain_is_that_of_pairs(arena: Arena) -> None:
    found = verdict(arena, "hedge", {0: range(5)})
    cases = [Case(0, 1.0, seed) for seed in range(5)]
    hedge, near, far = (
        [GOAL.utility.of(one) for one in row]
        for row in arena.means([load_policy(name) for name in ("hedge", "near", "far")], cases)
    )
    assert found["utility"]["learned"] == pytest.approx(sum(hedge) / 5)
    assert found["utility"]["rules"] == pytest.approx({"near": sum(near) / 5, "far": sum(far) / 5})
    best, rule = ("near", near) if sum(near) > sum(far) else ("far", far)
    assert found["best_rule"] == best
    apart = [a - b for a, b in zip(hedge, rule, strict=True)]
    mean = sum(apart) / 5
    error = math.sqrt(sum((one - mean) ** 2 for one in apart) / 4 / 5)
    assert found["gain"] == pytest.approx({"value": mean, "low": mean - 2.7764 * error, "high": mean + 2.7764 * error})
    assert found["gap"] is found["gap_recovered"] is None


def test_several_scenarios_weigh_alike_and_are_independent() -> None:
    arena = Arena([tiny(), tiny(name="busy", workload__requests=600)])
    seeds = {0: range(3), 1: range(6)}
    found = verdict(arena, "hedge", seeds)
    rule = load_policy(found["best_rule"])
    halves, gains = [], []
    for k, own in seeds.items():
        ours, theirs = arena.means([load_policy("hedge"), rule], [Case(k, 1.0, seed) for seed in own])
        one = interval([GOAL.utility.of(a) - GOAL.utility.of(b) for a, b in zip(ours, theirs, strict=True)])
        assert one["mean"] is not None
        assert one["high"] is not None
        gains.append(one["mean"])
        halves.append(one["high"] - one["mean"])
    half = math.hypot(*halves) / 2
    assert found["gain"] == pytest.approx(
        {"value": sum(gains) / 2, "low": sum(gains) / 2 - half, "high": sum(gains) / 2 + half}
    )
    assert set(found["scenarios"]) == {"tiny", "busy"}
    for k, name in enumerate(("tiny", "busy")):
        assert found["scenarios"][name]["best_rule"] in ("near", "far")
        assert found["scenarios"][name]["gain"]["value"] <= gains[k] + 1e-12  # over its own best rule


def test_the_share_of_the_gap_is_told_where_there_is_one(arena: Arena) -> None:
    wide = verdict(arena, "hedge", {0: range(3)}, system_clairvoyant=Contender(GREEDY, 1))
    rule = max(wide["utility"]["rules"].values())
    gap = wide["utility"]["system_clairvoyant"] - rule
    assert wide["gap"]["value"] == pytest.approx(gap)
    assert wide["gap"]["low"] > 0
    assert wide["gap_recovered"] == pytest.approx((wide["utility"]["learned"] - rule) / gap)
    share = wide["gap_recovered_interval"]
    assert share["low"] < wide["gap_recovered"] < share["high"]
    none = verdict(arena, "hedge", {0: range(3)}, system_clairvoyant=Contender(load_policy("far")))
    assert none["gap"]["value"] <= 0.0
    assert none["gap_recovered"] is none["gap_recovered_interval"] is None


def test_the_interval_of_a_share_holds_it_as_often_as_it_says() -> None:
    """Gains that are .6 of gaps, both seen through the luck of eight seeds."""
    draws = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        luck = draws.normal(0.0, 1.0, 8)
        gaps = 1.0 + draws.normal(0.0, 0.2, 8)
        gains = 0.6 * gaps + draws.normal(0.0, 0.1, 8)
        share = _share([luck + gains], [luck], [luck + gaps])
        low, high = share["low"], share["high"]
        assert low is not None
        assert high is not None
        held += low < 0.6 < high
    assert 0.92 < held / 400 < 0.98


def test_a_gap_in_doubt_has_no_share(arena: Arena) -> None:
    """Who knows no more than the best rule is ahead of it by luck alone, if at all."""
    found = verdict(arena, "hedge", {0: range(3)}, system_clairvoyant=Contender(load_policy("near")))
    assert found["gap_recovered"] is None


def test_one_seed_has_no_interval(arena: Arena) -> None:
    gain = verdict(arena, "hedge", {0: [1]})["gain"]
    assert gain["low"] is gain["high"] is None
    assert gain["value"] is not None


# -- who gains ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["near", "far", "hedge", "cascade", "random"])
def test_groups_make_up_the_whole(policy: str, arena: Arena) -> None:
    """Every term, the cost of a pool that nobody asked included."""
    played = arena.play(load_policy(policy), CASES[0])
    whole, groups = means(played), by_group(played)
    assert list(groups) == ["device", "task"]
    for of in groups.values():
        assert sum(one["requests"] for one in of.values()) == 400
        for term in TERMS:
            total = sum(one["requests"] * one[term.name] for one in of.values())
            assert total / 400 == pytest.approx(whole[term.name]), term.name


def test_a_pool_that_nobody_asks_is_paid_for_by_all() -> None:
    alone = Arena([tiny(fleet__groups__watches__share=0.0, fleet__groups__phones__share=1.0)])
    played = alone.play(load_policy("near"), CASES[0])
    assert not np.isin(played.outcome.plane.trips["kind"], [KINDS.index("cloud")]).any()
    cost = means(played)["cost_usd"]
    assert cost > 0.0
    for of in by_group(played).values():
        assert [one["cost_usd"] for one in of.values()] == pytest.approx([cost] * len(of))


@pytest.mark.parametrize("seeds", [1, 5])
def test_gains_of_groups_make_up_the_gain(seeds: int, arena: Arena) -> None:
    ours, theirs = load_policy("hedge"), load_policy("near")
    mine, other = arena.means([ours, theirs], CASES[:seeds])
    apart = [GOAL.utility.of(a) - GOAL.utility.of(b) for a, b in zip(mine, other, strict=True)]
    whole = sum(apart) / seeds
    found = who_gains(arena, GOAL.utility, conditions(arena, {0: range(seeds)})[0], ours=ours, theirs=theirs)
    for of in found.values():
        for one in of.values():
            gain = one["gain"]
            assert gain["low"] is None if seeds == 1 else gain["low"] < gain["value"] < gain["high"]
        total = sum(one["requests"] * one["gain"]["value"] for one in of.values())
        assert total / 400 == pytest.approx(whole)
    assert set(found["device"]) == {"phones", "watches"}
    assert set(found["task"]) == set(TASKS)


def test_a_group_that_asked_under_one_seed_only_is_told() -> None:
    """Of six requests, not every task has one under every seed."""
    few = Arena([tiny(workload__requests=6)])
    cases = [Case(0, 1.0, seed) for seed in range(6)]
    all_of = [by_group(few.play(GREEDY, case))["task"] for case in cases]
    assert set(all_of[0]) < set(TASKS)
    (condition,) = conditions(few, {0: range(6)})
    found = who_gains(few, Utility((("quality", 1.0),)), condition, ours=GREEDY, theirs=load_policy("far"))["task"]
    assert set(found) == {name for one in all_of for name in one}
    assert sum(one["requests"] for one in found.values()) == pytest.approx(6.0)  # requests a run


# -- limits ------------------------------------------------------------------------------------------------------------


def test_limits_are_read() -> None:
    assert limited("") == {}
    assert limited("ttft_p95_s=2, unanswered=0.01") == {"ttft_p95_s": 2.0, "unanswered": 0.01}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ttft_p95=2", "unknown limit; got 'ttft_p95'.*did you mean 'ttft_p95_s'"),
        ("ttft_p95_s", "limit of ttft_p95_s: bad value; got 'nothing'"),
        ("ttft_p95_s=soon", "limit of ttft_p95_s: bad value; got 'soon'"),
        ("ttft_p95_s=0", "limit of ttft_p95_s: bad value; got '0'"),
        ("ttft_p95_s=nan", "limit of ttft_p95_s: bad value; got 'nan'"),
        ("ttft_p95_s=inf", "limit of ttft_p95_s: bad value; got 'inf'"),
        ("ttft_p95_s=2,ttft_p95_s=3", "a limit is given twice; got 'ttft_p95_s'"),
    ],
)
def test_bad_limits_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        limited(text)


def test_a_limit_costs_the_more_the_further_it_is_exceeded() -> None:
    goal = Goal(parse_utility("quality=1"), {"ttft_p95_s": 2.0, "unanswered": 0.01})
    assert goal.value({"quality": 0.8, "ttft_p95_s": 2.0, "unanswered": 0.0}) == 0.8
    assert goal.value({"quality": 0.8, "ttft_p95_s": 3.0, "unanswered": 0.0}) == pytest.approx(0.8 - 5.0)
    assert goal.value({"quality": 0.8, "ttft_p95_s": 3.0, "unanswered": 0.02}) == pytest.approx(0.8 - 15.0)


def test_a_limit_that_is_exceeded_is_told_with_what_was_reached() -> None:
    arena = Arena([tiny()], limits=["ttft_p95_s"])
    (found,) = arena.means([load_policy("near")], CASES[:2])
    mean = (found[0]["ttft_p95_s"] + found[1]["ttft_p95_s"]) / 2

    def judged(most: float, learned: str = "far") -> dict[str, Any]:
        return verdict(arena, learned, {0: range(2)}, Goal(GOAL.utility, {"ttft_p95_s": most}))

    both = judged(1000.0)
    assert both["rules_within_limits"] == ["near", "far"]
    assert both["limited"]["near"]["ttft_p95_s"] == pytest.approx(mean)
    near = judged(3.0, "near")
    assert near["rules_within_limits"] == ["near"]
    assert near["best_rule"] == "near"  # whatever the other is worth
    assert near["utility"]["learned"] == near["utility"]["rules"]["near"] == both["utility"]["rules"]["near"]
    with pytest.raises(UserError, match=rf"does not keep ttft_p95_s in tiny, though rule near .*{mean:.4g}"):
        judged(3.0)
    with pytest.raises(
        UserError, match=rf"no policy was found that keeps ttft_p95_s in tiny; got '{mean:.4g} at best'"
    ):
        judged(1.0)
