"""Rules T1 and T3: what comes first when several things happen at one instant.

SimPy keeps its events in a heap of (instant, priority, serial number, event). Folding the kind of an event
and the id of whom it concerns into the priority is all that it takes.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from heapq import heappush

import simpy

__all__ = ["Clock", "Kind"]


class Kind(IntEnum):
    """The order of T3, and so of T1. (SimPy's own housekeeping has the priorities 0 and 1: it comes before these.)"""

    END = 1
    CONTROL = 2
    TICK = 3
    TIMER = 4
    JOB = 5
    FIRST = 6
    DELIVER = 7
    CHECK = 8
    LEG = 9
    AGAIN = 10
    ARRIVAL = 11
    START = 12


IDS_PER_KIND = 1 << 40


class Clock(simpy.Environment):
    """A SimPy environment that can set an event at an exact instant."""

    def __init__(self) -> None:
        super().__init__(initial_time=0.0)

    def at(self, when: float, kind: Kind, whom: int, event: simpy.Event | None = None) -> simpy.Event:
        """An event (or the given one, not set so far) that happens at `when`, in its place by T1.

        SimPy's `timeout` and `schedule` only know delays, and now + (when - now) may miss `when` by one unit
        in the last place. Two events meant for the same instant would then miss each other, and T1 would be
        lost. So this pushes the instant itself.
        """
        assert when >= self.now, "nothing happens in the past"
        event = simpy.Event(self) if event is None else event
        event._ok, event._value = True, None  # as simpy.Timeout does: the outcome is known, the time to come
        heappush(self._queue, (when, kind * IDS_PER_KIND + whom, next(self._eid), event))  # type: ignore[misc]
        return event

    def call(self, when: float, kind: Kind, whom: int, action: Callable[[], None]) -> None:
        """`action` happens at `when`, in its place by T3."""
        event = self.at(when, kind, whom)
        assert event.callbacks is not None
        event.callbacks.append(lambda _: action())

    @property
    def is_over(self) -> bool:
        """True when nothing but TICKs is set any more: nothing will ever happen."""
        return all(priority // IDS_PER_KIND == Kind.TICK for _, priority, _, _ in self._queue)
