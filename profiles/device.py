"""One user's machine, or the box at home that serves it: compute engines, memory, heat, battery, radios.

A device answers one request at a time. On one of its compute engines, for a prompt of n tokens and a model of
P parameters in its layers:

    prefill_s = ceil(n / chunk_tokens) x (base_ms / 1e3 + 2 P chunk_tokens / (effective_tops x 1e12))
    token_s   = base_ms / 1e3 + (weights read + cache read) / (bandwidth_gb_s x 1e9)

Both forms, and the constants where they are called fitted, come from published rates of small language models. A
device that `nearfar calibrate` measured may say more: a time of every layer, a head that is read at another rate,
attention that costs more than reading the cache, prompts whose attention grows, and steps of several sequences.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .errors import UserError, did_you_mean
from .record import Count, Dtype, Facts, Fraction, NonNegative, Positive, Record, Text

__all__ = [
    "BatchCost", "Battery", "ComputeEngine", "Decode", "Device", "Form", "MeasuredRate", "Prefill", "Radio", "Thermal",
]  # fmt: skip

Form = Literal["phone", "tablet", "car", "tv", "watch", "hub"]
Radio = Literal["wifi", "lte", "5g", "ethernet"]
Celsius = Annotated[float, Field(strict=True, ge=-60, le=150, allow_inf_nan=False)]
Hour = Annotated[float, Field(strict=True, ge=0, lt=24, allow_inf_nan=False)]


class BatchCost(Facts):
    """What decoding several sequences in one step costs, in units of reading the weights for one."""

    tile_sequences: Count
    """Sequences that the kernels take together; a started tile costs as much as a full one."""
    fixed_share: NonNegative
    """The part that does not depend on how many there are."""
    sequence_share: Positive
    """The part of each sequence of a tile."""

    def times(self, sequences: int) -> float:
        """The weights' time of a step as a multiple of that of a step with one sequence; never below 1."""
        if sequences == 1:
            return 1.0
        tiles = math.ceil(sequences / self.tile_sequences)
        return max(1.0, self.fixed_share + self.sequence_share * tiles * self.tile_sequences)


class Decode(Facts):
    """The time of one output token, at one precision of the weights."""

    base_ms: NonNegative
    """Milliseconds of a token that do not depend on the model's size."""
    bandwidth_gb_s: Positive
    """GB/s (1e9) at which weights and cache are read: what decoding reaches, never the datasheet's peak."""
    head_precision: Dtype
    """How the output head is stored; it is read once a token as well, an untied embedding table is not."""
    mean_error: Fraction | None = None
    """Mean relative error of the fit on the rates that it was made from; empty where it is no fit."""
    points: Count | None = None
    """How many rates those were."""
    layer_ms: NonNegative = 0.0
    """Milliseconds of a token for every layer of the model, whatever its size."""
    head_bandwidth_gb_s: Positive | None = None
    """GB/s (1e9) at which the head is read and its logits are sampled; empty: as the layers."""
    attention_ns: NonNegative = 0.0
    """Nanoseconds of one query head of a layer for one cached position, beside reading it."""
    batch: BatchCost | None = None
    """Steps of several sequences; empty: nobody measured them."""


class Prefill(Facts):
    """The time of a prompt, in whole chunks: a started chunk costs as much as a full one."""

    chunk_tokens: Count
    """Tokens of a chunk; 1 for an engine that takes a prompt of any length."""
    base_ms: NonNegative
    """Milliseconds of a chunk that do not depend on the model's size."""
    effective_tops: Positive
    """1e12 operations/s that the layers' multiplications reach, a multiply-add counted as two."""
    prompt_ms: NonNegative = 0.0
    """Milliseconds of a prompt whatever its length: its first token's logits are among them."""
    attention_ns: NonNegative = 0.0
    """Nanoseconds of one query head of a layer for one prompt token and one position that it attends to."""


class ComputeEngine(Facts):
    """An NPU, a GPU or a cluster of CPU cores, with its path to the device's memory."""

    kind: Literal["npu", "gpu", "cpu"]
    """What it is."""
    peak_tops: dict[Dtype, Positive] = Field(default_factory=dict)
    """1e12 operations/s as published, by type; empty where the vendor states none. No time depends on it."""
    decode: Annotated[dict[Dtype, Decode], Field(min_length=1)]
    """By the precision of the weights; what is not listed does not run."""
    prefill: Prefill
    """One for all precisions: the multiplications run in the engine's own format."""
    power_w: Positive
    """Watts of the whole device above `idle_w` while it computes at full clock."""

    def prefill_s(self, layer_params: float, tokens: int) -> float:
        """Seconds of a prompt for a model with so many parameters in its layers (embedding and head left out)."""
        p = self.prefill
        operations = 2 * layer_params * p.chunk_tokens
        return math.ceil(tokens / p.chunk_tokens) * (p.base_ms * 1e-3 + operations / (p.effective_tops * 1e12))

    def token_s(self, precision: Dtype, read_bytes: float) -> float:
        """Seconds of an output token that reads so many bytes of weights and cache.

        Raises UserError for a precision that the engine does not run.
        """
        if precision not in self.decode:
            raise UserError("the engine does not run this precision", got=precision, allowed=", ".join(self.decode))
        rate = self.decode[precision]
        return rate.base_ms * 1e-3 + read_bytes / (rate.bandwidth_gb_s * 1e9)


class Thermal(Facts):
    """One thermal mass: C dT/dt = P - (T - ambient) / R, and a slower clock from the limit on."""

    ambient_c: Celsius
    """Degrees Celsius around the device."""
    skin_limit_c: Celsius
    """Degrees Celsius of the surface (of the case, where nobody touches it) from which the clock is lowered."""
    resistance_c_per_w: Positive
    """Kelvin above ambient per watt, once warm."""
    capacitance_j_per_c: Positive
    """Joules that warm it by one kelvin."""
    throttled_clock: Annotated[Fraction, Field(gt=0)]
    """Share of the full rate that is left at the limit."""

    @model_validator(mode="after")
    def _limit_above_ambient(self) -> Thermal:
        if self.skin_limit_c <= self.ambient_c:
            raise UserError("skin_limit_c must be above ambient_c", got=(self.skin_limit_c, self.ambient_c))
        return self

    @property
    def sustained_w(self) -> float:
        """Watts that it can shed for ever without reaching the limit."""
        return (self.skin_limit_c - self.ambient_c) / self.resistance_c_per_w

    @property
    def time_constant_s(self) -> float:
        """Seconds in which it covers 63 % of the way to a new temperature."""
        return self.resistance_c_per_w * self.capacitance_j_per_c


class Battery(Facts):
    """What the device runs on, and when it is charged."""

    capacity_wh: Positive
    """Watt-hours when full: milliampere-hours x nominal volts / 1000."""
    saver_floor: Fraction
    """State of charge below which the device computes no answers of its own."""
    charge_w: Positive
    """Watts into the battery while it charges."""
    charge_from_hour: Hour
    """Hour of the local day at which the user puts it on the charger."""
    charge_hours: Annotated[float, Field(strict=True, gt=0, le=24, allow_inf_nan=False)]
    """Hours that it stays there."""

    @property
    def capacity_j(self) -> float:
        """Joules when full."""
        return self.capacity_wh * 3600

    @property
    def usable_j(self) -> float:
        """Joules between full and the saver floor."""
        return self.capacity_j * (1 - self.saver_floor)


class MeasuredRate(Facts):
    """A published rate of a model of the catalogue on this device, to hold the constants against."""

    engine: Text
    """Which of the device's engines."""
    model: Text
    """Name of a model in the catalogue."""
    precision: Dtype
    """Of the weights."""
    tokens_per_s: Positive | None = None
    """Decoding, one sequence, short context."""
    chunk_ms: Positive | None = None
    """Milliseconds of one chunk of prefill."""
    source: Text
    """Where the rate was published."""


class Device(Record):
    """A machine that answers on its own (`near`), or a box that others in the house may ask (`edge`)."""

    kind: Literal["device"]
    form: Form
    """What a user would call it; tasks weigh devices by it."""
    tier: Literal["near", "edge"]
    """`near`: answers its own user's requests; `edge`: a pool that devices of the same owner reach."""
    soc: Text
    """The chip."""
    engines: Annotated[dict[str, ComputeEngine], Field(min_length=1)]
    """Compute engines by name."""
    default_engine: Text
    """The engine that runs the language model unless somebody asks for another."""
    memory_gib: Positive
    """GiB of main memory."""
    model_memory_gib: Positive
    """GiB that models and their caches may hold beside the system and the user's applications."""
    flash_read_gb_s: Positive
    """GB/s (1e9) at which evicted weights come back from storage."""
    idle_w: NonNegative
    """Watts of the whole device in use, screen on, while no model computes."""
    standby_w: NonNegative
    """Watts of the whole device while nobody uses it."""
    thermal: Thermal
    """How it warms and slows down."""
    battery: Battery | None
    """Nothing (null) for a device on mains or on a car's supply."""
    radios: Annotated[tuple[Radio, ...], Field(min_length=1)]
    """How it can reach other tiers."""
    rates: tuple[MeasuredRate, ...] = ()
    """Published rates that its constants are tested against."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Device:
        for name in (self.default_engine, *(rate.engine for rate in self.rates)):
            if name not in self.engines:
                raise UserError("no such engine of this device", got=name, next_step=did_you_mean(name, self.engines))
        if self.model_memory_gib >= self.memory_gib:
            raise UserError("model_memory_gib must be below memory_gib", got=(self.model_memory_gib, self.memory_gib))
        if self.standby_w > self.idle_w:
            raise UserError("standby_w must not exceed idle_w", got=(self.standby_w, self.idle_w))
        return self

    @property
    def engine(self) -> ComputeEngine:
        """The default engine."""
        return self.engines[self.default_engine]

    @property
    def model_memory_bytes(self) -> float:
        """Bytes that models and caches may hold."""
        return self.model_memory_gib * 2**30
