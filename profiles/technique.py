"""Ways to make more than one token with one pass of the large model: somebody drafts, the model verifies.

A step verifies k drafted tokens, accepts those before the first wrong one, and adds one of its own:

    tokens a step  = 1 + a1 + a1 a2 + ... + a1 ... ak
    speed-up       = tokens a step / (verify_cost + draft_cost)

Lossless: the answer's distribution is the large model's own, except where a record's notes say otherwise.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .errors import UserError
from .record import Count, Facts, Fraction, NonNegative, Positive, Record, Text

__all__ = ["Reported", "Technique"]


class Reported(Facts):
    """What the source reports, to hold the derived figures against; a span from its worst to its best case."""

    tokens_per_step: tuple[Positive, Positive] | None = None
    """Tokens of one verification."""
    speedup: tuple[Positive, Positive] | None = None
    """Of decoding one sequence."""

    @model_validator(mode="after")
    def _in_order(self) -> Reported:
        for span in (self.tokens_per_step, self.speedup):
            if span and span[0] > span[1]:
                raise UserError("a span goes from the smaller to the larger", got=span)
        return self


class Technique(Record):
    """Speculative decoding: who drafts, how often it is right, what checking costs."""

    kind: Literal["technique"]
    method: Literal["draft-model", "bita", "medusa", "mtp", "eagle"]
    """Who drafts: another model, trained prompt tokens, heads, multi-token layers, a small network on features."""
    drafted_tokens: Count
    """k: tokens drafted a step."""
    acceptance: Annotated[tuple[Fraction, ...], Field(min_length=1)]
    """Chance that the first, second ... drafted token is accepted, given that those before it were."""
    verify_cost: Annotated[Positive, Field(ge=1)]
    """Time of the step that checks k tokens, by that of a plain step; with mtp it contains the drafting."""
    draft_cost: NonNegative
    """Time of drafting a step's k tokens, by that of a plain step; for a draft model its own time counts instead."""
    draft_model: Text | None
    """Name of the model that drafts; nothing (null) where the large model does it itself."""
    extra_params_share: Fraction
    """Parameters added to the large model, by its own: memory that the technique costs."""
    reported: Reported | None = None
    """What its source reports."""

    @model_validator(mode="after")
    def _drafts_make_sense(self) -> Technique:
        if len(self.acceptance) != self.drafted_tokens:
            raise UserError(
                "acceptance must have one chance for every drafted token",
                got=len(self.acceptance),
                allowed=str(self.drafted_tokens),
            )
        if (self.method == "draft-model") != (self.draft_model is not None):
            raise UserError(
                "draft_model goes with method draft-model, and with no other",
                got=(self.method, self.draft_model),
            )
        return self

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens that one verification yields."""
        return 1 + sum(math.prod(self.acceptance[:n]) for n in range(1, self.drafted_tokens + 1))

    @property
    def speedup(self) -> float:
        """Of decoding one sequence, by the record's own costs."""
        return self.tokens_per_step / (self.verify_cost + self.draft_cost)
