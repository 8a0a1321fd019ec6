"""Why a policy chooses what it chooses: every feature's contribution to every score, and what would turn the choice.

    found = explanation(policy, situation, tasks)
    found["chosen"], found["actions"], found["turning"]

score = sum of weight x feature + the scene's term (rule W4), so the contributions say it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from policies.checking.ruled_out import MASKS
from policies.checking.scoring import Scored, Scorer
from policies.checking.situations import Situation
from policies.layout import FEATURES, KINDS, LAYOUT_VERSION
from policies.learning.scales import LIMITS
from policies.policy import Policy

__all__ = ["action_name", "explanation"]

_MOST_TURNS = 4  # for each rival
_SWITCHED = ("ttft_over_slo", "metered_mb", "scarce_energy_j")  # 0 because of the task, the network, the full battery


def explanation(policy: Policy, situation: Situation, tasks: Sequence[str]) -> dict[str, Any]:
    """Numbers and texts only: all possible actions with their features, those ruled out with their masks, the choice
    with its margin (None where it is the only one), and single changes that would put another one ahead of it."""
    scorer = Scorer(policy.table(tasks), tasks)
    scored = scorer.scored(situation)
    best = scorer.best(scored)
    rivals = [] if best is None else _rivals(best, scored)
    return {
        "policy": policy.name,
        "layout": LAYOUT_VERSION,
        "chosen": None if best is None else best.action.index,
        "runner_up": rivals[0].action.index if rivals else None,
        "margin": best.score - rivals[0].score if best is not None and rivals else None,
        "actions": [_action(one, scorer) for one in scored],
        "ruled_out": _ruled_out(situation, scorer),
        "turning": [turn for rival in rivals if best is not None for turn in _turning(best, rival, scorer)],
    }


def action_name(action: Any) -> str:
    """Kind and pool: `near`, `cloud dense`, `cascade dense`."""
    return str(action.kind) if action.pool in (None, action.kind) else f"{action.kind} {action.pool}"


def _action(one: Scored, scorer: Scorer) -> dict[str, Any]:
    weights = scorer.table.weights.tolist()
    return {
        "index": one.action.index,
        "name": action_name(one.action),
        "kind": one.action.kind,
        "pool": one.action.pool,
        "features": [
            {
                "name": feature.name,
                "unit": feature.unit,
                "value": float(value),
                "weight": weight,
                "contribution": weight * float(value) + 0.0,  # no -0
            }
            for feature, value, weight in zip(FEATURES, one.phi, weights, strict=True)
        ],
        "scene": one.scene,
        "score": one.score,
    }


def _ruled_out(situation: Situation, scorer: Scorer) -> list[dict[str, Any]]:
    found = []
    for action in situation.actions:
        masks = situation.ruled_out.get(action.index, ())
        if action.kind not in scorer.kinds:
            masks = (*masks, "actions")
        if masks:
            name = action_name(action)
            found.append(
                {
                    "index": action.index,
                    "name": name,
                    "kind": action.kind,
                    "pool": action.pool,
                    "masks": [{"name": mask, "meaning": MASKS[mask]} for mask in masks],
                }
            )
    return found


# -- what would turn the choice ----------------------------------------------------------------------------------------


def _rivals(best: Scored, scored: Sequence[Scored]) -> list[Scored]:
    """The runner-up; and, where that is of the same kind, the best one of another kind."""
    others = [one for one in scored if one.action.index != best.action.index]
    unlike = [one for one in others if one.action.kind != best.action.kind]
    found = [one for one in (Scorer.best(others), Scorer.best(unlike)) if one is not None]
    return found[:1] if len(found) == 2 and found[0].action.index == found[1].action.index else found


def _turning(best: Scored, second: Scored, scorer: Scorer) -> list[dict[str, Any]]:
    """Changes of one feature of one of the two, all else as it is, from which on the second one is ahead of the first:
    those with the largest contributions first. Flags that name a kind do not change."""
    margin = best.score - second.score
    if margin == 0.0:
        return []
    found: list[dict[str, Any]] = []
    for one, by in ((best, -margin), (second, margin)):
        for i, feature in enumerate(FEATURES):
            weight = float(scorer.table.weights[i])
            if weight == 0.0 or feature.name in KINDS or _belongs_to_near(feature.name, one):
                continue
            value, change = float(one.phi[i]), by / weight
            if value == 0.0 and feature.name in _SWITCHED:
                continue
            low, high = LIMITS[feature.name]
            found.append(
                {
                    "rival": action_name(second.action),
                    "margin": margin,
                    "action": action_name(one.action),
                    "feature": feature.name,
                    "unit": feature.unit,
                    "from": value,
                    "to": value + change,
                    "change": change,
                    "possible": low <= value + change <= high,
                    "contribution": weight * value,
                }
            )
    return sorted(found, key=lambda turn: (not turn["possible"], -abs(turn["contribution"])))[:_MOST_TURNS]


def _belongs_to_near(name: str, one: Scored) -> bool:
    """Whether this is a feature that only near has, of something else."""
    return name.startswith("near_") and one.action.kind != "near"
