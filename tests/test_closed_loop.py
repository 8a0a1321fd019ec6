"""TTFT and TPOT in closed form: arrays against single rows, against the simulator, and what must hold of any load."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles import Catalogue, EngineCoefficients
from profiles.files import DATA
from sim.calibration.closed_loop import cases_of, predict
from sim.calibration.serving_inputs import Load, Served
from sim.calibration.serving_predict import predict_serving
from sim.calibration.tables import read_table
from sim.deployment import Deployment, deploy
from sim.latency import StepTime, step_costs, step_terms, step_time
from sim.plane import DataPlane
from sim.pool import EngineSettings, PoolPlan, PoolSettings, StepShape
from sim.rates import Rates
from sim.replay_workload import recorded_workload
from sim.work import stacked, work_of
from sim.workloads.workload import Workload

CATALOGUE = Catalogue()
ASKED: dict[str, dict[str, Any]] = {
    "dense": {"model": "llama-3.1-8b", "accelerator": "h100"},
    "tensor parallel": {"model": "llama-3.1-70b", "accelerator": "h100", "tensor_parallel": 4},
    "over PCIe": {"model": "llama-3.1-8b", "accelerator": "rtx-4090", "tensor_parallel": 2},
    "pipeline": {"model": "qwen2.5-72b", "accelerator": "a100", "tensor_parallel": 2, "pipeline_parallel": 2},
    "mixture": {"model": "qwen3-30b-a3b", "accelerator": "h200"},
    "experts shared": {
        "model": "deepseek-v3",
        "accelerator": "h200",
        "tensor_parallel": 8,
        "expert_parallel": True,
        "precision": "fp8",
    },
    "windows": {"model": "gpt-oss-120b", "accelerator": "b200"},
}
BUILT = {name: deploy(CATALOGUE, engine="vllm", **asked) for name, asked in ASKED.items()}
NUMBERS = [
    name for name in EngineCoefficients.fact_fields() if isinstance(getattr(BUILT["dense"].engine, name), int | float)
]
NO_EFFECTS = {"request_ms": 0.0, "burst_share": 0.0, "slot_share": 0.0}


def engine(deployment: Deployment, **effects: float) -> SimpleNamespace:
    values = {name: getattr(deployment.engine, name) for name in NUMBERS}
    return SimpleNamespace(**values | NO_EFFECTS | effects)


def row(
    deployment: Deployment,
    in_flight: float,
    isl: float = 1024,
    osl: float = 256,
    load: Load = "closed loop",
    tokens_per_step: float = 1.0,
    step_factor: float = 1.0,
) -> Served:
    return Served(
        deployment=deployment,
        runtime="vllm",
        version="",
        load=load,
        isl=isl,
        osl=osl,
        in_flight=in_flight,
        tokens_per_step=tokens_per_step,
        step_factor=step_factor,
        assumed=(),
    )


def times(one: Served, *, room: float | None = None, **effects: float) -> tuple[float, float]:
    """TPOT and TTFT in seconds; with a KV cache of so many requests."""
    case = cases_of([one])
    if room is not None:
        case = dataclasses.replace(case, room=np.array([room]))
    tpot, ttft = predict(case, engine(one.deployment, **effects))
    return float(tpot[0]), float(ttft[0])


# One formula for one row and for many.


def shapes(rng: np.random.Generator, count: int) -> list[StepShape]:
    """Batches of decodes, of prefills, and of both."""
    found = []
    for kind in rng.integers(0, 3, count):
        decodes = int(rng.integers(1, 256)) if kind != 1 else 0
        chunk = int(rng.integers(1, 4096)) if kind != 0 else 0
        start, context = (int(n) for n in rng.integers(1, 50_000, 2))
        end, prefills = (start + chunk if chunk else 0), int(chunk > 0)
        found.append(
            StepShape(
                prefill_tokens=chunk,
                prefill_attended=chunk * start + chunk * (chunk + 1) // 2,
                prefill_attended_window=chunk * min(start + 1, 128),
                prefill_end=end,
                prefill_end_window=min(end, 128),
                decodes=decodes,
                decode_context=decodes * context,
                decode_context_window=decodes * min(context, 128),
                emitting=decodes + prefills * int(rng.integers(0, 2)),
                sequences=decodes + prefills,
            )
        )
    return found


def test_the_step_of_many_deployments_is_that_of_each() -> None:
    rng = np.random.default_rng(7)
    deployments = [BUILT[name] for name in rng.choice(list(BUILT), 200)]
    batches = shapes(rng, len(deployments))
    coefficients = {name: np.array([getattr(d.engine, name) for d in deployments], float) for name in NUMBERS}
    rates = Rates(stacked([work_of(d) for d in deployments]), SimpleNamespace(**coefficients))
    columns = {
        name: np.array(values) for name, values in zip(StepShape._fields, zip(*batches, strict=True), strict=True)
    }
    together = step_terms(rates, SimpleNamespace(**columns))
    alone = [step_time(d, batch) for d, batch in zip(deployments, batches, strict=True)]
    for name in {*StepTime.__slots__} - {"energy_j"}:
        assert np.broadcast_to(getattr(together, name), len(alone)) == pytest.approx(
            [getattr(one, name) for one in alone], rel=1e-12
        ), name
    assert together.seconds == pytest.approx([one.seconds for one in alone], rel=1e-12)


def test_rows_of_a_table_do_not_touch_each_other() -> None:
    """Every kind of load, runtime and accelerator that is measured, in a table and alone."""
    rows = read_table(DATA / "measurements" / "serving.csv").inputs[::25]
    together = predict_serving(CATALOGUE, rows)
    assert {one.group.split()[0] for one in together} == {"vllm", "sglang", "trtllm"}
    for inputs, found in zip(rows, together, strict=True):
        (alone,) = predict_serving(CATALOGUE, [inputs])
        assert (found.tpot_s, found.ttft_s) == pytest.approx((alone.tpot_s, alone.ttft_s), rel=1e-12)


# Against the simulator.


def closed_loop(clients: int, turns: int, isl: int, osl: int, think_s: float = 0.0) -> Workload:
    """Clients that ask again when they are answered; answers of 0.8 to 1.2 times `osl`, the first at all phases."""
    n, rng = clients * turns, np.random.default_rng(1)
    ids = np.arange(n)
    answers = rng.integers(round(0.8 * osl), round(1.2 * osl) + 1, n)
    answers[:clients] = np.linspace(2, osl, clients)
    recorded = recorded_workload(
        arrival_s=np.where(ids < clients, ids * 1e-3, rng.uniform(0.0, think_s, n)),
        prompt_tokens=np.full(n, isl),
        output_tokens=answers,
        kind="closed-loop",
        path="",
    )
    return dataclasses.replace(recorded, after=np.where(ids < clients, -1, ids - clients))


def simulated(
    deployment: Deployment, workload: Workload, measured: slice, *, seqs: int = 512, budget: int = 8192
) -> tuple[float, float]:
    """Mean TPOT and TTFT in seconds of some of the requests, from a run of the data plane."""
    costs = step_costs(deployment, max_num_batched_tokens=budget, max_num_seqs=512)
    limits = EngineSettings(
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        kv_blocks=200_000,
        async_scheduling=False,
        prefix_caching=False,
    )
    plane = DataPlane(workload, [PoolPlan(settings=PoolSettings(engine=limits), costs=costs)])
    plane.advance(math.inf)
    requests = plane.requests[measured]
    tpot = (requests["finish"] - requests["first_token"]) / (requests["output"] - 1)
    return float(tpot.mean()), float((requests["first_token"] - requests["arrival"]).mean())


TURNS = 12
LENGTHS = [(1024, 128), (1024, 512), (256, 256)]


@pytest.mark.parametrize("clients", [1, 4, 16, 64])
@pytest.mark.parametrize(("isl", "osl"), LENGTHS)
@pytest.mark.parametrize("name", ["dense", "tensor parallel", "mixture"])
def test_tpot_of_a_closed_loop_is_that_of_the_simulator(name: str, isl: int, osl: int, clients: int) -> None:
    tpot, _ = simulated(BUILT[name], closed_loop(clients, TURNS, isl, osl), slice(2 * clients, (TURNS - 1) * clients))
    assert times(row(BUILT[name], clients, isl, osl))[0] == pytest.approx(tpot, rel=0.02)


@pytest.mark.parametrize("clients", [4, 8, 16])
@pytest.mark.parametrize(("isl", "osl"), [(512, 16), (1024, 32), (256, 64)])
def test_tpot_of_short_answers_is_mostly_the_prompts_of_others(isl: int, osl: int, clients: int) -> None:
    one = row(BUILT["dense"], clients, isl, osl)
    tpot, _ = simulated(BUILT["dense"], closed_loop(clients, 80, isl, osl), slice(2 * clients, 79 * clients))
    assert times(one)[0] == pytest.approx(tpot, rel=0.015)


@pytest.mark.parametrize("clients", [4, 16])
@pytest.mark.parametrize(("isl", "osl"), [(1024, 512), (256, 256)])
@pytest.mark.parametrize("name", ["dense", "tensor parallel", "mixture"])
def test_ttft_of_clients_that_come_at_random_is_that_of_the_simulator(
    name: str, isl: int, osl: int, clients: int
) -> None:
    """Prompts of others are rare here: what is left is a step with one's own, and half of the one that runs."""
    one = row(BUILT[name], clients, isl, osl)
    workload = closed_loop(clients, TURNS, isl, osl, think_s=times(one)[0])
    _, ttft = simulated(BUILT[name], workload, slice(2 * clients, (TURNS - 1) * clients))
    assert times(one)[1] == pytest.approx(ttft, rel=0.08)


@pytest.mark.parametrize("name", ["dense", "tensor parallel", "mixture"])
@pytest.mark.parametrize(("isl", "osl"), LENGTHS)
def test_ttft_under_load_lies_between_no_prompts_ahead_and_a_few(name: str, isl: int, osl: int) -> None:
    """64 clients at random meet a few per cent of the others' prompts; `burst_share` says how many."""
    one = row(BUILT[name], 64, isl, osl)
    workload = closed_loop(64, TURNS, isl, osl, think_s=times(one)[0])
    _, ttft = simulated(BUILT[name], workload, slice(128, (TURNS - 1) * 64))
    assert times(one)[1] < ttft < times(one, burst_share=0.05)[1]


@pytest.mark.parametrize("batch", [1, 4, 16, 64])
@pytest.mark.parametrize("name", ["dense", "mixture"])
def test_a_static_batch_is_that_of_the_simulator(name: str, batch: int) -> None:
    workload = closed_loop(batch, 1, 512, 128)
    workload.arrival_s[:], workload.output_tokens[:] = 0.0, 128
    tpot, ttft = simulated(BUILT[name], workload, slice(None), budget=65_536)
    assert times(row(BUILT[name], batch, 512, 128, "static batch")) == pytest.approx((tpot, ttft), rel=2e-3)


@pytest.mark.parametrize(("clients", "room"), [(64, 16), (64, 32)])
@pytest.mark.parametrize(("isl", "osl"), LENGTHS)
def test_clients_beyond_the_room_wait_as_in_the_simulator(clients: int, room: int, isl: int, osl: int) -> None:
    workload = closed_loop(clients, TURNS, isl, osl)
    found = simulated(BUILT["dense"], workload, slice(3 * clients, (TURNS - 1) * clients), seqs=room)
    assert times(row(BUILT["dense"], clients, isl, osl), room=room) == pytest.approx(found, rel=0.02)


# What holds of any load.

NAMES = st.sampled_from(sorted(BUILT))
TOKENS = st.integers(2, 16_384)


@settings(max_examples=100, deadline=None)
@given(name=NAMES, isl=TOKENS, osl=TOKENS, few=st.floats(1.0, 256.0), factor=st.floats(1.0, 16.0))
def test_more_requests_in_flight_never_make_anyone_faster(
    name: str, isl: int, osl: int, few: float, factor: float
) -> None:
    less, more = (
        times(row(BUILT[name], count, isl, osl), room=1e9, request_ms=20.0, burst_share=0.1)
        for count in (few, few * factor)
    )
    assert more[0] >= less[0] * (1 - 1e-9)
    assert more[1] >= less[1] * (1 - 1e-9)


@settings(max_examples=100, deadline=None)
@given(name=NAMES, isl=TOKENS, osl=TOKENS, clients=st.floats(1.0, 512.0), factor=st.floats(1.0, 8.0))
def test_longer_prompts_never_make_anyone_faster(name: str, isl: int, osl: int, clients: float, factor: float) -> None:
    short, long = (times(row(BUILT[name], clients, length, osl), room=1e9) for length in (isl, isl * factor))
    assert long[0] >= short[0] * (1 - 1e-9)
    assert long[1] >= short[1] * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(name=NAMES, isl=TOKENS, osl=TOKENS, tokens=st.floats(1.0, 5.0), cost=st.floats(1.0, 2.0))
def test_speculation_divides_the_steps_of_decodes(name: str, isl: int, osl: int, tokens: float, cost: float) -> None:
    plain = times(row(BUILT[name], 1, isl, osl))[0]
    drafted = times(row(BUILT[name], 1, isl, osl, tokens_per_step=tokens, step_factor=cost))[0]
    assert drafted == pytest.approx(plain * cost / tokens)


def test_speculation_does_not_divide_the_prompts_of_others() -> None:
    plain, drafted = (times(row(BUILT["dense"], 32, 8192, 128, tokens_per_step=n))[0] for n in (1.0, 4.0))
    assert drafted > plain / 4.0 * 1.5


@settings(max_examples=60, deadline=None)
@given(name=NAMES, isl=TOKENS, osl=TOKENS, room=st.integers(1, 64), factor=st.floats(1.0, 20.0))
def test_a_full_cache_keeps_its_throughput_and_lets_the_rest_wait(
    name: str, isl: int, osl: int, room: int, factor: float
) -> None:
    """Little's law: requests in flight by the time of one are what is answered a second, whoever waits."""
    full = times(row(BUILT[name], room, isl, osl), room=float(room))
    waiting = times(row(BUILT[name], room * factor, isl, osl), room=float(room))
    assert waiting[0] == pytest.approx(full[0])
    full_s, waiting_s = (ttft + osl * tpot for tpot, ttft in (full, waiting))
    assert room * factor / waiting_s == pytest.approx(room / full_s)


def test_room_is_what_the_memory_leaves() -> None:
    """A dense 8B model in bf16 on 80 GiB: 16 GB of weights, 128 KiB a token."""
    one = row(BUILT["dense"], 8, 4096, 1024)
    room = float(cases_of([one]).room[0])
    assert 80 * 2**30 * 0.95 - 20e9 < room * (4096 + 512) * 131_072 < 80 * 2**30 * 0.95 - 16e9
    assert cases_of([row(BUILT["dense"], 8, 8192, 1024)]).room[0] < room
    large = deploy(CATALOGUE, model="llama-3.1-70b", accelerator="h200", engine="vllm")
    assert cases_of([row(dataclasses.replace(large, precision="bf16"), 8)]).room[0] < 1.0


def test_client_effects_make_first_tokens_late_and_hardly_touch_the_others() -> None:
    one = row(BUILT["dense"], 32)
    tpot, ttft = times(one)
    assert times(one, request_ms=40.0) == pytest.approx((tpot, ttft + 0.04), rel=5e-3)
    slot = times(one, slot_share=0.1)
    assert slot[1] - ttft == pytest.approx(0.1 * 256 * tpot / 32, rel=0.02)
    assert times(one, burst_share=0.2)[1] > ttft
    for load in ("static batch", "running batch"):
        batch = row(BUILT["dense"], 32, load=load)
        assert times(batch, burst_share=0.2, slot_share=0.1) == times(batch)


def test_a_batch_prefills_together_and_is_interrupted_by_nobody() -> None:
    static = times(row(BUILT["dense"], 16, load="static batch"))
    running = times(row(BUILT["dense"], 16, load="running batch"))
    assert static[1] > 4 * running[1]
    assert static[0] < running[0]
