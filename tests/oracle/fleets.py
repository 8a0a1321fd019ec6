"""A whole fleet through the oracle: orders, and what a run leaves behind (rules X, A)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.table import PolicyTable
from sim.fleet import FleetSettings
from sim.kernels.draws import uniform as production_uniform
from sim.kernels.step_cost import step_cost
from sim.pool import PoolPlan, StepShape
from sim.workloads.workload import Workload
from tests.oracle.balancers import Uniform
from tests.oracle.clock import Kind
from tests.oracle.composer import StepModel
from tests.oracle.deciding import Policies
from tests.oracle.legs import FleetWorld
from tests.oracle.links import Weather
from tests.oracle.pools import Pool
from tests.oracle.results import ReplicaResult

__all__ = ["FleetResult", "Order", "run_fleet"]

Order = tuple[float, str, tuple[Any, ...]]  # (instant, what, arguments)


@dataclass(slots=True, kw_only=True)
class FleetResult:
    """One entry a request, in order of request id; one a row; one a pool."""

    state: list[str]
    reason: list[str]
    action: NDArray[np.int64]
    arrival_s: NDArray[np.float64]
    scheduled_s: NDArray[np.float64]
    first_token_s: NDArray[np.float64]
    finish_s: NDArray[np.float64]
    attempts: NDArray[np.int64]
    energy_j: NDArray[np.float64]
    device_j: NDArray[np.float64]
    reached: NDArray[np.int64]
    correct: NDArray[np.int64]
    escalated: NDArray[np.bool_]
    cached: NDArray[np.int64]
    preemptions: NDArray[np.int64]
    pool: NDArray[np.int64]
    replica: NDArray[np.int64]

    battery_j: NDArray[np.float64]
    temp_c: NDArray[np.float64]
    compute_s: NDArray[np.float64]
    throttled_s: NDArray[np.float64]
    settled_s: NDArray[np.float64]

    billed_usd: NDArray[np.float64]
    replicas: list[list[ReplicaResult]]
    end_s: float


def run_fleet(
    workload: Workload,
    pools: tuple[PoolPlan, ...],
    fleet: FleetSettings,
    policy: PolicyTable,
    *,
    seed: int,
    orders: Sequence[Order] = (),
    uniform: Uniform = production_uniform,
) -> FleetResult:
    """Every request of `workload` through `fleet` and `pools`, until the last one is terminal."""
    world = FleetWorld(workload, pools, fleet, seed, uniform)
    world.pools = [
        Pool(id, world.clock, plan.settings, step_model(plan.costs), seed, uniform, world, far=plan.far)
        for id, plan in enumerate(pools)
    ]
    world.begin(Policies(policy, seed, world.air))
    for number, order in enumerate(orders):
        world.clock.call(order[0], Kind.CONTROL, number, action_of(world, order))
    world.run()
    return result_of(world)


def step_model(costs: Any) -> StepModel:
    """The production step cost, as the oracle wants it."""

    def cost(shape: StepShape) -> tuple[float, float]:
        return step_cost(*shape, costs.costs[0], *costs[1:])  # type: ignore[no-any-return]

    return cost


def action_of(world: FleetWorld, order: Order) -> Callable[[], None]:
    """X1 to X4, F1, F2."""
    _, what, args = order
    match what:
        case "fail":
            return partial(world.pools[args[0]].fail, args[1])
        case "repair":
            return world.pools[args[0]].replicas[args[1]].repair
        case "retire":
            return world.pools[args[0]].replicas[args[1]].retire
        case "start":
            return world.pools[args[0]].replicas[args[1]].resume
        case "slow":
            return partial(setattr, world.pools[args[0]], "slowdown", args[1])
        case "price":
            return partial(setattr, world.pools[args[0]], "price_usd_per_s", args[1])
        case "weather":
            return partial(world.air.weather.__setitem__, args[0], Weather(*args[1:]))
        case "policy":
            return partial(world.policies.change, *args)
        case "replace":
            return partial(world.replace, *args)
    raise ValueError(what)


def result_of(world: FleetWorld) -> FleetResult:
    """Gather what was booked."""

    def column(items: Sequence[Any], name: str, dtype: type = np.float64) -> Any:
        return np.array([getattr(item, name) for item in items], dtype=dtype)

    of_request = partial(column, world.requests)
    of_row = partial(column, world.rows)
    replicas = world.booked()
    return FleetResult(
        state=[request.state for request in world.requests],
        reason=[request.reason for request in world.requests],
        action=of_request("action", np.int64),
        arrival_s=of_request("arrival_s"),
        scheduled_s=of_request("scheduled_s"),
        first_token_s=of_request("first_token_s"),
        finish_s=of_request("finish_s"),
        attempts=of_request("attempts", np.int64),
        energy_j=of_request("energy_j"),
        device_j=of_request("device_j"),
        reached=of_request("reached", np.int64),
        correct=of_request("correct", np.int64),
        escalated=of_request("escalated", np.bool_),
        cached=of_request("cached_tokens", np.int64),
        preemptions=of_request("preemptions", np.int64),
        pool=of_request("pool", np.int64),
        replica=of_request("replica", np.int64),
        battery_j=of_row("battery_j"),
        temp_c=of_row("temp_c"),
        compute_s=of_row("compute_s"),
        throttled_s=of_row("throttled_s"),
        settled_s=of_row("settled_s"),
        billed_usd=column(world.pools, "billed_usd"),
        replicas=replicas,
        end_s=world.now,
    )
