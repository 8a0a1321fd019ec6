"""A device is one server, first come first served: M/D/1, M/M/1, and a case that warms up like an RC element."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sim.plane import DataPlane
from sim.workloads.workload import Asked, Floats, Workload
from tests.fleet_small import PHONE, small_fleet, small_policy
from tests.theory.formulas import pollaczek_khinchine
from tests.theory.queues import SINGLE, Law, agree, constant, exponential, offered, poisson, sample, services, workload

TOKENS = 1000  # a service of mean 1 s is so many tokens of a millisecond
ONE = replace(PHONE, chunk_s=1e-9, token_s=1.0 / TOKENS, max_tokens=10**9, capacity_j=0.0)


def on_one_device(requests: Workload, **kind: Any) -> DataPlane:
    """All requests from one phone that answers everything itself."""
    fleet = small_fleet(phone=replace(ONE, **kind))
    n = len(requests)
    nothing = np.zeros(n, np.float32)
    diary = np.full(n, fleet.task_names.index("diary"), np.int16)
    asked = Asked(device=np.zeros(n, np.int32), task=diary, difficulty=nothing, up_bytes=nothing, down_bytes=nothing)
    plane = DataPlane(replace(requests, asked=asked), [], fleet=fleet, policy=small_policy())
    assert plane.advance(math.inf)
    return plane


def lasting(seconds: Floats, arrival_s: Floats) -> Workload:
    """Requests whose jobs take so long: one token more than thousandths of a second."""
    return replace(
        workload(SINGLE, arrival_s, np.ones(len(seconds))),
        output_tokens=1 + np.rint(seconds * TOKENS).astype(np.int64),
    )


@pytest.mark.parametrize(("law", "squared_cv"), [(constant, 0.0), (exponential, 1.0)])
def test_a_device_is_a_single_server(law: Law, squared_cv: float) -> None:
    rho, n = 0.8, 60_000

    def run(seed: int) -> list[float]:
        plane = on_one_device(lasting(services(seed, law, n), poisson(seed, rho, n)))
        return [float((plane.requests["scheduled"] - plane.requests["arrival"]).mean())]

    (wait,) = sample(run, offered(law, rho, n))
    rivals = {"the other law": pollaczek_khinchine(rho, 1.0 - squared_cv)}
    agree(wait, pollaczek_khinchine(rho, squared_cv), rivals=rivals)


def test_a_case_warms_up_like_an_rc_element() -> None:
    """Busy without a pause from 0 on: T = T_end + (T_0 - T_end) e^(-t / RC), and a lowered clock from the limit on."""
    resistance, capacitance, watts, limit = 4.0, 30.0, 5.0, 33.0
    heat = {"resistance_c_per_w": resistance, "capacitance_j_per_c": capacitance, "power_w": watts}
    end_c = 25.0 + resistance * watts
    job = lasting(np.array([100.0]), np.zeros(1))
    cool = on_one_device(job, **heat, limit_c=1000.0)
    assert cool.rows["temp_c"][0] == pytest.approx(
        end_c + (25.0 - end_c) * math.exp(-100.0 / (resistance * capacitance))
    )
    hot = on_one_device(job, **heat, limit_c=limit, throttled_clock=0.5)
    until = resistance * capacitance * math.log((end_c - 25.0) / (end_c - limit))
    assert hot.requests["finish"][0] == pytest.approx(until + (100.0 - until) / 0.5)
    assert hot.rows["throttled_s"][0] == pytest.approx((100.0 - until) / 0.5)
    assert hot.trips["device_j"][0] == pytest.approx(100.0 * watts), "the same work takes the same energy"
