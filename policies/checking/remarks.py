"""What is odd about a policy's numbers, though no error: worth a line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from policies.checking.scoring import Scored, Scorer
from policies.checking.situations import Situation
from policies.layout import FEATURE_NAMES

__all__ = ["idle_actions", "weight_remarks"]

_TIE = 1e-12  # relative to the scores: what only their rounding tells apart is a tie


def idle_actions(scorer: Scorer, tried: Sequence[Situation]) -> list[str]:
    """How often nothing of the policy's kinds is possible where something is."""
    lost = sum(not one.possible(scorer.kinds) for one in tried)
    if not lost:
        return []
    return [f"in {lost:,} of {len(tried):,} situations something is possible, but no kind in its actions: those fail"]


def weight_remarks(scorer: Scorer, tried: Sequence[Situation]) -> list[str]:
    """Weights that only break ties, and those that never changed a choice."""
    weights = scorer.table.weights
    used = [i for i in np.flatnonzero(weights).tolist() if np.isfinite(weights).all()]
    tied, decided = set[int](), set[int]()
    for situation in tried:
        scored = scorer.scored(situation)
        if len(scored) > 1:
            for i in used:
                _note_change(scored, i, float(weights[i]), tied, decided)
    remarks = []
    alone = len(used) == 1 and not scorer.table.scene.any()  # where all else is nothing, all is a tie
    if ties := [] if alone else [FEATURE_NAMES[i] for i in used if i in tied - decided]:
        remarks.append(f"only to break ties: {', '.join(ties)}")
    if idle := [FEATURE_NAMES[i] for i in used if i not in tied | decided]:
        remarks.append(f"never changed a choice: {', '.join(idle)}")
    return remarks


def _note_change(scored: Sequence[Scored], i: int, weight: float, tied: set[int], decided: set[int]) -> None:
    """Whether the choice is another without feature i; and if so, whether all else was equal."""
    whole = np.array([one.score for one in scored])
    without = whole - np.array([weight * one.phi[i] for one in scored])
    before, after = int(whole.argmax()), int(without.argmax())
    if before != after:
        gap = abs(without[after] - without[before])
        (tied if gap <= _TIE * max(1.0, float(np.abs(whole).max())) else decided).add(i)
