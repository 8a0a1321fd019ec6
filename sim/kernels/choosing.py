"""The choice: φ of every feasible action, scored by the policy that the device follows (rules W4, W7)."""

from __future__ import annotations

from typing import Any

from policies.compiled import kernel
from policies.features import FEATURE_COUNT, fill, score
from policies.layout import FEATURE_NAMES
from sim.kernels.battery import battery_share
from sim.kernels.draws import uniform
from sim.kernels.figures import action_count, estimated_difficulty, figure_out
from sim.kernels.fleet_state import NO_ACTION
from sim.kernels.views import (
    figures_of,
    judges,
    kind_of,
    kinds_used,
    network_of,
    phi_of,
    request_of,
    row_of,
    scene_of,
    task_of,
    trip_of,
    weights_of,
)

NOISE = FEATURE_NAMES.index("noise")
FIRST_NOISE = 2000  # the draw of action 0


@kernel
def policy_followed(w: Any, d: int) -> int:
    """Which of the two policies device d follows."""
    if w.rollout <= 0.0:
        return 0
    return 1 if uniform(w.seed, d, 0, 99) < w.rollout else 0


@kernel
def weigh(w: Any, r: int, now: float) -> int:
    """Figures and scores of all feasible actions. Returns the best one."""
    trip = trip_of(w, r)
    which = policy_followed(w, trip.device)
    judging = w.by_python != 0 or judges(w, which)
    difficulty = estimated_difficulty(w, r) if judging else 0.0
    n = figure_out(w, r, kinds_used(w, which), now, difficulty, judging)
    row = row_of(w, trip.device)
    kind = kind_of(w, row)
    battery = battery_share(kind, row)
    heat = (row.temp_c - kind.ambient_c) / (kind.limit_c - kind.ambient_c)
    task = task_of(w, trip.task)
    metered = network_of(w, n).metered
    prompt = request_of(w, r).prompt
    phi = phi_of(w, FEATURE_COUNT)
    weights = weights_of(w, which, FEATURE_COUNT)
    scene = scene_of(w, which, trip.task)
    noisy = w.by_python != 0 or weights[NOISE] != 0.0
    best = NO_ACTION
    most = 0.0
    for a in range(action_count(w)):
        at = figures_of(w, a)
        if at.feasible == 0:
            continue
        at.noise = uniform(w.seed, r, 0, FIRST_NOISE + a) if noisy else 0.0
        fill(
            phi,
            at.kind,
            at.quality,
            at.ttft_s,
            at.e2e_s,
            at.energy_j,
            at.cost_usd,
            at.egress_bytes,
            at.load,
            at.noise,
            difficulty,
            prompt,
            battery,
            heat,
            metered,
            task.slo_ttft_s,
        )
        at.score = score(phi, weights, scene[at.kind])
        if best == NO_ACTION or at.score > most:
            best = a
            most = at.score
    return best
