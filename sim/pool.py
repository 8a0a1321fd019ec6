"""What a pool is to the engine: plain settings, already validated, and the shape of one step.

Scenario files (`sim.scenario`) end here; the data plane and the oracle start here. The words and the rules are those of
docs/background/engine-rules.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from profiles.errors import UserError
from sim.fleet import Far

__all__ = ["BALANCERS", "Balancer", "EngineSettings", "PoolPlan", "PoolSettings", "StepShape", "check_pool"]

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
    started: int = -1
    """Replicas that are up at the start, the first ones; -1 means all. The others wait for a control to start them."""


@dataclass(frozen=True, kw_only=True)
class PoolPlan:
    """A pool as the plane wants it: settings, what a step costs, and what a fleet's router knows of it."""

    settings: PoolSettings
    costs: Any  # sim.plane.StepCosts
    far: Far = field(default_factory=Far)


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


def check_pool(pool: PoolSettings, *, name_unit_tokens: int = 0) -> None:
    """Raise `UserError` for settings that contradict each other; `name_unit_tokens` is 0 without prefix names."""
    engine = pool.engine
    if pool.replicas < 1:
        raise UserError("pool.replicas must be at least 1", got=pool.replicas)
    if engine.max_num_seqs > engine.max_num_batched_tokens:
        raise UserError(
            "max_num_seqs must not exceed max_num_batched_tokens (every running sequence needs a token a step)",
            got=(engine.max_num_seqs, engine.max_num_batched_tokens),
        )
    if engine.max_num_batched_tokens > 2**20:
        raise UserError("max_num_batched_tokens is out of range", got=engine.max_num_batched_tokens, allowed="<= 2^20")
    if not engine.chunked_prefill and engine.max_num_batched_tokens < engine.max_model_len:
        raise UserError(
            "without chunked_prefill a whole prompt must fit one step: max_num_batched_tokens >= max_model_len",
            got=(engine.max_num_batched_tokens, engine.max_model_len),
        )
    if name_unit_tokens and name_unit_tokens % engine.block_size:
        raise UserError(
            "block_size must divide the tokens that one prefix name covers",
            got=engine.block_size,
            allowed=f"a divisor of {name_unit_tokens}",
        )
