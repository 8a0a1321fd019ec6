"""Sequences that decode, kept as sums; and how a sequence leaves a replica (rules C1, C3, C6).

All decodes advance together: at step k a decode's context is k + offset, with an offset that never changes; it needs a
block when k hits its residue modulo the block size; it finishes at a step known from the start. Only preemption looks
at sequences one by one.
"""

from __future__ import annotations

from typing import Any

from policies.compiled import kernel
from sim.kernels.blocks import ceil_div, give_up
from sim.kernels.heap import push_packed, remove_packed
from sim.kernels.queues import enqueue, leave_running
from sim.kernels.state import DECODING, NOBODY
from sim.kernels.views import crossings_of, finishing_of, phases_of, replica_of, request_of, zombies_of

STEP_SHIFT = 32  # the heap of finishing decodes packs step << 32 | request


@kernel
def start_decoding(s: Any, i: int, r: int, k: int) -> None:
    """Its prefill is in step k; it decodes from step k + 1 on."""
    request = request_of(s, r)
    replica = replica_of(s, i)
    offset = request.target - k
    request.status = DECODING
    request.offset = offset
    request.granted = NOBODY
    request.finish_step = k + request.output - request.generated
    replica.decodes += 1
    replica.offsets += offset
    phases_of(s, i)[(1 - offset) % s.block_size] += 1
    if request.target + 1 <= s.window:
        replica.below += 1
        replica.below_offsets += offset
        crossings_of(s, i)[(s.window - offset) % (s.window + 1)] += 1
    push_packed(finishing_of(s, i), replica.decodes - 1, (request.finish_step << STEP_SHIFT) | r)


@kernel
def forget_decode(s: Any, i: int, r: int, k: int) -> None:
    """Take a decode out of the sums before they serve step k."""
    request = request_of(s, r)
    replica = replica_of(s, i)
    replica.decodes -= 1
    replica.offsets -= request.offset
    phases_of(s, i)[(1 - request.offset) % s.block_size] -= 1
    if s.window - request.offset >= k:
        replica.below -= 1
        replica.below_offsets -= request.offset
        crossings_of(s, i)[(s.window - request.offset) % (s.window + 1)] -= 1


@kernel
def cross_window(s: Any, i: int, k: int) -> None:
    """Decodes whose context reaches the window at step k no longer grow what the sliding layers read."""
    replica = replica_of(s, i)
    window = s.window
    at = k % (window + 1)
    crossing = crossings_of(s, i)[at]
    if crossing > 0:
        crossings_of(s, i)[at] = 0
        replica.below -= crossing
        replica.below_offsets -= crossing * (window - k)


@kernel
def stop_running(s: Any, i: int, r: int, k: int, returns: bool) -> None:
    """Remove a sequence that decodes or prefills, before step k is booked, and free its blocks (rules C1, C6)."""
    request = request_of(s, r)
    replica = replica_of(s, i)
    size = s.block_size
    if r != replica.partial:
        computed = k + request.offset - 1
        granted = request.granted == k or replica.granted == k
        held = ceil_div(computed + 1 if granted else computed, size)
        request.generated = request.output - (request.finish_step - (k - 1))
        request.energy += replica.energy_mark - request.energy_mark
        remove_packed(finishing_of(s, i), replica.decodes, (request.finish_step << STEP_SHIFT) | r)
        forget_decode(s, i, r, k)
    else:
        computed = request.computed
        held = ceil_div(computed, size)
        replica.partial = NOBODY
    leave_running(s, i, r)
    replica.running -= 1
    request.computed = 0
    give_up(s, i, r, computed, held, returns)


@kernel
def preempt(s: Any, i: int, r: int, k: int) -> None:
    """Rule C6: back to the front of the queue, tokens kept, KV given up."""
    stop_running(s, i, r, k, True)
    request_of(s, r).preemptions += 1
    replica_of(s, i).preemptions += 1
    enqueue(s, i, r, True)


@kernel
def choose_victim(s: Any, i: int) -> int:
    """Rule C3: the last in running order, or the least urgent, latest request."""
    replica = replica_of(s, i)
    victim = replica.last
    if s.by_priority != 0:
        r = victim
        while r != NOBODY:
            if request_of(s, r).priority > request_of(s, victim).priority or (
                request_of(s, r).priority == request_of(s, victim).priority and r > victim
            ):
                victim = r
            r = request_of(s, r).before
    return int(victim)


@kernel
def remove_zombies(s: Any, i: int, k: int) -> None:
    """Rule C1, in order of request id."""
    replica = replica_of(s, i)
    ids = zombies_of(s, i)[: replica.zombies]
    ids.sort()
    for z in range(replica.zombies):
        stop_running(s, i, ids[z], k, False)
    replica.zombies = 0
