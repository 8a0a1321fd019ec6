"""Drawing what a workload specification describes: n numbers from a distribution and a generator.

Every function draws element by element in order, so that asking for more requests only appends: the first n
of a longer workload are those of the shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.workloads.distributions import (
    MAX_TOKENS,
    Constant,
    ConstantSeconds,
    Empirical,
    Exponential,
    Geometric,
    Lengths,
    Lognormal,
    Priority,
    Seconds,
    Uniform,
)
from sim.workloads.workload import Floats, Ints

__all__ = ["draw_lengths", "draw_priority", "draw_seconds"]


def draw_lengths(lengths: Lengths, n: int, *, rng: np.random.Generator) -> Ints:
    """n whole numbers (int64), each at least 1."""
    if isinstance(lengths, Constant):
        return np.full(n, lengths.value, dtype=np.int64)
    return np.clip(_raw(lengths, n, rng), lengths.min, min(lengths.max, MAX_TOKENS)).astype(np.int64)


def _raw(
    lengths: Lognormal | Uniform | Geometric | Exponential | Empirical, n: int, rng: np.random.Generator
) -> NDArray[np.float64] | NDArray[np.int64]:
    if isinstance(lengths, Lognormal):
        variance = math.log1p(lengths.cv**2)
        return np.rint(rng.lognormal(math.log(lengths.mean) - variance / 2, math.sqrt(variance), size=n))
    if isinstance(lengths, Uniform):
        return lengths.min + np.floor(rng.random(n) * (lengths.max - lengths.min + 1))
    if isinstance(lengths, Geometric):
        return rng.geometric(1.0 / lengths.mean, size=n)
    if isinstance(lengths, Exponential):
        return np.ceil(rng.exponential(lengths.mean, size=n))
    weights = lengths.weights or (1.0,) * len(lengths.values)
    return np.array(lengths.values, dtype=np.int64)[_weighted(weights, n, rng)]


def draw_seconds(seconds: Seconds, n: int, *, rng: np.random.Generator) -> Floats:
    """n durations in seconds."""
    if isinstance(seconds, ConstantSeconds):
        return np.full(n, seconds.value, dtype=np.float64)
    return np.maximum(rng.exponential(seconds.mean, size=n), np.finfo(np.float64).tiny)


def draw_priority(priority: Priority, n: int, *, rng: np.random.Generator) -> Ints:
    """n priority classes."""
    if isinstance(priority, int):
        return np.full(n, priority, dtype=np.int64)
    classes = np.array(sorted(priority.weights), dtype=np.int64)
    return classes[_weighted([priority.weights[int(c)] for c in classes], n, rng)]


def _weighted(weights: Sequence[float], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """n positions in `weights`, each as likely as its weight."""
    edges = np.cumsum(np.array(weights, dtype=np.float64))
    return np.searchsorted(edges[:-1] / edges[-1], rng.random(n), side="right")
