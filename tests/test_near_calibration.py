"""Near times against published measurements: what a prediction may read, how far it is off, what it does not know."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from profiles import Catalogue, UserError
from profiles.quantisation import quantisation
from sim.calibration.generic_model import generic_model
from sim.calibration.near_case import NearCase, Row, case_of
from sim.calibration.near_cells import COLUMNS, Column, device_rows, left_out, measured
from sim.calibration.near_fit import Fit, HeldOut, fit, leave_one_model_out
from sim.calibration.near_names import asked_model, runtime_family, threads_of
from sim.calibration.near_predict import INPUTS, NearPrediction, predict_near
from sim.calibration.near_write import records, write

CATALOGUE = Catalogue()
ROWS = device_rows()
SHIPPED = Path(__file__).parents[1] / "profiles" / "data" / "near-runtimes"
PHONE: Row = {
    "model": "Llama-3.2-3B", "quantization": "w4a16", "soc": "Snapdragon 8 Elite (SM8750)", "runtime": "Genie/QNN",
    "accelerator": "npu", "prompt_len": "128", "context_len": "4096",
}  # fmt: skip


def predicted(**changes: str | float | None) -> NearPrediction:
    return predict_near(CATALOGUE, {**PHONE, **changes})


def rate(prediction: NearPrediction) -> float:
    assert prediction.decode_tok_s is not None
    return prediction.decode_tok_s


def case(**changes: str | float | None) -> NearCase:
    found = case_of(CATALOGUE, {**PHONE, **changes})
    assert isinstance(found, NearCase)
    return found


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


@pytest.fixture(scope="module")
def errors() -> dict[Column, list[float]]:
    """|predicted / measured - 1| of every cell that the shipped coefficients cover, left out of the fit or not."""
    found: dict[Column, list[float]] = {column: [] for column in COLUMNS}
    for row in ROWS:
        prediction = predict_near(CATALOGUE, row)
        for column in COLUMNS:
            if row[column] and (value := prediction.value(column)) is not None:
                found[column].append(abs(value / float(str(row[column])) - 1.0))
    return found


@pytest.fixture(scope="module")
def whole() -> Fit:
    return fit(measured(CATALOGUE, ROWS))


@pytest.fixture(scope="module")
def held_out() -> list[HeldOut]:
    return leave_one_model_out(measured(CATALOGUE, ROWS))


# How far it is off.


def test_nearly_every_measured_cell_is_predicted(errors: dict[Column, list[float]]) -> None:
    cells = sum(bool(row[column]) for row in ROWS for column in COLUMNS)
    assert sum(map(len, errors.values())) / cells >= 0.95


@pytest.mark.parametrize(
    ("column", "median", "nine_in_ten"),
    [("decode_tok_s", 0.10, 0.30), ("prefill_tok_s", 0.15, 0.45), ("ttft_s", 0.15, 0.45)],
)
def test_predictions_come_close_to_measurements(
    errors: dict[Column, list[float]], column: Column, median: float, nine_in_ten: float
) -> None:
    assert quantile(errors[column], 0.5) <= median
    assert quantile(errors[column], 0.9) <= nine_in_ten


@pytest.mark.parametrize(("column", "median"), [("decode_tok_s", 0.15), ("prefill_tok_s", 0.25), ("ttft_s", 0.25)])
def test_models_that_the_fit_never_saw_are_predicted_too(
    held_out: list[HeldOut], column: Column, median: float
) -> None:
    assert quantile([one.error for one in held_out if one.cell.column == column], 0.5) <= median


def test_few_rows_are_left_out_and_each_says_why() -> None:
    reasons = [left_out(row) for row in ROWS if left_out(row)]
    assert 0 < len(reasons) <= 0.1 * len(ROWS)
    assert all(len(reason) > 20 for reason in reasons)
    used = {cell.row for cell in measured(CATALOGUE, ROWS)}
    assert {number for number, row in enumerate(ROWS) if left_out(row)} <= used


def test_the_shipped_coefficients_are_those_of_the_shipped_rows(whole: Fit, held_out: list[HeldOut]) -> None:
    made = {data["name"]: data for data in records(whole, held_out)}
    assert {path.stem for path in SHIPPED.glob("*.yaml")} == set(made)
    for name, data in made.items():
        shipped = yaml.safe_load((SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"))
        assert _flat(shipped) == pytest.approx(_flat(data), rel=2e-3), name


def test_a_refit_goes_before_what_ships(tmp_path: Path) -> None:
    """Half the measured rates, twice the time: for the runtime whose rows are given."""
    rows = [{**row, "decode_tok_s": float(str(row["decode_tok_s"])) / 2.0} for row in ROWS if row["decode_tok_s"]]
    genie = [row for row in rows if "Genie" in str(row["runtime"])]
    written = write(tmp_path / "mine", CATALOGUE, genie)
    assert {path.stem for path in written} >= {"genie-on-npu", "any-runtime-on-npu"}
    mine = predict_near(Catalogue(tmp_path / "mine"), PHONE)
    assert rate(mine) == pytest.approx(rate(predicted()) / 2.0, rel=0.15)


def _flat(data: object, path: str = "") -> dict[str, float]:
    if isinstance(data, dict):
        return {key: value for name, part in data.items() for key, value in _flat(part, f"{path}.{name}").items()}
    return {path: float(data)} if isinstance(data, int | float) else {}


# What a prediction reads.


def test_predictions_read_no_measured_column() -> None:
    """Every column that is no input changes, or is not there: the same prediction."""
    for row in ROWS:
        inputs = {column: row[column] for column in INPUTS}
        other = {column: "17.5" for column in row if column not in INPUTS}
        more = {"weight_gb": "1", "peak_bw_gbs": "1", "peak_mem_mb": "1", "power_w": "1", "note": "batch 8"}
        assert predict_near(CATALOGUE, {**inputs, **other, **more}) == predict_near(CATALOGUE, inputs)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "Llama-3.1-8B"}, {"quantization": "w8a16"}, {"soc": "SM8850"}, {"runtime": "llama.cpp Hexagon"},
        {"accelerator": "cpu"}, {"prompt_len": "1000"}, {"context_len": "512"},
    ],
)  # fmt: skip
def test_every_input_but_the_size_of_a_known_model_matters(change: dict[str, str]) -> None:
    assert predicted(**change) != predicted()
    assert predicted(params_b=70.0) == predicted()


# Physics.


def test_more_bytes_take_longer() -> None:
    one, three, eight = (rate(predicted(model=f"Llama-{name}")) for name in ("3.2-1B", "3.2-3B", "3.1-8B"))
    assert one > three > eight
    assert rate(predicted(context_len="512")) > rate(predicted()) > rate(predicted(context_len="8192"))


def test_experts_that_are_not_asked_are_not_read() -> None:
    sparse, dense = (predicted(model=name, params_b=30.5) for name in ("Qwen3-30B-A3B", "Qwen3-32B"))
    assert rate(sparse) > 4.0 * rate(dense)


def test_a_prompt_is_read_in_whole_chunks_on_an_npu() -> None:
    one, same, two = (predicted(prompt_len=tokens).ttft_s for tokens in (1.0, 128.0, 129.0))
    assert one is not None
    assert (same, two) == (pytest.approx(one), pytest.approx(2.0 * one))


def test_the_first_token_comes_when_the_prompt_is_read() -> None:
    for runtime, accelerator in (("Genie/QNN", "npu"), ("llama.cpp", "cpu"), ("MNN OpenCL", "gpu")):
        found = predicted(runtime=runtime, accelerator=accelerator, prompt_len=256.0)
        assert found.prefill_tok_s is not None
        assert found.ttft_s == pytest.approx(256.0 / found.prefill_tok_s)


def test_a_memory_limit_in_the_name_makes_weights_come_from_storage() -> None:
    pi: dict[str, str] = {"soc": "BCM2712 (Raspberry Pi 5)", "runtime": "PowerInfer", "accelerator": "cpu"}
    free = rate(predicted(model="Qwen3-1.7B", quantization="Q4_0", **pi))
    assert rate(predicted(model="Qwen3-1.7B (4G limit)", quantization="Q4_0", **pi)) == pytest.approx(free)
    assert rate(predicted(model="Qwen3-1.7B (1G limit)", quantization="Q4_0", **pi)) < 0.2 * free


def test_fewer_threads_are_slower_on_a_cpu() -> None:
    pi = {"soc": "BCM2712", "accelerator": "cpu", "quantization": "Q4_0"}
    assert rate(predicted(runtime="llama.cpp (1 thread)", **pi)) < 0.7 * rate(predicted(runtime="llama.cpp", **pi))


# Names.


@pytest.mark.parametrize(
    ("text", "name", "weight_bits", "head_bits"),
    [
        ("w4a16 (unspecified in file; quantized)", "w4a16", 4.0, 8.0), ("W4A16", "w4a16", 4.0, 8.0),
        ("w4a16_g128", "w4a16-g128", 4.125, 8.0), ("w8a8", "w8a8", 8.0, 8.0), ("16a8w", "w8a16", 8.0, 8.0),
        ("4w8a g256", "w4a8-g256", 4.0625, 8.0), ("Q4_0", "q4_0", 4.5, 6.56), ("QAT Q4_0", "q4_0", 4.5, 6.56),
        ("Q4_K_M", "q4_k_m", 4.85, 6.56), ("Q8_0", "q8_0", 8.5, 8.5), ("Q4", "w4", 4.0, 8.0),
        ("Q4 b64", "w4-g64", 4.25, 8.0), ("int4 sym block64", "w4-g64", 4.25, 8.0), ("QAT 4-bit", "w4", 4.0, 8.0),
        ("INT4 GPTQ", "w4", 4.125, 8.0), ("UINT4", "w4", 4.0, 8.0), ("dynamic_int8", "w8", 8.0, 8.0),
        ("W2", "w2", 2.0, 8.0), ("1.58b", "w1.58", 2.0, 8.0), ("q3f16_1", "q3f16_1", 3.4, 6.56),
        ("NVFP4", "nvfp4", 4.5, 6.56), ("fp16", "w16", 16.0, 16.0), ("F16", "w16", 16.0, 16.0),
        ("fp32", "w32", 32.0, 32.0), (".pte 6.1GB", "file", 6.1, 6.1),
    ],
)  # fmt: skip
def test_quantisations_have_bits(text: str, name: str, weight_bits: float, head_bits: float) -> None:
    found = quantisation(text, params_b=8.0)
    assert found is not None
    assert (found.name, found.weight_bits, found.head_bits) == (name, weight_bits, head_bits)


def test_a_quantisation_that_tells_nothing_is_none() -> None:
    assert quantisation("mixed") is quantisation("") is quantisation(".pte 6.1GB") is None
    low = quantisation("low-bit")
    assert low is not None
    assert "4 bits" in low.assumed


@pytest.mark.parametrize(
    ("runtime", "engine", "family"),
    [
        ("torchscript_onnx_qnn (QNN/Genie)", "npu", "genie"), ("Genie", "npu", "genie"),
        ("genie-ai-runtime / llama.cpp parity", "gpu", "llama.cpp-opencl"),
        ("ExecuTorch QNN power_saver", "npu", "executorch-qnn"),
        ("ExecuTorch XNNPACK i8mm", "cpu", "executorch-xnnpack"),
        ("LiteRT/MediaPipe XNNPACK 4 threads", "cpu", "litert"),
        ("llama.cpp Hexagon (2 sessions)", "npu", "llama.cpp-hexagon"),
        ("llama.rn 0.12.3", "cpu", "llama.cpp-cpu"), ("llama.cpp/ollama", "cpu", "llama.cpp-cpu"),
        ("PowerInfer/SmallThinker (llama.cpp-derived)", "cpu", "smallthinker"), ("T-MAC (8 threads)", "cpu", "t-mac"),
        ("rknn-llm (RKLLM)", "npu", "rkllm"), ("MNN Metal (no tensor API)", "gpu", "mnn-metal"),
        ("pymllm CUDA", "gpu", "pymllm"), ("mllm QNN", "npu", "mllm"),
        ("TensorRT Edge-LLM 0.7.0", "gpu", "tensorrt-edge-llm"),
        ("QHexRT (QNN ctx binary)", "npu", "qhexrt"), ("MLC-LLM Metal", "gpu", "mlc"),
        ("an unheard-of engine", "npu", "*"),
    ],
)  # fmt: skip
def test_runtimes_have_families(runtime: str, engine: str, family: str) -> None:
    assert runtime_family(runtime, engine, "qualcomm-sm8750") == family  # type: ignore[arg-type]


def test_the_backend_of_a_gpu_follows_from_its_maker() -> None:
    socs = ("apple-m4", "nvidia-jetson-agx-orin", "qualcomm-sm8750")
    assert [runtime_family("llama.cpp", "gpu", soc) for soc in socs] == [
        "llama.cpp-metal", "llama.cpp-cuda", "llama.cpp-opencl",
    ]  # fmt: skip


def test_runtimes_tell_threads() -> None:
    assert [threads_of(name) for name in ("T-MAC (2 threads)", "llama.cpp CPU 8t", "LiteRT-LM")] == [2, 8, None]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("Llama-3-8B-Instruct", "llama-3-8b"), ("Llama3-TAIDE-8B", "llama-3-8b"), ("allam_7b_quantized", "allam-7b"),
        ("qwen2_5_1_5b_instruct", "qwen2.5-1.5b"), ("Gemma-3n-2B", "gemma3n-e2b"), ("Gemma-4-E2B", "gemma4-e2b"),
        ("Mistral-7B-Instruct-v0.3", "mistral-7b"), ("SmallThinker-21B-A3B (8G limit)", "smallthinker-21b-a3b"),
        ("DeepSeekOCR-3B(A570M)", "deepseek-ocr-3b"), ("llama3_1-8b-edge", "llama-3.1-8b"),
    ],
)  # fmt: skip
def test_models_are_found_as_tables_write_them(name: str, model: str) -> None:
    found = asked_model(CATALOGUE, name, None)
    assert not isinstance(found, str)
    assert found.model.name == model


def test_every_chip_of_the_shipped_rows_is_known_but_those_that_are_not_told() -> None:
    unknown = {row["soc"] for row in ROWS if isinstance(found := case_of(CATALOGUE, row), str) and "chip" in found}
    assert unknown == {"(not stated)"}


def test_chips_answer_to_their_makers_name_and_without_it() -> None:
    names = ("Snapdragon 8 Elite (SM8750)", "SM8750", "Qualcomm Snapdragon 8 Elite", "qualcomm-sm8750")
    assert {CATALOGUE.soc(name).name for name in names} == {"qualcomm-sm8750"}
    with pytest.raises(UserError, match="unknown soc"):
        CATALOGUE.soc("Snapdragon 9000")


# Models of which only the size is known.


@pytest.mark.parametrize(
    ("total_b", "active_b"),
    [(0.1, None), (0.5, None), (1.3, None), (7.0, None), (70.0, None), (405.0, None), (21.0, 3.0), (671.0, 37.0)],
)
def test_a_generic_model_adds_up_to_its_size(total_b: float, active_b: float | None) -> None:
    model = generic_model("a model", total_b, active_b)
    assert model.derived_total_params == pytest.approx(total_b * 1e9, rel=0.02)
    assert model.derived_active_params == pytest.approx((active_b or total_b) * 1e9, rel=0.02)
    assert (model.ffn.moe is None) == (active_b is None)
    assert model.confidence == "assumed"


@pytest.mark.parametrize(("total_b", "active_b"), [(0.0, None), (math.nan, None), (3.0, 4.0), (3.0, -1.0)])
def test_a_size_that_is_none_is_refused(total_b: float, active_b: float | None) -> None:
    with pytest.raises(UserError, match="a model"):
        generic_model("a model", total_b, active_b)


def test_a_model_of_known_size_is_near_one_of_known_shape() -> None:
    shape, size = predicted(), predicted(model="Brandnew-3B", params_b=3.21)
    assert rate(size) == pytest.approx(rate(shape), rel=0.15)
    assert any("generic decoder of 3.21e9 parameters" in note for note in size.assumptions)
    assert size.confidence["decode_tok_s"] == "interpolated"


# What falls back, and what is not known.


def test_predictions_fall_back_from_the_runtime_on_its_chip_to_the_engine() -> None:
    """Runtime and chip measured; each of them; neither: ever more general, and said so."""
    kinds = [
        predicted(),
        predicted(soc="Dimensity 9400"),
        predicted(runtime="in-house"),
        predicted(soc="XRING O1", runtime="in-house"),
    ]
    assert [one.confidence["decode_tok_s"] for one in kinds] == ["fitted", "assumed", "assumed", "assumed"]
    notes = [" ".join(one.assumptions) for one in kinds]
    assert notes[0] == ""
    assert "no measurement on mediatek-dimensity-9400: the general level, scaled by its published peaks" in notes[1]
    assert "no measurement of the runtime on any npu" in notes[2]
    assert "qualcomm" not in notes[2]
    assert "no measurement on xiaomi-xring-o1" in notes[3]


def test_a_runtime_and_a_chip_that_never_met_take_from_both() -> None:
    """LiteRT was measured on a CPU of Snapdragon 8 Gen 3, not on the Pi's."""
    found = predicted(runtime="LiteRT-LM", soc="BCM2712", accelerator="cpu", quantization="int4")
    assert found.confidence["decode_tok_s"] == "interpolated"
    assert any("no measurement of litert on broadcom-bcm2712" in note for note in found.assumptions)


@pytest.mark.parametrize("name", ["Kompanio Ultra 910", "Snapdragon 8s Gen 3", "XRING O1"])
@pytest.mark.parametrize("engine", ["npu", "gpu", "cpu"])
def test_chips_without_measurements_are_predicted_and_said_to_be(name: str, engine: str) -> None:
    found = predicted(soc=name, accelerator=engine, runtime="in-house")
    assert 2.0 < rate(found) < 100.0
    assert found.band["decode_tok_s"] is not None
    assert any("no measurement" in note for note in found.assumptions)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"soc": "(not stated)"}, "the chip '(not stated)' is unknown"),
        ({"soc": ""}, "the chip '' is unknown"),
        ({"soc": "Pentium 4"}, "the chip 'Pentium 4' is unknown"),
        ({"soc": "RV1126B", "accelerator": "gpu"}, "has no gpu"),
        ({"accelerator": "tpu"}, "none of npu, gpu, cpu"),
        ({"model": "median over focused model matrix"}, "neither in the catalogue nor described by its size"),
        ({"model": ""}, "the row names no model"),
        ({"quantization": "mixed"}, "tells no width"),
    ],
)
def test_what_is_not_known_is_not_guessed(changes: dict[str, str], reason: str) -> None:
    found = predicted(**changes)
    assert reason in found.reason
    assert (found.decode_tok_s, found.prefill_tok_s, found.ttft_s) == (None, None, None)


def test_a_number_that_is_none_is_refused() -> None:
    for value in ("many", "-3", "inf"):
        with pytest.raises(UserError, match="prompt_len"):
            predicted(prompt_len=value)
    assert predicted(prompt_len=math.nan) == predicted(prompt_len=None) == predicted(prompt_len="")


@pytest.mark.parametrize(
    ("row", "tokens", "context"),
    [
        ({"runtime": "Genie/QNN", "prompt_len": None, "context_len": None}, 1024, 1024),
        ({"runtime": "Genie/QNN", "prompt_len": None, "context_len": 1024.0}, 1024, 1024),
        ({"runtime": "Genie/QNN", "prompt_len": 128.0, "context_len": None}, 128, 4096),
        ({"runtime": "LiteRT-LM", "accelerator": "cpu", "prompt_len": None, "context_len": 4096.0}, 1024, 4096),
        ({"runtime": "llama.cpp", "accelerator": "cpu", "prompt_len": None, "context_len": None}, 256, 256),
        ({"model": "Granite-3B-Code-Instruct", "prompt_len": 128.0, "context_len": 4096.0}, 128, 2048),
    ],
)
def test_lengths_that_a_row_does_not_tell(row: dict[str, str | float | None], tokens: int, context: int) -> None:
    found = case(**row)
    assert (found.prompt_tokens, found.context_tokens) == (tokens, context)
    assert (row.get("prompt_len", "told") is None) == any("the prompt has" in note for note in found.assumed)


def test_what_was_assumed_is_told_with_the_prediction() -> None:
    assert any("full context of 1024" in note for note in predicted(prompt_len=None).assumptions)
    assert any("size of the file" in note for note in predicted(quantization=".pte 6.1GB").assumptions)
    assert any("attends to 4096 tokens" in note for note in predicted(context_len=None).assumptions)
    assert any("1 GB of memory" in note for note in predicted(model="Llama-3.2-3B (1G limit)").assumptions)
    assert any(
        "the architecture of mistral-3b is assumed" in note for note in predicted(model="Mistral-3B").assumptions
    )
