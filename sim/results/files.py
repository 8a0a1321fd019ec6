"""A run in files.

requests.parquet, timeline.parquet, summary.json and report.html are the same bytes for the same seed. What
differs (wall times, versions, machine) is in run.json.

    write_results(outcome, "out/today", summarise(outcome))
"""

from __future__ import annotations

import errno
import json
import os
import platform
import secrets
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from profiles.errors import UserError
from sim.kernels.state import ABANDONED, COMPLETED, FAILED, REASONS, REJECTED
from sim.results.columns import REQUESTS, TIMELINE, VOLATILE, Column
from sim.results.invariants import check_invariants
from sim.results.outcome import Outcome
from sim.results.report import report_html
from sim.results.timeline import Timeline, build_timeline

if TYPE_CHECKING:
    from sim.plane import DataPlane

__all__ = ["FILES", "request_table", "timeline_table", "write_results"]

FILES = ("requests.parquet", "timeline.parquet", "summary.json", "report.html", "run.json")

_STATES = {COMPLETED: "completed", REJECTED: "rejected", ABANDONED: "abandoned", FAILED: "failed"}
_TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "double": pa.float64(),
    "category": pa.dictionary(pa.int8(), pa.string()),
}
_VERSIONS_OF = ("nearfar", "numpy", "numba", "pyarrow", "simpy")

Writer = Callable[[IO[bytes]], None]


# -- tables ----------------------------------------------------------------------------------------------


def request_table(plane: DataPlane) -> pa.Table:
    """One row a request with the columns `sim.results.columns.REQUESTS`; what does not apply is null."""
    r = plane.requests
    done = r["status"] == COMPLETED
    arrival, scheduled, first, finish = (r[name] for name in ("arrival", "scheduled", "first_token", "finish"))
    more = np.where(done & (r["output"] > 1), r["output"] - 1, 1)
    columns: dict[str, Any] = {
        "id": np.arange(len(r)),
        "arrival_s": arrival,
        "scheduled_s": scheduled,
        "first_token_s": first,
        "finish_s": finish,
        "ttft_s": first - arrival,
        "tpot_s": np.where(done & (r["output"] > 1), (finish - first) / more, np.nan),
        "e2e_s": np.where(done, finish - arrival, np.nan),
        "queue_s": scheduled - arrival,
        "state": _categories(r["status"] - COMPLETED, [_STATES[code] for code in sorted(_STATES)]),
        "reason": _categories(r["reason"] - 1, REASONS[1:]),
        "replica": _known(r["replica"]),
        "prompt_tokens": r["prompt"],
        "output_tokens": r["output"],
        "cached_tokens": r["cached"],
        "preemptions": r["preemptions"],
        "attempts": r["attempts"],
        "priority": r["priority"],
        "session": _known(plane.workload.session),
        "energy_j": r["energy"],
    }
    return _table(REQUESTS, columns)


def timeline_table(plane: DataPlane, timeline: Timeline | None = None) -> pa.Table:
    """One row a bin with the columns `sim.results.columns.TIMELINE`. `timeline` saves building it again."""
    timeline = timeline or build_timeline(plane)
    return _table(TIMELINE, {column.name: getattr(timeline, column.name) for column in TIMELINE})


def _table(columns: Iterable[Column], values: Mapping[str, Any]) -> pa.Table:
    fields, arrays = [], []
    for column in columns:
        kind, data = _TYPES[column.type], values[column.name]
        if not isinstance(data, pa.Array):
            data = pa.array(np.ascontiguousarray(data), kind, from_pandas=True)  # nan becomes null
        arrays.append(data.cast(kind))
        about = {"unit": column.unit, "description": column.description}
        fields.append(pa.field(column.name, kind, metadata=about))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _categories(codes: Any, words: Iterable[str]) -> pa.Array:
    """Words by number; a negative number is null."""
    indices = pa.array(np.ascontiguousarray(codes, np.int8), mask=np.asarray(codes) < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(words)))


def _known(ids: Any) -> pa.Array:
    """Ids; a negative one is null."""
    return pa.array(np.ascontiguousarray(ids), mask=np.asarray(ids) < 0)


# -- files -----------------------------------------------------------------------------------------------


def write_results(outcome: Outcome, folder: str | os.PathLike[str], summary: Mapping[str, Any]) -> list[Path]:
    """Write the five `FILES` into `folder` and return their paths.

    The folder is made if missing; other files in it are left alone. All five are written beside their places
    first and then moved there, so that an error or an interruption never leaves half a file. Raises
    `UserError` when the folder cannot be made or written, or the disk is full.
    """
    folder = Path(folder)
    timeline = build_timeline(outcome.plane)
    stable = {key: value for key, value in summary.items() if key not in VOLATILE}
    invariants = check_invariants(outcome, timeline)
    page = report_html(outcome, stable, timeline=timeline, invariants=invariants)
    writers: dict[str, Writer] = {
        "requests.parquet": lambda file: _write_parquet(request_table(outcome.plane), file),
        "timeline.parquet": lambda file: _write_parquet(timeline_table(outcome.plane, timeline), file),
        "summary.json": lambda file: _write_json(stable, file),
        "report.html": lambda file: _write_text(page, file),
        "run.json": lambda file: _write_json(_run_facts(summary), file),
    }
    make_folder(folder)
    return _write_all(folder, writers)


def make_folder(folder: Path) -> None:
    """Make the folder of results, if it is not there. Raises `UserError` when results could not go there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"{folder}: a file stands where the folder of results should be",
            next_step="choose another folder",
        ) from None
    except OSError as error:
        raise _told(folder, error) from None
    for name in FILES:
        if (folder / name).is_dir():
            raise UserError(
                f"{folder / name}: a folder stands where a file of results should be",
                next_step="move it away or choose another folder",
            )


def _write_all(folder: Path, writers: Mapping[str, Writer]) -> list[Path]:
    """Write every file under a temporary name, then move all of them into place."""
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    moves = {folder / f".{name}.{token}.tmp": folder / name for name in writers}
    place = folder
    try:
        for (temporary, target), write in zip(moves.items(), writers.values(), strict=True):
            place = target
            with temporary.open("xb") as file:
                write(file)
        for temporary, target in moves.items():
            place = target
            temporary.replace(place)
    except OSError as error:
        raise _told(place, error) from None
    finally:
        for temporary in moves:
            temporary.unlink(missing_ok=True)
    return list(moves.values())


def _told(path: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):  # Windows knows no EDQUOT
        return UserError(
            f"{path}: the disk is full; earlier results there are as they were",
            next_step="free some space or choose another folder",
        )
    return UserError(
        f"{path}: cannot be written: {error.strerror or error}",
        next_step="check the permissions or choose another folder",
    )


def _write_parquet(table: pa.Table, file: IO[bytes]) -> None:
    pq.write_table(table, file, compression="zstd", compression_level=1)


def _write_json(value: Mapping[str, Any], file: IO[bytes]) -> None:
    _write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", file)


def _write_text(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())


def _run_facts(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What may differ between two runs of the same seed."""
    return {
        **{key: summary.get(key) for key in VOLATILE},
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _VERSIONS_OF},
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
