"""A device's decode and prefill constants from rates of one or several models on it.

    fit = fit_rates(read_rates(path, catalogue))
    fit.decode["int4"], fit.prefill, fit.errors["decode int4"]["leave_one_out"]

What the rows cannot tell stays out: one size of model gives a bandwidth and no base, one context no attention, one
length of prompt nothing that a prompt costs anyway. The notes say so. Errors are in sample and, from four rows on,
leave one out: each row predicted from a fit to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from profiles import BYTES_PER_VALUE, Dtype, UserError
from profiles.device import BatchCost, Decode, Prefill
from sim.calibration.least_squares import fit_shares
from sim.calibration.local_fit import ErrorOf, prefill_of, relative_errors, rounded
from sim.calibration.rates_csv import RateRow
from sim.device_times import CACHE_BYTES, attended_positions, prompt_positions, prompt_s, token_s, weights_s
from sim.numbers import Floats

__all__ = ["RatesFit", "fit_rates"]

_F = TypeVar("_F")

_LEAVE_ONE_OUT_FROM = 4  # rows
_APART = 1.1  # sizes, lengths and contexts that differ by less count as one


@dataclass(frozen=True, slots=True, kw_only=True)
class RatesFit:
    """Constants by precision of the weights, one set for prompts, errors by what was fitted."""

    decode: dict[Dtype, Decode]
    prefill: Prefill
    errors: dict[str, dict[str, ErrorOf]]
    notes: tuple[str, ...]


def fit_rates(rows: Sequence[RateRow]) -> RatesFit:
    """Fit everything that the rows tell. Raises UserError without a decode rate, or without a prompt's time."""
    notes = [note for row in rows for note in row.assumed]
    errors: dict[str, dict[str, ErrorOf]] = {}
    decode: dict[Dtype, Decode] = {}
    for precision in dict.fromkeys(row.precision for row in rows if row.token_s is not None):
        chosen = [row for row in rows if row.precision == precision and row.token_s is not None]
        found = _decode(chosen)
        errors[f"decode {precision}"] = _errors(
            chosen, _decode, _decode_s, _measured_token, notes, f"decode {precision}"
        )
        mean = errors[f"decode {precision}"]["in_sample"].mean
        if mean > 1.0:
            raise UserError(
                f"no one device decodes {precision} at these rates",
                got=f"the best fit is {mean:.3g} times off on average",
                allowed="rates of one device and one runtime",
                next_step="check the units of decode_tok_s, context_len and batch",
            )
        decode[precision] = found.model_copy(update={"mean_error": rounded(mean), "points": len(chosen)})
    prompts = [row for row in rows if row.prompt_s is not None]
    if not decode or not prompts:
        what = "decode_tok_s" if not decode else "prefill_tok_s or ttft_s"
        raise UserError(f"no row holds a rate in {what}: nothing to fit")
    errors["prefill"] = _errors(prompts, _prefill, _prefill_s, _measured_prompt, notes, "prefill")
    return RatesFit(decode=decode, prefill=_prefill(prompts), errors=errors, notes=tuple(dict.fromkeys(notes)))


def _several(values: Sequence[float], least: int = 2) -> bool:
    """Whether at least so many of the values are apart."""
    seen: list[float] = []
    for value in sorted(values):
        if not seen or value > _APART * seen[-1]:
            seen.append(value)
    return len(seen) >= least


def _decode(rows: Sequence[RateRow]) -> Decode:
    alone = [row for row in rows if row.sequences == 1]
    if not alone:
        raise UserError("no row tells the rate of one sequence alone", next_step="add a row with batch 1")
    read = [_read_bytes(row) for row in alone]
    columns = [np.array(read)]
    columns.append(np.ones(len(alone)) if _several(read) else np.zeros(len(alone)))
    attended = [attended_positions(row.model, row.context_tokens) * row.model.attention.query_heads for row in alone]
    grows = _several([row.context_tokens for row in alone])
    columns.append(np.array(attended, dtype=np.float64) if grows else np.zeros(len(alone)))
    per_byte, base, attention = fit_shares(np.stack(columns, axis=1), _times(alone, _measured_token))
    if per_byte <= 0.0:
        raise UserError("the rates do not depend on the models' sizes", got=[f"line {row.line}" for row in alone])
    fitted = Decode(
        base_ms=rounded(base * 1e3),
        bandwidth_gb_s=rounded(1e-9 / per_byte),
        head_precision=alone[0].head_precision,
        attention_ns=rounded(attention * 1e9),
    )
    return fitted.model_copy(update={"batch": _batch(rows, fitted)})


def _read_bytes(row: RateRow) -> float:
    model = row.model
    weights = model.active_layer_params * BYTES_PER_VALUE[row.precision]
    cached = (model.kv_values_per_token_full + model.kv_values_per_token_sliding) * CACHE_BYTES
    layers = max(1, model.full_layers + model.sliding_layers)
    head = model.head_params * BYTES_PER_VALUE[row.head_precision]
    return weights + head + cached / layers * attended_positions(model, row.context_tokens)


def _batch(rows: Sequence[RateRow], decode: Decode) -> BatchCost | None:
    together = [row for row in rows if row.sequences > 1]
    if not together:
        return None
    weights = np.array([weights_s(row.model, decode, row.precision) for row in together])
    sequences = np.array([float(row.sequences) for row in together])
    others = np.array([_decode_s(row, decode) for row in together]) - weights * sequences
    columns = np.stack([weights if _several(list(sequences)) else 0.0 * weights, weights * sequences], axis=1)
    fixed, share = fit_shares(columns, np.maximum(_times(together, _measured_token) - others, 1e-9))
    if share <= 0.0:
        fixed, share = 0.0, 1.0 / float(sequences.max())  # steps that more sequences do not lengthen
    return BatchCost(tile_sequences=1, fixed_share=rounded(fixed), sequence_share=rounded(share))


def _prefill(rows: Sequence[RateRow]) -> Prefill:
    tokens = [float(row.prompt_tokens) for row in rows]
    count = len(rows)
    columns = [
        np.array([2.0 * row.model.active_layer_params * row.prompt_tokens for row in rows]),
        np.ones(count) if _several(tokens) else np.zeros(count),
        np.array([prompt_positions(row.model, row.prompt_tokens) * row.model.attention.query_heads for row in rows])
        if _several(tokens, 3)
        else np.zeros(count),
    ]
    per_operation, prompt, attention = fit_shares(np.stack(columns, axis=1), _times(rows, _measured_prompt))
    if per_operation <= 0.0:
        raise UserError("the prompts' times do not grow with their lengths", got=[f"line {row.line}" for row in rows])
    return prefill_of(per_operation, prompt, attention)


def _errors(
    rows: Sequence[RateRow],
    fit: Callable[[Sequence[RateRow]], _F],
    predict: Callable[[RateRow, _F], float],
    measured: Callable[[RateRow], float],
    notes: list[str],
    what: str,
) -> dict[str, ErrorOf]:
    whole = fit(rows)
    found = {"in_sample": relative_errors([predict(row, whole) for row in rows], [measured(row) for row in rows])}
    if len(rows) < _LEAVE_ONE_OUT_FROM:
        notes.append(f"{what}: {len(rows)} rows, too few to leave one out: the error on other rows is unknown")
        return found
    mine, theirs = [], []
    for left_out in rows:
        others = [row for row in rows if row is not left_out]
        try:
            mine.append(predict(left_out, fit(others)))
        except UserError:  # the others cannot be fitted without this one
            continue
        theirs.append(measured(left_out))
    if mine:
        found["leave_one_out"] = relative_errors(mine, theirs)
    return found


def _decode_s(row: RateRow, decode: Decode) -> float:
    return token_s(row.model, decode, row.precision, context_tokens=row.context_tokens, sequences=row.sequences)


def _prefill_s(row: RateRow, prefill: Prefill) -> float:
    return prompt_s(row.model, prefill, row.prompt_tokens)


def _measured_token(row: RateRow) -> float:
    assert row.token_s is not None
    return row.token_s


def _measured_prompt(row: RateRow) -> float:
    assert row.prompt_s is not None
    return row.prompt_s


def _times(rows: Sequence[RateRow], measured: Callable[[RateRow], float]) -> Floats:
    return np.array([measured(row) for row in rows])
