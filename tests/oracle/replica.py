"""One replica: its life as a SimPy process, from START to END to START (rules S, F, A3, X1)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import simpy

from sim.pool import PoolSettings
from tests.oracle.batches import Batch
from tests.oracle.clock import Clock, Kind
from tests.oracle.composer import Composer, StepModel
from tests.oracle.requests import Request, Sequence
from tests.oracle.results import ReplicaResult

__all__ = ["Hears", "Replica"]

REPLICAS_PER_POOL = 1 << 20


class Hears(Protocol):
    """Who hears of what comes out of a replica (S3)."""

    def emitted(self, request: Request) -> None:
        """Its first token."""

    def answered(self, request: Request) -> None:
        """Its last token; it has left the replica."""


class Replica:
    """An engine: the requests it is to serve, and the step it executes."""

    def __init__(
        self,
        pool_id: int,
        id: int,
        clock: Clock,
        pool: PoolSettings,
        step_model: StepModel,
        owner: Hears,
        started: bool = True,
    ) -> None:
        self.pool_id = pool_id
        self.id = id
        self.clock = clock
        self.pool = pool
        self.step_model = step_model
        self.owner = owner
        self.booked = ReplicaResult()
        self.place = pool_id * REPLICAS_PER_POOL + id  # T3: by pool, replica
        self.failed = False
        self.retired = not started
        self.boot()

    @property
    def up(self) -> bool:
        """X1: it gets requests."""
        return not self.failed and not self.retired

    @property
    def paid(self) -> bool:
        """X5: from its start until it is retired and empty."""
        return not self.retired or self.outstanding > 0

    # ------------------------------------------------------------------------------- life, failure and repair

    def boot(self) -> None:
        """F2: a replica starts empty."""
        self.clear()
        self.life = self.clock.process(self.serve())

    def retire(self) -> None:
        """X1: no more requests; what it has goes on."""
        self.retired = True

    def resume(self) -> None:
        """X1: *start* one that was retired, or that waited for it."""
        self.retired = False

    def repair(self) -> None:
        """F2: only what failed can be repaired."""
        if self.failed:
            self.failed = False
            self.boot()

    def crash(self) -> list[Sequence]:
        """F1: everything in here is lost. Returns what was there, in order of request id; F2: once only."""
        if self.failed:
            return []
        lost = [self.sequences[id] for id in sorted(self.sequences)]
        self.stop_busy()
        self.life.interrupt()
        self.failed = True
        self.clear()
        return lost

    def clear(self) -> None:
        """Nothing waits, runs, executes or is composed ahead; no block holds anything."""
        self.sequences: dict[int, Sequence] = {}  # of the outstanding requests, by request id
        self.composer = Composer(self.pool, self.step_model, self.clock, self.booked)
        self.ahead: Batch | None = None  # S2: composed, but not yet executed
        self.began_s: float | None = None  # START of the step that executes
        self.idle = False
        self.warm = False

    def serve(self) -> Generator[simpy.Event, None, None]:
        """The rhythm of a replica: idle, START, END, START, END ... idle; until it fails."""
        try:
            while True:
                self.idle, self.start = True, simpy.Event(self.clock)
                yield self.start  # idle, until the door sets a START (D5)
                while (batch := self.next_batch()).shares:
                    cold_s = 0.0 if self.warm else self.pool.cold_start_s  # S5
                    self.warm = True
                    self.began_s = self.clock.now + cold_s
                    self.booked.steps += 1
                    if self.pool.engine.async_scheduling:
                        self.ahead = self.composer.compose()  # S2: at once, as if `batch` were computed
                    yield self.clock.at(self.began_s + batch.step_s, Kind.END, self.place)
                    self.stop_busy()
                    self.end(batch)
                    yield self.clock.at(self.clock.now, Kind.START, self.place)  # S3: a START follows
        except simpy.Interrupt:
            return  # F1: whatever step was executing is lost; its END never comes

    def next_batch(self) -> Batch:
        """S1, S2: START executes the batch composed ahead, if one is there and not empty; else a new one."""
        batch, self.ahead = self.ahead, None
        return batch if batch is not None and batch.shares else self.composer.compose()

    def end(self, batch: Batch) -> None:
        """S3: END. Tokens come out, in batch order; then those whose last it was leave, by request id."""
        for share in batch.shares:
            sequence = share.sequence
            if share.emits and not sequence.emitted and not sequence.gone:
                sequence.emitted = True
                self.owner.emitted(sequence.request)
        last = [share.sequence for share in batch.shares if share.last]
        for sequence in sorted(last, key=lambda sequence: sequence.request.id):
            self.composer.remove(sequence)
            if not sequence.gone:
                self.forget(sequence.request)
                self.owner.answered(sequence.request)

    def stop_busy(self) -> None:
        """A3: busy from START to END, or to the failure (or the end of the run) that cuts the step."""
        if self.began_s is not None:
            self.booked.busy_s += max(0.0, self.clock.now - self.began_s)
            self.began_s = None

    # --------------------------------------------------------------------------------------------- in and out

    @property
    def outstanding(self) -> int:
        return len(self.sequences)

    def join(self, request: Request) -> None:
        """D5: a request enters. If no step executes and no START is pending, one is set for this instant."""
        self.sequences[request.id] = Sequence(request, request.names[self.pool_id])
        self.composer.join(self.sequences[request.id])
        if self.idle:
            self.idle = False
            self.clock.at(self.clock.now, Kind.START, self.place, self.start)

    def withdraw(self, request: Request) -> None:
        """P2: an abandoned request leaves."""
        sequence = self.forget(request)
        sequence.gone = True
        self.composer.withdraw(sequence)

    def forget(self, request: Request) -> Sequence:
        """It is done here: the outstanding count falls at once."""
        return self.sequences.pop(request.id)
