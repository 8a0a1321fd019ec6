"""M/M/c, M/G/infinity, loss and impatience: many slots."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.kernels.state import ABANDONED, COMPLETED, QUEUE_FULL, REJECTED
from sim.workloads.generators import stream
from tests.theory.formulas import erlang_a, erlang_b, erlang_c
from tests.theory.queues import (
    Law,
    Records,
    agree,
    constant,
    constant_step,
    exponential,
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


@pytest.mark.parametrize(
    ("servers", "rho", "step_s", "n"),
    [
        (2, 0.8, 0.04, 60_000),
        (8, 0.8, 0.01, 60_000),
        (8, 0.9, 0.02, 150_000),
        (32, 0.8, 0.002, 60_000),
        (64, 0.9, 0.002, 150_000),
        (256, 0.92, 0.0005, 180_000),
    ],
)
def test_mmc_waits_are_erlang_c(servers: int, rho: float, step_s: float, n: int) -> None:
    """A request waits 0 to one step longer than in the continuous queue. Rivals: 2 % of the servers (at least
    one) less or more, other orders of service."""
    load = rho * servers
    probability, drain = erlang_c(load, servers), servers - load
    p99 = max(0.0, math.log(probability / 0.01) / drain)
    moment = 2 * probability / drain**2
    server = constant_step(servers, step_s)

    def run(seed: int) -> list[float]:
        wait = waits(run_queue(server, exponential, load, n, seed))
        return [(wait > step_s).mean(), wait.mean(), (wait**2).mean(), (wait > p99 + step_s).mean()]

    waited, mean, square, late = sample(run, offered(exponential, load, n))
    few = max(1, servers // 50)
    others = {f"{c} servers": (erlang_c(load, c), c - load) for c in (servers - few, servers + few)}
    fall = math.expm1(-drain * step_s)
    agree(waited, probability, low=probability * fall, rivals={name: c for name, (c, _) in others.items()})
    agree(mean, probability / drain, high=step_s, rivals={name: c / d for name, (c, d) in others.items()})
    rivals = {"last come first served": moment / (1 - rho), "random order": moment * 2 / (2 - rho)}
    agree(square, moment, high=2 * step_s * probability / drain + step_s**2, rivals=rivals)
    agree(late, 0.01, low=0.01 * fall, rivals={"twice": 0.02, "none": 0.0})


def test_asynchronous_scheduling_costs_a_step_a_service() -> None:
    """The batch after the executing one is composed before the executing one has ended: a slot that falls
    free stays empty for a step. So the mean wait is at most two steps longer than with services a step
    longer."""
    servers, load, step_s, n = 8, 6.4, 0.01, 40_000
    server = constant_step(servers, step_s, async_scheduling=True)

    (mean,) = sample(
        lambda seed: [waits(run_queue(server, exponential, load, n, seed)).mean()],
        offered(exponential, load, n),
    )
    longer = load * (1 + step_s)
    slowest = erlang_c(longer, servers) / (servers - longer) * (1 + step_s) + 2 * step_s
    expected = erlang_c(load, servers) / (servers - load)
    rivals = {"9 servers": erlang_c(load, 9) / (9 - load), "7 servers": erlang_c(load, 7) / (7 - load)}
    agree(mean, expected, high=slowest - expected, rivals=rivals)


@pytest.mark.parametrize("law", [exponential, lognormal])
def test_infinitely_many_servers(law: Law) -> None:
    """M/G/infinity: an arrival finds a Poisson number of others, whatever the law. Rivals: a geometric
    number, which any single server with this mean would show; three steps and a half more a service."""
    load, step_s, n = 20.0, 0.005, 40_000
    server = constant_step(512, step_s)

    def run(seed: int) -> list[float]:
        records = serve(server, workload(server, poisson(seed, load, n), services(seed, law, n)))
        finish = np.sort(records["finish"])
        found = (np.arange(n) - np.searchsorted(finish, records["arrival"]))[n // 5 :]
        return [found.mean(), ((found - load) ** 2).mean()]

    mean, variance = sample(run, offered(law, load, n))
    rivals = {"longer": load * (1 + 3.5 * step_s), "shorter": 0.985 * load}
    agree(mean, load, high=load * step_s, rivals=rivals)
    agree(variance, load, high=2 * load * step_s, rivals={"geometric": load + load**2, "half": load / 2})


# -- loss and impatience -------------------------------------------------------------------------------------


def rejected(records: Records) -> NDArray[np.bool_]:
    """Which requests were turned away at the door; all others were completed."""
    turned_away = records["status"] == REJECTED
    assert (records["reason"][turned_away] == QUEUE_FULL).all()
    assert (records["status"][~turned_away] == COMPLETED).all()
    return turned_away


@pytest.mark.parametrize("law", [exponential, constant, lognormal])
@pytest.mark.parametrize(("servers", "load"), [(1, 1), (5, 3), (10, 8), (20, 20)])
def test_loss_is_erlang_b_for_every_law(servers: int, load: float, law: Law) -> None:
    """A request stays up to a step longer than its service. Rivals: one place more or less."""
    step_s, n = (0.02 if servers == 1 else 0.005), 20_000
    server = constant_step(servers, step_s, max_outstanding=servers)

    (blocked,) = sample(lambda seed: [rejected(run_queue(server, law, load, n, seed)).mean()], offered(law, load, n))
    rivals = {f"{c} places": erlang_b(load, c) for c in (servers - 1, servers + 1)}
    expected = erlang_b(load, servers)
    agree(blocked, expected, high=erlang_b(load * (1 + step_s), servers) - expected, rivals=rivals)


@pytest.mark.parametrize("limit", [{"max_outstanding": 10}, {"max_queue": 9}])
def test_loss_of_a_short_queue(limit: dict[str, int]) -> None:
    """M/M/1/10. Rivals: a place more or less."""
    rho, n = 0.8, 40_000
    server = one_step_a_service(**limit)
    (blocked,) = sample(
        lambda seed: [rejected(run_queue(server, exponential, rho, n, seed)).mean()],
        offered(exponential, rho, n),
    )
    loss = {k: (1 - rho) * rho**k / (1 - rho ** (k + 1)) for k in (9, 10, 11)}
    agree(blocked, loss[10], rivals={"9 places": loss[9], "11 places": loss[11]})


@pytest.mark.parametrize(("servers", "rate", "leaving"), [(8, 8.0, 0.5), (64, 70.0, 1.0)])
def test_impatience_is_erlang_a(servers: int, rate: float, leaving: float) -> None:
    """Patience runs until the first token, up to two steps after the start in the continuous queue, so a
    few more leave; and services last up to a step longer. P(abandon) = leaving rate x mean time waited
    holds exactly for exponential patience, whatever the queue. Rivals: patience of twice or half the
    length; patience until the last token."""
    step_s, n = 0.001, int(1000 * rate)
    server = constant_step(servers, step_s)

    def run(seed: int) -> list[float]:
        arrival_s, service_s = poisson(seed, rate, n), services(seed, exponential, n)
        patience_s = stream(seed, "patience").exponential(1 / leaving, n)
        records = serve(server, workload(server, arrival_s, service_s, patience_s=patience_s))[n // 10 :]
        gone = records["status"] == ABANDONED
        assert np.allclose(sojourns(records)[gone], patience_s[n // 10 :][gone])
        waited = np.where(gone, records["finish"], records["first_token"]) - records["arrival"]
        return [gone.mean(), waited.mean(), gone.mean() - leaving * waited.mean()]

    gone, waited, difference = sample(run, offered(exponential, rate, n))
    expected = erlang_a(rate, servers, leaving)
    more = 2 * step_s * leaving + expected * step_s
    rivals = {
        "patience halved": erlang_a(rate, servers, 2 * leaving),
        "patience doubled": erlang_a(rate, servers, leaving / 2),
        "until the last token": erlang_a(rate, servers, leaving, in_service=True),
    }
    agree(gone, expected, high=more, rivals=rivals)
    agree(
        waited,
        expected / leaving,
        high=2 * step_s + more / leaving,
        rivals={"12 % more": 1.12 * expected / leaving},
    )
    agree(difference, 0.0, rivals={"6 % more": 0.06 * expected})
