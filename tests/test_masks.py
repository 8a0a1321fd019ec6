"""Masks: what is possible whatever a policy would like (rule W2)."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import masks
from profiles.task import PRIVACY_CLASSES, PrivacyClass

PLACES = (masks.NEAR, masks.HUB, masks.EDGE_POOL, masks.CLOUD_POOL)
BITS = st.integers(0, 7)
TOKENS = st.integers(0, 2**31)

NEAR: dict[str, Any] = {
    "model": 0,
    "modalities": 1,
    "needed": 1,
    "tokens": 100,
    "max_tokens": 100,
    "battery_j": 10.0,
    "floor_j": 9.0,
    "capacity_j": 50.0,
    "charging": False,
}
HUB: dict[str, Any] = {
    "privacy": masks.PRIVACY_HOME,
    "hub": 4,
    "at_home": True,
    "model": 0,
    "modalities": 1,
    "needed": 1,
    "tokens": 100,
    "max_tokens": 100,
}
POOL: dict[str, Any] = {
    "privacy": masks.PRIVACY_ANY,
    "connected": True,
    "modalities": 1,
    "needed": 1,
    "tokens": 100,
    "max_model_len": 100,
    "blocks": 7,
    "kv_blocks": 7,
    "up": 1,
    "tried": False,
}


def test_where_each_class_of_privacy_may_go() -> None:
    reach = {privacy: [place for place in PLACES if masks.may_reach(privacy, place)] for privacy in range(3)}
    assert reach == {
        masks.PRIVACY_DEVICE: [masks.NEAR],
        masks.PRIVACY_HOME: [masks.NEAR, masks.HUB],
        masks.PRIVACY_ANY: list(PLACES),
    }


def test_numbers_are_positions_in_the_facts() -> None:
    assert get_args(PrivacyClass) == PRIVACY_CLASSES
    assert PRIVACY_CLASSES.index("device") == masks.PRIVACY_DEVICE
    assert PRIVACY_CLASSES.index("home") == masks.PRIVACY_HOME
    assert PRIVACY_CLASSES.index("any") == masks.PRIVACY_ANY


@given(st.integers(-5, 8), st.integers(-5, 8))
def test_a_laxer_class_reaches_no_less_and_strangers_reach_nothing(privacy: int, place: int) -> None:
    if 0 <= privacy < 2 and masks.may_reach(privacy, place):
        assert masks.may_reach(privacy + 1, place)
    if place > 0 and masks.may_reach(privacy, place):
        assert masks.may_reach(privacy, place - 1)
    if not (0 <= privacy <= 2 and 0 <= place <= 3):
        assert not masks.may_reach(privacy, place)


@given(BITS, BITS)
def test_every_needed_modality_must_be_there(modalities: int, needed: int) -> None:
    wanted = {bit for bit in (1, 2, 4) if needed & bit}
    assert masks.understands(modalities, needed) == (wanted <= {bit for bit in (1, 2, 4) if modalities & bit})


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.sampled_from([0.0, 1e6]), st.booleans())
def test_energy(battery_j: float, floor_j: float, capacity_j: float, charging: bool) -> None:
    expected = capacity_j == 0.0 or charging or battery_j > floor_j
    assert masks.has_energy(battery_j, floor_j, capacity_j, charging) == expected


def test_a_battery_at_its_floor_is_too_low() -> None:
    assert not masks.has_energy(5.0, 5.0, 10.0, False)


@pytest.mark.parametrize(
    ("allowed", "usual", "breaking"),
    [
        (masks.may_use_near, NEAR, {"model": -1, "needed": 2, "tokens": 101, "battery_j": 9.0}),
        (
            masks.may_use_hub,
            HUB,
            {"privacy": 0, "hub": -1, "at_home": False, "model": -1, "needed": 4, "tokens": 101},
        ),
        (
            masks.may_use_pool,
            POOL,
            {"privacy": 1, "connected": False, "needed": 3, "tokens": 101, "blocks": 8, "up": 0, "tried": True},
        ),
    ],
)
def test_each_condition_alone_forbids(allowed: Any, usual: dict[str, Any], breaking: dict[str, Any]) -> None:
    assert allowed(*usual.values())
    for broken in itertools.chain.from_iterable(itertools.combinations(breaking, n) for n in (1, 2)):
        changed = usual | {name: breaking[name] for name in broken}
        assert not allowed(*changed.values()), broken


def test_near_on_a_charger_or_on_mains() -> None:
    assert masks.may_use_near(*(NEAR | {"battery_j": 0.0, "charging": True}).values())
    assert masks.may_use_near(*(NEAR | {"battery_j": 0.0, "capacity_j": 0.0}).values())


@given(
    privacy=st.integers(0, 2),
    at_home=st.booleans(),
    connected=st.booleans(),
    modalities=BITS,
    needed=BITS,
    tokens=TOKENS,
    limit=TOKENS,
    up=st.integers(0, 3),
    tried=st.booleans(),
)
def test_private_requests_never_leave(
    privacy: int,
    at_home: bool,
    connected: bool,
    modalities: int,
    needed: int,
    tokens: int,
    limit: int,
    up: int,
    tried: bool,
) -> None:
    hub = masks.may_use_hub(privacy, 0, at_home, 0, modalities, needed, tokens, limit)
    pool = masks.may_use_pool(privacy, connected, modalities, needed, tokens, limit, 1, 1, up, tried)
    assert not hub or privacy >= masks.PRIVACY_HOME
    assert not pool or privacy == masks.PRIVACY_ANY
    fits = tokens <= limit and modalities & needed == needed
    assert hub == (privacy >= masks.PRIVACY_HOME and at_home and fits)
    assert pool == (privacy == masks.PRIVACY_ANY and connected and fits and up > 0 and not tried)
