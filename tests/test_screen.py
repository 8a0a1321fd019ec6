"""The terminal screen, and numbers as people read them."""

from __future__ import annotations

from sim.results.metrics import summarise
from sim.results.outcome import Slo
from sim.results.screen import screen
from sim.results.words import duration, figure, percent
from tests.test_metrics import ROOMY, outcome_of, steady


def test_words() -> None:
    assert [duration(x) for x in (0.0, 2e-4, 0.0123, 4.567, 599.9, 3000.0, 10_000.0, None)] == [
        "0 s", "200 µs", "12.3 ms", "4.57 s", "600 s", "50 min", "2.8 h", "-",
    ]  # fmt: skip
    assert [percent(x) for x in (0.0, 1.0, 0.99999, 0.5, 1e-5, None)] == [
        "0.0 %", "100.0 %", "99.999 %", "50.0 %", "< 0.1 %", "-",
    ]  # fmt: skip
    assert [figure(x, "J") for x in (0.01234, 99.97, 1234567.0)] == ["0.0123 J", "100 J", "1,234,567 J"]


def test_the_screen_fits() -> None:
    s = summarise(outcome_of(steady(30), slo=Slo(ttft_s=0.1, tpot_s=0.06, e2e_s=5.0), warmup_s=1.0, **ROOMY))
    s["assumed"] = [f"a fact that somebody guessed, number {i}" for i in range(60)]
    s["notes"] = ["rows sorted by arrival " * 3] * 20
    s["deployment"] = "x" * 300
    lines = screen(s).splitlines()
    assert lines[0].startswith("OVERLOADED")
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    for word in ("max_num_seqs", "GPUs", "per 1k requests", "TTFT", "assumed", "notes"):
        assert word in text
