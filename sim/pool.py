"""What a pool is to the engine: plain settings, already validated, and the shape of one step.

Scenario files (`sim.scenario`) end here; the data plane and the oracle start here. The words and the rules are those of
docs/background/engine-rules.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = ["BALANCERS", "Balancer", "EngineSettings", "PoolSettings", "StepShape"]

Balancer = Literal["round-robin", "random", "least-outstanding", "power-of-two", "prefix-affinity", "python"]
BALANCERS: tuple[Balancer, ...] = (
    "round-robin",
    "random",
    "least-outstanding",
    "power-of-two",
    "prefix-affinity",
    "python",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Limits and switches of one replica. A limit of -1 means none."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    max_model_len: int = 131_072
    block_size: int = 16
    kv_blocks: int = 4096
    chunked_prefill: bool = True
    prefix_caching: bool = True
    async_scheduling: bool = True
    scheduling: Literal["fcfs", "priority"] = "fcfs"
    max_queue: int = -1
    max_outstanding: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """One pool: identical replicas behind a balancer. `window_tokens` is 0 without sliding-window layers."""

    name: str = "pool"
    replicas: int = 1
    balancer: Balancer = "least-outstanding"
    telemetry_lag_s: float = 0.0
    window_tokens: int = 0
    cold_start_s: float = 0.0
    engine: EngineSettings = EngineSettings()


class StepShape(NamedTuple):
    """The quantities of rule C7: all a step-time model may know about a batch. `_window` sums cap every context."""

    prefill_tokens: int
    prefill_attended: int  # sum over chunks of sum_{i=1..chunk} (start + i)
    prefill_attended_window: int
    prefill_end: int  # sum over chunks of (start + chunk): KV positions the chunks read
    prefill_end_window: int
    decodes: int
    decode_context: int  # sum over decodes of (computed + 1)
    decode_context_window: int
    emitting: int  # sequences that emit a token: decodes and finished prefills
    sequences: int
