"""How able a model is, in logits: a request of difficulty d is answered right with chance sigmoid(ability - d).

    ability = -0.16 + 1.27 log10(effective parameters in 1e9) - loss of the weights' precision

Slope, level and losses are assumptions, not fits; results name them as such. Effective parameters of a mixture of
experts are the geometric mean of all and of those that one token takes part in, a rule of thumb. A user who knows
better gives a number for a task, or one for all (`default`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from profiles.errors import UserError
from profiles.model import Model
from profiles.record import BYTES_PER_VALUE, Confidence

__all__ = ["CONFIDENCE", "DEFAULT_TASK", "abilities", "ability", "effective_params_b"]

CONFIDENCE: Confidence = "assumed"
"""How far the formula may be trusted."""

DEFAULT_TASK = "default"
"""The key of an override for all tasks that have none of their own."""

_LEVEL = -0.16  # of 1e9 parameters
_PER_DECADE = 1.27
_LOSS_BY_BITS = {4: 0.15, 8: 0.03}


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
    """Ability in logits of a model with so many effective parameters (1e9) at a precision of its weights.

    `overrides` maps tasks, or `default`, to abilities that are taken as they are, whatever the precision.
    Raises `UserError` for sizes that are not above 0, unknown precisions, and overrides that are not finite.
    """
    given = overrides or {}
    if task in given or DEFAULT_TASK in given:
        return _finite(given, task if task in given else DEFAULT_TASK)
    if not 0.0 < effective_params_b < math.inf:
        raise UserError("effective parameters must be above 0 and finite", got=effective_params_b)
    if precision not in BYTES_PER_VALUE:
        raise UserError("unknown precision of weights", got=precision, allowed=", ".join(BYTES_PER_VALUE))
    loss = _LOSS_BY_BITS.get(round(8 * BYTES_PER_VALUE[precision]), 0.0)
    return _LEVEL + _PER_DECADE * math.log10(effective_params_b) - loss


def abilities(
    model: Model, precision: str, tasks: Sequence[str], overrides: Mapping[str, float] | None = None
) -> list[float]:
    """Abilities of a model (logits) for tasks, in their order. Raises `UserError` as `ability` does."""
    size = effective_params_b(model.total_params_b, model.active_params_b)
    return [ability(size, precision, task=task, overrides=overrides) for task in tasks]


def _finite(given: Mapping[str, float], key: str) -> float:
    value = given[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"ability of {key!r}: bad value", got=value, allowed="a finite number of logits")
    return float(value)
