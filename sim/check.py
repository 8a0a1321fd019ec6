"""`nearfar check`: everything that can be wrong with a scenario, found without running it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sim.run import prepare
from sim.scenario import load

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
    workload, settings = prepared.workload, prepared.pool.settings
    engine = settings.engine
    total = workload.prompt_tokens + workload.output_tokens
    fits = total <= engine.max_model_len
    provenance = workload.provenance
    return {
        "scenario": loaded.scenario.name,
        "pool": settings.name,
        "deployment": prepared.pool.facts.name,
        "replicas": settings.replicas,
        "accelerators": settings.replicas * prepared.pool.facts.accelerators_per_replica,
        "kv_blocks": engine.kv_blocks,
        "kv_tokens": engine.kv_blocks * engine.block_size,
        "max_model_len": engine.max_model_len,
        "requests": len(workload),
        "prompt_tokens_mean": float(workload.prompt_tokens.mean()),
        "output_tokens_mean": float(workload.output_tokens.mean()),
        "too_long": int((~fits).sum()),
        "exceeds_kv": int((fits & (-(-(total - 1) // engine.block_size) > engine.kv_blocks)).sum()),
        "span_s": float(np.max(workload.arrival_s[workload.after < 0], initial=0.0)),
        "rows_read": provenance.rows_read,
        "dropped": dict(provenance.dropped),
        "notes": list(provenance.notes),
        "confidence": prepared.pool.facts.confidence,
        "assumed": list(prepared.pool.facts.assumed),
    }


def check_screen(result: dict[str, Any]) -> str:
    """One screen."""
    lines = [
        f"{result['scenario']}: fine",
        f"  pool {result['pool']}: {result['replicas']} x {result['deployment']} "
        f"({result['accelerators']} accelerators)",
        f"  KV cache {result['kv_blocks']:,} blocks = {result['kv_tokens']:,} tokens a replica; "
        f"longest request {result['max_model_len']:,} tokens",
        f"  workload {result['requests']:,} requests over {result['span_s']:,.0f} s, "
        f"{result['prompt_tokens_mean']:,.0f} prompt and {result['output_tokens_mean']:,.0f} output tokens on average",
    ]
    lost = result["too_long"] + result["exceeds_kv"]
    if lost:
        lines.append(
            f"  {lost:,} of them will be rejected: {result['too_long']:,} too_long, {result['exceeds_kv']:,} exceeds_kv"
        )
    if result["rows_read"]:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in result["dropped"].items()) or "none"
        lines.append(f"  {result['rows_read']:,} rows read, dropped: {dropped}")
    lines += [f"  note: {note}" for note in result["notes"]]
    lines.append(f"  confidence {result['confidence']}; assumed: {'; '.join(result['assumed']) or 'nothing'}")
    return "\n".join(lines)
