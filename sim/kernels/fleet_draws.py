"""Drawing the requests of a fleet: when they come, who asks, for what, and how much of it.

Every number is drawn by counting (`sim.kernels.draws`): of a session, or of a request. Draws 30 to 59 are this file's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from policies.compiled import kernel
from policies.features import normal_quantile
from sim.kernels.draws import uniform
from sim.kernels.heap import pop, push

# Of a session:
START, TURNS, DEVICE, TASK, CROWD, GAP = 30, 31, 32, 33, 34, 35
ACCEPTED = 36
# Of a request:
PROMPT, OUTPUT, DIFFICULTY, UNITS = 40, 41, 42, 43
# Of a recorded session, and of a recorded request without one (which draws as a session does):
RECORDED_DEVICE, RECORDED_TASK = 50, 51

TINY = 2.0**-54  # half of the smallest draw above 0
UNIT = 4294967296.0  # thresholds of an alias table are counted in 2^-32
MOST_TOKENS = 2**30 - 1  # so that prompt and output together fit 31 bits

TASK_FACTS = np.dtype(
    [
        ("prompt_mu", "f8"),
        ("prompt_sigma", "f8"),
        ("prompt_max", "f8"),
        ("output_mu", "f8"),
        ("output_sigma", "f8"),
        ("output_max", "f8"),
        ("difficulty_mean", "f8"),
        ("difficulty_spread", "f8"),
        ("media", "i8"),  # 0: none; 1: in; 2: out
        ("units_mu", "f8"),
        ("units_sigma", "f8"),
        ("tokens_per_unit", "f8"),
        ("bytes_per_unit", "f8"),
    ],
    align=True,
)

UP_BYTES_PER_TOKEN, FIXED_UP_BYTES, DOWN_BYTES_PER_TOKEN = 4.0, 1000.0, 5.0

# A stretch of time in which the intensity of sessions is constant, and a task that is asked for more than usual.
PIECE = np.dtype(
    [
        ("from_s", "f8"),
        ("to_s", "f8"),
        ("mass_from", "f8"),  # cumulated intensity
        ("mass_to", "f8"),
        ("task", "i8"),  # -1: none
        ("share", "f8"),  # of sessions that are there for that task
    ],
    align=True,
)

# A session whose next turn is to come.
SEAT = np.dtype(
    [
        ("at_s", "f8"),  # of the next turn
        ("session", "i4"),
        ("device", "i4"),
        ("task", "i4"),
        ("turn", "i4"),  # turns so far
        ("turns", "i4"),
        ("behind", "i4"),  # in the list of its bucket
    ],
    align=True,
)
NOBODY = -1

PLAN = np.dtype(
    [
        ("seed", "i8"),
        ("count", "i8"),  # sessions
        ("last_turns", "i8"),  # turns of the last one, which is cut
        ("stop", "f8"),  # ln(1 - 1 / mean turns); 0: one turn each
        ("gap_s", "f8"),
        ("buckets", "i8"),  # of time, in which later turns wait
        ("buckets_per_s", "f8"),
    ],
    align=True,
)


@kernel
def fill_alias(weights: Any, table: Any) -> None:
    """Walker's alias method (Vose 1991): table[i] = (threshold, alias), so that a draw looks at one place only."""
    n = len(weights)
    total = 0.0
    for i in range(n):
        total += weights[i]
    left = np.empty(n)
    stack = np.empty(n, np.int32)  # too small ones from the front, the others from the back
    small, large = 0, n
    for i in range(n):
        left[i] = weights[i] / total * n
        table[i, 0] = np.uint32(0xFFFFFFFF)
        table[i, 1] = np.uint32(i)
        if left[i] < 1.0:
            stack[small] = i
            small += 1
        else:
            large -= 1
            stack[large] = i
    while small > 0 and large < n:
        small -= 1
        poor, rich = stack[small], stack[large]
        table[poor, 0] = np.uint32(min(left[poor] * UNIT, UNIT - 1.0))
        table[poor, 1] = np.uint32(rich)
        left[rich] -= 1.0 - left[poor]
        if left[rich] < 1.0:
            large += 1
            stack[small] = rich
            small += 1


@kernel
def pick(table: Any, draw: float) -> int:
    """A position of an alias table for a uniform draw."""
    place = draw * len(table)
    i = min(int(place), len(table) - 1)
    alias = int(table[i, 1])  # read before the choice, which then needs no jump that waits for the memory
    return i if (place - i) * UNIT < table[i, 0] else alias


@kernel
def pick_task(shares: Any, row: int, draw: float) -> int:
    """The first task whose cumulated share in a row exceeds the draw."""
    task = 0
    for i in range(shares.shape[1] - 1):  # all of them: no jump to foresee
        task += int(shares[row, i] <= draw)
    return task


@kernel
def turns_of(seed: int, session: int, stop: float) -> int:
    """Turns of a session: geometric, at least one."""
    if stop == 0.0:
        return 1
    return 1 + int(min(math.log(1.0 - uniform(seed, session, 0, TURNS)) / stop, 1e9))


@kernel
def count_sessions(seed: int, requests: int, stop: float) -> tuple[int, int]:
    """How many sessions make so many requests, and the turns of the last one."""
    session, left = 0, requests
    while True:
        turns = turns_of(seed, session, stop)
        session += 1
        if turns >= left:
            return session, left
        left -= turns


@kernel
def cumulate(seed: int, sums: Any) -> float:
    """Sums of exponentials; divided by the sum with one more (returned) they are sorted uniforms."""
    total = 0.0
    for i in range(len(sums)):
        total -= math.log(1.0 - uniform(seed, i, 0, START))
        sums[i] = total
    return total - math.log(1.0 - uniform(seed, len(sums), 0, START))


@kernel
def fan_of(seed: int, session: int, task: int, alias: Any, kind: Any, ask: Any) -> int:
    """A device for a session of one task: as active as it is, times how often its kind asks for the task."""
    attempt = 1
    while True:
        device = pick(alias, uniform(seed, session, attempt, DEVICE))
        if uniform(seed, session, attempt, ACCEPTED) < ask[kind[device], task]:
            return device
        attempt += 1


@kernel
def grown(values: Any) -> Any:
    """A copy with twice the room."""
    more = np.empty(2 * len(values), values.dtype)
    more[: len(values)] = values
    return more


@kernel
def bucket_of(plan: Any, at_s: float) -> int:
    """The bucket of an instant; the last one holds all that is later."""
    return int(min(at_s * plan.buckets_per_s, plan.buckets - 1.0))


@kernel
def draw_sessions(
    plan: Any,
    scale: float,
    pieces: Any,
    alias: Any,
    kind: Any,
    shares: Any,
    ask: Any,
    arrival: Any,
    device: Any,
    task: Any,
    session: Any,
) -> None:
    """All requests in order of arrival: sessions begin in turn, and their later turns wait until it is their time.

    Those of a bucket of time to come wait in a list, unsorted; those of the bucket that is reached, in a heap.

    `arrival` holds at its end, one a session, the sums of `cumulate`; times `scale` they are cumulated intensity, which
    `pieces` turns into instants. They are overwritten only after they were read: with b sessions begun, at most
    b + requests - sessions requests are out. An empty `session` is left alone.
    """
    sessions, requests = plan.count, len(arrival)
    sums = requests - sessions
    named = len(session) > 0
    keys, ready, spare = np.empty(1024), np.empty(1024, np.int64), np.empty(1024, np.int64)
    table = np.empty(1024, SEAT)
    lists = np.full(plan.buckets, NOBODY, np.int32)
    bucket, waiting, free, used, one = 0, 0, 0, 0, 0
    piece = piece_of(pieces, 0, arrival[sums] * scale)
    next_s = instant(pieces[piece], arrival[sums] * scale)
    for r in range(requests):
        while bucket < bucket_of(plan, min(next_s, keys[0]) if waiting > 0 else next_s):
            bucket += 1
            at = lists[bucket]
            while at != NOBODY:
                push(keys, ready, waiting, table[at].at_s, at)
                waiting += 1
                at = table[at].behind
        if waiting > 0 and keys[0] < next_s:  # a later turn
            at = ready[0]
            seat = table[at]
            arrival[r] = keys[0]
            device[r], task[r] = seat.device, seat.task
            if named:
                session[r] = seat.session
            seat.turn += 1
            pop(keys, ready, waiting)
            waiting -= 1
            if seat.turn == seat.turns:
                spare[free] = at
                free += 1
                continue
        else:  # a session begins
            if pieces[piece].task >= 0 and uniform(plan.seed, one, 0, CROWD) < pieces[piece].share:
                wanted = pieces[piece].task
                asking = fan_of(plan.seed, one, wanted, alias, kind, ask)
            else:
                asking = pick(alias, uniform(plan.seed, one, 0, DEVICE))
                wanted = pick_task(shares, kind[asking], uniform(plan.seed, one, 0, TASK))
            arrival[r] = next_s
            device[r], task[r] = asking, wanted
            if named:
                session[r] = one
            turns = plan.last_turns if one == sessions - 1 else turns_of(plan.seed, one, plan.stop)
            one += 1
            next_s = math.inf
            if one < sessions:
                reach = arrival[sums + one] * scale
                piece = piece_of(pieces, piece, reach)
                next_s = instant(pieces[piece], reach)
            if turns == 1:
                continue
            if free > 0:
                free -= 1
                at = spare[free]
            else:
                if used == len(keys):
                    keys, ready, spare, table = grown(keys), grown(ready), grown(spare), grown(table)
                at = used
                used += 1
            seat = table[at]
            seat.session, seat.device, seat.task, seat.turn, seat.turns = one - 1, asking, wanted, 1, turns
        seat = table[at]
        gap_s = -plan.gap_s * math.log(1.0 - uniform(plan.seed, seat.session, seat.turn, GAP))
        seat.at_s = arrival[r] + gap_s
        when = bucket_of(plan, seat.at_s)
        if when <= bucket:
            push(keys, ready, waiting, seat.at_s, at)
            waiting += 1
        else:
            seat.behind = lists[when]
            lists[when] = at


@kernel
def piece_of(pieces: Any, piece: int, reach: float) -> int:
    """The piece in which the cumulated intensity comes to `reach`, looking from `piece` on."""
    while piece < len(pieces) - 1 and pieces[piece].mass_to < reach:
        piece += 1
    return piece


@kernel
def instant(piece: Any, reach: float) -> float:
    """When the cumulated intensity comes to `reach`, within a piece."""
    into = (reach - piece.mass_from) / (piece.mass_to - piece.mass_from)
    return piece.from_s + min(into, 1.0) * (piece.to_s - piece.from_s)


@kernel
def draw_askers(seed: int, sessions: Any, alias: Any, kind: Any, shares: Any, device: Any, task: Any) -> None:
    """Who asks for what in a recorded workload: the same for all requests of a session."""
    for r in range(len(device)):
        known = sessions[r] >= 0
        key = sessions[r] if known else r
        asking = pick(alias, uniform(seed, key, 0, RECORDED_DEVICE if known else DEVICE))
        device[r] = asking
        task[r] = pick_task(shares, kind[asking], uniform(seed, key, 0, RECORDED_TASK if known else TASK))


@kernel
def score(seed: int, request: int, draw: int) -> float:
    """A standard normal number of a request."""
    return normal_quantile(max(uniform(seed, request, 0, draw), TINY))


@kernel
def draw_requests(
    first: int,
    last: int,
    seed: int,
    given: bool,
    task: Any,
    facts: Any,
    prompt: Any,
    output: Any,
    difficulty: Any,
    up: Any,
    down: Any,
) -> None:
    """How much requests first ... last - 1 ask for: tokens (unless they are given), difficulty, bytes both ways.

    Text is rounded and cut; the tokens of media, a real number of units, come on top.
    """
    for r in range(first, last):
        one = facts[task[r]]
        asked, answered = float(prompt[r]), float(output[r])
        if not given:
            asked = math.floor(math.exp(one.prompt_mu + one.prompt_sigma * score(seed, r, PROMPT)) + 0.5)
            answered = math.floor(math.exp(one.output_mu + one.output_sigma * score(seed, r, OUTPUT)) + 0.5)
            asked, answered = min(max(asked, 1.0), one.prompt_max), min(max(answered, 1.0), one.output_max)
        sent = FIXED_UP_BYTES + UP_BYTES_PER_TOKEN * asked
        received = DOWN_BYTES_PER_TOKEN * answered
        if one.media > 0:
            units = math.exp(one.units_mu + one.units_sigma * score(seed, r, UNITS))
            tokens = 0.0 if given else math.floor(units * one.tokens_per_unit + 0.5)
            if one.media == 1:
                asked += tokens
                sent += units * one.bytes_per_unit
            else:
                answered += tokens
                received += units * one.bytes_per_unit
        if not given:
            prompt[r], output[r] = min(asked, MOST_TOKENS), min(answered, MOST_TOKENS)
        difficulty[r] = one.difficulty_mean + one.difficulty_spread * score(seed, r, DIFFICULTY)
        up[r], down[r] = sent, received
