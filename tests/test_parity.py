"""The data plane equals the oracle, request by request (1e-9 s), on random scenarios with controls and policies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from sim.kernels import state
from sim.kernels.draws import uniform
from tests.oracle import run_oracle
from tests.scenarios import Scenario, odd_policy, run_plane, scenarios, step_model

STATES = {
    state.COMPLETED: "completed",
    state.REJECTED: "rejected",
    state.ABANDONED: "abandoned",
    state.FAILED: "failed",
}
CI, LONG = 1_000, 100_000


def compare(scenario: Scenario) -> None:
    """Assert that plane and oracle agree on everything that both know."""
    plane = run_plane(scenario)
    oracle = run_oracle(
        scenario.workload,
        scenario.pool,
        step_model(scenario.costs),
        seed=scenario.seed,
        uniform=uniform,
        controls=scenario.controls,
        policy=odd_policy if scenario.pool.balancer == "python" else None,
    )
    got = plane.requests
    assert [STATES[int(code)] for code in got["status"]] == oracle.state
    assert [state.REASONS[int(code)] for code in got["reason"]] == oracle.reason
    assert got["replica"].tolist() == oracle.replica
    assert got["preemptions"].tolist() == oracle.preemptions
    assert got["attempts"].tolist() == oracle.attempts
    assert got["cached"].tolist() == oracle.cached_tokens
    for field, expected in (
        ("arrival", oracle.arrival_s),
        ("scheduled", oracle.scheduled_s),
        ("first_token", oracle.first_token_s),
        ("finish", oracle.finish_s),
    ):
        np.testing.assert_allclose(got[field], expected, rtol=0, atol=1e-9, err_msg=field)
    completed = got["status"] == state.COMPLETED
    np.testing.assert_allclose(got["energy"][completed], np.array(oracle.energy_j)[completed], rtol=1e-9, atol=1e-9)
    if "abandoned" in oracle.state:
        return  # steps that are still in flight for nobody after the last request's end are not compared
    np.testing.assert_allclose(got["energy"], oracle.energy_j, rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(plane.pools[0].replicas, oracle.replicas, strict=True):
        assert mine["executed"] == theirs.steps
        assert mine["prefill_tokens"] == theirs.prefill_tokens
        assert mine["decode_tokens"] == theirs.decode_tokens
        assert mine["free"] == theirs.free_blocks
        np.testing.assert_allclose(mine["busy_s"], theirs.busy_s, atol=1e-9)
        np.testing.assert_allclose(mine["energy_j"], theirs.energy_j, rtol=1e-9, atol=1e-9)
        for cause, blocked_s in theirs.blocked_s.items():
            np.testing.assert_allclose(mine[f"blocked_{cause}_s"], blocked_s, atol=1e-9, err_msg=cause)


@settings(max_examples=CI, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_the_plane_equals_the_oracle(scenario: Scenario) -> None:
    compare(scenario)


@pytest.mark.long
@settings(max_examples=LONG, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenarios())
def test_the_plane_equals_the_oracle_in_a_long_run(scenario: Scenario) -> None:
    compare(scenario)
