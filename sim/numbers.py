"""Numbers that may be one or many: the latency model's formula takes both."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Number", "smooth_maximum"]

Floats: TypeAlias = NDArray[np.float64]
Number: TypeAlias = Any  # float or Floats


def smooth_maximum(a: Number, b: Number, exponent: Number) -> Number:
    """(a^p + b^p)^(1/p) of numbers that are not negative, scaled so that nothing under- or overflows."""
    high, low = np.maximum(a, b), np.minimum(a, b)
    share = low / np.where(high > 0.0, high, 1.0)
    return high * (1.0 + share**exponent) ** (1.0 / exponent)
