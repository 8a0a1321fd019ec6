"""The formulas give the textbook numbers."""

from __future__ import annotations

import math

import pytest

from tests.theory.formulas import (
    cobham,
    erlang_a,
    erlang_b,
    erlang_c,
    erlang_wait,
    md1_wait_at_most,
    mean_field,
    pollaczek_khinchine,
)


def test_the_formulas_are_the_textbook_ones() -> None:
    """Published digits, so that a slip in a formula cannot hide behind a tolerance."""
    textbook = {
        erlang_c(1.6, 2): 0.711111,
        erlang_c(25.6, 32): 0.160623,
        erlang_c(243.2, 256): 0.312926,
        erlang_b(3, 5): 0.110054,
        erlang_b(8, 10): 0.121661,
        erlang_b(90, 100): 0.026957,
        pollaczek_khinchine(0.9, math.e - 1): 12.232268,
        erlang_wait(0.8, 2)[1]: 2.843980,
        md1_wait_at_most(2, 0.8): 0.634520,
        erlang_a(8, 8, 0.5): 0.116014,
        erlang_a(70, 64, 1): 0.101720,
        cobham([0.4, 0.4], 1)[1]: 6.666667,
        mean_field(0.9): 2.614,
    }
    for ours, published in textbook.items():
        assert ours == pytest.approx(published, abs=4e-4 if published == 2.614 else 6e-7)
