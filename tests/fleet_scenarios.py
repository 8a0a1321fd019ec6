"""Small random fleets that visit every rule, for the parity and invariant tests.

Half of them are *coarse*: every constant is a multiple of a quarter of a second, so that much happens at one instant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
from hypothesis import strategies as st

from policies.layout import FEATURE_NAMES, KINDS
from policies.table import PolicyTable
from sim.fleet import CascadeSettings, Far, FleetSettings, NetworkClass, RowKind, Six, TaskKind
from sim.pool import EngineSettings, PoolPlan, PoolSettings
from sim.workloads.workload import Asked, Workload
from tests.scenarios import seconds, step_costs, workloads

UNIT = 4  # tokens of a prefix name; every pool's block size divides it
MODELS = 4
Order = tuple[float, str, tuple[Any, ...]]


@dataclass(frozen=True)
class FleetScenario:
    """All that `tests.oracle.run_fleet` takes."""

    workload: Workload
    pools: tuple[PoolPlan, ...]
    fleet: FleetSettings
    policy: PolicyTable
    seed: int
    orders: tuple[Order, ...]


def one_of(draw: st.DrawFn, *values: Any) -> Any:
    return draw(st.sampled_from(values))


def number(draw: st.DrawFn, coarse: bool, most: float, *, least: float = 0.0) -> float:
    """From [least, most]; on the grid of quarters when coarse."""
    if coarse:
        return draw(st.integers(-int(-least * 4 // 1), int(most * 4))) / 4
    return draw(st.floats(least, most, allow_subnormal=False))


def six(draw: st.DrawFn, coarse: bool, least: float, most: float) -> Six:
    """Quantiles: all the same, or rising."""
    if coarse or draw(st.booleans()):
        value = one_of(draw, least, most)
        return (value,) * 6
    values = sorted(draw(st.lists(st.floats(least, most), min_size=6, max_size=6)))
    return tuple(values)  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------------------- the near


def a_network(draw: st.DrawFn, coarse: bool, name: str) -> NetworkClass:
    """One with short spells of outage, a tail, and costs."""
    if one_of(draw, *[False] * 7, True):
        return NetworkClass(name=name, radio=False)
    return NetworkClass(
        name=name,
        home=draw(st.booleans()),
        metered=draw(st.booleans()),
        rtt_s=six(draw, coarse, one_of(draw, 0.0, 0.5), 0.5),
        rtt_edge_s=six(draw, coarse, 0.0, 0.25),
        uplink_bps=six(draw, coarse, 8192.0, 65536.0),
        downlink_bps=six(draw, coarse, 16384.0, 1e6),
        setup_round_trips=one_of(draw, 0, 1, 2),
        promotion_idle_s=one_of(draw, 0.0, 0.5, 3.0),
        promotion_s=number(draw, coarse, 0.5),
        tail_s=one_of(draw, 0.0, 0.5, 4.0),
        tail_w=one_of(draw, 0.0, 0.7),
        base_w=one_of(draw, 0.0, 1.1),
        up_j_per_byte=one_of(draw, 0.0, 0.0003),
        down_j_per_byte=one_of(draw, 0.0, 0.0001),
        mean_good_s=one_of(draw, 0.3, 1.0, 4.0),
        mean_bad_s=one_of(draw, 0.0, 0.2, 1.0, 1.0),
        loss=one_of(draw, 0.0, 0.5, 1.0, 1.0),
    )


def a_kind(draw: st.DrawFn, coarse: bool, name: str, networks: int) -> RowKind:
    """Jobs of seconds, a case that heats up in seconds, a battery for a few of them."""
    hub = networks == 0
    weights = [one_of(draw, 0.0, 1.0, 2.5) for _ in range(networks)]
    if not hub and not any(weights):
        weights[draw(st.integers(0, networks - 1))] = 1.0
    battery = one_of(draw, *([False, False, True] if hub else [True, False]))
    capacity_j = one_of(draw, 40.0, 200.0, 12.0, 4.0) if battery else 0.0
    return RowKind(
        name=name,
        device=name,
        model=one_of(draw, 0, 1, 1, 1, 1, 1, 1, -1) if not hub else one_of(draw, 0, 1),
        modalities=one_of(draw, 7, 7, 3, 1),
        max_tokens=one_of(draw, 100, 46, 46, 46, 15),
        chunk_tokens=one_of(draw, 1, 8, 16),
        chunk_s=0.25 if coarse else one_of(draw, 0.03, 0.3),
        token_s=one_of(draw, 0.0, 0.25) if coarse else one_of(draw, 0.0, 0.04, 0.2),
        context_s=0.0 if coarse else one_of(draw, 0.0, 0.002),
        load_s=number(draw, coarse, 1.0),
        power_w=one_of(draw, 0.0, 2.0, 4.0, 4.0),
        background_w=one_of(draw, 0.0, 0.1, 0.3, 1.0),
        ambient_c=one_of(draw, 20.0, 25.0, 30.0),
        limit_c=one_of(draw, 31.0, 33.0, 36.0, 36.0, 45.0, 1000.0),
        resistance_c_per_w=one_of(draw, 2.0, 5.0, 5.0),
        capacitance_j_per_c=one_of(draw, 0.05, 0.4, 0.4, 2.0),
        throttled_clock=one_of(draw, 0.25, 0.5, 0.5, 1.0) if coarse else one_of(draw, 0.3, 0.7),
        capacity_j=capacity_j,
        floor_j=capacity_j * one_of(draw, 0.1, 0.1, 0.2, 0.0, 0.5),
        charge_w=one_of(draw, 0.0, 3.0, 8.0),
        charge_from_s=one_of(draw, 0.0, 1.0, 2.5, 86398.0),
        charge_s=one_of(draw, 0.0, 1.25, 5.0, 86400.0),
        pressure_per_s=one_of(draw, 0.0, 0.0, 0.2, 2.0),
        networks=tuple(weights),
        network_period_s=one_of(draw, 0.75, 2.0, 1800.0),
    )


def a_task(draw: st.DrawFn, name: str) -> TaskKind:
    return TaskKind(
        name=name,
        privacy=one_of(draw, "any", "any", "any", "any", "any", "home", "device"),
        modality=one_of(draw, 1, 1, 1, 1, 1, 1, 2, 3, 4),
        output_hint=one_of(draw, 1.0, 4.0, 7.5, 16.0),
        difficulty_mean=one_of(draw, 0.0, 0.0, -1.5, 0.7),
        difficulty_spread=one_of(draw, inf, 1.0, 0.4, 0.0),
        slo_ttft_s=one_of(draw, inf, 0.25, 2.0),
        slo_tpot_s=one_of(draw, inf, 0.1),
        slo_e2e_s=one_of(draw, inf, 5.0),
    )


def a_fleet(draw: st.DrawFn, coarse: bool) -> FleetSettings:
    """One to four devices, up to two hubs."""
    devices, hubs = draw(st.integers(1, 4)), draw(st.integers(0, 2))
    networks = tuple(a_network(draw, coarse, f"network {i}") for i in range(draw(st.integers(1, 3))))
    kinds = [a_kind(draw, coarse, f"kind {i}", len(networks)) for i in range(draw(st.integers(1, 3)))]
    tasks = tuple(a_task(draw, f"task {i}") for i in range(draw(st.integers(1, 3))))
    regions = draw(st.integers(1, 2))
    of_row = [draw(st.integers(0, len(kinds) - 1)) for _ in range(devices)] + [len(kinds)] * hubs
    kinds.append(a_kind(draw, coarse, "hub", 0))
    return FleetSettings(
        kinds=tuple(kinds),
        networks=networks,
        tasks=tasks,
        models=tuple(f"model {i}" for i in range(MODELS)),
        ability=np.array([[draw(st.integers(-8, 8)) / 3 for _ in tasks] for _ in range(MODELS)]),
        devices=devices,
        kind=np.array(of_row, np.int16),
        hub=np.array([devices + draw(st.integers(-1, hubs - 1)) if hubs else -1 for _ in range(devices)], np.int32),
        region=np.array([draw(st.integers(0, regions - 1)) for _ in range(devices)], np.int8),
        battery_share=np.array([one_of(draw, 1.0, 1.0, 1.0, 0.5, 0.5, 0.21, 0.05, 0.0) for _ in of_row], np.float32),
        regions=regions,
        cascade=CascadeSettings(
            auc=one_of(draw, 0.5, 0.75, 0.9, 0.9999),
            threshold=one_of(draw, -1.5, -0.3, 0.0, 0.4, 1.2, 3.0),
            check_s=one_of(draw, 0.0, 0.25) if coarse else one_of(draw, 0.05, 0.4),
        ),
        estimate_spread=one_of(draw, 0.0, 1.0, 2.0),
        foresight=one_of(draw, 0, 0, 0, 1, 2),
        start_s=one_of(draw, 0.0, 86396.0, 86398.5, 40000.0),
    )


def without_loose_hubs(fleet: FleetSettings) -> FleetSettings:
    """`a_fleet` writes devices - 1 for none."""
    hub = np.where(fleet.hub < fleet.devices, -1, fleet.hub).astype(np.int32)
    return replace(fleet, hub=hub)


# -------------------------------------------------------------------------------------------------------- the far


def a_pool(draw: st.DrawFn, coarse: bool, name: str) -> PoolPlan:
    """As in `tests.scenarios`, with what a router knows of it."""
    block_size = one_of(draw, 1, 2, 4)
    seqs = one_of(draw, 1, 2, 4, 6)
    chunked = one_of(draw, True, True, True, False)
    replicas = one_of(draw, 1, 1, 2, 3)
    engine = EngineSettings(
        max_num_seqs=seqs,
        max_num_batched_tokens=draw(st.integers(seqs, 20)) if chunked else 64,
        max_model_len=one_of(draw, *[46] * 6, 20),
        block_size=block_size,
        kv_blocks=-(-46 // block_size) - one_of(draw, -9, -4, 0, 0, 5),
        chunked_prefill=chunked,
        prefix_caching=draw(st.booleans()),
        async_scheduling=draw(st.booleans()),
        scheduling=one_of(draw, "fcfs", "priority"),
        max_queue=one_of(draw, *[-1] * 8, 0, 1),
        max_outstanding=one_of(draw, *[-1] * 8, 2),
    )
    costs = step_costs(fixed_s=0.25, static_w=3.0)
    if not coarse:
        costs = step_costs(fixed_s=0.05, token_s=0.01, attend_s=0.0007, read_s=0.0011, static_w=1.0, read_j=0.03)
    return PoolPlan(
        settings=PoolSettings(
            name=name,
            replicas=replicas,
            balancer=one_of(draw, "round-robin", "random", "least-outstanding", "power-of-two", "prefix-affinity"),
            telemetry_lag_s=one_of(draw, 0.0, 0.0, 0.5, 1.3),
            cold_start_s=one_of(draw, 0.0, 0.5),
            engine=engine,
            started=one_of(draw, *[-1] * 7, 0, 1),
        ),
        costs=costs,
        far=Far(
            tier=one_of(draw, "edge", "cloud"),
            model=draw(st.integers(0, MODELS - 1)),
            modalities=one_of(draw, 7, 7, 3, 1),
            decode_s=tuple(0.01 + 0.02 * b for b in range(seqs + 1)),
            prefill_token_s=one_of(draw, 0.0, 0.003),
            output_mean=one_of(draw, 1.0, 8.0),
            price_usd_per_s=one_of(draw, 0.0, 0.001, 2.0),
        ),
    )


# ----------------------------------------------------------------------------------------------------- the choice


def a_policy(draw: st.DrawFn, tasks: int, name: str) -> PolicyTable:
    """Any action, one kind, or random weights."""
    weights = np.zeros(len(FEATURE_NAMES))
    scene = np.zeros((tasks, len(KINDS)))
    kinds = [True] * len(KINDS)
    style = one_of(draw, "dice", "dice", "one kind", "one kind", "weights")
    if style == "dice":
        weights[FEATURE_NAMES.index("noise")] = 1.0
    elif style == "one kind":
        scene[:, one_of(draw, 0, 1, 2, 3, 3, 4, 4)] = 1000.0
    else:
        weights[:] = [one_of(draw, 0.0, 0.0, 1.0, -1.0, 0.37, -1000.0) for _ in FEATURE_NAMES]
        scene[:] = [[one_of(draw, 0.0, 0.0, 0.5, -2.0) for _ in KINDS] for _ in range(tasks)]
    if one_of(draw, True, False, False):
        kinds = [draw(st.booleans()) for _ in KINDS]
        kinds[draw(st.integers(0, len(KINDS) - 1))] = True
    return PolicyTable(name=name, weights=weights, scene=scene, kinds=tuple(kinds))  # type: ignore[arg-type]


def an_order(draw: st.DrawFn, pools: tuple[PoolPlan, ...], fleet: FleetSettings, tables: list[PolicyTable]) -> Order:
    """Of any kind."""
    when = draw(st.one_of(seconds(4.0), seconds(12.0)))
    names = ["weather", "weather", "policy", "replace"]
    if pools:
        names += [*["fail"] * 6, "repair", "repair", "retire", "start", "start", "slow", "price"]
    what = one_of(draw, *names)
    if what == "weather":
        region = draw(st.integers(0, fleet.regions - 1))
        return when, what, (region, one_of(draw, 1.0, 2.0), one_of(draw, 1.0, 0.5), one_of(draw, True, True, False))
    if what == "policy":
        return when, what, (one_of(draw, *tables), one_of(draw, 0.0, 0.3, 0.7, 1.0))
    if what == "replace":
        return when, what, (draw(st.integers(0, fleet.rows - 1)),)
    pool = draw(st.integers(0, len(pools) - 1))
    if what == "slow":
        return when, what, (pool, one_of(draw, 1.0, 0.5, 3.0))
    if what == "price":
        return when, what, (pool, one_of(draw, 0.0, 0.01))
    return when, what, (pool, draw(st.integers(0, pools[pool].settings.replicas - 1)))


# ------------------------------------------------------------------------------------------------------- the asked


def the_asked(draw: st.DrawFn, workload: Workload, fleet: FleetSettings) -> Workload:
    """The workload, asked by devices; sometimes with a long pause in it."""
    n = len(workload)

    def column(strategy: st.SearchStrategy[Any], dtype: type) -> Any:
        return np.array(draw(st.lists(strategy, min_size=n, max_size=n)), dtype)

    asked = Asked(
        device=column(st.integers(0, fleet.devices - 1), np.int32),
        task=column(st.integers(0, len(fleet.tasks) - 1), np.int16),
        difficulty=column(st.sampled_from([-3.0, 0.0, 0.7, 2.0]), np.float32),
        up_bytes=column(st.sampled_from([0.0, 256.0, 1024.0, 3000.0]), np.float32),
        down_bytes=column(st.sampled_from([0.0, 512.0, 2048.0]), np.float32),
    )
    pause_s = one_of(draw, 0.0, 0.0, 0.0, 70.0)
    first = workload.after == -1
    late = first & (np.cumsum(first) > first.sum() // 2)
    return replace(workload, arrival_s=workload.arrival_s + pause_s * late, asked=asked)


@st.composite
def fleets(draw: st.DrawFn) -> FleetScenario:
    """A whole scenario."""
    coarse = draw(st.booleans())
    fleet = without_loose_hubs(a_fleet(draw, coarse))
    pools = tuple(a_pool(draw, coarse, f"pool {i}") for i in range(one_of(draw, 1, 1, 2, 2, 3, 3, 0)))
    tables = [a_policy(draw, len(fleet.tasks), f"policy {i}") for i in range(3)]
    count = one_of(draw, 0, 2, 6, 12)
    return FleetScenario(
        workload=the_asked(draw, draw(workloads(UNIT)), fleet),
        pools=pools,
        fleet=fleet,
        policy=tables[0],
        seed=draw(st.integers(0, 1000)),
        orders=tuple(an_order(draw, pools, fleet, tables[1:]) for _ in range(count)),
    )
