"""Abilities from published scores: known ones are found again, what ships is what the scores say."""

from __future__ import annotations

import csv
import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from policies.quality import LEVEL, MODEL_SPREAD, PER_DECADE, effective_params_b
from profiles import Catalogue, UserError
from profiles.ability import SKILLS
from profiles.files import DATA
from sim.calibration.abilities import errors_of, record_text, write
from sim.calibration.ability_fit import Data, Fit, Fitted, fit, left_out_scores, prepared
from sim.calibration.ability_scores import (
    BENCHMARK_SCORES,
    BENCHMARKS,
    SPREAD,
    Score,
    expected_share,
    gap_of,
    read_scores,
)
from sim.workloads.streams import stream

CATALOGUE = Catalogue()
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def shipped() -> tuple[Data, Fit]:
    data = prepared(read_scores(BENCHMARK_SCORES), CATALOGUE)
    return data, fit(data)


# Scores.


def test_a_share_by_draws_of_questions() -> None:
    draws = stream(3, "questions")
    right = draws.random(400_000) < 1 / (1 + np.exp(-(0.8 - draws.normal(0.0, SPREAD, 400_000))))
    guessed = draws.random(400_000) < 0.25
    assert expected_share(np.array([0.8]), np.array([0.25]))[0] == pytest.approx((right | guessed).mean(), abs=0.003)


def test_a_gap_and_its_share_are_inverse() -> None:
    gaps, guess = np.linspace(-6, 6, 25), np.full(25, 0.25)
    assert gap_of(expected_share(gaps, guess), guess) == pytest.approx(gaps, abs=1e-9)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("qwen3-8b,mmluu,50,,measured,x", r"line 2: unknown benchmark; got 'mmluu'; did you mean 'mmlu'"),
        ("qwen3-8b,mmlu,120,,measured,x", r"line 2: a score is 0 to 100 %.*got '120.00% of 14042'"),
        ("qwen3-8b,mmlu,much,,measured,x", r"line 2: not a number; got 'much, '"),
        ("qwen3-8b,mmlu,50,0,measured,x", r"line 2: a score is 0 to 100 % of one question"),
        ("qwen3-8b,mmlu,50,,sure,x", r"line 2: confidence; got 'sure'; allowed: measured"),
    ],
)
def test_bad_rows_are_told_by_line(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(f"model,benchmark,score_percent,items,confidence,source\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=told):
        read_scores(path)


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("model,score\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"scores\.csv: other columns"):
        read_scores(path)


# The fit.


def synthetic(per_decade: float, spreads: tuple[float, float, float]) -> tuple[list[Score], dict[str, float]]:
    """Scores of every model on every benchmark of skills, from abilities that are known."""
    draws = stream(11, "abilities")
    names = CATALOGUE.names("model")[:60]
    benchmarks = ["mmlu", "arc-challenge", "gsm8k", "math", "humaneval", "mbpp", "ifeval", "mmlu-pro"]
    harder = {name: draws.normal(0.5, 0.8) for name in benchmarks}
    general, scores = {}, []
    for name in names:
        model = CATALOGUE.model(name)
        size = np.log10(effective_params_b(model.total_params_b, model.active_params_b))
        general[name] = LEVEL + per_decade * size + draws.normal(0.0, spreads[0])
        skills = {skill: draws.normal(0.0, spreads[1]) for skill in (*SKILLS, "other")}
        for benchmark in benchmarks:
            known = BENCHMARKS[benchmark]
            gap = general[name] + skills[known.skill] - harder[benchmark] + draws.normal(0.0, spreads[2])
            share = float(expected_share(np.array([gap]), np.array([known.guess]))[0])
            scores.append(Score(name, benchmark, share, known.items, "measured", "a test"))
    return scores, general


def test_known_abilities_are_found_again() -> None:
    scores, general = synthetic(1.5, (0.8, 0.3, 0.15))
    found = fit(prepared(scores, CATALOGUE))
    assert found.per_decade == pytest.approx(1.5, abs=0.35)
    assert found.model_spread == pytest.approx(0.8, rel=0.3)
    assert found.skill_spread == pytest.approx(0.3, rel=0.3)
    assert found.noise == pytest.approx(0.15, rel=0.5)
    off = np.array([found.models[name].general - known for name, known in general.items()])
    assert np.sqrt((off**2).mean()) < 0.35  # of abilities that differ by more than 1: skills hide the rest
    assert np.std(list(general.values())) > 1.0


def test_a_model_of_which_little_is_known_is_drawn_to_the_line() -> None:
    scores, _ = synthetic(1.5, (0.8, 0.3, 0.15))
    high = [
        Score(one.model, one.benchmark, 0.97, one.items, one.confidence, one.source)
        if one.model == scores[0].model
        else one
        for one in scores
    ]
    name = scores[0].model
    much, little = (
        fit(prepared([one for one in high if one.model != name or one.benchmark in kept], CATALOGUE)).models[name]
        for kept in (BENCHMARKS, ("mmlu",))
    )
    assert little.general < much.general
    assert little.error > much.error
    assert (little.scores, set(little.skills)) == (1, {"knowledge"})


def test_leaving_out_is_fitting_without() -> None:
    scores, _ = synthetic(1.5, (0.8, 0.3, 0.15))
    scores = scores[: 8 * 12]
    data = prepared(scores, CATALOGUE)
    found = fit(data)
    by_others, by_rest = left_out_scores(data, found)
    assert np.isfinite(by_others).all()
    assert np.isfinite(by_rest).all()
    # The first model's predictions hang on none of its own scores.
    mine = np.array([score.model == scores[0].model for score in data.scores])
    worse = [
        Score(one.model, one.benchmark, one.share * 0.9, one.items, one.confidence, one.source)
        if one.model == scores[0].model
        else one
        for one in scores
    ]
    again, rest = left_out_scores(prepared(worse, CATALOGUE), found)
    assert again[mine] == pytest.approx(by_others[mine], abs=2e-3)  # sampling noise alone knows of them
    assert (rest[mine] < by_rest[mine]).all()
    own = errors_of(by_rest, data)
    assert own.mean() < errors_of(by_others, data).mean()


def test_a_benchmark_of_one_model_cannot_be_predicted() -> None:
    scores, _ = synthetic(1.5, (0.8, 0.3, 0.15))
    data = prepared([one for one in scores if one.benchmark != "math" or one.model == scores[0].model], CATALOGUE)
    by_others, by_rest = left_out_scores(data, fit(data))
    alone = np.array([score.benchmark == "math" for score in data.scores])
    assert np.isnan(by_others[alone]).all()
    assert np.isnan(by_rest[alone]).all()
    assert np.isfinite(by_others[~alone]).all()


def test_scores_that_say_nothing_are_left_out_and_counted() -> None:
    scores, _ = synthetic(1.5, (0.8, 0.3, 0.15))
    guessed = Score(scores[0].model, "mmlu-base", 0.2, 100, "measured", "a test")
    perfect = Score(scores[0].model, "math-500", 1.0, 500, "measured", "a test")
    data = prepared([*scores, guessed, perfect], CATALOGUE)
    assert (data.at_chance, len(data.scores)) == (2, len(scores))


def test_two_models_are_too_few() -> None:
    scores, _ = synthetic(1.5, (0.8, 0.3, 0.15))
    with pytest.raises(UserError, match="three models or more are needed; got 2"):
        prepared(scores[:16], CATALOGUE)


# What ships.


def test_every_score_is_of_a_shipped_model_and_has_a_source(shipped: tuple[Data, Fit]) -> None:
    data, _ = shipped
    assert set(data.models) <= set(CATALOGUE.names("model"))
    for score in data.scores:
        assert len(score.source) > 10
        assert score.source.endswith("from memory") == (score.confidence == "assumed")


def test_the_line_of_the_policies_is_that_of_the_fit(shipped: tuple[Data, Fit]) -> None:
    _, found = shipped
    assert found.per_decade == pytest.approx(PER_DECADE, abs=6e-4)
    assert found.model_spread == pytest.approx(MODEL_SPREAD, abs=6e-3)


def test_shipped_abilities_are_those_of_the_fit(shipped: tuple[Data, Fit]) -> None:
    _, found = shipped
    for name in CATALOGUE.names("model"):
        known, fitted = CATALOGUE.model(name).abilities, found.models.get(name)
        assert (known is None) == (fitted is None), name
        if known is not None and fitted is not None:
            assert known.general == pytest.approx(fitted.general, abs=0.011)
            given = {skill: getattr(known, skill) for skill in SKILLS if getattr(known, skill) is not None}
            assert given == pytest.approx(fitted.skills, abs=0.011)
            assert known.scores == fitted.scores


def test_a_models_own_scores_tell_more_than_its_size(shipped: tuple[Data, Fit]) -> None:
    data, found = shipped
    size, all_scores = (errors_of(predicted, data) for predicted in left_out_scores(data, found))
    assert np.nanmean(size) < 13
    assert np.nanmean(all_scores) < 7
    assert np.isfinite(size).sum() == len(data.scores)


def test_writing_again_changes_nothing_but_rounding(tmp_path: Path, shipped: tuple[Data, Fit]) -> None:
    data, found = shipped
    written = write(tmp_path, found, data.scores)
    assert [path.stem for path in written] == list(data.models)
    mine = Catalogue(tmp_path)
    for path in written:
        assert path.read_text(encoding="utf-8").count("abilities:") == 2
        before, after = CATALOGUE.model(path.stem), mine.model(path.stem)
        assert after.confidence_of("abilities") == "fitted"
        assert after.model_copy(update={"abilities": None}) == before.model_copy(update={"abilities": None})


def test_a_record_keeps_everything_else() -> None:
    plain = "kind: model\nname: x\nmtp: null\n"
    sourced = f'{plain}provenance:\n  mtp: {{source: "somewhere else", confidence: assumed}}\n'
    model = Fitted(general=1.234, skills={"code": 0.5}, error=0.2, scores=3)
    score = Score("x", "mmlu", 0.5, 10, "assumed", "y, from memory")
    for text in (plain, sourced):
        once = record_text(text, model, [score])
        assert "\nabilities: {general: 1.23, code: 0.50, scores: 3, error: 0.20}\n" in once
        assert "fitted to 3 scores, 1 of them from memory, of" in once
        assert record_text(once, model, [score]) == once
        assert record_text(once, None, []) == text


def test_the_command_writes_and_says_how_wrong(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "sim.calibration.abilities", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "models with abilities in" in ran.stdout
    assert "each model left out in turn: mean error" in ran.stdout
    assert len(list((tmp_path / "models").glob("*.yaml"))) == len(
        [path for path in (DATA / "models").glob("*.yaml") if "\nabilities:" in path.read_text(encoding="utf-8")]
    )


COMPUTED = [
    ("routellm_mmlu", "", "mixtral-8x7b-instruct", "mixtral-8x7b", "mmlu"),
    ("zeroeval_gsm_mathl5_crux", "crux", "Qwen2.5-7B-Instruct", "qwen2.5-7b", "crux-zeroeval"),
    ("zeroeval_gsm_mathl5_crux", "gsm", "gemma-2-2b-it", "gemma2-2b", "gsm8k-zeroeval"),
    ("zeroeval_gsm_mathl5_crux", "math-l5", "Phi-3.5-mini-instruct", "phi-3.5-mini", "math-l5-zeroeval"),
]


@pytest.mark.parametrize(("table", "dataset", "column", "model", "benchmark"), COMPUTED)
def test_shares_computed_from_prompts_are_those_of_the_tables(
    shared: Path, table: str, dataset: str, column: str, model: str, benchmark: str
) -> None:
    with gzip.open(shared / "correctness" / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("dataset", "") == dataset and row[column]]
    mean = sum(row[column] in ("1", "1.0", "True") for row in rows) / len(rows)
    computed = "per-prompt"  # how sources of such scores begin
    (score,) = (
        one
        for one in read_scores(BENCHMARK_SCORES)
        if (one.model, one.benchmark) == (model, benchmark) and one.source.startswith(computed)
    )
    assert score.items == len(rows)
    assert score.share == pytest.approx(mean, abs=1e-4)
