"""What a run of the oracle leaves behind (rules A)."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["OracleResult", "ReplicaResult"]


@dataclass(slots=True)
class ReplicaResult:
    """Booked for one replica, over all its lives."""

    steps: int = 0  # begun: one that a failure cuts counts
    busy_s: float = 0.0
    energy_j: float = 0.0
    blocked_s: dict[str, float] = field(default_factory=lambda: {"kv": 0.0, "seqs": 0.0, "tokens": 0.0})
    prefill_tokens: int = 0
    decode_tokens: int = 0
    free_blocks: int = 0  # at the end of the run
    used_blocks: int = 0


@dataclass(slots=True, kw_only=True)
class OracleResult:
    """One entry a request, in order of request id; and the replicas."""

    state: list[str]  # "completed", "rejected", "abandoned", "failed"
    reason: list[str]  # "" when completed
    replica: list[int]  # the last one it was sent to; -1: none
    arrival_s: list[float]
    scheduled_s: list[float]  # nan: never
    first_token_s: list[float]  # nan: never
    finish_s: list[float]
    preemptions: list[int]
    cached_tokens: list[int]
    attempts: list[int]  # dispatches after the first
    energy_j: list[float]
    replicas: list[ReplicaResult]
    end_s: float  # when the last request became terminal
