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

__all__ = ["Point", "Search", "minimise"]

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
    validate: Callable[[Floats], float] | None = None,
    patience: int = 8,
) -> Search:
    """Search around `start` (n,), `step` being a sensible first distance in every coordinate.

    `values` gets the points of one generation and returns a number for each. With `validate`, the point of each
    generation that is best so far is judged by it: the one with the smallest judgement is kept, and the search ends
    early when that has not become smaller for `patience` generations. The same arguments give the same search.
    """
    from cmaes import CMA

    judge = validate if validate is not None else lambda _: math.inf
    first = float(values([start])[0])
    search = Search(best=start, value=first, validated=judge(start), evaluations=1)
    search.curve.append(Point(1, first, search.validated))
    if not len(start):
        return search
    room = max(2, len(start))  # the library knows no single dimension: the second one means nothing
    cma = CMA(mean=np.zeros(room), sigma=step, seed=seed % 2**32)
    leader, least, idle = start, first, 0
    while search.evaluations + cma.population_size <= evaluations and idle < patience and not cma.should_stop():
        moves = [cma.ask() for _ in range(cma.population_size)]
        points = [start + move[: len(start)] for move in moves]
        found = [float(value) for value in values(points)]
        cma.tell(list(zip(moves, found, strict=True)))
        search.evaluations += len(points)
        best = int(np.argmin(found))
        idle += 1
        if found[best] < least:
            leader, least = points[best], found[best]
            judged = judge(leader) if validate is not None else -math.inf
            if validate is None or judged < search.validated:
                search.best, search.value, search.validated, idle = leader, least, judged, 0
        search.curve.append(Point(search.evaluations, least, search.validated))
    return search
