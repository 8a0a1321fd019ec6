"""Rules broken on purpose, each noticed by a test (all mutants: `python -m tests.mutants`)."""

from __future__ import annotations

import pytest

from tests.mutants import BLIND_BALANCER, LOSER_OF_A_HEDGE, MUTANTS, PREEMPTED_TO_THE_BACK, ROOT, Mutant, survives

ALWAYS = (PREEMPTED_TO_THE_BACK, BLIND_BALANCER, LOSER_OF_A_HEDGE)
OTHERS = [mutant for mutant in MUTANTS if mutant not in ALWAYS]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_fits_the_engine_as_it_is(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.right) == 1


@pytest.mark.parametrize("mutant", ALWAYS, ids=lambda mutant: mutant.name)
def test_a_broken_rule_turns_a_test_red(mutant: Mutant) -> None:
    lives, _ = survives(mutant)
    assert not lives


@pytest.mark.long
@pytest.mark.parametrize("mutant", OTHERS, ids=lambda mutant: mutant.name)
def test_every_other_broken_rule_turns_a_test_red(mutant: Mutant) -> None:
    lives, _ = survives(mutant)
    assert not lives
