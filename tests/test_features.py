"""φ, its score, and the curves beneath: each by hand, or against Python's own."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import features
from policies.layout import FEATURE_NAMES, FEATURES, KINDS, LAYOUT_VERSION

NORMAL = statistics.NormalDist()

USUAL: dict[str, Any] = {
    "kind": 0,
    "quality": 0.7,
    "ttft_s": 0.5,
    "e2e_s": 4.0,
    "energy_j": 20.0,
    "cost_usd": 3e-4,
    "egress_bytes": 2_500_000.0,
    "load": 1.5,
    "noise": 0.25,
    "difficulty": -0.75,
    "prompt_tokens": 127,
    "battery": 0.6,
    "heat": 0.3,
    "metered": 1,
    "slo_ttft_s": 2.0,
}


def phi_of(**changes: Any) -> dict[str, float]:
    phi = np.full(len(FEATURES), math.nan)
    features.fill(phi, *(USUAL | changes).values())
    return dict(zip(FEATURE_NAMES, phi.tolist(), strict=True))


# -- φ -----------------------------------------------------------------------------------------------------------------


def test_the_layout_is_the_one_that_is_compiled() -> None:
    assert len(FEATURES) == features.FEATURE_COUNT
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert FEATURE_NAMES[: len(KINDS)] == KINDS
    assert LAYOUT_VERSION == 1


def test_every_feature_by_hand() -> None:
    assert phi_of() == {
        "near": 1.0,
        "edge": 0.0,
        "cloud": 0.0,
        "cascade": 0.0,
        "hedge": 0.0,
        "quality": 0.7,
        "ttft_s": 0.5,
        "e2e_s": 4.0,
        "ttft_over_slo": 0.25,
        "energy_j": 20.0,
        "cost_usd": 3e-4,
        "egress_mb": 2.5,
        "load": 1.5,
        "noise": 0.25,
        "near_difficulty": -0.75,
        "near_log_prompt": 7.0,
        "near_battery": 0.6,
        "near_heat": 0.3,
        "metered_mb": 2.5,
        "scarce_energy_j": pytest.approx(8.0, rel=1e-15),
    }


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_one_kind_is_marked_and_only_near_has_the_near_features(kind: int) -> None:
    phi = phi_of(kind=kind)
    assert [phi[name] for name in KINDS] == [float(i == kind) for i in range(len(KINDS))]
    for name in ("near_difficulty", "near_log_prompt", "near_battery", "near_heat"):
        assert phi[name] == (phi_of()[name] if kind == 0 else 0.0)
    for name in set(FEATURE_NAMES) - set(KINDS):
        if not name.startswith("near_"):
            assert phi[name] == phi_of()[name]


def test_limits_and_what_is_absent() -> None:
    long = phi_of(ttft_s=700.0, e2e_s=math.inf, slo_ttft_s=0.1)
    assert (long["ttft_s"], long["e2e_s"], long["ttft_over_slo"]) == (600.0, 3600.0, 10.0)
    assert phi_of(slo_ttft_s=math.inf)["ttft_over_slo"] == 0.0
    assert phi_of(slo_ttft_s=math.inf, ttft_s=math.inf)["ttft_over_slo"] == 0.0
    assert phi_of(metered=0)["metered_mb"] == 0.0
    assert phi_of(battery=1.0)["scarce_energy_j"] == 0.0
    assert phi_of(prompt_tokens=0)["near_log_prompt"] == 0.0


def test_a_row_of_a_matrix_is_filled_in_place() -> None:
    table = np.full((3, len(FEATURES)), -1.0)
    features.fill(table[1], *USUAL.values())
    assert table[1].tolist() == list(phi_of().values())
    assert (table[[0, 2]] == -1.0).all()


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=len(FEATURES), max_size=len(FEATURES)),
    st.lists(st.floats(-1e6, 1e6), min_size=len(FEATURES), max_size=len(FEATURES)),
    st.floats(-1e6, 1e6),
)
def test_the_score_is_the_sum_in_order_to_the_last_bit(phi: list[float], weights: list[float], scene: float) -> None:
    expected = 0.0
    for weight, value in zip(weights, phi, strict=True):
        expected += weight * value
    assert features.score(np.array(phi), np.array(weights), scene) == expected + scene


# -- curves ------------------------------------------------------------------------------------------------------------


def grid() -> list[float]:
    tails = [2.0**-k for k in range(1, 55)]
    upper = [1.0 - 2.0**-k for k in range(2, 54)]
    branches = [0.075, 0.925, math.nextafter(0.075, 0), math.nextafter(0.925, 1), math.exp(-25.0)]
    return [*tails, *upper, *branches, *np.linspace(1e-4, 1.0 - 1e-4, 5001).tolist()]


def test_the_quantile_is_pythons() -> None:
    for p in grid():
        assert features.normal_quantile(p) == pytest.approx(NORMAL.inv_cdf(p), rel=1e-12, abs=1e-12)
    assert features.normal_quantile(0.5) == 0.0
    assert features.normal_quantile(2.0**-54) == pytest.approx(-8.2927, abs=1e-3)


def test_the_distribution_is_pythons_and_undoes_the_quantile() -> None:
    for x in np.linspace(-8.0, 8.0, 801).tolist():
        assert features.normal_cdf(x) == pytest.approx(NORMAL.cdf(x), abs=1e-15)
    for p in grid():
        assert features.normal_cdf(features.normal_quantile(p)) == pytest.approx(p, rel=1e-12)
    assert features.normal_cdf(-20.0) == pytest.approx(2.753624118606e-89, rel=1e-10)  # no cancellation in the tail


def test_the_logistic_curve() -> None:
    assert features.sigmoid(0.0) == 0.5
    assert features.sigmoid(math.log(3.0)) == pytest.approx(0.75, rel=1e-15)
    assert features.sigmoid(2.0) + features.sigmoid(-2.0) == pytest.approx(1.0, rel=1e-15)
    assert features.sigmoid(5000.0) == 1.0
    assert 0.0 <= features.sigmoid(-5000.0) < 1e-300


# -- cascades ----------------------------------------------------------------------------------------------------------


def test_a_cascade_by_hand() -> None:
    rho, kept = features.cascade_release(0.5, 1.0, 0.0)
    assert kept == pytest.approx(0.5 * NORMAL.cdf(1.0))
    assert rho == pytest.approx(0.5 * NORMAL.cdf(1.0) + 0.25)


@given(st.floats(0.0, 1.0), st.floats(0.0, 5.0), st.floats(-5.0, 5.0))
def test_a_cascade_releases_no_less_than_it_keeps_right(q: float, delta: float, tau: float) -> None:
    rho, kept = features.cascade_release(q, delta, tau)
    assert 0.0 <= kept <= rho <= 1.0 + 1e-12
    assert kept <= q
    assert kept >= q * rho - 1e-12  # the check never favours wrong answers


def test_a_useless_check_lets_right_and_wrong_pass_alike() -> None:
    rho, kept = features.cascade_release(0.3, 0.0, 0.7)
    assert rho == pytest.approx(NORMAL.cdf(-0.7))
    assert kept == pytest.approx(0.3 * rho)


def test_a_cascades_luck_agrees_with_its_prediction() -> None:
    draws = np.random.default_rng(1)
    q, delta, tau, count = 0.6, 1.2, 0.4, 200_000
    right = draws.random(count) < q
    released = draws.standard_normal(count) + delta * right >= tau
    rho, kept = features.cascade_release(q, delta, tau)
    assert released.mean() == pytest.approx(rho, abs=0.005)
    assert (released & right).mean() == pytest.approx(kept, abs=0.005)


# -- as compiled, as plain Python --------------------------------------------------------------------------------------


def test_plain_python_gives_the_same_numbers() -> None:
    phi = np.zeros(len(FEATURES))
    plain: Any = features.fill
    plain.py_func(phi, *USUAL.values())
    assert phi.tolist() == list(phi_of().values())
    quantile: Any = features.normal_quantile
    for p in (2.0**-54, 1e-9, 0.3, 0.99):
        assert quantile.py_func(p) == pytest.approx(features.normal_quantile(p), rel=1e-15)
    curve: Any = features.sigmoid
    assert curve.py_func(-5000.0) == features.sigmoid(-5000.0)
