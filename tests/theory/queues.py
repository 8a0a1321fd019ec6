"""Replicas that are textbook queues, samples of many runs of them, and the z-test against expectations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.kernels.step_cost import STEP_COSTS
from sim.plane import DataPlane, StepCosts
from sim.pool import Balancer, EngineSettings, PoolPlan, PoolSettings
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
    plane = DataPlane(requests, [PoolPlan(settings=pool, costs=server.costs)], seed=seed)
    assert plane.advance(math.inf)
    assert plane.pools[0].replicas["preemptions"].sum() == 0
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
