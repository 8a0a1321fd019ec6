"""Who works on a request: near, on a hub, in a pool, in turn or both at once (rules G, W6, Q1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isnan

from sim.fleet import FleetSettings
from sim.pool import PoolPlan
from sim.workloads.workload import Workload
from tests.oracle.balancers import Uniform
from tests.oracle.clock import Kind
from tests.oracle.deciding import Decider, Policies
from tests.oracle.links import Air
from tests.oracle.radios import Leg, Radio
from tests.oracle.requests import Ask, Request
from tests.oracle.rows import Job, Row, work_of
from tests.oracle.world import World

__all__ = ["FleetWorld", "Trip"]

HOME = -1  # in the place of a pool: the hub


@dataclass(eq=False, slots=True)
class Trip:
    """What a request has under way."""

    how: str = ""  # "near", "hub", "pool", "cascade", "hedge"
    pool: int = HOME  # of the last decision
    job: Job | None = None  # on the device or on the hub
    row: Row | None = None  # where that is
    leg: Leg | None = None
    near_start_s: float = 0.0  # of the near job
    holds: bool = False  # a cascade: the near answer is there, and is withheld
    tried: set[int] = field(default_factory=set)  # W6


class FleetWorld(World):
    """Devices ask; rows and pools answer. Pools are put in after the world is made."""

    def __init__(
        self, workload: Workload, plans: tuple[PoolPlan, ...], fleet: FleetSettings, seed: int, uniform: Uniform
    ) -> None:
        super().__init__(workload, [plan.settings for plan in plans])
        self.fleet = fleet
        self.air = Air(fleet, seed, uniform)
        self.rows = [
            Row(
                id,
                fleet.kinds[int(fleet.kind[id])],
                float(fleet.battery_share[id]),
                fleet.start_s,
                self.clock,
                seed,
                uniform,
                self,
            )
            for id in range(fleet.rows)
        ]
        self.radios = [Radio(row, self.air) for row in self.rows[: fleet.devices]]
        self.trips = [Trip() for _ in self.requests]
        self.decider: Decider  # set by `begin`
        self.policies: Policies

    def begin(self, policies: Policies) -> None:
        """All pools are there."""
        self.policies = policies
        self.decider = Decider(self.fleet, self.rows, self.radios, self.pools, self.air, policies)

    # ----------------------------------------------------------------------------------------------- shortcuts

    @property
    def now(self) -> float:
        return self.clock.now

    def ask(self, request: Request) -> Ask:
        assert request.ask is not None
        return request.ask

    def device(self, request: Request) -> Row:
        return self.rows[self.ask(request).device]

    def radio(self, request: Request) -> Radio:
        return self.radios[self.ask(request).device]

    # ------------------------------------------------------------------------------------ arriving and deciding

    def arrive(self, request: Request) -> None:
        """V1, V5, and the decision."""
        row = self.device(request)
        row.settle(self.now)
        if row.kind.capacity_j > 0 and row.battery_j <= 0 and not row.charges_at(self.now):
            self.settle(request, "failed", "device_off")
        else:
            self.decide(request)

    def decide(self, request: Request) -> None:
        """W1 to W4, G1."""
        if request.terminal:
            return
        trip = self.trips[request.id]
        self.device(request).settle(self.now)
        action = self.decider.choose(request, trip.tried, self.now)
        if action == -1:
            self.settle(request, "failed", "no_replica" if trip.tried else "no_target")  # W3
            return
        request.action = action
        trip.how, trip.pool = self.decider.meaning(action)
        if trip.how in ("hub", "pool", "hedge"):
            self.send(request)  # G6: the leg first, then the job
        if trip.how in ("near", "cascade", "hedge"):
            self.join(request, self.device(request))

    def send(self, request: Request) -> None:
        """G1, N5."""
        trip = self.trips[request.id]
        nearby = trip.pool == HOME or self.pools[trip.pool].far.tier == "edge"
        leg = self.radio(request).send(request, trip.pool, nearby)
        trip.leg = leg
        self.clock.call(leg.lands_s, Kind.LEG, request.id, lambda: self.land(leg))

    def land(self, leg: Leg) -> None:
        """G1, G2: the LEG. One that was given up never lands."""
        if leg.over:
            return
        if leg.pool == HOME:
            self.join(leg.request, self.rows[int(self.fleet.hub[self.ask(leg.request).device])])
        else:
            leg.request.reached |= 4 if self.pools[leg.pool].far.tier == "edge" else 8
            self.pools[leg.pool].enter(leg.request)

    def join(self, request: Request, row: Row) -> None:
        """E1, G2: a job, on the device or on the hub."""
        trip = self.trips[request.id]
        request.reached |= 1 if row is self.device(request) else 2
        prefill_s, decode_s = work_of(row.kind, request.prompt, request.output)
        hint_s = sum(work_of(row.kind, request.prompt, self.decider.output(request)))
        trip.row = row
        trip.job = Job(
            request=request, hedged=trip.how == "hedge", prefill_s=prefill_s, decode_s=decode_s, hint_s=hint_s
        )
        row.join(trip.job)

    # --------------------------------------------------------------------------------------- what a row tells

    def job_started(self, job: Job) -> None:
        """E6. A hedge is silent until it is won (G6), a cascade's answer is withheld (G5)."""
        request = job.request
        trip = self.trips[request.id]
        trip.near_start_s = job.start_s
        if trip.how != "hedge":
            request.scheduled_s = job.start_s
        if trip.how == "near":
            request.first_token_s = job.first_s
        elif trip.how == "hub":
            assert trip.leg is not None
            trip.leg.first_s = self.radio(request).reaches_at(trip.leg, job.first_s)
            request.first_token_s = trip.leg.first_s

    def job_first(self, job: Job) -> None:
        """G6: near wins, unless the pool has won (then this job was given up)."""
        request = job.request
        request.first_token_s = self.now
        request.scheduled_s = job.start_s
        self.give_up_leg(request)

    def job_charged(self, job: Job, joules: float) -> None:
        """E5."""
        trip = self.trips[job.request.id]
        if trip.how == "hub":
            job.request.energy_j += joules
        else:
            job.request.device_j += joules

    def job_ended(self, job: Job) -> None:
        """E6, G5: a near answer completes, a hub's is sent, a cascade's is checked."""
        request = job.request
        trip = self.trips[request.id]
        assert trip.row is not None
        model = trip.row.kind.model
        trip.job = trip.row = None
        if trip.how == "hub":
            assert trip.leg is not None
            self.deliver_at(request, self.radio(request).last_at(trip.leg, self.now), trip.leg, model)
        elif trip.how == "cascade":
            check_s = self.now + self.fleet.cascade.check_s
            trip.holds = True
            self.clock.call(check_s, Kind.CHECK, request.id, lambda: self.check(request))
        else:
            self.complete(request, model)

    # ------------------------------------------------------------------------------------------ G5: the cascade

    def check(self, request: Request) -> None:
        """The CHECK: is the near answer good enough, or is there no other?"""
        if request.terminal:
            return
        trip = self.trips[request.id]
        cascade = self.fleet.cascade
        z = self.decider.confidence(self.device(request).kind.model, request)
        if z >= cascade.threshold or not self.decider.can_pool(trip.pool, request, trip.tried, self.now):
            self.release(request)
        else:
            request.escalated = True
            self.send(request)

    def release(self, request: Request) -> None:
        """G5, W6: the near answer is the answer, from now on."""
        request.scheduled_s = self.trips[request.id].near_start_s
        request.first_token_s = self.now
        self.complete(request, self.device(request).kind.model)

    # -------------------------------------------------------------------------------------- what a pool tells

    def emitted(self, request: Request) -> None:
        """G3, G6: its first token is under way to the device."""
        trip = self.trips[request.id]
        leg = trip.leg
        assert leg is not None
        leg.first_s = self.radio(request).reaches_at(leg, self.now)
        if trip.how == "hedge" and trip.job is not None:
            self.clock.call(leg.first_s, Kind.FIRST, request.id, lambda: self.first_from_pool(leg))
        elif isnan(request.first_token_s):
            request.first_token_s = leg.first_s

    def first_from_pool(self, leg: Leg) -> None:
        """G6: the FIRST. The pool wins, unless near has won (then this leg was given up)."""
        if leg.over:
            return
        leg.request.first_token_s = self.now
        self.give_up_job(leg.request)

    def answered(self, request: Request) -> None:
        """G3: its last token is under way to the device."""
        trip = self.trips[request.id]
        assert trip.leg is not None
        model = self.pools[trip.leg.pool].far.model
        self.deliver_at(request, self.radio(request).last_at(trip.leg, self.now), trip.leg, model)

    def refused(self, request: Request, reason: str) -> None:
        """G3, G7."""
        self.give_up_leg(request)
        if not self.goes_on_alone(request):
            self.settle(request, "rejected", reason)

    def lost(self, request: Request) -> None:
        """F1, G7: after the first token."""
        self.give_up_leg(request)
        if not self.goes_on_alone(request):
            self.settle(request, "failed", "replica_lost")

    def without_replica(self, request: Request) -> None:
        """W6."""
        trip = self.trips[request.id]
        trip.tried.add(trip.pool)
        request.attempts += 1
        self.give_up_leg(request)
        if self.goes_on_alone(request):
            return
        if trip.holds:
            self.release(request)
        else:
            self.clock.call(self.now, Kind.AGAIN, request.id, lambda: self.decide(request))

    def goes_on_alone(self, request: Request) -> bool:
        """W6, G7: a hedge whose other leg lives."""
        trip = self.trips[request.id]
        return trip.how == "hedge" and trip.job is not None

    # -------------------------------------------------------------------------------------------------- the end

    def deliver_at(self, request: Request, when: float, leg: Leg, model: int) -> None:
        """N6: the DELIVER."""

        def deliver() -> None:
            if not leg.over:
                self.radio(request).delivered(leg)
                self.give_up_leg(request)
                self.complete(request, model)

        self.clock.call(when, Kind.DELIVER, request.id, deliver)

    def complete(self, request: Request, model: int) -> None:
        """Q1."""
        request.correct = int(self.decider.right(model, request))
        self.settle(request, "completed", "")

    def give_up(self, request: Request) -> None:
        """G4."""
        self.give_up_job(request)
        self.give_up_leg(request)

    def give_up_job(self, request: Request) -> None:
        """G4: a job that waits leaves the queue, one that runs is cut."""
        trip = self.trips[request.id]
        if trip.job is not None:
            assert trip.row is not None
            job, row = trip.job, trip.row
            trip.job = trip.row = None
            row.leave(job)

    def give_up_leg(self, request: Request) -> None:
        """N7, P2: a leg is over."""
        trip = self.trips[request.id]
        if trip.leg is not None:
            leg, trip.leg = trip.leg, None
            if leg.pool != HOME:
                self.pools[leg.pool].withdraw(request)
            self.radio(request).over(leg)

    def replace(self, number: int) -> None:
        """X4: another device or hub takes the place of this one."""
        row = self.rows[number]
        for job in row.clear():
            self.trips[job.request.id].job = None
            self.give_up_leg(job.request)
            self.settle(job.request, "failed", "device_lost")
        row.reset()
        if number < self.fleet.devices:
            self.radios[number].reset()
