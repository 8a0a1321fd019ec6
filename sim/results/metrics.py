"""The figures of a run. `sim.results.columns` defines every one of them; docs/metrics.md is made from it.

summarise(outcome)        the summary: plain numbers and words, ready for JSON
summarise_seeds(list)     the same with confidence intervals over several seeds
interval(values)          {mean, low, high}
check_invariants(outcome) what must hold in every run, checked
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles import weakest
from sim.kernels.state import ABANDONED, COMPLETED, FAILED, REASONS, REJECTED
from sim.results.analysis import Analysis
from sim.results.fleet_metrics import judge_fleet, summarise_fleet
from sim.results.invariants import check_invariants
from sim.results.latencies import ratio
from sim.results.outcome import Outcome
from sim.results.parts import parts
from sim.results.pool_book import rate_rps
from sim.results.pool_metrics import PoolFigures, pool_figures, replica_rows, totals
from sim.results.seeds import interval, summarise_seeds

__all__ = ["check_invariants", "interval", "summarise", "summarise_seeds"]

_PERCENTILES = (50, 90, 95, 99)
_OF_STATE = {
    "rejected": (REJECTED, ("too_long", "exceeds_kv", "queue_full")),
    "abandoned": (ABANDONED, ("patience", "deadline")),
    "failed": (FAILED, ("no_replica", "replica_lost")),
}
_FAILED_IN_A_FLEET = ("device_off", "no_target", "device_lost")


def summarise(outcome: Outcome, analysis: Analysis | None = None) -> dict[str, Any]:
    """The summary of a finished run, with the keys of `sim.results.columns.SUMMARY` in that order; those of
    `FLEET_SUMMARY` follow when the run has a fleet.

    Every value is a plain number, text, list, dict or None. `analysis` saves working it out again. Raises
    ValueError when a request is not terminal.
    """
    analysis = analysis or Analysis(outcome)
    plane, span_s, latencies = outcome.plane, analysis.span_s, analysis.latencies
    counts = _counts(plane.requests, in_fleet=plane.fleet is not None)
    attainment = latencies.attainment()
    pools, replicas = _pools(analysis)
    verdict = pools[0].judgement if plane.fleet is None else judge_fleet(analysis, pools)
    good = int(np.count_nonzero(latencies.good))
    figures = totals(pools, counts["completed"])
    return {
        "verdict": verdict.verdict,
        "verdict_reason": verdict.reason,
        "binding_constraint": verdict.binding,
        "headroom": verdict.headroom,
        **{name: figures.pop(name) for name in ("deployment", "replica_count", "accelerators")},
        **counts,
        "trimmed": int(np.count_nonzero(~latencies.measured)),
        "span_s": span_s,
        **latencies.tables(_PERCENTILES),
        "slo": {"ttft_s": outcome.slo.ttft_s, "tpot_s": outcome.slo.tpot_s, "e2e_s": outcome.slo.e2e_s},
        "slo_attainment": attainment.share,
        "slo_attainment_by": dict(attainment.by_limit),
        "capacity_rps": figures.pop("capacity_rps"),
        "goodput_rps": ratio(good, span_s - max(0.0, outcome.warmup_s)),
        **_rates(plane.requests, span_s),
        **figures,
        "replicas": replicas,
        **_trust(outcome),
        "seed": outcome.seed,
        **_provenance(outcome),
        **(summarise_fleet(analysis, pools) if plane.fleet is not None else {}),
        "broken_invariants": [one["name"] for one in analysis.invariants if not one["holds"]],
        "wall_s": outcome.wall_s,
        "engine_s": outcome.engine_s,
        "requests_per_s": ratio(len(plane.requests), outcome.engine_s),
    }


def _counts(requests: NDArray[Any], *, in_fleet: bool) -> dict[str, Any]:
    states = np.bincount(requests["status"], minlength=FAILED + 1)
    reasons = np.bincount(requests["reason"], minlength=len(REASONS))
    counts: dict[str, Any] = {"requests": len(requests), "completed": int(states[COMPLETED])}
    counts |= {name: int(states[state]) for name, (state, _) in _OF_STATE.items()}
    for name, (_, words) in _OF_STATE.items():
        more = _FAILED_IN_A_FLEET if in_fleet and name == "failed" else ()
        counts[f"{name}_by"] = {word: int(reasons[REASONS.index(word)]) for word in (*words, *more)}
    return counts


def _pools(analysis: Analysis) -> tuple[list[PoolFigures], list[dict[str, Any]]]:
    """The figures of every pool, and a row for every replica; with a fleet it names the pool."""
    outcome, answers = analysis.outcome, analysis.answers
    figures, rows = [], []
    for number, book in enumerate(analysis.books()):
        slo = analysis.latencies.attainment(None if answers is None else answers.pool == number)
        remote = answers is not None
        figures.append(pool_figures(book, outcome.pools[number], slo, outcome.slo.tpot_s, remote=remote))
        name = {} if answers is None else {"pool": book.pool.pool.name}
        rows += [name | row for row in replica_rows(book)]
    return figures, rows


def _rates(requests: NDArray[Any], span_s: float) -> dict[str, float | None]:
    served = output = prompt = 0
    for part in parts(len(requests)):
        completed = requests["status"][part] == COMPLETED
        served += int(np.count_nonzero(completed))
        output += int(requests["output"][part][completed].sum(dtype=np.int64))
        prompt += int(requests["prompt"][part][completed].sum(dtype=np.int64))
    return {
        "served_rps": ratio(served, span_s),
        "throughput_tok_s": ratio(output, span_s),
        "prompt_tok_s": ratio(prompt, span_s),
    }


def _trust(outcome: Outcome) -> dict[str, Any]:
    """How far to trust the facts: the weakest of them, and the guesses among them."""
    fleet = outcome.plane.fleet
    confidences: list[Any] = [facts.confidence for facts in outcome.pools]
    assumed: Sequence[str] = [name for facts in outcome.pools for name in facts.assumed]
    if fleet is not None:
        confidences.append(fleet.facts.get("confidence", "assumed"))
        assumed = list(dict.fromkeys((*assumed, *fleet.assumed)))
    return {
        "confidence": confidences[0] if len(confidences) == 1 else weakest(confidences),
        "assumed": list(assumed),
    }


def _provenance(outcome: Outcome) -> dict[str, Any]:
    source, requests = outcome.plane.workload.provenance, outcome.plane.requests
    return {
        "workload": source.kind,
        "offered_rps": rate_rps(requests["arrival"]),
        "prompt_tokens_mean": float(requests["prompt"].mean()),
        "output_tokens_mean": float(requests["output"].mean()),
        "workload_sha256": source.sha256 or None,
        "rows_read": source.rows_read,
        "requests_emitted": source.rows_emitted,
        "dropped": sum(source.dropped.values()),
        "dropped_by": {reason: source.dropped[reason] for reason in sorted(source.dropped)},
        "notes": list(source.notes),
    }
