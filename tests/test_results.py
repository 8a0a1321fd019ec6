"""Results in files: what is in them, the same bytes for the same seed, and all or nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sim.results.files as results
from profiles.errors import UserError
from sim.results.columns import REQUESTS, TIMELINE, VOLATILE
from sim.results.files import FILES, request_table, timeline_table, write_results
from sim.results.metrics import summarise
from sim.results.outcome import Outcome
from tests.test_metrics import ROOMY, outcome_of, steady

MIXED = (
    {"arrival_s": 0.0, "prompt": 4, "output": 3, "session": 5},
    {"arrival_s": 0.0, "prompt": 4, "output": 1},
    {"arrival_s": 0.0, "prompt": 999, "output": 9},
    {"arrival_s": 0.0, "prompt": 4, "output": 9, "patience": 0.5},
)


def write(outcome: Outcome, folder: Path) -> list[Path]:
    return write_results(outcome, folder, summarise(outcome))


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES if name != "run.json"}


def test_the_request_table() -> None:
    table = request_table(outcome_of(MIXED).plane)
    assert table.column_names == [column.name for column in REQUESTS]
    done, single, rejected, abandoned = table.to_pylist()
    assert (done["state"], done["reason"], done["ttft_s"], done["tpot_s"], done["e2e_s"]) == (
        "completed", None, 1.0, 1.0, 3.0,
    )  # fmt: skip
    assert (done["session"], single["session"], single["tpot_s"]) == (5, None, None)
    assert (rejected["state"], rejected["reason"]) == ("rejected", "too_long")
    assert (rejected["replica"], rejected["scheduled_s"], rejected["e2e_s"], rejected["finish_s"]) == (
        None, None, None, 0.0,
    )  # fmt: skip
    assert (abandoned["state"], abandoned["reason"], abandoned["queue_s"]) == ("abandoned", "patience", None)
    assert pa.types.is_dictionary(table.schema.field("state").type)
    assert table.schema.field("ttft_s").metadata[b"unit"] == b"s"


def test_the_timeline_table() -> None:
    table = timeline_table(outcome_of().plane)
    assert table.column_names == [column.name for column in TIMELINE]
    assert sum(table["arrivals"].to_pylist()) == 3
    assert not any(column.null_count for column in table.columns)


def test_a_run_that_goes_on_long_after_its_last_step_fits_the_timeline() -> None:
    rows = [{"arrival_s": 0.0, "prompt": 4, "output": 1}, {"arrival_s": 1e6, "prompt": 999, "output": 9}]
    table = timeline_table(outcome_of(rows).plane)
    assert table.num_rows <= 512
    assert sum(table["width_s"].to_pylist()) == pytest.approx(1e6)
    assert table["lost"].to_pylist()[-1] == 1


def test_files(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    outcome = outcome_of()
    assert write(outcome, folder) == [folder / name for name in FILES]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert pq.read_table(folder / "requests.parquet").equals(request_table(outcome.plane))
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert not set(VOLATILE) & set(summary)
    assert summary["completed"] == 3
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert (run["wall_s"], run["engine_s"], run["requests_per_s"]) == (0.5, 0.25, 12.0)
    assert {"python", "numpy", "numba"} <= set(run["versions"])


def test_other_files_are_left_alone_and_ours_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "summary.json").write_text("old")
    write(outcome_of(), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "summary.json").read_text())["completed"] == 3
    assert len(list(tmp_path.iterdir())) == len(FILES) + 1


_SCRIPT = """
import sys
from tests.test_metrics import ROOMY, outcome_of, steady
from tests.test_results import write
from pathlib import Path
from dataclasses import replace
outcome = outcome_of(steady(20, patience=2.0), warmup_s=1.0, **ROOMY)
write(replace(outcome, wall_s=float(sys.argv[2])), Path(sys.argv[1]))
"""


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    for name, wall in (("one", "1.0"), ("two", "2.0")):
        command = [sys.executable, "-c", _SCRIPT, str(tmp_path / name), wall]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1], timeout=300)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert (tmp_path / "one/run.json").read_bytes() != (tmp_path / "two/run.json").read_bytes()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", ["_write_parquet", "_write_text"])
def test_an_interrupted_write_leaves_the_old_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, at: str
) -> None:
    write(outcome_of(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fails(*values: Any) -> None:
        values[-1].write(b"half")
        raise error

    monkeypatch.setattr(results, at, fails)
    expected = UserError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write(outcome_of(steady(20), **ROOMY), tmp_path)
    if expected is UserError:
        assert "the disk is full" in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert "free some space" in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_parquet_is_an_os_error() -> None:
    table = request_table(outcome_of().plane)
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left") as caught:
        results._write_parquet(table.to_batches(), table.schema, file)
    assert caught.value.errno == errno.ENOSPC


def test_folders_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"file stands where .* choose another folder"):
            write(outcome_of(), folder)
    (tmp_path / "taken" / "report.html").mkdir(parents=True)
    with pytest.raises(UserError, match=r"report.html: a folder stands"):
        write(outcome_of(), tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["report.html"]

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(UserError, match=r"locked: cannot be written: Permission denied; check the permissions"):
        write(outcome_of(), tmp_path / "locked")
