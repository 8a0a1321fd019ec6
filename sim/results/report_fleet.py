"""The part of the report that only a fleet has: who answered, what it cost devices and users, by device and task."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from sim.results.analysis import Analysis
from sim.results.answers import TIERS
from sim.results.chart_parts import Series, Span
from sim.results.devices import battery_pct_per_day, heat_by_kind
from sim.results.report_charts import bar_chart
from sim.results.report_fleet_charts import Mark, scatter_chart, stacked_chart, tail_chart
from sim.results.report_tables import html_table
from sim.results.words import count, duration, figure, money, percent

__all__ = ["Baselines", "fleet_section", "outages_of"]

Baselines = Mapping[str, Mapping[str, float | None]]
"""Policy to its `quality_mean` and `cost_usd_per_1k_requests`."""
Summary = Mapping[str, Any]

_FIGURES = (
    "requests", "near", "edge", "far", "lost", "TTFT p50", "p99", "E2E p50", "p99", "met the SLO", "right", "J device",
    "$ per 1k", "bytes out",
)  # fmt: skip
_GROUPS = (("by_tier", "Who had it"), ("by_device", "Device"), ("by_task", "Task"))


def fleet_section(analysis: Analysis, s: Summary, baselines: Baselines | None) -> str:
    """Headings, charts and tables; nothing without a fleet."""
    if analysis.plane.fleet is None:
        return ""
    parts = ["<h2>Near or far</h2>", f'<p class="soft">{escape(_words(s))}</p>', '<div class="charts">']
    parts += [*_charts(analysis, s, baselines), "</div>"]
    for key, label in _GROUPS:
        rows = [_row(name, group) for name, group in s[key].items() if group["requests"]]
        parts.append(f'<div class="scroll">\n{html_table([label, *_FIGURES], rows, style="dense")}\n</div>')
    parts += ["<h2>Pools</h2>", f'<div class="scroll">\n{_pools(s)}\n</div>']
    return "\n".join(parts)


def outages_of(analysis: Analysis) -> list[Span]:
    """When replicas were down: as the outcome tells, else those that are down at the end."""
    told = [(outage.since_s, min(outage.until_s, analysis.span_s)) for outage in analysis.outcome.outages]
    if told:
        return told
    pools = analysis.plane.pools
    down = [float(row["down_since"]) for pool in pools for row in pool.replicas[pool.replicas["failed"] != 0]]
    return [(since, analysis.span_s) for since in sorted(down)]


def _words(s: Summary) -> str:
    policy = f"Policy {s['policy']}. " if s["policy"] else ""
    shares = ", ".join(f"{percent(s['share'][tier])} {tier}" for tier in TIERS)
    heat = f"{percent(s['throttled_share'])} of the computing on devices was throttled"
    text = (
        f"{policy}{count(s['devices'])} devices and {count(s['hubs'])} hubs answered: {shares}. "
        f"{percent(s['quality_mean'])} of the answers were right; {heat}; "
        f"{figure(s['egress_bytes_per_request'], 'bytes')} a request left the users' own machines; "
        f"{count(s['privacy_violations'])} privacy violations."
    )
    if s["no_target_by_task"]:
        tasks = ", ".join(f"{task} ({count(n)})" for task, n in s["no_target_by_task"].items())
        text += f" No target could serve: {tasks}."
    return text


def _charts(analysis: Analysis, s: Summary, baselines: Baselines | None) -> list[str]:
    plane, timeline = analysis.plane, analysis.timeline
    assert timeline.answered_by is not None
    series = [Series(tier, timeline.answered_by[tier].astype(np.float64)) for tier in TIERS]
    battery = battery_pct_per_day(plane, analysis.span_s)
    heat = [(kind, share) for kind, share in heat_by_kind(plane).items() if share is not None]
    return [
        stacked_chart("Who answered, by arrival", timeline.t_s, series, shaded=outages_of(analysis)),
        tail_chart("Devices by battery a day", battery, "%", "No request took energy from a battery."),
        bar_chart("Computing at a lowered clock", heat, percent),
        scatter_chart(
            "Quality against cost", _marks(s, baselines), x_text="USD per 1k requests", y_text="right answers"
        ),
    ]


def _marks(s: Summary, baselines: Baselines | None) -> list[Mark]:
    named = {s["policy"] or "this policy": s} | {k: v for k, v in (baselines or {}).items() if k != s["policy"]}
    marks = []
    for name, figures in named.items():
        quality, cost = figures["quality_mean"], figures["cost_usd_per_1k_requests"]
        if quality is not None and cost is not None:
            marks.append(Mark(name, cost, quality))
    return marks


def _row(name: str, group: Mapping[str, Any]) -> list[str]:
    ttft, e2e = group["ttft_s"] or {}, group["e2e_s"] or {}
    lost = group["requests"] - group["completed"]
    return [
        name,
        count(group["requests"]),
        *(percent(group["share"][tier]) for tier in TIERS[:-1]),
        percent(lost / group["requests"]),
        *(duration(points.get(point)) for points in (ttft, e2e) for point in ("p50", "p99")),
        percent(group["slo_attainment"]),
        percent(group["quality_mean"]),
        figure(group["device_energy_j_per_request"]),
        money(group["cost_usd_per_1k_requests"]),
        figure(group["egress_bytes_per_request"]),
    ]


def _pools(s: Summary) -> str:
    head = [
        "pool", "", "verdict", "headroom", "requests", "answered", "capacity", "GPUs", "busy", "KV blocks",
        "prefix hits", "preemptions", "cost", "energy",
    ]  # fmt: skip
    rows = [
        [
            name,
            f"{pool['tier']}, {pool['replica_count']} × {pool['deployment']}",
            pool["verdict"],
            percent(pool["headroom"]),
            count(pool["requests"]),
            count(pool["completed"]),
            figure(pool["capacity_rps"], "req/s"),
            figure(pool["accelerators_paid"]),
            percent(pool["gpu_utilization"]),
            percent(pool["kv_utilization"]),
            percent(pool["prefix_hit_rate"]),
            count(pool["preemptions"]),
            money(pool["cost_usd"]),
            figure(pool["energy_j"] / 3.6e6, "kWh"),
        ]
        for name, pool in s["pools"].items()
    ]
    return html_table(head, rows, style="dense") if rows else '<p class="soft">This scenario has none.</p>'
