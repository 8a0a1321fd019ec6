"""A pool that is slow for a while."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.controls.checks import check_not_negative, check_positive
from sim.controls.effects import Effects

if TYPE_CHECKING:
    import simpy

    from sim.world import World

__all__ = ["BrownOut"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrownOut:
    """Every step of a pool takes `factor` times as long for a while. Brown-outs that overlap multiply."""

    at_s: float
    duration_s: float
    factor: float
    pool: str | None = None

    def __post_init__(self) -> None:
        check_not_negative(at_s=self.at_s)
        check_positive(duration_s=self.duration_s, factor=self.factor)

    def __call__(self, world: World) -> Generator[simpy.Event, None, None]:
        yield world.timeout(self.at_s)
        end = Effects.of(world).slow(self.pool, self.factor)
        yield world.timeout(self.duration_s)
        end()
