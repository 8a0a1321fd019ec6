"""Fleets: the compiled data plane against the oracle, request by request, row by row."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from sim.kernels import state
from sim.plane import DataPlane
from sim.world import Control, World
from tests.fleet_scenarios import FleetScenario, Order, fleets
from tests.oracle import run_fleet

STATES = {
    state.COMPLETED: "completed",
    state.REJECTED: "rejected",
    state.ABANDONED: "abandoned",
    state.FAILED: "failed",
}
CI, LONG = 1_000, 100_000


def control_of(order: Order) -> Control:
    """A SimPy process that does one thing at one instant."""
    when, what, args = order

    def act(world: World) -> Any:
        yield world.timeout(when)
        plane = world.plane
        if what == "weather":
            region, rtt_factor, rate_factor, up = args
            plane.set_weather(region, rtt_factor=rtt_factor, rate_factor=rate_factor, up=up)
        else:
            names = {"price": "set_price", "policy": "set_policy", "replace": "replace_row"}
            getattr(plane, names.get(what, what))(*args)

    return act


def run_plane(scenario: FleetScenario) -> DataPlane:
    """The scenario through the production plane and world."""
    plane = DataPlane(
        scenario.workload, scenario.pools, fleet=scenario.fleet, policy=scenario.policy, seed=scenario.seed
    )
    World(plane).run_to_end([control_of(order) for order in scenario.orders])
    return plane


def compare(scenario: FleetScenario) -> None:
    """Assert that plane and oracle agree on everything that both know."""
    plane = run_plane(scenario)
    oracle = run_fleet(
        scenario.workload,
        scenario.pools,
        scenario.fleet,
        scenario.policy,
        seed=scenario.seed,
        orders=scenario.orders,
    )
    got, trips, rows = plane.requests, plane.trips, plane.rows
    close = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-9)
    assert trips["action"].tolist() == oracle.action.tolist()
    assert [STATES[int(code)] for code in got["status"]] == oracle.state
    assert [state.REASONS[int(code)] for code in got["reason"]] == oracle.reason
    for field, expected in (
        ("arrival", oracle.arrival_s),
        ("finish", oracle.finish_s),
        ("first_token", oracle.first_token_s),
        ("scheduled", oracle.scheduled_s),
    ):
        close(got[field], expected, err_msg=field)
    for field, counts in (("attempts", oracle.attempts), ("preemptions", oracle.preemptions)):
        assert got[field].tolist() == counts.tolist(), field
    for field in ("reached", "correct", "escalated"):
        assert trips[field].tolist() == getattr(oracle, field).tolist(), field
    close(trips["device_j"], oracle.device_j, err_msg="device_j")
    booked = np.bincount(trips["device"], trips["device_j"], len(rows))
    close(rows["requests_j"], booked, err_msg="requests_j")
    in_pool = oracle.pool >= 0
    assert got["replica"][in_pool].tolist() == oracle.replica[in_pool].tolist()
    assert plane._world["agenda_length"] <= 4 * len(got), "far from its room"
    assert plane.stray == 0
    close(rows["settled_s"], oracle.settled_s, err_msg="settled_s")
    close(rows["battery_j"], oracle.battery_j, err_msg="battery_j")
    close(rows["temp_c"], oracle.temp_c, err_msg="temp_c")
    close(rows["compute_s"], oracle.compute_s, err_msg="compute_s")
    close(rows["throttled_s"], oracle.throttled_s, err_msg="throttled_s")
    end_s = max(0.0, float(got["finish"].max()))
    close([pool.billed_usd(end_s) for pool in plane.pools], oracle.billed_usd, err_msg="billed_usd")
    completed = got["status"] == state.COMPLETED
    close(got["energy"][completed], oracle.energy_j[completed], rtol=1e-9, err_msg="energy")


@settings(max_examples=CI, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(fleets())
def test_the_plane_equals_the_oracle(scenario: FleetScenario) -> None:
    compare(scenario)


@pytest.mark.long
@settings(max_examples=LONG, deadline=None, suppress_health_check=list(HealthCheck))
@given(fleets())
def test_the_plane_equals_the_oracle_in_a_long_run(scenario: FleetScenario) -> None:
    compare(scenario)
