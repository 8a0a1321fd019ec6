"""Three rules broken on purpose, each noticed by a test (all mutants: `python -m tests.mutants`)."""

from __future__ import annotations

import pytest

from tests.mutants import BLIND_BALANCER, BLOCKS_NEVER_FREED, MUTANTS, PREEMPTED_TO_THE_BACK, Mutant, survives


@pytest.mark.parametrize(
    "mutant", [PREEMPTED_TO_THE_BACK, BLOCKS_NEVER_FREED, BLIND_BALANCER], ids=lambda mutant: mutant.name
)
def test_a_broken_rule_turns_a_test_red(mutant: Mutant) -> None:
    lives, _ = survives(mutant)
    assert not lives


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS[3:], ids=lambda mutant: mutant.name)
def test_every_other_broken_rule_turns_a_test_red(mutant: Mutant) -> None:
    lives, _ = survives(mutant)
    assert not lives
