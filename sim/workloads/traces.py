"""Recorded workloads: a trace file in, a `Workload` out.

`read_trace` knows the layouts of `sim.workloads.trace_layouts` by their column names, never by the file's name. What it
assumes or repairs on the way stands in the workload's provenance: rows dropped by reason, rows put in order,
stamps spread, the shift of the first arrival to 0 s, repetitions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiles.errors import UserError
from sim.workloads.distributions import NO_LIMIT, ConstantSeconds, Priority, Seconds
from sim.workloads.draws import draw_priority, draw_seconds
from sim.workloads.streams import stream
from sim.workloads.trace_file import TraceFile
from sim.workloads.trace_layouts import Layout, TraceColumns, detect
from sim.workloads.trace_names import NAME_UNIT_TOKENS, Names, chain_names
from sim.workloads.trace_rows import BEYOND, MALFORMED, REASONS, TOO_LONG, Block, RowDecoder, load_object, split_cells
from sim.workloads.workload import Floats, Ints, Provenance, Workload

__all__ = ["read_trace"]

MOONCAKE_GRID_S = 3.0  # the published grid of Mooncake's stamps


def read_trace(
    path: str | Path,
    *,
    requests: int | None = None,
    time_scale: float = 1.0,
    seed: int = 0,
    priority: Priority = 0,
    patience_s: float | Seconds = NO_LIMIT,
    deadline_s: float | Seconds = NO_LIMIT,
    distinct_repeats: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Workload:
    """Read a trace (CSV or JSONL, plain or gzipped) as an open-loop workload.

    requests: how many to produce. Fewer than the trace holds: the first ones by arrival, the others count as
      dropped. More: the whole trace is repeated, each repetition later by the last arrival and one mean gap.
      With `distinct_repeats` a repetition holds other conversations: nothing is shared with the one before.
    time_scale: multiplies every stamp; 0.5 is twice as fast.
    priority, patience_s, deadline_s: for rows that do not bring their own; drawn with `seed` where random.
    progress: called with the number of rows read so far.

    The first arrival is at 0 s. Raises UserError for what cannot be read as a trace, or holds no usable row.
    """
    path = Path(path)
    _check(requests, time_scale, priority)
    patience, deadline = _limit("patience_s", patience_s), _limit("deadline_s", deadline_s)
    reading = _Reading(path, progress)
    layout, rows, dropped = reading.layout, reading.rows, reading.dropped
    notes: list[str] = []
    order, stamps = _in_order(rows["stamp"], notes)
    rows = {field: values[order] for field, values in rows.items()}
    stamps = _spread(stamps, layout, notes)
    arrival = (stamps - stamps[0]) / layout.stamps_per_s * time_scale
    if not math.isfinite(float(arrival[-1])):
        raise UserError(f"the stamps of {path} span more time than can be counted", got=time_scale)
    if (first := _spell(rows["stamp"][0], layout)) != "0 s":
        notes.append(f"first arrival ({first}) shifted to 0 s")
    if layout.kind == "vllm":
        notes.append(f"arrivals are the column {reading.columns.names[0]}")
    if time_scale != 1.0:
        notes.append(f"stamps multiplied by {time_scale:g}")
    n = len(arrival)
    wanted = n if requests is None else requests
    if wanted < n:
        dropped[BEYOND] += n - wanted
        arrival, rows = arrival[:wanted], {field: values[:wanted] for field, values in rows.items()}
    names = chain_names(rows.get("names"), rows["prompt"], notes)
    session = rows.get("session", np.full(len(arrival), -1, dtype=np.int64))
    rows_emitted = len(arrival)
    if wanted > n:
        arrival, session, names = _repeat(arrival, session, names, wanted, distinct_repeats, notes)
        rows = {field: np.resize(values, wanted) for field, values in rows.items() if field != "names"}
    return Workload(
        arrival_s=arrival,
        after=np.full(wanted, -1, dtype=np.int64),
        prompt_tokens=rows["prompt"],
        output_tokens=rows["output"],
        priority=_own(rows.get("priority"), draw_priority(priority, wanted, rng=stream(seed, "priority"))),
        patience_s=_own(rows.get("patience"), draw_seconds(patience, wanted, rng=stream(seed, "patience_s"))),
        deadline_s=_own(rows.get("deadline"), draw_seconds(deadline, wanted, rng=stream(seed, "deadline_s"))),
        session=session,
        named_tokens=names.tokens,
        name_start=names.start,
        name_ids=names.ids,
        name_unit_tokens=NAME_UNIT_TOKENS,
        provenance=Provenance(
            kind=layout.kind,
            path=str(path),
            sha256=reading.sha256,
            rows_read=reading.rows_read,
            rows_emitted=rows_emitted,
            dropped={reason: dropped[reason] for reason in REASONS if dropped[reason]},
            notes=tuple(notes),
        ),
    )


class _Reading:
    """One pass over the file: its layout, its usable rows as columns, and the count of all the others."""

    columns: TraceColumns

    def __init__(self, path: Path, progress: Callable[[int], None] | None) -> None:
        self.path = path
        self.rows_read = 0
        self.dropped: Counter[str] = Counter()
        self._file = TraceFile(path)
        decoder: RowDecoder | None = None
        blocks: list[Block] = []
        for lines in self._lines():
            if decoder is None:
                decoder, lines = self._begin(lines)
            if decoder is not None and lines:
                self.rows_read += len(lines)
                blocks.append(decoder.decode(lines))
                if progress is not None:
                    progress(self.rows_read)
        self.sha256 = self._file.sha256
        self._finish(decoder)
        self.rows: Block = {
            field: np.concatenate([block[field] for block in blocks]) if blocks else np.empty(0)
            for field in self.columns.fields
        }
        if not len(self.rows["stamp"]):
            raise self._nothing()

    @property
    def layout(self) -> Layout:
        return self.columns.layout

    def _lines(self) -> Iterator[list[str]]:
        """Lines that are not blank, a block at a time."""
        for text in self._file.blocks():
            if lines := [line for line in text.split("\n") if line and not line.isspace()]:
                yield lines

    def _begin(self, lines: list[str]) -> tuple[RowDecoder | None, list[str]]:
        """Settle the layout by the header or the first JSON object; the lines that remain to be decoded."""
        if not self._file.is_json:
            if self._file.long_lines:
                raise self._long_header()
            self.columns = detect(split_cells(lines[0]), self.path)
            return RowDecoder(self.columns, is_json=False), lines[1:]
        for index, line in enumerate(lines):
            if isinstance(row := load_object(line), dict):
                self.columns = detect(list(row), self.path)
                self._skip(index)
                return RowDecoder(self.columns, is_json=True), lines[index:]
        self._skip(len(lines))
        return None, []

    def _skip(self, lines: int) -> None:
        self.rows_read += lines
        self.dropped[MALFORMED] += lines

    def _finish(self, decoder: RowDecoder | None) -> None:
        long_lines = self._file.long_lines
        if decoder is None:
            if self.rows_read or (long_lines and self._file.is_json):
                raise UserError(f"no line of {self.path} holds a readable JSON object")
            if long_lines:
                raise self._long_header()
            raise UserError(f"the trace {self.path} is empty")
        self.rows_read += long_lines
        self.dropped += decoder.dropped
        self.dropped[TOO_LONG] += long_lines

    def _long_header(self) -> UserError:
        return UserError(f"the first line of {self.path} is too long to name columns", allowed="CSV or JSONL")

    def _nothing(self) -> UserError:
        if not self.rows_read:
            return UserError(f"the trace {self.path} holds a header and no rows")
        reasons = ", ".join(f"{reason}: {self.dropped[reason]}" for reason in REASONS if self.dropped[reason])
        return UserError(f"none of the {self.rows_read} rows of {self.path} can be used ({reasons})")


def _check(requests: int | None, time_scale: float, priority: Priority) -> None:
    if requests is not None and requests < 1:
        raise UserError("requests must be at least 1", got=requests)
    if not (math.isfinite(time_scale) and time_scale > 0):
        raise UserError("time_scale must be a number above 0", got=time_scale, allowed="0.5 is twice as fast")
    if isinstance(priority, int) and not 0 <= priority <= 7:
        raise UserError("priority is out of range", got=priority, allowed="0 (most urgent) to 7")


def _limit(name: str, value: float | Seconds) -> Seconds:
    if not isinstance(value, (int, float)):
        return value
    if not value > 0:
        raise UserError(f"{name} must be more than 0 s", got=value, allowed="seconds, or infinity for none")
    return ConstantSeconds(value=value)


def _in_order(stamps: NDArray[Any], notes: list[str]) -> tuple[NDArray[np.intp], NDArray[Any]]:
    late = int((stamps[1:] < np.maximum.accumulate(stamps)[:-1]).sum())
    if late:
        notes.append(f"{late} rows were out of order and were sorted by stamp")
    order = np.argsort(stamps, kind="stable")
    return order, stamps[order]


def _spread(stamps: NDArray[Any], layout: Layout, notes: list[str]) -> NDArray[Any]:
    """Mooncake's stamps lie on a grid: rows that share one are spread evenly over one step."""
    gaps = np.diff(stamps)
    shared = int((gaps == 0).sum())
    if not shared:
        return stamps
    if layout.kind != "mooncake":
        notes.append(f"{shared} rows share the stamp of the row before")
        return stamps
    grid = MOONCAKE_GRID_S * layout.stamps_per_s
    step = min(float(gaps[gaps > 0].min()), grid) if gaps.any() else grid
    _, first, count = np.unique(stamps, return_index=True, return_counts=True)
    place = np.arange(len(stamps)) - np.repeat(first, count)
    notes.append(f"rows that share a stamp were spread evenly over {step / layout.stamps_per_s:g} s ({shared} moved)")
    return stamps + step * place / np.repeat(count, count)


def _spell(stamp: Any, layout: Layout) -> str:
    """A stamp as the file means it."""
    if not layout.dated:
        return f"{float(stamp) / layout.stamps_per_s:.10g} s"
    seconds, ticks = divmod(int(stamp), 10**7)
    whole = np.datetime64("0001-01-01T00:00:00", "s") + np.timedelta64(seconds - 86_400, "s")
    return f"{str(whole).replace('T', ' ')}.{ticks:07d}"


def _repeat(
    arrival: Floats, session: Ints, names: Names, wanted: int, distinct: bool, notes: list[str]
) -> tuple[Floats, Ints, Names]:
    """The whole trace again and again until `wanted` requests are there."""
    n = len(arrival)
    last = float(arrival[-1])
    period = last + last / (n - 1) if last > 0 else 1.0
    turn = np.arange(wanted) // n
    kind = "other conversations" if distinct else "the same conversations"
    notes.append(f"{n} rows repeated {wanted / n:.4g} times, every {period:.6g} s; a repetition holds {kind}")
    sessions = int(session.max()) + 1
    repeated = np.resize(session, wanted)
    if distinct:
        repeated = np.where(repeated < 0, -1, repeated + turn * sessions)
    return np.resize(arrival, wanted) + turn * period, repeated, names.repeated(wanted, distinct=distinct)


def _own(values: NDArray[np.float64] | None, given: NDArray[Any]) -> NDArray[Any]:
    """What the rows bring themselves (not NaN), else what is given."""
    return given if values is None else np.where(np.isnan(values), given, values).astype(given.dtype)
