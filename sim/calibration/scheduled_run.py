"""A run of the Vidur simulator: its requests, and every batch with its tokens and time.

    run = read_scheduled(folder)          requests.csv, batch_metrics.csv, config.json
    shapes = batch_shapes(run)            what was in every batch

The batches tell tokens but not contexts. `batch_shapes` composes them anew with the plain rules of chunked prefill
(decodes first, one token each; then the unfinished prompt; then waiting ones, in order of arrival), at the instants
that the batches' times give, and refuses a run in which any batch comes out different.
"""

from __future__ import annotations

import csv
import heapq
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles import UserError
from sim.numbers import Floats

__all__ = ["ScheduledRun", "Shapes", "batch_shapes", "read_scheduled"]

Ints = NDArray[np.int64]
_REQUESTS = ("arrived_at", "num_prefill_tokens", "num_decode_tokens", "ttft_s", "e2e_s")
_LEAST = {
    "arrived_at": 0.0, "num_prefill_tokens": 1.0, "num_decode_tokens": 1.0, "ttft_s": 1e-9, "e2e_s": 1e-9,
    "batch_num_prefill_tokens": 0.0, "batch_num_decode_tokens": 0.0, "batch_size": 1.0, "batch_execution_time": 1e-9,
}  # fmt: skip
_MOST = 1e9  # of any column
_SETTINGS = {"chunk_size": 1_000_000, "batch_size_cap": 100_000, "block_size": 4096}  # needed, and their largest values
_MOST_BLOCKS = 2**31 - 1
_BATCHES = ("batch_num_prefill_tokens", "batch_num_decode_tokens", "batch_size", "batch_execution_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledRun:
    """Arrays of requests in order of arrival, and of batches in order of time."""

    folder: Path
    token_budget: int
    max_batch: int
    block_size: int
    blocks: int | None
    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    ttft_s: Floats
    e2e_s: Floats
    batch_prefill_tokens: Ints
    batch_decodes: Ints
    batch_sequences: Ints
    batch_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """One value a batch (rule C7)."""

    prefill_tokens: Floats
    prefill_attended: Floats
    decodes: Floats
    decode_context: Floats
    emitting: Floats
    sequences: Floats


def read_scheduled(folder: Path) -> ScheduledRun:
    """Read a run of one replica with Vidur's chunked-prefill scheduler. Raises `UserError` for any other."""
    folder = Path(folder)
    scheduler = _scheduler(folder / "config.json")
    requests = _columns(folder / "requests.csv", _REQUESTS)
    order = np.argsort(requests["arrived_at"], kind="stable")
    batches = _columns(folder / "batch_metrics.csv", _BATCHES)
    return ScheduledRun(
        folder=folder,
        token_budget=scheduler["chunk_size"],
        max_batch=scheduler["batch_size_cap"],
        block_size=scheduler["block_size"],
        blocks=scheduler.get("num_blocks"),
        arrival_s=requests["arrived_at"][order],
        prompt_tokens=requests["num_prefill_tokens"][order].astype(np.int64),
        output_tokens=requests["num_decode_tokens"][order].astype(np.int64),
        ttft_s=requests["ttft_s"][order],
        e2e_s=requests["e2e_s"][order],
        batch_prefill_tokens=batches["batch_num_prefill_tokens"].astype(np.int64),
        batch_decodes=batches["batch_num_decode_tokens"].astype(np.int64),
        batch_sequences=batches["batch_size"].astype(np.int64),
        batch_s=batches["batch_execution_time"],
    )


def batch_shapes(run: ScheduledRun) -> Shapes:
    """The shape of every batch.

    Raises `UserError` at the first one that the rules compose differently, and where batches are missing.
    """
    rows = _compose(run)
    stated = np.stack([run.batch_prefill_tokens, run.batch_decodes, run.batch_sequences])
    composed = np.stack([rows[:, 0], rows[:, 2], rows[:, 5]])
    different = np.flatnonzero((stated != composed).any(axis=0))
    if len(different):
        first = int(different[0])
        raise UserError(
            f"{run.folder}: batch {first} is not what chunked prefill composes (prefill tokens, decodes, sequences)",
            got=tuple(stated[:, first].tolist()),
            allowed=str(tuple(composed[:, first].astype(int).tolist())),
        )
    prompts, batched = int(run.prompt_tokens.sum()), int(run.batch_prefill_tokens.sum())
    if prompts != batched:
        raise UserError(
            f"{run.folder}: the batches are not those of the requests",
            got=f"{batched:,} prefill tokens in batches",
            allowed=f"{prompts:,}, those of the requests",
            next_step="give all batches of a run that evicted nothing",
        )
    return Shapes(
        prefill_tokens=rows[:, 0],
        prefill_attended=rows[:, 1],
        decodes=rows[:, 2],
        decode_context=rows[:, 3],
        emitting=rows[:, 4],
        sequences=rows[:, 5],
    )


def _compose(run: ScheduledRun) -> Floats:
    """A row a batch: prefill tokens, their attended context, decodes, their context, emitting, sequences."""
    arrival, prompt, output = run.arrival_s.tolist(), run.prompt_tokens.tolist(), run.output_tokens.tolist()
    rows = np.zeros((len(run.batch_s), 6))
    now, waiting, decodes, context = arrival[0], 0, 0, 0
    unfinished: tuple[int, int] | None = None  # a request, and how much of its prompt is done
    leaving: list[tuple[int, int]] = []  # (batch before which a decode has left, its context then)
    for k, seconds in enumerate(run.batch_s.tolist()):
        while leaving and leaving[0][0] == k:
            context -= heapq.heappop(leaving)[1]
            decodes -= 1
        if decodes == 0 and unfinished is None and waiting < len(arrival):
            now = max(now, arrival[waiting])
        left = run.token_budget - decodes
        chunks = []
        if unfinished is not None:
            request, done = unfinished
            chunks.append((request, done, min(prompt[request] - done, left)))
            left -= chunks[-1][2]
            unfinished = None
        while left > 0 and waiting < len(arrival) and arrival[waiting] <= now and decodes + len(chunks) < run.max_batch:
            chunks.append((waiting, 0, min(prompt[waiting], left)))
            left -= chunks[-1][2]
            waiting += 1
        finished = [request for request, done, chunk in chunks if done + chunk == prompt[request]]
        if chunks and len(finished) < len(chunks):
            request, done, chunk = chunks[-1]
            unfinished = (request, done + chunk)
        attended = sum(chunk * done + chunk * (chunk + 1) // 2 for _, done, chunk in chunks)
        tokens = sum(chunk for _, _, chunk in chunks)
        rows[k] = tokens, attended, decodes, context, decodes + len(finished), decodes + len(chunks)
        context += decodes
        for request in finished:
            if output[request] > 1:
                decodes += 1
                context += prompt[request] + 1
                heapq.heappush(leaving, (k + output[request], prompt[request] + output[request]))
        now += seconds
    return rows


# -- files -------------------------------------------------------------------------------------------------------------


def _scheduler(path: Path) -> Mapping[str, Any]:
    """The scheduler's settings."""
    try:
        cluster = json.loads(path.read_text(encoding="utf-8"))["cluster_config"]
        scheduler = cluster["replica_scheduler_config"]
        one = cluster["num_replicas"] == 1 and cluster["replica_config"]["num_pipeline_stages"] == 1
        complete = {"name", *_SETTINGS} <= {name for name, value in scheduler.items() if value is not None}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", next_step="give the folder of a Vidur run") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: no configuration of Vidur: {error}", next_step="give the folder of a run") from None
    if not one or not complete or scheduler["name"] != "sarathi":
        raise UserError(
            f"{path}: not one replica of one stage with chunked prefill",
            got=(scheduler.get("name"), cluster["num_replicas"]),
            allowed="replica_scheduler_config.name sarathi, num_replicas 1, num_pipeline_stages 1",
        )
    for name, most in {**_SETTINGS, "num_blocks": _MOST_BLOCKS}.items():
        value = scheduler.get(name)
        if value is not None and (type(value) is not int or not 1 <= value <= most):
            raise UserError(f"{path}: {name} must be a whole number", got=value, allowed=f"1 to {most:,}")
    return dict(scheduler)


def _columns(path: Path, names: tuple[str, ...]) -> dict[str, Floats]:
    """Named columns of a CSV file, as numbers."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            if missing := set(names) - set(reader.fieldnames or ()):
                raise UserError(f"{path} lacks columns", got=sorted(missing), allowed=", ".join(names))
            rows = list(reader)
        columns = {name: np.array([float(row[name]) for row in rows]) for name in names}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", next_step="give the folder of a Vidur run") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: no readable CSV: {error}") from None
    except TypeError:
        raise UserError(f"{path}: a row has fewer cells than there are columns") from None
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: {error}") from None
    if not rows or not all(np.isfinite(column).all() for column in columns.values()):
        raise UserError(f"{path} is empty, or holds what is no number")
    for name, column in columns.items():
        _refuse_implausible(path, name, column)
    return columns


def _refuse_implausible(path: Path, name: str, column: Floats) -> None:
    """Tokens and sequences are counts, a batch may lack one kind of them; times are above 0, arrivals not below."""
    least = _LEAST[name]
    counts = "num_" in name or name == "batch_size"
    wrong = (column < least) | (column > _MOST) | (counts & (column != np.floor(column)))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(
            f"{path}, row {row}: {name} must be a {'whole number' if counts else 'number'}",
            got=float(column[row]),
            allowed=f"{least:g} to {_MOST:g}",
        )
