"""`simulate`, `compare`, `latency` and the Python API, on small but real runs."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearfar
from sim.results.metrics import check_invariants

SMALL: dict[str, Any] = {
    "name": "small",
    "pools": {
        "cloud": {
            "replicas": 2,
            "deployment": {"model": "llama-3.1-8b", "accelerator": "h100"},
            "engine": {"max_num_batched_tokens": 2048},
        }
    },
    "workload": {
        "arrivals": {"kind": "poisson", "rate_rps": 20},
        "prompt_tokens": {"kind": "lognormal", "mean": 500, "cv": 1.0, "max": 8000},
        "output_tokens": {"kind": "lognormal", "mean": 50, "cv": 0.5, "max": 500},
        "requests": 500,
    },
    "slo": {"ttft_s": 1.0, "tpot_s": 0.05},
}
KEYS = [
    "requests",
    "completed",
    "rejected",
    "abandoned",
    "failed",
    "dropped",
    "ttft_s",
    "tpot_s",
    "e2e_s",
    "queue_s",
    "throughput_tok_s",
    "goodput_rps",
    "slo_attainment",
    "gpu_utilization",
    "kv_utilization",
    "preemptions",
    "prefix_hit_rate",
    "energy_j_per_request",
    "cost_usd_per_1k_requests",
    "verdict",
    "binding_constraint",
    "assumed",
    "wall_s",
    "engine_s",
    "requests_per_s",
]
ROOT = Path(__file__).parents[1]


def nearfar_command(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments], cwd=cwd, capture_output=True, text=True, check=True
    )


def test_the_summary_has_what_it_promises() -> None:
    summary = nearfar.simulate(SMALL).summary
    assert set(KEYS) <= set(summary)
    for key in ("ttft_s", "tpot_s", "e2e_s", "queue_s"):
        assert set(summary[key]) == {"mean", "p50", "p90", "p95", "p99"}
    assert summary["requests"] == 500 == sum(summary[k] for k in ("completed", "rejected", "abandoned", "failed"))
    assert summary["verdict"] in ("OK", "TIGHT", "OVERLOADED")
    json.dumps(summary, allow_nan=False)


def test_json_is_one_object_on_stdout_and_nothing_else() -> None:
    done = nearfar_command("simulate", "--requests", "200", "--json")
    assert json.loads(done.stdout)["requests"] == 200


def test_tables() -> None:
    result = nearfar.simulate(SMALL)
    table = result.requests
    assert table.num_rows == 500
    ttft = np.array(table["ttft_s"])
    assert np.mean(ttft) == pytest.approx(result.summary["ttft_s"]["mean"])
    assert result.timeline.num_rows > 10


def test_equal_seeds_give_equal_bytes_across_processes(tmp_path: Path) -> None:
    scenario = tmp_path / "small.yaml"
    scenario.write_text(json.dumps(SMALL))  # JSON is YAML
    for folder in ("one", "two"):
        nearfar_command("simulate", str(scenario), "--seed", "4", "--out", str(tmp_path / folder))
    nearfar_command("simulate", str(scenario), "--seed", "5", "--out", str(tmp_path / "other"))
    for name in ("requests.parquet", "timeline.parquet", "summary.json", "report.html"):
        one, two, other = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two", "other"))
        assert one == two, name
        assert one != other, name


def test_seeds_give_intervals() -> None:
    summary = nearfar.simulate(SMALL, seeds=4).summary
    interval = summary["seeds"]["ttft_s"]["mean"]
    assert interval["low"] < interval["mean"] < interval["high"]


def test_warm_up_is_trimmed_from_latencies_only() -> None:
    whole = nearfar.simulate(SMALL).summary
    trimmed = nearfar.simulate(SMALL, set={"warmup_s": 5.0}).summary
    assert trimmed["requests"] == whole["requests"] == 500
    assert 0 < trimmed["trimmed"] < 500
    assert trimmed["ttft_s"] != whole["ttft_s"]


def test_a_trace_is_drained_and_repeated(tmp_path: Path) -> None:
    rows = "".join(f"{0.1 * r},{100 + r},{20 + r}\n" for r in range(50))
    trace = tmp_path / "some.file"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n" + rows)
    first = nearfar.simulate(SMALL, trace=trace)
    assert first.summary["completed"] == 50
    assert first.summary["workload_sha256"] == hashlib.sha256(trace.read_bytes()).hexdigest()
    twice = nearfar.simulate(SMALL, trace=trace, requests=120)
    arrivals = np.array(twice.requests["arrival_s"])
    assert twice.summary["requests"] == 120
    assert (np.diff(arrivals) > 0).all(), "repeated with shifted stamps"
    assert nearfar.simulate(SMALL, trace=trace, requests=7).summary["requests"] == 7


def test_more_replicas_wait_less() -> None:
    loaded = {**SMALL, "workload": {**SMALL["workload"], "arrivals": {"kind": "poisson", "rate_rps": 60}}}
    result = nearfar.compare(loaded, vary={"pools.cloud.replicas": [1, 2]}, seeds=4)
    one, two = result["variants"]
    assert two["difference"]["ttft_s.mean"]["high"] < 0, "more replicas: certainly less TTFT"
    assert one["set"] == {"pools.cloud.replicas": 1}


def test_comparison_uses_common_random_numbers() -> None:
    result = nearfar.compare(SMALL, vary={"pools.cloud.pue": [1.0, 1.5]}, seeds=3)
    difference = result["variants"][1]["difference"]
    assert difference["e2e_s.mean"] == {"mean": 0.0, "low": 0.0, "high": 0.0}, "nothing else has changed"
    assert difference["energy_j_per_request"]["low"] > 0


def test_a_request_that_is_too_long_is_rejected_by_a_stated_limit() -> None:
    result = nearfar.simulate(SMALL, set={"pools.cloud.engine.max_model_len": 600})
    summary = result.summary
    assert summary["rejected"] > 0
    assert summary["completed"] + summary["rejected"] == 500
    assert set(result.requests["reason"].to_pylist()) == {"", "too_long"} or summary["rejected_by"]["too_long"] > 0


def test_invariants_hold_in_a_run_with_everything(tmp_path: Path) -> None:
    scenario = {
        **SMALL,
        "controls": [{"kind": "replica-failures", "mean_up_s": 5, "mean_repair_s": 2}],
        "workload": {**SMALL["workload"], "patience_s": {"kind": "exponential", "mean": 1.0}, "deadline_s": 30},
    }
    outcome = nearfar.simulate(scenario).outcome
    assert outcome.plane.pools[0].replicas["down_s"].sum() > 0
    broken = [one for one in check_invariants(outcome) if not one["holds"]]
    assert broken == []


@pytest.mark.parametrize("arrivals", ["diurnal", "gamma", "weibull", "closed-loop", "sessions"])
def test_every_kind_of_arrivals_runs(arrivals: str) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "diurnal": {"rate_rps": 10, "peak_to_trough": 3, "period_s": 60},
        "gamma": {"rate_rps": 10, "cv": 3},
        "weibull": {"rate_rps": 10, "shape": 0.7},
        "closed-loop": {"clients": 10, "think_s": 1},
        "sessions": {"rate_rps": 2, "turns": 4, "think_s": 1, "system_tokens": 512},
    }
    workload = {**SMALL["workload"], "arrivals": {"kind": arrivals, **kinds[arrivals]}}
    summary = nearfar.simulate({**SMALL, "workload": workload}).summary
    assert summary["completed"] == 500
    assert (summary["prefix_hit_rate"] > 0.2) == (arrivals == "sessions")


def test_prefix_affinity_hits_more_than_random() -> None:
    workload = {**SMALL["workload"], "arrivals": {"kind": "sessions", "rate_rps": 2, "turns": 6, "think_s": 2}}
    rates = {
        balancer: nearfar.simulate({**SMALL, "workload": workload}, set={"pools.cloud.balancer": balancer}).summary[
            "prefix_hit_rate"
        ]
        for balancer in ("random", "prefix-affinity")
    }
    assert rates["prefix-affinity"] > rates["random"] * 1.2


def test_python_policy_and_control_through_the_api() -> None:
    def first_up(_request: Any, replicas: list[Any]) -> int:
        return next(replica.id for replica in replicas if replica.up)

    def switch(world: Any) -> Any:
        yield world.timeout(10.0)
        world.pool().fail(0)

    result = nearfar.simulate(SMALL, set={"pools.cloud.balancer": "python"}, policy=first_up, controls=[switch])
    replica, arrival = (np.array(result.requests[name]) for name in ("replica", "arrival_s"))
    assert (replica[arrival > 10.0] == 1).all()
    assert set(replica[arrival < 9.0]) <= {0, 1}


def test_a_policy_that_answers_nonsense_is_told_so() -> None:
    with pytest.raises(nearfar.UserError, match="that is up"):
        nearfar.simulate(SMALL, set={"pools.cloud.balancer": "python"}, policy=lambda _request, _replicas: 17)


def test_latency_agrees_with_the_engine() -> None:
    # One request alone: the engine's TTFT and TPOT are the model's, but for scheduling ahead.
    alone = {**SMALL, "workload": {**SMALL["workload"], "prompt_tokens": 1000, "output_tokens": 100, "requests": 1}}
    summary = nearfar.simulate(alone).summary
    model = nearfar.latency(model="llama-3.1-8b", accelerator="h100", prompt=1000, output=100)
    assert summary["ttft_s"]["mean"] == pytest.approx(model["ttft_s"], rel=2e-3)
    assert summary["tpot_s"]["mean"] == pytest.approx(model["tpot_s"], rel=2e-3)
    assert math.isclose(model["e2e_s"], summary["e2e_s"]["mean"], rel_tol=2e-3)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("AzureLLMInferenceTrace_conv_2023.csv", 19_366),
        ("AzureLLMInferenceTrace_code_2023.csv", 8_819),
        ("mooncake_conversation_trace.jsonl", 12_031),
    ],
)
def test_real_traces_lose_no_row(shared: Path, name: str, rows: int) -> None:
    result = nearfar.simulate(ROOT / "examples" / "azure-conversation.yaml", trace=shared / "traces" / name)
    summary = result.summary
    assert summary["requests"] == summary["rows_read"] == rows
    assert rows == sum(summary[state] for state in ("completed", "rejected", "abandoned", "failed"))
    assert all(one["holds"] for one in check_invariants(result.outcome))


def test_a_cold_replica_makes_its_first_request_wait() -> None:
    alone = {**SMALL, "workload": {**SMALL["workload"], "requests": 1}}
    warm = nearfar.simulate(alone).summary
    cold = nearfar.simulate(alone, set={"pools.cloud.engine.cold_start": True}).summary
    engine_cold_start_s = 0.3  # of the vllm record
    assert cold["ttft_s"]["mean"] - warm["ttft_s"]["mean"] == pytest.approx(engine_cold_start_s)
    assert cold["tpot_s"] == pytest.approx(warm["tpot_s"])


def test_variants_that_ask_the_same_share_one_workload_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sim.run

    built: list[int] = []
    real = sim.run.build_workload
    monkeypatch.setattr(
        sim.run, "build_workload", lambda spec, **rest: built.append(rest["seed"]) or real(spec, **rest)
    )
    nearfar.compare(SMALL, vary={"pools.cloud.replicas": [1, 2, 3]}, seeds=2)
    assert built == [0, 1]
    built.clear()
    nearfar.compare(SMALL, vary={"workload.requests": [50, 60]}, seeds=1)
    assert built == [0, 0]
