"""Fleets end to end: from a scenario to a summary, and what is said when something is wrong with it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import nearfar
from policies import ActionView, DeviceView, RequestView
from profiles.errors import UserError
from sim.loading import load
from sim.results.on_time import on_in_bins
from sim.results.replicas import Bins
from sim.run import prepare

EXAMPLES = Path(__file__).parents[1] / "examples"
CALM = EXAMPLES / "calm.yaml"
FEW = {"fleet.devices": 200}


def few(**changes: Any) -> dict[str, Any]:
    summary: dict[str, Any] = nearfar.simulate(CALM, requests=400, **changes).summary
    return summary


@pytest.mark.parametrize(
    "name", ["calm", "rush-hour", "bad-radio", "low-battery", "outage", "price-shock", "fleet-day"]
)
def test_every_example_runs(name: str) -> None:
    summary = nearfar.simulate(EXAMPLES / f"{name}.yaml", requests=2000, set={"fleet.devices": 400}).summary
    assert summary["broken_invariants"] == []
    assert summary["privacy_violations"] == 0
    assert sum(summary["share"].values()) == pytest.approx(1.0)
    assert sum(group["requests"] for group in summary["by_task"].values()) == 2000
    assert summary["completed"] > 1000


def test_one_device_is_a_fleet() -> None:
    summary = few(set={"fleet.devices": 1})
    assert summary["devices"] == 1
    assert any("no device, its share of 1 is too small" in one for one in summary["assumed"])


def test_offline_devices_answer_what_they_can_and_the_rest_is_named() -> None:
    groups = load(CALM).scenario.fleet.groups  # type: ignore[union-attr]
    summary = few(set=FEW | {f"fleet.groups.{name}.networks": {"offline": 1.0} for name in groups})
    assert summary["share"]["far"] == summary["share"]["edge"] == 0.0
    assert summary["failed_by"]["no_target"] == summary["failed"] > 0
    assert sum(summary["no_target_by_task"].values()) == summary["failed"]
    assert summary["egress_bytes_per_request"] == 0.0


def test_empty_batteries_are_told() -> None:
    groups = load(CALM).scenario.fleet.groups  # type: ignore[union-attr]
    empty = {f"fleet.groups.{name}.battery_at_start": [0.0, 0.0] for name in groups}
    summary = few(set=FEW | empty | {"fleet.start_hour": 12.0})
    assert summary["failed_by"]["device_off"] > 0
    assert summary["share"]["near"] > 0.0, "cars and televisions have no battery"


def test_a_pool_scales_and_its_shares_are_of_what_was_on() -> None:
    simulation = nearfar.simulate(EXAMPLES / "rush-hour.yaml", requests=3000, set={"fleet.devices": 1000})
    plane = simulation.outcome.plane
    pools = simulation.summary["pools"]
    assert all(pool["replica_count"] == 8 for pool in pools.values())
    assert pools["dense"]["accelerators_paid"] < 8 * 4
    bins = Bins(width_s=60.0, count=10, span_s=600.0)
    assert on_in_bins(plane, 0, bins)[0] == pytest.approx(2.0), "two are on at the start, of eight"


def test_policies_are_compared_on_the_same_requests() -> None:
    result = nearfar.compare(CALM, policies=["near", "far"], requests=300, seeds=2, set=FEW)
    near, far = result["variants"]
    assert (near["set"], far["set"]) == ({"policy": "near"}, {"policy": "far"})
    assert near["share.near"]["mean"] > far["share.near"]["mean"]
    one, other = (prepare(load(CALM, changes=FEW), requests=300, policy=name).workload for name in ("near", "far"))
    assert (one.arrival_s == other.arrival_s).all()
    with pytest.raises(UserError, match="compared with itself"):
        nearfar.compare(CALM, policies=["near", "near"])


# -- functions of the user's own ---------------------------------------------------------------------------------------


def first(_request: RequestView, _device: DeviceView, actions: list[ActionView]) -> int:
    return actions[0].index


def test_a_function_routes_and_may_use_every_kind_of_action(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def last(request, device, actions):\n    return actions[-1].index\n", encoding="utf-8"
    )
    policy = {"file": str(tmp_path / "mine.py"), "function": "last", "actions": ["near", "cloud", "cascade", "hedge"]}
    summary = few(set=FEW | {"policy": policy})
    assert summary["policy"] == "last"
    assert summary["hedged"] > 0


def test_a_function_that_raises_is_told_with_its_request() -> None:
    def fails(request: RequestView, _device: DeviceView, actions: list[ActionView]) -> int:
        if request.now_s > 100.0:
            raise KeyError("lunch")
        return actions[0].index

    with pytest.raises(UserError, match=r"'fails' raised KeyError at request \d+ \("):
        few(set=FEW, policy=fails)


def test_a_slow_function_is_told_with_its_request(capsys: pytest.CaptureFixture[str]) -> None:
    def slow(request: RequestView, _device: DeviceView, actions: list[ActionView]) -> int:
        if request.id == 3 and request.now_s > 1.5:
            time.sleep(1.1)
        return actions[0].index

    nearfar.simulate(CALM, requests=5, set={"fleet.devices": 10}, policy=slow)
    assert "s to place request 3" in capsys.readouterr().err


# -- what is wrong with a scenario -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policy": 5}, "policy: bad value; got 5; allowed: a built-in's name"),
        ({"policy": {"file": "x.py"}}, r"policy.python.function: missing"),
        ({"policy": "x.py"}, "needs the name of its function"),
        ({"policy": "x.py:"}, "needs the name of its function"),
        ({"policy": "neer"}, "did you mean 'near'"),
        ({"policy": {"layout": 2}}, "written for layout 2"),
        ({"policy": {"layout": 1, "weights": {"quality": float("nan")}}}, "quality"),
        ({"fleet.cascade.check_s": 1e300}, "check_s: bad value"),
        ({"fleet.groups.phones.share": 0.9}, "must sum to 1"),
        ({"fleet.groups.phones.networks": {"wifi-home": 1.7e308}}, "networks.wifi-home: bad value"),
        ({"controls": [{"kind": "outage", "pool": "dens", "at_s": 1, "duration_s": 1}]}, "did you mean 'dense'"),
        ({"controls": [{"kind": "outage", "pool": "dense", "at_s": -1, "duration_s": 1}]}, "at_s: bad value"),
    ],
)
def test_it_is_told_in_one_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as told:
        few(set=FEW | changes)
    assert "\n" not in str(told.value)


def test_weather_that_piles_up_is_refused() -> None:
    storm = {"kind": "network-weather", "at_s": 0.0, "duration_s": 1e6, "rtt_factor": 1e6}
    with pytest.raises(UserError, match="rtt_factor of the weather"):
        few(set=FEW | {"controls": [storm, storm]})


def test_more_requests_than_memory_are_refused_at_once() -> None:
    with pytest.raises(UserError, match="the memory of this machine"):
        nearfar.simulate(CALM, requests=1_000_000_000)


def test_a_policy_needs_a_fleet() -> None:
    with pytest.raises(UserError, match="this scenario has none"):
        nearfar.simulate(policy="near", requests=10)


def test_a_device_takes_no_batch() -> None:
    with pytest.raises(UserError, match="one request at a time"):
        nearfar.latency(model="milm2-4b", device="snapdragon-8-elite-phone", prompt=10, output=10, batch=4)


def test_a_pools_function_must_name_a_replica(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def pick(request, replicas):\n    return None\n", encoding="utf-8")
    pool = {"balancer": "python", "policy": {"file": str(tmp_path / "mine.py"), "function": "pick"}}
    changes = {f"pools.dense.{key}": value for key, value in pool.items()}
    with pytest.raises(UserError, match="got 'nothing'"):
        few(set=FEW | changes | {"pools.experts.modalities": ["text"], "policy": "far", "pools.experts.tier": "edge"})
