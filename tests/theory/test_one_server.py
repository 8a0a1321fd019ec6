"""M/M/1, M/G/1, M/D/1, E_k/M/1, a closed loop, priorities: one slot."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sim.workloads.generators import stream
from sim.workloads.workload import Floats
from tests.theory.formulas import closed_sojourn, cobham, erlang_wait, md1_wait_at_most, pollaczek_khinchine
from tests.theory.queues import (
    SINGLE,
    SQUARED_CV,
    Law,
    agree,
    constant,
    constant_step,
    erlang2,
    exponential,
    hyperexponential,
    lognormal,
    offered,
    one_step_a_service,
    poisson,
    run_queue,
    sample,
    serve,
    services,
    sojourns,
    waits,
    workload,
)


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.9])
def test_mm1_waits(rho: float) -> None:
    """The mean is the same for every order of service; the second moment and the tail are those of first come
    first served alone."""
    n, p99 = 180_000, math.log(rho / 0.01) / (1 - rho)

    def run(seed: int) -> list[float]:
        wait = waits(run_queue(SINGLE, exponential, rho, n, seed))
        return [(wait > 0).mean(), wait.mean(), (wait**2).mean(), (wait > p99).mean()]

    waited, mean, square, late = sample(run, offered(exponential, rho, n))
    agree(waited, rho, rivals={"1 % more": 1.01 * rho})
    agree(mean, pollaczek_khinchine(rho, 1), rivals={"constant service": pollaczek_khinchine(rho, 0)})
    expected = 2 * rho / (1 - rho) ** 2
    rivals = {"last come first served": expected / (1 - rho), "random order": expected * 2 / (2 - rho)}
    agree(square, expected, rivals=rivals)
    agree(late, 0.01, rivals={"twice": 0.02, "none": 0.0})


@pytest.mark.parametrize("step_s", [0.2, 0.05])
def test_mm1_of_many_steps_a_service(step_s: float) -> None:
    """With one slot a START falls on the END before it, so even coarse steps add no wait: geometric
    services of mean 1 have a squared coefficient of variation of 1 - step. Rival: half a step more a
    service."""
    rho, n = 0.8, 60_000

    def law(rng: np.random.Generator, n: int) -> Floats:
        return rng.geometric(step_s, n) * step_s

    def run(seed: int) -> list[float]:
        wait = waits(run_queue(constant_step(1, step_s), law, rho, n, seed))
        return [(wait > 0).mean(), wait.mean()]

    waited, mean = sample(run, offered(law, rho, n))
    longer = rho * (1 + step_s / 2)
    agree(waited, rho, rivals={"longer": longer})
    rivals = {"longer": pollaczek_khinchine(longer, 1 - step_s) * (1 + step_s / 2)}
    agree(mean, pollaczek_khinchine(rho, 1 - step_s), rivals=rivals)


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("law", [constant, erlang2, lognormal, hyperexponential])
def test_mg1_mean_wait_is_pollaczek_khinchine(law: Law, rho: float) -> None:
    """Rival: M/M/1, which any preemptive last come first served or processor sharing server would show."""
    n = 60_000
    (mean,) = sample(lambda seed: [waits(run_queue(SINGLE, law, rho, n, seed)).mean()], offered(law, rho, n))
    agree(mean, pollaczek_khinchine(rho, SQUARED_CV[law]), rivals={"M/M/1": pollaczek_khinchine(rho, 1)})


def test_md1_wait_distribution() -> None:
    """Rivals: exponential services, 2.5 % less."""
    times, rho, n = [0.0, 0.5, 1.0, 2.0, 5.0], 0.8, 60_000

    def run(seed: int) -> list[float]:
        wait = waits(run_queue(SINGLE, constant, rho, n, seed))
        return [(wait <= t).mean() for t in times]

    for t, samples in zip(times, sample(run, offered(constant, rho, n)), strict=True):
        expected = md1_wait_at_most(t, rho)
        rivals = {"2.5 % less": 0.975 * expected}
        if t > 0:
            rivals["M/M/1"] = 1 - rho * math.exp(-(1 - rho) * t)
        agree(samples, expected, rivals=rivals)


@pytest.mark.parametrize("stages", [2, 4])
def test_round_robin_makes_erlang_arrivals(stages: int) -> None:
    """Each of k replicas in turn sees every k-th Poisson arrival: E_k/M/1. Rivals: other numbers of
    stages."""
    rate, n = 0.8 * stages, 100_000

    def run(seed: int) -> list[float]:
        records = run_queue(SINGLE, exponential, rate, n, seed, replicas=stages, balancer="round-robin")
        return [(waits(records) > 0).mean(), waits(records).mean()]

    waited, mean = sample(run, offered(exponential, rate, n))
    others = {f"{k} stages": erlang_wait(0.8, k) for k in (stages - 1, stages + 1)}
    probability, expected = erlang_wait(0.8, stages)
    agree(waited, probability, rivals={name: other[0] for name, other in others.items()})
    agree(mean, expected, rivals={name: other[1] for name, other in others.items()})


def test_e2m1_from_its_arrivals() -> None:
    def run(seed: int) -> list[float]:
        arrival_s = np.cumsum(stream(seed, "arrivals").gamma(2.0, 1 / 1.6, 60_000))
        requests = workload(SINGLE, arrival_s, services(seed, exponential, 60_000))
        return [waits(serve(SINGLE, requests)[12_000:]).mean()]

    agree(sample(run)[0], erlang_wait(0.8, 2)[1], rivals={"M/M/1": 4.0, "E3/M/1": erlang_wait(0.8, 3)[1]})


def test_closed_loop_of_thinking_clients() -> None:
    """Chained arrivals: one exponential server, N clients that think. Rivals: a client more or less."""
    clients, think, n = 8, 6.0, 60_000

    def run(seed: int) -> list[float]:
        think_s = stream(seed, "think").exponential(think, n)
        think_s[:clients].sort()
        after = np.maximum(np.arange(n) - clients, -1)  # request i is of client i modulo the clients
        records = serve(SINGLE, workload(SINGLE, think_s, services(seed, exponential, n), after=after))
        end = records["arrival"][-clients:].min()  # until here all clients are there
        chosen = (records["arrival"] > 0.1 * end) & (records["arrival"] < end)
        return [sojourns(records)[chosen].mean()]

    rivals = {f"{k} clients": closed_sojourn(k, think) for k in (clients - 1, clients + 1)}
    agree(sample(run)[0], closed_sojourn(clients, think), rivals=rivals)


@pytest.mark.parametrize(
    ("loads", "law"),
    [([0.4, 0.4], exponential), ([0.2, 0.3, 0.3], exponential), ([0.2, 0.3, 0.3], hyperexponential)],
)
def test_non_preemptive_priorities(loads: list[float], law: Law) -> None:
    """Rivals: one queue for all; preemptive-resume (its sojourn less the service)."""
    server = one_step_a_service(scheduling="priority")
    rho, n = sum(loads), 60_000

    def run(seed: int) -> list[float]:
        priority = stream(seed, "priority").choice(len(loads), n, p=np.array(loads) / rho)
        requests = workload(server, poisson(seed, rho, n), services(seed, law, n), priority=priority)
        records = serve(server, requests)[n // 5 :]
        return [waits(records)[records["priority"] == k].mean() for k in range(len(loads))]

    expected = cobham(loads, SQUARED_CV[law])
    for k, samples in enumerate(sample(run, offered(law, rho, n))):
        rivals = {"one queue": pollaczek_khinchine(rho, SQUARED_CV[law])}
        if k == 0:
            rivals["preemptive"] = cobham(loads[:1], SQUARED_CV[law])[0]
        agree(samples, expected[k], rivals=rivals)
