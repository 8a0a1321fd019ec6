"""No weights, no weather and no failure bring a request where its privacy class forbids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies import ActionView, DeviceView, RequestView
from policies.layout import FEATURE_NAMES, KINDS
from policies.table import PolicyTable
from profiles.errors import UserError
from sim.kernels.fleet_state import IN_AIR
from sim.plane import DataPlane
from sim.workloads.workload import Asked
from sim.world import World
from tests.fleet_scenarios import FleetScenario, fleets
from tests.fleet_small import small_fleet, small_policy, small_pool
from tests.scenarios import workload_of
from tests.test_fleet_parity import control_of

NEAR, HUB, EDGE_POOL, CLOUD = 1, 2, 4, 8
ALLOWED = {"device": NEAR, "home": NEAR | HUB, "any": NEAR | HUB | EDGE_POOL | CLOUD}
EXTREMES = st.sampled_from([0.0, 1e12, -1e12, 1.0, -1.0, 1e-9, 1e6])


@st.composite
def adversaries(draw: st.DrawFn) -> FleetScenario:
    """A fleet whose tasks are mostly private, and a policy that wants them far, at any price."""
    scenario = draw(fleets())
    classes = st.sampled_from(["device", "device", "home", "home", "any"])
    tasks = tuple(replace(task, privacy=draw(classes)) for task in scenario.fleet.tasks)
    weights = np.array(draw(st.lists(EXTREMES, min_size=len(FEATURE_NAMES), max_size=len(FEATURE_NAMES))))
    cells = len(tasks) * len(KINDS)
    scene = np.array(draw(st.lists(EXTREMES, min_size=cells, max_size=cells))).reshape(len(tasks), len(KINDS))
    greedy = PolicyTable(name="greedy", weights=weights, scene=scene, kinds=(True,) * 5)  # type: ignore[arg-type]
    return replace(scenario, fleet=replace(scenario.fleet, tasks=tasks), policy=greedy)


def plane_of(scenario: FleetScenario, router: Any = None) -> DataPlane:
    return DataPlane(
        scenario.workload,
        scenario.pools,
        fleet=scenario.fleet,
        policy=scenario.policy,
        router=router,
        seed=scenario.seed,
    )


def check_privacy(scenario: FleetScenario, plane: DataPlane) -> None:
    assert plane.stray == 0
    classes = [scenario.fleet.tasks[task].privacy for task in plane.trips["task"]]
    for reached, privacy in zip(plane.trips["reached"], classes, strict=True):
        assert reached & ~ALLOWED[privacy] == 0


@settings(max_examples=1_000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(adversaries())
def test_no_weights_buy_a_violation(scenario: FleetScenario) -> None:
    plane = plane_of(scenario)
    World(plane).run_to_end([control_of(order) for order in scenario.orders])
    check_privacy(scenario, plane)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(adversaries(), st.integers(0, 2**31))
def test_no_function_of_a_user_does_either(scenario: FleetScenario, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def anything(_request: RequestView, _device: DeviceView, actions: list[ActionView]) -> int:
        return actions[rng.integers(len(actions))].index

    plane = plane_of(scenario, anything)
    World(plane).run_to_end([control_of(order) for order in scenario.orders if order[1] != "policy"])
    check_privacy(scenario, plane)


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(adversaries())
def test_what_was_not_offered_is_refused(scenario: FleetScenario) -> None:
    """A function that insists on the cloud is told, with its request, as soon as the cloud is not among the actions."""
    cloud = 2
    offers: list[list[int]] = []

    def insists(_request: RequestView, _device: DeviceView, actions: list[ActionView]) -> int:
        offers.append([action.index for action in actions])
        return cloud

    plane = plane_of(scenario, insists)
    refused = ""
    try:
        World(plane).run_to_end()
    except UserError as told:
        refused = str(told)
    assert bool(refused) == any(cloud not in offer for offer in offers)
    assert not refused or ("at request" in refused and "allowed" in refused)
    assert plane.stray == 0


def test_the_proof_can_fail() -> None:
    """Strays are counted where legs land, from the task's class and not by the masks: a class that turns private while
    a leg is in the air makes one."""
    fleet = small_fleet()
    asked = Asked(
        device=np.array([1], np.int32),
        task=np.array([fleet.task_names.index("chat")], np.int16),
        difficulty=np.zeros(1, np.float32),
        up_bytes=np.full(1, 1000.0, np.float32),
        down_bytes=np.zeros(1, np.float32),
    )
    workload = replace(workload_of([{"arrival_s": 0.0, "prompt": 10, "output": 2}]), asked=asked)
    plane = DataPlane(workload, [small_pool()], fleet=fleet, policy=small_policy())
    plane.advance(0.5)
    assert plane.trips["leg"][0] == IN_AIR
    plane._arrays["tasks"]["privacy"] = 0
    plane.advance(np.inf)
    assert plane.stray == 1
