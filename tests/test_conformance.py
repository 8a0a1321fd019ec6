"""The conformance suite: every built-in passes, and a policy broken in one way fails one check, the right one."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar as api
from policies import ActionView, DeviceView, RequestView
from policies.check import check_policy
from policies.checking.conformance import CHECKS, conformance
from policies.checking.report import Report, report_screen
from policies.checking.ruled_out import MASKS, HubFacts, NearFacts, PoolFacts, ruling_out
from policies.checking.situations import Situation, adversarial
from policies.layout import FEATURE_NAMES, LAYOUT_VERSION
from policies.policy import builtin_names, load_policy
from profiles import Catalogue, UserError
from tests.command import Run

FEW = 600
TASKS = Catalogue().names("task")


def failed(report: Report) -> set[str]:
    return set(report.failed)


# -- what passes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_passes(name: str) -> None:
    report = conformance(name)
    assert report.passed, report_screen(report)
    assert tuple(check.name for check in report.checks) == CHECKS
    assert report.form == "weights"
    counts = {check.name: check.counts for check in report.checks}
    assert counts["masks"]["situations"] > 2500
    assert counts["masks"]["private"] > 1000
    assert counts["total"]["one_possible"] > 1000
    json.dumps(report.to_json(), allow_nan=False)


def test_a_function_that_works_passes() -> None:
    def soon(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
        return min(actions, key=lambda action: (action.e2e_s, action.index)).index

    report = conformance(soon, situations=FEW)
    assert report.passed
    assert report.form == "function"
    assert tuple(check.name for check in report.checks) == CHECKS


def test_noise_is_no_chance_of_its_own() -> None:
    def noisy(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
        return max(actions, key=lambda action: action.noise).index

    assert conformance(noisy, situations=FEW).passed
    assert conformance("random", situations=FEW).passed


# -- what is broken on purpose -----------------------------------------------------------------------------------------

TURN = itertools.count()


def by_global_chance(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
    return random.choice(actions).index


def by_turns(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
    return actions[next(TURN) % len(actions)].index


BEFORE = [-1]


def by_order(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
    """Steady as long as the requests come in the order of their ids."""
    before, BEFORE[0] = BEFORE[0], request.id
    return actions[0 if before <= request.id else -1].index


def always_near(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
    return 0


def by_position(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
    return len(actions) - 1


def not_a_number(request: RequestView, device: DeviceView, actions: list[ActionView]) -> Any:
    return math.nan


def fails_when_empty(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
    assert 1.0 / device.battery > 0.0
    return actions[0].index


def silent_at_home(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int | None:
    return None if request.privacy == "home" else actions[0].index


def exits(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("source", "check", "words"),
    [
        (by_global_chance, "deterministic", "chose otherwise when asked again"),
        (by_turns, "deterministic", "chose otherwise"),
        (by_order, "deterministic", "chose otherwise"),
        (always_near, "masks", "returned 0, offered: "),
        (by_position, "masks", "offered: "),
        (not_a_number, "finite", "returned nan"),
        (fails_when_empty, "total", "battery 0,"),
        (silent_at_home, "total", "returned nothing"),
        (exits, "total", "raised SystemExit"),
        ({"layout": 2, "weights": {"near": 1}}, "reads", "written for layout 2"),
        ({"layout": LAYOUT_VERSION, "weights": {"qualty": 1}}, "reads", "did you mean 'quality'"),
        ("no-such-policy.yaml", "reads", "no such policy file"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_policy_fails_one_check(source: Any, check: str, words: str) -> None:
    report = conformance(source, situations=FEW)
    assert failed(report) == {check}
    (found,) = (one for one in report.checks if not one.passed)
    assert words in found.detail
    assert f"FAILED: {check}" in report_screen(report)
    json.dumps(report.to_json(), allow_nan=False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_not_finite(value: float) -> None:
    table = load_policy("battery-aware").table(TASKS)
    weights = table.weights.copy()
    weights[FEATURE_NAMES.index("quality")] = value
    report = conformance(replace(table, weights=weights), situations=FEW)
    assert failed(report) == {"finite"}


def test_a_forgotten_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_them(self: Situation, kinds: frozenset[str] | None = None) -> list[ActionView]:
        return [action for action in self.actions if kinds is None or action.kind in kinds]

    monkeypatch.setattr(Situation, "possible", all_of_them)
    for name in ("near", "far", "least-latency", "cascade"):
        assert failed(conformance(name, situations=FEW)) == {"masks"}, name


def test_a_broken_privacy_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Privacy is written out once more: a situation that says a pool is possible for a private request is refused."""
    leaky = [
        replace(one, ruled_out={index: masks for index, masks in one.ruled_out.items() if masks != ("privacy",)})
        for one in adversarial(FEW)
    ]
    monkeypatch.setattr("policies.checking.conformance.adversarial", lambda count: leaky)
    assert failed(conformance("far", situations=FEW)) == {"masks"}


def clock(mine_s: float, reference_s: float) -> Callable[[], float]:
    """A clock for which rounds of the policy and of the reference take so long, in turns."""
    now, spans = [0.0], itertools.cycle((0.0, mine_s, 0.0, reference_s))

    def read() -> float:
        now[0] += next(spans)
        return now[0]

    return read


def test_slow_weights_fail_and_a_little_slower_ones_do_not() -> None:
    assert failed(conformance("near", situations=FEW, clock=clock(1.0, 0.02))) == {"fast"}
    assert failed(conformance("near", situations=FEW, clock=clock(1.0, 0.2))) == set()


def test_a_slow_function_is_told_and_asked_less() -> None:
    now = [0.0]

    def slow(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
        now[0] += 0.01
        return actions[0].index

    report = conformance(slow, situations=FEW, clock=lambda: now[0])
    assert report.passed
    assert any("300 situations only" in remark for remark in report.remarks)
    assert any("slow: 1e+04 µs a decision" in remark for remark in report.remarks)
    assert {check.name: check.counts for check in report.checks}["total"]["situations"] == 300


# -- remarks -----------------------------------------------------------------------------------------------------------


def test_what_is_odd_is_told() -> None:
    odd = {
        "layout": LAYOUT_VERSION,
        "actions": ["cloud", "cascade"],
        "weights": {"cloud": 2, "e2e_s": -1e-6, "near_heat": 1, "quality": 1e3},
        "scenes": {"chta": {"cloud": 1}},
    }
    remarks = conformance(odd).remarks
    assert remarks[0] == "no task that comes with nearfar has the name of scene 'chta'"
    assert "no kind in its actions" in remarks[1]
    assert any(remark.startswith("never changed a choice: ") and "near_heat" in remark for remark in remarks)
    assert conformance("near", situations=FEW).remarks == ("only to break ties: e2e_s",)
    assert conformance("least-latency", situations=FEW).remarks == ()


# -- the situations ----------------------------------------------------------------------------------------------------


def test_the_suite_begins_with_what_every_function_is_asked_before_a_simulation() -> None:
    asked: list[tuple[RequestView, DeviceView, tuple[ActionView, ...]]] = []

    def noting(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
        asked.append((request, device, tuple(actions)))
        return actions[0].index

    check_policy(noting)
    quick = list(asked)
    assert len(quick) > 3
    asked.clear()
    report = conformance(noting, situations=FEW)
    assert asked[: len(quick)] == quick
    assert {check.name: check.counts for check in report.checks}["total"]["situations"] == FEW


def test_situations_repeat_and_visit_every_mask() -> None:
    adversarial.cache_clear()
    first = adversarial(FEW)
    adversarial.cache_clear()
    assert adversarial(FEW) == first
    assert adversarial(FEW, seed=1) != first
    alone = {masks for one in first for masks in one.ruled_out.values() if len(masks) == 1}
    assert alone == {(name,) for name in MASKS if name != "actions"}
    assert all(one.possible() for one in first)
    figures = [[a.quality, a.energy_j, a.cost_usd, a.egress_bytes, a.load, a.noise] for s in first for a in s.actions]
    assert np.isfinite(np.array(figures)).all()
    assert any(math.isinf(action.e2e_s) for one in first for action in one.actions)


NEAR = NearFacts(
    model=0,
    modalities=3,
    needed=3,
    tokens=100,
    max_tokens=100,
    battery_j=10.0,
    floor_j=9.0,
    capacity_j=50.0,
    charging=False,
)
HUB = HubFacts(privacy=1, hub=4, at_home=True, model=0, modalities=1, needed=1, tokens=5, max_tokens=9)
POOL = PoolFacts(
    privacy=2,
    connected=True,
    modalities=1,
    needed=1,
    tokens=64,
    max_model_len=64,
    blocks=4,
    kv_blocks=4,
    up=1,
    tried=False,
)


@pytest.mark.parametrize(
    ("facts", "masks"),
    [
        (NEAR, ()),
        (replace(NEAR, model=-1), ("model",)),
        (replace(NEAR, needed=5), ("modality",)),
        (replace(NEAR, max_tokens=99), ("length",)),
        (replace(NEAR, battery_j=9.0), ("battery",)),
        (replace(NEAR, battery_j=9.0, charging=True), ()),
        (replace(NEAR, battery_j=0.0, tokens=101), ("length", "battery")),
        (HUB, ()),
        (replace(HUB, privacy=0), ("privacy",)),
        (replace(HUB, hub=-1), ("hub",)),
        (replace(HUB, at_home=False, model=-1), ("connection", "model")),
        (POOL, ()),
        (replace(POOL, privacy=1), ("privacy",)),
        (replace(POOL, connected=False), ("connection",)),
        (replace(POOL, kv_blocks=3), ("memory",)),
        (replace(POOL, max_model_len=63, up=0, tried=True), ("length", "replicas", "tried")),
    ],
)
def test_masks_are_named(facts: Any, masks: tuple[str, ...]) -> None:
    assert ruling_out(facts) == masks


# -- from Python -------------------------------------------------------------------------------------------------------


def test_the_python_api_tries_out_functions_and_files(tmp_path: Path) -> None:
    assert api.check_policy("near").passed
    assert api.check_policy(always_near).failed == ("masks",)
    (tmp_path / "mine.py").write_text("def mine(request, device, actions):\n    return actions[0].index\n")
    report = api.check_policy("mine.py:mine", folder=tmp_path)
    assert (report.passed, report.policy) == (True, "mine")
    with pytest.raises(UserError, match="did you mean 'near'"):
        api.check_policy("neer")


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_passes_a_built_in(nearfar: Run) -> None:
    code, out, _ = nearfar("check-policy", "threshold")
    assert code == 0
    assert "passed: 6 checks" in out
    code, out, _ = nearfar("check-policy", "threshold", "--json")
    assert code == 0
    assert json.loads(out)["passed"] is True


def test_the_command_fails_a_broken_function(nearfar: Run, tmp_path: Path) -> None:
    text = "def mine(request, device, actions):\n    print('thinking')\n    return 0\n"
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    code, out, err = nearfar("check-policy", "mine.py:mine", "--json")
    assert code == 1
    assert err.endswith("nearfar: mine fails: masks\n")
    assert [one["name"] for one in json.loads(out)["checks"] if not one["passed"]] == ["masks"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("future.yaml", "layout: 2\nweights: {future: 1}\n", "future.yaml: the policy is written for layout 2"),
        ("broken.yaml", "layout: [1\n", "broken.yaml"),
        ("absent.yaml", None, "no such policy file"),
        ("neer", None, "did you mean 'near'?"),
        ("mine.py", "", "needs the name of its function"),
        ("mine.py:other", "def another(): ...\n", "no function of this name in mine.py"),
    ],
)
def test_the_command_refuses_what_it_cannot_read(
    name: str, text: str | None, words: str, nearfar: Run, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name.partition(":")[0]).write_text(text, encoding="utf-8")
    code, out, err = nearfar("check-policy", name)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
