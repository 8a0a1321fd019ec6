"""What a user wants as one number: how it is read, what it is of some means, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.learning.utility import TERMS, Utility, parse_utility
from profiles.errors import UserError

NAMES = [term.name for term in TERMS]


def test_it_is_a_weighted_sum() -> None:
    utility = parse_utility("quality=1, e2e_s=-0.02 ,cost_usd=-10")
    assert utility.of({"quality": 0.8, "e2e_s": 5.0, "cost_usd": 0.002}) == pytest.approx(0.8 - 0.1 - 0.02)
    assert utility.terms == (("quality", 1.0), ("e2e_s", -0.02), ("cost_usd", -10.0))


def test_terms_without_weight_may_be_missing_and_those_with_one_may_not() -> None:
    utility = parse_utility("quality=2,energy_j=0")
    assert utility.of({"quality": 0.5}) == 1.0
    assert utility.weight("quality") == 2.0
    assert utility.weight("energy_j") == utility.weight("ttft_s") == 0.0
    with pytest.raises(KeyError):
        utility.of({"e2e_s": 1.0})


@given(st.dictionaries(st.sampled_from(NAMES), st.floats(-1e9, 1e9).filter(bool), min_size=1))
def test_its_text_says_the_same(weights: dict[str, float]) -> None:
    """Provenance is this text: no digit may be lost."""
    utility = Utility(tuple(weights.items()))
    assert parse_utility(str(utility)) == utility


def test_its_text_is_short() -> None:
    assert str(parse_utility("quality=1.0,e2e_s=-0.02,cost_usd=-1e1")) == "quality=1,e2e_s=-0.02,cost_usd=-10"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a utility needs a term that counts; got 'nothing'"),
        (" , ", "a utility needs a term that counts"),
        ("quality=0", "a utility needs a term that counts"),
        ("qualty=1", "unknown term of a utility; got 'qualty'.*did you mean 'quality'"),
        ("Quality=1", "unknown term"),
        ("=1", "unknown term"),
        ("quality=1,e2e_s=-1,quality=2", "a term of the utility is given twice; got 'quality'"),
        ("quality", "weight of quality: bad value; got 'nothing'"),
        ("quality=", "weight of quality: bad value; got 'nothing'"),
        ("quality=much", "weight of quality: bad value; got 'much'"),
        ("quality=1=2", "weight of quality: bad value; got '1=2'"),
        ("quality=nan", "weight of quality: bad value; got 'nan'"),
        ("quality=1,e2e_s=-inf", "weight of e2e_s: bad value; got '-inf'"),
        ("cost_usd=-1e10", "weight of cost_usd: bad value; got '-1e10'"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_utility(text)
