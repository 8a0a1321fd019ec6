"""The fleet of the data plane from Python: settings into records, and what there is to see of devices and hubs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.features import FEATURE_COUNT, normal_quantile
from policies.layout import FEATURE_NAMES, KINDS
from policies.table import PolicyTable
from profiles.errors import UserError
from profiles.task import PRIVACY_CLASSES
from sim.fleet import FleetSettings
from sim.kernels import fleet_state as records
from sim.kernels.filling import fill_trips
from sim.kernels.state import NOBODY
from sim.parallel import in_parts
from sim.workloads.workload import Asked

__all__ = ["check_asked", "check_policy_table", "fleet_arrays", "fill_world", "set_policy", "trip_records"]

_QUANTILES = ("rtt_s", "rtt_edge_s", "uplink_bps", "downlink_bps")


def fleet_arrays(fleet: FleetSettings, pools: int) -> dict[str, NDArray[Any]]:
    """The world's arrays of a fleet, at their state at the start (rule V0)."""
    kinds = np.zeros(len(fleet.kinds), records.KIND)
    for record, kind in zip(kinds, fleet.kinds, strict=True):
        _copy(record, kind, records.KIND)
    networks = np.zeros(len(fleet.networks), records.NETWORK)
    for record, network in zip(networks, fleet.networks, strict=True):
        _copy(record, network, records.NETWORK)
    tasks = np.zeros(len(fleet.tasks), records.TASK)
    for record, task in zip(tasks, fleet.tasks, strict=True):
        record["output_hint"], record["slo_ttft_s"] = task.output_hint, task.slo_ttft_s
        record["difficulty_mean"] = task.difficulty_mean
        record["trust"], record["doubt"] = _belief(task.difficulty_spread, fleet.estimate_spread)
        record["privacy"], record["modality"] = PRIVACY_CLASSES.index(task.privacy), task.modality
    weather = np.zeros(fleet.regions, records.WEATHER)
    weather["rtt_factor"] = weather["rate_factor"] = weather["up"] = 1
    actions = 2 + 3 * pools
    return {
        "rows": _row_records(fleet, kinds),
        "kinds": kinds,
        "networks": networks,
        "tasks": tasks,
        "weather": weather,
        "ability": np.ascontiguousarray(fleet.ability, np.float64),
        "quantiles": np.array([[getattr(n, table) for table in _QUANTILES] for n in fleet.networks], np.float64),
        "mixes": np.array([_cumulated(kind.networks, len(fleet.networks)) for kind in fleet.kinds]),
        "figures": np.zeros(actions, records.FIGURES),
        "phi": np.zeros(FEATURE_COUNT),
        "kinds_used": np.zeros((2, len(KINDS)), np.int64),
        "judges": np.zeros(2, np.int64),
        "weights": np.zeros((2, FEATURE_COUNT)),
        "scenes": np.zeros((2, len(fleet.tasks), len(KINDS))),
    }


def _copy(record: Any, settings: Any, dtype: np.dtype[Any]) -> None:
    for name in dtype.names or ():
        record[name] = getattr(settings, name)


def _cumulated(weights: tuple[float, ...], count: int) -> NDArray[np.float64]:
    """Running shares, the last one 1; a hub has no weights and no network."""
    if not weights:
        return np.ones(count)
    edges: NDArray[np.float64] = np.cumsum(weights) / np.sum(weights)
    edges[-1] = 1.0
    return edges


def _row_records(fleet: FleetSettings, kinds: NDArray[Any]) -> NDArray[Any]:
    rows = np.zeros(fleet.rows, records.ROW)
    mine = kinds[fleet.kind]
    rows["kind"] = fleet.kind
    rows["hub"] = NOBODY
    rows["hub"][: fleet.devices] = fleet.hub
    rows["region"][: fleet.devices] = fleet.region
    rows["battery_j"] = fleet.battery_share.astype(np.float64) * mine["capacity_j"]
    rows["temp_c"] = mine["ambient_c"] + mine["resistance_c_per_w"] * mine["background_w"]
    for name in ("awake_until_s", "active_s", "last_use_s"):
        rows[name] = -np.inf
    for name in ("run_s", "hot_s", "event_s"):
        rows[name] = np.inf
    for name in ("running", "head", "tail"):
        rows[name] = NOBODY
    return rows


def trip_records(asked: Asked) -> NDArray[Any]:
    """One TRIP a request."""
    trips = np.zeros(len(asked.device), records.TRIP)
    columns = (asked.device, asked.task, asked.difficulty, asked.up_bytes, asked.down_bytes)
    in_parts(fill_trips, len(asked.device), trips, *columns)
    return trips


def fill_world(world: Any, fleet: FleetSettings) -> None:
    """The numbers of a fleet that every decision needs."""
    world["devices"] = fleet.devices
    world["network_count"], world["task_count"] = len(fleet.networks), len(fleet.tasks)
    world["start_s"] = fleet.start_s
    world["spread"] = 0.0 if math.isinf(fleet.estimate_spread) else fleet.estimate_spread  # unseen where not trusted
    world["foresight"] = fleet.foresight
    world["separation"] = math.sqrt(2.0) * normal_quantile(fleet.cascade.auc)
    world["threshold"], world["check_s"] = fleet.cascade.threshold, fleet.cascade.check_s


def _belief(task_spread: float, estimate_spread: float) -> tuple[float, float]:
    """ρ and κ of rule W5: by Bayes' rule for normal distributions, and the logistic curve's mean over what is left.

    Where the noise is infinite nothing is seen, and what is left in doubt is all that the task leaves.
    """
    if math.isinf(estimate_spread):
        return 0.0, 1.0 / math.sqrt(1.0 + math.pi / 8.0 * task_spread**2)
    blur = (estimate_spread / task_spread) ** 2 if estimate_spread > 0.0 and task_spread > 0.0 else 0.0
    trust = 0.0 if estimate_spread > 0.0 and task_spread == 0.0 else 1.0 / (1.0 + blur)
    return trust, 1.0 / math.sqrt(1.0 + math.pi / 8.0 * estimate_spread**2 * trust)


def set_policy(arrays: dict[str, NDArray[Any]], which: int, policy: PolicyTable) -> None:
    """Put a policy in place 0 or 1 (rule W7)."""
    arrays["weights"][which] = policy.weights
    arrays["scenes"][which] = policy.scene
    arrays["kinds_used"][which] = policy.kinds
    judging = [policy.weights[FEATURE_NAMES.index(name)] != 0.0 for name in ("quality", "near_difficulty")]
    arrays["judges"][which] = any(judging) or policy.kinds[KINDS.index("cascade")]


def check_policy_table(policy: PolicyTable, tasks: int) -> None:
    """Raise `UserError` unless the numbers are finite and as many as the layout has."""
    if policy.weights.shape != (FEATURE_COUNT,) or policy.scene.shape != (tasks, len(KINDS)):
        raise UserError(
            f"policy {policy.name!r} has another layout",
            got=(policy.weights.shape, policy.scene.shape),
            allowed=f"{(FEATURE_COUNT,)} and {(tasks, len(KINDS))}",
        )
    if not (np.isfinite(policy.weights).all() and np.isfinite(policy.scene).all()):
        raise UserError(f"policy {policy.name!r} has weights that are no finite numbers")


def check_asked(asked: Asked, requests: int, fleet: FleetSettings) -> None:
    """Raise `UserError` unless every request belongs to a device and a task of the fleet."""
    for name, most in (("device", fleet.devices), ("task", len(fleet.tasks))):
        values = getattr(asked, name)
        if len(values) != requests or values.min() < 0 or values.max() >= most:
            raise UserError(f"asked.{name} must be one of {most} for each of {requests} requests")
    for name in ("difficulty", "up_bytes", "down_bytes"):
        values = getattr(asked, name)
        if len(values) != requests or not np.isfinite(values).all() or (name != "difficulty" and values.min() < 0):
            raise UserError(f"asked.{name} must be a finite number, for each of {requests} requests")
