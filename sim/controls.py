"""Controls: what happens to the world while requests flow. Each is a SimPy process in a few lines."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import simpy

from sim.workloads.streams import stream
from sim.world import Control, World

__all__ = ["ReplicaFailures"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaFailures:
    """Replicas fail and are repaired, each on its own: exponential up times, exponential repair times.

    `mean_up_s` is the mean time between a repair and the next failure, `mean_repair_s` the mean time to repair. The
    draws depend on the seed and the replica only, so that two configurations face the same failures.
    """

    mean_up_s: float
    mean_repair_s: float
    pool: str | None = None
    seed: int = 0

    def controls(self, replicas: int) -> list[Control]:
        """One control a replica."""
        return [self._of(replica) for replica in range(replicas)]

    def _of(self, replica: int) -> Control:
        rng = stream(self.seed, f"replica-failures/{replica}")

        def life(world: World) -> Generator[simpy.Event, None, None]:
            pool = world.pool(self.pool)
            while True:
                yield world.timeout(_exponential(rng, self.mean_up_s))
                pool.fail(replica)
                yield world.timeout(_exponential(rng, self.mean_repair_s))
                pool.repair(replica)

        return life


def _exponential(rng: np.random.Generator, mean_s: float) -> float:
    return float(rng.exponential(mean_s))
