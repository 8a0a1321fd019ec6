"""The way from a device to the other tiers: round trips, rates, radio states, energy, outages.

Distributions are published quantiles, and a lognormal fitted to them (least squares of log quantiles on normal
scores) with the largest relative error of that fit, so that a reader sees how far the curve is from the table.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from .device import Radio
from .errors import UserError
from .record import CountOrZero, Facts, Flag, Fraction, NonNegative, Positive, Record

__all__ = ["Distribution", "Lognormal", "Network", "Outage", "Promotion", "Quantiles", "RadioEnergy", "Tail"]


class Quantiles(Facts):
    """Six points of a distribution, as published."""

    SCORES: ClassVar[tuple[float, ...]] = (-1.6448536, -0.6744898, 0.0, 0.6744898, 1.6448536, 2.3263479)
    """Standard normal scores of the six."""

    p5: Positive
    """5 % are below."""
    p25: Positive
    """25 % are below."""
    p50: Positive
    """The median."""
    p75: Positive
    """75 % are below."""
    p95: Positive
    """95 % are below."""
    p99: Positive
    """99 % are below."""

    @model_validator(mode="after")
    def _in_order(self) -> Quantiles:
        if any(low > high for low, high in pairwise(self.values)):
            raise UserError("quantiles must not fall from p5 to p99", got=self.values)
        return self

    @property
    def values(self) -> tuple[float, ...]:
        """The six, in order."""
        return (self.p5, self.p25, self.p50, self.p75, self.p95, self.p99)


class Lognormal(Facts):
    """exp(mu + sigma x standard normal)."""

    mu: Annotated[float, Field(strict=True, allow_inf_nan=False)]
    """Mean of the logarithm of the figure, in the unit of the field it stands in."""
    sigma: NonNegative
    """Standard deviation of the logarithm."""
    worst_error: NonNegative
    """Largest relative error of the curve at the six quantiles it was fitted to."""

    @property
    def mean(self) -> float:
        """Mean of the figure."""
        return math.exp(self.mu + self.sigma**2 / 2)

    def quantile(self, score: float) -> float:
        """The value at a standard normal score."""
        return math.exp(self.mu + self.sigma * score)


class Distribution(Facts):
    """A measured distribution and the curve that draws are made from."""

    quantiles: Quantiles
    """As published; draws by interpolation follow these."""
    lognormal: Lognormal
    """The fitted curve; draws from it are smooth, and wrong by up to `worst_error`."""


class Promotion(Facts):
    """What the first packet after a silence pays."""

    idle_s: NonNegative
    """Seconds of silence after which the radio has gone to sleep."""
    delay_ms: NonNegative
    """Milliseconds until it carries data again."""


class Tail(Facts):
    """What the radio burns after the last packet, before it sleeps."""

    seconds: NonNegative
    """How long it stays awake."""
    watts: NonNegative
    """Power of the radio meanwhile, above the device's own."""

    @property
    def energy_j(self) -> float:
        """Joules of one whole tail."""
        return self.seconds * self.watts


class RadioEnergy(Facts):
    """Energy of a transfer: base_w x seconds + joules per megabyte; all above the device's own power."""

    base_w: NonNegative
    """Watts of the radio while it transfers anything."""
    up_j_per_mb: NonNegative
    """Joules per 1e6 bytes sent, beyond the base."""
    down_j_per_mb: NonNegative
    """Joules per 1e6 bytes received, beyond the base."""


class Outage(Facts):
    """Gilbert-Elliott: a link is good or bad, each for an exponential time."""

    mean_good_s: Positive
    """Mean seconds of a good spell."""
    mean_bad_s: Positive
    """Mean seconds of a bad one."""
    loss: Fraction
    """Chance that a request in a bad spell gets through no further; 1: nothing passes."""

    @property
    def bad_share(self) -> float:
        """Share of time in bad spells."""
        return self.mean_bad_s / (self.mean_good_s + self.mean_bad_s)


class Network(Record):
    """How a device is connected at the moment."""

    kind: Literal["network"]
    radio: Radio | None
    """The radio it uses; nothing (null) for no connection, and then every other fact is null too."""
    metered: Flag
    """Whether the user pays by volume."""
    rtt_ms: Distribution | None
    """Milliseconds of a round trip to a cloud region, radio awake."""
    rtt_edge_ms: Distribution | None = None
    """Milliseconds of one to a server within 50 km, or in the same home; empty where nobody measured it."""
    downlink_mbps: Distribution | None
    """1e6 bit/s to the device."""
    uplink_mbps: Distribution | None
    """1e6 bit/s from the device."""
    setup_round_trips: CountOrZero | None
    """Round trips before a request can be sent on a new connection: TCP and TLS."""
    promotion: Promotion | None
    """Waking the radio up."""
    tail: Tail | None
    """Keeping it awake."""
    energy: RadioEnergy | None
    """Moving bytes."""
    outage: Outage | None
    """Losing the link."""

    @model_validator(mode="after")
    def _all_or_nothing(self) -> Network:
        facts = {n: getattr(self, n) for n in self.fact_fields() if n not in ("radio", "metered", "rtt_edge_ms")}
        for name, value in facts.items():
            if (value is None) != (self.radio is None):
                allowed = "nothing (null) without a radio" if self.radio is None else "a value, for there is a radio"
                raise UserError(f"{name} does not go with radio", got=self.radio or "no radio", allowed=allowed)
        return self

    @property
    def connected(self) -> bool:
        """Whether anything can be sent at all."""
        return self.radio is not None
