"""The compiled text model against the slow one, and the plain figures of a layout by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.text.features import code_points, count_features
from policies.text.fit import fit
from policies.text.kernels import FEATURES_PER_CODE_POINT, SPARE_FEATURES, buckets_and_layout
from policies.text.layout import DENSE
from policies.text.model import TextModel
from tests import text_oracle
from tests.text_tables import made

TEXTS = [
    "",
    " \n\t ",
    "a",
    "The THE the, the. Don't!",
    "What is 12 + 345?\nA. 357\nB) 358\n",
    "请问北京在哪里？编号１２，上海呢。",
    "Где НАХОДИТСЯ Ёлка? Ελλάς",
    "def f(x):\n    return {'a': [x ** 2]}\n",
    "\ud800 broken \U0001f600 emoji",
    "ねこ ｶﾞ 한국어 café ÉCOLE",
]


@pytest.fixture(scope="module")
def model() -> TextModel:
    return fit(made(300), "near", "far")


def compiled(text: str, bits: int) -> tuple[dict[int, int], list[float]]:
    codes = code_points(text)
    room = FEATURES_PER_CODE_POINT * len(codes) + SPARE_FEATURES
    buckets, counts, dense = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(DENSE)
    n = buckets_and_layout(codes, bits, buckets, counts, dense)
    assert len(set(buckets[:n].tolist())) == n
    return dict(zip(buckets[:n].tolist(), counts[:n].tolist(), strict=True)), dense.tolist()


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("bits", [4, 18])
def test_features_of_the_kernel_are_the_oracle_s(text: str, bits: int) -> None:
    assert compiled(text, bits)[0] == dict(text_oracle.features(text, bits))


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=120))
def test_features_of_any_text_are_the_oracle_s(text: str) -> None:
    assert compiled(text, 18)[0] == dict(text_oracle.features(text, 18))


@pytest.mark.parametrize("text", [*TEXTS, "What is 4711 plus 12?\nA. 1\nB. 2\nC. 3\nAnswer:", "story about river tree"])
def test_heads_of_the_kernel_are_the_oracle_s(model: TextModel, text: str) -> None:
    found, share = model.heads(text)
    assert found == pytest.approx(text_oracle.heads(model, text, compiled(text, 18)[1]), abs=2e-4)
    assert 0.0 <= share <= 1.0


def test_one_text_and_a_table_of_texts_are_cut_alike() -> None:
    counts = count_features(TEXTS)
    for row, text in enumerate(TEXTS):
        line = counts.matrix[row]
        assert dict(zip(line.indices.tolist(), line.data.tolist(), strict=True)) == compiled(text, 18)[0]


def test_case_and_width_do_not_matter_for_words() -> None:
    upper, lower = compiled("ÉCOLE ＡＢＣ", 18)[0], compiled("école abc", 18)[0]
    shapes = compiled("zzzzz zzz", 18)[0]
    assert set(upper) - set(lower) <= set(upper) - set(shapes)
    assert len(set(upper) & set(lower)) >= 3  # both words and the pair


def test_plain_figures_of_a_question_with_options() -> None:
    text = "Add 1 and 22?\nA. 23\nB. none\nC. 5"
    figures = compiled(text, 18)[1]
    assert figures[0] == pytest.approx(math.log(len(text)))
    assert figures[2] == pytest.approx(math.log1p(4))
    assert figures[3] == 3
    assert figures[4] == pytest.approx(math.log1p(14))
    assert figures[8] == pytest.approx(2 / 3)  # options with a digit
    assert figures[9] == pytest.approx(6 / len(text))
    assert figures[22] == pytest.approx(math.log1p(4))  # numbers
    assert figures[23] == pytest.approx(math.log1p(2))  # the longest of them
    assert figures[17] == 0.0
    assert compiled("Why?\n", 18)[1][17] == 1.0


def test_an_empty_text_has_no_features_and_plain_zeros() -> None:
    found, figures = compiled("", 18)
    assert found == {}
    assert figures == [0.0] * DENSE
