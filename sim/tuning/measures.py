"""What a run gave its users, in the terms of a utility: as a whole, and by device and task."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.learning.utility import TERMS, as_counted
from profiles.errors import UserError, did_you_mean
from sim.kernels.fleet_state import CASCADE
from sim.kernels.state import COMPLETED
from sim.results.analysis import Analysis
from sim.results.groups import LEFT, usd_rates
from sim.results.outcome import Outcome
from sim.run import Prepared, run

if TYPE_CHECKING:
    from sim.world import World

__all__ = ["LIMITED", "Played", "by_group", "limited", "means", "played", "smooth_means"]

Floats = NDArray[np.float64]

LIMITED = {
    "ttft_p50_s": ("ttft_s", 50.0),
    "ttft_p95_s": ("ttft_s", 95.0),
    "ttft_p99_s": ("ttft_s", 99.0),
    "e2e_p50_s": ("e2e_s", 50.0),
    "e2e_p95_s": ("e2e_s", 95.0),
    "e2e_p99_s": ("e2e_s", 99.0),
    "unanswered": ("unanswered", None),
}
"""What a limit may be set on: a percentile of seconds (unanswered requests as in `policies.learning.utility`), or the
share of requests that were not answered."""


class Played(NamedTuple):
    """A run and what its pools had cost when the last request arrived.

    What they cost afterwards says how long the slowest answer took, not what was asked of them: in an hour of a fleet,
    one long answer on one slow phone would decide which policy is the cheapest.
    """

    outcome: Outcome
    bills_usd: tuple[float, ...]
    """By pool."""


def played(prepared: Prepared) -> Played:
    """Run to the end. Raises `UserError` as `sim.run` does."""
    last_s = float(prepared.workload.arrival_s.max())
    bills: list[float] = []

    def read_bills(world: World) -> Generator[Any, Any, None]:
        yield world.timeout(last_s)
        bills.extend(pool.billed_usd(last_s) for pool in world.plane.pools)

    outcome = run(replace(prepared, controls=(*prepared.controls, read_bills)))
    return Played(outcome, tuple(bills))


def means(one: Played, limits: Iterable[str] = ()) -> dict[str, float]:
    """Every term of a utility as a mean over all requests of a run, and the figures named by `limits`.

    `strays` counts legs that reached a place which their privacy class forbids.
    """
    return _means(one, right_answers(one.outcome), limits)


def smooth_means(one: Played, limits: Iterable[str] = ()) -> dict[str, float]:
    """`means` with chances of right answers in place of the answers, where nothing was decided by them.

    Their expectation is the same and their spread smaller: better to learn from. A cascade looks at an answer before it
    is released, so that its answers count as they are.
    """
    return _means(one, chances(one.outcome), limits)


def chances(outcome: Outcome) -> Floats:
    """(requests,): the chance with which an answer was right; of cascades whether it was, 0 for none."""
    trips, fleet = outcome.plane.trips, outcome.plane.fleet
    assert fleet is not None
    right = right_answers(outcome)
    plain = (outcome.plane.requests["status"] == COMPLETED) & (trips["kind"] != CASCADE)
    if fleet.foresight < 2:  # who knows the outcomes decides by them
        model, task = trips["model"][plain], trips["task"][plain]
        right[plain] = 1.0 / (1.0 + np.exp(trips["difficulty"][plain] - fleet.ability[model, task]))
    return right


def right_answers(outcome: Outcome) -> Floats:
    """(requests,): 1 for a right answer, 0 for a wrong one and for none."""
    return np.asarray(outcome.plane.trips["correct"] == 1, np.float64)


def _means(one: Played, right: Floats, limits: Iterable[str]) -> dict[str, float]:
    columns = _columns_of(one.outcome, right)
    found = {name: float(values.mean()) for name, values in columns.items()}
    found["cost_usd"] = sum(one.bills_usd) / len(right)
    found["strays"] = float(one.outcome.plane.stray)
    for limit in limits:
        name, percentile = LIMITED[limit]
        if percentile is not None:
            found[limit] = float(np.percentile(columns[name], percentile))
    return found


def _columns_of(outcome: Outcome, right: Floats) -> dict[str, Floats]:
    """(requests,) of every term but the cost, and whether a request was not answered."""
    plane = outcome.plane
    requests, trips = plane.requests, plane.trips
    lost = requests["status"] != COMPLETED
    arrival = requests["arrival"]
    return {
        **as_counted(
            answered=~lost, right=right, ttft_s=requests["first_token"] - arrival, e2e_s=requests["finish"] - arrival
        ),
        "energy_j": trips["device_j"].astype(np.float64),
        "egress_mb": np.where(trips["reached"] & LEFT != 0, trips["up_bytes"], 0.0) / 1e6,
        "unanswered": lost.astype(np.float64),
    }


def by_group(one: Played) -> dict[str, dict[str, dict[str, Any]]]:
    """`device` and `task` -> name -> requests and the mean of every term.

    A pool's bill is split as in the summary: by the energy of the requests that it got; all share that of a pool which
    got none.
    """
    plane = one.outcome.plane
    fleet = plane.fleet
    assert fleet is not None
    columns = _columns_of(one.outcome, right_answers(one.outcome))
    columns["cost_usd"] = _shares_of_bills(one)
    asking = int(fleet.kind[: fleet.devices].max()) + 1
    groups = {
        "device": ([kind.name for kind in fleet.kinds[:asking]], fleet.kind[plane.trips["device"]]),
        "task": (fleet.task_names, plane.trips["task"]),
    }
    return {what: _group_means(names, codes, columns) for what, (names, codes) in groups.items()}


def _shares_of_bills(one: Played) -> Floats:
    """(requests,) in USD."""
    analysis = Analysis(one.outcome)
    assert analysis.answers is not None
    pool, requests = analysis.answers.pool.astype(np.int64), one.outcome.plane.requests
    per_joule, per_token = usd_rates(analysis, one.bills_usd)
    tokens = requests["prompt"] + requests["output"]
    shares = np.asarray(requests["energy"] * per_joule[pool] + tokens * per_token[pool], np.float64)
    unshared = sum(one.bills_usd) - float(shares.sum())
    return np.asarray(shares + unshared / len(shares), np.float64)


def _group_means(names: list[str], codes: NDArray[Any], columns: dict[str, Floats]) -> dict[str, dict[str, Any]]:
    counts = np.bincount(codes, minlength=len(names))
    sums = {term.name: np.bincount(codes, columns[term.name], len(names)) for term in TERMS}
    return {
        name: {"requests": int(counts[g])} | {term: float(total[g] / counts[g]) for term, total in sums.items()}
        for g, name in enumerate(names)
        if counts[g]
    }


def limited(text: str) -> dict[str, float]:
    """`name=most,name=most` as limits by name. Raises `UserError`."""
    limits: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in LIMITED:
            allowed = ", ".join(LIMITED)
            raise UserError("unknown limit", got=name, allowed=allowed, next_step=did_you_mean(name, list(LIMITED)))
        if name in limits:
            raise UserError("a limit is given twice", got=name)
        try:
            limits[name] = float(number)
        except ValueError:
            limits[name] = -1.0
        if not 0.0 < limits[name] < float("inf"):
            raise UserError(f"limit of {name}: bad value", got=number or "nothing", allowed=f"a number, as in {name}=2")
    return limits
