"""The figures of a run: against numbers worked out by hand, and what must hold in every run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from sim.fleet import Far
from sim.kernels import state
from sim.plane import DataPlane
from sim.pool import EngineSettings, PoolPlan, PoolSettings
from sim.results.columns import SUMMARY, metrics_markdown
from sim.results.invariants import INVARIANTS, invariants_markdown
from sim.results.metrics import check_invariants, interval, summarise, summarise_seeds
from sim.results.outcome import DeploymentFacts, Outcome, Slo
from sim.results.screen import screen
from sim.results.seeds import student_t95
from sim.results.timeline import area_in_bins, build_timeline, mean_number
from sim.world import World
from tests.scenarios import Scenario, control_of, run_plane, scenarios, step_costs, workload_of

ROOT = Path(__file__).parents[1]
FACTS = DeploymentFacts(
    name="toy on 2 x chip",
    accelerators_per_replica=2,
    price_usd_per_hour=3.6,
    idle_w=10.0,
    pue=1.5,
    confidence="assumed",
    assumed=("the step time",),
)
ENGINE = EngineSettings(
    max_num_seqs=2,
    max_num_batched_tokens=64,
    max_model_len=1000,
    block_size=4,
    kv_blocks=64,
    prefix_caching=False,
    async_scheduling=False,
)
# One second a step. 0 s: A and B prefill; 1 s: B is done, A decodes, C (here since 0.5 s) prefills;
# 2 s: A and C decode.
THREE = (
    {"arrival_s": 0.0, "prompt": 4, "output": 3},
    {"arrival_s": 0.0, "prompt": 4, "output": 1},
    {"arrival_s": 0.5, "prompt": 4, "output": 2},
)


def outcome_of(
    rows: Any = THREE, *, slo: Slo | None = None, warmup_s: float = 0.0, replicas: int = 1, step_s: float = 1.0,
    controls: Any = (), facts: DeploymentFacts = FACTS, **engine: Any,
) -> Outcome:  # fmt: skip
    pool = PoolSettings(replicas=replicas, engine=replace(ENGINE, **engine))
    costs = step_costs(fixed_s=step_s, max_tokens=pool.engine.max_num_batched_tokens)
    plan = PoolPlan(settings=pool, costs=costs, far=Far(price_usd_per_s=facts.replica_usd_per_s))
    plane = DataPlane(workload_of(rows), [plan])
    World(plane).run_to_end([control_of(order) for order in controls])
    return Outcome(
        scenario={"name": "three"}, seed=7, plane=plane, pools=(facts,), slo=slo or Slo(), warmup_s=warmup_s,
        wall_s=0.5, engine_s=0.25,
    )  # fmt: skip


# -- figures by hand -------------------------------------------------------------------------------------------


def test_figures_worked_out_by_hand() -> None:
    s = summarise(outcome_of(slo=Slo(ttft_s=1.0)))
    assert (s["requests"], s["completed"], s["span_s"], s["steps"]) == (3, 3, 3.0, 3)
    assert s["ttft_s"]["mean"] == pytest.approx(3.5 / 3)
    assert (s["ttft_s"]["p50"], s["ttft_s"]["p90"]) == (1.0, pytest.approx(1.4))
    assert s["tpot_s"] == dict.fromkeys(("mean", "p50", "p90", "p95", "p99"), 1.0)  # A and C only: B has one token
    assert (s["e2e_s"]["p50"], s["e2e_s"]["mean"]) == (2.5, pytest.approx(6.5 / 3))
    assert s["queue_s"]["mean"] == pytest.approx(0.5 / 3)
    assert (s["served_rps"], s["throughput_tok_s"], s["prompt_tok_s"]) == (1.0, 2.0, 4.0)
    assert (s["slo_attainment"], s["goodput_rps"]) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert s["gpu_utilization"] == pytest.approx(1.0)
    assert s["kv_utilization"] == pytest.approx((2 + 3 + 4) / (64 * 3))
    assert s["energy_j"] == pytest.approx((0.01 * 15 + 0.001 * 6) * 1.5)  # 15 tokens, 6 of them emitted
    assert s["energy_j_per_request"] == pytest.approx(s["energy_j"] / 3)
    assert s["cost_usd"] == pytest.approx(2 * 3.0 / 3600 * 3.6)
    assert s["cost_usd_per_1k_requests"] == pytest.approx(2.0)
    assert s["requests_per_s"] == 12.0
    assert s["blocked_s"] == {"kv": 0.0, "seqs": 0.0, "tokens": 0.0}
    assert s["replicas"] == [
        {"busy_share": 1.0, "steps": 3, "preemptions": 0, "max_running": 2, "max_waiting": 2, "down_s": 0.0}
    ]


def test_every_key_is_in_the_table_and_every_value_is_json() -> None:
    s = summarise(outcome_of())
    assert set(s) == {column.name for column in SUMMARY}
    assert json.loads(json.dumps(s, allow_nan=False)) == s
    assert s["slo_attainment"] is None
    assert s["goodput_rps"] == s["served_rps"]


def test_idle_accelerators_draw_idle_power_and_a_lost_replica_is_paid_for() -> None:
    rows = [{"arrival_s": 0.0, "prompt": 4, "output": 1}, {"arrival_s": 9.0, "prompt": 4, "output": 1}]
    s = summarise(outcome_of(rows))
    assert s["span_s"] == 10.0
    assert s["gpu_utilization"] == pytest.approx(0.2)
    assert s["energy_j"] == pytest.approx((8.0 * 10.0 * 2 + 2 * 0.041) * 1.5)
    down = summarise(outcome_of(rows, replicas=2, controls=[(2.0, "fail", 1)]))
    assert down["replicas"][1]["down_s"] == pytest.approx(8.0)
    assert down["cost_usd"] == pytest.approx(2 * s["cost_usd"])


def test_a_warm_up_is_trimmed_from_latencies_but_not_from_counts() -> None:
    s = summarise(outcome_of(slo=Slo(ttft_s=1.0), warmup_s=0.25))
    assert (s["requests"], s["completed"], s["trimmed"]) == (3, 3, 2)
    assert s["ttft_s"]["mean"] == 1.5
    assert (s["slo_attainment"], s["goodput_rps"]) == (0.0, 0.0)
    late = summarise(outcome_of(slo=Slo(ttft_s=1.0), warmup_s=99.0))
    assert (late["trimmed"], late["ttft_s"], late["slo_attainment"], late["goodput_rps"]) == (3, None, None, None)


def test_lost_requests_are_misses_and_nothing_completed_is_null() -> None:
    rows = [
        {"arrival_s": 0.0, "prompt": 4, "output": 2},
        {"arrival_s": 0.0, "prompt": 999, "output": 2},
        {"arrival_s": 0.0, "prompt": 4, "output": 9, "deadline": 2.5},
        {"arrival_s": 0.0, "prompt": 4, "output": 9, "patience": 0.5},
    ]
    s = summarise(outcome_of(rows, slo=Slo(e2e_s=9.0)))
    assert (s["completed"], s["rejected"], s["abandoned"], s["slo_attainment"]) == (1, 1, 2, 0.25)
    assert s["rejected_by"]["too_long"] == 1
    assert s["abandoned_by"] == {"patience": 1, "deadline": 1}
    nothing = summarise(outcome_of(rows[1:2], slo=Slo(e2e_s=9.0)))
    assert (nothing["ttft_s"], nothing["energy_j_per_request"], nothing["served_rps"]) == (None, None, None)
    assert (nothing["slo_attainment"], nothing["verdict"]) == (0.0, "OVERLOADED")
    assert "OVERLOADED" in screen(nothing)


def test_every_request_ends_once() -> None:
    plane = outcome_of().plane
    unfinished = DataPlane(plane.workload, [plane.pools[0].plan])
    unfinished.advance(1.5)
    outcome = replace(outcome_of(), plane=unfinished)
    with pytest.raises(ValueError, match="still in flight"):
        summarise(outcome)
    unfinished.advance(math.inf)
    assert summarise(outcome)["requests"] == 3


def test_percentiles_are_those_of_numpy() -> None:
    rng = np.random.default_rng(3)
    arrival = np.sort(rng.uniform(0, 60, 300))
    outputs = rng.integers(1, 30, 300)
    rows = [{"arrival_s": t, "prompt": 7, "output": n} for t, n in zip(arrival, outputs, strict=True)]
    outcome = outcome_of(rows, step_s=0.02)
    r, s = outcome.plane.requests, summarise(outcome)
    for p in (50, 90, 95, 99):
        assert s["ttft_s"][f"p{p}"] == pytest.approx(np.percentile(r["first_token"] - r["arrival"], p))
        more = r["output"] > 1
        tpot = (r["finish"] - r["first_token"])[more] / (r["output"][more] - 1)
        assert s["tpot_s"][f"p{p}"] == pytest.approx(np.percentile(tpot, p))


# -- the timeline ----------------------------------------------------------------------------------------------


def test_the_timeline_of_three_requests() -> None:
    timeline = build_timeline(outcome_of().plane)
    width = timeline.width_s
    assert float(width.sum()) == 3.0
    assert float((timeline.in_system * width).sum()) == pytest.approx(6.5)
    assert float((timeline.waiting * width).sum()) == pytest.approx(0.5)
    assert (timeline.arrivals.sum(), timeline.completions.sum(), timeline.steps.sum()) == (3, 3, 3)
    assert timeline.output_tokens.sum() == pytest.approx(6.0)
    np.testing.assert_allclose(timeline.busy_share, 1.0)  # steps much longer than a bin fill the bins before
    assert float((timeline.kv_share * width).sum()) == pytest.approx(9 / 64)
    second = (timeline.t_s >= 1.0) & (timeline.t_s < 2.0)
    np.testing.assert_allclose(timeline.running[second], 2.0)


def test_area_in_bins_is_the_overlap() -> None:
    rng = np.random.default_rng(1)
    start = rng.uniform(0, 9, 50)
    end = np.minimum(start + rng.exponential(2, 50), 10.0)
    area = area_in_bins(start, end, width_s=1.25, bins=8)
    for b in range(8):
        since, until = 1.25 * b, 1.25 * (b + 1)
        assert area[b] == pytest.approx(1.25 * mean_number(start, end, since_s=since, until_s=until), abs=1e-12)


# -- invariants ------------------------------------------------------------------------------------------------


def test_a_run_that_ends_at_once_breaks_no_law() -> None:
    for ends_s in (5e-324, 1e-94, 1e-13, 1e-9, 1e-3):
        engine = EngineSettings(kv_blocks=64, max_num_seqs=4, max_num_batched_tokens=64)
        plan = PoolPlan(settings=PoolSettings(name="p", engine=engine), costs=step_costs(fixed_s=ends_s))
        plane = DataPlane(workload_of([{"arrival_s": 0.0}]), [plan])
        World(plane).run_to_end([])
        outcome = Outcome(scenario={}, seed=0, plane=plane, pools=(FACTS,), slo=Slo(ttft_s=1.0))
        assert not [finding for finding in check_invariants(outcome) if not finding["holds"]], ends_s


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_invariants_hold(scenario: Scenario) -> None:
    outcome = Outcome(scenario={}, seed=scenario.seed, plane=run_plane(scenario), pools=(FACTS,), slo=Slo(ttft_s=1.0))
    broken = [finding for finding in check_invariants(outcome) if not finding["holds"]]
    assert not broken
    summary = summarise(outcome)
    assert summary["requests"] == sum(summary[s] for s in ("completed", "rejected", "abandoned", "failed"))
    for state_ in ("rejected", "abandoned", "failed"):
        assert summary[state_] == sum(summary[f"{state_}_by"].values())
    assert 0.0 <= summary["headroom"] <= 1.0
    assert (summary["verdict"] == "OK") == (summary["binding_constraint"] == "none")


@pytest.mark.parametrize(
    ("number", "break_it"),
    [
        (1, lambda r, p: r["status"].__setitem__(0, state.DECODING)),
        (2, lambda r, p: r["scheduled"].__setitem__(2, 0.25)),
        (2, lambda r, p: r["first_token"].__setitem__(1, 1.5)),
        (3, lambda r, p: p["free"].__setitem__(0, 63)),
        (4, lambda r, p: r["energy"].__setitem__(0, 1.0)),
        (5, lambda r, p: p["busy_s"].__setitem__(0, 3.5)),
        (7, lambda r, p: p["busy_s"].__setitem__(0, 0.25)),
        (8, lambda r, p: p["decode_tokens"].__iadd__(1)),
        (9, lambda r, p: r["deadline"].__setitem__(0, 2.9)),
    ],
)
def test_a_broken_run_is_noticed(number: int, break_it: Any) -> None:
    outcome = outcome_of()
    assert all(finding["holds"] for finding in check_invariants(outcome))
    break_it(outcome.plane.requests, outcome.plane.pools[0].replicas)
    assert number in {finding["number"] for finding in check_invariants(outcome) if not finding["holds"]}


def test_the_generated_pages_are_current() -> None:
    assert (ROOT / "docs/metrics.md").read_text(encoding="utf-8") == metrics_markdown()
    assert (ROOT / "docs/invariants.md").read_text(encoding="utf-8") == invariants_markdown()
    for invariant in INVARIANTS:
        file, test = invariant.test.split("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")


# -- the verdict -----------------------------------------------------------------------------------------------


def steady(rate_rps: float, *, n: int = 600, prompt: int = 4, output: int = 20, **row: Any) -> list[dict[str, Any]]:
    return [{"arrival_s": i / rate_rps, "prompt": prompt, "output": output, **row} for i in range(n)]


ROOMY = {"max_num_seqs": 16, "max_num_batched_tokens": 256, "kv_blocks": 4096, "step_s": 0.05}  # E2E about 1 s


@pytest.mark.parametrize(
    ("rows", "changes", "verdict", "binding"),
    [
        (steady(4), {}, "OK", "none"),
        (steady(15), {}, "TIGHT", "max_num_seqs"),
        (steady(30), {}, "OVERLOADED", "max_num_seqs"),
        (steady(15), {"kv_blocks": 24}, "OVERLOADED", "kv_blocks"),
        (steady(30, prompt=240, output=1), {}, "OVERLOADED", "max_num_batched_tokens"),
        (steady(30, patience=0.5), {}, "OVERLOADED", "max_num_seqs"),
        (steady(12), {"max_outstanding": 4}, "OVERLOADED", "queue_limit"),
        (steady(4) + [{"arrival_s": 150.0, "prompt": 2000}] * 30, {}, "TIGHT", "context_limit"),
        (steady(4), {"slo": Slo(tpot_s=0.01)}, "OVERLOADED", "compute"),
        (steady(4), {"controls": [(75.0, "fail", 0)]}, "OVERLOADED", "failures"),
        ([{"arrival_s": 0.0, "prompt": 4, "output": 20}] * 600, {}, "OVERLOADED", "max_num_seqs"),
        ([{"arrival_s": 0.0, "prompt": 4, "output": 20}] * 10, {}, "OK", "none"),
    ],
)
def test_the_verdict(rows: Any, changes: dict[str, Any], verdict: str, binding: str) -> None:
    s = summarise(outcome_of(rows, **(ROOMY | changes)))
    assert (s["verdict"], s["binding_constraint"]) == (verdict, binding), s["verdict_reason"]
    assert (s["headroom"] > 0.0) == (verdict == "OK") or verdict == "TIGHT"


def test_a_busy_gpu_is_not_an_overloaded_one() -> None:
    s = summarise(outcome_of(steady(1.0, n=100, output=40), **ROOMY))
    assert s["gpu_utilization"] > 0.95
    assert (s["verdict"], s["headroom"] > 0.7) == ("OK", True)


# -- seeds -----------------------------------------------------------------------------------------------------


def test_interval() -> None:
    got = interval([1.0, 2.0, 3.0, None])
    half = 4.3027 / math.sqrt(3)
    assert got == {"mean": 2.0, "low": pytest.approx(2 - half), "high": pytest.approx(2 + half)}
    assert interval([5.0]) == {"mean": 5.0, "low": None, "high": None}
    assert interval([None]) == {"mean": None, "low": None, "high": None}
    for degrees, exact in ((1, 12.7062), (30, 2.0423), (60, 2.0003), (120, 1.9799)):
        assert student_t95(degrees) == pytest.approx(exact, rel=1e-3)


def test_seeds_merge() -> None:
    one = summarise(outcome_of())
    two = summarise(outcome_of(steady(30), **ROOMY)) | {"seed": 8}
    both = summarise_seeds([one, two])
    assert both["seeds"] == [7, 8]
    assert (both["verdict"], both["verdicts"]) == ("OVERLOADED", {"OK": 0, "TIGHT": 1, "OVERLOADED": 1})
    assert both["requests"]["mean"] == (3 + 600) / 2
    assert both["ttft_s"]["p50"]["mean"] == pytest.approx((one["ttft_s"]["p50"] + two["ttft_s"]["p50"]) / 2)
    assert both["assumed"] == ["the step time"]
    json.dumps(both, allow_nan=False)


@pytest.mark.parametrize(
    ("accelerator", "prompt", "output"), [("h100", 1000, 200), ("l40s", 300, 300), ("a100", 4000, 50)]
)
def test_capacity_is_what_a_flood_is_served_at(accelerator: str, prompt: int, output: int) -> None:
    from sim.loading import load
    from sim.results.analysis import Analysis
    from sim.results.capacity import capacity_rps
    from sim.run import prepare, run

    flood = {
        "pools": {"pool": {"deployment": {"model": "llama-3.1-8b", "accelerator": accelerator}}},
        "workload": {
            "arrivals": {"kind": "poisson", "rate_rps": 1e6},
            "prompt_tokens": prompt,
            "output_tokens": {"kind": "uniform", "min": 1, "max": 2 * output},
            "requests": 4000,
        },
    }
    outcome = run(prepare(load(flood)))
    plane = outcome.plane
    (book,) = Analysis(outcome).books()
    served_rps = len(plane.requests) / plane.requests["finish"].max()
    assert capacity_rps(book.pool, book.mean) == pytest.approx(served_rps, rel=0.12)


def test_attainment_by_limit() -> None:
    s = summarise(outcome_of(slo=Slo(ttft_s=1e9, tpot_s=1e-9)))
    assert s["slo_attainment_by"] == {"ttft_s": 1.0, "tpot_s": s["slo_attainment"]}
    assert "TPOT" in s["verdict_reason"]
