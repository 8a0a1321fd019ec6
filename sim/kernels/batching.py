"""Composing a batch the way vLLM v1 does (rules C1 to C8), at a cost that does not depend on the batch's size."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.blocks import ceil_div, claim, hits_in_queue, named_hits, private_hits, publish, take
from sim.kernels.decodes import (
    STEP_SHIFT,
    choose_victim,
    cross_window,
    forget_decode,
    preempt,
    remove_zombies,
    start_decoding,
)
from sim.kernels.heap import replace_packed
from sim.kernels.queues import dequeue, first_waiting, join_running, leave_running
from sim.kernels.state import DECODING, NOBODY, PREFILLING, RETIRING
from sim.kernels.step_cost import step_cost
from sim.kernels.views import (
    batch_ids,
    batch_tokens,
    cost_tables,
    costs_of,
    emitting_of,
    finishing_of,
    phases_of,
    replica_of,
    request_of,
    retiring_of,
)


@kernel
def compose(s: Any, i: int, now: float) -> float:
    """Compose the next batch of replica i; returns its step time in seconds, 0 when the batch is empty."""
    replica = replica_of(s, i)
    k = replica.composed
    if replica.zombies > 0:
        remove_zombies(s, i, k)
    preempted = serve_decodes(s, i, k)
    prefills, cut = continue_prefill(s, i, k)
    preempted = preempted or cut
    short = False
    if not preempted:
        prefills, short = admit(s, i, prefills, now)
    if replica.decodes + prefills == 0:
        return 0.0
    tokens, seconds, joules = measure(s, i, k, prefills)
    book(s, i, k, prefills, tokens, joules)
    if replica.waiting > 0:
        book_blocked(s, i, preempted or short, seconds)
    retire(s, i, k)
    replica.composed = k + 1
    return seconds


# -- running sequences first -------------------------------------------------------------------------------------------


@kernel
def serve_decodes(s: Any, i: int, k: int) -> bool:
    """A token for every decode, and the blocks that takes (rules C2, C3). Returns whether anything was preempted."""
    replica = replica_of(s, i)
    need = phases_of(s, i)[k % s.block_size]
    if need <= replica.free:
        take(s, i, need)
        replica.granted = k
        return False
    return serve_one_by_one(s, i, k)


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


@kernel
def continue_prefill(s: Any, i: int, k: int) -> tuple[int, bool]:
    """The next chunk of the one unfinished prefill (rules C2, C3). Returns the prefills in the batch: 0 or 1; and
    whether anything was preempted."""
    replica = replica_of(s, i)
    r = replica.partial
    budget = s.max_num_batched_tokens - replica.decodes
    if r == NOBODY or budget == 0:
        return 0, False
    request = request_of(s, r)
    chunk = min(request.target - request.computed, budget)
    need = ceil_div(request.computed + chunk, s.block_size) - ceil_div(request.computed, s.block_size)
    preempted = False
    while replica.free < need:
        victim = choose_victim(s, i)
        preempt(s, i, victim, k)
        preempted = True
        if victim == r:
            return 0, True
    take(s, i, need)
    replica.partial = NOBODY
    join_batch(s, i, r, chunk, 0)
    return 1, preempted


# -- then waiting ones -------------------------------------------------------------------------------------------------


@kernel
def admit(s: Any, i: int, prefills: int, now: float) -> tuple[int, bool]:
    """Admit waiting requests (rule C4). Returns the prefills in the batch, and whether blocks were short."""
    replica = replica_of(s, i)
    budget = s.max_num_batched_tokens - replica.decodes
    if prefills > 0:
        budget -= batch_tokens(s)[0]
    while budget > 0 and replica.waiting > 0 and replica.running < s.max_num_seqs:
        r = first_waiting(s, i)
        request = request_of(s, r)
        target = request.prompt + request.generated
        named = named_hits(s, i, r, target)
        private = private_hits(s, i, r, target, named)
        hit = (named + private) * s.block_size
        chunk = min(target - hit, budget)
        if s.chunked_prefill == 0 and target - hit > budget:
            break
        need = ceil_div(hit + chunk, s.block_size) - named - private
        if need + private > replica.free or need + private + hits_in_queue(s, i, r, named) > replica.free:
            return prefills, True
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
        join_batch(s, i, r, chunk, prefills)
        prefills += 1
        budget -= chunk
    return prefills, False


@kernel
def join_batch(s: Any, i: int, r: int, chunk: int, prefills: int) -> None:
    """Note a chunk as prefill number `prefills` of the batch, and publish the blocks it fills (rule K4)."""
    publish(s, i, r, request_of(s, r).computed + chunk)
    batch_ids(s)[prefills] = r
    batch_tokens(s)[prefills] = chunk


# -- what the batch is -------------------------------------------------------------------------------------------------


@kernel
def capped_sum(start: int, count: int, cap: int) -> int:
    """sum_{i=1..count} min(start + i, cap)."""
    free = min(count, max(0, cap - start))
    return free * start + free * (free + 1) // 2 + (count - free) * cap


@kernel
def measure(s: Any, i: int, k: int, prefills: int) -> tuple[int, float, float]:
    """Advance the prefills by their chunks (C5) and cost the batch's shape (C7): prefill tokens, seconds, joules."""
    replica = replica_of(s, i)
    window = s.window
    decodes = replica.decodes
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
        decodes * k + replica.offsets,
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
    return tokens, seconds * s.slowdown, joules


# -- what follows from it ----------------------------------------------------------------------------------------------


@kernel
def book_blocked(s: Any, i: int, by_kv: bool, seconds: float) -> None:
    """Why requests wait through this step (rule C8)."""
    replica = replica_of(s, i)
    if by_kv:
        replica.blocked_kv_s += seconds
    elif replica.running >= s.max_num_seqs:
        replica.blocked_seqs_s += seconds
    else:
        replica.blocked_tokens_s += seconds


@kernel
def book(s: Any, i: int, k: int, prefills: int, tokens: int, joules: float) -> None:
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
    while replica.decodes > 0 and heap[0] >> STEP_SHIFT == k:
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
