"""A price that changes, for a while or for good."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.controls.checks import check_not_negative, check_positive
from sim.controls.effects import Effects

if TYPE_CHECKING:
    import simpy

    from sim.world import World

__all__ = ["PriceChange"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange:
    """A pool costs `factor` times as much, for good without `duration_s`. Changes that overlap multiply."""

    at_s: float
    factor: float
    duration_s: float | None = None
    pool: str | None = None

    def __post_init__(self) -> None:
        check_not_negative(at_s=self.at_s)
        check_positive(factor=self.factor)
        if self.duration_s is not None:
            check_positive(duration_s=self.duration_s)

    def __call__(self, world: World) -> Generator[simpy.Event, None, None]:
        yield world.timeout(self.at_s)
        end = Effects.of(world).reprice(self.pool, self.factor)
        if self.duration_s is not None:
            yield world.timeout(self.duration_s)
            end()
