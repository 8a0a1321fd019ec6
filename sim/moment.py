"""One moment of a scenario: one request of one device, everything else idle, as `nearfar explain` is told it.

    asked = moment(fleet, spec, tasks, request="task=chat,prompt_tokens=800", device="group=phones,battery=0.3")
    asked.fleet, asked.workload

The fleet shrinks to that device (and its household's hub), with battery, heat and network as told; pools and tasks are
the scenario's. What is not told is the scenario's habit, or the task's mean; `asked.request` and `asked.device` say it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from profiles import UserError, did_you_mean
from profiles.task import PRIVACY_CLASSES, Task
from sim.catalogue_names import check_known
from sim.fleet import FleetSettings
from sim.fleet_spec import FleetSpec
from sim.kernels.fleet_draws import DOWN_BYTES_PER_TOKEN, FIXED_UP_BYTES, UP_BYTES_PER_TOKEN
from sim.workloads.workload import Asked, Provenance, Workload

__all__ = ["Moment", "Told", "moment", "pairs"]

Told = str | Mapping[str, Any]
"""Values by name: a mapping, or `NAME=VALUE,NAME=VALUE`."""

_DAY_S = 86_400.0
_MOST_TOKENS = 2**29


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A fleet of one device, and the one request that it makes at instant 0."""

    fleet: FleetSettings
    workload: Workload
    request: Mapping[str, Any]
    """task, privacy, prompt_tokens, output_tokens, difficulty."""
    device: Mapping[str, Any]
    """group, battery, heat (None: as at the start), network, metered, charging, hub, loaded."""


def moment(fleet: FleetSettings, spec: FleetSpec, tasks: Sequence[Task], *, request: Told, device: Told) -> Moment:
    """`tasks` are those of the fleet, in its order. Raises `UserError` for what is unknown or out of range."""
    asked = _request(pairs(request, "--request"), tasks)
    asking = _device(pairs(device, "--device"), fleet, spec)
    number = fleet.task_names.index(asked["task"])
    kinds = list(fleet.tasks)
    kinds[number] = replace(
        kinds[number],
        privacy=asked["privacy"],
        difficulty_mean=asked["difficulty"],
        difficulty_spread=_left_in_doubt(kinds[number].difficulty_spread, fleet.estimate_spread),
    )
    small = replace(_small(fleet, asking), tasks=tuple(kinds), estimate_spread=math.inf)
    return Moment(fleet=small, workload=_workload(asked, tasks[number], number, small), request=asked, device=asking)


def _left_in_doubt(task_spread: float, estimate_spread: float) -> float:
    """Standard deviation of a difficulty around its estimate (rule W5), which is the √(ν² ρ) in κ.

    The difficulty that is told is the estimate. So this belief stands for what is known of the task, and nothing more
    is seen: the estimate is exactly what is told, and κ is that of a simulated decision.
    """
    blur = math.hypot(task_spread, estimate_spread)
    return task_spread * estimate_spread / blur if blur > 0.0 else 0.0


def pairs(told: Told, option: str) -> dict[str, str]:
    """`name=value,name=value` as a mapping. Raises `UserError`."""
    if isinstance(told, Mapping):
        return {str(name): str(value) for name, value in told.items()}
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in told.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not value.strip():
            raise UserError(f"{option} is NAME=VALUE,NAME=VALUE", got=part)
        if name.strip() in found:
            raise UserError(f"{option}: {name.strip()} is given twice", got=told)
        found[name.strip()] = value.strip()
    return found


# -- what is told ------------------------------------------------------------------------------------------------------


def _request(told: dict[str, str], tasks: Sequence[Task]) -> dict[str, Any]:
    read = _Reader("--request", told, ("task", "privacy", "prompt_tokens", "output_tokens", "difficulty"))
    names = [task.name for task in tasks]
    if "task" not in told:
        raise UserError("--request: no task is given", allowed=", ".join(names), next_step="such as task=chat")
    check_known("--request: task", "task of this fleet", [told["task"]], names)
    task = tasks[names.index(told["task"])]
    return {
        "task": task.name,
        "privacy": read.one_of("privacy", PRIVACY_CLASSES, task.privacy),
        "prompt_tokens": read.whole("prompt_tokens", round(task.prompt.mean)),
        "output_tokens": read.whole("output_tokens", round(task.output.mean)),
        "difficulty": read.number("difficulty", task.difficulty.mean, -50.0, 50.0),
    }


def _device(told: dict[str, str], fleet: FleetSettings, spec: FleetSpec) -> dict[str, Any]:
    names = ("group", "battery", "heat", "network", "metered", "charging", "hub", "loaded")
    read = _Reader("--device", told, names)
    first = next((name for name, group in spec.groups.items() if group.near is not None), next(iter(spec.groups)))
    name = read.one_of("group", tuple(spec.groups), first)
    group = spec.groups[name]
    networks = {network.name: network for network in fleet.networks}
    usual = max(group.networks, key=lambda network: group.networks[network])
    network = networks[read.one_of("network", tuple(networks), usual)]
    asking = {
        "group": name,
        "battery": read.number("battery", 1.0, 0.0, 1.0),
        "heat": read.number("heat", 0.0, -1.0, 2.0) if "heat" in told else None,
        "network": network.name,
        "metered": read.flag("metered", network.metered),
        "charging": read.flag("charging", False),
        "hub": read.flag("hub", group.hub_share > 0.0),
        "loaded": read.flag("loaded", True),
    }
    kind = next(kind for kind in fleet.kinds if kind.name == name)
    if kind.capacity_j == 0.0 and "battery" in told:
        raise UserError(f"--device: {name} are on mains and have no battery", got=told["battery"])
    if asking["battery"] == 0.0 and not asking["charging"]:
        raise UserError("--device: with an empty battery a device is off and asks nothing", next_step="add charging=1")
    if asking["hub"] and spec.hubs is None:
        raise UserError("--device: this fleet has no hubs", got="hub=1")
    return asking


class _Reader:
    """Values of an option by name, with what holds where they are not given."""

    def __init__(self, option: str, told: Mapping[str, str], known: Sequence[str]) -> None:
        for name in told:
            if name not in known:
                raise UserError(f"{option}: unknown name", got=name, next_step=did_you_mean(name, known))
        self._option, self._told = option, told

    def one_of(self, name: str, known: Sequence[str], usual: str) -> str:
        value = self._told.get(name, usual)
        if value not in known:
            raise UserError(f"{self._option}: {name}: unknown", got=value, next_step=did_you_mean(value, known))
        return value

    def number(self, name: str, usual: float, low: float, high: float) -> float:
        value = self._read(name, usual, float)
        if not low <= value <= high:
            raise UserError(f"{self._option}: {name}: out of range", got=value, allowed=f"{low:g} to {high:g}")
        return float(value)

    def whole(self, name: str, usual: int) -> int:
        value = self._read(name, usual, int)
        if not 1 <= value <= _MOST_TOKENS:
            raise UserError(f"{self._option}: {name}: out of range", got=value, allowed=f"1 to {_MOST_TOKENS}")
        return int(value)

    def flag(self, name: str, usual: bool) -> bool:
        words = {"1": True, "0": False, "yes": True, "no": False, "true": True, "false": False}
        text = self._told.get(name, "1" if usual else "0").lower()
        if text not in words:
            raise UserError(f"{self._option}: {name}: bad value", got=text, allowed="1, 0, yes, no")
        return words[text]

    def _read(self, name: str, usual: float, kind: Callable[[str], float]) -> float:
        if name not in self._told:
            return usual
        try:
            value = kind(self._told[name])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            word = "a whole number" if kind is int else "a number"
            raise UserError(f"{self._option}: {name}: bad value", got=self._told[name], allowed=word)
        return value


# -- what becomes of it ------------------------------------------------------------------------------------------------


def _small(fleet: FleetSettings, asking: Mapping[str, Any]) -> FleetSettings:
    """One device, always in its network, off or on its charger all day, and the hub if it has one."""
    kind = next(kind for kind in fleet.kinds if kind.name == asking["group"])
    names = [network.name for network in fleet.networks]
    here = names.index(asking["network"])
    kind = replace(
        kind,
        networks=tuple(float(number == here) for number in range(len(names))),
        charge_from_s=0.0,
        charge_s=_DAY_S if asking["charging"] else 0.0,
    )
    networks = list(fleet.networks)
    networks[here] = replace(networks[here], metered=asking["metered"])
    with_hub = bool(asking["hub"])
    return replace(
        fleet,
        kinds=(kind, fleet.kinds[-1]) if with_hub else (kind,),  # hubs are the last kind
        networks=tuple(networks),
        devices=1,
        kind=np.arange(1 + with_hub, dtype=np.int16),
        hub=np.array([1 if with_hub else -1], np.int32),
        region=np.zeros(1, np.int8),
        regions=1,
        battery_share=np.array([asking["battery"], 1.0][: 1 + with_hub], np.float32),
    )


def _workload(asked: Mapping[str, Any], task: Task, number: int, fleet: FleetSettings) -> Workload:
    """One request, with the mean of its task's media."""
    sent = FIXED_UP_BYTES + UP_BYTES_PER_TOKEN * asked["prompt_tokens"]
    received = DOWN_BYTES_PER_TOKEN * asked["output_tokens"]
    if task.media is not None:
        sent += task.media.mean_bytes if task.media.direction == "in" else 0.0
        received += task.media.mean_bytes if task.media.direction == "out" else 0.0
    none, nothing, endless = np.full(1, -1, np.int64), np.zeros(1, np.int64), np.full(1, np.inf)
    return Workload(
        arrival_s=np.zeros(1),
        after=none,
        prompt_tokens=np.array([asked["prompt_tokens"]], np.int64),
        output_tokens=np.array([asked["output_tokens"]], np.int64),
        priority=nothing,
        patience_s=endless,
        deadline_s=endless,
        session=none,
        named_tokens=nothing,
        name_start=nothing,
        name_ids=np.zeros(0, np.int64),
        name_unit_tokens=512,
        provenance=Provenance(kind="moment", rows_emitted=1),
        asked=Asked(
            device=np.zeros(1, np.int32),
            task=np.array([number], np.int16),
            difficulty=np.array([asked["difficulty"]], np.float32),
            up_bytes=np.array([sent], np.float32),
            down_bytes=np.array([received], np.float32),
        ),
    )
