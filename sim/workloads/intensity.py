"""The shape of a fleet's day: how many sessions begin when, cumulated, in pieces of constant intensity."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.workloads.fleet_spec import DayShape, FlashCrowd, FleetWorkloadSpec

__all__ = ["day_pieces"]

_DAY_S = 86_400.0
_STEP_S = 60.0
_MOST_STEPS = 500_000


def day_pieces(spec: FleetWorkloadSpec, *, start_s: float, task_number: Callable[[str], tuple[int, float]]) -> Any:
    """Pieces (`sim.kernels.fleet_draws.PIECE`) from 0 to `duration_s`; `start_s` is the local time at 0.

    `task_number` tells a task's position and its share of all sessions; a crowd that asks for one task by so many
    times makes so much more of that task alone.
    """
    from sim.kernels.fleet_draws import PIECE

    end_s = spec.duration_s or 0.0
    edges = _edges(spec, end_s)
    pieces = np.zeros(len(edges) - 1, PIECE)
    pieces["from_s"], pieces["to_s"] = edges[:-1], edges[1:]
    mass = np.maximum(np.diff(_cumulated(edges, spec.diurnal, start_s)), 0.0)
    pieces["task"] = -1
    for crowd in spec.flash_crowds:
        inside = (edges[:-1] >= crowd.at_s) & (edges[:-1] < crowd.at_s + crowd.duration_s)
        task, more = (-1, 1.0) if crowd.task is None else task_number(crowd.task)
        extra = more * (crowd.factor - 1.0)
        mass[inside] *= 1.0 + extra
        pieces["task"][inside] = task
        pieces["share"][inside] = extra / (1.0 + extra)
    cumulated = np.concatenate(((0.0,), np.cumsum(mass)))
    pieces["mass_from"], pieces["mass_to"] = cumulated[:-1], cumulated[1:]
    return pieces


def _edges(spec: FleetWorkloadSpec, end_s: float) -> NDArray[np.float64]:
    """Where the intensity changes: every minute with a day's shape, and at both ends of every crowd."""
    steps = min(_MOST_STEPS, math.ceil(end_s / _STEP_S)) if spec.diurnal is not None else 1
    crowds = [edge for crowd in spec.flash_crowds for edge in _span(crowd, end_s)]
    return np.unique(np.concatenate((np.linspace(0.0, end_s, max(steps, 1) + 1), crowds)))


def _span(crowd: FlashCrowd, end_s: float) -> tuple[float, float]:
    return crowd.at_s, min(crowd.at_s + crowd.duration_s, end_s)


def _cumulated(edges: NDArray[np.float64], day: DayShape | None, start_s: float) -> NDArray[np.float64]:
    """Integral of 1 + a cos(2 pi (local time - peak) / day), with a from peak by trough."""
    if day is None:
        return edges
    a = (day.peak_to_trough - 1.0) / (day.peak_to_trough + 1.0)
    turn = 2.0 * math.pi / _DAY_S
    angle = turn * (np.mod(start_s - day.peak_hour * 3600.0, _DAY_S) + edges)
    cumulated: NDArray[np.float64] = edges + a / turn * (np.sin(angle) - np.sin(angle[0]))
    return cumulated
