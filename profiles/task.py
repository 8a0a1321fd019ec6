"""What a request is for: its lengths, its media, who may see it, what its user expects, how hard it is."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .device import Form
from .errors import UserError
from .record import Count, Facts, NonNegative, Positive, Record

__all__ = ["PRIVACY_CLASSES", "Difficulty", "Lengths", "Media", "PrivacyClass", "Slo", "Task"]

PrivacyClass = Literal["device", "home", "any"]
PRIVACY_CLASSES: tuple[PrivacyClass, ...] = ("device", "home", "any")
"""Strictest first: never leaves the device; may reach a tier `edge` target of the same owner; may go anywhere."""


class Lengths(Facts):
    """Tokens, lognormal by mean and coefficient of variation; what is drawn above `max` is cut to it."""

    mean: Annotated[Positive, Field(ge=1)]
    """Mean tokens, before the cut."""
    cv: NonNegative
    """Standard deviation by mean."""
    max: Count
    """Most tokens."""

    @model_validator(mode="after")
    def _mean_below_max(self) -> Lengths:
        if self.mean > self.max:
            raise UserError("mean must not exceed max", got=(self.mean, self.max))
        return self

    @property
    def sigma(self) -> float:
        """Standard deviation of the logarithm."""
        return math.sqrt(math.log1p(self.cv**2))

    @property
    def mu(self) -> float:
        """Mean of the logarithm."""
        return math.log(self.mean) - self.sigma**2 / 2


class Media(Facts):
    """Images or sound that come with a prompt or are the answer, counted in units."""

    kind: Literal["image", "audio"]
    """What it is; the unit is one image or one second."""
    direction: Literal["in", "out"]
    """`in`: sent with the prompt; `out`: made from the answer and sent back."""
    units_mean: Positive
    """Mean images or seconds of a request."""
    units_cv: NonNegative
    """Standard deviation by mean."""
    tokens_per_unit: NonNegative
    """Tokens that the language model sees of one; for `out`, 0 where the answer's text is all it makes."""
    bytes_per_unit: Positive
    """Bytes of one as it is sent: compressed."""

    @property
    def mean_bytes(self) -> float:
        """Mean bytes of a request."""
        return self.units_mean * self.bytes_per_unit

    @property
    def mean_tokens(self) -> float:
        """Mean tokens of a request, beside those of its text."""
        return self.units_mean * self.tokens_per_unit


class Slo(Facts):
    """What a user should get; nothing (null) where the scene does not feel it."""

    ttft_s: Positive | None
    """Largest seconds to the first token."""
    tpot_s: Positive | None
    """Largest seconds per output token."""
    e2e_s: Positive | None
    """Largest seconds from the question to the last token."""


class Difficulty(Facts):
    """How hard requests are, normal, in logits: a model of ability a answers right with chance sigmoid(a - d)."""

    mean: Annotated[float, Field(strict=True, ge=-20, le=20, allow_inf_nan=False)]
    """Mean; 0 is what a model of ability 0 gets half right."""
    spread: NonNegative
    """Standard deviation."""


class Task(Record):
    """A scene: one kind of request that users of some devices make."""

    kind: Literal["task"]
    prompt: Lengths
    """Tokens of text before the answer: instructions, context, question."""
    output: Lengths
    """Tokens of the answer."""
    media: Media | None
    """Nothing (null) for text alone."""
    privacy: PrivacyClass
    """How far a request of this kind may travel."""
    slo: Slo
    """What its user expects."""
    difficulty: Difficulty
    """How hard it is."""
    mix: Annotated[dict[Form, NonNegative], Field(min_length=1)]
    """Weight among all requests of a device, by its form; a form that is not listed never asks. Any scale."""

    @model_validator(mode="after")
    def _somebody_asks(self) -> Task:
        if not any(self.mix.values()):
            raise UserError("mix must give some form a weight above 0", got=self.mix)
        return self
