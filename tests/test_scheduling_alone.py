"""A Vidur run with step times fitted to its own batches: what scheduling alone gets wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import cli
from profiles import UserError
from sim.calibration.scheduled_run import batch_shapes, read_scheduled
from sim.calibration.step_fit import fit_steps, scheduling_alone

SCHEDULER = {"name": "sarathi", "chunk_size": 64, "batch_size_cap": 8, "block_size": 16, "num_blocks": None}
CLUSTER = {"num_replicas": 1, "replica_config": {"num_pipeline_stages": 1}, "replica_scheduler_config": SCHEDULER}


def step_s(prefill: int, decodes: int, context: int) -> float:
    return 0.01 + 1e-4 * (prefill + decodes) + 1e-6 * context


def small_run(folder: Path, *, requests: int = 40, **scheduler: Any) -> Path:
    """A run written by the obvious simulator below."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(3)
    arrivals = np.cumsum(draws.exponential(0.15, requests))
    lengths = draws.integers(1, [[120, 12]] * requests)
    rows, batches = obvious(arrivals.tolist(), lengths.tolist())
    names = ["arrived_at", "num_prefill_tokens", "num_decode_tokens", "ttft_s", "e2e_s"]
    table(folder / "requests.csv", names, rows)
    names = ["batch_num_prefill_tokens", "batch_num_decode_tokens", "batch_size", "batch_execution_time"]
    table(folder / "batch_metrics.csv", names, batches)
    config = CLUSTER | {"replica_scheduler_config": SCHEDULER | scheduler}
    (folder / "config.json").write_text(json.dumps({"cluster_config": config}), encoding="utf-8")
    return folder


def table(path: Path, names: list[str], rows: list[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def obvious(arrivals: list[float], lengths: list[list[int]]) -> tuple[list[Any], list[Any]]:
    """Chunked prefill, one request after another: rows of requests and of batches."""
    done, emitted = [0] * len(arrivals), [0] * len(arrivals)
    first, last = [0.0] * len(arrivals), [0.0] * len(arrivals)
    now, batches = 0.0, []
    while min(last) == 0.0:
        present = [r for r, at in enumerate(arrivals) if at <= now and last[r] == 0.0]
        if not present:
            now = min(at for r, at in enumerate(arrivals) if last[r] == 0.0)
            continue
        decoding = [r for r in present if done[r] == lengths[r][0]]
        left = 64 - len(decoding)
        chunks: dict[int, int] = {}
        for r in present:
            if r not in decoding and left > 0 and len(decoding) + len(chunks) < 8:
                chunks[r] = min(lengths[r][0] - done[r], left)
                left -= chunks[r]
        context = sum(lengths[r][0] + emitted[r] for r in decoding)
        seconds = step_s(sum(chunks.values()), len(decoding), context)
        now += seconds
        batches.append((sum(chunks.values()), len(decoding), len(decoding) + len(chunks), seconds))
        for r, chunk in chunks.items():
            done[r] += chunk
        for r in decoding + [r for r in chunks if done[r] == lengths[r][0]]:
            emitted[r] += 1
            first[r] = first[r] or now
            if emitted[r] == lengths[r][1]:
                last[r] = now
    rows = [(a, *n, f - a, x - a) for a, n, f, x in zip(arrivals, lengths, first, last, strict=True)]
    return rows, batches


def test_a_run_of_the_same_rules_is_met(tmp_path: Path) -> None:
    run = read_scheduled(small_run(tmp_path / "run"))
    shapes = batch_shapes(run)
    assert (shapes.prefill_tokens == run.batch_prefill_tokens).all()
    assert (shapes.emitting <= shapes.sequences).all()
    assert fit_steps(run, shapes).mean_absolute_error < 0.01
    result = scheduling_alone(tmp_path / "run")
    assert abs(result["error"]["e2e_s"]["mean"]) < 0.005
    assert abs(result["error"]["e2e_s"]["p99"]) < 0.01
    assert result["median_absolute_error"]["e2e_s"] < 0.01


def test_a_batch_that_the_rules_would_not_compose_is_named(tmp_path: Path) -> None:
    folder = small_run(tmp_path / "run")
    lines = (folder / "batch_metrics.csv").read_text(encoding="utf-8").splitlines()
    prefill, *rest = lines[6].split(",")
    lines[6] = ",".join([str(int(prefill) + 1), *rest])
    (folder / "batch_metrics.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match="batch 5 is not what chunked prefill composes"):
        scheduling_alone(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "vllm"}, "with chunked prefill; got"),
        ({"chunk_size": 32}, "is not what chunked prefill composes"),
        ({"chunk_size": "x"}, "chunk_size must be a whole number; got 'x'; allowed: 1 to 1,000,000"),
        ({"batch_size_cap": None}, "not one replica of one stage"),
        ({"batch_size_cap": 10**9}, "batch_size_cap must be a whole number"),
        ({"block_size": 0}, "block_size must be a whole number; got 0"),
        ({"num_blocks": -5}, "num_blocks must be a whole number; got -5"),
        ({"num_blocks": 1}, "requests would not have been served"),
    ],
)
def test_another_scheduler_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        scheduling_alone(small_run(tmp_path / "run", **changes))


def test_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the folder of a Vidur run"):
        scheduling_alone(tmp_path)
    folder = small_run(tmp_path / "run")
    text = (folder / "requests.csv").read_text(encoding="utf-8")
    (folder / "requests.csv").write_text(text.replace("e2e_s", "end"), encoding="utf-8")
    with pytest.raises(UserError, match=r"requests.csv lacks columns; got \['e2e_s'\]"):
        scheduling_alone(folder)
    (folder / "requests.csv").write_text(text + "1,2,3,4,x\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"requests.csv.*'x'"):
        scheduling_alone(folder)
    (folder / "requests.csv").write_text(text.splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="is empty"):
        scheduling_alone(folder)


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, '{"cluster_config": {"replica_scheduler_config": []}}'])
def test_what_is_no_configuration(tmp_path: Path, text: str) -> None:
    folder = small_run(tmp_path / "run")
    (folder / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="no configuration of Vidur"):
        scheduling_alone(folder)


@pytest.mark.parametrize(
    ("file", "column", "value", "message"),
    [
        ("requests.csv", "num_prefill_tokens", "1e30", "row 0: num_prefill_tokens must be a whole number"),
        ("requests.csv", "num_decode_tokens", "1.5", "row 0: num_decode_tokens must be a whole number"),
        ("requests.csv", "ttft_s", "0", "row 0: ttft_s must be a number; got 0.0"),
        ("requests.csv", "arrived_at", "-1", "row 0: arrived_at must be a number; got -1.0"),
        ("batch_metrics.csv", "batch_execution_time", "0", "row 0: batch_execution_time must be a number"),
    ],
)
def test_implausible_cells_are_named(tmp_path: Path, file: str, column: str, value: str, message: str) -> None:
    path = small_run(tmp_path / "run") / file
    names, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    rows[0][names.index(column)] = value
    table(path, names, rows)
    with pytest.raises(UserError, match=message):
        scheduling_alone(path.parent)


def test_half_of_the_batches_are_no_run(tmp_path: Path) -> None:
    path = small_run(tmp_path / "run") / "batch_metrics.csv"
    names, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
    table(path, names, rows[: len(rows) // 2])
    with pytest.raises(UserError, match="the batches are not those of the requests"):
        scheduling_alone(path.parent)


def test_the_published_run_is_met_by_scheduling_alone(shared: Path) -> None:
    folder = shared / "vidur_run"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    answer = CliRunner().invoke(cli.app, ["validate", "--scheduling", str(folder), "--json"])
    result = json.loads(answer.stdout)
    assert abs(result["error"]["e2e_s"]["mean"]) < 0.02
    assert abs(result["error"]["e2e_s"]["p99"]) < 0.02
    assert result["median_absolute_error"]["e2e_s"] < 0.02
    assert "all composed alike" in CliRunner().invoke(cli.app, ["validate", "--scheduling", str(folder)]).stdout
