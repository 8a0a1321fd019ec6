"""Jobs on a row: queue, start, end, cut (rules E)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from policies.compiled import kernel
from sim.kernels.agenda import note
from sim.kernels.air import arrives
from sim.kernels.battery import settle
from sim.kernels.draws import uniform
from sim.kernels.fleet_state import CASCADE, HEDGE, JOB, JOB_DONE, JOB_RUNS, JOB_WAITS, NO_JOB
from sim.kernels.state import NOBODY
from sim.kernels.views import kind_of, request_of, row_of, trip_of

RELEASE_C = 2.0  # below the limit by this much the clock is let go (rule E3)


@kernel
def prefill_s(kind: Any, prompt: int) -> float:
    """Seconds of a prompt at full clock (rule E2)."""
    return float(math.ceil(prompt / kind.chunk_tokens) * kind.chunk_s)


@kernel
def decode_s(kind: Any, prompt: int, output: float) -> float:
    """Seconds of the output tokens after the first one, at full clock (rule E2)."""
    more = output - 1.0
    return float(more * kind.token_s + kind.context_s * (more * prompt + more * output / 2.0))


@kernel
def is_loaded(w: Any, r: int, row: Any, now: float) -> bool:
    """Whether request r finds the model in the memory of an idle row (rule E2)."""
    idle_s = now - row.last_use_s
    return row.resident != 0 and uniform(w.seed, r, 0, 13) < math.exp(-kind_of(w, row).pressure_per_s * idle_s)


@kernel
def join_row(w: Any, r: int, e: int, work_s: float, now: float) -> None:
    """Rule E1. `work_s` is what a router predicts for the job."""
    row = row_of(w, e)
    trip = trip_of(w, r)
    trip.row = e
    trip.work_s = work_s
    trip.behind = NOBODY
    if row.running == NOBODY:
        start_job(w, r, e, now)
        return
    trip.job = JOB_WAITS
    if row.tail == NOBODY:
        row.head = r
    else:
        trip_of(w, row.tail).behind = r
    row.tail = r
    row.waiting += 1
    row.queued_s += work_s


@kernel
def start_job(w: Any, r: int, e: int, now: float) -> None:
    """Rules E2 to E4, E6."""
    settle(w, e, now)
    row = row_of(w, e)
    kind = kind_of(w, row)
    trip = trip_of(w, r)
    request = request_of(w, r)
    run = now if is_loaded(w, r, row, now) else now + kind.load_s
    prefill = prefill_s(kind, request.prompt)
    work = prefill + decode_s(kind, request.prompt, float(request.output))
    full, throttled = clock_of(w, kind, row, run, work)
    slow = kind.throttled_clock
    row.resident = 1
    row.running = r
    row.run_s = run
    row.hot_s = run + full if full < work else np.inf
    row.first_s = run + (prefill if prefill <= full else full + (prefill - full) / slow)
    row.end_s = run + (work if work <= full else full + (work - full) / slow)
    row.expected_end_s = run + trip.work_s / (slow if throttled else 1.0)
    trip.job = JOB_RUNS
    if e == trip.device:
        trip.near_start_s = now
    if trip.kind != HEDGE:
        request.scheduled = now
    if e != trip.device:
        request.first_token = arrives(w, r, row.first_s)
    elif trip.kind != HEDGE and trip.kind != CASCADE:
        request.first_token = row.first_s
    row.event_s = row.first_s if trip.first_due != 0 else row.end_s
    note(w, JOB, e, row.event_s)


@kernel
def clock_of(w: Any, kind: Any, row: Any, run: float, work: float) -> tuple[float, bool]:
    """Seconds from `run` on at full clock, and whether the clock is lowered from the beginning (rule E3)."""
    rest = kind.ambient_c + kind.resistance_c_per_w * kind.background_w
    constant = kind.resistance_c_per_w * kind.capacitance_j_per_c
    temp = row.temp_c
    if run > row.settled_s and temp != rest:
        temp = rest + (temp - rest) * math.exp(-(run - row.settled_s) / constant)
    if temp < kind.limit_c - RELEASE_C:
        row.throttled = 0
    if temp >= kind.limit_c:
        row.throttled = 1
    if row.throttled != 0:
        return 0.0, True
    top = kind.ambient_c + kind.resistance_c_per_w * (kind.background_w + kind.power_w)
    if top > kind.limit_c:
        full = constant * math.log((top - temp) / (top - kind.limit_c))
        if full < work:
            return full, False
    return np.inf, False


@kernel
def leave_row(w: Any, r: int, now: float, is_cut: bool) -> None:
    """The job of request r is over or given up (rule E5); the next one starts."""
    trip = trip_of(w, r)
    e = trip.row
    row = row_of(w, e)
    if trip.job == JOB_WAITS:
        drop_waiting(w, r, row)
        return
    kind = kind_of(w, row)
    settle(w, e, now)
    seconds = max(0.0, now - row.run_s)
    slow = max(0.0, now - row.hot_s)
    joules = kind.power_w * (seconds - slow) + kind.power_w * kind.throttled_clock * slow
    row.compute_s += seconds
    row.throttled_s += slow
    if slow > 0.0:
        trip.throttled = 1
        row.throttled = 1
    if e == trip.device:
        trip.device_j += joules
        row.requests_j += joules
    else:
        request_of(w, r).energy += joules
    row.last_use_s = now
    if now < row.run_s:  # cut while loading
        row.resident = 0
    row.running = NOBODY
    row.run_s = np.inf
    row.hot_s = np.inf
    row.event_s = np.inf
    trip.job = NO_JOB if is_cut else JOB_DONE
    follower = row.head
    if follower != NOBODY:
        row.head = trip_of(w, follower).behind
        if row.head == NOBODY:
            row.tail = NOBODY
        row.waiting -= 1
        row.queued_s = row.queued_s - trip_of(w, follower).work_s if row.waiting > 0 else 0.0
        start_job(w, follower, e, now)


@kernel
def drop_waiting(w: Any, r: int, row: Any) -> None:
    """Take a waiting job out of the queue of its row."""
    trip = trip_of(w, r)
    if row.head == r:
        row.head = trip.behind
        if row.head == NOBODY:
            row.tail = NOBODY
    else:
        at = row.head
        while trip_of(w, at).behind != r:
            at = trip_of(w, at).behind
        trip_of(w, at).behind = trip.behind
        if row.tail == r:
            row.tail = at
    row.waiting -= 1
    row.queued_s = row.queued_s - trip.work_s if row.waiting > 0 else 0.0
    trip.job = NO_JOB
