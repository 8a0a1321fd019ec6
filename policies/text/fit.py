"""From tables to a model: which rows count, what is left out and told, and the model's own figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.text.answers import ANSWER_FIGURES, AnswerFeatures
from policies.text.confidence import logistic
from policies.text.features import BITS, TOPICS
from policies.text.learn import Answers, Learned, learn
from policies.text.metrics import apgr, auc, ece
from policies.text.model import KIND, VERSION, TextModel, fingerprints, scripts_of
from policies.text.tables import PromptTable, read_tables
from profiles.errors import UserError

__all__ = ["LEAST_ROWS", "AnswerColumns", "fit", "fit_tables", "read_answers"]

LEAST_ROWS = 60
_SCRIPT_SHARE = 0.002  # of prompts; rarer scripts count as never seen

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AnswerColumns:
    """Columns that tell about the near answer: its length in characters, its text, its mean log-probability."""

    chars: str | None = None
    answer: str | None = None
    logprob: str | None = None

    def __bool__(self) -> bool:
        return any((self.chars, self.answer, self.logprob))


def fit_tables(
    paths: Sequence[Path], near: str, far: str, *, task: str | None = None, answers: AnswerColumns | None = None
) -> TextModel:
    """Read tables and fit. Raises `UserError` for what cannot be read or learned from."""
    return fit(read_tables(paths), near, far, task=task, answers=answers)


def fit(
    table: PromptTable, near: str, far: str, *, task: str | None = None, answers: AnswerColumns | None = None
) -> TextModel:
    """Fit to a table with a `prompt` column and one column of correctness per target."""
    columns = answers or AnswerColumns()
    if near == far:
        raise UserError("near and far must be two columns", got=near)
    labels = np.column_stack([table.labels(near), table.labels(far)])
    prompts = table.texts()
    read = read_answers(table, columns)
    categories = table.texts(task) if task is not None else None
    kept, notes = _usable(prompts, labels)
    _check(labels[kept], near, far, table.name)
    texts = [prompts[i] for i in kept]
    learned = learn(
        texts,
        labels[kept, 0],
        labels[kept, 1],
        categories=None if categories is None else [categories[i] for i in kept],
        answers=None if read is None else Answers(read.names, read.values[kept]),
    )
    header = _header(near, far, task, columns, texts, learned, labels[kept])
    header["notes"] = notes
    return TextModel.of(header, _arrays(texts, learned))


def read_answers(table: PromptTable, columns: AnswerColumns) -> Answers | None:
    """Figures of near answers, as far as columns tell them; None where no column is named."""
    if not columns:
        return None
    found: dict[str, Floats] = {}
    if columns.answer is not None:
        read = [AnswerFeatures.of(text) for text in table.texts(columns.answer)]
        found = {name: np.array([getattr(one, name) for one in read]) for name in ("chars", "repetition", "refusal")}
    if columns.chars is not None:
        found["chars"] = table.numbers(columns.chars, least=0.0, most=1e12)
    if columns.logprob is not None:
        found["logprob"] = table.numbers(columns.logprob, least=-1e6, most=0.0)
    names = tuple(name for name in ANSWER_FIGURES if name in found and not np.isnan(found[name]).all())
    if not names:
        raise UserError("the columns of near answers hold no figure", got=table.name)
    return Answers(names, np.column_stack([found[name] for name in names]))


def _usable(prompts: list[str], labels: Floats) -> tuple[NDArray[np.int64], list[str]]:
    """Rows with a prompt and both labels, the first of each prompt; and what was left out, in words."""
    gaps = np.isnan(labels).any(axis=1)
    empty = np.array([not text.strip() for text in prompts], dtype=bool)
    first: dict[int, int] = {}
    marks = fingerprints(prompts)
    for row in np.flatnonzero(~gaps & ~empty):
        first.setdefault(int(marks[row]), int(row))
    kept = np.array(sorted(first.values()), dtype=np.int64)
    twice = int((~gaps & ~empty).sum()) - len(kept)
    told = [(int(gaps.sum()), "a gap in a label"), (int((empty & ~gaps).sum()), "an empty prompt")]
    notes = [f"{count} rows left out: {why}" for count, why in told if count]
    if twice:
        notes.append(f"{twice} rows left out: their prompt stands in an earlier row")
    return kept, notes


def _check(labels: Floats, near: str, far: str, name: str) -> None:
    if len(labels) < LEAST_ROWS:
        raise UserError(
            f"{name}: too few rows with a prompt and both labels", got=len(labels), allowed=f"{LEAST_ROWS} or more"
        )
    for column, values in ((near, labels[:, 0]), (far, labels[:, 1])):
        if np.ptp(values) == 0.0:
            raise UserError(f"{name}: every label of {column!r} is the same", got=float(values[0]))


def _header(
    near: str, far: str, task: str | None, columns: AnswerColumns, texts: list[str], learned: Learned, labels: Floats
) -> dict[str, Any]:
    scripts = Counter(script for text in texts for script in scripts_of(text))
    least = max(2.0, _SCRIPT_SHARE * len(texts))
    return {
        "kind": KIND,
        "version": VERSION,
        "near": near,
        "far": far,
        "task": task,
        "answer_columns": {"chars": columns.chars, "answer": columns.answer, "logprob": columns.logprob},
        "answer_figures": list(learned.confidence.figures) if learned.confidence is not None else [],
        "bits": BITS,
        "topics": TOPICS,
        "penalty": learned.penalty,
        "scripts": sorted(script for script, count in scripts.items() if count >= least),
        "fit": _figures(learned, labels),
    }


def _figures(learned: Learned, labels: Floats) -> dict[str, Any]:
    """What the rows of the fit show, each scored by folds that left it out."""
    slope, offset = learned.calibration.T
    chance = logistic(learned.unseen[:, :2] * slope + offset)
    gap = float((labels[:, 1] - labels[:, 0]).mean())
    area = apgr(chance[:, 1] - chance[:, 0], labels[:, 0], labels[:, 1]) if gap > 0.0 else None
    return {
        "rows": len(labels),
        "near_right": round(float(labels[:, 0].mean()), 6),
        "far_right": round(float(labels[:, 1].mean()), 6),
        "apgr": None if area is None else round(area, 4),
        "auc_near": round(auc(chance[:, 0], labels[:, 0]), 4),
        "auc_far": round(auc(chance[:, 1], labels[:, 1]), 4),
        "ece_near": round(ece(chance[:, 0], labels[:, 0]), 4),
        "ece_far": round(ece(chance[:, 1], labels[:, 1]), 4),
    }


def _arrays(texts: list[str], learned: Learned) -> dict[str, NDArray[Any]]:
    basis, heads = learned.basis, learned.heads
    arrays: dict[str, NDArray[Any]] = {
        "known": basis.known.astype(np.int32),
        "idf": basis.idf,
        "topics": basis.topics.astype(np.float16),
        "word_heads": heads.words.astype(np.float32),
        "center": basis.center,
        "stretch": basis.stretch,
        "landmarks": basis.landmarks,
        "landmark_heads": (learned.whitening @ heads.smooth).astype(np.float32),
        "level": heads.level,
        "calibration": learned.calibration,
        "fitted_on": np.sort(fingerprints(texts)),
    }
    if learned.confidence is not None:
        second = learned.confidence
        arrays |= {"answer_center": second.center, "answer_scale": second.scale, "answer_weights": second.weights}
    return arrays
