"""The compiled scorer, one decision at a time from Python: φ, contributions and scores of what is possible.

It calls `policies.features.fill` and `score`, as the data plane does, in the same order and with the same ties (rule
W4). Nothing is computed here a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import ActionView, DeviceView, RequestView
from policies.checking.situations import Situation
from policies.features import FEATURE_COUNT, fill, score
from policies.layout import KINDS
from policies.table import PolicyTable

__all__ = ["Scored", "Scorer", "phi_of"]


def phi_of(request: RequestView, device: DeviceView, action: ActionView, slo_ttft_s: float) -> NDArray[np.float64]:
    """(features,): φ of what a router is shown of one action."""
    phi = np.empty(FEATURE_COUNT)
    fill(
        phi,
        KINDS.index(action.kind),
        action.quality,
        action.ttft_s,
        action.e2e_s,
        action.energy_j,
        action.cost_usd,
        action.egress_bytes,
        action.load,
        action.noise,
        request.difficulty,
        request.prompt_tokens,
        device.battery,
        device.heat,
        int(device.metered),
        slo_ttft_s,
    )
    return phi


class Scored(NamedTuple):
    """An action with its features (of the layout's length), what its scene adds, and its score."""

    action: ActionView
    phi: NDArray[np.float64]
    scene: float
    score: float


class Scorer:
    """A policy's numbers for tasks in this order, as `Policy.table` made them."""

    def __init__(self, table: PolicyTable, tasks: Sequence[str]) -> None:
        self.table = table
        self.kinds = frozenset(kind for kind, used in zip(KINDS, table.kinds, strict=True) if used)
        self._row = {task: number for number, task in enumerate(tasks)}

    def scored(self, situation: Situation) -> list[Scored]:
        """Every possible action of the kinds that the policy uses, in the order of rule W1."""
        request, device = situation.request, situation.device
        scenes = self.table.scene[self._row[request.task]]
        found = []
        for action in situation.possible(self.kinds):
            phi = phi_of(request, device, action, situation.slo_ttft_s)
            scene = float(scenes[KINDS.index(action.kind)])
            found.append(Scored(action, phi, scene, score(phi, self.table.weights, scene)))
        return found

    @staticmethod
    def best(scored: Sequence[Scored]) -> Scored | None:
        """The largest score, among equals the first; None when nothing is possible."""
        best: Scored | None = None
        for one in scored:
            if best is None or one.score > best.score:
                best = one
        return best
