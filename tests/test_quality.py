"""Ability of models: the line, its monotony over the facts, what was fitted, and overrides."""

from __future__ import annotations

import math
from typing import Any

import pytest

from policies.quality import LEVEL, PER_DECADE, SKILL_OF_TASK, abilities, ability, confidence_of, effective_params_b
from profiles.ability import Abilities
from profiles.catalogue import Catalogue
from profiles.errors import UserError

CATALOGUE = Catalogue()


def test_by_hand() -> None:
    assert ability(1.0) == pytest.approx(-0.16)
    assert ability(10.0) == pytest.approx(1.204)
    assert ability(100.0, "fp8") == pytest.approx(2.538)
    assert ability(100.0, "int8") == pytest.approx(2.538)
    assert ability(10.0, "int4") == pytest.approx(1.054)
    assert ability(10.0, "fp4") == pytest.approx(1.054)
    assert ability(0.1) == pytest.approx(-1.524)
    assert ability(10.0, "fp16") == ability(10.0, "fp32") == ability(10.0, "bf16")


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


@pytest.mark.parametrize("family", [("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b"), ("gemma3-4b", "gemma3-27b")])
def test_larger_models_of_a_family_are_abler(family: tuple[str, ...]) -> None:
    for task in ("chat", "code", "agent-long-reasoning", "translation"):
        ranks = [abilities(CATALOGUE.model(name), "bf16", [task])[0] for name in family]
        assert ranks == sorted(ranks), task


def test_a_model_without_scores_is_on_the_line() -> None:
    model = CATALOGUE.model("milm2-30b")
    assert model.abilities is None
    assert confidence_of(model) == "assumed"
    size = math.sqrt(model.total_params_b * model.active_params_b)
    expected = LEVEL + PER_DECADE * math.log10(size)
    assert abilities(model, "bf16", ["chat", "translation"]) == pytest.approx([expected, expected])


def test_a_model_with_scores_has_an_ability_for_every_skill() -> None:
    model = CATALOGUE.model("qwen3-4b")
    known = model.abilities
    assert known is not None
    assert confidence_of(model) == "fitted"
    tasks = ["chat", "code", "agent-long-reasoning", "translation", "a task of mine"]
    expected = [known.knowledge, known.code, known.reasoning, known.general, known.general]
    assert abilities(model, "bf16", tasks) == expected
    assert abilities(model, "int4", tasks) == pytest.approx([one - 0.15 for one in expected if one is not None])


def test_a_skill_that_nobody_measured_is_the_general_ability() -> None:
    model = CATALOGUE.model("qwen3-4b").model_copy(update={"abilities": Abilities(general=1.5, code=0.5)})
    assert abilities(model, "bf16", ["chat", "code", "agent-long-reasoning"]) == [1.5, 0.5, 1.5]


def test_tasks_that_need_a_skill_are_tasks_of_the_catalogue() -> None:
    assert set(SKILL_OF_TASK) <= set(CATALOGUE.names("task"))
    assert set(SKILL_OF_TASK.values()) <= set(Abilities.model_fields)


@pytest.mark.parametrize("name", ["qwen3-4b", "milm2-4b"])
def test_overrides_are_taken_as_they_are(name: str) -> None:
    model = CATALOGUE.model(name)
    tasks = ["chat", "code"]
    plain = abilities(model, "int4", tasks)
    assert abilities(model, "int4", tasks, {}) == plain
    assert abilities(model, "int4", tasks, {"code": 3}) == [plain[0], 3.0]
    assert abilities(model, "int4", tasks, {"code": 3, "default": -1.0}) == [-1.0, 3.0]


@pytest.mark.parametrize("name", ["qwen3-4b", "milm2-4b"])
def test_an_unknown_precision_of_a_model_is_named(name: str) -> None:
    with pytest.raises(UserError, match=r"got 'int3'.*int4"):
        abilities(CATALOGUE.model(name), "int3", ["chat"])


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
