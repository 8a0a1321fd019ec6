"""Who answered each request of a fleet: its own device, a hub or edge pool, or a cloud pool.

The plane does not say so in one word; it follows from the action and from what became of its legs (rules G).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sim.kernels.fleet_state import (
    CASCADE,
    EDGE,
    HEDGE,
    JOB_DONE,
    NEAR,
    REACHED_CLOUD,
    REACHED_EDGE_POOL,
)
from sim.kernels.state import COMPLETED
from sim.results.parts import Codes, parts

if TYPE_CHECKING:
    from sim.plane import DataPlane

__all__ = ["AT_EDGE", "AT_FAR", "AT_NEAR", "NOWHERE", "TIERS", "Answers", "answers_of"]

TIERS = ("near", "edge", "far", "none")
"""The asking device; a hub or a pool of tier edge; a cloud pool; nobody."""
AT_NEAR, AT_EDGE, AT_FAR, NOWHERE = range(len(TIERS))


class Answers(NamedTuple):
    """Small codes, one a request; `tier` and `had` are positions in `TIERS`."""

    tier: Codes
    """Who answered it; `NOWHERE` for what was lost."""
    had: Codes
    """Who answered it or, lost, had it last; `NOWHERE` when no action was chosen."""
    pool: Codes
    """The pool that its last leg reached, -1 for none. Another may have answered: the device of a hedge."""


def answers_of(plane: DataPlane) -> Answers:
    """The answers of a finished run of a fleet."""
    count = len(plane.requests)
    answers = Answers(*(np.empty(count, np.int8) for _ in Answers._fields))
    at_edge = np.array([pool.record["is_edge"] != 0 for pool in plane.pools] + [True])  # the last: a hub
    for part in parts(count):
        trips = plane.trips[part]
        kind, pool = (np.ascontiguousarray(trips[name]) for name in ("kind", "pool"))
        escalated, hedged = trips["escalated"] != 0, kind == HEDGE
        given_up = (trips["tried"] >> np.maximum(pool, 0)) & 1 != 0  # by a pool without a replica (rule W6)
        beyond = np.where(at_edge[pool], AT_EDGE, AT_FAR)
        near = (kind == NEAR) | ((kind == CASCADE) & (~escalated | given_up)) | (hedged & (trips["job"] == JOB_DONE))
        had = np.where(kind < 0, NOWHERE, np.where(near, AT_NEAR, beyond))
        answers.had[part] = had
        answers.tier[part] = np.where(plane.requests["status"][part] == COMPLETED, had, NOWHERE)
        sent = (pool >= 0) & ((kind >= EDGE) & ((kind != CASCADE) | escalated))
        bit = np.where(at_edge[pool], REACHED_EDGE_POOL, REACHED_CLOUD)
        answers.pool[part] = np.where(sent & (trips["reached"] & bit != 0), pool, -1)
    return answers
