"""Who goes where: policy files, their features and masks, and the contract of a policy written in Python.

    policies.policy           policy files: `load_policy`, `Policy`
    policies.layout           what a policy may look at
    policies.check            `check_policy`: try a routing function out

A *balancer* policy chooses a replica of one pool: any callable that gets a `RequestView` and the pool's `ReplicaView`s
and returns the id of a replica that is up.

    def to_the_shortest_queue(request, replicas):
        return min((r for r in replicas if r.up), key=lambda r: r.outstanding).id

A *routing* policy chooses among near and far: any callable that gets a `RequestView`, the asking device's `DeviceView`
and an `ActionView` of everything that is possible, and returns the index of one of these.

    def fast_unless_hard(request, device, actions):
        right = [a for a in actions if a.quality > 0.7] or actions
        return min(right, key=lambda a: a.ttft_s).index

Either sees what a router could know: never the true length or difficulty, and loads only as last reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ActionView", "DeviceView", "ReplicaView", "RequestView"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """A request at the moment it must be placed. `session` is -1 without one; `attempt` counts earlier dispatches."""

    id: int
    now_s: float
    arrival_s: float
    prompt_tokens: int
    priority: int = 0
    session: int = -1
    attempt: int
    task: str = ""
    """Name of the scene; empty where there are no devices, as are the next two."""
    difficulty: float = 0.0
    """As estimated, in logits."""
    privacy: Literal["device", "home", "any"] = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """A replica as the balancer sees it; `outstanding` is as old as the telemetry."""

    id: int
    up: bool
    outstanding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceView:
    """The device that asks, at this moment."""

    id: int
    kind: str
    """Name of its kind in the scenario."""
    battery: float
    """Share of its capacity; 1 without a battery."""
    heat: float
    """0 at ambient temperature, 1 where the clock is lowered."""
    network: str
    """Name of the class that it is connected by."""
    metered: bool
    """Whether its user pays by volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionView:
    """One thing that is possible, and what is predicted of it."""

    index: int
    """What a routing policy returns to choose it; impossible actions leave gaps."""
    kind: Literal["near", "edge", "cloud", "cascade", "hedge"]
    pool: str | None
    """Name of the pool; None on the device and on a hub."""
    quality: float
    """Chance of a right answer."""
    ttft_s: float
    """Seconds to the first token."""
    e2e_s: float
    """Seconds to the last token."""
    energy_j: float
    """Joules of the asking device."""
    cost_usd: float
    egress_bytes: float
    """Bytes that leave the user's own machines."""
    load: float
    """Jobs on a device or hub; requests per slot of a pool, as last reported."""
    noise: float
    """Uniform in [0, 1), drawn for the request and the action: chance that repeats from run to run."""
