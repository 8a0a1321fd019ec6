"""Who decides and is logged: a linear policy that explores. The same object serves simulator and daemon."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.features import score
from policies.learning.exploring import NOISE, Choice, check_share, draw, explore, win_chances
from policies.table import PolicyTable

__all__ = ["Behaviour", "Scored"]


class Scored(NamedTuple):
    """What a policy makes of the actions of one decision."""

    scores: NDArray[np.float64]
    """(A,): with the noise that was drawn; −inf where the masks forbid."""
    chances: NDArray[np.float64]
    """(A,): those with which the policy takes each, before its noise is drawn."""
    favourite: int


class Behaviour:
    """Scores the actions as the compiled plane does, and in a `share` of the decisions takes any feasible one."""

    def __init__(self, table: PolicyTable, *, share: float = 0.0, seed: int = 0) -> None:
        self.table = table
        self.share = check_share("exploration", share)
        self._seed = seed
        self._width = float(table.weights[NOISE])
        self._still = table.weights.copy()
        self._still[NOISE] = 0.0

    def scored(
        self, phi: NDArray[np.float64], kinds: NDArray[np.int8], task: int, feasible: NDArray[np.bool_]
    ) -> Scored:
        """Features are (A, features), kinds positions in `policies.layout.KINDS`; at least one action is feasible."""
        scene = self.table.scene[task]
        possible = np.flatnonzero(feasible)
        scores, favourite = np.full(len(phi), -np.inf), -1
        for a in possible.tolist():
            scores[a] = score(phi[a], self.table.weights, scene[kinds[a]])
            if favourite < 0 or scores[a] > scores[favourite]:
                favourite = a
        chances = np.zeros(len(phi))
        if self._width == 0.0 or len(possible) == 1:
            chances[favourite] = 1.0
        else:
            still = np.array([[score(phi[a], self._still, scene[kinds[a]]) for a in possible.tolist()]])
            chances[possible] = win_chances(still, self._width)[0]
        return Scored(scores, chances, favourite)

    def choose(self, scored: Scored, feasible: NDArray[np.bool_], request_id: str, attempt: int) -> Choice:
        """The action of this decision: always the same for one seed and request."""
        return explore(scored.chances, scored.favourite, feasible, self.share, draw(self._seed, request_id, attempt))
