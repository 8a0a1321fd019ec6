"""Coefficients of serving engines: found again where they are known, and shipped as they were fitted."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from profiles import Catalogue
from profiles.files import DATA
from sim.calibration.closed_loop import cases_of, predict
from sim.calibration.serving_fit import FIXED, PRIORS, Groups, ServingFit, fit_serving, groups_of
from sim.calibration.serving_held_out import (
    SERVING_FACTS,
    Selection,
    errors_of,
    fitting_rows,
    leave_one_model_out,
)
from sim.calibration.serving_inputs import Served
from sim.calibration.serving_records import FittedRows, engine_records, write_records
from sim.calibration.tables import read_table
from sim.numbers import Floats

CATALOGUE = Catalogue()
TABLE = read_table(SERVING_FACTS)
ENGINES = DATA / "engines"
CLIENTS = ("request_ms", "burst_share", "slot_share")
LEVELS = ("runtime", "accelerator", "precision", "pair", "triple")


def selected(data: FittedRows, rows: NDArray[np.intp]) -> FittedRows:
    return FittedRows(
        rows=[data.rows[i] for i in rows.tolist()],
        tpot_s=data.tpot_s[rows],
        ttft_s=data.ttft_s[rows],
        sources=[data.sources[i] for i in rows.tolist()],
    )


@pytest.fixture(scope="module")
def chosen() -> Selection:
    return fitting_rows(TABLE, CATALOGUE)


@pytest.fixture(scope="module")
def whole(chosen: Selection) -> ServingFit:
    return fit_serving(chosen.data.rows, chosen.data.tpot_s, chosen.data.ttft_s)


@pytest.fixture(scope="module")
def true(whole: ServingFit) -> ServingFit:
    """Effects that are known: of every group, as large as groups are expected to differ."""
    rng = np.random.default_rng(3)
    spreads = {key: PRIORS[key[0]].spread * (0.3 if key[1] == "general" else 0.1) for key in whole.effects}
    return ServingFit(effects={key: float(rng.normal(0.0, spread)) for key, spread in spreads.items()})


@pytest.fixture(scope="module")
def synthetic(chosen: Selection, true: ServingFit) -> FittedRows:
    """Every third row of what was measured, with times that the model itself gives, and 3 % of noise."""
    data = selected(chosen.data, np.arange(0, len(chosen.data.rows), 3))
    noise = np.exp(np.random.default_rng(4).normal(0.0, 0.03, (2, len(data.rows))))
    tpot, ttft = true.predict(data.rows)
    return dataclasses.replace(data, tpot_s=tpot * noise[0], ttft_s=ttft * noise[1])


@pytest.fixture(scope="module")
def refitted(synthetic: FittedRows) -> ServingFit:
    return fit_serving(synthetic.rows, synthetic.tpot_s, synthetic.ttft_s)


def coefficient(row: Served, name: str) -> float:
    engine = row.deployment.engine
    return float(getattr(engine.serving if name in CLIENTS else engine, name))


@pytest.fixture(scope="module")
def shipped(chosen: Selection) -> tuple[Floats, Floats]:
    """TPOT and TTFT in seconds of the fitted rows, from the records that the catalogue finds for them."""
    rows = chosen.data.rows
    names = (*PRIORS, *FIXED, "mixed_attention_efficiency")
    found = {name: np.array([coefficient(row, name) for row in rows]) for name in names}
    return predict(cases_of(rows), SimpleNamespace(**found))


# What is known is found again.


def test_known_effects_predict_rows_that_the_fit_never_saw(
    chosen: Selection, true: ServingFit, refitted: ServingFit
) -> None:
    others = selected(chosen.data, np.arange(1, len(chosen.data.rows), 3))
    prior = ServingFit(effects=dict.fromkeys(true.effects, 0.0))
    for wanted, found, nothing in zip(
        true.predict(others.rows), refitted.predict(others.rows), prior.predict(others.rows), strict=True
    ):
        middle, band = errors_of(found, wanted)
        assert middle < 0.02
        assert band < 0.06
        assert errors_of(nothing, wanted)[0] > 3 * middle  # what was found was not there before


def test_a_few_absurd_rows_move_nothing_much(synthetic: FittedRows, refitted: ServingFit) -> None:
    """A benchmark that waited for a compiler; a clock that stood still."""
    tpot, ttft = synthetic.tpot_s.copy(), synthetic.ttft_s.copy()
    ttft[10] *= 50.0
    tpot[200] /= 20.0
    again = fit_serving(synthetic.rows, tpot, ttft)
    others = selected(synthetic, np.setdiff1d(np.arange(len(tpot)), [10, 200]))
    for before, after in zip(refitted.predict(others.rows), again.predict(others.rows), strict=True):
        middle, band = errors_of(after, before)
        assert middle < 0.005
        assert band < 0.03


def test_rows_may_lack_one_of_the_two_times(synthetic: FittedRows, true: ServingFit) -> None:
    tpot, ttft = synthetic.tpot_s.copy(), synthetic.ttft_s.copy()
    tpot[::2] = np.nan
    ttft[1::2] = np.nan
    half = fit_serving(synthetic.rows, tpot, ttft)
    for wanted, found in zip(true.predict(synthetic.rows), half.predict(synthetic.rows), strict=True):
        assert errors_of(found, wanted)[0] < 0.03


def test_a_fit_that_starts_from_its_result_stays_there(synthetic: FittedRows, refitted: ServingFit) -> None:
    again = fit_serving(synthetic.rows, synthetic.tpot_s, synthetic.ttft_s)
    assert again.predict(synthetic.rows)[0] == pytest.approx(refitted.predict(synthetic.rows)[0], rel=5e-3)


# Groups without rows.


def test_a_group_without_rows_has_what_its_parents_have(whole: ServingFit) -> None:
    known = Groups(runtime="vllm", accelerator="h100", precision="fp8", version="vllm 0.12.0")
    unheard = dataclasses.replace(known, version="vllm 99")
    assert vars(whole.coefficients_of(unheard)) == vars(whole.coefficients_of(known, levels=LEVELS))
    new_pair = Groups(runtime="sglang", accelerator="a100", precision="fp8", version="")
    parents = whole.coefficients_of(new_pair, levels=("runtime", "accelerator", "precision"))
    assert vars(whole.coefficients_of(new_pair)) == vars(parents)
    stranger = Groups(runtime="?", accelerator="?", precision="?", version="?")
    assert vars(whole.coefficients_of(stranger)) == vars(whole.coefficients_of(known, levels=()))
    assert vars(whole.coefficients_of(known)) != vars(whole.coefficients_of(unheard))


def test_coefficients_stay_within_what_is_possible(whole: ServingFit, chosen: Selection) -> None:
    for groups in {groups_of(row) for row in chosen.data.rows}:
        found = vars(whole.coefficients_of(groups))
        assert {name: found[name] for name in FIXED} == FIXED
        assert all(0.0 < found[name] <= prior.most for name, prior in PRIORS.items())
        assert found["mixed_attention_efficiency"] < found["prefill_attention_efficiency"]


# The shipped rows.


def test_few_rows_are_left_out_and_each_says_why(chosen: Selection) -> None:
    measured = sum(bool(cells) for cells in TABLE.measured)
    left_out = sum(chosen.left_out.values())
    assert 0 < left_out <= 0.1 * measured
    assert len(chosen.data.rows) == measured - left_out
    assert all(len(reason) > 10 for reason in chosen.left_out)


def test_every_fitted_row_has_a_time_and_a_source(chosen: Selection) -> None:
    data = chosen.data
    assert (np.isfinite(data.tpot_s) | np.isfinite(data.ttft_s)).all()
    assert all(data.sources)


def test_a_fit_explains_what_was_measured(whole: ServingFit, chosen: Selection) -> None:
    tpot, ttft = whole.predict(chosen.data.rows)
    for predicted, measured, middle, band in (
        (tpot, chosen.data.tpot_s, 0.08, 0.25),
        (ttft, chosen.data.ttft_s, 0.20, 0.50),
    ):
        found = errors_of(predicted, measured)
        assert found[0] <= middle
        assert found[1] <= band


def test_the_shipped_records_predict_what_a_new_fit_does(
    whole: ServingFit, chosen: Selection, shipped: tuple[Floats, Floats]
) -> None:
    for found, wanted in zip(shipped, whole.predict(chosen.data.rows), strict=True):
        assert found == pytest.approx(wanted, rel=0.01)


def test_the_shipped_records_have_the_coefficients_of_a_new_fit(whole: ServingFit, chosen: Selection) -> None:
    made = {str(record["name"]): record for record in engine_records(whole, chosen.data)}
    for name, record in made.items():
        shipped = yaml.safe_load((ENGINES / f"{name}.yaml").read_text(encoding="utf-8"))
        for field in PRIORS.keys() & record.keys():
            assert shipped[field] == pytest.approx(record[field], rel=0.05), (name, field)
        assert shipped.get("versions", {}).keys() == record.get("versions", {}).keys()
        assert shipped["fit"] == pytest.approx(record["fit"], abs=2e-3), name
    fitted = {path.stem for path in ENGINES.glob("*.yaml") if "fitted to published serving" in path.read_text("utf-8")}
    assert fitted == set(made)


def test_what_a_shipped_record_says_of_its_fit_is_true(chosen: Selection, shipped: tuple[Floats, Floats]) -> None:
    """Errors over the rows of a record, recomputed from the numbers in it."""
    data = chosen.data
    names = np.array([row.deployment.engine.name for row in data.rows])
    assert set(names) == {"-".join(groups_of(row).of("triple").split()) for row in data.rows}
    for name in set(names):
        told = yaml.safe_load((ENGINES / f"{name}.yaml").read_text(encoding="utf-8"))["fit"]
        members = names == name
        assert told["rows"] == members.sum()
        assert told["models"] == len(
            {row.deployment.model.name for row, own in zip(data.rows, members, strict=True) if own}
        )
        for metric, found, measured in (("tpot", shipped[0], data.tpot_s), ("ttft", shipped[1], data.ttft_s)):
            if np.isfinite(measured[members]).any():
                errors = errors_of(found[members], measured[members])
                assert (told[f"{metric}_median_error"], told[f"{metric}_p90_error"]) == pytest.approx(errors, abs=2e-3)
            else:
                assert f"{metric}_median_error" not in told


# Records.


def test_records_come_back_from_a_folder_of_ones_own(
    synthetic: FittedRows, refitted: ServingFit, tmp_path: Path
) -> None:
    folder = tmp_path / "engines"
    folder.mkdir()
    records = engine_records(refitted, synthetic)
    paths = write_records(records, folder)
    assert [path.stem for path in paths] == [record["name"] for record in records]
    assert sorted(folder.iterdir()) == sorted(paths)
    mine = Catalogue(tmp_path)
    for row in synthetic.rows[::20]:
        groups = groups_of(row)
        engine = mine.engine(groups.runtime, groups.accelerator, groups.precision).of_version(groups.version)
        wanted = refitted.coefficients_of(groups)
        assert engine.confidence == "fitted"
        assert engine.name == f"{groups.runtime}-{groups.accelerator}-{groups.precision}"
        for name in PRIORS:
            found = getattr(engine.serving if name in CLIENTS else engine, name)
            assert found == pytest.approx(float(getattr(wanted, name)), rel=2e-3), name


def test_records_say_where_they_come_from_and_what_they_are_worth(synthetic: FittedRows, refitted: ServingFit) -> None:
    for record in engine_records(refitted, synthetic):
        assert record["source"].startswith("fitted to published serving measurements: ")
        assert "http" not in record["source"]
        assert record["fit"]["rows"] >= 1
        assert 0.0 <= record["fit"].get("tpot_median_error", 0.0) < 0.2


# Models that no fit has seen.


@pytest.mark.long
def test_models_that_the_fit_never_saw_are_predicted_too(chosen: Selection, whole: ServingFit) -> None:
    tpot, ttft = leave_one_model_out(chosen.data)
    assert errors_of(tpot, chosen.data.tpot_s)[0] <= 0.12
    assert errors_of(ttft, chosen.data.ttft_s)[0] <= 0.30
