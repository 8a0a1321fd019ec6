"""A new policy that reaches the devices step by step."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies.table import PolicyTable
from profiles.errors import UserError
from sim.controls.checks import check_not_negative

if TYPE_CHECKING:
    import simpy

    from sim.world import World

__all__ = ["PolicyRollout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRollout:
    """Devices follow another policy: 1/steps of them at `at_s`, all of them `over_s` later, in equal steps (rule W7).

    A device that follows it once goes on to. There is one rollout at a time: the next one begins after the last step.
    """

    policy: PolicyTable
    at_s: float
    over_s: float = 0.0
    steps: int = 10

    def __post_init__(self) -> None:
        check_not_negative(at_s=self.at_s, over_s=self.over_s)
        if self.steps < 1 or (self.steps == 1 and self.over_s > 0.0):
            raise UserError("a rollout has at least one step, and two when it takes time", got=self.steps)

    @property
    def end_s(self) -> float:
        """When all devices follow it."""
        return self.at_s + self.over_s

    def __call__(self, world: World) -> Generator[simpy.Event, None, None]:
        steps = self.steps if self.over_s > 0.0 else 1
        for step in range(1, steps + 1):
            yield world.timeout(self.at_s if step == 1 else self.over_s / (steps - 1))
            world.set_policy(self.policy, step / steps)
