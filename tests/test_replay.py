"""Recorded engine runs: what is read, what is refused, and how near the replay comes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import cli
from profiles import Catalogue, UserError
from sim.deployment import deploy
from sim.latency import step_costs
from sim.pool import EngineSettings, PoolSettings
from sim.replay import LATENCIES, STATISTICS, replay
from sim.replay_input import load_run
from sim.replay_ranks import lockstep_costs, lockstep_pool

CATALOGUE = Catalogue()
KWARGS = {"max_num_seqs": 8, "max_num_batched_tokens": 256, "tensor_parallel_size": 1, "data_parallel_size": 1}
META = {"model": "meta-llama/Llama-3.1-8B", "engine_kwargs": KWARGS}
ROW = {"input_toks": 100, "output_toks": 5, "queued_ts": 7.0, "first_token_ts": 7.1, "last_token_ts": 7.5}


def written(folder: Path, rows: list[Any] | str, meta: Any = META) -> Path:
    """A run's folder, with lines as given."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "requests.jsonl").write_text(lines, encoding="utf-8")
    (folder / "meta.json").write_text(meta if isinstance(meta, str) else json.dumps(meta), encoding="utf-8")
    return folder


def random_rows(n: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """Requests that queue up; their stamps are in order and otherwise meaningless."""
    draws = np.random.default_rng(seed)
    queued = np.sort(draws.uniform(100.0, 103.0, n))
    return [
        ROW
        | {
            "input_toks": int(draws.integers(1, 900)),
            "output_toks": int(draws.integers(1, 60)),
            "queued_ts": float(at),
            "first_token_ts": float(at) + 1.0,
            "last_token_ts": float(at) + 3.0,
        }
        for at in queued
    ]


# -- what is read ------------------------------------------------------------------------------------------------------


def test_everything_is_taken_from_where_it_stands(tmp_path: Path) -> None:
    meta = {
        "model": "m",
        "engine_kwargs": KWARGS
        | {
            "tensor_parallel_size": 2,
            "data_parallel_size": 2,
            "enable_expert_parallel": True,
            "dtype": "bfloat16",
            "kv_cache_dtype": "fp8",
            "max_model_len": 4096,
            "async_scheduling": False,
            "speculative_config": {"method": "eagle"},
        },
        "kv_cache": {"num_gpu_blocks": 1000, "block_size": 32, "gpu_memory_utilization": 0.8},
        "hardware": {"device_name": "NVIDIA GeForce RTX 4090"},
    }
    late = ROW | {"queued_ts": 9.0, "first_token_ts": 9.5, "last_token_ts": 10.0, "input_toks": 3}
    run = load_run(written(tmp_path / "H100_x", [late, ROW], meta))
    assert (run.accelerator, run.accelerator_from) == ("NVIDIA GeForce RTX 4090", "meta.json")
    assert (run.tensor_parallel, run.data_parallel, run.expert_parallel) == (2, 2, True)
    assert (run.precision, run.kv_precision) == ("bf16", "fp8")
    assert run.limits == {
        "max_num_seqs": 8,
        "max_num_batched_tokens": 256,
        "max_model_len": 4096,
        "async_scheduling": False,
        "block_size": 32,
        "gpu_memory_utilization": 0.8,
        "kv_blocks": 499,  # of one of two ranks, less the one that pads
    }
    assert run.prompt_tokens.tolist() == [100, 3]
    assert run.queued_s.tolist() == [0.0, 2.0]
    assert run.last_token_s.tolist() == pytest.approx([0.5, 3.0])
    assert run.notes == ("speculative_config is not modelled",)


def test_the_gpu_comes_from_the_caller_then_meta_then_the_folder(tmp_path: Path) -> None:
    folder = written(tmp_path / "RTX4090_Llama", [ROW])
    assert load_run(folder).accelerator == "RTX4090"
    assert load_run(folder).accelerator_from == "the folder's name"
    assert load_run(folder, accelerator="h100").accelerator == "h100"
    with pytest.raises(UserError, match=r"what GPU it was.*--accelerator"):
        load_run(written(tmp_path / "nameless", [ROW]))


def test_limits_that_are_not_stated_are_told(tmp_path: Path) -> None:
    run = load_run(written(tmp_path / "RTX4090_x", [ROW], META | {"engine_kwargs": {}}))
    assert run.notes == (
        "max_num_seqs 256: engine_kwargs does not state it",
        "max_num_batched_tokens 2048: engine_kwargs does not state it",
    )


# -- what is refused ---------------------------------------------------------------------------------------------------

LINE = json.dumps(ROW)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{k: v for k, v in ROW.items() if k != "first_token_ts"}], "line 1: first_token_ts is missing"),
        ([ROW, ROW | {"last_token_ts": None}], "line 2: last_token_ts is missing"),
        ([ROW | {"last_token_ts": "7.5"}], "line 1: last_token_ts is missing or no time"),
        (LINE.replace("7.5", "NaN"), "line 1: last_token_ts is missing or no time"),
        ([ROW | {"first_token_ts": 6.9}], "line 1: the clock goes back"),
        ([ROW | {"last_token_ts": 7.05}], "line 1: the clock goes back"),
        ([ROW | {"last_token_ts": 7.1}], "line 1: the clock goes back or stands still"),
        ([ROW | {"output_toks": 0}], "line 1: output_toks must be a whole number >= 1"),
        ([ROW | {"input_toks": 1.5}], "line 1: input_toks must be a whole number >= 1"),
        ([ROW | {"input_toks": True}], "line 1: input_toks must be a whole number >= 1"),
        ([ROW | {"input_toks": 10**30}], "line 1: input_toks must be a whole number >= 1; .*at most 100,000,000"),
        ([ROW | {"queued_ts": -(10**400)}], "line 1: queued_ts is missing or no time"),
        ([ROW | {"last_token_ts": 1e300}], "line 1: last_token_ts is missing or no time"),
        ([ROW | {"first_token_ts": 100.0, "last_token_ts": 900.0}], "do not look like seconds; got 'a median of 200 "),
        ("[" * 100_000, "line 1: not valid JSON"),
        (LINE + "\n\n{broken\n", "line 3: not valid JSON"),
        ("[1, 2]\n", "must hold objects"),
        ("\n", "holds no requests"),
    ],
)
def test_bad_requests_are_refused_with_their_line(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_run(written(tmp_path / "RTX4090_x", rows))


def test_marks_and_line_ends_of_other_systems_are_read(tmp_path: Path) -> None:
    text = json.dumps(ROW | {"text": "a\u2028b\x85c"}, ensure_ascii=False)
    folder = written(tmp_path / "RTX4090_x", "\ufeff" + f"{text}\r\n{text}\r\n", "\ufeff" + json.dumps(META))
    assert len(load_run(folder)) == 2


def kwargs(**changes: Any) -> dict[str, Any]:
    return META | {"engine_kwargs": KWARGS | changes}


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("{", "meta.json, line 1: not valid JSON"),
        ("[" * 100_000, "meta.json, line 1: not valid JSON"),
        (META | {"kv_cache": [1]}, r"kv_cache must be an object; got \[1\]"),
        (kwargs(enable_expert_parallel="no"), "enable_expert_parallel must be true or false; got 'no'"),
        ({"model": "x"}, "engine_kwargs is missing"),
        ({"engine_kwargs": KWARGS}, "model is missing"),
        (kwargs(data_parallel_size=0), "data_parallel_size must be a whole number >= 1"),
        (kwargs(dtype="float12"), r"dtype is not known; got 'float12'.*did you mean"),
        (kwargs(quantization="awq"), r"quantization is not known; got 'awq'"),
        (kwargs(max_num_seqs="many"), "engine_kwargs: max_num_seqs: bad value"),
        (META | {"model": "meta-llama/Llama-3.1-8C"}, "did you mean"),
        (META | {"hardware": {"device_name": "RTX 4091"}}, "did you mean"),
        (kwargs(max_model_len=64), r"1 requests would not have been served.*max_model_len 64"),
        (META | {"kv_cache": {"num_gpu_blocks": 3}}, "1 requests would not have been served"),
        (META | {"model": "Qwen/Qwen2.5-72B-Instruct"}, "does not fit, so this cannot have run"),
        (kwargs(tensor_parallel_size=3), "tensor_parallel must divide"),
    ],
)
def test_a_bad_meta_is_refused(tmp_path: Path, meta: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replay(load_run(written(tmp_path / "RTX4090_x", [ROW], meta)), CATALOGUE)


def test_missing_files_are_refused_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"cannot read .*meta.json.*give a folder that holds"):
        load_run(tmp_path)
    for arguments in (
        ["x.csv", "--run", "a"],
        ["--run", "a", "--scheduling", "b"],
        ["--scheduling", "b", "--accelerator", "h100"],
    ):
        answer = CliRunner().invoke(cli.app, ["validate", *arguments])
        assert isinstance(answer.exception, UserError)


# -- the replay --------------------------------------------------------------------------------------------------------


def recorded_by_the_simulator(folder: Path, meta: Any) -> Path:
    """A run whose stamps are what the simulator predicts."""
    rows = random_rows(60)
    first = replay(load_run(written(folder, rows, meta)), CATALOGUE)
    for row, ttft, e2e in zip(rows, first.predicted["ttft_s"], first.predicted["e2e_s"], strict=True):
        row["first_token_ts"] = row["queued_ts"] + float(ttft)
        row["last_token_ts"] = row["queued_ts"] + float(e2e)
    return written(folder, rows, meta)


MOE = {
    "model": "/models/Qwen3-30B-A3B",
    "engine_kwargs": KWARGS | {"data_parallel_size": 2, "enable_expert_parallel": True},
}


@pytest.mark.parametrize("meta", [META, META | {"kv_cache": {"num_gpu_blocks": 120}}, MOE])
def test_a_run_of_the_simulator_itself_replays_without_error(tmp_path: Path, meta: Any) -> None:
    result = replay(load_run(recorded_by_the_simulator(tmp_path / "RTXPRO6000_x", meta)), CATALOGUE).to_json()
    for latency in LATENCIES:
        assert set(result["error"][latency]) == set(STATISTICS)
        assert all(abs(error) < 1e-6 for error in result["error"][latency].values())
        assert result["median_absolute_error"][latency] < 1e-6
    faster, slower = result["band"]["error"]
    for latency in LATENCIES:
        assert faster[latency]["mean"] < -0.04
        assert slower[latency]["mean"] > 0.04


def test_a_small_cache_makes_requests_come_back(tmp_path: Path) -> None:
    rows = random_rows(60)
    small = META | {"kv_cache": {"num_gpu_blocks": 120}}
    assert replay(load_run(written(tmp_path / "RTX4090_x", rows, small)), CATALOGUE).preemptions > 0
    assert replay(load_run(written(tmp_path / "RTX4090_x", rows)), CATALOGUE).preemptions == 0


def test_requests_of_one_token_have_no_tpot(tmp_path: Path) -> None:
    rows = [ROW | {"output_toks": 1, "last_token_ts": 7.1}]
    result = replay(load_run(written(tmp_path / "RTX4090_x", rows)), CATALOGUE).to_json()
    assert result["measured"]["tpot_s"] == {}
    assert result["median_absolute_error"]["tpot_s"] is None
    assert result["measured"]["ttft_s"] == result["measured"]["e2e_s"]


def test_kv_blocks_are_derived_at_nine_tenths_of_the_memory(tmp_path: Path) -> None:
    run = load_run(written(tmp_path / "RTXPRO6000_x", [ROW]))
    derived = replay(run, CATALOGUE)
    memory = derived.deployment.memory(max_num_batched_tokens=256)
    assert derived.engine.kv_blocks == memory.kv_blocks(utilization=0.9, max_num_seqs=8, block_size=16)
    assert any(f"kv_blocks {derived.engine.kv_blocks} derived from 0.9" in text for text in derived.assumed)
    less = replay(replace(run, limits={**run.limits, "gpu_memory_utilization": 0.5}), CATALOGUE)
    assert less.engine.kv_blocks < derived.engine.kv_blocks


def test_the_command_prints_one_json_object_or_a_screen(tmp_path: Path) -> None:
    folder = written(tmp_path / "RTX4090_x", random_rows(10))
    answer = CliRunner().invoke(cli.app, ["validate", "--run", str(folder), "--json"])
    assert set(json.loads(answer.stdout)) >= {"measured", "predicted", "error", "median_absolute_error", "band"}
    text = CliRunner().invoke(cli.app, ["validate", "--run", str(folder), "--accelerator", "h100"]).stdout
    assert "llama-3.1-8b bf16 on h100" in text
    assert "the accelerator from the caller" in text
    assert "steps -5%" in text


# -- ranks that share experts ------------------------------------------------------------------------------------------


def test_ranks_that_share_experts_step_together() -> None:
    rank = deploy(CATALOGUE, model="qwen3-30b-a3b", accelerator="rtx-pro-6000", data_parallel=2, expert_parallel=True)
    pool = PoolSettings(replicas=2, engine=EngineSettings(max_num_seqs=64, max_num_batched_tokens=1024, kv_blocks=100))
    both = lockstep_pool(pool, 2)
    assert (both.replicas, both.engine.max_num_seqs, both.engine.max_num_batched_tokens) == (1, 128, 2048)
    assert both.engine.kv_blocks == 200
    together = lockstep_costs(rank, both, prompt_tokens=300.0)
    one = step_costs(rank, max_num_batched_tokens=2048, max_num_seqs=128)
    # decodes alone: half of them on each rank
    assert together.token_s[128] == pytest.approx(one.token_s[64])
    assert together.emit_s[128] == pytest.approx(one.emit_s[64])
    assert together.costs["fixed_s"] == one.costs["fixed_s"]
    # one prompt: the other rank waits; several: both are busy
    assert one.token_s[64 + 75] < together.token_s[128 + 150] < one.token_s[64 + 150]
    assert together.token_s[128 + 1200] == pytest.approx(one.token_s[64 + 600])


def test_ranks_without_shared_experts_are_engines_of_their_own(tmp_path: Path) -> None:
    rows = random_rows(40)
    one = replay(load_run(written(tmp_path / "RTX4090_x", rows)), CATALOGUE)
    two = replay(load_run(written(tmp_path / "RTX4090_x", rows, kwargs(data_parallel_size=2))), CATALOGUE)
    assert two.deployment == one.deployment
    assert two.predicted["ttft_s"].mean() < one.predicted["ttft_s"].mean()


# -- real runs ---------------------------------------------------------------------------------------------------------

BOUNDS = {"ttft_s": (0.05, 0.10), "tpot_s": (0.02, 0.06), "e2e_s": (0.02, 0.06)}  # of the mean, and of p95


@pytest.mark.parametrize("name", ["RTX4090_Llama-3.1-8B", "RTXPRO6000_Llama-3.1-8B"])
def test_real_runs_are_met(shared: Path, name: str) -> None:
    folder = shared / "vllm_runs" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    error = replay(load_run(folder), CATALOGUE).to_json()["error"]
    for latency, (mean, tail) in BOUNDS.items():
        assert abs(error[latency]["mean"]) < mean, (latency, error[latency])
        assert abs(error[latency]["p95"]) < tail, (latency, error[latency])
