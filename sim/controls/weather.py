"""Networks that get worse, or are gone, in one region or in all: at a given time, or now and then."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.controls.checks import check_not_negative, check_positive
from sim.controls.effects import Effects
from sim.workloads.streams import stream

if TYPE_CHECKING:
    import simpy

    from sim.world import World

__all__ = ["NetworkWeather", "WeatherSpells"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkWeather:
    """For a while, round trips and rates of a region (None: of all) are multiplied, or its devices are cut off.

    Where weather overlaps, factors multiply, and a region is up when all of it says so.
    """

    at_s: float
    duration_s: float
    region: int | None = None
    rtt_factor: float = 1.0
    rate_factor: float = 1.0
    up: bool = True

    def __post_init__(self) -> None:
        check_not_negative(at_s=self.at_s)
        check_positive(duration_s=self.duration_s, rtt_factor=self.rtt_factor, rate_factor=self.rate_factor)

    def __call__(self, world: World) -> Generator[simpy.Event, None, None]:
        effects, regions = Effects.of(world), _regions(world, self.region)
        yield world.timeout(self.at_s)
        ends = [
            effects.weather(one, rtt_factor=self.rtt_factor, rate_factor=self.rate_factor, up=self.up)
            for one in regions
        ]
        yield world.timeout(self.duration_s)
        for end in ends:
            end()


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherSpells:
    """The same, now and then: exponential times between two spells and exponential spells, each region on its own.

    The draws depend on the seed, the purpose and the region only.
    """

    mean_between_s: float
    mean_duration_s: float
    region: int | None = None
    rtt_factor: float = 1.0
    rate_factor: float = 1.0
    up: bool = True
    seed: int = 0
    purpose: str = "network-weather"

    def __post_init__(self) -> None:
        check_positive(mean_between_s=self.mean_between_s, mean_duration_s=self.mean_duration_s)
        check_positive(rtt_factor=self.rtt_factor, rate_factor=self.rate_factor)

    def __call__(self, world: World) -> Generator[simpy.Event, None, None]:
        yield world.all_of([world.process(self._over(world, one)) for one in _regions(world, self.region)])

    def _over(self, world: World, region: int) -> Generator[simpy.Event, None, None]:
        rng = stream(self.seed, f"{self.purpose}/{region}")
        while True:
            yield world.timeout(float(rng.exponential(self.mean_between_s)))
            end = Effects.of(world).weather(
                region, rtt_factor=self.rtt_factor, rate_factor=self.rate_factor, up=self.up
            )
            yield world.timeout(float(rng.exponential(self.mean_duration_s)))
            end()


def _regions(world: World, region: int | None) -> range:
    return range(world.fleet.regions) if region is None else range(region, region + 1)
