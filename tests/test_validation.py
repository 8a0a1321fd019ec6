"""`nearfar validate` on published measurements: how far off, what a prediction may see, what is written and refused."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiles import Catalogue
from profiles.files import DATA
from sim.calibration.tables import DEVICE, SERVING, read_table
from sim.validation import METRICS, Validation, shipped_tables, validate_file, validate_shipped
from sim.validation_screen import validation_screen
from tests.command import Run

CATALOGUE = Catalogue()
FACTS = {name: DATA / "measurements" / f"{name}.csv" for name in ("serving", "device")}
BOUNDS = {"tpot_ms": (0.08, 0.25), "ttft_ms": (0.20, 0.50), "decode_tok_s": (0.10, 0.30), "prefill_tok_s": (0.15, 0.45)}
LAYOUTS = {"serving": SERVING, "device": DEVICE}
ROWS_CSV = ["row", "metric", "measured", "predicted", "confidence"]
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def shipped() -> Validation:
    return validate_shipped(CATALOGUE)


def rows_of(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, list(rows[0]))
        lines.writeheader()
        lines.writerows(rows)
    return path


def few(name: str, count: int = 40) -> Rows:
    """Rows from all over a shipped table."""
    rows = rows_of(FACTS[name])
    return rows[:: len(rows) // count]


def checked_rows(path: Path, out: Path) -> Rows:
    return rows_of(validate_file(path, CATALOGUE).write(out))


# How far it is off.


def check_bounds(found: Validation, metrics: Sequence[str]) -> None:
    told = found.to_json()
    assert told["coverage"] >= 0.95
    for metric in metrics:
        middle, band = BOUNDS[metric]
        assert told["median_ape"]["overall"][metric] <= middle, metric
        assert told["p90_ape"]["overall"][metric] <= band, metric


def test_shipped_measurements_are_predicted(shipped: Validation) -> None:
    check_bounds(shipped, METRICS)


@pytest.mark.parametrize(("name", "metrics"), [("serving", METRICS[2:]), ("device", (*METRICS[:2], "ttft_ms"))])
def test_each_shipped_table_is_predicted(name: str, metrics: Sequence[str]) -> None:
    check_bounds(validate_file(FACTS[name], CATALOGUE), metrics)


@pytest.mark.parametrize(
    ("name", "metrics"), [("cloud", METRICS[2:]), ("ondevice", (*METRICS[:2], "ttft_ms"))], ids=["serving", "device"]
)
def test_whole_tables_beside_the_checkout_are_predicted(shared: Path, name: str, metrics: Sequence[str]) -> None:
    """With the rows, columns and notes that the shipped ones leave out."""
    check_bounds(validate_file(shared / "measurements" / f"{name}.csv", CATALOGUE), metrics)


def test_the_shipped_tables_are_one_of_each_layout() -> None:
    assert shipped_tables() == sorted(FACTS.values())
    assert {name: read_table(path).layout for name, path in FACTS.items()} == LAYOUTS


# What a prediction may see.


def scrambled(rows: Rows, name: str, seed: int) -> Rows:
    """The same inputs in other columns' order, beside measurements and remarks that mean nothing."""
    rng, layout = random.Random(seed), LAYOUTS[name]
    order = [*rows[0], "output_tok_s_total", "weight_gb", "itl_p99_ms", "note"]
    rng.shuffle(order)
    found: Rows = []
    for row in rows:
        changed = {column: row[column] if column in layout.inputs else f"rubbish {rng.random()}" for column in row}
        for column in layout.measured:
            changed[column] = f"{float(row[column]) * rng.uniform(0.5, 2.0)}" if row[column] else ""
        changed |= {"output_tok_s_total": f"{rng.random()}", "weight_gb": "", "itl_p99_ms": "-7", "note": "a, b"}
        found.append({column: changed[column] for column in order})
    return found


def predictions(lines: Rows) -> dict[tuple[str, str], tuple[str, str]]:
    return {(line["row"], line["metric"]): (line["predicted"], line["confidence"]) for line in lines}


def check_no_leak(path: Path, name: str, folder: Path) -> None:
    rows = rows_of(path)
    honest = checked_rows(path, folder / "honest")
    other = checked_rows(written(folder / "scrambled.csv", scrambled(rows, name, 5)), folder / "scrambled")
    assert predictions(other) == predictions(honest)
    assert [line["measured"] for line in other] != [line["measured"] for line in honest]


@pytest.mark.parametrize("name", list(FACTS))
def test_predictions_do_not_see_what_was_measured(name: str, tmp_path: Path) -> None:
    check_no_leak(FACTS[name], name, tmp_path)


@pytest.mark.parametrize(("file", "name"), [("cloud", "serving"), ("ondevice", "device")])
def test_nor_in_whole_tables_beside_the_checkout(shared: Path, file: str, name: str, tmp_path: Path) -> None:
    check_no_leak(shared / "measurements" / f"{file}.csv", name, tmp_path)


@pytest.mark.parametrize("name", list(FACTS))
def test_predictions_do_not_see_which_cells_were_measured(name: str, tmp_path: Path) -> None:
    """Without every other measured cell, and in another order, each of the rest is predicted as before."""
    rows = few(name)
    honest = predictions(checked_rows(written(tmp_path / "all.csv", rows), tmp_path / "all"))
    columns = LAYOUTS[name].measured
    sparse = [row | dict.fromkeys(columns[number % 2 :: 2], "") for number, row in enumerate(rows)]
    last = len(rows) - 1
    found = predictions(checked_rows(written(tmp_path / "few.csv", sparse[::-1]), tmp_path / "few"))
    assert 0 < len(found) < len(honest)
    assert {(str(last - int(row)), metric): told for (row, metric), told in found.items()}.items() <= honest.items()


# What is told.


def test_json(nearfar: Run, shipped: Validation) -> None:
    code, out, _ = nearfar("validate", "--json")
    told: dict[str, Any] = json.loads(out)
    assert code == 0
    assert told == json.loads(json.dumps(shipped.to_json()))
    assert set(told) == {"coverage", "cells", "median_ape", "p90_ape", "uncovered", "confidence"}
    for quantile in ("median_ape", "p90_ape"):
        assert set(told[quantile]) == {"overall", "by_group"}
        assert set(told[quantile]["overall"]) == {"decode_tok_s", "prefill_tok_s", "tpot_ms", "ttft_ms"}
        assert all(0.0 < error < 1.0 for error in told[quantile]["overall"].values())  # fractions, no per cent
        assert all(set(errors) <= set(METRICS) for errors in told[quantile]["by_group"].values())
    measured = sum(counts["measured"] for counts in told["cells"].values())
    predicted = sum(counts["predicted"] for counts in told["cells"].values())
    assert told["coverage"] == predicted / measured
    assert sum(told["uncovered"].values()) == measured - predicted
    assert sum(told["confidence"].values()) == predicted
    assert "vllm h100 fp8" in told["median_ape"]["by_group"]


def test_errors_are_quantiles_of_the_cells(tmp_path: Path) -> None:
    path = written(tmp_path / "few.csv", few("serving"))
    lines = [line for line in checked_rows(path, tmp_path) if line["metric"] == "tpot_ms" and line["predicted"]]
    errors = [abs(float(line["predicted"]) / float(line["measured"]) - 1.0) for line in lines]
    told = validate_file(path, CATALOGUE).to_json()
    assert told["median_ape"]["overall"]["tpot_ms"] == pytest.approx(np.median(errors), rel=1e-3)
    assert told["p90_ape"]["overall"]["tpot_ms"] == pytest.approx(np.quantile(errors, 0.9), rel=1e-3)
    assert told["median_ape"]["overall"]["decode_tok_s"] is None


def test_a_time_to_first_token_counts_under_one_name_in_either_unit() -> None:
    told = validate_file(FACTS["device"], CATALOGUE).to_json()
    assert told["cells"]["ttft_ms"]["measured"] == sum(bool(row["ttft_s"]) for row in rows_of(FACTS["device"]))
    assert told["cells"]["tpot_ms"] == {"measured": 0, "predicted": 0}


def test_what_is_not_predicted_counts_by_its_reason(tmp_path: Path) -> None:
    rows = few("serving", 4)[:4]
    rows[0] |= {"gpu": "abacus", "ttft_ms": "1000", "tpot_ms": "30"}
    rows[1] |= {"concurrency_or_batch": "SLO", "ttft_ms": "1000", "tpot_ms": ""}
    found = validate_file(written(tmp_path / "four.csv", rows), CATALOGUE)
    told = found.to_json()
    assert told["uncovered"] == {"unknown hardware": 2, "load that is no number of requests": 1}
    assert told["coverage"] == 1 - 3 / len(found.cells)
    assert all(np.isnan(cell.error) for cell in found.cells if cell.predicted is None)


def test_a_table_of_which_nothing_is_predicted(nearfar: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "lost.csv", [row | {"gpu": "abacus"} for row in few("serving", 5)])
    code, out, _ = nearfar("validate", str(path), "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["coverage"], told["confidence"]) == (0.0, {})
    assert set(told["median_ape"]["overall"].values()) == {None}
    assert nearfar("validate", str(path))[1].count("not predicted") == 1


def test_the_screen_says_how_wrong_and_how_much(nearfar: Run, shipped: Validation) -> None:
    code, out, err = nearfar("validate")
    assert (code, err.count("\n")) == (0, 1)
    assert "fitted to these very rows" in err
    assert out.rstrip() == validation_screen(shipped.to_json())
    told = shipped.to_json()
    assert f"coverage {told['coverage']:.1%}" in out
    for metric, name in (("tpot_ms", "TPOT"), ("ttft_ms", "TTFT"), ("decode_tok_s", "decode rate")):
        line = next(line for line in out.splitlines() if line.startswith(name))
        assert f"{told['median_ape']['overall'][metric]:.1%}" in line
        assert f"{told['p90_ape']['overall'][metric]:.1%}" in line
    assert "unknown hardware" in out


# rows.csv


def test_every_cell_is_a_line(nearfar: Run, tmp_path: Path) -> None:
    rows = few("serving", 10)[:10]
    rows[2] |= {"ttft_ms": "", "tpot_ms": ""}
    rows[4] |= {"gpu": "abacus"}
    path = written(tmp_path / "ten.csv", rows)
    code, out, err = nearfar("validate", str(path), "--out", "results/deep", "--json")
    assert code == 0
    json.loads(out)
    assert "results/deep/rows.csv" in err
    lines = rows_of(tmp_path / "results" / "deep" / "rows.csv")
    assert list(lines[0]) == ROWS_CSV
    cells = [(str(n), metric) for n, row in enumerate(rows) for metric in ("ttft_ms", "tpot_ms") if row[metric]]
    assert [(line["row"], line["metric"]) for line in lines] == cells
    for line in lines:
        assert float(line["measured"]) == pytest.approx(float(rows[int(line["row"])][line["metric"]]), rel=1e-5)
        if line["row"] == "4":
            assert (line["predicted"], line["confidence"]) == ("", "")
        else:
            assert float(line["predicted"]) > 0.0
            assert line["confidence"] in ("measured", "published", "fitted", "interpolated", "assumed")
    assert [one.name for one in (tmp_path / "results" / "deep").iterdir()] == ["rows.csv"]


def test_a_device_table_keeps_its_units(tmp_path: Path) -> None:
    rows = few("device")
    lines = checked_rows(written(tmp_path / "some.csv", rows), tmp_path)
    assert list(lines[0]) == ROWS_CSV
    assert {line["metric"] for line in lines} == {"decode_tok_s", "prefill_tok_s", "ttft_s"}
    for line in lines:
        assert float(line["measured"]) == pytest.approx(float(rows[int(line["row"])][line["metric"]]), rel=1e-5)


def test_several_tables_are_told_apart(nearfar: Run, tmp_path: Path) -> None:
    assert nearfar("validate", "--out", "all")[0] == 0
    lines = rows_of(tmp_path / "all" / "rows.csv")
    assert list(lines[0]) == ["table", *ROWS_CSV]
    assert {line["table"] for line in lines} == set(FACTS)


def test_rows_are_written_over_older_ones(tmp_path: Path) -> None:
    path = written(tmp_path / "some.csv", few("serving", 5))
    first = checked_rows(path, tmp_path)
    assert checked_rows(path, tmp_path) == first


# What is refused.


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err, err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [], ("is empty",)),
        (lambda rows: [{c: v for c, v in row.items() if c != "isl"} for row in rows], ("missing", "isl")),
        (lambda rows: [row | {"ttft_ms": "-3"} for row in rows], ("row 0", "ttft_ms")),
        (lambda rows: [row | {"tpot_ms": "0.02"} for row in rows], ("tpot_ms", "unit")),
        (lambda rows: [{"a": "1", "b": "2"}], ("no known layout",)),
        (lambda rows: [row | {"soc": "x", "runtime": "y"} for row in rows], ("two layouts",)),
    ],
)
def test_a_bad_table_is_refused_and_nothing_is_written(
    nearfar: Run, tmp_path: Path, change: Callable[[Rows], Rows], words: tuple[str, ...]
) -> None:
    path, rows = tmp_path / "bad.csv", change(few("serving", 5))
    if rows:
        written(path, rows)
    else:
        path.write_text("")
    refused(nearfar("validate", str(path), "--out", "results"), "bad.csv", *words)
    refused(nearfar("validate", str(path), "--json"), "bad.csv", *words)
    assert [one.name for one in tmp_path.iterdir()] == ["bad.csv"]


def test_a_missing_table_and_a_folder_are_refused(nearfar: Run, tmp_path: Path) -> None:
    refused(nearfar("validate", "nowhere.csv"), "nowhere.csv")
    refused(nearfar("validate", str(tmp_path)), "directory")


def test_a_place_that_cannot_be_written_is_refused(nearfar: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "some.csv", few("serving", 5))
    refused(nearfar("validate", str(path), "--out", f"{path}/below"), "cannot write the rows", "--out")
    (tmp_path / "taken" / "rows.csv").mkdir(parents=True)
    refused(nearfar("validate", str(path), "--out", "taken"), "cannot write the rows")
    assert [one.name for one in (tmp_path / "taken").iterdir()] == ["rows.csv"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("some.csv", "--run", "run"), "two things to validate at once"),
        (("some.csv", "--scheduling", "run"), "two things to validate at once"),
        (("--run", "run", "--scheduling", "run"), "two things to validate at once"),
        (("some.csv", "--accelerator", "h100"), "--accelerator goes with --run"),
        (("--run", "run", "--out", "results"), "--out goes with measurements"),
        (("--scheduling", "run", "--out", "results"), "--out goes with measurements"),
    ],
)
def test_options_that_contradict_each_other_are_refused(nearfar: Run, options: tuple[str, ...], words: str) -> None:
    refused(nearfar("validate", *options), words)
