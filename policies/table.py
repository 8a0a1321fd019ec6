"""A policy as the scorer wants it: numbers only, resolved against the tasks of a fleet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PolicyTable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTable:
    """`policies.policy.Policy.table` makes it; plane, oracle and daemon read it."""

    name: str
    weights: NDArray[np.float64]
    """(features,), in the order of `policies.layout.FEATURES`; finite."""
    scene: NDArray[np.float64]
    """(tasks, kinds), added to the score; finite."""
    kinds: tuple[bool, bool, bool, bool, bool]
    """Which kinds of actions it uses, in the order of `policies.layout.KINDS`."""
