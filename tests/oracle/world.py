"""The world around the replicas: the door, timers, failures; and the life of a request as a SimPy process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from math import ceil, inf, nan
from typing import Literal

import simpy

from sim.pool import PoolSettings
from sim.workloads.workload import Workload
from tests.oracle.balancers import Balance, Policy, Uniform
from tests.oracle.clock import Clock, Kind
from tests.oracle.composer import StepModel
from tests.oracle.replica import Replica
from tests.oracle.requests import Request, State, requests_of
from tests.oracle.results import OracleResult

__all__ = ["Control", "Stalled", "World", "run_oracle"]

Control = tuple[float, Literal["fail", "repair"], int]  # (instant, what, replica id)


class Stalled(RuntimeError):  # noqa: N818 (a state of the world, not a mistake of the caller)
    """Requests are left, but no event is: by the rules nothing will ever happen to them.

    A prefill that may not be chunked (C4) and is larger than the whole budget leads here.
    """


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
    world = World(workload, pool, step_model, seed, uniform, policy)
    return world.run(controls)


class World:
    """One pool, its requests, and the clock."""

    def __init__(
        self,
        workload: Workload,
        pool: PoolSettings,
        step_model: StepModel,
        seed: int,
        uniform: Uniform,
        policy: Policy | None,
    ) -> None:
        self.clock = Clock()
        self.pool = pool
        self.engine = pool.engine
        self.replicas = [Replica(id, self.clock, pool, step_model, self.complete) for id in range(pool.replicas)]
        self.balance = Balance(pool.balancer, self.replicas, pool.telemetry_lag_s, seed, uniform, policy)
        self.requests = list(requests_of(workload, pool.engine, self.clock))
        self.open = len(self.requests)  # not terminal so far, those still to arrive included

    def run(self, controls: Sequence[Control]) -> OracleResult:
        """Set everything going; stop when the last request is terminal."""
        for request in self.requests:
            self.clock.process(self.live(request))
        for order, (when, what, id) in enumerate(controls):
            event = self.clock.at(when, Kind.CONTROL, order)
            assert event.callbacks is not None
            event.callbacks.append(self.control(what, self.replicas[id]))
        if self.pool.telemetry_lag_s > 0:
            self.clock.process(self.tick_for_ever())
        while self.open > 0:
            if self.clock.is_over:
                raise Stalled(f"nothing happens after {self.clock.now} s; {self.open} requests are open")
            self.clock.step()
        return self.result()

    # --------------------------------------------------------------------------------------- a request's life

    def live(self, request: Request) -> Generator[simpy.Event, None, None]:
        """Arrive, enter by the door, and then wait for the timers: everything else is done by others."""
        request.arrival_s = request.gap_s
        if request.after >= 0:  # T2: think after the predecessor's end, whatever end that was
            yield self.requests[request.after].done
            request.arrival_s = self.clock.now + request.gap_s
        yield self.clock.at(request.arrival_s, Kind.ARRIVAL, request.id)
        self.arrive(request)
        patience = (request.arrival_s + request.patience_s, "patience")
        deadline = (request.arrival_s + request.deadline_s, "deadline")
        timers = [patience, deadline] if patience[0] <= deadline[0] else [deadline, patience]
        for when, reason in timers:
            if request.terminal or when == inf:
                return
            yield self.clock.at(when, Kind.TIMER, request.id)
            self.expire(request, reason)

    def arrive(self, request: Request) -> None:
        """D1: what can never be served is not let in."""
        if request.prompt + request.output > self.engine.max_model_len:
            self.settle(request, "rejected", "too_long")
        elif ceil((request.prompt + request.output - 1) / self.engine.block_size) > self.engine.kv_blocks:
            self.settle(request, "rejected", "exceeds_kv")
        else:
            self.dispatch(request)

    def dispatch(self, request: Request) -> None:
        """D2 to D5: to a replica, if one is up and has room. Here also F1: everything there starts anew."""
        request.scheduled_s, request.cached_tokens = nan, 0
        if not any(replica.up for replica in self.replicas):
            self.settle(request, "failed", "no_replica")  # D2
            return
        replica = self.balance.choose(request, self.clock.now)  # D3
        request.replica = replica.id
        queue_full = is_full(replica.composer.waiting_count, self.engine.max_queue)
        if queue_full or is_full(replica.outstanding, self.engine.max_outstanding):
            self.settle(request, "rejected", "queue_full")  # D4
        else:
            replica.join(request)  # D5

    def expire(self, request: Request, reason: str) -> None:
        """P1: patience waits for the first token, a deadline for the last. P2: the replica hears at once."""
        if request.terminal or (reason == "patience" and request.has_emitted):
            return
        self.settle(request, "abandoned", reason)
        self.replicas[request.replica].withdraw(request)

    def complete(self, request: Request) -> None:
        """S3: its last token came out."""
        self.settle(request, "completed", "")

    def settle(self, request: Request, state: State, reason: str) -> None:
        """The request becomes terminal, at this instant; the run is over with the last."""
        request.finish(state, reason, self.clock.now)
        self.open -= 1

    # --------------------------------------------------------------------------------- failures and telemetry

    def control(self, what: Literal["fail", "repair"], replica: Replica) -> Callable[[simpy.Event], None]:
        """F1, F2: what is to happen at a control's instant. To fail the failed, repair the sound: nothing."""

        def happen(_: simpy.Event) -> None:
            if what == "fail" and replica.up:
                self.fail(replica)
            elif what == "repair" and not replica.up:
                replica.boot()

        return happen

    def fail(self, replica: Replica) -> None:
        """F1: in order of request id, one that has emitted fails, any other is dispatched again at once."""
        for request in replica.crash():
            if request.has_emitted:
                self.settle(request, "failed", "replica_lost")
            else:
                request.attempts += 1
                self.dispatch(request)

    def tick_for_ever(self) -> Generator[simpy.Event, None, None]:
        """TICK m at m * L: the balancer hears the true counts. (Until nothing else can happen any more.)"""
        m = 1
        while not self.clock.is_over:
            yield self.clock.at(m * self.pool.telemetry_lag_s, Kind.TICK, 0)
            self.balance.tick()
            m += 1

    # --------------------------------------------------------------------------------------------- the result

    def result(self) -> OracleResult:
        """Gather what was booked (A1 to A3), and check that no block was lost."""
        for replica in self.replicas:
            replica.stop_busy()
            replica.composer.blocks.audit()
            replica.booked.free_blocks = len(replica.composer.blocks.free)
            held = {block for sequence in replica.composer.running for block in sequence.blocks}
            replica.booked.used_blocks = len(held)
        requests = self.requests
        return OracleResult(
            state=[request.state for request in requests],
            reason=[request.reason for request in requests],
            replica=[request.replica for request in requests],
            arrival_s=[request.arrival_s for request in requests],
            scheduled_s=[request.scheduled_s for request in requests],
            first_token_s=[request.first_token_s for request in requests],
            finish_s=[request.finish_s for request in requests],
            preemptions=[request.preemptions for request in requests],
            cached_tokens=[request.cached_tokens for request in requests],
            attempts=[request.attempts for request in requests],
            energy_j=[request.energy_j for request in requests],
            replicas=[replica.booked for replica in self.replicas],
            end_s=self.clock.now,
        )


def is_full(count: int, limit: int) -> bool:
    """D4: has the count reached the limit? -1 means no limit."""
    return limit != -1 and count >= limit
