"""How able a model was found to be, in logits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .record import Count, Facts, NonNegative

__all__ = ["SKILLS", "Abilities"]

SKILLS = ("knowledge", "reasoning", "code")
"""What benchmarks tell apart."""

Logit = Annotated[float, Field(strict=True, ge=-20, le=20, allow_inf_nan=False)]


class Abilities(Facts):
    """Abilities at full precision: an answer to a request of difficulty d is right with chance sigmoid(ability - d)."""

    general: Logit
    """At tasks that none of the skills below stands for."""
    knowledge: Logit | None = None
    """At knowing and explaining; empty: `general`."""
    reasoning: Logit | None = None
    """At mathematics and long thought; empty: `general`."""
    code: Logit | None = None
    """At writing and reading programs; empty: `general`."""
    scores: Count | None = None
    """How many published scores they were fitted to; empty where they come from elsewhere."""
    error: NonNegative | None = None
    """Standard error of `general`, logits; empty where nobody knows."""
