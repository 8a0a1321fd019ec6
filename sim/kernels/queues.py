"""The waiting queues of a replica, by priority class, and the running order: doubly linked lists of requests."""

from __future__ import annotations

from typing import Any

from policies.compiled import kernel
from sim.kernels.state import CLASSES, NOBODY, WAITING
from sim.kernels.views import queue_heads, queue_tails, replica_of, request_of


@kernel
def queue_class(s: Any, r: int) -> int:
    return int(request_of(s, r).priority) if s.by_priority != 0 else 0


@kernel
def enqueue(s: Any, i: int, r: int, at_front: bool) -> None:
    """Put request r into its class's waiting queue (rules D5, C6)."""
    request = request_of(s, r)
    c = queue_class(s, r)
    head = queue_heads(s, i)[c]
    tail = queue_tails(s, i)[c]
    request.status = WAITING
    if at_front:
        request.before = NOBODY
        request.behind = head
        queue_heads(s, i)[c] = r
        if head == NOBODY:
            queue_tails(s, i)[c] = r
        else:
            request_of(s, head).before = r
    else:
        request.before = tail
        request.behind = NOBODY
        queue_tails(s, i)[c] = r
        if tail == NOBODY:
            queue_heads(s, i)[c] = r
        else:
            request_of(s, tail).behind = r
    replica = replica_of(s, i)
    replica.waiting += 1
    replica.max_waiting = max(replica.max_waiting, replica.waiting)


@kernel
def dequeue(s: Any, i: int, r: int) -> None:
    """Take request r out of its waiting queue, wherever it stands."""
    request = request_of(s, r)
    c = queue_class(s, r)
    if request.before == NOBODY:
        queue_heads(s, i)[c] = request.behind
    else:
        request_of(s, request.before).behind = request.behind
    if request.behind == NOBODY:
        queue_tails(s, i)[c] = request.before
    else:
        request_of(s, request.behind).before = request.before
    replica_of(s, i).waiting -= 1


@kernel
def first_waiting(s: Any, i: int) -> int:
    """The front of the most urgent class that is not empty; the caller knows that one is."""
    for c in range(CLASSES):
        if queue_heads(s, i)[c] != NOBODY:
            return int(queue_heads(s, i)[c])
    return NOBODY


@kernel
def join_running(s: Any, i: int, r: int) -> None:
    request = request_of(s, r)
    replica = replica_of(s, i)
    request.before = replica.last
    request.behind = NOBODY
    if replica.last == NOBODY:
        replica.first = r
    else:
        request_of(s, replica.last).behind = r
    replica.last = r
    replica.running += 1
    replica.max_running = max(replica.max_running, replica.running)


@kernel
def leave_running(s: Any, i: int, r: int) -> None:
    """Out of the running order; the slot is the caller's business (rule S4)."""
    request = request_of(s, r)
    replica = replica_of(s, i)
    if request.before == NOBODY:
        replica.first = request.behind
    else:
        request_of(s, request.before).behind = request.behind
    if request.behind == NOBODY:
        replica.last = request.before
    else:
        request_of(s, request.behind).before = request.before
