"""Replicas that fail: each on its own at random, or all of a pool for a while."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.controls.checks import check_not_negative, check_positive
from sim.controls.effects import Effects
from sim.workloads.streams import stream

if TYPE_CHECKING:
    import simpy

    from sim.world import Control, World

__all__ = ["PoolOutage", "ReplicaFailures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFailures:
    """Replicas fail and are repaired, each on its own: exponential up times, exponential repair times.

    `mean_up_s` is the mean time between a repair and the next failure, `mean_repair_s` the mean time to repair. The
    draws depend on the seed, the purpose and the replica only, so that two configurations face the same failures. A
    replica fails whether it is in use or not.
    """

    mean_up_s: float
    mean_repair_s: float
    pool: str | None = None
    seed: int = 0
    purpose: str = "replica-failures"

    def __post_init__(self) -> None:
        check_positive(mean_up_s=self.mean_up_s, mean_repair_s=self.mean_repair_s)

    def controls(self, replicas: int) -> list[Control]:
        """One control a replica."""
        return [self._of(replica) for replica in range(replicas)]

    def _of(self, replica: int) -> Control:
        def life(world: World) -> Generator[simpy.Event, None, None]:
            rng = stream(self.seed, f"{self.purpose}/{replica}")
            while True:
                yield world.timeout(float(rng.exponential(self.mean_up_s)))
                repair = Effects.of(world).take_down(self.pool, [replica])
                yield world.timeout(float(rng.exponential(self.mean_repair_s)))
                repair()

        return life


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOutage:
    """All replicas of a pool fail at one instant, those that wait to be started as well; later all are repaired.

    None of them gets what another one loses: requests without a first token find no replica in this pool.
    """

    at_s: float
    duration_s: float
    pool: str | None = None

    def __post_init__(self) -> None:
        check_not_negative(at_s=self.at_s)
        check_positive(duration_s=self.duration_s)

    def __call__(self, world: World) -> Generator[simpy.Event, None, None]:
        yield world.timeout(self.at_s)
        repair = Effects.of(world).take_down(self.pool, range(len(world.pool(self.pool).replicas)))
        yield world.timeout(self.duration_s)
        repair()
