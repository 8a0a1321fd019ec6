"""A user's own rates of models on one device: reading the CSV, and saying what cannot be true.

| column | unit |
|---|---|
| model | a name of the catalogue; any name, when `params_b` is given |
| params_b | 1e9 parameters; needed only for models that the catalogue does not know |
| quantization | `int4`, `w8a8`, `Q4_K_M`, `fp16` ... |
| prompt_len | tokens of the prompt |
| context_len | tokens of context while decoding; blank: the prompt |
| prefill_tok_s | prompt tokens per second |
| ttft_s | seconds to the first token; where both are given, this one counts |
| decode_tok_s | output tokens per second of one sequence |
| batch | sequences that decoded together; blank: 1 |

Other columns are ignored, unless their name says that they hold one of these in another unit.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from profiles import BYTES_PER_VALUE, Catalogue, Dtype, Model, UserError
from profiles.quantisation import Quantisation, quantisation
from sim.calibration.generic_model import generic_model

__all__ = ["RateRow", "read_rates"]

_NEEDED = ("model", "quantization", "prompt_len", "decode_tok_s")
_PROMPT = ("prefill_tok_s", "ttft_s")
_OPTIONAL = ("params_b", "context_len", "batch")
_OTHER_UNITS = re.compile(r"(ttft|prefill|decode|tpot|itl).*(_ms|ms_|msec|_us|_min|per_tok)|tok_min", re.IGNORECASE)
_BANDWIDTH_GB_S = (0.02, 20_000.0)  # what decoding reads from any memory there is: least and most
_MOST_TOPS = 20_000.0  # 1e12 operations a second that a prompt is computed with on anything there is
_SLOWEST_PREFILL = 0.05  # tokens per second
_MOST_ROWS = 500  # leaving each out in turn takes the square of their number
_LONGEST_LINE = 1 << 20  # characters
_SIZES_B = (1e-3, 1e5)  # 1e9 parameters
_MOST: dict[str, int] = {"prompt_len": 10_000_000, "context_len": 10_000_000, "batch": 4096}
_SAME = 3.0  # two accounts of one prompt's time differ by less
_WIDTHS: dict[str, Dtype] = {"16": "fp16", "32": "fp32", "6": "int8", "8": "int8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRow:
    """One row: what ran, and how long it took. `None` where the row does not say."""

    line: int
    model: Model
    precision: Dtype
    head_precision: Dtype
    prompt_tokens: int
    context_tokens: float
    sequences: int
    prompt_s: float | None
    token_s: float | None
    """Of one step, which gives each of its sequences a token."""
    assumed: tuple[str, ...]


def read_rates(path: Path, catalogue: Catalogue) -> list[RateRow]:
    """The rows of a CSV file of rates.

    Raises UserError for a file that cannot be read, missing columns, columns in other units, cells that are no numbers
    above 0 (with the line), unknown models and formats, and rates that only make sense in another unit.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(_lines(path, file), strict=True)
            _check_columns(path, list(reader.fieldnames or []))
            cells = [(reader.line_num, row) for row in islice(reader, _MOST_ROWS + 1)]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: no readable CSV: {error}") from None
    if len(cells) > _MOST_ROWS:
        raise UserError(f"{path}: too many rows to fit", allowed=f"at most {_MOST_ROWS:,}", next_step="give medians")
    rows = [_row(f"{path}, line {line}", line, row, catalogue) for line, row in cells]
    if not rows:
        raise UserError(f"{path}: no rows below its header")
    _refuse_growing_rates(path, rows)
    return rows


def _lines(path: Path, file: TextIO) -> Iterator[str]:
    """Lines of a length that a table can have; a device or a damaged file may have no end of line at all."""
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise UserError(
                f"{path}: no readable CSV: a line without an end", allowed=f"< {_LONGEST_LINE:,} characters"
            )
        yield line


def _check_columns(path: Path, columns: list[str]) -> None:
    known = {*_NEEDED, *_PROMPT, *_OPTIONAL}
    if len(columns) == 1 and (separator := next((one for one in ";\t|" if one in columns[0]), "")):
        raise UserError(f"{path}: columns are separated by something else", got=separator, allowed="','")
    if twice := [column for column in known if columns.count(column) > 1]:
        raise UserError(f"{path}: a column is there more than once", got=", ".join(sorted(twice)))
    for column in columns:
        if column not in known and _OTHER_UNITS.search(column or ""):
            raise UserError(
                f"{path}: a column in another unit",
                got=column,
                allowed="ttft_s in seconds; prefill_tok_s and decode_tok_s in tokens per second",
            )
    missing = [column for column in _NEEDED if column not in columns]
    if not any(column in columns for column in _PROMPT):
        missing.append("prefill_tok_s or ttft_s")
    if missing:
        raise UserError(f"{path}: missing columns: {', '.join(missing)}", got=columns)


def _row(where: str, line: int, cells: dict[str, str], catalogue: Catalogue) -> RateRow:
    if None in cells or None in cells.values():  # so the reader marks cells too many, and too few
        raise UserError(
            f"{where}: not as many cells as columns", next_step="check quotes and commas; decimals have a point"
        )
    model, assumed = _model(where, cells, catalogue)
    stored = _quantisation(where, cells, model)
    prompt = _whole(where, cells, "prompt_len")
    if prompt is None:
        raise UserError(f"{where}: prompt_len: missing")
    prefill, ttft, decode = (_number(where, cells, name) for name in ("prefill_tok_s", "ttft_s", "decode_tok_s"))
    _check_prompt(where, prompt, prefill, ttft)
    if prefill is not None and decode is not None and prompt >= 32 and prefill < 0.5 * decode:
        raise UserError(
            f"{where}: prefill_tok_s is far below decode_tok_s, but prompts are read faster than answers are written",
            got=(prefill, decode),
            next_step="are these milliseconds per token? give tokens per second",
        )
    row = RateRow(
        line=line,
        model=model,
        precision=_precision(stored),
        head_precision="int8" if stored.head_bits <= 12 else "fp16",
        prompt_tokens=prompt,
        context_tokens=float(_whole(where, cells, "context_len") or prompt),
        sequences=_whole(where, cells, "batch") or 1,
        prompt_s=ttft if ttft is not None else prompt / prefill if prefill is not None else None,
        token_s=1.0 / decode if decode is not None else None,
        assumed=(*assumed, *((stored.assumed,) if stored.assumed else ())),
    )
    if row.prompt_s is None and row.token_s is None:
        raise UserError(f"{where}: no rate at all", allowed="decode_tok_s, prefill_tok_s or ttft_s above 0")
    _check_bandwidth(where, row, decode)
    _check_operations(where, row)
    return row


def _model(where: str, cells: dict[str, str], catalogue: Catalogue) -> tuple[Model, tuple[str, ...]]:
    name = (cells.get("model") or "").strip()
    if not name:
        raise UserError(f"{where}: model: missing")
    if not name.isprintable():
        raise UserError(f"{where}: model: not one line of text", got=name)
    try:
        return catalogue.model(name), ()
    except UserError as error:
        params_b = _number(where, cells, "params_b")
        if params_b is None:
            raise UserError(f"{where}: {error}", next_step="or give its params_b") from None
    if not _SIZES_B[0] <= params_b <= _SIZES_B[1]:
        raise UserError(
            f"{where}: params_b: no model has this size", got=params_b, allowed="{:g} to {:g} (1e9)".format(*_SIZES_B)
        )
    return generic_model(name, params_b), (f"{name} is not in the catalogue: a generic decoder of {params_b:g}e9",)


def _quantisation(where: str, cells: dict[str, str], model: Model) -> Quantisation:
    text = (cells.get("quantization") or "").strip()
    found = quantisation(text, params_b=model.total_params_b) if text else None
    if found is None:
        raise UserError(f"{where}: quantization: no known format", got=text, allowed="int4, w8a8, Q4_K_M, fp16 ...")
    return found


def _precision(stored: Quantisation) -> Dtype:
    return _WIDTHS.get(stored.width, "int4")


def _number(where: str, cells: dict[str, str], column: str) -> float | None:
    text = (cells.get(column) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{where}: {column} must be a number above 0", got=text)
    return value


def _whole(where: str, cells: dict[str, str], column: str) -> int | None:
    value = _number(where, cells, column)
    if value is not None and value != int(value):
        raise UserError(f"{where}: {column} must be a whole number", got=value)
    if value is not None and value > _MOST[column]:
        raise UserError(f"{where}: {column} is implausible", got=value, allowed=f"at most {_MOST[column]:,}")
    return None if value is None else int(value)


# What only another unit explains.


def _check_prompt(where: str, prompt: int, prefill: float | None, ttft: float | None) -> None:
    if ttft is None:
        return
    if prefill is not None and not _alike(prompt / prefill, ttft):
        if _alike(prompt / prefill, ttft / 1e3):
            raise UserError(f"{where}: ttft_s looks like milliseconds", got=ttft, next_step="give seconds")
        if _alike(prompt * prefill / 1e3, ttft) or _alike(prompt * prefill, ttft):
            raise UserError(
                f"{where}: prefill_tok_s looks like milliseconds per token",
                got=prefill,
                next_step="give tokens per second",
            )
    if prompt / ttft < _SLOWEST_PREFILL:
        raise UserError(f"{where}: ttft_s looks like milliseconds", got=ttft, next_step="give seconds")


def _alike(a: float, b: float) -> bool:
    return 1.0 / _SAME < a / b < _SAME


def _check_bandwidth(where: str, row: RateRow, decode: float | None) -> None:
    if decode is None:
        return
    read = row.model.active_layer_params * BYTES_PER_VALUE[row.precision] * decode / 1e9
    if not _BANDWIDTH_GB_S[0] <= read <= _BANDWIDTH_GB_S[1] * row.sequences:
        raise UserError(
            f"{where}: decode_tok_s would read the weights at {read:,.3g} GB/s",
            got=decode,
            allowed=f"what reads {_BANDWIDTH_GB_S[0]:g} to {_BANDWIDTH_GB_S[1]:,.0f} GB/s",
            next_step="is it in another unit, or the model or its format another one?",
        )


def _check_operations(where: str, row: RateRow) -> None:
    if row.prompt_s is None:
        return
    tops = 2e-12 * row.model.active_layer_params * row.prompt_tokens / row.prompt_s
    if tops > _MOST_TOPS:
        raise UserError(
            f"{where}: the prompt would be computed at {tops:,.3g} TOPS",
            got=f"{row.prompt_tokens} tokens in {row.prompt_s:.3g} s",
            allowed=f"at most {_MOST_TOPS:,.0f}",
            next_step="are prefill_tok_s and ttft_s in other units?",
        )


def _refuse_growing_rates(path: Path, rows: list[RateRow]) -> None:
    """Larger models decode more slowly. Where rates grow with the size in every pair, they are times."""
    alone = [row for row in rows if row.token_s is not None and row.sequences == 1]
    pairs = [
        (small, large)
        for small in alone
        for large in alone
        if small.precision == large.precision
        and large.model.active_layer_params > 1.5 * small.model.active_layer_params
        and _alike(small.context_tokens, large.context_tokens)
    ]
    growing = [(s, g) for s, g in pairs if s.token_s and g.token_s and s.token_s > 1.15 * g.token_s]
    if pairs and len(growing) == len(pairs):
        small, large = growing[0]
        raise UserError(
            f"{path}, lines {small.line} and {large.line}: decode_tok_s grows with the size of the model",
            got=f"{small.model.name} {1 / (small.token_s or 1):.3g}, {large.model.name} {1 / (large.token_s or 1):.3g}",
            next_step="are these milliseconds per token? give tokens per second",
        )
