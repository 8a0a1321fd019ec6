"""A row: its battery, its heat, and its one job at a time (rules V0 to V2, E)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp, floor, inf, log, nan
from typing import Protocol

from sim.fleet import RowKind
from tests.oracle.balancers import Uniform
from tests.oracle.clock import Clock, Kind
from tests.oracle.requests import Request

__all__ = ["Computed", "Job", "Row", "work_of"]

DAY_S = 86400


def work_of(kind: RowKind, prompt: int, output: float) -> tuple[float, float]:
    """E2: seconds of prefill and of decoding at full clock."""
    prefill_s = ceil(prompt / kind.chunk_tokens) * kind.chunk_s
    context = (output - 1) * prompt + (output - 1) * output / 2
    return prefill_s, (output - 1) * kind.token_s + kind.context_s * context


class Computed(Protocol):
    """Who hears of jobs."""

    def job_started(self, job: Job) -> None: ...
    def job_first(self, job: Job) -> None:
        """Its first token is there; only of a hedged job."""

    def job_ended(self, job: Job) -> None: ...
    def job_charged(self, job: Job, joules: float) -> None:
        """E5: what its computing took."""


@dataclass(eq=False, slots=True, kw_only=True)
class Job:
    """One request on one row. Instants are known from the start on."""

    request: Request
    hedged: bool = False
    prefill_s: float
    decode_s: float
    hint_s: float  # W5: prefill and decoding, as far as can be known
    start_s: float = nan
    run_s: float = nan  # after loading
    hot_s: float = inf  # from here on the clock is lowered; = run_s when the whole job runs so
    first_s: float = nan
    end_s: float = nan
    expected_end_s: float = nan  # W5


class Row:
    """A device or a hub."""

    def __init__(
        self,
        id: int,
        kind: RowKind,
        share: float,
        start_s: float,
        clock: Clock,
        seed: int,
        uniform: Uniform,
        owner: Computed,
    ) -> None:
        self.id = id
        self.kind = kind
        self.share = share
        self.midnight_s = start_s  # local time at instant 0
        self.clock = clock
        self.seed = seed
        self.uniform = uniform
        self.owner = owner
        self.running: Job | None = None
        self.waiting: list[Job] = []
        self.settled_s = 0.0
        self.compute_s = 0.0
        self.throttled_s = 0.0
        self.reset()

    def reset(self) -> None:
        """V0, X4: battery, heat, clock and residence as at the start."""
        self.battery_j = self.share * self.kind.capacity_j
        self.temp_c = self.kind.ambient_c + self.kind.resistance_c_per_w * self.kind.background_w
        self.throttled = False  # E3: set or cleared at a start; an end may set it, too
        self.last_use_s: float | None = None

    # ------------------------------------------------------------------------------------- battery and heat: V

    def charge_windows(self, a: float, b: float) -> Iterator[tuple[float, float]]:
        """V1: when charging begins and ends, about [a, b]."""
        kind = self.kind
        for day in range(floor((a + self.midnight_s) / DAY_S) - 1, floor((b + self.midnight_s) / DAY_S) + 2):
            begin = day * DAY_S + kind.charge_from_s - self.midnight_s
            yield begin, begin + kind.charge_s

    def charges_at(self, t: float) -> bool:
        return any(begin <= t < end for begin, end in self.charge_windows(t, t))

    def power_w(self, t: float) -> float:
        """V1: of the job, from t on."""
        job, kind = self.running, self.kind
        if job is None or t < job.run_s:
            return 0.0
        return kind.power_w * kind.throttled_clock if t >= job.hot_s else kind.power_w

    def settle(self, t: float) -> None:
        """V1: from the last touch to t, piece by piece."""
        cuts = [instant for window in self.charge_windows(self.settled_s, t) for instant in window]
        if self.running is not None:
            cuts += [self.running.run_s, self.running.hot_s]
        cuts = sorted({self.settled_s, t, *(cut for cut in cuts if self.settled_s < cut < t)})
        for a, b in pairwise(cuts):
            self.advance(b - a, self.power_w(a), self.charges_at(a))
        self.settled_s = t

    def advance(self, delta: float, p: float, charging: bool) -> None:
        """V2: one piece."""
        kind = self.kind
        self.temp_c = self.temperature_after(delta, p)
        if kind.capacity_j > 0:
            gain = kind.charge_w * delta if charging else 0.0
            left = self.battery_j - (kind.background_w + p) * delta + gain
            self.battery_j = min(kind.capacity_j, max(0.0, left))

    def temperature_after(self, delta: float, p: float) -> float:
        """V2."""
        kind = self.kind
        final = kind.ambient_c + kind.resistance_c_per_w * (kind.background_w + p)
        return final + (self.temp_c - final) * exp(-delta / (kind.resistance_c_per_w * kind.capacitance_j_per_c))

    @property
    def battery_share(self) -> float:
        """V4."""
        return self.battery_j / self.kind.capacity_j if self.kind.capacity_j > 0 else 1.0

    @property
    def heat(self) -> float:
        """V4."""
        return (self.temp_c - self.kind.ambient_c) / (self.kind.limit_c - self.kind.ambient_c)

    def drain(self, joules: float) -> None:
        """V3: radio energy leaves the battery at once."""
        self.battery_j = max(0.0, self.battery_j - joules)

    # -------------------------------------------------------------------------------------------------- jobs: E

    @property
    def jobs(self) -> list[Job]:
        return ([self.running] if self.running else []) + self.waiting

    @property
    def ever_used(self) -> bool:
        """W5: as far as a router knows, the model is there when a job ran before."""
        return self.running is not None or self.last_use_s is not None

    def resident(self, request: Request, t: float) -> bool:
        """E2: does this request find the model loaded at t?"""
        if self.running is not None:
            return True
        if self.last_use_s is None:
            return False
        return self.uniform(self.seed, request.id, 0, 13) < exp(-self.kind.pressure_per_s * (t - self.last_use_s))

    @property
    def is_hot(self) -> bool:
        """W5: whether a router expects the lowered clock."""
        return self.throttled and self.temp_c >= self.kind.limit_c - 2

    def join(self, job: Job) -> None:
        """E1."""
        self.waiting.append(job)
        self.start_next()

    def start_next(self) -> None:
        """E1, E5: an idle row starts the job in front."""
        if self.running is None and self.waiting:
            job = self.waiting.pop(0)
            self.plan(job)
            self.running = job
            if job.hedged:
                self.clock.call(job.first_s, Kind.JOB, self.id, lambda: self.first(job))
            self.clock.call(job.end_s, Kind.JOB, self.id, lambda: self.end(job))
            self.owner.job_started(job)

    def plan(self, job: Job) -> None:
        """E2, E3, E4: everything about a job is known when it starts."""
        t, kind = self.clock.now, self.kind
        self.settle(t)
        load_s = 0.0 if self.resident(job.request, t) else kind.load_s
        job.start_s = t
        job.run_s = t + load_s
        work_s = job.prefill_s + job.decode_s
        temp_c = self.temperature_after(load_s, 0.0)
        slow = temp_c >= kind.limit_c or (self.throttled and temp_c >= kind.limit_c - 2)
        c = kind.throttled_clock
        self.throttled = slow
        job.expected_end_s = job.run_s + job.hint_s / (c if slow else 1)
        if slow:
            job.hot_s = job.run_s
            job.first_s = job.run_s + job.prefill_s / c
            job.end_s = job.run_s + work_s / c
            return
        x = self.full_clock_s(temp_c)
        if x < work_s:
            job.hot_s = job.run_s + x
        job.first_s = self.done_at(job, job.prefill_s, x)
        job.end_s = self.done_at(job, work_s, x)

    def full_clock_s(self, temp_c: float) -> float:
        """E3: how long the clock stays full from this temperature on."""
        kind = self.kind
        final = kind.ambient_c + kind.resistance_c_per_w * (kind.background_w + kind.power_w)
        if final <= kind.limit_c:
            return inf
        rc = kind.resistance_c_per_w * kind.capacitance_j_per_c
        return rc * log((final - temp_c) / (final - kind.limit_c))

    def done_at(self, job: Job, work_s: float, x: float) -> float:
        """E3: when so much work is done, if the clock is full for x seconds."""
        if work_s <= x:
            return job.run_s + work_s
        return job.run_s + x + (work_s - x) / self.kind.throttled_clock

    def first(self, job: Job) -> None:
        """E4: the JOB at the first token of a hedged job."""
        if self.running is job:
            self.owner.job_first(job)

    def end(self, job: Job) -> None:
        """E4: the JOB."""
        if self.running is job:
            self.stop()
            self.start_next()
            self.owner.job_ended(job)

    def leave(self, job: Job) -> None:
        """G4: a waiting job leaves the queue, a running one is cut."""
        if job in self.waiting:
            self.waiting.remove(job)
        elif self.running is job:
            self.stop()
            self.start_next()

    def stop(self) -> None:
        """E5: the running job is over, at its end or before."""
        t, job, kind = self.clock.now, self.running, self.kind
        assert job is not None
        self.settle(t)
        self.throttled = self.throttled or t > job.hot_s
        full_s = max(0.0, min(t, job.hot_s) - job.run_s)
        slow_s = max(0.0, t - job.hot_s)
        self.compute_s += full_s + slow_s
        self.throttled_s += slow_s
        self.last_use_s = t if t >= job.run_s else None  # cut while loading: the model is not there
        self.running = None
        self.owner.job_charged(job, kind.power_w * full_s + kind.power_w * kind.throttled_clock * slow_s)

    def clear(self) -> list[Job]:
        """X4: all jobs end here, in order of request id. Nothing starts."""
        jobs = sorted(self.jobs, key=lambda job: job.request.id)
        self.settle(self.clock.now)
        self.waiting = []
        if self.running is not None:
            self.stop()
        return jobs
