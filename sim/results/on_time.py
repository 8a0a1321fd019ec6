"""When replicas were on: from what controls did to them. Shares are of what was on, not of all that could have been."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sim.results.parts import Floats

if TYPE_CHECKING:
    from sim.plane import DataPlane
    from sim.results.replicas import Bins

__all__ = ["on_in_bins"]

_FLAGS = {
    "fail": ("failed", True),
    "repair": ("failed", False),
    "retire": ("retired", True),
    "start": ("retired", False),
}


def on_in_bins(plane: DataPlane, number: int, bins: Bins) -> Floats:
    """(bins,): replicas of a pool that were neither failed nor retired, on average over each bin."""
    pool = plane.pools[number].pool
    started = pool.replicas if pool.started < 0 else min(pool.started, pool.replicas)
    failed, retired = [False] * pool.replicas, [i >= started for i in range(pool.replicas)]
    steps = [(0.0, started)]
    on = started
    for at_s, what, where in plane.log:
        if what not in _FLAGS or where[0] != number:
            continue
        flag, value = _FLAGS[what]
        i = where[1]
        before = not (failed[i] or retired[i])
        (failed if flag == "failed" else retired)[i] = value
        on += (not (failed[i] or retired[i])) - before
        steps.append((at_s, on))
    at, count = np.array([s for s, _ in steps]), np.array([float(n) for _, n in steps])
    edges = np.append(bins.edges_s, bins.edges_s[-1] + bins.widths_s[-1])
    area = np.concatenate(([0.0], np.cumsum(count[:-1] * np.diff(at))))
    last = np.searchsorted(at, edges, side="right") - 1
    until = area[last] + count[last] * (edges - at[last])
    return np.asarray(np.diff(until) / np.maximum(bins.widths_s, 1e-300))
