"""What a fleet is to the engine: plain settings, already validated. Rules: docs/background/fleet-rules.md.

`sim.resolve_fleet` makes them from a scenario; the data plane and the oracle start here. A *row* is a device or a hub:
rows 0 .. devices - 1 are devices, the rest are hubs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MODALITIES",
    "CascadeSettings",
    "Far",
    "FleetSettings",
    "NetworkClass",
    "RowKind",
    "TaskKind",
    "Six",
]

Six = tuple[float, float, float, float, float, float]
"""Quantiles at 5, 25, 50, 75, 95 and 99 %."""

MODALITIES = ("text", "image", "audio")
"""Bits 1, 2, 4 of a modality mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowKind:
    """Devices (or hubs) of one kind with one model. All figures of rules E and V."""

    name: str
    device: str
    """Name of the device's profile."""
    model: int = -1
    """Index into the abilities of `FleetSettings`; -1 when it runs none."""
    modalities: int = 1
    max_tokens: int = 0
    """Most prompt and output tokens of a job: memory and context."""
    chunk_tokens: int = 1
    chunk_s: float = 1.0
    """Prefill of a started chunk; above 0 when there is a model."""
    token_s: float = 0.0
    """Per output token at empty context, after speculative decoding."""
    context_s: float = 0.0
    """Added per output token and token of context."""
    load_s: float = 0.0
    """Weights from flash."""
    power_w: float = 0.0
    background_w: float = 0.0
    """Mean watts of everything else."""
    ambient_c: float = 25.0
    limit_c: float = 1000.0
    resistance_c_per_w: float = 1.0
    capacitance_j_per_c: float = 1.0
    throttled_clock: float = 1.0
    capacity_j: float = 0.0
    """0 without a battery."""
    floor_j: float = 0.0
    charge_w: float = 0.0
    charge_from_s: float = 0.0
    """Seconds after local midnight."""
    charge_s: float = 0.0
    pressure_per_s: float = 0.0
    """Rate at which other applications evict the model."""
    networks: tuple[float, ...] = ()
    """Weight of each of the fleet's network classes; empty for a hub."""
    network_period_s: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkClass:
    """How a device may be connected (rules N). Without a radio the figures do not matter."""

    name: str
    radio: bool = True
    home: bool = False
    """Whether the household's hub is in reach."""
    metered: bool = False
    rtt_s: Six = (0.0,) * 6
    rtt_edge_s: Six = (0.0,) * 6
    uplink_bps: Six = (1e9,) * 6
    downlink_bps: Six = (1e9,) * 6
    setup_round_trips: int = 0
    promotion_idle_s: float = 0.0
    promotion_s: float = 0.0
    tail_s: float = 0.0
    tail_w: float = 0.0
    base_w: float = 0.0
    up_j_per_byte: float = 0.0
    down_j_per_byte: float = 0.0
    mean_good_s: float = 1.0
    mean_bad_s: float = 0.0
    loss: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKind:
    """What requests of a task have in common."""

    name: str
    privacy: Literal["device", "home", "any"] = "any"
    modality: int = 1
    """Bits of `MODALITIES` that it needs."""
    output_hint: float = 100.0
    """Output tokens that a policy expects: the mean."""
    difficulty_mean: float = 0.0
    difficulty_spread: float = float("inf")
    """Logits: what a policy expects of a request before it looks at it; infinite: nothing (rule W5)."""
    slo_ttft_s: float = float("inf")
    slo_tpot_s: float = float("inf")
    slo_e2e_s: float = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeSettings:
    """How the near answer is checked (rule G5). `auc` in [0.5, 0.9999]."""

    auc: float = 0.75
    threshold: float = 0.0
    check_s: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Far:
    """What a router knows of a pool beside its settings (rule W5)."""

    tier: Literal["edge", "cloud"] = "cloud"
    model: int = 0
    modalities: int = 1
    decode_s: tuple[float, ...] = (0.0, 1.0)
    """[b]: a step of b decodes at a typical context, 0 <= b <= max_num_seqs."""
    prefill_token_s: float = 0.0
    output_mean: float = 100.0
    price_usd_per_s: float = 0.0
    """Of one replica."""


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """All devices, hubs, networks and tasks. Arrays have one item a row or a device; they are not changed."""

    kinds: tuple[RowKind, ...]
    networks: tuple[NetworkClass, ...]
    tasks: tuple[TaskKind, ...]
    models: tuple[str, ...]
    ability: NDArray[np.float64]
    """(models, tasks), in logits."""
    devices: int
    kind: NDArray[np.int16]
    """(rows,)"""
    hub: NDArray[np.int32]
    """(devices,): the row of the household's hub, -1 without one."""
    region: NDArray[np.int8]
    """(devices,)"""
    battery_share: NDArray[np.float32]
    """(rows,): at the start."""
    regions: int = 1
    cascade: CascadeSettings = CascadeSettings()
    estimate_spread: float = 1.0
    """Standard deviation of what a policy takes for the difficulty, around it."""
    foresight: Literal[0, 1, 2] = 0
    """What its router knows beforehand: nothing, all of the system, the outcomes too. For yardsticks (rule W8)."""
    start_s: float = 0.0
    """Local time of day at instant 0."""
    assumed: tuple[str, ...] = field(default=())
    facts: dict[str, Any] = field(default_factory=dict)
    """For results: names, confidence."""

    @property
    def task_names(self) -> list[str]:
        """In their order."""
        return [task.name for task in self.tasks]

    @property
    def rows(self) -> int:
        """Devices and hubs."""
        return len(self.kind)
