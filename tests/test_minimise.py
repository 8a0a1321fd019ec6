"""The search: it finds what is there, keeps what it has, spends no more than it may, and repeats itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from policies.learning.minimise import is_smaller, minimise

Floats = NDArray[np.float64]
Values = Callable[[Sequence[Floats]], list[float]]


def bowl(centre: Floats, calls: list[int] | None = None) -> Values:
    """Smallest, 5, at `centre`; `calls` gets the sizes of generations."""

    def values(points: Sequence[Floats]) -> list[float]:
        if calls is not None:
            calls.append(len(points))
        return [5.0 + float(np.square(point - centre).sum()) for point in points]

    return values


@pytest.mark.parametrize(("dimensions", "evaluations"), [(1, 150), (3, 400), (10, 1500)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_the_bottom_of_a_bowl(dimensions: int, evaluations: int, seed: int) -> None:
    centre = np.linspace(2.0, -3.0, dimensions)
    found = minimise(bowl(centre), np.zeros(dimensions), evaluations=evaluations, seed=seed, patience=1000)
    assert found.best == pytest.approx(centre, abs=0.01)
    assert found.value == pytest.approx(5.0, abs=1e-4)
    assert found.value == bowl(centre)([found.best])[0]


def test_it_finds_what_is_not_alike_in_all_directions() -> None:
    """A valley, narrow and askew."""

    def values(points: Sequence[Floats]) -> list[float]:
        return [float((p[0] - 1.0) ** 2 + 100.0 * (p[1] - 2.0 * p[0]) ** 2) for p in points]

    found = minimise(values, np.zeros(2), evaluations=600, seed=3, patience=1000)
    assert found.best == pytest.approx([1.0, 2.0], abs=0.01)


def test_it_repeats_itself_and_depends_on_its_seed() -> None:
    def search(seed: int) -> tuple[list[float], list[tuple[int, float]]]:
        found = minimise(bowl(np.ones(4)), np.zeros(4), evaluations=60, seed=seed)
        return found.best.tolist(), [(point.evaluations, point.value) for point in found.curve]

    assert search(7) == search(7)
    assert search(7) != search(8)


@pytest.mark.parametrize("evaluations", [1, 2, 9, 10, 47, 100])
def test_it_spends_no_more_than_it_may(evaluations: int) -> None:
    calls: list[int] = []
    found = minimise(bowl(np.ones(4), calls), np.zeros(4), evaluations=evaluations, seed=0, patience=1000)
    assert sum(calls) == found.evaluations == found.curve[-1].evaluations <= evaluations
    assert evaluations - found.evaluations < max(calls[1:], default=9)  # what was left was less than a generation


def test_the_curve_never_rises() -> None:
    found = minimise(bowl(np.ones(4)), np.zeros(4), evaluations=200, seed=0)
    values = [point.value for point in found.curve]
    assert values == sorted(values, reverse=True)
    assert values[0] == 9.0
    assert values[-1] == found.value


def test_the_start_is_kept_when_nothing_is_better() -> None:
    start = np.array([0.5, -1.0])
    found = minimise(bowl(start), start, evaluations=100, seed=0)
    assert found.best is start
    assert found.value == 5.0


def test_it_gives_up_when_nothing_gets_better() -> None:
    calls: list[int] = []
    minimise(bowl(np.zeros(2), calls), np.zeros(2), evaluations=1000, seed=0, patience=3)
    assert len(calls) == 1 + 3


def test_without_dimensions_the_start_is_all_there_is() -> None:
    calls: list[int] = []
    found = minimise(bowl(np.zeros(0), calls), np.zeros(0), evaluations=100, seed=0)
    assert calls == [1]
    assert found.value == 5.0
    assert not len(found.best)


def test_what_does_not_hold_elsewhere_is_not_kept() -> None:
    """Training promises more and more to the right; nothing of it is true elsewhere."""
    overfit = minimise(lambda points: [-p[0] for p in points], np.zeros(1), evaluations=200, seed=0)
    assert overfit.best[0] > 1.0
    seen: list[float] = []

    def elsewhere(point: Floats) -> Floats:
        seen.append(float(point[0]))
        return np.array([point[0] ** 2, point[0] ** 2 + 1.0])

    found = minimise(lambda points: [-p[0] for p in points], np.zeros(1), evaluations=200, seed=0, validate=elsewhere)
    assert found.best[0] == 0.0
    assert found.validated == 0.5
    assert found.value == 0.0  # that of the point which is kept
    assert max(seen) > 1.0  # tempted it was
    assert [point.validated for point in found.curve] == [0.5] * len(found.curve)


def test_what_holds_elsewhere_is_kept() -> None:
    centre = np.array([1.0, -1.0])
    found = minimise(
        bowl(centre),
        np.zeros(2),
        evaluations=400,
        seed=0,
        validate=lambda point: np.array([bowl(centre + shift)([point])[0] for shift in (-0.1, 0.0, 0.1)]),
    )
    assert found.best == pytest.approx(centre, abs=0.3)
    assert found.validated < 5.2


def test_smaller_is_smaller_by_more_than_chance() -> None:
    # differences 1, 2, 3: mean 2, standard error 1 / sqrt(3); shifted down by 1.5 the mean falls below it
    theirs = np.array([10.0, 20.0, 30.0])
    differences = np.array([1.0, 2.0, 3.0])
    assert is_smaller(theirs - differences, theirs)
    assert is_smaller(theirs - (differences - 1.4), theirs)
    assert not is_smaller(theirs - (differences - 1.5), theirs)
    assert not is_smaller(theirs, theirs)
    assert is_smaller(np.array([1.0]), np.array([2.0]))
    assert not is_smaller(np.array([2.0]), np.array([2.0]))
