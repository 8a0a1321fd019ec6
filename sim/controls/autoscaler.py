"""As many replicas as the load asks for."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from profiles.errors import UserError
from sim.controls.checks import check_not_negative, check_positive

if TYPE_CHECKING:
    import simpy

    from sim.world import PoolHandle, World

__all__ = ["Autoscaler"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """Every `every_s`, a pool is given the replicas that `target_load` asks for: outstanding requests per slot.

    It wants outstanding / (target_load x slots) replicas, rounded up, from `min` to `max`. When fewer are up or on
    their way, it orders more, `step_out` a round at most, the lowest-numbered ones that are retired; they start
    `provisioning_s` later. When more are up, and the last change is `cooldown_s` ago, it retires the highest-numbered
    ones, `step_in` a round at most; they end what they have. A replica that failed is replaced like one that is
    missing, but counts for `max`. It sees the requests that are outstanding at its instant, those on retired replicas
    included, whatever the telemetry lag of the pool. One autoscaler a pool.
    """

    max: int
    min: int = 1
    target_load: float = 0.6
    every_s: float = 15.0
    provisioning_s: float = 60.0
    cooldown_s: float = 300.0
    step_out: int | None = None
    """None: no limit; so for step_in."""
    step_in: int | None = 1
    pool: str | None = None

    def __post_init__(self) -> None:
        check_positive(target_load=self.target_load, every_s=self.every_s)
        check_not_negative(provisioning_s=self.provisioning_s, cooldown_s=self.cooldown_s)
        if not 1 <= self.min <= self.max:
            raise UserError("an autoscaler needs 1 <= min <= max", got=(self.min, self.max))
        if _least(1, self.step_out, self.step_in) < 1:
            raise UserError("step_out and step_in are at least 1", got=(self.step_out, self.step_in))

    def __call__(self, world: World) -> Generator[simpy.Event, None, None]:
        pool = world.pool(self.pool)
        state = _State(changed_s=world.now)
        while True:
            yield world.timeout(self.every_s)
            missing = self._wanted(pool) - pool.up - len(state.coming)
            if missing > 0:
                self._order(missing, world, pool, state)
            elif missing < 0 and not state.coming and world.now - state.changed_s >= self.cooldown_s:
                up = [replica.id for replica in pool.replicas if replica.up]
                for i in up[-_least(-missing, self.step_in) :]:
                    pool.retire(i)
                state.changed_s = world.now

    def _wanted(self, pool: PoolHandle) -> int:
        needed = math.ceil(pool.outstanding / (self.target_load * pool.slots))
        return min(max(needed, self.min), self.max)

    def _order(self, missing: int, world: World, pool: PoolHandle, state: _State) -> None:
        retired = pool.retired
        room = self.max - (len(pool.replicas) - len(retired)) - len(state.coming)
        spare = [i for i in retired if i not in state.coming]
        for i in spare[: _least(missing, room, self.step_out)]:
            state.coming.add(i)
            world.process(self._provision(i, world, pool, state))

    def _provision(
        self, replica: int, world: World, pool: PoolHandle, state: _State
    ) -> Generator[simpy.Event, None, None]:
        yield world.timeout(self.provisioning_s)
        pool.start(replica)
        state.coming.remove(replica)
        state.changed_s = world.now


@dataclass(slots=True)
class _State:
    changed_s: float
    coming: set[int] = field(default_factory=set)


def _least(*counts: int | None) -> int:
    """The smallest one, 0 at least; None is no limit."""
    return max(0, min(count for count in counts if count is not None))
