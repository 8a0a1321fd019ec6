"""Every figure that only a run with a fleet has: name, unit, type, meaning."""

from __future__ import annotations

from sim.results.column import Column

__all__ = ["FLEET_REQUESTS", "FLEET_SUMMARY", "FLEET_TIMELINE", "GROUP", "POOL"]

FLEET_REQUESTS: tuple[Column, ...] = (
    Column("device", "", "int32", "The device that asked, from 0"),
    Column("device_kind", "", "name", "Its kind: the name of its group"),
    Column("task", "", "name", "What it asked for"),
    Column("network", "", "name", "Network class of the last leg; null when none was sent"),
    Column("action", "", "name", "near, hub, a pool, cascade:POOL or hedge:POOL; null when none was chosen"),
    Column("tier", "", "name", "Who answered: near (the device), edge (hub or edge pool) or far (cloud pool); null "
           "when it was lost"),
    Column("pool", "", "name", "The pool that its last leg reached; null for none"),
    Column("model", "", "name", "Whose answer it got; null for none"),
    Column("correct", "", "flag", "Whether the answer is right (rule Q1); null for none"),
    Column("escalated", "", "flag", "Whether a cascade went on to its pool"),
    Column("throttled", "", "flag", "Whether it was computed at a lowered clock on its device or hub"),
    Column("up_bytes", "B", "float", "Prompt and media, as sent"),
    Column("down_bytes", "B", "float", "Answer and media, as received"),
    Column("difficulty", "logits", "float", "How hard it is"),
    Column("device_energy_j", "J", "double", "Energy of its device that was charged to it: computing and radio"),
    Column("reached", "", "name", "All places where a leg of it arrived: near, hub, edge pool, cloud"),
)  # fmt: skip

FLEET_TIMELINE: tuple[Column, ...] = (
    Column("near", "", "int64", "Requests that arrived in the bin and that their device answered"),
    Column("edge", "", "int64", "... a hub or edge pool"),
    Column("far", "", "int64", "... a cloud pool"),
    Column("none", "", "int64", "... nobody"),
)

_GROUPED = "Name to the figures of a group, below"

FLEET_SUMMARY: tuple[Column, ...] = (
    Column("policy", "", "text", "Name of the policy that chose; null when nobody named it"),
    Column("devices", "", "int64", "Devices"),
    Column("hubs", "", "int64", "Hubs"),
    Column("share", "", "object", "{near, edge, far, none}: requests by who answered / requests; near: the asking "
           "device, edge: a hub or an edge pool, far: a cloud pool, none: lost"),
    Column("quality_mean", "", "double", "Right answers / completed requests (rule Q1)"),
    Column("battery_pct_per_day", "%", "object", "{p50, p99} over the devices with a battery: 100 × energy charged to "
           "requests / capacity × 86400 s / T; null without batteries"),
    Column("throttled_share", "", "double", "Seconds at a lowered clock / seconds of computing, of all devices "
           "together; null when none computed"),
    Column("egress_bytes_per_request", "B", "double", "up_bytes of the requests that reached an edge pool or a cloud / "
           "requests"),
    Column("privacy_violations", "", "int64", "Legs that reached a place their privacy class forbids; should be 0"),
    Column("escalated", "", "int64", "Requests whose cascade went on to its pool"),
    Column("hedged", "", "int64", "Requests whose last action was a hedge"),
    Column("device_energy_j", "J", "double", "Energy of devices charged to requests: computing and radio"),
    Column("device_energy_j_per_request", "J", "double", "device_energy_j / completed; null when none was"),
    Column("hub_energy_j", "J", "double", "What hubs drew to compute for requests"),
    Column("accelerators_paid", "", "double", "Accelerators of the replicas that were paid for (rule X5), on average "
           "over T"),
    Column("unasked_pools_usd", "USD", "double", "Bills of pools that got no request: in the total, in no group's "
           "cost"),
    Column("no_target_by_task", "", "object", "Requests that no device, hub or pool could serve, by task"),
    Column("pools", "", "object", "Pool to its figures, below"),
    Column("by_tier", "", "object", f"{_GROUPED}: who answered or, when lost, had it last; none: nobody ever had it"),
    Column("by_device", "", "object", f"{_GROUPED}: the kind of the device that asked"),
    Column("by_task", "", "object", f"{_GROUPED}: the task; with its limits, slo"),
)  # fmt: skip

GROUP: tuple[Column, ...] = (
    Column("requests", "", "int64", "Requests of the group"),
    Column("completed", "", "int64", "... answered; rejected, abandoned and failed likewise"),
    Column("share", "", "object", "{near, edge, far}: who answered / requests of the group"),
    Column("ttft_s", "s", "object", "{p50, p95, p99}; tpot_s and e2e_s likewise"),
    Column("slo_attainment", "", "double", "As for the run"),
    Column("quality_mean", "", "double", "Right answers / completed"),
    Column("device_energy_j_per_request", "J", "double", "Energy of devices / completed"),
    Column("cost_usd_per_1k_requests", "USD", "double", "1000 × its part of the pools' bills / completed. A bill is "
           "split by the energy of the requests that the pool got, by their tokens where they drew none"),
    Column("egress_bytes_per_request", "B", "double", "As for the run"),
)  # fmt: skip

POOL: tuple[Column, ...] = (
    Column("verdict", "", "text", "On the pool; with verdict_reason, binding_constraint and headroom"),
    Column("tier", "", "text", "edge or cloud"),
    Column("model", "", "text", "What answers, as the fleet names it"),
    Column("deployment", "", "text", "With replica_count, accelerators and accelerators_paid"),
    Column("requests", "", "int64", "Requests whose last leg reached the pool = completed + rejected + abandoned + "
           "failed + elsewhere"),
    Column("completed", "", "int64", "Answered by the pool"),
    Column("elsewhere", "", "int64", "Answered by the device: it won the hedge, or released what a cascade held back"),
    Column("slo_attainment", "", "double", "Of its requests"),
    Column("offered_rps", "1/s", "double", "Its requests by the time over which they were sent"),
    Column("capacity_rps", "1/s", "double", "As for a run with one pool; the limit on TPOT is the scenario's, if any"),
    Column("energy_j_per_request", "J", "double", "Per request that it completed; so is cost_usd_per_1k_requests"),
)  # fmt: skip
