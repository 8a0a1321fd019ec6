"""The event loop: what happens outside of the replicas in order, replicas caught up before each (rules T1, T3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.door import report_load
from sim.kernels.fleet_state import CHECK, DELIVER, EVENT_SHIFT, FIRST, JOB, LEG, NO_JOB, NO_LEG
from sim.kernels.heap import pop, replace_top
from sim.kernels.legs import (
    arrive,
    check,
    choose_action,
    deliver,
    enter_pool,
    finish_early,
    first_is_here,
    give_up,
    land,
    row_is_due,
)
from sim.kernels.replica import run_replica
from sim.kernels.state import (
    ABANDONED,
    AWAY,
    COMPLETED,
    CONTROL,
    DEADLINE,
    DECIDE,
    DONE,
    END,
    FAILED,
    IDLE,
    NOBODY,
    PATIENCE,
    PAUSED,
)
from sim.kernels.views import (
    agenda_heap,
    chained_heap,
    event_heap,
    fetch_row,
    open_arrivals,
    pool_of,
    replica_of,
    request_of,
    timer_heap,
    trip_of,
)

# External events, in the order of rule T3.
_NONE, _TICK, _TIMER, _AGENDA, _ARRIVAL = range(5)

_CAUGHT_UP, _NEWS, _TIRED = range(3)
_AHEAD = 8  # arrivals between asking memory for a device and looking at it
_MOST_STEPS = 200_000  # of one replica at a time; events, to be exact


# -- replicas ----------------------------------------------------------------------------------------------------------


@kernel
def run_first(s: Any, limit: float, most: int) -> int:
    """Run the replica of a pool that is due first, up to `limit`. Returns its events, 0 when none is due."""
    if s.events == 0:
        return 0
    count = s.replicas
    times, values = event_heap(s)
    now = times[0]
    value = values[0]
    if now > limit or (now == limit and value >= count):
        return 0
    i = value % count
    done = run_replica(s, i, limit, most)
    replica = replica_of(s, i)
    if replica.event == IDLE:
        pop(times, values, s.events)
        s.events -= 1
    else:
        kind = 0 if replica.event == END else 1
        replace_top(times, values, s.events, replica.event_s, kind * count + i)
    return done


@kernel
def run_replicas(w: Any, limit: float) -> int:
    """Catch all replicas up with `limit`. Returns _CAUGHT_UP; or _NEWS when something was set off that must be looked
    at first; or _TIRED after many steps, as a chance to show progress and to be interrupted."""
    if w.feedback != 0:
        return run_in_order(w, limit)
    steps = 0
    for p in range(w.pool_count):
        s = pool_of(w, p)
        done = 1
        while done > 0:
            done = run_first(s, limit, _MOST_STEPS)
            steps += done
            if steps >= 5 * _MOST_STEPS:
                return _TIRED
    return _CAUGHT_UP


@kernel
def run_in_order(w: Any, limit: float) -> int:
    """The same, event by event over all pools: what a pool sends out may come back at once."""
    agenda, chained = w.agenda_length, w.chained
    for _ in range(_MOST_STEPS):
        first = NOBODY
        at = np.inf
        for p in range(w.pool_count):
            s = pool_of(w, p)
            if s.events > 0 and (first == NOBODY or event_heap(s)[0][0] < at):
                first = p
                at = event_heap(s)[0][0]
        if first == NOBODY or run_first(pool_of(w, first), limit, 1) == 0:
            return _CAUGHT_UP
        if w.agenda_length != agenda or w.chained != chained:
            return _NEWS
    return _TIRED


# -- what is next ------------------------------------------------------------------------------------------------------


@kernel
def next_arrival(w: Any) -> tuple[float, int, bool]:
    """The next arrival: its instant, its request, whether it was set off by another request's end."""
    at = np.inf
    r = -1
    is_chained = False
    if w.next_open < w.open_count:
        r = open_arrivals(w)[w.next_open]
        at = request_of(w, r).arrival
    if w.chained > 0:
        times, values = chained_heap(w)
        other = times[0]
        if other < at or (other == at and values[0] < r):
            at = other
            r = values[0]
            is_chained = True
    return at, r, is_chained


@kernel
def busy(w: Any) -> bool:
    """Whether any replica has anything ahead of it."""
    waiting = 0
    for p in range(w.pool_count):
        waiting += pool_of(w, p).events
    return waiting > 0


@kernel
def next_external(w: Any) -> tuple[float, int, int]:
    """Instant and kind of the next tick, timer, event of the agenda or arrival; with a tick, its pool."""
    at, _, _ = next_arrival(w)
    kind = _ARRIVAL if at < np.inf else _NONE
    if w.agenda_length > 0 and agenda_heap(w)[0][0] <= at:
        at = agenda_heap(w)[0][0]
        kind = _AGENDA
    if w.timers > 0 and timer_heap(w)[0][0] <= at:
        at = timer_heap(w)[0][0]
        kind = _TIMER
    pool = NOBODY
    for p in range(w.pool_count):
        s = pool_of(w, p)
        lag = s.telemetry_lag_s
        if lag > 0.0:
            tick = (s.ticks + 1) * lag
            if (tick < at or (tick == at and pool == NOBODY)) and (at < np.inf or busy(w)):
                at = tick
                kind = _TICK
                pool = p
    return at, kind, pool


# -- what it does ------------------------------------------------------------------------------------------------------


@kernel
def ring(w: Any, now: float) -> None:
    """A TIMER (rules P1, T4)."""
    times, values = timer_heap(w)
    value = values[0]
    pop(times, values, w.timers)
    w.timers -= 1
    r = value >> 1
    request = request_of(w, r)
    if COMPLETED <= request.status <= FAILED:
        return
    is_deadline = value & 1
    if is_deadline == 0 and request.first_token <= now:
        return
    give_up(w, r, now)
    finish_early(w, r, ABANDONED, DEADLINE if is_deadline != 0 else PATIENCE, now)


@kernel
def next_of_agenda(w: Any, now: float) -> bool:
    """An event of the agenda. Returns whether Python must choose."""
    times, values = agenda_heap(w)
    value = values[0]
    pop(times, values, w.agenda_length)
    w.agenda_length -= 1
    event = value >> EVENT_SHIFT
    whom = value & ((1 << EVENT_SHIFT) - 1)
    if event == JOB:
        row_is_due(w, whom, now)
    elif event == FIRST:
        first_is_here(w, whom, now)
    elif event == DELIVER:
        deliver(w, whom, now)
    elif event == CHECK:
        check(w, whom, now)
    elif event == LEG:
        return land(w, whom, now)
    else:
        trip = trip_of(w, whom)
        if request_of(w, whom).status == AWAY and trip.leg == NO_LEG and trip.job == NO_JOB:
            return choose_action(w, whom, now)
    return False


@kernel
def next_to_arrive(w: Any, now: float) -> bool:
    """An ARRIVAL. Returns whether Python must choose."""
    _, r, is_chained = next_arrival(w)
    if is_chained:
        times, values = chained_heap(w)
        pop(times, values, w.chained)
        w.chained -= 1
    else:
        w.next_open += 1
    if w.devices > 0:
        if w.next_open + _AHEAD < w.open_count:
            fetch_row(w, trip_of(w, open_arrivals(w)[w.next_open + _AHEAD]).device)
        return arrive(w, r, now)
    return enter_pool(w, r, 0, now)


@kernel
def handle_external(w: Any, now: float, kind: int, pool: int) -> bool:
    """Handle one external event. Returns True when Python must place the request in `pending`."""
    w.handled += 1
    if kind == _ARRIVAL:
        return next_to_arrive(w, now)
    if kind == _AGENDA:
        return next_of_agenda(w, now)
    if kind == _TIMER:
        ring(w, now)
    else:
        s = pool_of(w, pool)
        s.ticks += 1
        report_load(s)
    return False


@kernel
def advance(w: Any, until: float, most: int) -> int:
    """Run to `until`: everything before it, and step ENDs at it. Returns DONE, CONTROL, DECIDE or PAUSED.

    DONE: every request is terminal. CONTROL: `until` is reached. DECIDE: place `w.pending`, then call again.
    PAUSED: `most` external events were handled; a chance to show progress.
    """
    total = w.request_count
    stop = w.handled + most
    while w.terminal < total:
        at, kind, pool = next_external(w)
        limit = min(at, until)
        agenda = w.agenda_length
        caught = run_replicas(w, limit)
        if caught == _TIRED:
            return PAUSED
        if caught == _NEWS or w.agenda_length != agenda:
            continue
        if w.terminal >= total:
            break
        if at >= until:
            w.now_s = until
            return CONTROL
        w.now_s = at
        if handle_external(w, at, kind, pool):
            return DECIDE
        if w.handled >= stop:
            return PAUSED
    return DONE
