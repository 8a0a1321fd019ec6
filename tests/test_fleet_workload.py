"""What a fleet is asked: counts, shapes, means within their chance, and the same for the same seed."""

from __future__ import annotations

import math
import time
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiles import UserError
from sim.fleet import FleetSettings
from sim.fleet_facts import clipped_mean, demand_of
from sim.fleet_spec import FleetSpec
from sim.kernels.draws import uniform
from sim.kernels.fleet_draws import GAP
from sim.resolve_fleet import resolve_fleet
from sim.workloads.checks import check_workload
from sim.workloads.fleet import fleet_workload
from sim.workloads.fleet_spec import FleetWorkloadSpec
from sim.workloads.workload import Asked, Workload
from tests.fleets import CATALOGUE, PHONES, cloud, fleet_spec, one_group

DAY = {"requests": 40_000, "duration_s": 86_400.0}
SESSIONS = {"turns_mean": 3.0, "gap_s": 40.0}
TRACE = "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,10\n5,200,20\n9,300,30\n"


@cache
def fleet_of(devices: int = 2000, zipf: float = 0.8) -> tuple[FleetSpec, FleetSettings]:
    spec = fleet_spec(devices, activity_zipf=zipf)
    return spec, resolve_fleet(spec, CATALOGUE, cloud(), seed=1)


def drawn(spec: FleetSpec | None = None, *, seed: int = 1, requests: int | None = None, **changes: Any) -> Workload:
    spec = spec or fleet_of()[0]
    workload = fleet_workload(
        FleetWorkloadSpec.model_validate(DAY | changes),
        resolve_fleet(spec, CATALOGUE, cloud(), seed=1),
        demand_of(spec, CATALOGUE),
        seed=seed,
        base_folder=Path(),
        requests=requests,
    )
    check_workload(workload)
    assert workload.asked is not None
    return workload


def asked_of(workload: Workload) -> Asked:
    assert workload.asked is not None
    return workload.asked


def far_off(counts: Any, expected: Any) -> float:
    """Chi-square by its degrees of freedom, in deviations."""
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    degrees = len(counts) - 1
    return float(((counts - expected) ** 2 / expected).sum() - degrees) / math.sqrt(2 * degrees)


# When.


@pytest.mark.parametrize(
    "sessions", [None, SESSIONS, {"turns_mean": 3.0, "gap_s": 0.0}, {"turns_mean": 50, "gap_s": 9e3}]
)
def test_exactly_so_many_in_order(sessions: dict[str, float] | None) -> None:
    workload = drawn(sessions=sessions, requests=12_345)
    assert len(workload) == 12_345
    assert (np.diff(workload.arrival_s) >= 0).all()
    first = workload.arrival_s if sessions is None else workload.arrival_s[np.unique(workload.session, True)[1]]
    spacing = 86_400 / len(first)
    assert 0 < first.min() < 10 * spacing
    assert 86_400 - 10 * spacing < first.max() <= 86_400


def test_a_level_day() -> None:
    counts, _ = np.histogram(drawn().arrival_s, bins=24, range=(0, 86_400))
    assert abs(far_off(counts, np.full(24, 40_000 / 24))) < 4


def test_the_shape_of_the_day() -> None:
    """Starting at 6 o'clock, the peak at 20 comes after 14 hours; six times the trough."""
    spec = fleet_spec(2000, start_hour=6.0)
    counts, edges = np.histogram(
        drawn(spec, diurnal={"peak_to_trough": 6, "peak_hour": 20}).arrival_s, bins=48, range=(0, 86_400)
    )
    hour = 6 + (edges[:-1] + 900) / 3600
    wave = 1 + 5 / 7 * np.cos((hour - 20) / 24 * 2 * np.pi)
    assert abs(far_off(counts, 40_000 * wave / wave.sum())) < 4


def test_a_flash_crowd_comes_when_it_should() -> None:
    crowd = {"at_s": 36_000.0, "duration_s": 3600.0, "factor": 5.0}
    counts, _ = np.histogram(drawn(flash_crowds=[crowd]).arrival_s, bins=24, range=(0, 86_400))
    expected = np.ones(24)
    expected[10] = 5
    assert abs(far_off(counts, 40_000 * expected / expected.sum())) < 4


def test_a_crowd_for_one_task_leaves_the_others_alone() -> None:
    crowd = {"at_s": 36_000.0, "duration_s": 7200.0, "factor": 6.0, "task": "chat"}
    spec, fleet = fleet_of()
    workload = drawn(spec, flash_crowds=[crowd])
    asked = asked_of(workload)
    chat = asked.task == [task.name for task in fleet.tasks].index("chat")
    expected = np.ones(12)
    others, _ = np.histogram(workload.arrival_s[~chat], bins=12, range=(0, 86_400))
    assert abs(far_off(others, others.sum() * expected / 12)) < 4
    expected[5] = 6
    chats, _ = np.histogram(workload.arrival_s[chat], bins=12, range=(0, 86_400))
    assert abs(far_off(chats, chats.sum() * expected / expected.sum())) < 4
    inside = chat & (workload.arrival_s >= 36_000) & (workload.arrival_s < 43_200)
    mix = demand_of(spec, CATALOGUE).mix[
        :, fleet.task_names.index("chat")
    ]  # watches never chat, cars less often than phones
    kinds = np.bincount(fleet.kind[asked.device[inside]], minlength=3)
    weights = np.bincount(fleet.kind[: fleet.devices], np.arange(1, fleet.devices + 1) ** -spec.activity_zipf) * mix
    assert kinds[2] == 0
    assert abs(far_off(kinds[:2], kinds.sum() * weights[:2] / weights.sum())) < 4


def test_a_crowd_for_nobodys_task_is_refused() -> None:
    crowd = {"at_s": 0.0, "duration_s": 10.0, "factor": 2.0}
    with pytest.raises(UserError, match=r"no such task of this fleet; got 'chatt'; did you mean 'chat'"):
        drawn(flash_crowds=[crowd | {"task": "chatt"}])
    with pytest.raises(UserError, match="no device asks for this task; got 'tv-qa'"):
        drawn(flash_crowds=[crowd | {"task": "tv-qa"}])


# Sessions.


def test_a_session_stays_on_one_device_for_one_task() -> None:
    workload = drawn(sessions=SESSIONS)
    asked = asked_of(workload)
    order = np.argsort(workload.session, kind="stable")
    session = workload.session[order]
    same = session[1:] == session[:-1]
    for values in (asked.device, asked.task):
        assert (values[order][1:][same] == values[order][:-1][same]).all()
    turns = np.bincount(workload.session)
    assert turns.min() == 1
    assert turns.mean() == pytest.approx(3.0, rel=5 * math.sqrt(2 / 3) / math.sqrt(len(turns)))
    assert (turns == 1).mean() == pytest.approx(1 / 3, abs=0.02)
    gaps = np.diff(workload.arrival_s[order])[same]
    assert gaps.mean() == pytest.approx(40, rel=5 / math.sqrt(len(gaps)))
    assert gaps.std() == pytest.approx(40, rel=0.05)
    assert (np.sort(np.unique(workload.session, True)[1]) == np.unique(workload.session, True)[1]).all()


@pytest.mark.parametrize(("turns_mean", "gap_s"), [(3.0, 40.0), (20.0, 5000.0), (200.0, 1e-3)])
def test_turns_come_when_their_draws_say(turns_mean: float, gap_s: float) -> None:
    """Whatever the order in which they waited: turn k + 1 of a session is its gap later than turn k."""
    workload = drawn(requests=5000, sessions={"turns_mean": turns_mean, "gap_s": gap_s})
    for session in (0, 1, 7, int(workload.session.max())):
        instants = workload.arrival_s[workload.session == session]
        for turn, (before, after) in enumerate(pairwise(instants), start=1):
            gap = -gap_s * math.log(1.0 - uniform(1, session, turn, GAP))
            assert after - before == pytest.approx(gap, abs=1e-9)


def test_a_crowd_of_everybody_at_once_takes_no_longer() -> None:
    """All sessions within a second of a long run share one bucket of time."""
    crowd = {"at_s": 9e8, "duration_s": 1e-3, "factor": 1e4}
    begun = time.process_time()
    workload = drawn(requests=200_000, duration_s=1e9, sessions={"turns_mean": 20, "gap_s": 1}, flash_crowds=[crowd])
    assert time.process_time() - begun < 20
    assert len(workload) == 200_000
    workload = drawn(requests=200_000, duration_s=1e-6, sessions={"turns_mean": 20, "gap_s": 0})
    assert workload.arrival_s[-1] <= 1e-6


def test_without_sessions_every_request_stands_alone() -> None:
    assert set(drawn().session) == {-1}
    assert set(drawn(sessions={"turns_mean": 1, "gap_s": 5}).session) == {-1}


# Who, and for what.


@pytest.mark.parametrize("zipf", [0.0, 0.8, 2.0])
def test_the_most_active_ask_most(zipf: float) -> None:
    spec, _ = fleet_of(50, zipf)
    counts = np.bincount(asked_of(drawn(spec)).device, minlength=50)
    weights = np.arange(1, 51) ** -zipf
    assert abs(far_off(counts, 40_000 * weights / weights.sum())) < 4


def test_tasks_follow_the_form_of_the_device() -> None:
    spec, fleet = fleet_of()
    asked = asked_of(drawn())
    for kind, mix in enumerate(demand_of(spec, CATALOGUE).mix):
        counts = np.bincount(asked.task[fleet.kind[asked.device] == kind], minlength=len(mix))
        assert (counts[mix == 0] == 0).all()
        assert abs(far_off(counts[mix > 0], counts.sum() * mix[mix > 0])) < 4
    car = CATALOGUE.task("car-voice-control").mix
    assert set(car) == {"car"}


def test_a_group_may_ask_for_what_it_likes() -> None:
    spec = FleetSpec.model_validate(
        {"devices": 10, "groups": {"p": PHONES | {"share": 1, "hub_share": 0, "tasks": {"code": 1, "chat": 3}}}}
    )
    fleet = resolve_fleet(spec, CATALOGUE, cloud())
    names = [task.name for task in fleet.tasks]
    counts = np.bincount(asked_of(drawn(spec)).task, minlength=12)
    assert counts[names.index("chat")] + counts[names.index("code")] == 40_000
    assert counts[names.index("chat")] == pytest.approx(30_000, abs=5 * 87)


def test_one_device_asks_everything() -> None:
    assert set(asked_of(drawn(fleet_spec(1))).device) == {0}


# How much.


@pytest.mark.parametrize("task", CATALOGUE.names("task"))
def test_lengths_media_and_difficulty_of_a_task(task: str) -> None:
    facts = CATALOGUE.task(task)
    workload = drawn(one_group("snapdragon-8-elite-phone", tasks={task: 1}))
    asked, media = asked_of(workload), facts.media
    going_in = media.mean_tokens if media and media.direction == "in" else 0.0
    coming_out = media.mean_tokens if media and media.direction == "out" else 0.0
    for values, mean in (
        (workload.prompt_tokens, clipped_mean(facts.prompt) + going_in),
        (workload.output_tokens, clipped_mean(facts.output) + coming_out),
        (asked.difficulty, facts.difficulty.mean),
    ):
        assert values.mean() == pytest.approx(mean, abs=5 * float(values.std()) / 200 + 0.01)
    assert asked.difficulty.std() == pytest.approx(facts.difficulty.spread, rel=0.03)
    if media is None:
        assert workload.prompt_tokens.max() <= facts.prompt.max
        assert workload.prompt_tokens.min() >= 1
        assert np.array_equal(asked.up_bytes, 1000 + 4 * workload.prompt_tokens.astype(np.float32))
        assert np.array_equal(asked.down_bytes, 5 * workload.output_tokens.astype(np.float32))
        assert np.log(workload.output_tokens).std() == pytest.approx(facts.output.sigma, rel=0.15)
    else:
        up, down = 1000 + 4 * clipped_mean(facts.prompt), 5 * clipped_mean(facts.output)
        up, down = (up + media.mean_bytes, down) if media.direction == "in" else (up, down + media.mean_bytes)
        for moved, mean in ((asked.up_bytes.astype(float), up), (asked.down_bytes.astype(float), down)):
            assert moved.mean() == pytest.approx(mean, abs=5 * float(moved.std()) / 200 + 0.05)


def test_draws_of_one_quantity_leave_the_others_alone() -> None:
    """Another day, other sessions: the lengths that request r would have for its task stay."""
    spec = one_group("snapdragon-8-elite-phone", tasks={"chat": 1})
    level, other = drawn(spec), drawn(spec, diurnal={"peak_to_trough": 4}, sessions=SESSIONS)
    assert np.array_equal(level.prompt_tokens, other.prompt_tokens)
    assert np.array_equal(asked_of(level).difficulty, asked_of(other).difficulty)
    pair = np.corrcoef(np.log(level.prompt_tokens), np.log(level.output_tokens))[0, 1]
    assert abs(pair) < 0.03


# The rest.


def test_a_seed_is_a_workload() -> None:
    one, same, other = (drawn(seed=seed, sessions=SESSIONS) for seed in (1, 1, 2))
    for name in ("arrival_s", "prompt_tokens", "output_tokens", "session"):
        assert np.array_equal(getattr(one, name), getattr(same, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))
    for name in ("device", "task", "difficulty", "up_bytes", "down_bytes"):
        assert np.array_equal(getattr(asked_of(one), name), getattr(asked_of(same), name))
        assert not np.array_equal(getattr(asked_of(one), name), getattr(asked_of(other), name))


def test_what_is_the_same_for_all_takes_no_memory() -> None:
    workload = drawn(priority=3, patience_s=20)
    for name, value in (
        ("after", -1),
        ("priority", 3),
        ("patience_s", 20),
        ("deadline_s", math.inf),
        ("named_tokens", 0),
    ):
        column = getattr(workload, name)
        assert column.strides == (0,)
        assert set(column) == {value}


def test_limits_and_classes_may_be_drawn() -> None:
    workload = drawn(priority={"weights": {0: 1, 5: 3}}, patience_s={"kind": "exponential", "mean": 30})
    assert (workload.priority == 5).mean() == pytest.approx(0.75, abs=0.02)
    assert workload.patience_s.mean() == pytest.approx(30, rel=0.03)


def test_where_it_came_from() -> None:
    provenance = drawn(sessions=SESSIONS).provenance
    assert (provenance.kind, provenance.rows_emitted) == ("fleet", 40_000)
    said = "\n".join(provenance.notes)
    for words in ("no public trace", "4 bytes per prompt token", "fixed beforehand", "sessions on 2000 devices"):
        assert words in said


def test_a_trace_is_spread_over_the_devices(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TRACE, encoding="utf-8")
    spec, fleet = fleet_of()
    workload = fleet_workload(
        FleetWorkloadSpec.model_validate({"trace": {"path": "t.csv", "requests": 3000}, "priority": 2}),
        fleet,
        demand_of(spec, CATALOGUE),
        seed=1,
        base_folder=tmp_path,
        time_scale=2.0,
    )
    check_workload(workload)
    asked = asked_of(workload)
    assert workload.prompt_tokens[:4].tolist() == [100, 200, 300, 100]
    assert workload.arrival_s[:3].tolist() == [0, 10, 18]
    assert set(workload.priority) == {2}
    weights = np.bincount(fleet.kind[: fleet.devices], np.arange(1, fleet.devices + 1) ** -0.8)
    kinds = np.bincount(fleet.kind[asked.device], minlength=3)
    assert abs(far_off(kinds, 3000 * weights / weights.sum())) < 4
    plain = np.array([task.modality == 1 for task in fleet.tasks])[asked.task]
    assert np.array_equal(asked.up_bytes[plain], 1000 + 4 * workload.prompt_tokens[plain].astype(np.float32))
    assert asked.up_bytes[~plain].mean() > 10_000
    assert workload.provenance.rows_read == 3
    assert "those of a session stay on one" in workload.provenance.notes[-1]


def test_sessions_of_a_trace_stay_on_one_device(tmp_path: Path) -> None:
    rows = "".join(f"{i},{100 + i},10,{i % 7}\n" for i in range(200))
    (tmp_path / "t.csv").write_text("arrival_s,prompt_tokens,output_tokens,session\n" + rows, encoding="utf-8")
    spec, fleet = fleet_of()
    workload = fleet_workload(
        FleetWorkloadSpec.model_validate({"trace": {"path": "t.csv"}}),
        fleet,
        demand_of(spec, CATALOGUE),
        seed=1,
        base_folder=tmp_path,
    )
    asked = asked_of(workload)
    assert len(set(workload.session)) == 7
    pairs = {(int(s), int(d), int(t)) for s, d, t in zip(workload.session, asked.device, asked.task, strict=True)}
    assert len(pairs) == 7
    assert len({device for _, device, _ in pairs}) > 3


def test_overrides_are_checked() -> None:
    spec, fleet = fleet_of()
    given = {"seed": 1, "base_folder": Path()}
    plain = FleetWorkloadSpec.model_validate(DAY)
    with pytest.raises(UserError, match="time_scale stretches a trace, and there is none"):
        fleet_workload(plain, fleet, demand_of(spec, CATALOGUE), time_scale=2.0, **given)
    with pytest.raises(UserError, match="requests must be at least 1"):
        fleet_workload(plain, fleet, demand_of(spec, CATALOGUE), requests=0, **given)
