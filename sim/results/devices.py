"""What the devices and hubs of a fleet went through: batteries, heat, joules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sim.results.latencies import ratio
from sim.results.parts import Floats

if TYPE_CHECKING:
    from sim.fleet import FleetSettings
    from sim.plane import DataPlane

__all__ = ["battery_pct_per_day", "battery_points", "computing_j", "heat_by_kind", "hub_energy_j", "throttled_share"]

_DAY_S = 86_400.0
_BATTERY_POINTS = (50, 99)


def battery_pct_per_day(plane: DataPlane, span_s: float) -> Floats:
    """Percent of its battery that a day of requests takes, one number for each device that has a battery."""
    fleet = plane.fleet
    assert fleet is not None
    capacity = np.array([kind.capacity_j for kind in fleet.kinds])[fleet.kind[: fleet.devices]]
    has = capacity > 0.0
    if span_s <= 0.0:
        return np.zeros(np.count_nonzero(has))
    joules = plane.rows["requests_j"][: fleet.devices][has]
    return np.asarray(100.0 * joules / capacity[has] * (_DAY_S / span_s))


def battery_points(plane: DataPlane, span_s: float) -> dict[str, float] | None:
    """Median and 99th percentile of `battery_pct_per_day`; None without batteries."""
    percent = battery_pct_per_day(plane, span_s)
    if len(percent) == 0:
        return None
    points = np.percentile(percent, _BATTERY_POINTS, overwrite_input=True)
    return {f"p{p}": float(value) for p, value in zip(_BATTERY_POINTS, points, strict=True)}


def throttled_share(plane: DataPlane) -> float | None:
    """Of all devices together: seconds at a lowered clock / seconds of computing."""
    assert plane.fleet is not None
    rows = plane.rows[: plane.fleet.devices]
    return ratio(float(rows["throttled_s"].sum()), float(rows["compute_s"].sum()))


def heat_by_kind(plane: DataPlane) -> dict[str, float | None]:
    """Share of the computing time at a lowered clock, for each kind of device or hub that computed."""
    fleet = plane.fleet
    assert fleet is not None
    compute, slow = (
        np.bincount(fleet.kind, plane.rows[name], len(fleet.kinds)) for name in ("compute_s", "throttled_s")
    )
    return {kind.name: ratio(slow[k], compute[k]) for k, kind in enumerate(fleet.kinds) if compute[k] > 0.0}


def hub_energy_j(plane: DataPlane) -> float:
    """What the hubs drew to compute for requests."""
    fleet = plane.fleet
    assert fleet is not None
    rows, kinds = plane.rows[fleet.devices :], fleet.kind[fleet.devices :]
    return float(computing_j(fleet, rows, kinds).sum())


def computing_j(fleet: FleetSettings, rows: Any, kinds: Any) -> Floats:
    """What rows of these kinds drew to compute (rule E5)."""
    watts = np.array([kind.power_w for kind in fleet.kinds])[kinds]
    clock = np.array([kind.throttled_clock for kind in fleet.kinds])[kinds]
    return np.asarray(watts * (rows["compute_s"] - rows["throttled_s"] + clock * rows["throttled_s"]))
