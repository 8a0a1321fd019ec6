"""Bad input, as a user meets it: one line on stderr that says what to do, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from commands import printing
from tests.command import Run

GOOD = """
pools:
  cloud:
    replicas: 1
    deployment: {model: llama-3.1-8b, accelerator: h100}
workload:
  arrivals: {kind: poisson, rate_rps: 5}
  prompt_tokens: 100
  output_tokens: 10
  requests: 20
"""
PLAIN = "arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,20,5\n2,30,5\n"


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    for word in words:
        assert word in err, err


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.yaml"
    path.write_text(GOOD)
    return path


def trace(tmp_path: Path, text: str, name: str = "trace.csv") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


# -- files -------------------------------------------------------------------------------------------------------------


def test_missing_scenario(nearfar: Run) -> None:
    refused(nearfar("simulate", "nowhere.yaml"), "no such scenario", "nowhere.yaml", "nearfar init")


def test_a_folder_for_a_scenario(nearfar: Run, tmp_path: Path) -> None:
    refused(nearfar("simulate", str(tmp_path)), "folder")


def test_empty_scenario(nearfar: Run, tmp_path: Path) -> None:
    refused(nearfar("simulate", trace(tmp_path, "", "empty.yaml")), "empty.yaml", "mapping")


def test_broken_yaml_names_the_line(nearfar: Run, tmp_path: Path) -> None:
    refused(nearfar("check", trace(tmp_path, "a: 1\nb: [1, 2\nc: 3\n", "broken.yaml")), "line", "not valid YAML")


def test_missing_trace(nearfar: Run, scenario: Path) -> None:
    refused(nearfar("simulate", str(scenario), "--trace", "nowhere.csv"), "nowhere.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("empty",)),
        ("arrival_s,prompt_tokens,output_tokens\n", ("no rows",)),
        ("when,in,out\n0,1,2\n", ("when", "known")),
        ("arrival_s,prompt_tokns,output_tokens\n0,1,2\n", ("prompt_tokns", "did you mean")),
        ("arrival_s,prompt_tokens,output_tokens\n0,-1,2\n", ("negative tokens",)),
        ("arrival_s,prompt_tokens,output_tokens\n0,nan,2\n", ("NaN",)),
    ],
)
def test_traces_without_a_usable_row(
    nearfar: Run, scenario: Path, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    result = nearfar("simulate", str(scenario), "--trace", trace(tmp_path, text))
    assert result[0] == 2
    assert "Traceback" not in result[2]
    assert any(word in result[2] for word in words), result[2]


def test_bad_rows_are_counted_and_named(nearfar: Run, scenario: Path, tmp_path: Path) -> None:
    rows = PLAIN + "3,-5,5\n4,nan,5\n5,10\n6,0,5\n7,10,0\nsoon,1,1\n"
    code, out, _ = nearfar("simulate", str(scenario), "--trace", trace(tmp_path, rows), "--json")
    summary = json.loads(out)
    assert code == 0
    assert summary["requests"] == summary["completed"] == 3
    assert summary["rows_read"] == 9
    assert sum(summary["dropped_by"].values()) == summary["dropped"] == 6


def test_unsorted_and_gzipped_traces_work(nearfar: Run, scenario: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.bin"
    path.write_bytes(gzip.compress(b"arrival_s,prompt_tokens,output_tokens\n5,10,5\n1,20,5\n"))
    code, out, _ = nearfar("simulate", str(scenario), "--trace", str(path), "--json")
    assert code == 0
    assert json.loads(out)["completed"] == 2


def test_an_endless_line_is_dropped_not_read(nearfar: Run, scenario: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    with path.open("w") as file:
        file.write(PLAIN)
        for _ in range(64):
            file.write("9" * (1 << 20))
        file.write("\n3,10,5\n")
    code, out, _ = nearfar("simulate", str(scenario), "--trace", str(path), "--json")
    summary = json.loads(out)
    assert (code, summary["completed"], summary["dropped_by"]) == (0, 4, {"line too long": 1})


# -- scenarios ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("pools.cloud.replicas=0", ("pools.cloud.replicas", "greater than or equal to 1")),
        ("pools.cloud.deployment.model=lama-3.1-8b", ("did you mean 'llama-3.1-8b'",)),
        ("pools.cloud.deployment.accelerator=h10", ("did you mean",)),
        ("pools.cloud.deployment.model=llama-3.1-70b", ("does not fit", "tensor_parallel")),
        ("pools.cloud.replica=2", ("unknown key", "did you mean 'replicas'")),
        ("pools.cloud.engine.max_num_seqs=4096", ("max_num_seqs", "max_num_batched_tokens")),
        ("pools.cloud.engine.chunked_prefill=false", ("max_model_len",)),
        ("pools.cloud.engine.max_model_len=1000000", ("131072",)),
        ("pools.cloud.balancer=least", ("round-robin",)),
        ("pools.cloud.balancer=python", ("policy",)),
        ("workload.requests=-1", ("workload.requests",)),
        ("workload.arrivals.rate_rps=.nan", ("rate_rps",)),
        ("slo.ttft_s=0", ("slo.ttft_s",)),
        ("seed=-3", ("seed",)),
        ("name.first=x", ("name",)),
        ("nonsense", ("path=value",)),
        ("pools.cloud.replicas=yes", ("pools.cloud.replicas", "whole number")),
        ("workload.priority={weights: {9: 1}}", ("workload.priority.weights.9",)),
        ("workload.prompt_tokens=2147483648", ("2147483647",)),
        ("workload.prompt_tokens=2147483647", ("out of range",)),
        ("pools.cloud.engine.max_num_batched_tokens=1", ("max_num_seqs",)),
        ("pools.cloud.engine.max_num_seqs=50000000", ("max_num_batched_tokens",)),
        ("pools.cloud.engine.max_outstanding=0", ("max_outstanding",)),
        ("pools.cloud.telemetry_lag_s=1e-9", ("millisecond",)),
        ("pools.cloud.price_usd_per_hour=1e308", ("price_usd_per_hour",)),
        ("warmup_s=1e6", ("warmup_s",)),
        ("controls=[{kind: replica-failures, mean_up_s: 1e-9, mean_repair_s: 1}]", ("mean_up_s",)),
        ("name=2024-99-99", ("--set name",)),
        ("workload.arrivals={kind: poisson, rate_rps: 1, rate_rps: 2}", ("given twice",)),
        ("profiles=nowhere", ("nowhere",)),
    ],
)
def test_scenarios_that_cannot_run(nearfar: Run, scenario: Path, setting: str, words: tuple[str, ...]) -> None:
    refused(nearfar("simulate", str(scenario), "--set", setting), *words)
    refused(nearfar("check", str(scenario), "--set", setting), *words)


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "--requests", "0"),
        ("simulate", "--seeds", "0"),
        ("simulate", "--seed", "-1"),
        ("compare", "--vary", "pools.cloud.replicas"),
        ("compare",),
        ("compare", "--vary", "seed=1,2"),
        ("compare", "--vary", "pools.cloud.replicas=1,2", "--vary", "pools.cloud.replicas=3"),
        ("compare", "--vary", "pools.cloud.replicas=1,2", "--set", "pools.cloud.replicas=3"),
        ("compare", "--requests", "10", "--vary", "workload.requests=1,2"),
        ("simulate", "--requests", "10000000000"),
        ("simulate", "--time-scale", "0.5"),
        ("compare", "--vary", "pools.cloud.replicas=1,0"),
        ("latency", "--accelerator", "h100", "--model", "llama-3.1-8b", "--prompt", "0", "--output", "5"),
        ("latency", "--accelerator", "h100", "--model", "llama-3.1-8b", "--prompt", "200000", "--output", "5"),
        ("profiles", "show", "h1000"),
        ("profiles", "list", "--kind", "gpu"),
        ("profiles", "schema", "gpu"),
        ("simulat",),
        ("simulate", "--no-such-option"),
    ],
)
def test_arguments_that_make_no_sense(nearfar: Run, arguments: tuple[str, ...]) -> None:
    refused(nearfar(*arguments))


def test_init_does_not_overwrite(nearfar: Run, scenario: Path) -> None:
    refused(nearfar("init", str(scenario)), "--force")
    assert scenario.read_text() == GOOD


# -- writing -----------------------------------------------------------------------------------------------------------


def test_out_is_a_file(nearfar: Run, scenario: Path) -> None:
    refused(nearfar("simulate", str(scenario), "--out", str(scenario)), "scenario.yaml")


def test_a_full_disk(nearfar: Run, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text("the old one")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    code, _, err = nearfar("simulate", str(scenario), "--out", str(out))
    assert code == 2
    assert "disk is full" in err
    assert [path.name for path in out.iterdir()] == ["summary.json"], "no half-written file stays"
    assert (out / "summary.json").read_text() == "the old one"


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    data = yaml.safe_load(GOOD)
    data["workload"]["requests"] = 5_000_000
    path, out = tmp_path / "long.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(data))
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "simulate", str(path), "--out", str(out)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(3.0)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert stdout == ""
    assert not out.exists() or list(out.iterdir()) == []


# -- code of the user's own --------------------------------------------------------------------------------------------

BROKEN = """
import sys

def exits(world):
    yield world.timeout(1.0)
    sys.exit(0)

def yields_nothing(world):
    yield None

def stands_still(world):
    while True:
        yield world.timeout(0.0)

def two_lines(world):
    yield world.timeout(1.0)
    raise ValueError("one\\ntwo")

def talks(world):
    print("hello from a control")
    yield world.timeout(1.0)
"""


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("exits", "SystemExit"),
        ("yields_nothing", "yield"),
        ("stands_still", "clock"),
        ("two_lines", "one two"),
        ("missing", "no function"),
    ],
)
def test_controls_that_misbehave(nearfar: Run, scenario: Path, tmp_path: Path, function: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(BROKEN)
    setting = f"controls=[{{kind: python, file: mine.py, function: {function}}}]"
    result = nearfar("simulate", str(scenario), "--set", setting)
    refused(result, words)
    assert len(result[2].strip().splitlines()) == 1


def test_what_a_control_prints_is_not_the_answer(nearfar: Run, scenario: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(BROKEN)
    setting = "controls=[{kind: python, file: mine.py, function: talks}]"
    code, out, err = nearfar("simulate", str(scenario), "--set", setting, "--json")
    assert code == 0
    assert json.loads(out)["requests"] == 20
    assert "hello" in err


def test_a_trace_that_spans_ages(nearfar: Run, scenario: Path, tmp_path: Path) -> None:
    rows = "arrival_s,prompt_tokens,output_tokens\n0,10,5\n100000000000000,10,5\n"
    refused(nearfar("simulate", str(scenario), "--trace", trace(tmp_path, rows)), "clock")


def test_comparing_what_the_trace_overrides(nearfar: Run, scenario: Path, tmp_path: Path) -> None:
    arguments = ("compare", str(scenario), "--trace", trace(tmp_path, PLAIN), "--vary")
    refused(nearfar(*arguments, "workload.arrivals.rate_rps=1,100"), "trace")
    code, _, _ = nearfar(*arguments, "pools.cloud.replicas=1,2", "--seeds", "2")
    assert code == 0


def test_a_trace_can_be_stretched(nearfar: Run, scenario: Path, tmp_path: Path) -> None:
    path = trace(tmp_path, PLAIN)
    spans = []
    for scale in ("1", "10"):
        _, out, _ = nearfar("simulate", str(scenario), "--trace", path, "--time-scale", scale, "--json")
        spans.append(json.loads(out)["span_s"])
    assert spans[1] - spans[0] == pytest.approx(18.0)


@pytest.mark.parametrize("wrong", [{"seeds": 1.5}, {"seed": "2"}, {"requests": True}, {"requests": 1.5}])
def test_the_python_api_tells_wrong_types(wrong: dict[str, object]) -> None:
    import nearfar as api

    with pytest.raises(api.UserError, match="whole number"):
        api.simulate(**wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_answer_that_cannot_be_written() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cli", "profiles", "list"],
            cwd=Path(__file__).parents[1],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert "cannot write the answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_reading_a_long_trace_shows_progress(
    nearfar: Run, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(0, 10_000_000, 20))
    monkeypatch.setattr(printing.time, "monotonic", lambda: float(next(ticks)))
    rows = "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{r},1,1\n" for r in range(200_000))
    code, _, err = nearfar("simulate", str(scenario), "--trace", trace(tmp_path, rows), "--requests", "10")
    assert code == 0
    assert "rows read" in err


def test_paths_of_the_built_in_scenario_are_relative_to_where_one_stands(nearfar: Run, tmp_path: Path) -> None:
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / "card.yaml").write_text("kind: accelerator\nname: my-card\nextends: h100\nsource: a test\n")
    settings = ("--set", "profiles=facts", "--set", "pools.cloud.deployment.accelerator=my-card")
    code, out, _ = nearfar("simulate", "--requests", "20", *settings, "--json")
    assert code == 0
    assert "my-card" in json.loads(out)["deployment"]
