"""The decision log: one row a decision, one schema for the simulator and for the daemon. Writing it.

    with DecisionWriter(Path("decisions.parquet")) as writer:
        writer.append(decision, outcome)

Parquet. Rows gather in memory, go to a temporary file as row groups, and appear under their name only when the file is
complete, so that a reader never meets half of one. A crash loses what came since the last rotation, nothing else.
`policies.learning.decisions` reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from policies.layout import FEATURE_NAMES, LAYOUT_VERSION
from policies.table import PolicyTable
from profiles.errors import UserError

__all__ = ["COLUMNS", "SCHEMA", "STATES", "Decision", "DecisionColumn", "DecisionWriter", "Ending", "policy_version"]

STATES = ("completed", "rejected", "abandoned", "failed")

_BATCH_ROWS = 4096


class DecisionColumn(NamedTuple):
    """A column of the log."""

    name: str
    type: pa.DataType
    meaning: str
    may_miss: bool = False


COLUMNS: tuple[DecisionColumn, ...] = (
    DecisionColumn("layout", pa.int32(), "Version of the features (policies.layout)"),
    DecisionColumn("policy", pa.string(), "Name of the policy that decided"),
    DecisionColumn("policy_version", pa.string(), "Digest of the numbers that decided: a policy's or a bandit's"),
    DecisionColumn("request_id", pa.string(), "The request"),
    DecisionColumn("attempt", pa.int32(), "0, or how often it was sent before: its pool was lost"),
    DecisionColumn("time_s", pa.float64(), "When: seconds since the start of a simulation, Unix time of a daemon"),
    DecisionColumn("task", pa.string(), "Its task"),
    DecisionColumn("privacy", pa.string(), "device, home or any"),
    DecisionColumn("offered", pa.list_(pa.string()), "Kinds of actions that could have been taken in this log at all"),
    DecisionColumn("kinds", pa.list_(pa.string()), "Kind of each action"),
    DecisionColumn("pools", pa.list_(pa.string()), "Its pool; null on the device and on a hub", may_miss=True),
    DecisionColumn("feasible", pa.list_(pa.bool_()), "Whether the masks let it through"),
    DecisionColumn("phi", pa.list_(pa.list_(pa.float64())), "Its features, in the order of the layout"),
    DecisionColumn("scores", pa.list_(pa.float64()), "What the policy made of them; null: it has none", may_miss=True),
    DecisionColumn("chosen", pa.int32(), "Position of the action that was taken, from 0"),
    DecisionColumn("propensity", pa.float64(), "Chance with which it was taken, in (0, 1]"),
    DecisionColumn("state", pa.string(), "How the request ended: completed, rejected, abandoned or failed"),
    DecisionColumn("correct", pa.float64(), "0 to 1: whether the answer was right; null: nobody knows", may_miss=True),
    DecisionColumn("ttft_s", pa.float64(), "Seconds to the first token; null: there was none", may_miss=True),
    DecisionColumn("e2e_s", pa.float64(), "Seconds to the end, whatever it was", may_miss=True),
    DecisionColumn("energy_j", pa.float64(), "Joules of the asking device", may_miss=True),
    DecisionColumn("cost_usd", pa.float64(), "What it cost. A simulation writes the cost that was predicted: a pool's "
                   "bill is not one of single requests", may_miss=True),
    DecisionColumn("egress_bytes", pa.float64(), "Bytes that left the user's own machines", may_miss=True),
    DecisionColumn("prompt_tokens", pa.int32(), "Tokens of the prompt", may_miss=True),
    DecisionColumn("output_tokens", pa.int32(), "Tokens of the answer", may_miss=True),
)  # fmt: skip

SCHEMA = pa.schema([pa.field(c.name, c.type, metadata={"description": c.meaning}) for c in COLUMNS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was known when it was decided. A actions, in the order in which they were scored."""

    policy: str
    policy_version: str
    request_id: str
    attempt: int
    time_s: float
    task: str
    privacy: str
    offered: tuple[str, ...]
    kinds: tuple[str, ...]
    pools: tuple[str | None, ...]
    feasible: tuple[bool, ...]
    phi: NDArray[np.float64]
    """(A, features)"""
    scores: tuple[float, ...] | None
    chosen: int
    propensity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What came of the request. None: not known, or there was none."""

    state: str
    correct: float | None
    ttft_s: float | None
    e2e_s: float | None
    energy_j: float | None
    cost_usd: float | None
    egress_bytes: float | None
    prompt_tokens: int | None
    output_tokens: int | None


def policy_version(table: PolicyTable) -> str:
    """Twelve digits that stand for the numbers of a policy."""
    digest = hashlib.sha256(np.array(table.kinds, np.int8).tobytes())
    digest.update(table.weights.tobytes())
    digest.update(table.scene.tobytes())
    return digest.hexdigest()[:12]


class DecisionWriter:
    """Appends decisions to a file, or, with `rotate_rows`, to numbered files beside it.

    Without rotation the file appears at `close`. With it, every so many rows (and at `rotate`, which a daemon calls by
    the clock) one of `NAME-000001.parquet`, `NAME-000002.parquet` ... appears; numbers go on from those that are there.
    Raises `UserError` when the place cannot be written.
    """

    def __init__(self, path: Path, *, rotate_rows: int | None = None, batch_rows: int = _BATCH_ROWS) -> None:
        if path.suffix != ".parquet":
            raise UserError("a decision log is a Parquet file", got=str(path), next_step=f"{path.stem}.parquet")
        self.path = path
        self.written: list[Path] = []
        """Files that are complete."""
        self.rows = 0
        """Decisions that were appended."""
        self._rotate_rows = rotate_rows
        self._batch_rows = batch_rows
        self._rows: list[tuple[Decision, Ending]] = []
        self._in_file = 0
        self._file: pq.ParquetWriter | None = None
        self._target = path
        self._open_next()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    def append(self, decision: Decision, ending: Ending) -> None:
        """Add a decision whose request has ended."""
        if self._file is None:
            self._open_next()
        self._rows.append((decision, ending))
        self.rows += 1
        if len(self._rows) >= self._batch_rows:
            self._flush()
        if self._rotate_rows is not None and self._in_file + len(self._rows) >= self._rotate_rows:
            self.rotate()

    def rotate(self) -> None:
        """Complete the file, if there is anything in it; the next decision opens another one."""
        if self._in_file + len(self._rows) > 0:
            self._complete()

    def close(self) -> None:
        """Complete the last file. Without rotation it is written even if it is empty."""
        if self._rotate_rows is None and self._file is not None:
            self._complete()
            return
        self.rotate()
        self.abandon()

    def abandon(self) -> None:
        """Leave the files that are complete, and nothing else."""
        if self._file is not None:
            self._file.close()
            self._file = None
            _temporary(self._target).unlink(missing_ok=True)

    def _open_next(self) -> None:
        self._target = self.path if self._rotate_rows is None else _next_of(self.path)
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._file = pq.ParquetWriter(_temporary(self._target), SCHEMA, compression="zstd")
        except OSError as error:
            raise UserError(f"cannot write {self._target}: {error.strerror}", next_step="give another path") from None
        self._in_file = 0

    def _flush(self) -> None:
        assert self._file is not None
        if self._rows:
            self._file.write_batch(_batch(self._rows))
            self._in_file += len(self._rows)
            self._rows = []

    def _complete(self) -> None:
        self._flush()
        assert self._file is not None
        self._file.close()
        self._file = None
        _temporary(self._target).replace(self._target)
        self.written.append(self._target)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _next_of(path: Path) -> Path:
    numbers = [file.stem.rpartition("-")[2] for file in path.parent.glob(f"{path.stem}-*{path.suffix}")]
    last = max((int(number) for number in numbers if number.isdigit()), default=0)
    return path.with_name(f"{path.stem}-{last + 1:06d}{path.suffix}")


def _batch(rows: Sequence[tuple[Decision, Ending]]) -> pa.RecordBatch:
    columns: dict[str, Any] = {"layout": [LAYOUT_VERSION] * len(rows), "phi": _phi([row.phi for row, _ in rows])}
    for column in COLUMNS:
        if column.name in columns:
            continue
        part = 0 if column.name in Decision.__slots__ else 1
        columns[column.name] = [getattr(row[part], column.name) for row in rows]
    arrays = [
        columns[c.name] if isinstance(columns[c.name], pa.Array) else pa.array(columns[c.name], c.type) for c in COLUMNS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _phi(parts: Sequence[NDArray[np.float64]]) -> pa.Array:
    """(A, features) matrices as lists of lists."""
    actions = np.cumsum([0, *(len(part) for part in parts)])
    values = np.concatenate(parts).ravel()
    inner = pa.ListArray.from_arrays(
        pa.array(np.arange(0, len(values) + 1, len(FEATURE_NAMES)), pa.int32()), pa.array(values, pa.float64())
    )
    return pa.ListArray.from_arrays(pa.array(actions, pa.int32()), inner)
