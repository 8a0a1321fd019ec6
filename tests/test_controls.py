"""The built-in controls, each on a small plane; what happens when they overlap; what a scenario may say of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from policies.layout import FEATURE_NAMES, KINDS
from policies.table import PolicyTable
from profiles.errors import UserError
from sim.controls import (
    Autoscaler,
    BrownOut,
    DeviceChurn,
    Effects,
    NetworkWeather,
    PolicyRollout,
    PoolOutage,
    PriceChange,
    ReplicaFailures,
    WeatherSpells,
    check_controls,
    crowded,
    late_controls,
    pool_size,
    scenario_controls,
)
from sim.controls.specs import ControlSpec
from sim.fleet import Far, FleetSettings, NetworkClass, RowKind, TaskKind
from sim.kernels import state
from sim.loading import load
from sim.plane import DataPlane
from sim.pool import Balancer, EngineSettings, PoolPlan, PoolSettings
from sim.workloads.fleet_spec import FleetWorkloadSpec
from sim.workloads.workload import Asked
from sim.world import Control, World
from tests.scenarios import step_costs, workload_of

Events = Generator[Any, Any, None]
SPECS: TypeAdapter[tuple[Any, ...]] = TypeAdapter(tuple[ControlSpec, ...])


class Spied(DataPlane):
    """A plane that notes what is done to its replicas."""

    def fail(self, pool: int, replica: int) -> None:
        self.seen: list[tuple[float, str, int]] = [*getattr(self, "seen", []), (self.now_s, "fail", replica)]
        super().fail(pool, replica)

    def repair(self, pool: int, replica: int) -> None:
        self.seen.append((self.now_s, "repair", replica))
        super().repair(pool, replica)


def plane_of(
    *,
    seconds: float = 20.0,
    gap_s: float = 0.1,
    replicas: int = 2,
    started: int = -1,
    balancer: Balancer = "least-outstanding",
    max_queue: int = -1,
    price_usd_per_s: float = 0.0,
    **fleet: Any,
) -> Spied:
    """A request of 0.5 s every `gap_s`. With `fleet` and `policy` its devices ask in turn."""
    n = int(seconds / gap_s)
    workload = workload_of([{"arrival_s": gap_s * r, "prompt": 5, "output": 10} for r in range(n)])
    if fleet:
        zeros, device = np.zeros(n, np.float32), np.arange(n) % fleet["fleet"].devices
        asked = Asked(device=device.astype(np.int32), task=np.zeros(n, np.int16), difficulty=zeros,
                      up_bytes=zeros, down_bytes=zeros)  # fmt: skip
        workload = replace(workload, asked=asked)
    engine = EngineSettings(
        max_num_seqs=4, max_num_batched_tokens=32, kv_blocks=64, async_scheduling=False, max_queue=max_queue
    )
    pool = PoolSettings(name="cloud", replicas=replicas, started=started, balancer=balancer, engine=engine)
    far = Far(decode_s=(0.05,) * 5, price_usd_per_s=price_usd_per_s)
    return Spied(workload, [PoolPlan(settings=pool, costs=step_costs(fixed_s=0.05), far=far)], seed=3, **fleet)


def a_fleet(devices: int = 40, regions: int = 2) -> FleetSettings:
    """Devices with a quick model of their own and a network without delay."""
    kind = RowKind(name="phone", device="phone", model=0, max_tokens=100, chunk_s=0.01, token_s=0.01, networks=(1.0,))
    return FleetSettings(
        kinds=(kind,),
        networks=(NetworkClass(name="wifi"),),
        tasks=(TaskKind(name="chat"),),
        models=("small",),
        ability=np.zeros((1, 1)),
        devices=devices,
        kind=np.zeros(devices, np.int16),
        hub=np.full(devices, -1, np.int32),
        region=(np.arange(devices) % regions).astype(np.int8),
        battery_share=np.ones(devices, np.float32),
        regions=regions,
    )


def a_policy(kind: str) -> PolicyTable:
    """All to one kind of target."""
    kinds = tuple(one == kind for one in KINDS)
    scene = np.zeros((1, len(KINDS)))
    return PolicyTable(name=kind, weights=np.zeros(len(FEATURE_NAMES)), scene=scene, kinds=kinds)  # type: ignore[arg-type]


def fleet_plane(policy: str = "cloud", **changes: Any) -> Spied:
    return plane_of(fleet=a_fleet(), policy=a_policy(policy), **changes)


def watched(plane: DataPlane, look: Callable[[World], Any], at: Sequence[float], controls: Sequence[Any]) -> list[Any]:
    """What `look` sees at these instants, after the controls of the instant."""
    seen = []

    def watch(world: World) -> Events:
        for when in at:
            yield world.timeout(when - world.now)
            yield world.timeout(0.0)
            seen.append(look(world))

    World(plane).run_to_end([*controls, watch])
    return seen


def slowdown(world: World) -> float:
    return float(world.plane.pools[0].record["slowdown"])


def up(world: World) -> int:
    return world.pool().up


def weather(world: World, region: int = 0) -> tuple[float, float, bool]:
    now = world.plane._arrays["weather"][region]
    return float(now["rtt_factor"]), float(now["rate_factor"]), bool(now["up"])


# -- pools -------------------------------------------------------------------------------------------------------------


def test_a_brown_out_slows_a_pool_and_is_over() -> None:
    plane = plane_of()
    control = BrownOut(at_s=5.0, duration_s=5.0, factor=3.0)
    assert watched(plane, slowdown, [4.9, 5.0, 9.9, 10.0], [control]) == [1.0, 3.0, 3.0, 1.0]
    took = plane.requests["finish"] - plane.requests["arrival"]
    during = (plane.requests["arrival"] > 6.0) & (plane.requests["arrival"] < 7.0)
    before = plane.requests["arrival"] < 4.0
    assert took[during].mean() > 2.0 * took[before].mean()


def test_brown_outs_multiply_and_leave_nothing_behind() -> None:
    controls = [
        BrownOut(at_s=2.0, duration_s=6.0, factor=3.0),
        BrownOut(at_s=4.0, duration_s=6.0, factor=0.7, pool="cloud"),
        BrownOut(at_s=5.0, duration_s=1.0, factor=1.1),
    ]
    seen = watched(plane_of(), slowdown, [3.0, 4.5, 5.5, 7.0, 9.0, 11.0], controls)
    assert seen == pytest.approx([3.0, 2.1, 2.31, 2.1, 0.7, 1.0])
    assert seen[-1] == 1.0, "exactly as before"


def test_an_outage_takes_all_replicas_at_once() -> None:
    plane = plane_of(replicas=3, max_queue=1)
    assert watched(plane, up, [4.9, 5.0, 7.9, 8.0], [PoolOutage(at_s=5.0, duration_s=3.0)]) == [3, 0, 0, 3]
    asked = plane.requests
    caught = (asked["arrival"] < 5.0) & (asked["finish"] == 5.0)
    assert caught.any()
    assert (asked["status"][caught] == state.FAILED).all(), "not sent to a replica that is about to fail, too"
    assert (asked["attempts"][caught] <= 1).all()
    late = (asked["arrival"] > 5.0) & (asked["arrival"] < 8.0)
    assert (asked["reason"][late] == state.NO_REPLICA).all()
    assert (asked["status"][asked["arrival"] > 9.0] == state.COMPLETED).all()
    assert plane.pools[0].replicas["down_s"].tolist() == [3.0] * 3


def test_an_outage_costs_as_much_as_it_does_without() -> None:
    plane, calm = (plane_of(price_usd_per_s=1.0, started=1) for _ in range(2))
    World(plane).run_to_end([PoolOutage(at_s=5.0, duration_s=3.0)])
    World(calm).run_to_end()
    assert plane.pools[0].billed_usd(30.0) == pytest.approx(calm.pools[0].billed_usd(30.0)) == pytest.approx(30.0)


def test_outages_and_failures_that_overlap_need_every_repair() -> None:
    def one(at_s: float, duration_s: float) -> Control:
        def control(world: World) -> Events:
            yield world.timeout(at_s)
            repair = Effects.of(world).take_down(None, [0])
            yield world.timeout(duration_s)
            repair()
            repair()  # once is enough

        return control

    at = [1.5, 2.5, 3.5, 5.5, 6.5, 9.0]
    controls = [PoolOutage(at_s=2.0, duration_s=3.0), one(1.0, 2.0), one(4.0, 2.0)]
    #              1.5: 0 is down; 2.5: all; 3.5: all, though the first is repaired; 5.5: 0 again; 6.5: none
    assert watched(plane_of(), up, at, controls) == [1, 0, 0, 1, 2, 2]


def test_an_outage_repairs_only_what_it_failed() -> None:
    def mine(world: World) -> Events:
        yield world.timeout(1.0)
        world.pool().fail(1)

    assert watched(plane_of(), up, [1.5, 3.0, 9.0], [mine, PoolOutage(at_s=2.0, duration_s=3.0)]) == [1, 0, 1]


def failures_of(**changes: Any) -> list[tuple[float, str, int]]:
    plane = plane_of(**changes)
    World(plane).run_to_end(ReplicaFailures(mean_up_s=4.0, mean_repair_s=1.0, seed=5).controls(2))
    return [event for event in plane.seen if event[0] < 19.0]


def test_the_same_seed_gives_the_same_failures_whatever_the_policy() -> None:
    ways: list[dict[str, Any]] = [{"balancer": "round-robin"}, {"balancer": "random"}, {"gap_s": 0.5}]
    fleets = [{"fleet": a_fleet(), "policy": a_policy(kind)} for kind in ("near", "cloud")]
    first, *others = [failures_of(**way) for way in [*ways, *fleets]]
    assert len(first) > 4
    assert all(other == first for other in others)


def test_failures_are_those_of_every_version() -> None:
    seen = failures_of()
    mine = [when for when, what, replica in seen if what == "fail" and replica == 0]
    from sim.workloads.streams import stream

    rng = stream(5, "replica-failures/0")
    assert mine[0] == rng.exponential(4.0)
    assert mine[1] == mine[0] + rng.exponential(1.0) + rng.exponential(4.0)


def test_a_control_can_be_used_for_two_runs() -> None:
    controls = ReplicaFailures(mean_up_s=4.0, mean_repair_s=1.0).controls(2)
    one, two = plane_of(), plane_of()
    World(one).run_to_end(controls)
    World(two).run_to_end(controls)
    assert one.requests.tobytes() == two.requests.tobytes()


def test_prices_change_for_a_while_or_for_good() -> None:
    controls = [
        PriceChange(at_s=2.0, factor=3.0),
        PriceChange(at_s=4.0, factor=0.5, duration_s=2.0),
    ]
    plane = plane_of(price_usd_per_s=0.1, replicas=1)
    seen = watched(plane, lambda world: world.pool().price_usd_per_s, [1.0, 3.0, 5.0, 7.0], controls)
    assert seen == pytest.approx([0.1, 0.3, 0.15, 0.3])
    assert plane.pools[0].billed_usd(10.0) == pytest.approx(0.2 + 0.6 + 0.3 + 1.2)


# -- the autoscaler ----------------------------------------------------------------------------------------------------


def scaled(**changes: Any) -> Autoscaler:
    settings = {"max": 4, "target_load": 0.5, "every_s": 1.0, "provisioning_s": 2.5, "cooldown_s": 4.0}
    return Autoscaler(**settings | changes)


def test_an_autoscaler_orders_what_the_load_asks_for_and_gives_it_back() -> None:
    # 10 requests/s of 0.5 s: 5 to 6 outstanding, 2 slots used of 4: 3 replicas; one alone falls behind.
    plane = plane_of(seconds=30.0, replicas=4, started=1, price_usd_per_s=1.0)
    seen = watched(plane, up, [3.4, 3.5, 4.5, 29.0], [scaled()])
    assert seen[:3] == [1, 3, 4], "ordered at 1 s and at 2 s, as the backlog grows; here 2.5 s later"
    assert seen[3] == 3, "the load of the steady state"
    assert plane.pools[0].billed_usd(30.0) < 4 * 30.0


def test_an_autoscaler_counts_those_on_their_way_and_keeps_its_limits() -> None:
    plane = plane_of(seconds=10.0, gap_s=0.02, replicas=6, started=1)
    seen = watched(plane, up, [3.4, 3.6, 4.6, 9.0], [scaled(step_out=1)])
    assert seen == [1, 2, 3, 4], "one a round, 4 at most though 6 exist"


def test_an_autoscaler_waits_before_it_gives_back_one_a_round() -> None:
    plane = plane_of(seconds=20.0, gap_s=2.0, replicas=4)
    seen = watched(plane, up, [3.9, 4.0, 7.9, 8.0, 12.0, 17.0], [scaled(min=2)])
    assert seen == [4, 3, 3, 2, 2, 2]
    assert plane.pools[0].replicas["retired"].tolist() == [0, 0, 1, 1], "the highest-numbered ones"
    many = plane_of(seconds=20.0, gap_s=2.0, replicas=4)
    assert watched(many, up, [3.9, 4.0], [scaled(min=2, step_in=None)]) == [4, 2]


def test_an_autoscaler_replaces_what_failed() -> None:
    def dies(world: World) -> Events:
        yield world.timeout(2.5)
        world.pool().fail(0)

    plane = plane_of(seconds=10.0, gap_s=1.0, replicas=2, started=1)
    assert watched(plane, up, [2.6, 5.4, 5.6], [dies, scaled(max=2)]) == [0, 0, 1]
    full = plane_of(seconds=10.0, gap_s=1.0, replicas=2, started=1)
    assert watched(full, up, [2.6, 9.0], [dies, scaled(max=1)]) == [0, 0], "those that failed count for max"


def test_an_autoscaler_under_an_outage_recovers() -> None:
    plane = plane_of(seconds=30.0, replicas=4, started=1)
    seen = watched(plane, up, [6.0, 8.5, 29.0], [scaled(), PoolOutage(at_s=5.0, duration_s=3.0)])
    assert seen[0] == 0
    assert seen[1] >= 1
    assert seen[2] == 3


# -- fleets ------------------------------------------------------------------------------------------------------------


def test_weather_multiplies_and_a_region_is_up_when_all_of_it_is() -> None:
    controls = [
        NetworkWeather(at_s=2.0, duration_s=6.0, rtt_factor=3.0, rate_factor=0.5),
        NetworkWeather(at_s=4.0, duration_s=6.0, region=0, rtt_factor=2.0, up=False),
        NetworkWeather(at_s=5.0, duration_s=2.0, region=0, up=False),
    ]
    seen = watched(fleet_plane(), lambda world: (weather(world), weather(world, 1)), [3.0, 6.0, 9.0, 11.0], controls)
    calm = (1.0, 1.0, True)
    bad = (3.0, 0.5, True)
    assert seen == [(bad, bad), ((6.0, 0.5, False), bad), ((2.0, 1.0, False), calm), (calm, calm)]


def test_no_network_is_no_target() -> None:
    plane = fleet_plane()
    World(plane).run_to_end([NetworkWeather(at_s=5.0, duration_s=5.0, region=1, up=False)])
    asked, region = plane.requests, plane.trips["device"] % 2
    during = (asked["arrival"] > 5.0) & (asked["arrival"] < 10.0) & (region == 1)
    assert (asked["reason"][during] == state.NO_TARGET).all()
    assert (asked["status"][~during] == state.COMPLETED).all()


def spells_of(control: WeatherSpells, region: int) -> list[Any]:
    at = [0.25 * k for k in range(1, 76)]
    return watched(fleet_plane(), lambda world: weather(world, region), at, [control])


def test_spells_come_to_each_region_on_its_own_and_depend_on_the_seed() -> None:
    control = WeatherSpells(mean_between_s=2.0, mean_duration_s=1.0, rtt_factor=4.0, seed=1)
    one, again, elsewhere = spells_of(control, 0), spells_of(control, 0), spells_of(control, 1)
    assert one == again
    assert one != elsewhere
    assert {seen[0] for seen in one} == {1.0, 4.0}
    only = WeatherSpells(mean_between_s=2.0, mean_duration_s=1.0, rtt_factor=4.0, seed=1, region=1)
    assert spells_of(only, 1) == elsewhere, "whatever happens to the other regions"
    assert {seen[0] for seen in spells_of(only, 0)} == {1.0}


def test_a_rollout_reaches_more_devices_in_every_step() -> None:
    plane = fleet_plane("cloud", gap_s=0.02)
    World(plane).run_to_end([PolicyRollout(policy=a_policy("near"), at_s=4.0, over_s=8.0, steps=5)])
    arrival, device = plane.requests["arrival"], plane.trips["device"]
    near = plane.trips["kind"] == KINDS.index("near")
    reached = []
    for k in range(7):  # before, five steps of 2 s, and after
        span = (arrival > 2.0 + 2.0 * k) & (arrival < 4.0 + 2.0 * k)
        reached.append(set(device[span & near]))
        assert not reached[-1] & set(device[span & ~near]), "a device follows one policy at a time"
    assert not reached[0]
    assert all(fewer <= more for fewer, more in pairwise(reached)), "and goes on to follow it"
    assert 1 <= len(reached[1]) < len(reached[3]) < 40
    assert len(reached[5]) == len(reached[6]) == 40


def test_a_rollout_without_time_reaches_all_at_once() -> None:
    plane = fleet_plane("cloud")
    World(plane).run_to_end([PolicyRollout(policy=a_policy("near"), at_s=4.05)])
    near = plane.trips["kind"] == KINDS.index("near")
    assert (near == (plane.requests["arrival"] > 4.05)).all()


def replaced(policy: str, **changes: Any) -> list[tuple[float, int]]:
    """What is replaced in three days with a request an hour."""
    plane = fleet_plane(policy, seconds=72 * 3600.0, gap_s=3600.0)
    seen: list[tuple[float, int]] = []
    real = plane.replace_row

    def note(row: int) -> None:
        seen.append((plane.now_s, row))
        real(row)

    plane.replace_row = note  # type: ignore[method-assign]
    World(plane).run_to_end([DeviceChurn(**{"every_s": 3600.0, "share_per_day": 1.0} | changes)])
    return seen


def test_churn_replaces_some_devices_the_same_for_every_policy() -> None:
    seen = replaced("near")
    assert seen == replaced("cloud")
    assert seen != replaced("near", seed=1)
    assert 90 < len(seen) < 150, "40 a day"
    assert len(set(seen)) == len(seen), "nobody twice in a round"
    assert {row for _, row in seen} <= set(range(40))
    assert replaced("near", share_per_day=0.0) == []


def test_a_control_of_fleets_in_a_world_without_one() -> None:
    for control in (
        NetworkWeather(at_s=1.0, duration_s=1.0, up=False),
        WeatherSpells(mean_between_s=1.0, mean_duration_s=1.0, up=False),
        PolicyRollout(policy=a_policy("near"), at_s=1.0),
        DeviceChurn(share_per_day=0.1),
    ):
        with pytest.raises(UserError, match="no fleet"):
            World(plane_of()).run_to_end([control])


# -- scenarios ---------------------------------------------------------------------------------------------------------


def specs(*controls: dict[str, Any]) -> tuple[Any, ...]:
    return SPECS.validate_python(controls)


ALL: tuple[dict[str, Any], ...] = (
    {"kind": "replica-failures", "mean_up_s": 60, "mean_repair_s": 6},
    {"kind": "autoscaler", "max": 4},
    {"kind": "outage", "pool": "cloud", "at_s": 5, "duration_s": 1},
    {"kind": "brown-out", "at_s": 2, "duration_s": 1, "factor": 2},
    {"kind": "network-weather", "at_s": 2, "duration_s": 1, "region": 1, "rtt_factor": 2},
    {"kind": "network-weather", "mean_between_s": 60, "mean_duration_s": 6, "up": False},
    {"kind": "flash-crowd", "at_s": 2, "duration_s": 1, "factor": 2},
    {"kind": "price-change", "at_s": 2, "factor": 2},
    {"kind": "policy-rollout", "policy": "near", "at_s": 2, "over_s": 4},
    {"kind": "device-churn", "share_per_day": 0.1},
    {"kind": "python", "file": "mine.py", "function": "watch"},
)


def built(*controls: dict[str, Any], folder: Path = Path(), **changes: Any) -> list[Any]:
    settings: dict[str, Any] = {"pools": {"cloud": 2}, "seed": 7, "regions": 2, "load_policy_table": a_policy}
    return scenario_controls(specs(*controls), folder=folder, **settings | changes)


def test_every_kind_becomes_a_control_that_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def watch(world):\n    yield world.timeout(1.0)\n")
    controls = built(*ALL, folder=tmp_path)
    assert [getattr(one, "__name__", type(one).__name__) for one in controls] == [
        "life", "life", "Autoscaler", "PoolOutage", "BrownOut", "NetworkWeather", "WeatherSpells", "PriceChange",
        "PolicyRollout", "DeviceChurn", "watch",
    ]  # fmt: skip
    assert controls[2] == Autoscaler(max=4)
    assert controls[5].region == 1
    assert controls[6].seed == controls[9].seed == 7
    plane = fleet_plane()
    World(plane).run_to_end(controls)
    assert plane.done


def test_failures_of_a_scenario_are_those_of_its_seed() -> None:
    one, two = plane_of(), plane_of()
    World(one).run_to_end(built({"kind": "replica-failures", "mean_up_s": 4, "mean_repair_s": 1}))
    World(two).run_to_end(ReplicaFailures(mean_up_s=4.0, mean_repair_s=1.0, seed=7).controls(2))
    assert one.seen == two.seen


def test_two_of_a_kind_do_not_share_their_draws() -> None:
    failing = {"kind": "replica-failures", "mean_up_s": 4, "mean_repair_s": 1}
    assert len(built(failing, pools={"a": 2, "b": 3}, regions=None)) == 5, "without a pool: of all"
    plane = plane_of()
    World(plane).run_to_end(built(failing, failing))
    when = [when for when, what, _ in plane.seen if what == "fail"]
    assert len(set(when)) == len(when)


def test_an_autoscaler_says_how_many_replicas_there_are() -> None:
    scaler = specs({"kind": "autoscaler", "pool": "cloud", "min": 2, "max": 8})
    assert pool_size("cloud", 3, scaler) == (8, 3)
    assert pool_size("other", 3, scaler) == (3, 3)
    assert pool_size("cloud", 3, specs({"kind": "autoscaler", "max": 8})) == (8, 3)
    for replicas in (1, 9):
        with pytest.raises(UserError, match=r"pools.cloud.replicas must lie between .*; allowed: 2 to 8"):
            pool_size("cloud", replicas, scaler)


def test_flash_crowds_join_those_of_the_workload() -> None:
    workload = FleetWorkloadSpec(
        requests=10, duration_s=100.0, flash_crowds=[{"at_s": 1.0, "duration_s": 2.0, "factor": 2.0}]
    )
    assert crowded(workload, specs(ALL[3])) is workload
    more = crowded(workload, specs({"kind": "flash-crowd", "at_s": 50, "duration_s": 9, "factor": 3, "task": "chat"}))
    assert [(crowd.at_s, crowd.factor, crowd.task) for crowd in more.flash_crowds] == [(1, 2, None), (50, 3, "chat")]
    for at_s, words in ((2, "must not overlap"), (200, "comes after the end of the workload")):
        with pytest.raises(UserError, match=words):
            crowded(workload, specs({"kind": "flash-crowd", "at_s": at_s, "duration_s": 9, "factor": 3}))


def test_late_controls_are_told() -> None:
    assert late_controls(specs(*ALL), 100.0) == ()
    (note,) = late_controls(specs(*ALL), 4.0)
    assert note == "controls.2: outage at 5 s comes after the last arrival (4 s)"


LONG = {"kind": "network-weather", "at_s": 1, "duration_s": 1, "up": False}


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ({"kind": "outage", "at_s": -1, "duration_s": 1}, "greater than or equal to 0"),
        ({"kind": "outage", "at_s": 1, "duration_s": 0}, "greater than 0"),
        ({"kind": "outage", "at_s": 1}, "required"),
        ({"kind": "outage", "at_s": True, "duration_s": 1}, "valid number"),
        ({"kind": "outage", "at_s": math.inf, "duration_s": 1}, "finite"),
        ({"kind": "outage", "at_s": math.nan, "duration_s": 1}, "finite"),
        ({"kind": "brown-out", "at_s": 1, "duration_s": 1, "factor": 0}, "greater than or equal to 0.001"),
        ({"kind": "brown-out", "at_s": 1, "duration_s": 1, "factor": math.nan}, "finite"),
        ({"kind": "brown-out", "at_s": 1, "duration_s": math.nan, "factor": 2}, "finite"),
        ({"kind": "price-change", "at_s": 1, "factor": -1}, "greater than or equal to 0.001"),
        ({"kind": "price-change", "at_s": 1, "factor": 2, "duration_s": 0}, "greater than 0"),
        ({"kind": "autoscaler", "min": 3, "max": 2}, r"min \(3\) must not exceed max \(2\)"),
        ({"kind": "autoscaler", "min": 0, "max": 2}, "greater than or equal to 1"),
        ({"kind": "autoscaler", "max": 2, "provisioning_s": -1}, "greater than or equal to 0"),
        ({"kind": "autoscaler", "max": 2, "cooldown_s": -1}, "greater than or equal to 0"),
        ({"kind": "autoscaler", "max": 2, "every_s": 1e-4}, "greater than or equal to 0.001"),
        ({"kind": "autoscaler", "max": 2, "target_load": 0}, "greater than or equal to 0.001"),
        ({"kind": "autoscaler", "max": 2, "step_in": 0}, "greater than or equal to 1"),
        ({"kind": "network-weather", "up": False}, "give at_s and duration_s, or mean_between_s"),
        ({"kind": "network-weather", "at_s": 1, "up": False}, "give at_s and duration_s, or"),
        (LONG | {"mean_between_s": 5}, "give at_s and duration_s, or"),
        ({"kind": "network-weather", "at_s": 1, "duration_s": 1}, "changes nothing"),
        (LONG | {"rtt_factor": 0}, "greater than or equal to 0.001"),
        (LONG | {"region": -1}, "greater than or equal to 0"),
        ({"kind": "flash-crowd", "at_s": 1, "duration_s": 1, "factor": 0.5}, "greater than or equal to 1"),
        ({"kind": "policy-rollout", "policy": "near", "at_s": 1, "steps": 0}, "greater than or equal to 1"),
        ({"kind": "policy-rollout", "policy": "near", "at_s": 1, "over_s": 9, "steps": 1}, "one step takes no time"),
        ({"kind": "device-churn", "share_per_day": 1.5}, "less than or equal to 1"),
        ({"kind": "device-churn", "share_per_day": -0.1}, "greater than or equal to 0"),
        ({"kind": "device-churn", "share_per_day": 0.1, "every_s": 1e-4}, "greater than or equal to 0.001"),
        ({"kind": "device-churn", "share_per_day": 0.1, "every_s": 1e5}, "less than or equal to 86400"),
        ({"kind": "replica-failures", "mean_up_s": 0.01, "mean_repair_s": 1}, "greater than or equal to 0.1"),
        ({"kind": "eclipse"}, "does not match any of the expected tags"),
        ({"kind": "outage", "at_s": 1, "duration": 1}, "not permitted|required"),
    ],
    ids=str,
)
def test_impossible_controls_are_refused(control: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        specs(control)


@pytest.mark.parametrize(
    ("controls", "changes", "words"),
    [
        ([{"kind": "outage", "pool": "clout", "at_s": 1, "duration_s": 1}], {}, r"controls.0.pool: .*did you mean 'cl"),
        ([ALL[3], ALL[1]], {"pools": {"a": 1, "b": 1}}, "controls.0.pool: which one.*a, b"),
        ([ALL[3]], {"pools": {}}, "which one.*there is none"),
        ([ALL[4]], {"regions": None}, "controls.0: network-weather needs a fleet"),
        ([ALL[6]], {"regions": None}, "flash-crowd needs a fleet"),
        ([ALL[8]], {"regions": None}, "policy-rollout needs a fleet"),
        ([ALL[9]], {"regions": None}, "device-churn needs a fleet"),
        ([LONG | {"region": 2}], {}, r"controls.0.region: .*0 to 1"),
        ([ALL[1], ALL[1] | {"pool": "cloud"}], {}, "one autoscaler a pool"),
        ([ALL[8], ALL[8] | {"at_s": 6}], {}, "must end before the next one begins"),
        ([ALL[10]], {}, "no such Python file"),
    ],
)
def test_controls_that_do_not_fit_are_refused(controls: list[Any], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        built(*controls, folder=Path("nowhere"), **changes)


def test_rollouts_one_after_another_fit() -> None:
    check_controls(specs(ALL[8] | {"at_s": 6.5}, ALL[8]), pools=["cloud"], regions=1)


def test_a_scenario_tells_where_a_control_is_wrong() -> None:
    pool = {"replicas": 1, "synthetic": {"step_s": 0.1}, "engine": {"kv_blocks": 64}}
    workload = {"arrivals": {"kind": "poisson", "rate_rps": 1}, "prompt_tokens": 1, "output_tokens": 1, "requests": 1}
    scenario = {"pools": {"cloud": pool}, "workload": workload}
    with pytest.raises(UserError, match=r"controls.0.outage.duration_s: bad value; got 0; allowed: greater than 0"):
        load(scenario | {"controls": [{"kind": "outage", "at_s": 1, "duration_s": 0}]})
    with pytest.raises(UserError, match=r"controls.1.brown-out.facto: unknown key; did you mean 'factor'"):
        load(scenario | {"controls": [ALL[3], ALL[3] | {"facto": 2}]})


NAN, ZERO = math.nan, 0.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: BrownOut(at_s=-1.0, duration_s=1.0, factor=2.0),
        lambda: BrownOut(at_s=1.0, duration_s=ZERO, factor=2.0),
        lambda: BrownOut(at_s=1.0, duration_s=1.0, factor=NAN),
        lambda: PoolOutage(at_s=NAN, duration_s=1.0),
        lambda: PriceChange(at_s=1.0, factor=ZERO),
        lambda: PriceChange(at_s=1.0, factor=1.0, duration_s=ZERO),
        lambda: ReplicaFailures(mean_up_s=ZERO, mean_repair_s=1.0),
        lambda: Autoscaler(max=1, min=2),
        lambda: Autoscaler(max=1, every_s=ZERO),
        lambda: Autoscaler(max=1, provisioning_s=-1.0),
        lambda: Autoscaler(max=1, step_in=0),
        lambda: NetworkWeather(at_s=1.0, duration_s=1.0, rtt_factor=ZERO),
        lambda: WeatherSpells(mean_between_s=ZERO, mean_duration_s=1.0),
        lambda: PolicyRollout(policy=a_policy("near"), at_s=1.0, over_s=1.0, steps=1),
        lambda: PolicyRollout(policy=a_policy("near"), at_s=NAN),
        lambda: DeviceChurn(share_per_day=1.1),
        lambda: DeviceChurn(share_per_day=NAN),
        lambda: DeviceChurn(share_per_day=1.0, every_s=1e6),
    ],
)
def test_impossible_controls_are_refused_in_python(make: Callable[[], Any]) -> None:
    with pytest.raises(UserError, match="got"):
        make()


def test_unknown_pools_and_regions_of_python_controls() -> None:
    with pytest.raises(UserError, match="did you mean 'cloud'"):
        World(plane_of()).run_to_end([BrownOut(at_s=1.0, duration_s=1.0, factor=2.0, pool="clout")])
    with pytest.raises(UserError, match="no such region"):
        World(fleet_plane()).run_to_end([NetworkWeather(at_s=1.0, duration_s=1.0, region=9, up=False)])
