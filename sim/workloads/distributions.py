"""What a workload draws from: lengths in tokens, durations in seconds, shares of priority classes.

A plain number stands for a constant wherever a distribution is allowed.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = [
    "MAX_TOKENS",
    "NO_LIMIT",
    "Constant",
    "ConstantSeconds",
    "Empirical",
    "Exponential",
    "ExponentialSeconds",
    "Geometric",
    "Lengths",
    "Limit",
    "Lognormal",
    "Priority",
    "PriorityWeights",
    "Record",
    "Seconds",
    "Think",
    "Uniform",
]

MAX_TOKENS = 2**31 - 1  # of a request, prompt and output together

Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Mean = Annotated[float, Field(ge=1, le=MAX_TOKENS)]


class Record(BaseModel):
    """Frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# Lengths: whole numbers from 1 on. `min` and `max` clip what is drawn (and so move the mean).


class Clipped(Record):
    min: Tokens = 1
    max: Tokens = MAX_TOKENS

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must not exceed max ({self.max})")
        return self


class Constant(Record):
    """Always `value`. A plain number means the same."""

    kind: Literal["constant"] = "constant"
    value: Tokens


class Lognormal(Clipped):
    """Mean and coefficient of variation before rounding to the nearest whole number and clipping."""

    kind: Literal["lognormal"] = "lognormal"
    mean: Mean
    cv: NotNegative


class Uniform(Clipped):
    """Every whole number from min to max, both included, alike."""

    kind: Literal["uniform"] = "uniform"
    min: Tokens
    max: Tokens


class Geometric(Clipped):
    """1, 2, 3, ... with this mean."""

    kind: Literal["geometric"] = "geometric"
    mean: Mean


class Exponential(Clipped):
    """An exponential of this mean, rounded up (which adds about a half to the mean)."""

    kind: Literal["exponential"] = "exponential"
    mean: Mean


class Empirical(Clipped):
    """One of `values`, all alike or by `weights`."""

    kind: Literal["empirical"] = "empirical"
    values: Annotated[tuple[Tokens, ...], Field(min_length=1)]
    weights: tuple[NotNegative, ...] = ()

    @model_validator(mode="after")
    def _weighted(self) -> Self:
        if self.weights and len(self.weights) != len(self.values):
            raise ValueError(f"{len(self.weights)} weights for {len(self.values)} values")
        if self.weights and not 0 < sum(self.weights) < math.inf:
            raise ValueError("the weights must not all be 0")
        return self


def _plain_number(value: Any) -> Any:
    """A plain number stands for a constant."""
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return {"kind": "constant", "value": value}
    return value


Lengths = Annotated[
    Constant | Lognormal | Uniform | Geometric | Exponential | Empirical,
    Field(discriminator="kind"),
    BeforeValidator(_plain_number),
]


# Durations


class ConstantSeconds(Record):
    """Always `value` seconds. A plain number means the same."""

    kind: Literal["constant"] = "constant"
    value: Annotated[float, Field(ge=0)]


class ExponentialSeconds(Record):
    """Exponential with this mean, in seconds."""

    kind: Literal["exponential"] = "exponential"
    mean: Positive


def _limit(value: ConstantSeconds | ExponentialSeconds) -> ConstantSeconds | ExponentialSeconds:
    if isinstance(value, ConstantSeconds) and not value.value > 0:
        raise ValueError("a limit must be more than 0 s; infinity (.inf) means none")
    return value


def _finite(value: ConstantSeconds | ExponentialSeconds) -> ConstantSeconds | ExponentialSeconds:
    if isinstance(value, ConstantSeconds) and not math.isfinite(value.value):
        raise ValueError("a think time must be finite")
    return value


Seconds = ConstantSeconds | ExponentialSeconds
Limit = Annotated[Seconds, Field(discriminator="kind"), BeforeValidator(_plain_number), AfterValidator(_limit)]
Think = Annotated[Seconds, Field(discriminator="kind"), BeforeValidator(_plain_number), AfterValidator(_finite)]
NO_LIMIT = ConstantSeconds(value=math.inf)


class PriorityWeights(Record):
    """Shares of the priority classes: {0: 0.2, 1: 0.8}. They need not sum to 1."""

    weights: dict[Annotated[int, Field(ge=0, le=7)], NotNegative]

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not 0 < sum(self.weights.values()) < math.inf:
            raise ValueError("at least one weight must be more than 0")
        return self


Priority = Annotated[int, Field(ge=0, le=7)] | PriorityWeights
