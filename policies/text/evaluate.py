"""How good a model is on a table with labels: its figures with intervals, and the simple scores beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.text import metrics
from policies.text.model import TextModel, load
from policies.text.scoring import Scored, answer_figures, score_texts, script_notes
from policies.text.tables import PromptTable, read_tables
from profiles.errors import UserError

__all__ = ["CATEGORY_COLUMNS", "evaluate", "evaluate_table"]

CATEGORY_COLUMNS = ("task", "category", "subject", "topic")
LEAST_ROWS = 20
_DRAWS = 200
_MEAN_FOLDS = 10
_SEED = 11

Floats = NDArray[np.float64]
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that count: labels, texts, and a category's number per row, where there are categories."""

    near: Floats
    far: Floats
    texts: list[str]
    category: NDArray[np.int64] | None


def evaluate(model: Path, tables: Sequence[Path], near: str, far: str, *, task: str | None = None) -> dict[str, Any]:
    """Read a model and tables, and evaluate. Raises `UserError` for what cannot be read or told."""
    return evaluate_table(load(model), read_tables(tables), near, far, task=task)


def evaluate_table(
    model: TextModel, table: PromptTable, near: str, far: str, *, task: str | None = None
) -> dict[str, Any]:
    """Figures of a model on the rows of a table that it was not fitted on; each has value, low and high (95 %)."""
    labels = np.column_stack([table.labels(near), table.labels(far)])
    prompts = table.texts()
    kept, notes, fitted = _held_out(model, prompts, labels, table.name)
    column = _category_column(model, table, task)
    rows = _Rows(labels[kept, 0], labels[kept, 1], [prompts[i] for i in kept], _numbered(table, column, kept))
    scored = score_texts(model, rows.texts)
    notes += script_notes(model, rows.texts)
    if rows.far.mean() <= rows.near.mean():
        notes.append(f"{far} is not right more often than {near} here: there is no gap to recover")
    if column is None:
        notes.append("no column of categories: no figures within them (--task COL names one)")
    weights = _draws(len(rows.near))
    result = _with_interval(lambda w: _figures(scored.gap, scored.near, rows, w), weights)
    result["far"] = _with_interval(lambda w: _chance_figures(scored.far, rows.far, w), weights)
    result["within_category"] = _within(scored.gap, scored.near, rows, weights)
    result["baselines"] = _baselines(rows, weights)
    cascade = _cascade(model, table, kept, scored, rows, weights)
    if cascade is not None:
        result["cascade"] = cascade
    about = {"near": near, "far": far, "rows": len(kept), "rows_fitted_on": fitted, "category_column": column}
    return {**result, **about, "fit": model.header["fit"], "notes": notes}


# -- which rows --------------------------------------------------------------------------------------------------------


def _held_out(
    model: TextModel, prompts: list[str], labels: Floats, name: str
) -> tuple[NDArray[np.int64], list[str], int]:
    whole = ~np.isnan(labels).any(axis=1)
    seen = model.seen(prompts)
    notes = []
    if gaps := int((~whole).sum()):
        notes.append(f"{gaps} rows left out: a gap in a label")
    if fitted := int((whole & seen).sum()):
        notes.append(f"{fitted} rows left out: the model was fitted on their prompts")
    kept = np.flatnonzero(whole & ~seen)
    if len(kept) < LEAST_ROWS:
        raise UserError(
            f"{name}: too few rows to evaluate" + (f" ({'; '.join(notes)})" if notes else ""),
            got=len(kept),
            allowed=f"{LEAST_ROWS} or more with both labels, not of the fit",
        )
    if np.ptp(labels[kept, 0]) == 0.0 and np.ptp(labels[kept, 1]) == 0.0:
        raise UserError(f"{name}: every label of each target is the same", got=labels[kept[0]].tolist())
    return kept, notes, fitted


def _category_column(model: TextModel, table: PromptTable, task: str | None) -> str | None:
    if task is not None:
        table.cells(task)  # or an error
        return task
    candidates = [model.header["task"], *CATEGORY_COLUMNS]
    return next((name for name in candidates if name is not None and table.has(name)), None)


def _numbered(table: PromptTable, column: str | None, kept: NDArray[np.int64]) -> NDArray[np.int64] | None:
    if column is None:
        return None
    texts = table.texts(column)
    names = np.array([texts[i] for i in kept], dtype=str)
    return np.asarray(np.unique(names, return_inverse=True)[1], dtype=np.int64)


# -- figures -----------------------------------------------------------------------------------------------------------


def _draws(n: int) -> list[Floats]:
    """Weights of the rows: all the same, and then those of the bootstrap."""
    random = np.random.default_rng(_SEED)
    return [np.ones(n), *(random.multinomial(n, np.full(n, 1.0 / n)).astype(np.float64) for _ in range(_DRAWS))]


def _with_interval(figures: Callable[[Floats], Figures], weights: list[Floats]) -> dict[str, Any]:
    """Value on the rows as they are; low and high are the 2.5 and 97.5 percentiles of the bootstrap; null for NaN."""
    drawn = [figures(one) for one in weights]
    return {name: _interval([one[name] for one in drawn]) for name in drawn[0]}


def _interval(values: list[float]) -> dict[str, float | None]:
    sample = np.array([value for value in values[1:] if not math.isnan(value)])
    if math.isnan(values[0]) or len(sample) == 0:
        return {"value": None, "low": None, "high": None}
    low, high = np.percentile(sample, [2.5, 97.5])
    return {"value": round(values[0], 6), "low": round(float(low), 6), "high": round(float(high), 6)}


def _routing_figures(score: Floats, rows: _Rows, weights: Floats) -> Figures:
    return {
        "apgr": metrics.apgr(score, rows.near, rows.far, weights),
        "cpt50": metrics.cpt(score, rows.near, rows.far, 0.5, weights),
        "cpt80": metrics.cpt(score, rows.near, rows.far, 0.8, weights),
    }


def _chance_figures(chance: Floats, right: Floats, weights: Floats) -> Figures:
    return {
        "auc": metrics.auc(chance, right, weights),
        "brier": metrics.brier(chance, right, weights),
        "ece": metrics.ece(chance, right, weights),
    }


def _figures(score: Floats, near_right: Floats, rows: _Rows, weights: Floats) -> Figures:
    return _routing_figures(score, rows, weights) | _chance_figures(near_right, rows.near, weights)


def _within(score: Floats, near_right: Floats, rows: _Rows, weights: list[Floats]) -> dict[str, Any] | None:
    """Figures of what a score knows beyond the category: every category sends the same share of its prompts far."""
    if rows.category is None:
        return None
    category = rows.category
    places = [np.flatnonzero(category == one) for one in range(int(category.max()) + 1)]
    ranked = _rank_within(score, places)

    def figures(w: Floats) -> Figures:
        found = _routing_figures(ranked, rows, w)
        parts = [_chance_figures(near_right[p], rows.near[p], w[p]) for p in places]
        sizes = np.array([_sizes(rows.near[p], w[p]) for p in places])
        for name, by in (("auc", 1), ("brier", 0), ("ece", 0)):
            values = np.array([part[name] for part in parts])
            counts = np.where(np.isnan(values), 0.0, sizes[:, by])
            total = float(counts.sum())
            found[name] = float(np.nan_to_num(values) @ counts) / total if total > 0.0 else math.nan
        return found

    usable = [w for w in weights if all(w[p].sum() > 0.0 for p in places)]
    return _with_interval(figures, usable)


def _sizes(right: Floats, weights: Floats) -> tuple[float, float]:
    """Rows of a category, and its pairs of a right and a wrong answer."""
    return float(weights.sum()), float((weights * right).sum() * (weights * (1.0 - right)).sum())


def _rank_within(score: Floats, places: list[NDArray[np.int64]]) -> Floats:
    ranked = np.zeros(len(score))
    for place in places:
        _, at, size = np.unique(score[place], return_inverse=True, return_counts=True)
        middle = np.cumsum(size) - size / 2.0
        ranked[place] = (middle / len(place))[at]
    return ranked


# -- baselines and the cascade -----------------------------------------------------------------------------------------


def _baselines(rows: _Rows, weights: list[Floats]) -> dict[str, Any]:
    """Scores that need no learning from text, on the same rows."""
    gap = rows.far - rows.near
    scores = {
        "random": np.zeros(len(gap)),
        "prompt_length": np.array([float(len(text)) for text in rows.texts]),
        "oracle": gap,
    }
    if rows.category is not None:
        scores["category_mean"] = _category_means(gap, rows.category)
    found: dict[str, Any] = {}
    for name in ("random", "prompt_length", "category_mean", "oracle"):
        score = scores.get(name)
        found[name] = (
            None if score is None else _with_interval(lambda w, s=score: _routing_figures(s, rows, w), weights)  # type: ignore[misc]
        )
    return found


def _category_means(gap: Floats, category: NDArray[np.int64]) -> Floats:
    """The mean gap of a row's category over the other nine tenths of the table."""
    fold = np.random.default_rng(_SEED).permutation(len(gap)) % _MEAN_FOLDS
    found = np.zeros(len(gap))
    for one in range(_MEAN_FOLDS):
        kept, held = fold != one, fold == one
        size = np.bincount(category[kept], minlength=int(category.max()) + 1)
        total = np.bincount(category[kept], gap[kept], minlength=len(size))
        means = np.where(size > 0, total / np.maximum(size, 1), gap[kept].mean())
        found[held] = means[category[held]]
    return found


def _cascade(
    model: TextModel,
    table: PromptTable,
    kept: NDArray[np.int64],
    scored: Scored,
    rows: _Rows,
    weights: list[Floats],
) -> dict[str, Any] | None:
    """Figures when the score may look at the near answer first; None without a second stage or its columns."""
    figures = answer_figures(model, table)
    if figures is None:
        return None
    confidence = scored.confidence(model, figures[kept])
    found = _with_interval(lambda w: _figures(scored.far - confidence, confidence, rows, w), weights)
    found["confidence"] = {"auc": found["auc"]}
    found["within_category"] = _within(scored.far - confidence, confidence, rows, weights)
    return found
