"""Facts as a fleet wants them: networks in seconds, bits and bytes; tasks with their bits and mean answers."""

from __future__ import annotations

import math

import numpy as np

from profiles import Catalogue, Network, Task, UserError
from profiles.network import Distribution
from profiles.task import Lengths, Media
from sim.catalogue_names import check_known, found
from sim.fleet import NetworkClass, Six, TaskKind
from sim.fleet_spec import FleetSpec
from sim.workloads.demand import Demand

__all__ = ["clipped_mean", "demand_of", "network_class", "task_kind", "tasks_of"]

_NORMAL_CDF_SCALE = math.sqrt(0.5)


def network_class(network: Network) -> NetworkClass:
    """A network in seconds, bit/s and joules per byte. Home is where somebody measured the way to a box beside."""
    if (
        network.rtt_ms is None
        or network.uplink_mbps is None
        or network.downlink_mbps is None
        or network.promotion is None
        or network.tail is None
        or network.energy is None
        or network.outage is None
    ):
        return NetworkClass(name=network.name, radio=False, metered=network.metered)
    near = network.rtt_edge_ms
    return NetworkClass(
        name=network.name,
        home=near is not None and network.radio in ("wifi", "ethernet"),
        metered=network.metered,
        rtt_s=_six(network.rtt_ms, 1e-3),
        rtt_edge_s=_six(near or network.rtt_ms, 1e-3),
        uplink_bps=_six(network.uplink_mbps, 1e6),
        downlink_bps=_six(network.downlink_mbps, 1e6),
        setup_round_trips=network.setup_round_trips or 0,
        promotion_idle_s=network.promotion.idle_s,
        promotion_s=network.promotion.delay_ms * 1e-3,
        tail_s=network.tail.seconds,
        tail_w=network.tail.watts,
        base_w=network.energy.base_w,
        up_j_per_byte=network.energy.up_j_per_mb * 1e-6,
        down_j_per_byte=network.energy.down_j_per_mb * 1e-6,
        mean_good_s=network.outage.mean_good_s,
        mean_bad_s=network.outage.mean_bad_s,
        loss=network.outage.loss,
    )


def _six(distribution: Distribution, unit: float) -> Six:
    a, b, c, d, e, f = (value * unit for value in distribution.quantiles.values)
    return a, b, c, d, e, f


def task_kind(task: Task) -> TaskKind:
    """What a policy and the rules know of a task."""
    limits = {name: math.inf if limit is None else limit for name, limit in task.slo}
    return TaskKind(
        name=task.name,
        privacy=task.privacy,
        modality=_modality(task.media),
        output_hint=clipped_mean(task.output) + _made_tokens(task.media),
        difficulty_mean=task.difficulty.mean,
        difficulty_spread=task.difficulty.spread,
        slo_ttft_s=limits["ttft_s"],
        slo_tpot_s=limits["tpot_s"],
        slo_e2e_s=limits["e2e_s"],
    )


def _modality(media: Media | None) -> int:
    """Text always, and what goes in or comes out."""
    return 1 | ({"image": 2, "audio": 4}[media.kind] if media else 0)


def _made_tokens(media: Media | None) -> float:
    return media.mean_tokens if media and media.direction == "out" else 0.0


def clipped_mean(lengths: Lengths) -> float:
    """Mean tokens after the cut to 1 and `max`, before rounding."""
    mu, sigma, low, high = lengths.mu, lengths.sigma, 1.0, float(lengths.max)
    if sigma == 0.0:
        return min(max(lengths.mean, low), high)
    below, above = (math.log(low) - mu) / sigma, (math.log(high) - mu) / sigma
    middle = lengths.mean * (_normal_cdf(above - sigma) - _normal_cdf(below - sigma))
    return low * _normal_cdf(below) + middle + high * (1.0 - _normal_cdf(above))


def _normal_cdf(score: float) -> float:
    return 0.5 * math.erfc(-score * _NORMAL_CDF_SCALE)


def tasks_of(spec: FleetSpec, catalogue: Catalogue) -> tuple[Task, ...]:
    """The fleet's tasks, in the order of the scenario. Raises `UserError` for unknown ones."""
    names = catalogue.names("task") if spec.tasks is None else spec.tasks
    return tuple(found("fleet.tasks", catalogue.task, name) for name in names)


def demand_of(spec: FleetSpec, catalogue: Catalogue) -> Demand:
    """Who asks for what: the tasks' own mix by form of device, or the group's. Raises `UserError`."""
    tasks = tasks_of(spec, catalogue)
    names = [task.name for task in tasks]
    mix = np.zeros((len(spec.groups), len(tasks)))
    for row, (name, group) in enumerate(spec.groups.items()):
        where = f"fleet.groups.{name}"
        form = found(f"{where}.device", catalogue.device, group.device).form
        if group.tasks is not None:
            check_known(f"{where}.tasks", "task of this fleet", group.tasks, names)
            mix[row] = [group.tasks.get(task, 0.0) for task in names]
        else:
            mix[row] = [task.mix.get(form, 0.0) for task in tasks]
        total = float(mix[row].sum())
        if not 0.0 < total < math.inf:
            raise UserError(
                f"{where}: a {form} asks for none of the fleet's tasks",
                got=", ".join(names),
                next_step="give the group tasks of its own, or add to fleet.tasks",
            )
        mix[row] /= total
    return Demand(tasks=tasks, mix=mix, activity_zipf=spec.activity_zipf)
