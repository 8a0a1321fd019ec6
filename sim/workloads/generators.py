"""Workloads from a specification: synthetic ones, drawn from named streams, or a trace.

`build_workload` is the one entrance. Every quantity (arrivals, lengths, priority, patience ...) draws from
its own stream: another distribution of prompts leaves every arrival and every output length as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from profiles.errors import UserError
from sim.workloads.arrivals import open_loop, poisson_starts
from sim.workloads.distributions import MAX_TOKENS
from sim.workloads.draws import draw_lengths, draw_priority, draw_seconds
from sim.workloads.spec import ClosedLoop, Sessions, TraceSpec, WorkloadSpec
from sim.workloads.streams import stream
from sim.workloads.traces import read_trace
from sim.workloads.workload import Floats, Ints, Provenance, Workload

__all__ = ["build_workload", "stream"]


def build_workload(
    spec: WorkloadSpec,
    *,
    seed: int,
    base_folder: Path,
    trace: Path | None = None,
    requests: int | None = None,
    time_scale: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Workload:
    """The workload of a specification, the same for the same seed.

    `trace` takes the place of the specification's arrivals and lengths (or of its trace); priority, patience
    and deadline stay. `requests` takes the place of its number of requests or its duration. A trace path
    inside the specification is relative to `base_folder`, the `trace` given here is taken as it is.
    `time_scale` multiplies the stamps of a trace, in place of its own. `progress` is told the rows read from a
    trace. Raises UserError.
    """
    if requests is not None and requests < 1:
        raise UserError("requests must be at least 1", got=requests)
    recorded = spec.trace
    if trace is not None:
        recorded = TraceSpec(path=str(trace), time_scale=spec.trace.time_scale if spec.trace else 1.0)
    if recorded is not None:
        return read_trace(
            Path(recorded.path) if trace is not None else base_folder / recorded.path,
            requests=recorded.requests if requests is None else requests,
            time_scale=recorded.time_scale if time_scale is None else time_scale,
            seed=seed,
            priority=spec.priority,
            patience_s=spec.patience_s,
            deadline_s=spec.deadline_s,
            progress=progress,
        )
    if time_scale is not None:
        raise UserError("time_scale stretches a trace, and there is none", got=time_scale)
    if requests is not None:
        spec = spec.model_copy(update={"requests": requests, "duration_s": None})
    if isinstance(spec.arrivals, Sessions):
        return _sessions(spec, spec.arrivals, seed)
    if isinstance(spec.arrivals, ClosedLoop):
        return _closed_loop(spec, spec.arrivals, seed)
    return _open_loop(spec, seed)


def _open_loop(spec: WorkloadSpec, seed: int) -> Workload:
    arrivals = spec.arrivals
    if arrivals is None or isinstance(arrivals, ClosedLoop | Sessions):
        raise UserError("the workload has neither arrivals nor a trace")
    times = open_loop(arrivals, seed=seed, requests=spec.requests, duration_s=spec.duration_s)
    if not len(times):
        raise UserError(
            "no request arrives within duration_s",
            got=spec.duration_s,
            next_step="lengthen it or raise rate_rps",
        )
    prompt, output = _lengths(spec, len(times), seed)
    return _finished(spec, seed, arrivals.kind, arrival_s=times, prompt=prompt, output=output)


def _closed_loop(spec: WorkloadSpec, loop: ClosedLoop, seed: int) -> Workload:
    """Request i is of client i modulo the clients. Every client thinks before its first one, too."""
    n = spec.requests or 0
    clients = min(loop.clients, n)
    think_s = draw_seconds(loop.think_s, n, rng=stream(seed, "think_s"))
    think_s[:clients].sort()
    after = np.arange(n, dtype=np.int64) - clients
    after[:clients] = -1
    prompt, output = _lengths(spec, n, seed)
    notes = () if clients == loop.clients else (f"{n} requests keep only {n} of {loop.clients} clients busy",)
    return _finished(spec, seed, loop.kind, arrival_s=think_s, prompt=prompt, output=output, after=after, notes=notes)


def _sessions(spec: WorkloadSpec, sessions: Sessions, seed: int) -> Workload:
    """The turns of a conversation have consecutive ids; conversations are in order of their start."""
    n = spec.requests or 0
    unit = sessions.name_unit_tokens
    system_units = -(-sessions.system_tokens // unit)
    turns = _turns(spec, sessions, seed, system_tokens=system_units * unit)
    starts_s = poisson_starts(sessions.rate_rps, int(turns.owner[-1]) + 1, seed=seed)

    last = np.flatnonzero(np.append(turns.first[1:], True))  # the last turn of a conversation names all of it
    units = -(-turns.context[last] // unit)
    name_start = np.cumsum(units) - units
    place = np.arange(int(units.sum()), dtype=np.int64)
    within = place - np.repeat(name_start, units)
    own = place - np.repeat(np.arange(len(units), dtype=np.int64) * system_units, units)
    notes = [f"{len(units)} conversations"]
    if system_units * unit != sessions.system_tokens:
        notes.append(f"system prompt rounded up from {sessions.system_tokens} to {system_units * unit} tokens")
    return _finished(
        spec,
        seed,
        sessions.kind,
        arrival_s=np.where(turns.first, starts_s[turns.owner], turns.think_s),
        prompt=turns.context - turns.output,
        output=turns.output,
        after=np.where(turns.first, -1, np.arange(n, dtype=np.int64) - 1),
        session=turns.owner,
        named_tokens=turns.context,
        name_start=name_start[turns.owner],
        name_ids=np.where(within < system_units, within, own),
        name_unit_tokens=unit,
        notes=tuple(notes),
    )


class _Turns(NamedTuple):
    """One row a turn: its conversation, whether it opens it, its answer, the tokens when answered."""

    owner: Ints
    first: NDArray[np.bool_]
    output: Ints
    context: Ints
    think_s: Floats


def _turns(spec: WorkloadSpec, sessions: Sessions, seed: int, *, system_tokens: int) -> _Turns:
    """The first `requests` turns, conversation by conversation."""
    n = spec.requests or 0
    counts = np.minimum(draw_lengths(sessions.turns, n, rng=stream(seed, "turns")), n)
    needed = int(np.searchsorted(np.cumsum(counts), n)) + 1
    while True:  # again with more conversations where max_context_tokens cut too many turns
        turns = counts[:needed]
        owner = np.repeat(np.arange(len(turns), dtype=np.int64), turns)
        opening = np.cumsum(turns) - turns
        new, output = _lengths(spec, len(owner), seed)
        spoken = np.cumsum(new + output)
        context = system_tokens + spoken - (spoken - new - output)[opening][owner]
        first = np.zeros(len(owner), dtype=np.bool_)
        first[opening] = True
        limit = sessions.max_context_tokens
        kept = np.flatnonzero(first | (context <= limit)) if limit is not None else np.arange(len(owner))
        if len(kept) >= n or needed >= n:
            break
        needed = min(2 * needed, n)
    if int(context.max()) > MAX_TOKENS:
        raise UserError(
            "a conversation outgrows what can be counted",
            got=int(context.max()),
            allowed=f"<= {MAX_TOKENS} tokens",
            next_step="give arrivals.max_context_tokens, or fewer turns",
        )
    think_s = draw_seconds(sessions.think_s, len(owner), rng=stream(seed, "think_s"))
    kept = kept[:n]
    return _Turns(owner[kept], first[kept], output[kept], context[kept], think_s[kept])


def _lengths(spec: WorkloadSpec, n: int, seed: int) -> tuple[Ints, Ints]:
    """Prompt and output tokens of n requests."""
    if spec.prompt_tokens is None or spec.output_tokens is None:
        raise UserError("arrivals need prompt_tokens and output_tokens")
    prompt = draw_lengths(spec.prompt_tokens, n, rng=stream(seed, "prompt_tokens"))
    return prompt, draw_lengths(spec.output_tokens, n, rng=stream(seed, "output_tokens"))


def _finished(
    spec: WorkloadSpec,
    seed: int,
    kind: str,
    *,
    arrival_s: Floats,
    prompt: Ints,
    output: Ints,
    after: Ints | None = None,
    session: Ints | None = None,
    named_tokens: Ints | None = None,
    name_start: Ints | None = None,
    name_ids: Ints | None = None,
    name_unit_tokens: int = 512,
    notes: tuple[str, ...] = (),
) -> Workload:
    """The workload of these arrays; what is not given is the same for all: no chain, no session, no names."""
    n = len(arrival_s)
    none = np.full(n, -1, dtype=np.int64)
    zero = np.zeros(n, dtype=np.int64)
    return Workload(
        arrival_s=arrival_s,
        after=none if after is None else after,
        prompt_tokens=prompt,
        output_tokens=output,
        priority=draw_priority(spec.priority, n, rng=stream(seed, "priority")),
        patience_s=draw_seconds(spec.patience_s, n, rng=stream(seed, "patience_s")),
        deadline_s=draw_seconds(spec.deadline_s, n, rng=stream(seed, "deadline_s")),
        session=none.copy() if session is None else session,
        named_tokens=zero if named_tokens is None else named_tokens,
        name_start=zero.copy() if name_start is None else name_start,
        name_ids=np.zeros(0, dtype=np.int64) if name_ids is None else name_ids,
        name_unit_tokens=name_unit_tokens,
        provenance=Provenance(kind=kind, rows_emitted=n, notes=notes),
    )
