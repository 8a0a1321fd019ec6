"""How a request ends, and what its end sets off (rule T2)."""

from __future__ import annotations

from typing import Any

from policies.compiled import kernel
from sim.kernels.heap import push
from sim.kernels.state import NOBODY
from sim.kernels.views import chained_heap, request_of


@kernel
def end_request(w: Any, r: int, status: int, reason: int, now: float) -> None:
    """Request r reaches a terminal state; its successor, if any, will arrive after its think time."""
    request = request_of(w, r)
    request.status = status
    request.reason = reason
    request.finish = now
    w.terminal += 1
    if request.successor != NOBODY:
        after = request_of(w, request.successor)
        after.arrival = now + after.arrival
        times, values = chained_heap(w)
        push(times, values, w.chained, after.arrival, request.successor)
        w.chained += 1
