"""Composing a batch the way vLLM v1 does (rules C1 to C8), at a cost that does not depend on the batch's size.

All decodes advance together, so they are kept as sums: at step k a decode's context is k + offset, with an offset that
never changes; it needs a block when k hits its residue modulo the block size; it finishes at a step known from the
start. Only preemption looks at sequences one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.compiled import kernel
from sim.kernels.blocks import ceil_div, claim, give_up, hits_in_queue, named_hits, private_hits, publish, take
from sim.kernels.heap import push_packed, remove_packed, replace_packed
from sim.kernels.state import (
    CLASSES,
    DECODING,
    NOBODY,
    PREFILLING,
    RETIRING,
    WAITING,
)
from sim.kernels.step_cost import step_cost
from sim.kernels.views import (
    batch_ids,
    batch_tokens,
    cost_tables,
    costs_of,
    crossings_of,
    emitting_of,
    finishing_of,
    phases_of,
    queue_heads,
    queue_tails,
    replica_of,
    request_of,
    retiring_of,
    zombies_of,
)

_STEP_SHIFT = 32


# -- waiting queue and running order -----------------------------------------------------------------------------------


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


# -- decodes as sums ---------------------------------------------------------------------------------------------------


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
    push_packed(finishing_of(s, i), replica.decodes - 1, (request.finish_step << _STEP_SHIFT) | r)


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


# -- leaving the batch -------------------------------------------------------------------------------------------------


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
        remove_packed(finishing_of(s, i), replica.decodes, (request.finish_step << _STEP_SHIFT) | r)
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


@kernel
def serve_one_by_one(s: Any, i: int, k: int) -> bool:
    """Rules C2 and C3 for the decodes when blocks are short. Returns whether anything was preempted."""
    replica = replica_of(s, i)
    size = s.block_size
    preempted = False
    r = replica.first
    while r != NOBODY:
        request = request_of(s, r)
        behind = request.behind
        if request.status == DECODING:
            survives = True
            if (k + request.offset - 1) % size == 0:
                while replica.free < 1:
                    victim = choose_victim(s, i)
                    if victim == behind:
                        behind = request_of(s, victim).behind
                    preempt(s, i, victim, k)
                    preempted = True
                    if victim == r:
                        survives = False
                        break
                if survives:
                    take(s, i, 1)
            if survives:
                request.granted = k
        r = behind
    return preempted


# -- the batch ---------------------------------------------------------------------------------------------------------


@kernel
def capped_sum(start: int, count: int, cap: int) -> int:
    """sum_{i=1..count} min(start + i, cap)."""
    free = min(count, max(0, cap - start))
    return free * start + free * (free + 1) // 2 + (count - free) * cap


@kernel
def compose(s: Any, i: int, now: float) -> float:
    """Compose the next batch of replica i; returns its step time in seconds, 0 when the batch is empty."""
    replica = replica_of(s, i)
    size = s.block_size
    window = s.window
    k = replica.composed
    if replica.zombies > 0:
        remove_zombies(s, i, k)

    # running sequences first: the decodes, then the one unfinished prefill (C2, C3)
    preempted = False
    need = phases_of(s, i)[k % size]
    if need <= replica.free:
        take(s, i, need)
        replica.granted = k
    else:
        preempted = serve_one_by_one(s, i, k)
    budget = s.max_num_batched_tokens - replica.decodes
    prefills = 0
    r = replica.partial
    if r != NOBODY and budget > 0:
        request = request_of(s, r)
        chunk = min(request.target - request.computed, budget)
        need = ceil_div(request.computed + chunk, size) - ceil_div(request.computed, size)
        while replica.free < need:
            victim = choose_victim(s, i)
            preempt(s, i, victim, k)
            preempted = True
            if victim == r:
                break
        if replica.partial == r:
            take(s, i, need)
            batch_ids(s)[0] = r
            batch_tokens(s)[0] = chunk
            replica.partial = NOBODY
            publish(s, i, r, request.computed + chunk)
            prefills = 1
            budget -= chunk

    # then waiting requests (C4)
    short = False
    if not preempted:
        while budget > 0 and replica.waiting > 0 and replica.running < s.max_num_seqs:
            r = first_waiting(s, i)
            request = request_of(s, r)
            target = request.prompt + request.generated
            named = named_hits(s, i, r, target)
            private = private_hits(s, i, r, target, named)
            hit = (named + private) * size
            chunk = min(target - hit, budget)
            if s.chunked_prefill == 0 and target - hit > budget:
                break
            need = ceil_div(hit + chunk, size) - named - private
            if need + private > replica.free or need + private + hits_in_queue(s, i, r, named) > replica.free:
                short = True
                break
            dequeue(s, i, r)
            claim(s, i, r, named, private)
            take(s, i, need)
            join_running(s, i, r)
            request.status = PREFILLING
            request.target = target
            request.computed = hit
            if np.isnan(request.scheduled):
                request.scheduled = now
                request.cached = hit
            publish(s, i, r, hit + chunk)
            batch_ids(s)[prefills] = r
            batch_tokens(s)[prefills] = chunk
            prefills += 1
            budget -= chunk

    decodes = replica.decodes
    if decodes + prefills == 0:
        return 0.0

    # the shape of the batch (C7), and its prefills' progress (C5)
    decode_context = decodes * k + replica.offsets
    decode_context_window = 0
    if window > 0:
        cross_window(s, i, k)
        below = replica.below
        decode_context_window = below * k + replica.below_offsets + (decodes - below) * window
    tokens = 0
    attended = 0
    attended_window = 0
    end = 0
    end_window = 0
    finished = 0
    for p in range(prefills):
        r = batch_ids(s)[p]
        chunk = batch_tokens(s)[p]
        request = request_of(s, r)
        start = request.computed
        tokens += chunk
        attended += chunk * start + chunk * (chunk + 1) // 2
        end += start + chunk
        if window > 0:
            attended_window += capped_sum(start, chunk, window)
            end_window += min(start + chunk, window)
        request.computed = start + chunk
        if request.computed == request.target:
            finished += 1
        else:
            replica.partial = r
    token_s, token_j, emit_s, emit_j, smooth = cost_tables(s)
    seconds, joules = step_cost(
        tokens,
        attended,
        attended_window,
        end,
        end_window,
        decodes,
        decode_context,
        decode_context_window,
        decodes + finished,
        decodes + prefills,
        costs_of(s),
        token_s,
        token_j,
        emit_s,
        emit_j,
        smooth,
    )
    book(s, i, k, prefills, tokens, seconds, joules)
    if replica.waiting > 0:
        if preempted or short:
            replica.blocked_kv_s += seconds
        elif replica.running >= s.max_num_seqs:
            replica.blocked_seqs_s += seconds
        else:
            replica.blocked_tokens_s += seconds
    retire(s, i, k)
    replica.composed = k + 1
    return seconds


@kernel
def book(s: Any, i: int, k: int, prefills: int, tokens: int, seconds: float, joules: float) -> None:
    """Share the energy (A2), move finished prefills on to decoding (C5)."""
    replica = replica_of(s, i)
    each = joules / (tokens + replica.decodes)
    replica.energy_mark += each
    replica.energy_j += joules
    replica.prefill_tokens += tokens
    replica.decode_tokens += replica.decodes
    parity = k & 1
    emitting = 0
    for p in range(prefills):
        r = batch_ids(s)[p]
        request = request_of(s, r)
        request.energy += batch_tokens(s)[p] * each
        if request.computed == request.target:
            emitting_of(s, i, parity)[emitting] = r
            emitting += 1
            request.generated += 1
            request.energy_mark = replica.energy_mark
            start_decoding(s, i, r, k)
    if parity == 0:
        replica.emitting_0 = emitting
    else:
        replica.emitting_1 = emitting


@kernel
def retire(s: Any, i: int, k: int) -> None:
    """Sequences whose last token is in step k leave the sums; they hold slot and blocks until the END (rule S4)."""
    replica = replica_of(s, i)
    heap = finishing_of(s, i)
    parity = k & 1
    retiring = 0
    while replica.decodes > 0 and heap[0] >> _STEP_SHIFT == k:
        r = int(heap[0] & 0xFFFFFFFF)
        request = request_of(s, r)
        last = replica.decodes - 1
        if last > 0:
            replace_packed(heap, last, 0, heap[last])
        forget_decode(s, i, r, k + 1)
        leave_running(s, i, r)
        request.computed = k + request.offset
        request.energy += replica.energy_mark - request.energy_mark
        request.status = RETIRING
        retiring_of(s, i, parity)[retiring] = r
        retiring += 1
    if parity == 0:
        replica.retiring_0 = retiring
    else:
        replica.retiring_1 = retiring
