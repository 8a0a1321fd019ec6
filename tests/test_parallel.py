"""Passes by several threads: the same records as by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sim import parallel
from sim.loading import load
from sim.run import prepare

CALM = Path(__file__).parents[1] / "examples" / "calm.yaml"


@pytest.mark.parametrize("cores", [2, 3, 7])
def test_parts_cover_everything_once(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_LEAST", 1)
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: cores)
    seen = np.zeros(20, np.int64)

    def mark(first: int, last: int, step: int) -> None:
        seen[first:last] += step

    parallel.in_parts(mark, 20, 3)
    assert (seen == 3).all()


def test_requests_do_not_depend_on_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(CALM, changes={"fleet.devices": 50})
    alone = prepare(loaded, requests=1000).workload
    monkeypatch.setattr(parallel, "_LEAST", 10)
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 4)
    together = prepare(loaded, requests=1000).workload
    assert alone.asked is not None
    assert together.asked is not None
    for name in ("prompt_tokens", "output_tokens", "arrival_s"):
        assert (getattr(alone, name) == getattr(together, name)).all()
    for name in ("device", "task", "difficulty", "up_bytes", "down_bytes"):
        assert (getattr(alone.asked, name) == getattr(together.asked, name)).all()


def test_what_a_part_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_LEAST", 1)
    monkeypatch.setattr(parallel.os, "cpu_count", lambda: 2)

    def fails(first: int, _last: int) -> None:
        if first:
            raise ValueError("the second part")

    with pytest.raises(ValueError, match="the second part"):
        parallel.in_parts(fails, 10)
