"""Which masks rule a place out, by name: those of `policies.masks`, asked one by one with all else allowed.

There is no second copy of a rule here: a mask applies when its own facts, put among facts that allow everything, make
`policies.masks` say no. So the names are right as long as the masks are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from policies.masks import PRIVACY_ANY, may_use_hub, may_use_near, may_use_pool

__all__ = ["MASKS", "HubFacts", "NearFacts", "PoolFacts", "ruling_out"]

MASKS: Mapping[str, str] = {
    "model": "it runs no model",
    "modality": "its model does not take what comes with the request",
    "length": "prompt and answer are longer than it can hold",
    "battery": "the battery is not above its floor, and not on a charger",
    "privacy": "the task's privacy class forbids it",
    "hub": "the household has no hub",
    "connection": "the device does not reach it by this network",
    "memory": "its KV cache cannot hold the request",
    "replicas": "no replica is up",
    "tried": "it was tried before",
    "actions": "the policy does not use this kind of action",
}
"""What may rule an action out, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearFacts:
    """The arguments of `policies.masks.may_use_near`."""

    model: int
    modalities: int
    needed: int
    tokens: int
    max_tokens: int
    battery_j: float
    floor_j: float
    capacity_j: float
    charging: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFacts:
    """The arguments of `policies.masks.may_use_hub`."""

    privacy: int
    hub: int
    at_home: bool
    model: int
    modalities: int
    needed: int
    tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """The arguments of `policies.masks.may_use_pool`."""

    privacy: int
    connected: bool
    modalities: int
    needed: int
    tokens: int
    max_model_len: int
    blocks: int
    kv_blocks: int
    up: int
    tried: bool


@dataclass(frozen=True, slots=True)
class _Door:
    """A mask of a place, facts that pass it, and which of them each named mask looks at."""

    may: Callable[..., bool]
    open: Any
    masks: Mapping[str, tuple[str, ...]]


_NEAR = _Door(
    may_use_near,
    NearFacts(
        model=0,
        modalities=0,
        needed=0,
        tokens=0,
        max_tokens=0,
        battery_j=0.0,
        floor_j=0.0,
        capacity_j=0.0,
        charging=False,
    ),
    {
        "model": ("model",),
        "modality": ("modalities", "needed"),
        "length": ("tokens", "max_tokens"),
        "battery": ("battery_j", "floor_j", "capacity_j", "charging"),
    },
)
_HUB = _Door(
    may_use_hub,
    HubFacts(privacy=PRIVACY_ANY, hub=0, at_home=True, model=0, modalities=0, needed=0, tokens=0, max_tokens=0),
    {
        "privacy": ("privacy",),
        "hub": ("hub",),
        "connection": ("at_home",),
        "model": ("model",),
        "modality": ("modalities", "needed"),
        "length": ("tokens", "max_tokens"),
    },
)
_POOL = _Door(
    may_use_pool,
    PoolFacts(
        privacy=PRIVACY_ANY,
        connected=True,
        modalities=0,
        needed=0,
        tokens=0,
        max_model_len=0,
        blocks=0,
        kv_blocks=0,
        up=1,
        tried=False,
    ),
    {
        "privacy": ("privacy",),
        "connection": ("connected",),
        "modality": ("modalities", "needed"),
        "length": ("tokens", "max_model_len"),
        "memory": ("blocks", "kv_blocks"),
        "replicas": ("up",),
        "tried": ("tried",),
    },
)
_DOORS = {NearFacts: _NEAR, HubFacts: _HUB, PoolFacts: _POOL}


def ruling_out(facts: NearFacts | HubFacts | PoolFacts) -> tuple[str, ...]:
    """The masks (keys of `MASKS`) that rule this place out; empty when it is possible."""
    door = _DOORS[type(facts)]
    given = _named(facts)
    if door.may(**given):
        return ()
    return tuple(name for name, fields in door.masks.items() if not door.may(**_only(door, given, fields)))


def _only(door: _Door, given: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """Facts that allow everything but for these fields, which are the real ones."""
    return {**_named(door.open), **{name: given[name] for name in fields}}


def _named(facts: Any) -> dict[str, Any]:
    return {name: getattr(facts, name) for name in facts.__slots__}
