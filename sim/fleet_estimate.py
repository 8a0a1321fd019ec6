"""How well a fleet's policies see a request's difficulty: as told, or as well as a fitted text model does.

    estimate_of(spec, tasks, kinds, ability, demand) -> Estimate

A near answer is what an estimate is about, so groups count whose devices answer themselves, at tasks that their model
can take. Where no device has a model, all models of the fleet count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiles import Task
from sim.blindness import Cells, auc_of, reach, spread_for
from sim.fleet import RowKind
from sim.fleet_facts import task_kind
from sim.fleet_spec import FleetSpec
from sim.measured_auc import ESTIMATE_AUC
from sim.numbers import Floats
from sim.workloads.demand import Demand

__all__ = ["Estimate", "estimate_of"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The noise of rule W5 in logits, and what results say of it."""

    spread: float
    said: tuple[str, ...]


def estimate_of(
    spec: FleetSpec, tasks: Sequence[Task], kinds: Sequence[RowKind], ability: Floats, demand: Demand
) -> Estimate:
    """The noise by `fleet.estimate_spread`, `fleet.estimate_auc`, or the AUC measured of a fitted text model.

    `kinds` begin with those of the groups, `ability` is models x tasks. Raises `UserError` for an AUC that no noise
    gives; the measured one is replaced by the nearest that some noise gives, which is told.
    """
    cells = _near(spec, tasks, kinds, ability, demand) or _all(spec, tasks, ability, demand)
    if cells is None:
        return Estimate(spec.estimate_spread or 0.0, ())
    if spec.estimate_spread is not None:
        found = auc_of(cells, spec.estimate_spread)
        return Estimate(
            spec.estimate_spread, (f"fleet: estimate_spread {spec.estimate_spread:g} is an {_told(found)}",)
        )
    if spec.estimate_auc is not None:
        spread = spread_for(cells, spec.estimate_auc)
        return Estimate(spread, (f"fleet: an {_told(spec.estimate_auc)} is estimate_spread {spread:.2f}",))
    lowest, highest = reach(cells)
    auc = min(max(ESTIMATE_AUC.auc, lowest), highest)
    spread = spread_for(cells, auc)
    reason = ESTIMATE_AUC.source if auc == ESTIMATE_AUC.auc else f"the nearest to {ESTIMATE_AUC.auc:g} for these tasks"
    return Estimate(spread, (f"fleet: an {_told(auc)} ({reason}) is estimate_spread {spread:.2f}",))


def _told(auc: float) -> str:
    return f"estimate_auc of {auc:.3f}"


def _near(
    spec: FleetSpec, tasks: Sequence[Task], kinds: Sequence[RowKind], ability: Floats, demand: Demand
) -> Cells | None:
    """What devices with models are asked and can take; nothing (None) where there is none."""
    needed = np.array([task_kind(task).modality for task in tasks])
    parts = []
    for row, (group, kind) in enumerate(zip(spec.groups.values(), kinds, strict=False)):
        if kind.model >= 0:
            weight = group.share * demand.mix[row] * (needed & ~kind.modalities == 0)
            parts.append(_cells(ability[kind.model], tasks, weight))
    return _together(parts)


def _all(spec: FleetSpec, tasks: Sequence[Task], ability: Floats, demand: Demand) -> Cells | None:
    """What the fleet is asked, of each of its models."""
    asked = np.array([group.share for group in spec.groups.values()]) @ demand.mix
    return _together([_cells(one, tasks, asked) for one in ability])


def _cells(ability: Floats, tasks: Sequence[Task], weight: Floats) -> Cells:
    difficulty = np.array([[task.difficulty.mean, task.difficulty.spread] for task in tasks])
    return Cells(ability - difficulty[:, 0], difficulty[:, 1], weight)


def _together(parts: Sequence[Cells]) -> Cells | None:
    if not parts:
        return None
    gap, spread, weight = (np.concatenate(one) for one in zip(*parts, strict=True))
    asked = weight > 0.0
    return Cells(gap[asked], spread[asked], weight[asked]) if asked.any() else None
