"""What a `Workload` promises, checked: the engine trusts these arrays without looking again."""

from __future__ import annotations

import numpy as np

from profiles.errors import UserError
from sim.workloads.distributions import MAX_TOKENS
from sim.workloads.workload import Workload

__all__ = ["MAX_PRIORITY", "check_workload"]

MAX_PRIORITY = 7
MAX_SPAN_S = 1e9
_COLUMNS = (
    "arrival_s",
    "after",
    "prompt_tokens",
    "output_tokens",
    "priority",
    "patience_s",
    "deadline_s",
    "session",
    "named_tokens",
    "name_start",
)


def check_workload(workload: Workload) -> None:
    """Raise `UserError` for the first promise that is not kept; a few milliseconds for a million requests."""
    n = len(workload)
    if n == 0:
        raise UserError("the workload has no requests", next_step="give a trace with rows, or requests >= 1")
    if n > MAX_TOKENS:
        raise UserError("the workload has too many requests", got=n, allowed=f"<= {MAX_TOKENS}")
    for name in _COLUMNS:
        if len(getattr(workload, name)) != n:
            raise UserError(f"workload.{name} has another length", got=len(getattr(workload, name)), allowed=str(n))
    for name in ("prompt_tokens", "output_tokens"):
        _within(name, getattr(workload, name), 1, MAX_TOKENS)
    _within("prompt_tokens + output_tokens", workload.prompt_tokens + workload.output_tokens, 2, MAX_TOKENS)
    _within("priority", workload.priority, 0, MAX_PRIORITY)
    for name in ("patience_s", "deadline_s"):
        if not (getattr(workload, name) >= 0).all():
            raise UserError(f"workload.{name} must not be negative or NaN")
    _check_arrivals(workload)
    _check_names(workload)


def _within(name: str, values: np.ndarray[tuple[int], np.dtype[np.int64]], low: int, high: int) -> None:
    for value in (values.min(), values.max()):
        if not low <= value <= high:
            raise UserError(f"workload.{name} is out of range", got=int(value), allowed=f"{low} to {high}")


def _check_arrivals(workload: Workload) -> None:
    after = workload.after
    if not (np.isfinite(workload.arrival_s).all() and (workload.arrival_s >= 0).all()):
        raise UserError("workload.arrival_s must be finite and not negative")
    if workload.arrival_s.max() > MAX_SPAN_S:
        raise UserError(
            "the arrivals span more time than the clock resolves to a microsecond",
            got=float(workload.arrival_s.max()),
            allowed=f"<= {MAX_SPAN_S:g} s",
        )
    if (np.diff(workload.arrival_s[after < 0]) < 0).any():
        raise UserError("workload.arrival_s must ascend over the requests that wait for nobody")
    if (after < -1).any() or (after >= np.arange(len(after))).any():
        raise UserError("workload.after must be -1 or the id of an earlier request")
    waits = after[after >= 0]
    if len(np.unique(waits)) != len(waits):
        raise UserError("workload.after names a request twice: it can have one successor")


def _check_names(workload: Workload) -> None:
    """Names lie where they are said to, and each has one predecessor (or is always a first one)."""
    named = np.flatnonzero(workload.named_tokens != 0)
    if not len(named):
        return
    tokens, start = workload.named_tokens[named], workload.name_start[named]
    total = workload.prompt_tokens[named] + workload.output_tokens[named]
    if workload.name_unit_tokens < 1 or (tokens < 0).any() or (tokens > total).any():
        raise UserError("workload.named_tokens must lie between 0 and the tokens of the request")
    counts = -(-tokens // workload.name_unit_tokens)
    if (start < 0).any() or (start + counts > len(workload.name_ids)).any():
        raise UserError("workload.name_start points outside of name_ids")
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    at = np.repeat(start, counts) + within
    names = workload.name_ids[at]
    if (names < 0).any() or int(names.max()) > 2**62 // workload.name_unit_tokens:
        raise UserError("workload.name_ids must be small non-negative numbers")
    before = np.where(within > 0, workload.name_ids[at - (within > 0)], -1)
    order = np.lexsort((before, names))
    names, before = names[order], before[order]
    if ((names[1:] == names[:-1]) & (before[1:] != before[:-1])).any():
        raise UserError("the workload's names do not identify prefixes: one follows two different predecessors")
