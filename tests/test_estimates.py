"""What is predicted of an answer is calibrated (rule W5): of those that are right with chance q, a share of q is right.

A router picks any possible action by chance, so that nothing depends on what is predicted; what it was told of the
action that it took is held against what came of it.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from policies import ActionView, DeviceView, RequestView
from sim.kernels.fleet_state import CASCADE, HEDGE
from sim.kernels.state import COMPLETED
from sim.loading import load
from sim.run import prepare, run
from tests.fleets import fleet_data

Floats = NDArray[np.float64]

REQUESTS = 20_000
BINS = np.linspace(0.0, 1.0, 11)
MACKAY = 0.015  # what the closed form of the mean of a logistic curve may be off
SCENARIO: dict[str, Any] = {
    "fleet": fleet_data(5000),
    "pools": {
        "cloud": {
            "replicas": 50,
            "synthetic": {"step_s": 0.01},
            "ability": {"default": 2.0},
            "engine": {"kv_blocks": 100_000, "max_model_len": 200_000},
        }
    },
    "workload": {"requests": REQUESTS, "duration_s": 20_000},
}


class Seen(NamedTuple):
    """By request that was answered by one model alone."""

    predicted: Floats
    naive: Floats
    """What would be predicted if what is seen of the difficulty were the difficulty."""
    right: Floats


def seen(estimate_spread: float) -> Seen:
    told: dict[int, tuple[float, float]] = {}

    def any_of(request: RequestView, _device: DeviceView, actions: list[ActionView]) -> int:
        plain = [action for action in actions if action.kind not in ("cascade", "hedge")]
        taken = plain[request.id * 7919 % len(plain)]
        told[request.id] = (taken.quality, request.difficulty)
        return taken.index

    loaded = load(SCENARIO, changes={"fleet.estimate_spread": estimate_spread})
    plane = run(prepare(loaded, policy=any_of, seed=5)).plane
    trips, fleet = plane.trips, plane.fleet
    assert fleet is not None
    assert not np.isin(trips["kind"], [CASCADE, HEDGE]).any()
    answered = np.flatnonzero(plane.requests["status"] == COMPLETED)
    figures = np.array([told[r] for r in answered.tolist()])
    ability = fleet.ability[trips["model"][answered], trips["task"][answered]]
    tasks = [fleet.tasks[t] for t in trips["task"][answered].tolist()]
    mean = np.array([task.difficulty_mean for task in tasks])
    noise = np.square(fleet.estimate_spread / np.array([task.difficulty_spread for task in tasks]))
    seen_difficulty = mean + (figures[:, 1] - mean) * (1.0 + noise)
    return Seen(figures[:, 0], 1.0 / (1.0 + np.exp(seen_difficulty - ability)), trips["correct"][answered] == 1.0)


def errors(predicted: Floats, right: Floats) -> list[tuple[float, float]]:
    """Of every bin with enough requests: how far the share of right answers is from what was predicted, in its standard
    error beyond `MACKAY`, and in itself."""
    found = []
    for low, high in itertools.pairwise(BINS):
        own = (predicted >= low) & (predicted < high)
        if own.sum() >= 100:
            off = float(right[own].mean() - predicted[own].mean())
            error = float(np.sqrt(np.mean(predicted[own] * (1.0 - predicted[own])) / own.sum()))
            found.append((max(0.0, abs(off) - MACKAY) / error, off))
    return found


@pytest.mark.parametrize("estimate_spread", [1.0, 3.0])
def test_a_predicted_chance_is_a_chance(estimate_spread: float) -> None:
    one = seen(estimate_spread)
    assert len(one.right) > 0.8 * REQUESTS
    found = errors(one.predicted, one.right)
    assert len(found) >= 4
    assert max(size for size, _ in found) < 3.5, found
    # To take what is seen for the truth is to be too sure of it.
    assert max(size for size, _ in errors(one.naive, one.right)) > 6.0
