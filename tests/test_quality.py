"""Ability of models: the formula, its monotony over the facts, and overrides."""

from __future__ import annotations

import math
from typing import Any

import pytest

from policies.quality import CONFIDENCE, abilities, ability, effective_params_b
from profiles.catalogue import Catalogue
from profiles.errors import UserError


def test_by_hand() -> None:
    assert ability(1.0) == pytest.approx(-0.16)
    assert ability(10.0) == pytest.approx(1.11)
    assert ability(100.0, "fp8") == pytest.approx(2.35)
    assert ability(100.0, "int8") == pytest.approx(2.35)
    assert ability(10.0, "int4") == pytest.approx(0.96)
    assert ability(10.0, "fp4") == pytest.approx(0.96)
    assert ability(0.1) == pytest.approx(-1.43)
    assert ability(10.0, "fp16") == ability(10.0, "fp32") == ability(10.0, "bf16")
    assert CONFIDENCE == "assumed"


def test_a_mixture_of_experts_counts_as_its_geometric_mean() -> None:
    assert effective_params_b(8.0, 8.0) == 8.0
    assert effective_params_b(32.0, 2.0) == 8.0


def test_more_parameters_and_more_bits_are_never_worse() -> None:
    sizes = [0.1 * 1.3**k for k in range(40)]
    for precision in ("bf16", "fp8", "int4"):
        ranks = [ability(size, precision) for size in sizes]
        assert ranks == sorted(ranks)
    for size in sizes:
        assert ability(size, "int4") < ability(size, "int8") < ability(size, "bf16")


def test_models_of_the_catalogue() -> None:
    catalogue = Catalogue()
    small, mixture, large = (catalogue.model(name) for name in ("qwen3-0.6b", "qwen3-30b-a3b", "qwen2.5-72b"))
    (a,), (b,), (c,) = (abilities(model, "bf16", ["chat"]) for model in (small, mixture, large))
    assert a < b < c
    assert b == pytest.approx(-0.16 + 1.27 * math.log10(math.sqrt(30.5 * 3.3)))


def test_overrides_are_taken_as_they_are() -> None:
    model = Catalogue().model("qwen3-4b")
    tasks = ["chat", "code"]
    plain = abilities(model, "int4", tasks)
    assert plain[0] == plain[1]
    assert abilities(model, "int4", tasks, {}) == plain
    assert abilities(model, "int4", tasks, {"code": 3}) == [plain[0], 3.0]
    assert abilities(model, "int4", tasks, {"code": 3, "default": -1.0}) == [-1.0, 3.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, True, "high", None])
def test_a_bad_override_is_named(bad: Any) -> None:
    with pytest.raises(UserError, match="ability of 'code'"):
        ability(4.0, task="code", overrides={"code": bad})


@pytest.mark.parametrize("size", [0.0, -1.0, math.nan, math.inf])
def test_a_size_is_above_zero(size: float) -> None:
    with pytest.raises(UserError, match="above 0"):
        ability(size)


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(UserError, match=r"got 'int3'.*int4"):
        ability(4.0, "int3")
