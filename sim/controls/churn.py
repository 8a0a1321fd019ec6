"""People buy new devices: now and then some are replaced."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from profiles.errors import UserError
from sim.controls.checks import check_positive
from sim.workloads.streams import stream

if TYPE_CHECKING:
    import simpy

    from sim.world import World

__all__ = ["DeviceChurn"]

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChurn:
    """Every `every_s`, devices are replaced (rule X4), each with the same probability: `share_per_day` on average.

    How many and which depends on the seed and the purpose only. Hubs stay.
    """

    share_per_day: float
    every_s: float = 60.0
    seed: int = 0
    purpose: str = "device-churn"

    def __post_init__(self) -> None:
        check_positive(every_s=self.every_s)
        if not 0.0 <= self.share_per_day * max(1.0, self.every_s / _DAY_S) <= 1.0:
            raise UserError(
                "share_per_day must lie between 0 and 1, and so must the share of one round",
                got=(self.share_per_day, self.every_s),
            )

    def __call__(self, world: World) -> Generator[simpy.Event, None, None]:
        rng = stream(self.seed, self.purpose)
        devices, share = world.fleet.devices, self.share_per_day * self.every_s / _DAY_S
        while True:
            yield world.timeout(self.every_s)
            count = rng.binomial(devices, share)
            for device in sorted(rng.choice(devices, count, replace=False, shuffle=False)):
                world.replace_device(int(device))
