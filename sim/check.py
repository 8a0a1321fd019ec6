"""`nearfar check`: everything that can be wrong with a scenario, found without running it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sim.loading import load
from sim.resolve import ResolvedPool
from sim.run import Prepared, prepare
from sim.workloads.workload import Workload

__all__ = ["check_scenario", "check_screen"]


def check_scenario(
    source: str | Path,
    *,
    changes: Mapping[str, Any] | None = None,
    trace: Path | None = None,
    requests: int | None = None,
    time_scale: float | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """What the scenario resolves to. Raises `UserError` for the first thing that is wrong."""
    loaded = load(source, changes=changes)
    prepared = prepare(loaded, seed=seed, trace=trace, requests=requests, time_scale=time_scale)
    workload, provenance = prepared.workload, prepared.workload.provenance
    return {
        "scenario": loaded.scenario.name,
        "pools": [_pool(pool, workload) for pool in prepared.pools],
        "fleet": _fleet(prepared),
        "policy": prepared.routing.name if prepared.routing else None,
        "requests": len(workload),
        "prompt_tokens_mean": float(workload.prompt_tokens.mean()),
        "output_tokens_mean": float(workload.output_tokens.mean()),
        "span_s": float(np.max(workload.arrival_s[workload.after < 0], initial=0.0)),
        "rows_read": provenance.rows_read,
        "dropped": dict(provenance.dropped),
        "notes": [*provenance.notes, *prepared.notes],
    }


def _pool(pool: ResolvedPool, workload: Workload) -> dict[str, Any]:
    settings, engine = pool.settings, pool.settings.engine
    total = workload.prompt_tokens.astype(np.int64) + workload.output_tokens
    fits = total <= engine.max_model_len
    return {
        "pool": settings.name,
        "deployment": pool.facts.name,
        "replicas": settings.started,
        "most_replicas": settings.replicas,
        "accelerators": settings.started * pool.facts.accelerators_per_replica,
        "kv_blocks": engine.kv_blocks,
        "kv_tokens": engine.kv_blocks * engine.block_size,
        "max_model_len": engine.max_model_len,
        "too_long": int((~fits).sum()),
        "exceeds_kv": int((fits & (-(-(total - 1) // engine.block_size) > engine.kv_blocks)).sum()),
        "confidence": pool.facts.confidence,
        "assumed": list(pool.facts.assumed),
    }


def _fleet(prepared: Prepared) -> dict[str, Any] | None:
    fleet = prepared.fleet
    if fleet is None:
        return None
    return {
        "devices": fleet.devices,
        "hubs": fleet.rows - fleet.devices,
        "groups": fleet.facts["groups"],
        "networks": fleet.facts["networks"],
        "tasks": fleet.task_names,
        "assumed": list(fleet.assumed),
    }


def check_screen(result: dict[str, Any]) -> str:
    """One screen."""
    fleet = result["fleet"]
    lines = [f"{result['scenario']}: fine"]
    if fleet is not None:
        lines.append(f"  fleet {fleet['devices']:,} devices, {fleet['hubs']:,} hubs; policy {result['policy']}")
        for name, group in fleet["groups"].items():
            count = f"{group['devices']:,} x " if "devices" in group else ""
            answers = group.get("answers_with", "no model of its own")
            lines.append(f"    {name}: {count}{group['device']}, {answers}")
    for pool in result["pools"]:
        lines += _pool_lines(pool)
    lines.append(
        f"  workload {result['requests']:,} requests over {result['span_s']:,.0f} s, "
        f"{result['prompt_tokens_mean']:,.0f} prompt and {result['output_tokens_mean']:,.0f} output tokens on average"
    )
    if fleet is None:
        lines += _rejections(result["pools"])
    if result["rows_read"]:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in result["dropped"].items()) or "none"
        lines.append(f"  {result['rows_read']:,} rows read, dropped: {dropped}")
    lines += [f"  note: {note}" for note in result["notes"]]
    for pool in result["pools"]:
        lines.append(f"  confidence {pool['confidence']}; assumed: {'; '.join(pool['assumed']) or 'nothing'}")
    if fleet is not None:
        lines += ["  the fleet assumes:", *(f"    {one}" for one in fleet["assumed"])]
    return "\n".join(lines)


def _pool_lines(pool: dict[str, Any]) -> list[str]:
    most = f", up to {pool['most_replicas']}" if pool["most_replicas"] > pool["replicas"] else ""
    return [
        f"  pool {pool['pool']}: {pool['replicas']} x {pool['deployment']} ({pool['accelerators']} accelerators{most})",
        f"  KV cache {pool['kv_blocks']:,} blocks = {pool['kv_tokens']:,} tokens a replica; "
        f"longest request {pool['max_model_len']:,} tokens",
    ]


def _rejections(pools: list[dict[str, Any]]) -> list[str]:
    return [
        f"  {lost:,} of them will be rejected: {pool['too_long']:,} too_long, {pool['exceeds_kv']:,} exceeds_kv"
        for pool in pools
        if (lost := pool["too_long"] + pool["exceeds_kv"])
    ]
