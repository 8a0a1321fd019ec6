"""A run over time: how many requests were in the system, and what the replicas did, in equal bins.

The plane books steps in bins as it goes (a step counts in the bin in which it ends). What is said about
requests comes from their instants, exactly: the mean number in a bin is the integral of the number over it
by its width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.kernels.state import COMPLETED
from sim.results.answers import TIERS, Answers
from sim.results.on_time import on_in_bins
from sim.results.parts import Floats, Ints, parts
from sim.results.replicas import Bins, booked_in

if TYPE_CHECKING:
    from sim.plane import DataPlane

__all__ = ["Timeline", "area_in_bins", "bins_of", "build_timeline", "mean_number", "span_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Parallel arrays, one entry a bin; the last bin ends with the run. Means are over the width of the bin.

    A request is *waiting* until it is admitted and *running* from then to its end (preempted or not).
    """

    t_s: Floats
    width_s: Floats
    arrivals: Ints
    completions: Ints
    lost: Ints
    in_system: Floats
    running: Floats
    waiting: Floats
    busy_share: Floats
    kv_share: Floats
    steps: Ints
    output_tokens: Floats
    answered_by: dict[str, Ints] | None = None
    """With a fleet: arrivals by who answered them, for each of `sim.results.answers.TIERS`."""

    def busiest(self, values: Floats, share: float = 0.05) -> float:
        """The largest mean of `values` over a stretch of that share of the run."""
        return busiest(values, self.width_s, share)


def busiest(values: Floats, width_s: Floats, share: float = 0.05) -> float:
    """The largest mean of `values`, one a bin of these widths, over a stretch of that share of them."""
    stretch = max(1, round(len(values) * share))
    weighted = np.concatenate(([0.0], np.cumsum(values * width_s)))
    widths = np.concatenate(([0.0], np.cumsum(width_s)))
    return float(np.max((weighted[stretch:] - weighted[:-stretch]) / (widths[stretch:] - widths[:-stretch])))


def span_of(requests: NDArray[Any]) -> float:
    """Seconds from 0 to the last end of a request."""
    return float(np.max(requests["finish"]))


def mean_number(start_s: Floats, end_s: Floats, *, since_s: float, until_s: float) -> float:
    """The time-averaged number of the intervals that cover an instant of [since_s, until_s]."""
    inside = 0.0
    for part in parts(len(start_s)):
        inside += float(np.maximum(np.minimum(end_s[part], until_s) - np.maximum(start_s[part], since_s), 0.0).sum())
    return inside / (until_s - since_s)


def area_in_bins(start_s: Floats, end_s: Floats, *, width_s: float, bins: int, weight: Floats | None = None) -> Floats:
    """Seconds that the intervals [start_s, end_s) spend in each bin, times their weights, summed."""
    first, last = _bin_of(start_s, width_s, bins), _bin_of(end_s, width_s, bins)
    each = np.ones(len(start_s)) if weight is None else weight
    net = np.bincount(first, each, bins) - np.bincount(last, each, bins)
    at_left_edge = np.cumsum(net) - net
    right = (np.arange(bins) + 1) * width_s
    area = at_left_edge * width_s
    area += np.bincount(first, each * (right[first] - start_s), bins)
    area -= np.bincount(last, each * (right[last] - end_s), bins)
    return np.asarray(np.maximum(area, 0.0))


def bins_of(plane: DataPlane, span_s: float) -> Bins:
    """The bins that cover the run: as wide as the widest of the pools', or as the span needs."""
    return Bins.covering(span_s, [pool.bins for pool in plane.pools])


def build_timeline(plane: DataPlane, answers: Answers | None = None) -> Timeline:
    """The timeline of a finished run; `answers` are those of its fleet."""
    requests = plane.requests
    span_s = span_of(requests)
    bins = bins_of(plane, span_s)
    width, count = bins.width_s, bins.count
    widths = bins.widths_s
    waiting, running, tokens = (np.zeros(count) for _ in range(3))
    arrivals, completions, lost = (np.zeros(count, np.int64) for _ in range(3))
    tiers = np.zeros((len(TIERS), count), np.int64)
    for part in parts(len(requests)):
        r = requests[part]
        arrival, finish = np.ascontiguousarray(r["arrival"]), np.ascontiguousarray(r["finish"])
        admitted = np.where(np.isnan(r["scheduled"]), finish, r["scheduled"])
        completed = r["status"] == COMPLETED
        waiting += area_in_bins(arrival, admitted, width_s=width, bins=count)
        running += area_in_bins(admitted, finish, width_s=width, bins=count)
        arrivals += _count(arrival, width, count)
        completions += _count(finish[completed], width, count)
        lost += _count(finish[~completed], width, count)
        tokens += _tokens(r, np.flatnonzero(completed), width, count)
        if answers is not None:
            both = answers.tier[part].astype(np.int64) * count + _bin_of(arrival, width, count)
            tiers += np.bincount(both, minlength=tiers.size).reshape(tiers.shape)
    booked = [booked_in(pool, bins) for pool in plane.pools]
    on = [on_in_bins(plane, number, bins) for number in range(len(plane.pools))]
    replicas: Floats = np.sum(on, axis=0) if on else np.zeros(count)
    blocks = np.zeros(count)
    for each, pool in zip(on, plane.pools, strict=True):
        blocks += each * pool.pool.engine.kv_blocks
    return Timeline(
        t_s=bins.edges_s,
        width_s=widths,
        arrivals=arrivals,
        completions=completions,
        lost=lost,
        in_system=waiting / widths + running / widths,
        running=running / widths,
        waiting=waiting / widths,
        busy_share=_sum(booked, "busy_s", count) / (widths * np.maximum(1, replicas)),
        kv_share=_sum(booked, "kv_block_s", count) / (widths * np.maximum(1, blocks)),
        steps=_sum(booked, "steps", count).astype(np.int64),
        output_tokens=np.asarray(np.round(tokens, 6)),
        answered_by=None if answers is None else dict(zip(TIERS, tiers, strict=True)),
    )


def _sum(booked: list[NDArray[Any]], name: str, bins: int) -> Floats:
    return np.sum([pool[name] for pool in booked], axis=0) if booked else np.zeros(bins)


def _bin_of(instants: Floats, width: float, bins: int) -> Ints:
    return np.minimum((instants / width).astype(np.int64), bins - 1)


def _count(instants: Floats, width: float, bins: int) -> Ints:
    return np.bincount(_bin_of(instants, width, bins), minlength=bins)


def _tokens(requests: NDArray[Any], completed: Ints, width: float, bins: int) -> Floats:
    """Output tokens by bin: the first at its instant, the others spread evenly from there to the finish."""
    first, finish, output = (requests[name][completed] for name in ("first_token", "finish", "output"))
    seconds = finish - first
    rate = np.where(seconds > 0.0, (output - 1) / np.where(seconds > 0.0, seconds, 1.0), 0.0)
    at_once = np.where(seconds > 0.0, 1, output)
    spread = area_in_bins(first, finish, width_s=width, bins=bins, weight=rate)
    return np.asarray(spread + np.bincount(_bin_of(first, width, bins), at_once, bins))
