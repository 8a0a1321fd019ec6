"""How near an inference engine comes to an accelerator's peaks, and what it adds: the terms of a step's time.

One record per engine, or per engine and some accelerators; the catalogue prefers the one that names the
accelerator. For a step of n tokens over weights of P parameters (W bytes):

    compute_s = 2 P (n + gemm_half_tokens) / (peak x gemm_efficiency)
    memory_s  = W / (bandwidth x weight_read_efficiency)
    gemm_s    = (compute_s^e + memory_s^e)^(1/e)            with e = smooth_exponent

so that the efficiency saturates: it is half of `gemm_efficiency` at n = gemm_half_tokens.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .record import Count, Dtype, Efficiency, Facts, Fraction, NonNegative, Positive, Record, Text

__all__ = ["EngineCoefficients", "EngineVersion", "FitQuality", "ServingEffects"]


class ServingEffects(Facts):
    """What a client of a loaded server measures beyond the engine's steps, when requests come in a closed loop."""

    request_ms: NonNegative
    """Milliseconds from sending a request to its first token that are no step: HTTP, tokenisation, detokenisation."""
    burst_share: Fraction
    """Share of the other requests' prefills that one's first token waits for: 0 for requests that never coincide."""
    slot_share: NonNegative
    """Share of a generation, divided by the requests in flight, that a request waits for a slot."""


class EngineVersion(Facts):
    """What one version of an engine, or one published set of runs, does differently from the record."""

    host_step_us: NonNegative
    """This and the following in place of the record's."""
    layer_us: NonNegative
    """Small kernels, launches and gaps, once a layer."""
    moe_layer_us: NonNegative
    """The same once a mixture-of-experts layer, on top."""
    prefill_launch_us: NonNegative
    """Once a layer in a step that holds prefill, on top."""
    moe_prefill_launch_us: NonNegative
    """The same once a mixture-of-experts layer, on top."""
    serving: ServingEffects
    """What a client measures beyond the steps."""


class FitQuality(Facts):
    """How well a record's coefficients explain the measurements that they were fitted to, as shares of them."""

    rows: Count
    """Rows of measurements."""
    models: Count
    """Different models among them."""
    tpot_median_error: NonNegative
    """Median absolute error of TPOT."""
    tpot_p90_error: NonNegative
    """The error that nine of ten rows stay below: the band."""
    unversioned_tpot_median_error: NonNegative | None = None
    """Median absolute error of TPOT when the version of the engine is not told; empty for a record without versions."""
    ttft_median_error: NonNegative | None = None
    """As of TPOT, of TTFT; empty where none was measured."""
    ttft_p90_error: NonNegative | None = None
    """The same of TTFT."""


class EngineCoefficients(Record):
    """Step-time coefficients of one runtime. Efficiencies are shares of an accelerator's datasheet figure.

    One may exceed 1 a little, where a card boosts above the clock that its datasheet counts with.
    """

    IDENTITY: ClassVar[frozenset[str]] = Record.IDENTITY | {
        "runtime", "accelerators", "precisions", "fit",
    }  # fmt: skip

    kind: Literal["engine"]
    runtime: Text
    """The engine's common name, by which deployments ask for it."""
    accelerators: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Names of the accelerators it was made for, or `*` for any."""
    precisions: tuple[Dtype, ...] = ()
    """Precisions of the weights it was made for; empty for any."""
    versions: dict[str, EngineVersion] = Field(default_factory=dict)
    """By version, as benchmarks name it."""
    serving: ServingEffects | None = None
    """Beside the steps; empty where nobody fitted it."""
    fit: FitQuality | None = None
    """Of the coefficients; empty where they are no fit to serving measurements."""

    gemm_efficiency: Efficiency
    """Of the dense peak, at many tokens."""
    gemm_half_tokens: NonNegative
    """Tokens at which the efficiency has reached half of that."""
    weight_read_efficiency: Efficiency
    """Of the memory bandwidth, reading weights for few tokens."""
    kv_read_efficiency: Efficiency
    """Of the memory bandwidth, reading the KV cache in a step of decodes only."""
    prefill_attention_efficiency: Efficiency
    """Of the dense peak, attention of a step of prefill only (causal pairs counted once)."""
    mixed_attention_efficiency: Efficiency
    """Of the dense peak, attention of a step that holds prefill and decodes."""
    mixed_query_tile_rows: Count
    """Rows of query that each decode and query head pays for in such a step; 1 for no padding."""
    smooth_exponent: Annotated[float, Field(strict=True, ge=1, le=64, allow_inf_nan=False)]
    """Of the smooth maximum of compute and memory: 1 adds them up, a large one is the hard maximum."""

    host_step_us: NonNegative
    """Scheduling, input preparation and output handling, once a step."""
    layer_us: NonNegative
    """Small kernels, launches and gaps, once a layer, at one token."""
    moe_layer_us: NonNegative = 0.0
    """Routing, sorting and launches, once a mixture-of-experts layer, on top of `layer_us`."""
    prefill_launch_us: NonNegative = 0.0
    """Once a layer in a step that holds prefill, on top of `layer_us`: such steps run without captured graphs."""
    moe_prefill_launch_us: NonNegative = 0.0
    """The same once a mixture-of-experts layer, on top of `prefill_launch_us`."""
    layer_per_sequence_us: NonNegative
    """Attention's bookkeeping, per layer and decoding sequence, beyond reading its cache."""
    per_sequence_us: NonNegative
    """Host bookkeeping per sequence of a step."""
    sampler_us: NonNegative
    """Sampling kernels, once a step."""
    sampler_per_sequence_us: NonNegative
    """Sampling, per sampled sequence; the head's multiplication is a GEMM and not in here."""
    activation_traffic_factor: NonNegative
    """Traffic of a layer's small kernels per token, in units of the model's activation_width x 2 bytes."""
    cold_start_s: NonNegative
    """Seconds that the first request after a start pays once."""

    moe_gemm_derate: Efficiency
    """Factor on gemm_efficiency in mixture-of-experts layers."""
    moe_read_derate: Efficiency
    """Factor on weight_read_efficiency in mixture-of-experts layers at small batches."""

    collective_efficiency: Efficiency
    """Of the link's bandwidth, when accelerators reach each other directly."""
    collective_latency_us: NonNegative
    """Launch and synchronisation of one such collective, beside the link's own hops."""
    host_staged_efficiency: Efficiency
    """Of the link's bandwidth, when collectives pass through host memory."""
    host_staged_collective_latency_us: NonNegative
    """Launch and synchronisation of one such collective."""

    gpu_memory_overhead_gib: NonNegative
    """GiB per accelerator for neither weights, KV nor activations: context, graphs, communication buffers."""
    activation_memory_factor: Positive
    """Peak activations, in units of max_batched_tokens x the model's activation_width x 2 bytes."""

    @property
    def generic(self) -> bool:
        """Whether it was made for no accelerator in particular."""
        return "*" in self.accelerators

    def of_version(self, version: str) -> EngineCoefficients:
        """The record as one version has it, with no versions left; itself for one that it says nothing about."""
        found = self.versions.get(version)
        if found is None:
            return self
        own = {name: getattr(found, name) for name in type(found).model_fields}
        return self.model_copy(update=own | {"versions": {}})
