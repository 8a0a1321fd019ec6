"""Off-policy estimates where the truth is known; what a log cannot tell; corrections and a policy learned from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.learning.decision_log import DecisionWriter
from policies.learning.decisions import Decisions
from policies.learning.exploring import NOISE, linear_scores, win_chances
from policies.learning.from_log import from_log, from_log_screen
from policies.learning.off_policy import Judged, chances, evaluate, judge, sample_of
from policies.learning.utility import parse_utility
from policies.learning.writing import policy_text
from policies.policy import Policy, load_policy
from profiles.errors import UserError
from tests.logged import (
    BEHAVIOUR,
    CANDIDATE,
    COST,
    E2E,
    QUALITY,
    RIGHT,
    TASKS,
    logged,
    miscalibrated,
    rows_of,
    truth,
    world,
)
from tests.logged import chances as favourites

BIG = world(60_000, 99)
TRUTH, LOGGED = truth(CANDIDATE, BIG), truth(BEHAVIOUR, BIG)
RUNS = 120


def judged(log: Decisions, policy: Policy = CANDIDATE, **settings: Any) -> Judged:
    return judge(sample_of(log, RIGHT)[0], policy, **{"against": BEHAVIOUR, **settings})


@pytest.fixture(scope="module")
def replications() -> list[Judged]:
    return [judged(logged(world(600, seed), share=0.3, seed=seed)) for seed in range(RUNS)]


# -- estimators --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ips", "snips", "dr", "gain"])
def test_estimates_are_right_on_average_and_intervals_cover(replications: list[Judged], name: str) -> None:
    true = TRUTH - LOGGED if name == "gain" else TRUTH
    found = [getattr(one, name) for one in replications]
    values = np.array([one.value for one in found])
    assert abs(values.mean() - true) < 3.5 * values.std() / RUNS**0.5
    covered = np.mean([one.low <= true <= one.high for one in found])
    assert 0.89 <= covered <= 1.0  # 0.95 ± three standard errors of 120 runs


def test_doubly_robust_is_narrower_than_ips_and_less_biased_than_the_model(replications: list[Judged]) -> None:
    def spread(name: str) -> float:
        return float(np.std([getattr(one, name).value for one in replications]))

    assert spread("dr") < 0.8 * spread("ips")
    assert spread("snips") < spread("ips")
    model = np.array([one.dm for one in replications]).mean() - TRUTH
    assert abs(model) > abs(np.mean([one.dr.value for one in replications]) - TRUTH)


def test_a_model_that_is_nonsense_only_widens_the_doubly_robust_estimate() -> None:
    good, bad = [], []
    for seed in range(40):
        sample, _ = sample_of(logged(world(600, seed), share=0.5, seed=seed), RIGHT)
        nonsense = np.random.default_rng([seed, 3]).normal(0.0, 1.0, len(sample.predicted))
        good.append(judge(sample, CANDIDATE).dr.value - TRUTH)
        bad.append(judge(replace(sample, predicted=nonsense), CANDIDATE).dr.value - TRUTH)
    assert abs(np.mean(bad)) < 3.5 * np.std(bad) / len(bad) ** 0.5
    assert np.std(bad) > 1.3 * np.std(good)


def test_without_exploring_and_with_the_same_policy_the_estimates_are_the_mean() -> None:
    sample, _ = sample_of(logged(world(500, 4), share=0.0, seed=4), RIGHT)
    one = judge(sample, BEHAVIOUR)
    mean = float(sample.rewards.mean())
    assert (one.ips.value, one.snips.value, one.dr.value) == pytest.approx((mean, mean, mean))
    assert (one.ess, one.same, one.unlogged) == (500.0, 1.0, 0.0)
    assert one.verdict == "cannot tell"


def test_weights_are_clipped_only_when_told() -> None:
    sample, _ = sample_of(logged(world(1000, 5), share=0.3, seed=5), RIGHT)
    free, cut = judge(sample, CANDIDATE), judge(sample, CANDIDATE, clip=2.0)
    assert free.clipped == 0
    assert free.largest_weight > 5.0
    assert cut.clipped > 20
    assert cut.largest_weight == 2.0
    assert cut.ips.value < free.ips.value
    assert cut.unlogged == free.unlogged  # clipping must not look like choices that were never made


def test_a_decision_without_an_action_counts_as_unanswered() -> None:
    utility = parse_utility("quality=1,e2e_s=-0.01")
    sample, _ = sample_of(logged(world(3000, 6), share=0.4, seed=6), utility)
    near_only = load_policy({"name": "n", "layout": 1, "actions": ["near"]})
    parts = evaluate(sample, chances(near_only, sample.log))
    none = parts.without
    assert 0.1 < none.mean() < 0.5
    assert np.all(parts.dr[none] == -0.6)
    assert np.all(parts.ips[none] == -0.6)
    has_near = np.add.reduceat((sample.log.kind == 0).astype(int), sample.log.start[:-1]) > 0
    assert np.array_equal(none, ~has_near)


# -- chance inside a policy --------------------------------------------------------------------------------------------


def test_chances_of_noisy_scores_are_those_that_one_counts() -> None:
    draw = np.random.default_rng(0)
    scores = np.array([[0.0, 0.3, -0.2, -np.inf], [0.0, 0.0, 0.0, 0.0], [5.0, 0.0, -np.inf, -np.inf]])
    exact = win_chances(scores, 0.8)
    counted = (scores[None] + 0.8 * draw.random((200_000, 3, 4))).argmax(axis=2)
    shares = np.stack([(counted == a).mean(axis=0) for a in range(4)], axis=1)
    assert np.allclose(exact, shares, atol=0.005)
    assert np.allclose(exact.sum(axis=1), 1.0, atol=1e-12)
    assert exact[1] == pytest.approx([0.25] * 4)
    assert np.array_equal(exact, win_chances(scores, -0.8))


def test_a_random_policy_is_evaluated_by_its_chances() -> None:
    sample, _ = sample_of(logged(world(5000, 7), share=0.5, seed=7), RIGHT)
    one = judge(sample, load_policy("random"), level=0.999)
    sizes = np.repeat(np.diff(BIG.start), np.diff(BIG.start))
    true = float((BIG.right / sizes).sum() / len(BIG.task))
    assert one.dr.low <= true <= one.dr.high
    assert one.ess > 1000


def test_scores_are_added_as_the_compiled_scorer_adds_them() -> None:
    from policies.features import score

    draw = np.random.default_rng(1)
    phi, weights = draw.normal(size=(50, 20)) * 1e3, draw.normal(size=20)
    scene = draw.normal(size=50)
    expected = [score(phi[i], weights, scene[i]) for i in range(50)]
    assert linear_scores(phi, weights, scene).tolist() == expected


def test_ties_go_to_the_first_and_masks_hold() -> None:
    log = logged(world(200, 8), share=0.3, seed=8)
    shut = replace(log, feasible=np.random.default_rng(2).random(len(log.phi)) < 0.7)
    flat = chances(load_policy({"name": "flat", "layout": 1}), shut)
    assert not flat[~shut.feasible].any()
    for i in range(len(shut)):
        part = slice(shut.start[i], shut.start[i + 1])
        open_ones = np.flatnonzero(shut.feasible[part])
        assert np.flatnonzero(flat[part]).tolist() == open_ones[:1].tolist()


# -- verdicts ----------------------------------------------------------------------------------------------------------


def test_a_better_and_a_worse_policy_are_told() -> None:
    log = logged(world(6000, 9), share=0.5, seed=9)
    assert judged(log).verdict == "better"
    worst = load_policy({"name": "worst", "layout": 1, "weights": {"quality": -1.0}})
    one = judged(log, worst, level=0.999)
    assert one.verdict == "worse"
    assert one.gain.low <= truth(worst, BIG) - LOGGED <= one.gain.high


def test_equal_policies_are_hardly_ever_told_apart() -> None:
    same = load_policy({"name": "twin", "layout": 1, "weights": {"quality": 2.0, "near": 0.6}})
    verdicts = [judged(logged(world(600, s), share=0.3, seed=s), same) for s in range(10)]
    assert {one.reason for one in verdicts} == {"it chooses what it is compared with"}


@pytest.mark.parametrize(
    ("log", "policy", "reason"),
    [
        (logged(world(3000, 10), share=0.0, seed=10), CANDIDATE, "never logged"),
        (logged(world(150, 11), share=0.1, seed=11), CANDIDATE, "effective sample size"),
        (logged(world(400, 12), share=0.6, seed=12), CANDIDATE, "includes 0"),
        (
            logged(world(3000, 13), share=0.5, seed=13),
            load_policy({"name": "c", "layout": 1, "actions": ["near", "cascade"]}),
            "cascade, which the log never offered",
        ),
    ],
)
def test_what_a_log_cannot_tell_it_does_not_tell(log: Decisions, policy: Policy, reason: str) -> None:
    one = judged(log, policy)
    assert one.verdict == "cannot tell"
    assert reason in one.reason


def test_propensities_that_do_not_fit_are_noticed() -> None:
    log = logged(world(5000, 14), share=0.5, seed=14)
    one = judged(replace(log, propensity=log.propensity / 2.0))
    assert one.verdict == "cannot tell"
    assert "do not fit" in one.reason


def test_outcomes_that_are_known_of_some_kinds_only_are_noticed() -> None:
    log = logged(world(5000, 15), share=0.5, seed=15)
    correct = log.correct.copy()
    correct[(log.kind[log.chosen] == 2) & (np.arange(len(log)) % 2 == 0)] = np.nan
    one = judged(replace(log, correct=correct))
    assert one.verdict == "cannot tell"
    assert "outcomes are known of" in one.reason


def test_missing_labels_do_not_turn_the_estimate() -> None:
    """A third of what the cloud does is never answered; of the answers, half are labelled, of the cloud's fewer."""

    def one(seed: int) -> float:
        at = world(900, seed)
        log = logged(at, share=0.5, seed=seed)
        draws = np.random.default_rng([seed, 5])
        cloud = log.kind[log.chosen] == 2
        answered = ~(cloud & (draws.random(len(log)) < 1 / 3))
        labelled = draws.random(len(log)) < np.where(cloud, 0.45, 0.55)
        changed = replace(log, answered=answered, correct=np.where(answered & labelled, log.correct, np.nan))
        return judge(sample_of(changed, RIGHT)[0], CANDIDATE).dr.value

    true = float((favourites(CANDIDATE, BIG) * BIG.right * np.where(BIG.kind == 2, 2 / 3, 1.0)).sum() / len(BIG.task))
    found = np.array([one(seed) for seed in range(40)])
    assert abs(found.mean() - true) < 3.5 * found.std() / len(found) ** 0.5


# -- all of it ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "decisions.parquet"
    with DecisionWriter(path) as writer:
        for row in rows_of(miscalibrated(6000, 20)):
            writer.append(*row)
    return path


def test_from_log_says_it_all_as_json_and_in_words(log_file: Path, tmp_path: Path) -> None:
    utility = parse_utility("quality=1,e2e_s=-0.05")
    result = from_log(log_file, candidates=[CANDIDATE], utility=utility, baseline=BEHAVIOUR, out=tmp_path)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    names = [one["name"] for one in result["candidates"]]
    assert names == ["candidate", "logging-corrected", "learned"]
    assert result["candidates"][0]["verdict"] == "better"
    assert result["level_of_each"] == pytest.approx(1 - 0.05 / 3)
    for entry in result["policies"]:
        assert load_policy(entry["file"]).name == entry["name"]
    screen = from_log_screen(result)
    for word in ("candidate", "because", "ESS", "right answers rise", "e2e_s", "learned.yaml", "simulate it"):
        assert word in screen
    assert "right - predicted -" in screen
    assert "code near: " in screen


def test_policies_are_written_as_people_read_them(log_file: Path, tmp_path: Path) -> None:
    result = from_log(log_file, candidates=[], utility=RIGHT, baseline=BEHAVIOUR, out=tmp_path)
    for entry in result["policies"]:
        policy = load_policy(entry["policy"])
        assert Path(entry["file"]).read_text(encoding="utf-8") == policy_text(policy)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write"):
        from_log(log_file, candidates=[], utility=RIGHT, out=tmp_path / "file")


def test_the_screen_tells_what_was_dropped_left_out_and_who_decided(tmp_path: Path) -> None:
    rows = rows_of(miscalibrated(800, 23))
    for k in range(0, 800, 8):
        rows[k] = (rows[k][0], replace(rows[k][1], state="abandoned", correct=None, ttft_s=None))
    rows = [
        (replace(decision, policy="bandit", policy_version=f"{k // 100}") if k < 500 else decision, ending)
        for k, (decision, ending) in enumerate(rows)
    ]
    for name in ("a", "b"):
        with DecisionWriter(tmp_path / f"{name}.parquet") as writer:
            for row in rows:
                writer.append(*row)
    result = from_log(tmp_path, candidates=[], utility=RIGHT)
    assert len(result["log"]["policies"]) == 6
    assert sum(one["left_out"] for one in result["reestimates"]["times"] if one["name"] == "e2e_s") == 100
    screen = from_log_screen(result)
    assert "bandit, 5 versions (500), logging @ 1 (300)" in screen
    assert "800: the same decision again" in screen
    assert "without an answer left out" in screen


def test_the_learned_policy_earns_more_than_the_one_that_was_logged(log_file: Path, tmp_path: Path) -> None:
    result = from_log(log_file, candidates=[], utility=RIGHT, baseline=BEHAVIOUR, out=tmp_path)
    learned = load_policy(tmp_path / "learned.yaml")
    at = world(20_000, 50)
    rows = np.repeat(at.task, np.diff(at.start))
    right = 0.2 + 0.5 * at.phi[:, QUALITY] - 0.2 * ((at.kind == 0) & (rows == 1))
    at = at._replace(right=right)
    gain = truth(learned, at) - truth(BEHAVIOUR, at)
    judged_gain = result["candidates"][-1]["gain"]
    assert gain > 0.01
    assert judged_gain["low"] <= gain <= judged_gain["high"]


def test_a_log_without_labels_can_still_weigh_time_and_cost(tmp_path: Path) -> None:
    rows = [(decision, replace(ending, correct=None)) for decision, ending in rows_of(miscalibrated(800, 21))]
    with DecisionWriter(tmp_path / "log.parquet") as writer:
        for row in rows:
            writer.append(*row)
    result = from_log(tmp_path / "log.parquet", candidates=[CANDIDATE], utility=parse_utility("e2e_s=-1"))
    assert result["reestimates"]["quality"] is None
    assert result["log"]["without_reward"] == 0
    assert "too few answers are known" in from_log_screen(result)
    with pytest.raises(UserError, match="every figure that the utility weighs"):
        from_log(tmp_path / "log.parquet", candidates=[CANDIDATE], utility=RIGHT)


def test_a_correction_that_changes_no_choice_is_not_made(log_file: Path) -> None:
    tiny = load_policy({"name": "tiny", "layout": 1, "weights": {"cloud": 2, "edge": 1, "e2e_s": -1e-9}})
    result = from_log(log_file, candidates=[], utility=RIGHT, baseline=tiny)
    assert result["reestimates"]["significant"]
    assert [entry["name"] for entry in result["policies"]] == ["learned"]


@pytest.mark.parametrize("change", [{"level": 1.0}, {"clip": 0.5}, {"min_ess": 0.0}])
def test_settings_out_of_range_are_refused(log_file: Path, change: dict[str, float]) -> None:
    with pytest.raises(UserError):
        from_log(log_file, candidates=[], utility=RIGHT, **change)  # type: ignore[arg-type]


def test_the_made_up_logs_explore_as_they_say() -> None:
    log = logged(world(4000, 22), share=0.4, seed=22)
    own = favourites(BEHAVIOUR, world(4000, 22))
    assert log.propensity == pytest.approx(0.6 * own[log.chosen] + 0.4 / np.diff(log.start))
    assert log.phi[:, NOISE].max() < 1.0
    assert (log.cost_usd == log.phi[log.chosen, COST]).all()
    assert (log.e2e_s == log.phi[log.chosen, E2E]).all()
    assert log.tasks == TASKS
