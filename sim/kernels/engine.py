"""The event loop: arrivals, timers and ticks in order, replicas caught up before each (rule T1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.door import PYTHON, choose, dispatch, passes_door, report_load, ring_timer
from sim.kernels.heap import pop, replace_top
from sim.kernels.replica import run_replica
from sim.kernels.state import CONTROL, DECIDE, DONE, END, IDLE, PAUSED
from sim.kernels.views import chained_heap, event_heap, open_arrivals, replica_of, request_of, timer_heap

# External events, in the order of rule T1.
_NONE, _TICK, _TIMER, _ARRIVAL = range(4)

_CAUGHT_UP, _CHAINED, _TIRED = range(3)
_MOST_STEPS = 200_000  # of one replica at a time; events, to be exact


@kernel
def run_replicas(s: Any, limit: float) -> int:
    """Catch all replicas up with `limit`. Returns _CAUGHT_UP; or _CHAINED when an arrival was set off that must be
    looked at first; or _TIRED after many steps, as a chance to show progress and to be interrupted."""
    most = 1 if s.chains != 0 else _MOST_STEPS
    count = s.replicas
    times, values = event_heap(s)
    turns = 0
    while s.events > 0:
        now = times[0]
        value = values[0]
        if now > limit or (now == limit and value >= count):
            return _CAUGHT_UP
        i = value % count
        chained = s.chained
        run_replica(s, i, limit, most)
        replica = replica_of(s, i)
        if replica.event == IDLE:
            pop(times, values, s.events)
            s.events -= 1
        else:
            kind = 0 if replica.event == END else 1
            replace_top(times, values, s.events, replica.event_s, kind * count + i)
        if s.chained != chained:
            return _CHAINED
        turns += most
        if turns >= _MOST_STEPS and replica.event != IDLE and replica.event_s < limit:
            return _TIRED
    return _CAUGHT_UP


@kernel
def next_arrival(s: Any) -> tuple[float, int, bool]:
    """The next arrival: its instant, its request, whether it was set off by another request's end."""
    at = np.inf
    r = -1
    is_chained = False
    if s.next_open < s.open_count:
        r = open_arrivals(s)[s.next_open]
        at = request_of(s, r).arrival
    if s.chained > 0:
        times, values = chained_heap(s)
        other = times[0]
        if other < at or (other == at and values[0] < r):
            at = other
            r = values[0]
            is_chained = True
    return at, r, is_chained


@kernel
def next_external(s: Any) -> tuple[float, int]:
    """Instant and kind of the next tick, timer or arrival."""
    at, _, _ = next_arrival(s)
    kind = _ARRIVAL if at < np.inf else _NONE
    if s.timers > 0 and timer_heap(s)[0][0] <= at:
        at = timer_heap(s)[0][0]
        kind = _TIMER
    lag = s.telemetry_lag_s
    if lag > 0.0 and (s.ticks + 1) * lag <= at and (at < np.inf or s.events > 0):
        at = (s.ticks + 1) * lag
        kind = _TICK
    return at, kind


@kernel
def handle_external(s: Any, now: float, kind: int) -> bool:
    """Handle one tick, timer or arrival. Returns True when a Python policy must place the request in `pending`."""
    s.handled += 1
    if kind == _TICK:
        s.ticks += 1
        report_load(s)
    elif kind == _TIMER:
        times, values = timer_heap(s)
        value = values[0]
        pop(times, values, s.timers)
        s.timers -= 1
        ring_timer(s, value, now)
    else:
        _, r, is_chained = next_arrival(s)
        if is_chained:
            times, values = chained_heap(s)
            pop(times, values, s.chained)
            s.chained -= 1
        else:
            s.next_open += 1
        if passes_door(s, r, now):
            if s.balancer == PYTHON:
                s.pending = r
                return True
            dispatch(s, r, choose(s, r), now)
    return False


@kernel
def advance(s: Any, until: float, most: int) -> int:
    """Run to `until`: everything before it, and step ENDs at it. Returns DONE, CONTROL, DECIDE or PAUSED.

    DONE: every request is terminal. CONTROL: `until` is reached. DECIDE: place `s.pending`, then call again.
    PAUSED: `most` external events were handled; a chance to show progress.
    """
    total = s.request_count
    stop = s.handled + most
    while s.terminal < total:
        at, kind = next_external(s)
        limit = min(at, until)
        caught = run_replicas(s, limit)
        if caught == _TIRED:
            return PAUSED
        if caught == _CHAINED:
            continue
        if s.terminal >= total:
            break
        if at >= until:
            s.now_s = until
            return CONTROL
        s.now_s = at
        if handle_external(s, at, kind):
            return DECIDE
        if s.handled >= stop:
            return PAUSED
    return DONE
