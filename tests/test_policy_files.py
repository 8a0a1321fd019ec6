"""Policy files: what they mean, what is refused and how, and that every built-in does what its name says."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from policies import ActionView, DeviceView, RequestView, features
from policies.check import check_policy, chosen
from policies.layout import FEATURE_NAMES, KINDS, LAYOUT_VERSION, Kind
from policies.policy import Policy, builtin_names, load_policy
from profiles.catalogue import Catalogue
from profiles.errors import UserError

FOLDER = Path(__file__).parents[1] / "policies" / "builtin"
TASKS = Catalogue().names("task")
BUILTINS = (
    "battery-aware",
    "cascade",
    "far",
    "hedge",
    "least-cost",
    "least-latency",
    "near",
    "random",
    "scene-table",
    "threshold",
)


def a_file(tmp_path: Path, text: str, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def policy(**fields: Any) -> Policy:
    return load_policy({"layout": LAYOUT_VERSION} | fields)


# -- what a file means -------------------------------------------------------------------------------------------------


def test_a_file_becomes_numbers_by_name(tmp_path: Path) -> None:
    text = """
name: mine
layout: 1
actions: [near, cloud, hedge]
weights: {quality: 3, e2e_s: -0.5}
scenes:
  chat: {near: 1, hedge: -2}
  default: {cloud: 0.25}
"""
    loaded = load_policy(a_file(tmp_path, text))
    table = loaded.table(["code", "chat", "tv-qa"])
    assert table.name == "mine"
    assert table.kinds == (True, False, True, False, True)
    expected = {"quality": 3.0, "e2e_s": -0.5}
    assert table.weights.tolist() == [expected.get(name, 0.0) for name in FEATURE_NAMES]
    assert table.scene.tolist() == [[0, 0, 0.25, 0, 0], [1, 0, 0, 0, -2], [0, 0, 0.25, 0, 0]]
    assert table.weights.dtype == table.scene.dtype == np.float64


def test_what_is_left_out_is_nothing() -> None:
    table = policy().table(["chat"])
    assert table.kinds == (True, True, True, False, False)
    assert not table.weights.any()
    assert not table.scene.any()
    assert policy().table([]).scene.shape == (0, len(KINDS))


def test_scenes_of_absent_tasks_are_told() -> None:
    loaded = policy(scenes={"chat": {"near": 1}, "chta": {"near": 1}, "default": {"near": 1}})
    assert loaded.unused_scenes(["chat", "code"]) == ("chta",)
    assert loaded.table(["code"]).scene.tolist() == [[1, 0, 0, 0, 0]]


def test_a_file_is_found_by_path_text_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = a_file(tmp_path, "layout: 1\nweights: {near: 1e0}\n")
    assert load_policy(path) == load_policy(str(path)) == load_policy("mine.yaml", folder=tmp_path)
    assert load_policy(path).name == "mine"
    a_file(tmp_path, "name: other\nlayout: 1\n", "near")
    monkeypatch.chdir(tmp_path)
    assert load_policy("near").weights["near"] == 2  # the built-in
    assert load_policy(Path("near")).name == "other"


def test_it_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        policy().name = "other"


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, ("no layout", "reads layout 1", "write `layout: 1`")),
        ({"layout": 2, "weights": {"future": 1}}, ("written for layout 2", "reads layout 1", "newer version")),
        ({"layout": 0}, ("written for layout 0", "reads layout 1", "train it anew")),
        ({"layout": True}, ("layout", "got True")),
        ({"layout": "1"}, ("layout", "got '1'")),
        ({"layout": 1, "weights": {"qualty": 1}}, ("unknown feature", "'qualty'", "did you mean 'quality'")),
        ({"layout": 1, "weights": {"quality": math.nan}}, ("weights.quality", "nan", "finite")),
        ({"layout": 1, "weights": {"e2e_s": -math.inf}}, ("weights.e2e_s", "inf", "finite")),
        ({"layout": 1, "weights": {"load": True}}, ("weights.load", "a number")),
        ({"layout": 1, "weights": {"load": "1"}}, ("weights.load", "a number")),
        ({"layout": 1, "weights": {"load": 1e200}}, ("weights.load", "less than")),
        ({"layout": 1, "wieghts": {}}, ("unknown key", "did you mean 'weights'")),
        ({"layout": 1, "actions": ["neer"]}, ("'neer'", "near, edge, cloud")),
        ({"layout": 1, "actions": ["near", "near"]}, ("twice",)),
        ({"layout": 1, "actions": []}, ("at least one", "hedge")),
        ({"layout": 1, "weights": {"hedge": 1}}, ("weights.hedge", "add hedge to actions")),
        ({"layout": 1, "scenes": {"chat": {"cascade": 1}}}, ("scenes.chat.cascade", "add cascade")),
        ({"layout": 1, "scenes": {"chat": {"hub": 1}}}, ("scenes.chat", "'hub'", "edge")),
        ({"layout": 1, "scenes": {"chat": {"near": math.nan}}}, ("scenes.chat.near", "finite")),
        ({"layout": 1, "scenes": {"chat": 3}}, ("scenes.chat", "got 3")),
    ],
)
def test_a_bad_policy_is_told_in_one_line(data: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as refusal:
        load_policy(data)
    message = str(refusal.value)
    assert "\n" not in message
    for word in ("policy: ", *words):
        assert word in message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("neer", ("unknown policy", "'neer'", "did you mean 'near'", "YAML file")),
        ("quite-unlike", ("unknown policy", "known: battery-aware", "YAML file")),
        ("", ("unknown policy",)),
        ("no/such.yaml", ("no such policy file", "scene-table")),
        (Path("no-such.yml"), ("no such policy file",)),
        (FOLDER, ("a folder",)),
        (7, ("got 7",)),
    ],
)
def test_an_unknown_policy_is_told(source: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as refusal:
        load_policy(source)
    for word in words:
        assert word in str(refusal.value)


def test_a_files_name_opens_the_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^mine\.yaml: weights: unknown feature"):
        load_policy(a_file(tmp_path, "layout: 1\nweights: {laod: 1}\n"))
    with pytest.raises(UserError, match=r"^mine\.yaml: weights\.load: .*nan"):
        load_policy(a_file(tmp_path, "layout: 1\nweights: {load: .nan}\n"))
    with pytest.raises(UserError, match=r"^mine\.yaml, line 2: .*twice"):
        load_policy(a_file(tmp_path, "layout: 1\nlayout: 1\n"))


def test_the_class_checks_the_layout_too() -> None:
    with pytest.raises(ValueError, match="layout 3"):
        Policy(name="mine", layout=3)


# -- built-ins ---------------------------------------------------------------------------------------------------------

NEAR: dict[str, Any] = {"kind": "near", "quality": 0.6, "ttft_s": 0.4, "e2e_s": 9.0, "energy_j": 50.0}
EDGE: dict[str, Any] = {"kind": "edge", "quality": 0.7, "ttft_s": 0.5, "e2e_s": 6.0, "energy_j": 4.0}
CLOUD: dict[str, Any] = {"kind": "cloud", "quality": 0.9, "ttft_s": 0.9, "e2e_s": 4.0, "energy_j": 6.0, "cost": 4e-4}
OTHER: dict[str, Any] = CLOUD | {"e2e_s": 3.0, "ttft_s": 0.6, "cost": 9e-4}
CASCADE: dict[str, Any] = CLOUD | {"kind": "cascade", "quality": 0.85, "ttft_s": 9.5, "e2e_s": 11.0, "cost": 1e-4}
HEDGE: dict[str, Any] = NEAR | {"kind": "hedge", "energy_j": 56.0, "cost": 4e-4}
ALL = (NEAR, EDGE, CLOUD, OTHER, CASCADE, HEDGE)


def choice(
    name: str,
    actions: tuple[dict[str, Any], ...] = ALL,
    *,
    task: str = "chat",
    difficulty: float = 0.5,
    battery: float = 0.8,
    heat: float = 0.2,
) -> dict[str, Any] | None:
    """What a built-in chooses by rule W4: the largest score, the first among equals, of the kinds that it uses."""
    table = load_policy(name).table(TASKS)
    best, found = -math.inf, None
    for i, action in enumerate(actions):
        kind = KINDS.index(action["kind"])
        if not table.kinds[kind]:
            continue
        phi = np.zeros(len(FEATURE_NAMES))
        features.fill(
            phi,
            kind,
            action["quality"],
            action["ttft_s"],
            action["e2e_s"],
            action["energy_j"],
            action.get("cost", 0.0),
            0.0,
            0.0,
            action.get("noise", 0.1 * i),
            difficulty,
            200,
            battery,
            heat,
            0,
            1.0,
        )
        value = features.score(phi, table.weights, float(table.scene[TASKS.index(task), kind]))
        assert math.isfinite(value)
        if value > best:
            best, found = value, action
    return found


def test_these_are_all_built_ins() -> None:
    assert builtin_names() == BUILTINS


@pytest.mark.parametrize("name", BUILTINS)
def test_a_built_in_conforms(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert len(text.splitlines()) < 30
    loaded = load_policy(name)
    assert loaded == load_policy(path) == load_policy(yaml.safe_load(text))
    assert loaded.name == name
    assert loaded.description
    assert loaded.unused_scenes(TASKS) == ()
    table = loaded.table(TASKS)
    assert table.weights.shape == (features.FEATURE_COUNT,)
    assert table.scene.shape == (len(TASKS), len(KINDS))
    assert np.isfinite(table.weights).all()
    assert np.isfinite(table.scene).all()
    assert table.kinds[:3] == (True, True, True)  # something is left wherever anything is possible


@pytest.mark.parametrize("name", BUILTINS)
@pytest.mark.parametrize("action", [NEAR, EDGE, CLOUD])
def test_a_built_in_takes_what_is_left(name: str, action: dict[str, Any]) -> None:
    assert choice(name, (action,)) == action
    assert choice(name, (action | {"ttft_s": math.inf, "e2e_s": math.inf},)) is not None


@pytest.mark.parametrize("slow_s", [0.0, 3600.0])
def test_near_and_far_keep_their_order(slow_s: float) -> None:
    near, edge, cloud = (one | {"e2e_s": one["e2e_s"] + slow_s} for one in (NEAR, EDGE, CLOUD))
    assert choice("near", (near, EDGE, CLOUD)) == near
    assert choice("near", (edge, CLOUD, OTHER)) == edge
    assert choice("far", (NEAR, EDGE, cloud)) == cloud
    assert choice("far", (NEAR, edge)) == edge


def test_the_fastest_among_equals() -> None:
    for name in ("near", "far", "scene-table", "least-latency", "threshold"):
        assert choice(name, (CLOUD, OTHER)) == OTHER


def test_random_follows_the_noise_alone() -> None:
    for i in range(4):
        actions = tuple(one | {"noise": 0.9 if k == i else 0.3} for k, one in enumerate(ALL[:4]))
        assert choice("random", actions) == actions[i]


def test_the_scene_table_knows_every_task() -> None:
    near = {
        "car-voice-control",
        "image-understanding",
        "speech-in",
        "speech-out",
        "text-prediction",
        "translation",
    }
    assert near <= set(TASKS)
    for task in TASKS:
        found = choice("scene-table", task=task)
        assert found is not None
        assert found["kind"] == ("near" if task in near else "cloud"), task
        without = choice("scene-table", (NEAR, EDGE), task=task)
        assert without is not None
        assert without["kind"] == ("near" if task in near else "edge"), task


def test_the_threshold_is_where_its_description_says() -> None:
    described = re.search(r"-?\d+\.\d+", load_policy("threshold").description)
    assert described is not None
    limit = float(described[0])
    assert choice("threshold", difficulty=limit - 0.02) == NEAR
    assert choice("threshold", difficulty=limit + 0.02) == OTHER
    assert choice("threshold", (NEAR, EDGE), difficulty=limit + 1.0) == EDGE
    assert choice("threshold", (EDGE, CLOUD), difficulty=-9.0) == CLOUD


def test_least_latency_and_least_cost() -> None:
    assert choice("least-latency") == OTHER
    assert choice("least-latency", (NEAR | {"e2e_s": 1.0}, CLOUD)) == NEAR | {"e2e_s": 1.0}
    assert choice("least-cost") == EDGE  # as free as near, and faster
    assert choice("least-cost", (CLOUD, OTHER)) == CLOUD
    assert choice("least-cost", (OTHER, CLOUD | {"e2e_s": 3600.0})) == CLOUD | {"e2e_s": 3600.0}


def test_battery_aware_spares_what_is_scarce() -> None:
    easy = (NEAR | {"quality": 0.9, "e2e_s": 3.0}, CLOUD | {"quality": 0.92})
    assert choice("battery-aware", easy, battery=1.0) == easy[0]
    assert choice("battery-aware", easy, battery=0.2) == easy[1]
    assert choice("battery-aware", easy, battery=1.0, heat=1.1) == easy[1]
    assert choice("battery-aware", (NEAR, CLOUD), battery=1.0) == CLOUD  # a much better answer


@pytest.mark.parametrize("name", ["cascade", "hedge"])
def test_cascade_and_hedge_do_so_or_fall_back(name: Kind) -> None:
    found = choice(name)
    assert found is not None
    assert found["kind"] == name
    slow = (NEAR, EDGE, CLOUD, {"cascade": CASCADE, "hedge": HEDGE}[name] | {"ttft_s": 900.0, "e2e_s": 9000.0})
    assert choice(name, slow) == slow[3]
    assert choice(name, (NEAR, EDGE, CLOUD | {"quality": 0.0})) == CLOUD | {"quality": 0.0}
    assert choice(name, (NEAR, EDGE)) == EDGE
    assert choice(name, (NEAR,)) == NEAR


# -- routing policies in Python ----------------------------------------------------------------------------------------


def test_a_routing_function_that_works_passes() -> None:
    def fast_unless_hard(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
        right = [a for a in actions if a.quality > 0.7] or actions
        return min(right, key=lambda a: a.ttft_s).index

    def numpys(request: RequestView, device: DeviceView, actions: list[ActionView]) -> Any:
        return np.int64(actions[-1].index)

    check_policy(fast_unless_hard)
    check_policy(numpys)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda request, device, actions: 0, ("cloud alone", "got 0", "allowed: 2")),
        (lambda request, device, actions: len(actions) - 1, ("index of an action", "with near and cloud", "got 1")),
        (lambda request, device, actions: None, ("got 'nothing'",)),
        (lambda request, device, actions: actions[0], ("got ActionView",)),
        (lambda request, device, actions: True, ("got True",)),
        (lambda request, device, actions: 1 / 0, ("raised ZeroDivisionError", "division by zero")),
        (lambda request, device, actions: actions[0].speed, ("AttributeError", "speed")),
        (lambda request, actions: 0, ("raised TypeError", "function(request, device, actions)")),
        (lambda request, device, actions: actions.clear() or 0, ("cloud alone", "allowed: 2")),
        (lambda request, device, actions: setattr(device, "battery", 1.0), ("FrozenInstanceError",)),
        (7, ("must be a function", "got 7")),
    ],
)
def test_a_routing_function_that_does_not_is_told(function: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as refusal:
        check_policy(function)
    for word in words:
        assert word in str(refusal.value)


def test_an_exit_is_no_way_out() -> None:
    def leaves(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
        raise SystemExit(3)

    with pytest.raises(UserError, match="'leaves' raised SystemExit"):
        check_policy(leaves)


def test_one_choice_is_asked_for_and_checked() -> None:
    request = RequestView(id=1, now_s=0.0, arrival_s=0.0, prompt_tokens=1, attempt=0, task="chat", privacy="home")
    device = DeviceView(id=0, kind="tv", battery=1.0, heat=0.0, network="wifi-home", metered=False)
    action = ActionView(
        index=7,
        kind="near",
        pool=None,
        quality=0.5,
        ttft_s=1.0,
        e2e_s=2.0,
        energy_j=3.0,
        cost_usd=0.0,
        egress_bytes=0.0,
        load=0.0,
        noise=0.5,
    )
    seen: list[Any] = []

    def first(*views: Any) -> int:
        seen.append(views)
        return int(views[2][0].index)

    assert chosen(first, request, device, (action,)) == 7
    assert seen == [(request, device, [action])]
    with pytest.raises(UserError, match="allowed: 7"):
        chosen(lambda asked, asker, actions: 0, request, device, [action])
