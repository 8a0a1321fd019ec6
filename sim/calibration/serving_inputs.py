"""What a row of serving measurements says was run: names and notations of benchmarks, turned into a deployment.

Only the columns of `INPUTS` are read; whatever was measured, or derived from a measurement, is not. What a row leaves
out is filled in by a stated rule, and the rule is named in `Served.assumed`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from profiles import Accelerator, Catalogue, Dtype, Model, UserError
from sim.calibration.generic_model import generic_model
from sim.deployment import Deployment

__all__ = ["INPUTS", "Load", "Served", "UncoveredError", "served"]

INPUTS = (
    "model", "active_b", "total_b", "precision", "gpu", "n_gpus", "parallel", "engine", "scenario", "isl", "osl",
    "concurrency_or_batch",
)  # fmt: skip

Load = Literal["closed loop", "static batch", "running batch"]
Row = Mapping[str, str]

_PRECISIONS: Mapping[str, Dtype] = {
    "bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "fp16": "fp16", "fp8": "fp8", "fp8_block": "fp8",
    "fp8-e4m3": "fp8", "w8a8": "fp8", "int8": "int8", "nvfp4": "fp4", "mxfp4": "fp4", "fp4": "fp4", "int4": "int4",
    "int4_wo": "int4", "uint4": "int4", "w4a16": "int4", "awq": "int4", "gptq": "int4",
}  # fmt: skip
_UNSTATED = {"", "nan", "none", "unset", "default", "auto"}
_RUNTIMES = {"vllm": "vllm", "sglang": "sglang", "trtllm": "trtllm", "tensorrt": "trtllm", "splitwise": "vllm"}
_GENERAL_RUNTIME = "vllm"
_RUNNING = {"decode", "lm-arena-chat", "gpqa"}  # scenarios whose batch is the mean of those running
# Mean tokens of the prompts of published prompt sets, where rows do not state them; a guess for any other.
_PROMPT_TOKENS = {"lm-arena-chat": 150.0, "gpqa": 300.0}
_UNSTATED_TOKENS = 1000.0
# Beyond these a row is not believed: no server and no model is that large.
_MOST = {"active_b": 1e5, "total_b": 1e5, "n_gpus": 1e5, "isl": 1e7, "osl": 1e7, "concurrency_or_batch": 1e6}
_LEAST_SIZE_B = 1e-3  # 1e9 parameters
_MOST_RANKS = 4096  # of each kind of parallelism
_ACCEPTED = (1.0, 32.0)  # tokens a step of speculative decoding


class UncoveredError(Exception):
    """A row that nothing is predicted for; the message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One row's inputs, resolved. `in_flight` counts the requests of one data-parallel rank."""

    deployment: Deployment
    runtime: str
    version: str
    load: Load
    isl: float
    osl: float
    in_flight: float
    tokens_per_step: float  # more than 1 with speculative decoding
    step_factor: float  # what drafting and checking makes a step cost
    assumed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Parallel:
    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: int = 1


def served(row: Row, catalogue: Catalogue) -> Served:
    """The deployment and load of a row. Raises `UncoveredError` for what cannot be known from its inputs."""
    assumed: list[str] = []
    gpu = _accelerator(row, catalogue)
    model = _model(row, catalogue, assumed)
    precision = _precision(row.get("precision", ""), model, assumed)
    runtime, version = _runtime(row.get("engine", ""), assumed)
    load = _load(row)
    parallel = _parallel(row, model, assumed)
    engine = catalogue.engine(runtime, gpu.name, precision).of_version(version)
    step = _speculation(row.get("engine", ""), catalogue, assumed)
    return Served(
        deployment=Deployment(
            model=model,
            accelerator=gpu,
            engine=engine,
            precision=precision,
            kv_precision=_kv_precision(precision, load, assumed),
            tensor_parallel=parallel.tensor,
            pipeline_parallel=parallel.pipeline,
            data_parallel=parallel.data if parallel.expert > 1 else 1,
            expert_parallel=parallel.expert > 1,
        ),
        runtime=runtime,
        version=version,
        load=load,
        isl=_tokens(row, "isl", assumed),
        osl=max(2.0, _tokens(row, "osl", assumed)),
        in_flight=_in_flight(row, parallel),
        tokens_per_step=step[0],
        step_factor=step[1],
        assumed=tuple(assumed),
    )


def _accelerator(row: Row, catalogue: Catalogue) -> Accelerator:
    try:
        return catalogue.accelerator(row["gpu"])
    except UserError:
        raise UncoveredError("unknown hardware") from None


def _model(row: Row, catalogue: Catalogue, assumed: list[str]) -> Model:
    name = re.sub(r"\s*\(.*\)$", "", row["model"].strip())
    for spelling in (row["model"], name, name.rsplit("/", 1)[-1]):
        try:
            return catalogue.model(spelling)
        except UserError:
            continue
    total, active = _stated(row, "total_b"), _stated(row, "active_b")
    if total is None and active is None:
        raise UncoveredError("unknown model without parameters")
    name = name or "unnamed"
    assumed.append(f"{name}: a generic architecture of its size")
    size = total if total is not None else active
    assert size is not None
    if min(size, active or size) < _LEAST_SIZE_B:
        raise UncoveredError("parameters that make no model")
    try:
        return generic_model(name, size, active)
    except UserError:
        raise UncoveredError("parameters that make no model") from None


def _precision(text: str, model: Model, assumed: list[str]) -> Dtype:
    key = text.strip().lower()
    if key in _PRECISIONS:
        return _PRECISIONS[key]
    if key in _UNSTATED:
        assumed.append(f"{model.name}: stored in its native {model.native_precision}")
        return model.native_precision
    raise UncoveredError("unknown precision")


def _kv_precision(precision: Dtype, load: Load, assumed: list[str]) -> Dtype:
    """Benchmarks of 8- and 4-bit checkpoints under load keep the cache in 8 bits."""
    if load == "closed loop" and precision in ("fp8", "fp4", "int4"):
        assumed.append("KV cache in fp8")
        return "fp8"
    return "bf16"


def _runtime(text: str, assumed: list[str]) -> tuple[str, str]:
    lowered = text.strip().lower()
    for key, runtime in _RUNTIMES.items():
        if key in lowered:
            return runtime, " ".join(lowered.replace("(", "").replace(")", "").split())
    assumed.append(f"engine {text.strip() or 'unstated'}: the coefficients of {_GENERAL_RUNTIME}")
    return _GENERAL_RUNTIME, ""


def _load(row: Row) -> Load:
    scenario = row.get("scenario", "").strip().lower()
    if scenario == "static batch":
        return "static batch"
    return "running batch" if scenario in _RUNNING else "closed loop"


def _in_flight(row: Row, parallel: _Parallel) -> float:
    text = row["concurrency_or_batch"].strip().lower()
    per_rank = "per dp rank" in text
    count = _number(text.split()[0] if text else "")
    if count is None or count > _MOST["concurrency_or_batch"]:
        raise UncoveredError("load that is no number of requests")
    return max(1.0, count if per_rank else count / parallel.data)


def _tokens(row: Row, column: str, assumed: list[str]) -> float:
    stated = _stated(row, column)
    if stated is not None:
        return stated
    if row.get(column, "").strip().lower() not in _UNSTATED:
        raise UncoveredError(f"{column} that is no number of tokens")
    scenario = row.get("scenario", "").strip().lower()
    tokens = _PROMPT_TOKENS.get(scenario, _UNSTATED_TOKENS) if column == "isl" else _UNSTATED_TOKENS
    assumed.append(f"{column} of {tokens:.0f} tokens")
    return tokens


def _parallel(row: Row, model: Model, assumed: list[str]) -> _Parallel:
    """`tp4pp1dp1ep4`, `TP1EP8DP1`, `tp8 dp2`, `TP1PP4x4`, or nothing: one replica over all accelerators."""
    text = row.get("parallel", "").lower()
    gpus = max(1, int(_stated(row, "n_gpus") or 1))
    found = {key: _ranks(digits) for key, digits in re.findall(r"(tp|pp|dp|ep)(\d+)", text)}
    tensor, pipeline = max(1, found.get("tp", 1)), max(1, found.get("pp", 1))
    data, expert = max(1, found.get("dp", 1)), max(1, found.get("ep", 1))
    if not found and text.strip() not in _UNSTATED:
        raise UncoveredError("unknown notation of parallelism")
    if not found:
        tensor = gpus
        assumed.append(f"tensor parallel over {gpus}") if gpus > 1 else None
    if expert > 1 and expert**2 in (tensor, data):
        assumed.append(f"{row['parallel']} counts the {expert} accelerators of its experts twice")
        tensor, data = (expert if n == expert**2 else n for n in (tensor, data))
    elif expert > 1 and tensor > 1 and data > 1 and tensor * data == expert and "pp" in found:
        assumed.append(f"{row['parallel']} counts its {tensor} accelerators twice")
        expert, data = tensor, 1
    elif expert > 1 and tensor * data * pipeline < gpus and tensor == 1:
        assumed.append(f"{row['parallel']}: attention is cut over the accelerators that share the experts")
        tensor = max(1, gpus // (data * pipeline))
    if model.ffn.moe is None:
        expert = 1
    return _Parallel(tensor, pipeline, data, expert)


def _ranks(digits: str) -> int:
    ranks = float(digits)  # takes any number of digits
    if ranks > _MOST_RANKS:
        raise UncoveredError("parallelism over more accelerators than a server has")
    return int(ranks)


def _speculation(engine: str, catalogue: Catalogue, assumed: list[str]) -> tuple[float, float]:
    """Tokens a step, and the cost of a step by that of a plain one."""
    lowered = engine.lower()
    if not re.search(r"mtp|eagle", lowered) or re.search(r"(mtp|eagle)\s*off|no eagle|no mtp", lowered):
        return 1.0, 1.0
    technique = catalogue.technique("mtp")
    stated = re.search(r"accept(?:_len)?\s*=?\s*(\d+(?:\.\d+)?)", lowered)
    tokens = float(stated.group(1)) if stated else technique.tokens_per_step
    if not _ACCEPTED[0] <= tokens <= _ACCEPTED[1]:
        raise UncoveredError("speculative decoding with a number of tokens a step that no draft has")
    assumed.append(f"speculative decoding with {tokens:.2f} tokens a step at {technique.verify_cost} times its cost")
    return tokens, technique.verify_cost


def _stated(row: Row, column: str) -> float | None:
    """The number of a column; None for one that is left open. Raises `UncoveredError` for one beyond belief."""
    value = _number(row.get(column, ""))
    if value is not None and value > _MOST[column]:
        raise UncoveredError(f"{column} larger than any server's")
    return value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
