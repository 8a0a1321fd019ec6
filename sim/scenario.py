"""Scenarios: one YAML file that says what to simulate. Frozen records, checked on reading.

    name: my-pool
    pools:
      cloud:
        replicas: 2
        deployment: {model: llama-3.1-8b, accelerator: h100}
    workload:
      arrivals: {kind: poisson, rate_rps: 10}
      prompt_tokens: 1000
      output_tokens: 200
      requests: 10000
    slo: {ttft_s: 1.0, tpot_s: 0.05}

`sim.loading` reads the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from policies.layout import Kind
from sim.controls.specs import ControlSpec, PythonCode, PythonControl, ReplicaFailuresSpec
from sim.fleet_spec import FleetSpec, Logits, Modalities
from sim.pool import Balancer
from sim.workloads.distributions import NotNegative, Positive, Record
from sim.workloads.fleet_spec import FleetWorkloadSpec, NoFlag
from sim.workloads.spec import WorkloadSpec

__all__ = [
    "DeploymentSpec",
    "EngineSpec",
    "FleetScenario",
    "PoolScenario",
    "PoolSpec",
    "PythonControl",
    "ReplicaFailuresSpec",
    "RouterSpec",
    "Scenario",
    "SloSpec",
    "SyntheticSpec",
]


Whole = Annotated[int, Field(ge=1, le=2**31 - 1), NoFlag]
Lag = Annotated[float, Field(ge=0, le=1e6)]
Price = Annotated[float, Field(ge=0, le=1e6)]
Step = Annotated[float, Field(ge=0, le=1e6)]
Limit = Annotated[int, Field(ge=0, le=2**31 - 1), NoFlag]


class DeploymentSpec(Record):
    """What a replica runs. `precision` defaults to the model's own, `kv_precision` to bf16."""

    model: str
    accelerator: str
    precision: str | None = None
    kv_precision: str | None = None
    engine: str = "vllm"
    tensor_parallel: Whole = 1
    pipeline_parallel: Whole = 1
    expert_parallel: bool = False


class SyntheticSpec(Record):
    """A replica by its step time alone: step_s + per_sequence_s x sequences + per_token_s x tokens."""

    step_s: Step = 0.0
    per_sequence_s: Step = 0.0
    per_token_s: Step = 0.0
    power_w: Step = 0.0

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        if self.step_s + self.per_sequence_s + self.per_token_s < 1e-6:
            raise ValueError("a step must take a microsecond or more: give step_s, per_sequence_s or per_token_s")
        return self


class EngineSpec(Record):
    """The engine's limits, by vLLM's names. Empty: derived, or none."""

    max_num_seqs: Whole = 256
    max_num_batched_tokens: Whole = 2048
    max_model_len: Whole | None = None  # the model's context
    block_size: Annotated[int, Field(ge=1, le=4096)] = 16
    kv_blocks: Whole | None = None  # what the memory holds
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    chunked_prefill: bool = True
    prefix_caching: bool = True
    async_scheduling: bool = True
    cold_start: bool = False  # whether the first step of a replica pays the engine's cold_start_s
    scheduling: Literal["fcfs", "priority"] = "fcfs"
    max_queue: Limit | None = None  # waiting requests a replica
    max_outstanding: Whole | None = None  # all requests a replica


class PoolSpec(Record):
    """Identical replicas behind a balancer. Give `deployment` or `synthetic`."""

    replicas: Annotated[int, Field(ge=1, le=100_000), NoFlag] = 1
    deployment: DeploymentSpec | None = None
    synthetic: SyntheticSpec | None = None
    engine: EngineSpec = EngineSpec()
    balancer: Balancer = "least-outstanding"
    policy: PythonCode | None = None  # with balancer: python
    telemetry_lag_s: Lag = 0.0
    tier: Literal["edge", "cloud"] = "cloud"
    modalities: Modalities | None = None
    ability: dict[str, Logits] = Field(default_factory=dict)
    pue: Annotated[float, Field(ge=1, le=5)] | None = None
    price_usd_per_hour: Price | None = None  # of one accelerator; the profile's otherwise

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.deployment is None) == (self.synthetic is None):
            raise ValueError("give deployment or synthetic, one of them")
        if self.synthetic is not None and self.engine.kv_blocks is None:
            raise ValueError("a synthetic replica has no memory to derive kv_blocks from: give engine.kv_blocks")
        if 0.0 < self.telemetry_lag_s < 1e-3:
            raise ValueError("telemetry_lag_s must be 0 or at least a millisecond")
        if self.policy is not None and self.balancer != "python":
            raise ValueError(f"a policy needs balancer: python (got {self.balancer!r})")
        return self


class SloSpec(Record):
    """What a user should get; a request is good when it meets all that are given."""

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None


class RouterSpec(PythonCode):
    """A routing policy in the user's own file: a function of (request, device, actions)."""

    actions: Annotated[tuple[Kind, ...], Field(min_length=1)] = ("near", "edge", "cloud")


def _policy_form(value: Any) -> str | None:
    """Which of its forms a policy is written in."""
    if isinstance(value, str):
        return "name"
    if isinstance(value, RouterSpec) or (isinstance(value, Mapping) and {"file", "function"} & set(value)):
        return "python"
    return "weights" if isinstance(value, Mapping) and value else None


PolicySpec = Annotated[
    Annotated[str, Field(min_length=1), Tag("name")]
    | Annotated[RouterSpec, Tag("python")]
    | Annotated[dict[str, Any], Tag("weights")],
    Discriminator(
        _policy_form,
        custom_error_type="policy",
        custom_error_message="a built-in's name, a YAML file, {file, function} of Python, or the weights themselves",
    ),
]


class Scenario(Record):
    """What every scenario has: pools, what is expected of them, and what happens to them."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = "scenario"
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    profiles: str | None = None  # a folder of the user's own facts
    pools: dict[str, PoolSpec]
    slo: SloSpec = SloSpec()
    warmup_s: NotNegative = 0.0
    controls: tuple[ControlSpec, ...] = ()


class PoolScenario(Scenario):
    """One pool, and requests that arrive at its door."""

    pools: Annotated[dict[str, PoolSpec], Field(min_length=1)]
    workload: WorkloadSpec

    @model_validator(mode="after")
    def _one_pool(self) -> Self:
        if len(self.pools) > 1:
            raise ValueError(
                f"without a fleet there is nobody to choose among pools (got {', '.join(self.pools)}): "
                "keep one of them, or add fleet"
            )
        return self


class FleetScenario(Scenario):
    """Devices that ask, pools that they may ask, and a policy that chooses."""

    pools: dict[str, PoolSpec] = Field(default_factory=dict)
    fleet: FleetSpec
    workload: FleetWorkloadSpec
    policy: PolicySpec = "scene-table"
