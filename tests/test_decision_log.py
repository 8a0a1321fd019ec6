"""Decision logs: written whole or not at all, read with every oddity told, refused when they make no sense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from policies.learning.decision_log import COLUMNS, SCHEMA, Decision, DecisionWriter, Ending, policy_version
from policies.learning.decisions import read_decisions
from policies.learning.utility import UNANSWERED_S, parse_utility
from policies.policy import load_policy
from profiles.errors import UserError
from tests.logged import TASKS, logged, rows_of, world

ROWS = rows_of(logged(world(300, 1), share=0.2, seed=1))
Change = Callable[[dict[str, Any]], Any]


def write(path: Path, rows: list[tuple[Decision, Ending]] = ROWS, **settings: Any) -> DecisionWriter:
    with DecisionWriter(path, **settings) as writer:
        for row in rows:
            writer.append(*row)
    return writer


def changed(path: Path, every: int, **changes: Any) -> Path:
    """The log with every so-manieth row changed; a callable gets the row."""
    write(path)
    rows = pq.read_table(path).to_pylist()
    for row in rows[::every]:
        row.update({name: value(row) if callable(value) else value for name, value in changes.items()})
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", batch_rows=70)
    log = read_decisions(tmp_path / "log.parquet")
    made = logged(world(300, 1), share=0.2, seed=1)
    assert (log.rows_read, log.dropped, len(log)) == (300, {}, 300)
    assert log.policies == {"logging @ 1": 300}
    assert log.offered == {"near", "edge", "cloud"}
    for name in ("start", "kind", "feasible", "phi", "chosen", "propensity", "correct", "ttft_s", "e2e_s"):
        assert np.array_equal(getattr(log, name), getattr(made, name)), name
    assert [log.tasks[t] for t in log.task] == [TASKS[t] for t in made.task]


def test_row_groups_follow_the_batches(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", batch_rows=70)
    assert pq.ParquetFile(tmp_path / "log.parquet").num_row_groups == 5


def test_every_column_is_described() -> None:
    assert all(SCHEMA.field(column.name).metadata[b"description"] for column in COLUMNS)


def test_nothing_appears_before_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    writer = DecisionWriter(path, batch_rows=10)
    for row in ROWS[:50]:
        writer.append(*row)
    assert not path.exists()
    writer.close()
    assert len(read_decisions(path)) == 50
    assert [file.name for file in tmp_path.iterdir()] == ["log.parquet"]


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> None:
        with DecisionWriter(tmp_path / "log.parquet") as writer:
            writer.append(*ROWS[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_rotation_numbers_files_and_a_folder_is_one_log(tmp_path: Path) -> None:
    writer = write(tmp_path / "log.parquet", rotate_rows=120, batch_rows=50)
    assert [file.name for file in writer.written] == [f"log-00000{k}.parquet" for k in (1, 2, 3)]
    again = write(tmp_path / "log.parquet", ROWS[:5], rotate_rows=120)
    assert [file.name for file in again.written] == ["log-000004.parquet"]
    assert len(read_decisions(tmp_path)) == 300
    assert read_decisions(tmp_path).rows_read == 305


def test_a_crash_loses_only_what_came_since_the_last_rotation(tmp_path: Path) -> None:
    writer = DecisionWriter(tmp_path / "log.parquet", rotate_rows=100)
    for row in ROWS[:150]:
        writer.append(*row)
    assert len(read_decisions(tmp_path)) == 100  # as a reader finds it while the daemon writes, or after it died


def test_a_log_is_parquet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Parquet"):
        DecisionWriter(tmp_path / "log.csv")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        DecisionWriter(tmp_path / "file" / "log.parquet")


# -- bad logs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", [c.name for c in COLUMNS if not c.may_miss and c.name != "propensity"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = tmp_path / "log.parquet"
    write(path)
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(UserError, match=column):
        read_decisions(path)


def test_columns_that_may_miss_may_miss(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write(path)
    pq.write_table(pq.read_table(path).drop_columns([c.name for c in COLUMNS if c.may_miss]), path)
    log = read_decisions(path)
    assert np.isnan(log.correct).all()
    assert np.isnan(log.rewards(parse_utility("quality=1"))).all()


def test_a_log_without_propensities_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write(path)
    pq.write_table(pq.read_table(path).drop_columns(["propensity"]), path)
    with pytest.raises(UserError, match="no propensities") as error:
        read_decisions(path)
    assert "--explore" in str(error.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"propensity": None}, "no propensity"),
        ({"propensity": 0.0}, "a propensity outside"),
        ({"propensity": 1.2}, "a propensity outside"),
        ({"propensity": float("nan")}, "no propensity"),
        ({"chosen": 9}, "none of the actions"),
        ({"chosen": -1}, "none of the actions"),
        ({"feasible": lambda row: [a != row["chosen"] for a in range(len(row["kinds"]))]}, "the masks forbid"),
        ({"kinds": lambda row: ["moon"] * len(row["kinds"])}, "an unknown kind"),
        ({"kinds": []}, "lists of different lengths"),
        ({"phi": None}, "lists of different lengths"),
        ({"phi": lambda row: [one[:-1] for one in row["phi"]]}, "not 20 features"),
        ({"phi": lambda row: [[float("inf")] * 20 for _ in row["phi"]]}, "not a number"),
        ({"state": "lost"}, "an unknown state"),
        ({"correct": 1.5}, "an outcome is negative"),
        ({"e2e_s": -1.0}, "an outcome is negative"),
        ({"task": None}, "no task"),
    ],
)
def test_contradictions_are_dropped_when_few_and_refused_when_many(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    few = read_decisions(changed(tmp_path / "few.parquet", every=150, **change))
    assert len(few) == 298
    assert list(few.dropped.values()) == [2]
    assert reason in next(iter(few.dropped))
    with pytest.raises(UserError, match="contradict themselves") as error:
        read_decisions(changed(tmp_path / "many.parquet", every=10, **change))
    assert reason in str(error.value)


def test_requests_under_way_and_later_attempts_are_left_out_however_many(tmp_path: Path) -> None:
    log = read_decisions(changed(tmp_path / "log.parquet", every=2, state=None))
    assert log.dropped == {"the request had not ended": 150}
    log = read_decisions(changed(tmp_path / "log.parquet", every=2, attempt=1))
    assert log.dropped == {"a later attempt of the same request": 150}


def test_a_file_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet")
    log = read_decisions(tmp_path)
    assert (len(log), log.dropped) == (300, {"the same decision again": 300})


@pytest.mark.parametrize(
    "change",
    [
        {"policy": "another"},
        {"policy_version": "2"},
        {"time_s": lambda row: row["time_s"] + 0.5},
        {"request_id": lambda row: row["request_id"] + "a"},
        {"propensity": lambda row: 0.9 * row["propensity"]},
        {"chosen": lambda row: (row["chosen"] + 1) % len(row["kinds"])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_decision_on_the_same_request_is_not_the_same_decision(tmp_path: Path, change: dict[str, Any]) -> None:
    write(tmp_path / "a.parquet")
    changed(tmp_path / "b.parquet", every=2, **change)
    log = read_decisions(tmp_path)
    assert (len(log), log.dropped) == (450, {"the same decision again": 150})


def test_the_same_later_attempt_twice_is_still_a_later_attempt(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    changed(tmp_path / "b.parquet", every=3, attempt=1)
    log = read_decisions(tmp_path)
    assert (len(log), log.dropped) == (
        300,
        {"a later attempt of the same request": 100, "the same decision again": 200},
    )


def test_what_remains_keeps_its_own_actions(tmp_path: Path) -> None:
    made = logged(world(300, 1), share=0.2, seed=1)
    log = read_decisions(changed(tmp_path / "log.parquet", every=2, state=None))
    assert np.array_equal(log.phi[log.chosen], made.phi[made.chosen][1::2])
    assert np.array_equal(log.start[1:] - log.start[:-1], np.diff(made.start)[1::2])


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another layout"):
        read_decisions(changed(tmp_path / "log.parquet", every=1, layout=2))
    assert read_decisions(changed(tmp_path / "log.parquet", every=2, layout=2)).dropped == {
        "another layout of the features": 150
    }


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", [])
    with pytest.raises(UserError, match="empty"):
        read_decisions(tmp_path / "log.parquet")


def test_no_log_at_all_is_told(tmp_path: Path) -> None:
    (tmp_path / "words.parquet").write_text("no Parquet")
    for path, word in [("none.parquet", "no such"), ("words.parquet", "cannot be read")]:
        with pytest.raises(UserError, match=word):
            read_decisions(tmp_path / path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no Parquet file"):
        read_decisions(tmp_path / "empty")


def test_columns_of_other_types_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write(path)
    table = pq.read_table(path)
    words = pa.array(["high"] * table.num_rows)
    pq.write_table(table.set_column(table.column_names.index("propensity"), "propensity", words), path)
    with pytest.raises(UserError, match="cannot be read as a decision log"):
        read_decisions(path)


# -- rewards -----------------------------------------------------------------------------------------------------------


def test_an_unanswered_request_is_not_right_and_took_long(tmp_path: Path) -> None:
    rows = [(decision, replace(ending, state="abandoned", correct=None, ttft_s=None)) for decision, ending in ROWS[:2]]
    rows[1] = (rows[1][0], replace(rows[1][1], e2e_s=500.0))
    write(tmp_path / "log.parquet", rows)
    log = read_decisions(tmp_path / "log.parquet")
    assert log.rewards(parse_utility("quality=1")).tolist() == [0.0, 0.0]
    assert log.rewards(parse_utility("ttft_s=-1")).tolist() == [-UNANSWERED_S, -500.0]
    assert log.rewards(parse_utility("energy_j=-2,egress_mb=-1")).tolist() == [-2.0, -2.0]


def test_versions_tell_policies_apart() -> None:
    tables = [load_policy(name).table(TASKS) for name in ("near", "far", "random")]
    assert len({policy_version(table) for table in tables}) == 3
    assert policy_version(tables[0]) == policy_version(load_policy("near").table(TASKS))


def test_the_page_names_every_column() -> None:
    page = (Path(__file__).parents[1] / "docs" / "howto" / "learn-from-logs.md").read_text(encoding="utf-8")
    assert [column.name for column in COLUMNS if f"`{column.name}`" not in page] == []
