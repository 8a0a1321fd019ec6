"""The world around the pools: arrivals, timers, the end; and the life of a request as a SimPy process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from functools import partial
from math import inf
from typing import Literal

import simpy

from sim.pool import PoolSettings
from sim.workloads.workload import Workload
from tests.oracle.balancers import Policy, Uniform
from tests.oracle.clock import Clock, Kind
from tests.oracle.composer import StepModel
from tests.oracle.pools import Pool
from tests.oracle.requests import Request, State, requests_of
from tests.oracle.results import OracleResult, ReplicaResult

__all__ = ["Control", "Stalled", "World", "run_oracle"]

Control = tuple[float, Literal["fail", "repair"], int]  # (instant, what, replica id)


class Stalled(RuntimeError):  # noqa: N818 (a state of the world, not a mistake of the caller)
    """Requests are left, but no event is: by the rules nothing will ever happen to them.

    A prefill that may not be chunked (C4) and is larger than the whole budget leads here.
    """


class World(ABC):
    """Requests, pools, and the clock. What a request does when it arrives is said by the two kinds of world."""

    def __init__(self, workload: Workload, pools: Sequence[PoolSettings]) -> None:
        self.clock = Clock()
        self.pools: list[Pool] = []
        self.requests = list(requests_of(workload, [pool.engine for pool in pools], self.clock))
        self.open = len(self.requests)  # not terminal so far, those still to arrive included

    def run(self) -> None:
        """Set everything going; stop when the last request is terminal."""
        for request in self.requests:
            self.clock.process(self.live(request))
        for pool in self.pools:
            if pool.settings.telemetry_lag_s > 0:
                self.clock.process(pool.tick_for_ever())
        while self.open > 0:
            if self.clock.is_over:
                raise Stalled(f"nothing happens after {self.clock.now} s; {self.open} requests are open")
            for pool in self.pools:
                pool.bill(self.clock.peek() - self.clock.now)
            self.clock.step()

    # --------------------------------------------------------------------------------------- a request's life

    def live(self, request: Request) -> Generator[simpy.Event, None, None]:
        """Arrive, go somewhere, and then wait for the timers: everything else is done by others."""
        request.arrival_s = request.gap_s
        if request.after >= 0:  # T2: think after the predecessor's end, whatever end that was
            yield self.requests[request.after].done
            request.arrival_s = self.clock.now + request.gap_s
        yield self.clock.at(request.arrival_s, Kind.ARRIVAL, request.id)
        self.arrive(request)
        patience = (request.arrival_s + request.patience_s, 0)
        deadline = (request.arrival_s + request.deadline_s, 1)
        for when, which in sorted([patience, deadline]):
            if request.terminal or when == inf:
                return
            yield self.clock.at(when, Kind.TIMER, 2 * request.id + which)  # T3: patience before deadline
            self.expire(request, ("patience", "deadline")[which])

    @abstractmethod
    def arrive(self, request: Request) -> None:
        """The request is there, at this instant."""

    def expire(self, request: Request, reason: str) -> None:
        """P1, T4: patience waits for the first token, a deadline for the last."""
        if request.terminal or (reason == "patience" and request.has_first_token(self.clock.now)):
            return
        self.give_up(request)
        self.settle(request, "abandoned", reason)

    @abstractmethod
    def give_up(self, request: Request) -> None:
        """P2, G4: whoever works on it hears at once."""

    def settle(self, request: Request, state: State, reason: str) -> None:
        """The request becomes terminal, at this instant; the run is over with the last."""
        request.finish(state, reason, self.clock.now)
        self.open -= 1

    def booked(self) -> list[list[ReplicaResult]]:
        """What the replicas of each pool booked (A1 to A3). Checks that no block was lost."""
        for pool in self.pools:
            for replica in pool.replicas:
                replica.stop_busy()
                replica.composer.blocks.audit()
                replica.booked.free_blocks = len(replica.composer.blocks.free)
                held = {block for sequence in replica.composer.running for block in sequence.blocks}
                replica.booked.used_blocks = len(held)
        return [[replica.booked for replica in pool.replicas] for pool in self.pools]


class PoolWorld(World):
    """One pool, without a fleet: who arrives stands at its door."""

    def arrive(self, request: Request) -> None:
        """D1 to D5."""
        self.pools[0].enter(request)

    def give_up(self, request: Request) -> None:
        """P2."""
        self.pools[0].withdraw(request)

    def emitted(self, request: Request) -> None:
        """S3: its first token, unless it was preempted before: then `first_token` stays as it was."""
        request.first_token_s = self.clock.now

    def answered(self, request: Request) -> None:
        """S3."""
        self.settle(request, "completed", "")

    def refused(self, request: Request, reason: str) -> None:
        """D1, D4."""
        self.settle(request, "rejected", reason)

    def without_replica(self, request: Request) -> None:
        """D2."""
        self.settle(request, "failed", "no_replica")

    def lost(self, request: Request) -> None:
        """F1."""
        self.settle(request, "failed", "replica_lost")


def run_oracle(
    workload: Workload,
    pool: PoolSettings,
    step_model: StepModel,
    *,
    seed: int = 0,
    uniform: Uniform,
    controls: Sequence[Control] = (),
    policy: Policy | None = None,
) -> OracleResult:
    """Every request of `workload` through `pool`, until the last one is terminal.

    `step_model` says how long a batch takes (seconds), and what it costs (joules). `uniform(seed, request id,
    attempt, draw)` in [0, 1) is the balancers' only chance. `policy` decides for balancer "python" (B6).
    """
    world = PoolWorld(workload, [pool])
    only = Pool(0, world.clock, pool, step_model, seed, uniform, world, policy=policy)
    world.pools = [only]
    for order, (when, what, id) in enumerate(controls):
        act = partial(only.fail, id) if what == "fail" else only.replicas[id].repair
        world.clock.call(when, Kind.CONTROL, order, act)
    world.run()
    return OracleResult.of(world.requests, world.booked()[0], world.clock.now)
