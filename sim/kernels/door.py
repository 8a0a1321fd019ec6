"""The door of a pool: limits, balancers, dispatch, timers, telemetry (rules D, B, P2)."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.blocks import abandon_run, ceil_div, named_hits
from sim.kernels.draws import uniform
from sim.kernels.heap import push
from sim.kernels.queues import dequeue, enqueue
from sim.kernels.replica import leave_books, wake
from sim.kernels.state import (
    DECODING,
    EXCEEDS_KV,
    NO_REASON,
    NO_REPLICA,
    NOBODY,
    PREFILLING,
    QUEUE_FULL,
    TOO_LONG,
    WAITING,
)
from sim.kernels.views import replica_of, request_of, timer_heap, world_of, zombies_of

# As in sim.pool.BALANCERS, by position.
ROUND_ROBIN, RANDOM, LEAST_OUTSTANDING, POWER_OF_TWO, PREFIX_AFFINITY, PYTHON = range(6)


# -- balancers ---------------------------------------------------------------------------------------------------------


@kernel
def view(s: Any, i: int) -> int:
    """The load of replica i as the balancer sees it."""
    replica = replica_of(s, i)
    if s.telemetry_lag_s > 0.0:
        return int(replica.reported + replica.sent)
    return int(replica.outstanding)


@kernel
def nth_up(s: Any, n: int) -> int:
    """The n-th replica that is up, by id."""
    if s.up == s.replicas:
        return n
    for i in range(s.replicas):
        if replica_of(s, i).up != 0:
            if n == 0:
                return i
            n -= 1
    return NOBODY


@kernel
def round_robin(s: Any) -> int:
    i = s.cursor
    while replica_of(s, i).up == 0:
        i = (i + 1) % s.replicas
    s.cursor = (i + 1) % s.replicas
    return int(i)


@kernel
def least_outstanding(s: Any) -> int:
    count = s.replicas
    best = NOBODY
    least = 0
    i = s.cursor
    for _ in range(count):
        if replica_of(s, i).up != 0:
            load = view(s, i)
            if best == NOBODY or load < least:
                best = i
                least = load
        i = i + 1 if i + 1 < count else 0
    s.cursor = (best + 1) % count
    return int(best)


@kernel
def power_of_two(s: Any, r: int) -> int:
    up = s.up
    attempt = request_of(s, r).attempts
    seed = world_of(s).seed
    first = int(uniform(seed, r, attempt, 1) * up)
    if up == 1:
        return nth_up(s, first)
    second = int(uniform(seed, r, attempt, 2) * (up - 1))
    if second >= first:
        second += 1
    a = nth_up(s, first)
    b = nth_up(s, second)
    return b if view(s, b) < view(s, a) else a


@kernel
def prefix_affinity(s: Any, r: int) -> int:
    total = 0
    for i in range(s.replicas):
        if replica_of(s, i).up != 0:
            total += view(s, i)
    limit = 1.5 * (total / s.up) + 4.0
    best = NOBODY
    best_hits = 0
    best_load = 0
    for i in range(s.replicas):
        if replica_of(s, i).up != 0 and view(s, i) <= limit:
            hits = named_hits(s, i, r, request_of(s, r).prompt)
            load = view(s, i)
            if best == NOBODY or hits > best_hits or (hits == best_hits and load < best_load):
                best = i
                best_hits = hits
                best_load = load
    return best


@kernel
def choose(s: Any, r: int) -> int:
    """The replica for request r, by the pool's balancer; at least one replica is up."""
    balancer = s.balancer
    if balancer == ROUND_ROBIN:
        return round_robin(s)
    if balancer == LEAST_OUTSTANDING:
        return least_outstanding(s)
    if balancer == POWER_OF_TWO:
        return power_of_two(s, r)
    if balancer == PREFIX_AFFINITY:
        return prefix_affinity(s, r)
    return nth_up(s, int(uniform(world_of(s).seed, r, request_of(s, r).attempts, 1) * s.up))


# -- dispatch ----------------------------------------------------------------------------------------------------------


@kernel
def passes_door(s: Any, r: int) -> int:
    """Rules D1 and D2: NO_REASON when a replica is to be chosen; else why not."""
    request = request_of(s, r)
    total = request.prompt + request.output
    if total > s.max_model_len:
        return TOO_LONG
    if ceil_div(total - 1, s.block_size) > s.kv_blocks:
        return EXCEEDS_KV
    if s.up == 0:
        return NO_REPLICA
    return NO_REASON


@kernel
def dispatch(s: Any, r: int, i: int, now: float) -> int:
    """Rules D3 to D5: request r goes to replica i (NOBODY: to the one that the balancer chooses). Returns NO_REASON, or
    QUEUE_FULL when it is turned away."""
    if i == NOBODY:
        i = choose(s, r)
    request = request_of(s, r)
    replica = replica_of(s, i)
    request.replica = i
    replica.sent += 1
    s.sent += 1
    if (s.max_queue >= 0 and replica.waiting >= s.max_queue) or (
        s.max_outstanding >= 0 and replica.outstanding >= s.max_outstanding
    ):
        return QUEUE_FULL
    replica.outstanding += 1
    s.outstanding += 1
    enqueue(s, i, r, False)
    wake(s, i, now)
    w = world_of(s)
    if w.devices == 0 and request.attempts == 0:
        set_timers(w, r)
    return NO_REASON


@kernel
def set_timers(w: Any, r: int) -> None:
    """The instants at which patience and deadline of request r run out (rules D5, T4)."""
    request = request_of(w, r)
    times, values = timer_heap(w)
    if request.patience < np.inf:
        push(times, values, w.timers, request.arrival + request.patience, 2 * r)
        w.timers += 1
    if request.deadline < np.inf:
        push(times, values, w.timers, request.arrival + request.deadline, 2 * r + 1)
        w.timers += 1


# -- ticks, and leaving early ------------------------------------------------------------------------------------------


@kernel
def give_up_place(s: Any, r: int, now: float) -> None:
    """Request r leaves the pool before it is done there (rule P2)."""
    request = request_of(s, r)
    i = request.replica
    replica = replica_of(s, i)
    if request.status == WAITING:
        dequeue(s, i, r)
        abandon_run(s, i, r)
    elif request.status == DECODING or request.status == PREFILLING:
        if request.status == DECODING:
            request.energy += replica.energy_mark - request.energy_mark
            request.energy_mark = replica.energy_mark
        zombies_of(s, i)[replica.zombies] = r
        replica.zombies += 1
    leave_books(s, i, now)


@kernel
def report_load(s: Any) -> None:
    """A telemetry TICK: balancer and routers learn every replica's outstanding count."""
    for i in range(s.replicas):
        replica = replica_of(s, i)
        replica.reported = replica.outstanding
        replica.sent = 0
    s.reported = s.outstanding
    s.sent = 0
    s.reported_up = s.up
    s.reported_slowdown = s.slowdown
