"""Published scores of models on benchmarks, and what a score says of an ability.

    read_scores(BENCHMARK_SCORES)             the rows of profiles/data/scores/benchmarks.csv
    expected_share(gap, guess)                share right of a benchmark whose mean difficulty is `gap` below an ability
    gap_of(share, guess)                      its inverse

Questions of a benchmark differ in difficulty: normal, with the spread that is assumed for a task's requests.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from profiles.ability import SKILLS
from profiles.errors import UserError, did_you_mean
from profiles.files import DATA
from profiles.record import CONFIDENCES, Confidence
from sim.numbers import Floats

__all__ = [
    "BENCHMARKS", "BENCHMARK_SCORES", "SPREAD", "Benchmark", "Score", "expected_share", "gap_of", "read_scores",
    "slope_at",
]  # fmt: skip

BENCHMARK_SCORES = DATA / "scores" / "benchmarks.csv"
COLUMNS = ("model", "benchmark", "score_percent", "items", "confidence", "source")

SPREAD = 1.3
"""Standard deviation of difficulty within a benchmark, logits: what tasks are assumed to have, to share their scale."""

Skill = Literal["knowledge", "reasoning", "code", "other"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a benchmark asks for, how often a guess is right, how many questions it has."""

    skill: Skill
    guess: float
    items: int


_GSM, _MATH, _MMLU, _MMLU_PRO = 1319, 5000, 14_042, 12_032

BENCHMARKS: Mapping[str, Benchmark] = {
    "arc-challenge": Benchmark("knowledge", 0.25, 1172),
    "arc-challenge-llmrouter": Benchmark("knowledge", 0.25, 265),
    "ceval": Benchmark("knowledge", 0.25, 12_342),
    "ceval-base": Benchmark("knowledge", 0.25, 12_342),
    "commonsenseqa-llmrouter": Benchmark("knowledge", 0.2, 249),
    "crux-zeroeval": Benchmark("code", 0.0, 397),
    "cruxeval-o-base": Benchmark("code", 0.0, 800),
    "gsm8k": Benchmark("reasoning", 0.0, _GSM),
    "gsm8k-base": Benchmark("reasoning", 0.0, _GSM),
    "gsm8k-llmrouter": Benchmark("reasoning", 0.0, 273),
    "gsm8k-zeroeval": Benchmark("reasoning", 0.0, 654),
    "humaneval": Benchmark("code", 0.0, 164),
    "humaneval-base": Benchmark("code", 0.0, 164),
    "humaneval-plus": Benchmark("code", 0.0, 164),
    "ifeval": Benchmark("other", 0.0, 541),
    "math": Benchmark("reasoning", 0.0, _MATH),
    "math-500": Benchmark("reasoning", 0.0, 500),
    "math-base": Benchmark("reasoning", 0.0, _MATH),
    "math-l5-zeroeval": Benchmark("reasoning", 0.0, 341),
    "mbpp": Benchmark("code", 0.0, 500),
    "mbpp-base": Benchmark("code", 0.0, 500),
    "mbpp-plus": Benchmark("code", 0.0, 378),
    "mmlu": Benchmark("knowledge", 0.25, _MMLU),
    "mmlu-base": Benchmark("knowledge", 0.25, _MMLU),
    "mmlu-pro": Benchmark("reasoning", 0.1, _MMLU_PRO),
    "mmlu-pro-base": Benchmark("reasoning", 0.1, _MMLU_PRO),
    "mmlu-pro-knowledge": Benchmark("knowledge", 0.1, 3304),
    "mmlu-pro-science": Benchmark("reasoning", 0.1, 2641),
    "nq-base": Benchmark("knowledge", 0.0, 3610),
    "openbookqa-llmrouter": Benchmark("knowledge", 0.25, 246),
    "triviaqa-base": Benchmark("knowledge", 0.0, 17_944),
}
"""`-base`: few-shot scores of base models. Others are of models as they are used; a suffix names who evaluated."""

assert {one.skill for one in BENCHMARKS.values()} <= {*SKILLS, "other"}


@dataclass(frozen=True, slots=True)
class Score:
    """A model's share of right answers on a benchmark, 0 to 1."""

    model: str
    benchmark: str
    share: float
    items: int
    confidence: Confidence
    source: str


def read_scores(path: Path) -> tuple[Score, ...]:
    """The rows of a table of scores. Raises `UserError` for unknown benchmarks and scores outside 0 to 100 %."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UserError(f"{path.name}: other columns", got=reader.fieldnames, allowed=", ".join(COLUMNS))
        return tuple(_score(f"{path.name}, line {line}", row) for line, row in enumerate(reader, start=2))


def _score(where: str, row: Mapping[str, str]) -> Score:
    name = row["benchmark"]
    if name not in BENCHMARKS:
        raise UserError(f"{where}: unknown benchmark", got=name, next_step=did_you_mean(name, BENCHMARKS))
    confidence = next((one for one in CONFIDENCES if one == row["confidence"]), None)
    if confidence is None:
        raise UserError(f"{where}: confidence", got=row["confidence"], allowed=", ".join(CONFIDENCES))
    try:
        share = float(row["score_percent"]) / 100
        items = int(row["items"]) if row["items"] else BENCHMARKS[name].items
    except ValueError:
        raise UserError(f"{where}: not a number", got=f"{row['score_percent']}, {row['items']}") from None
    if not 0.0 <= share <= 1.0 or items < 1:
        raise UserError(f"{where}: a score is 0 to 100 % of one question or more", got=f"{share:.2%} of {items}")
    return Score(row["model"], name, share, items, confidence, row["source"])


# -- from abilities to shares and back --------------------------------------------------------------------------------

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_LARGEST_GAP = 20.0
_HALVINGS = 60


def _chances(gap: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-(gap[..., None] - SPREAD * _NODES))))


def expected_share(gap: Floats, guess: Floats) -> Floats:
    """Share of right answers, 0 to 1, by ability less mean difficulty (logits) and how often a guess is right."""
    return np.asarray(guess + (1.0 - guess) * (_chances(gap) @ _WEIGHTS))


def slope_at(gap: Floats, guess: Floats) -> Floats:
    """How much the share grows per logit."""
    chances = _chances(gap)
    return np.asarray((1.0 - guess) * ((chances * (1.0 - chances)) @ _WEIGHTS))


def gap_of(share: Floats, guess: Floats) -> Floats:
    """Ability less mean difficulty (logits), by the share of right answers; above `guess` and below 1."""
    low, high = np.full_like(share, -_LARGEST_GAP), np.full_like(share, _LARGEST_GAP)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = expected_share(middle, guess) > share
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return (low + high) / 2
