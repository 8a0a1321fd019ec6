"""What an invariant is: a statement, a check on a finished run, and the test that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from sim.results.answers import Answers
from sim.results.timeline import Timeline

if TYPE_CHECKING:
    from sim.plane import DataPlane

__all__ = ["RELATIVE", "Finding", "Invariant", "Run", "close"]

RELATIVE = 1e-9
Finding = tuple[bool, str]


class Run(NamedTuple):
    """What the checks look at."""

    plane: DataPlane
    timeline: Timeline
    answers: Answers | None
    """None without a fleet."""


class Invariant(NamedTuple):
    """`check` is None for what a single run cannot show; then only the test checks it."""

    number: int
    name: str
    statement: str
    test: str
    check: Callable[[Run], Finding] | None
    of_fleets: bool = False
    """Whether it says something of fleets only."""


def close(a: float, b: float) -> bool:
    """Whether two sums of the same things agree."""
    return abs(a - b) <= RELATIVE * max(abs(a), abs(b), 1e-3)
