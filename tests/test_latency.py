"""The step-time model: formula against tables, terms against arithmetic done by hand, and against published figures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles import Catalogue, UserError
from sim.deployment import Deployment, deploy
from sim.latency import step_costs, step_time
from sim.plane import StepCosts
from sim.pool import StepShape
from sim.predict import predict
from sim.rates import rates_of
from tests.scenarios import step_model

CATALOGUE = Catalogue()
TOKENS, SEQS = 4096, 256

DEPLOYMENTS = {
    "dense": {"model": "llama-3.1-8b", "accelerator": "h100"},
    "tensor-parallel over PCIe": {"model": "llama-3.1-8b", "accelerator": "rtx-4090", "tensor_parallel": 2},
    "mixture of experts": {"model": "qwen3-30b-a3b", "accelerator": "h200"},
    "expert-parallel with windows": {
        "model": "mimo-v2-flash",
        "accelerator": "h200",
        "tensor_parallel": 8,
        "expert_parallel": True,
        "kv_precision": "fp8",
    },
    "pipeline": {"model": "qwen2.5-72b", "accelerator": "a100", "tensor_parallel": 2, "pipeline_parallel": 2},
}


def built(name: str) -> Deployment:
    return deploy(CATALOGUE, **DEPLOYMENTS[name])  # type: ignore[arg-type]


def tables(name: str) -> StepCosts:
    costs: StepCosts = step_costs(built(name), max_num_batched_tokens=TOKENS, max_num_seqs=SEQS)
    return costs


TABLES = {name: tables(name) for name in DEPLOYMENTS}


def decodes(batch: int, context: int, window: int = 0) -> StepShape:
    return StepShape(0, 0, 0, 0, 0, batch, batch * context, batch * min(context, window), batch, batch)


@st.composite
def shapes(draw: st.DrawFn) -> StepShape:
    sequences = draw(st.integers(0, SEQS - 1))
    context = draw(st.integers(1, 100_000))
    chunk = draw(st.integers(0 if sequences else 1, TOKENS - SEQS))
    start = draw(st.integers(0, 100_000))
    prefills = int(chunk > 0)
    return StepShape(
        prefill_tokens=chunk,
        prefill_attended=chunk * start + chunk * (chunk + 1) // 2,
        prefill_attended_window=chunk * min(start + 1, 128),
        prefill_end=prefills * (start + chunk),
        prefill_end_window=prefills * min(start + chunk, 128),
        decodes=sequences,
        decode_context=sequences * context,
        decode_context_window=sequences * min(context, 128),
        emitting=sequences + prefills * draw(st.integers(0, 1)),
        sequences=sequences + prefills,
    )


@pytest.mark.parametrize("name", list(DEPLOYMENTS))
@settings(max_examples=60, deadline=None)
@given(shape=shapes())
def test_the_tables_are_within_a_thousandth_of_the_formula(name: str, shape: StepShape) -> None:
    seconds, joules = step_model(TABLES[name])(shape)
    exact = step_time(built(name), shape)
    assert seconds == pytest.approx(exact.seconds, rel=1e-3)
    assert joules == pytest.approx(exact.energy_j, rel=1e-3)


def test_a_lone_decode_of_a_dense_model_is_the_time_to_read_its_weights() -> None:
    deployment = built("dense")
    step = step_time(deployment, decodes(1, 1))
    model, engine = deployment.model, deployment.engine
    read = (model.attention_params + model.ffn_params) * 2 / (3350e9 * engine.weight_read_efficiency)
    assert step.gemm_memory_s == pytest.approx(read)
    assert read <= step.gemm_s <= 1.1 * read
    assert step.binding == "reading the weights"


def test_smooth_maximum_lies_between_the_larger_and_the_sum() -> None:
    for tokens in (1, 50, 200, 300, 1000, 4000):
        step = step_time(built("dense"), decodes(min(tokens, SEQS), 1)._replace(prefill_tokens=tokens))
        larger = max(step.gemm_compute_s, step.gemm_memory_s)
        assert larger <= step.gemm_s <= step.gemm_compute_s + step.gemm_memory_s


def test_expected_distinct_experts() -> None:
    # E (1 - (1 - k/E)^n): 8 of 128 for one token; simulated for 20 tokens.
    deployment = built("mixture of experts")
    rates = rates_of(deployment)
    assert rates.experts_touched(1) == pytest.approx(8.0)
    assert rates.experts_touched(100_000) == pytest.approx(128.0)
    rng = np.random.default_rng(1)
    seen = [len(set(np.concatenate([rng.permutation(128)[:8] for _ in range(20)]))) for _ in range(2000)]
    assert rates.experts_touched(20) == pytest.approx(np.mean(seen), rel=0.01)


def test_a_prefill_in_the_batch_makes_decodes_dearer() -> None:
    deployment = deploy(CATALOGUE, model="llama-3.1-8b", accelerator="rtx-4090")
    alone = step_time(deployment, decodes(64, 2000))
    mixed = step_time(deployment, decodes(64, 2000)._replace(prefill_tokens=1, prefill_attended=1, prefill_end=1))
    assert mixed.attention_compute_s > 4 * alone.attention_compute_s


def test_sliding_layers_stop_growing_at_the_window() -> None:
    deployment = built("expert-parallel with windows")
    short, long = (step_time(deployment, decodes(16, context, 128)) for context in (4096, 8192))
    read = deployment.model.kv_values_per_token_full * 1.0 / deployment.accelerator.bandwidth_gb_s / 1e9
    grown = long.attention_memory_s - short.attention_memory_s
    assert grown == pytest.approx(16 * 4096 * read / deployment.engine.kv_read_efficiency / deployment.kv_shards)


def test_collectives_over_pcie_without_peer_to_peer_are_slower_than_over_nvlink() -> None:
    pcie = step_time(built("tensor-parallel over PCIe"), decodes(32, 500))
    nvlink = step_time(deploy(CATALOGUE, model="llama-3.1-8b", accelerator="h100", tensor_parallel=2), decodes(32, 500))
    assert pcie.collectives_s > 2 * nvlink.collectives_s > 0
    assert pcie.collectives_s > 64 * 20e-6  # two all-reduces a layer, 20 us and more each


def test_power_never_exceeds_the_boards() -> None:
    deployment = built("dense")
    for shape in (decodes(1, 1), decodes(256, 4000), StepShape(8192, 8192 * 4096, 0, 8192, 0, 0, 0, 0, 1, 1)):
        step = step_time(deployment, shape)
        assert 75 < step.energy_j / step.seconds <= 700 * (1 + 1e-9)


def test_precision_shrinks_weights_and_cache() -> None:
    h100 = {"model": "llama-3.1-8b", "accelerator": "h100", "engine": "vllm-h100-bf16"}
    bf16 = deploy(CATALOGUE, **h100)
    fp8 = deploy(CATALOGUE, **h100, precision="fp8", kv_precision="fp8")
    slow, fast = step_time(bf16, decodes(1, 1)), step_time(fp8, decodes(1, 1))
    assert fast.gemm_memory_s == pytest.approx(slow.gemm_memory_s / 2)
    half = fp8.memory(max_num_batched_tokens=2048).kv_per_token
    assert half == bf16.memory(max_num_batched_tokens=2048).kv_per_token / 2
    a100 = deploy(CATALOGUE, model="llama-3.1-8b", accelerator="a100", precision="fp8")
    assert a100.math == "bf16"
    assert any("multiplied in bf16" in name for name in a100.assumed)


def test_kv_blocks_of_a_real_engine() -> None:
    # vLLM 0.19, RTX 4090, Llama-3.1-8B in bf16, 0.9 of the memory, 2048 tokens a step: 2588 blocks (run metadata).
    deployment = deploy(CATALOGUE, model="llama-3.1-8b", accelerator="rtx-4090")
    memory = deployment.memory(max_num_batched_tokens=2048)
    assert memory.kv_blocks(utilization=0.9, max_num_seqs=256, block_size=16) == pytest.approx(2588, rel=0.02)


@pytest.mark.parametrize(
    ("model", "accelerator", "count", "batch", "measured_ms"),
    [
        ("llama-3.1-8b", "h100", 1, 8, 7.3),
        ("llama-3.1-8b", "h100", 1, 32, 8.9),
        ("llama-3.1-8b", "h100", 1, 128, 16.5),
        ("llama-3.1-70b", "h100", 4, 8, 16.6),
        ("llama-3.1-70b", "h100", 4, 32, 20.0),
        ("llama-3.1-70b", "h100", 4, 128, 27.9),
        ("llama-3.1-70b", "b200", 2, 8, 16.4),
        ("llama-3.1-70b", "b200", 2, 32, 18.7),
    ],
)
def test_inter_token_latency_is_near_what_ml_energy_measured(
    model: str, accelerator: str, count: int, batch: int, measured_ms: float
) -> None:
    # ML.ENERGY leaderboard v3, bf16, vLLM; contexts of about 700 tokens. Uncalibrated: within a fifth.
    deployment = deploy(CATALOGUE, model=model, accelerator=accelerator, tensor_parallel=count)
    assert step_time(deployment, decodes(batch, 700)).seconds * 1e3 == pytest.approx(measured_ms, rel=0.2)


def test_predict_adds_up() -> None:
    result = predict(built("dense"), prompt_tokens=3000, output_tokens=100, batch=8)
    assert result["e2e_s"] == pytest.approx(result["ttft_s"] + 99 * result["tpot_s"])
    assert result["prefill_tok_s"] == pytest.approx(3000 / result["ttft_s"])
    assert result["decode_tok_s"] == pytest.approx(8 / result["tpot_s"])
    assert sum(result["terms_s"]["decode"].values()) == pytest.approx(result["tpot_s"])
    assert result["fits"] is True
    assert result["binding"] == {"prefill": "compute of the layers", "decode": "reading the weights"}
    exact = sum(step_time(built("dense"), decodes(8, 3000 + k)).seconds for k in range(1, 100)) / 99
    assert result["tpot_s"] == pytest.approx(exact, rel=1e-3)


def test_what_does_not_fit_says_so() -> None:
    result = predict(deploy(CATALOGUE, model="llama-3.1-70b", accelerator="h100"), prompt_tokens=10, output_tokens=10)
    assert result["fits"] is False


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"tensor_parallel": 3}, "must divide the 32 query heads"),
        ({"tensor_parallel": 16}, "one node"),
        ({"expert_parallel": True}, "mixture of experts"),
        ({"precision": "int3"}, "did you mean 'int"),
        ({"kv_precision": "fp9"}, "did you mean 'fp8'"),
        ({"accelerator": "h1000"}, "did you mean"),
        ({"model": "lama-3.1-8b"}, "did you mean 'llama-3.1-8b'"),
        ({"pipeline_parallel": 33}, "1 to 32"),
    ],
)
def test_what_cannot_be_built_is_refused(settings_: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        deploy(CATALOGUE, **({"model": "llama-3.1-8b", "accelerator": "h100"} | settings_))  # type: ignore[arg-type]


def test_times_are_finite_and_positive_at_the_edges() -> None:
    for name in DEPLOYMENTS:
        costs = TABLES[name]
        assert np.isfinite(costs.token_s).all()
        assert (np.diff(costs.token_s) > 0).all(), f"{name}: more tokens take longer"
        assert math.isclose(costs.smooth[0], 1.0)


def test_facts_can_be_changed_for_one_question() -> None:
    changes = {"accelerator.bandwidth_gb_s": 6700, "engine.host_step_us": 0}
    faster = deploy(CATALOGUE, model="llama-3.1-8b", accelerator="h100", changes=changes)
    plain, changed = step_time(built("dense"), decodes(1, 1)), step_time(faster, decodes(1, 1))
    assert changed.gemm_memory_s == pytest.approx(plain.gemm_memory_s / 2)
    assert changed.host_s < plain.host_s
    assert faster.accelerator.confidence_of("bandwidth_gb_s") == "assumed"
    with pytest.raises(UserError, match="did you mean 'bandwidth_gb_s'"):
        deploy(CATALOGUE, model="llama-3.1-8b", accelerator="h100", changes={"accelerator.bandwidth_gbs": 1})
    with pytest.raises(UserError, match="no such fact"):
        deploy(CATALOGUE, model="llama-3.1-8b", accelerator="h100", changes={"gpu.bandwidth_gb_s": 1})


def test_a_changed_engine_is_trusted_as_an_assumption() -> None:
    assert built("dense").confidence == "fitted"
    for change in ({"engine.host_step_us": 500.0}, {"model.layers": 16, "model.ffn.dense_layers": 16}):
        assert deploy(CATALOGUE, **DEPLOYMENTS["dense"], changes=change).confidence == "assumed"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("accelerator", "engine", "precision", "lacks"),
    [
        ("h100", "vllm", "bf16", ""),
        ("h100", "vllm", "int8", "engine vllm-h100: fitted to no measurement at int8"),
        ("l40s", "trtllm", "fp8", "engine trtllm: fitted to no measurement on l40s at fp8"),
        ("a100", "vllm-h100-bf16", "bf16", "engine vllm-h100-bf16: fitted to no measurement on a100"),
    ],
)
def test_coefficients_are_fitted_only_where_they_were(
    accelerator: str, engine: str, precision: str, lacks: str
) -> None:
    found = deploy(CATALOGUE, model="llama-3.1-8b", accelerator=accelerator, engine=engine, precision=precision)
    assert found.confidence == ("interpolated" if lacks else "fitted")
    assert [note for note in found.assumed if "no measurement" in note] == ([lacks] if lacks else [])


def test_weights_outside_the_experts_cost_the_energy_of_sixteen_bits() -> None:
    mixture = deploy(CATALOGUE, model="gpt-oss-120b", accelerator="b200", precision="fp4")
    rates, energy, model = rates_of(mixture), mixture.accelerator.energy, mixture.model
    dense = model.attention_params + model.shared_ffn_params
    flops_j = 2e-12 * (
        dense * energy.pj_per_flop["bf16"] + (model.active_layer_params - dense) * energy.pj_per_flop["fp4"]
    )
    # from a thousand tokens on every expert is read: what is added by a token is arithmetic and its own traffic
    one, two = (float(rates.tokens_j(n)) for n in (100_000.0, 200_000.0))
    activations = mixture.engine.activation_traffic_factor * model.activation_width * 2 * model.layers
    cache = (model.kv_values_per_token_full + model.kv_values_per_token_sliding) * 2
    traffic_j = (activations + cache) * energy.pj_per_byte * 1e-12
    assert (two - one) / 100_000 == pytest.approx(flops_j + traffic_j)


def test_a_cache_that_does_not_grow_holds_any_context() -> None:
    memory = deploy(CATALOGUE, model="rwkv7-1.5b", accelerator="h100").memory(max_num_batched_tokens=2048)
    assert memory.kv_per_token == 0.0
    assert memory.kv_blocks(utilization=0.9, max_num_seqs=256, block_size=16) == 2**31 - 1
    assert memory.kv_blocks(utilization=0.01, max_num_seqs=256, block_size=16) == 0


def test_sliding_layers_are_cut_by_their_own_heads() -> None:
    # mimo-v2-flash: 4 KV heads in full layers, 8 in sliding ones; with 8 accelerators the latter halve again.
    deployment = built("expert-parallel with windows")
    assert (deployment.kv_shards, deployment.sliding_kv_shards) == (4, 8)
    held = deployment.memory(max_num_batched_tokens=2048).fixed_kv_per_sequence
    assert held == pytest.approx(39 * 8 * 320 * 128 * 1.0 / 8)  # layers x heads x (192 + 128) x window x fp8 / 8


def test_latent_attention_reads_one_head_for_all_queries(tmp_path: Path) -> None:
    (tmp_path / "mla.yaml").write_text(
        """
kind: model
name: small-mla
source: made for a test
confidence: assumed
total_params_b: 1.0
active_params_b: 1.0
layers: 10
hidden_size: 2048
vocab_size: 32000
tied_embeddings: false
max_context_tokens: 32768
native_precision: bf16
attention: {query_heads: 32, kv_heads: 32, head_dim_qk: 192, head_dim_v: 128,
            mla: {kv_lora_rank: 512, q_lora_rank: null, rope_head_dim: 64}}
ffn: {dense_layers: 10, dense_intermediate: 8192}
"""
    )
    deployment = deploy(Catalogue(tmp_path), model="small-mla", accelerator="h100", tensor_parallel=2)
    step = step_time(deployment, decodes(8, 1000))
    read = 8 * 1000 * 10 * (512 + 64) * 2 / (3350e9 * deployment.engine.kv_read_efficiency)
    assert step.attention_memory_s == pytest.approx(read), "replicated, not cut"
    absorbed = 8 * 1000 * 10 * 2 * 32 * (2 * 512 + 64) / (2 * 989e12 * deployment.engine.prefill_attention_efficiency)
    assert step.attention_compute_s == pytest.approx(absorbed)


def test_an_accelerator_without_sixteen_bits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "npu.yaml").write_text(
        "kind: accelerator\nname: npu\nextends: h100\nsource: a test\npeak_tflops: {fp16: 100}\n"
    )
    assert deploy(Catalogue(tmp_path), model="llama-3.1-8b", accelerator="npu").half in ("bf16", "fp16")


def test_a_version_of_an_engine_can_be_named() -> None:
    h100 = {"model": "llama-3.1-70b", "accelerator": "h100", "tensor_parallel": 4, "precision": "fp8"}
    middle = deploy(CATALOGUE, **h100)  # type: ignore[arg-type]
    named = deploy(CATALOGUE, **h100, engine="vLLM 0.18.0")  # type: ignore[arg-type]
    version = middle.engine.versions["vllm 0.18.0"]
    assert named.engine.layer_us == version.layer_us != middle.engine.layer_us
    assert any("none was named" in one for one in middle.assumed)
    assert not any("none was named" in one for one in named.assumed)
    with pytest.raises(UserError, match=r"vllm-h100-fp8 has no such version; got 'vllm 99'; allowed: .*vllm 0.18.0"):
        deploy(CATALOGUE, **h100, engine="vllm 99")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown engine"):
        deploy(CATALOGUE, **h100, engine="ollama 1")  # type: ignore[arg-type]
