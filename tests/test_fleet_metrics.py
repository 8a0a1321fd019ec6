"""The figures of a fleet: against numbers worked out by hand, and what must hold in every run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from sim.fleet import Far
from sim.kernels import state
from sim.kernels.fleet_state import REACHED_CLOUD
from sim.results.analysis import Analysis
from sim.results.answers import AT_EDGE, AT_FAR, AT_NEAR, NOWHERE, TIERS
from sim.results.columns import SUMMARY
from sim.results.fleet_columns import FLEET_SUMMARY, GROUP, POOL
from sim.results.metrics import check_invariants, summarise, summarise_seeds
from sim.results.outcome import Outcome, Slo
from sim.results.timeline import build_timeline
from tests.fleet_scenarios import FleetScenario, fleets
from tests.fleet_small import (
    ALWAYS,
    DAY,
    FACTS,
    HUB_ROW,
    NEVER,
    PHONE,
    PHONE_ROW,
    TASKS,
    cascades,
    small_fleet,
    small_outcome,
    small_policy,
    small_pool,
)
from tests.test_fleet_parity import run_plane

DAYS = 86_400.0
CHAT = {"arrival_s": 0.0, "device": 0, "task": "chat", "prompt": 10, "output": 3}


def same(points: Any, value: float) -> bool:
    return all(point == pytest.approx(value) for point in points.values())


# -- figures by hand ---------------------------------------------------------------------------------------------------


def test_figures_worked_out_by_hand() -> None:
    s = summarise(small_outcome())
    assert (s["requests"], s["completed"], s["failed"], s["span_s"]) == (5, 4, 1, 33.5)
    assert s["share"] == {"near": 0.2, "edge": 0.2, "far": 0.4, "none": 0.2}
    assert s["quality_mean"] == 0.75  # the phone's own answer is wrong
    phone, watch = (100 * joules / capacity * DAYS / 33.5 for joules, capacity in ((4 + 1.5 + 1.5, 1000), (1.5, 100)))
    assert s["battery_pct_per_day"]["p50"] == pytest.approx((phone + watch) / 2)
    assert s["battery_pct_per_day"]["p99"] == pytest.approx(phone + 0.99 * (watch - phone))
    assert (s["device_energy_j"], s["device_energy_j_per_request"]) == (pytest.approx(8.5), pytest.approx(8.5 / 4))
    assert s["hub_energy_j"] == pytest.approx(4.0 * (0.5 + 4 * 0.25))
    assert s["throttled_share"] == 0.0
    assert s["egress_bytes_per_request"] == 2 * 1000 / 5  # what the hub got did not leave
    assert (s["privacy_violations"], s["escalated"], s["hedged"]) == (0, 0, 0)
    assert s["no_target_by_task"] == {"photo": 1}
    assert s["failed_by"]["no_target"] == 1
    assert (s["policy"], s["devices"], s["hubs"]) == ("by task", 2, 1)
    assert (s["cost_usd"], s["cost_usd_per_1k_requests"]) == (pytest.approx(0.335), pytest.approx(335 / 4))
    assert (s["deployment"], s["replica_count"], s["accelerators"]) == ("toy", 1, 2)
    assert (s["confidence"], s["assumed"]) == ("assumed", ["a guess"])
    assert s["ttft_s"]["mean"] == pytest.approx((1.0 + 2.0 + 1.5 + 2.0) / 4)
    assert s["e2e_s"]["mean"] == pytest.approx((2.0 + 3.5 + 3.0 + 3.5) / 4)


def test_groups_worked_out_by_hand() -> None:
    s = summarise(small_outcome())
    near, edge, far, none = (s["by_tier"][tier] for tier in TIERS)
    assert [group["requests"] for group in (near, edge, far, none)] == [1, 1, 2, 1]
    assert (near["quality_mean"], edge["quality_mean"], far["quality_mean"], none["quality_mean"]) == (0, 1, 1, None)
    assert same(near["ttft_s"], 1.0)
    assert same(near["tpot_s"], 0.5)
    assert same(near["e2e_s"], 2.0)
    assert same(far["e2e_s"], 3.5)
    assert none["ttft_s"] is None
    assert (near["cost_usd_per_1k_requests"], far["cost_usd_per_1k_requests"]) == (0.0, pytest.approx(335 / 2))
    assert (near["device_energy_j_per_request"], far["device_energy_j_per_request"]) == (4.0, pytest.approx(1.5))
    phones, watches = s["by_device"]["phones"], s["by_device"]["watches"]
    assert set(s["by_device"]) == {"phones", "watches"}  # no request belongs to a hub
    assert (phones["requests"], phones["completed"], watches["requests"], watches["failed"]) == (3, 3, 2, 1)
    assert phones["share"] == {tier: pytest.approx(1 / 3) for tier in ("near", "edge", "far")}
    assert watches["share"] == {"near": 0.0, "edge": 0.0, "far": 0.5}
    assert watches["egress_bytes_per_request"] == 500.0
    assert phones["cost_usd_per_1k_requests"] == pytest.approx(335 / 2 / 3)  # each of two alike pays half of the bill
    tasks = s["by_task"]
    assert {name: task["requests"] for name, task in tasks.items()} == {"diary": 1, "lights": 1, "chat": 2, "photo": 1}
    assert tasks["diary"]["slo"] == {"ttft_s": 1.5, "tpot_s": None, "e2e_s": None}
    assert (tasks["photo"]["failed"], tasks["photo"]["quality_mean"]) == (1, None)


def test_each_request_has_the_limits_of_its_task() -> None:
    s = summarise(small_outcome())
    by_task = {name: task["slo_attainment"] for name, task in s["by_task"].items()}
    assert by_task == {"diary": 1.0, "lights": 0.0, "chat": 1.0, "photo": 0.0}  # a lost request is a miss
    assert s["slo_attainment"] == 3 / 5
    assert s["slo_attainment_by"] == {"ttft_s": 4 / 5, "e2e_s": 3 / 5}
    assert s["goodput_rps"] == pytest.approx(3 / 33.5)
    assert s["slo"] == {"ttft_s": None, "tpot_s": None, "e2e_s": None}
    own = summarise(small_outcome(slo=Slo(ttft_s=1.2)))
    assert (own["slo_attainment"], own["slo_attainment_by"]) == (1 / 5, {"ttft_s": 1 / 5})
    without = [replace(task, slo_ttft_s=np.inf, slo_e2e_s=np.inf) for task in TASKS]
    assert summarise(small_outcome(fleet=small_fleet(tasks=without)))["slo_attainment"] is None
    late = summarise(small_outcome(warmup_s=5.0))
    assert (late["trimmed"], late["slo_attainment"]) == (2, 1 / 3)
    assert late["by_tier"]["near"]["ttft_s"] is None


def test_heat_is_the_share_of_computing_at_a_lowered_clock() -> None:
    # From 25 degrees towards 45: 35 are reached after one second; the second half of the work takes two at half speed.
    hot = replace(
        PHONE, limit_c=35.0, resistance_c_per_w=10.0, capacitance_j_per_c=0.1 / np.log(2.0), throttled_clock=0.5
    )
    outcome = small_outcome(DAY[:1], fleet=small_fleet(phone=hot))
    s = summarise(outcome)
    assert s["throttled_share"] == pytest.approx(2 / 3)
    assert (s["span_s"], s["device_energy_j"]) == (pytest.approx(3.0), pytest.approx(2.0 + 2.0 * 0.5 * 2.0))
    assert outcome.plane.trips["throttled"].tolist() == [1]


# -- several pools -----------------------------------------------------------------------------------------------------


def two_pools() -> Outcome:
    """Chat goes to a cloud pool, code to an edge pool of two replicas that draws no energy and takes one at a time."""
    edge = small_pool(
        "edge", far=Far(tier="edge", model=1, price_usd_per_s=0.02, modalities=2), replicas=2, max_num_seqs=1
    )
    code = replace(TASKS[3], name="code")
    fleet = small_fleet(tasks=(TASKS[2], code))
    rows = [CHAT, *({**CHAT, "arrival_s": 1.0 * i, "task": "code"} for i in range(4))]
    return small_outcome(rows, pools=[small_pool(), edge], fleet=fleet, policy=small_policy(fleet.tasks, code="edge"))


def test_every_pool_has_its_own_figures() -> None:
    outcome = two_pools()
    s = summarise(outcome)
    cloud, edge = s["pools"]["cloud"], s["pools"]["edge"]
    assert (cloud["requests"], edge["requests"], cloud["completed"], edge["completed"]) == (1, 4, 1, 4)
    assert (cloud["tier"], edge["tier"], cloud["model"], edge["model"]) == ("cloud", "edge", "large", "middle")
    assert (edge["replica_count"], edge["accelerators"], s["replica_count"], s["accelerators"]) == (2, 4, 3, 6)
    assert s["span_s"] == 8.5  # sent at 2 and 3, served from 4 and 5 after their predecessors, 3 s and half a second
    assert (edge["accelerators_paid"], s["accelerators_paid"]) == (4.0, 6.0)
    assert (cloud["cost_usd"], edge["cost_usd"]) == (pytest.approx(0.085), pytest.approx(0.34))
    assert s["cost_usd"] == pytest.approx(0.425)
    assert edge["cost_usd_per_1k_requests"] == pytest.approx(85.0)
    assert (cloud["gpu_utilization"], edge["gpu_utilization"]) == (pytest.approx(3 / 8.5), pytest.approx(12 / 17))
    assert s["gpu_utilization"] == pytest.approx(15 / 25.5)
    assert cloud["energy_j"] + edge["energy_j"] == pytest.approx(s["energy_j"])
    assert s["capacity_rps"] == pytest.approx(cloud["capacity_rps"] + edge["capacity_rps"])
    assert edge["capacity_rps"] == pytest.approx(2 / 3)  # two replicas, one request of three steps at a time
    assert [row["pool"] for row in s["replicas"]] == ["cloud", "edge", "edge"]
    assert s["share"] == {"near": 0.0, "edge": 0.8, "far": 0.2, "none": 0.0}
    assert s["by_task"]["code"]["cost_usd_per_1k_requests"] == pytest.approx(85.0)
    assert s["headroom"] == min(cloud["headroom"], edge["headroom"])


def test_the_verdict_is_the_worst_and_names_the_pool() -> None:
    s = summarise(two_pools())
    assert (s["pools"]["cloud"]["verdict"], s["pools"]["edge"]["verdict"]) == ("OK", "TIGHT")
    assert s["verdict"] == "TIGHT"
    assert s["verdict_reason"].startswith("pool edge: ")
    lost = summarise(small_outcome())
    assert (lost["verdict"], lost["binding_constraint"]) == ("OVERLOADED", "no_target")
    assert lost["verdict_reason"].startswith("users: ")


def test_a_bill_without_energy_is_split_by_tokens() -> None:
    outcome = small_outcome([CHAT, {**CHAT, "device": 1, "prompt": 20, "output": 6}])
    outcome.plane.requests["energy"] = 0.0
    s = summarise(outcome)
    phones, watches = (s["by_device"][name]["cost_usd_per_1k_requests"] for name in ("phones", "watches"))
    assert watches == pytest.approx(2 * phones)
    assert phones + watches == pytest.approx(1000.0 * s["cost_usd"])


def test_a_fleet_without_pools_has_a_summary() -> None:
    s = summarise(small_outcome(DAY[:1], pools=[]))
    assert (s["pools"], s["cost_usd"], s["gpu_utilization"], s["headroom"]) == ({}, 0.0, None, None)
    assert s["share"]["near"] == 1.0


# -- who answered ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "tier", "escalated"), [(ALWAYS, AT_FAR, 1), (NEVER, AT_NEAR, 0)])
def test_a_cascade_is_answered_near_or_far(threshold: float, tier: int, escalated: int) -> None:
    outcome = small_outcome([CHAT], fleet=cascades(threshold), policy=small_policy(chat="cascade"))
    answers = Analysis(outcome).answers
    assert answers is not None
    assert (answers.tier[0], answers.pool[0]) == (tier, escalated - 1)
    s = summarise(outcome)
    assert (s["escalated"], s["quality_mean"]) == (escalated, float(escalated))
    assert s["egress_bytes_per_request"] == 1000.0 * escalated


def test_a_cascade_that_finds_no_replica_is_answered_near() -> None:
    def fail_later(world: Any) -> Any:
        yield world.timeout(3.0)  # the leg is in the air from 2.5 to 3.5
        world.pool("cloud").fail(0)

    outcome = small_outcome([CHAT], fleet=cascades(ALWAYS), policy=small_policy(chat="cascade"), controls=[fail_later])
    answers = Analysis(outcome).answers
    assert answers is not None
    assert (answers.tier[0], answers.pool[0]) == (AT_NEAR, 0)  # the leg did reach the pool
    s = summarise(outcome)
    assert (s["escalated"], s["quality_mean"], s["pools"]["cloud"]["elsewhere"]) == (1, 0.0, 1)
    assert not s["broken_invariants"]


@pytest.mark.parametrize(("token_s", "chunk_s", "tier"), [(0.5, 0.5, AT_NEAR), (0.5, 9.0, AT_FAR)])
def test_the_first_token_wins_a_hedge(token_s: float, chunk_s: float, tier: int) -> None:
    phone = replace(PHONE, chunk_s=chunk_s, token_s=token_s)
    outcome = small_outcome([CHAT], fleet=small_fleet(phone=phone), policy=small_policy(chat="hedge"))
    answers = Analysis(outcome).answers
    assert answers is not None
    assert answers.tier[0] == tier
    s = summarise(outcome)
    assert (s["hedged"], s["quality_mean"]) == (1, float(tier == AT_FAR))
    assert not s["broken_invariants"]


def test_what_is_lost_belongs_to_who_had_it_last() -> None:
    rows = [{**CHAT, "deadline": 1.5}, {**DAY[0], "deadline": 1.5}, DAY[3]]
    outcome = small_outcome(sorted(rows, key=lambda row: row["arrival_s"]))
    answers = Analysis(outcome).answers
    assert answers is not None
    assert answers.tier.tolist() == [NOWHERE] * 3
    assert answers.had.tolist() == [AT_FAR, AT_NEAR, NOWHERE]
    groups = summarise(outcome)["by_tier"]
    assert [groups[tier]["abandoned"] for tier in TIERS] == [1, 0, 1, 0]
    assert AT_EDGE not in answers.had


# -- tables ------------------------------------------------------------------------------------------------------------


def test_every_key_is_in_the_tables_and_every_value_is_json() -> None:
    s = summarise(two_pools())
    assert set(s) == {column.name for column in (*SUMMARY, *FLEET_SUMMARY)}
    assert json.loads(json.dumps(s, allow_nan=False)) == s
    assert {column.name for column in GROUP} <= set(s["by_tier"]["near"])
    assert {column.name for column in POOL} <= set(s["pools"]["edge"])


def test_seeds_merge() -> None:
    one = summarise(small_outcome())
    two = summarise(small_outcome(DAY[:3])) | {"seed": 2}
    both = summarise_seeds([one, two])
    assert both["share"]["near"]["mean"] == pytest.approx((1 / 5 + 1 / 3) / 2)
    assert both["no_target_by_task"]["photo"]["mean"] == 0.5
    assert both["pools"]["cloud"]["deployment"] == "toy"
    assert both["by_task"]["chat"]["requests"]["mean"] == 1.5
    json.dumps(both, allow_nan=False)


def test_the_timeline_tells_who_answered() -> None:
    outcome = small_outcome()
    timeline = Analysis(outcome).timeline
    assert timeline.answered_by is not None
    assert {tier: int(n.sum()) for tier, n in timeline.answered_by.items()} == dict(
        zip(TIERS, (1, 1, 2, 1), strict=True)
    )
    first = timeline.t_s < 1.0
    assert [int(timeline.answered_by[tier][first].sum()) for tier in TIERS] == [1, 0, 1, 0]
    assert build_timeline(outcome.plane).answered_by is None


# -- invariants --------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(fleets())
def test_invariants_of_a_fleet(scenario: FleetScenario) -> None:
    outcome = Outcome(
        scenario={}, seed=0, plane=run_plane(scenario), pools=(FACTS,) * len(scenario.pools), slo=Slo(), policy="any"
    )
    analysis = Analysis(outcome)
    assert not [finding for finding in analysis.invariants if not finding["holds"]]
    s = summarise(outcome, analysis)
    json.dumps(s, allow_nan=False)
    assert sum(s["share"].values()) == pytest.approx(1.0)
    for groups in (s["by_tier"], s["by_device"], s["by_task"]):
        for key in ("requests", "completed", "failed"):
            assert sum(group[key] for group in groups.values()) == s[key]
        joules = sum((g["device_energy_j_per_request"] or 0.0) * g["completed"] for g in groups.values())
        assert joules <= s["device_energy_j"] * (1 + 1e-9)
    for pool in s["pools"].values():
        parts = ("completed", "rejected", "abandoned", "failed", "elsewhere")
        assert pool["requests"] == sum(pool[part] for part in parts)
        assert pool["headroom"] is None or 0.0 <= pool["headroom"] <= 1.0
    if not s["rejected"] + s["abandoned"] + s["failed"]:
        assert s["share"]["none"] == 0.0


@pytest.mark.parametrize(
    ("number", "break_it"),
    [
        (1, lambda plane: plane.requests["status"].__setitem__(0, state.DECODING)),
        (2, lambda plane: plane.requests["first_token"].__setitem__(0, 0.0)),
        (4, lambda plane: plane.requests["energy"].__setitem__(1, 9.0)),
        (8, lambda plane: plane.pools[0].replicas["decode_tokens"].__iadd__(1)),
        (13, lambda plane: plane.trips["reached"].__setitem__(0, REACHED_CLOUD)),
        (14, lambda plane: plane.trips["device_j"].__setitem__(0, 9.0)),
        (14, lambda plane: plane.rows["compute_s"].__setitem__(PHONE_ROW, 99.0)),
        (15, lambda plane: plane.trips["model"].__setitem__(1, 0)),
        (15, lambda plane: plane.trips["correct"].__setitem__(0, -1)),
        (15, lambda plane: plane.trips["correct"].__setitem__(3, 1)),
        (16, lambda plane: plane.rows["battery_j"].__setitem__(PHONE_ROW, 1001.0)),
        (16, lambda plane: plane.rows["throttled_s"].__setitem__(HUB_ROW, 99.0)),
    ],
)
def test_a_broken_fleet_is_noticed(number: int, break_it: Any) -> None:
    outcome = small_outcome()
    assert all(finding["holds"] for finding in check_invariants(outcome))
    break_it(outcome.plane)
    assert number in {finding["number"] for finding in check_invariants(outcome) if not finding["holds"]}
