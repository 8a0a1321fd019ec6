"""`nearfar explain`: contributions that add up to the plane's own scores, and the choice that the simulation makes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as api
from policies import ActionView, DeviceView, RequestView
from policies.layout import FEATURE_NAMES, FEATURES, LAYOUT_VERSION
from policies.policy import builtin_names, load_policy
from profiles import Catalogue, Task, UserError
from sim.explaining import explain, explain_moment, moment_plane, small_fleet
from sim.fleet_facts import tasks_of
from sim.loading import load
from sim.moment import moment
from sim.online import LogDecisions, watched
from sim.plane import DataPlane
from sim.run import Prepared, prepare, run
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


def test_a_told_difficulty_is_the_estimate_to_the_last_digit(prepared: Prepared, tasks: tuple[Task, ...]) -> None:
    for told in (0.0, 0.5, -2.0):
        found = explain_moment(load_policy(EVERYTHING), prepared, tasks, request=f"task=chat,difficulty={told}")
        (near,) = (one for one in found["actions"] if one["kind"] == "near")
        (seen,) = (one["value"] for one in near["features"] if one["name"] == "near_difficulty")
        assert seen == told


class Noting(LogDecisions):
    """As `simulate --decisions`, and notes who asked, what was offered and what was seen of it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.noted: list[tuple[RequestView, DeviceView, list[ActionView], np.ndarray[Any, Any]]] = []

    def __call__(self, request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
        chosen = super().__call__(request, device, actions)
        self.noted.append((request, device, actions, self._open[request.id, request.attempt].phi))
        return chosen


@pytest.mark.parametrize("spread", [0.0, 0.7, 3.0])
@pytest.mark.parametrize("policy", ["threshold", "least-latency", "least-cost", "cascade", "scene-table"])
def test_it_tells_what_a_whole_simulation_does(policy: str, spread: float, tasks: tuple[Task, ...]) -> None:
    """First requests of devices in a quiet hour, explained one by one: same features, same choice."""
    changes: dict[str, Any] = {
        "workload.requests": 60,
        "fleet.estimate_spread": spread,
        "fleet.groups.phones.hub_share": 0.0,
        "fleet.groups.watches.hub_share": 0.0,
    }
    whole = prepare(load(small_fleet(), changes=changes), policy=policy)
    noting = Noting()
    plane = run(watched(whole, noting)).plane
    assert whole.fleet is not None
    modality = {task.name: task.modality for task in whole.fleet.tasks}
    seen, kinds, told_of = set[int](), set[str](), 0
    for request, device, actions, phi in noting.noted:
        first = device.id not in seen
        seen.add(device.id)
        if not first or modality[request.task] != 1:
            continue
        found = explain_moment(
            load_policy(policy),
            whole,
            tasks,
            request={
                "task": request.task,
                "prompt_tokens": request.prompt_tokens,
                "output_tokens": plane.requests[request.id]["output"],
                "difficulty": request.difficulty,
            },
            device={
                "group": device.kind,
                "battery": device.battery,
                "heat": device.heat,
                "network": device.network,
                "loaded": False,
            },
            loads={action.pool: action.load for action in actions if action.kind == "cloud"},
        )
        assert [one["index"] for one in found["actions"]] == [action.index for action in actions]
        for told, logged in zip(found["actions"], phi, strict=True):
            for feature, value in zip(told["features"], logged.tolist(), strict=True):
                exact = feature["name"] in ("quality", "near_difficulty")
                assert feature["name"] == "noise" or feature["value"] == pytest.approx(
                    value, rel=1e-12 if exact else 1e-6, abs=1e-12
                ), (request, feature["name"])
        assert found["chosen"] == plane.trips[request.id]["action"], request
        kinds.add(str(plane.trips[request.id]["kind"]))
        told_of += 1
    assert told_of > 30
    assert len(kinds) >= 2


def test_an_estimate_of_a_task_whose_requests_are_all_alike(prepared: Prepared, tasks: tuple[Task, ...]) -> None:
    """Nothing is left in doubt, however little is seen: quality is the chance itself."""
    assert prepared.fleet is not None
    alike = tuple(replace(task, difficulty_spread=0.0) for task in prepared.fleet.tasks)
    sure = replace(prepared, fleet=replace(prepared.fleet, tasks=alike, estimate_spread=2.0))
    clear = replace(prepared, fleet=replace(prepared.fleet, tasks=alike, estimate_spread=0.0))
    found, other = (explain_moment(load_policy("near"), one, tasks, request=EASY) for one in (sure, clear))
    assert found["actions"] == other["actions"]


# -- what it says ------------------------------------------------------------------------------------------------------


def test_the_margin_and_what_would_turn_it() -> None:
    mine = {"layout": LAYOUT_VERSION, "weights": {"quality": 4, "e2e_s": -0.05, "near": 0.1}}
    found = explain(mine, request=EASY, device="hub=0")
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
    found = explain(tmp_path / "idle.yaml", request=EASY)
    assert (found["chosen"], found["margin"], found["turning"]) == (0, 0.0, [])
    assert len(found["actions"]) > 1
    _, out, _ = nearfar("explain", "idle.yaml", "--request", EASY)
    assert "near, level with " in out


def test_a_rival_of_another_kind_is_told_too() -> None:
    pools = load(small_fleet()).scenario.model_dump(mode="json", exclude_none=True)["pools"]
    changes = {"pools.other": pools["cloud"]}
    found = explain("threshold", request=EASY, device="hub=0", loads="cloud=1", changes=changes)
    margins = {turn["rival"]: turn["margin"] for turn in found["turning"]}
    assert list(margins) == ["cloud", "near"]
    assert margins["cloud"] == found["margin"] < 1e-3
    assert margins["near"] == pytest.approx(1.0, abs=1e-3)


def test_a_turn_turns_the_choice() -> None:
    """Difficulty is told, so its turn can be tried."""
    found = explain("threshold", request=EASY, device="hub=0")
    assert [one["kind"] for one in found["actions"] if one["index"] == found["chosen"]] == ["cloud"]
    (turn,) = (one for one in found["turning"] if one["feature"] == "near_difficulty")
    for shift, kind in ((-0.01, "near"), (0.01, "cloud")):
        request = f"task=chat,prompt_tokens=800,difficulty={turn['to'] + shift}"
        again = explain("threshold", request=request, device="hub=0")
        assert [one["kind"] for one in again["actions"] if one["index"] == again["chosen"]] == [kind]


def test_what_cannot_be_says_why() -> None:
    found = explain("near", request="task=document-qa,prompt_tokens=900000", device="network=lte,battery=0.02")
    masks = {one["name"]: {mask["name"] for mask in one["masks"]} for one in found["ruled_out"]}
    privacy = Catalogue().task("document-qa").privacy
    assert privacy != "any"
    assert {"length", "battery"} <= masks["near"]
    assert {"connection", "length"} <= masks["edge"]
    assert {"privacy", "length"} <= masks["cloud"]
    assert {"privacy", "battery", "actions"} <= masks["hedge cloud"]
    assert (found["chosen"], found["actions"], found["turning"]) == (None, [], [])


def test_the_state_that_is_told_is_what_the_policy_sees() -> None:
    found = explain(
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
    idle = explain("battery-aware", request=EASY, device="network=lte,metered=1")
    cold = explain("battery-aware", request=EASY, device="network=lte,loaded=0")
    idle_near, idle_cloud, cold_near = (
        {one["name"]: one["value"] for one in found["actions"][k]["features"]}
        for found, k in ((idle, 0), (idle, 1), (cold, 0))
    )
    assert idle_cloud["metered_mb"] == idle_cloud["egress_mb"] > 0.0
    assert idle_cloud["e2e_s"] < cloud["e2e_s"]
    assert cold_near["ttft_s"] > idle_near["ttft_s"]


def test_the_seed_draws_the_noise() -> None:
    chosen = {explain("random", request=EASY, device="hub=0", seed=seed)["chosen"] for seed in (0, 1, 2, 3)}
    assert chosen == {0, 2}


def test_from_python_names_and_values_are_a_mapping_or_a_text() -> None:
    told = api.explain(
        "threshold",
        request={"task": "chat", "prompt_tokens": 800, "difficulty": 0.5},
        device={"network": "lte", "metered": False},
        loads={"cloud": 0.5},
    )
    assert told == api.explain("threshold", request=EASY, device="network=lte,metered=0", loads="cloud=0.5")
    assert told["device"]["metered"] is False
    with pytest.raises(UserError, match="did you mean 'battery'"):
        api.explain("threshold", request=EASY, device={"batery": 0.5})


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
        explain(policy, request=EASY)
    assert told in str(refusal.value)
