"""What the replicas of a pool did: when they were up, how long they executed, and what was booked over time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.kernels.state import END, IDLE
from sim.results.parts import Floats

if TYPE_CHECKING:
    from sim.pool_state import PoolState

__all__ = ["Bins", "booked_in", "busy_seconds", "up_seconds"]

_MOST_BINS, _NARROWEST_S = 512, 1 / 64  # where there is no pool that books anything


def up_seconds(replicas: NDArray[Any], span_s: float) -> Floats:
    """How long each replica was up between 0 and the end of the run."""
    since = np.where(replicas["off"] != 0, np.maximum(0.0, span_s - replicas["down_since"]), 0.0)
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


@dataclass(frozen=True, slots=True)
class Bins:
    """Equal bins from 0 to the end of the run; the last one ends with it."""

    width_s: float
    count: int
    span_s: float

    @classmethod
    def covering(cls, span_s: float, booked: Iterable[tuple[float, NDArray[Any]]]) -> Bins:
        """Bins no narrower than those of the pools, and wide enough for the run."""
        found = [(width, len(bins)) for width, bins in booked] or [(_NARROWEST_S, _MOST_BINS)]
        width, most = max(width for width, _ in found), found[0][1]
        while span_s > width * most:  # the run went on after the last step
            width *= 2.0
        return cls(width, max(1, int(np.ceil(span_s / width))), span_s)

    @property
    def edges_s(self) -> Floats:
        """Left edge of each bin."""
        return np.arange(self.count, dtype=np.float64) * self.width_s

    @property
    def widths_s(self) -> Floats:
        """Width of each bin."""
        if self.span_s <= 0.0:
            return np.full(self.count, self.width_s)
        return np.asarray(np.minimum(self.width_s, self.span_s - self.edges_s))


def booked_in(pool: PoolState, bins: Bins) -> NDArray[Any]:
    """What a pool booked (`sim.kernels.state.BIN`), in these bins."""
    width, booked = pool.bins
    booked = booked.copy()
    while width < bins.width_s:
        half = len(booked) // 2
        for name in booked.dtype.names or ():
            booked[name][:half] = booked[name][0::2] + booked[name][1::2]
            booked[name][half:] = 0.0
        width *= 2.0
    last = bins.count - 1
    for name in booked.dtype.names or ():
        booked[name][last] = booked[name][last:].sum()  # a step that ends on the last edge
    booked = booked[: bins.count]
    booked["busy_s"][-1] = max(0.0, booked["busy_s"][-1] - float(_overtime(pool.replicas, bins.span_s).sum()))
    _carry_back(booked, np.minimum(width, bins.span_s - bins.edges_s) * pool.pool.replicas)
    return booked


def _carry_back(booked: NDArray[Any], room_s: Floats) -> None:
    """Time beyond what fits a bin was spent before it: the step was longer than its bin."""
    for b in range(len(booked) - 1, 0, -1):
        if (excess := booked["busy_s"][b] - room_s[b]) > 0.0:
            moved = excess / booked["busy_s"][b]
            for name in ("busy_s", "kv_block_s"):
                amount = booked[name][b] * moved
                booked[name][b] -= amount
                booked[name][b - 1] += amount
