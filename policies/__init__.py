"""Who goes where. Today: the contract of a user's Python policy over the replicas of a pool.

A policy is any callable that gets a `RequestView` and the pool's `ReplicaView`s and returns the id of a replica that is
up. It sees what a router could know: never the true length of the answer, and loads only as last reported.

    def to_the_shortest_queue(request, replicas):
        return min((r for r in replicas if r.up), key=lambda r: r.outstanding).id
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ReplicaView", "RequestView"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """A request at the moment it must be placed. `session` is -1 without one; `attempt` counts earlier dispatches."""

    id: int
    now_s: float
    arrival_s: float
    prompt_tokens: int
    priority: int
    session: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """A replica as the balancer sees it; `outstanding` is as old as the telemetry."""

    id: int
    up: bool
    outstanding: int
