"""What a user wants of a policy, as one number: a weighted sum of means over all requests.

    parse_utility("quality=1,e2e_s=-0.02,cost_usd=-10").of(means)

Every term is a mean over all requests, answered or not, so that no policy gains by losing requests: an answer that
never comes is not right, and counts as if it had taken `UNANSWERED_S` seconds, or as long as it was waited for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiles.errors import UserError, did_you_mean

__all__ = ["TERMS", "UNANSWERED_S", "Term", "Utility", "as_counted", "parse_utility"]

UNANSWERED_S = 60.0
"""Seconds to the first and to the last token that an unanswered request counts with, at least."""

_MOST_WEIGHT = 1e9


class Term(NamedTuple):
    """Something that a utility may weigh."""

    name: str
    unit: str
    meaning: str


TERMS: tuple[Term, ...] = (
    Term("quality", "", "right answers / requests"),
    Term("ttft_s", "s", "time to the first token"),
    Term("e2e_s", "s", "time to the last token"),
    Term("cost_usd", "USD", "what the pools cost until the last request arrived, by request"),
    Term("energy_j", "J", "energy of the asking devices, by request"),
    Term("egress_mb", "MB", "1e6 bytes that left the users' own machines, by request"),
)

_NAMES = tuple(term.name for term in TERMS)


@dataclass(frozen=True, slots=True)
class Utility:
    """Weights by term; at least one is not 0."""

    terms: tuple[tuple[str, float], ...]

    def of(self, means: Mapping[str, float]) -> float:
        """The utility of these means; terms without weight may be missing."""
        return math.fsum(weight * means[name] for name, weight in self.terms)

    def weight(self, name: str) -> float:
        """Weight of a term, 0 where it has none."""
        return dict(self.terms).get(name, 0.0)

    def times(self, factor: float) -> Utility:
        """The same wishes in another unit."""
        return Utility(tuple((name, weight * factor) for name, weight in self.terms))

    def __str__(self) -> str:
        return ",".join(f"{name}={_short(weight)}" for name, weight in self.terms)


def parse_utility(text: str) -> Utility:
    """`name=weight,name=weight` as a utility. Raises `UserError`."""
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if name not in _NAMES:
            raise UserError(
                "unknown term of a utility", got=name, allowed=", ".join(_NAMES), next_step=did_you_mean(name, _NAMES)
            )
        if name in found:
            raise UserError("a term of the utility is given twice", got=name)
        found[name] = _weight(name, number if equals else "")
    if not any(found.values()):
        raise UserError(
            "a utility needs a term that counts",
            got=text or "nothing",
            allowed=", ".join(_NAMES),
            next_step="give, for example, quality=1,e2e_s=-0.02,cost_usd=-10",
        )
    return Utility(tuple((name, weight) for name, weight in found.items() if weight))


def _short(weight: float) -> str:
    """As few digits as say the same number."""
    short = f"{weight:g}"
    return short if float(short) == weight else repr(weight)


def _weight(name: str, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not abs(weight) <= _MOST_WEIGHT:
        raise UserError(
            f"weight of {name}: bad value", got=number or "nothing", allowed="a finite number, as in name=-0.02"
        )
    return weight


def as_counted(*, answered: Any, right: Any, ttft_s: Any, e2e_s: Any) -> dict[str, NDArray[np.float64]]:
    """What outcomes, of one request or of an array of them, count as in the terms that depend on an answer.

    Without an answer nothing is right, and both times are `UNANSWERED_S`, or as long as was waited (`e2e_s`) if longer.
    """
    waited = np.fmax(e2e_s, UNANSWERED_S)
    return {
        "quality": np.where(answered, right, 0.0),
        "ttft_s": np.where(answered, ttft_s, waited),
        "e2e_s": np.where(answered, e2e_s, waited),
    }
