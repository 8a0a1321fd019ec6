"""Policies as files: what is written is what is read, and a person can tell what a number means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.layout import FEATURE_NAMES, FEATURES, KINDS, LAYOUT_VERSION
from policies.learning.writing import policy_text, write_policy
from policies.policy import Policy, builtin_names, load_policy
from profiles.errors import UserError

FULL: dict[str, Any] = {
    "name": "mine",
    "description": "tuned for: quality=1, # not a comment",
    "layout": LAYOUT_VERSION,
    "actions": ["near", "cloud", "cascade"],
    "thresholds": ["near", "ttft_s", "scenes"],
    "weights": {"ttft_s": -0.0625, "near": 1e-9, "quality": 1e12},
    "scenes": {"chat": {"near": 1.5, "cascade": -2.0}, "default": {"cloud": 0.1}, "code": {}},
    "tuning": {"utility": "quality=1", "seeds": {"train": [1, 2]}, "curve": [[1, 0.5], [9, 0.75]], "of": None},
}


def again(policy: Policy, folder: Path) -> Policy:
    path = folder / "again.yaml"
    write_policy(policy, path)
    return load_policy(path)


def test_everything_comes_back(tmp_path: Path) -> None:
    policy = load_policy(FULL)
    assert again(policy, tmp_path) == policy


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_comes_back(name: str, tmp_path: Path) -> None:
    policy = load_policy(name)
    assert again(policy, tmp_path) == policy


numbers = st.floats(-1e12, 1e12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    weights=st.dictionaries(st.sampled_from(FEATURE_NAMES), numbers),
    scenes=st.dictionaries(
        st.one_of(
            st.sampled_from(["chat", "no", "12", "a: b", "# c", "{x}", "~"]), st.text("ab-:#'\"[]{}, é", min_size=1)
        ),
        st.dictionaries(st.sampled_from(KINDS), numbers),
    ),
)
def test_any_numbers_come_back_to_the_last_bit(weights: Any, scenes: Any, tmp_path: Path) -> None:
    policy = Policy(name="any", layout=LAYOUT_VERSION, actions=KINDS, weights=weights, scenes=scenes)
    read = again(policy, tmp_path)
    assert read.weights == {name: weight for name, weight in weights.items() if weight}
    assert read.scenes == scenes
    assert read.table(["chat", "no"]).scene.tobytes() == policy.table(["chat", "no"]).scene.tobytes()


def test_numbers_have_their_unit_and_meaning_beside_them() -> None:
    lines = policy_text(load_policy(FULL)).splitlines()
    meaning = {feature.name: feature.meaning for feature in FEATURES}
    assert f"  ttft_s: -0.0625 # per s: {meaning['ttft_s']}" in lines
    assert f"  quality: 1000000000000.0 # {meaning['quality']}" in lines
    assert any(line.startswith("scenes: # ") for line in lines)


def test_weights_are_in_the_order_of_the_layout() -> None:
    policy = Policy(name="all", layout=LAYOUT_VERSION, actions=KINDS, weights=dict.fromkeys(FEATURE_NAMES[::-1], 1.5))
    written = [line.split(":")[0].strip() for line in policy_text(policy).splitlines() if line.startswith("  ")]
    assert written == list(FEATURE_NAMES)


def test_what_is_empty_is_left_out() -> None:
    text = policy_text(Policy(name="empty", layout=LAYOUT_VERSION, weights={"quality": 0.0}))
    assert [line.split(":")[0] for line in text.splitlines()] == ["name", "layout", "actions"]


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("something else\n", encoding="utf-8")
    write_policy(load_policy("near"), path)
    assert load_policy(path) == load_policy("near")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*mine\.yaml; got 'No such file or directory'"):
        write_policy(load_policy("near"), tmp_path / "nowhere" / "mine.yaml")
