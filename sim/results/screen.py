"""A summary on one terminal screen: the verdict first, then what it costs, then the figures behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.results.fleet_screen import fleet_screen
from sim.results.screen_rows import (
    counts_text,
    listed_lines,
    lost_lines,
    offered_text,
    row_line,
    seeds_lines,
    speed_lines,
    warm_up_lines,
    workload_text,
    wrapped_lines,
)
from sim.results.words import count, duration, figure, money, percent

__all__ = ["screen"]

_LATENCIES = (("ttft_s", "TTFT"), ("tpot_s", "TPOT"), ("e2e_s", "E2E"), ("queue_s", "queue"))
_POINTS = ("mean", "p50", "p90", "p95", "p99")


def screen(summary: Mapping[str, Any]) -> str:
    """At most 40 lines of at most 100 columns, without colours, for the summary of one run."""
    s = summary
    if "share" in s:
        return fleet_screen(s)
    lines = [
        *wrapped_lines(s["verdict"], s["verdict_reason"]),
        row_line("binds", f"{s['binding_constraint']}; headroom {percent(s['headroom'])}"),
        "",
        row_line("deployment", f"{s['replica_count']} x {s['deployment']}"),
        row_line("cost", f"{s['accelerators']} GPUs, {money(s['cost_usd_per_1k_requests'])} per 1k requests, "
             f"{figure(s['energy_j_per_request'], 'J')} per request"),
        row_line("requests", counts_text(s)),
        *lost_lines(s),
        *warm_up_lines(s),
        row_line("rates", f"{figure(s['served_rps'], 'requests/s')} served, "
             f"{figure(s['throughput_tok_s'], 'output tokens/s')}, {duration(s['span_s'])} simulated"),
        *([row_line("SLO", _slo(s))] if s["slo_attainment"] is not None else []),
        "",
        row_line("latency", "".join(f"{point:>12}" for point in (*_POINTS, "SLO")).rstrip()),
        *[row_line(f"  {label}", _latency(s[key], s["slo"].get(key))) for key, label in _LATENCIES],
        "",
        row_line("in use", f"GPU busy {percent(s['gpu_utilization'])}, KV blocks {percent(s['kv_utilization'])}, "
             f"prefix hits {percent(s['prefix_hit_rate'])}, {count(s['preemptions'])} preemptions"),
        row_line("waited for", ", ".join(f"{name} {duration(value)}" for name, value in s["blocked_s"].items())),
        "",
        row_line("workload", workload_text(s)),
        row_line("offered", offered_text(s)),
        *listed_lines("notes", s["notes"]),
        row_line("confidence", s["confidence"]),
        *listed_lines("assumed", s["assumed"]),
        *speed_lines(s),
        *seeds_lines(s),
    ]  # fmt: skip
    return "\n".join(line.rstrip() for line in lines)


def _slo(s: Mapping[str, Any]) -> str:
    return f"{percent(s['slo_attainment'])} met, goodput {figure(s['goodput_rps'], 'requests/s')}"


def _latency(points: Mapping[str, float] | None, limit: float | None) -> str:
    if points is None:
        return f"{'-':>12}"
    cells = [duration(points[point]) for point in _POINTS] + ([duration(limit)] if limit is not None else [])
    return "".join(f"{cell:>12}" for cell in cells)
