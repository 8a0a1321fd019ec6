"""Where policies are tried: the same requests for all of them, what is measured, and what is remembered."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.learning.utility import parse_utility
from policies.policy import builtin_names, load_policy
from profiles.errors import UserError
from sim.kernels.state import COMPLETED
from sim.tuning.arena import Arena, Case, Goal
from sim.tuning.journal import Journal
from sim.tuning.measures import means
from sim.tuning.spaces import greedy
from tests.tuned import UTILITY, tiny

GOAL = Goal(parse_utility(UTILITY), {})
GREEDY = greedy(GOAL.utility)
CASES = [Case(0, 1.0, seed) for seed in range(8)]


@pytest.fixture(scope="module")
def arena() -> Arena:
    return Arena([tiny()])


# -- the arena ---------------------------------------------------------------------------------------------------------


def test_the_same_policy_gives_the_same_in_any_order_and_with_any_workers(arena: Arena) -> None:
    policies = [load_policy(name) for name in ("near", "hedge", "random")]
    one = arena.means(policies, CASES[:3])
    assert arena.means(policies, CASES[:3]) == one
    alone = Arena([tiny()], workers=1)
    assert alone.means(policies[::-1], CASES[2::-1]) == [row[::-1] for row in one[::-1]]
    assert one[0] != one[1]
    assert one[0][0] != one[0][1]


def test_every_policy_meets_the_same_requests(arena: Arena) -> None:
    near, far = (arena.play(load_policy(name), CASES[0]).outcome.plane for name in ("near", "far"))
    for column in ("arrival", "prompt", "output"):
        assert np.array_equal(near.requests[column], far.requests[column])
    assert np.array_equal(near.trips["difficulty"], far.trips["difficulty"])
    both = (near.trips["model"] == far.trips["model"]) & (near.requests["status"] == far.requests["status"])
    assert 10 < both.sum() < len(both)
    assert np.array_equal(near.trips["correct"][both], far.trips["correct"][both])


def test_a_load_is_a_multiple_of_the_requests_in_the_same_time(arena: Arena) -> None:
    half, whole, double = (arena.prepared(Case(0, load, 1)).workload for load in (0.5, 1.0, 2.0))
    assert (len(half), len(whole), len(double)) == (200, 400, 800)
    assert double.arrival_s.max() == pytest.approx(whole.arrival_s.max(), rel=0.05)


def test_nothing_strays_under_any_rule() -> None:
    asked = {"document-qa": 3, "text-prediction": 1, "chat": 1}
    private = Arena([tiny(fleet__tasks=[*asked, "translation"], fleet__groups__phones__tasks=asked)])
    fleet = private.prepared(CASES[0]).fleet
    assert fleet is not None
    assert len({task.privacy for task in fleet.tasks}) > 1
    private.means([load_policy(name) for name in builtin_names()] + [GREEDY], CASES[:2])
    assert private.runs == 2 * (len(builtin_names()) + 1)
    assert private.strays == 0


def test_figures_are_means_over_all_requests() -> None:
    """An unanswered one is wrong and takes a minute, or as long as was waited for it."""
    impatient = Arena([tiny(workload__patience_s=2.0)], limits=["ttft_p95_s", "unanswered"])
    played = impatient.play(load_policy("far"), CASES[0])
    found = means(played, impatient.limits)
    requests, trips = played.outcome.plane.requests, played.outcome.plane.trips
    arrival, finish, first = (requests[name].tolist() for name in ("arrival", "finish", "first_token"))
    answered = (requests["status"] == COMPLETED).tolist()
    assert 20 < sum(answered) < 380
    waits = [b - a if ok else max(60.0, b - a) for a, b, ok in zip(arrival, finish, answered, strict=True)]
    ttft = [f - a if ok else max(60.0, b - a) for a, b, f, ok in zip(arrival, finish, first, answered, strict=True)]
    assert found["e2e_s"] == pytest.approx(sum(waits) / 400)
    assert found["ttft_s"] == pytest.approx(sum(ttft) / 400)
    assert found["ttft_p95_s"] == pytest.approx(sorted(ttft)[379] * 0.95 + sorted(ttft)[380] * 0.05)
    assert (
        found["quality"] == sum(ok and right == 1 for ok, right in zip(answered, trips["correct"], strict=True)) / 400
    )
    assert found["unanswered"] == pytest.approx(1.0 - sum(answered) / 400)
    assert found["cost_usd"] == pytest.approx(6.0 / 3600.0 * max(arrival) / 400)  # one replica, to the last arrival


@pytest.mark.parametrize("policy", ["near", "scene-table", "hedge", "cascade", "random"])
def test_smooth_means_expect_the_same(policy: str, arena: Arena) -> None:
    cases = [Case(0, 1.0, seed) for seed in range(100, 124)]
    (plain,) = arena.means([load_policy(policy)], cases)
    (smooth,) = arena.means([load_policy(policy)], cases, smooth=True)
    for a, b in zip(plain, smooth, strict=True):
        assert {k: v for k, v in a.items() if k != "quality"} == {k: v for k, v in b.items() if k != "quality"}
    rough, even = (np.array([one["quality"] for one in found]) for found in (plain, smooth))
    apart = rough - even
    assert abs(apart.mean()) < 3.0 * apart.std(ddof=1) / math.sqrt(len(apart))
    if policy != "cascade":  # its answers count as they are
        assert even.std() < 0.8 * rough.std()


def test_who_knows_more_does_no_worse(arena: Arena) -> None:
    levels = [arena.means([GREEDY], CASES, foresight=level)[0] for level in (0, 1, 2)]
    none, system, outcomes = (np.mean([GOAL.value(found) for found in level]) for level in levels)
    assert none < system < outcomes


# -- the journal -------------------------------------------------------------------------------------------------------


def test_a_journal_remembers(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    journal.put("a", {"quality": 1 / 3, "e2e_s": math.inf})
    journal.close()
    again = Journal(path)
    assert again.get("a") == {"quality": 1 / 3, "e2e_s": math.inf}
    assert again.get("b") is None
    assert len(again) == 1
    again.close(remove=True)
    assert not path.exists()


@pytest.mark.parametrize("cut", ['["b", {"quality": 0.', '["b", {"quality": 0.5}]', '["b", 3]', "5", "\xff{"])
def test_a_line_that_was_cut_off_costs_that_line_alone(cut: str, tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b'["a", {"quality": 1.0}]\n' + cut.encode("latin-1"))
    journal = Journal(path)
    assert journal.get("a") == {"quality": 1.0}
    journal.put("c", {"quality": 0.25})
    journal.close()
    again = Journal(path)
    again.close()
    assert again.get("c") == {"quality": 0.25}


@pytest.mark.parametrize("kind", ["folder", "nowhere"])
def test_a_journal_that_cannot_be_kept_is_told(kind: str, tmp_path: Path) -> None:
    if kind == "folder":
        (tmp_path / "j").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*; got"):
        Journal(tmp_path / "j" if kind == "folder" else tmp_path / "nowhere" / "j")


def keys(path: Path) -> list[str]:
    return [json.loads(line)[0] for line in path.read_text().splitlines()]


def test_a_run_is_known_by_all_that_it_depends_on(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    near = load_policy("near")
    arena = Arena([tiny()], journal=journal)
    arena.means([near, near.model_copy(update={"name": "other", "description": "words"})], CASES[:1])
    assert len(set(keys(path))) == 1  # names decide nothing
    other = Arena([tiny(pools__cloud__replicas=2)], journal=journal)
    limited_arena = Arena([tiny()], limits=["ttft_p95_s"], journal=journal)
    moved = near.model_copy(update={"weights": near.weights | {"quality": 0.1}})
    other.means([near], CASES[:1])
    limited_arena.means([near], CASES[:1])
    arena.means([near], CASES[:1], smooth=True)
    arena.means([near], CASES[:1], foresight=1)
    arena.means([near], CASES[1:2])
    arena.means([near], [Case(0, 2.0, 0)])
    arena.means([moved], CASES[:1])
    assert len(set(keys(path))) == 8
    before = len(keys(path))
    assert Arena([tiny()], journal=journal).means([near], CASES[:1]) == arena.means([near], CASES[:1])
    assert len(keys(path)) == before
    journal.close()


@pytest.mark.parametrize("changed", ["facts", "trace", "code", "nothing"])
def test_files_that_a_scenario_names_belong_to_it(changed: str, tmp_path: Path) -> None:
    """Who mends a profile between two runs must not get what was found with the old one."""
    (tmp_path / "facts" / "tasks").mkdir(parents=True)
    files = {
        "facts": (tmp_path / "facts" / "tasks" / "riddle.yaml", "kind: task\n", "kind: task\nname: riddle\n"),
        "trace": (tmp_path / "trace.csv", "arrived,prompt,output\n0,1,1\n", "arrived,prompt,output\n0,1,2\n"),
        "code": (tmp_path / "mine.py", "def mine(world): yield world.timeout(1)\n", "def mine(world): yield\n"),
    }
    for path, text, _ in files.values():
        path.write_text(text, encoding="utf-8")
    control = {"kind": "python", "file": "mine.py", "function": "mine"}
    changes: dict[str, Any] = {"profiles": "facts", "workload": {"trace": {"path": "trace.csv"}}, "controls": [control]}

    def digest() -> list[str]:
        return Arena([replace(tiny(**changes), folder=tmp_path)]).hashes

    before = digest()
    if changed != "nothing":
        path, _, other = files[changed]
        path.write_text(other, encoding="utf-8")
    assert (digest() == before) is (changed == "nothing")
