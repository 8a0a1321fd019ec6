"""What must hold in every run of a fleet."""

from __future__ import annotations

import numpy as np

from sim.kernels.fleet_state import REACHED_CLOUD, REACHED_EDGE_POOL, REACHED_HUB, REACHED_NEAR
from sim.kernels.state import COMPLETED
from sim.results.answers import TIERS
from sim.results.devices import computing_j
from sim.results.findings import RELATIVE, Finding, Invariant, Run, close
from sim.results.parts import parts

__all__ = ["FLEET_INVARIANTS"]

_ALLOWED = {
    "device": REACHED_NEAR,
    "home": REACHED_NEAR | REACHED_HUB,
    "any": REACHED_NEAR | REACHED_HUB | REACHED_EDGE_POOL | REACHED_CLOUD,
}


def _privacy(run: Run) -> Finding:
    plane = run.plane
    assert plane.fleet is not None
    allowed = np.array([_ALLOWED[task.privacy] for task in plane.fleet.tasks], np.int8)
    strays = 0
    for part in parts(len(plane.trips)):
        trips = plane.trips[part]
        strays += int(np.count_nonzero(trips["reached"] & ~allowed[trips["task"]]))
    return strays == 0 and plane.stray == 0, f"{strays:,} requests and {plane.stray:,} legs at a forbidden place"


def _device_energy(run: Run) -> Finding:
    plane = run.plane
    fleet = plane.fleet
    assert fleet is not None
    charged = np.zeros(fleet.devices)
    for part in parts(len(plane.trips), max(1 << 16, fleet.devices)):
        trips = plane.trips[part]
        charged += np.bincount(trips["device"], trips["device_j"], fleet.devices)
    rows = plane.rows[: fleet.devices]
    booked = rows["requests_j"]
    holds = close(float(charged.sum()), float(booked.sum()))
    holds &= bool(np.all(np.abs(charged - booked) <= RELATIVE * np.maximum(booked, 1.0)))
    computing = computing_j(fleet, rows, fleet.kind[: fleet.devices])
    holds &= bool(np.all(computing <= booked * (1.0 + RELATIVE) + RELATIVE))
    computed = f"{computing.sum():.9g} J of it for computing"
    return holds, f"devices {booked.sum():.9g} J, requests {charged.sum():.9g} J, {computed}"


def _answers(run: Run) -> Finding:
    plane, answers = run.plane, run.answers
    assert answers is not None
    wrong = completed = 0
    pools = np.array([int(pool.record["model"]) for pool in plane.pools] + [-1])
    for part in parts(len(plane.trips)):
        trips = plane.trips[part]
        done = plane.requests["status"][part] == COMPLETED
        right = np.where(done, (trips["model"] >= 0) & (trips["correct"] >= 0), trips["correct"] < 0)
        by_pool = done & (answers.tier[part] != TIERS.index("near")) & (trips["pool"] >= 0)
        right &= ~by_pool | (trips["model"] == pools[trips["pool"]])
        wrong += int(np.count_nonzero(~right))
        completed += int(np.count_nonzero(done))
    return wrong == 0, f"{completed:,} requests have an answer, {wrong:,} of all are at odds with that"


def _batteries(run: Run) -> Finding:
    plane = run.plane
    fleet = plane.fleet
    assert fleet is not None
    capacity = np.array([kind.capacity_j for kind in fleet.kinds])[fleet.kind]
    battery = plane.rows["battery_j"]
    within = (battery >= 0.0) & (battery <= capacity)
    slow, all_of_it = plane.rows["throttled_s"], plane.rows["compute_s"]
    within &= (slow >= 0.0) & (slow <= all_of_it * (1.0 + RELATIVE))
    empty = int(np.count_nonzero((capacity > 0.0) & (battery <= 0.0)))
    return bool(np.all(within)), f"{np.count_nonzero(within):,} of {len(battery):,} devices and hubs; {empty:,} empty"


_TEST = "tests/test_fleet_metrics.py::test_invariants_of_a_fleet"
_BROKEN = "tests/test_fleet_metrics.py::test_a_broken_fleet_is_noticed"

FLEET_INVARIANTS: tuple[Invariant, ...] = (
    Invariant(13, "privacy", "No request of a fleet reaches a place that the privacy class of its task forbids: "
              "`device` stays on the asking device, `home` on it and the hub. The engine counts on the way; this looks "
              "at the places afterwards.", _BROKEN, _privacy, True),
    Invariant(14, "device energy", "What requests are charged on their devices is, device by device, what the devices "
              "booked (1e-9 relative), and no less than what computing drew.", _BROKEN, _device_energy, True),
    Invariant(15, "answers", "Every completed request of a fleet has the answer of a model, that of the pool that "
              "answered it if one did, and it is right or wrong; no other request is.", _BROKEN, _answers, True),
    Invariant(16, "batteries", "A battery holds between nothing and its capacity, and no device computes longer at a "
              "lowered clock than at all.", _TEST, _batteries, True),
)  # fmt: skip
