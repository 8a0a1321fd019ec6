"""Numbers of controls that are given in Python; those of a scenario are checked by `sim.controls.specs`."""

from __future__ import annotations

import math

from profiles.errors import UserError

__all__ = ["check_not_negative", "check_positive"]


def check_not_negative(**values: float) -> None:
    """Raise `UserError` for the first one that is negative, infinite or NaN."""
    for name, value in values.items():
        if not 0.0 <= value < math.inf:
            raise UserError(f"{name} must not be negative, and finite", got=value)


def check_positive(**values: float) -> None:
    """Raise `UserError` for the first one that is not above 0, infinite or NaN."""
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise UserError(f"{name} must be more than 0, and finite", got=value)
