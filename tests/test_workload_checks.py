"""A workload that breaks its promises is refused before the engine trusts it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import nearfar
from profiles.errors import UserError
from sim.workloads.checks import check_workload
from tests.scenarios import workload_of

GOOD = workload_of(
    [
        {"arrival_s": 0.0, "prompt": 5, "output": 3, "named": 8, "names": [1, 2]},
        {"arrival_s": 1.0, "prompt": 5, "output": 3, "named": 8, "names": [1, 3]},
        {"arrival_s": 0.5, "after": 0, "prompt": 5, "output": 3},
    ]
)


def test_a_good_one_passes() -> None:
    check_workload(GOOD)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("prompt_tokens", [2**31, 5, 5], "out of range"),
        ("prompt_tokens", [2**31 - 2, 5, 5], "out of range"),
        ("output_tokens", [0, 3, 3], "out of range"),
        ("output_tokens", [3, 3], "another length"),
        ("priority", [0, 100, 0], "0 to 7"),
        ("priority", [0, -1, 0], "0 to 7"),
        ("patience_s", [1.0, np.nan, 1.0], "patience"),
        ("arrival_s", [2.0, 1.0, 0.5], "ascend"),
        ("arrival_s", [0.0, np.inf, 0.5], "finite"),
        ("after", [-1, -1, 2], "earlier"),
        ("after", [-1, 0, 0], "twice"),
        ("named_tokens", [9, 8, 0], "named_tokens"),
        ("name_start", [0, 3, 0], "outside"),
        ("name_ids", [1, 2, -1, 3], "non-negative"),
        ("name_ids", [1, 3, 2, 3], "predecessors"),
    ],
)
def test_every_broken_promise_is_named(field: str, value: list[Any], words: str) -> None:
    broken = replace(GOOD, **{field: np.array(value)})
    with pytest.raises(UserError, match=words):
        check_workload(broken)


def test_the_public_door_checks_too() -> None:
    with pytest.raises(nearfar.UserError, match="0 to 7"):
        nearfar.simulate(workload=replace(GOOD, priority=np.array([0, 8, 0])))
