"""The facts: what ships is valid, sourced and adds up; what a user writes is merged, or refused plainly."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from profiles import KINDS, Catalogue, UserError, json_schema, normalise, parse, weakest

DATA = Path(__file__).parents[1] / "profiles" / "data"
FILES = sorted(DATA.rglob("*.yaml"))
ACCELERATORS = (
    "a100", "arc-pro-b60", "arc-pro-b60-dual", "b200", "gb200", "gb300", "h100", "h100-80gb-pcap", "h20", "h200",
    "h200-nvl", "l40s", "mi300x", "mi325x", "mi355x", "rtx-4090", "rtx-pro-6000",
)  # fmt: skip

MY_GPU = """\
kind: accelerator
name: my-gpu
source: a test
confidence: measured
memory_gib: 10
bandwidth_gb_s: 1e3
peak_tflops: {bf16: 100}
link: {kind: none, bandwidth_gb_s: 0, latency_us: 0, peer_to_peer: false}
gpus_per_node: 1
tdp_w: 100
idle_w: 10
price_usd_per_hour: 0
energy: {pj_per_flop: {bf16: 1}, pj_per_byte: 100}
"""


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return Catalogue()


def written(folder: Path, **files: str) -> Catalogue:
    for stem, text in files.items():
        (folder / f"{stem}.yaml").write_text(text, encoding="utf-8")
    return Catalogue(folder)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        written(folder, bad=text).records()
    message = str(caught.value)
    assert "bad.yaml" in message
    assert "\n" not in message
    return message


# What ships.


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_is_a_sourced_record_named_like_its_file(shipped: Catalogue, path: Path) -> None:
    kind = path.parent.name.removesuffix("s")
    record = shipped.find(path.stem, kind)
    assert (record.kind, record.name) == (kind, path.stem)
    assert len(record.source) > 10
    assert all(len(entry.source) > 10 for entry in record.provenance.values())
    assert shipped.origin(record) == "built-in"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_shipped_file_names_a_path_of_some_machine(path: Path) -> None:
    assert not re.search(r"/(work|home|root|tmp|Users|mnt)/|\.\./|[A-Z]:\\|shared/", path.read_text(encoding="utf-8"))


def test_everything_that_should_ship_does(shipped: Catalogue) -> None:
    assert shipped.names("accelerator") == ACCELERATORS
    assert {"llama-3.1-8b", "qwen3-30b-a3b", "mimo-v2-flash"} <= set(shipped.names("model"))
    assert "vllm" in shipped.names("engine")
    assert len(shipped.records()) == len(FILES)


def test_no_two_shipped_records_share_a_name_or_an_alias(shipped: Catalogue) -> None:
    names = Counter(n for r in shipped.records() for n in {normalise(n) for n in (r.name, *r.aliases)})
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize(
    ("name", "total_b", "active_b"),
    [
        ("llama-3.1-8b", 8.03, 8.03), ("llama-3.1-70b", 70.6, 70.6), ("qwen2.5-72b", 72.7, 72.7),
        ("qwen3-0.6b", 0.6, 0.6), ("qwen3-1.7b", 1.7, 1.7), ("qwen3-4b", 4.0, 4.0), ("qwen3-8b", 8.2, 8.2),
        ("qwen3-14b", 14.8, 14.8), ("qwen3-32b", 32.8, 32.8), ("qwen3-30b-a3b", 30.5, 3.3),
        ("mimo-v2-flash", 309, 15), ("mimo-7b", 7.6, 7.6), ("mimo-v2.5", 310, 15), ("mimo-v2.5-pro", 1020, 42),
        ("deepseek-v3", 671, 37), ("kimi-k2.5", 1040, 32.6), ("qwen3-235b-a22b", 235, 22),
        ("qwen3.5-397b-a17b", 397, 17), ("llama-3.1-405b", 405.9, 405.9), ("llama-4-scout", 109, 17),
        ("llama-4-maverick", 402, 17), ("llama2-70b", 69.0, 69.0), ("mixtral-8x7b", 46.7, 12.9),
        ("bloom-176b", 176.2, 176.2), ("gemma3-12b", 11.8, 11.8), ("gemma3-27b", 27.0, 27.0),
        ("nemotron-nano-9b-v2", 8.89, 8.89), ("nemotron-nano-12b-v2", 12.3, 12.3),
    ],
)  # fmt: skip
def test_the_architecture_adds_up_to_the_published_size(
    shipped: Catalogue, name: str, total_b: float, active_b: float
) -> None:
    model = shipped.model(name)
    assert (model.total_params_b, model.active_params_b) == (total_b, active_b)
    assert model.derived_total_params == pytest.approx(total_b * 1e9, rel=0.015)
    assert model.derived_active_params == pytest.approx(active_b * 1e9, rel=0.03)


@pytest.mark.parametrize(
    ("name", "total_b", "active_b"),
    [("gpt-oss-120b", 116.8, 5.13), ("gpt-oss-20b", 20.9, 3.61), ("minimax-m2.5", 230, 10)],
)
def test_some_publishers_leave_the_embedding_out_of_the_active_size(
    shipped: Catalogue, name: str, total_b: float, active_b: float
) -> None:
    model = shipped.model(name)
    assert (model.total_params_b, model.active_params_b) == (total_b, active_b)
    assert model.derived_total_params == pytest.approx(total_b * 1e9, rel=0.015)
    assert model.derived_active_params - model.embedding_params == pytest.approx(active_b * 1e9, rel=0.045)


def test_layers_of_the_hybrid_models(shipped: Catalogue) -> None:
    nano, qwen, pro = (shipped.model(n) for n in ("nemotron-nano-9b-v2", "qwen3.5-397b-a17b", "mimo-v2.5-pro"))
    assert (nano.recurrent_layers, nano.full_layers, nano.ffn.dense_layers) == (27, 4, 25)
    assert nano.state_values_per_sequence == 27 * (128 * 80 * 128 + 3 * (128 * 80 + 2 * 8 * 128))
    assert (qwen.recurrent_layers, qwen.full_layers) == (45, 15)
    assert qwen.state_values_per_sequence == 45 * (64 * 128 * 128 + 3 * (2 * 16 * 128 + 64 * 128))
    assert qwen.kv_values_per_token_full == 15 * 2 * 512
    assert (pro.sliding_layers, pro.full_layers) == (60, 10)


def test_parts_of_a_dense_model(shipped: Catalogue) -> None:
    llama = shipped.model("llama-3.1-8b")
    assert llama.attention_params_full_layer == 4096 * (4096 + 1024 + 1024 + 4096)
    assert llama.ffn_params == llama.active_ffn_params == 32 * 3 * 4096 * 14336
    assert llama.embedding_params == llama.head_params == 128256 * 4096
    assert llama.kv_values_per_token_full == 32 * 8 * 256
    assert llama.routed_expert_params == llama.kv_values_per_token_sliding == llama.sliding_layers == 0
    assert shipped.model("llama-3.1-70b").kv_values_per_token_full == 163_840


def test_a_tied_head_is_stored_once_and_still_multiplied(shipped: Catalogue) -> None:
    small = shipped.model("qwen3-0.6b")
    assert small.tied_embeddings
    assert small.derived_total_params == small.active_layer_params + small.embedding_params
    assert small.head_params == 151936 * 1024


def test_windows_and_experts_of_mimo_v2_flash(shipped: Catalogue) -> None:
    flash = shipped.model("mimo-v2-flash")
    assert (flash.full_layers, flash.sliding_layers) == (9, 39)
    assert flash.kv_values_per_token_full == 11_520
    assert flash.kv_values_per_token_sliding * 128 == 39 * 8 * 320 * 128
    assert flash.routed_expert_params == pytest.approx(302.8e9, rel=1e-3)
    assert flash.active_layer_params + flash.head_params == pytest.approx(14.8e9, rel=0.01)
    assert flash.activation_width == 4096 + 16384


def test_latent_attention_counts_its_low_rank_matrices(shipped: Catalogue) -> None:
    """DeepSeek-V3: 187 M parameters of attention a layer, 576 values of cache a token and layer."""
    data = shipped.model("llama-3.1-8b").model_dump()
    data |= {"hidden_size": 7168, "layers": 61, "ffn": {"dense_layers": 61, "dense_intermediate": 18432}}
    data["attention"] = {
        "query_heads": 128, "kv_heads": 128, "head_dim_qk": 192, "head_dim_v": 128,
        "mla": {"kv_lora_rank": 512, "q_lora_rank": 1536, "rope_head_dim": 64},
    }  # fmt: skip
    model = parse(data, "here")
    assert model.attention_params_full_layer == pytest.approx(187.1e6, rel=0.001)  # type: ignore[attr-defined]
    assert model.kv_values_per_token_full == 61 * 576  # type: ignore[attr-defined]


def test_the_energy_of_an_h100_gives_the_observed_power(shipped: Catalogue) -> None:
    """Llama-3.1-8B bf16: 486 W at batch 8 (7.3 ms), 570 to 690 W at batch 128 (16.5 ms) and 512 (47.4 ms)."""
    h100, llama = shipped.accelerator("h100"), shipped.model("llama-3.1-8b")

    def power_w(batch: int, step_s: float, context: int) -> float:
        moved = llama.derived_total_params * 2 + batch * context * llama.kv_values_per_token_full * 2
        flops = batch * 2 * llama.derived_total_params
        asked = flops * h100.energy.pj_per_flop["bf16"] + moved * h100.energy.pj_per_byte
        return min(h100.tdp_w, h100.idle_w + asked * 1e-12 / step_s)

    assert 400 < power_w(8, 7.3e-3, 800) < 500
    assert 570 < power_w(128, 16.5e-3, 700) < 690
    assert 570 < power_w(512, 47.4e-3, 700) < 700


def test_the_memory_of_an_rtx_4090_gives_the_observed_cache(shipped: Catalogue) -> None:
    """vLLM 0.19 made room for 41,408 tokens of Llama-3.1-8B at 0.9 of the memory and 2048 tokens a step."""
    card, llama = shipped.accelerator("rtx-4090"), shipped.model("llama-3.1-8b")
    engine = shipped.engine("vllm", "rtx-4090")
    activations = engine.activation_memory_factor * 2048 * llama.activation_width * 2
    overhead = engine.gpu_memory_overhead_gib * 2**30
    free = 0.9 * card.memory_bytes - llama.derived_total_params * 2 - activations - overhead
    assert free / (llama.kv_values_per_token_full * 2) == pytest.approx(41_408, rel=0.01)


# Names.


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"), ("h100_sxm", "h100"), ("H100-SXM", "h100"), ("NVIDIA H20", "h20"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"), ("RTX4090", "rtx-4090"), ("rtx 4090", "rtx-4090"),
        ("RTXPRO6000", "rtx-pro-6000"), ("RTX_PRO_6000", "rtx-pro-6000"), ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"), ("H100", "h100"), ("h100-80gb", "h100"),
        ("NVIDIA H100-SXM-80GB", "h100"), ("h100-80gb-pcap", "h100-80gb-pcap"), ("H200", "h200"),
        ("h200_sxm", "h200"), ("NVIDIA H200-SXM-141GB", "h200"), ("Virtualized NVIDIA H200-SXM-141GB", "h200"),
        ("NVIDIA H200-NVL-141GB", "h200-nvl"), ("a100-80gb", "a100"), ("B200", "b200"), ("b200_sxm", "b200"),
        ("NVIDIA B200-SXM-180GB", "b200"), ("GB200", "gb200"), ("NVIDIA GB200", "gb200"), ("GB300", "gb300"),
        ("NVIDIA GB300", "gb300"), ("NVIDIA L40S", "l40s"), ("MI300X", "mi300x"), ("MI325X", "mi325x"),
        ("AMD Instinct MI300X 192GB HBM3", "mi300x"), ("AMD Instinct MI325X 256GB HBM3e", "mi325x"),
        ("AMD Instinct MI355X 288GB HBM3e", "mi355x"), ("Intel Arc Pro B60", "arc-pro-b60"),
        ("[MAXSUN] MS-Intel Arc Pro B60 Dual 48G Turbo", "arc-pro-b60-dual"),
    ],
)  # fmt: skip
def test_accelerators_answer_to_what_runtimes_call_them(shipped: Catalogue, alias: str, name: str) -> None:
    assert shipped.accelerator(alias).name == name


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b"), ("meta-llama/llama-3.1-8b-instruct", "llama-3.1-8b"),
        ("Qwen/Qwen3-30B-A3B", "qwen3-30b-a3b"), ("XiaomiMiMo/MiMo-V2-Flash", "mimo-v2-flash"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "llama-3.1-8b"), ("meta-llama/Llama-3.1-70B", "llama-3.1-70b"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.1-70b"), ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("meta-llama/Llama-3.1-405B-Instruct", "llama-3.1-405b"), ("Qwen/Qwen3-14B", "qwen3-14b"),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "llama-3.1-405b"), ("Qwen/Qwen3-32B", "qwen3-32b"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama-4-scout"), ("moonshotai/Kimi-K2.5", "kimi-k2.5"),
        ("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8", "llama-4-maverick"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b"), ("Qwen/Qwen3-30B-A3B-Thinking-2507", "qwen3-30b-a3b"),
        ("Qwen/Qwen3-235B-A22B-FP8", "qwen3-235b-a22b"), ("Qwen/Qwen3-235B-A22B-Instruct-2507", "qwen3-235b-a22b"),
        ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", "qwen3-235b-a22b"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507", "qwen3-235b-a22b"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "qwen3-235b-a22b"),
        ("Qwen/Qwen3.5-397B-A17B", "qwen3.5-397b-a17b"), ("MiniMaxAI/MiniMax-M2.5", "minimax-m2.5"),
        ("deepseek-ai/DeepSeek-V3", "deepseek-v3"), ("deepseek-ai/DeepSeek-V3.1", "deepseek-v3"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-v3"), ("deepseek-ai/DeepSeek-R1-0528", "deepseek-v3"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"), ("openai/gpt-oss-20b", "gpt-oss-20b"),
        ("google/gemma-3-12b-it", "gemma3-12b"), ("google/gemma-3-27b-it", "gemma3-27b"),
        ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "nemotron-nano-9b-v2"),
        ("nvidia/NVIDIA-Nemotron-Nano-12B-v2", "nemotron-nano-12b-v2"),
    ],
)  # fmt: skip
def test_models_answer_to_their_hugging_face_ids(shipped: Catalogue, alias: str, name: str) -> None:
    assert shipped.model(alias).name == name
    assert shipped.find(alias).name == name


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("DeepSeek R1 0528", "deepseek-v3"), ("deepseek-r1", "deepseek-v3"), ("GPT-OSS 120B", "gpt-oss-120b"),
        ("GPT-OSS 20B", "gpt-oss-20b"), ("LLaMA v3.3 70B", "llama-3.1-70b"), ("Llama 3.3 70B", "llama-3.1-70b"),
        ("LLaMA v4 Maverick", "llama-4-maverick"), ("Llama 4 Maverick", "llama-4-maverick"),
        ("Llama 4 Scout", "llama-4-scout"), ("Llama 3.1 405B", "llama-3.1-405b"), ("llama3.1-405b", "llama-3.1-405b"),
        ("Llama 3.1 8B", "llama-3.1-8b"), ("llama3.1-8b", "llama-3.1-8b"), ("llama3.1-8b-edge", "llama-3.1-8b"),
        ("llama3_1-8b-edge", "llama-3.1-8b"), ("Qwen3 235B A22B", "qwen3-235b-a22b"),
        ("Qwen3 30B A3B", "qwen3-30b-a3b"), ("bloom-176b", "bloom-176b"), ("mixtral-8x7b", "mixtral-8x7b"),
        ("llama2-70b", "llama2-70b"), ("llama2-70b-99", "llama2-70b"), ("llama2-70b-99.9", "llama2-70b"),
        ("llama2-70b-fp8_quark", "llama2-70b"), ("XiaomiMiMo/MiMo-V2-Flash (309B/15B)", "mimo-v2-flash"),
        ("XiaomiMiMo/MiMo-V2.5 (310B/15B)", "mimo-v2.5"),
        ("XiaomiMiMo/MiMo-V2.5 (310B/15B; same shape class as MiMo-V2-Flash)", "mimo-v2.5"),
        ("XiaomiMiMo/MiMo-V2.5-Pro (1.02T/42B)", "mimo-v2.5-pro"),
    ],
)  # fmt: skip
def test_models_answer_to_what_benchmarks_call_them(shipped: Catalogue, alias: str, name: str) -> None:
    assert shipped.model(alias).name == name


@pytest.mark.parametrize("name", ["Hopper (undisclosed)", "(node, undisclosed)"])
def test_hardware_that_nobody_disclosed_is_not_guessed(shipped: Catalogue, name: str) -> None:
    with pytest.raises(UserError):
        shipped.accelerator(name)


def test_a_capped_board_differs_in_its_limit_alone(shipped: Catalogue) -> None:
    capped, h100 = shipped.accelerator("h100-80gb-pcap"), shipped.accelerator("h100")
    differing = {f for f in h100.fact_fields() if getattr(capped, f) != getattr(h100, f)}
    assert (differing, capped.tdp_w, capped.confidence_of("tdp_w")) == ({"tdp_w"}, 350, "assumed")
    assert shipped.engine("vllm", "h100-80gb-pcap").name == "vllm-h100"


def test_another_model_is_no_alias(shipped: Catalogue) -> None:
    with pytest.raises(UserError):
        shipped.model("meta-llama/Meta-Llama-3-8B")


@pytest.mark.parametrize("ask", ["accelerator", "find"])
def test_an_unknown_name_meets_the_nearest_known_one_and_a_next_step(shipped: Catalogue, ask: str) -> None:
    with pytest.raises(UserError, match=r"got 'h100x'; did you mean 'h100'\?; `nearfar profiles list`"):
        getattr(shipped, ask)("h100x")


def test_an_unknown_kind_meets_the_nearest_known_one(shipped: Catalogue) -> None:
    for ask in (shipped.names, shipped.records, json_schema):
        with pytest.raises(UserError, match="did you mean 'model'"):
            ask("modle")


# Engines: the most specific coefficients.


@pytest.mark.parametrize(
    ("accelerator", "engine"),
    [("RTX4090", "vllm-rtx-4090"), ("h100", "vllm-h100"), ("h20", "vllm"), ("l40s", "vllm")],
)
def test_the_record_that_lists_the_accelerator_goes_first(shipped: Catalogue, accelerator: str, engine: str) -> None:
    found = shipped.engine("vLLM", accelerator)
    assert found.name == engine
    assert found.generic == (engine == "vllm")


@pytest.mark.parametrize(
    ("precision", "name"),
    [("fp8", "vllm-h100-fp8"), ("bf16", "vllm-h100-bf16"), ("int8", "vllm-h100"), (None, "vllm-h100")],
)
def test_the_record_that_lists_the_precision_goes_first(shipped: Catalogue, precision: str | None, name: str) -> None:
    assert shipped.engine("vllm", "h100", precision).name == name


def test_a_users_engine_for_any_precision_goes_before_a_shipped_one_for_this(tmp_path: Path) -> None:
    mine = "kind: engine\nname: tuned\nextends: vllm\nsource: my runs\naccelerators: [h100]\n"
    assert written(tmp_path, tuned=mine).engine("vllm", "h100", "fp8").name == "tuned"


def test_an_engine_that_extends_a_fitted_one_does_not_claim_its_fit(tmp_path: Path) -> None:
    mine = "kind: engine\nname: tuned\nextends: vllm-h100-fp8\nsource: my runs\nconfidence: measured\nlayer_us: 9\n"
    found = written(tmp_path, tuned=mine).engine("vllm", "h100", "fp8")
    assert (found.name, found.precisions, found.fit) == ("tuned", ("fp8",), None)
    assert (found.confidence_of("layer_us"), found.confidence_of("gemm_efficiency")) == ("measured", "fitted")


def test_a_version_replaces_what_it_says_and_nothing_else(shipped: Catalogue) -> None:
    record = shipped.engine("trtllm", "h100", "fp8")
    version, stated = next(iter(record.versions.items()))
    found = record.of_version(version)
    named = set(type(stated).model_fields)
    assert all(getattr(found, name) == getattr(stated, name) for name in named)
    assert found.versions == {}
    assert found.model_copy(update={name: getattr(record, name) for name in (*named, "versions")}) == record
    assert record.of_version("no such version") is record


def test_an_engine_record_can_be_asked_for_by_name(shipped: Catalogue) -> None:
    assert shipped.engine("vllm-rtx-4090", "h100").name == "vllm-rtx-4090"
    with pytest.raises(UserError, match="did you mean 'vllm'"):
        shipped.engine("vlm", "h100")
    with pytest.raises(UserError, match="did you mean 'h100'"):
        shipped.engine("vllm", "h10")


def test_a_users_engine_goes_before_a_shipped_one(tmp_path: Path) -> None:
    mine = "kind: engine\nname: tuned\nextends: vllm\nsource: my runs\naccelerators: [H100-SXM]\n"
    only = "kind: engine\nname: only\nextends: vllm\nruntime: other\naccelerators: [b200]\n"
    catalogue = written(tmp_path, tuned=mine, only=only)
    assert catalogue.engine("vllm", "h100").name == "tuned"
    assert catalogue.engine("vllm", "h200").name == "vllm-h200"
    with pytest.raises(UserError, match=r"no coefficients of engine 'other'.*got 'h100'.*allowed: b200"):
        catalogue.engine("other", "h100")


def test_an_accelerator_that_extends_another_keeps_its_coefficients(tmp_path: Path) -> None:
    cheap = "kind: accelerator\nname: cheap-4090\nextends: rtx-4090\nprice_usd_per_hour: 0.2\n"
    assert written(tmp_path, cheap=cheap).engine("vllm", "cheap-4090").name == "vllm-rtx-4090"


# Trust.


def test_what_a_fitted_engine_inherits_stays_assumed(shipped: Catalogue) -> None:
    fitted = shipped.engine("vllm", "rtx-4090")
    assert fitted.confidence_of("gemm_efficiency") == "fitted"
    assert fitted.confidence_of("per_sequence_us") == "assumed"
    assert "aiconfigurator" not in fitted.source_of("per_sequence_us")
    assert "per_sequence_us" in fitted.assumed_fields()
    assert "gemm_efficiency" not in fitted.assumed_fields()
    assert set(shipped.engine("vllm", "l40s").assumed_fields()) == {
        name for name in fitted.fact_fields() if getattr(fitted, name) is not None
    }


def test_confidence_of_a_part_and_of_the_whole(shipped: Catalogue) -> None:
    h100 = shipped.accelerator("h100")
    assert h100.confidence_of("link.bandwidth_gb_s") == "measured"
    assert h100.confidence_of("link.latency_us") == h100.confidence_of("link") == "assumed"
    assert h100.confidence_of("energy.pj_per_flop.bf16") == "assumed"
    assert {"price_usd_per_hour", "energy", "link.latency_us"} <= set(h100.assumed_fields())
    assert "memory_gib" not in h100.assumed_fields()
    with pytest.raises(UserError, match="did you mean 'tdp_w'"):
        h100.confidence_of("tdp")
    assert weakest(["measured", "interpolated", "fitted"]) == "interpolated"


def test_provenance_of_a_field_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    bad = MY_GPU + "provenance: {link.speed: {source: nobody, confidence: assumed}}\n"
    assert "no such field; got 'link.speed'" in refusal(tmp_path, bad)


# A user's folder: shadowing and extending.


def test_a_record_shadows_and_extends_its_namesake(tmp_path: Path) -> None:
    text = "kind: accelerator\nname: h100\nextends: h100\nsource: my bill\nconfidence: measured\n"
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "any.yml").write_text(text + "price_usd_per_hour: 1.5\nlink: {latency_us: 2}\n")
    catalogue, shipped = Catalogue(tmp_path), Catalogue()
    mine, theirs = catalogue.accelerator("NVIDIA H100 80GB HBM3"), shipped.accelerator("h100")
    assert (mine.price_usd_per_hour, mine.link.latency_us, mine.link.bandwidth_gb_s) == (1.5, 2, 450)
    assert (
        mine.model_dump(exclude={"price_usd_per_hour", "link"}).keys()
        == theirs.model_dump(exclude={"price_usd_per_hour", "link"}).keys()
    )
    assert mine.confidence_of("price_usd_per_hour") == mine.confidence_of("link") == "measured"
    assert mine.confidence_of("energy") == "assumed"
    assert mine.source_of("bandwidth_gb_s") == theirs.source
    assert catalogue.origin(mine).endswith("any.yml")
    assert catalogue.names("accelerator") == ACCELERATORS
    assert catalogue.engine("vllm", "h100").name == "vllm-h100"


def test_a_new_record_extends_another_without_its_names(tmp_path: Path) -> None:
    text = "kind: accelerator\nname: H100 PCIe\nextends: h100\ntdp_w: 350\npeak_tflops: {bf16: 756}\n"
    catalogue = written(tmp_path, pcie=text)
    mine = catalogue.accelerator("h100-pcie")
    assert (mine.tdp_w, mine.aliases, mine.notes, mine.extends) == (350, (), "", "h100")
    assert (mine.peak_tflops["bf16"], mine.peak_tflops["fp8"]) == (756, 1978)
    assert catalogue.accelerator("NVIDIA H100 80GB HBM3").name == "h100"


def test_lists_are_replaced_not_joined(tmp_path: Path) -> None:
    text = "kind: model\nname: mine\nextends: mimo-7b\nmtp: {acceptance: [0.5]}\n"
    mtp = written(tmp_path, mine=text).model("mine").mtp
    assert mtp is not None
    assert (mtp.layers, mtp.acceptance) == (1, (0.5,))


def test_extending_in_a_circle_names_the_circle(tmp_path: Path) -> None:
    files = {a: f"kind: model\nname: {a}\nextends: {b}\n" for a, b in ("ab", "bc", "ca")}
    with pytest.raises(UserError, match="circle: a -> b -> c -> a"):
        written(tmp_path, **files).model("a")


def test_extending_oneself_or_nothing_is_refused(tmp_path: Path) -> None:
    assert "circle: me -> me" in refusal(tmp_path, "kind: model\nname: me\nextends: me\n")
    assert "did you mean 'h100'" in refusal(tmp_path, "kind: accelerator\nname: x\nextends: h1000\n")
    assert "extends: bad value; got 3" in refusal(tmp_path, "kind: accelerator\nname: x\nextends: 3\n")


def test_a_shadow_leaves_shipped_records_alone(tmp_path: Path) -> None:
    mine = "kind: engine\nname: vllm\nextends: vllm\nper_sequence_us: 1\n"
    catalogue = written(tmp_path, mine=mine)
    assert catalogue.engine("vllm", "l40s").per_sequence_us == 1
    assert catalogue.engine("vllm", "rtx-4090").per_sequence_us == 3


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"two\.yaml: name: 'my-gpu' is given in .*one\.yaml"):
        written(tmp_path, one=MY_GPU, two=MY_GPU).names("accelerator")


def test_hidden_files_are_left_out_and_a_missing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.yaml").write_text("not: a profile")
    assert Catalogue(tmp_path).names("accelerator") == ACCELERATORS
    with pytest.raises(UserError, match="does not exist"):
        Catalogue(tmp_path / "nowhere")


# Bad files.


def test_a_good_file_is_good(tmp_path: Path) -> None:
    mine = written(tmp_path, mine=MY_GPU).accelerator("MY GPU")
    assert mine.bandwidth_gb_s == 1000
    with pytest.raises(ValueError, match="frozen"):
        mine.tdp_w = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("tdp_w: 100", "tdp_w: .nan", "tdp_w: bad value; got nan; allowed: a finite number"),
        ("tdp_w: 100", "tdp_w: .inf", "tdp_w: bad value; got inf; allowed: a finite number"),
        ("tdp_w: 100", "tdp_w: -100", "tdp_w: bad value; got -100; allowed: greater than 0"),
        ("tdp_w: 100", "tdp_w: '100'", "tdp_w: bad value; got '100'; allowed: a number"),
        ("tdp_w: 100", "tdp_w: yes", "tdp_w: bad value; got True; allowed: a number"),
        ("tdp_w: 100", "tdp_w:", "tdp_w: bad value; got 'nothing'; allowed: a number"),
        ("tdp_w: 100", "", "tdp_w: missing"),
        ("tdp_w: 100", "tdp_watt: 100", "tdp_watt: unknown key; did you mean 'tdp_w'?"),
        ("tdp_w: 100", "tdp_w: 5", "idle_w must be below tdp_w; got (10.0, 5.0)"),
        ("peer_to_peer", "peer_to_pear", "link.peer_to_pear: unknown key; did you mean 'peer_to_peer'?"),
        ("kind: none", "kind: nvlnk", "link.kind: bad value; got 'nvlnk'; allowed: nvlink, pcie or none"),
        ("{bf16: 100}", "{bf17: 100}", "peak_tflops.bf17: bad value; got 'bf17'; allowed: fp32, bf16"),
        ("{bf16: 100}", "{}", "peak_tflops: bad value; got {}"),
        ("gpus_per_node: 1", "gpus_per_node: 1.5", "bad value; got 1.5; allowed: a whole number"),
        ("confidence: measured", "confidence: sure", "got 'sure'; allowed: measured, fitted, interpolated"),
        ("source: a test", "source: ''", "source: bad value; got ''"),
        ("kind: accelerator", "kind: acelerator", "unknown kind of profile; got 'acelerator'; did you mean"),
        ("kind: accelerator\n", "", "unknown kind of profile; got 'nothing'"),
        ("name: my-gpu", "name: 4090", "name: every profile needs one; got 4090"),
        ("gpus_per_node: 1", "tdp_w: 3", "line 10: not valid YAML: key 'tdp_w' is given twice"),
        ("{bf16: 100}", "{bf16: 100, bf16: 9}", "line 7: not valid YAML: key 'bf16' is given twice"),
        ("gpus_per_node: 1", "gpus_per_node: [1", "not valid YAML"),
        ("gpus_per_node: 1", "gpus_per_node: !!python/name:os.system 1", "line 9: not valid YAML"),
    ],
)  # fmt: skip
def test_bad_files_are_told_by_file_field_value_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert old in MY_GPU
    assert told in refusal(tmp_path, MY_GPU.replace(old, new))


def test_files_that_hold_no_mapping_are_told(tmp_path: Path) -> None:
    assert "must hold one mapping" in refusal(tmp_path, "- a\n- b\n")
    assert "got 'nothing'" in refusal(tmp_path, "")
    assert "not valid YAML" in refusal(tmp_path, "a: 1\n---\nb: 2\n")
    (tmp_path / "bad.yaml").write_bytes(b"kind: \xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        Catalogue(tmp_path).names("model")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("layers: 31", "ffn.dense_layers + ffn.moe.layers must be layers; got 32; allowed: 31"),
        ("attention: {kv_heads: 5}", "attention: kv_heads must divide query_heads"),
        ("active_params_b: 9", "active_params_b exceeds total_params_b"),
        (
            "attention: {sliding: {layers: 40, window_tokens: 9, kv_heads: 8}}",
            "exceed layers",
        ),
        ("attention: {sliding: {layer: 40, window_tokens: 9, kv_heads: 8}}", "did you mean 'layers'?"),
        ("ffn: {dense_layers: 0}", "must both be 0 or both be more"),
        (
            "ffn: {moe: {layers: 1, experts: 2, experts_per_token: 3, expert_intermediate: 9}}",
            "experts_per_token exceeds experts",
        ),
    ],
)
def test_architectures_that_contradict_themselves_are_refused(tmp_path: Path, change: str, told: str) -> None:
    assert told in refusal(tmp_path, f"kind: model\nname: x\nextends: llama-3.1-8b\n{change}\n")


# The rest of the surface.


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_schema_of_a_kind_is_json_and_describes_its_fields(kind: str) -> None:
    schema = json.loads(json.dumps(json_schema(kind)))
    assert schema["additionalProperties"] is False
    facts = KINDS[kind].fact_fields()
    assert set(facts) <= set(schema["properties"])
    described = [name for name in facts if "description" in schema["properties"][name]]
    assert len(described) >= len(facts) // 2


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import profiles, sys; assert not {'pydantic', 'yaml', 'numpy'} & set(sys.modules); dir(profiles)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=DATA.parents[1])


def test_every_public_name_is_there() -> None:
    import profiles

    assert all(getattr(profiles, name) is not None for name in profiles.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = profiles.nothing


def test_names_are_listed_without_reading_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr("profiles.catalogue.load_mapping", fail)
    assert Catalogue().names("accelerator") == ACCELERATORS
