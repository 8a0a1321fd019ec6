"""The figures of one pool, and of all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sim.results.capacity import capacity_rps
from sim.results.latencies import ratio
from sim.results.outcome import DeploymentFacts
from sim.results.pool_book import PoolBook
from sim.results.replicas import busy_seconds, up_seconds
from sim.results.verdict import Attainment, Judgement, judge

__all__ = ["PoolFigures", "pool_entry", "pool_figures", "replica_rows", "totals"]

_BLOCKED = ("kv", "seqs", "tokens")


class PoolFigures(NamedTuple):
    """What results say of a pool; sums of it over the pools are the figures of the run."""

    name: str
    facts: DeploymentFacts
    judgement: Judgement
    slo_attainment: float | None
    requests: int
    ended: dict[str, int]
    offered_rps: float
    capacity_rps: float
    replicas: int
    busy_s: float
    up_s: float
    kv_block_s: float
    kv_block_room_s: float
    """KV blocks of all replicas x the span."""
    cached_tokens: int
    prompt_tokens: int
    output_tokens: int
    preemptions: int
    blocked_s: dict[str, float]
    steps: int
    energy_j: float
    cost_usd: float
    accelerators_paid: float
    """On average over the span."""

    @property
    def accelerators(self) -> int:
        """Accelerators of all replicas."""
        return self.replicas * self.facts.accelerators_per_replica


def pool_figures(
    book: PoolBook, facts: DeploymentFacts, slo: Attainment, tpot_limit_s: float | None = None, *, remote: bool = False
) -> PoolFigures:
    """All figures of one pool; `slo` is what its requests met. A `remote` one is judged by TPOT alone: the way to it,
    which is not its own, is in all else."""
    replicas, span_s = book.pool.replicas, book.span_s
    capacity = capacity_rps(book.pool, book.mean, tpot_limit_s) * book.mean_up
    idle_s = float(np.maximum(0.0, up_seconds(replicas, span_s) - busy_seconds(replicas, span_s)).sum())
    idle_j = idle_s * facts.idle_w * facts.accelerators_per_replica
    return PoolFigures(
        name=book.pool.pool.name,
        facts=facts,
        judgement=judge(book, slo.only("tpot_s") if remote else slo, capacity_rps=capacity),
        slo_attainment=slo.share,
        requests=book.requests,
        ended=book.ended,
        offered_rps=book.offered_rps,
        capacity_rps=capacity,
        replicas=len(replicas),
        busy_s=book.busy_s,
        up_s=book.up_s,
        kv_block_s=float(replicas["kv_block_s"].sum()),
        kv_block_room_s=book.pool.pool.engine.kv_blocks * len(replicas) * span_s,
        cached_tokens=book.cached_tokens,
        prompt_tokens=book.prompt_tokens,
        output_tokens=book.output_tokens,
        preemptions=int(replicas["preemptions"].sum()),
        blocked_s={name: float(replicas[f"blocked_{name}_s"].sum()) for name in _BLOCKED},
        steps=int(replicas["executed"].sum()),
        energy_j=(float(replicas["energy_j"].sum()) + idle_j) * facts.pue,
        cost_usd=book.pool.billed_usd(span_s),
        accelerators_paid=_paid(book) * facts.accelerators_per_replica,
    )


def _paid(book: PoolBook) -> float:
    """Replicas that were paid for, on average."""
    return float(book.pool.paid_s(book.span_s).sum()) / book.span_s if book.span_s > 0.0 else 0.0


def _shared_keys(pools: Sequence[PoolFigures], completed: int) -> dict[str, Any]:
    """What is said in the same words of one pool and of all of them."""
    energy_j, cost_usd = sum(pool.energy_j for pool in pools), sum(pool.cost_usd for pool in pools)
    return {
        "gpu_utilization": ratio(sum(pool.busy_s for pool in pools), sum(pool.up_s for pool in pools)),
        "kv_utilization": ratio(sum(p.kv_block_s for p in pools), sum(p.kv_block_room_s for p in pools)),
        "prefix_hit_rate": ratio(sum(p.cached_tokens for p in pools), sum(p.prompt_tokens for p in pools)),
        "preemptions": sum(pool.preemptions for pool in pools),
        "blocked_s": {name: sum((pool.blocked_s[name] for pool in pools), 0.0) for name in _BLOCKED},
        "energy_j": float(energy_j),
        "energy_j_per_request": ratio(energy_j, completed),
        "cost_usd": float(cost_usd),
        "cost_usd_per_1k_requests": ratio(1000.0 * cost_usd, completed),
        "steps": sum(pool.steps for pool in pools),
    }


def totals(pools: Sequence[PoolFigures], completed: int) -> dict[str, Any]:
    """The figures of all pools together; `completed` counts whoever answered."""
    return {
        "deployment": " + ".join(dict.fromkeys(pool.facts.name for pool in pools)),
        "replica_count": sum(pool.replicas for pool in pools),
        "accelerators": sum(pool.accelerators for pool in pools),
        "capacity_rps": float(sum(pool.capacity_rps for pool in pools)),
        **_shared_keys(pools, completed),
    }


def pool_entry(pool: PoolFigures, span_s: float, *, tier: str, model: str) -> dict[str, Any]:
    """The entry of a pool in the summary of a fleet."""
    judgement = pool.judgement
    return {
        "verdict": judgement.verdict,
        "verdict_reason": judgement.reason,
        "binding_constraint": judgement.binding,
        "headroom": judgement.headroom,
        "tier": tier,
        "model": model,
        "deployment": pool.facts.name,
        "replica_count": pool.replicas,
        "accelerators": pool.accelerators,
        "accelerators_paid": pool.accelerators_paid,
        "requests": pool.requests,
        **pool.ended,
        "slo_attainment": pool.slo_attainment,
        "offered_rps": pool.offered_rps,
        "capacity_rps": pool.capacity_rps,
        "served_rps": ratio(pool.ended["completed"], span_s),
        "throughput_tok_s": ratio(pool.output_tokens, span_s),
        **_shared_keys([pool], pool.ended["completed"]),
    }


def replica_rows(book: PoolBook) -> list[dict[str, Any]]:
    """One row a replica."""
    replicas, span_s = book.pool.replicas, book.span_s
    busy, up = busy_seconds(replicas, span_s), up_seconds(replicas, span_s)
    return [
        {
            "busy_share": ratio(busy[i], up[i]),
            "steps": int(replica["executed"]),
            "preemptions": int(replica["preemptions"]),
            "max_running": int(replica["max_running"]),
            "max_waiting": int(replica["max_waiting"]),
            "down_s": span_s - float(up[i]),
        }
        for i, replica in enumerate(replicas)
    ]
