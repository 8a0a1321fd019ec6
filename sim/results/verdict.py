"""The verdict on a run: does this pool carry this workload, what binds, and how much room is left?

Busy time says little about continuous batching: one lonely request keeps a GPU decoding all the time. So
the verdict looks at what really runs out (slots, KV blocks, the tokens a step may hold), at requests that
wait, and at requests that were lost. docs/metrics.md states the rules; the thresholds stand here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sim.kernels.state import COMPLETED
from sim.results.timeline import Timeline, busy_seconds, mean_number, span_of, up_seconds
from sim.results.words import percent

if TYPE_CHECKING:
    from sim.plane import DataPlane

__all__ = ["BINDING", "VERDICTS", "Judgement", "Losses", "judge", "offered_rps"]

VERDICTS = ("OK", "TIGHT", "OVERLOADED")
BINDING = (
    "compute",
    "kv_blocks",
    "max_num_seqs",
    "max_num_batched_tokens",
    "queue_limit",
    "context_limit",
    "failures",
    "none",
)

TIGHT_SLO, OVERLOADED_SLO = 0.99, 0.90
TIGHT_LOAD = 0.85
TIGHT_BLOCKED = 0.05  # of the busy time
TIGHT_PREEMPTIONS = 0.01  # of the requests
TIGHT_LOST, OVERLOADED_LOST = 0.001, 0.01  # to load: queue full, patience, deadline
TIGHT_UNFIT, OVERLOADED_UNFIT = 0.01, 0.10  # to limits of context, or to failures
RANDOM_WALK = 2.0  # a balanced queue wanders by about sqrt(arrivals); beyond twice that it grows
LONG_DRAIN = 3.0  # times the p99 time from admission to finish
COMPUTE_BOUND = 1.5  # a full step this much longer than a half-full one gains nothing from a larger budget


class Losses(NamedTuple):
    """Requests lost, by what lost them."""

    queue_full: int
    impatience: int  # patience and deadline
    unfit: int  # too long, or more KV than a replica has
    failed: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """`headroom` is 1 - the load of what is fullest at the busiest; 0 when overloaded or the SLO is missed."""

    verdict: str
    reason: str
    binding: str
    headroom: float


class _Sign(NamedTuple):
    """One thing that speaks against the pool. `severity` is a position in VERDICTS."""

    severity: int
    text: str
    binding: str


class _Loads(NamedTuple):
    """How full each resource was, 0 to about 1, and how long requests were kept out for the lack of it."""

    slots: float
    kv: float
    compute: float
    blocked: dict[str, float]  # share of the busy time, by kv, seqs, tokens


def judge(
    plane: DataPlane,
    timeline: Timeline,
    losses: Losses,
    slo_attainment: float | None,
    *,
    capacity_rps: float,
    missed: str = "",
) -> Judgement:
    """The verdict on a finished run.

    `slo_attainment` is None without an SLO, `missed` says which limits were. `capacity_rps` is that of the whole pool.
    """
    loads = _loads(plane, timeline, capacity_rps)
    resource = _resource(plane, loads, losses)
    signs = [
        *_backlog(plane, resource),
        *_lost(losses, len(plane.requests), resource),
        *_slo(slo_attainment, losses, len(plane.requests), resource, missed),
        *_pressure(plane, loads),
    ]
    load = max(loads.slots, loads.kv, loads.compute, sum(loads.blocked.values()))
    if not signs:
        slots, kv, compute = percent(loads.slots), percent(loads.kv), percent(loads.compute)
        text = f"in use at most: {slots} of the slots, {kv} of the KV blocks, {compute} of the capacity"
        return Judgement("OK", text, "none", max(0.0, 1.0 - load))
    worst = max(sign.severity for sign in signs)
    chosen = [sign for sign in signs if sign.severity == worst]
    misses = slo_attainment is not None and slo_attainment < TIGHT_SLO
    headroom = 0.0 if misses or VERDICTS[worst] == "OVERLOADED" else max(0.0, 1.0 - load)
    return Judgement(VERDICTS[worst], "; ".join(sign.text for sign in chosen[:3]), chosen[0].binding, headroom)


# -- what is measured ------------------------------------------------------------------------------------


def _loads(plane: DataPlane, timeline: Timeline, capacity_rps: float) -> _Loads:
    replicas = plane.replicas
    span_s = span_of(plane.requests)
    busy, up = float(busy_seconds(replicas, span_s).sum()), float(up_seconds(replicas, span_s).sum())
    return _Loads(
        slots=timeline.busiest(timeline.running) / (plane.pool.replicas * _slots(plane)),
        kv=timeline.busiest(timeline.kv_share),
        compute=offered_rps(plane) * len(replicas) * span_s / (capacity_rps * up) if capacity_rps * up > 0.0 else 0.0,
        blocked={
            name: min(1.0, float(replicas[f"blocked_{name}_s"].sum()) / busy) if busy > 0.0 else 0.0
            for name in ("kv", "seqs", "tokens")
        },
    )


def offered_rps(plane: DataPlane) -> float:
    """Requests/s while they arrived; of a closed loop, what it got."""
    arrival = plane.requests["arrival"]
    window_s = float(arrival.max() - arrival.min())
    return (len(arrival) - 1) / window_s if window_s > 0.0 else 0.0


def _slots(plane: DataPlane) -> int:
    """Requests that a replica may run at a time."""
    engine = plane.pool.engine
    return engine.max_num_seqs if engine.max_outstanding < 0 else min(engine.max_num_seqs, engine.max_outstanding)


def _step_s(plane: DataPlane, tokens: int) -> float:
    """Seconds of a step of that many tokens, attention aside."""
    return float(plane.costs.costs["fixed_s"][0] + plane.costs.token_s[tokens])


def _resource(plane: DataPlane, loads: _Loads, losses: Losses) -> str:
    """Which resource keeps requests from being served faster."""
    blocked = max(loads.blocked, key=lambda name: loads.blocked[name])
    if sum(loads.blocked.values()) > TIGHT_BLOCKED:
        if blocked == "kv":
            return "kv_blocks"
        if blocked == "seqs":
            return "max_num_seqs"
        budget = plane.pool.engine.max_num_batched_tokens
        full, half = _step_s(plane, budget), _step_s(plane, max(1, budget // 2))
        return "compute" if full >= COMPUTE_BOUND * half else "max_num_batched_tokens"
    if losses.queue_full > TIGHT_LOST * len(plane.requests):
        return "queue_limit"
    fullest = max(loads.slots, loads.kv, loads.compute)
    if fullest > TIGHT_LOAD and fullest == loads.slots:
        return "max_num_seqs" if _slots(plane) == plane.pool.engine.max_num_seqs else "queue_limit"
    return "kv_blocks" if fullest > TIGHT_LOAD and fullest == loads.kv else "compute"


# -- signs -----------------------------------------------------------------------------------------------


def _backlog(plane: DataPlane, resource: str) -> list[_Sign]:
    """More requests waited late in the arrivals than early, or were left over after the last one."""
    requests = plane.requests
    arrival, finish = np.ascontiguousarray(requests["arrival"]), np.ascontiguousarray(requests["finish"])
    admitted = np.where(np.isnan(requests["scheduled"]), finish, requests["scheduled"])
    significant = RANDOM_WALK * math.sqrt(len(requests))
    begin, end = float(arrival.min()), float(arrival.max())
    third = (end - begin) / 3.0
    signs = []
    if third > 0.0:
        early = mean_number(arrival, admitted, since_s=begin, until_s=begin + third)
        late = mean_number(arrival, admitted, since_s=end - third, until_s=end)
        if late - early > max(significant, 0.01 * len(requests)):
            text = f"the backlog grew from {early:,.0f} to {late:,.0f} waiting requests while they arrived"
            signs.append(_Sign(2, text, resource))
    completed = requests["status"] == COMPLETED
    waiting = int(np.count_nonzero(admitted > end))
    if waiting > significant and completed.any():
        typical = float(np.percentile((finish - admitted)[completed], 99))
        drain = float(finish.max()) - end
        if drain > LONG_DRAIN * typical:
            text = f"{waiting:,} requests still waited at the last arrival and took {drain:,.1f} s to drain"
            signs.append(_Sign(2, text, resource))
    return signs


def _lost(losses: Losses, count: int, resource: str) -> list[_Sign]:
    signs = []
    rows = (
        (losses.queue_full, "turned away by a full queue", resource, TIGHT_LOST, OVERLOADED_LOST),
        (losses.impatience, "lost to patience or a deadline", resource, TIGHT_LOST, OVERLOADED_LOST),
        (losses.unfit, "too long for the deployment", "context_limit", TIGHT_UNFIT, OVERLOADED_UNFIT),
        (losses.failed, "lost to failures", "failures", TIGHT_UNFIT, OVERLOADED_UNFIT),
    )
    for lost, text, binding, tight, overloaded in sorted(rows, key=lambda row: -row[0]):  # the largest loss binds
        if lost > tight * count:
            severity = 2 if lost > overloaded * count else 1
            signs.append(_Sign(severity, f"{percent(lost / count)} of the requests were {text}", binding))
    return signs


def _slo(attainment: float | None, losses: Losses, count: int, resource: str, missed: str) -> list[_Sign]:
    if attainment is None or attainment >= TIGHT_SLO:
        return []
    most = 0.5 * (1.0 - attainment) * count  # of the misses
    binding = "context_limit" if losses.unfit > most else "failures" if losses.failed > most else resource
    severity = 2 if attainment < OVERLOADED_SLO else 1
    return [_Sign(severity, f"only {percent(attainment)} of the requests met the SLO{missed}", binding)]


def _pressure(plane: DataPlane, loads: _Loads) -> list[_Sign]:
    """Resources that are nearly used up, without anybody having been lost."""
    signs = []
    words = {"kv": "KV blocks", "seqs": "slots", "tokens": "the token budget"}
    if (share := sum(loads.blocked.values())) > TIGHT_BLOCKED:
        most = max(loads.blocked, key=lambda name: loads.blocked[name])
        binding = _resource(plane, loads, Losses(0, 0, 0, 0))
        text = f"requests had to wait, mostly for {words[most]}, in {percent(share)} of the busy time"
        signs.append(_Sign(1, text, binding))
    preemptions = int(plane.replicas["preemptions"].sum())
    if preemptions > TIGHT_PREEMPTIONS * len(plane.requests):
        signs.append(_Sign(1, f"{preemptions:,} preemptions for want of KV blocks", "kv_blocks"))
    slots = "max_num_seqs" if _slots(plane) == plane.pool.engine.max_num_seqs else "queue_limit"
    rows = (
        (loads.slots, "slots were {} full in the busiest stretch", slots),
        (loads.kv, "KV blocks were {} full in the busiest stretch", "kv_blocks"),
        (loads.compute, "the requests offered were {} of the capacity", "compute"),
    )
    signs += [_Sign(1, text.format(percent(load)), name) for load, text, name in rows if load > TIGHT_LOAD]
    return signs
