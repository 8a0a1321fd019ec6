"""The data plane from Python: build its arrays, advance it, look at it, act on it.

    plane = DataPlane(workload, [PoolPlan(settings=pool, costs=costs)], seed=1)
    plane.advance(math.inf)
    plane.requests["finish"]

`advance` is the only way time passes. Controls (`fail`, `slow`, `set_weather` ...) act at the instant the plane stands
at. With a fleet, requests come from devices and a policy routes them; without, they arrive at the door of the pool.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.check import RoutingPolicy
from policies.table import PolicyTable
from profiles.errors import UserError
from sim.asking import Balancer, ask_balancer, ask_router
from sim.fleet import FleetSettings
from sim.fleet_state import (
    check_asked,
    check_policy_table,
    fill_world,
    fleet_arrays,
    set_policy,
    trip_records,
)
from sim.kernels import engine, legs, state, upkeep
from sim.kernels.filling import fill_requests
from sim.parallel import in_parts
from sim.pool import PoolPlan, check_pool
from sim.pool_state import PoolState
from sim.workloads.checks import check_workload
from sim.workloads.workload import Workload

__all__ = ["DataPlane", "StepCosts"]

_SLICE = 100_000  # external events between two looks at the clock and at Ctrl-C
_MOST_POOLS = 31
_SMALLEST, _LARGEST = 1e-6, 1e6  # of a factor on times and rates
_AGENDA_EACH = 6  # events of a request that may lie in the agenda at once, stale ones included


class StepCosts(NamedTuple):
    """The tables of one deployment (`sim.latency.step_costs` makes them); see `sim.kernels.step_cost`."""

    costs: NDArray[Any]  # STEP_COSTS (1,)
    token_s: NDArray[np.float64]
    token_j: NDArray[np.float64]
    emit_s: NDArray[np.float64]
    emit_j: NDArray[np.float64]
    smooth: NDArray[np.float64]


class DataPlane:
    """All requests, devices and replicas of one run, in arrays.

    `fleet` and `policy` go together; `router` is a user's function that chooses among the actions which the policy's
    kinds allow. `balancers` maps pools with balancer `python` to functions (rule B6). Raises `UserError` when the
    settings contradict each other.
    """

    def __init__(
        self,
        workload: Workload,
        pools: Sequence[PoolPlan],
        *,
        fleet: FleetSettings | None = None,
        policy: PolicyTable | None = None,
        router: RoutingPolicy | None = None,
        balancers: Mapping[str, Balancer] | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        check_workload(workload)
        _check(workload, pools, fleet, policy, balancers or {})
        self.workload = workload
        self.fleet = fleet
        self.now_s = 0.0
        self._balancers = dict(balancers or {})
        self._router = router
        self._progress = progress
        self._policy = policy
        self.log: list[tuple[float, str, tuple[Any, ...]]] = []
        try:
            self._build(workload, pools, seed)
        except MemoryError:
            raise UserError(
                f"not enough memory for {len(workload):,} requests, {fleet.rows if fleet else 0:,} devices and hubs, "
                f"and {sum(plan.settings.replicas for plan in pools):,} replicas",
                next_step="simulate fewer of them",
            ) from None

    def _build(self, workload: Workload, pools: Sequence[PoolPlan], seed: int) -> None:
        self._world_array = np.zeros(1, state.WORLD)
        self._world = world = self._world_array[0]
        self._arrays = arrays = _arrays(workload, self.fleet, len(pools))
        for name in state.WORLD_ARRAYS:
            world[name] = arrays[name].ctypes.data if name in arrays else 0
        waits = workload.after >= 0
        world["pending"] = world["pending_pool"] = state.NOBODY
        world["seed"] = seed & 0x7FFF_FFFF_FFFF_FFFF
        world["request_count"], world["pool_count"] = len(workload), len(pools)
        world["open_count"] = len(arrays["open_ids"])
        for room in ("chain", "timer", "agenda"):
            world[f"{room}_room"] = len(arrays[{"chain": "chained"}.get(room, room) + "_s"])
        named = len(workload.name_ids) > 0
        shared = {"world": self._world_array, "requests": arrays["requests"], "name_ids": arrays["name_ids"]}
        self.pools = tuple(
            PoolState(p, plan, arrays["pools"][p], named=named, unit_tokens=workload.name_unit_tokens, shared=shared)
            for p, plan in enumerate(pools)
        )
        self._chained = bool(waits.any())
        world["feedback"] = self._chained
        if self.fleet is not None and self._policy is not None:
            fill_world(world, self.fleet)
            world["by_python"] = self._router is not None
            self.set_policy(self._policy)
        self._lost = np.zeros(len(workload), np.int32)

    # -- time ----------------------------------------------------------------------------------------------------------

    def advance(self, until_s: float) -> bool:
        """Let everything before `until_s` happen, and step ENDs at it. Returns whether every request is terminal."""
        while True:
            status = engine.advance(self._world, until_s, _SLICE)
            if status == state.DECIDE:
                self.now_s = float(self._world["now_s"])
                self._decide(int(self._world["pending"]), int(self._world["pending_pool"]))
            elif status == state.PAUSED:
                if self._progress is not None:
                    self._progress(int(self._world["terminal"]), len(self.workload))
            elif status == state.CONTROL:
                if math.isinf(until_s):
                    raise RuntimeError("the data plane stalled with requests in flight: please report this scenario")
                self.now_s = until_s
                return False
            else:
                self.now_s = max(self.now_s, float(self._world["now_s"]))
                return True

    @property
    def done(self) -> bool:
        """Whether every request is terminal."""
        return bool(self._world["terminal"] == len(self.workload))

    # -- controls over a pool: what they did is in `log`, as (instant, what, arguments) --------------------------------

    def fail(self, pool: int, replica: int) -> None:
        """Take a replica down now (rule F1)."""
        self.log.append((self.now_s, "fail", (pool, replica)))
        i = self._checked(pool, replica)
        found = upkeep.fail(self._world, pool, i, self.now_s, self._lost)
        for r in self._lost[:found].tolist():
            if upkeep.lose_replica(self._world, pool, r, self.now_s):
                self._decide(r, pool)

    def repair(self, pool: int, replica: int) -> None:
        """Bring a replica back now, empty (rule F2)."""
        self.log.append((self.now_s, "repair", (pool, replica)))
        upkeep.repair(self._world, pool, self._checked(pool, replica), self.now_s)

    def retire(self, pool: int, replica: int) -> None:
        """Send a replica nothing more (rule X1)."""
        self.log.append((self.now_s, "retire", (pool, replica)))
        upkeep.retire(self._world, pool, self._checked(pool, replica), self.now_s)

    def start(self, pool: int, replica: int) -> None:
        """Use a retired replica again (rule X1)."""
        self.log.append((self.now_s, "start", (pool, replica)))
        upkeep.start(self._world, pool, self._checked(pool, replica), self.now_s)

    def slow(self, pool: int, factor: float) -> None:
        """Multiply the step time of the pool from now on (rule X2)."""
        self.log.append((self.now_s, "slow", (pool, factor)))
        self.pools[pool].record["slowdown"] = _factor("slowdown, all brown-outs at once", factor)

    def set_price(self, pool: int, usd_per_s: float) -> None:
        """Change what a replica costs from now on (rule X3)."""
        if not 0.0 <= usd_per_s < math.inf:
            raise UserError("a price must not be negative", got=usd_per_s)
        upkeep.set_price(self._world, pool, usd_per_s, self.now_s)

    # -- controls over a fleet -----------------------------------------------------------------------------------------

    def set_weather(self, region: int, *, rtt_factor: float = 1.0, rate_factor: float = 1.0, up: bool = True) -> None:
        """Change the networks of a region from now on (rules N2, X3)."""
        fleet = self._fleet()
        if not 0 <= region < fleet.regions:
            raise UserError("no such region", got=region, allowed=f"0 to {fleet.regions - 1}")
        weather = self._arrays["weather"][region]
        weather["rtt_factor"] = _factor("rtt_factor of the weather, all at once", rtt_factor)
        weather["rate_factor"] = _factor("rate_factor of the weather, all at once", rate_factor)
        weather["up"] = up

    def set_policy(self, policy: PolicyTable, share: float = 1.0) -> None:
        """Let a share of the devices follow another policy from now on, all of them with 1 (rule W7)."""
        check_policy_table(policy, len(self._fleet().tasks))
        if not 0.0 <= share <= 1.0:
            raise UserError("a share must lie between 0 and 1", got=share)
        which = 0 if share >= 1.0 else 1
        set_policy(self._arrays, which, policy)
        self._world["rollout"] = 0.0 if share >= 1.0 else share
        if policy.kinds[4]:
            self._world["feedback"] = True

    def replace_row(self, row: int) -> None:
        """Another device takes the place of this one, as it was at the start (rule X4)."""
        fleet = self._fleet()
        if not 0 <= row < fleet.rows:
            raise UserError("no such device or hub", got=row, allowed=f"0 to {fleet.rows - 1}")
        legs.replace_row(self._world, row, float(fleet.battery_share[row]), self.now_s, self._lost)

    # -- what there is to see ------------------------------------------------------------------------------------------

    @property
    def requests(self) -> NDArray[Any]:
        """One record a request (`sim.kernels.state.REQUEST`), in order of id."""
        return self._arrays["requests"]

    @property
    def trips(self) -> NDArray[Any]:
        """With a fleet: one record a request (`sim.kernels.fleet_state.TRIP`)."""
        return self._arrays["trips"]

    @property
    def rows(self) -> NDArray[Any]:
        """With a fleet: one record a device or hub (`sim.kernels.fleet_state.ROW`)."""
        return self._arrays["rows"]

    @property
    def stray(self) -> int:
        """Legs that reached a place their privacy class forbids."""
        return int(self._world["stray"])

    # -- inside --------------------------------------------------------------------------------------------------------

    def _fleet(self) -> FleetSettings:
        if self.fleet is None:
            raise UserError("this scenario has no fleet", next_step="add fleet: to the scenario")
        return self.fleet

    def _checked(self, pool: int, replica: int) -> int:
        settings = self.pools[pool].pool
        if not isinstance(replica, int | np.integer) or not 0 <= replica < settings.replicas:
            raise UserError(
                f"no such replica in pool {settings.name!r}", got=replica, allowed=f"0 to {settings.replicas - 1}"
            )
        return int(replica)

    def _decide(self, r: int, pool: int) -> None:
        """Ask the user's function: for an action, or for a replica of a pool."""
        if pool == state.NOBODY:
            assert self._router is not None
            action = ask_router(self, self._world, self._arrays["figures"], self._router, r)
            legs.act(self._world, r, action, self.now_s)
        else:
            chosen = self.pools[pool]
            replica = ask_balancer(self, self._balancers[chosen.pool.name], r, chosen)
            legs.place(self._world, r, pool, replica, self.now_s)


def _check(
    workload: Workload,
    pools: Sequence[PoolPlan],
    fleet: FleetSettings | None,
    policy: PolicyTable | None,
    balancers: Mapping[str, Balancer],
) -> None:
    for plan in pools:
        settings, limits = plan.settings, plan.settings.engine
        check_pool(settings, name_unit_tokens=workload.name_unit_tokens if len(workload.name_ids) else 0)
        if (settings.balancer == "python") != (settings.name in balancers):
            raise UserError("balancer 'python' and a Python policy go together", got=settings.balancer)
        if len(plan.costs.token_s) <= limits.max_num_batched_tokens or len(plan.costs.emit_s) <= limits.max_num_seqs:
            raise UserError("the step-cost tables are shorter than the engine's limits")
    if len(pools) > _MOST_POOLS:
        raise UserError("too many pools", got=len(pools), allowed=f"<= {_MOST_POOLS}")
    if fleet is None and len(pools) != 1:
        raise UserError("without a fleet there is one pool", got=len(pools), next_step="add fleet: to the scenario")
    if (fleet is None) != (policy is None) or (fleet is None) != (workload.asked is None):
        raise UserError("a fleet, a policy and a workload of devices go together")
    if fleet is not None and workload.asked is not None:
        check_asked(workload.asked, len(workload), fleet)


def _arrays(workload: Workload, fleet: FleetSettings | None, pools: int) -> dict[str, NDArray[Any]]:
    """The arrays that all pools share."""
    waits = workload.after >= 0
    n = len(workload)
    chain_room = int(waits.sum()) + 1
    timer_room = int(np.isfinite(workload.patience_s).sum() + np.isfinite(workload.deadline_s).sum()) + 1
    agenda_room = _AGENDA_EACH * n + fleet.rows + 1 if fleet else 1
    arrays: dict[str, NDArray[Any]] = {
        "requests": _request_records(workload),
        "name_ids": np.ascontiguousarray(workload.name_ids, np.int64),
        "open_ids": np.flatnonzero(~waits).astype(np.int32),
        "chained_s": np.zeros(chain_room),
        "chained_id": np.zeros(chain_room, np.int64),
        "timer_s": np.zeros(timer_room),
        "timer_id": np.zeros(timer_room, np.int64),
        "agenda_s": np.zeros(agenda_room),
        "agenda_id": np.zeros(agenda_room, np.int64),
        "pools": np.zeros(pools, state.POOL),
    }
    if fleet is not None and workload.asked is not None:
        arrays["trips"] = trip_records(workload.asked)
        arrays |= fleet_arrays(fleet, pools)
    return arrays


def _factor(name: str, value: float) -> float:
    if not _SMALLEST <= value <= _LARGEST:
        raise UserError(f"{name}: out of range", got=value, allowed=f"{_SMALLEST:g} to {_LARGEST:g}")
    return float(value)


def _request_records(workload: Workload) -> NDArray[Any]:
    records = np.zeros(len(workload), state.REQUEST)
    in_parts(
        fill_requests,
        len(workload),
        records,
        workload.arrival_s,
        workload.prompt_tokens,
        workload.output_tokens,
        workload.patience_s,
        workload.deadline_s,
        workload.priority,
        workload.named_tokens,
        workload.name_start,
    )
    followers = np.flatnonzero(workload.after >= 0)
    records["successor"][workload.after[followers]] = followers
    return records
