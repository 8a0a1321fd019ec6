"""Decisions of a simulated fleet: the same as the compiled plane's, logged; judged off-policy; made by a bandit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as api
from policies.layout import FEATURE_NAMES
from policies.learning.bandit import Bandit, BanditSettings
from policies.learning.decision_log import DecisionWriter
from policies.learning.decisions import Decisions, read_decisions
from policies.learning.off_policy import judge, sample_of
from policies.learning.utility import parse_utility
from policies.learning.writing import policy_text
from policies.policy import load_policy
from profiles.errors import UserError
from sim.loading import load
from sim.online import BanditDecisions, LogDecisions, watched
from sim.online_runs import last_third
from sim.results.outcome import Outcome
from sim.run import Prepared, prepare, run
from tests.command import Run

EXAMPLES = Path(__file__).parents[1] / "examples"
CALM = EXAMPLES / "calm.yaml"
FEW: dict[str, Any] = {"fleet.devices": 1000}
UTILITY = parse_utility("quality=1,e2e_s=-0.02,cost_usd=-10")


def prepared(policy: Any, *, requests: int = 600, seed: int = 1, scenario: str = "calm") -> Prepared:
    return prepare(load(EXAMPLES / f"{scenario}.yaml", changes=FEW), policy=policy, requests=requests, seed=seed)


def watch(policy: Any, watcher: LogDecisions | BanditDecisions, **changes: Any) -> Outcome:
    outcome = run(watched(prepared(policy, **changes), watcher))
    watcher.look(outcome.plane)
    return outcome


def log_of(path: Path, policy: Any, *, share: float, **changes: Any) -> tuple[Decisions, Outcome]:
    with DecisionWriter(path) as writer:
        outcome = watch(policy, LogDecisions(writer, share=share), **changes)
    return read_decisions(path), outcome


# -- the same decisions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["scene-table", "random", "cascade", "hedge", "battery-aware"])
def test_without_exploring_every_decision_is_that_of_the_compiled_policy(policy: str, tmp_path: Path) -> None:
    compiled = run(prepared(policy))
    log, outcome = log_of(tmp_path / "log.parquet", policy, share=0.0)
    assert np.array_equal(compiled.plane.trips["action"], outcome.plane.trips["action"])
    assert np.array_equal(compiled.plane.requests["finish"], outcome.plane.requests["finish"])
    assert len(log) + log.dropped.get("a later attempt of the same request", 0) == np.count_nonzero(
        outcome.plane.trips["kind"] >= 0
    )
    assert (log.propensity == 1.0).all() == (policy != "random")


def test_what_is_logged_is_what_happened(tmp_path: Path) -> None:
    log, outcome = log_of(tmp_path / "log.parquet", "scene-table", share=0.3)
    table = api.simulate(CALM, set=FEW, requests=10).requests  # of the columns' names only
    assert {"ttft_s", "e2e_s", "correct", "device_energy_j"} <= set(table.column_names)
    requests, trips = outcome.plane.requests, outcome.plane.trips
    done = trips["correct"] >= 0
    assert np.nansum(log.correct) == trips["correct"][done].sum()
    assert log.energy_j.sum() == pytest.approx(trips["device_j"][trips["kind"] >= 0].sum())
    assert np.sort(log.e2e_s) == pytest.approx(np.sort((requests["finish"] - requests["arrival"])[trips["kind"] >= 0]))
    assert log.answered.sum() == done.sum()
    assert np.array_equal(log.cost_usd, log.phi[log.chosen, FEATURE_NAMES.index("cost_usd")])
    assert outcome.plane.stray == 0


def test_exploring_makes_the_share_of_other_choices_that_it_says(tmp_path: Path) -> None:
    log, outcome = log_of(tmp_path / "log.parquet", "scene-table", share=0.4)
    sizes = np.diff(log.start)
    favourite = log.propensity > 0.4 / sizes + 1e-9
    expected = (0.4 * (1.0 - 1.0 / sizes)).mean()
    assert (~favourite).mean() == pytest.approx(expected, abs=3.5 * (expected / len(log)) ** 0.5)
    assert set(np.round(log.propensity[~favourite] * sizes[~favourite], 9)) == {0.4}
    assert outcome.plane.stray == 0


def test_a_random_policy_is_logged_with_the_chances_of_its_noise(tmp_path: Path) -> None:
    log, _ = log_of(tmp_path / "log.parquet", "random", share=0.0)
    assert log.propensity == pytest.approx(1.0 / np.diff(log.start))


def test_the_same_seed_writes_the_same_log(tmp_path: Path) -> None:
    for name in ("a", "b"):
        log_of(tmp_path / f"{name}.parquet", "far", share=0.2, requests=300)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


# -- judged from a log, and simulated ----------------------------------------------------------------------------------


def test_a_candidate_earns_in_the_simulation_what_the_log_says(tmp_path: Path) -> None:
    log, _ = log_of(tmp_path / "log.parquet", "scene-table", share=0.3, requests=2500)
    sample, _ = sample_of(log, UTILITY)
    told = judge(sample, load_policy("far"), level=0.999)
    simulated = LogDecisions(None, utility=UTILITY)
    watch("far", simulated, requests=2500)
    assert told.dr.low <= np.mean(list(simulated.rewards.values())) <= told.dr.high
    assert told.ess > 100.0


def test_a_log_that_never_explored_is_of_no_use(tmp_path: Path) -> None:
    log, _ = log_of(tmp_path / "log.parquet", "scene-table", share=0.0)
    told = judge(sample_of(log, UTILITY)[0], load_policy("near"))
    assert told.verdict == "cannot tell"
    assert "never logged" in told.reason


# -- a bandit ----------------------------------------------------------------------------------------------------------


def test_a_bandit_without_knowledge_does_better_than_a_bad_policy() -> None:
    learner = BanditDecisions(
        lambda tasks, seed: Bandit(tasks, settings=BanditSettings(explore=0.1), seed=seed), UTILITY
    )
    outcome = watch("near", learner, requests=2400)
    alone = LogDecisions(None, utility=UTILITY)
    watch("near", alone, requests=2400)
    ids = sorted(learner.rewards.keys() & alone.rewards.keys())[-800:]
    mine, other = (np.mean([rewards[r] for r in ids]) for rewards in (learner.rewards, alone.rewards))
    assert mine > other + 0.02
    assert learner.bandit.deviations <= 0.1 * learner.bandit.decisions
    assert outcome.plane.stray == 0


def test_a_bandit_is_logged_under_the_version_that_decided(tmp_path: Path) -> None:
    with DecisionWriter(tmp_path / "log.parquet") as writer:
        learner = BanditDecisions(lambda tasks, seed: Bandit(tasks, seed=seed), UTILITY, writer=writer)
        watch("near", learner, requests=300)
    log = read_decisions(tmp_path / "log.parquet")
    names, updates = zip(*(one.split("+") for one in log.policies), strict=True)
    assert {int(number) for number in updates} == set(range(learner.bandit.rewards // 25 + 1)) - _unused(log)
    assert len(set(names)) == len(names)
    assert all(name.startswith("bandit @ ") for name in names)


def _unused(log: Decisions) -> set[int]:
    """Updates after which nothing was decided: all that follow the last that was."""
    last = max(int(one.split("+")[1]) for one in log.policies)
    return set(range(last + 1, 1000))


@pytest.mark.parametrize(("n", "expected"), [(0, []), (1, [0]), (2, [1]), (3, [2]), (4, [2, 3]), (9, [6, 7, 8])])
def test_the_last_third_is_the_last_third(n: int, expected: list[int]) -> None:
    assert last_third(np.arange(float(n))).tolist() == expected


def test_the_command_logs_and_learns(nearfar: Run, tmp_path: Path) -> None:
    words = ("simulate", str(CALM), "--set", "fleet.devices=500", "--requests", "600", "--policy", "near")
    code, out, _ = nearfar(
        *words, "--bandit", "--explore", "0.2", "--decisions", "log.parquet", "--out", "run", "--json"
    )
    assert code == 0
    bandit = json.loads(out)["bandit"]
    assert len(bandit["tenths"]) == 10
    assert sum(one["requests"] for one in bandit["tenths"]) == bandit["requests"] > 550
    assert bandit["deviations"] <= 0.2 * bandit["decisions"]
    assert len(read_decisions(tmp_path / "log.parquet")) == bandit["decisions"]
    policy = load_policy(tmp_path / "run" / "bandit.yaml")
    assert policy.name == "bandit"
    assert (tmp_path / "run" / "bandit.yaml").read_text(encoding="utf-8") == policy_text(policy)
    assert Bandit.from_state(json.loads((tmp_path / "run" / "bandit.json").read_text())).rewards == bandit["rewards"]
    code, out, err = nearfar(*words, "--decisions", "plain.parquet")
    assert code == 0
    assert "decisions logged to plain.parquet" in out
    assert "can only say what this policy did" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--explore", "0.1"], "goes with decisions or bandit"),
        (["--utility", "quality=1"], "goes with decisions or bandit"),
        (["--decisions", "log.csv"], "Parquet"),
        (["--decisions", "log.parquet", "--explore", "2"], "share of the decisions"),
        (["--decisions", "log.parquet", "--seeds", "3"], "in one run"),
        (["--bandit", "--utility", "speed=1"], "unknown term"),
        (["--decisions", "log.parquet", "--policy", str(EXAMPLES / "my_router.py:route")], "in Python"),
    ],
)
def test_options_that_make_no_sense_are_refused(nearfar: Run, options: list[str], message: str) -> None:
    if "my_router" in options[-1]:
        options[-1] = str(EXAMPLES / "my_router.py") + ":" + _first_function(EXAMPLES / "my_router.py")
    code, _, err = nearfar("simulate", str(CALM), "--set", "fleet.devices=100", "--requests", "50", *options)
    assert code == 2
    assert message in err
    assert not Path("log.parquet").exists()


def _first_function(file: Path) -> str:
    return file.read_text().split("def ")[1].split("(")[0]


def test_a_pool_without_a_fleet_makes_no_such_decisions(nearfar: Run) -> None:
    code, _, err = nearfar("simulate", "--decisions", "log.parquet", "--requests", "10")
    assert code == 2
    assert "no fleet" in err or "has none" in err


def test_a_rollout_changes_the_policy_that_is_logged() -> None:
    change = {"controls": [{"kind": "policy-rollout", "at_s": 100, "policy": "far"}]}
    ready = prepare(load(CALM, changes=FEW | change), requests=50)
    with pytest.raises(UserError, match="policy-rollout"):
        watched(ready, LogDecisions(None))
