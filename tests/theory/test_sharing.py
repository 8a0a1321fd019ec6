"""Processor sharing, balancers, and Little's law."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from sim.plane import DataPlane
from sim.pool import Balancer, PoolPlan, PoolSettings
from sim.workloads.workload import Floats
from tests.theory.formulas import erlang_c, erlang_wait, mean_field, pollaczek_khinchine, shortest_of_two
from tests.theory.queues import (
    SINGLE,
    SQUARED_CV,
    Law,
    agree,
    constant,
    constant_step,
    exponential,
    lognormal,
    offered,
    poisson,
    run_queue,
    sample,
    services,
    shared_step,
    sojourns,
    workload,
)


@pytest.mark.parametrize("law", [constant, exponential, lognormal])
def test_shared_steps_are_processor_sharing(law: Law) -> None:
    """E[T] = 1 / (1 - rho) whatever the law, and a request of size x takes x / (1 - rho). A request waits for
    the end of the step that it arrives in, at most (number in the system) x step: the bias allowed is
    rho / (1 - rho) steps. Rival: first come first served."""
    rho, step_s, n = 0.8, 0.01, 15_000
    server = shared_step(step_s)
    bias = rho / (1 - rho) * step_s
    small, large = (0.0, 0.7), (1.4, math.inf)

    def run(seed: int) -> list[float]:
        records = run_queue(server, law, rho, n, seed)
        sojourn, size = sojourns(records), records["output"] * step_s
        means = [sojourn.mean()]
        for above, below in (small, large) if law is not constant else ():
            chosen = (size > above) & (size < below)
            means += [sojourn[chosen].mean() - size[chosen].mean() / (1 - rho)]
        return means

    mean, *by_size = sample(run, offered(law, rho, n))
    queue = pollaczek_khinchine(rho, SQUARED_CV[law])
    rivals = {} if law is exponential else {"first come first served": 1 + queue}
    agree(mean, 1 / (1 - rho), low=-bias, high=bias, rivals=rivals)
    sizes = services(0, law, 1_000_000)
    for samples, (above, below) in zip(by_size, (small, large), strict=False):
        size = sizes[(sizes > above) & (sizes < below)].mean()
        agree(
            samples,
            0.0,
            low=-bias,
            high=bias,
            rivals={"first come first served": queue + size - size / (1 - rho)},
        )


# -- balancers -----------------------------------------------------------------------------------------------


def balanced(balancer: Balancer, replicas: int, rho: float, n: int) -> Floats:
    """Samples of the mean sojourn."""
    rate = rho * replicas

    def run(seed: int) -> list[float]:
        records = run_queue(SINGLE, exponential, rate, n, seed, replicas=replicas, balancer=balancer)
        return [sojourns(records).mean()]

    return sample(run, offered(exponential, rate, n))[0]


def test_random_balancing_makes_independent_queues() -> None:
    """Rivals: a balancer that looks at the load, or takes turns."""
    rivals = {"takes turns": 1 + erlang_wait(0.9, 4)[1], "shorter of two": mean_field(0.9)}
    agree(balanced("random", 4, 0.9, 100_000), 10.0, rivals=rivals)


def test_power_of_two_choices_meets_its_mean_field_limit() -> None:
    """The bias of N replicas is a / N + O(1 / N^2) (Gast and Van Houdt 2017), so two sizes extrapolate to the
    limit; 0.01 is allowed for what is left. Rivals: three choices, one choice."""
    few, many = balanced("power-of-two", 40, 0.9, 60_000), balanced("power-of-two", 160, 0.9, 60_000)
    three = sum(0.9 ** ((3**i - 3) / 2) for i in range(1, 12))
    limit = mean_field(0.9)
    agree((4 * many - few) / 3, limit, low=-0.01, high=0.01, rivals={"three choices": three, "random": 10.0})


@pytest.mark.parametrize("balancer", ["least-outstanding", "power-of-two"])
def test_two_replicas_join_the_shorter(balancer: Balancer) -> None:
    """With two replicas both balancers see both. Rivals: taking turns; one queue for both (M/M/2)."""
    expected = shortest_of_two(0.8)
    rivals = {"takes turns": 1 + erlang_wait(0.8, 2)[1], "one queue": 1 + erlang_c(1.6, 2) / 0.4}
    agree(balanced(balancer, 2, 0.8, 60_000), expected, rivals=rivals)


def test_more_information_balances_better() -> None:
    names: list[Balancer] = ["least-outstanding", "power-of-two", "round-robin", "random"]
    means = [balanced(name, 10, 0.8, 20_000) for name in names]
    for better, worse in pairwise(means):
        agree(worse - better, float((worse - better).mean()), rivals={"no difference": 0.0})
        assert better.mean() < worse.mean()


# -- Little's law --------------------------------------------------------------------------------------------


def test_littles_law_on_a_window_from_empty_to_empty() -> None:
    """The replica's own counters, kept step by step, against the requests' own records: exact."""
    servers, step_s, n = 8, 0.01, 2_000
    server = constant_step(servers, step_s)
    requests = workload(server, poisson(1, 6.4, n), services(1, exponential, n))
    plane = DataPlane(requests, [PoolPlan(settings=PoolSettings(engine=server.engine), costs=server.costs)])
    width = 0.25
    seen = []
    while not plane.advance(len(seen) * width):
        seen.append(plane.pools[0].views()[0].outstanding)
    records, replica = plane.requests, plane.pools[0].replicas[0]
    arrival, finish = np.sort(records["arrival"]), np.sort(records["finish"])

    # the number in the system, at any instant
    at = np.arange(len(seen)) * width
    assert (np.array(seen) == np.searchsorted(arrival, at) - np.searchsorted(finish, at, side="right")).all()
    # its time average is rate x sojourn; a sum of samples is off by their spacing
    integral = width * sum(seen)
    assert integral == pytest.approx(sojourns(records).sum(), rel=0.01)
    # number in service = rate x service: every sequence held its one block from admission to end
    services_s = records["finish"] - records["scheduled"]
    assert replica["kv_block_s"] == pytest.approx(services_s.sum(), rel=1e-9)
    assert services_s == pytest.approx(records["output"] * step_s, rel=1e-6)
    # busy from each arrival in an empty system until it is empty again
    empties = np.flatnonzero(arrival[1:] > np.maximum.accumulate(records["finish"])[:-1])
    opens, closes = np.append(0, empties + 1), np.append(empties, n - 1)
    busy_s = (np.maximum.accumulate(records["finish"])[closes] - arrival[opens]).sum()
    assert replica["busy_s"] == pytest.approx(busy_s, rel=1e-9)


def test_utilisation_is_the_offered_load() -> None:
    """A ratio of two sums of n terms is off by 1 / n. Rivals: half a percent more or less."""
    n = 20_000

    def run(seed: int) -> list[float]:
        requests = workload(SINGLE, poisson(seed, 0.8, n), services(seed, lognormal, n))
        plane = DataPlane(requests, [PoolPlan(settings=PoolSettings(engine=SINGLE.engine), costs=SINGLE.costs)])
        assert plane.advance(math.inf)
        busy_s = float(plane.pools[0].replicas["busy_s"][0])
        assert busy_s == pytest.approx(requests.prompt_tokens.sum() * SINGLE.quantum_s)
        return [busy_s / plane.now_s]

    (share,) = sample(run, offered(lognormal, 0.8, n))
    agree(share, 0.8, low=-1 / n, high=1 / n, rivals={"more": 0.804, "less": 0.796})
