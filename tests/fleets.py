"""Fleets that several tests take."""

from __future__ import annotations

from typing import Any

from profiles import Catalogue
from sim.fleet_spec import FleetSpec
from sim.resolve_fleet import FarModel

CATALOGUE = Catalogue()

PHONES: dict[str, Any] = {
    "device": "snapdragon-8-elite-phone",
    "share": 0.6,
    "near": {"model": "milm2-4b", "precision": "int4"},
    "networks": {"wifi-home": 0.6, "lte": 0.35, "offline": 0.05},
    "hub_share": 0.3,
}
CARS: dict[str, Any] = {
    "device": "sa8295p-cockpit",
    "share": 0.25,
    "near": {"model": "milm2-1.3b"},
    "networks": {"5g-driving": 1},
}
WATCHES: dict[str, Any] = {"device": "watch", "share": 0.15, "networks": {"wifi-home": 1, "lte": 1}}
HUBS: dict[str, Any] = {"device": "home-hub", "near": {"model": "qwen3-8b", "precision": "int4"}}


def fleet_data(devices: int = 2000, **changes: Any) -> dict[str, Any]:
    """Phones, cars, watches and hubs, as a scenario would say it."""
    groups = {"phones": PHONES, "cars": CARS, "watches": WATCHES}
    return {"devices": devices, "groups": groups, "hubs": HUBS} | changes


def fleet_spec(devices: int = 2000, **changes: Any) -> FleetSpec:
    return FleetSpec.model_validate(fleet_data(devices, **changes))


def one_group(device: str, **changes: Any) -> FleetSpec:
    """A hundred devices of one kind."""
    group = {"device": device, "share": 1, "networks": {"wifi-home": 1}} | changes
    return FleetSpec.model_validate({"devices": 100, "groups": {"all": group}, "hubs": HUBS})


def cloud() -> dict[str, FarModel]:
    return {"cloud": FarModel(model=CATALOGUE.model("milm2-30b"), precision="fp8")}
