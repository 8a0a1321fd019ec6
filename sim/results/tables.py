"""The tables of a run, in pieces: one row a request, one row a bin of the timeline.

Ten million requests never stand in memory twice: `request_batches` makes a million rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sim.kernels.state import ABANDONED, COMPLETED, FAILED, REASONS, REJECTED
from sim.results.answers import TIERS, Answers, answers_of
from sim.results.columns import REQUESTS, TIMELINE, Column
from sim.results.fleet_columns import FLEET_REQUESTS, FLEET_TIMELINE
from sim.results.latencies import LATENCIES, latency_of
from sim.results.parts import parts
from sim.results.timeline import Timeline, build_timeline

if TYPE_CHECKING:
    from sim.fleet import FleetSettings
    from sim.plane import DataPlane

__all__ = ["request_batches", "request_schema", "request_table", "timeline_table", "words_in"]

_ROW_GROUP = 1 << 20  # requests
_STATES = {COMPLETED: "completed", REJECTED: "rejected", ABANDONED: "abandoned", FAILED: "failed"}
_PLACES = ("near", "hub", "edge pool", "cloud")
_TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "flag": pa.bool_(),
    "category": pa.dictionary(pa.int8(), pa.string()),
    "name": pa.dictionary(pa.int16(), pa.string()),
}


def request_table(plane: DataPlane) -> pa.Table:
    """All rows at once; see `request_batches`."""
    return pa.Table.from_batches(request_batches(plane), request_schema(plane))


def request_schema(plane: DataPlane) -> pa.Schema:
    """The columns `sim.results.columns.REQUESTS`, and with a fleet those of `FLEET_REQUESTS`."""
    return _schema(_request_columns(plane))


def words_in(schema: pa.Schema) -> list[str]:
    """The columns that hold words out of a few."""
    return [field.name for field in schema if pa.types.is_dictionary(field.type)]


def request_batches(plane: DataPlane, answers: Answers | None = None) -> Iterator[pa.RecordBatch]:
    """One row a request, in order of id; what does not apply is null. `answers` saves working them out again."""
    if plane.fleet is not None and answers is None:
        answers = answers_of(plane)
    columns = _request_columns(plane)
    words = _fleet_words(plane, plane.fleet) if plane.fleet is not None else {}
    for part in parts(len(plane.requests), _ROW_GROUP):
        values = _requests(plane, part)
        if answers is not None:
            values |= _of_fleet(plane, answers, part, words)
        yield _batch(columns, values)


def timeline_table(plane: DataPlane, timeline: Timeline | None = None) -> pa.Table:
    """One row a bin with the columns `sim.results.columns.TIMELINE`, and with a fleet those of `FLEET_TIMELINE`.

    `timeline` saves building it again.
    """
    if timeline is None:
        timeline = build_timeline(plane, None if plane.fleet is None else answers_of(plane))
    values = {column.name: getattr(timeline, column.name) for column in TIMELINE} | (timeline.answered_by or {})
    columns = (*TIMELINE, *(FLEET_TIMELINE if timeline.answered_by else ()))
    return pa.Table.from_batches([_batch(columns, values)])


def _request_columns(plane: DataPlane) -> tuple[Column, ...]:
    return REQUESTS if plane.fleet is None else (*REQUESTS, *FLEET_REQUESTS)


def _schema(columns: Iterable[Column]) -> pa.Schema:
    return pa.schema(
        [pa.field(c.name, _TYPES[c.type], metadata={"unit": c.unit, "description": c.description}) for c in columns]
    )


def _batch(columns: Iterable[Column], values: Mapping[str, Any]) -> pa.RecordBatch:
    arrays = []
    for column in columns:
        kind, data = _TYPES[column.type], values[column.name]
        if not isinstance(data, pa.Array):
            data = pa.array(np.ascontiguousarray(data), kind, from_pandas=True)  # nan becomes null
        arrays.append(data.cast(kind))
    return pa.RecordBatch.from_arrays(arrays, schema=_schema(columns))


def _requests(plane: DataPlane, part: slice) -> dict[str, Any]:
    r = plane.requests[part]
    latencies = {name: latency_of(name, r, slice(None)) for name in LATENCIES}
    for name in ("tpot_s", "e2e_s"):
        latencies[name][r["status"] != COMPLETED] = np.nan
    return {
        "id": np.arange(part.start, part.stop),
        "arrival_s": r["arrival"],
        "scheduled_s": r["scheduled"],
        "first_token_s": r["first_token"],
        "finish_s": r["finish"],
        **latencies,
        "state": _words(r["status"] - COMPLETED, [_STATES[code] for code in sorted(_STATES)]),
        "reason": _words(r["reason"] - 1, REASONS[1:]),
        "replica": _known(r["replica"]),
        "prompt_tokens": r["prompt"],
        "output_tokens": r["output"],
        "cached_tokens": r["cached"],
        "preemptions": r["preemptions"],
        "attempts": r["attempts"],
        "priority": r["priority"],
        "session": _known(plane.workload.session[part]),
        "energy_j": r["energy"],
    }


# -- fleets ------------------------------------------------------------------------------------------------------------


def _fleet_words(plane: DataPlane, fleet: FleetSettings) -> dict[str, list[str]]:
    """What the codes of a fleet's columns stand for."""
    pools = [pool.pool.name for pool in plane.pools]
    return {
        "device_kind": [kind.name for kind in fleet.kinds],
        "task": [task.name for task in fleet.tasks],
        "network": [network.name for network in fleet.networks],
        "action": ["near", "hub", *pools, *(f"cascade:{name}" for name in pools), *(f"hedge:{name}" for name in pools)],
        "tier": list(TIERS[:-1]),
        "pool": pools,
        "model": list(fleet.models),
        "reached": [_places(bits) for bits in range(1 << len(_PLACES))][1:],
    }


def _places(bits: int) -> str:
    return " + ".join(place for b, place in enumerate(_PLACES) if bits >> b & 1)


def _of_fleet(plane: DataPlane, answers: Answers, part: slice, words: Mapping[str, list[str]]) -> dict[str, Any]:
    trips, fleet = plane.trips[part], plane.fleet
    assert fleet is not None
    tier = answers.tier[part]
    codes = {
        "device_kind": fleet.kind[trips["device"]],
        "task": trips["task"],
        "network": trips["network"],
        "action": trips["action"],
        "tier": np.where(tier < len(words["tier"]), tier, -1),
        "pool": answers.pool[part],
        "model": trips["model"],
        "reached": trips["reached"].astype(np.int16) - 1,
    }
    right = trips["correct"]
    return {
        "device": trips["device"],
        **{name: _words(code, words[name], pa.int16()) for name, code in codes.items()},
        "correct": pa.array(right == 1, mask=right < 0),
        "escalated": trips["escalated"] != 0,
        "throttled": trips["throttled"] != 0,
        "up_bytes": trips["up_bytes"],
        "down_bytes": trips["down_bytes"],
        "difficulty": trips["difficulty"],
        "device_energy_j": trips["device_j"],
    }


# -- columns -----------------------------------------------------------------------------------------------------------


def _words(codes: Any, words: Iterable[str], kind: Any = None) -> pa.Array:
    """Words by number; a negative number is null."""
    kind = kind or pa.int8()
    indices = pa.array(np.ascontiguousarray(codes, kind.to_pandas_dtype()), mask=np.asarray(codes) < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(words), pa.string()))


def _known(ids: Any) -> pa.Array:
    """Ids; a negative one is null."""
    return pa.array(np.ascontiguousarray(ids), mask=np.asarray(ids) < 0)
