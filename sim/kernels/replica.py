"""A replica in time: steps begin, end, and are cut by failures (rules S1 to S4, F1, F2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.answers import first_token_out, last_token_out
from sim.kernels.batching import compose
from sim.kernels.blocks import ceil_div, give_up
from sim.kernels.heap import push
from sim.kernels.state import (
    CLASSES,
    COMPLETED,
    END,
    IDLE,
    NO_NAME,
    NOBODY,
    RETIRING,
    START,
)
from sim.kernels.views import (
    bin_of,
    crossings_of,
    emitting_of,
    event_heap,
    node_of,
    phases_of,
    queue_heads,
    queue_tails,
    replica_of,
    request_of,
    retiring_of,
    table_names_of,
    world_of,
)


@kernel
def wake(s: Any, i: int, now: float) -> None:
    """Set a START for this instant if the replica has nothing ahead of it (rule D5)."""
    replica = replica_of(s, i)
    if replica.event == IDLE:
        replica.event = START
        replica.event_s = now
        times, values = event_heap(s)
        push(times, values, s.events, now, s.replicas + i)
        s.events += 1


@kernel
def begin_step(s: Any, i: int) -> None:
    """START at the replica's event time (rules S1, S2, S5)."""
    replica = replica_of(s, i)
    now = replica.event_s
    if replica.ahead != 0:
        seconds = replica.ahead_s
        kv_used = replica.ahead_kv_used
    else:
        seconds = compose(s, i, now)
        kv_used = s.kv_blocks - replica.free
    if seconds == 0.0:
        replica.event = IDLE
        return
    begin = now
    if replica.warm == 0:
        replica.warm = 1
        begin += s.cold_start_s
    replica.executed += 1
    replica.start_s = begin
    replica.kv_used = kv_used
    replica.event = END
    replica.event_s = begin + seconds
    if s.async_scheduling != 0:
        replica.ahead_s = compose(s, i, now)
        replica.ahead = 1 if replica.ahead_s > 0.0 else 0
        replica.ahead_kv_used = s.kv_blocks - replica.free


@kernel
def book_time(s: Any, i: int, now: float) -> None:
    """Count the time the accelerators worked, up to now (rule A3), and draw it on the timeline."""
    replica = replica_of(s, i)
    seconds = max(0.0, now - replica.start_s)
    replica.busy_s += seconds
    replica.kv_block_s += replica.kv_used * seconds
    at = int(now / s.bin_s)
    while at >= s.bins:
        fold_timeline(s)
        at = int(now / s.bin_s)
    here = bin_of(s, at)
    here.busy_s += seconds
    here.kv_block_s += replica.kv_used * seconds
    here.steps += 1


@kernel
def fold_timeline(s: Any) -> None:
    """Double the width of a bin: the timeline has a fixed number of bins and no fixed end."""
    half = s.bins // 2
    for b in range(s.bins):
        here = bin_of(s, b)
        if b < half:
            one = bin_of(s, 2 * b)
            two = bin_of(s, 2 * b + 1)
            here.busy_s = one.busy_s + two.busy_s
            here.kv_block_s = one.kv_block_s + two.kv_block_s
            here.steps = one.steps + two.steps
        else:
            here.busy_s = 0.0
            here.kv_block_s = 0.0
            here.steps = 0.0
    s.bin_s *= 2.0


@kernel
def end_step(s: Any, i: int) -> None:
    """END at the replica's event time (rule S3)."""
    replica = replica_of(s, i)
    w = world_of(s)
    now = replica.event_s
    size = s.block_size
    book_time(s, i, now)
    parity = (replica.composed - 1 - replica.ahead) & 1  # of the step that ends
    emitting = replica.emitting_0 if parity == 0 else replica.emitting_1
    for e in range(emitting):
        request = request_of(s, emitting_of(s, i, parity)[e])
        if request.status < COMPLETED:
            first_token_out(w, emitting_of(s, i, parity)[e], now)
    retiring = replica.retiring_0 if parity == 0 else replica.retiring_1
    for e in range(retiring):
        r = retiring_of(s, i, parity)[e]
        request = request_of(s, r)
        if request.status == RETIRING:
            last_token_out(w, r, now)
            leave_books(s, i, now)
        give_up(s, i, r, request.computed, ceil_div(request.computed, size), False)
    replica.running -= retiring
    if parity == 0:
        replica.emitting_0 = 0
        replica.retiring_0 = 0
    else:
        replica.emitting_1 = 0
        replica.retiring_1 = 0
    replica.event = START


@kernel
def leave_books(s: Any, i: int, now: float) -> None:
    """One outstanding request of replica i less; a retired replica that is empty costs nothing any more (rule X5)."""
    replica = replica_of(s, i)
    replica.outstanding -= 1
    s.outstanding -= 1
    if replica.retired != 0 and replica.outstanding == 0:
        stop_paying(s, i, now)
        book_off(s, i, now)


@kernel
def book_off(s: Any, i: int, now: float) -> None:
    """Book the time in which replica i is failed, or retired and empty."""
    replica = replica_of(s, i)
    off = 1 if replica.failed != 0 or (replica.retired != 0 and replica.outstanding == 0) else 0
    if off == replica.off:
        return
    replica.off = off
    if off != 0:
        replica.down_since = now
    else:
        replica.down_s += now - replica.down_since


@kernel
def stop_paying(s: Any, i: int, now: float) -> None:
    """Replica i is given back (rule X5)."""
    replica = replica_of(s, i)
    if not np.isnan(replica.paid_since):
        s.billed_usd += s.price_usd_per_s * (now - replica.paid_since)
        replica.paid_s += now - replica.paid_since
        replica.paid_since = np.nan


@kernel
def run_replica(s: Any, i: int, limit: float, most: int) -> int:
    """Run a replica's events before `limit`, and ENDs at `limit` (T1), but no more than `most`. Returns how many."""
    replica = replica_of(s, i)
    for done in range(most):
        if replica.event == END:
            if replica.event_s > limit:
                return done
            end_step(s, i)
        elif replica.event == START:
            if replica.event_s >= limit:
                return done
            begin_step(s, i)
        else:
            return done
    return most


@kernel
def clear_replica(s: Any, i: int) -> None:
    """Empty slots, queue, blocks and cache."""
    replica = replica_of(s, i)
    replica.event = IDLE
    replica.warm = 0
    replica.ahead = 0
    s.outstanding -= replica.outstanding
    replica.outstanding = 0
    replica.waiting = 0
    replica.running = 0
    replica.first = NOBODY
    replica.last = NOBODY
    replica.partial = NOBODY
    replica.granted = NOBODY
    replica.zombies = 0
    replica.emitting_0 = 0
    replica.emitting_1 = 0
    replica.retiring_0 = 0
    replica.retiring_1 = 0
    replica.decodes = 0
    replica.offsets = 0
    replica.below = 0
    replica.below_offsets = 0
    for c in range(CLASSES):
        queue_heads(s, i)[c] = NOBODY
        queue_tails(s, i)[c] = NOBODY
    phases_of(s, i)[:] = 0
    crossings_of(s, i)[:] = 0
    table_names_of(s, i)[:] = NO_NAME
    first = node_of(s, i, 0)
    first.name = NO_NAME
    first.count = s.kv_blocks
    first.owner = NOBODY
    first.users = 0
    first.before = NOBODY
    first.behind = NOBODY
    replica.front = 0
    replica.back = 0
    replica.spare = NOBODY
    replica.fresh = 1
    replica.free = s.kv_blocks


@kernel
def settle_energy(s: Any, i: int) -> None:
    """Charge the decodes of a replica that fails for the batches they were in (rule A2)."""
    replica = replica_of(s, i)
    r = replica.first
    while r != NOBODY:
        request = request_of(s, r)
        if r != replica.partial:
            request.energy += replica.energy_mark - request.energy_mark
        r = request.behind


@kernel
def collect_lost(s: Any, i: int, lost: Any) -> int:
    """Write the ids of the replica's requests that are not terminal into `lost`, ascending; returns their number."""
    replica = replica_of(s, i)
    found = 0
    r = replica.first
    while r != NOBODY:
        if request_of(s, r).status < COMPLETED:
            lost[found] = r
            found += 1
        r = request_of(s, r).behind
    for c in range(CLASSES):
        r = queue_heads(s, i)[c]
        while r != NOBODY:
            lost[found] = r
            found += 1
            r = request_of(s, r).behind
    for parity in range(2):
        for e in range(replica.retiring_0 if parity == 0 else replica.retiring_1):
            r = retiring_of(s, i, parity)[e]
            if request_of(s, r).status == RETIRING:
                lost[found] = r
                found += 1
    lost[:found].sort()
    return found


@kernel
def start_anew(s: Any, r: int) -> None:
    """Rule F1: a request that is dispatched again remembers nothing of its first replica."""
    request = request_of(s, r)
    request.attempts += 1
    request.generated = 0
    request.computed = 0
    request.published = 0
    request.run = NOBODY
    request.run_full = 0
    request.cached = 0
    request.scheduled = np.nan


@kernel
def drop_event(s: Any, i: int) -> None:
    """Remove the replica's event from the heap of events, which is rebuilt: failures are rare."""
    times, values = event_heap(s)
    before = s.events
    s.events = 0
    for e in range(before):
        value = values[e]
        if value % s.replicas != i:
            push(times, values, s.events, times[e], value)
            s.events += 1
