"""`nearfar explain`: contributions that add up to the plane's own scores, and the choice that the simulation makes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.layout import FEATURE_NAMES, FEATURES, LAYOUT_VERSION
from policies.policy import builtin_names, load_policy
from profiles import Catalogue, Task, UserError
from sim.explaining import explain_choice, explain_moment, moment_plane, small_fleet
from sim.fleet_facts import tasks_of
from sim.kernels.air import network_at
from sim.loading import load
from sim.moment import moment
from sim.plane import DataPlane
from sim.run import Prepared, prepare
from sim.scenario import FleetScenario
from tests.command import Run

EASY = "task=chat,prompt_tokens=800,difficulty=0.5"
MOMENTS = (
    (EASY, ""),
    ("task=chat,prompt_tokens=60,output_tokens=20,difficulty=-2", "battery=0.3,heat=0.2,network=lte,metered=1"),
    ("task=code,difficulty=3", "heat=1.1,battery=0.5,loaded=0"),
    ("task=document-qa", "network=wifi-home,hub=1"),
    ("task=translation,prompt_tokens=20000", "battery=0.01"),
    ("task=text-prediction", "group=watches,charging=1,battery=0"),
    ("task=chat,privacy=home", "group=watches,hub=1"),
    ("task=code,prompt_tokens=120000", "network=wifi-home,hub=0"),
    ("task=chat", "network=offline"),
    ("task=chat", "battery=0.02,charging=1"),
)


@pytest.fixture(scope="module")
def tasks() -> tuple[Task, ...]:
    scenario = load(small_fleet()).scenario
    assert isinstance(scenario, FleetScenario)
    return tasks_of(scenario.fleet, Catalogue())


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(load(small_fleet()), policy="near")


def the_plane(prepared: Prepared, tasks: tuple[Task, ...], name: Any, request: str, device: str) -> DataPlane:
    """The moment under the policy itself: no router, only its weights."""
    scenario = prepared.loaded.scenario
    assert isinstance(scenario, FleetScenario)
    assert prepared.fleet is not None
    asked = moment(prepared.fleet, scenario.fleet, tasks, request=request, device=device)
    plane = moment_plane(prepared, asked, policy=load_policy(name).table(asked.fleet.task_names))
    plane.advance(math.inf)
    return plane


EVERYTHING = {
    "name": "everything",
    "layout": LAYOUT_VERSION,
    "actions": ["near", "edge", "cloud", "cascade", "hedge"],
    "weights": {name: 0.1 * (-1) ** k * (k + 1) for k, name in enumerate(FEATURE_NAMES)},
    "scenes": {"chat": {"near": 0.4, "hedge": 1.5}, "default": {"cloud": -0.7, "edge": 0.2}},
}


@pytest.mark.parametrize(
    "policy", [*builtin_names(), EVERYTHING], ids=lambda one: one if isinstance(one, str) else "all"
)
def test_contributions_are_the_score_and_the_choice_is_the_planes(
    policy: Any, prepared: Prepared, tasks: tuple[Task, ...]
) -> None:
    for request, device in MOMENTS:
        found = explain_moment(load_policy(policy), prepared, tasks, request=request, device=device)
        plane = the_plane(prepared, tasks, policy, request, device)
        figures = plane._arrays["figures"]
        assert [one["index"] for one in found["actions"]] == np.flatnonzero(figures["feasible"]).tolist()
        for action in found["actions"]:
            assert len(action["features"]) == len(FEATURES)
            assert math.fsum(one["contribution"] for one in action["features"]) + action["scene"] == pytest.approx(
                action["score"], rel=1e-12, abs=1e-12
            )
            noisy = load_policy(policy).weights.get("noise")
            assert action["score"] == figures[action["index"]]["score"]
            for name in ("ttft_s", "e2e_s", "energy_j", "cost_usd", "load", *(["noise"] if noisy else [])):
                (value,) = (one["value"] for one in action["features"] if one["name"] == name)
                assert value == figures[action["index"]][name], name
        assert (-1 if found["chosen"] is None else found["chosen"]) == plane.trips[0]["action"], (request, device)
        indices = [one["index"] for one in (*found["actions"], *found["ruled_out"])]
        assert sorted(indices) == list(range(len(figures)))


@pytest.mark.parametrize("policy", ["threshold", "least-latency", "least-cost", "cascade", "scene-table"])
def test_it_tells_what_a_whole_simulation_does(policy: str, tasks: tuple[Task, ...]) -> None:
    """First requests of devices in an idle hour, explained one by one."""
    changes: dict[str, Any] = {
        "workload.requests": 60,
        "fleet.estimate_spread": 0.0,
        "fleet.groups.phones.hub_share": 0.0,
        "fleet.groups.watches.hub_share": 0.0,
    }
    run = prepare(load(small_fleet(), changes=changes), policy=policy)
    fleet = run.fleet
    assert fleet is not None
    assert run.routing is not None
    plane = DataPlane(run.workload, run.plans, fleet=fleet, policy=run.routing.table, seed=run.seed)
    plane.advance(math.inf)
    seen, kinds = set[int](), set[str]()
    for r, (request, trip) in enumerate(zip(plane.requests, plane.trips, strict=True)):
        device = int(trip["device"])
        if device in seen or fleet.tasks[trip["task"]].modality != 1:
            continue
        seen.add(device)
        network = fleet.networks[network_at(plane._world, device, float(request["arrival"]))].name
        found = explain_moment(
            load_policy(policy),
            run,
            tasks,
            request=f"task={fleet.tasks[trip['task']].name},prompt_tokens={request['prompt']},"
            f"output_tokens={request['output']},difficulty={trip['difficulty']:.9g}",
            device=f"group={fleet.kinds[plane.rows[device]['kind']].name},network={network},loaded=0",
        )
        assert (-1 if found["chosen"] is None else found["chosen"]) == trip["action"], r
        kinds.add(str(trip["kind"]))
    assert len(seen) > 30
    assert len(kinds) >= 2


# -- what it says ------------------------------------------------------------------------------------------------------


def test_the_margin_and_what_would_turn_it() -> None:
    mine = {"layout": LAYOUT_VERSION, "weights": {"quality": 4, "e2e_s": -0.05, "near": 0.1}}
    found = explain_choice(mine, request=EASY, device="hub=0")
    names = {one["index"]: one for one in found["actions"]}
    best, second = names[found["chosen"]], names[found["runner_up"]]
    assert found["margin"] == best["score"] - second["score"] > 0.0
    values = {one["name"]: one["value"] for one in best["features"]}
    assert {turn["feature"] for turn in found["turning"]} == {"quality", "e2e_s"}
    for turn in found["turning"]:
        if turn["action"] == best["name"] and turn["feature"] == "e2e_s":
            assert turn["change"] == pytest.approx(found["margin"] / 0.05)
            assert turn["to"] == pytest.approx(values["e2e_s"] + turn["change"])
            assert turn["possible"]
        if turn["action"] == second["name"] and turn["feature"] == "quality":
            assert turn["change"] == pytest.approx(found["margin"] / 4)
    contributions = [abs(turn["contribution"]) for turn in found["turning"] if turn["possible"]]
    assert contributions == sorted(contributions, reverse=True)


def test_among_equals_the_first_wins(nearfar: Run, tmp_path: Path) -> None:
    (tmp_path / "idle.yaml").write_text("layout: 1\n", encoding="utf-8")
    found = explain_choice(tmp_path / "idle.yaml", request=EASY)
    assert (found["chosen"], found["margin"], found["turning"]) == (0, 0.0, [])
    assert len(found["actions"]) > 1
    _, out, _ = nearfar("explain", "idle.yaml", "--request", EASY)
    assert "near, level with " in out


def test_a_rival_of_another_kind_is_told_too() -> None:
    pools = load(small_fleet()).scenario.model_dump(mode="json", exclude_none=True)["pools"]
    changes = {"pools.other": pools["cloud"]}
    found = explain_choice("threshold", request=EASY, device="hub=0", loads="cloud=1", changes=changes)
    margins = {turn["rival"]: turn["margin"] for turn in found["turning"]}
    assert list(margins) == ["cloud", "near"]
    assert margins["cloud"] == found["margin"] < 1e-3
    assert margins["near"] == pytest.approx(1.0, abs=1e-3)


def test_a_turn_turns_the_choice() -> None:
    """Difficulty is told, so its turn can be tried."""
    found = explain_choice("threshold", request=EASY, device="hub=0")
    assert [one["kind"] for one in found["actions"] if one["index"] == found["chosen"]] == ["cloud"]
    (turn,) = (one for one in found["turning"] if one["feature"] == "near_difficulty")
    for shift, kind in ((-0.01, "near"), (0.01, "cloud")):
        request = f"task=chat,prompt_tokens=800,difficulty={turn['to'] + shift}"
        again = explain_choice("threshold", request=request, device="hub=0")
        assert [one["kind"] for one in again["actions"] if one["index"] == again["chosen"]] == [kind]


def test_what_cannot_be_says_why() -> None:
    found = explain_choice("near", request="task=document-qa,prompt_tokens=900000", device="network=lte,battery=0.02")
    masks = {one["name"]: {mask["name"] for mask in one["masks"]} for one in found["ruled_out"]}
    privacy = Catalogue().task("document-qa").privacy
    assert privacy != "any"
    assert {"length", "battery"} <= masks["near"]
    assert {"connection", "length"} <= masks["edge"]
    assert {"privacy", "length"} <= masks["cloud"]
    assert {"privacy", "battery", "actions"} <= masks["hedge cloud"]
    assert (found["chosen"], found["actions"], found["turning"]) == (None, [], [])


def test_the_state_that_is_told_is_what_the_policy_sees() -> None:
    found = explain_choice(
        "battery-aware", request=EASY, device="battery=0.25,heat=0.5,network=lte,metered=0", loads="cloud=1.5"
    )
    features = {
        action["name"]: {one["name"]: one["value"] for one in action["features"]} for action in found["actions"]
    }
    near, cloud = features["near"], features["cloud"]
    assert near["near_battery"] == pytest.approx(0.25)
    assert near["near_heat"] == pytest.approx(0.5)
    assert near["near_difficulty"] == 0.5
    assert near["near_log_prompt"] == pytest.approx(math.log2(801))
    assert cloud["metered_mb"] == 0.0
    assert cloud["load"] == pytest.approx(1.5)
    idle = explain_choice("battery-aware", request=EASY, device="network=lte,metered=1")
    cold = explain_choice("battery-aware", request=EASY, device="network=lte,loaded=0")
    idle_near, idle_cloud, cold_near = (
        {one["name"]: one["value"] for one in found["actions"][k]["features"]}
        for found, k in ((idle, 0), (idle, 1), (cold, 0))
    )
    assert idle_cloud["metered_mb"] == idle_cloud["egress_mb"] > 0.0
    assert idle_cloud["e2e_s"] < cloud["e2e_s"]
    assert cold_near["ttft_s"] > idle_near["ttft_s"]


def test_the_seed_draws_the_noise() -> None:
    chosen = {explain_choice("random", request=EASY, device="hub=0", seed=seed)["chosen"] for seed in (0, 1, 2, 3)}
    assert chosen == {0, 2}


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_prints_one_object_or_a_screen(nearfar: Run) -> None:
    code, out, _ = nearfar("explain", "threshold", "--request", EASY, "--device", "network=lte", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["policy"] == "threshold"
    assert found["request"]["prompt_tokens"] == 800
    code, out, _ = nearfar("explain", "threshold", "--request", EASY, "--device", "network=lte")
    assert code == 0
    for words in (
        "cloud *",
        "near_difficulty of near 1 less: -0.5 instead of 0.5",
        "connection: the device does not reach it",
    ):
        assert words in out
    for name in FEATURE_NAMES:
        assert f"\n{name} " in out
    code, out, _ = nearfar("explain", "near", "--request", "task=chat,privacy=device", "--device", "group=watches")
    assert code == 0
    assert "nothing is possible" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--request", "prompt_tokens=3"), "no task is given"),
        (("--request", "task=chta"), "did you mean 'chat'?"),
        (("--request", "task=chat,prompt=3"), "did you mean 'prompt_tokens'?"),
        (("--request", "task=chat,task=code"), "given twice"),
        (("--request", "chat"), "NAME=VALUE"),
        (("--request", "task=chat,prompt_tokens=0"), "out of range"),
        (("--request", "task=chat,difficulty=nan"), "a number"),
        (("--request", "task=chat,privacy=public"), "known: any, device, home"),
        (("--request", EASY, "--device", "battery=2"), "allowed: 0 to 1"),
        (("--request", EASY, "--device", "battery=0"), "add charging=1"),
        (("--request", EASY, "--device", "group=phone"), "did you mean 'phones'?"),
        (("--request", EASY, "--device", "network=let"), "did you mean 'lte'?"),
        (("--request", EASY, "--device", "metered=maybe"), "1, 0, yes, no"),
        (("--request", EASY, "--load", "clod=1"), "did you mean 'cloud'?"),
        (("--request", EASY, "--load", "cloud=-1"), "requests per slot"),
        (("--request", EASY, "--scenario", "absent.yaml"), "no such scenario file"),
        (("--request", EASY, "--scenario", "pool.yaml"), "has no fleet"),
    ],
)
def test_the_command_refuses(words: tuple[str, ...], told: str, nearfar: Run, tmp_path: Path) -> None:
    (tmp_path / "pool.yaml").write_text((small_fleet().parent / "default.yaml").read_text(encoding="utf-8"))
    code, out, err = nearfar("explain", "near", *words)
    assert (code, out) == (2, "")
    assert told in err


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("neer", "did you mean 'near'?"),
        ({"layout": 2, "weights": {}}, "written for layout 2"),
        ("mine.py:choose", "no weights to explain"),
    ],
)
def test_a_policy_that_cannot_be_explained(policy: Any, told: str) -> None:
    with pytest.raises(UserError) as refusal:
        explain_choice(policy, request=EASY)
    assert told in str(refusal.value)
