"""A model over a whole table: chances per row, the file of scores, and what is worth telling."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.text.answers import ANSWER_FIGURES
from policies.text.fit import AnswerColumns, read_answers
from policies.text.model import HEADS, TextModel, load
from policies.text.tables import PromptTable, read_tables
from profiles.errors import UserError

__all__ = ["Scored", "answer_figures", "score_file", "score_texts", "script_notes"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """Heads (n x 3) and chances of n prompts."""

    heads: Floats
    near: Floats
    far: Floats

    @property
    def gap(self) -> Floats:
        """P(far right) - P(near right)."""
        return self.far - self.near

    def confidence(self, model: TextModel, answers: Floats) -> Floats:
        """P(near right) once the near answers are there (n x figures of the model)."""
        assert model.learned_confidence is not None
        return model.learned_confidence.chance(self.heads, answers)


def score_texts(model: TextModel, texts: Sequence[str]) -> Scored:
    """Heads and chances of prompts, in their order."""
    heads = np.zeros((len(texts), HEADS))
    chances = np.zeros((len(texts), 2))
    for row, text in enumerate(texts):
        heads[row] = model.heads(text)[0]
        chances[row] = model.chances(heads[row])
    return Scored(heads, chances[:, 0], chances[:, 1])


def score_file(model_path: Path, table_path: Path, out: Path, *, cascade: bool = False) -> dict[str, Any]:
    """Write row (0-based) and score of every row of a table; higher means send far.

    With `cascade` the score has seen the near answer: P(far right) less the confidence in that answer.
    """
    model = load(model_path)
    table = read_tables([table_path])
    texts = table.texts()
    scored = score_texts(model, texts)
    score = scored.gap
    if cascade:
        figures = answer_figures(model, table, needed=True)
        assert figures is not None
        score = scored.far - scored.confidence(model, figures)
    _write(out, score)
    notes = script_notes(model, texts)
    if fitted := int(model.seen(texts).sum()):
        notes.insert(0, f"{fitted} of {len(texts)} prompts are those that the model was fitted on")
    if empty := sum(not text.strip() for text in texts):
        notes.append(f"{empty} prompts are empty: their score is that of no words at all")
    return {"rows": len(texts), "out": str(out), "cascade": cascade, "notes": notes}


def answer_figures(model: TextModel, table: PromptTable, *, needed: bool = False) -> Floats | None:
    """Figures of a table's near answers (rows x figures of the model); None, or `UserError` if needed, without them."""
    columns = AnswerColumns(**model.header["answer_columns"])
    missing = [name for name in (columns.chars, columns.answer, columns.logprob) if name and not table.has(name)]
    if not columns or missing:
        if not needed:
            return None
        if not columns:
            raise UserError(
                "this model has no second stage", next_step="fit with --answer-chars, --answer or --logprob"
            )
        table.cells(missing[0])  # raises: it is missing
    read = read_answers(table, columns)
    assert read is not None
    found = np.full((table.rows, len(ANSWER_FIGURES)), math.nan)
    for i, name in enumerate(read.names):
        found[:, ANSWER_FIGURES.index(name)] = read.values[:, i]
    return found[:, [ANSWER_FIGURES.index(name) for name in model.answer_figures]]


def script_notes(model: TextModel, texts: Sequence[str]) -> list[str]:
    """What to tell about prompts in scripts that the model never saw."""
    strange = [scripts for scripts in map(model.strange_scripts, texts) if scripts]
    if not strange:
        return []
    names = sorted(set().union(*strange))
    shown = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
    return [
        f"{len(strange)} of {len(texts)} prompts have letters of scripts the model never saw ({shown}): "
        "their scores rest on layout and on what words are left"
    ]


def _write(out: Path, score: Floats) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "score"])
    writer.writerows((row, f"{value:.6f}") for row, value in enumerate(score))
    part = out.with_name(out.name + ".part")
    try:
        part.write_text(buffer.getvalue(), encoding="utf-8")
        part.replace(out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}", next_step="give another path") from None
