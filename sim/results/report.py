"""report.html: one self-contained page, readable in light and dark, without scripts and without the network.

The verdict first; then what it costs, the latencies against the SLO, pictures, and at last where it all comes
from. Every text is escaped. The same outcome gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path, PureWindowsPath
from string import Template
from typing import Any

import numpy as np
import yaml

from sim.results.analysis import Analysis
from sim.results.outcome import Outcome
from sim.results.report_charts import Series, bar_chart, cdf_chart, line_chart
from sim.results.report_fleet import Baselines, fleet_section, outages_of
from sim.results.report_tables import html_table
from sim.results.words import count, duration, figure, money, percent
from sim.workloads.workload import Workload

__all__ = ["Baselines", "report_html", "workload_sha256"]

_PAGE = Path(__file__).parent / "report.html"
_LATENCIES = (
    ("ttft_s", "Time to first token"),
    ("tpot_s", "Time per output token"),
    ("e2e_s", "End to end"),
    ("queue_s", "Queueing"),
)
_POINTS = ("mean", "p50", "p90", "p95", "p99")
_MOST_REPLICAS = 64

Summary = Mapping[str, Any]


def report_html(analysis: Analysis, summary: Summary, *, baselines: Baselines | None = None) -> str:
    """The page for a finished run and its summary; `baselines` are other policies to draw beside this one."""
    outcome = analysis.outcome
    name = outcome.scenario.get("name") or summary["deployment"]
    parts = {
        "title": escape(str(name)),
        "subtitle": escape(
            f"{summary['replica_count']} × {summary['deployment']}, {count(summary['requests'])} requests, "
            f"{duration(summary['span_s'])} simulated"
        ),
        "verdict": escape(summary["verdict"]),
        "reason": escape(summary["verdict_reason"]),
        "binding": escape(
            f"Binding constraint: {summary['binding_constraint']}. Headroom: {percent(summary['headroom'])}."
        ),
        "figures": _figures(summary),
        "latency": _latency(summary),
        "latency_note": escape(_latency_note(summary)),
        "charts": "\n".join(_charts(analysis, summary)),
        "fleet": fleet_section(analysis, summary, baselines),
        "fates": _fates(summary),
        "replicas": _replicas(summary),
        "provenance": _provenance(outcome, summary),
        "invariants": _invariants(analysis.invariants),
        "scenario": escape(yaml.safe_dump(outcome.scenario, sort_keys=False, allow_unicode=True)),
    }
    return Template(_PAGE.read_text(encoding="utf-8")).substitute(parts)


def workload_sha256(workload: Workload) -> str:
    """A digest of every request of a workload: two workloads with the same digest are the same."""
    digest = hashlib.sha256()
    for record in (workload, workload.asked):
        for field in fields(record) if record is not None else ():
            value = getattr(record, field.name)
            if isinstance(value, np.ndarray):
                digest.update(f"{field.name} {value.dtype} {len(value)}\n".encode())
                digest.update(np.ascontiguousarray(value).data)
    digest.update(str(workload.name_unit_tokens).encode())
    return digest.hexdigest()


# -- tables ----------------------------------------------------------------------------------------------


def _figures(s: Summary) -> str:
    lost = s["rejected"] + s["abandoned"] + s["failed"]
    cost = s["cost_usd_per_1k_requests"]
    pairs = [
        ("GPUs", figure(s["accelerators_paid"]) if "accelerators_paid" in s else count(s["accelerators"])),
        ("per 1k requests", money(cost)),
        ("energy per request", figure(s["energy_j_per_request"], "J")),
        ("served", figure(s["served_rps"], "req/s")),
        ("output", figure(s["throughput_tok_s"], "tok/s")),
        ("lost", percent(lost / s["requests"])),
        ("KV blocks in use", percent(s["kv_utilization"])),
        ("prefix hits", percent(s["prefix_hit_rate"])),
    ]
    if s["slo_attainment"] is not None:
        pairs[3:3] = [
            ("met the SLO", percent(s["slo_attainment"])),
            ("goodput", figure(s["goodput_rps"], "req/s")),
        ]
    return "\n".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)


def _latency(s: Summary) -> str:
    rows = []
    for key, label in _LATENCIES:
        points, limit = s[key], s["slo"].get(key)
        cells = ["-"] * len(_POINTS) if points is None else [duration(points[point]) for point in _POINTS]
        rows.append([label, *cells, duration(limit)])
    return html_table(["", *_POINTS, "SLO"], rows)


def _latency_note(s: Summary) -> str:
    note = "Of completed requests"
    if s["trimmed"]:
        note += f", without the {count(s['trimmed'])} that arrived during the warm-up"
    if s["slo_attainment"] is not None:
        note += f". {percent(s['slo_attainment'])} of all requests completed within every limit"
    return note + "."


def _fates(s: Summary) -> str:
    rows = [["completed", "", count(s["completed"]), percent(s["completed"] / s["requests"])]]
    for state in ("rejected", "abandoned", "failed"):
        for reason, n in s[f"{state}_by"].items():
            if n:
                rows.append([state, reason.replace("_", " "), count(n), percent(n / s["requests"])])
    return html_table(["", "reason", "requests", "share"], rows)


def _replicas(s: Summary) -> str:
    numbers = ("steps", "preemptions", "max_running", "max_waiting")
    rows = []
    first: dict[str, int] = {}  # of each pool of a fleet
    for i, replica in enumerate(s["replicas"]):
        if "pool" in replica:
            first.setdefault(replica["pool"], i)
    used = [(i, replica) for i, replica in enumerate(s["replicas"]) if replica["steps"] or not first]
    for i, replica in used[:_MOST_REPLICAS]:
        counts = [count(replica[name]) for name in numbers]
        name = f"{replica['pool']} {i - first[replica['pool']]}" if first else str(i)
        rows.append([name, percent(replica["busy_share"]), *counts, duration(replica["down_s"])])
    rest = len(used) - len(rows)
    note = f'\n<p class="soft">and {count(rest)} more in summary.json</p>' if rest else ""
    head = ["replica", "busy", "steps", "preemptions", "most running", "most waiting", "down"]
    return html_table(head, rows) + note


def _provenance(outcome: Outcome, s: Summary) -> str:
    source = outcome.plane.workload.provenance
    scenario = json.dumps(outcome.scenario, sort_keys=True, ensure_ascii=False).encode()
    rows = [
        ["seed", str(s["seed"])],
        ["scenario, SHA-256", hashlib.sha256(scenario).hexdigest()],
        ["workload", " ".join([source.kind, PureWindowsPath(source.path).name]).strip()],
        ["requests, SHA-256", workload_sha256(outcome.plane.workload)],
    ]
    if source.sha256:
        rows.append(["trace file, SHA-256", source.sha256])
    if source.rows_read:
        dropped = ", ".join(f"{count(n)} {reason}" for reason, n in s["dropped_by"].items()) or "none"
        rows.append(["rows read", f"{count(source.rows_read)}; dropped: {dropped}"])
    rows += [["workload note", note] for note in s["notes"]]
    rows.append(["confidence in the facts", s["confidence"]])
    rows += [["assumed", name] for name in s["assumed"]]
    return html_table(["", ""], rows, style="words")


def _invariants(invariants: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for i in invariants:
        verdict = "holds" if i["holds"] else "VIOLATED"
        rows.append([str(i["number"]), str(i["name"]), verdict, str(i["detail"])])
    return html_table(["", "invariant", "", "checked"], rows, style="words")


# -- pictures --------------------------------------------------------------------------------------------


def _charts(analysis: Analysis, s: Summary) -> list[str]:
    outcome, timeline, latencies = analysis.outcome, analysis.timeline, analysis.latencies
    middle = timeline.t_s + 0.5 * timeline.width_s
    down = outages_of(analysis)
    lost = [
        (reason.replace("_", " "), n)
        for group in ("rejected_by", "abandoned_by", "failed_by")
        for reason, n in s[group].items()
        if n
    ]
    load = [
        Series("in the system", timeline.in_system),
        Series("waiting", timeline.waiting),
        Series("running", timeline.running),
    ]
    used = [Series("KV blocks", timeline.kv_share), Series("replicas executing", timeline.busy_share)]
    return [
        line_chart("Requests", middle, load, shaded=down),
        line_chart("In use", middle, used, shares=True, shaded=down),
        cdf_chart("Time to first token", latencies.values("ttft_s"), outcome.slo.ttft_s),
        cdf_chart("End to end", latencies.values("e2e_s"), outcome.slo.e2e_s),
        *([bar_chart("Lost requests", lost)] if lost else []),
    ]
