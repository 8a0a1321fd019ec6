"""How able a model is, in logits: a request of difficulty d is answered right with chance sigmoid(ability - d).

Models with published scores have abilities that were fitted to them (`Model.abilities`, by skill). For the others it is
the line of the same fit, around which models scatter with a standard deviation of `MODEL_SPREAD` logits:

    ability = LEVEL + PER_DECADE log10(effective parameters in 1e9)

Either way less a loss by the precision of the weights, which is assumed, as is `LEVEL`, the origin of the scale.
Effective parameters of a mixture of experts are the geometric mean of all and of those that one token takes part in, a
rule of thumb. A user who knows better gives a number for a task, or one for all (`default`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from profiles.errors import UserError
from profiles.model import Model
from profiles.record import BYTES_PER_VALUE, Confidence

__all__ = [
    "DEFAULT_TASK",
    "LEVEL",
    "LOSS_BY_BITS",
    "MODEL_SPREAD",
    "PER_DECADE",
    "SKILL_OF_TASK",
    "abilities",
    "ability",
    "confidence_of",
    "effective_params_b",
]

DEFAULT_TASK = "default"
"""The key of an override for all tasks that have none of their own."""

LEVEL = -0.16
"""Ability on the line of a model of 1e9 parameters: the origin, on which the difficulties of tasks were guessed."""

PER_DECADE = 1.364
"""Logits per tenfold size, fitted by `python -m sim.calibration.abilities`."""

MODEL_SPREAD = 0.86
"""Standard deviation of models around the line, logits, from the same fit."""

SKILL_OF_TASK: Mapping[str, str] = {
    "agent-long-reasoning": "reasoning",
    "agent-parallel-samples": "reasoning",
    "chat": "knowledge",
    "code": "code",
    "document-qa": "knowledge",
    "tv-qa": "knowledge",
}
"""What a task asks of a model; the general ability counts where no benchmark speaks for a task."""

LOSS_BY_BITS: Mapping[int, float] = {4: 0.15, 8: 0.03}
"""Logits that weights of so many bits cost, assumed."""


def effective_params_b(total_params_b: float, active_params_b: float) -> float:
    """1e9 parameters of a dense model of like ability: sqrt(total x active), which for a dense model is its size."""
    return math.sqrt(total_params_b * active_params_b)


def ability(
    effective_params_b: float,
    precision: str = "bf16",
    *,
    task: str = DEFAULT_TASK,
    overrides: Mapping[str, float] | None = None,
) -> float:
    """Ability in logits, by the line, of a model with so many effective parameters (1e9) at a precision of its weights.

    `overrides` maps tasks, or `default`, to abilities that are taken as they are, whatever the precision.
    Raises `UserError` for sizes that are not above 0, unknown precisions, and overrides that are not finite.
    """
    given = overrides or {}
    if task in given or DEFAULT_TASK in given:
        return _finite(given, task if task in given else DEFAULT_TASK)
    if not 0.0 < effective_params_b < math.inf:
        raise UserError("effective parameters must be above 0 and finite", got=effective_params_b)
    return LEVEL + PER_DECADE * math.log10(effective_params_b) - _loss(precision)


def abilities(
    model: Model, precision: str, tasks: Sequence[str], overrides: Mapping[str, float] | None = None
) -> list[float]:
    """Abilities of a model (logits) for tasks, in their order: overrides, else what was fitted, else the line.

    Raises `UserError` as `ability` does.
    """
    known = model.abilities
    if known is None:
        size = effective_params_b(model.total_params_b, model.active_params_b)
        return [ability(size, precision, task=task, overrides=overrides) for task in tasks]
    given, loss = overrides or {}, _loss(precision)
    found = []
    for task in tasks:
        key = task if task in given else DEFAULT_TASK
        skill = getattr(known, SKILL_OF_TASK.get(task, "general"))
        found.append(_finite(given, key) if key in given else (known.general if skill is None else skill) - loss)
    return found


def confidence_of(model: Model) -> Confidence:
    """How far to trust a model's abilities, before the loss by precision: `assumed` on the line."""
    return "assumed" if model.abilities is None else model.confidence_of("abilities")


def _loss(precision: str) -> float:
    if precision not in BYTES_PER_VALUE:
        raise UserError("unknown precision of weights", got=precision, allowed=", ".join(BYTES_PER_VALUE))
    return LOSS_BY_BITS.get(round(8 * BYTES_PER_VALUE[precision]), 0.0)


def _finite(given: Mapping[str, float], key: str) -> float:
    value = given[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"ability of {key!r}: bad value", got=value, allowed="a finite number of logits")
    return float(value)
