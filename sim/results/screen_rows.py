"""Lines that every screen of a summary has."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from sim.results.words import count, duration, figure

__all__ = [
    "WIDTH", "counts_text", "listed_lines", "lost_lines", "offered_text", "row_line", "seeds_lines", "speed_lines",
    "warm_up_lines", "workload_text", "wrapped_lines",
]  # fmt: skip

WIDTH = 100
LEFT = 14  # the column of labels
_LONGEST = 4  # lines that one list of words may take


def row_line(label: str, text: str) -> str:
    """A label and its text, cut to the width of a screen."""
    return f"{label:<{LEFT}}{text}"[:WIDTH]


def wrapped_lines(label: str, text: str) -> list[str]:
    """A text over several lines, not too many."""
    lines = textwrap.wrap(" ".join(text.split()), WIDTH - LEFT) or [""]
    if len(lines) > _LONGEST:
        lines = [*lines[: _LONGEST - 1], "... (all of it in summary.json)"]
    return [row_line(label if i == 0 else "", line) for i, line in enumerate(lines)]


def listed_lines(label: str, words: Iterable[str]) -> list[str]:
    """Words in one text; nothing when there are none."""
    return wrapped_lines(label, "; ".join(words)) if words else []


def counts_text(s: Mapping[str, Any]) -> str:
    """What became of all requests."""
    parts = [f"{count(s[name])} {name}" for name in ("completed", "rejected", "abandoned", "failed")]
    return f"{count(s['requests'])} = " + " + ".join(parts)


def lost_lines(s: Mapping[str, Any]) -> list[str]:
    """What requests were lost to."""
    reasons = {k: n for group in ("rejected_by", "abandoned_by", "failed_by") for k, n in s[group].items() if n}
    text = ", ".join(f"{reason} {count(n)}" for reason, n in reasons.items())
    return [row_line("  lost to", text)] if reasons else []


def warm_up_lines(s: Mapping[str, Any]) -> list[str]:
    """How many requests a warm-up left out."""
    text = f"{count(s['trimmed'])} requests left out of latencies and SLO"
    return [row_line("warm-up", text)] if s["trimmed"] else []


def workload_text(s: Mapping[str, Any]) -> str:
    """What asked, and what reading it dropped."""
    dropped = ", ".join(f"{reason} {count(n)}" for reason, n in s["dropped_by"].items())
    read = f", {count(s['rows_read'])} rows read" if s["rows_read"] else ""
    return f"{s['workload']}, seed {s['seed']}{read}" + (f", dropped: {dropped}" if dropped else "")


def offered_text(s: Mapping[str, Any]) -> str:
    """How much was asked."""
    tokens = f"{count(round(s['prompt_tokens_mean']))} prompt and {count(round(s['output_tokens_mean']))} output tokens"
    return f"{figure(s['offered_rps'], 'requests/s')}, {tokens} on average"


def speed_lines(s: Mapping[str, Any]) -> list[str]:
    """How fast the simulation was."""
    if s.get("requests_per_s") is None:
        return []
    return [row_line("simulated in", f"{duration(s['engine_s'])}, {figure(s['requests_per_s'], 'requests/s')}")]


def seeds_lines(s: Mapping[str, Any]) -> list[str]:
    """Means and 95 % intervals over several seeds; everything above is the first seed."""
    if "seeds" not in s:
        return []
    merged = s["seeds"]
    rows = (
        ("  TTFT mean", merged["ttft_s"]["mean"], duration),
        ("  TTFT p99", merged["ttft_s"]["p99"], duration),
        ("  TPOT mean", merged["tpot_s"]["mean"], duration),
        ("  E2E mean", merged["e2e_s"]["mean"], duration),
        ("  goodput", merged["goodput_rps"], lambda value: figure(value, "requests/s")),
    )
    verdicts = ", ".join(f"{number} x {verdict}" for verdict, number in merged["verdicts"].items() if number)
    lines = [
        "",
        row_line(
            f"{len(merged['seeds'])} seeds", f"{verdicts}; mean and 95 % interval (figures above: the first seed)"
        ),
    ]
    lines += [row_line("", note) for note in merged["notes"] if note not in s["notes"]]
    for label, value, word in rows:
        if value["low"] is not None:
            lines.append(row_line(label, f"{word(value['mean'])}   [{word(value['low'])}, {word(value['high'])}]"))
    return lines
