"""The noise of an estimate by its AUC: against draws as the engine makes them, by hand, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from profiles.errors import UserError
from sim.blindness import Cells, auc_of, reach, spread_for
from sim.workloads.streams import stream

DRAWS = 200_000


def cell(gap: float, spread: float) -> Cells:
    return Cells(np.array([gap]), np.array([spread]), np.ones(1))


def drawn_auc(gap: float, spread: float, noise: float) -> float:
    """By rules Q1 and W5: right with chance sigmoid(gap - d), seen as d plus normal noise; ranks of the right ones."""
    draws = stream(7, "blindness")
    difficulty = draws.normal(0.0, spread, DRAWS)
    right = draws.random(DRAWS) < 1.0 / (1.0 + np.exp(-(gap - difficulty)))
    estimate = 1.0 / (1.0 + np.exp(-(gap - (difficulty + noise * draws.standard_normal(DRAWS)))))
    ranks = np.argsort(np.argsort(estimate)) + 1.0
    hits = int(right.sum())
    return float((ranks[right].sum() - hits * (hits + 1) / 2) / (hits * (DRAWS - hits)))


@pytest.mark.parametrize(
    ("gap", "spread", "noise"), [(0, 1.3, 0), (0, 1.3, 1), (2.5, 0.8, 0.5), (-2, 1.5, 3), (0, 4, 0), (1, 2.7, 2.7)]
)
def test_draws_have_the_auc_that_is_computed(gap: float, spread: float, noise: float) -> None:
    assert auc_of(cell(gap, spread), noise) == pytest.approx(drawn_auc(gap, spread, noise), abs=0.005)


@pytest.mark.parametrize(("gap", "spread"), [(0.0, 1.3), (2.0, 0.9), (-1.5, 2.5)])
def test_the_noise_found_gives_draws_of_the_auc_asked_for(gap: float, spread: float) -> None:
    for auc in (0.55, 0.6, 0.65):
        assert drawn_auc(gap, spread, spread_for(cell(gap, spread), auc)) == pytest.approx(auc, abs=0.005)


def test_more_noise_is_a_lower_auc() -> None:
    cells = Cells(np.array([0.5, -1.0, 2.0]), np.array([1.3, 0.8, 2.0]), np.array([3.0, 1.0, 1.0]))
    found = [auc_of(cells, noise) for noise in (0, 0.1, 0.5, 1, 2, 4, 8, 16, 64)]
    assert found == sorted(found, reverse=True)
    assert found[-1] > 0.5
    for auc, noise in zip(found[1:], (0.1, 0.5, 1, 2, 4, 8, 16, 64), strict=True):
        assert spread_for(cells, auc) == pytest.approx(noise, rel=1e-6)


def test_cells_count_by_their_weight() -> None:
    one, two = cell(0.0, 1.0), cell(1.0, 2.0)
    both = Cells(np.array([0.0, 1.0]), np.array([1.0, 2.0]), np.array([3.0, 1.0]))
    assert auc_of(both, 0.7) == pytest.approx(0.75 * auc_of(one, 0.7) + 0.25 * auc_of(two, 0.7))


def test_requests_that_are_all_alike_cannot_be_told_apart() -> None:
    assert auc_of(cell(0.3, 0.0), 0.0) == pytest.approx(0.5)
    assert auc_of(cell(0.3, 0.0), 1.0) == pytest.approx(0.5)


@pytest.mark.parametrize("gap", [-40.0, 40.0])
def test_hardly_ever_right_or_wrong_is_still_a_number(gap: float) -> None:
    assert 0.5 < auc_of(cell(gap, 1.3), 0.5) < auc_of(cell(gap, 1.3), 0.0) < 1.0


@pytest.mark.parametrize("auc", [0.5, 0.9])
def test_out_of_reach_is_told_with_the_range(auc: float) -> None:
    cells = cell(0.0, 1.3)
    lowest, highest = reach(cells)
    assert 0.5 < lowest < 0.51
    assert highest == pytest.approx(0.787, abs=0.001)
    with pytest.raises(UserError, match=rf"got {auc}; allowed: 0.50\d to 0.786"):
        spread_for(cells, auc)
    assert spread_for(cells, 0.786) == pytest.approx(0.05, abs=0.05)
