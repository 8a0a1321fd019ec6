"""How large the features of φ are: one table for all who must put them on one scale.

    APART["e2e_s"]     # 10.0: seconds by which two actions of one request commonly differ
    LIMITS["e2e_s"]    # (0.0, 3600.0): what it can be at all

They are orders of magnitude in the shipped scenarios, written down, not fitted. Over 9,000 decisions in the six
examples with a fleet and one policy (`scene-table`, exploring 30 %) the median distance between the farthest two
actions of a request is within a factor of five of most of them: 0.27 of quality, 0.8 s of TTFT, 4 s to the end, 22 J,
0.7 logits of difficulty, 9 bits of prompt length, 0.8 of a battery. Four lie off: a request sends 3 kB, metered or not,
and at most 0.17 MB; load differs by 0.01 where nobody waits; heat by 0.04; the cloud costs 0.8 cents more than near.
Nothing is judged by these numbers: they set the size of the first steps of a search, and what a bandit learns from. The
limits are those of `policies.layout`, of chances and of shares.

Each scale has the unit of its feature in `policies.layout.FEATURES`. `noise` has none: it is drawn, nobody learns from
it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["APART", "LIMITS", "SCALES", "Scale"]


class Scale(NamedTuple):
    """How far apart two actions of one request commonly are in a feature, and between what it lies."""

    feature: str
    apart: float
    low: float = 0.0
    high: float = math.inf


SCALES: tuple[Scale, ...] = (
    Scale("near", 1.0, high=1.0),
    Scale("edge", 1.0, high=1.0),
    Scale("cloud", 1.0, high=1.0),
    Scale("cascade", 1.0, high=1.0),
    Scale("hedge", 1.0, high=1.0),
    Scale("quality", 0.3, high=1.0),
    Scale("ttft_s", 3.0, high=600.0),
    Scale("e2e_s", 10.0, high=3600.0),
    Scale("ttft_over_slo", 2.0, high=10.0),
    Scale("energy_j", 50.0),
    Scale("cost_usd", 0.001),
    Scale("egress_mb", 0.3),
    Scale("load", 0.5),
    Scale("near_difficulty", 1.5, low=-math.inf),
    Scale("near_log_prompt", 3.0),
    Scale("near_battery", 0.3, high=1.0),
    Scale("near_heat", 0.5, low=-math.inf),
    Scale("metered_mb", 0.1),
    Scale("scarce_energy_j", 20.0),
)
"""All features but noise, in the order of the layout."""

APART = {scale.feature: scale.apart for scale in SCALES}
"""By feature, in its unit."""

LIMITS = {scale.feature: (scale.low, scale.high) for scale in SCALES} | {"noise": (0.0, 1.0)}
"""(lowest, highest) by feature, in its unit: of every feature of the layout."""
