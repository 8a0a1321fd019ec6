"""The figures of a run. `sim.results.columns` defines every one of them; docs/metrics.md is made from it.

summarise(outcome)        the summary: plain numbers and words, ready for JSON
summarise_seeds(list)     the same with confidence intervals over several seeds
interval(values)          {mean, low, high}
check_invariants(outcome) what must hold in every run, checked
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.kernels.state import ABANDONED, COMPLETED, FAILED, REASONS, REJECTED
from sim.results.capacity import capacity_rps
from sim.results.invariants import check_invariants
from sim.results.outcome import Outcome, Slo
from sim.results.seeds import interval, summarise_seeds
from sim.results.timeline import Timeline, build_timeline, busy_seconds, span_of, up_seconds
from sim.results.verdict import Losses, judge, offered_rps
from sim.results.words import percent

__all__ = ["check_invariants", "interval", "summarise", "summarise_seeds"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_HOUR_S = 3600.0
_PERCENTILES = (50, 90, 95, 99)
_OF_STATE = {
    "rejected": (REJECTED, ("too_long", "exceeds_kv", "queue_full")),
    "abandoned": (ABANDONED, ("patience", "deadline")),
    "failed": (FAILED, ("no_replica", "replica_lost")),
}


def summarise(outcome: Outcome, timeline: Timeline | None = None) -> dict[str, Any]:
    """The summary of a finished run, with the keys of `sim.results.columns.SUMMARY` in that order.

    Every value is a plain number, text, list, dict or None. `timeline` saves building it again. Raises
    ValueError when a request is not terminal.
    """
    plane = outcome.plane
    if not plane.done:
        raise ValueError("the run is not over: some requests are still in flight")
    timeline = timeline or build_timeline(plane)
    requests = plane.requests
    counts = _counts(requests)
    measured = requests["arrival"] >= outcome.warmup_s
    good, by_limit, latencies = _latencies(requests, measured, outcome.slo)
    span_s = span_of(requests)
    asked = int(np.count_nonzero(measured))
    attainment = _ratio(good, asked) if outcome.slo.given else None
    attainment_by = {name: _ratio(met, asked) for name, met in by_limit.items()}
    capacity = capacity_rps(plane, outcome.slo.tpot_s) * len(plane.replicas)
    verdict = judge(plane, timeline, _losses(counts), attainment, capacity_rps=capacity, missed=_missed(attainment_by))
    return {
        "verdict": verdict.verdict,
        "verdict_reason": verdict.reason,
        "binding_constraint": verdict.binding,
        "headroom": verdict.headroom,
        "deployment": outcome.deployment.name,
        "replica_count": plane.pool.replicas,
        "accelerators": plane.pool.replicas * outcome.deployment.accelerators_per_replica,
        **counts,
        "trimmed": int(np.count_nonzero(~measured)),
        "span_s": span_s,
        **latencies,
        "slo": {"ttft_s": outcome.slo.ttft_s, "tpot_s": outcome.slo.tpot_s, "e2e_s": outcome.slo.e2e_s},
        "slo_attainment": attainment,
        "slo_attainment_by": attainment_by,
        "capacity_rps": capacity,
        "goodput_rps": _ratio(good, span_s - max(0.0, outcome.warmup_s)),
        **_rates(requests, span_s),
        **_machine(outcome, span_s),
        **_bill(outcome, span_s, counts["completed"]),
        **_engine(outcome, span_s),
        "confidence": outcome.deployment.confidence,
        "assumed": list(outcome.deployment.assumed),
        "seed": outcome.seed,
        **_provenance(outcome),
        "broken_invariants": [one["name"] for one in check_invariants(outcome, timeline) if not one["holds"]],
        "wall_s": outcome.wall_s,
        "engine_s": outcome.engine_s,
        "requests_per_s": _ratio(len(requests), outcome.engine_s),
    }


def _ratio(part: float, whole: float) -> float | None:
    """part / whole, None when there is no whole."""
    return float(part) / float(whole) if whole > 0 else None


def _counts(requests: NDArray[Any]) -> dict[str, Any]:
    states = np.bincount(requests["status"], minlength=FAILED + 1)
    reasons = np.bincount(requests["reason"], minlength=len(REASONS))
    counts: dict[str, Any] = {"requests": len(requests), "completed": int(states[COMPLETED])}
    counts |= {name: int(states[state]) for name, (state, _) in _OF_STATE.items()}
    for name, (_, words) in _OF_STATE.items():
        counts[f"{name}_by"] = {word: int(reasons[REASONS.index(word)]) for word in words}
    return counts


def _losses(counts: dict[str, Any]) -> Losses:
    rejected = counts["rejected_by"]
    unfit = rejected["too_long"] + rejected["exceeds_kv"]
    return Losses(rejected["queue_full"], counts["abandoned"], unfit, counts["failed"])


# -- latencies -------------------------------------------------------------------------------------------


def _missed(by_limit: dict[str, float | None]) -> str:
    """Which limits were missed, where there is more than one."""
    if len(by_limit) < 2:
        return ""
    parts = [f"{name.removesuffix('_s').upper()} {percent(share)}" for name, share in by_limit.items()]
    return f" ({', '.join(parts)})"


def _latencies(
    requests: NDArray[Any], measured: Bools, slo: Slo
) -> tuple[int, dict[str, int], dict[str, dict[str, float] | None]]:
    """How many measured requests completed within the SLO, within each limit, and the distributions of latencies."""
    chosen = np.flatnonzero(measured & (requests["status"] == COMPLETED))
    arrival, scheduled, first, finish = (
        requests[name][chosen] for name in ("arrival", "scheduled", "first_token", "finish")
    )
    more = requests["output"][chosen] - 1
    ttft, e2e, queue = first - arrival, finish - arrival, scheduled - arrival
    tpot = (finish - first) / np.maximum(more, 1)
    good = np.ones(len(chosen), np.bool_)
    by_limit = {}
    for name, values, limit in (("ttft_s", ttft, slo.ttft_s), ("tpot_s", tpot, slo.tpot_s), ("e2e_s", e2e, slo.e2e_s)):
        if limit is not None:
            good &= values <= limit
            by_limit[name] = int(np.count_nonzero(values <= limit))
    tables = {
        "ttft_s": _distribution(ttft),
        "tpot_s": _distribution(tpot[more > 0]),
        "e2e_s": _distribution(e2e),
        "queue_s": _distribution(queue),
    }
    return int(np.count_nonzero(good)), by_limit, tables


def _distribution(values: Floats) -> dict[str, float] | None:
    if len(values) == 0:
        return None
    points = np.percentile(values, _PERCENTILES)
    return {"mean": float(values.mean())} | {
        f"p{p}": float(point) for p, point in zip(_PERCENTILES, points, strict=True)
    }


# -- the pool --------------------------------------------------------------------------------------------


def _rates(requests: NDArray[Any], span_s: float) -> dict[str, float | None]:
    completed = requests["status"] == COMPLETED
    return {
        "served_rps": _ratio(int(np.count_nonzero(completed)), span_s),
        "throughput_tok_s": _ratio(float(requests["output"][completed].sum(dtype=np.int64)), span_s),
        "prompt_tok_s": _ratio(float(requests["prompt"][completed].sum(dtype=np.int64)), span_s),
    }


def _machine(outcome: Outcome, span_s: float) -> dict[str, Any]:
    plane, replicas = outcome.plane, outcome.plane.replicas
    busy, up = busy_seconds(replicas, span_s), up_seconds(replicas, span_s)
    block_s = plane.pool.engine.kv_blocks * len(replicas) * span_s
    admitted = ~np.isnan(plane.requests["scheduled"])
    cached = plane.requests["cached"][admitted].sum(dtype=np.int64)
    return {
        "gpu_utilization": _ratio(busy.sum(), up.sum()),
        "kv_utilization": _ratio(replicas["kv_block_s"].sum(), block_s),
        "prefix_hit_rate": _ratio(cached, plane.requests["prompt"][admitted].sum(dtype=np.int64)),
        "preemptions": int(replicas["preemptions"].sum()),
        "blocked_s": {name: float(replicas[f"blocked_{name}_s"].sum()) for name in ("kv", "seqs", "tokens")},
    }


def _bill(outcome: Outcome, span_s: float, completed: int) -> dict[str, float | None]:
    facts, replicas = outcome.deployment, outcome.plane.replicas
    idle_s = float(np.maximum(0.0, up_seconds(replicas, span_s) - busy_seconds(replicas, span_s)).sum())
    idle_j = idle_s * facts.idle_w * facts.accelerators_per_replica
    energy_j = (float(replicas["energy_j"].sum()) + idle_j) * facts.pue
    accelerators = facts.accelerators_per_replica * len(replicas)
    cost_usd = accelerators * span_s / _HOUR_S * facts.price_usd_per_hour
    return {
        "energy_j": energy_j,
        "energy_j_per_request": _ratio(energy_j, completed),
        "cost_usd": cost_usd,
        "cost_usd_per_1k_requests": _ratio(1000.0 * cost_usd, completed),
    }


def _engine(outcome: Outcome, span_s: float) -> dict[str, Any]:
    replicas = outcome.plane.replicas
    busy, up = busy_seconds(replicas, span_s), up_seconds(replicas, span_s)
    return {
        "steps": int(replicas["executed"].sum()),
        "replicas": [
            {
                "busy_share": _ratio(busy[i], up[i]),
                "steps": int(replica["executed"]),
                "preemptions": int(replica["preemptions"]),
                "max_running": int(replica["max_running"]),
                "max_waiting": int(replica["max_waiting"]),
                "down_s": span_s - float(up[i]),
            }
            for i, replica in enumerate(replicas)
        ],
    }


def _provenance(outcome: Outcome) -> dict[str, Any]:
    source, requests = outcome.plane.workload.provenance, outcome.plane.requests
    return {
        "workload": source.kind,
        "offered_rps": offered_rps(outcome.plane),
        "prompt_tokens_mean": float(requests["prompt"].mean()),
        "output_tokens_mean": float(requests["output"].mean()),
        "workload_sha256": source.sha256 or None,
        "rows_read": source.rows_read,
        "requests_emitted": source.rows_emitted,
        "dropped": sum(source.dropped.values()),
        "dropped_by": {reason: source.dropped[reason] for reason in sorted(source.dropped)},
        "notes": list(source.notes),
    }
