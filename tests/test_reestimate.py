"""Predictions held against outcomes: what is off is found, what is right is left alone, at the rate that is stated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES, KINDS
from policies.learning.corrections import corrected_policy
from policies.learning.decisions import Decisions
from policies.learning.off_policy import chances
from policies.learning.pooling import pool, surprising
from policies.learning.reestimate import QualityFit, reestimate
from policies.policy import Policy, load_policy
from tests.logged import CANDIDATE, E2E, QUALITY, TTFT, logged, miscalibrated, world

GREEDY = load_policy({"name": "greedy", "layout": 1, "weights": {"quality": 1.0, "e2e_s": -0.02}})
RUNS = 200


def small_log(
    n: int,
    seed: int,
    *,
    tasks: int = 3,
    slope: float = 1.0,
    spread: float = 0.2,
    off: dict[tuple[int, int], float] | None = None,
) -> tuple[Decisions, NDArray[np.float64]]:
    """Decisions at random among near, edge and cloud, and the true utility of every action (m,).

    Predicted qualities lie around one of each task and kind, times scatter by 30 % around theirs. True chances: 0.7 +
    `slope` x (predicted - 0.7), and what is `off` by (task, kind).
    """
    draw = np.random.default_rng(seed)
    m = 3 * n
    task, kind = draw.integers(0, tasks, n).astype(np.int32), np.tile(np.arange(3, dtype=np.int8), n)
    row = np.repeat(np.arange(n), 3)
    phi = np.zeros((m, len(FEATURE_NAMES)))
    phi[np.arange(m), kind] = 1.0
    base = np.random.default_rng(1).uniform(0.5, 0.9, (tasks, 3))
    phi[:, QUALITY] = np.clip(base[task[row], kind] + draw.uniform(-spread, spread, m), 0.02, 0.98)
    phi[:, TTFT] = draw.exponential(1.0, m) + 0.1
    phi[:, E2E] = phi[:, TTFT] + draw.exponential(6.0, m)
    right = 0.7 + slope * (phi[:, QUALITY] - 0.7)
    for (t, k), shift in (off or {}).items():
        right[(task[row] == t) & (kind == k)] += shift
    right = np.clip(right, 0.0, 1.0)
    chosen = 3 * np.arange(n) + draw.integers(0, 3, n)
    late = np.exp(draw.normal(-0.045, 0.3, n))
    log = Decisions(
        rows_read=n, dropped={}, policies={}, offered=frozenset(("near", "edge", "cloud")),
        tasks=tuple(f"task {t}" for t in range(tasks)), request=draw.integers(0, 2**32, n, np.uint32), task=task,
        start=3 * np.arange(n + 1), kind=kind, feasible=np.ones(m, np.bool_), phi=phi, chosen=chosen,
        propensity=np.full(n, 1 / 3), answered=np.ones(n, np.bool_),
        correct=(draw.random(n) < right[chosen]).astype(np.float64), ttft_s=phi[chosen, TTFT] * late,
        e2e_s=phi[chosen, E2E] * late, energy_j=np.zeros(n), cost_usd=np.zeros(n), egress_bytes=np.zeros(n),
    )  # fmt: skip
    return log, right - 0.02 * phi[:, E2E]


def gain(policy: Policy, seed: int, **world: Any) -> float:
    """What a policy truly earns more than `GREEDY`."""
    log, value = small_log(1500, 10_000 + seed, **world)
    return float(((chances(policy, log) - chances(GREEDY, log)) * value).sum() / len(log))


def corrected_gains(runs: int, n: int, **world: Any) -> NDArray[np.float64]:
    """(runs,): true gains of the corrected policies, 0 where nothing was corrected."""
    found = np.zeros(runs)
    for seed in range(runs):
        log, _ = small_log(n, seed, **world)
        policy, _ = corrected_policy(GREEDY, reestimate(log), log)
        found[seed] = 0.0 if policy is None else gain(policy, seed, **world)
    return found


def quality_of(log: Decisions) -> QualityFit:
    found = reestimate(log).quality
    assert found is not None
    return found


# -- what is right is left alone ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "world"),
    [(200, {}), (600, {}), (600, {"spread": 0.03, "tasks": 8}), (2000, {"tasks": 8})],
    ids=["few", "more", "hardly varying", "many"],
)
def test_calibrated_predictions_raise_no_more_alarms_than_stated(n: int, world: dict[str, Any]) -> None:
    alarms = sum(reestimate(small_log(n, seed, **world)[0]).significant for seed in range(RUNS))
    assert alarms <= 0.05 * RUNS + 3.0 * (0.05 * 0.95 * RUNS) ** 0.5


def test_a_lower_level_raises_more_alarms() -> None:
    logs = [small_log(600, seed)[0] for seed in range(100)]
    alarms = [sum(reestimate(log, level=level).significant for log in logs) for level in (0.95, 0.5)]
    assert alarms[0] < 12 < alarms[1] <= 65


@pytest.mark.parametrize("spread", [0.03, 0.2])
def test_corrections_of_calibrated_predictions_cost_next_to_nothing(spread: float) -> None:
    gains = corrected_gains(120, 300, spread=spread)
    assert gains.mean() > -0.0005
    assert gains.min() > -0.03


def test_a_noisy_slope_is_no_offset_of_every_cell() -> None:
    """Predictions hardly vary within cells: the slope may be anything, what the cells say is as foretold."""
    slopes = []
    for seed in range(30):
        found = quality_of(small_log(600, seed, spread=0.02)[0])
        slopes.append(found.slope)
        assert found.significant or found.believed == 1.0
        assert not any(cell.significant for cell in found.cells)
    assert np.std(slopes) > 1.0


def test_calibrated_predictions_are_left_alone() -> None:
    at = world(20_000, 17)
    log = logged(at._replace(right=at.phi[:, QUALITY]), share=0.5, seed=17)
    found = reestimate(log)
    assert not found.significant
    assert corrected_policy(CANDIDATE, found, log) == (None, ())


# -- what is off is found ----------------------------------------------------------------------------------------------


def test_reestimates_find_what_was_put_in() -> None:
    found = reestimate(miscalibrated(20_000, 16))
    assert found.quality is not None
    assert found.quality.low <= 0.5 <= found.quality.high
    assert found.quality.significant
    assert found.quality.believed == pytest.approx(found.quality.slope, abs=0.01)
    cells = {(cell.task, cell.kind): cell for cell in found.quality.cells}
    assert cells["code", "near"].offset - cells["chat", "near"].offset == pytest.approx(-0.2, abs=0.03)
    assert cells["code", "cloud"].offset - cells["chat", "near"].offset == pytest.approx(0.0, abs=0.03)
    assert cells["code", "near"].significant
    times = {one.kind: one for one in found.times if one.name == "e2e_s"}
    assert times["cloud"].factor == pytest.approx(2.0, rel=0.02)
    assert times["cloud"].believed == pytest.approx(2.0, rel=0.02)
    assert times["cloud"].significant
    assert times["near"].factor == pytest.approx(1.0, rel=0.02)
    assert not times["near"].significant
    assert times["near"].spread == pytest.approx(0.2, rel=0.1)


def test_a_shift_of_all_is_told_and_changes_no_policy() -> None:
    off = {(t, k): -0.15 for t in range(3) for k in range(3)}
    log, _ = small_log(4000, 3, off=off)
    found = reestimate(log)
    assert found.quality is not None
    assert found.quality.shifted
    assert found.quality.shift_low <= -0.15 <= found.quality.shift_high
    assert found.significant
    assert not found.quality.significant
    assert not any(cell.significant for cell in found.quality.cells)
    assert corrected_policy(GREEDY, found, log) == (None, ())


def test_an_offset_is_the_distance_from_the_common_line() -> None:
    log, _ = small_log(6000, 4, slope=0.5, off={(1, 0): -0.3})
    found = quality_of(log)
    assert found.significant
    cells = {(cell.task, cell.kind): cell for cell in found.cells}
    odd = cells["task 1", "near"]
    for cell in cells.values():
        assert abs(cell.offset) <= abs(cell.observed - cell.expected) + 1e-12
        assert cell.expected - found.believed * cell.predicted == pytest.approx(
            odd.expected - found.believed * odd.predicted
        )
    assert odd.significant
    others = np.mean([cell.offset for cell in cells.values() if cell is not odd])
    assert odd.offset - others == pytest.approx(-0.3, abs=0.05)


@pytest.mark.parametrize("world", [{"slope": 0.4}, {"off": {(0, 2): -0.35}}], ids=["slope", "a cell"])
def test_corrections_of_what_is_off_earn_more(world: dict[str, Any]) -> None:
    gains = corrected_gains(40, 800, **world)
    assert gains.mean() > 0.001
    assert (gains < -0.002).mean() <= 0.1


def test_a_corrected_policy_weighs_what_is_true() -> None:
    log = miscalibrated(20_000, 19)
    policy, told = corrected_policy(CANDIDATE, reestimate(log), log)
    assert policy is not None
    assert policy.weights["quality"] == pytest.approx(0.5, abs=0.05)
    near_for_code = policy.scenes["code"]["near"] - policy.scenes["chat"]["near"]
    assert near_for_code == pytest.approx(-0.2, abs=0.05)
    assert policy.scenes["chat"]["cloud"] < policy.scenes["chat"]["edge"]  # it is slower than it says
    assert any("e2e_s" in line for line in told)
    assert load_policy(policy.model_dump(mode="json")) == policy


def test_offsets_of_rare_cells_are_pulled_towards_the_line() -> None:
    few, many = quality_of(miscalibrated(60, 18)), quality_of(miscalibrated(20_000, 18))
    assert all(abs(cell.offset) <= abs(cell.observed - cell.expected) + 1e-12 for cell in few.cells)
    assert max(cell.error for cell in many.cells) < min(cell.error for cell in few.cells)


def test_a_log_with_few_outcomes_says_nothing() -> None:
    found = reestimate(small_log(25, 1)[0])
    assert (found.quality, found.times) == (None, ())


# -- times that nobody knows -------------------------------------------------------------------------------------------


def test_times_of_unanswered_requests_are_left_out_and_counted() -> None:
    log, _ = small_log(3000, 5)
    cloud = log.kind[log.chosen] == KINDS.index("cloud")
    gone, begun = cloud & (np.arange(3000) % 5 == 0), cloud & (np.arange(3000) % 10 == 0)
    changed = replace(
        log,
        answered=~gone,
        e2e_s=np.where(gone, 1000.0, log.e2e_s),  # when they gave up
        ttft_s=np.where(gone & ~begun, np.nan, log.ttft_s),
    )
    found = {(one.name, one.kind): one for one in reestimate(changed).times}
    assert found["e2e_s", "cloud"].left_out == np.count_nonzero(gone)
    assert found["ttft_s", "cloud"].left_out == np.count_nonzero(gone & ~begun)
    assert found["e2e_s", "cloud"].factor == pytest.approx(1.0, abs=0.1)
    for name in ("ttft_s", "e2e_s"):
        assert found[name, "cloud"].n + found[name, "cloud"].left_out == np.count_nonzero(cloud)
        assert found[name, "near"].left_out == 0


# -- pooling -----------------------------------------------------------------------------------------------------------


def test_groups_that_differ_by_chance_alone_are_believed_equal() -> None:
    draw = np.random.default_rng(6)
    variances = draw.uniform(0.5, 2.0, 400)
    same = pool(draw.normal(3.0, np.sqrt(variances)), variances)
    assert same.centre == pytest.approx(3.0, abs=0.2)
    assert same.between < 0.15
    true = draw.normal(3.0, 2.0, 400)
    measured = draw.normal(true, np.sqrt(variances))
    apart = pool(measured, variances)
    assert apart.between == pytest.approx(4.0, rel=0.25)
    assert ((apart.believed - true) ** 2).mean() < 0.95 * ((measured - true) ** 2).mean()


def test_what_is_measured_little_is_pulled_most_and_one_group_is_its_own_centre() -> None:
    pooled = pool(np.array([0.0, 1.0, 1.0]), np.array([0.01, 0.01, 1.0]))
    away = np.abs(pooled.believed - np.array([0.0, 1.0, 1.0]))
    assert away[2] > away[1]
    alone = pool(np.array([2.5]), np.array([1.0]))
    assert (alone.centre, alone.between, alone.believed.tolist(), alone.error.tolist()) == (2.5, 0.0, [2.5], [0.0])


def test_surprises_are_exact_and_rounded_to_the_safe_side() -> None:
    assert not surprising(1.0, 5, 0.5, 0.05)  # 2 x 6 / 32
    assert not surprising(0.0, 5, 0.5, 0.05)  # 2 x 1 / 32 > 0.05
    assert surprising(0.0, 6, 0.5, 0.05)  # 2 x 1 / 64
    assert surprising(6.0, 6, 0.5, 0.05)
    assert not surprising(0.4, 6, 0.5, 0.05)  # counts as 1
    assert not surprising(5.6, 6, 0.5, 0.05)  # as 5
    assert not surprising(0.3, 30, 0.001, 0.05)
