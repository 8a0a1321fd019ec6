"""The verdict on a run: does this pool carry this workload, what binds, and how much room is left?

Busy time says little about continuous batching: one lonely request keeps a GPU decoding all the time. So
the verdict looks at what really runs out (slots, KV blocks, the tokens a step may hold), at requests that
wait, and at requests that were lost. docs/metrics.md states the rules; the thresholds stand here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sim.results.pool_book import Losses, PoolBook
from sim.results.timeline import mean_number
from sim.results.words import percent

__all__ = ["BINDING", "VERDICTS", "Attainment", "Judgement", "judge", "judge_devices", "worst_of"]

VERDICTS = ("OK", "TIGHT", "OVERLOADED")
BINDING = (
    "compute",
    "kv_blocks",
    "max_num_seqs",
    "max_num_batched_tokens",
    "queue_limit",
    "context_limit",
    "failures",
    "devices",
    "battery",
    "no_target",
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


class Attainment(NamedTuple):
    """How many requests met the SLO: all limits (None without an SLO), and each limit by its name."""

    share: float | None
    by_limit: Mapping[str, float | None]

    def only(self, limit: str) -> Attainment:
        """One limit alone."""
        share = self.by_limit.get(limit)
        return Attainment(share, {limit: share} if limit in self.by_limit else {})

    @property
    def missed(self) -> str:
        """Which limits were missed, where there is more than one."""
        if len(self.by_limit) < 2:
            return ""
        parts = [f"{name.removesuffix('_s').upper()} {percent(share)}" for name, share in self.by_limit.items()]
        return f" ({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class Judgement:
    """`headroom` is 1 - the load of what is fullest at the busiest; 0 when overloaded or the SLO is missed.

    None where nobody knows a load: of devices.
    """

    verdict: str
    reason: str
    binding: str
    headroom: float | None


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


def judge(book: PoolBook, slo: Attainment, *, capacity_rps: float) -> Judgement:
    """The verdict on a pool, by the requests that it got. `capacity_rps` is that of the replicas that were up."""
    if book.requests == 0:
        return Judgement("OK", "it got no request", "none", 1.0)
    loads = _loads(book, capacity_rps)
    resource = _resource(book, loads)
    signs = [
        *_backlog(book, resource),
        *_lost(book.lost, book.requests, resource),
        *_slo(slo, book.lost, book.requests, resource),
        *_pressure(book, loads),
    ]
    load = max(loads.slots, loads.kv, loads.compute, sum(loads.blocked.values()))
    if not signs:
        slots, kv, compute = percent(loads.slots), percent(loads.kv), percent(loads.compute)
        text = f"in use at most: {slots} of the slots, {kv} of the KV blocks, {compute} of the capacity"
        return Judgement("OK", text, "none", max(0.0, 1.0 - load))
    return _chosen(signs, 0.0 if slo.share is not None and slo.share < TIGHT_SLO else max(0.0, 1.0 - load))


def judge_devices(lost: Losses, requests: int, slo: Attainment) -> Judgement:
    """The verdict on a fleet as its users see it: what was lost outside of pools, and which limits all requests met."""
    signs = [*_lost(lost, requests, "devices"), *_slo(slo, lost, requests, "devices")]
    if not signs:
        return Judgement("OK", "users got what they should", "none", None)
    return _chosen(signs, None)


def worst_of(parts: Mapping[str, Judgement]) -> Judgement:
    """The verdict on a whole run from those on its parts, which the reason names; headroom is the least."""
    worst = max(VERDICTS.index(one.verdict) for one in parts.values())
    chosen = {name: one for name, one in parts.items() if VERDICTS.index(one.verdict) == worst}
    known = [one.headroom for one in parts.values() if one.headroom is not None]
    headroom = min(known) if known else None
    if VERDICTS[worst] == "OVERLOADED" and known:
        headroom = 0.0
    reason = "; ".join(f"{name}: {one.reason}" for name, one in chosen.items())
    return Judgement(VERDICTS[worst], reason, next(iter(chosen.values())).binding, headroom)


def _chosen(signs: list[_Sign], headroom: float | None) -> Judgement:
    worst = max(sign.severity for sign in signs)
    chosen = [sign for sign in signs if sign.severity == worst]
    if VERDICTS[worst] == "OVERLOADED" and headroom is not None:
        headroom = 0.0
    return Judgement(VERDICTS[worst], "; ".join(sign.text for sign in chosen[:3]), chosen[0].binding, headroom)


# -- what is measured ------------------------------------------------------------------------------------


def _loads(book: PoolBook, capacity_rps: float) -> _Loads:
    replicas = book.pool.replicas
    busy = book.busy_s
    return _Loads(
        slots=book.busiest_running / _slots(book),
        kv=book.busiest_kv,
        compute=book.offered_rps / capacity_rps if capacity_rps > 0.0 else 0.0,
        blocked={
            name: min(1.0, float(replicas[f"blocked_{name}_s"].sum()) / busy) if busy > 0.0 else 0.0
            for name in ("kv", "seqs", "tokens")
        },
    )


def _slots(book: PoolBook) -> int:
    """Requests that a replica may run at a time."""
    engine = book.pool.pool.engine
    return engine.max_num_seqs if engine.max_outstanding < 0 else min(engine.max_num_seqs, engine.max_outstanding)


def _slots_word(book: PoolBook) -> str:
    """Which limit the slots are due to."""
    return "max_num_seqs" if _slots(book) == book.pool.pool.engine.max_num_seqs else "queue_limit"


def _step_s(book: PoolBook, tokens: int) -> float:
    """Seconds of a step of that many tokens, attention aside."""
    costs = book.pool.costs
    return float(costs.costs["fixed_s"][0] + costs.token_s[tokens])


def _resource(book: PoolBook, loads: _Loads) -> str:
    """Which resource keeps requests from being served faster."""
    blocked = max(loads.blocked, key=lambda name: loads.blocked[name])
    if sum(loads.blocked.values()) > TIGHT_BLOCKED:
        if blocked == "kv":
            return "kv_blocks"
        if blocked == "seqs":
            return "max_num_seqs"
        budget = book.pool.pool.engine.max_num_batched_tokens
        full, half = _step_s(book, budget), _step_s(book, max(1, budget // 2))
        return "compute" if full >= COMPUTE_BOUND * half else "max_num_batched_tokens"
    if book.lost.queue_full > TIGHT_LOST * book.requests:
        return "queue_limit"
    fullest = max(loads.slots, loads.kv, loads.compute)
    if fullest > TIGHT_LOAD and fullest == loads.slots:
        return _slots_word(book)
    return "kv_blocks" if fullest > TIGHT_LOAD and fullest == loads.kv else "compute"


# -- signs -----------------------------------------------------------------------------------------------


def _backlog(book: PoolBook, resource: str) -> list[_Sign]:
    """More requests waited late in the arrivals than early, or were left over after the last one."""
    arrival, admitted, finish = book.arrival_s, book.admitted_s, book.end_s
    significant = RANDOM_WALK * math.sqrt(book.requests)
    begin, end = float(arrival.min()), float(arrival.max())
    third = (end - begin) / 3.0
    signs = []
    if third > 0.0:
        early = mean_number(arrival, admitted, since_s=begin, until_s=begin + third)
        late = mean_number(arrival, admitted, since_s=end - third, until_s=end)
        if late - early > max(significant, 0.01 * book.requests):
            text = f"the backlog grew from {early:,.0f} to {late:,.0f} waiting requests while they arrived"
            signs.append(_Sign(2, text, resource))
    waiting = int(np.count_nonzero(admitted > end))
    if waiting > significant and book.completed.any():
        typical = float(np.percentile((finish - admitted)[book.completed], 99))
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
        (losses.no_target, "without any target", "no_target", TIGHT_UNFIT, OVERLOADED_UNFIT),
        (losses.device_off, "asked of an empty battery", "battery", TIGHT_UNFIT, OVERLOADED_UNFIT),
    )
    for lost, text, binding, tight, overloaded in sorted(rows, key=lambda row: -row[0]):  # the largest loss binds
        if lost > tight * count:
            severity = 2 if lost > overloaded * count else 1
            signs.append(_Sign(severity, f"{percent(lost / count)} of the requests were {text}", binding))
    return signs


def _slo(slo: Attainment, losses: Losses, count: int, resource: str) -> list[_Sign]:
    if slo.share is None or slo.share >= TIGHT_SLO:
        return []
    most = 0.5 * (1.0 - slo.share) * count  # of the misses
    rows = (("context_limit", losses.unfit), ("failures", losses.failed), ("no_target", losses.no_target),
            ("battery", losses.device_off))  # fmt: skip
    binding = next((name for name, lost in rows if lost > most), resource)
    severity = 2 if slo.share < OVERLOADED_SLO else 1
    return [_Sign(severity, f"only {percent(slo.share)} of the requests met the SLO{slo.missed}", binding)]


def _pressure(book: PoolBook, loads: _Loads) -> list[_Sign]:
    """Resources that are nearly used up, without anybody having been lost."""
    signs = []
    words = {"kv": "KV blocks", "seqs": "slots", "tokens": "the token budget"}
    if (share := sum(loads.blocked.values())) > TIGHT_BLOCKED:
        most = max(loads.blocked, key=lambda name: loads.blocked[name])
        binding = _resource(replace(book, lost=Losses()), loads)
        text = f"requests had to wait, mostly for {words[most]}, in {percent(share)} of the busy time"
        signs.append(_Sign(1, text, binding))
    preemptions = int(book.pool.replicas["preemptions"].sum())
    if preemptions > TIGHT_PREEMPTIONS * book.requests:
        signs.append(_Sign(1, f"{preemptions:,} preemptions for want of KV blocks", "kv_blocks"))
    rows = (
        (loads.slots, "slots were {} full in the busiest stretch", _slots_word(book)),
        (loads.kv, "KV blocks were {} full in the busiest stretch", "kv_blocks"),
        (loads.compute, "the requests offered were {} of the capacity", "compute"),
    )
    signs += [_Sign(1, text.format(percent(load)), name) for load, text, name in rows if load > TIGHT_LOAD]
    return signs
