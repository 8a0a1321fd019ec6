"""Calibration: known constants come back from synthetic timings, bad rates are refused, a real model can be timed."""

from __future__ import annotations

import json
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from profiles import Catalogue, Model, UserError
from profiles.device import BatchCost, Decode, Device, Prefill
from scheduler.calibrate import Target, calibrate_model, calibrate_rates, calibration_screen
from scheduler.gguf import read_header
from scheduler.gguf_model import describe
from scheduler.measure import DECODE_PLAN, FULL_PLAN, QUICK_PLAN, measure, memory_gb_s
from scheduler.models import ModelStore
from scheduler.runtime import LlamaCpp
from sim.calibration.least_squares import fit_shares
from sim.calibration.local_fit import LocalModel, Timing, fit_local
from sim.calibration.rates_csv import read_rates
from sim.calibration.rates_fit import fit_rates
from sim.device_times import attended_positions, prompt_positions, prompt_s, token_s, weights_s
from sim.fleet_spec import NearSpec
from sim.near import near_of
from tests.command import exit_code
from tests.gguf_files import LLAMA, write_gguf

CATALOGUE = Catalogue()
SMOLLM2 = "smollm2-135m-instruct"
SMALL, WINDOWED = CATALOGUE.model("qwen3-0.6b"), CATALOGUE.model("gemma3-1b")
TRUTH = Decode(
    base_ms=0.0, bandwidth_gb_s=10.0, head_precision="int8", layer_ms=0.05, head_bandwidth_gb_s=16.0, attention_ns=30.0,
    batch=BatchCost(tile_sequences=2, fixed_share=0.8, sequence_share=0.4),
)  # fmt: skip
PROMPTS = Prefill(chunk_tokens=1, base_ms=0.0, effective_tops=0.05, prompt_ms=12.0, attention_ns=5.0)
GOOD = "model,quantization,prompt_len,context_len,prefill_tok_s,decode_tok_s,ttft_s,batch\n"


# Least squares.


def test_shares_are_never_negative() -> None:
    ones, grows = np.ones(4), np.array([1.0, 2.0, 3.0, 4.0])
    assert fit_shares(np.stack([ones, grows], axis=1), 2.0 + 3.0 * grows) == pytest.approx([2.0, 3.0])
    falling = fit_shares(np.stack([ones, grows], axis=1), 10.0 - grows)
    assert falling[1] == 0.0
    assert falling[0] > 0.0
    assert (fit_shares(np.zeros((4, 2)), grows) == 0.0).all()


def test_columns_that_depend_on_each_other_are_passed_over() -> None:
    grows = np.array([1.0, 2.0, 3.0])
    found = fit_shares(np.stack([grows, 2.0 * grows], axis=1), 4.0 * grows)
    assert found @ [1.0, 2.0] == pytest.approx(4.0)


# Times of a device.


def test_the_terms_of_a_token() -> None:
    read = SMALL.active_layer_params * 0.5 / 10e9 + SMALL.head_params / 16e9
    assert weights_s(SMALL, TRUTH, "int4") == pytest.approx(read)
    empty = token_s(SMALL, TRUTH, "int4", context_tokens=0.0)
    assert empty == pytest.approx(read + 0.05e-3 * SMALL.layers)
    position = SMALL.kv_values_per_token_full * 2.0 / 10e9 + SMALL.layers * SMALL.attention.query_heads * 30e-9
    assert token_s(SMALL, TRUTH, "int4", context_tokens=100.0) == pytest.approx(empty + 100.0 * position)


def test_steps_of_several_sequences() -> None:
    assert TRUTH.batch is not None
    assert [TRUTH.batch.times(n) for n in (1, 2, 3, 4)] == pytest.approx([1.0, 1.6, 2.4, 2.4])
    cheap = BatchCost(tile_sequences=1, fixed_share=0.1, sequence_share=0.1)
    assert cheap.times(2) == 1.0  # never less than one sequence alone
    alone = TRUTH.model_copy(update={"batch": None})
    assert token_s(SMALL, alone, "int4", context_tokens=0.0, sequences=4) == pytest.approx(
        4 * weights_s(SMALL, alone, "int4") + 0.05e-3 * SMALL.layers
    )


def test_windows_bound_what_is_attended_to() -> None:
    assert attended_positions(WINDOWED, 100.0) == 26 * 100
    assert attended_positions(WINDOWED, 1000.0) == 4 * 1000 + 22 * 512
    assert prompt_positions(WINDOWED, 600) == sum(attended_positions(WINDOWED, float(k)) for k in range(1, 601))
    assert prompt_positions(SMALL, 50) == SMALL.layers * 50 * 51 / 2


def test_the_defaults_mean_what_they_meant() -> None:
    engine = CATALOGUE.device("snapdragon-8-elite-phone").engine
    assert prompt_s(SMALL, engine.prefill, 500) == pytest.approx(engine.prefill_s(SMALL.active_layer_params, 500))
    rate = engine.decode["int4"]
    read = SMALL.active_layer_params * 0.5 + SMALL.head_params + 300 * SMALL.kv_values_per_token_full * 2
    assert token_s(SMALL, rate, "int4", context_tokens=300.0) == pytest.approx(engine.token_s("int4", read))


# Fitting timings of one model.


def timings(model: Model, *, noise: float = 0.0) -> list[Timing]:
    """What the true constants would take, with a relative error that alternates in sign."""
    found = [
        Timing("prefill", float(n), 1, prompt_s(model, PROMPTS, n), n in (64, 300))
        for n in (32, 64, 128, 300, 512, 1500)
    ]
    found += [
        Timing("decode", n, 1, token_s(model, TRUTH, "int4", context_tokens=n), n == 300.0)
        for n in (48.0, 144.0, 300.0, 528.0, 1500.0)
    ]
    fixed = 0.05e-3 * model.layers
    column = model.active_layer_params * 0.5 / 10e9
    position = token_s(model, TRUTH, "int4", context_tokens=1.0) - token_s(model, TRUTH, "int4", context_tokens=0.0)
    found += [Timing("layers", 8.0, k, fixed + k * (column + 8.0 * position)) for k in (1, 2, 4)]
    found += [
        Timing("batch", 32.0, k, token_s(model, TRUTH, "int4", context_tokens=32.0, sequences=k), k in (5, 6))
        for k in (1, 2, 3, 4, 5, 6, 8)
    ]
    return [one._replace(seconds=one.seconds * (1 + noise * (-1) ** k)) for k, one in enumerate(found)]


def local(model: Model) -> LocalModel:
    return LocalModel(
        model=model,
        precision="int4",
        head_precision="int8",
        layer_bytes=model.active_layer_params * 0.6,
        memory_gb_s=20.0,
    )


def test_known_constants_come_back() -> None:
    fit = fit_local(timings(SMALL), local(SMALL))
    assert fit.notes == ()
    for name in ("bandwidth_gb_s", "layer_ms", "head_bandwidth_gb_s", "attention_ns"):
        assert getattr(fit.decode, name) == pytest.approx(getattr(TRUTH, name), rel=5e-3), name
    assert fit.decode.batch is not None
    assert fit.decode.batch.tile_sequences == 2
    assert fit.decode.batch.sequence_share == pytest.approx(0.4, rel=5e-3)
    for name in ("effective_tops", "prompt_ms", "attention_ns"):
        assert getattr(fit.prefill, name) == pytest.approx(getattr(PROMPTS, name), rel=5e-3), name
    assert {(kind, how) for kind, of in fit.errors.items() for how in of} == {
        (kind, how) for kind in ("prefill", "decode", "batch") for how in ("in_sample", "held_out")
    }
    assert all(one.largest < 2e-3 for of in fit.errors.values() for one in of.values())


def test_windows_are_fitted_as_windows() -> None:
    fit = fit_local(timings(WINDOWED), local(WINDOWED))
    position = token_s(WINDOWED, fit.decode, "int4", context_tokens=5000.0) / token_s(
        WINDOWED, TRUTH, "int4", context_tokens=5000.0
    )
    assert position == pytest.approx(1.0, rel=0.02)


def test_errors_are_those_of_noise() -> None:
    fit = fit_local(timings(SMALL, noise=0.03), local(SMALL))
    assert 0.005 < fit.errors["decode"]["in_sample"].largest < 0.06
    assert fit.errors["decode"]["held_out"].largest < 0.1
    assert fit.decode.mean_error is not None
    assert fit.decode.points == 4


def test_the_memory_bounds_the_weights() -> None:
    """Columns that cost next to nothing do not mean weights that are read in no time."""
    rows = [one for one in timings(SMALL) if one.kind != "layers"]
    one = token_s(SMALL, TRUTH, "int4", context_tokens=0.0) - SMALL.head_params / 16e9
    rows += [Timing("layers", 0.0, k, one * (1 + 0.001 * k)) for k in (1, 2, 4)]
    fit = fit_local(rows, local(SMALL))
    assert fit.decode.bandwidth_gb_s <= 20.0 * 0.5 / 0.6 * 1.01


def test_what_was_not_measured_is_told() -> None:
    rows = [one for one in timings(SMALL) if one.kind in ("prefill", "decode")]
    fit = fit_local(rows, local(SMALL))
    assert fit.decode.batch is None
    assert fit.decode.layer_ms == 0.0
    assert any("nothing told them apart" in note for note in fit.notes)
    assert any("several sequences" in note for note in fit.notes)
    with pytest.raises(UserError, match="too few lengths of prompt"):
        fit_local([one for one in rows if one.kind == "decode"], local(SMALL))
    with pytest.raises(UserError, match="too few contexts"):
        fit_local([one for one in rows if one.kind == "prefill"], local(SMALL))
    same = [Timing("prefill", float(n), 1, 1.0 / n) for n in (10, 100, 1000)]
    with pytest.raises(UserError, match="do not grow"):
        fit_local([*same, *(one for one in rows if one.kind == "decode")], local(SMALL))


# A device from a CSV.


def rates(*, sequences: bool = False) -> str:
    """Rates of three models on a device of known constants: base 5 ms, 40 GB/s, 2 tops and 20 ms a prompt."""
    decode = Decode(base_ms=5.0, bandwidth_gb_s=40.0, head_precision="int8", attention_ns=0.5)
    prefill = Prefill(chunk_tokens=1, base_ms=0.0, effective_tops=2.0, prompt_ms=20.0)
    lines = []
    for name in ("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b"):
        model = CATALOGUE.model(name)
        for prompt, context in ((128, 128), (512, 1024)):
            token = token_s(model, decode, "int4", context_tokens=context)
            lines.append(f"{name},w4,{prompt},{context},,{1 / token:.6g},{prompt_s(model, prefill, prompt):.6g},\n")
        if sequences:
            for count in (2, 4):
                one = weights_s(model, decode, "int4")
                step = token_s(model, decode, "int4", context_tokens=128.0) + one * (0.5 + 0.3 * count - 1)
                step += (count - 1) * (token_s(model, decode, "int4", context_tokens=128.0) - 5e-3 - one)
                lines.append(f"{name},w4,128,128,,{1 / step:.6g},,{count}\n")
    return GOOD + "".join(lines)


def read(tmp_path: Path, text: str) -> list[object]:
    (tmp_path / "rates.csv").write_text(text, encoding="utf-8")
    return list(read_rates(tmp_path / "rates.csv", CATALOGUE))


def test_a_csv_gives_its_constants_back(tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text(rates(sequences=True), encoding="utf-8")
    fit = fit_rates(read_rates(tmp_path / "rates.csv", CATALOGUE))
    found = fit.decode["int4"]
    assert found.base_ms == pytest.approx(5.0, rel=0.01)
    assert found.bandwidth_gb_s == pytest.approx(40.0, rel=0.01)
    assert found.attention_ns == pytest.approx(0.5, rel=0.02)
    assert found.batch is not None
    assert found.batch.sequence_share == pytest.approx(0.3, rel=0.02)
    assert found.points == 12
    assert fit.prefill.effective_tops == pytest.approx(2.0, rel=0.01)
    assert fit.prefill.prompt_ms == pytest.approx(20.0, rel=0.01)
    assert fit.errors["decode int4"]["leave_one_out"].largest < 0.01
    assert fit.errors["prefill"]["leave_one_out"].n == 6


def test_leave_one_out_sees_what_in_sample_does_not(tmp_path: Path) -> None:
    lines = rates().splitlines(keepends=True)
    lines[-1] = lines[-1].replace(lines[-1].split(",")[5], str(float(lines[-1].split(",")[5]) * 0.8))
    (tmp_path / "rates.csv").write_text("".join(lines), encoding="utf-8")
    errors = fit_rates(read_rates(tmp_path / "rates.csv", CATALOGUE)).errors["decode int4"]
    assert errors["leave_one_out"].largest > errors["in_sample"].largest > 0.02


def test_few_rows_are_told(tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text(GOOD + "qwen3-0.6b,w4,128,,900,40,,\n", encoding="utf-8")
    fit = fit_rates(read_rates(tmp_path / "rates.csv", CATALOGUE))
    assert fit.decode["int4"].base_ms == 0.0
    assert any("too few to leave one out" in note for note in fit.notes)


def test_a_model_of_which_only_the_size_is_known(tmp_path: Path) -> None:
    header = GOOD.replace("model,", "model,params_b,")
    (tmp_path / "rates.csv").write_text(header + "Mystery-3B,3.0,Q4_K_M,128,,300,12,,\n", encoding="utf-8")
    fit = fit_rates(read_rates(tmp_path / "rates.csv", CATALOGUE))
    assert any("Mystery-3B is not in the catalogue" in note for note in fit.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model,prompt_len\nqwen3-0.6b,1\n", r"missing columns: quantization, decode_tok_s, prefill_tok_s or ttft_s"),
        (GOOD, "no rows below its header"),
        (GOOD.replace("ttft_s", "ttft_ms") + "qwen3-0.6b,w4,128,,900,40,100,\n", "another unit; got 'ttft_ms'"),
        (GOOD.replace("decode_tok_s", "decode_ms_per_token"), "another unit; got 'decode_ms_per_token'"),
        (GOOD + "qwen3-0.6b,w4,128,,900,0,,\n", r"line 2: decode_tok_s must be a number above 0; got '0'"),
        (GOOD + "qwen3-0.6b,w4,128,,900,40,,\nqwen3-0.6b,w4,128,,-9,40,,\n", r"line 3: prefill_tok_s must be .*'-9'"),
        (GOOD + "qwen3-0.6b,w4,128,,900,fast,,\n", r"line 2: decode_tok_s must be a number above 0; got 'fast'"),
        (GOOD + "qwen3-0.6b,w4,128,,nan,40,,\n", "prefill_tok_s must be a number above 0; got 'nan'"),
        (GOOD + "qwen3-0.6b,w4,12.5,,900,40,,\n", "prompt_len must be a whole number"),
        (GOOD + "qwen3-0.6b,w4,,,900,40,,\n", "prompt_len: missing"),
        (GOOD + "qwen3-0.6b,strange,128,,900,40,,\n", "quantization: no known format; got 'strange'"),
        (GOOD + "qwen3-0.6c,w4,128,,900,40,,\n", r"unknown model.*did you mean 'qwen3-0.6b'.*or give its params_b"),
        (GOOD + ",w4,128,,900,40,,\n", "line 2: model: missing"),
        (GOOD + "qwen3-0.6b,w4,128,,,,,\n", "no rate at all"),
        (GOOD + "qwen3-0.6b,w4,128,,900,40,142,\n", r"line 2: ttft_s looks like milliseconds; got 142"),
        (GOOD + "qwen3-0.6b,w4,128,,,40,4000,\n", "ttft_s looks like milliseconds; got 4000"),
        (GOOD + "qwen3-0.6b,w4,1000,,1.1,40,1.1,\n", "prefill_tok_s looks like milliseconds per token"),
        (GOOD + "qwen3-0.6b,w4,128,,1.1,25,,\n", "far below decode_tok_s"),
        (GOOD + "qwen3-0.6b,w4,128,,900000,300000,,\n", r"would read the weights at .* GB/s"),
        (GOOD + "qwen3-0.6b,w4,128,,900,25,,\nqwen3-4b,w4,128,,900,90,,\n", r"lines 2 and 3: decode_tok_s grows"),
        ("\x00\x01", "missing columns"),
        (GOOD.replace(",", ";"), r"separated by something else; got ';'"),
        (GOOD.replace(",", "\t"), r"separated by something else"),
        (GOOD.replace("ttft_s", "model"), "a column is there more than once; got 'model'"),
        (GOOD + "qwen3-0.6b,w4,128,,900,40,5,,\n", r"line 2: not as many cells as columns.*decimals have a point"),
        (GOOD + "qwen3-0.6b,w4,128\n", "line 2: not as many cells as columns"),
        (GOOD + "qwen3-0.6b,w4,1e9,,900,40,,\n", r"line 2: prompt_len is implausible; .* at most 10,000,000"),
        (GOOD + "qwen3-0.6b,w4,128,1e300,900,40,,\n", "context_len is implausible"),
        (GOOD + "qwen3-0.6b,w4,128,,900,40,,1e9\n", "batch is implausible"),
        (GOOD + "qwen3-0.6b,w4,128,,1e300,40,,\n", "line 2: the prompt would be computed at"),
        (GOOD + "qwen3-0.6b,w4,128,,,40,1e-300,\n", "line 2: the prompt would be computed at"),
        (GOOD + "qwen3\x1b[31m,w4,128,,900,40,,\n", "model: not one line of text"),
        (GOOD + "qwen3-0.6b,w4,128,,900,40,,\n" * 501, "too many rows to fit; allowed: at most 500"),
        ("x" * (1 << 20), "a line without an end"),
        (
            GOOD.replace("batch", "batch,params_b") + "new,w4,128,,900,40,,,1e300\n",
            "no model has this size; got 1e.300",
        ),
    ],
)
def test_bad_rates_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_rates_of_no_one_device_are_refused(tmp_path: Path) -> None:
    text = GOOD + "qwen3-0.6b,w4,128,,900,40,,\n" + "qwen3-0.6b,w4,128,,900,40,,4000\n"
    (tmp_path / "rates.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"no one device decodes int4 at these rates; .*batch"):
        fit_rates(read_rates(tmp_path / "rates.csv", CATALOGUE))


def test_rates_without_one_half_are_refused(tmp_path: Path) -> None:
    for row, words in (
        ("qwen3-0.6b,w4,128,,900,,,\n", "decode_tok_s: nothing to fit"),
        ("qwen3-0.6b,w4,128,,,40,,\n", "prefill_tok_s or ttft_s: nothing to fit"),
        ("qwen3-0.6b,w4,128,,900,40,,4\n", "no row tells the rate of one sequence alone"),
    ):
        (tmp_path / "rates.csv").write_text(GOOD + row, encoding="utf-8")
        with pytest.raises(UserError, match=words):
            fit_rates(read_rates(tmp_path / "rates.csv", CATALOGUE))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        read_rates(tmp_path / "none.csv", CATALOGUE)
    (tmp_path / "latin.csv").write_bytes("modèle\n".encode("latin-1"))
    with pytest.raises(UserError, match="no readable CSV"):
        read_rates(tmp_path / "latin.csv", CATALOGUE)


# The device file.


def from_csv(tmp_path: Path, name: str, **how: object) -> tuple[dict[str, object], Device]:
    (tmp_path / "rates.csv").write_text(rates(), encoding="utf-8")
    folder = tmp_path / "facts"
    result = calibrate_rates(tmp_path / "rates.csv", Target(out=folder / f"{name}.yaml", name=name, **how))  # type: ignore[arg-type]
    return result, Catalogue(folder).device(name)


def test_the_device_is_of_the_catalogue(tmp_path: Path) -> None:
    result, device = from_csv(tmp_path, "mine")
    assert device.engine.decode["int4"].bandwidth_gb_s == pytest.approx(40.0, rel=0.01)
    assert device.confidence_of("engines.measured-cpu.decode") == "fitted"
    assert {"thermal", "battery", "idle_w", "engines.measured-cpu.power_w"} <= set(device.assumed_fields())
    assert any("not measured" in note for note in result["notes"])  # type: ignore[attr-defined]
    screen = calibration_screen(result)
    assert "leave one out" in screen
    assert str(tmp_path / "facts" / "mine.yaml") in screen
    assert [path.name for path in (tmp_path / "facts").iterdir()] == ["mine.yaml"]


def test_a_fleet_takes_it(tmp_path: Path) -> None:
    _, device = from_csv(tmp_path, "mine")
    near = near_of("near", device, NearSpec.model_validate({"model": "qwen3-0.6b"}), CATALOGUE)
    engine = device.engine
    assert near.token_s == pytest.approx(token_s(SMALL, engine.decode["int4"], "int4", context_tokens=0.0))
    grown = near.token_s + 700 * near.context_s
    assert grown == pytest.approx(token_s(SMALL, engine.decode["int4"], "int4", context_tokens=700.0))
    assert 512 * near.chunk_s == pytest.approx(prompt_s(SMALL, engine.prefill, 512))
    assert any("prompt of 512 tokens" in note for note in near.assumed)


def test_it_can_be_like_another(tmp_path: Path) -> None:
    _, device = from_csv(tmp_path, "mine", like="snapdragon-8-elite-phone")
    phone = CATALOGUE.device("snapdragon-8-elite-phone")
    assert device.battery == phone.battery
    assert device.default_engine == "measured-cpu"
    assert device.engine.power_w == phone.engine.power_w
    assert device.rates == ()
    with pytest.raises(UserError, match="unknown device"):
        from_csv(tmp_path, "other", like="no-phone")


def test_nothing_is_overwritten_or_half_written(tmp_path: Path) -> None:
    from_csv(tmp_path, "mine")
    with pytest.raises(UserError, match=r"a file is there already.*--force"):
        from_csv(tmp_path, "mine")
    from_csv(tmp_path, "mine", force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        calibrate_rates(tmp_path / "rates.csv", Target(out=tmp_path / "file" / "a.yaml", name="a"))
    bad = tmp_path / "bad.csv"
    bad.write_text(GOOD, encoding="utf-8")
    with pytest.raises(UserError, match="no rows"):
        calibrate_rates(bad, Target(out=tmp_path / "b.yaml", name="b"))
    assert not (tmp_path / "b.yaml").exists()
    with pytest.raises(UserError, match="no such kind of engine"):
        calibrate_rates(tmp_path / "rates.csv", Target(out=tmp_path / "b.yaml", name="b"), engine="tpu")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rates.csv").write_text(rates(), encoding="utf-8")
    assert exit_code(monkeypatch, "calibrate", "--csv", "rates.csv", "--name", "mine", "--json") == 0
    assert json.loads(capsys.readouterr().out)["out"] == "mine.yaml"
    words = [
        "latency",
        "--device",
        "mine",
        "--profiles",
        ".",
        "--model",
        "qwen3-1.7b",
        "--prompt",
        "100",
        "--output",
        "9",
    ]
    assert exit_code(monkeypatch, *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["decode_tok_s"] > 0
    assert exit_code(monkeypatch, "calibrate") == 2
    assert "one of the two" in capsys.readouterr().err
    assert exit_code(monkeypatch, "calibrate", "no-model", "--out", "x.yaml") == 2
    assert "has not been pulled" in capsys.readouterr().err


# Timing real models.


def test_the_plans_hold_out_what_lies_inside() -> None:
    for plan in (FULL_PLAN, QUICK_PLAN):
        assert not set(plan.lengths) & set(plan.held_out_lengths)
        assert not set(plan.batches) & set(plan.held_out_batches)
        assert min(plan.lengths) < min(plan.held_out_lengths) <= max(plan.held_out_lengths) < max(plan.lengths)
        assert {1, 2} <= set(plan.columns)
    assert len(DECODE_PLAN.lengths) > 1


def test_memory_is_read_at_some_rate() -> None:
    assert 0.1 < memory_gb_s(1) < 10_000.0
    assert math.isfinite(memory_gb_s(1))


def needs_runtime() -> None:
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed: pip install 'nearfar[local]'")


def test_without_the_runtime_the_install_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.runtime.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install .*nearfar\[local\]"):
        LlamaCpp(tmp_path / "a.gguf", threads=1)


def test_a_file_that_the_runtime_cannot_run(tmp_path: Path) -> None:
    """Its head is fine, but no tokenizer and half of the tensors are missing: the runtime refuses it, or dies of it."""
    needs_runtime()
    path = write_gguf(tmp_path / "a.gguf", {**LLAMA, "llama.context_length": 4096})
    with pytest.raises(UserError, match=r"the runtime (failed|died) while loading the model"):
        measure(path, describe(read_header(path), "a"), plan=QUICK_PLAN)
    with pytest.raises(UserError, match="threads must be at least 1"):
        measure(path, describe(read_header(path), "a"), threads=0)


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with SmolLM2: the user's, or a new one that it was pulled into."""
    needs_runtime()
    store = ModelStore()
    if SMOLLM2 not in store.names():
        store = ModelStore(tmp_path_factory.mktemp("models"))
        try:
            store.pull(SMOLLM2)
        except UserError as error:
            pytest.skip(f"no model to time: {error}")
    return store.folder


@pytest.fixture
def smollm2(pulled: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    monkeypatch.setenv("NEARFAR_MODELS_DIR", str(pulled))
    return ModelStore()


def test_a_real_model_is_timed(smollm2: ModelStore, tmp_path: Path) -> None:
    target = Target(out=tmp_path / "here.yaml", name="here")
    seen: list[tuple[int, int]] = []
    result = calibrate_model(
        "smollm2-135m-instruct", target, quick=True, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1][0] == seen[-1][1]
    device = Catalogue(tmp_path).device("here")
    assert device.engine.decode["int4"].batch is not None
    assert result["errors"]["decode"]["held_out"]["n"] == 1
    assert {row["kind"] for row in result["timings"]} == {"prefill", "decode", "layers", "batch"}
    longer = [row["measured_s"] for row in result["timings"] if row["kind"] == "prefill"]
    assert longer == sorted(longer)


def test_what_takes_too_long_is_refused_or_left_out(smollm2: ModelStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes too long"):
        calibrate_model("smollm2-135m-instruct", Target(out=tmp_path / "a.yaml", name="a"), budget_s=1e-3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--csv", "rates.csv", "--check", "x", "--threads", "2"), "--check, --threads goes with a model to time"),
        (("--csv", "rates.csv", "--quick"), "--quick goes with a model to time"),
        (("--csv", "rates.csv", "--budget-s", "9"), "--budget-s goes with a model to time"),
        (("model", "--engine", "gpu"), "--engine goes with --csv"),
        (("--csv", "rates.csv", "--name", "../up"), "a device cannot be called that"),
        (("--csv", "rates.csv", "--name", ""), "a device cannot be called that"),
        (("--csv", "rates.csv", "--name", "x" * 300), "a device cannot be called that"),
        (("--csv", "rates.csv", "--out", "."), "the file to write is a folder"),
        (("no-model", "--out", "rates.csv/x.yaml"), "cannot write rates.csv/x.yaml"),
        (("no-model", "--like", "home-hub", "--name", "home-hub"), "a device cannot be like itself"),
        (("--csv", "rates.csv", "--out", "x" * 5000), "a file cannot be used: File name too long"),
    ],
)
def test_what_cannot_end_well_is_told_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rates.csv").write_text(rates(), encoding="utf-8")
    assert exit_code(monkeypatch, "calibrate", *words) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["rates.csv"]


@pytest.mark.parametrize(
    ("how", "words"),
    [({"threads": 0}, "threads"), ({"threads": 10**9}, "threads"), ({"budget_s": float("nan")}, "time allowed"),
     ({"budget_s": -1.0}, "time allowed")],
)  # fmt: skip
def test_measurements_that_cannot_be_made(tmp_path: Path, how: dict[str, float], words: str) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    with pytest.raises(UserError, match=words):
        measure(file, describe(read_header(file), "tiny"), **how)  # type: ignore[arg-type]
