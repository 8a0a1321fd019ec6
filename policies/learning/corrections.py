"""A policy that believes what a log says of its predictions (`policies.learning.reestimate`).

A linear policy takes it all in: its weight of quality becomes b times as large and its scenes get the offsets a;
weights of times become c times as large. Where c differs between kinds of actions, which have one weight in common, the
rest goes into the scenes at the mean time of that kind. Only what is significant is corrected, and by what is believed
of it, not by what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policies.layout import FEATURE_NAMES, KINDS
from policies.learning.decisions import Decisions
from policies.learning.reestimate import TIMES, QualityFit, Reestimates
from policies.policy import DEFAULT_SCENE, Policy

__all__ = ["corrected_policy"]

Scenes = Mapping[str, dict[Any, float]]


def corrected_policy(policy: Policy, found: Reestimates, log: Decisions) -> tuple[Policy | None, tuple[str, ...]]:
    """The policy with corrected weights, and what was changed; None when nothing that it weighs was off."""
    weights = dict(policy.weights)
    scenes = {task: dict(row) for task, row in policy.scenes.items()}
    for task in log.tasks:  # a task without a scene of its own gets the default one
        scenes.setdefault(task, dict(policy.scenes.get(DEFAULT_SCENE, {})))
    told = [
        *_correct_quality(weights, scenes, policy, found.quality),
        *(line for name in TIMES for line in _correct_times(name, weights, scenes, policy, found, log)),
    ]
    if not told:
        return None, ()
    changed = policy.model_dump() | {
        "name": f"{policy.name}-corrected",
        "description": f"{policy.description or policy.name}; corrected by a decision log",
        "weights": weights,
        "scenes": {task: row for task, row in scenes.items() if row},
    }
    return Policy.model_validate(changed), tuple(told)


def _correct_quality(weights: dict[str, float], scenes: Scenes, policy: Policy, fit: QualityFit | None) -> list[str]:
    """Offsets are distances from the common line, whose slope the weight takes in and whose shift favours nobody."""
    weight = policy.weights.get("quality", 0.0)
    if fit is None or weight == 0.0:
        return []
    told = []
    if fit.significant:
        weights["quality"] = weight * fit.believed
        told.append(f"weight of quality x {fit.believed:.3g}")
    off = [cell for cell in fit.cells if cell.significant and cell.offset != 0.0 and cell.kind in policy.actions]
    for cell in off:
        row = scenes[cell.task]
        row[cell.kind] = row.get(cell.kind, 0.0) + weight * cell.offset
    if off:
        told.append(f"offsets of quality for {len(off)} tasks and kinds")
    return told


def _correct_times(
    name: str, weights: dict[str, float], scenes: Scenes, policy: Policy, found: Reestimates, log: Decisions
) -> list[str]:
    weight = policy.weights.get(name, 0.0)
    factors = {one.kind: one for one in found.times if one.name == name and one.kind in policy.actions}
    if weight == 0.0 or not any(one.significant for one in factors.values()):
        return []
    column = log.phi[:, FEATURE_NAMES.index(name)]
    seconds = {
        kind: one.n * float(column[log.feasible & (log.kind == KINDS.index(kind))].mean())
        for kind, one in factors.items()
    }
    common = sum(factors[kind].believed * seconds[kind] for kind in factors) / max(sum(seconds.values()), 1e-12)
    weights[name] = weight * common
    told = [f"weight of {name} x {common:.3g}"]
    task = log.task[log.row]
    for kind, one in factors.items():
        mine = log.feasible & (log.kind == KINDS.index(kind))
        for t, word in enumerate(log.tasks):
            here = mine & (task == t)
            if here.any():
                rest = weight * (one.believed - common) * float(column[here].mean())
                scenes[word][kind] = scenes[word].get(kind, 0.0) + rest
    if len(factors) > 1:
        told.append(f"{name} of {', '.join(factors)} apart, in the scenes")
    return told
