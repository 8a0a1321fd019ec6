"""What tuning may change of a policy, and what it learns from a run before it searches."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.layout import FEATURE_NAMES, KINDS, LAYOUT_VERSION
from policies.learning.utility import parse_utility
from policies.policy import Policy, builtin_names, load_policy
from sim.tuning.arena import Arena, Case, Goal
from sim.tuning.lessons import corrected, lessons
from sim.tuning.spaces import Learned, Rule, greedy, rescaled, rounded, spread_of
from tests.tuned import TASKS, UTILITY, tiny

GOAL = Goal(parse_utility(UTILITY), {})
GREEDY = greedy(GOAL.utility)
CASES = [Case(0, 1.0, seed) for seed in range(8)]

moves = st.lists(st.floats(-50.0, 50.0), min_size=40, max_size=40).map(np.array)


@pytest.fixture(scope="module")
def arena() -> Arena:
    return Arena([tiny()])


# -- spaces ------------------------------------------------------------------------------------------------------------


def kept(rule: Policy, changed: Policy) -> None:
    """Form: name, actions, and every number that is no threshold."""
    loose = set(rule.thresholds)
    assert changed.model_dump(exclude={"weights", "scenes"}) == rule.model_dump(exclude={"weights", "scenes"})
    assert set(changed.weights) == set(rule.weights)
    for name, weight in rule.weights.items():
        if name not in loose:
            assert changed.weights[name] == weight
        elif name not in KINDS:
            assert math.copysign(1.0, changed.weights[name]) == math.copysign(1.0, weight)
    assert set(changed.scenes) == set(rule.scenes)
    for task, row in rule.scenes.items():
        assert {kind: n for kind, n in changed.scenes[task].items() if kind != "near"} == {
            kind: n for kind, n in row.items() if kind != "near"
        }


@settings(max_examples=20)
@given(at=moves)
@pytest.mark.parametrize("name", builtin_names())
def test_a_rule_keeps_its_form_and_its_signs(name: str, at: Any) -> None:
    rule = load_policy(name)
    space = Rule(rule, TASKS)
    kept(rule, space.policy(at[: len(space.start)]))
    assert space.policy(space.start).table(TASKS).weights.tolist() == rule.table(TASKS).weights.tolist()
    assert space.policy(space.start).table(TASKS).scene.tolist() == rule.table(TASKS).scene.tolist()


@pytest.mark.parametrize(
    ("name", "loose", "all_loose"),
    [
        ("near", 0, 2),  # near, edge, e2e_s: one of them is the unit of the others
        ("random", 0, 0),
        ("threshold", 1, 3),
        ("battery-aware", 3, 4),
        ("scene-table", 4, 5),  # text-prediction, translation, code, and chat by default; then e2e_s, too
    ],
)
def test_a_rule_is_as_loose_as_it_says(name: str, loose: int, all_loose: int) -> None:
    assert len(Rule(load_policy(name), TASKS).start) == loose
    assert len(Rule(load_policy(name), TASKS, free=True).start) == all_loose


def test_what_a_coordinate_of_a_rule_does() -> None:
    threshold = Rule(load_policy("threshold"), TASKS)
    assert threshold.policy(np.array([2.0])).weights["near"] == -0.5 + 2.0  # kinds are moved
    aware = Rule(load_policy("battery-aware"), TASKS)
    weights = aware.policy(np.array([0.0, math.log(2.0), -1.0])).weights  # others multiplied
    assert weights["ttft_over_slo"] == -0.3
    assert weights["near_heat"] == pytest.approx(-0.6)
    assert weights["scarce_energy_j"] == pytest.approx(-0.02 / math.e)
    table = Rule(load_policy("scene-table"), TASKS)
    before, after = (table.policy(np.array([move, 0.0, 0.0, 0.0])).table(TASKS).scene for move in (0.0, 1.0))
    assert (after - before).tolist() == [[2.0, 0, 0, 0, 0]] + [[0.0] * 5] * 3


@given(at=moves)
def test_a_learned_policy_may_use_everything_but_chance(at: Any) -> None:
    space = Learned(GREEDY, step=0.1)
    assert len(space.start) == len(FEATURE_NAMES) - 1
    policy = space.policy(at[: len(space.start)])
    assert policy.actions == KINDS
    assert "noise" not in policy.weights
    load_policy(policy.model_dump())  # within the bounds of a policy file
    start = space.policy(space.start)
    assert start.weights == pytest.approx(GREEDY.weights)


@pytest.mark.parametrize("name", builtin_names())
def test_a_search_that_begins_with_a_rule_begins_with_that_rule(name: str) -> None:
    """Its actions and its chance as well: what is compared is what is searched."""
    rule = load_policy(name)
    start = Learned(rule, step=0.1)
    policy = start.policy(start.start)
    assert policy.table(TASKS).kinds == rule.table(TASKS).kinds
    assert policy.table(TASKS).weights == pytest.approx(rule.table(TASKS).weights)
    load_policy(start.policy(start.start + 1.0).model_dump())  # no number for an action that it leaves out


def test_greedy_takes_what_a_request_itself_is_worth() -> None:
    assert GREEDY.weights == {"quality": 1.0, "e2e_s": -0.02, "cost_usd": -10.0}
    mindful = greedy(GOAL.utility, of_cost=0.5, of_load=0.3)
    assert mindful.weights == {"quality": 1.0, "e2e_s": -0.02, "cost_usd": -5.0, "load": -0.3}
    assert greedy(GOAL.utility, of_cost=0.0).weights == {"quality": 1.0, "e2e_s": -0.02}
    assert GREEDY.actions == KINDS


def test_rescaled_scores_choose_the_same(arena: Arena) -> None:
    policy = load_policy("battery-aware")
    scaled = rescaled(policy, 0.3 / spread_of(policy))
    assert spread_of(scaled) == pytest.approx(0.3)
    assert arena.means([policy], CASES[:1]) == arena.means([scaled], CASES[:1])


def test_rounded_to_digits_that_a_person_reads() -> None:
    policy = Policy(
        name="p", layout=LAYOUT_VERSION, weights={"e2e_s": -0.0123456789}, scenes={"chat": {"near": 1e6 / 7}}
    )
    assert rounded(policy).weights == {"e2e_s": -0.012346}
    assert rounded(policy).scenes == {"chat": {"near": 142860.0}}


# -- lessons -----------------------------------------------------------------------------------------------------------


def test_lessons_of_several_scenarios_know_their_tasks_by_name() -> None:
    """Tasks have other numbers in another scenario."""
    only = {"chat": 1}
    chat = tiny(fleet__tasks=["chat"], fleet__groups__phones__tasks=only, fleet__groups__watches__tasks=only)
    arena = Arena([chat, tiny()])
    tasks = list(dict.fromkeys(name for k in (0, 1) for name in names(arena, Case(k, 1.0, 1))))
    assert tasks == ["chat", "text-prediction", "translation", "code"]
    first, second = (lessons([arena.routed(GREEDY, Case(k, 1.0, 1))]) for k in (0, 1))
    both = lessons([arena.routed(GREEDY, Case(k, 1.0, 1)) for k in (0, 1)])
    told = [np.array(one.tasks)[one.task].tolist() for one in (first, second, both)]
    assert set(told[0]) == {"chat"}
    assert told[0] + told[1] == told[2]
    taught = corrected(GREEDY, GOAL.utility, first, tasks)
    moved = {task: taught.scenes[task] for task in tasks}
    assert len({json.dumps(row) for task, row in moved.items() if task != "chat"}) == 1
    assert moved["chat"] != moved["code"]


def names(arena: Arena, case: Case) -> list[str]:
    fleet = arena.prepared(case).fleet
    assert fleet is not None
    return list(fleet.task_names)


def test_lessons_take_out_a_constant_error(arena: Arena) -> None:
    learned = lessons([arena.routed(GREEDY, case) for case in CASES[:2]])
    assert set(np.unique(learned.kind)) == set(range(len(KINDS)))  # it tried everything
    wrong = learned._replace(right=learned.phi[:, FEATURE_NAMES.index("quality")] + 0.25 * (learned.kind == 0))
    taught = corrected(GREEDY, GOAL.utility, wrong, names(arena, CASES[0]))
    off = [taught.scenes[task]["near"] - taught.scenes[task]["cloud"] for task in TASKS]
    assert off == pytest.approx([0.25] * len(TASKS), abs=0.02)
    assert taught.weights["quality"] == pytest.approx(1.0, abs=0.02)
    assert corrected(GREEDY, parse_utility("energy_j=-1"), wrong, names(arena, CASES[0])) == GREEDY


def test_a_run_without_decisions_teaches_nothing() -> None:
    """Watches without a network can do nothing."""
    lost = Arena([tiny(fleet__groups={"watches": {"device": "watch", "share": 1, "networks": {"offline": 1}}})])
    learned = lessons([lost.routed(GREEDY, Case(0, 1.0, 1))])
    assert len(learned.phi) == len(learned.right) == 0
    taught = corrected(GREEDY, GOAL.utility, learned, names(lost, Case(0, 1.0, 1)))
    assert {n: w for n, w in taught.weights.items() if w} == GREEDY.weights
    assert not any(number for row in taught.scenes.values() for number in row.values())
