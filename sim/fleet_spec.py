"""How a scenario describes its fleet: frozen records, checked on reading.

    fleet:
      devices: 100000
      groups:
        phones:
          device: snapdragon-8-elite-phone
          share: 0.6
          near: {model: milm2-4b, precision: int4, technique: bita}
          networks: {wifi-home: 0.6, lte: 0.35, offline: 0.05}
          hub_share: 0.3
        watches: {device: watch, share: 0.4, networks: {wifi-home: 1, lte: 1}}
      hubs: {device: home-hub, near: {model: qwen3-8b, precision: int4}}

Names are those of the catalogue; `sim.resolve_fleet` turns them into facts. What the fleet is asked to do stands in
the scenario's `workload` (`sim.workloads.fleet_spec`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from profiles.record import Dtype, Fraction, NonNegative, Positive, Text
from sim.measured_auc import CASCADE_AUC
from sim.workloads.fleet_spec import NoFlag, Spec

__all__ = ["CascadeSpec", "FleetSpec", "GroupSpec", "HubsSpec", "Modality", "NearSpec"]

MAX_DEVICES = 20_000_000
MAX_REGIONS = 127
SHARE_TOLERANCE = 1e-6

Modality = Literal["text", "image", "audio"]
Hour = Annotated[float, Field(strict=True, ge=0, lt=24, allow_inf_nan=False)]
Weight = Annotated[float, Field(strict=True, gt=0, le=1e9, allow_inf_nan=False)]
WeightOrZero = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]
Logits = Annotated[float, Field(strict=True, ge=-20, le=20, allow_inf_nan=False)]


def _with_text(modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
    if "text" not in modalities:
        raise ValueError("modalities must hold text: every request has some")
    return modalities


Modalities = Annotated[tuple[Modality, ...], AfterValidator(_with_text)]


class NearSpec(Spec):
    """A model that a device or a hub runs itself."""

    model: Text
    """Name or alias of a model."""
    precision: Dtype | None = None
    """Precision of the layers. Empty: the first one that the device's engine runs."""
    engine: Text | None = None
    """One of the device's engines. Empty: its default."""
    technique: Text | None = None
    """Speculative decoding, by the name of a technique. Empty: none."""
    modalities: Modalities | None = None
    """What it can take. Empty: text and audio, and images where the model has a vision encoder."""
    ability: dict[str, Logits] = Field(default_factory=dict)
    """Task, or `default`, to ability in logits, in place of what its size and precision suggest."""


class GroupSpec(Spec):
    """Devices of one kind, with one model and one habit of being connected."""

    device: Text
    """Name or alias of a device."""
    share: Fraction
    """Of the fleet's devices; the shares of all groups sum to 1."""
    near: NearSpec | None = None
    """The model that it runs itself; nothing (null) where it runs none."""
    networks: Annotated[dict[str, Weight], Field(min_length=1)]
    """Network to weight: how often it is connected so. Any scale."""
    network_period_s: Positive = 1800.0
    """Seconds for which a device stays in a network."""
    hub_share: Fraction = 0.0
    """Share of these devices whose household has a hub."""
    screen_share: Fraction = 0.15
    """Share of the day in which the device is in use: it draws idle_w then, and standby_w otherwise."""
    pressure_per_hour: NonNegative = 0.5
    """How often per hour other applications push an unused model out of memory."""
    battery_at_start: tuple[Fraction, Fraction] = (0.3, 1.0)
    """Between these shares the battery is charged at the start, all alike."""
    tasks: dict[str, WeightOrZero] | None = None
    """Task to weight, in place of the tasks' own mix for this form of device."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.battery_at_start[0] > self.battery_at_start[1]:
            raise ValueError(f"battery_at_start goes from the lower to the higher (got {self.battery_at_start})")
        if self.tasks is not None and not any(self.tasks.values()):
            raise ValueError("tasks must give some task a weight above 0")
        return self


class HubsSpec(Spec):
    """The boxes that households share."""

    device: Text
    """Name or alias of a device of tier edge."""
    near: NearSpec
    """The model that it runs."""
    household: Annotated[int, Field(ge=1, le=1_000_000), NoFlag] = 3
    """Devices that share one."""
    pressure_per_hour: NonNegative = 0.0
    """How often per hour something else pushes an unused model out of its memory."""


class CascadeSpec(Spec):
    """How an answer of a device's own is judged before anybody far is asked."""

    auc: Annotated[float, Field(strict=True, ge=0.5, le=0.9999, allow_inf_nan=False)] = CASCADE_AUC.auc
    """How well confidence tells right answers from wrong ones: area under the ROC curve, 0.5 is chance."""
    threshold: Annotated[float, Field(strict=True, allow_inf_nan=False)] = 0.0
    """Confidence from which the answer is released; wrong ones have mean 0 and deviation 1."""
    check_s: Annotated[float, Field(strict=True, ge=0, le=3600, allow_inf_nan=False)] = 0.05
    """Seconds that judging takes."""


class FleetSpec(Spec):
    """Devices in groups, and what they share."""

    devices: Annotated[int, Field(ge=1, le=MAX_DEVICES), NoFlag]
    """All devices; hubs come on top."""
    tasks: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """What is asked of the fleet, by name. Empty: every task of the catalogue."""
    groups: Annotated[dict[str, GroupSpec], Field(min_length=1)]
    """Group name to group."""
    hubs: HubsSpec | None = None
    """Needed where a group has a `hub_share`."""
    start_hour: Hour = 0.0
    """Local time, the same everywhere, when the run begins."""
    activity_zipf: Annotated[float, Field(strict=True, ge=0, le=5, allow_inf_nan=False)] = 0.4
    """Exponent z: the n-th most active device asks n^-z times as often as the first. 0: all alike."""
    estimate_auc: Annotated[float, Field(strict=True, ge=0.5, le=1, allow_inf_nan=False)] | None = None
    """How well a policy's estimate tells requests that a device would answer right from others of their task: area
    under the ROC curve, 0.5 is chance. Empty, with no `estimate_spread` either: as a fitted text model was measured."""
    estimate_spread: NonNegative | None = None
    """In place of that: standard deviation, in logits, of the difficulty that a policy sees around the true one."""
    regions: Annotated[int, Field(ge=1, le=MAX_REGIONS), NoFlag] = 1
    """Weather is the same within a region; devices are spread evenly."""
    cascade: CascadeSpec = CascadeSpec()
    """How near answers are judged in a cascade."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = sum(group.share for group in self.groups.values())
        if abs(total - 1.0) > SHARE_TOLERANCE:
            raise ValueError(f"the shares of the groups must sum to 1 (they sum to {total:.9g})")
        for name, group in self.groups.items():
            if group.hub_share > 0 and self.hubs is None:
                raise ValueError(f"groups.{name}.hub_share is {group.hub_share:g}, but the fleet has no hubs: add hubs")
        if self.estimate_auc is not None and self.estimate_spread is not None:
            raise ValueError("estimate_auc and estimate_spread say the same thing twice: give one of them")
        if self.tasks is not None and len(set(self.tasks)) < len(self.tasks):
            raise ValueError("tasks must name each task once")
        return self
