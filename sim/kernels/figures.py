"""What a router expects of every action: masks and figures (rules W2, W5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from policies.compiled import kernel
from policies.features import cascade_release, normal_quantile, sigmoid
from policies.masks import may_use_hub, may_use_near, may_use_pool
from sim.kernels.air import KEEP_ALIVE_S, gap_before, is_connected, network_at, quantile, transfer_w
from sim.kernels.battery import is_charging, settle
from sim.kernels.blocks import ceil_div
from sim.kernels.draws import uniform
from sim.kernels.fleet_state import CASCADE, CLOUD, DOWNLINK, EDGE, HEDGE, NEAR, RTT, RTT_EDGE, UPLINK
from sim.kernels.jobs import RELEASE_C, decode_s, is_loaded, prefill_s
from sim.kernels.state import NOBODY
from sim.kernels.truth import TINY, confidence_in, is_right
from sim.kernels.views import (
    ability_of,
    decode_s_of,
    figures_of,
    kind_of,
    network_of,
    pool_of,
    quantiles_of,
    request_of,
    row_of,
    task_of,
    trip_of,
    weather_of,
)

__all__ = ["action_count", "estimated_difficulty", "figure_out", "pool_load", "predicted_work"]

KNOWS_SYSTEM, KNOWS_OUTCOMES = 1, 2  # foresight (rule W8)


@kernel
def action_count(w: Any) -> int:
    """Near, hub, then every pool plainly, as a cascade, as a hedge (rule W1)."""
    return int(2 + 3 * w.pool_count)


@kernel
def estimated_difficulty(w: Any, r: int) -> float:
    """What a policy takes for the difficulty of request r (rules W5, W8)."""
    trip = trip_of(w, r)
    if w.foresight >= KNOWS_OUTCOMES:
        return float(trip.difficulty)
    task = task_of(w, trip.task)
    seen = trip.difficulty + w.spread * normal_quantile(max(uniform(w.seed, r, 0, 14), TINY))
    return float(task.difficulty_mean + task.trust * (seen - task.difficulty_mean))


@kernel
def expected_output(w: Any, r: int) -> float:
    """Output tokens as a router expects them (rules W5, W8)."""
    if w.foresight >= KNOWS_SYSTEM:
        return float(request_of(w, r).output)
    return float(task_of(w, trip_of(w, r).task).output_hint)


@kernel
def predicted_work(w: Any, r: int, e: int) -> float:
    """Seconds at full clock that a router expects of a job on row e."""
    kind = kind_of(w, row_of(w, e))
    prompt = request_of(w, r).prompt
    return prefill_s(kind, prompt) + decode_s(kind, prompt, expected_output(w, r))


@kernel
def predicted_quality(w: Any, r: int, model: int, difficulty: float) -> float:
    """The chance of a right answer of this model, as a router expects it."""
    if w.foresight >= KNOWS_OUTCOMES:
        return 1.0 if is_right(w, r, model) else 0.0
    task = trip_of(w, r).task
    return sigmoid(task_of(w, task).doubt * (ability_of(w, model, task) - difficulty))


# -- masks (rule W2) ---------------------------------------------------------------------------------------------------


@kernel
def near_is_open(w: Any, r: int, now: float) -> bool:
    trip = trip_of(w, r)
    request = request_of(w, r)
    row = row_of(w, trip.device)
    kind = kind_of(w, row)
    return may_use_near(
        kind.model,
        kind.modalities,
        task_of(w, trip.task).modality,
        request.prompt + request.output,
        kind.max_tokens,
        row.battery_j,
        kind.floor_j,
        kind.capacity_j,
        is_charging(w, kind, now),
    )


@kernel
def hub_is_open(w: Any, r: int, n: int) -> bool:
    trip = trip_of(w, r)
    hub = row_of(w, trip.device).hub
    if hub == NOBODY:
        return False
    request = request_of(w, r)
    task = task_of(w, trip.task)
    kind = kind_of(w, row_of(w, hub))
    return may_use_hub(
        task.privacy,
        hub,
        network_of(w, n).home != 0 and is_connected(w, trip.device, n),
        kind.model,
        kind.modalities,
        task.modality,
        request.prompt + request.output,
        kind.max_tokens,
    )


@kernel
def pool_is_open(w: Any, r: int, p: int, n: int) -> bool:
    s = pool_of(w, p)
    trip = trip_of(w, r)
    request = request_of(w, r)
    task = task_of(w, trip.task)
    return may_use_pool(
        task.privacy,
        is_connected(w, trip.device, n),
        s.modalities,
        task.modality,
        request.prompt + request.output,
        s.max_model_len,
        ceil_div(request.prompt + request.output - 1, s.block_size),
        s.kv_blocks,
        s.up if s.telemetry_lag_s == 0.0 else s.reported_up,
        (trip.tried >> p) & 1 != 0,
    )


# -- figures (rule W5) -------------------------------------------------------------------------------------------------


@kernel
def figure_row(w: Any, at: Any, r: int, e: int, now: float, difficulty: float, judging: bool) -> None:
    """A job on row e, the way to it left out."""
    row = row_of(w, e)
    kind = kind_of(w, row)
    prompt = request_of(w, r).prompt
    prefill = prefill_s(kind, prompt)
    decode = decode_s(kind, prompt, expected_output(w, r))
    is_hot = row.throttled != 0 and row.temp_c >= kind.limit_c - RELEASE_C
    clock = kind.throttled_clock if is_hot else 1.0
    wait = row.queued_s
    jobs = row.waiting
    if row.running != NOBODY:
        wait = max(0.0, row.expected_end_s - now) + row.queued_s
        jobs += 1
    at.ttft_s = wait + (0.0 if is_there(w, r, row, now) else kind.load_s) + prefill / clock
    at.e2e_s = at.ttft_s + decode / clock
    at.quality = predicted_quality(w, r, kind.model, difficulty) if judging else 0.0
    at.energy_j = kind.power_w * (prefill + decode)
    at.cost_usd = 0.0
    at.egress_bytes = 0.0
    at.load = float(jobs)


@kernel
def is_there(w: Any, r: int, row: Any, now: float) -> bool:
    """Whether a router expects the model in the row's memory."""
    if w.foresight >= KNOWS_SYSTEM and row.running == NOBODY:
        return is_loaded(w, r, row, now)
    return bool(row.resident != 0)


@kernel
def expected(w: Any, r: int, table: Any, draw: int) -> float:
    """The median of what the air will draw; the draw itself for who knows it."""
    return quantile(table, uniform(w.seed, r, 0, draw)) if w.foresight >= KNOWS_SYSTEM else float(table[2])


@kernel
def figure_way(w: Any, r: int, n: int, nearby: bool, now: float) -> tuple[float, float, float]:
    """Seconds up, seconds back, and joules of the transfers."""
    trip = trip_of(w, r)
    weather = weather_of(w, row_of(w, trip.device).region)
    network = network_of(w, n)
    rtt = expected(w, r, quantiles_of(w, n, RTT_EDGE if nearby else RTT), 10) * weather.rtt_factor
    uplink = expected(w, r, quantiles_of(w, n, UPLINK), 11) * weather.rate_factor
    gap = gap_before(w, trip.device, now)
    up = 0.0
    if gap > network.promotion_idle_s:
        up += network.promotion_s
    if gap > KEEP_ALIVE_S:
        up += network.setup_round_trips * rtt
    sending = 8.0 * trip.up_bytes / uplink
    up = up + rtt / 2.0 + sending
    downlink = expected(w, r, quantiles_of(w, n, DOWNLINK), 12) * weather.rate_factor
    moving = sending + 8.0 * trip.down_bytes / downlink
    joules = transfer_w(network) * moving + network.up_j_per_byte * trip.up_bytes
    return up, rtt / 2.0, joules + network.down_j_per_byte * trip.down_bytes


@kernel
def awake_j(w: Any, n: int, e2e_s: float) -> float:
    """Joules of a radio that is awake for so long, and its tail."""
    network = network_of(w, n)
    return float(network.tail_w * (e2e_s + network.tail_s))


@kernel
def pool_load(w: Any, s: Any) -> tuple[int, int, float]:
    """Requests in a pool, replicas up and slowdown, as the router sees them."""
    if s.telemetry_lag_s > 0.0 and w.foresight < KNOWS_SYSTEM:
        return s.reported + s.sent, s.reported_up, s.reported_slowdown
    return s.outstanding, s.up, s.slowdown


@kernel
def figure_pool(
    w: Any,
    at: Any,
    r: int,
    p: int,
    n: int,
    way: tuple[float, float, float],
    difficulty: float,
    judging: bool,
) -> None:
    """A pool, the way included."""
    s = pool_of(w, p)
    trip = trip_of(w, r)
    up, back, moving_j = way
    prompt = request_of(w, r).prompt
    hint = expected_output(w, r)
    view, replicas, slowdown = pool_load(w, s)
    load = view / max(1, replicas)
    slots = s.max_num_seqs
    batch = min(int(load) + 1, slots)
    step = decode_s_of(s, batch) * slowdown
    prefill = s.prefill_token_s * slowdown
    queue = max(0.0, load - slots) * s.output_mean * decode_s_of(s, slots) * slowdown / slots
    at.ttft_s = up + (queue + step + prompt * prefill) + back
    at.e2e_s = at.ttft_s + (hint - 1.0) * step
    at.quality = predicted_quality(w, r, s.model, difficulty) if judging else 0.0
    at.energy_j = moving_j + awake_j(w, n, at.e2e_s)
    at.cost_usd = s.price_usd_per_s * (prompt * prefill + hint * step / batch)
    at.egress_bytes = float(trip.up_bytes)
    at.load = load / slots


@kernel
def figure_cascade(w: Any, at: Any, r: int, near: Any, far: Any) -> None:
    release, kept = cascade_release(near.quality, w.separation, w.threshold)
    if w.foresight >= KNOWS_OUTCOMES:
        release = 1.0 if confidence_in(w, r, kind_of(w, row_of(w, trip_of(w, r).device)).model) >= w.threshold else 0.0
        kept = release * near.quality
    doubt = 1.0 - release
    at.quality = kept + doubt * far.quality
    at.ttft_s = near.e2e_s + w.check_s + doubt * far.ttft_s
    at.e2e_s = near.e2e_s + w.check_s + doubt * far.e2e_s
    at.energy_j = near.energy_j + doubt * far.energy_j
    at.cost_usd = doubt * far.cost_usd
    at.egress_bytes = doubt * far.egress_bytes
    at.load = max(near.load, far.load)


@kernel
def figure_hedge(at: Any, near: Any, far: Any) -> None:
    if near.ttft_s <= far.ttft_s:
        at.quality = near.quality
        at.ttft_s = near.ttft_s
        at.e2e_s = near.e2e_s
    else:
        at.quality = far.quality
        at.ttft_s = far.ttft_s
        at.e2e_s = far.e2e_s
    at.energy_j = near.energy_j + far.energy_j
    at.cost_usd = far.cost_usd
    at.egress_bytes = far.egress_bytes
    at.load = max(near.load, far.load)


@kernel
def figure_out(w: Any, r: int, used: Any, now: float, difficulty: float, judging: bool) -> int:
    """Masks and figures of all actions, in the scratch records; returns the device's network class.

    Without `judging` qualities are 0: nobody looks at them.
    """
    trip = trip_of(w, r)
    d = trip.device
    pools = w.pool_count
    for a in range(action_count(w)):
        figures_of(w, a).feasible = 0
    n = network_at(w, d, now)
    near = figures_of(w, 0)
    near_open = near_is_open(w, r, now)
    if near_open and (used[NEAR] != 0 or used[CASCADE] != 0 or used[HEDGE] != 0):
        figure_row(w, near, r, d, now, difficulty, judging)
        offer(near, NEAR, NOBODY, used)
    if used[EDGE] != 0 and hub_is_open(w, r, n):
        figure_hub(w, figures_of(w, 1), r, n, now, difficulty, judging)
        offer(figures_of(w, 1), EDGE, NOBODY, used)
    way = (np.nan, np.nan, np.nan)
    short_way = (np.nan, np.nan, np.nan)
    for p in range(pools):
        if not pool_is_open(w, r, p, n):
            continue
        far = figures_of(w, 2 + p)
        if pool_of(w, p).is_edge != 0:
            if np.isnan(short_way[0]):
                short_way = figure_way(w, r, n, True, now)
            figure_pool(w, far, r, p, n, short_way, difficulty, judging)
        else:
            if np.isnan(way[0]):
                way = figure_way(w, r, n, False, now)
            figure_pool(w, far, r, p, n, way, difficulty, judging)
        offer(far, EDGE if pool_of(w, p).is_edge != 0 else CLOUD, p, used)
        if near_open and used[CASCADE] != 0:
            at = figures_of(w, 2 + pools + p)
            figure_cascade(w, at, r, near, far)
            offer(at, CASCADE, p, used)
        if near_open and used[HEDGE] != 0:
            at = figures_of(w, 2 + 2 * pools + p)
            figure_hedge(at, near, far)
            offer(at, HEDGE, p, used)
    return n


@kernel
def figure_hub(w: Any, at: Any, r: int, n: int, now: float, difficulty: float, judging: bool) -> None:
    up, back, moving_j = figure_way(w, r, n, True, now)
    hub = row_of(w, trip_of(w, r).device).hub
    settle(w, hub, now)
    figure_row(w, at, r, hub, now, difficulty, judging)
    decode = at.e2e_s - at.ttft_s
    at.ttft_s = up + at.ttft_s + back
    at.e2e_s = at.ttft_s + decode
    at.energy_j = moving_j + awake_j(w, n, at.e2e_s)


@kernel
def offer(at: Any, kind: int, pool: int, used: Any) -> None:
    at.kind = kind
    at.pool = pool
    at.feasible = 1 if used[kind] != 0 else 0
