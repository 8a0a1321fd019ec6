"""A device's decode and prefill constants from timings of one model on it.

    fit = fit_local(timings, LocalModel(model, "int4", "int8", layer_bytes=..., memory_gb_s=...))
    fit.decode, fit.prefill          what `profiles.device` states of an engine
    fit.errors["decode"]["held_out"] mean and largest |predicted / measured - 1| of the rows left out of the fit

Four kinds of timing tell the terms apart:

| kind | what is timed | what it tells |
|---|---|---|
| prefill | whole prompts, by length | multiplications, attention of a prompt, what a prompt costs anyway |
| decode | a token's step, by context | attention of a token; everything else of it |
| layers | a step of 1, 2, 4 prompt tokens without logits | the layers without the head; what a column costs |
| batch | a step of several sequences | tiles, and what a sequence of one costs |

The layers' time of one token is at most what a further column costs (compute) or reading them at the memory's rate
takes, whichever is more; the rest is a cost of every layer, whatever its size. One model alone cannot tell its server's
own time from the head's: it counts as the head's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from profiles import BYTES_PER_VALUE, Dtype, Model, UserError
from profiles.device import BatchCost, Decode, Prefill
from sim.calibration.least_squares import fit_shares
from sim.device_times import CACHE_BYTES, attended_positions, prompt_positions, prompt_s, token_s, weights_s

__all__ = [
    "ErrorOf",
    "Kind",
    "LocalFit",
    "LocalModel",
    "Timing",
    "fit_local",
    "predicted_s",
    "prefill_of",
    "relative_errors",
    "rounded",
]

Kind = Literal["prefill", "decode", "layers", "batch"]
_TILES = (1, 2, 3, 4, 8)  # sequences that kernels take together
_TILES_FROM = 4  # numbers of sequences; fewer cannot tell a tile from noise
_DIGITS = 4  # significant, of a fitted value


class Timing(NamedTuple):
    """One thing timed: `tokens` of the prompt (prefill) or of the context (mean over the step's sequences)."""

    kind: Kind
    tokens: float
    sequences: int
    """Of the step; of `layers` the columns, which are tokens of one prompt."""
    seconds: float
    """Of the prompt, or of one step."""
    held_out: bool = False
    """Left out of the fit, to see how it does."""
    spread: float = 0.0
    """How far the median of its repetitions lies above the one that counts, as a share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """What was timed, and the rate of the memory that it was timed on."""

    model: Model
    precision: Dtype
    head_precision: Dtype
    layer_bytes: float
    """Bytes of the layers' weights as the file stores them, scales included."""
    memory_gb_s: float
    """GB/s (1e9) at which one thread reads memory; nothing decodes faster than it reads."""


class ErrorOf(NamedTuple):
    """|predicted / measured - 1| over some timings."""

    mean: float
    largest: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFit:
    """Constants, and their errors by kind of timing: `in_sample` and, where rows were held out, `held_out`."""

    decode: Decode
    prefill: Prefill
    errors: dict[str, dict[str, ErrorOf]]
    notes: tuple[str, ...]


def fit_local(timings: Sequence[Timing], local: LocalModel) -> LocalFit:
    """Fit the constants to the timings that are not held out.

    Raises UserError when fewer than two lengths of prompt, or two contexts, are among them.
    """
    used = [timing for timing in timings if not timing.held_out]
    notes: list[str] = []
    prefill = _prefill(used, local)
    decode = _decode(used, local, notes)
    decode = decode.model_copy(update={"batch": _batch(used, local, decode, notes)})
    errors = _errors(timings, local, decode, prefill)
    mean, _, points = errors["decode"]["in_sample"]
    known = {"mean_error": rounded(mean)} if points > 2 else {}  # two points lie on the line through them
    decode = decode.model_copy(update={**known, "points": points})
    return LocalFit(decode=decode, prefill=prefill, errors=errors, notes=tuple(notes))


def predicted_s(timing: Timing, model: Model, precision: Dtype, decode: Decode, prefill: Prefill) -> float:
    """Seconds that the constants give for what was timed (`layers` excepted: no constant stands for it alone)."""
    if timing.kind == "prefill":
        return prompt_s(model, prefill, round(timing.tokens))
    return token_s(model, decode, precision, context_tokens=timing.tokens, sequences=timing.sequences)


def relative_errors(predicted: Iterable[float], measured: Iterable[float]) -> ErrorOf:
    """Mean and largest |predicted / measured - 1|, and of how many."""
    found = [abs(mine / theirs - 1.0) for mine, theirs in zip(predicted, measured, strict=True)]
    return ErrorOf(sum(found) / len(found), max(found), len(found))


def _of(timings: Sequence[Timing], kind: Kind, least: int, what: str) -> list[Timing]:
    found = [timing for timing in timings if timing.kind == kind]
    if len({timing.tokens for timing in found}) < least:
        raise UserError(f"too few {what} to fit", got=len(found), allowed=f">= {least} different ones")
    return found


def _prefill(timings: Sequence[Timing], local: LocalModel) -> Prefill:
    rows = _of(timings, "prefill", 2, "lengths of prompt")
    model = local.model
    tokens = np.array([row.tokens for row in rows])
    attended = np.array([prompt_positions(model, round(row.tokens)) for row in rows]) * model.attention.query_heads
    columns = np.stack([2.0 * model.active_layer_params * tokens, np.ones_like(tokens), attended], axis=1)
    per_operation, prompt, attention = fit_shares(columns, np.array([row.seconds for row in rows]))
    if per_operation <= 0.0:
        raise UserError(
            "the prompts' times do not grow with their lengths",
            got=[f"{row.tokens:g} tokens: {row.seconds:.3g} s" for row in rows],
            next_step="measure again when the machine is idle",
        )
    return prefill_of(per_operation, prompt, attention)


def _decode(timings: Sequence[Timing], local: LocalModel, notes: list[str]) -> Decode:
    rows = _of(timings, "decode", 2, "contexts")
    positions = np.array([attended_positions(local.model, row.tokens) for row in rows])
    columns = np.stack([np.ones_like(positions), positions], axis=1)
    token, position = fit_shares(columns, np.array([row.seconds for row in rows]))
    layers, weights = _layers(timings, local, token, float(position), notes)
    model = local.model
    bandwidth = model.active_layer_params * BYTES_PER_VALUE[local.precision] / weights
    head = token - layers
    head_bytes = model.head_params * BYTES_PER_VALUE[local.head_precision]
    cached = model.kv_values_per_token_full + model.kv_values_per_token_sliding
    cache_s = cached * CACHE_BYTES / bandwidth / (model.full_layers + model.sliding_layers)
    return Decode(
        base_ms=0.0,
        bandwidth_gb_s=rounded(bandwidth / 1e9),
        head_precision=local.head_precision,
        layer_ms=rounded(max(0.0, layers - weights) / model.layers * 1e3),
        head_bandwidth_gb_s=rounded(head_bytes / head / 1e9),
        attention_ns=rounded(max(0.0, position - cache_s) / model.attention.query_heads * 1e9),
    )


def _layers(
    timings: Sequence[Timing], local: LocalModel, token: float, position: float, notes: list[str]
) -> tuple[float, float]:
    """Seconds of the layers for one token without context; of these, what multiplying with the weights takes."""
    rows = [timing for timing in timings if timing.kind == "layers"]
    columns = np.array([row.sequences for row in rows], dtype=np.float64)
    bare = np.array(
        [row.seconds - row.sequences * attended_positions(local.model, row.tokens) * position for row in rows]
    )
    alone = bare[columns == 1.0]
    if len(set(columns)) < 2 or not len(alone) or (bare <= 0.0).any() or alone.mean() >= 0.98 * token:
        notes.append("layers and head are taken to be read at one rate: nothing told them apart")
        layers = local.model.active_layer_params * BYTES_PER_VALUE[local.precision]
        head = local.model.head_params * BYTES_PER_VALUE[local.head_precision]
        one = token * layers / (layers + head)
        return one, one
    one = float(alone.mean())
    _, column = fit_shares(np.stack([np.ones_like(columns), columns], axis=1), bare)
    return one, min(one, max(float(column), local.layer_bytes / (local.memory_gb_s * 1e9)))


def _batch(timings: Sequence[Timing], local: LocalModel, decode: Decode, notes: list[str]) -> BatchCost | None:
    rows = [timing for timing in timings if timing.kind == "batch" and timing.sequences > 1]
    if len({row.sequences for row in rows}) < 2:
        notes.append("steps of several sequences were not measured: each costs as much as one alone")
        return None
    weights = weights_s(local.model, decode, local.precision)
    seconds = np.array([row.seconds for row in rows])
    others = np.array(
        [
            token_s(local.model, decode, local.precision, context_tokens=row.tokens, sequences=row.sequences)
            - weights * row.sequences
            for row in rows
        ]
    )
    found: list[tuple[float, BatchCost]] = []
    for tile in _TILES if len({row.sequences for row in rows}) >= _TILES_FROM else (1,):
        taken = np.array([-(-row.sequences // tile) * tile for row in rows], dtype=np.float64)
        fixed, share = fit_shares(np.stack([np.ones_like(taken), taken], axis=1) * weights, seconds - others)
        if share > 0.0:
            cost = BatchCost(tile_sequences=tile, fixed_share=rounded(fixed), sequence_share=rounded(share))
            known = decode.model_copy(update={"batch": cost})
            mine = [predicted_s(row, local.model, local.precision, known, _NO_PREFILL) for row in rows]
            found.append((relative_errors(mine, seconds).mean, cost))
    return min(found, key=lambda one: one[0])[1] if found else None


_NO_PREFILL = Prefill(chunk_tokens=1, base_ms=0.0, effective_tops=1.0)


def _errors(
    timings: Sequence[Timing], local: LocalModel, decode: Decode, prefill: Prefill
) -> dict[str, dict[str, ErrorOf]]:
    found: dict[str, dict[str, ErrorOf]] = {}
    for kind in ("prefill", "decode", "batch"):
        for name, held_out in (("in_sample", False), ("held_out", True)):
            rows = [row for row in timings if row.kind == kind and row.held_out is held_out]
            if rows:
                mine = [predicted_s(row, local.model, local.precision, decode, prefill) for row in rows]
                found.setdefault(kind, {})[name] = relative_errors(mine, [row.seconds for row in rows])
    return found


def prefill_of(per_operation_s: float, prompt_s: float, attention_s: float) -> Prefill:
    """Prefill without chunks: seconds an operation, a prompt, and a query head's pair of positions."""
    return Prefill(
        chunk_tokens=1,
        base_ms=0.0,
        effective_tops=rounded(1e-12 / per_operation_s),
        prompt_ms=rounded(prompt_s * 1e3),
        attention_ns=rounded(attention_s * 1e9),
    )


def rounded(value: float) -> float:
    """To the digits that a fitted constant is written with."""
    return float(f"{value:.{_DIGITS}g}")
