"""A recorded run of a real engine: what it served, with which limits, on what, and when every request came and left.

    run = load_run(Path("RTX4090_Llama-3.1-8B"))

A folder holds `meta.json` (model, engine_kwargs, perhaps kv_cache and hardware) and `requests.jsonl`, a line a request:
input_toks, output_toks, queued_ts, first_token_ts, last_token_ts in seconds of one clock. LLMServingSim publishes its
validation runs so; the names of engine_kwargs are vLLM's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles import UserError, did_you_mean
from sim.numbers import Floats
from sim.scenario import EngineSpec

__all__ = ["RecordedRun", "load_run"]

_STAMPS = ("queued_ts", "first_token_ts", "last_token_ts")
_LENGTHS = ("input_toks", "output_toks")
_LIMITS = {  # of engine_kwargs, and what the scenario calls them
    "max_num_seqs": "max_num_seqs",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "max_model_len": "max_model_len",
    "block_size": "block_size",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "enable_chunked_prefill": "chunked_prefill",
    "enable_prefix_caching": "prefix_caching",
    "async_scheduling": "async_scheduling",
    "scheduling_policy": "scheduling",
}
_MUST_BE_STATED = ("max_num_seqs", "max_num_batched_tokens")
_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16"}  # "auto" and nothing: the model's own
_KV_DTYPES = {"fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "bfloat16": "bf16", "float16": "fp16"}
_NOT_MODELLED = ("speculative_config", "enable_lora", "enforce_eager", "kv_transfer_config", "cpu_offload_gb")
_MOST_TOKENS = 100_000_000  # of one request
_SLOWEST_TOKEN_S = 5.0  # as a median
_LATEST_S = 1e15  # of any clock in seconds; beyond it floats lose the tenth of a second
Ints = NDArray[np.int64]
Meta = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """Arrays have one value a request, in order of `queued_s`, which counts from the first one."""

    folder: Path
    model: str
    accelerator: str
    accelerator_from: str
    precision: str | None
    kv_precision: str | None
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: bool
    limits: Mapping[str, Any]  # fields of `sim.scenario.EngineSpec`, of one data-parallel rank
    prompt_tokens: Ints
    output_tokens: Ints
    queued_s: Floats
    first_token_s: Floats
    last_token_s: Floats
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.queued_s)


def load_run(folder: Path, *, accelerator: str | None = None) -> RecordedRun:
    """Read a run. `accelerator` goes before what meta.json and the folder's name say.

    Raises `UserError` for what is missing, malformed or contradicts itself; names are looked up when it is replayed.
    """
    folder = Path(folder)
    meta = _json(folder / "meta.json", _read(folder / "meta.json"))
    kwargs = meta.get("engine_kwargs")
    where = str(folder / "meta.json")
    if not isinstance(kwargs, dict):
        raise UserError(f"{where}: engine_kwargs is missing", next_step="record the limits that the engine ran with")
    model = meta.get("model") or kwargs.get("model")
    if not isinstance(model, str):
        raise UserError(f"{where}: model is missing", got=model)
    kv_cache = meta.get("kv_cache") or {}
    if not isinstance(kv_cache, dict):
        raise UserError(f"{where}: kv_cache must be an object", got=kv_cache, allowed="num_gpu_blocks, block_size ...")
    notes: list[str] = []
    found, found_in = (accelerator, "the caller") if accelerator else _accelerator(meta, folder)
    ranks = _count(kwargs, "data_parallel_size", where)
    prompt, output, stamps = _requests(folder / "requests.jsonl")
    return RecordedRun(
        folder=folder,
        model=model,
        accelerator=found,
        accelerator_from=found_in,
        precision=_precision(kwargs, where),
        kv_precision=_named(_KV_DTYPES, kwargs.get("kv_cache_dtype"), f"{where}: kv_cache_dtype"),
        tensor_parallel=_count(kwargs, "tensor_parallel_size", where),
        pipeline_parallel=_count(kwargs, "pipeline_parallel_size", where),
        data_parallel=ranks,
        expert_parallel=_flag(kwargs, "enable_expert_parallel", where),
        limits=_limits(kwargs, kv_cache, ranks, where, notes),
        prompt_tokens=prompt,
        output_tokens=output,
        queued_s=stamps[0] - stamps[0][0],
        first_token_s=stamps[1] - stamps[0][0],
        last_token_s=stamps[2] - stamps[0][0],
        notes=tuple(notes),
    )


# -- meta.json ---------------------------------------------------------------------------------------------------------


def _accelerator(meta: Meta, folder: Path) -> tuple[str, str]:
    """Its name, and where it was found."""
    hardware = meta.get("hardware")
    name = hardware.get("device_name") if isinstance(hardware, dict) else hardware
    if isinstance(name, str) and name:
        return name, "meta.json"
    before, line, _ = folder.resolve().name.partition("_")
    if not line or not before:
        raise UserError(
            f"{folder}: neither meta.json nor the folder's name says what GPU it was",
            allowed="hardware.device_name in meta.json, or a folder called GPU_model",
            next_step="give it: --accelerator NAME",
        )
    return before, "the folder's name"


def _precision(kwargs: Meta, where: str) -> str | None:
    """Of the weights; nothing for the model's own."""
    quantization = kwargs.get("quantization")
    if quantization is not None:
        return _named({"fp8": "fp8"}, quantization, f"{where}: quantization")
    return _named(_DTYPES, kwargs.get("dtype"), f"{where}: dtype")


def _named(names: Mapping[str, str], value: Any, what: str) -> str | None:
    if value is None or value == "auto":
        return None
    name = str(value).removeprefix("torch.")
    if name not in names:
        raise UserError(f"{what} is not known", got=value, next_step=did_you_mean(name, ["auto", *names]))
    return names[name]


def _limits(kwargs: Meta, kv_cache: Meta, ranks: int, where: str, notes: list[str]) -> dict[str, Any]:
    """Fields of an `EngineSpec`."""
    limits = {field: kwargs[name] for name, field in _LIMITS.items() if kwargs.get(name) is not None}
    for field in ("block_size", "gpu_memory_utilization"):
        if kv_cache.get(field) is not None:
            limits[field] = kv_cache[field]
    if kv_cache.get("num_gpu_blocks") is not None:
        # vLLM adds up the blocks of all data-parallel ranks, and keeps one of each rank's for padding.
        blocks = _count(kv_cache, "num_gpu_blocks", where) // ranks - 1
        limits["kv_blocks"] = max(blocks, 1)
    for name in _MUST_BE_STATED:
        if name not in limits:
            notes.append(f"{name} {getattr(EngineSpec(), name)}: engine_kwargs does not state it")
    notes += [f"{name} is not modelled" for name in _NOT_MODELLED if kwargs.get(name)]
    return limits


def _count(values: Meta, name: str, where: str) -> int:
    value = values.get(name)
    if value is None:
        return 1
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{where}: {name} must be a whole number >= 1", got=value)
    return value


def _flag(values: Meta, name: str, where: str) -> bool:
    value = values.get(name)
    if not isinstance(value, bool | None):
        raise UserError(f"{where}: {name} must be true or false", got=value)
    return bool(value)


# -- requests.jsonl ----------------------------------------------------------------------------------------------------


def _requests(path: Path) -> tuple[Ints, Ints, Floats]:
    """Prompt and output tokens (n,), and the three stamps (3, n), in order of arrival."""
    lengths: list[tuple[int, ...]] = []
    stamps: list[tuple[float, ...]] = []
    for number, line in enumerate(_read(path).split("\n"), 1):  # other line ends may stand inside a text
        if line.strip():
            row = _json(path, line, number)
            where = f"{path}, line {number}"
            lengths.append(tuple(_tokens(row, name, where) for name in _LENGTHS))
            stamps.append(_in_order(row, where, one_token=lengths[-1][1] == 1))
    if not stamps:
        raise UserError(f"{path} holds no requests")
    _refuse_other_units(path, lengths, stamps)
    order = np.argsort([queued for queued, *_ in stamps], kind="stable")
    tokens = np.array(lengths, np.int64)[order]
    return tokens[:, 0].copy(), tokens[:, 1].copy(), np.array(stamps, np.float64)[order].T.copy()


def _refuse_other_units(path: Path, lengths: list[tuple[int, ...]], stamps: list[tuple[float, ...]]) -> None:
    """The time of a token is the same under any load: where its median is absurd, stamps are not in seconds."""
    pairs = zip(lengths, stamps, strict=True)
    found = [(last - first) / (output - 1) for (_, output), (_, first, last) in pairs if output > 1]
    if found and median(found) > _SLOWEST_TOKEN_S:
        raise UserError(
            f"{path}: stamps do not look like seconds",
            got=f"a median of {median(found):.3g} per output token",
            allowed=f"at most {_SLOWEST_TOKEN_S:g}",
            next_step="give seconds",
        )


def _tokens(row: Meta, name: str, where: str) -> int:
    value = row.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_TOKENS:
        raise UserError(f"{where}: {name} must be a whole number >= 1", got=value, allowed=f"at most {_MOST_TOKENS:,}")
    return value


def _in_order(row: Meta, where: str, *, one_token: bool) -> tuple[float, ...]:
    """The stamps of a request; its clock must go on, and stands still only if the first token is the last."""
    found = []
    for name in _STAMPS:
        value = row.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LATEST_S:
            raise UserError(f"{where}: {name} is missing or no time", got=value, next_step="leave out lost requests")
        found.append(float(value))
    queued, first, last = found
    if not queued < first <= last or (first == last and not one_token):
        raise UserError(f"{where}: the clock goes back or stands still", got=found, allowed=" < ".join(_STAMPS))
    return tuple(found)


# -- files -------------------------------------------------------------------------------------------------------------


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(
            f"cannot read {path}: {reason}", next_step="give a folder that holds meta.json and requests.jsonl"
        ) from None


def _json(path: Path, text: str, line: int = 0) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        at = line or getattr(error, "lineno", 1)
        raise UserError(f"{path}, line {at}: not valid JSON: {getattr(error, 'msg', error)}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: must hold objects", got=type(value).__name__)
    return value
