"""Kernel timings of one model on one card, read from a folder of CSV files.

    dense.csv         layer,tokens,time_us          one transformer layer, kernel by kernel
    per_sequence.csv  layer,sequences,time_us       the head and the sampler
    attention.csv     prefill_chunk,kv_prefill,n_decode,kv_decode,time_us

LLMServingSim's profiler (MIT) writes these files; other kernels in them are left out.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profiles import UserError
from sim.numbers import Floats

__all__ = ["KernelTimings", "read_kernels"]

GEMMS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
SMALL = {"layernorm": 2, "rotary_emb": 1, "act_fn": 1}  # how often a layer runs each


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTimings:
    """Microseconds. Dense kernels are those of one layer, summed; arrays of one line have one length."""

    tokens: Floats  # (n,)
    gemm_us: Floats  # (n,)
    small_us: Floats  # (n,) norms, rotary embedding, activation
    sequences: Floats  # (m,)
    head_us: Floats  # (m,) the head's multiplication
    sampler_us: Floats  # (m,)
    attention: Floats  # (k, 5): prefill chunk, its context before, decodes, context of each, microseconds


def read_kernels(folder: Path) -> KernelTimings:
    """Read the three files. Raises `UserError` for a missing file, column, kernel, or a value that is no number."""
    dense = _by_layer(folder / "dense.csv", "tokens", (*GEMMS, *SMALL))
    heads = _by_layer(folder / "per_sequence.csv", "sequences", ("lm_head", "sampler"))
    tokens, sequences = sorted(dense[GEMMS[0]]), sorted(heads["lm_head"])
    attention = _columns(folder / "attention.csv", ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"))
    return KernelTimings(
        tokens=np.array(tokens),
        gemm_us=np.array([sum(dense[name][n] for name in GEMMS) for n in tokens]),
        small_us=np.array([sum(dense[name][n] * count for name, count in SMALL.items()) for n in tokens]),
        sequences=np.array(sequences),
        head_us=np.array([heads["lm_head"][m] for m in sequences]),
        sampler_us=np.array([heads["sampler"][m] for m in sequences]),
        attention=np.array(attention, np.float64),
    )


def _by_layer(path: Path, size: str, wanted: tuple[str, ...]) -> dict[str, dict[float, float]]:
    """Kernel -> size -> microseconds; every wanted kernel has the same sizes."""
    found: dict[str, dict[float, float]] = {name: {} for name in wanted}
    rows = _rows(path, ("layer", size, "time_us"))
    for number, (name, *values) in enumerate(rows, 2):
        if name in found:
            at, micros = (_number(path, number, value) for value in values)
            found[name][at] = micros
    sizes = set(found[wanted[0]])
    for name in wanted:
        if not sizes or set(found[name]) != sizes:
            raise UserError(f"{path} must time every kernel at the same {size}", got=f"{len(found[name])} of {name}")
    return found


def _columns(path: Path, names: tuple[str, ...]) -> list[list[float]]:
    return [[_number(path, n, value) for value in row] for n, row in enumerate(_rows(path, names), 2)]


def _rows(path: Path, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The values of the named columns, line by line."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            if missing := set(names) - set(reader.fieldnames or ()):
                raise UserError(f"{path} lacks columns", got=sorted(missing), allowed=", ".join(names))
            return [tuple(row[name] or "" for name in names) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}", next_step="give a folder of kernel timings") from None


def _number(path: Path, line: int, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0.0 <= number < np.inf:
        raise UserError(f"{path}, line {line}: a size or a time must be a number >= 0", got=value)
    return number
