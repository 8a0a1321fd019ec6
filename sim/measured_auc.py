"""How well fitted text models tell right answers from wrong ones: the two figures that a fleet takes unless told.

An area under the ROC curve: the chance that of a right and a wrong answer the right one has the higher score.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CASCADE_AUC", "ESTIMATE_AUC", "MeasuredAuc"]


class MeasuredAuc(NamedTuple):
    """A figure and where it comes from."""

    auc: float
    source: str


ESTIMATE_AUC = MeasuredAuc(
    0.59,
    "text models, cross-validated, within a category: 0.52 to 0.67 on MMLU, MMLU-Pro, ZeroEval, LLMRouter's tasks",
)
"""Whether the near answer will be right, from the prompt: the mean by rows of docs/background/quality.md's table."""

CASCADE_AUC = MeasuredAuc(
    0.70, "fitted to prompt and answer, cross-validated, within a category: 0.69 on ZeroEval, 0.70 on MMLU-Pro"
)
"""Whether the near answer is right, once it is there: the mean by rows of the same table."""
