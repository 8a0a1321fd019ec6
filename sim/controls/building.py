"""From the records of a scenario to controls, and to what else they mean for a run.

    check_controls(specs, pools=["cloud"])                        what can be told before anything is built
    size = pool_size("cloud", 2, specs)                           replicas in the engine, and how many are started
    workload = crowded(workload, specs)                           the workload of a fleet, with the crowds among them
    controls = scenario_controls(specs, pools={"cloud": 8}, seed=1, folder=folder)
    notes = late_controls(specs, last_arrival_s)                  what begins when nobody asks any more

All of these but `scenario_controls` need nothing but the records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from policies.table import PolicyTable
from profiles.complaints import told
from profiles.errors import UserError, did_you_mean
from sim.controls.autoscaler import Autoscaler
from sim.controls.brown_out import BrownOut
from sim.controls.churn import DeviceChurn
from sim.controls.failures import PoolOutage, ReplicaFailures
from sim.controls.price_change import PriceChange
from sim.controls.rollout import PolicyRollout
from sim.controls.specs import (
    AutoscalerSpec,
    BrownOutSpec,
    ControlSpec,
    DeviceChurnSpec,
    FlashCrowdSpec,
    NetworkWeatherSpec,
    OutageSpec,
    PolicyRolloutSpec,
    PriceChangeSpec,
    PythonControl,
    ReplicaFailuresSpec,
)
from sim.controls.weather import NetworkWeather, WeatherSpells
from sim.user_code import load_function
from sim.workloads.fleet_spec import FleetWorkloadSpec

if TYPE_CHECKING:
    from sim.world import Control

__all__ = ["PoolSize", "check_controls", "crowded", "late_controls", "pool_size", "scenario_controls"]

_OF_FLEETS = (NetworkWeatherSpec, FlashCrowdSpec, PolicyRolloutSpec, DeviceChurnSpec)
_OF_POOLS = (ReplicaFailuresSpec, AutoscalerSpec, OutageSpec, BrownOutSpec, PriceChangeSpec)


class PoolSize(NamedTuple):
    """How many replicas the engine has, and how many of them are up at the start."""

    replicas: int
    started: int


def pool_size(name: str, replicas: int, specs: Sequence[ControlSpec]) -> PoolSize:
    """The size of a pool with these `replicas` under its autoscaler, if it has one. Raises `UserError`."""
    for i, spec in enumerate(specs):
        if isinstance(spec, AutoscalerSpec) and spec.pool in (name, None):
            if not spec.min <= replicas <= spec.max:
                raise UserError(
                    f"pools.{name}.replicas must lie between min and max of its autoscaler (controls.{i})",
                    got=replicas,
                    allowed=f"{spec.min} to {spec.max}",
                )
            return PoolSize(spec.max, replicas)
    return PoolSize(replicas, replicas)


def crowded(workload: FleetWorkloadSpec, specs: Iterable[ControlSpec]) -> FleetWorkloadSpec:
    """The workload of a fleet, with the flash crowds among the controls. Raises `UserError` when they do not fit."""
    crowds = [spec.model_dump(exclude={"kind"}) for spec in specs if isinstance(spec, FlashCrowdSpec)]
    if not crowds:
        return workload
    whole = workload.model_dump()
    try:
        return FleetWorkloadSpec.model_validate(whole | {"flash_crowds": [*whole["flash_crowds"], *crowds]})
    except ValidationError as error:
        raise told(error, FleetWorkloadSpec, "controls: flash-crowd") from None


def late_controls(specs: Iterable[ControlSpec], end_s: float) -> tuple[str, ...]:
    """A note on each control that begins after `end_s`, the last arrival: no error, but worth a line."""
    timed = [(i, spec.kind, getattr(spec, "at_s", None)) for i, spec in enumerate(specs)]
    return tuple(
        f"controls.{i}: {kind} at {at_s:g} s comes after the last arrival ({end_s:g} s)"
        for i, kind, at_s in timed
        if at_s is not None and at_s > end_s
    )


# -- what does not fit -------------------------------------------------------------------------------------------------


def check_controls(specs: Sequence[ControlSpec], *, pools: Collection[str], regions: int | None = None) -> None:
    """Raise `UserError` for controls that do not fit the scenario; `regions` is None without a fleet."""
    for i, spec in enumerate(specs):
        where = f"controls.{i}"
        if isinstance(spec, _OF_POOLS) and not (spec.pool is None and isinstance(spec, ReplicaFailuresSpec)):
            _check_pool(where, spec.pool, pools)
        elif isinstance(spec, _OF_FLEETS) and regions is None:
            raise UserError(f"{where}: {spec.kind} needs a fleet", next_step="add fleet: to the scenario")
        if isinstance(spec, NetworkWeatherSpec) and spec.region is not None and spec.region >= (regions or 0):
            raise UserError(f"{where}.region: no such region", got=spec.region, allowed=f"0 to {(regions or 0) - 1}")
    scaled = Counter(spec.pool or next(iter(pools)) for spec in specs if isinstance(spec, AutoscalerSpec))
    for pool, count in scaled.items():
        if count > 1:
            raise UserError("controls: one autoscaler a pool", got=f"{count} for {pool}")
    _check_rollouts(specs)


def _check_pool(where: str, pool: str | None, pools: Collection[str]) -> None:
    if pool is None and len(pools) != 1:
        raise UserError(f"{where}.pool: which one?", allowed=", ".join(pools) or "there is none")
    if pool is not None and pool not in pools:
        raise UserError(f"{where}.pool: no such pool", got=pool, next_step=did_you_mean(pool, pools))


def _check_rollouts(specs: Sequence[ControlSpec]) -> None:
    """A device knows two policies at most (rule W7): rollouts come one after another."""
    spans = sorted((spec.at_s, spec.at_s + spec.over_s) for spec in specs if isinstance(spec, PolicyRolloutSpec))
    for (_, end_s), (at_s, _) in pairwise(spans):
        if at_s <= end_s:
            raise UserError(
                "controls: a policy-rollout must end before the next one begins", got=at_s, allowed=f"> {end_s:g} s"
            )


# -- building ----------------------------------------------------------------------------------------------------------


def scenario_controls(
    specs: Sequence[ControlSpec],
    *,
    pools: Mapping[str, int],
    seed: int,
    folder: Path,
    regions: int | None = None,
    load_policy_table: Callable[[str], PolicyTable] | None = None,
) -> list[Control]:
    """The controls of a scenario. Raises `UserError` for what does not fit.

    `pools` tells the replicas in the engine by name; `regions` is None without a fleet; `folder` is where the user's
    files are; `load_policy_table` reads a policy by the name or file that a rollout gives.
    """
    check_controls(specs, pools=pools, regions=regions)
    made: list[Control] = []
    for spec, purpose in zip(specs, _purposes(specs), strict=True):
        if isinstance(spec, ReplicaFailuresSpec):
            for pool in [spec.pool] if spec.pool else pools:
                purpose_here = f"{purpose}/{pool}" if len(pools) > 1 else purpose
                failures = ReplicaFailures(**_fields(spec) | {"pool": pool}, seed=seed, purpose=purpose_here)
                made += failures.controls(pools[pool])
        elif isinstance(spec, PythonControl):
            made.append(load_function(folder / spec.file, spec.function))
        elif isinstance(spec, PolicyRolloutSpec):
            assert load_policy_table is not None  # who has a fleet has policies
            made.append(PolicyRollout(**_fields(spec) | {"policy": load_policy_table(spec.policy)}))
        elif not isinstance(spec, FlashCrowdSpec):
            made.append(_simple(spec, seed, purpose))
    return made


def _simple(
    spec: AutoscalerSpec | OutageSpec | BrownOutSpec | NetworkWeatherSpec | PriceChangeSpec | DeviceChurnSpec,
    seed: int,
    purpose: str,
) -> Control:
    """Those whose fields are the record's."""
    if isinstance(spec, AutoscalerSpec):
        return Autoscaler(**_fields(spec) | {"step_in": spec.step_in})
    if isinstance(spec, OutageSpec):
        return PoolOutage(**_fields(spec))
    if isinstance(spec, BrownOutSpec):
        return BrownOut(**_fields(spec))
    if isinstance(spec, PriceChangeSpec):
        return PriceChange(**_fields(spec))
    if isinstance(spec, DeviceChurnSpec):
        return DeviceChurn(**_fields(spec), seed=seed, purpose=purpose)
    if spec.at_s is not None:
        return NetworkWeather(**_fields(spec))
    return WeatherSpells(**_fields(spec), seed=seed, purpose=purpose)


def _fields(spec: Any) -> dict[str, Any]:
    return {name: value for name, value in spec.model_dump(exclude={"kind"}).items() if value is not None}


def _purposes(specs: Sequence[ControlSpec]) -> list[str]:
    """A stream of random numbers for each: its kind, and from the second one of a kind on its number among them."""
    seen: Counter[str] = Counter()
    purposes = []
    for spec in specs:
        seen[spec.kind] += 1
        purposes.append(spec.kind if seen[spec.kind] == 1 else f"{spec.kind}#{seen[spec.kind]}")
    return purposes
