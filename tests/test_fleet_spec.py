"""The `fleet` and `workload` blocks of a scenario: what is refused, and how plainly."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from profiles import UserError
from profiles.complaints import told
from sim.fleet_facts import demand_of
from sim.fleet_spec import FleetSpec
from sim.measured_auc import CASCADE_AUC
from sim.resolve_fleet import FarModel, resolve_fleet
from sim.workloads.fleet_spec import FleetWorkloadSpec
from tests.fleets import CATALOGUE, PHONES, WATCHES, cloud, fleet_data, fleet_spec


def refusal(cls: type[FleetSpec] | type[FleetWorkloadSpec], data: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        cls.model_validate(data)
    message = str(told(caught.value, cls, "fleet"))
    assert "\n" not in message
    return message


def phones(**changes: Any) -> dict[str, Any]:
    return fleet_data(groups={"phones": PHONES | {"share": 1} | changes})


def test_a_fleet_is_read_with_its_defaults() -> None:
    spec = fleet_spec()
    assert (spec.activity_zipf, spec.estimate_auc, spec.estimate_spread) == (0.4, None, None)
    assert (spec.regions, spec.tasks) == (1, None)
    assert (spec.cascade.auc, spec.cascade.threshold, spec.cascade.check_s) == (CASCADE_AUC.auc, 0.0, 0.05)
    assert spec.groups["watches"].near is None
    assert spec.groups["phones"].network_period_s == 1800
    assert FleetSpec.model_validate(spec.model_dump()) == spec


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (fleet_data(groups={"phones": PHONES}), "the shares of the groups must sum to 1 (they sum to 0.6)"),
        (
            fleet_data(groups={"a": PHONES, "b": WATCHES | {"share": 0.400002}}),
            "must sum to 1 (they sum to 1.000002)",
        ),
        (fleet_data(0), "devices: bad value; got 0; allowed: greater than or equal to 1"),
        (fleet_data(10**8), "devices: bad value; got 100000000; allowed: less than or equal to 20000000"),
        (fleet_data(True), "devices: a whole number, not yes or no"),
        (fleet_data(hubs=None), "groups.phones.hub_share is 0.3, but the fleet has no hubs: add hubs"),
        (fleet_data(groups={}), "groups: bad value; got {}"),
        (fleet_data(regions=128), "regions: bad value; got 128"),
        (fleet_data(tasks=["chat", "chat"]), "tasks must name each task once"),
        (fleet_data(tasks=[]), "tasks: bad value"),
        (fleet_data(device=3), "device: unknown key; did you mean 'devices'?"),
        (fleet_data(cascade={"auc": 1}), "cascade.auc: bad value; got 1; allowed: less than or equal to 0.9999"),
        (fleet_data(estimate_auc=0.4), "estimate_auc: bad value; got 0.4; allowed: greater than or equal to 0.5"),
        (fleet_data(estimate_spread=-1), "estimate_spread: bad value; got -1; allowed: greater than or equal to 0"),
        (fleet_data(estimate_auc=0.7, estimate_spread=1), "estimate_auc and estimate_spread say the same thing twice"),
        (fleet_data(start_hour=24), "start_hour: bad value; got 24"),
        (phones(networks={"lte": 0}), "groups.phones.networks.lte: bad value; got 0; allowed: greater than 0"),
        (phones(networks={}), "groups.phones.networks: bad value"),
        (phones(battery_at_start=[0.8, 0.2]), "battery_at_start goes from the lower to the higher (got (0.8, 0.2))"),
        (phones(battery_at_start=[0.2, 20]), "battery_at_start.1: bad value; got 20"),
        (phones(tasks={"chat": 0}), "tasks must give some task a weight above 0"),
        (phones(near={"modell": "milm2-4b"}), "near.modell: unknown key; did you mean 'model'?"),
        (phones(near={"model": "milm2-4b", "precision": "int3"}), "near.precision: bad value; got 'int3'"),
        (phones(near={"model": "milm2-4b", "modalities": ["audio"]}), "modalities must hold text"),
        (phones(screen_share="much"), "screen_share: bad value; got 'much'; allowed: a number"),
    ],
)
def test_what_is_wrong_with_a_fleet_is_told(data: dict[str, Any], message: str) -> None:
    assert message in refusal(FleetSpec, data)


CROWD = {"at_s": 0, "duration_s": 9, "factor": 2}
DAY = {"requests": 1000, "duration_s": 86_400}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"requests": 1000}, "needs requests and duration_s, or a trace: duration_s is missing"),
        ({"duration_s": 10}, "requests is missing"),
        ({"trace": {"path": "x.csv"}, "requests": 3}, "a trace already has its requests"),
        ({"trace": {"path": "x.csv"}, "sessions": {"turns_mean": 2, "gap_s": 1}}, "a trace already has its sessions"),
        (DAY | {"arrivals": {"kind": "poisson", "rate_rps": 1}}, "remove arrivals (give requests and duration_s"),
        (DAY | {"output_tokens": 3}, "a fleet's tasks bring their own lengths"),
        (DAY | {"diurnal": {"peak_to_trough": 0.5}}, "diurnal.peak_to_trough: bad value; got 0.5"),
        (DAY | {"sessions": {"turns_mean": 0.5, "gap_s": 1}}, "sessions.turns_mean: bad value; got 0.5"),
        (
            DAY | {"flash_crowds": [CROWD | {"factor": 0.5}]},
            "flash_crowds.0.factor: bad value; got 0.5",
        ),
        (
            DAY | {"flash_crowds": [CROWD | {"at_s": 50}, CROWD | {"duration_s": 51}]},
            "flash_crowds must not overlap (those at 0 s and 50 s do)",
        ),
        (
            DAY | {"flash_crowds": [CROWD | {"at_s": 1e5}]},
            "a flash crowd at 100000 s comes after the end of the workload (86400 s)",
        ),
        (DAY | {"request": 5}, "request: unknown key; did you mean 'requests'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_workload_is_told(data: dict[str, Any], message: str) -> None:
    assert message in refusal(FleetWorkloadSpec, data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (phones(device="snapdragon-8-elit-phone"), "fleet.groups.phones.device: unknown device; got"),
        (phones(device="wach"), "did you mean 'watch'?"),
        (phones(networks={"wifi-hom": 1}), "unknown network; got 'wifi-hom'; did you mean 'wifi-home'?"),
        (phones(near={"model": "milm2-4"}), "groups.phones.near.model: unknown model; got 'milm2-4'; did you mean"),
        (phones(near={"model": "milm2-4b", "technique": "bitta"}), "near.technique: unknown technique; got 'bitta'"),
        (
            phones(near={"model": "milm2-4b", "engine": "npo"}),
            "near.engine: snapdragon-8-elite-phone has no such engine; got 'npo'; did you mean 'npu'?",
        ),
        (
            phones(near={"model": "milm2-4b", "precision": "fp8"}),
            "near.precision: the npu of snapdragon-8-elite-phone does not run it; got 'fp8'; allowed: int4",
        ),
        (
            phones(near={"model": "milm2-4b", "modalities": ["text", "image"]}),
            "near.modalities: milm2-4b has no vision encoder; got 'image'; allowed: text, audio",
        ),
        (phones(near={"model": "milm2-4b", "ability": {"chatt": 1.0}}), "near.ability: no such task; got 'chatt'"),
        (phones(tasks={"chatt": 1}), "fleet.groups.phones.tasks: no such task of this fleet; got 'chatt'"),
        (fleet_data(tasks=["chatt"]), "fleet.tasks: unknown task; got 'chatt'; did you mean 'chat'?"),
        (fleet_data(tasks=["tv-qa"]), "fleet.groups.phones: a phone asks for none of the fleet's tasks; got 'tv-qa'"),
        (fleet_data(hubs={"device": "tv", "near": {"model": "gemma3-1b"}}), "fleet.hubs.device: tv is of tier near"),
        (
            fleet_data(groups={"w": WATCHES | {"share": 1, "networks": {"5g-driving": 1}}}),
            "fleet.groups.w.networks: watch has no radio for 5g-driving; got '5g'; allowed: wifi, lte",
        ),
    ],
)  # fmt: skip
def test_names_that_are_unknown_or_do_not_fit_are_told(data: dict[str, Any], message: str) -> None:
    spec = FleetSpec.model_validate(data)
    with pytest.raises(UserError) as caught:
        _ = resolve_fleet(spec, CATALOGUE, cloud()), demand_of(spec, CATALOGUE)
    assert message in str(caught.value)


def test_a_synthetic_pool_must_say_how_able_it_is() -> None:
    with pytest.raises(UserError, match=r"pools.far: a synthetic replica has no model.*give ability"):
        resolve_fleet(fleet_spec(), CATALOGUE, {"far": FarModel(model=None)})
    fleet = resolve_fleet(fleet_spec(), CATALOGUE, {"far": FarModel(model=None, ability={"default": 0.5, "chat": 2})})
    chat = [task.name for task in fleet.tasks].index("chat")
    row = fleet.ability[fleet.facts["pools"]["far"]["model"]]
    assert row[chat] == 2.0
    assert set(row) == {0.5, 2.0}
    assert fleet.facts["pools"]["far"]["modalities"] == 7


def test_one_device_of_several_groups() -> None:
    fleet = resolve_fleet(fleet_spec(1), CATALOGUE, cloud())
    assert [fleet.kinds[kind].name for kind in fleet.kind] == ["phones"]
    assert "fleet.groups.cars: no device, its share of 1 is too small" in fleet.assumed
    assert "fleet.groups.watches: no device, its share of 1 is too small" in fleet.assumed


def test_all_offline() -> None:
    spec = FleetSpec.model_validate(phones(networks={"offline": 1}))
    fleet = resolve_fleet(spec, CATALOGUE, cloud())
    assert [network.radio for network in fleet.networks] == [False]
