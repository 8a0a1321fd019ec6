"""What a run of the oracle leaves behind (rules A)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.oracle.requests import Request

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

    @classmethod
    def of(cls, requests: Sequence[Request], replicas: list[ReplicaResult], end_s: float) -> OracleResult:
        """Gather what was booked (A1 to A3)."""
        return cls(
            state=[request.state for request in requests],
            reason=[request.reason for request in requests],
            replica=[request.replica for request in requests],
            arrival_s=[request.arrival_s for request in requests],
            scheduled_s=[request.scheduled_s for request in requests],
            first_token_s=[request.first_token_s for request in requests],
            finish_s=[request.finish_s for request in requests],
            preemptions=[request.preemptions for request in requests],
            cached_tokens=[request.cached_tokens for request in requests],
            attempts=[request.attempts for request in requests],
            energy_j=[request.energy_j for request in requests],
            replicas=replicas,
            end_s=end_s,
        )
