"""Right or wrong, sure or in doubt: what is drawn for a request whatever any policy does (rules Q1, G5)."""

from __future__ import annotations

from typing import Any

from policies.compiled import kernel
from policies.features import normal_quantile, sigmoid
from sim.kernels.draws import uniform
from sim.kernels.views import ability_of, trip_of

__all__ = ["TINY", "confidence_in", "is_right"]

TINY = 2.0**-54  # the smallest draw that a quantile is taken of


@kernel
def is_right(w: Any, r: int, model: int) -> bool:
    """Rule Q1."""
    trip = trip_of(w, r)
    return uniform(w.seed, r, 0, 1000 + model) < sigmoid(ability_of(w, model, trip.task) - trip.difficulty)


@kernel
def confidence_in(w: Any, r: int, model: int) -> float:
    """How sure one is of the near answer of a cascade (rule G5)."""
    drawn = normal_quantile(max(uniform(w.seed, r, 0, 15), TINY))
    return drawn + w.separation if is_right(w, r, model) else drawn
