"""The world around the requests: a SimPy environment whose every event first lets the data plane catch up.

SimPy moves the world (failures, repairs, whatever a user writes), the data plane moves the requests. A *control* is any
SimPy process over a `World`::

    def lunch_break(world):
        yield world.timeout(600.0)
        world.pool().fail(0)
        yield world.timeout(60.0)
        world.pool().repair(0)

Before each event of the environment, `World.step` advances the plane to that instant; a control therefore sees the
plane as it is at its own instant, after the step ENDs of that instant and before its arrivals (rule T1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import simpy

from policies import ReplicaView
from policies.table import PolicyTable
from profiles.errors import UserError, did_you_mean
from sim.fleet import FleetSettings
from sim.plane import DataPlane
from sim.pool_state import PoolState

__all__ = ["Control", "PoolHandle", "World"]

_MOST_IDLE_EVENTS = 100_000  # events at one instant; a run has far fewer in all


class PoolHandle:
    """What a control may see of a pool, and do to it. All of it holds at the instant of the control."""

    def __init__(self, plane: DataPlane, state: PoolState) -> None:
        self._plane = plane
        self._state = state

    @property
    def name(self) -> str:
        """The pool's name in the scenario."""
        return self._state.pool.name

    @property
    def replicas(self) -> list[ReplicaView]:
        """The replicas as the balancer sees them (as old as the telemetry lag)."""
        return self._state.views()

    @property
    def up(self) -> int:
        """Replicas that are up and not retired."""
        return int(self._state.replicas["up"].sum())

    @property
    def retired(self) -> list[int]:
        """Replicas that are retired, or were never started."""
        return [int(i) for i in np.flatnonzero(self._state.replicas["retired"])]

    @property
    def waiting(self) -> int:
        """Requests in the replicas' waiting queues."""
        return int(self._state.replicas["waiting"].sum())

    @property
    def running(self) -> int:
        """Occupied slots."""
        return int(self._state.replicas["running"].sum())

    @property
    def outstanding(self) -> int:
        """Requests that were sent here and not answered yet."""
        return int(self._state.replicas["outstanding"].sum())

    @property
    def slots(self) -> int:
        """Sequences that one replica runs at once, at most."""
        return self._state.pool.engine.max_num_seqs

    @property
    def kv_used(self) -> float:
        """Share of the KV blocks in use, 0 to 1."""
        blocks = self._state.pool.engine.kv_blocks
        return float(1.0 - self._state.replicas["free"].mean() / blocks)

    @property
    def price_usd_per_s(self) -> float:
        """What one replica costs now."""
        return float(self._state.record["price_usd_per_s"])

    def fail(self, replica: int) -> None:
        """Take a replica down (rule F1). Raises `UserError` for an id that does not exist."""
        self._plane.fail(self._state.number, replica)

    def repair(self, replica: int) -> None:
        """Bring a replica back, empty (rule F2)."""
        self._plane.repair(self._state.number, replica)

    def retire(self, replica: int) -> None:
        """Send a replica nothing more; it ends what it has, and costs nothing after that (rules X1, X5)."""
        self._plane.retire(self._state.number, replica)

    def start(self, replica: int) -> None:
        """Use a retired replica again, or one that waited for this (rule X1)."""
        self._plane.start(self._state.number, replica)

    def slow(self, factor: float) -> None:
        """Multiply the step time of every replica from now on; 1 is full speed (rule X2)."""
        self._plane.slow(self._state.number, factor)

    def set_price(self, usd_per_s: float) -> None:
        """Change what one replica costs from now on (rules X3, X5)."""
        self._plane.set_price(self._state.number, usd_per_s)


class World(simpy.Environment):
    """The control plane of one run. `now` is in seconds from the first instant of the workload."""

    def __init__(self, plane: DataPlane) -> None:
        super().__init__()
        self.plane = plane
        self._idle_events = 0
        self._pools = {state.pool.name: PoolHandle(plane, state) for state in plane.pools}

    def pool(self, name: str | None = None) -> PoolHandle:
        """A pool by name; the only one without a name. Raises `UserError` for a name that does not exist."""
        if name is None and len(self._pools) == 1:
            return next(iter(self._pools.values()))
        if name not in self._pools:
            raise UserError("no such pool", got=name, next_step=did_you_mean(str(name), self._pools))
        return self._pools[name]

    @property
    def fleet(self) -> FleetSettings:
        """The devices of the run. Raises `UserError` for a scenario without a fleet."""
        if self.plane.fleet is None:
            raise UserError("this scenario has no fleet", next_step="add fleet: to the scenario")
        return self.plane.fleet

    def set_weather(self, region: int, *, rtt_factor: float = 1.0, rate_factor: float = 1.0, up: bool = True) -> None:
        """Change the networks of a region from now on (rules N2, X3)."""
        self.plane.set_weather(region, rtt_factor=rtt_factor, rate_factor=rate_factor, up=up)

    def set_policy(self, policy: PolicyTable, share: float = 1.0) -> None:
        """Let a share of the devices follow another policy from now on (rule W7)."""
        self.plane.set_policy(policy, share)

    def replace_device(self, device: int) -> None:
        """Another device takes the place of this one; what it was computing is lost (rule X4)."""
        self.plane.replace_row(device)

    def step(self) -> None:
        """Let the data plane catch up with the next event, then process that event."""
        before = self.now
        self.plane.advance(self.peek())
        if self.plane.done:
            return
        try:
            super().step()
        except RuntimeError as error:  # SimPy's word for a process that yields something else than an event
            raise UserError(f"a control failed: {error}", next_step="yield events: world.timeout(seconds)") from error
        self._idle_events = self._idle_events + 1 if self.now == before else 0
        if self._idle_events > _MOST_IDLE_EVENTS:
            raise UserError(
                f"controls keep the clock at {self.now:g} s", next_step="let each round of a control take some time"
            )

    def _guarded(self, control: Control) -> Generator[simpy.Event, Any, None]:
        """The control's process; what goes wrong in the user's code is told as such."""
        name = getattr(control, "__name__", type(control).__name__)
        try:
            process = control(self)
        except (Exception, SystemExit) as error:
            raise UserError(f"the control {name} raised {type(error).__name__}: {error}") from error
        if not isinstance(process, Generator):
            raise UserError(
                f"the control {name} is not a generator function",
                got=process,
                next_step="let it yield events, as in: yield world.timeout(60.0)",
            )
        try:
            yield from process
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(f"the control {name} raised {type(error).__name__} at {self.now:g} s: {error}") from error

    def run_to_end(self, controls: Sequence[Control] = ()) -> None:
        """Run until every request is terminal. Controls that go on for ever do not keep the run alive."""
        for control in controls:
            self.process(self._guarded(control))
        while not self.plane.done:
            if math.isinf(self.peek()):
                self.plane.advance(math.inf)
            else:
                self.step()


Control = Callable[[World], Generator[simpy.Event, Any, Any]]
