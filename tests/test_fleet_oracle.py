"""The oracle's fleet against numbers worked out by hand.

Unless a test says otherwise: one device, idle and full, whose prefill takes 1 s for 4 tokens and whose tokens take
0.5 s; one cloud pool of one replica whose steps take 1 s; a link with a round trip of 0.2 s and 8000 bit/s, so that 100
bytes take 0.1 s; every draw is 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp, inf, log
from typing import Any

import numpy as np
import pytest

from policies.layout import FEATURE_NAMES, KINDS
from policies.table import PolicyTable
from sim.fleet import CascadeSettings, Far, FleetSettings, NetworkClass, RowKind, TaskKind
from sim.pool import EngineSettings, PoolPlan, PoolSettings
from sim.workloads.workload import Asked
from tests.oracle import FleetResult, run_fleet
from tests.scenarios import step_costs, workload_of

NEAR, HUB, POOL, CASCADE, HEDGE = 0, 1, 2, 3, 4  # with one pool


def near_kind(**changes: Any) -> RowKind:
    plain: dict[str, Any] = {
        "name": "phone",
        "device": "phone",
        "model": 0,
        "max_tokens": 100,
        "chunk_tokens": 4,
        "chunk_s": 1.0,
        "token_s": 0.5,
        "power_w": 4.0,
        "networks": (1.0,),
    }
    return RowKind(**(plain | changes))


def a_network(**changes: Any) -> NetworkClass:
    plain: dict[str, Any] = {
        "name": "air",
        "home": True,
        "rtt_s": (0.2,) * 6,
        "rtt_edge_s": (0.1,) * 6,
        "uplink_bps": (8000.0,) * 6,
        "downlink_bps": (8000.0,) * 6,
    }
    return NetworkClass(**(plain | changes))


def a_pool(*, lag: float = 0.0, replicas: int = 1, price: float = 0.0, tier: Any = "cloud", **engine: Any) -> PoolPlan:
    plain: dict[str, Any] = {"max_model_len": 64, "block_size": 4, "async_scheduling": False, "max_num_seqs": 4}
    return PoolPlan(
        settings=PoolSettings(replicas=replicas, telemetry_lag_s=lag, engine=EngineSettings(**(plain | engine))),
        costs=step_costs(fixed_s=1.0, static_w=0.0, max_tokens=4096),
        far=Far(model=1, tier=tier, decode_s=(0.0, 1.0, 1.0, 1.0, 1.0), price_usd_per_s=price),
    )


def prefer(*order: int) -> PolicyTable:
    """The first kind of these that is possible."""
    scene = np.full((1, len(KINDS)), -1e6)
    for place, kind in enumerate(order):
        scene[0, kind] = -10.0 * place
    kinds = tuple(kind in order for kind in range(len(KINDS)))
    return PolicyTable(name="order", weights=np.zeros(len(FEATURE_NAMES)), scene=scene, kinds=kinds)  # type: ignore[arg-type]


def run(
    rows: Sequence[dict[str, Any]],
    policy: PolicyTable,
    *,
    kind: RowKind | None = None,
    network: NetworkClass | None = None,
    pools: tuple[PoolPlan, ...] = (),
    task: TaskKind | None = None,
    hub: RowKind | None = None,
    share: float = 1.0,
    devices: int = 1,
    cascade: CascadeSettings | None = None,
    orders: Any = (),
    draws: dict[tuple[int, int, int], float] | None = None,
) -> FleetResult:
    kinds = (kind or near_kind(),) + ((hub,) if hub else ())
    of_row = [0] * devices + [1] * bool(hub)
    fleet = FleetSettings(
        kinds=kinds,
        networks=(network or a_network(),),
        tasks=(task or TaskKind(name="chat"),),
        models=("small", "large"),
        ability=np.array([[0.0], [3.0]]),
        devices=devices,
        kind=np.array(of_row, np.int16),
        hub=np.full(devices, devices if hub else -1, np.int32),
        region=np.zeros(devices, np.int8),
        battery_share=np.full(len(of_row), share, np.float32),
        cascade=cascade or CascadeSettings(),
    )
    n = len(rows)
    asked = Asked(
        device=np.array([row.get("device", 0) for row in rows], np.int32),
        task=np.zeros(n, np.int16),
        difficulty=np.zeros(n, np.float32),
        up_bytes=np.full(n, 100.0, np.float32),
        down_bytes=np.full(n, 50.0, np.float32),
    )

    def uniform(seed: int, a: int, b: int, k: int) -> float:
        return (draws or {}).get((a, b, k), 0.5)

    workload = replace(workload_of(rows), asked=asked)
    return run_fleet(workload, pools, fleet, policy, seed=0, orders=orders, uniform=uniform)


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


NEAR_ONLY, POOL_ONLY, HEDGE_ONLY, CASCADE_ONLY = prefer(0), prefer(2), prefer(4), prefer(3)
SIX_THREE = {"prompt": 6, "output": 3}  # near: 2 s of prefill and 1 s of decoding; in the pool three steps


# ----------------------------------------------------------------------------------------------------------- near


def test_a_near_job_from_cold() -> None:
    kind = near_kind(load_s=2.0, context_s=0.01, background_w=1.0, capacity_j=100.0)
    # arrival 1, loading to 3, prefill to 5, decoding 1 + 0.01 (2 x 6 + 2 x 3 / 2) = 1.15 to 6.15
    result = run([{"arrival_s": 1.0, **SIX_THREE}], NEAR_ONLY, kind=kind)
    assert (result.state, result.action.tolist(), result.reached.tolist()) == (["completed"], [NEAR], [1])
    close([result.scheduled_s[0], result.first_token_s[0], result.finish_s[0]], [1.0, 5.0, 6.15])
    close(result.device_j, [4 * 3.15])
    close(result.battery_j, [100 - 6.15 - 4 * 3.15])
    close(result.compute_s, [3.15])
    assert result.correct.tolist() == [0]  # u = 0.5 is not below sigma(0) = 0.5


def test_jobs_wait_in_line_and_the_model_stays() -> None:
    kind = near_kind(load_s=2.0)
    rows = [SIX_THREE, {"arrival_s": 1.0, **SIX_THREE}, {"arrival_s": 1.5, **SIX_THREE, "patience": 1.0}]
    result = run(rows, NEAR_ONLY, kind=kind)
    close(result.scheduled_s[:2], [0.0, 5.0])
    close(result.first_token_s[:2], [4.0, 7.0])
    close(result.finish_s, [5.0, 8.0, 2.5])
    assert result.reason == ["", "", "patience"]
    # With pressure the model stays for exp(-0.5 x 1 s) = 0.61 > 0.5, not for exp(-0.5 x 2 s).
    rows = [SIX_THREE, {"after": 0, "arrival_s": 1.0, **SIX_THREE}, {"after": 1, "arrival_s": 2.0, **SIX_THREE}]
    result = run(rows, NEAR_ONLY, kind=near_kind(load_s=2.0, pressure_per_s=0.5))
    close(result.finish_s, [5.0, 9.0, 16.0])


def test_a_job_that_is_cut_is_paid_for() -> None:
    rows = [{**SIX_THREE, "deadline": 1.5}, {"arrival_s": 1.0, **SIX_THREE}]
    result = run(rows, NEAR_ONLY)
    assert result.reason == ["deadline", ""]
    assert np.isnan(result.first_token_s[0])  # it would have come at 2
    close(result.device_j, [6.0, 12.0])
    close(result.finish_s, [1.5, 4.5])


def test_the_clock_is_lowered_in_the_middle_of_a_job() -> None:
    kind = near_kind(
        power_w=10.0, resistance_c_per_w=4.0, capacitance_j_per_c=2.5, limit_c=45.0, throttled_clock=0.5, token_s=4.0
    )
    # Towards 25 + 4 x 10 = 65 from 25: 45 is reached after x = 10 ln(40 / 20). Then 5 W hold it at 45.
    x = 10 * log(2)
    rows = [SIX_THREE, {"after": 0, "arrival_s": 0.5, **SIX_THREE}, {"after": 1, "arrival_s": 40.0, **SIX_THREE}]
    result = run(rows, NEAR_ONLY, kind=kind)
    close(result.first_token_s[0], 2.0)
    first_end = x + (10 - x) / 0.5
    # 0.5 s later it has 25 + 20 exp(-0.05) = 44.02 >= 43: throttled still. Another 40 s later it is cool.
    close(result.finish_s, [first_end, first_end + 0.5 + 20.0, result.finish_s[2]])
    assert result.finish_s[2] - result.finish_s[1] - 40.0 == pytest.approx(first_end, rel=0.05)
    close(result.device_j[:2], [100.0, 100.0])
    alone = run(rows[:1], NEAR_ONLY, kind=kind)
    close(alone.throttled_s, [(10 - x) * 2])
    close(alone.temp_c, [45.0])


def test_a_battery_charges_by_the_clock_on_the_wall() -> None:
    kind = near_kind(background_w=1.0, capacity_j=100.0, charge_w=10.0, charge_from_s=4.0, charge_s=2.0)
    rows = [{"arrival_s": 10.0, **SIX_THREE}]
    result = run(rows, NEAR_ONLY, kind=kind, share=0.5)
    close(result.battery_j, [50 - 13 + 20 - 12])
    assert run(rows, NEAR_ONLY, kind=replace(kind, background_w=30.0), share=0.5).reason == ["device_off"]


# ---------------------------------------------------------------------------------------------------------- masks


def test_the_floor_of_the_battery() -> None:
    either = prefer(0, 2)
    kind = near_kind(capacity_j=100.0, floor_j=50.0)
    assert run([SIX_THREE], either, kind=kind, pools=(a_pool(),), share=0.5).action.tolist() == [POOL]
    assert run([SIX_THREE], either, kind=kind, pools=(a_pool(),), share=0.625).action.tolist() == [NEAR]
    charging = replace(kind, charge_w=1.0, charge_s=5.0)
    assert run([SIX_THREE], either, kind=charging, pools=(a_pool(),), share=0.5).action.tolist() == [NEAR]
    assert run([SIX_THREE], NEAR_ONLY, kind=kind, share=0.5).reason == ["no_target"]
    result = run([SIX_THREE], NEAR_ONLY, kind=kind, share=0.0)
    assert (result.state, result.reason, result.action.tolist()) == (["failed"], ["device_off"], [-1])


@pytest.mark.parametrize(("privacy", "action"), [("any", POOL), ("home", HUB), ("device", NEAR)])
def test_privacy(privacy: Any, action: int) -> None:
    policy = prefer(2, 1, 0)
    box = near_kind(name="box", networks=())
    result = run([SIX_THREE], policy, pools=(a_pool(),), hub=box, task=TaskKind(name="x", privacy=privacy))
    assert result.action.tolist() == [action]


def test_other_masks() -> None:
    def action(**changes: Any) -> int:
        return int(run([SIX_THREE], prefer(2, 0), **({"pools": (a_pool(),)} | changes)).action[0])

    assert action() == POOL
    assert action(task=TaskKind(name="x", modality=2)) == -1
    assert action(pools=(a_pool(max_model_len=8),)) == NEAR
    assert action(network=a_network(radio=False)) == NEAR
    assert action(orders=[(0.0, "weather", (0, 1.0, 1.0, False))]) == NEAR
    assert action(orders=[(0.0, "fail", (0, 0))]) == NEAR
    assert action(orders=[(0.0, "retire", (0, 0))]) == NEAR


# ------------------------------------------------------------------------------------------------------------ far


def test_a_leg() -> None:
    network = a_network(
        promotion_s=0.5, promotion_idle_s=1.0, setup_round_trips=2, tail_s=3.0, tail_w=0.3, base_w=1.0,
        up_j_per_byte=0.01, down_j_per_byte=0.02,
    )  # fmt: skip
    rows = [{"arrival_s": 1.0, "prompt": 3, "output": 2}, {"after": 0, "arrival_s": 2.0, "prompt": 3, "output": 1}]
    result = run(rows, POOL_ONLY, network=network, pools=(a_pool(price=0.5),), kind=near_kind(capacity_j=100.0))
    # The LEG at 1 + 0.5 + 2 x 0.2 + 0.1 + 0.1 = 2.1; steps end at 3.1 and 4.1; the last token after 0.1 + 0.05.
    # The next leg at 6.25: 2 s after the last one, so it waits for promotion only: 6.95.
    close(result.scheduled_s, [2.1, 6.95])
    close(result.first_token_s, [3.2, 8.05])
    close(result.finish_s, [4.25, 8.1])
    # The radio is awake from 1 to 4.25 + 3; the second is sent at 6.25 and pays from 7.25 on to 8.1 + 3.
    # Moving bytes takes 0.7 W more than being awake, for 0.1 s up and 0.05 s down.
    moving = 0.7 * 0.15 + 1.0 + 1.0
    close(result.device_j, [moving + 0.3 * 6.25, moving + 0.3 * 3.85])
    close(result.battery_j, [100 - result.device_j.sum()])
    assert result.reached.tolist() == [8, 8]
    close(result.billed_usd, [0.5 * 8.1])


def test_legs_that_overlap_pay_for_one_radio() -> None:
    network = a_network(tail_s=3.0, tail_w=0.5)
    rows = [{"arrival_s": 0.0, "prompt": 3, "output": 9}, {"arrival_s": 2.0, "prompt": 3, "output": 1}]
    result = run(rows, POOL_ONLY, network=network, pools=(a_pool(),))
    end = result.finish_s.max()
    assert result.finish_s[1] < result.finish_s[0]
    close([result.device_j.sum()], [0.5 * (end + 3.0)])  # awake from the first sending to the last tail's end, once
    close(result.device_j, [0.5 * (end - result.finish_s[1]), 0.5 * (result.finish_s[1] + 3.0)])


def test_a_hub_answers() -> None:
    box = near_kind(name="box", chunk_s=0.5, networks=())
    result = run([{"arrival_s": 1.0, **SIX_THREE}], prefer(1), hub=box)
    # The LEG at 1 + 0.05 + 0.1; prefill 1 s, decoding 1 s, back 0.05 and 0.05 for the bytes.
    close([result.scheduled_s[0], result.first_token_s[0], result.finish_s[0]], [1.15, 2.2, 3.25])
    close(result.energy_j, [4 * 2.0])
    close(result.compute_s, [0.0, 2.0])
    assert (result.reached.tolist(), result.action.tolist(), result.device_j.tolist()) == ([2], [HUB], [0.0])


def test_an_outage() -> None:
    network = a_network(mean_good_s=1.0, mean_bad_s=1.0)
    draws = {(0, 0, 101): 0.4, (0, 0, 102): 1 - exp(-2), (0, 0, 103): 1 - exp(-1), (0, 0, 104): 1 - exp(-1)}
    # Bad to 2, good to 3, bad to 4. The leg waits to 2, lands at 2.2; the token is there at 3.2, which waits to 4.
    rows = [{"arrival_s": 1.0, "prompt": 3, "output": 1}]
    result = run(rows, POOL_ONLY, network=network, pools=(a_pool(),), draws=draws)
    close([result.scheduled_s[0], result.first_token_s[0], result.finish_s[0]], [2.2, 4.1, 4.15])
    lucky = run(rows, POOL_ONLY, network=replace(network, loss=0.5), pools=(a_pool(),), draws=draws)
    close([lucky.scheduled_s[0], lucky.first_token_s[0], lucky.finish_s[0]], [1.2, 2.3, 2.35])
    # A bad spell that outlasts its epoch of 4 s ends with it, even when the next epoch begins bad.
    for begins in (0.4, 0.6):
        outlasting = draws | {(0, 0, 102): 1 - exp(-20), (0, 1, 101): begins}
        long = run(rows, POOL_ONLY, network=network, pools=(a_pool(),), draws=outlasting)
        close(long.scheduled_s, [4.2])


def test_a_pool_that_is_down_when_the_leg_lands() -> None:
    rows = [{"prompt": 3, "output": 1}]
    pools = (a_pool(), a_pool(tier="edge"))
    orders = [(0.1, "fail", (0, 0))]
    # 0.2: nobody at pool 0, again; 0.35: at pool 1, which is nearer.
    result = run(rows, prefer(2, 1), pools=pools, orders=orders)
    assert (result.attempts.tolist(), result.pool.tolist(), result.action.tolist()) == ([1], [1], [POOL + 1])
    assert result.reached.tolist() == [8 + 4]
    close([result.scheduled_s[0], result.first_token_s[0]], [0.35, 1.4])
    result = run(rows, POOL_ONLY, pools=pools[:1], orders=orders)
    assert (result.reason, result.attempts.tolist(), result.finish_s.tolist()) == (["no_replica"], [1], [0.2])
    # Lost at 0.5, before its first token: near. After it: failed.
    result = run(rows, prefer(2, 0), pools=pools[:1], orders=[(0.5, "fail", (0, 0))])
    close([result.scheduled_s[0], result.finish_s[0]], [0.5, 1.5])
    assert (result.reached.tolist(), result.action.tolist()) == ([9], [NEAR])
    rows = [{"prompt": 3, "output": 2}]
    result = run(rows, prefer(2, 0), pools=pools[:1], orders=[(1.25, "fail", (0, 0))])
    assert result.reason == ["replica_lost"]
    assert np.isnan(result.first_token_s[0])  # it was to arrive at 1.3


# ---------------------------------------------------------------------------------------------- in turn, at once


def test_cascade() -> None:
    settings = CascadeSettings(auc=0.75, threshold=0.5, check_s=0.25)
    # delta = sqrt 2 x 0.6745 = 0.954. The near answer is right when u < 0.5; z = 0 or 0.954.
    right = run([SIX_THREE], CASCADE_ONLY, pools=(a_pool(),), cascade=settings, draws={(0, 0, 1000): 0.4})
    close([right.scheduled_s[0], right.first_token_s[0], right.finish_s[0]], [0.0, 3.25, 3.25])
    assert (right.correct.tolist(), right.escalated.tolist(), right.reached.tolist()) == ([1], [False], [1])
    wrong = run([SIX_THREE], CASCADE_ONLY, pools=(a_pool(),), cascade=settings)
    close([wrong.scheduled_s[0], wrong.first_token_s[0], wrong.finish_s[0]], [3.45, 4.55, 6.6])
    assert (wrong.correct.tolist(), wrong.escalated.tolist(), wrong.reached.tolist()) == ([1], [True], [9])
    # No pool when the answer is checked: released. None when the leg lands: released then.
    off = run([SIX_THREE], CASCADE_ONLY, pools=(a_pool(),), cascade=settings, orders=[(3.0, "fail", (0, 0))])
    assert (off.finish_s.tolist(), off.escalated.tolist(), off.correct.tolist()) == ([3.25], [False], [0])
    late = run([SIX_THREE], CASCADE_ONLY, pools=(a_pool(),), cascade=settings, orders=[(3.3, "fail", (0, 0))])
    close([late.first_token_s[0], late.finish_s[0]], [3.45, 3.45])
    assert (late.escalated.tolist(), late.correct.tolist(), late.state) == ([True], [0], ["completed"])


def test_hedge() -> None:
    # The pool's first token is at the device at 1.3, the near one at 2 (or, with quick chunks, at 1).
    far = run([SIX_THREE], HEDGE_ONLY, pools=(a_pool(),))
    close([far.scheduled_s[0], far.first_token_s[0], far.finish_s[0]], [0.2, 1.3, 3.35])
    assert (far.correct.tolist(), far.reached.tolist(), far.action.tolist()) == ([1], [9], [HEDGE])
    close(far.device_j, [4 * 1.3])
    near = run([SIX_THREE], HEDGE_ONLY, pools=(a_pool(),), kind=near_kind(chunk_s=0.5))
    close([near.scheduled_s[0], near.first_token_s[0], near.finish_s[0]], [0.0, 1.0, 2.0])
    assert (near.correct.tolist(), near.replicas[0][0].prefill_tokens) == ([0], 6)
    # The near row is busy: its job is given up while it waits, at 1.3.
    rows = [{"prompt": 40, "output": 1}, {"arrival_s": 0.0, **SIX_THREE}]
    busy = run(rows, HEDGE_ONLY, pools=(a_pool(),))
    close(busy.first_token_s, [1.3, 1.3])
    # One leg dies, the other goes on alone: the pool is lost at 1.25, its token in the air.
    alone = run([SIX_THREE], HEDGE_ONLY, pools=(a_pool(),), orders=[(1.25, "fail", (0, 0))])
    close([alone.scheduled_s[0], alone.first_token_s[0], alone.finish_s[0]], [0.0, 2.0, 3.0])
    assert alone.state == ["completed"]
    full = run([SIX_THREE], HEDGE_ONLY, pools=(a_pool(max_queue=0),))
    assert (full.state, full.first_token_s.tolist()) == (["completed"], [2.0])


# --------------------------------------------------------------------------------------------------------- orders


def test_a_device_is_replaced() -> None:
    kind = near_kind(load_s=1.0, capacity_j=100.0)
    rows = [SIX_THREE, SIX_THREE, {"after": 0, "arrival_s": 0.0, **SIX_THREE}]
    result = run(rows, NEAR_ONLY, kind=kind, orders=[(2.0, "replace", (0,))])
    assert (result.state, result.reason) == (["failed", "failed", "completed"], ["device_lost", "device_lost", ""])
    close(result.finish_s, [2.0, 2.0, 6.0])  # the model is loaded again
    close(result.device_j, [4.0, 0.0, 12.0])
    close(result.battery_j, [100 - 12.0])
    close(result.compute_s, [1.0 + 3.0])
    # A hedge's other leg is given up.
    hedged = run([SIX_THREE], HEDGE_ONLY, pools=(a_pool(),), orders=[(0.5, "replace", (0,))])
    assert (hedged.reason, hedged.finish_s.tolist()) == (["device_lost"], [0.5])


def test_retired_replicas_are_paid_for_until_they_are_empty() -> None:
    rows = [{"prompt": 3, "output": 3}, {"arrival_s": 8.0, "prompt": 3, "output": 1}]
    orders = [(1.0, "retire", (0, 0)), (2.0, "price", (0, 2.0)), (6.0, "start", (0, 0))]
    result = run(rows, POOL_ONLY, pools=(a_pool(price=1.0),), orders=orders)
    # The first is in the pool to 3.2, the second ends at 9.35.
    close(result.finish_s, [3.35, 9.35])
    close(result.billed_usd, [2.0 + 2 * 1.2 + 2 * 3.35])


def test_a_slow_pool() -> None:
    rows = [{"prompt": 3, "output": 2}]
    result = run(rows, POOL_ONLY, pools=(a_pool(),), orders=[(0.5, "slow", (0, 3.0))])
    close(result.finish_s, [1.2 + 3.0 + 0.15])
    close(result.energy_j, [0.01 * 4 + 0.001 * 2])


def test_weather_stretches_the_way() -> None:
    result = run(
        [{"prompt": 3, "output": 1}], POOL_ONLY, pools=(a_pool(),), orders=[(0.0, "weather", (0, 2.0, 0.5, True))]
    )
    close([result.scheduled_s[0], result.first_token_s[0], result.finish_s[0]], [0.4, 1.6, 1.7])


def test_a_policy_is_rolled_out() -> None:
    rows = [{"arrival_s": t, "device": d, "prompt": 3, "output": 1} for t in (0.0, 10.0, 20.0, 30.0) for d in (0, 1)]
    orders = [(t, "policy", (POOL_ONLY, share)) for t, share in ((5.0, 0.5), (15.0, 0.9), (25.0, 1.0))]
    draws = {(0, 0, 99): 0.3, (1, 0, 99): 0.7}
    result = run(rows, NEAR_ONLY, pools=(a_pool(),), devices=2, orders=orders, draws=draws)
    assert result.action.tolist() == [NEAR, NEAR, POOL, NEAR, POOL, POOL, POOL, POOL]


# -------------------------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize(
    ("weights", "action"),
    [
        ({"ttft_s": -1.0}, POOL),  # near 2 s, the pool 0.2 + 1 + 0.1
        ({"energy_j": -1.0}, POOL),
        ({"quality": 1.0}, POOL),
        ({"egress_mb": -1.0}, NEAR),
        ({"cost_usd": -1.0}, NEAR),
        ({"e2e_s": -1.0}, NEAR),  # 2 + 99 / 2, the pool 1.3 + 99
        ({"near": 2.0, "near_log_prompt": -1.0}, POOL),  # log2 7 > 2
        ({"near": 3.0, "near_log_prompt": -1.0}, NEAR),
        ({}, NEAR),
    ],
)
def test_scores(weights: dict[str, float], action: int) -> None:
    either = prefer(0, 2)
    w = np.array([weights.get(name, 0.0) for name in FEATURE_NAMES])
    policy = replace(either, weights=w, scene=np.zeros((1, len(KINDS))))
    assert run([SIX_THREE], policy, pools=(a_pool(price=1.0),)).action.tolist() == [action]


def test_patience_and_the_first_token_at_one_instant() -> None:
    # T4: near, it is there when the TIMER comes; a hedge has it only after.
    rows = [{**SIX_THREE, "patience": 2.0, "deadline": inf}]
    assert run(rows, NEAR_ONLY).state == ["completed"]
    assert run(rows, HEDGE_ONLY, pools=(a_pool(max_queue=0),)).reason == ["patience"]
