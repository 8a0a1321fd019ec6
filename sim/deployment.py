"""A deployment: model × precision × accelerator(s) × parallelism × engine. The thing that has a latency and a size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from profiles import (
    BYTES_PER_VALUE,
    Accelerator,
    Catalogue,
    Confidence,
    Dtype,
    EngineCoefficients,
    Model,
    UserError,
    did_you_mean,
    weakest,
)
from sim.changed_facts import CHANGED, changed
from sim.parallelism import check_parallel

__all__ = ["Deployment", "Memory", "PRECISIONS", "deploy"]

# Weight precision -> the type of the multiplication, first choice first; bf16 means that weights are unpacked.
PRECISIONS: dict[Dtype, tuple[Dtype, ...]] = {
    "bf16": ("bf16",),
    "fp16": ("fp16", "bf16"),
    "fp8": ("fp8", "bf16"),
    "int8": ("int8", "bf16"),
    "fp4": ("fp4", "fp8", "bf16"),
    "int4": ("bf16",),
}
_EXPERTS_ONLY: frozenset[Dtype] = frozenset({"fp4", "int4"})
_HEAD_BYTES = 2.0  # head and embedding stay in 16 bits whatever the layers are
_MOST_BLOCKS = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one accelerator holds, in bytes."""

    total: float
    weights: float
    overhead: float
    activations: float
    fixed_kv_per_sequence: float
    kv_per_token: float

    def kv_blocks(self, *, utilization: float, max_num_seqs: int, block_size: int) -> int:
        """KV blocks left at a share of the memory; 0 or less when the model does not fit.

        As many as can be counted where the cache does not grow with the context.
        """
        held = self.weights + self.overhead + self.activations + max_num_seqs * self.fixed_kv_per_sequence
        left = self.total * utilization - held
        if self.kv_per_token == 0.0:
            return _MOST_BLOCKS if left >= 0.0 else 0
        return min(_MOST_BLOCKS, int(left // (self.kv_per_token * block_size)))


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One replica: resolved facts. `tensor_parallel` x `pipeline_parallel` accelerators work as one.

    With `data_parallel` above 1 a replica is one rank of so many: it attends to its own requests, and the experts are
    spread over the accelerators of all ranks, which exchange tokens in every mixture-of-experts layer.
    """

    model: Model
    accelerator: Accelerator
    engine: EngineCoefficients
    precision: Dtype
    kv_precision: Dtype
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    expert_parallel: bool = False

    @property
    def name(self) -> str:
        """As people write it: `llama-3.1-8b bf16 on 2 x h100`."""
        count = f"{self.accelerators} x " if self.accelerators > 1 else ""
        return f"{self.model.name} {self.precision} on {count}{self.accelerator.name}"

    @property
    def accelerators(self) -> int:
        """Accelerators of one replica."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def window_tokens(self) -> int:
        """The sliding window of the model's sliding layers, 0 without any."""
        sliding = self.model.attention.sliding
        return sliding.window_tokens if sliding else 0

    @cached_property
    def math(self) -> Dtype:
        """The type that the layers multiply in."""
        peaks = self.accelerator.peak_tflops
        return next((kind for kind in PRECISIONS[self.precision] if kind in peaks), self.half)

    @property
    def half(self) -> Dtype:
        """The 16-bit type of attention and head."""
        return "bf16" if "bf16" in self.accelerator.peak_tflops else "fp16"

    @property
    def weight_bytes_per_value(self) -> float:
        """Bytes of one weight of the layers."""
        return BYTES_PER_VALUE[self.precision]

    @property
    def dense_precision(self) -> Dtype:
        """The type of the weights that every token uses: 4-bit checkpoints of mixtures store only the experts so."""
        return self.half if self.precision in _EXPERTS_ONLY and self.model.ffn.moe is not None else self.precision

    @property
    def dense_math(self) -> Dtype:
        """The type that those multiply in."""
        return self.math if self.dense_precision == self.precision else self.half

    @property
    def dense_weight_bytes_per_value(self) -> float:
        """Bytes of one of those."""
        return BYTES_PER_VALUE[self.dense_precision]

    @property
    def kv_bytes_per_value(self) -> float:
        """Bytes of one cached value."""
        return BYTES_PER_VALUE[self.kv_precision]

    @property
    def kv_shards(self) -> int:
        """Over how many tensor-parallel accelerators the cache of full layers is cut: never through a head."""
        return min(self.tensor_parallel, self.kv_heads)

    @property
    def sliding_kv_shards(self) -> int:
        """The same for sliding layers."""
        sliding = self.model.attention.sliding
        return min(self.tensor_parallel, sliding.kv_heads) if sliding else 1

    @property
    def kv_heads(self) -> int:
        """KV heads of full layers; the compressed cache of MLA is one head for all queries."""
        return 1 if self.model.attention.mla is not None else self.model.attention.kv_heads

    def memory(self, *, max_num_batched_tokens: int) -> Memory:
        """What one accelerator holds when the engine batches up to so many tokens."""
        model, engine = self.model, self.engine
        embeddings = model.embedding_params + (0 if model.tied_embeddings else model.head_params)
        dense = (model.attention_params + model.shared_ffn_params) * self.dense_weight_bytes_per_value
        routed = model.routed_expert_params * self.weight_bytes_per_value / self.data_parallel
        sliding = model.attention.sliding
        return Memory(
            total=self.accelerator.memory_bytes,
            weights=(dense + routed + embeddings * _HEAD_BYTES) / self.accelerators,
            overhead=engine.gpu_memory_overhead_gib * 2**30,
            activations=engine.activation_memory_factor * max_num_batched_tokens * model.activation_width * 2.0,
            fixed_kv_per_sequence=(
                (
                    model.kv_values_per_token_sliding
                    * sliding.window_tokens
                    * self.kv_bytes_per_value
                    / (self.sliding_kv_shards * self.pipeline_parallel)
                    if sliding
                    else 0.0
                )
                + model.state_values_per_sequence * 2.0 / self.accelerators
            ),
            kv_per_token=model.kv_values_per_token_full
            * self.kv_bytes_per_value
            / (self.kv_shards * self.pipeline_parallel),
        )

    @property
    def confidence(self) -> Confidence:
        """The weakest of the facts that a latency rests on.

        Coefficients that were fitted to other accelerators or precisions than these are interpolated, not fitted.
        """
        facts = [self.accelerator.confidence_of(f) for f in ("bandwidth_gb_s", "peak_tflops")]
        facts += [self.model.confidence_of(f) for f in ("layers", "hidden_size", "attention", "ffn")]
        facts.append(self.engine.confidence)
        facts += [entry.confidence for entry in self.engine.provenance.values() if entry.source == CHANGED]
        if self._never_fitted_to:
            facts.append("interpolated")
        if self.tensor_parallel > 1:
            facts.append(self.accelerator.confidence_of("link.bandwidth_gb_s"))
        return weakest(facts)

    @property
    def _never_fitted_to(self) -> str:
        """What of this deployment the engine's serving measurements lack, in words; empty for nothing."""
        if self.engine.fit is None:
            return ""
        lacks = [f"on {self.accelerator.name}"] if self.accelerator.name not in self.engine.accelerators else []
        lacks += [f"at {self.precision}"] if self.precision not in self.engine.precisions else []
        return " ".join(lacks)

    @property
    def assumed(self) -> tuple[str, ...]:
        """Names of the facts that nobody measured, and of what this deployment leaves out."""
        names = [
            f"{record.kind} {record.name}: {field}"
            for record in (self.accelerator, self.model)
            for field in record.assumed_fields()
        ]
        fields = self.engine.assumed_fields()
        if self.engine.confidence == "assumed":
            names.append(f"engine {self.engine.name}: all step-time coefficients")
        else:
            names += [f"engine {self.engine.name}: {field}" for field in fields]
        if self._never_fitted_to:
            names.append(f"engine {self.engine.name}: fitted to no measurement {self._never_fitted_to}")
        if self.engine.versions:
            names.append(
                f"engine {self.engine.name}: the middle of {len(self.engine.versions)} versions; none was named"
            )
        if self.math != PRECISIONS[self.precision][0]:
            names.append(f"{self.precision} weights are multiplied in {self.math}")
        if self.dense_precision != self.precision:
            names.append(f"only the experts of {self.model.name} are stored in {self.precision}")
        if self.pipeline_parallel > 1:
            names.append("pipeline stages work on one batch at a time")
            if self.accelerators > self.accelerator.gpus_per_node:
                names.append("sends between nodes travel at the speed of the link inside a node")
        if self.expert_parallel:
            names.append("tokens spread evenly over the experts")
        return tuple(names)


def deploy(
    catalogue: Catalogue,
    *,
    model: str,
    accelerator: str,
    precision: str | None = None,
    kv_precision: str | None = None,
    engine: str = "vllm",
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
    data_parallel: int = 1,
    expert_parallel: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Deployment:
    """Resolve names to facts. Raises `UserError` for unknown names and for what cannot be built.

    `engine` is a runtime, one of its versions (`vllm 0.12.0`, as its record lists them), or a record's name.
    `precision` defaults to the model's own, `kv_precision` to bf16 (which is what engines do). `changes` maps paths
    such as `accelerator.bandwidth_gb_s` to values that count as assumed.
    """
    chosen = catalogue.model(model)
    stored = _precision("precision", precision or chosen.native_precision)
    found, device, coefficients = changed(
        (chosen, catalogue.accelerator(accelerator), _engine(catalogue, engine, accelerator, stored)),
        changes or {},
    )
    if not {"bf16", "fp16"} & set(device.peak_tflops):
        raise UserError(
            f"{device.name} has no 16-bit peak, which attention and the head need",
            got=sorted(device.peak_tflops),
            allowed="bf16 or fp16 in peak_tflops",
        )
    check_parallel(
        found, device, tensor=tensor_parallel, pipeline=pipeline_parallel, data=data_parallel, expert=expert_parallel
    )
    return Deployment(
        model=found,
        accelerator=device,
        engine=coefficients,
        precision=stored,
        kv_precision=_precision("kv_precision", kv_precision or "bf16"),
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        data_parallel=data_parallel,
        expert_parallel=expert_parallel,
    )


def _engine(catalogue: Catalogue, name: str, accelerator: str, precision: Dtype) -> EngineCoefficients:
    """The record of an engine, or of one of its versions: `vllm`, `vllm 0.12.0`."""
    try:
        return catalogue.engine(name, accelerator, precision)
    except UserError:
        runtime, _, version = name.lower().partition(" ")
        if not version:
            raise
        record = catalogue.engine(runtime, accelerator, precision)
    if f"{runtime} {version}" not in record.versions:
        raise UserError(
            f"engine {record.name} has no such version",
            got=name,
            allowed=", ".join(record.versions) or f"{runtime}, without a version",
        )
    return record.of_version(f"{runtime} {version}")


def _precision(what: str, name: str) -> Dtype:
    for known in PRECISIONS:
        if name == known:
            return known
    raise UserError(f"unknown {what}", got=name, next_step=did_you_mean(name, PRECISIONS))
