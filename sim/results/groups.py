"""The requests of a fleet by what they have in common: who answered, the kind of device, the task.

One pass over the records adds up; percentiles take one column of latencies at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sim.kernels.fleet_state import REACHED_CLOUD, REACHED_EDGE_POOL
from sim.kernels.state import COMPLETED
from sim.results.answers import NOWHERE, TIERS
from sim.results.latencies import LATENCIES, distribution, ratio
from sim.results.parts import Floats, Ints, column, parts

if TYPE_CHECKING:
    from sim.results.analysis import Analysis

__all__ = ["Grouping", "Sums", "group_sums", "group_table", "usd_rates"]

_POINTS = (50, 95, 99)
_SHOWN = LATENCIES[:3]
_STATES = ("completed", "rejected", "abandoned", "failed")  # in the order of their numbers
LEFT = REACHED_EDGE_POOL | REACHED_CLOUD  # places that are not the user's own

Numbers = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Grouping:
    """`codes` has one entry a request, a position in `names`."""

    names: tuple[str, ...]
    codes: Numbers


@dataclass(slots=True)
class Sums:
    """What adds up over the requests of each group; arrays of one entry a group."""

    by_state: Ints
    """(groups, states)"""
    by_tier: Ints
    """(groups, tiers)"""
    measured: Ints
    good: Ints
    right: Ints
    device_j: Floats
    egress_bytes: Floats
    cost_usd: Floats

    @classmethod
    def of(cls, groups: int) -> Sums:
        """Nothing yet."""
        by_state, by_tier = (np.zeros((groups, inner), np.int64) for inner in (len(_STATES), len(TIERS)))
        measured, good, right = (np.zeros(groups, np.int64) for _ in range(3))
        return cls(by_state, by_tier, measured, good, right, np.zeros(groups), np.zeros(groups), np.zeros(groups))


def usd_rates(analysis: Analysis, bills_usd: Sequence[float] | None = None) -> tuple[Floats, Floats]:
    """(pools + 1,): USD that a request is charged for each joule and for each token; the last: no pool.

    `bills_usd` are those to split, by pool; those of the whole run otherwise.

    A bill is split by the energy of the requests that the pool got; where they drew none (a synthetic replica may draw
    none), by their tokens.
    """
    plane, answers = analysis.plane, analysis.answers
    assert answers is not None
    count = len(plane.pools)
    joules, tokens = np.zeros(count + 1), np.zeros(count + 1)
    for part in parts(len(plane.requests)):
        r, pool = plane.requests[part], answers.pool[part].astype(np.int64) % (count + 1)
        joules += np.bincount(pool, r["energy"], count + 1)
        tokens += np.bincount(pool, r["prompt"] + r["output"], count + 1)
    if bills_usd is None:
        bills_usd = [pool.billed_usd(analysis.span_s) for pool in plane.pools]
    bills = np.array([*bills_usd, 0.0])
    drew, asked = joules > 0.0, tokens > 0.0
    per_joule = np.divide(bills, joules, out=np.zeros(count + 1), where=drew)
    return per_joule, np.divide(bills, tokens, out=np.zeros(count + 1), where=asked & ~drew)


def group_sums(analysis: Analysis, groupings: Sequence[Grouping]) -> list[Sums]:
    """The sums of every grouping, in one pass."""
    plane, answers, latencies = analysis.plane, analysis.answers, analysis.latencies
    assert answers is not None
    per_joule, per_token = usd_rates(analysis)
    all_sums = [Sums.of(len(grouping.names)) for grouping in groupings]
    for part in parts(len(plane.requests)):
        r, trips = plane.requests[part], plane.trips[part]
        state = r["status"].astype(np.int64) - COMPLETED
        tier = answers.tier[part]
        right = trips["correct"] == 1
        device_j = np.ascontiguousarray(trips["device_j"])
        egress = np.where(trips["reached"] & LEFT != 0, trips["up_bytes"], np.float32(0.0)).astype(np.float64)
        pool = answers.pool[part]
        usd = r["energy"] * per_joule[pool] + (r["prompt"] + r["output"]) * per_token[pool]
        measured, good = latencies.measured[part], latencies.good[part]
        for sums, grouping in zip(all_sums, groupings, strict=True):
            groups = len(grouping.names)
            codes = grouping.codes[part].astype(np.int64)
            for table, inner in ((sums.by_state, state), (sums.by_tier, tier)):
                table += np.bincount(codes * table.shape[1] + inner, minlength=table.size).reshape(table.shape)
            for counts, which in ((sums.measured, measured), (sums.good, good), (sums.right, right)):
                counts += np.bincount(codes[which], minlength=groups)
            for amounts, values in (
                (sums.device_j, device_j),
                (sums.egress_bytes, egress),
                (sums.cost_usd, usd),
            ):
                amounts += np.bincount(codes, values, groups)
    return all_sums


def group_table(analysis: Analysis, grouping: Grouping, sums: Sums, columns: dict[str, Floats]) -> dict[str, Any]:
    """Name to figures. `columns` are latencies of the requests that count (`Latencies.values`), by name."""
    counted = analysis.latencies.counted
    codes = column(counted, lambda part, rows: grouping.codes[part][rows], grouping.codes.dtype.type)
    order = np.argsort(codes, kind="stable")  # of small integers: a radix sort
    edges = np.concatenate(([0], np.cumsum(np.bincount(codes, minlength=len(grouping.names)))))
    del codes
    table: dict[str, Any] = {name: _figures(analysis, sums, g) for g, name in enumerate(grouping.names)}
    for latency in _SHOWN:
        values = columns[latency]
        for g, name in enumerate(grouping.names):
            mine = values[order[edges[g] : edges[g + 1]]]
            if latency == "tpot_s":
                mine = mine[~np.isnan(mine)]
            table[name][latency] = distribution(mine, _POINTS, mean=False)
    return table


def _figures(analysis: Analysis, sums: Sums, g: int) -> dict[str, Any]:
    requests = int(sums.by_state[g].sum())
    completed = int(sums.by_state[g, 0])
    tiers = sums.by_tier[g, :NOWHERE]
    return {
        "requests": requests,
        **{name: int(count) for name, count in zip(_STATES, sums.by_state[g], strict=True)},
        "share": {tier: ratio(int(count), requests) for tier, count in zip(TIERS, tiers, strict=False)},
        **dict.fromkeys(_SHOWN),
        "slo_attainment": ratio(int(sums.good[g]), int(sums.measured[g])) if analysis.latencies.given else None,
        "quality_mean": ratio(int(sums.right[g]), completed),
        "device_energy_j_per_request": ratio(float(sums.device_j[g]), completed),
        "cost_usd_per_1k_requests": ratio(1000.0 * float(sums.cost_usd[g]), completed),
        "egress_bytes_per_request": ratio(float(sums.egress_bytes[g]), requests),
    }
