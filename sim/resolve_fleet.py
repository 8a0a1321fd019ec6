"""A fleet of a scenario, resolved: names to facts, shares to devices, models to abilities.

    resolve_fleet(spec, catalogue, pools, seed=1) -> FleetSettings

What nobody measured stands in `assumed`, in plain words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from policies.quality import LEVEL, LOSS_BY_BITS, MODEL_SPREAD, PER_DECADE, abilities
from profiles import Catalogue, Device, Model, Network, Record, Task, UserError, weakest
from sim.catalogue_names import check_known, found
from sim.fleet import CascadeSettings, FleetSettings, RowKind
from sim.fleet_estimate import estimate_of
from sim.fleet_facts import demand_of, network_class, task_kind, tasks_of
from sim.fleet_rows import Rows, rows_of
from sim.fleet_spec import FleetSpec, GroupSpec, Modality, NearSpec
from sim.measured_auc import CASCADE_AUC
from sim.near import Near, kind_of, modality_mask, near_of

__all__ = ["FarModel", "resolve_fleet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FarModel:
    """What a pool answers with. A synthetic replica has no model, and then `ability` must say how able it is."""

    model: Model | None
    precision: str = "bf16"
    tier: Literal["edge", "cloud"] = "cloud"
    modalities: tuple[Modality, ...] | None = None
    """None: text and audio, and images where the model sees."""
    ability: Mapping[str, float] = field(default_factory=dict)
    """Task, or `default`, to ability in logits, in place of what size and precision suggest."""


def resolve_fleet(
    spec: FleetSpec, catalogue: Catalogue, pools: Mapping[str, FarModel], *, seed: int = 0
) -> FleetSettings:
    """Names to facts. `pools` are those that the fleet may ask, by name.

    `facts["pools"]` of the result holds each pool's number of a model and its modalities, for `sim.far`.
    Raises `UserError` for names that are unknown and for what does not fit.
    """
    tasks = tasks_of(spec, catalogue)
    names = _network_names(spec)
    networks = {name: found("fleet.groups: networks", catalogue.network, name) for name in names}
    models = _Models(tasks, catalogue)
    assumed: list[str] = []
    kinds: list[RowKind] = []
    groups: dict[str, Any] = {}
    used: list[Record] = [*networks.values(), *tasks]
    for name, group in spec.groups.items():
        where = f"fleet.groups.{name}"
        device = found(f"{where}.device", catalogue.device, group.device)
        _check_radios(where, device, group, networks)
        near = near_of(f"{where}.near", device, group.near, catalogue) if group.near else None
        model = models.of_near(f"{where}.near", near, group.near)
        kinds.append(
            kind_of(
                name,
                device,
                near,
                model=model,
                pressure_per_hour=group.pressure_per_hour,
                screen_share=group.screen_share,
                networks=[group.networks.get(one, 0.0) for one in names],
                network_period_s=group.network_period_s,
            )
        )
        used += _records(device, near)
        assumed += [*_defaults(where, device, group), *(near.assumed if near else ())]
        groups[name] = _facts(device, near, model)
    if spec.hubs is not None:
        device, near = _hub(spec, catalogue)
        model = models.of_near("fleet.hubs.near", near, spec.hubs.near)
        kinds.append(
            kind_of(
                "hubs",
                device,
                near,
                model=model,
                pressure_per_hour=spec.hubs.pressure_per_hour,
                screen_share=1.0,
            )
        )
        used += _records(device, near)
        assumed += [*near.assumed, "hubs draw idle_w at all times"]
        groups["hubs"] = _facts(device, near, model)
    far = {name: models.of_pool(name, pool) for name, pool in pools.items()}
    ability = np.array(models.abilities, dtype=np.float64).reshape(len(models.names), len(tasks))
    estimate = estimate_of(spec, tasks, kinds, ability, demand_of(spec, catalogue))
    rows = rows_of(spec, kinds, seed=seed)
    for name, count, owners in rows.counts:
        groups[name] |= {"devices": count, "with_hub": owners}
    return FleetSettings(
        kinds=tuple(kinds),
        networks=tuple(network_class(network) for network in networks.values()),
        tasks=tuple(task_kind(task) for task in tasks),
        models=tuple(models.names),
        ability=ability,
        devices=spec.devices,
        kind=rows.kind,
        hub=rows.hub,
        region=rows.region,
        battery_share=rows.battery_share,
        regions=spec.regions,
        cascade=CascadeSettings(**spec.cascade.model_dump()),
        estimate_spread=estimate.spread,
        start_s=spec.start_hour * 3600.0,
        assumed=_said(spec, used, [*assumed, *models.said(), *estimate.said], rows),
        facts={"groups": groups, "networks": list(names), "pools": far, "confidence": "assumed"},
    )


class _Models:
    """Models by number: one for each that answers differently."""

    def __init__(self, tasks: tuple[Task, ...], catalogue: Catalogue) -> None:
        self.names: list[str] = []
        self.abilities: list[list[float]] = []
        self._tasks = [task.name for task in tasks]
        self._known = {*catalogue.names("task"), *self._tasks, "default"}
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._fitted: dict[str, None] = {}
        self._by_size: dict[str, None] = {}

    def of_near(self, where: str, near: Near | None, spec: NearSpec | None) -> int:
        """The number of a device's model, -1 for none."""
        if near is None or spec is None:
            return -1
        return self._number(where, near.model, near.precision, spec.ability)

    def of_pool(self, name: str, pool: FarModel) -> dict[str, Any]:
        """Number and modalities of a pool's model."""
        if pool.model is None and "default" not in pool.ability:
            raise UserError(
                f"pools.{name}: a synthetic replica has no model, and a fleet must know how able it is",
                next_step="give ability: {default: 0.8} (logits), or a deployment",
            )
        number = self._number(f"pools.{name}", pool.model, pool.precision, pool.ability)
        mask = modality_mask(f"pools.{name}.modalities", pool.modalities, pool.model)
        return {"model": number, "modalities": mask, "tier": pool.tier}

    def _number(self, where: str, model: Model | None, precision: str, given: Mapping[str, float]) -> int:
        check_known(f"{where}.ability", "task", given, sorted(self._known))
        key = (model.name if model else where, precision, tuple(sorted(given.items())))
        if key not in self._numbers:
            self._numbers[key] = len(self.names)
            plain = f"{model.name} {precision}" if model else f"synthetic {where.removeprefix('pools.')}"
            self.names.append(f"{plain} ({where})" if model and given else plain)
            if model and "default" not in given:
                (self._by_size if model.abilities is None else self._fitted)[model.name] = None
            self.abilities.append(
                abilities(model, precision, self._tasks, given)
                if model
                else [float(given.get(task, given["default"])) for task in self._tasks]
            )
        return self._numbers[key]

    def said(self) -> list[str]:
        """Where abilities come from that nobody gave."""
        said = []
        if self._fitted:
            said.append(f"abilities of {', '.join(self._fitted)}: fitted to published scores, the line's level assumed")
        if self._by_size:
            line = f"{LEVEL:g} + {PER_DECADE:g} log10(1e9 parameters)"
            names = ", ".join(self._by_size)
            said.append(f"abilities of {names}: by size alone, {line}, around which models scatter by {MODEL_SPREAD:g}")
        if said:
            said.append(f"abilities: {LOSS_BY_BITS[4]:g} logits lost with 4 bits, {LOSS_BY_BITS[8]:g} with 8 bits")
        return said


def _network_names(spec: FleetSpec) -> tuple[str, ...]:
    """Networks of all groups, in the order in which they are named."""
    return tuple(dict.fromkeys(name for group in spec.groups.values() for name in group.networks))


def _check_radios(where: str, device: Device, group: GroupSpec, networks: Mapping[str, Network]) -> None:
    for name in group.networks:
        radio = networks[name].radio
        if radio is not None and radio not in device.radios:
            raise UserError(
                f"{where}.networks: {device.name} has no radio for {name}", got=radio, allowed=", ".join(device.radios)
            )


def _hub(spec: FleetSpec, catalogue: Catalogue) -> tuple[Device, Near]:
    assert spec.hubs is not None
    device = found("fleet.hubs.device", catalogue.device, spec.hubs.device)
    if device.tier != "edge":
        raise UserError(
            f"fleet.hubs.device: {device.name} is of tier {device.tier}",
            allowed=", ".join(one.name for one in catalogue.records("device") if getattr(one, "tier", "") == "edge"),
        )
    return device, near_of("fleet.hubs.near", device, spec.hubs.near, catalogue)


# -- what results say --------------------------------------------------------------------------------------------------


def _records(device: Device, near: Near | None) -> list[Record]:
    parts: list[Record | None] = [device, *((near.model, near.technique) if near else ())]
    return [part for part in parts if part is not None]


def _facts(device: Device, near: Near | None, model: int) -> dict[str, Any]:
    known: dict[str, Any] = {"device": device.name, "form": device.form, "model": model}
    if near is not None:
        rates = [device.confidence_of(f"engines.{near.engine}.{name}") for name in ("decode", "prefill")]
        fields = [near.model.confidence_of(name) for name in ("layers", "hidden_size", "attention", "ffn")]
        known |= {
            "answers_with": near.name,
            "weight_gib": near.weight_bytes / 2**30,
            "max_tokens": near.max_tokens,
            "confidence": weakest([*rates, *fields]),
        }
    return known


def _unsaid(where: str, record: Any, names: tuple[str, ...]) -> list[str]:
    """What stands at its default because nobody gave it."""
    missing = [f"{name} {getattr(record, name):g}" for name in names if name not in record.model_fields_set]
    return [f"{where}: {', '.join(missing)}"] if missing else []


_CASCADE = f"fleet.cascade: auc {CASCADE_AUC.auc:g} ({CASCADE_AUC.source})"
_SHOWN = ("network_period_s", "screen_share", "pressure_per_hour", "battery_at_start")


def _defaults(where: str, device: Device, group: GroupSpec) -> list[str]:
    """Habits that nobody gave and that matter, by their defaults."""
    matters = {
        "network_period_s": len(group.networks) > 1,
        "pressure_per_hour": group.near is not None,
        "battery_at_start": device.battery is not None,
    }
    missing = [name for name in _SHOWN if name not in group.model_fields_set and matters.get(name, True)]
    habits = [f"{name} {getattr(group, name)}" for name in missing]
    return [f"{where}: {', '.join(habits)}"] if habits else []


def _said(spec: FleetSpec, used: list[Record], assumed: list[str], rows: Rows) -> tuple[str, ...]:
    said = [f"{one.kind} {one.name}: {', '.join(one.assumed_fields())}" for one in used if one.assumed_fields()]
    said += assumed
    said += [
        "sound: every model is taken to have a speech front end, whose time and energy are not counted",
        "the KV cache on devices is kept in 16 bits",
        "how active a device is has nothing to do with its kind, its network or the hour",
        *_unsaid("fleet", spec, ("activity_zipf",)),
        *_unsaid("fleet.cascade", spec.cascade, ("threshold", "check_s")),
        *(() if "auc" in spec.cascade.model_fields_set else (_CASCADE,)),
        *(_unsaid("fleet.hubs", spec.hubs, ("household", "pressure_per_hour")) if spec.hubs else ()),
    ]
    said += [f"fleet.groups.{name}: no device, its share of {spec.devices} is too small" for name in rows.empty]
    return tuple(dict.fromkeys(said))
