"""What rows of serving measurements say was run: names, notations and loads as benchmarks write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from profiles import Catalogue
from profiles.files import DATA
from sim.calibration.serving_inputs import INPUTS, Served, UncoveredError, served
from sim.calibration.serving_predict import predict_serving
from sim.calibration.tables import SERVING, read_table

CATALOGUE = Catalogue()
SHIPPED = read_table(DATA / "measurements" / "serving.csv")
DENSE = {
    "model": "meta-llama/Llama-3.1-8B-Instruct", "active_b": "8.03", "total_b": "8.03", "precision": "bfloat16",
    "gpu": "h100_sxm", "n_gpus": "1", "parallel": "tp1", "engine": "vllm 0.12.0", "scenario": "serving agg",
    "isl": "1024", "osl": "128", "concurrency_or_batch": "16",
}  # fmt: skip
MIXTURE = DENSE | {
    "model": "deepseek-ai/DeepSeek-V3", "active_b": "37", "total_b": "671", "precision": "fp8", "n_gpus": "8",
    "parallel": "tp8",
}  # fmt: skip


def read(row: Mapping[str, str] = DENSE, **changes: str) -> Served:
    return served({**row, **changes}, CATALOGUE)


def reason(changes: dict[str, str]) -> str:
    with pytest.raises(UncoveredError) as error:
        read(DENSE | changes)
    return str(error.value)


def assumed(found: Served, words: str) -> bool:
    return any(words in one for one in found.assumed)


def test_a_whole_row_needs_no_assumption() -> None:
    found = read()
    assert found.assumed == ()
    assert found.deployment.name == "llama-3.1-8b bf16 on h100"
    assert (found.runtime, found.version, found.load) == ("vllm", "vllm 0.12.0", "closed loop")
    assert (found.isl, found.osl, found.in_flight) == (1024.0, 128.0, 16.0)
    assert (found.tokens_per_step, found.step_factor) == (1.0, 1.0)


def test_the_inputs_are_those_of_the_layout() -> None:
    assert SERVING.inputs == INPUTS


def test_only_inputs_are_read() -> None:
    seen: set[str] = set()

    class Watched(dict[str, str]):
        def __getitem__(self, column: str) -> str:
            seen.add(column)
            return super().__getitem__(column)

        def get(self, column: str, default: Any = None) -> Any:
            seen.add(column)
            return super().get(column, default)

    row = Watched(DENSE | {"model": "unheard-of", "ttft_ms": "1", "tpot_ms": "2", "itl_ms": "3"})
    served(row, CATALOGUE)
    assert {"model", "gpu", "isl"} <= seen <= set(INPUTS)


# Precision.


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("bfloat16", "bf16"), ("BF16", "bf16"), ("float16", "fp16"), ("FP16", "fp16"), ("fp8", "fp8"),
        ("fp8_block", "fp8"), ("FP8-E4M3", "fp8"), ("w8a8", "fp8"), ("int8", "int8"), ("nvfp4", "fp4"),
        ("mxfp4", "fp4"), ("FP4", "fp4"), ("int4_wo", "int4"), ("w4a16", "int4"), ("awq", "int4"), (" gptq ", "int4"),
    ],
)  # fmt: skip
def test_precisions(text: str, precision: str) -> None:
    assert read(precision=text).deployment.precision == precision


@pytest.mark.parametrize("text", ["", "nan", "None", "unset", "default", "auto"])
def test_an_unstated_precision_is_the_models_own(text: str) -> None:
    found = read(precision=text)
    assert found.deployment.precision == found.deployment.model.native_precision == "bf16"
    assert assumed(found, "stored in its native bf16")


def test_the_cache_of_small_weights_is_small_under_load_and_said_to_be() -> None:
    closed, static = read(precision="fp8"), read(precision="fp8", scenario="static batch")
    assert (closed.deployment.kv_precision, static.deployment.kv_precision) == ("fp8", "bf16")
    assert assumed(closed, "KV cache in fp8")
    assert not assumed(static, "KV cache")
    assert read().deployment.kv_precision == "bf16"


# Engines.


@pytest.mark.parametrize(
    ("text", "runtime", "version"),
    [
        ("vllm 0.12.0", "vllm", "vllm 0.12.0"), ("vLLM (ML.ENERGY v3)", "vllm", "vllm ml.energy v3"),
        ("sglang 0.5.9", "sglang", "sglang 0.5.9"), ("SGLang (no EAGLE)", "sglang", "sglang no eagle"),
        ("trtllm ", "trtllm", "trtllm"), ("TensorRT-LLM", "trtllm", "tensorrt-llm"),
        ("(Splitwise profile)", "vllm", "splitwise profile"),
    ],
)  # fmt: skip
def test_engines(text: str, runtime: str, version: str) -> None:
    found = read(engine=text)
    assert (found.runtime, found.version) == (runtime, version)
    assert found.deployment.engine.runtime == runtime


@pytest.mark.parametrize("text", ["", "a new engine"])
def test_an_engine_that_nobody_measured_has_the_general_coefficients_and_says_so(text: str) -> None:
    found = read(engine=text)
    assert (found.runtime, found.version) == ("vllm", "")
    assert assumed(found, f"engine {text or 'unstated'}: the coefficients of vllm")


# Parallelism: (tensor, pipeline, data, experts), and clients of one rank of 64 in all.


@pytest.mark.parametrize(
    ("text", "gpus", "ranks", "in_flight"),
    [
        ("tp1", "1", (1, 1, 1, False), 64), ("tp8", "8", (8, 1, 1, False), 64),
        ("TP1EP1DP1", "1", (1, 1, 1, False), 64), ("TP2EP1DP1", "2", (2, 1, 1, False), 64),
        ("TP1EP8DP1", "8", (8, 1, 1, True), 64),
        ("TP1EP2DP1", "2", (2, 1, 1, True), 64), ("TP1PP4", "4", (1, 4, 1, False), 64),
        ("tp8pp1dp1ep1", "8", (8, 1, 1, False), 64), ("tp8pp1dp1ep8", "8", (8, 1, 1, True), 64),
        ("tp2pp1dp1ep0", "2", (2, 1, 1, False), 64), ("tp4pp2dp1ep4", "8", (4, 2, 1, True), 64),
        ("tp1pp1dp4ep4", "4", (1, 1, 4, True), 16), ("tp1pp1dp8ep8", "8", (1, 1, 8, True), 8),
        ("dp2 tp4 ep8", "8", (4, 1, 2, True), 32), ("tp8 dp2", "16", (8, 1, 1, False), 32),
        ("tp8 dp2 (dp-attn)", "16", (8, 1, 1, False), 32),
        ("tp64pp1dp1ep8", "64", (8, 1, 1, True), 64), ("tp16pp1dp1ep4", "16", (4, 1, 1, True), 64),
        ("tp1pp1dp64ep8", "64", (1, 1, 8, True), 8), ("tp1pp1dp16ep4", "16", (1, 1, 4, True), 16),
        ("tp4pp1dp1ep2", "4", (2, 1, 1, True), 64), ("tp4pp1dp4ep16", "16", (4, 1, 1, True), 64),
        ("", "8", (8, 1, 1, False), 64), ("nan", "4", (4, 1, 1, False), 64), ("", "", (1, 1, 1, False), 64),
    ],
)  # fmt: skip
def test_parallel_notations(text: str, gpus: str, ranks: tuple[int, int, int, bool], in_flight: float) -> None:
    found = read(MIXTURE, parallel=text, n_gpus=gpus, concurrency_or_batch="64")
    d = found.deployment
    assert (d.tensor_parallel, d.pipeline_parallel, d.data_parallel, d.expert_parallel) == ranks
    assert found.in_flight == in_flight


@pytest.mark.parametrize(
    ("text", "gpus", "words"),
    [
        ("", "8", "tensor parallel over 8"),
        ("tp64pp1dp1ep8", "64", "counts the 8 accelerators of its experts twice"),
        ("tp1pp1dp16ep4", "16", "counts the 4 accelerators of its experts twice"),
        ("tp4pp1dp4ep16", "16", "counts its 4 accelerators twice"),
        ("TP1EP8DP1", "8", "attention is cut over the accelerators that share the experts"),
    ],
)
def test_a_notation_that_needs_reading_says_how_it_was_read(text: str, gpus: str, words: str) -> None:
    assert assumed(read(MIXTURE, parallel=text, n_gpus=gpus), words)
    assert not assumed(read(MIXTURE), words)


def test_a_dense_model_has_no_experts_to_share() -> None:
    found = read(parallel="tp4pp1dp1ep4", n_gpus="4").deployment
    assert (found.tensor_parallel, found.data_parallel, found.expert_parallel) == (4, 1, False)


def test_every_shipped_row_uses_the_accelerators_it_counts_but_for_known_exceptions() -> None:
    """Ranks that were counted twice take fewer than are stated; a data-parallel attention shares them."""
    odd = {"tp64pp1dp1ep8", "tp16pp1dp1ep4", "tp1pp1dp64ep8", "tp1pp1dp16ep4", "tp4pp1dp1ep2", "tp4pp1dp4ep16"}
    for row in SHIPPED.inputs:
        if row["gpu"].startswith("Hopper"):
            continue
        d = served(row, CATALOGUE).deployment
        if row["parallel"] not in odd:
            assert d.accelerators * d.data_parallel == int(row["n_gpus"]), row["parallel"]


# Loads.


@pytest.mark.parametrize(
    ("scenario", "load"),
    [
        ("static batch", "static batch"), ("Static Batch ", "static batch"), ("decode", "running batch"),
        ("lm-arena-chat", "running batch"), ("gpqa", "running batch"), ("serving agg", "closed loop"),
        ("bench_serving random", "closed loop"), ("", "closed loop"),
    ],
)  # fmt: skip
def test_loads(scenario: str, load: str) -> None:
    assert read(scenario=scenario).load == load


def test_a_load_may_be_told_for_each_rank() -> None:
    whole = read(MIXTURE, parallel="dp2 tp4 ep8", concurrency_or_batch="16")
    each = read(MIXTURE, parallel="dp2 tp4 ep8", concurrency_or_batch="16 per DP rank")
    assert (whole.in_flight, each.in_flight) == (8.0, 16.0)


def test_less_than_one_request_in_flight_is_one() -> None:
    assert read(concurrency_or_batch="0.4").in_flight == 1.0


@pytest.mark.parametrize(
    ("scenario", "tokens"), [("lm-arena-chat", 150.0), ("gpqa", 300.0), ("serving agg", 1000.0), ("decode", 1000.0)]
)
def test_unstated_lengths_are_those_of_the_prompt_set(scenario: str, tokens: float) -> None:
    found = read(scenario=scenario, isl="", osl="")
    assert (found.isl, found.osl) == (tokens, 1000.0)
    assert assumed(found, f"isl of {tokens:.0f} tokens")
    assert assumed(found, "osl of 1000 tokens")


def test_an_answer_has_two_tokens_or_there_is_no_time_between_them() -> None:
    assert read(osl="1").osl == 2.0


# Speculative decoding.


@pytest.mark.parametrize(
    ("engine", "tokens"),
    [
        ("SGLang MTP 3-layer accept=3", 3.0), ("SGLang MTP accept 3.6", 3.6), ("3-layer MTP accept_len=2.8", 2.8),
        ("SGLang + EAGLE MTP", CATALOGUE.technique("mtp").tokens_per_step),
        ("SGLang MTP off accept=None", 1.0), ("SGLang (no EAGLE)", 1.0), ("sglang no MTP", 1.0), ("sglang 0.5.9", 1.0),
    ],
)  # fmt: skip
def test_speculation(engine: str, tokens: float) -> None:
    found = read(engine=engine)
    assert found.tokens_per_step == tokens
    assert found.step_factor == (CATALOGUE.technique("mtp").verify_cost if tokens > 1 else 1.0)
    assert assumed(found, "speculative decoding") == (tokens > 1)


# Models.


@pytest.mark.parametrize(
    "name",
    ["meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b", "Llama-3.1-8B-Instruct (chat)", "somebody/llama-3.1-8b"],
)
def test_models_are_found_as_tables_write_them(name: str) -> None:
    assert read(model=name).deployment.model.name == "llama-3.1-8b"


def test_a_model_of_which_only_the_size_is_known_is_a_generic_one() -> None:
    dense = read(model="Brandnew-30B", active_b="30", total_b="30")
    mixture = read(model="Brandnew-300B-A20B", active_b="20", total_b="300")
    total_only = read(model="Brandnew-30B", active_b="", total_b="30")
    active_only = read(model="Brandnew-30B", active_b="30", total_b="")
    assert dense.deployment.model.ffn.moe is None
    assert mixture.deployment.model.ffn.moe is not None
    assert mixture.deployment.model.derived_total_params == pytest.approx(300e9, rel=0.02)
    assert total_only.deployment.model == active_only.deployment.model == dense.deployment.model
    assert dense.deployment.confidence == "assumed"
    for found in (dense, mixture, total_only, active_only):
        assert assumed(found, "a generic architecture of its size")


# What nothing can be said of.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gpu": "Hopper (undisclosed)"}, "unknown hardware"),
        ({"gpu": ""}, "unknown hardware"),
        ({"model": "unheard-of", "active_b": "", "total_b": ""}, "unknown model without parameters"),
        ({"model": "unheard-of", "active_b": "nan", "total_b": "-3"}, "unknown model without parameters"),
        ({"model": "unheard-of", "active_b": "40", "total_b": "30"}, "parameters that make no model"),
        ({"model": "unheard-of", "active_b": "1e-9", "total_b": "30"}, "parameters that make no model"),
        ({"model": "unheard-of", "total_b": "1e12"}, "total_b larger than any server's"),
        ({"precision": "fp7"}, "unknown precision"),
        ({"concurrency_or_batch": ""}, "load that is no number of requests"),
        ({"concurrency_or_batch": "max (saturated)"}, "load that is no number of requests"),
        ({"concurrency_or_batch": "SLO"}, "load that is no number of requests"),
        ({"concurrency_or_batch": "-4"}, "load that is no number of requests"),
        ({"concurrency_or_batch": "1e18"}, "load that is no number of requests"),
        ({"isl": "1e30"}, "isl larger than any server's"),
        ({"osl": "1e30"}, "osl larger than any server's"),
        ({"parallel": "", "n_gpus": "1e30"}, "n_gpus larger than any server's"),
        ({"parallel": "tp99999"}, "parallelism over more accelerators than a server has"),
        ({"parallel": "tp" + "9" * 5000}, "parallelism over more accelerators than a server has"),
        ({"engine": "vllm mtp accept=0"}, "a number of tokens a step that no draft has"),
        ({"engine": "vllm mtp accept=900"}, "a number of tokens a step that no draft has"),
    ],
)
def test_a_row_that_does_not_tell_is_uncovered(changes: dict[str, str], words: str) -> None:
    assert words in reason(changes)


def test_an_uncovered_row_has_no_numbers_and_stops_no_other() -> None:
    first, lost, last = predict_serving(CATALOGUE, [DENSE, DENSE | {"gpu": "abacus"}, DENSE])
    assert first == last
    assert first.tpot_s is not None
    assert (lost.ttft_s, lost.tpot_s, lost.confidence, lost.reason) == (None, None, None, "unknown hardware")


JUNK = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.floats().map(str),
    st.integers(0, 10**6).map(str),
    st.from_regex(r"\A((tp|pp|dp|ep)[0-9]{1,6} ?){1,4}\Z"),
    st.from_regex(r"\A(vllm|sglang) (mtp|eagle) accept=[0-9.]{1,6}\Z"),
    st.sampled_from(sorted({value for row in SHIPPED.inputs for value in row.values()})),
)


@settings(max_examples=400, deadline=None)
@example(row=MIXTURE, changes={"model": "", "osl": "74213", "concurrency_or_batch": "128987"})
@given(row=st.sampled_from([DENSE, MIXTURE]), changes=st.dictionaries(st.sampled_from(INPUTS), JUNK, max_size=5))
def test_whatever_a_row_holds_is_predicted_with_finite_numbers_or_uncovered(
    row: dict[str, str], changes: dict[str, str]
) -> None:
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        (found,) = predict_serving(CATALOGUE, [row | changes])
    if found.reason:
        assert (found.ttft_s, found.tpot_s) == (None, None)
    else:
        assert found.ttft_s is not None
        assert found.tpot_s is not None
        assert 0.0 < found.ttft_s < np.inf
        assert 0.0 < found.tpot_s < np.inf


@pytest.mark.parametrize("row", [DENSE, MIXTURE])
def test_a_row_may_be_read_with_a_catalogue_of_ones_own(row: dict[str, str], tmp_path: Path) -> None:
    assert served(row, Catalogue(tmp_path)) == read(row)
