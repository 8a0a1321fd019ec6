"""Asking the user's own functions: a balancer for a replica, a router for an action."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from policies import ActionView, DeviceView, ReplicaView, RequestView
from policies.check import RoutingPolicy, whole
from policies.check import chosen as chosen_action
from policies.layout import KINDS
from profiles.errors import UserError
from sim.kernels.air import network_at
from sim.kernels.figures import action_count, estimated_difficulty
from sim.kernels.state import NOBODY

if TYPE_CHECKING:
    from sim.plane import DataPlane
    from sim.pool_state import PoolState

__all__ = ["Balancer", "ask_balancer", "ask_router"]

Balancer = Callable[[RequestView, list[ReplicaView]], int]

SLOW_S = 1.0  # one decision that takes longer is told


def ask_balancer(plane: DataPlane, balancer: Balancer, r: int, pool: PoolState) -> int:
    """The replica that a user's balancer chooses (rule B6). Raises `UserError` when it raises or chooses none."""
    request = plane.requests[r]
    replicas = pool.views()
    asked = RequestView(
        id=r,
        now_s=plane.now_s,
        arrival_s=float(request["arrival"]),
        prompt_tokens=int(request["prompt"]),
        priority=int(request["priority"]),
        session=int(plane.workload.session[r]),
        attempt=int(request["attempts"]),
    )
    begun = time.perf_counter()
    try:
        answer = balancer(asked, replicas)
    except (Exception, SystemExit) as error:  # the user's code may raise anything; the error names it
        raise UserError(f"the policy raised {type(error).__name__} at request {r}: {error}") from error
    _tell_when_slow(time.perf_counter() - begun, r)
    up = [replica.id for replica in replicas if replica.up]
    chosen = whole(answer)
    if chosen not in up:
        raise UserError(
            "the policy must return the id of a replica that is up (replica.id)",
            got="nothing" if answer is None else answer,
            allowed=str(up),
        )
    return chosen


def ask_router(plane: DataPlane, world: Any, figures: Any, router: RoutingPolicy, r: int) -> int:
    """The action that a user's function chooses among the feasible ones. Raises `UserError` as `chosen` does."""
    fleet = plane.fleet
    assert fleet is not None
    request, trip = plane.requests[r], plane.trips[r]
    device = int(trip["device"])
    row = plane.rows[device]
    kind = fleet.kinds[row["kind"]]
    network = fleet.networks[network_at(world, device, plane.now_s)]
    task = fleet.tasks[trip["task"]]
    asked = RequestView(
        id=r,
        now_s=plane.now_s,
        arrival_s=float(request["arrival"]),
        prompt_tokens=int(request["prompt"]),
        priority=int(request["priority"]),
        session=int(plane.workload.session[r]),
        attempt=int(request["attempts"]),
        task=task.name,
        difficulty=float(estimated_difficulty(world, r)),
        privacy=task.privacy,
    )
    about = DeviceView(
        id=device,
        kind=kind.name,
        battery=float(row["battery_j"] / kind.capacity_j) if kind.capacity_j > 0.0 else 1.0,
        heat=float((row["temp_c"] - kind.ambient_c) / (kind.limit_c - kind.ambient_c)),
        network=network.name,
        metered=network.metered,
    )
    actions = [_view(plane, a, figures[a]) for a in range(action_count(world)) if figures[a]["feasible"]]
    begun = time.perf_counter()
    answer = chosen_action(router, asked, about, actions, situation=f"at request {r} ({task.name})")
    _tell_when_slow(time.perf_counter() - begun, r)
    return answer


def _view(plane: DataPlane, index: int, at: Any) -> ActionView:
    names = ("quality", "ttft_s", "e2e_s", "energy_j", "cost_usd", "egress_bytes", "load", "noise")
    return ActionView(
        index=index,
        kind=KINDS[at["kind"]],
        pool=None if at["pool"] == NOBODY else plane.pools[at["pool"]].pool.name,
        **{name: float(at[name]) for name in names},
    )


def _tell_when_slow(seconds: float, r: int) -> None:
    if seconds > SLOW_S:
        print(f"nearfar: warning: the policy took {seconds:.1f} s to place request {r}", file=sys.stderr, flush=True)
