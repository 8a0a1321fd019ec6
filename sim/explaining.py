"""`nearfar explain`: what a policy makes of one request, with the figures that the data plane itself computes.

    explain("threshold", request="task=chat,prompt_tokens=800", device="battery=0.3", scenario="calm.yaml")

The scenario shrinks to one device and its one request (`sim.moment`); the plane is run on it, and a routing function
notes the actions that it is offered. So figures and masks are those of a simulation (rules W2, W5), never a copy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from policies import ActionView, DeviceView, RequestView
from policies.checking.explain import explanation
from policies.checking.ruled_out import HubFacts, NearFacts, PoolFacts, ruling_out
from policies.checking.situations import Situation
from policies.layout import KINDS, Kind
from policies.policy import Policy, load_policy
from profiles import Catalogue, UserError
from profiles.task import PRIVACY_CLASSES, Task
from sim.catalogue_names import check_known
from sim.fleet_facts import tasks_of
from sim.loading import load, without_rollouts
from sim.moment import Moment, Told, moment, pairs
from sim.plane import DataPlane
from sim.pool import PoolPlan
from sim.run import Prepared, prepare
from sim.scenario import FleetScenario

__all__ = ["explain", "explain_moment", "moment_plane", "small_fleet"]

_MOST_LOAD = 1000.0


def small_fleet() -> Path:
    """The scenario that is looked at when none is given."""
    return Path(__file__).resolve().parent / "data" / "small-fleet.yaml"


def explain(
    policy: str | Path | Mapping[str, Any],
    *,
    request: Told,
    device: Told = "",
    loads: Told = "",
    scenario: str | Path | Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Every feature's contribution to every action's score, as a simulation would compute it, with everything idle.

    `request` (task, privacy, prompt_tokens, output_tokens, difficulty as the policy estimates it), `device` (group,
    battery, heat, network, metered, charging, hub, loaded) and `loads` (requests per slot of pools that are not idle)
    are mappings, or texts as on the command line, `NAME=VALUE,...`. What is not told is the scenario's habit, or the
    task's mean. Without a `scenario` it is a small built-in one; `changes` are values of it by their paths; the seed
    draws the noise.

    The answer holds numbers and texts only: `chosen` (the index of an action) and its `margin`, `actions` with their
    features, `ruled_out` with the masks that do so, and `turning`: single changes that would turn the choice. Raises
    `UserError`.
    """
    weights = _weights(policy)
    loaded = without_rollouts(load(small_fleet() if scenario is None else scenario, changes=changes))
    spec = loaded.scenario
    if not isinstance(spec, FleetScenario):
        raise UserError("this scenario has no fleet, so that nothing is routed", got=loaded.where)
    prepared = prepare(loaded, seed=seed, policy="near")
    catalogue = Catalogue(loaded.folder / spec.profiles if spec.profiles else None)
    return explain_moment(
        weights, prepared, tasks_of(spec.fleet, catalogue), request=request, device=device, loads=loads
    )


def explain_moment(
    weights: Policy, prepared: Prepared, tasks: Sequence[Task], *, request: Told, device: Told = "", loads: Told = ""
) -> dict[str, Any]:
    """`explain` for a scenario with a fleet that is prepared; `tasks` are the fleet's. Raises `UserError`."""
    spec = prepared.loaded.scenario
    assert isinstance(spec, FleetScenario)
    assert prepared.fleet is not None
    asked = moment(prepared.fleet, spec.fleet, tasks, request=request, device=device)
    busy = _loads(pairs(loads, "--load"), prepared.plans)
    situation = _situation(prepared, asked, busy)
    names = asked.fleet.task_names
    return {
        "scenario": spec.name or prepared.loaded.where,
        "seed": prepared.seed,
        "request": dict(asked.request),
        "device": {**asked.device, "heat": situation.device.heat},
        "loads": {plan.settings.name: busy.get(plan.settings.name, 0.0) for plan in prepared.plans},
        **explanation(weights, situation, names),
        "notes": [*_notes(asked), *(f"this fleet has no task {name}" for name in weights.unused_scenes(names))],
    }


def _weights(policy: str | Path | Mapping[str, Any]) -> Policy:
    if isinstance(policy, str | Path) and (".py:" in str(policy) or str(policy).endswith(".py")):
        raise UserError(
            "a function in Python has no weights to explain",
            got=str(policy),
            allowed="a built-in's name, or a YAML file",
            next_step=f"try it out with nearfar check-policy {policy}",
        )
    return load_policy(policy)


def _loads(told: Mapping[str, str], plans: tuple[PoolPlan, ...]) -> dict[str, float]:
    names = [plan.settings.name for plan in plans]
    check_known("--load", "pool", told, names)
    found = {}
    for name, text in told.items():
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = math.nan
        if not 0.0 <= found[name] <= _MOST_LOAD:
            raise UserError(f"--load {name}: bad value", got=text, allowed=f"0 to {_MOST_LOAD:g} requests per slot")
    return found


def _notes(asked: Moment) -> list[str]:
    notes = [
        "difficulty is as the policy estimates it; lengths of the answer are unknown to it: it takes the task's mean"
    ]
    if asked.device["heat"] is not None and asked.device["heat"] >= 1.0:
        notes.append("so hot, the device computes at its lowered clock")
    return notes


# -- the moment, by the data plane -------------------------------------------------------------------------------------


def moment_plane(prepared: Prepared, asked: Moment, **plane: Any) -> DataPlane:
    """The plane of a moment, before anything happens; `plane` are its policy and router."""
    built = DataPlane(
        asked.workload,
        prepared.plans,
        fleet=asked.fleet,
        balancers=prepared.balancers,
        seed=prepared.seed,
        **plane,
    )
    row, kind = built.rows[0], asked.fleet.kinds[0]
    if (heat := asked.device["heat"]) is not None:
        row["temp_c"] = kind.ambient_c + heat * (kind.limit_c - kind.ambient_c)
        row["throttled"] = heat >= 1.0
    for resting in built.rows:
        resting["resident"] = asked.device["loaded"]
    return built


def _situation(prepared: Prepared, asked: Moment, loads: Mapping[str, float]) -> Situation:
    """What the plane offers and predicts, with every kind of action allowed, and the masks of all else."""
    seen: list[tuple[RequestView, DeviceView, list[ActionView]]] = []

    def look(request: RequestView, device: DeviceView, actions: list[ActionView]) -> int:
        seen.append((request, device, actions))
        return actions[0].index

    everything = load_policy({"layout": 1, "actions": list(KINDS)}).table(asked.fleet.task_names)
    plane = moment_plane(prepared, asked, policy=everything, router=look)
    for pool in plane.pools:
        waiting = round(loads.get(pool.pool.name, 0.0) * pool.pool.engine.max_num_seqs * max(1, pool.record["up"]))
        pool.record["outstanding"] = pool.record["reported"] = waiting
    plane.advance(math.inf)
    request, device, possible = seen[0] if seen else (*_views(plane, asked), [])
    names = [plan.settings.name for plan in prepared.plans]
    offered = {action.index: action for action in possible}
    kinds: list[Kind] = ["near", "edge", *(plan.far.tier for plan in prepared.plans)]
    kinds += [kind for kind in KINDS[3:] for _ in names]
    actions = [
        offered.get(index) or _impossible(index, kind, None if index < 2 else names[(index - 2) % len(names)])
        for index, kind in enumerate(kinds)
    ]
    ruled_out = _masks(plane, asked, prepared.plans)
    if offered.keys() ^ ruled_out.keys() != set(range(len(actions))):
        raise RuntimeError("the masks and what the data plane offers differ: please report this scenario")
    return Situation(
        request=request,
        device=device,
        actions=tuple(actions),
        ruled_out=ruled_out,
        slo_ttft_s=asked.fleet.tasks[int(plane.trips[0]["task"])].slo_ttft_s,
    )


def _views(plane: DataPlane, asked: Moment) -> tuple[RequestView, DeviceView]:
    """Of a request for which nothing is possible, so that nobody was asked."""
    row, kind = plane.rows[0], asked.fleet.kinds[0]
    request = RequestView(
        id=0,
        now_s=0.0,
        arrival_s=0.0,
        prompt_tokens=asked.request["prompt_tokens"],
        attempt=0,
        task=asked.request["task"],
        difficulty=asked.request["difficulty"],
        privacy=asked.request["privacy"],
    )
    device = DeviceView(
        id=0,
        kind=kind.name,
        battery=asked.device["battery"],
        heat=float((row["temp_c"] - kind.ambient_c) / (kind.limit_c - kind.ambient_c)),
        network=asked.device["network"],
        metered=asked.device["metered"],
    )
    return request, device


def _impossible(index: int, kind: Kind, pool: str | None) -> ActionView:
    """An action that the plane did not offer: it has no figures."""
    names = ("quality", "ttft_s", "e2e_s", "energy_j", "cost_usd", "egress_bytes", "load", "noise")
    return ActionView(index=index, kind=kind, pool=pool, **dict.fromkeys(names, math.nan))


def _masks(plane: DataPlane, asked: Moment, plans: tuple[PoolPlan, ...]) -> dict[int, tuple[str, ...]]:
    """Index of every action that is ruled out, to the masks that do so (rule W2)."""
    fleet = asked.fleet
    network = next(one for one in fleet.networks if one.name == asked.device["network"])
    task = next(one for one in fleet.tasks if one.name == asked.request["task"])
    tokens = asked.request["prompt_tokens"] + asked.request["output_tokens"]
    needs: dict[str, Any] = {"needed": task.modality, "tokens": tokens}
    privacy = PRIVACY_CLASSES.index(task.privacy)
    kind = fleet.kinds[0]
    near = NearFacts(
        model=kind.model,
        modalities=kind.modalities,
        max_tokens=kind.max_tokens,
        battery_j=float(np.float32(asked.device["battery"])) * kind.capacity_j,
        floor_j=kind.floor_j,
        capacity_j=kind.capacity_j,
        charging=asked.device["charging"],
        **needs,
    )
    hub_kind = fleet.kinds[-1] if asked.device["hub"] else replace(kind, model=0, modalities=~0, max_tokens=2**62)
    hub = HubFacts(
        privacy=privacy,
        hub=int(fleet.hub[0]),
        at_home=network.home and network.radio,
        model=hub_kind.model,
        modalities=hub_kind.modalities,
        max_tokens=hub_kind.max_tokens,
        **needs,
    )
    pools = [
        PoolFacts(
            privacy=privacy,
            connected=network.radio,
            modalities=plan.far.modalities,
            max_model_len=plan.settings.engine.max_model_len,
            blocks=-(-(tokens - 1) // plan.settings.engine.block_size),
            kv_blocks=plan.settings.engine.kv_blocks,
            up=int(state.record["up"]),
            tried=False,
            **needs,
        )
        for plan, state in zip(plans, plane.pools, strict=True)
    ]
    alone = [ruling_out(near), ruling_out(hub), *(ruling_out(pool) for pool in pools)]
    both = [tuple(dict.fromkeys((*alone[0], *pool))) for pool in alone[2:]]
    return {index: masks for index, masks in enumerate((*alone, *both, *both)) if masks}
