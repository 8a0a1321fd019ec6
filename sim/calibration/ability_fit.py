"""Abilities of models from published scores: a straight line in size, and each model's own deviation from it.

    y = line(size) + deviation[model] + deviation[model, skill] - difficulty[benchmark] + noise

y is the gap that a score stands for (`ability_scores.gap_of`). Deviations and noise are normal; their variances
maximise the restricted likelihood, and what is known of a model draws its deviations away from 0. The origin is set:
a model of 1e9 parameters on the line has ability `LEVEL`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from policies.quality import LEVEL, effective_params_b
from profiles import Catalogue
from profiles.ability import SKILLS
from profiles.errors import UserError
from sim.calibration.ability_scores import BENCHMARKS, Score, expected_share, gap_of, slope_at
from sim.numbers import Floats

__all__ = ["Data", "Fit", "Fitted", "fit", "left_out_scores", "prepared"]

_START = np.log([0.5, 0.3, 0.3])
_SMALLEST, _LARGEST = np.log(0.01), np.log(5.0)


@dataclass(frozen=True, slots=True)
class Data:
    """Rows that say something, as arrays of one length, and how many do not."""

    scores: tuple[Score, ...]
    gap: Floats
    guess: Floats
    size: Floats
    """log10 of the effective parameters in 1e9."""
    sampling_variance: Floats
    """Of `gap`, from the number of questions alone."""
    at_chance: int
    """Rows left out: no better than a guess, or everything right."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted({score.model for score in self.scores}))

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted({score.benchmark for score in self.scores}))


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the scores say of one model, logits."""

    general: float
    skills: dict[str, float]
    error: float
    """Standard error of `general`, given the line and the variances."""
    scores: int


@dataclass(frozen=True, slots=True)
class Fit:
    """The line, the standard deviations around it (logits), the benchmarks' mean difficulties, and the models."""

    per_decade: float
    model_spread: float
    """Of models around the line."""
    skill_spread: float
    """Of a model's skills around its own ability."""
    noise: float
    """Of scores around all that: prompts, evaluators, contamination."""
    difficulty: dict[str, float]
    models: dict[str, Fitted]


def prepared(scores: Sequence[Score], catalogue: Catalogue) -> Data:
    """Scores as gaps. Raises `UserError` for models that the catalogue does not have, and for too few scores."""
    guess = np.array([BENCHMARKS[score.benchmark].guess for score in scores])
    share = np.array([score.share for score in scores])
    items = np.array([float(score.items) for score in scores])
    says = (share > guess + 0.5 / items) & (share < 1.0 - 0.5 / items)
    kept = tuple(score for score, one in zip(scores, says, strict=True) if one)
    share, guess, items = share[says], guess[says], items[says]
    models = {name: catalogue.model(name) for name in {score.model for score in kept}}
    if len(models) < 3:
        raise UserError("scores of three models or more are needed", got=len(models))
    sizes = {name: effective_params_b(one.total_params_b, one.active_params_b) for name, one in models.items()}
    gap = gap_of(share, guess)
    return Data(
        scores=kept,
        gap=gap,
        guess=guess,
        size=np.log10([sizes[score.model] for score in kept]),
        sampling_variance=share * (1.0 - share) / items / slope_at(gap, guess) ** 2,
        at_chance=len(scores) - len(kept),
    )


def _same(names: Sequence[str]) -> Floats:
    """1.0 where two rows have the same name, n x n."""
    array = np.array(names)
    return np.asarray(array[:, None] == array[None, :], dtype=np.float64)


class _Mixed:
    """The linear mixed model of some rows: fixed effects are the slope and every benchmark's level."""

    def __init__(self, data: Data) -> None:
        self.data = data
        models = [score.model for score in data.scores]
        skills = [BENCHMARKS[score.benchmark].skill for score in data.scores]
        self.by_model = _same(models)
        self.by_skill = self.by_model * _same(skills)
        columns = [[score.benchmark == name for score in data.scores] for name in data.benchmarks]
        self.fixed = np.column_stack([data.size, *np.array(columns, dtype=np.float64)])
        self.both = np.column_stack([self.fixed, data.gap])
        self.blocks = [np.flatnonzero(np.array(models) == name) for name in data.models]

    def covariance(self, spreads: Floats) -> Floats:
        """Of the rows, n x n, by the standard deviations of models, skills and noise; models share none."""
        model, skill, noise = spreads**2
        own = np.diag(noise + self.data.sampling_variance)
        return np.asarray(model * self.by_model + skill * self.by_skill + own)

    def loss(self, logs: Floats) -> float:
        """-2 x the restricted log-likelihood, less a constant."""
        covariance = self.covariance(np.exp(logs))
        factors = [np.linalg.cholesky(covariance[np.ix_(rows, rows)]) for rows in self.blocks]
        white = np.vstack(
            [np.linalg.solve(one, self.both[rows]) for one, rows in zip(factors, self.blocks, strict=True)]
        )
        # of [X y]: the last of its diagonal is the length of the residual, the others are X's information
        triangle = np.abs(np.diag(np.linalg.qr(white, mode="r")))
        log_variance = sum(float(np.log(np.diag(one)).sum()) for one in factors)
        return float(2.0 * log_variance + 2.0 * np.log(triangle[:-1]).sum() + triangle[-1] ** 2)

    def spreads(self) -> Floats:
        """The most likely standard deviations of models, skills and noise."""
        found = minimize(self.loss, _START, method="L-BFGS-B", bounds=[(_SMALLEST, _LARGEST)] * 3)
        return np.asarray(np.exp(found.x))


def fit(data: Data) -> Fit:
    """The most likely line, spreads and difficulties, and every model's abilities given them."""
    mixed = _Mixed(data)
    spreads = mixed.spreads()
    inverse = np.linalg.inv(mixed.covariance(spreads))
    effects = np.linalg.solve(mixed.fixed.T @ inverse @ mixed.fixed, mixed.fixed.T @ inverse @ data.gap)
    weighted = inverse @ (data.gap - mixed.fixed @ effects)
    model_variance, skill_variance = float(spreads[0] ** 2), float(spreads[1] ** 2)
    models = {}
    for name in data.models:
        rows = np.array([score.model == name for score in data.scores])
        line = LEVEL + effects[0] * data.size[rows][0]
        general = float(line + model_variance * weighted[rows].sum())
        skills = {}
        for skill in SKILLS:
            mine = rows & np.array([BENCHMARKS[score.benchmark].skill == skill for score in data.scores])
            if mine.any():
                skills[skill] = general + float(skill_variance * weighted[mine].sum())
        known = model_variance - model_variance**2 * inverse[np.ix_(rows, rows)].sum()
        models[name] = Fitted(general, skills, float(np.sqrt(known)), int(rows.sum()))
    return Fit(
        per_decade=float(effects[0]),
        model_spread=float(spreads[0]),
        skill_spread=float(spreads[1]),
        noise=float(spreads[2]),
        difficulty={name: LEVEL - float(level) for name, level in zip(data.benchmarks, effects[1:], strict=True)},
        models=models,
    )


def left_out_scores(data: Data, found: Fit) -> tuple[Floats, Floats]:
    """Predicted shares of all rows: by models other than the row's own, and by all other rows.

    The line and the difficulties are fitted anew each time; the spreads are those of the fit. NaN where nothing is left
    to tell a benchmark's difficulty.
    """
    mixed = _Mixed(data)
    inverse = np.linalg.inv(mixed.covariance(np.array([found.model_spread, found.skill_spread, found.noise])))
    spanned = inverse @ mixed.fixed
    residual = inverse - spanned @ np.linalg.solve(mixed.fixed.T @ spanned, spanned.T)
    weighted = residual @ data.gap
    names = np.array([score.model for score in data.scores])
    benchmarks = np.array([score.benchmark for score in data.scores])
    by_others, by_rest = np.full(len(names), np.nan), np.full(len(names), np.nan)
    for name in data.models:
        mine = names == name
        rows = np.flatnonzero(mine & np.isin(benchmarks, benchmarks[~mine]))
        by_others[rows] = data.gap[rows] - np.linalg.solve(residual[np.ix_(rows, rows)], weighted[rows])
    told = np.flatnonzero((benchmarks[:, None] == benchmarks[None, :]).sum(axis=0) > 1)
    by_rest[told] = data.gap[told] - weighted[told] / np.diag(residual)[told]
    return expected_share(by_others, data.guess), expected_share(by_rest, data.guess)
