"""Routing figures against brute force and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from policies.text.metrics import apgr, auc, brier, cpt, ece

Floats = NDArray[np.float64]
ROWS = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), min_size=3, max_size=30)


def columns(rows: list[tuple[int, bool, bool]]) -> tuple[Floats, Floats, Floats]:
    score, near, far = np.array(rows, dtype=float).T
    return score, near, far


def area_by_shuffling(score: Floats, near: Floats, far: Floats) -> float:
    """Mean, over orders of ties, of the trapezoid area prompt by prompt: exact with ties in proportion."""
    total = (far - near).sum()
    area = 0.0
    for i in range(len(score)):
        above = (score > score[i]).sum()
        ties = (score == score[i]).sum()
        area += (far - near)[i] * (1.0 - (above + ties / 2.0) / len(score))
    return float(area / total)


@settings(deadline=None)
@given(ROWS)
def test_apgr_is_the_exact_area(rows: list[tuple[int, bool, bool]]) -> None:
    score, near, far = columns(rows)
    if far.sum() <= near.sum():
        assert math.isnan(apgr(score, near, far))
        return
    assert apgr(score, near, far) == pytest.approx(area_by_shuffling(score, near, far))


@settings(deadline=None)
@given(ROWS, st.data())
def test_a_weight_is_a_repetition(rows: list[tuple[int, bool, bool]], data: st.DataObject) -> None:
    score, near, far = columns(rows)
    times = np.array(data.draw(st.lists(st.integers(1, 4), min_size=len(rows), max_size=len(rows))))
    again = [np.repeat(column, times) for column in (score, near, far)]
    weights = times.astype(float)
    assert apgr(score, near, far, weights) == pytest.approx(apgr(*again), nan_ok=True)
    assert cpt(score, near, far, 0.5, weights) == pytest.approx(cpt(*again, 0.5), nan_ok=True)
    assert auc(score, near, weights) == pytest.approx(auc(again[0], again[1]), nan_ok=True)
    assert brier(score, near, weights) == pytest.approx(brier(again[0], again[1]))


def test_a_constant_score_gives_one_half() -> None:
    near, far = np.array([0.0, 1.0, 0.0, 0.5]), np.array([1.0, 1.0, 0.0, 1.0])
    assert apgr(np.zeros(4), near, far) == pytest.approx(0.5)
    assert cpt(np.zeros(4), near, far, 0.8) == pytest.approx(0.8)


def test_sending_the_one_gain_first_needs_its_share_alone() -> None:
    near, far = np.array([0.0, 1.0, 1.0, 1.0]), np.ones(4)
    best, worst = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.0, 1.0, 1.0, 1.0])
    assert cpt(best, near, far, 1.0) == pytest.approx(0.25)
    assert apgr(best, near, far) == pytest.approx(0.875)
    assert cpt(worst, near, far, 0.5) == pytest.approx(0.875)
    assert apgr(worst, near, far) == pytest.approx(0.125)


@settings(deadline=None)
@given(ROWS)
def test_auc_counts_pairs(rows: list[tuple[int, bool, bool]]) -> None:
    score, right, _ = columns(rows)
    good, bad = score[right > 0.5], score[right < 0.5]
    if len(good) == 0 or len(bad) == 0:
        assert math.isnan(auc(score, right))
        return
    pairs = [(g > b) + 0.5 * (g == b) for g in good for b in bad]
    assert auc(score, right) == pytest.approx(np.mean(pairs))


def test_ece_is_the_distance_of_what_is_said_from_what_comes() -> None:
    right = np.tile([1.0, 0.0], 500)
    assert ece(np.full(1000, 0.5), right) == pytest.approx(0.0, abs=0.02)
    assert ece(np.full(1000, 0.9), right) == pytest.approx(0.4, abs=0.02)
