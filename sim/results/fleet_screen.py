"""The summary of a run with a fleet on one terminal screen: who answered, how well, at what cost to whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.results.answers import TIERS
from sim.results.screen_rows import (
    WIDTH,
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

__all__ = ["fleet_screen"]

_LINES = 40
_GROUPS = (("tier", "by_tier"), ("device", "by_device"), ("task", "by_task"))
_HEADS = ("requests", "near", "far", "lost", "TTFT p50", "p99", "E2E p99", "SLO", "right", "J dev", "$/1k")
_WIDTHS = (9, 6, 6, 6, 9, 8, 8, 6, 6, 7, 8)
_NAME = 21
_FEWEST = 3  # rows of a group, however many lines there are


def fleet_screen(summary: Mapping[str, Any]) -> str:
    """At most 40 lines of at most 100 columns, without colours."""
    s = summary
    share = ", ".join(f"{tier} {percent(s['share'][tier])}" for tier in TIERS)
    above = [
        *wrapped_lines(s["verdict"], s["verdict_reason"])[:3],
        row_line("binds", f"{s['binding_constraint']}; headroom {percent(s['headroom'])}"),
        row_line("policy", f"{s['policy'] or '-'} over {count(s['devices'])} devices and {count(s['hubs'])} hubs"),
        row_line("answered by", f"{share}; {count(s['escalated'])} escalated, {count(s['hedged'])} hedged"),
        row_line("quality", f"{percent(s['quality_mean'])} right" + _slo(s)),
        row_line("battery", f"{_battery(s)}; throttled {percent(s['throttled_share'])} of the computing"),
        row_line("privacy", f"{count(s['privacy_violations'])} violations; "
                 f"{figure(s['egress_bytes_per_request'], 'bytes')} a request left the users' own machines"),
        row_line("cost", f"{figure(s['accelerators_paid'])} GPUs on average, "
                 f"{money(s['cost_usd_per_1k_requests'])} per 1k; "
                 f"pools {figure(s['energy_j_per_request'], 'J')}, "
                 f"devices {figure(s['device_energy_j_per_request'], 'J')} a request"),
        *_idle(s),
        row_line("requests", counts_text(s)),
        *lost_lines(s),
        *_no_target(s),
        *warm_up_lines(s),
        row_line("rates", f"{figure(s['served_rps'], 'requests/s')} served, {duration(s['span_s'])} simulated"),
    ]  # fmt: skip
    below = [
        row_line("workload", f"{workload_text(s)}; {offered_text(s)}"),
        *listed_lines("notes", s["notes"])[:1],
        row_line("confidence", f"{s['confidence']}; {count(len(s['assumed']))} assumptions, in summary.json"),
        *speed_lines(s),
        *seeds_lines(s),
    ]
    room = _LINES - len(above) - len(below) - 1
    lines = [*above, *_tables(s, room), *below]
    return "\n".join(line.rstrip() for line in lines[:_LINES])


def _slo(s: Mapping[str, Any]) -> str:
    if s["slo_attainment"] is None:
        return ""
    whose = "the SLO" if any(s["slo"].values()) else "their task's SLO"
    return f"; {percent(s['slo_attainment'])} met {whose}, goodput {figure(s['goodput_rps'], 'requests/s')}"


def _battery(s: Mapping[str, Any]) -> str:
    points = s["battery_pct_per_day"]
    if points is None:
        return "none"
    return f"p50 {figure(points['p50'], '%')} a day, p99 {figure(points['p99'], '%')}"


def _idle(s: Mapping[str, Any]) -> list[str]:
    """Bills that no request can be charged with."""
    if not s["unasked_pools_usd"]:
        return []
    return [
        row_line("  of it", f"{money(s['unasked_pools_usd'])} in all for pools that nobody asked: not in the table")
    ]


def _no_target(s: Mapping[str, Any]) -> list[str]:
    if not s["no_target_by_task"]:
        return []
    return [row_line("no target", ", ".join(f"{task} {count(n)}" for task, n in s["no_target_by_task"].items()))]


# -- tables ------------------------------------------------------------------------------------------------------------


def _tables(s: Mapping[str, Any], room: int) -> list[str]:
    """The groups and the pools, as many rows as there is room for; the busiest first."""
    groups = {label: _busiest(s[key]) for label, key in _GROUPS}
    pools = list(s["pools"].items())
    allowed = {label: min(len(rows), _FEWEST) for label, rows in (groups | {"pool": pools}).items()}
    left = room - 1 - sum(allowed.values())
    for label, rows in (groups | {"pool": pools}).items():
        more = max(0, min(left, len(rows) - allowed[label]))
        allowed[label] += more
        left -= more
    lines = [f"{'':<{_NAME}}" + _cells(_HEADS)]
    for label, rows in groups.items():
        lines += [_group(label, name, group) for name, group in rows[: allowed[label]]]
    lines += [_pool(name, pool) for name, pool in pools[: allowed["pool"]]]
    return lines[: max(0, room)]


def _busiest(groups: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    asked = [(name, group) for name, group in groups.items() if group["requests"]]
    return sorted(asked, key=lambda named: -int(named[1]["requests"]))


def _cells(texts: tuple[str, ...]) -> str:
    return "".join(f"{text:>{width}}" for text, width in zip(texts, _WIDTHS, strict=True))


def _group(label: str, name: str, group: Mapping[str, Any]) -> str:
    ttft, e2e = group["ttft_s"] or {}, group["e2e_s"] or {}
    lost = 1.0 - group["completed"] / group["requests"]
    cells = (
        _short(group["requests"]),
        *(_whole(share) for share in (group["share"]["near"], group["share"]["far"], lost)),
        *(duration(points.get(point)) for points, point in ((ttft, "p50"), (ttft, "p99"), (e2e, "p99"))),
        _whole(group["slo_attainment"]),
        _whole(group["quality_mean"]),
        figure(group["device_energy_j_per_request"]),
        money(group["cost_usd_per_1k_requests"]),
    )
    return f"{label + ' ' + name:<{_NAME}.{_NAME}}" + _cells(cells)


def _pool(name: str, pool: Mapping[str, Any]) -> str:
    each = pool["accelerators"] / pool["replica_count"]
    paid = figure(pool["accelerators_paid"] / each)
    most = "" if float(pool["accelerators_paid"]) >= pool["accelerators"] else f"{paid} of "
    return (
        f"{'pool ' + name:<{_NAME}.{_NAME}}{pool['verdict']}, headroom {_whole(pool['headroom'])}, "
        f"{_short(pool['requests'])} requests: {most}{pool['replica_count']} x {pool['deployment']}"
    )[:WIDTH]


def _short(n: int) -> str:
    return count(n) if n < 1_000_000 else f"{n / 1e6:.3g} M"


def _whole(share: float | None) -> str:
    """A share in full percents, when it is neither all nor nothing."""
    if share is None:
        return "-"
    if 0.0 < share < 0.005:
        return "< 1 %"
    return "> 99 %" if 0.995 < share < 1.0 else f"{100 * share:.0f} %"
