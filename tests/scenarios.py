"""Small random scenarios that visit every rule of the engine, for the parity and invariant tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from policies import ReplicaView, RequestView
from sim.kernels.step_cost import STEP_COSTS, step_cost
from sim.plane import DataPlane, StepCosts
from sim.pool import BALANCERS, EngineSettings, PoolPlan, PoolSettings, StepShape
from sim.workloads.workload import Provenance, Workload
from sim.world import Control, World

Order = tuple[float, Literal["fail", "repair"], int]


@dataclass(frozen=True)
class Scenario:
    """A workload, a pool, what a step costs, and the failures and repairs."""

    workload: Workload
    pool: PoolSettings
    costs: StepCosts
    controls: tuple[Order, ...]
    seed: int


def step_costs(
    *, fixed_s: float = 0.0, max_tokens: int = 64, max_seqs: int = 64, token_s: float = 0.0, **fields: float
) -> StepCosts:
    """Tables for small tests: a constant step unless told otherwise."""
    costs = np.zeros(1, STEP_COSTS)
    costs["fixed_s"] = fixed_s
    for name, value in fields.items():
        costs[name] = value
    tokens = np.arange(max_tokens + 1.0)
    emits = np.arange(max_seqs + 1.0)
    r = np.linspace(0.0, 1.0, 1025)
    return StepCosts(costs, token_s * tokens, 0.01 * tokens, 0.0 * emits, 0.001 * emits, (1.0 + r**2.5) ** (1 / 2.5))


def workload_of(rows: Sequence[dict[str, Any]], unit: int = 4) -> Workload:
    """A workload from rows with `arrival_s`, `prompt`, `output` and optional other fields."""
    names = [list(row.get("names", ())) for row in rows]
    starts = np.cumsum([0] + [len(ids) for ids in names])[:-1]

    def column(key: str, default: float, dtype: type) -> Any:
        return np.array([row.get(key, default) for row in rows], dtype=dtype)

    return Workload(
        arrival_s=column("arrival_s", 0.0, np.float64),
        after=column("after", -1, np.int64),
        prompt_tokens=column("prompt", 1, np.int64),
        output_tokens=column("output", 1, np.int64),
        priority=column("priority", 0, np.int64),
        patience_s=column("patience", inf, np.float64),
        deadline_s=column("deadline", inf, np.float64),
        session=column("session", -1, np.int64),
        named_tokens=column("named", 0, np.int64),
        name_start=np.asarray(starts, np.int64),
        name_ids=np.array([i for ids in names for i in ids], np.int64),
        name_unit_tokens=unit,
        provenance=Provenance(kind="test"),
    )


def seconds(most: float) -> st.SearchStrategy[float]:
    """Instants on a coarse grid (so that many coincide) or anywhere."""
    grid = st.integers(0, int(most * 4)).map(lambda q: q / 4)
    return st.one_of(grid, grid, st.floats(0.0, most, allow_subnormal=False))


@st.composite
def workloads(draw: st.DrawFn, block_size: int, most: int = 14) -> Workload:
    """Up to `most` requests: open and chained, with shared prefixes, priorities, patience and deadlines."""
    count = draw(st.integers(1, most))
    per_unit = draw(st.integers(1, 2))
    unit = block_size * per_unit
    named = draw(st.booleans())
    chained = draw(st.booleans())
    impatient = draw(st.booleans())
    crowded = draw(st.sampled_from([0.5, 2.0, 8.0]))
    open_s = sorted(draw(st.lists(seconds(crowded), min_size=count, max_size=count)))
    rows: list[dict[str, Any]] = []
    free = []
    for r in range(count):
        prompt = draw(st.one_of(st.integers(1, 8), st.integers(1, 30)))
        output = draw(st.one_of(st.integers(1, 4), st.integers(4, 16)))
        row: dict[str, Any] = {"prompt": prompt, "output": output, "priority": draw(st.integers(0, 2))}
        if chained and free and draw(st.booleans()):
            row["after"] = free.pop(draw(st.integers(0, len(free) - 1)))
            row["arrival_s"] = draw(st.sampled_from([0.0, 0.0, 0.25, 1.0]))
        else:
            row["arrival_s"] = open_s.pop(0)
        free.append(r)
        if impatient:
            row["patience"] = draw(st.sampled_from([inf, 0.25, 1.0, 2.5]))
            row["deadline"] = draw(st.sampled_from([inf, inf, 0.25, 3.0, 6.0]))
        if named and draw(st.booleans()):
            covered = draw(st.sampled_from([prompt, prompt + output]))
            shared = draw(st.integers(0, 3))  # units in common with every other request
            stream = draw(st.integers(1, 3))
            ids = [j if j < shared else 1000 * stream + 100 * shared + j for j in range(-(-covered // unit))]
            row |= {"named": covered, "names": ids}
        rows.append(row)
    return workload_of(rows, unit)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    """A whole scenario."""
    block_size = draw(st.integers(1, 4))
    max_num_seqs = draw(st.sampled_from([1, 2, 3, 4, 6, 6]))
    chunked = draw(st.sampled_from([True, True, True, False]))
    budget = draw(st.integers(max_num_seqs, 20)) if chunked else 64
    replicas = draw(st.sampled_from([1, 1, 2, 3]))
    engine = EngineSettings(
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=budget,
        max_model_len=draw(st.sampled_from([46, 46, 46, 46, 20])),
        block_size=block_size,
        kv_blocks=-(-46 // block_size) - draw(st.sampled_from([-9, -4, -1, 0, 0, 5])),
        chunked_prefill=chunked,
        prefix_caching=draw(st.sampled_from([True, True, False])),
        async_scheduling=draw(st.booleans()),
        scheduling=draw(st.sampled_from(["fcfs", "priority"])),
        max_queue=draw(st.sampled_from([-1, -1, -1, -1, 0, 2])),
        max_outstanding=draw(st.sampled_from([-1, -1, -1, -1, 3])),
    )
    pool = PoolSettings(
        replicas=replicas,
        balancer=draw(st.sampled_from(BALANCERS)),
        telemetry_lag_s=draw(st.sampled_from([0.0, 0.0, 0.5, 1.3])),
        cold_start_s=draw(st.sampled_from([0.0, 0.0, 0.3])),
        window_tokens=draw(st.sampled_from([0, 0, 1, 5, 12])),
        engine=engine,
    )
    costs = draw(
        st.sampled_from(
            [
                step_costs(fixed_s=0.25, static_w=3.0),  # ties with the grid of arrivals
                step_costs(fixed_s=0.1, token_s=0.01, per_sequence_s=0.003, static_w=1.0),
                step_costs(
                    fixed_s=0.01,
                    token_s=0.004,
                    attend_s=0.0007,
                    attend_window_s=0.0004,
                    decode_attend_s=0.0003,
                    decode_attend_window_s=0.0001,
                    mixed_rows=4.0,
                    read_s=0.0011,
                    read_window_s=0.0005,
                    static_w=2.0,
                    attend_j=0.01,
                    attend_window_j=0.02,
                    read_j=0.03,
                    read_window_j=0.001,
                ),
            ]
        )
    )
    orders = st.tuples(seconds(12.0), st.sampled_from(["fail", "repair"]), st.integers(0, replicas - 1))
    controls = draw(st.one_of(st.just([]), st.lists(orders, max_size=6)))
    return Scenario(
        workload=draw(workloads(block_size)),
        pool=pool,
        costs=costs,
        controls=tuple(controls),
        seed=draw(st.integers(0, 5)),
    )


def odd_policy(request: RequestView, replicas: list[ReplicaView]) -> int:
    """A Python policy that uses everything it may see."""
    up = [replica for replica in replicas if replica.up]
    up.sort(key=lambda replica: (replica.outstanding, -replica.id if request.priority else replica.id))
    return up[(request.prompt_tokens + request.attempt + request.id) % 2 % len(up)].id


def step_model(costs: StepCosts) -> Any:
    """The production step cost, as the oracle wants it."""

    def cost(shape: StepShape) -> tuple[float, float]:
        return step_cost(*shape, costs.costs[0], *costs[1:])

    return cost


def control_of(order: Order) -> Control:
    """A SimPy process that fails or repairs one replica at one instant."""

    def act(world: World) -> Any:
        when, what, replica = order
        yield world.timeout(when)
        getattr(world.pool(), what)(replica)

    return act


def run_plane(scenario: Scenario) -> DataPlane:
    """The scenario through the production plane and world."""
    policy = {scenario.pool.name: odd_policy} if scenario.pool.balancer == "python" else {}
    plane = DataPlane(
        scenario.workload,
        [PoolPlan(settings=scenario.pool, costs=scenario.costs)],
        seed=scenario.seed,
        balancers=policy,
    )
    World(plane).run_to_end([control_of(order) for order in scenario.controls])
    return plane


def with_engine(scenario: Scenario, **changes: Any) -> Scenario:
    """The same scenario with other engine settings."""
    return replace(scenario, pool=replace(scenario.pool, engine=replace(scenario.pool.engine, **changes)))
