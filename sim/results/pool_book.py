"""One pool of a finished run and the requests that it got: what its figures and its verdict rest on.

Without a fleet these are all requests, from their arrival on. With one, a request belongs to the pool that its last leg
reached, from the instant at which the leg was sent (when it landed is not kept): the way there counts as waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.kernels.state import COMPLETED, REASONS
from sim.results.answers import AT_NEAR, Answers
from sim.results.on_time import on_in_bins
from sim.results.parts import Bools, Floats, parts
from sim.results.replicas import Bins, booked_in, busy_seconds, up_seconds
from sim.results.timeline import area_in_bins, busiest

if TYPE_CHECKING:
    from sim.plane import DataPlane
    from sim.pool_state import PoolState

__all__ = ["Losses", "MeanRequest", "PoolBook", "losses_of", "pool_book"]


@dataclass(frozen=True, slots=True)
class MeanRequest:
    """What an admitted request asked for on average, in tokens; `fresh` is the prompt without what was cached."""

    prompt: float
    fresh: float
    output: float


@dataclass(frozen=True, slots=True)
class Losses:
    """Requests lost, by what lost them."""

    queue_full: int = 0
    impatience: int = 0
    """Patience and deadline."""
    unfit: int = 0
    """Too long, or more KV than a replica has."""
    failed: int = 0
    no_target: int = 0
    device_off: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolBook:
    """A pool and its requests: parallel arrays, in order of id."""

    pool: PoolState
    span_s: float
    requests: int
    arrival_s: Floats
    admitted_s: Floats
    """The end of a request that never was."""
    end_s: Floats
    completed: Bools
    """Answered by this pool."""
    lost: Losses
    ended: dict[str, int]
    """Requests by state, and `elsewhere`: answered by the device."""
    mean: MeanRequest | None
    """None when none was admitted."""
    cached_tokens: int
    prompt_tokens: int
    """Of admitted requests, as `cached_tokens`."""
    output_tokens: int
    busiest_running: float
    """Requests that ran by replica that was on, in the busiest stretch of the run."""
    busiest_kv: float
    """Share of the KV blocks of these replicas in use, at its highest."""

    @property
    def offered_rps(self) -> float:
        """Requests/s while they came; of a closed loop, what it got."""
        return rate_rps(self.arrival_s)

    @property
    def busy_s(self) -> float:
        """Seconds in which replicas executed steps."""
        return float(busy_seconds(self.pool.replicas, self.span_s).sum())

    @property
    def up_s(self) -> float:
        """Seconds in which replicas were up."""
        return float(up_seconds(self.pool.replicas, self.span_s).sum())

    @property
    def mean_up(self) -> float:
        """Replicas that were up, on average."""
        replicas = len(self.pool.replicas)
        mean = self.up_s / self.span_s if self.span_s > 0.0 else float(replicas)
        return float(replicas) if abs(mean - replicas) < 1e-9 * replicas else mean


def rate_rps(arrival_s: Floats) -> float:
    """Arrivals by the time over which they came; 0 when they came at once."""
    if len(arrival_s) == 0:
        return 0.0
    window_s = float(arrival_s.max() - arrival_s.min())
    return (len(arrival_s) - 1) / window_s if window_s > 0.0 else 0.0


_STATES = ("completed", "rejected", "abandoned", "failed")


def losses_of(reasons: Any, *, failed: int | None = None) -> Losses:
    """Losses from the number of requests by reason; `failed` in place of those that count as failures."""

    def of(*names: str) -> int:
        return sum(int(reasons[REASONS.index(name)]) for name in names)

    return Losses(
        queue_full=of("queue_full"),
        impatience=of("patience", "deadline"),
        unfit=of("too_long", "exceeds_kv"),
        failed=of("no_replica", "replica_lost", "device_lost") if failed is None else failed,
        no_target=of("no_target"),
        device_off=of("device_off"),
    )


def pool_book(plane: DataPlane, number: int, bins: Bins, answers: Answers | None = None) -> PoolBook:
    """The book of one pool; `answers` are those of the fleet."""
    mine = np.ones(len(plane.requests), np.bool_) if answers is None else answers.pool == number
    count = int(np.count_nonzero(mine))
    arrival, admitted, end = (np.empty(count) for _ in range(3))
    completed = np.empty(count, np.bool_)
    reasons = np.zeros(len(REASONS), np.int64)
    states = np.zeros(len(_STATES), np.int64)
    sums = dict.fromkeys(("admitted", "prompt", "cached", "output", "answered"), 0)
    running = np.zeros(bins.count)
    at = elsewhere = 0
    for part in parts(len(mine)):
        chosen = np.flatnonzero(mine[part])
        if not len(chosen):
            continue
        r = plane.requests[part]
        here = slice(at, at + len(chosen))
        at += len(chosen)
        status = r["status"][chosen]
        done = status == COMPLETED
        scheduled = r["scheduled"][chosen]
        end[here] = r["finish"][chosen]
        if answers is None:
            arrival[here] = r["arrival"][chosen]
        else:
            arrival[here] = plane.trips["leg_start_s"][part][chosen]
            near = done & (answers.tier[part][chosen] == AT_NEAR)
            done &= ~near
            scheduled[near] = np.nan  # when the device began; what the pool did was given up at the first token
            end[here] = np.where(near, np.minimum(end[here], r["first_token"][chosen]), end[here])
            elsewhere += int(np.count_nonzero(near))
        known = ~np.isnan(scheduled)
        admitted[here] = np.where(known, scheduled, end[here])
        completed[here] = done
        reasons += np.bincount(r["reason"][chosen], minlength=len(REASONS))
        states += np.bincount(status - COMPLETED, minlength=len(_STATES))
        for name, field, which in (
            ("prompt", "prompt", known),
            ("cached", "cached", known),
            ("output", "output", known),
            ("answered", "output", done),
        ):
            sums[name] += int(r[field][chosen][which].sum(dtype=np.int64))
        sums["admitted"] += int(np.count_nonzero(known))
        running += area_in_bins(admitted[here], end[here], width_s=bins.width_s, bins=bins.count)
    states[0] -= elsewhere
    pool, widths = plane.pools[number], bins.widths_s
    on = np.maximum(1.0, on_in_bins(plane, number, bins))
    kv = booked_in(pool, bins)["kv_block_s"] / (widths * on * pool.pool.engine.kv_blocks)
    return PoolBook(
        pool=pool,
        span_s=bins.span_s,
        requests=count,
        arrival_s=arrival,
        admitted_s=admitted,
        end_s=end,
        completed=completed,
        lost=losses_of(reasons),
        ended=dict(zip(_STATES, map(int, states), strict=True)) | {"elsewhere": elsewhere},
        mean=_mean(sums) if sums["admitted"] else None,
        cached_tokens=sums["cached"],
        prompt_tokens=sums["prompt"],
        output_tokens=sums["answered"],
        busiest_running=busiest(running / (widths * on), widths),
        busiest_kv=busiest(kv, widths),
    )


def _mean(sums: dict[str, int]) -> MeanRequest:
    n = sums["admitted"]
    return MeanRequest(sums["prompt"] / n, max(1.0, (sums["prompt"] - sums["cached"]) / n), sums["output"] / n)
