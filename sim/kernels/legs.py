"""The legs of a request: sent, landed, answered, given up (rules G, W6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from policies.masks import CLOUD_POOL, EDGE_POOL, HUB, may_reach
from sim.kernels.agenda import note
from sim.kernels.air import arrives, hang_up, network_at, receive, send
from sim.kernels.battery import is_charging, settle
from sim.kernels.choosing import weigh
from sim.kernels.door import dispatch, give_up_place, passes_door, set_timers
from sim.kernels.figures import pool_is_open, predicted_work
from sim.kernels.fleet_state import (
    AGAIN,
    ANSWERING,
    CASCADE,
    CHECK,
    DELIVER,
    HEDGE,
    IN_AIR,
    IN_POOL,
    JOB,
    JOB_RUNS,
    JOB_WAITS,
    LEG,
    NEAR,
    NO_ACTION,
    NO_JOB,
    NO_LEG,
    ON_HUB,
    REACHED_CLOUD,
    REACHED_EDGE_POOL,
    REACHED_HUB,
    REACHED_NEAR,
)
from sim.kernels.jobs import join_row, leave_row
from sim.kernels.outcome import end_request
from sim.kernels.state import (
    AWAY,
    COMPLETED,
    DEVICE_LOST,
    DEVICE_OFF,
    FAILED,
    NO_REASON,
    NO_REPLICA,
    NO_TARGET,
    NOBODY,
    REJECTED,
)
from sim.kernels.truth import confidence_in, is_right
from sim.kernels.views import (
    figures_of,
    kind_of,
    pool_of,
    request_of,
    row_of,
    task_of,
    trip_of,
)

# -- arrival and choice ------------------------------------------------------------------------------------------------


@kernel
def arrive(w: Any, r: int, now: float) -> bool:
    """A request arrives at its device. Returns whether a user's function must choose."""
    set_timers(w, r)
    d = trip_of(w, r).device
    settle(w, d, now)
    row = row_of(w, d)
    kind = kind_of(w, row)
    if kind.capacity_j > 0.0 and row.battery_j <= 0.0 and not is_charging(w, kind, now):
        end_request(w, r, FAILED, DEVICE_OFF, now)
        return False
    return choose_action(w, r, now)


@kernel
def choose_action(w: Any, r: int, now: float) -> bool:
    """Rules W3, W4. Returns whether a user's function must choose among the feasible actions."""
    settle(w, trip_of(w, r).device, now)
    action = weigh(w, r, now)
    if action == NO_ACTION:
        end_request(w, r, FAILED, NO_TARGET if trip_of(w, r).tried == 0 else NO_REPLICA, now)
        return False
    if w.by_python != 0:
        w.pending = r
        w.pending_pool = NOBODY
        return True
    act(w, r, action, now)
    return False


@kernel
def act(w: Any, r: int, action: int, now: float) -> None:
    """Begin the legs of an action (rules G1, G5, G6)."""
    at = figures_of(w, action)
    trip = trip_of(w, r)
    trip.action = action
    trip.kind = at.kind
    trip.pool = at.pool
    trip.first_due = 0
    request_of(w, r).status = AWAY
    if at.kind == NEAR or at.kind == CASCADE:
        join_device(w, r, now)
        return
    note(w, LEG, r, send(w, r, at.pool == NOBODY or pool_of(w, at.pool).is_edge != 0, now))
    if at.kind == HEDGE:
        trip.first_due = 1
        join_device(w, r, now)


@kernel
def join_device(w: Any, r: int, now: float) -> None:
    trip = trip_of(w, r)
    trip.reached |= REACHED_NEAR
    join_row(w, r, trip.device, predicted_work(w, r, trip.device), now)


# -- a leg lands -------------------------------------------------------------------------------------------------------


@kernel
def land(w: Any, r: int, now: float) -> bool:
    """A LEG. Returns whether a Python balancer must choose a replica."""
    trip = trip_of(w, r)
    if trip.leg != IN_AIR:
        return False
    note_place(w, r)
    if trip.pool == NOBODY:
        hub = row_of(w, trip.device).hub
        trip.leg = ON_HUB
        join_row(w, r, hub, predicted_work(w, r, hub), now)
        return False
    trip.leg = IN_POOL
    return enter_pool(w, r, trip.pool, now)


@kernel
def note_place(w: Any, r: int) -> None:
    """Rule G2, and the proof that no privacy class was broken."""
    trip = trip_of(w, r)
    place = HUB
    bit = REACHED_HUB
    if trip.pool != NOBODY:
        is_edge = pool_of(w, trip.pool).is_edge != 0
        place = EDGE_POOL if is_edge else CLOUD_POOL
        bit = REACHED_EDGE_POOL if is_edge else REACHED_CLOUD
    trip.reached |= bit
    if not may_reach(task_of(w, trip.task).privacy, place):
        w.stray += 1


@kernel
def enter_pool(w: Any, r: int, p: int, now: float) -> bool:
    """The door of pool p (rules D). Returns whether a Python balancer must choose a replica."""
    s = pool_of(w, p)
    reason = passes_door(s, r)
    if reason in (NO_REASON, NO_REPLICA):
        request = request_of(w, r)
        request.scheduled = np.nan
        request.cached = 0
    if reason == NO_REPLICA:
        if w.devices == 0:
            end_request(w, r, FAILED, NO_REPLICA, now)
        else:
            strand(w, r, now)
    elif reason != NO_REASON:
        turn_away(w, r, reason, now)
    elif s.asks_python != 0:
        w.pending = r
        w.pending_pool = p
        return True
    else:
        place(w, r, p, NOBODY, now)
    return False


@kernel
def place(w: Any, r: int, p: int, i: int, now: float) -> None:
    """Send request r to replica i of pool p; NOBODY: to the one that the balancer chooses."""
    reason = dispatch(pool_of(w, p), r, i, now)
    if reason != NO_REASON:
        turn_away(w, r, reason, now)


@kernel
def turn_away(w: Any, r: int, reason: int, now: float) -> None:
    """A rejection at the door."""
    if w.devices == 0:
        end_request(w, r, REJECTED, reason, now)
    else:
        lose_leg(w, r, REJECTED, reason, now)


# -- what rows and pools have for a request ----------------------------------------------------------------------------


@kernel
def row_is_due(w: Any, e: int, now: float) -> None:
    """A JOB: the first token of a hedged job, or the end of a job (rules E4 to E6)."""
    row = row_of(w, e)
    if row.event_s != now:
        return  # of a job that was cut
    r = row.running
    trip = trip_of(w, r)
    if trip.first_due != 0:
        trip.first_due = 0
        row.event_s = row.end_s
        note(w, JOB, e, row.end_s)
        request = request_of(w, r)
        if trip.leg != NO_LEG:
            give_up_leg(w, r, now)
            request.status = AWAY
        request.first_token = now
        request.scheduled = trip.near_start_s
        return
    leave_row(w, r, now, False)
    if e != trip.device:
        trip.leg = ANSWERING
        note(w, DELIVER, r, max(request_of(w, r).first_token, arrives(w, r, now) + trip.down_s))
    elif trip.kind == CASCADE:
        note(w, CHECK, r, now + w.check_s)
    else:
        complete(w, r, kind_of(w, row).model, now)


@kernel
def first_is_here(w: Any, r: int, now: float) -> None:
    """A FIRST: the pool's first token of a hedge reaches the device (rule G6)."""
    trip = trip_of(w, r)
    if (trip.leg == IN_POOL or trip.leg == ANSWERING) and (trip.job == JOB_WAITS or trip.job == JOB_RUNS):
        leave_row(w, r, now, True)
        request_of(w, r).first_token = now


@kernel
def deliver(w: Any, r: int, now: float) -> None:
    """A DELIVER: the last token is at the device."""
    trip = trip_of(w, r)
    if trip.leg != ANSWERING:
        return
    receive(w, r, now)
    hang_up(w, r, now)
    if trip.pool == NOBODY:
        complete(w, r, kind_of(w, row_of(w, row_of(w, trip.device).hub)).model, now)
    else:
        complete(w, r, pool_of(w, trip.pool).model, now)


@kernel
def check(w: Any, r: int, now: float) -> None:
    """A CHECK: the near answer of a cascade is released, or the request escalates (rule G5)."""
    trip = trip_of(w, r)
    if request_of(w, r).status != AWAY:
        return
    model = kind_of(w, row_of(w, trip.device)).model
    if confidence_in(w, r, model) >= w.threshold or not pool_is_open(w, r, trip.pool, network_at(w, trip.device, now)):
        release(w, r, now)
        return
    trip.escalated = 1
    note(w, LEG, r, send(w, r, pool_of(w, trip.pool).is_edge != 0, now))


@kernel
def release(w: Any, r: int, now: float) -> None:
    """The near answer of a cascade is the answer (rules G5, W6)."""
    trip = trip_of(w, r)
    request = request_of(w, r)
    request.first_token = now
    request.scheduled = trip.near_start_s
    complete(w, r, kind_of(w, row_of(w, trip.device)).model, now)


@kernel
def complete(w: Any, r: int, model: int, now: float) -> None:
    """Request r has its answer, from this model."""
    trip = trip_of(w, r)
    trip.model = model
    trip.correct = 1 if is_right(w, r, model) else 0
    end_request(w, r, COMPLETED, NO_REASON, now)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@kernel
def other_leg_lives(w: Any, r: int) -> bool:
    """Whether the near job of a hedge goes on (rule G7)."""
    trip = trip_of(w, r)
    return trip.kind == HEDGE and (trip.job == JOB_WAITS or trip.job == JOB_RUNS)


@kernel
def lose_leg(w: Any, r: int, status: int, reason: int, now: float) -> None:
    """The leg beyond the device is lost for good (rules G3, G7)."""
    hang_up(w, r, now)
    if other_leg_lives(w, r):
        request_of(w, r).status = AWAY
        return
    finish_early(w, r, status, reason, now)


@kernel
def finish_early(w: Any, r: int, status: int, reason: int, now: float) -> None:
    """End a request without its answer; a first token still on its way is forgotten (rule G4)."""
    request = request_of(w, r)
    if request.first_token > now:
        request.first_token = np.nan
    end_request(w, r, status, reason, now)


@kernel
def strand(w: Any, r: int, now: float) -> None:
    """A pool has no replica for request r (rule W6)."""
    trip = trip_of(w, r)
    hang_up(w, r, now)
    trip.tried |= 1 << trip.pool
    request = request_of(w, r)
    request.attempts += 1
    request.status = AWAY
    if other_leg_lives(w, r):
        return
    if trip.kind == CASCADE:
        release(w, r, now)
        return
    note(w, AGAIN, r, now)


@kernel
def give_up_leg(w: Any, r: int, now: float) -> None:
    """The leg beyond the device is not wanted any more."""
    trip = trip_of(w, r)
    if trip.leg == IN_POOL:
        give_up_place(pool_of(w, trip.pool), r, now)
    hang_up(w, r, now)


@kernel
def give_up(w: Any, r: int, now: float) -> None:
    """All legs of request r are not wanted any more (rule G4)."""
    if w.devices == 0:
        give_up_place(pool_of(w, 0), r, now)
        return
    trip = trip_of(w, r)
    if trip.job == JOB_WAITS or trip.job == JOB_RUNS:
        leave_row(w, r, now, True)
    if trip.leg != NO_LEG:
        give_up_leg(w, r, now)


@kernel
def replace_row(w: Any, e: int, share: float, now: float, lost: Any) -> None:
    """Rule X4; `lost` is scratch for the ids of the row's requests."""
    settle(w, e, now)
    row = row_of(w, e)
    kind = kind_of(w, row)
    found = 0
    r = row.head
    while r != NOBODY:
        lost[found] = r
        found += 1
        trip_of(w, r).job = NO_JOB
        r = trip_of(w, r).behind
    row.head = NOBODY
    row.tail = NOBODY
    row.waiting = 0
    row.queued_s = 0.0
    if row.running != NOBODY:
        lost[found] = row.running
        found += 1
        leave_row(w, row.running, now, True)
    lost[:found].sort()
    for f in range(found):
        give_up(w, lost[f], now)
        finish_early(w, lost[f], FAILED, DEVICE_LOST, now)
    row.battery_j = share * kind.capacity_j
    row.temp_c = kind.ambient_c + kind.resistance_c_per_w * kind.background_w
    row.throttled = 0
    row.resident = 0
    row.awake_until_s = now
    row.active_s = -np.inf
