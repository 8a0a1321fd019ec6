"""The production data plane against queueing theory.

What makes a replica a textbook queue (synchronous scheduling, no prefix cache, blocks to spare):

- *One step a service* (`SINGLE`): one slot, a step that takes 1/2000 s a prompt token, one output token. The
  replica is an exact M/G/1 queue; only its service times are rounded, to 1/2000 of their mean.
- *One step a token* (`constant_step`): `c` slots, a step that takes d seconds whatever the batch,
  n = round(S / d) output tokens. M/G/c, but a request that arrives inside a step waits for the next one. By
  induction over the requests, each of them starts 0 to d seconds after its start in the continuous queue with
  the same services. All the intervals [expected + low, expected + high] below follow from that bound.
- *Shared steps* (`shared_step`): a step takes d seconds a sequence: processor sharing with a quantum of d.

Method: RUNS independent runs from fixed seeds; the mean over the requests of a run (after a warm-up),
corrected for the load that the run happened to get (`sample`), is one sample; |z| < Z. Every check names
`rivals`: values that a wrong discipline or an off-by-one would give. A rival must be further from the
expected value than twice the margin of the z-test, so the check would have refuted it.

The mean service time is 1 s throughout. Not tested, because no deployment here works so: preemptive-resume
priorities (running sequences are only preempted for KV blocks), tandem queues (one pool has one stage).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.kernels.state import ABANDONED, COMPLETED, QUEUE_FULL, REJECTED
from sim.kernels.step_cost import STEP_COSTS
from sim.plane import DataPlane, StepCosts
from sim.pool import Balancer, EngineSettings, PoolSettings
from sim.workloads.generators import stream
from sim.workloads.workload import Floats, Ints, Provenance, Workload

RUNS = 30
Z = 4.5

Records = NDArray[Any]
Law = Callable[[np.random.Generator, int], Floats]


# -- service laws of mean 1 ----------------------------------------------------------------------------------


def exponential(rng: np.random.Generator, n: int) -> Floats:
    return rng.exponential(1.0, n)


def constant(rng: np.random.Generator, n: int) -> Floats:
    return np.ones(n)


def erlang2(rng: np.random.Generator, n: int) -> Floats:
    return rng.gamma(2.0, 0.5, n)


def lognormal(rng: np.random.Generator, n: int) -> Floats:
    return rng.lognormal(-0.5, 1.0, n)


def hyperexponential(rng: np.random.Generator, n: int) -> Floats:
    """Two phases of equal weight in the mean, squared coefficient of variation 4."""
    p = (1 + math.sqrt(3 / 5)) / 2
    return rng.exponential(1.0, n) / np.where(rng.random(n) < p, 2 * p, 2 * (1 - p))


SQUARED_CV: dict[Law, float] = {
    constant: 0.0,
    erlang2: 0.5,
    exponential: 1.0,
    lognormal: math.e - 1,
    hyperexponential: 4.0,
}


# -- deployments that are queues -----------------------------------------------------------------------------


class Server(NamedTuple):
    """A deployment: its engine, its step times, and how a service of S seconds is asked of it."""

    engine: EngineSettings
    costs: StepCosts
    quantum_s: float
    by_prompt: bool  # S is asked as prompt tokens (else as output tokens)


def step_costs(
    longest: int, *, fixed_s: float = 0.0, per_sequence_s: float = 0.0, per_token_s: float = 0.0
) -> StepCosts:
    costs = np.zeros(1, STEP_COSTS)
    costs["fixed_s"], costs["per_sequence_s"] = fixed_s, per_sequence_s
    none = np.zeros(longest + 1)
    return StepCosts(costs, np.arange(longest + 1) * per_token_s, none, none, none, np.ones(2))


def engine(slots: int, *, budget: int, **changes: Any) -> EngineSettings:
    settings: dict[str, Any] = {
        "max_num_seqs": slots,
        "max_num_batched_tokens": budget,
        "max_model_len": 1 << 20,
        "block_size": 1024,
        "kv_blocks": 64 * slots + 1024,
        "prefix_caching": False,
        "async_scheduling": False,
    }
    return EngineSettings(**(settings | changes))


def one_step_a_service(**changes: Any) -> Server:
    quantum_s, budget = 1 / 2000, 1 << 16
    return Server(engine(1, budget=budget, **changes), step_costs(budget, per_token_s=quantum_s), quantum_s, True)


def constant_step(slots: int, step_s: float, **changes: Any) -> Server:
    return Server(engine(slots, budget=2048, **changes), step_costs(2048, fixed_s=step_s), step_s, False)


def shared_step(step_s: float) -> Server:
    return Server(engine(512, budget=2048), step_costs(2048, per_sequence_s=step_s), step_s, False)


SINGLE = one_step_a_service()


def workload(
    server: Server,
    arrival_s: Floats,
    service_s: Floats,
    *,
    priority: Ints | None = None,
    patience_s: Floats | None = None,
    after: Ints | None = None,
) -> Workload:
    n = len(arrival_s)
    none, zeros, ones = np.full(n, -1, np.int64), np.zeros(n, np.int64), np.ones(n, np.int64)
    quanta = np.maximum(1, np.rint(service_s / server.quantum_s)).astype(np.int64)
    return Workload(
        arrival_s=arrival_s,
        after=none if after is None else after,
        prompt_tokens=quanta if server.by_prompt else ones,
        output_tokens=ones if server.by_prompt else quanta,
        priority=zeros if priority is None else priority,
        patience_s=np.full(n, math.inf) if patience_s is None else patience_s,
        deadline_s=np.full(n, math.inf),
        session=none,
        named_tokens=zeros,
        name_start=zeros,
        name_ids=np.zeros(0, np.int64),
        name_unit_tokens=1024,
        provenance=Provenance(kind="test"),
    )


def serve(
    server: Server,
    requests: Workload,
    *,
    replicas: int = 1,
    balancer: Balancer = "random",
    seed: int = 0,
) -> Records:
    """What became of the requests."""
    pool = PoolSettings(replicas=replicas, balancer=balancer, engine=server.engine)
    plane = DataPlane(requests, pool, server.costs, seed=seed)
    assert plane.advance(math.inf)
    assert plane.replicas["preemptions"].sum() == 0
    return plane.requests


def poisson(seed: int, rate: float, n: int) -> Floats:
    return np.cumsum(stream(seed, "arrivals").exponential(1 / rate, n))


def services(seed: int, law: Law, n: int) -> Floats:
    return law(stream(seed, "services"), n)


def run_queue(server: Server, law: Law, rate: float, n: int, seed: int, **serving: Any) -> Records:
    """n Poisson arrivals, the first fifth (warm-up) left out of the answer."""
    requests = workload(server, poisson(seed, rate, n), services(seed, law, n))
    return serve(server, requests, seed=seed, **serving)[n // 5 :]


def waits(records: Records) -> Floats:
    return records["scheduled"] - records["arrival"]


def sojourns(records: Records) -> Floats:
    return records["finish"] - records["arrival"]


# -- samples against expectations ----------------------------------------------------------------------------


def offered(law: Law, rate: float, n: int) -> Callable[[int], list[float]]:
    """What a run happened to be offered, as relative deviations from the means: the gaps, the services."""
    return lambda seed: [rate * poisson(seed, rate, n)[-1] / n - 1, services(seed, law, n).mean() - 1]


def sample(run: Callable[[int], list[float]], controls: Callable[[int], list[float]] | None = None) -> list[Floats]:
    """One array of RUNS samples for each number that `run(seed)` returns.

    `controls` have mean 0; what a linear regression explains by them is subtracted (control variates).
    """
    seeds = range(1, RUNS + 1)
    samples = np.array([run(seed) for seed in seeds])
    if controls is not None:
        noise = np.array([controls(seed) for seed in seeds])
        slopes = np.linalg.lstsq(noise - noise.mean(axis=0), samples - samples.mean(axis=0), rcond=None)[0]
        samples -= noise @ slopes
    return list(samples.T)


def agree(
    samples: Floats, expected: float, *, low: float = 0.0, high: float = 0.0, rivals: Mapping[str, float]
) -> None:
    """The mean is `expected` plus a bias within [low, high]; each rival value would have been refuted."""
    mean = float(samples.mean())
    margin = Z * float(samples.std(ddof=1)) / math.sqrt(len(samples))
    low, high = expected + low, expected + high
    assert low - margin <= mean <= high + margin, f"{mean} is not within [{low}, {high}] ± {margin}"
    for name, rival in rivals.items():
        distance = max(low - rival, rival - high)
        assert distance > 2 * margin, f"no power against {name} ({rival}): [{low}, {high}] ± {margin}"


# -- formulas ------------------------------------------------------------------------------------------------


def erlang_b(load: float, servers: int) -> float:
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    return blocked


def erlang_c(load: float, servers: int) -> float:
    blocked = erlang_b(load, servers)
    return blocked / (1 - load / servers * (1 - blocked))


def pollaczek_khinchine(rho: float, squared_cv: float) -> float:
    return rho * (1 + squared_cv) / (2 * (1 - rho))


def cobham(loads: list[float], squared_cv: float) -> list[float]:
    """Mean waits of non-preemptive priority classes."""
    residual = sum(loads) * (1 + squared_cv) / 2
    below = [sum(loads[:k]) for k in range(len(loads) + 1)]
    return [residual / ((1 - a) * (1 - b)) for a, b in pairwise(below)]


def erlang_wait(rate: float, stages: int) -> tuple[float, float]:
    """P(wait) and mean wait of E_k/M/1: the root x of x = A*(1 - x)."""
    root = 0.5
    for _ in range(10_000):
        root = (stages * rate / (stages * rate + 1 - root)) ** stages
    return root, root / (1 - root)


def md1_wait_at_most(t: float, rho: float) -> float:
    terms = [(-rho * (t - k)) ** k / math.factorial(k) * math.exp(rho * (t - k)) for k in range(math.floor(t) + 1)]
    return (1 - rho) * sum(terms)


def erlang_a(rate: float, servers: int, leaving: float, *, in_service: bool = False) -> float:
    """P(abandon) when everybody who waits leaves at this rate (`in_service`: and those in service, too)."""
    weight, total, impatient = 1.0, 1.0, 0.0
    for n in range(1, servers + 2000):
        losing = n if in_service else max(0, n - servers)
        weight *= rate / (min(n, servers) + leaving * losing)
        total += weight
        impatient += weight * losing
    return leaving * impatient / total / rate


def mean_field(rate: float) -> float:
    """Mean sojourn under power of two choices with infinitely many replicas."""
    return sum(rate ** (2**i - 2) for i in range(1, 20))


def shortest_of_two(rate: float, room: int = 50) -> float:
    """Mean sojourn when everybody joins the shorter of two M/M/1 queues; `rate` is the load of each."""
    states = [(i, j) for j in range(room) for i in range(j + 1)]
    number = {state: k for k, state in enumerate(states)}
    flow = np.zeros((len(states), len(states)))

    def move(state: tuple[int, int], i: int, j: int, speed: float) -> None:
        if max(i, j) < room:
            flow[number[state], number[min(i, j), max(i, j)]] += speed
            flow[number[state], number[state]] -= speed

    for i, j in states:
        move((i, j), i + 1, j, 2 * rate)
        if i > 0:
            move((i, j), i - 1, j, 1.0)
        if j > 0:
            move((i, j), i, j - 1, 1.0)
    balance = flow.T.copy()
    balance[0] = 1.0
    share = np.linalg.solve(balance, np.eye(len(states))[0])
    return float(share @ [i + j for i, j in states]) / (2 * rate)


def closed_sojourn(clients: int, think: float) -> float:
    """Mean value analysis of one server and `clients` that think."""
    sojourn, queue = 0.0, 0.0
    for k in range(1, clients + 1):
        sojourn = 1 + queue
        queue = k * sojourn / (think + sojourn)
    return sojourn


def test_the_formulas_are_the_textbook_ones() -> None:
    """Published digits, so that a slip in a formula cannot hide behind a tolerance."""
    textbook = {
        erlang_c(1.6, 2): 0.711111,
        erlang_c(25.6, 32): 0.160623,
        erlang_c(243.2, 256): 0.312926,
        erlang_b(3, 5): 0.110054,
        erlang_b(8, 10): 0.121661,
        erlang_b(90, 100): 0.026957,
        pollaczek_khinchine(0.9, math.e - 1): 12.232268,
        erlang_wait(0.8, 2)[1]: 2.843980,
        md1_wait_at_most(2, 0.8): 0.634520,
        erlang_a(8, 8, 0.5): 0.116014,
        erlang_a(70, 64, 1): 0.101720,
        cobham([0.4, 0.4], 1)[1]: 6.666667,
        mean_field(0.9): 2.614,
    }
    for ours, published in textbook.items():
        assert ours == pytest.approx(published, abs=4e-4 if published == 2.614 else 6e-7)


# -- one server ----------------------------------------------------------------------------------------------


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


# -- many servers --------------------------------------------------------------------------------------------


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


# -- processor sharing ---------------------------------------------------------------------------------------


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
    plane = DataPlane(requests, PoolSettings(engine=server.engine), server.costs)
    width = 0.25
    seen = []
    while not plane.advance(len(seen) * width):
        seen.append(plane.views()[0].outstanding)
    records, replica = plane.requests, plane.replicas[0]
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
        plane = DataPlane(requests, PoolSettings(engine=SINGLE.engine), SINGLE.costs)
        assert plane.advance(math.inf)
        busy_s = float(plane.replicas["busy_s"][0])
        assert busy_s == pytest.approx(requests.prompt_tokens.sum() * SINGLE.quantum_s)
        return [busy_s / plane.now_s]

    (share,) = sample(run, offered(lognormal, 0.8, n))
    agree(share, 0.8, low=-1 / n, high=1 / n, rivals={"more": 0.804, "less": 0.796})
