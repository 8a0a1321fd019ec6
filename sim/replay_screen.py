"""`nearfar validate --run` for people."""

from __future__ import annotations

import textwrap
from typing import Any

from sim.replay import LATENCIES, STATISTICS

__all__ = ["replay_screen"]

_NAMES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "E2E"}


def replay_screen(result: dict[str, Any]) -> str:
    """One screen of `Replay.to_json()`: measured, predicted, error, then the band and what is assumed."""
    lines = [
        f"{result['deployment']}   (the accelerator from {result['accelerator_from']}; "
        f"confidence: {result['confidence']})",
        f"{result['run']}: {result['requests']} requests, {result['preemptions']} preemptions predicted",
        "",
        f"{'seconds':<8}{'':<11}" + "".join(f"{name:>11}" for name in STATISTICS),
    ]
    for latency in LATENCIES:
        for side in ("measured", "predicted", "error"):
            label = _NAMES[latency] if side == "measured" else ""
            values = result[side][latency]
            show = _percent if side == "error" else _seconds
            lines.append(f"{label:<8}{side:<11}" + "".join(f"{show(values.get(name)):>11}" for name in STATISTICS))
    lines += ["", *_more_lines(result)]
    return "\n".join(lines)


def _more_lines(result: dict[str, Any]) -> list[str]:
    off = result["median_absolute_error"]
    typical = ", ".join(f"{_NAMES[name]} {_percent(off[name]).lstrip('+')}" for name in LATENCIES)
    lines = [f"a typical request is off by   {typical}"]
    for factor, side in zip(result["band"]["step_time_factors"], result["band"]["error"], strict=True):
        means = ", ".join(f"{_NAMES[name]} {_percent(side[name].get('mean'))}" for name in LATENCIES)
        lines.append(f"means, steps {factor - 1.0:+.0%}   {means}")
    if result["assumed"]:
        lines += ["", *textwrap.wrap("assumed: " + "; ".join(result["assumed"]), 100)]
    return lines


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1%}"
