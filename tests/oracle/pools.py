"""A pool: its door, its failures, what it tells and what it costs (rules D, F, T, X1, X2, X5)."""

from __future__ import annotations

from collections.abc import Generator
from math import ceil, nan
from typing import Protocol

import simpy

from sim.fleet import Far
from sim.pool import PoolSettings, StepShape
from tests.oracle.balancers import Balance, Policy, Uniform
from tests.oracle.clock import Clock, Kind
from tests.oracle.composer import StepModel
from tests.oracle.replica import Hears, Replica
from tests.oracle.requests import Request

__all__ = ["Owner", "Pool"]


class Owner(Hears, Protocol):
    """Who sent the requests, and must hear what becomes of them."""

    def refused(self, request: Request, reason: str) -> None:
        """D1, D4: rejected at the door."""

    def without_replica(self, request: Request) -> None:
        """D2: no replica is up."""

    def lost(self, request: Request) -> None:
        """F1: its replica failed after its first token."""


class Pool:
    """Identical replicas behind a balancer."""

    def __init__(
        self,
        id: int,
        clock: Clock,
        settings: PoolSettings,
        step_model: StepModel,
        seed: int,
        uniform: Uniform,
        owner: Owner,
        *,
        policy: Policy | None = None,
        far: Far | None = None,
    ) -> None:
        self.id = id
        self.clock = clock
        self.settings = settings
        self.engine = settings.engine
        self.owner = owner
        self.far = Far() if far is None else far
        self.slowdown = self.told_slowdown = 1.0
        self.price_usd_per_s = self.far.price_usd_per_s
        self.billed_usd = 0.0

        def cost(shape: StepShape) -> tuple[float, float]:
            """X2: a slowdown stretches the step; its energy stays."""
            step_s, energy_j = step_model(shape)
            return step_s * self.slowdown, energy_j

        started = settings.replicas if settings.started == -1 else settings.started
        self.replicas = [
            Replica(id, number, clock, settings, cost, owner, started=number < started)
            for number in range(settings.replicas)
        ]
        self.balance = Balance(settings.balancer, self.replicas, settings.telemetry_lag_s, seed, uniform, policy)

    @property
    def reported_slowdown(self) -> float:
        """W5: as a router knows it."""
        return self.slowdown if self.balance.live else self.told_slowdown

    # ----------------------------------------------------------------------------------------------- the door

    def unfit(self, prompt: int, output: int) -> str:
        """D1: why a request of this size can never be served; "" when it can."""
        if prompt + output > self.engine.max_model_len:
            return "too_long"
        if ceil((prompt + output - 1) / self.engine.block_size) > self.engine.kv_blocks:
            return "exceeds_kv"
        return ""

    def enter(self, request: Request) -> None:
        """D1 to D5."""
        reason = self.unfit(request.prompt, request.output)
        if reason:
            self.owner.refused(request, reason)
        else:
            self.dispatch(request)

    def dispatch(self, request: Request) -> None:
        """D2 to D5: to a replica, if one is up and has room. Here also F1: everything there starts anew."""
        request.scheduled_s, request.cached_tokens = nan, 0
        if not any(replica.up for replica in self.replicas):
            self.owner.without_replica(request)  # D2
            return
        replica = self.balance.choose(request, self.clock.now)  # D3
        request.pool, request.replica = self.id, replica.id
        queue_full = is_full(replica.composer.waiting_count, self.engine.max_queue)
        if queue_full or is_full(replica.outstanding, self.engine.max_outstanding):
            self.owner.refused(request, "queue_full")  # D4
        else:
            replica.join(request)  # D5

    def withdraw(self, request: Request) -> None:
        """P2: the replica that has it, if one does, hears at once."""
        for replica in self.replicas:
            if request.id in replica.sequences:
                replica.withdraw(request)

    # ------------------------------------------------------------------------------------ failures, telemetry

    def fail(self, replica: int) -> None:
        """F1: in order of request id, one that has emitted is lost, any other is dispatched again at once."""
        for sequence in self.replicas[replica].crash():
            if sequence.emitted:
                self.owner.lost(sequence.request)
            else:
                sequence.request.attempts += 1
                self.dispatch(sequence.request)

    def tick_for_ever(self) -> Generator[simpy.Event, None, None]:
        """TICK m at m * L: the balancer hears the true counts. (Until nothing else can happen any more.)"""
        m = 1
        while not self.clock.is_over:
            yield self.clock.at(m * self.settings.telemetry_lag_s, Kind.TICK, self.id)
            self.balance.tick()
            self.told_slowdown = self.slowdown
            m += 1

    # -------------------------------------------------------------------------------------------- what it costs

    def bill(self, seconds: float) -> None:
        """X5: nothing changes for so many seconds. A retired replica is paid for while it has requests."""
        paid = sum(replica.paid for replica in self.replicas)
        self.billed_usd += self.price_usd_per_s * paid * seconds


def is_full(count: int, limit: int) -> bool:
    """D4: has the count reached the limit? -1 means no limit."""
    return limit != -1 and count >= limit
