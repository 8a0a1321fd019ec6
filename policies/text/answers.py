"""What a near answer shows about itself: length, repetition, refusal, and how sure the target was."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ANSWER_FIGURES", "AnswerFeatures", "refusal", "repetition"]

ANSWER_FIGURES = ("chars", "repetition", "refusal", "logprob")

_REFUSALS = re.compile(
    r"\b(i('m| am) (sorry|unable|not able)|i (can't|cannot|can not|won't)|as an ai|i do(n't| not) know|"
    r"not enough information)\b|抱歉|对不起|我(无法|不能|不知道)|作为(一个)?(AI|人工智能)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class AnswerFeatures:
    """Figures of one near answer; None where they are not known.

    `chars`: length in characters. `repetition`: share of its word triples that came before, 0 to 1. `refusal`: 1 when
    it declines or says that it does not know. `logprob`: mean log-probability of its tokens, in nats.
    """

    chars: float | None = None
    repetition: float | None = None
    refusal: float | None = None
    logprob: float | None = None

    @classmethod
    def of(cls, answer: str, logprob: float | None = None) -> AnswerFeatures:
        """Figures of an answer's text."""
        return cls(float(len(answer)), repetition(answer), refusal(answer), logprob)

    def row(self, figures: Sequence[str]) -> list[float]:
        """The named figures, NaN where they are not known."""
        values = (getattr(self, name) for name in figures)
        return [math.nan if value is None else float(value) for value in values]


def repetition(answer: str) -> float:
    """Share of the word triples of a text that occurred before in it."""
    words = answer.split()
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1.0 - len(set(triples)) / len(triples) if triples else 0.0


def refusal(answer: str) -> float:
    """1 when the first 200 characters decline or plead ignorance, in English or Chinese."""
    return float(bool(_REFUSALS.search(answer[:200].replace("’", "'"))))
