"""What controls do to a pool: failure, repair, retirement, start, price (rules F, X)."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.answers import has_emitted
from sim.kernels.legs import enter_pool, finish_early, lose_leg
from sim.kernels.replica import (
    book_off,
    book_time,
    clear_replica,
    collect_lost,
    drop_event,
    settle_energy,
    start_anew,
    stop_paying,
)
from sim.kernels.state import END, FAILED, IDLE, REPLICA_LOST
from sim.kernels.views import pool_of, replica_of


@kernel
def make_ready(s: Any, i: int) -> None:
    """Clear a replica that waits for its very first start: until then its memory is not touched."""
    if replica_of(s, i).fresh == 0:
        clear_replica(s, i)


@kernel
def count_up(s: Any, i: int, now: float) -> None:
    """Set whether replica i gets requests (rule X1), and book the time in which it computes nothing."""
    replica = replica_of(s, i)
    up = 1 if replica.failed == 0 and replica.retired == 0 else 0
    s.up += up - replica.up
    replica.up = up
    book_off(s, i, now)


@kernel
def fail(w: Any, p: int, i: int, now: float, lost: Any) -> int:
    """Replica i is gone (rule F1). Returns how many requests it had; their ids are in `lost`, ascending."""
    s = pool_of(w, p)
    replica = replica_of(s, i)
    if replica.failed != 0:
        return 0
    make_ready(s, i)
    if replica.event == END:
        book_time(s, i, now)
    if replica.event != IDLE:
        drop_event(s, i)
    settle_energy(s, i)
    found = collect_lost(s, i, lost)
    clear_replica(s, i)
    replica.failed = 1
    count_up(s, i, now)
    if replica.retired != 0:
        stop_paying(s, i, now)
    return found


@kernel
def lose_replica(w: Any, p: int, r: int, now: float) -> bool:
    """Rule F1 for a request of a replica that failed. Returns whether a Python balancer must choose another one."""
    if not has_emitted(w, r):
        start_anew(pool_of(w, p), r)
        return enter_pool(w, r, p, now)
    if w.devices == 0:
        finish_early(w, r, FAILED, REPLICA_LOST, now)
    else:
        lose_leg(w, r, FAILED, REPLICA_LOST, now)
    return False


@kernel
def repair(w: Any, p: int, i: int, now: float) -> None:
    """Rule F2."""
    s = pool_of(w, p)
    replica = replica_of(s, i)
    if replica.failed != 0:
        replica.failed = 0
        count_up(s, i, now)


@kernel
def retire(w: Any, p: int, i: int, now: float) -> None:
    """Rule X1: no more requests for replica i."""
    s = pool_of(w, p)
    replica = replica_of(s, i)
    if replica.retired == 0:
        replica.retired = 1
        count_up(s, i, now)
        if replica.outstanding == 0:
            stop_paying(s, i, now)


@kernel
def start(w: Any, p: int, i: int, now: float) -> None:
    """Rule X1: a retired replica is up again."""
    s = pool_of(w, p)
    replica = replica_of(s, i)
    if replica.retired != 0:
        make_ready(s, i)
        replica.retired = 0
        count_up(s, i, now)
        if np.isnan(replica.paid_since):
            replica.paid_since = now


@kernel
def set_price(w: Any, p: int, usd_per_s: float, now: float) -> None:
    """Rule X3: what was used so far is billed at the old price."""
    s = pool_of(w, p)
    for i in range(s.replicas):
        replica = replica_of(s, i)
        if not np.isnan(replica.paid_since):
            s.billed_usd += s.price_usd_per_s * (now - replica.paid_since)
            replica.paid_s += now - replica.paid_since
            replica.paid_since = now
    s.price_usd_per_s = usd_per_s
