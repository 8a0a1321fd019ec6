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
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from profiles.errors import UserError
from sim.results.analysis import Analysis
from sim.results.columns import VOLATILE
from sim.results.outcome import Outcome
from sim.results.report import Baselines, report_html
from sim.results.tables import request_batches, request_schema, request_table, timeline_table, words_in

__all__ = ["FILES", "request_table", "timeline_table", "write_results"]

FILES = ("requests.parquet", "timeline.parquet", "summary.json", "report.html", "run.json")

_VERSIONS_OF = ("nearfar", "numpy", "numba", "pyarrow", "simpy")

Writer = Callable[[IO[bytes]], None]


# -- files -----------------------------------------------------------------------------------------------


def write_results(
    outcome: Outcome,
    folder: str | os.PathLike[str],
    summary: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    *,
    analysis: Analysis | None = None,
    baselines: Baselines | None = None,
) -> list[Path]:
    """Write the five `FILES` into `folder` and return their paths.

    The folder is made if missing; other files in it are left alone. All five are written beside their places first
    and then moved there, so that an error or an interruption never leaves half a file. A `summary` that is still to be
    made is made while the requests are written. `analysis` is what `summary` was made from; `baselines` are other
    policies to draw beside this one's. Raises `UserError` when the folder cannot be made or written, or the disk is
    full.
    """
    folder = Path(folder)
    analysis = analysis or Analysis(outcome)
    plane, answers = outcome.plane, analysis.answers

    @cache
    def figures() -> Mapping[str, Any]:
        return summary() if callable(summary) else summary

    @cache
    def stable() -> dict[str, Any]:
        return {key: value for key, value in figures().items() if key not in VOLATILE}

    def timeline(file: IO[bytes]) -> None:
        table = timeline_table(plane, analysis.timeline)
        _write_parquet(table.to_batches(), table.schema, file)

    writers: dict[str, Writer] = {
        "requests.parquet": lambda file: _write_parquet(request_batches(plane, answers), request_schema(plane), file),
        "summary.json": lambda file: _write_json(stable(), file),
        "timeline.parquet": timeline,
        "report.html": lambda file: _write_text(report_html(analysis, stable(), baselines=baselines), file),
        "run.json": lambda file: _write_json(_run_facts(figures()), file),
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
    jobs = list(zip(moves.items(), writers.values(), strict=True))
    try:
        with ThreadPoolExecutor(1) as other:  # the first one takes longest
            longest = other.submit(_write_one, *jobs[0])
            for job in jobs[1:]:
                _write_one(*job)
            longest.result()
        for temporary, target in moves.items():
            try:
                temporary.replace(target)
            except OSError as error:
                raise _told(target, error) from None
    finally:
        for temporary in moves:
            temporary.unlink(missing_ok=True)
    return [folder / name for name in FILES]


def _write_one(places: tuple[Path, Path], write: Writer) -> None:
    """One file, under its temporary name. Raises `UserError`."""
    temporary, target = places
    try:
        with temporary.open("xb") as file:
            write(file)
    except OSError as error:
        raise _told(target, error) from None


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


def _write_parquet(batches: Iterable[pa.RecordBatch], schema: pa.Schema, file: IO[bytes]) -> None:
    """A row group a batch, the next one made while one is compressed.

    Only words are worth a dictionary, and only the columns that rise with the rows the bounds of a group.
    """
    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=words_in(schema),
        write_statistics=[name for name in ("id", "arrival_s", "t_s") if name in schema.names],
    ) as writer:
        for batch in _ahead(iter(batches)):
            writer.write_batch(batch, row_group_size=batch.num_rows)


def _ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches, each made in another thread while the one before is in use."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = maker.submit(next, batches, None)
            yield batch


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
