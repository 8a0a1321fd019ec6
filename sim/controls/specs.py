"""How a scenario describes what happens meanwhile: frozen records, checked on reading.

    controls:
      - {kind: replica-failures, mean_up_s: 600, mean_repair_s: 60}
      - {kind: autoscaler, pool: cloud, min: 2, max: 8}
      - {kind: brown-out, pool: cloud, at_s: 300, duration_s: 60, factor: 3}

`sim.controls.building` makes the controls themselves.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from profiles.record import Flag, Fraction, Text
from sim.workloads.fleet_spec import FlashCrowd, Spec

__all__ = [
    "AutoscalerSpec",
    "BrownOutSpec",
    "ControlSpec",
    "DeviceChurnSpec",
    "FlashCrowdSpec",
    "NetworkWeatherSpec",
    "OutageSpec",
    "PolicyRolloutSpec",
    "PriceChangeSpec",
    "PythonCode",
    "PythonControl",
    "ReplicaFailuresSpec",
]

_LONGEST_S = 1e9
_DAY_S = 86_400.0

At = Annotated[float, Field(strict=True, ge=0, le=_LONGEST_S, allow_inf_nan=False)]
Duration = Annotated[float, Field(strict=True, gt=0, le=_LONGEST_S, allow_inf_nan=False)]
# Faster than a tenth of a second would be a broken machine, not a failing one.
Slow = Annotated[float, Field(strict=True, ge=0.1, le=_LONGEST_S, allow_inf_nan=False)]
Every = Annotated[float, Field(strict=True, ge=1e-3, le=_LONGEST_S, allow_inf_nan=False)]
Factor = Annotated[float, Field(strict=True, ge=1e-3, le=1e6, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1, le=100_000)]


class PythonCode(Spec):
    """A function in the user's own file."""

    file: Text
    """Path of a Python file, relative to the scenario's folder."""
    function: Text
    """Name of a function in it."""


class _OfPool(Spec):
    pool: Text | None = None
    """Name of the pool; it may be left out where there is one."""


class ReplicaFailuresSpec(Spec):
    """Replicas fail and are repaired at random (exponential times)."""

    kind: Literal["replica-failures"] = "replica-failures"
    pool: Text | None = None
    """Name of the pool. Empty: all pools."""
    mean_up_s: Slow
    """Mean seconds between a repair and the next failure."""
    mean_repair_s: Slow
    """Mean seconds of a repair."""


class AutoscalerSpec(_OfPool):
    """A pool grows and shrinks with its load. It starts with the pool's `replicas`, which lie between min and max."""

    kind: Literal["autoscaler"] = "autoscaler"
    min: Count = 1
    """Fewest replicas."""
    max: Count
    """Most replicas."""
    target_load: Annotated[float, Field(strict=True, ge=1e-3, le=1e3, allow_inf_nan=False)] = 0.6
    """Outstanding requests per slot (max_num_seqs) of a replica that is up."""
    every_s: Every = 15.0
    """Seconds between two looks at the load."""
    provisioning_s: At = 60.0
    """Seconds from an order until the replica is up."""
    cooldown_s: At = 300.0
    """Seconds without a change before replicas are given back."""
    step_out: Count | None = None
    """Most replicas ordered at one look. Empty: no limit."""
    step_in: Count | None = 1
    """Most replicas given back at one look; null: no limit."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must not exceed max ({self.max})")
        return self


class OutageSpec(_OfPool):
    """All replicas of a pool fail at once, and are repaired later."""

    kind: Literal["outage"] = "outage"
    at_s: At
    """Seconds from the start of the run."""
    duration_s: Duration
    """Seconds until they are repaired."""


class BrownOutSpec(_OfPool):
    """A pool is slow for a while."""

    kind: Literal["brown-out"] = "brown-out"
    at_s: At
    """Seconds from the start of the run."""
    duration_s: Duration
    """How long it lasts."""
    factor: Factor
    """How many times as long every step takes."""


class NetworkWeatherSpec(Spec):
    """Networks of a region get worse: once (`at_s`, `duration_s`), or now and then (the means, exponential)."""

    kind: Literal["network-weather"] = "network-weather"
    region: Annotated[int, Field(strict=True, ge=0)] | None = None
    """Number of the region, from 0. Empty: all of them; now and then, each on its own."""
    at_s: At | None = None
    """Seconds from the start of the run."""
    duration_s: Duration | None = None
    """How long it lasts."""
    mean_between_s: Slow | None = None
    """Mean seconds from the end of a spell to the next one."""
    mean_duration_s: Slow | None = None
    """Mean seconds of a spell."""
    rtt_factor: Factor = 1.0
    """How many times as long round trips take."""
    rate_factor: Factor = 1.0
    """How many times as fast uplink and downlink are; below 1 is slower."""
    up: Flag = True
    """false: nobody there reaches a network."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        once = (self.at_s is not None, self.duration_s is not None)
        often = (self.mean_between_s is not None, self.mean_duration_s is not None)
        if (once, often) not in (((True, True), (False, False)), ((False, False), (True, True))):
            raise ValueError("give at_s and duration_s, or mean_between_s and mean_duration_s")
        if self.up and self.rtt_factor == self.rate_factor == 1.0:
            raise ValueError("this weather changes nothing: give rtt_factor, rate_factor or up: false")
        return self


class FlashCrowdSpec(FlashCrowd):
    """For a while, more sessions of a fleet's workload begin; the same as one of its `flash_crowds`."""

    kind: Literal["flash-crowd"] = "flash-crowd"


class PriceChangeSpec(_OfPool):
    """A pool costs more, or less, for a while or from then on."""

    kind: Literal["price-change"] = "price-change"
    at_s: At
    """Seconds from the start of the run."""
    factor: Factor
    """How many times as much."""
    duration_s: Duration | None = None
    """How long it lasts. Empty: to the end."""


class PolicyRolloutSpec(Spec):
    """A new policy reaches the devices of a fleet step by step."""

    kind: Literal["policy-rollout"] = "policy-rollout"
    policy: Text
    """A built-in policy's name, or a policy file, relative to the scenario's folder."""
    at_s: At
    """Seconds from the start of the run to the first step."""
    over_s: At = 0.0
    """Seconds from the first step to the last one. 0: all devices at once."""
    steps: Count = 10
    """Equal steps; each adds the same share of the devices."""

    @model_validator(mode="after")
    def _steps(self) -> Self:
        if self.steps == 1 and self.over_s > 0:
            raise ValueError("one step takes no time: give more steps, or over_s: 0")
        return self


class DeviceChurnSpec(Spec):
    """Devices of a fleet are replaced by new ones, at random."""

    kind: Literal["device-churn"] = "device-churn"
    share_per_day: Fraction
    """Share of the devices replaced in 24 hours."""
    every_s: Annotated[float, Field(strict=True, ge=1e-3, le=_DAY_S, allow_inf_nan=False)] = 60.0
    """Seconds between two rounds."""


class PythonControl(PythonCode):
    """A control of the user's own: a generator function over the world (see sim.world)."""

    kind: Literal["python"] = "python"


ControlSpec = Annotated[
    ReplicaFailuresSpec
    | AutoscalerSpec
    | OutageSpec
    | BrownOutSpec
    | NetworkWeatherSpec
    | FlashCrowdSpec
    | PriceChangeSpec
    | PolicyRolloutSpec
    | DeviceChurnSpec
    | PythonControl,
    Field(discriminator="kind"),
]
