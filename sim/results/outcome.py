"""What a run hands to its results: the plane at the end of the run, and what is known about it.

    Outcome                   scenario, seed, plane, pools, SLO, warm-up and wall times
    DeploymentFacts           what a replica is made of, what it costs and draws, how far to trust it
    Slo                       the limits a request should meet
    Outage                    when a pool had fewer replicas than it should

`sim.results.metrics` turns an Outcome into figures, `sim.results.files` into files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the plane imports Numba; results of a finished run need not
    from sim.plane import DataPlane

__all__ = ["DeploymentFacts", "Outage", "Outcome", "Slo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Limits in seconds, None for no limit. A request meets the SLO when it meets all that are given."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None

    @property
    def given(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in (self.ttft_s, self.tpot_s, self.e2e_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFacts:
    """The facts about one deployment that results need beyond the engine's settings."""

    name: str
    accelerators_per_replica: int
    price_usd_per_hour: float
    """Of one accelerator."""
    idle_w: float
    """Watts of one accelerator that executes no step."""
    pue: float
    """Power usage effectiveness: watts drawn by the building per watt of its machines, at least 1."""
    confidence: str
    """The weakest confidence among the facts: measured, fitted, interpolated or assumed."""
    assumed: tuple[str, ...] = ()
    """Names of the facts that are stated guesses."""

    @property
    def replica_usd_per_s(self) -> float:
        """What a replica costs a second."""
        return self.accelerators_per_replica * self.price_usd_per_hour / 3600.0


@dataclass(frozen=True, slots=True)
class Outage:
    """A replica of a pool was down from `since_s` to `until_s` (inf: to the end)."""

    pool: str
    since_s: float
    until_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A finished run: every request in `plane` is terminal.

    `scenario` is the resolved scenario (plain dicts, lists, strings and numbers, so that it can be written as JSON or
    YAML). `pools` are the facts of the plane's pools, in their order; `policy` is the name of what routes the requests
    of devices, None without a fleet. Requests that arrive before `warmup_s` do not count in latencies, goodput and SLO
    attainment. `outages` are shaded in the report. `wall_s` is the whole run as a clock on the wall saw it, `engine_s`
    the part spent in the event loop.
    """

    scenario: dict[str, Any]
    seed: int
    plane: DataPlane
    pools: tuple[DeploymentFacts, ...]
    slo: Slo
    policy: str | None = None
    outages: tuple[Outage, ...] = ()
    warmup_s: float = 0.0
    wall_s: float = 0.0
    engine_s: float = 0.0
