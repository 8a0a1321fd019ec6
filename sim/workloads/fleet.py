"""What a fleet is asked: devices, tasks, instants and lengths, drawn; or a trace spread over the devices.

    fleet_workload(spec, fleet, demand, seed=1, base_folder=folder)

All instants are fixed beforehand, those of later turns as well: every policy faces the same requests. Equal for equal
specification, fleet and seed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from profiles.errors import UserError
from profiles.task import Task
from sim.catalogue_names import check_known
from sim.fleet import FleetSettings
from sim.parallel import in_parts
from sim.workloads.demand import Demand, activity
from sim.workloads.distributions import ConstantSeconds, Seconds
from sim.workloads.draws import draw_priority, draw_seconds
from sim.workloads.fleet_spec import FleetWorkloadSpec
from sim.workloads.intensity import day_pieces
from sim.workloads.spec import TraceSpec
from sim.workloads.streams import stream
from sim.workloads.traces import read_trace
from sim.workloads.workload import Asked, Ints, Provenance, Workload

__all__ = ["fleet_workload"]

_MOST_BUCKETS = 2**22
_BYTES_A_REQUEST = 330  # arrays and records
_TAIL_SESSIONS = 3  # so many mean sessions after the end are still cut into buckets

_NOTES = (
    "no public trace tells who asks what on which device: askers, tasks and difficulties are drawn",
    "4 bytes per prompt token and 1000 go up, 5 per output token come down, and media as the task's",
)


def fleet_workload(
    spec: FleetWorkloadSpec,
    fleet: FleetSettings,
    demand: Demand,
    *,
    seed: int,
    base_folder: Path,
    trace: Path | None = None,
    requests: int | None = None,
    time_scale: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Workload:
    """The workload of a fleet. Overrides are those of `build_workload`; `requests` leaves `duration_s` as it is.

    Raises `UserError`.
    """
    if requests is not None and requests < 1:
        raise UserError("requests must be at least 1", got=requests)
    recorded = spec.trace
    if trace is not None:
        recorded = TraceSpec(path=str(trace), time_scale=spec.trace.time_scale if spec.trace else 1.0)
    drawing = _Drawing(fleet, demand, seed)
    if recorded is None:
        if time_scale is not None:
            raise UserError("time_scale stretches a trace, and there is none", got=time_scale)
        return _drawn(spec if requests is None else spec.model_copy(update={"requests": requests}), drawing)
    workload = read_trace(
        Path(recorded.path) if trace is not None else base_folder / recorded.path,
        requests=recorded.requests if requests is None else requests,
        time_scale=recorded.time_scale if time_scale is None else time_scale,
        seed=seed,
        priority=spec.priority,
        patience_s=spec.patience_s,
        deadline_s=spec.deadline_s,
        progress=progress,
    )
    return _recorded(workload, drawing)


class _Drawing:
    """What every draw needs: the alias table of devices, kinds, shares of tasks, facts of tasks."""

    def __init__(self, fleet: FleetSettings, demand: Demand, seed: int) -> None:
        from sim.kernels import fleet_draws

        self.fleet, self.demand, self.seed = fleet, demand, seed
        self.kind = np.ascontiguousarray(fleet.kind[: fleet.devices])
        self.weights = activity(fleet.devices, demand.activity_zipf)
        self.alias = np.empty((fleet.devices, 2), np.uint32)
        fleet_draws.fill_alias(self.weights, self.alias)
        self.shares = np.cumsum(demand.mix, axis=1)
        most = demand.mix.max(axis=0)
        self.asking = demand.mix / np.where(most > 0.0, most, 1.0)
        self.facts = _facts(demand.tasks, fleet_draws.TASK_FACTS)

    def asked(
        self, device: NDArray[np.int32], task: NDArray[np.int16], prompt: Any, output: Any, *, given: bool
    ) -> Asked:
        """Difficulties and bytes; tokens are written, or taken where they are `given`."""
        from sim.kernels import fleet_draws

        difficulty, up, down = (np.empty(len(task), np.float32) for _ in range(3))
        columns = (prompt, output, difficulty, up, down)
        in_parts(fleet_draws.draw_requests, len(task), self.seed, given, task, self.facts, *columns)
        return Asked(device=device, task=task, difficulty=difficulty, up_bytes=up, down_bytes=down)

    def task_share(self, name: str) -> tuple[int, float]:
        """A task's position, and its share of all sessions. Raises `UserError` when nobody asks for it."""
        names = [task.name for task in self.demand.tasks]
        check_known("workload.flash_crowds: task", "task of this fleet", [name], names)
        number = names.index(name)
        asked = np.bincount(self.kind, weights=self.weights, minlength=len(self.demand.mix))
        share = float(asked @ self.demand.mix[:, number] / asked.sum())
        if share == 0.0:
            raise UserError("workload.flash_crowds: no device asks for this task", got=name)
        return number, share


def _drawn(spec: FleetWorkloadSpec, drawing: _Drawing) -> Workload:
    from sim.kernels import fleet_draws

    assert spec.requests is not None
    assert spec.duration_s is not None
    n = spec.requests
    _check_memory(n)
    pieces = day_pieces(spec, start_s=drawing.fleet.start_s, task_number=drawing.task_share)
    turns = spec.sessions.turns_mean if spec.sessions else 1.0
    gap_s = spec.sessions.gap_s if spec.sessions else 0.0
    stop = math.log1p(-1.0 / turns) if turns > 1.0 else 0.0
    sessions, last_turns = fleet_draws.count_sessions(drawing.seed, n, stop)
    buckets = max(1, min(n - sessions, _MOST_BUCKETS))
    plan = np.zeros(1, fleet_draws.PLAN)
    plan["seed"], plan["count"], plan["last_turns"] = drawing.seed, sessions, last_turns
    plan["stop"], plan["gap_s"] = stop, gap_s
    plan["buckets"] = buckets
    plan["buckets_per_s"] = buckets / (spec.duration_s + _TAIL_SESSIONS * turns * gap_s)
    arrival = np.empty(n)
    total = fleet_draws.cumulate(drawing.seed, arrival[n - sessions :])
    device, task = np.empty(n, np.int32), np.empty(n, np.int16)
    session = np.empty(n if stop else 0, np.int32)
    fleet_draws.draw_sessions(
        plan[0],
        float(pieces["mass_to"][-1]) / total,
        pieces,
        drawing.alias,
        drawing.kind,
        drawing.shares,
        drawing.asking,
        arrival,
        device,
        task,
        session,
    )
    prompt, output = np.zeros(n, np.int32), np.zeros(n, np.int32)
    asked = drawing.asked(device, task, prompt, output, given=False)
    notes = [f"{sessions} sessions on {drawing.fleet.devices} devices", *_NOTES]
    if stop:
        notes.append("the turns of a session come at instants fixed beforehand, whenever the answers are there")
    late = int((arrival > spec.duration_s).sum())
    if late:
        notes.append(f"{late} later turns come after duration_s")
    return Workload(
        arrival_s=arrival,
        after=_same(-1, n),
        prompt_tokens=cast(Ints, prompt),
        output_tokens=cast(Ints, output),
        priority=_priority(spec, n, drawing.seed),
        patience_s=_seconds(spec.patience_s, "patience_s", n, drawing.seed),
        deadline_s=_seconds(spec.deadline_s, "deadline_s", n, drawing.seed),
        session=cast(Ints, session) if stop else _same(-1, n),
        named_tokens=_same(0, n),
        name_start=_same(0, n),
        name_ids=np.zeros(0, dtype=np.int64),
        name_unit_tokens=512,
        provenance=Provenance(kind="fleet", rows_emitted=n, notes=tuple(notes)),
        asked=asked,
    )


def _check_memory(requests: int) -> None:
    """Raise `UserError` for more requests than this machine's memory can hold."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return  # a system that does not tell: whoever runs out of memory will be told so
    if requests * _BYTES_A_REQUEST > memory:
        gib = 2**30
        raise UserError(
            f"{requests:,} requests take about {requests * _BYTES_A_REQUEST / gib:.0f} GiB",
            allowed=f"{memory / gib:.0f} GiB, the memory of this machine",
            next_step="simulate fewer of them",
        )


def _recorded(workload: Workload, drawing: _Drawing) -> Workload:
    """A trace spread over the devices: arrivals and lengths are its own, all else is made up."""
    from sim.kernels import fleet_draws

    n = len(workload)
    device, task = np.empty(n, np.int32), np.empty(n, np.int16)
    session = np.ascontiguousarray(workload.session, np.int64)
    fleet_draws.draw_askers(drawing.seed, session, drawing.alias, drawing.kind, drawing.shares, device, task)
    asked = drawing.asked(device, task, workload.prompt_tokens, workload.output_tokens, given=True)
    notes = (
        *workload.provenance.notes,
        *_NOTES,
        f"requests are spread over {drawing.fleet.devices} devices by chance, those of a session stay on one; lengths "
        "are the trace's whatever the task, and media add bytes but no tokens",
    )
    return replace(workload, asked=asked, provenance=replace(workload.provenance, notes=notes))


def _same(value: int, n: int) -> Ints:
    """n times the same whole number, in the memory of one."""
    return np.broadcast_to(np.int64(value), n)


def _priority(spec: FleetWorkloadSpec, n: int, seed: int) -> Ints:
    if isinstance(spec.priority, int):
        return _same(spec.priority, n)
    return draw_priority(spec.priority, n, rng=stream(seed, "priority"))


def _seconds(seconds: Seconds, purpose: str, n: int, seed: int) -> NDArray[np.float64]:
    if isinstance(seconds, ConstantSeconds):
        return np.broadcast_to(np.float64(seconds.value), n)
    return draw_seconds(seconds, n, rng=stream(seed, purpose))


def _facts(tasks: tuple[Task, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """What the kernels draw from, one record a task."""
    facts = np.zeros(len(tasks), dtype)
    for record, task in zip(facts, tasks, strict=True):
        for name, lengths in (("prompt", task.prompt), ("output", task.output)):
            record[f"{name}_mu"], record[f"{name}_sigma"] = lengths.mu, lengths.sigma
            record[f"{name}_max"] = lengths.max
        record["difficulty_mean"], record["difficulty_spread"] = task.difficulty.mean, task.difficulty.spread
        if (media := task.media) is not None:
            variance = math.log1p(media.units_cv**2)
            record["media"] = ("in", "out").index(media.direction) + 1
            record["units_mu"], record["units_sigma"] = math.log(media.units_mean) - variance / 2, math.sqrt(variance)
            record["tokens_per_unit"], record["bytes_per_unit"] = media.tokens_per_unit, media.bytes_per_unit
    return facts
