"""Decision logs whose truth is known: made-up decisions, a chance of being right for every action, a logging policy.

Two tasks, two to four actions of kinds near, edge and cloud. Quality and time vary; the chance of a right answer bends
in them, so that no linear model is true. Reward is being right: utility `quality=1`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES, KINDS
from policies.learning.decision_log import Decision, Ending
from policies.learning.decisions import Decisions
from policies.learning.exploring import explore
from policies.learning.utility import parse_utility
from policies.policy import Policy, load_policy

TASKS = ("chat", "code")
RIGHT = parse_utility("quality=1")
BEHAVIOUR = load_policy({"name": "logging", "layout": 1, "weights": {"quality": 1.0, "near": 0.3}})
CANDIDATE = load_policy({"name": "candidate", "layout": 1, "weights": {"quality": 1.0, "e2e_s": -0.05}})
QUALITY, TTFT, E2E, COST, NOISE = (FEATURE_NAMES.index(n) for n in ("quality", "ttft_s", "e2e_s", "cost_usd", "noise"))


class World(NamedTuple):
    """n decisions with every action's chance to be right."""

    task: NDArray[np.int32]
    start: NDArray[np.int64]
    kind: NDArray[np.int8]
    phi: NDArray[np.float64]
    right: NDArray[np.float64]
    """(m,)"""


def world(n: int, seed: int) -> World:
    draw = np.random.default_rng(seed)
    sizes = draw.integers(2, 5, n)
    start = np.concatenate([[0], np.cumsum(sizes)])
    m = int(start[-1])
    task = draw.integers(0, len(TASKS), n).astype(np.int32)
    kind = draw.integers(0, 3, m).astype(np.int8)
    phi = np.zeros((m, len(FEATURE_NAMES)))
    phi[np.arange(m), kind] = 1.0
    phi[:, QUALITY] = draw.uniform(0.2, 0.95, m)
    phi[:, TTFT] = draw.exponential(1.0, m) + 0.1
    phi[:, E2E] = phi[:, TTFT] + draw.exponential(6.0, m)
    phi[:, COST] = np.where(kind == 2, draw.uniform(0.0, 0.01, m), 0.0)
    phi[:, NOISE] = draw.uniform(0.0, 1.0, m)
    hard = 0.3 * (np.repeat(task, sizes) == 1) * (kind == 0)
    right = np.clip(0.15 + 0.7 * phi[:, QUALITY] ** 2 + 0.25 * np.exp(-phi[:, E2E] / 5.0) - hard, 0.02, 0.98)
    return World(task, start, kind, phi, right)


def chances(policy: Policy, at: World) -> NDArray[np.float64]:
    """(m,): the favourites of a policy without noise."""
    table = policy.table(TASKS)
    rows = np.repeat(np.arange(len(at.task)), np.diff(at.start))
    scores = at.phi @ table.weights + table.scene[at.task[rows], at.kind]
    scores[~np.array(table.kinds)[at.kind]] = -np.inf
    taken = np.zeros(len(at.phi))
    for i in range(len(at.task)):
        taken[at.start[i] + int(scores[at.start[i] : at.start[i + 1]].argmax())] = 1.0
    return taken


def truth(policy: Policy, at: World) -> float:
    """The chance to be right, over these very decisions."""
    return float((chances(policy, at) * at.right).sum() / len(at.task))


def logged(at: World, *, share: float, seed: int, behaviour: Policy = BEHAVIOUR, **changes: Any) -> Decisions:
    """The decisions as an exploring policy makes them, and what came of them."""
    draw = np.random.default_rng([seed, 7])
    favourites = chances(behaviour, at)
    n = len(at.task)
    chosen, propensity = np.zeros(n, np.int64), np.zeros(n)
    for i in range(n):
        part = slice(at.start[i], at.start[i + 1])
        own = favourites[part]
        pick = explore(own, int(own.argmax()), np.ones(len(own), np.bool_), share, tuple(draw.random(2)))
        chosen[i], propensity[i] = at.start[i] + pick.action, pick.propensity
    correct = (draw.random(n) < at.right[chosen]).astype(np.float64)
    fields: dict[str, Any] = {
        "rows_read": n, "dropped": {}, "policies": {"logging @ 1": n}, "offered": frozenset(("near", "edge", "cloud")),
        "tasks": TASKS, "request": draw.integers(0, 2**32, n, np.uint32), "task": at.task, "start": at.start,
        "kind": at.kind, "feasible": np.ones(len(at.phi), np.bool_), "phi": at.phi, "chosen": chosen,
        "propensity": propensity, "answered": np.ones(n, np.bool_), "correct": correct,
        "ttft_s": at.phi[chosen, TTFT], "e2e_s": at.phi[chosen, E2E], "energy_j": np.zeros(n),
        "cost_usd": at.phi[chosen, COST], "egress_bytes": np.zeros(n),
    }  # fmt: skip
    return Decisions(**(fields | changes))


def miscalibrated(n: int, seed: int) -> Decisions:
    """Right answers: 0.2 + 0.5 x predicted, and 0.2 less for code near; twice as slow in the cloud as predicted."""
    at = world(n, seed)
    rows = np.repeat(at.task, np.diff(at.start))
    right = 0.2 + 0.5 * at.phi[:, QUALITY] - 0.2 * ((at.kind == 0) & (rows == 1))
    log = logged(at._replace(right=right), share=0.5, seed=seed)
    noise = np.exp(np.random.default_rng(seed).normal(-0.02, 0.2, n))
    return replace(log, e2e_s=log.e2e_s * np.where(log.kind[log.chosen] == 2, 2.0, 1.0) * noise)


def rows_of(log: Decisions) -> list[tuple[Decision, Ending]]:
    """The same as rows of a log file."""
    rows = []
    for i in range(len(log)):
        part = slice(int(log.start[i]), int(log.start[i + 1]))
        kinds = tuple(KINDS[k] for k in log.kind[part])
        decision = Decision(
            policy="logging", policy_version="1", request_id=f"r{i}", attempt=0, time_s=float(i),
            task=log.tasks[log.task[i]], privacy="any", offered=("near", "edge", "cloud"), kinds=kinds,
            pools=tuple("pool" if kind == "cloud" else None for kind in kinds), feasible=(True,) * len(kinds),
            phi=log.phi[part], scores=tuple(log.phi[part, QUALITY].tolist()),
            chosen=int(log.chosen[i] - log.start[i]), propensity=float(log.propensity[i]),
        )  # fmt: skip
        ending = Ending(
            state="completed", correct=float(log.correct[i]), ttft_s=float(log.ttft_s[i]), e2e_s=float(log.e2e_s[i]),
            energy_j=1.0, cost_usd=float(log.cost_usd[i]), egress_bytes=0.0, prompt_tokens=10, output_tokens=5,
        )  # fmt: skip
        rows.append((decision, ending))
    return rows
