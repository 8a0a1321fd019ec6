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

from sim.kernels.state import COMPLETED, END, IDLE

if TYPE_CHECKING:
    from sim.plane import DataPlane

__all__ = [
    "Timeline",
    "area_in_bins",
    "build_timeline",
    "busy_seconds",
    "mean_number",
    "span_of",
    "up_seconds",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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

    def busiest(self, values: Floats, share: float = 0.05) -> float:
        """The largest mean of `values` over a stretch of that share of the run."""
        stretch = max(1, round(len(values) * share))
        weighted = np.concatenate(([0.0], np.cumsum(values * self.width_s)))
        widths = np.concatenate(([0.0], np.cumsum(self.width_s)))
        return float(np.max((weighted[stretch:] - weighted[:-stretch]) / (widths[stretch:] - widths[:-stretch])))


def span_of(requests: NDArray[Any]) -> float:
    """Seconds from 0 to the last end of a request."""
    return float(np.max(requests["finish"]))


def up_seconds(replicas: NDArray[Any], span_s: float) -> Floats:
    """How long each replica was up between 0 and the end of the run."""
    since = np.where(replicas["up"] == 0, np.maximum(0.0, span_s - replicas["down_since"]), 0.0)
    return np.asarray(np.maximum(0.0, span_s - replicas["down_s"] - since))


def busy_seconds(replicas: NDArray[Any], span_s: float) -> Floats:
    """How long each replica executed steps in the run (rule A3).

    A step for abandoned requests only may outlast the run: it counts up to the last end of a request.
    """
    executing = np.where(replicas["event"] == END, np.maximum(0.0, span_s - replicas["start_s"]), 0.0)
    return np.asarray(replicas["busy_s"] + executing - _overtime(replicas, span_s))


def _overtime(replicas: NDArray[Any], span_s: float) -> Floats:
    """Busy time booked after the end of the run: an idle replica's `event_s` is the end of its last step."""
    ended = (replicas["event"] == IDLE) & (replicas["start_s"] >= replicas["down_since"])  # not cut by a failure
    return np.where(ended, np.maximum(0.0, replicas["event_s"] - span_s), 0.0)


def mean_number(start_s: Floats, end_s: Floats, *, since_s: float, until_s: float) -> float:
    """The time-averaged number of the intervals that cover an instant of [since_s, until_s]."""
    inside = np.minimum(end_s, until_s) - np.maximum(start_s, since_s)
    return float(np.maximum(inside, 0.0).sum() / (until_s - since_s))


def area_in_bins(start_s: Floats, end_s: Floats, *, width_s: float, bins: int, weight: Floats | None = None) -> Floats:
    """Seconds that the intervals [start_s, end_s) spend in each bin, times their weights, summed."""
    first = np.minimum((start_s / width_s).astype(np.int64), bins - 1)
    last = np.minimum((end_s / width_s).astype(np.int64), bins - 1)
    each = np.ones(len(start_s)) if weight is None else weight
    net = np.bincount(first, each, bins) - np.bincount(last, each, bins)
    at_left_edge = np.cumsum(net) - net
    right = (np.arange(bins) + 1) * width_s
    area = at_left_edge * width_s
    area += np.bincount(first, each * (right[first] - start_s), bins)
    area -= np.bincount(last, each * (right[last] - end_s), bins)
    return np.asarray(np.maximum(area, 0.0))


def build_timeline(plane: DataPlane) -> Timeline:
    """The timeline of a finished run."""
    requests = plane.requests
    span_s = span_of(requests)
    width, bins, booked = _bins_of(plane, span_s)
    edges: Floats = np.arange(bins, dtype=np.float64) * width
    widths = np.minimum(width, span_s - edges) if span_s > 0.0 else np.full(bins, width)
    arrival, finish = np.ascontiguousarray(requests["arrival"]), np.ascontiguousarray(requests["finish"])
    admitted = np.where(np.isnan(requests["scheduled"]), finish, requests["scheduled"])
    completed = requests["status"] == COMPLETED
    waiting = area_in_bins(arrival, admitted, width_s=width, bins=bins) / widths
    running = area_in_bins(admitted, finish, width_s=width, bins=bins) / widths
    replicas, blocks = plane.pool.replicas, plane.pool.engine.kv_blocks
    return Timeline(
        t_s=edges,
        width_s=widths,
        arrivals=_count(arrival, width, bins),
        completions=_count(finish[completed], width, bins),
        lost=_count(finish[~completed], width, bins),
        in_system=waiting + running,
        running=running,
        waiting=waiting,
        busy_share=booked["busy_s"] / (widths * replicas),
        kv_share=booked["kv_block_s"] / (widths * replicas * blocks),
        steps=booked["steps"].astype(np.int64),
        output_tokens=_tokens(requests, np.flatnonzero(completed), width, bins),
    )


def _count(instants: Floats, width: float, bins: int) -> Ints:
    return np.bincount(np.minimum((instants / width).astype(np.int64), bins - 1), minlength=bins)


def _tokens(requests: NDArray[Any], completed: Ints, width: float, bins: int) -> Floats:
    """Output tokens by bin: the first at its instant, the others spread evenly from there to the finish."""
    first, finish, output = (requests[name][completed] for name in ("first_token", "finish", "output"))
    seconds = finish - first
    rate = np.where(seconds > 0.0, (output - 1) / np.where(seconds > 0.0, seconds, 1.0), 0.0)
    spread = area_in_bins(first, finish, width_s=width, bins=bins, weight=rate)
    return np.asarray(np.round(spread + _count(first, width, bins), 6))


def _bins_of(plane: DataPlane, span_s: float) -> tuple[float, int, NDArray[Any]]:
    """Width and number of the bins that cover the run, and what the plane booked in them."""
    width, booked = plane.bins
    booked = booked.copy()
    while span_s > width * len(booked):  # the run went on after the last step
        half = len(booked) // 2
        for name in booked.dtype.names or ():
            booked[name][:half] = booked[name][0::2] + booked[name][1::2]
            booked[name][half:] = 0.0
        width *= 2.0
    bins = max(1, int(np.ceil(span_s / width)))
    for name in booked.dtype.names or ():
        booked[name][bins - 1] = booked[name][bins - 1 :].sum()  # a step that ends on the last edge
    booked = booked[:bins]
    booked["busy_s"][-1] = max(0.0, booked["busy_s"][-1] - float(_overtime(plane.replicas, span_s).sum()))
    _carry_back(booked, np.minimum(width, span_s - np.arange(bins) * width) * plane.pool.replicas)
    return width, bins, booked


def _carry_back(booked: NDArray[Any], room_s: Floats) -> None:
    """Time beyond what fits a bin was spent before it: the step was longer than its bin."""
    for b in range(len(booked) - 1, 0, -1):
        if (excess := booked["busy_s"][b] - room_s[b]) > 0.0:
            moved = excess / booked["busy_s"][b]
            for name in ("busy_s", "kv_block_s"):
                amount = booked[name][b] * moved
                booked[name][b] -= amount
                booked[name][b - 1] += amount
