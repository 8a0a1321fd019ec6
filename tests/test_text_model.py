"""What a fit learns, what its file holds, and what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policies.text.answers import AnswerFeatures, refusal, repetition
from policies.text.confidence import logistic, platt
from policies.text.fit import AnswerColumns, fit
from policies.text.metrics import apgr, auc, ece
from policies.text.model import TextModel, load, scripts_of
from policies.text.scoring import score_texts
from policies.text.tables import PromptTable, read_tables
from profiles.errors import UserError
from tests.text_tables import RIGHT, made, prompt

CHARS = AnswerColumns(chars="chars")


@pytest.fixture(scope="module")
def model() -> TextModel:
    return fit(made(600), "near", "far", answers=CHARS)


@pytest.fixture
def saved(model: TextModel, tmp_path: Path) -> Path:
    path = tmp_path / "made.model"
    model.save(path)
    return path


def changed(path: Path, cut: str | None = None, **header: Any) -> Path:
    """A copy of a model's file with other entries in its header, and one array without its last row."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if cut is not None:
        arrays[cut] = arrays[cut][:-1]
    text = json.dumps(json.loads(arrays.pop("header").tobytes()) | header)
    other = path.with_suffix(".other")
    with other.open("wb") as file:
        np.savez(file, header=np.frombuffer(text.encode(), np.uint8), **arrays)
    return other


# -- what it learns ----------------------------------------------------------------------------------------------------


def test_it_learns_who_is_right_on_prompts_it_never_saw(model: TextModel) -> None:
    table = made(600, seed=1)
    scored = score_texts(model, table.texts())
    near, far = table.labels("near"), table.labels("far")
    truth = np.array([RIGHT[task] for task in table.texts("task")])
    assert np.abs(scored.near - truth[:, 0]).mean() < 0.08
    assert np.abs(scored.far - truth[:, 1]).mean() < 0.08
    assert apgr(scored.gap, near, far) > apgr(truth[:, 1] - truth[:, 0], near, far) - 0.02
    assert max(ece(scored.near, near), ece(scored.far, far)) < 0.08


def test_chinese_is_cut_into_characters_and_learned(model: TextModel) -> None:
    random = np.random.default_rng(5)
    chinese = [model.gap(prompt(random, "chinese")) for _ in range(20)]
    talk = [model.gap(prompt(random, "talk")) for _ in range(20)]
    assert min(chinese) > max(talk)


def test_the_second_stage_knows_more_once_the_answer_is_there(model: TextModel) -> None:
    table = made(600, seed=2)
    texts, near = table.texts(), table.labels("near")
    chars = table.numbers("chars")
    sure = np.array(
        [model.confidence(text, AnswerFeatures(chars=count)) for text, count in zip(texts, chars, strict=True)]
    )
    assert auc(sure, near) > auc(score_texts(model, texts).near, near) + 0.03
    assert model.confidence(texts[0], AnswerFeatures(chars=40)) > model.confidence(texts[0], AnswerFeatures(chars=170))
    assert 0.0 < model.confidence(texts[0], AnswerFeatures()) < 1.0  # a length that is not known


def test_an_answer_s_text_tells_length_repetition_and_refusal() -> None:
    model = fit(made(400), "near", "far", answers=AnswerColumns(answer="answer"))
    assert model.answer_figures == ("chars", "repetition", "refusal")
    text = "tell me a short story about river and number 12"
    sure = model.confidence(text, AnswerFeatures.of("I know. so it is so it is"))
    assert sure > model.confidence(text, AnswerFeatures.of("I'm sorry. so it is so it is"))


def test_without_a_second_stage_confidence_says_so() -> None:
    with pytest.raises(UserError, match="no second stage"):
        fit(made(100), "near", "far").confidence("a", AnswerFeatures(chars=1))


def test_categories_steady_the_fit_and_are_not_needed_to_score() -> None:
    model = fit(made(200), "near", "far", task="task")
    table = made(400, seed=3)
    gaps = score_texts(model, table.texts()).gap
    assert apgr(gaps, table.labels("near"), table.labels("far")) > 0.6
    assert model.header["task"] == "task"


@pytest.mark.parametrize(
    ("answer", "repeated", "refused"),
    [
        ("", 0.0, 0.0),
        ("one two", 0.0, 0.0),
        ("a b c a b c a b c", 4 / 7, 0.0),
        ("I’m sorry, but I cannot help.", 0.0, 1.0),
        ("As an AI I have no view", 0.0, 1.0),
        ("抱歉，我无法回答", 0.0, 1.0),
        ("The sorry state of things", 0.0, 0.0),
    ],
)
def test_repetition_and_refusal(answer: str, repeated: float, refused: float) -> None:
    assert repetition(answer) == pytest.approx(repeated)
    assert refusal(answer) == refused


def test_platt_finds_the_chances_it_was_made_from() -> None:
    random = np.random.default_rng(0)
    value = random.standard_normal(20_000)
    right = (random.random(20_000) < logistic(1.5 * value - 0.4)).astype(float)
    assert platt(value, right) == pytest.approx((1.5, -0.4), abs=0.08)
    assert platt(-value, right)[0] == 0.0  # a head that points the wrong way is not trusted


def test_prompts_that_share_nothing_teach_nothing_and_do_no_harm() -> None:
    random = np.random.default_rng(0)
    prompts = [chr(0x4E00 + i) for i in range(100)]
    labels = [[bool(random.random() < chance) for _ in prompts] for chance in (0.5, 0.7)]
    model = fit(PromptTable("x", 100, {"prompt": prompts, "near": labels[0], "far": labels[1]}), "near", "far")
    near, far = model.score("something else")
    assert 0.35 < near < 0.65
    assert 0.5 < far < 0.85


# -- its file ----------------------------------------------------------------------------------------------------------


def test_equal_tables_make_equal_bytes(model: TextModel) -> None:
    assert fit(made(600), "near", "far", answers=CHARS).to_bytes() == model.to_bytes()
    assert fit(made(600, seed=9), "near", "far", answers=CHARS).to_bytes() != model.to_bytes()


def test_a_model_comes_back_as_it_was(model: TextModel, saved: Path) -> None:
    again = load(saved)
    assert (again.near, again.far, again.header) == ("near", "far", model.header)
    text = "What is 4711 plus 12?"
    assert again.score(text) == model.score(text)
    assert again.confidence(text, AnswerFeatures(chars=50)) == model.confidence(text, AnswerFeatures(chars=50))
    assert list(saved.parent.iterdir()) == [saved]


def test_prompts_of_the_fit_are_known_again_and_cannot_be_read(model: TextModel, saved: Path) -> None:
    texts = made(600).texts()
    assert model.seen([f" {texts[0]}\n", texts[5], "something else"]).tolist() == [True, True, False]
    assert texts[0][:12].encode() not in saved.read_bytes()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 99}, "another version; got 99; allowed: 1"),
        ({"kind": "something"}, "no text quality model"),
        ({"topics": 7}, "damaged"),
        ({"bits": 3}, "damaged"),
    ],
)
def test_other_versions_and_damage_are_refused(saved: Path, header: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(changed(saved, **header))


@pytest.mark.parametrize("array", ["idf", "topics", "word_heads", "landmark_heads", "stretch", "level", "calibration"])
def test_an_array_that_was_cut_never_reaches_the_kernel(saved: Path, array: str) -> None:
    with pytest.raises(UserError, match=f"damaged: {array} does not fit"):
        load(changed(saved, array))


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04broken"])
def test_files_that_are_no_model_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError, match="no text quality model"):
        load(tmp_path / "x")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, header=np.array([{"kind": "x"}], dtype=object))
    (tmp_path / "x").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="no text quality model"):
        load(tmp_path / "x")
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / "missing")


def test_scripts_have_the_names_of_unicode(model: TextModel) -> None:
    assert scripts_of("Hello Ａ ª µ 你好 123 Привет ไทย") == {"LATIN", "CJK", "CYRILLIC", "THAI"}
    assert model.header["scripts"] == ["CJK", "LATIN"]
    assert model.strange_scripts("مرحبا hello") == {"ARABIC"}


# -- real tables -------------------------------------------------------------------------------------------------------


def test_on_real_prompts_it_beats_length_and_category(shared: Path) -> None:
    table = read_tables([shared / "correctness" / "zeroeval_gsm_mathl5_crux.csv.gz"])
    near, far = "Phi-3.5-mini-instruct", "gpt-4o-2024-08-06"
    chars = f"{near}|out_chars"
    train = np.random.default_rng(0).permutation(table.rows) < 1000

    def part(which: list[int]) -> Any:
        columns = {name: [cells[i] for i in which] for name, cells in table.columns.items()}
        return type(table)("part", len(which), columns)

    held = part(np.flatnonzero(~train).tolist())
    model = fit(part(np.flatnonzero(train).tolist()), near, far, answers=AnswerColumns(chars=chars))
    scored = score_texts(model, held.texts())
    rights = held.labels(near), held.labels(far)
    lengths = np.array([float(len(text)) for text in held.texts()])
    assert apgr(scored.gap, *rights) > max(apgr(lengths, *rights), 0.59)
    sure = scored.confidence(model, held.numbers(chars)[:, None])
    assert apgr(scored.far - sure, *rights) > apgr(scored.gap, *rights)
