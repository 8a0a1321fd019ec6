"""Minimising a function of many numbers that tells nothing but its value: CMA-ES, by the `cmaes` library.

    search = minimise(values_of, start, evaluations=300, seed=1)
    search.best, search.value

Reference: Hansen and Ostermeier, "Completely derandomized self-adaptation in evolution strategies", Evolutionary
Computation 9(2), 2001; the library: github.com/CyberAgentAILab/cmaes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Point", "Search", "is_smaller", "minimise"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """A generation, as the learning curve shows it."""

    evaluations: int
    """So far."""
    value: float
    """The smallest so far."""
    validated: float
    """Of the point that is kept, on what was not learned from."""


@dataclass(slots=True)
class Search:
    """What came of it. `best` is the start when nothing was better."""

    best: Floats
    value: float
    validated: float
    evaluations: int = 0
    curve: list[Point] = field(default_factory=list)


def minimise(
    values: Callable[[Sequence[Floats]], Sequence[float]],
    start: Floats,
    *,
    evaluations: int,
    seed: int,
    step: float = 1.0,
    validate: Callable[[Floats], Floats] | None = None,
    patience: int = 8,
) -> Search:
    """Search around `start` (n,), `step` being a sensible first distance in every coordinate.

    `values` gets the points of one generation and returns a number for each. With `validate`, a point that is the best
    so far is judged under other conditions, one number for each of them; it is kept only when it is smaller than the
    one kept before by more than the standard error of the difference. The search ends early when none was kept for
    `patience` generations. The same arguments give the same search.
    """
    from cmaes import CMA

    first = float(values([start])[0])
    judged = validate(start) if validate is not None else np.array([math.nan])
    search = Search(best=start, value=first, validated=float(judged.mean()), evaluations=1)
    search.curve.append(Point(1, first, search.validated))
    if not len(start):
        return search
    room = max(2, len(start))  # the library knows no single dimension: the second one means nothing
    cma = CMA(mean=np.zeros(room), sigma=step, seed=seed % 2**32)
    least, idle = first, 0
    while search.evaluations + cma.population_size <= evaluations and idle < patience and not cma.should_stop():
        moves = [cma.ask() for _ in range(cma.population_size)]
        points = [start + move[: len(start)] for move in moves]
        found = [float(value) for value in values(points)]
        cma.tell(list(zip(moves, found, strict=True)))
        search.evaluations += len(points)
        best = int(np.argmin(found))
        idle += 1
        if found[best] < least:
            least = found[best]
            other = validate(points[best]) if validate is not None else judged
            if validate is None or is_smaller(other, judged):
                judged, idle = other, 0
                search.best, search.value, search.validated = points[best], least, float(judged.mean())
        search.curve.append(Point(search.evaluations, least, search.validated))
    return search


def is_smaller(ours: Floats, theirs: Floats) -> bool:
    """Whether numbers are smaller in the mean than others under the same conditions, beyond one standard error."""
    less = theirs - ours
    error = float(less.std(ddof=1)) / math.sqrt(len(less)) if len(less) > 1 else 0.0
    return bool(less.mean() > error)
