"""Rule T1: what comes first when several things happen at one instant.

SimPy keeps its events in a heap of (instant, priority, serial number, event). Folding the kind of an event
and the id of whom it concerns into the priority is all that T1 takes.
"""

from __future__ import annotations

from enum import IntEnum
from heapq import heappush

import simpy

__all__ = ["Clock", "Kind"]


class Kind(IntEnum):
    """The order of T1. (SimPy's own housekeeping has the priorities 0 and 1: it comes before these.)"""

    END = 1
    CONTROL = 2
    TICK = 3
    TIMER = 4
    ARRIVAL = 5
    START = 6


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

    @property
    def is_over(self) -> bool:
        """True when nothing is set any more: nothing will ever happen."""
        return not self._queue
