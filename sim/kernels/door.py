"""The door of a pool: limits, balancers, dispatch, and the timers of patience (rules D, B, P, F1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.blocks import abandon_run, ceil_div, named_hits
from sim.kernels.draws import uniform
from sim.kernels.heap import push
from sim.kernels.outcome import end_request
from sim.kernels.queues import dequeue, enqueue
from sim.kernels.replica import book_time, clear_replica, collect_lost, drop_event, settle_energy, start_anew, wake
from sim.kernels.state import (
    ABANDONED,
    COMPLETED,
    DEADLINE,
    DECODING,
    END,
    EXCEEDS_KV,
    FAILED,
    IDLE,
    NO_REPLICA,
    NOBODY,
    PATIENCE,
    PREFILLING,
    QUEUE_FULL,
    REJECTED,
    REPLICA_LOST,
    TOO_LONG,
    WAITING,
)
from sim.kernels.views import replica_of, request_of, timer_heap, zombies_of

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
    seed = s.seed
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
    return nth_up(s, int(uniform(s.seed, r, request_of(s, r).attempts, 1) * s.up))


# -- dispatch ----------------------------------------------------------------------------------------------------------


@kernel
def passes_door(s: Any, r: int, now: float) -> bool:
    """Rules D1 and D2: whether a replica is to be chosen at all; if not, the request has ended."""
    request = request_of(s, r)
    total = request.prompt + request.output
    if total > s.max_model_len:
        end_request(s, r, REJECTED, TOO_LONG, now)
        return False
    if ceil_div(total - 1, s.block_size) > s.kv_blocks:
        end_request(s, r, REJECTED, EXCEEDS_KV, now)
        return False
    if s.up == 0:
        end_request(s, r, FAILED, NO_REPLICA, now)
        return False
    return True


@kernel
def dispatch(s: Any, r: int, i: int, now: float) -> None:
    """Rules D4 and D5: request r goes to replica i, or is turned away."""
    request = request_of(s, r)
    replica = replica_of(s, i)
    request.replica = i
    replica.sent += 1
    if (s.max_queue >= 0 and replica.waiting >= s.max_queue) or (
        s.max_outstanding >= 0 and replica.outstanding >= s.max_outstanding
    ):
        end_request(s, r, REJECTED, QUEUE_FULL, now)
        return
    replica.outstanding += 1
    enqueue(s, i, r, False)
    wake(s, i, now)
    if request.attempts == 0:
        times, values = timer_heap(s)
        if request.patience < np.inf:
            push(times, values, s.timers, request.arrival + request.patience, 2 * r)
            s.timers += 1
        if request.deadline < np.inf:
            push(times, values, s.timers, request.arrival + request.deadline, 2 * r + 1)
            s.timers += 1


# -- timers and ticks --------------------------------------------------------------------------------------------------


@kernel
def ring_timer(s: Any, value: int, now: float) -> None:
    """Rules P1 and P2."""
    r = value >> 1
    request = request_of(s, r)
    if request.status >= COMPLETED:
        return
    is_deadline = value & 1
    if is_deadline == 0 and not np.isnan(request.first_token):
        return
    i = request.replica
    replica = replica_of(s, i)
    if request.status == WAITING:
        dequeue(s, i, r)
        abandon_run(s, i, r)
    elif request.status == DECODING or request.status == PREFILLING:
        zombies_of(s, i)[replica.zombies] = r
        replica.zombies += 1
    replica.outstanding -= 1
    end_request(s, r, ABANDONED, DEADLINE if is_deadline != 0 else PATIENCE, now)


@kernel
def report_load(s: Any) -> None:
    """A telemetry TICK: the balancer learns every replica's outstanding count."""
    for i in range(s.replicas):
        replica = replica_of(s, i)
        replica.reported = replica.outstanding
        replica.sent = 0


# -- failure and repair ------------------------------------------------------------------------------------------------


@kernel
def fail(s: Any, i: int, now: float, lost: Any) -> int:
    """Rule F1 up to the second dispatch. Returns how many ids in `lost` must be dispatched again, in order."""
    replica = replica_of(s, i)
    if replica.up == 0:
        return 0
    if replica.event == END:
        book_time(s, i, now)
    if replica.event != IDLE:
        drop_event(s, i)
    settle_energy(s, i)
    found = collect_lost(s, i, lost)
    clear_replica(s, i)
    replica.up = 0
    replica.down_since = now
    s.up -= 1
    again = 0
    for e in range(found):
        r = lost[e]
        if np.isnan(request_of(s, r).first_token):
            start_anew(s, r)
            lost[again] = r
            again += 1
        else:
            end_request(s, r, FAILED, REPLICA_LOST, now)
    return again


@kernel
def repair(s: Any, i: int, now: float) -> None:
    """Rule F2."""
    replica = replica_of(s, i)
    if replica.up == 0:
        replica.up = 1
        replica.down_s += now - replica.down_since
        s.up += 1
