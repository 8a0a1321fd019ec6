"""The engine against a real vLLM run, request by request.

    python -m benchmarks.replay_run FOLDER [--accelerator NAME] [--out record.json]

FOLDER holds requests.jsonl (queued_ts, first_token_ts, last_token_ts, input_toks, output_toks a line) and meta.json
(engine_kwargs, perhaps kv_cache.num_gpu_blocks), as LLMServingSim publishes its validation runs. Nothing is fitted to
the run: coefficients come from `profiles/`, KV blocks from meta.json or from the memory.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import emit
from sim.loading import load
from sim.run import prepare, run

ENGINE_KEYS = ("max_num_seqs", "max_num_batched_tokens", "max_model_len")


def replay(folder: Path, accelerator: str) -> dict[str, Any]:
    """Measured and predicted TTFT, TPOT and E2E in seconds, and the signed error of each statistic."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    lines = (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted((json.loads(line) for line in lines if line), key=lambda row: row["queued_ts"])
    kwargs = meta["engine_kwargs"]
    engine = {key: kwargs[key] for key in ENGINE_KEYS if kwargs.get(key)}
    if blocks := meta.get("kv_cache", {}).get("num_gpu_blocks"):
        engine["kv_blocks"] = blocks
    deployment = {
        "model": meta["model"],
        "accelerator": accelerator,
        "tensor_parallel": kwargs["tensor_parallel_size"],
    }
    data = {
        "pools": {"run": {"deployment": deployment, "engine": engine, "replicas": kwargs["data_parallel_size"]}},
        "workload": {"trace": {"path": str((folder / "requests.jsonl").resolve())}},
    }
    requests = run(prepare(load(data))).plane.requests
    queued, first, last = (
        np.array([row[key] for row in rows]) for key in ("queued_ts", "first_token_ts", "last_token_ts")
    )
    more = np.maximum(requests["output"] - 1, 1)
    pairs = {
        "ttft_s": (first - queued, requests["first_token"] - requests["arrival"]),
        "tpot_s": ((last - first) / more, (requests["finish"] - requests["first_token"]) / more),
        "e2e_s": (last - queued, requests["finish"] - requests["arrival"]),
    }
    figures: dict[str, Any] = {"requests": len(rows), "preemptions": int(requests["preemptions"].sum())}
    for name, (measured, predicted) in pairs.items():
        old, new = statistics(measured), statistics(predicted)
        figures[name] = {
            "measured": old,
            "predicted": new,
            "error": {key: new[key] / old[key] - 1 for key in old},
            "median_absolute_error_per_request": float(np.median(np.abs(predicted / measured - 1))),
        }
    return figures


def statistics(values: Any) -> dict[str, float]:
    """Mean and percentiles."""
    percentiles = {f"p{p}": float(np.percentile(values, p)) for p in (50, 90, 95, 99)}
    return {"mean": float(np.mean(values)), **percentiles}


def main() -> None:
    """Replay one run and print one record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--accelerator", help="default: the folder's name before the first underscore")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    accelerator = args.accelerator or args.folder.name.split("_")[0]
    emit("replay_run", replay(args.folder, accelerator), args.out)


if __name__ == "__main__":
    main()
