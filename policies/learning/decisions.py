"""Reading a decision log: what cannot be used is dropped and counted, what makes no sense is refused."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES, KINDS, LAYOUT_VERSION
from policies.learning.columns import any_of, flat, is_null, numbers, starts
from policies.learning.decision_log import COLUMNS, SCHEMA, STATES
from policies.learning.utility import Utility, as_counted
from profiles.errors import UserError

__all__ = ["MOST_BROKEN", "Decisions", "read_decisions"]

MOST_BROKEN = 0.01
"""Share of decisions that may contradict themselves before the whole log is refused."""

TWICE = "the same decision again"
LATER, NO_END = "a later attempt of the same request", "the request had not ended"
OTHER_LAYOUT = "another layout of the features"
_HARMLESS = (TWICE, LATER, NO_END, OTHER_LAYOUT)
_OF_A_DECISION = ("policy", "policy_version", "request_id", "attempt", "time_s", "task", "chosen", "propensity")
_LISTS = ("kinds", "feasible", "phi")
_FIGURES = ("correct", "ttft_s", "e2e_s", "energy_j", "cost_usd", "egress_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """n usable decisions with m actions in all: those of decision i are rows start[i] to start[i + 1]."""

    rows_read: int
    dropped: Mapping[str, int]
    """Decisions that were left out, by reason."""
    policies: Mapping[str, int]
    """Usable decisions by `name @ version` of the policy that took them."""
    offered: frozenset[str]
    """Kinds of actions that every one of these policies could take."""
    tasks: tuple[str, ...]
    request: NDArray[np.uint32]
    """(n,): a number that belongs to the request."""
    task: NDArray[np.int32]
    start: NDArray[np.int64]
    """(n + 1,)"""
    kind: NDArray[np.int8]
    """(m,): positions in `policies.layout.KINDS`."""
    feasible: NDArray[np.bool_]
    phi: NDArray[np.float64]
    """(m, features)"""
    chosen: NDArray[np.int64]
    """(n,): rows of the m."""
    propensity: NDArray[np.float64]
    answered: NDArray[np.bool_]
    correct: NDArray[np.float64]
    """(n,) and so on: NaN where it is not known."""
    ttft_s: NDArray[np.float64]
    e2e_s: NDArray[np.float64]
    energy_j: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    egress_bytes: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def row(self) -> NDArray[np.int64]:
        """(m,): the decision that each action belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    def padded(self, values: NDArray[Any], fill: float) -> NDArray[np.float64]:
        """(m,) values as (n, most actions), filled up."""
        sizes = np.diff(self.start)
        table = np.full((len(self), int(sizes.max(initial=1))), fill, np.float64)
        table[np.arange(table.shape[1]) < sizes[:, None]] = values
        return table

    def subset(self, keep: NDArray[np.bool_]) -> Decisions:
        """The decisions that `keep` (n,) marks."""
        rows = np.repeat(keep, np.diff(self.start))
        sizes = np.diff(self.start)[keep]
        start = np.concatenate([[0], np.cumsum(sizes)])
        by_decision = {name: getattr(self, name)[keep] for name in ("request", "task", "propensity", "answered")}
        by_decision |= {name: getattr(self, name)[keep] for name in _FIGURES}
        return Decisions(
            rows_read=self.rows_read, dropped=self.dropped, policies=self.policies, offered=self.offered,
            tasks=self.tasks, start=start, chosen=start[:-1] + (self.chosen - self.start[:-1])[keep],
            kind=self.kind[rows], feasible=self.feasible[rows], phi=self.phi[rows], **by_decision,
        )  # fmt: skip

    def rewards(self, utility: Utility) -> NDArray[np.float64]:
        """(n,): the utility of each outcome; NaN where a figure that it weighs is not known.

        A request without an answer has no right one, and took `UNANSWERED_S` seconds or as long as it was waited for.
        """
        figures = {
            **as_counted(answered=self.answered, right=self.correct, ttft_s=self.ttft_s, e2e_s=self.e2e_s),
            "cost_usd": self.cost_usd,
            "energy_j": self.energy_j,
            "egress_mb": self.egress_bytes / 1e6,
        }
        total = np.zeros(len(self))
        for name, weight in utility.terms:
            total += weight * figures[name]
        return total


def read_decisions(path: Path) -> Decisions:
    """A log, or all logs in a folder. Raises `UserError` for what is no log, and for one that cannot be trusted."""
    table = _table(path)
    rows_read = table.num_rows
    if rows_read == 0:
        raise UserError("the decision log is empty", got=str(path), next_step="log decisions before learning from them")
    dropped: dict[str, int] = {}
    table = _kept(table, _odd_rows(table), dropped)
    for odd in (_odd_widths, _odd_values, _repeated):
        table = _kept(table, odd(table), dropped) if table.num_rows else table
    _check(path, rows_read, table.num_rows, dropped)
    return _decisions(table, rows_read, dropped)


# -- the file ----------------------------------------------------------------------------------------------------------


def _table(path: Path) -> pa.Table:
    if not path.exists():
        raise UserError("no such decision log", got=str(path))
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise UserError("no Parquet file in this folder", got=str(path))
    return pa.concat_tables([_file(file) for file in files]).combine_chunks()


def _file(file: Path) -> pa.Table:
    try:
        names = set(pq.read_schema(file).names)
        missing = [c.name for c in COLUMNS if c.name not in names and not c.may_miss]
        if "propensity" in missing:
            raise UserError(
                f"{file.name} has no propensities: nobody can tell what another choice would have brought",
                next_step="log them: nearfar simulate ... --decisions FILE --explore 0.1",
            )
        if missing:
            raise UserError(f"{file.name} is no decision log: columns are missing", got=", ".join(missing))
        table = pq.read_table(file, columns=[c.name for c in COLUMNS if c.name in names])
        return _with_all_columns(table).cast(SCHEMA)
    except (OSError, pa.ArrowException) as error:
        what = str(error).partition("\n")[0]
        raise UserError(f"{file.name} cannot be read as a decision log: {what}", got=str(file)) from None


def _with_all_columns(table: pa.Table) -> pa.Table:
    for column in COLUMNS:
        if column.name not in table.column_names:
            table = table.append_column(column.name, pa.nulls(table.num_rows, column.type))
    return table.select([c.name for c in COLUMNS])


# -- what can be used --------------------------------------------------------------------------------------------------

Reasons = list[tuple[str, NDArray[np.bool_]]]


def _kept(table: pa.Table, reasons: Reasons, dropped: dict[str, int]) -> pa.Table:
    """The rows that no reason marks; a row that several do counts for the first."""
    gone = np.zeros(table.num_rows, np.bool_)
    for reason, bad in reasons:
        if count := int(np.count_nonzero(bad & ~gone)):
            dropped[reason] = dropped.get(reason, 0) + count
        gone |= bad
    return table.filter(pa.array(~gone)).combine_chunks() if gone.any() else table


def _odd_rows(table: pa.Table) -> Reasons:
    """What can be told without looking into the lists."""
    lengths = {name: numbers(pc.list_value_length(table[name]), -1) for name in _LISTS}
    first = lengths["phi"]
    uneven = np.any([lengths[name] != first for name in _LISTS] + [first < 1], axis=0)
    chosen, chance = numbers(table["chosen"], -1), numbers(table["propensity"], np.nan)
    text = np.any([numbers(pc.is_null(table[name]), 1) != 0 for name in ("task", "request_id", "offered")], axis=0)
    state = numbers(pc.is_in(table["state"], pa.array(STATES)), 0) != 0
    return [
        (OTHER_LAYOUT, numbers(table["layout"], -1) != LAYOUT_VERSION),
        ("lists of different lengths, or none", uneven),
        ("no task, request or kinds", text),
        ("the chosen action is none of the actions", (chosen < 0) | (chosen >= first)),
        ("no propensity", np.isnan(chance)),
        ("a propensity outside (0, 1]", ~((chance > 0.0) & (chance <= 1.0 + 1e-9)) & ~np.isnan(chance)),
        ("an unknown state", ~state & ~is_null(table["state"])),
        (NO_END, is_null(table["state"])),
        (LATER, numbers(table["attempt"], 0) != 0),
    ]


def _odd_widths(table: pa.Table) -> Reasons:
    widths = numbers(pc.list_value_length(flat(table["phi"])), -1)
    return [(f"not {len(FEATURE_NAMES)} features an action", any_of(widths != len(FEATURE_NAMES), starts(table)))]


def _odd_values(table: pa.Table) -> Reasons:
    start = starts(table)
    feasible = numbers(flat(table["feasible"]), 0) != 0
    kinds = numbers(pc.index_in(flat(table["kinds"]), pa.array(KINDS)), -1)
    phi = numbers(flat(flat(table["phi"])), np.nan).reshape(-1, len(FEATURE_NAMES))
    chosen = start[:-1] + numbers(table["chosen"], 0)
    negative = np.zeros(len(start) - 1, np.bool_)
    for name in _FIGURES:
        values = numbers(table[name], np.nan)
        negative |= (values < 0.0) | np.isinf(values)
    correct = numbers(table["correct"], np.nan)
    return [
        ("an unknown kind of action", any_of(kinds < 0, start)),
        ("an action was chosen that the masks forbid", ~feasible[chosen]),
        ("a feature is not a number", any_of(~np.isfinite(phi).all(axis=1) & feasible, start)),
        ("an outcome is negative, infinite, or right by more than 1", negative | (correct > 1.0)),
    ]


def _repeated(table: pa.Table) -> Reasons:
    """Rows that are there already: a file that is there twice. What another policy, or another draw, did with the same
    request at the same instant is a decision of its own."""
    rows = table.select(_OF_A_DECISION).append_column("row", pa.array(np.arange(table.num_rows)))
    first = rows.group_by(list(_OF_A_DECISION)).aggregate([("row", "min")])["row_min"]
    again = np.ones(table.num_rows, np.bool_)
    again[np.asarray(first)] = False
    return [(TWICE, again)]


def _check(path: Path, read: int, kept: int, dropped: Mapping[str, int]) -> None:
    broken = {reason: count for reason, count in dropped.items() if reason not in _HARMLESS}
    worst = max(broken, key=lambda reason: broken[reason], default="")
    if kept == 0 and dropped.get(OTHER_LAYOUT) == read:
        raise UserError(
            f"the log is of another layout of the features, this program reads layout {LAYOUT_VERSION}",
            got=str(path),
            next_step="read it with the version of nearfar that wrote it, or log anew",
        )
    if sum(broken.values()) > MOST_BROKEN * read:
        raise UserError(
            f"{sum(broken.values()):,} of {read:,} decisions contradict themselves: {worst} ({broken[worst]:,})",
            got=str(path),
            allowed=f"at most {100 * MOST_BROKEN:g} % of them",
            next_step="mend what writes the log; estimates from it would be wrong",
        )
    if kept == 0:
        why = "; ".join(f"{reason} ({count:,})" for reason, count in dropped.items())
        raise UserError(f"no decision of the log can be used: {why}", got=str(path))


# -- arrays ------------------------------------------------------------------------------------------------------------


def _decisions(table: pa.Table, rows_read: int, dropped: Mapping[str, int]) -> Decisions:
    start = starts(table)
    task = pc.dictionary_encode(table["task"].combine_chunks())
    who = pc.value_counts(pc.binary_join_element_wise(table["policy"], table["policy_version"], " @ "))
    figures = {name: numbers(table[name], np.nan) for name in _FIGURES}
    return Decisions(
        rows_read=rows_read,
        dropped=dict(dropped),
        policies={one["values"] or "unnamed": one["counts"] for one in who.to_pylist()},
        offered=_common(table),
        tasks=tuple(task.dictionary.to_pylist()),
        request=_request_numbers(table),
        task=numbers(task.indices, -1).astype(np.int32),
        start=start,
        kind=numbers(pc.index_in(flat(table["kinds"]), pa.array(KINDS)), -1).astype(np.int8),
        feasible=numbers(flat(table["feasible"]), 0) != 0,
        phi=numbers(flat(flat(table["phi"])), np.nan).reshape(-1, len(FEATURE_NAMES)),
        chosen=start[:-1] + numbers(table["chosen"], 0),
        propensity=np.minimum(numbers(table["propensity"], np.nan), 1.0),
        answered=numbers(pc.equal(table["state"], "completed"), 0) != 0,
        **figures,
    )


def _request_numbers(table: pa.Table) -> NDArray[np.uint32]:
    return np.array([zlib.crc32(one.encode()) for one in table["request_id"].to_pylist()], np.uint32)


def _common(table: pa.Table) -> frozenset[str]:
    """Kinds that every decision could have taken."""
    lists = pc.unique(pc.binary_join(table["offered"], ",")).to_pylist()
    return frozenset.intersection(*(frozenset(one.split(",")) for one in lists))
