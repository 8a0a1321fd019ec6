"""Who of a fleet asks for what: the facts that a fleet's workload is drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.task import Task

__all__ = ["Demand", "activity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Tasks, and how often devices of each kind ask for them. `sim.fleet_facts.demand_of` makes it."""

    tasks: tuple[Task, ...]
    mix: NDArray[np.float64]
    """(groups, tasks): shares, every row sums to 1. Groups are the first kinds of `FleetSettings`."""
    activity_zipf: float = 0.0


def activity(devices: int, zipf: float) -> NDArray[np.float64]:
    """(devices,): how active each one is, the first ones most; kinds are shuffled, so that rank and kind are apart."""
    ranks = np.arange(1, devices + 1, dtype=np.float64)
    return ranks**-zipf if zipf else np.ones_like(ranks)
